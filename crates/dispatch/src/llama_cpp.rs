//! The `llama_cpp` provider: a supervised llama-server worker on this device.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use policy::{Outcome, TargetState};
use wire::{ChatRequest, StreamForm, UpstreamForm, UsageInStream};
use worker::{StateName, Worker};

use crate::{Destination, Lead, Observation, Provider, TargetFailure};

/// Serves a model through a local worker, starting it when a request needs it.
pub struct LlamaCpp {
    worker: Worker,
    model: String,
    continues_prefix: bool,
    /// The destination of the newest run, so that its connections are reused.
    current: Mutex<Option<Lead>>,
}

impl LlamaCpp {
    /// Wraps a worker; `model` is the alias that the worker serves its model under; for `continues_prefix` see
    /// [`Provider::continues_prefix`].
    #[must_use]
    pub fn new(worker: Worker, model: String, continues_prefix: bool) -> Self {
        Self { worker, model, continues_prefix, current: Mutex::new(None) }
    }
}

#[async_trait]
impl Provider for LlamaCpp {
    /// A stream, also for a caller who waits for a whole answer: llama-server frees the slot of a stream that nobody
    /// reads at its next token, but looks only once a second whether somebody waits for a whole answer, and not even that
    /// while other requests produce results (`tools/server/server-queue.cpp`, `recv_with_timeout`). Not where its stream
    /// tells less than its whole answer: log probabilities of text that it holds back, and the usage of several choices.
    fn form(&self, request: &ChatRequest) -> UpstreamForm<'_> {
        let loses_in_stream = request.has_member("logprobs") || request.n() > 1;
        let stream = if loses_in_stream { StreamForm::AsAsked } else { StreamForm::Always };
        UpstreamForm { model: &self.model, usage: UsageInStream::Always, stream, extra: &[], prefix: None }
    }

    fn state(&self) -> TargetState {
        let status = self.worker.status();
        match status.state {
            StateName::Ready => TargetState::Ready,
            StateName::Starting => TargetState::Loading,
            StateName::Stopped => TargetState::Cold,
            StateName::Failed if status.has_given_up => {
                TargetState::Down(status.reason.map_or("the worker failed".into(), Into::into))
            }
            // Between two children; the next one is on its way.
            StateName::Failed | StateName::Draining => TargetState::Unreachable,
        }
    }

    async fn lead(&self) -> Result<Lead, TargetFailure> {
        let ready = self.worker.ensure_ready().await.map_err(|error| TargetFailure::worker(&error.to_string()))?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(lead) if lead.generation == ready.generation => Ok(lead.clone()),
            _ => {
                let destination =
                    Destination::worker(&ready.endpoint).map_err(|error| TargetFailure::worker(&error.to_string()))?;
                let lead = Lead { destination, generation: ready.generation };
                *current = Some(lead.clone());
                Ok(lead)
            }
        }
    }

    fn continues_prefix(&self) -> bool {
        self.continues_prefix
    }

    fn observe(&self, observation: &Observation) {
        let lost = [Outcome::ConnectFailed, Outcome::ConnectionLost, Outcome::Interrupted];
        if lost.contains(&observation.outcome) {
            self.worker.report_lost(observation.generation);
        }
    }
}
