//! What the outcome of one try says of its target and of the network. The tables that breakers and connectivity are fed by.

use crate::Outcome;

/// What an outcome says of the target itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HealthSignal {
    /// It answers.
    Success,
    /// It does not do what it is there for.
    Failure,
    /// It refuses the gateway's key.
    KeyRefused,
    /// Nothing: the caller was at fault or left, or the target only limits its rate.
    Nothing,
}

/// What an outcome on a cloud target says of the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReachSignal {
    /// Somebody answered there, if only with an error.
    Reached,
    /// No connection came about: name, route, port or TLS.
    Failed,
    /// A connection was there and fell silent or broke, as it may when the network went away under it; or what came was no answer, as
    /// from a captive portal.
    Suspect,
    /// Nothing.
    Nothing,
}

impl Outcome {
    /// What this outcome says of the target. `is_supervised` for a worker of this gateway's own: whether such a child lives, is
    /// its supervisor's business, which restarts it, and not the breaker's.
    #[must_use]
    pub fn health(self, is_supervised: bool) -> HealthSignal {
        match self {
            Self::Answered => HealthSignal::Success,
            Self::Status(401 | 403) => HealthSignal::KeyRefused,
            Self::Status(429)
            | Self::Rejected(_)
            | Self::ContextExceeded(_)
            | Self::ContentFiltered(_)
            | Self::CallerGone
            | Self::HedgeLost
            | Self::Unproven
            | Self::LeftAlone
            | Self::NetworkGone
            | Self::QueueFull
            | Self::WorkerUnavailable => HealthSignal::Nothing,
            Self::ConnectFailed | Self::ConnectionLost | Self::Interrupted if is_supervised => HealthSignal::Nothing,
            Self::ConnectFailed
            | Self::ConnectionLost
            | Self::Interrupted
            | Self::FirstTokenTimeout
            | Self::IdleTimeout
            | Self::TotalTimeout
            | Self::InvalidAnswer
            | Self::Status(_) => HealthSignal::Failure,
        }
    }

    /// What this outcome says of the way to a cloud target.
    #[must_use]
    pub fn reach(self) -> ReachSignal {
        match self {
            Self::Answered
            | Self::Rejected(_)
            | Self::ContextExceeded(_)
            | Self::ContentFiltered(_)
            | Self::Status(_) => ReachSignal::Reached,
            Self::ConnectFailed => ReachSignal::Failed,
            Self::ConnectionLost
            | Self::Interrupted
            | Self::FirstTokenTimeout
            | Self::IdleTimeout
            | Self::TotalTimeout
            | Self::InvalidAnswer => ReachSignal::Suspect,
            Self::CallerGone
            | Self::HedgeLost
            | Self::Unproven
            | Self::LeftAlone
            | Self::NetworkGone
            | Self::QueueFull
            | Self::WorkerUnavailable => ReachSignal::Nothing,
        }
    }
}
