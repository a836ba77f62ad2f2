//! The `llama_cpp` provider: a supervised llama-server worker on this device, with a queue of its own in front.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use policy::{Latency, Outcome, Prediction, TargetId, TargetState};
use tokio::sync::watch;
use wire::{ChatRequest, EngineCounts, StreamForm, UpstreamForm, UsageInStream};
use worker::{StateName, Worker};

use crate::admission::{Admission, NotSeated};
use crate::worker_slots::WorkerSlots;
use crate::{AdmissionLimits, Asking, Destination, Lead, Load, Meter, Observation, Provider, TargetFailure};

/// How fast a model that was never loaded is assumed to be read from disk, in bytes per second.
const LOAD_BYTES_PER_S: f64 = 300e6;
/// How long a start is assumed to take beside reading the model, in milliseconds.
const LOAD_ASSUMED_MS: f64 = 700.0;

/// Where a worker comes from: its engine and its model may still have to be fetched.
#[derive(Clone, Debug)]
pub enum Supply {
    /// They are being fetched.
    Fetching,
    /// They are there.
    Ready(Worker),
    /// They cannot be had for now; the text says why.
    Missing(Arc<str>),
}

/// What is fixed of a local target.
#[derive(Clone, Debug)]
pub struct LlamaCppSettings {
    /// Its name.
    pub target: TargetId,
    /// The alias that the worker serves its model under.
    pub model: String,
    /// The model's size in bytes, where known: from it the first load is predicted.
    pub model_bytes: Option<u64>,
    /// The queue, and what serves it.
    pub admission: AdmissionLimits,
    /// See [`Provider::continues_prefix`].
    pub continues_prefix: bool,
    /// From the moment that engine and model are there until the worker is ready.
    pub ready_within: Duration,
}

/// Serves a model through a local worker, starting it when a request needs it.
pub struct LlamaCpp {
    supply: watch::Receiver<Supply>,
    settings: LlamaCppSettings,
    admission: Admission,
    /// The newest run, so that its connections are reused.
    current: Mutex<Option<Run>>,
}

/// One run of the worker.
#[derive(Clone)]
struct Run {
    destination: Destination,
    slots: Arc<WorkerSlots>,
    generation: u64,
}

impl LlamaCpp {
    /// Serves with the worker that `supply` brings; `meter` hears what is measured.
    #[must_use]
    pub fn new(supply: watch::Receiver<Supply>, settings: LlamaCppSettings, meter: Arc<dyn Meter>) -> Self {
        let read_ms = settings.model_bytes.map_or(0.0, |bytes| bytes as f64 / LOAD_BYTES_PER_S * 1000.0);
        let admission = Admission::new(settings.target.clone(), settings.admission, LOAD_ASSUMED_MS + read_ms, meter);
        Self { supply, settings, admission, current: Mutex::new(None) }
    }

    fn supply(&self) -> Supply {
        self.supply.borrow().clone()
    }

    /// How long a request that came now would wait for the worker; `None` when it is ready, or when nobody can tell.
    fn load_left(&self) -> Option<Prediction> {
        let Supply::Ready(worker) = self.supply() else { return None };
        let status = worker.status();
        match status.state {
            StateName::Ready if status.ready.is_some() => None,
            StateName::Starting => Some(self.admission.load_left(status.since.elapsed())),
            // A ready one that is being checked has most likely crashed.
            StateName::Ready | StateName::Stopped | StateName::Draining | StateName::Failed => {
                Some(self.admission.load_left(Duration::ZERO))
            }
        }
    }

    /// Waits while engine and model are fetched.
    async fn worker(&self) -> Result<Worker, TargetFailure> {
        let mut supply = self.supply.clone();
        let there = supply.wait_for(|supply| !matches!(supply, Supply::Fetching)).await;
        match there.as_deref() {
            Ok(Supply::Ready(worker)) => Ok(worker.clone()),
            Ok(Supply::Missing(reason)) => Err(TargetFailure::worker(reason)),
            Ok(Supply::Fetching) | Err(_) => Err(TargetFailure::worker("fetching was given up")),
        }
    }

