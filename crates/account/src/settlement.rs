//! The record of one exchange, made exactly once, however it ended.

use std::time::Duration;

use policy::{Locality, Outcome, TargetId};

/// How a request ended, seen by its caller. A closed list: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestOutcome {
    /// A complete answer was delivered.
    Answered,
    /// The target refused the request itself; its error was relayed.
    RejectedByTarget,
    /// The request was not valid, or asked for what contradicts itself or does not exist.
    Invalid,
    /// A limit of the gateway was reached: body, headers, requests in flight.
    OverLimit,
    /// No target could be tried.
    NoTarget,
    /// Every attempt failed before anything was sent.
    TargetsFailed,
    /// The answer broke off after a part of it was sent.
    Interrupted,
    /// The caller left or stopped reading.
    CallerGone,
    /// The gateway itself failed.
    GatewayFailed,
    /// Nobody could answer now; the request is kept in the outbox and tried (again) later.
    Deferred,
}

impl RequestOutcome {
    /// Every outcome, for documentation and tests.
    pub const ALL: [Self; 10] = [
        Self::Answered,
        Self::RejectedByTarget,
        Self::Invalid,
        Self::OverLimit,
        Self::NoTarget,
        Self::TargetsFailed,
        Self::Interrupted,
        Self::CallerGone,
        Self::GatewayFailed,
        Self::Deferred,
    ];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RejectedByTarget => "rejected_by_target",
            Self::Invalid => "invalid",
            Self::OverLimit => "over_limit",
            Self::NoTarget => "no_target",
            Self::TargetsFailed => "targets_failed",
            Self::Interrupted => "interrupted",
            Self::CallerGone => "caller_gone",
            Self::GatewayFailed => "gateway_failed",
            Self::Deferred => "deferred",
        }
    }
}

/// One attempt on one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptMade {
    /// The target tried.
    pub target: TargetId,
    /// How it ended.
    pub outcome: Outcome,
    /// Events of its stream that were no answer and were skipped.
    pub skipped_events: u32,
    /// Whether it was started beside another one that had brought no token yet.
    pub is_hedge: bool,
}

/// One exchange, finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Who answered, or was last answering; `None` when nobody did.
    pub target: Option<(TargetId, Locality)>,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// Whether the caller asked for a stream.
    pub stream: bool,
    /// From the first byte of the request to the end of the answer.
    pub duration: Duration,
    /// Time the decision took, if it was reached.
    pub route_time: Option<Duration>,
    /// From the first byte of the request to the first content of a stream.
    pub time_to_first_token: Option<Duration>,
    /// Prompt tokens as the target reported them, else estimated.
    pub input_tokens: Option<u64>,
    /// Answer tokens as the target reported them, else estimated.
    pub output_tokens: Option<u64>,
    /// Whether the target reported no tokens.
    pub is_usage_estimated: bool,
    /// Every attempt made, in order.
    pub attempts: Vec<AttemptMade>,
}
