//! What every request shares: configuration, targets, metrics, conversations, and the number of requests that may run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use account::Metrics;
use account::ledger::LedgerHealth;
use dispatch::Dispatcher;
use policy::TargetId;
use tokio::sync::{Semaphore, watch};
use traces::Exporter;
use worker::Worker;

use crate::classifier::ENTITIES;
use crate::config::Config;
use crate::conversation::Conversations;
use crate::fetch::Board;
use crate::history::History;
use crate::learning::Learning;
use crate::moment::LocalClock;
use crate::outbox::Outbox;
use crate::policies::{self, Context, Policies};
use crate::recall::Recall;
use crate::recording::{NoRecording, Recording};
use crate::signals::Signals;
use crate::token_counts::TokenCounts;
use crate::unix_time::now_s;

/// The local workers that there are, each with its target. Grows while engine and models are fetched.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Mutex<Vec<(TargetId, Worker)>>>);

impl Workers {
    pub(crate) fn add(&self, target: TargetId, worker: Worker) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((target, worker));
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<(TargetId, Worker)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The composed gateway.
pub(crate) struct Gateway {
    pub config: Config,
    pub dispatcher: Dispatcher,
    pub metrics: Metrics,
    pub workers: Workers,
    /// What is being fetched now.
    pub fetches: Arc<Board>,
    pub policies: Policies,
    pub signals: Signals,
    pub token_counts: TokenCounts,
    pub history: History,
    pub conversations: Conversations,
    pub clock: LocalClock,
    /// `None` where nothing is learnt.
    pub learning: Option<Learning>,
    /// What is kept for later, or why nothing is.
    pub outbox: Result<Arc<Outbox>, String>,
    /// `None` where no answer is given again.
    pub recall: Option<Arc<Recall>>,
    /// The ledger, or why there is none.
    pub recording: Result<Recording, NoRecording>,
    /// `None` where no traces are exported.
    pub traces: Option<Exporter>,
    pub in_flight: Arc<Semaphore>,
    /// Held while metrics are shown: what is counted elsewhere is caught up with by one at a time.
    pub showing_metrics: tokio::sync::Mutex<()>,
    /// Unix time of the start, in seconds; the `created` of every model.
    pub started_s: u64,
    stage: watch::Sender<Stage>,
    /// Held by what is settled and may run beside the serving threads: what is left of them says whether all is.
    sessions: Arc<()>,
}

/// How far a gateway is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// What runs may finish.
    Draining,
    /// Nothing may.
    CutOff,
}

/// Held while something is served.
pub(crate) struct Served(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Gateway {
    pub(crate) fn new(
        config: Config,
        dispatcher: Dispatcher,
        metrics: Metrics,
        workers: Workers,
        policies: Policies,
        signals: Signals,
        token_counts: TokenCounts,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(config.limits.in_flight_max));
        policies::show(&policies.in_force(), &metrics);
        metrics.show_classifier(signals.has_classifier());
        Self {
            config,
            dispatcher,
            metrics,
            workers,
            fetches: Arc::default(),
            conversations: Conversations::new(),
            history: History::new(Instant::now()),
            policies,
            signals,
            token_counts,
            clock: LocalClock::default(),
            learning: None,
            outbox: Err("it was not opened".to_owned()),
            recall: None,
            recording: Err(NoRecording::off("it was not opened")),
            traces: None,
            in_flight,
            showing_metrics: tokio::sync::Mutex::default(),
            started_s: now_s(),
            stage: watch::Sender::new(Stage::Serving),
            sessions: Arc::new(()),
        }
    }

    /// Loads the policies anew, and learnt heads where others are active, on a thread of its own; the last good ones stay when something is wrong with the new.
    ///
    /// # Errors
    /// Everything wrong with them, as one text.
    pub(crate) async fn reload_policies(self: &Arc<Self>) -> Result<(), String> {
        let gateway = Arc::clone(self);
        let reload = move || {
            let reloaded = gateway.policies.reload(&Context::of(&gateway.config), &gateway.metrics);
            gateway.signals.take_up(&gateway.config, gateway.policies.in_force().reads(ENTITIES));
            reloaded.map(drop)
        };
        let done = tokio::task::spawn_blocking(reload).await.map_err(|error| error.to_string())?;
        done.map_err(|errors| errors.to_string())
    }

    /// How the ledger fares; `None` where none is wanted.
    pub(crate) fn ledger_health(&self) -> Option<LedgerHealth> {
        self.recording.as_ref().map_or_else(NoRecording::health, |recording| Some(recording.health()))
    }

    /// Whether nothing may be answered now, as the operator demands that it is recorded and it could not be.
    pub(crate) fn forbids_unrecorded(&self) -> bool {
        self.recording.as_ref().is_ok_and(Recording::forbids)
    }

    /// From now on not ready, and connections are closed after their request.
    pub(crate) fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    /// From now on nothing is sent beside the serving threads: whatever is, is dropped, and so settled.
    pub(crate) fn cut_off(&self) {
        self.stage.send_replace(Stage::CutOff);
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.stage.borrow() != Stage::Serving
    }

    /// Resolves once the gateway drains.
    pub(crate) async fn drains(&self) {
        self.comes_to(Stage::Draining).await;
    }

    /// Resolves once nothing may be sent any more.
    pub(crate) async fn is_cut_off(&self) {
        self.comes_to(Stage::CutOff).await;
    }

    async fn comes_to(&self, stage: Stage) {
        // Fails only when the sender is gone, which is a part of this.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// To be held by who serves something that no connection waits for, from before it begins until after it is settled.
    pub(crate) fn serving(&self) -> Served {
        Served(Arc::clone(&self.sessions))
    }

    /// Whether nothing of that kind is served.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.sessions) == 1
    }
}
