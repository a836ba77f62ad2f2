//! The `openai` provider: any address that speaks OpenAI's chat completions.

use async_trait::async_trait;
use policy::TargetState;
use wire::{ChatRequest, StreamForm, UpstreamForm, UsageInStream};

use crate::{Destination, Lead, Observation, Provider, TargetFailure};

/// Serves one model of an OpenAI-compatible address.
pub struct OpenAi {
    model: String,
    destination: Destination,
    continues_prefix: bool,
}

impl OpenAi {
    /// `model` is the upstream's own name of the model; for `continues_prefix` see [`Provider::continues_prefix`].
    #[must_use]
    pub fn new(model: String, destination: Destination, continues_prefix: bool) -> Self {
        Self { model, destination, continues_prefix }
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

    async fn lead(&self) -> Result<Lead, TargetFailure> {
        Ok(Lead { destination: self.destination.clone(), generation: 0 })
    }

    fn continues_prefix(&self) -> bool {
        self.continues_prefix
    }

    fn observe(&self, _observation: &Observation) {}
}
