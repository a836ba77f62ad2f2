//! How an attempt ended. What follows from that is in `next_step`.

/// How one try on one target ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A complete answer.
    Answered,
    /// The target refused the request itself (a 4xx that is the caller's to mend); relayed as it is.
    Rejected(u16),
    /// The target refused the request because it does not fit its context window.
    ContextExceeded(u16),
    /// The target refused the request, or an answer to it, for its content.
    ContentFiltered(u16),
    /// The local worker could not be made ready.
    WorkerUnavailable,
    /// As many requests wait for the worker as may, or the request waited as long as it may.
    QueueFull,
    /// Not tried: its breaker is open, or another request is finding out whether it answers again.
    LeftAlone,
    /// No connection could be made.
    ConnectFailed,
    /// The connection ended before the response headers, or within an answer of which nothing had reached the caller.
    ConnectionLost,
    /// There is no network: it went away under a silent connection before anything had reached the caller, or was away when the try
    /// began.
    NetworkGone,
    /// No first token within the limit of the route or of the target.
    FirstTokenTimeout,
    /// A stream that had begun without content fell silent.
    IdleTimeout,
    /// No complete answer within the limit.
    TotalTimeout,
    /// A status that another try or target may mend: 401, 403, 404, 408, 429, 5xx. Also an error inside an answer of status 200
    /// that means one of these.
    Status(u16),
    /// A success status with a body that is no complete answer.
    InvalidAnswer,
    /// An answer that should have continued one that broke off was another one, or not known to be the same in time. Says nothing
    /// against the target.
    Unproven,
    /// The answer broke off after a part of it reached the caller.
    Interrupted,
    /// The caller left.
    CallerGone,
    /// Another attempt that ran beside this one answered first.
    HedgeLost,
}

impl Outcome {
    /// The words of [`Self::as_str`]: a closed list, for metrics.
    pub const WORDS: [&'static str; 24] = [
        "answered",
        "rejected",
        "context_exceeded",
        "content_filtered",
        "worker_unavailable",
        "queue_full",
        "left_alone",
        "connect_failed",
        "connection_lost",
        "network_gone",
        "first_token_timeout",
        "idle_timeout",
        "total_timeout",
        "unauthorized",
        "not_found",
        "timeout_status",
        "rate_limited",
        "overloaded",
        "server_error",
        "invalid_answer",
        "unproven",
        "interrupted",
        "caller_gone",
        "hedge_lost",
    ];

    /// Sorts an HTTP error status of a target of which nothing more is known.
    #[must_use]
    pub fn of_error_status(status: u16) -> Self {
        match status {
            401 | 403 | 404 | 408 | 429 | 500.. => Self::Status(status),
            _ => Self::Rejected(status),
        }
    }

    /// Whether the target refused the request itself, so that its own words are the answer where no other target is tried.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Rejected(_) | Self::ContextExceeded(_) | Self::ContentFiltered(_))
    }

    /// Whether that refusal stands whoever else might be asked: the request itself is at fault, or its content is not wanted.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Rejected(_) | Self::ContentFiltered(_))
    }

    /// Whether the try failed: not where it answered, lost a race, or nobody waits any more.
    #[must_use]
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Answered | Self::CallerGone | Self::HedgeLost)
    }

    /// The HTTP status behind it, where there was one.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Rejected(status)
            | Self::ContextExceeded(status)
            | Self::ContentFiltered(status)
            | Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The label value in metrics and logs: a closed list.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Rejected(_) => "rejected",
            Self::ContextExceeded(_) => "context_exceeded",
            Self::ContentFiltered(_) => "content_filtered",
            Self::WorkerUnavailable => "worker_unavailable",
            Self::QueueFull => "queue_full",
            Self::LeftAlone => "left_alone",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectionLost => "connection_lost",
            Self::NetworkGone => "network_gone",
            Self::FirstTokenTimeout => "first_token_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::Status(401 | 403) => "unauthorized",
            Self::Status(404) => "not_found",
            Self::Status(408) => "timeout_status",
            Self::Status(429) => "rate_limited",
            Self::Status(503 | 529) => "overloaded",
            Self::Status(_) => "server_error",
            Self::InvalidAnswer => "invalid_answer",
            Self::Unproven => "unproven",
            Self::Interrupted => "interrupted",
            Self::CallerGone => "caller_gone",
            Self::HedgeLost => "hedge_lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_on_the_list_and_means_one_thing() {
        let statuses = [401, 403, 404, 408, 429, 500, 503, 529, 599].map(Outcome::Status);
        let others = [
            Outcome::Answered,
            Outcome::Rejected(400),
            Outcome::ContextExceeded(400),
            Outcome::ContentFiltered(400),
            Outcome::WorkerUnavailable,
            Outcome::QueueFull,
            Outcome::LeftAlone,
            Outcome::ConnectFailed,
            Outcome::ConnectionLost,
            Outcome::NetworkGone,
            Outcome::FirstTokenTimeout,
            Outcome::IdleTimeout,
            Outcome::TotalTimeout,
            Outcome::InvalidAnswer,
            Outcome::Unproven,
            Outcome::Interrupted,
            Outcome::CallerGone,
            Outcome::HedgeLost,
        ];
        let words =
            |of: &[Outcome]| of.iter().map(|outcome| outcome.as_str()).collect::<std::collections::BTreeSet<_>>();
        let said: std::collections::BTreeSet<_> = words(&statuses).union(&words(&others)).copied().collect();
        assert_eq!(said, Outcome::WORDS.into());
        assert_eq!(said.len(), Outcome::WORDS.len());
    }
}