    /// Waits until the worker is ready.
    async fn run(&self, worker: &Worker) -> Result<Run, TargetFailure> {
        let limit = self.settings.ready_within;
        let Ok(ready) = tokio::time::timeout(limit, worker.ensure_ready()).await else {
            let seconds = limit.as_secs_f32();
            return Err(TargetFailure::worker(&format!("the worker was not ready within {seconds} s")));
        };
        let ready = ready.map_err(|error| TargetFailure::worker(&error.to_string()))?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = current.as_ref().filter(|run| run.generation == ready.generation) {
            return Ok(run.clone());
        }
        if let Some(took) = worker.status().load_time {
            self.admission.loaded(took);
        }
        let destination =
            Destination::worker(&ready.endpoint).map_err(|error| TargetFailure::worker(&error.to_string()))?;
        let slots = Arc::new(WorkerSlots::new(&ready.endpoint));
        let run = Run { destination, slots, generation: ready.generation };
        *current = Some(run.clone());
        Ok(run)
    }
}

#[async_trait]
impl Provider for LlamaCpp {
    /// A stream, also for a caller who waits for a whole answer: llama-server frees the slot of a stream that nobody
    /// reads when it next has something to write, but looks only once a second whether somebody waits for a whole answer, and not
    /// even that while other requests produce results (`tools/server/server-queue.cpp`, `recv_with_timeout`). Not where its stream
    /// tells less than its whole answer: log probabilities of text that it holds back, and the usage of several choices.
    fn form(&self, request: &ChatRequest) -> UpstreamForm<'_> {
        let loses_in_stream = request.has_member("logprobs") || request.n() > 1;
        let stream = if loses_in_stream { StreamForm::AsAsked } else { StreamForm::Always };
        UpstreamForm { model: &self.settings.model, usage: UsageInStream::Always, stream, extra: &[], prefix: None }
    }

    fn state(&self) -> TargetState {
        let worker = match self.supply() {
            Supply::Fetching => return TargetState::Downloading,
            Supply::Missing(reason) => return TargetState::Down(reason),
            Supply::Ready(worker) => worker,
        };
        let status = worker.status();
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

    fn latency(&self, asking: &Asking) -> Option<Latency> {
        match self.supply() {
            Supply::Ready(_) => self.admission.predict(asking, self.load_left()),
            Supply::Fetching | Supply::Missing(_) => None,
        }
    }

    fn load(&self) -> Option<Load> {
        Some(self.admission.load())
    }

    async fn engine_counts(&self) -> Option<EngineCounts> {
        let Supply::Ready(worker) = self.supply() else { return None };
        let ready = worker.status().ready?;
        let run = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // One that has answered nothing yet has counted nothing.
        run.filter(|run| run.generation == ready.generation)?.slots.counts().await
    }

    fn warm(&self) {
        if let Supply::Ready(worker) = self.supply()
            && worker.status().state == StateName::Stopped
        {
            tokio::spawn(async move {
                // What is wrong with it is in its status.
                let _ = worker.ensure_ready().await;
            });
        }
    }

    async fn prepare(&self) -> Result<(), TargetFailure> {
        let worker = self.worker().await?;
        self.run(&worker).await.map(drop)
    }

    /// Waits for engine and model, for the worker, and for a slot, in this order.
    async fn lead(&self, asking: &Asking) -> Result<Lead, TargetFailure> {
        let place = self.admission.join(asking, self.load_left()).map_err(not_seated)?;
        let worker = self.worker().await?;
        let run = self.run(&worker).await?;
        let seat = place.seat(asking, run.generation, run.slots).await.map_err(not_seated)?;
        Ok(Lead { destination: run.destination, generation: run.generation, seat: Some(seat) })
    }

    fn continues_prefix(&self) -> bool {
        self.settings.continues_prefix
    }

    fn observe(&self, observation: &Observation) {
        let lost = [Outcome::ConnectFailed, Outcome::ConnectionLost, Outcome::Interrupted];
        if lost.contains(&observation.outcome)
            && let Supply::Ready(worker) = self.supply()
        {
            worker.report_lost(observation.generation);
        }
    }
}

fn not_seated(why: NotSeated) -> TargetFailure {
    let (detail, retry_after) = match why {
        NotSeated::QueueFull { retry_after } => ("its queue is full", retry_after),
        NotSeated::WaitedTooLong { retry_after } => ("no slot was free within the limit", retry_after),
    };
    TargetFailure { retry_after: Some(retry_after), ..TargetFailure::new(Outcome::QueueFull, detail) }
}
