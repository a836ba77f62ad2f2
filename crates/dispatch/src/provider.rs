//! What a provider does for the dispatcher: say in which state it is and lead to a destination.
//!
//! A provider never sends a prompt itself; that is `egress`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use policy::{Outcome, TargetState};
use wire::{ChatRequest, StreamForm, UpstreamForm, UsageInStream};

use crate::{Destination, TargetFailure};

/// The limits in time of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands. For a worker: until it is ready, which includes loading the model.
    pub connect: Duration,
    /// From sending the request to the response headers of a stream.
    pub headers: Duration,
    /// Between two pieces of a stream.
    pub idle: Duration,
    /// From sending the request to the end of an answer that is not a stream.
    pub answer: Duration,
}

impl Timeouts {
    /// Defaults for a remote target: 5 s, 60 s, 60 s, 10 min.
    #[must_use]
    pub fn remote() -> Self {
        Self {
            connect: Duration::from_secs(5),
            headers: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(600),
        }
    }

    /// Defaults for a local worker, where a long prompt may be read for minutes: 2 min, 10 min, 5 min, 30 min.
    #[must_use]
    pub fn local() -> Self {
        Self {
            connect: Duration::from_secs(120),
            headers: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            answer: Duration::from_secs(1800),
        }
    }
}

/// Where to send one try, and what to tell the provider about it afterwards.
#[derive(Clone, Debug)]
pub struct Lead {
    /// Where the prompt goes.
    pub destination: Destination,
    /// The run of the worker that this leads to; 0 for providers without runs.
    pub generation: u64,
}

/// One way to reach models. Implementations are cheap to call on every request.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What the upstream is asked for beside what the caller asked for, its own name of the model above all.
    fn form(&self, request: &ChatRequest) -> UpstreamForm<'_>;

    /// What the target could do now.
    fn state(&self) -> TargetState;

    /// Makes the target ready and says where it is. Cancel-safe.
    ///
    /// # Errors
    /// When it cannot be made ready; the failure says why.
    async fn lead(&self) -> Result<Lead, TargetFailure>;

    /// Hears how a try that it led ended.
    fn observe(&self, generation: u64, outcome: Outcome);
}

/// A configured target that cannot be served by this process: its engine or model is missing. Always down.
pub struct Unavailable {
    reason: Arc<str>,
}

impl Unavailable {
    /// `reason` says what is missing.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self { reason: reason.into() }
    }
}

#[async_trait]
impl Provider for Unavailable {
    fn form(&self, _request: &ChatRequest) -> UpstreamForm<'_> {
        UpstreamForm { model: "", usage: UsageInStream::AsAsked, stream: StreamForm::AsAsked, extra: &[] }
    }

    fn state(&self) -> TargetState {
        TargetState::Down(self.reason.clone())
    }

    async fn lead(&self) -> Result<Lead, TargetFailure> {
        Err(TargetFailure::worker(&self.reason))
    }

    fn observe(&self, _generation: u64, _outcome: Outcome) {}
}
