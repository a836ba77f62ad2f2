//! What comes of running a plan: one answer or one failure.

use std::time::Duration;

use bytes::Bytes;
use policy::{Locality, OFFLINE_RETRY_AFTER, Outcome, TargetId};
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
    /// When the target wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Status and error with which the target refused the request itself ([`Outcome::is_refusal`]).
    pub refusal: Option<Box<(u16, UpstreamError)>>,
}

impl TargetFailure {
    /// A failure with a detail cut to its limit.
    #[must_use]
    pub fn new(outcome: Outcome, detail: &str) -> Self {
        Self { outcome, detail: cut(detail), said: None, retry_after: None, refusal: None }
    }

    /// The same, with what the target said.
    #[must_use]
    pub fn quoting(self, said: &str) -> Self {
        Self { said: Some(cut(said)), ..self }
    }

    /// A target that is left alone for this long.
    #[must_use]
    pub(crate) fn left_alone(probe_in: Duration) -> Self {
        let detail = "its breaker is open, or another request is finding out whether it answers again";
        Self { retry_after: Some(probe_in), ..Self::new(Outcome::LeftAlone, detail) }
    }

    /// A target that cannot be reached, as there is no network; `detail` says whether there was one.
    #[must_use]
    pub(crate) fn network_gone(detail: &str) -> Self {
        Self { retry_after: Some(OFFLINE_RETRY_AFTER), ..Self::new(Outcome::NetworkGone, detail) }
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

/// What a target answered.
pub struct Answer<'a> {
    /// The target that answered.
    pub target: TargetId,
    /// Where it runs.
    pub locality: Locality,
    /// The answer.
    pub content: Content<'a>,
}

/// The forms of an answer.
pub enum Content<'a> {
    /// A complete chat completion, byte for byte as it came.
    Whole {
        /// The JSON body.
        body: Bytes,
        /// Token counts, of the target where it gave them.
        usage: Usage,
        /// Whether it gave none.
        is_usage_estimated: bool,
    },
    /// A stream whose first content has come.
    Stream(Box<Relay<'a>>),
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
