//! The real effects: child processes and health probes. Each call hands work to a thread or a task and returns.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::child::ChildProcess;
use crate::config::WorkerConfig;
use crate::effects::Effects;
use crate::health;
use crate::log::{ChildLog, LogFile};
use crate::machine::{Event, ProbeOutcome, Signal};
use crate::status::Endpoint;

/// The child of one worker; at most one lives at a time. Dropping this kills it.
pub(crate) struct Processes {
    config: Arc<WorkerConfig>,
    events: mpsc::Sender<Event>,
    file: Arc<LogFile>,
    current: Option<Current>,
}

struct Current {
    generation: u64,
    child: ChildProcess,
    log: Arc<ChildLog>,
}

impl Processes {
    /// No child yet; what happens to later ones is sent to `events`.
    pub(crate) fn new(config: Arc<WorkerConfig>, events: mpsc::Sender<Event>) -> Self {
        let file = Arc::new(LogFile::new(&config.log_dir, &config.name, config.log_bytes_max));
        Self { config, events, file, current: None }
    }

    fn of(&self, generation: u64) -> Option<&Current> {
        self.current.as_ref().filter(|current| current.generation == generation)
    }
}

impl Effects for Processes {
    fn spawn(&mut self, generation: u64) {
        let log = Arc::new(ChildLog::new(self.config.name.clone(), Arc::clone(&self.file)));
        let child = ChildProcess::start(Arc::clone(&self.config), generation, Arc::clone(&log), self.events.clone());
        self.current = Some(Current { generation, child, log });
    }

    fn signal(&mut self, generation: u64, signal: Signal) {
        if let Some(current) = self.of(generation) {
            current.child.signal(signal);
        }
    }

    fn probe(&mut self, generation: u64, number: u64, endpoint: &Endpoint, timeout: Duration) {
        let (events, endpoint) = (self.events.clone(), endpoint.clone());
        tokio::spawn(async move {
            let outcome: ProbeOutcome = health::probe(&endpoint, timeout).await;
            // Fails only when the owner task is gone.
            let _ = events.send(Event::Probed { generation, number, outcome }).await;
        });
    }

    fn serving_begins(&mut self, generation: u64) {
        if let Some(current) = self.of(generation) {
            current.log.serving_begins();
        }
    }
}
