//! The `llama_cpp` provider: a supervised llama-server worker on this device.

use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use policy::{Outcome, TargetState};
use worker::{StateName, Worker};

use crate::{Destination, Lead, Provider, TargetFailure};

/// Serves a model through a local worker, starting it when a request needs it.
pub struct LlamaCpp {
    worker: Worker,
    model: String,
    /// The destination of the newest run, so that its connections are reused.
    current: Mutex<Option<Lead>>,
}

impl LlamaCpp {
    /// Wraps a worker; `model` is the alias that the worker serves its model under.
    #[must_use]
    pub fn new(worker: Worker, model: String) -> Self {
        Self { worker, model, current: Mutex::new(None) }
    }
}

#[async_trait]
impl Provider for LlamaCpp {
    fn upstream_model(&self) -> &str {
        &self.model
    }

    fn state(&self) -> TargetState {
        let status = self.worker.status();
        match status.state {
            StateName::Ready => TargetState::Ready,
            StateName::Starting => TargetState::Starting,
            StateName::Stopped => TargetState::Cold,
            StateName::Draining => TargetState::Down("the worker is being stopped".to_owned()),
            StateName::Failed => TargetState::Down(status.reason.unwrap_or_else(|| "the worker failed".to_owned())),
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

    fn observe(&self, generation: u64, outcome: Outcome) {
        if matches!(outcome, Outcome::ConnectFailed | Outcome::ConnectionLost | Outcome::Interrupted) {
            self.worker.report_lost(generation);
        }
    }
}
