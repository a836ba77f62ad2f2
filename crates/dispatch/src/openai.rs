//! The `openai` provider: any address that speaks OpenAI's chat completions.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use policy::{Outcome, TargetState};
use wire::{ChatRequest, StreamForm, UpstreamForm, UsageInStream};

use crate::{Destination, Lead, Observation, Provider, TargetFailure};

/// How long a target that could not be connected to is tried only after the others.
pub const UNREACHABLE_FOR: Duration = Duration::from_secs(5);

/// Serves one model of an OpenAI-compatible address.
pub struct OpenAi {
    model: String,
    destination: Destination,
    continues_prefix: bool,
    connect_failed_at: Mutex<Option<Instant>>,
}

impl OpenAi {
    /// `model` is the upstream's own name of the model; for `continues_prefix` see [`Provider::continues_prefix`].
    #[must_use]
    pub fn new(model: String, destination: Destination, continues_prefix: bool) -> Self {
        Self { model, destination, continues_prefix, connect_failed_at: Mutex::new(None) }
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn form(&self, _request: &ChatRequest) -> UpstreamForm<'_> {
        UpstreamForm {
            model: &self.model,
            usage: UsageInStream::Always,
            stream: StreamForm::AsAsked,
            extra: &[],
            prefix: None,
        }
    }

    fn state(&self) -> TargetState {
        let failed_at = *self.connect_failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        match failed_at {
            Some(at) if at.elapsed() < UNREACHABLE_FOR => TargetState::Unreachable,
            _ => TargetState::Ready,
        }
    }

    async fn lead(&self) -> Result<Lead, TargetFailure> {
        Ok(Lead { destination: self.destination.clone(), generation: 0 })
    }

    fn continues_prefix(&self) -> bool {
        self.continues_prefix
    }

    fn observe(&self, observation: &Observation) {
        let failed = match observation.outcome {
            Outcome::ConnectFailed => Some(Instant::now()),
            Outcome::CallerGone | Outcome::HedgeLost => return,
            _ => None,
        };
        *self.connect_failed_at.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }
}
