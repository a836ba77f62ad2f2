//! How an attempt ended, and what follows from that. A decision like any other: pure.

use crate::Locality;

/// Tries on one target within one request, the first included.
pub const TRIES_PER_TARGET_MAX: u32 = 2;

/// How one attempt on one target ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A complete answer.
    Answered,
    /// The target refused the request itself (a 4xx that is the caller's to mend); relayed as it is.
    Rejected(u16),
    /// The local worker could not be made ready.
    WorkerUnavailable,
    /// No connection could be made.
    ConnectFailed,
    /// The connection ended before the response headers, or within an answer of which nothing had reached the caller.
    ConnectionLost,
    /// No response headers within the limit.
    HeadersTimeout,
    /// A status that another try or target may mend: 401, 403, 404, 408, 429, 5xx.
    Status(u16),
    /// A success status with a body that is no complete answer.
    InvalidAnswer,
    /// The answer broke off after a part of it reached the caller.
    Interrupted,
    /// The caller left.
    CallerGone,
}

impl Outcome {
    /// Sorts an HTTP error status of a target.
    #[must_use]
    pub fn of_error_status(status: u16) -> Self {
        match status {
            401 | 403 | 404 | 408 | 429 | 500.. => Self::Status(status),
            _ => Self::Rejected(status),
        }
    }

    /// The label value in metrics and logs: a closed list.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Rejected(_) => "rejected",
            Self::WorkerUnavailable => "worker_unavailable",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectionLost => "connection_lost",
            Self::HeadersTimeout => "headers_timeout",
            Self::Status(401 | 403) => "unauthorized",
            Self::Status(404) => "not_found",
            Self::Status(408) => "timeout_status",
            Self::Status(429) => "rate_limited",
            Self::Status(_) => "server_error",
            Self::InvalidAnswer => "invalid_answer",
            Self::Interrupted => "interrupted",
            Self::CallerGone => "caller_gone",
        }
    }
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Try the same target again.
    SameTarget,
    /// Go on with the next attempt of the plan, if there is one.
    NextAttempt,
    /// Nothing more is tried.
    Stop,
}

/// Decides what follows `outcome` on a target at `locality` that was tried `tries` times so far (at least 1),
/// when nothing has been sent to the caller. After the first byte to the caller nothing may follow, and this
/// is not asked.
///
/// A lost connection gets a second try on the same target: a worker has most likely crashed and is being
/// restarted, and a remote server may have closed an idle connection at the moment it was used. A worker that
/// cannot be connected to is in the same case; a remote target that is silent or failing is left for the next one.
#[must_use]
pub fn next_step(outcome: Outcome, locality: Locality, tries: u32) -> NextStep {
    match outcome {
        Outcome::Answered | Outcome::Rejected(_) | Outcome::Interrupted | Outcome::CallerGone => NextStep::Stop,
        Outcome::ConnectionLost if tries < TRIES_PER_TARGET_MAX => NextStep::SameTarget,
        Outcome::ConnectFailed if locality == Locality::Device && tries < TRIES_PER_TARGET_MAX => NextStep::SameTarget,
        Outcome::WorkerUnavailable
        | Outcome::ConnectFailed
        | Outcome::ConnectionLost
        | Outcome::HeadersTimeout
        | Outcome::Status(_)
        | Outcome::InvalidAnswer => NextStep::NextAttempt,
    }
}
