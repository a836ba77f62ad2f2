//! What a provider does for the dispatcher: say in which state it is and lead to a destination.
//!
//! A provider never sends a prompt itself; that is `egress`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use policy::{Latency, TargetState};
use wire::{ChatRequest, EngineCounts, StreamForm, UpstreamForm, UsageInStream};

use crate::admission::Seat;
use crate::{Asking, Destination, Load, Observation, TargetFailure};

/// The limits in time of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands. For a worker: until it is ready, which includes loading the model.
    pub connect: Duration,
    /// From then to the first content of a stream.
    pub first_token: Duration,
    /// Between two pieces of a stream after that.
    pub idle: Duration,
    /// From the connection to the end of the answer.
    pub total: Duration,
}

impl Timeouts {
    /// Defaults for a remote target: 5 s, 60 s, 60 s, 10 min.
    #[must_use]
    pub fn remote() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }

    /// Defaults for a local worker, where a long prompt may be read for minutes: 2 min, 10 min, 5 min, 30 min.
    #[must_use]
    pub fn local() -> Self {
        Self {
            connect: Duration::from_secs(120),
            first_token: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            total: Duration::from_secs(1800),
        }
    }
}

/// Where to send one try, and what to tell the provider about it afterwards.
pub struct Lead {
    /// Where the prompt goes.
    pub destination: Destination,
    /// The run of the worker that this leads to; 0 for providers without runs.
    pub generation: u64,
    /// The slot of the worker that is taken for this try, held as long as it lasts; `None` for providers without slots.
    pub(crate) seat: Option<Seat>,
}

impl Lead {
    /// To a place that takes any number of requests.
    #[must_use]
    pub fn to(destination: Destination) -> Self {
        Self { destination, generation: 0, seat: None }
    }
}

/// One way to reach models. Implementations are cheap to call on every request.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What the upstream is asked for beside what the caller asked for, its own name of the model above all.
    fn form(&self, request: &ChatRequest) -> UpstreamForm<'_>;

    /// What the target could do now.
    fn state(&self) -> TargetState;

    /// How fast it is expected to answer this request, waiting and loading included; `None` before anything was measured.
    fn latency(&self, _asking: &Asking) -> Option<Latency> {
        None
    }

    /// How busy it is; `None` for providers without slots.
    fn load(&self) -> Option<Load> {
        None
    }

    /// What the engine behind it counts since its start; `None` where there is none, or none runs. Takes a moment.
    async fn engine_counts(&self) -> Option<EngineCounts> {
        None
    }

    /// Begins to make the target ready for requests to come, where it is not running. Does not wait.
    fn warm(&self) {}

    /// Makes the target ready, where it is not always.
    ///
    /// # Errors
    /// When it cannot be made ready; the failure says why.
    async fn prepare(&self) -> Result<(), TargetFailure> {
        Ok(())
    }

    /// Makes the target ready, waits until it takes this request, and says where it is. Keeps its own limits in time; the
    /// caller may have a shorter one. Cancel-safe.
    ///
    /// # Errors
    /// When it cannot be made ready, or takes no more; the failure says why.
    async fn lead(&self, asking: &Asking) -> Result<Lead, TargetFailure>;

    /// Whether it goes on with a text that is given as the last message, of the assistant, rather than answering it. Only
    /// where the operator said so.
    fn continues_prefix(&self) -> bool {
        false
    }

    /// Hears how each try went.
    fn observe(&self, observation: &Observation);
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
        UpstreamForm { model: "", usage: UsageInStream::AsAsked, stream: StreamForm::AsAsked, extra: &[], prefix: None }
    }

    fn state(&self) -> TargetState {
        TargetState::Down(self.reason.clone())
    }

    async fn prepare(&self) -> Result<(), TargetFailure> {
        Err(TargetFailure::worker(&self.reason))
    }

    async fn lead(&self, _asking: &Asking) -> Result<Lead, TargetFailure> {
        Err(TargetFailure::worker(&self.reason))
    }

    fn observe(&self, _observation: &Observation) {}
}
