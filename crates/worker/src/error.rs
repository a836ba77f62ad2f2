//! Why a worker is not ready, in words for the person who must act. Decides nothing about what follows.

use std::sync::Arc;
use std::time::Duration;

/// Why `ensure_ready` gave no child. Cheap to clone: one failure answers every waiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work here (a missing file, a flag that is refused, no place for the socket); no child
    /// was started.
    #[error("worker cannot be started: {reason}")]
    Misconfigured {
        /// What is wrong and where.
        reason: String,
    },
    /// The child ended by itself, mostly before it was ready.
    #[error("llama-server ended ({status}){}{}", hint_text(.hint), tail_text(.last_lines))]
    Exited {
        /// Exit code or signal.
        status: String,
        /// What it probably means.
        hint: Option<&'static str>,
        /// The last lines of its log, oldest first, at most 40.
        last_lines: Arc<[String]>,
        /// Whether another start with the same files and flags would end the same way.
        permanent: bool,
    },
    /// The child did not become ready in time and was killed.
    #[error("llama-server was not ready after {after:?} and was killed{}", tail_text(.last_lines))]
    TimedOut {
        /// The limit.
        after: Duration,
        /// The last lines of its log, oldest first, at most 40.
        last_lines: Arc<[String]>,
    },
    /// Somebody stops or stopped the worker while the caller waited.
    #[error("worker is being stopped")]
    Stopped,
    /// The worker's owner task is gone (its runtime was shut down).
    #[error("worker is gone")]
    Gone,
    /// More callers wait for this worker than it holds.
    #[error("too many callers wait for the worker (limit {limit})")]
    TooManyWaiters {
        /// The limit.
        limit: usize,
    },
}

impl StartError {
    /// The last lines of the child's log; empty when there was no child.
    pub fn last_lines(&self) -> &[String] {
        match self {
            Self::Exited { last_lines, .. } | Self::TimedOut { last_lines, .. } => last_lines,
            Self::Misconfigured { .. } | Self::Stopped | Self::Gone | Self::TooManyWaiters { .. } => &[],
        }
    }

    /// Whether only a person can help: another try with the same files and flags ends the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Misconfigured { .. } => true,
            Self::Exited { permanent, .. } => *permanent,
            Self::TimedOut { .. } | Self::Stopped | Self::Gone | Self::TooManyWaiters { .. } => false,
        }
    }
}

/// Lines of the child's log that a message carries; `last_lines` has more.
const MESSAGE_LINES: usize = 3;

fn hint_text(hint: &Option<&'static str>) -> String {
    hint.map(|hint| format!(": {hint}")).unwrap_or_default()
}

fn tail_text(lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        lines => format!("; its last words: {}", lines[lines.len().saturating_sub(MESSAGE_LINES)..].join(" | ")),
    }
}
