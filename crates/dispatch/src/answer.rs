//! What comes of running a plan: one answer or one failure, and the record of every attempt.

use std::time::Duration;

use bytes::Bytes;
use policy::{Locality, Outcome, TargetId};
use wire::{UpstreamError, Usage};

use crate::Relay;

/// Longest explanation kept of one failed attempt, in bytes.
const DETAIL_BYTES_MAX: usize = 2048;

/// Why one attempt failed, for the caller and the log. Holds no prompt text.
#[derive(Clone, Debug)]
pub struct TargetFailure {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// One sentence for the log: nothing that the target wrote, which may quote the prompt.
    pub detail: String,
    /// The target's own words, for the caller only.
    pub said: Option<String>,
    /// What the target asked for in `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
}

impl TargetFailure {
    /// A failure with a detail cut to its limit.
    #[must_use]
    pub fn new(outcome: Outcome, detail: &str) -> Self {
        Self { outcome, detail: cut(detail), said: None, retry_after_s: None }
    }

    /// The same, with what the target said.
    #[must_use]
    pub fn quoting(self, said: &str) -> Self {
        Self { said: Some(cut(said)), ..self }
    }

    /// A worker that cannot be made ready.
    #[must_use]
    pub fn worker(detail: &str) -> Self {
        Self::new(Outcome::WorkerUnavailable, detail)
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// One attempt on one target, finished.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The target.
    pub target: TargetId,
    /// Where it runs.
    pub locality: Locality,
    /// How it ended; a stream that was handed over counts as answered until its relay says otherwise.
    pub outcome: Outcome,
    /// One sentence on a failure for the caller, the target's own words included; empty on success. Not for logs.
    pub detail: String,
    /// `Retry-After` of a failure, in seconds.
    pub retry_after_s: Option<u32>,
    /// How long it took until it ended or was handed over.
    pub duration: Duration,
}

/// What a target answered.
pub struct Answer {
    /// The target that answered.
    pub target: TargetId,
    /// Where it runs.
    pub locality: Locality,
    /// The answer.
    pub content: Content,
}

/// The forms of an answer.
pub enum Content {
    /// A complete chat completion, byte for byte as it came.
    Whole {
        /// The JSON body.
        body: Bytes,
        /// Token counts, where the target gave them.
        usage: Option<Usage>,
    },
    /// A stream that has begun.
    Stream(Box<Relay>),
    /// The target refused the request itself; the caller has to mend it.
    Rejected {
        /// The target's 4xx status.
        status: u16,
        /// The target's error.
        error: UpstreamError,
    },
}

/// No attempt brought an answer; the records say why.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The plan held no attempt.
    #[error("no target can be tried")]
    NoAttempt,
    /// Every attempt failed.
    #[error("every attempt failed")]
    Exhausted,
}
