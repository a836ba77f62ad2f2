//! The `openai` provider: any address that speaks OpenAI's chat completions.

use async_trait::async_trait;
use policy::{Latency, TargetState};
use wire::{ChatRequest, StreamForm, UpstreamForm, UsageInStream};

use crate::{Asking, Destination, Lead, Observation, Provider, RemoteSpeed, TargetFailure};

/// Serves one model of an OpenAI-compatible address.
pub struct OpenAi {
    model: String,
    destination: Destination,
    continues_prefix: bool,
    speed: RemoteSpeed,
}

impl OpenAi {
    /// `speed` keeps what is measured of it; `model` is the upstream's own name of the model; for `continues_prefix` see [`Provider::continues_prefix`].
    #[must_use]
    pub fn new(model: String, destination: Destination, continues_prefix: bool, speed: RemoteSpeed) -> Self {
        Self { model, destination, continues_prefix, speed }
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

    /// Whether it answers is told by its health.
    fn state(&self) -> TargetState {
        TargetState::Ready
    }

    fn latency(&self, asking: &Asking) -> Option<Latency> {
        self.speed.predict(asking.prompt_tokens)
    }

    async fn lead(&self, _asking: &Asking) -> Result<Lead, TargetFailure> {
        Ok(Lead::to(self.destination.clone()))
    }

    fn continues_prefix(&self) -> bool {
        self.continues_prefix
    }

    fn observe(&self, observation: &Observation) {
        self.speed.observe(observation);
    }
}
