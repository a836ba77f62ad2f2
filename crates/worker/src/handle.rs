//! The handle that callers hold: messages to the owner task, and the published state. Owns no state itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::WorkerConfig;
use crate::effects::{EVENTS_MAX, Effects};
use crate::error::StartError;
use crate::process::Processes;
use crate::status::{Ready, Status};
use crate::supervisor::{self, Message, Supervisor};

/// Messages on their way to the owner task; senders wait when it is full.
const MESSAGES_MAX: usize = 256;

/// A supervised `llama-server`. Clones share one child; dropping the last clone stops it.
#[derive(Debug, Clone)]
pub struct Worker {
    messages: mpsc::Sender<Message>,
    status: watch::Receiver<Status>,
    suspected: Arc<AtomicU64>,
}

impl Worker {
    /// Spawns the owner task on the current tokio runtime; the child follows on first need, or at once when `eager`.
    ///
    /// Never fails: what is wrong with the configuration is told by [`Worker::ensure_ready`]. When the runtime is shut
    /// down the child is killed.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn start(config: WorkerConfig) -> Self {
        let config = Arc::new(config);
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let processes = Processes::new(Arc::clone(&config), events);
        Self::start_with(&config, processes, received)
    }

    /// [`Worker::start`] with other effects: how the supervisor is tested without processes.
    pub(crate) fn start_with<E: Effects>(
        config: &WorkerConfig,
        effects: E,
        events: mpsc::Receiver<crate::machine::Event>,
    ) -> Self {
        let (messages, inbox) = mpsc::channel(MESSAGES_MAX);
        let suspected = Arc::new(AtomicU64::new(supervisor::NONE_SUSPECTED));
        let (supervisor, status) = Supervisor::new(config, effects, events, inbox, Arc::clone(&suspected));
        tokio::spawn(supervisor.run());
        Self { messages, status, suspected }
    }

    /// Waits until a child is ready, starting one if there is none.
    ///
    /// A hundred callers start one child. Dropping the future gives up waiting and nothing else: a start goes on. There
    /// is no deadline in here; the caller puts its own around it.
    ///
    /// # Errors
    /// At once while the worker has given up (see [`WorkerConfig::start_attempts_max`]) or is being stopped; otherwise
    /// when the start it waited for was the last that is tried.
    pub async fn ensure_ready(&self) -> Result<Ready, StartError> {
        if let Some(ready) = self.known_ready() {
            return Ok(ready);
        }
        let (reply, answer) = oneshot::channel();
        self.messages.send(Message::Needed(reply)).await.map_err(|_| StartError::Gone)?;
        answer.await.unwrap_or(Err(StartError::Gone))
    }

    /// Tells that a connection to the child of that generation failed. The child is checked now, and until that has
    /// ended no [`Worker::ensure_ready`] that begins after this call hands it out. Does not wait; a generation that is
    /// not the current one is ignored.
    pub fn report_lost(&self, generation: u64) {
        if generation > self.status.borrow().generation {
            return;
        }
        self.suspected.fetch_max(generation, Ordering::SeqCst);
        // A full channel loses nothing: the next message makes the owner look at `suspected` first.
        let _ = self.messages.try_send(Message::Lost);
    }

    /// The state as it was last published.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The published states as they come; a slow reader sees the latest only. Does not keep the worker alive.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Stops the child: SIGTERM, then SIGKILL after `stop_timeout`; returns when it has ended. What it was answering is
    /// cut off, so drain requests first. The worker stays usable: a later need starts a child again.
    pub async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.messages.send(Message::Stop(reply)).await.is_ok() {
            // An error means that the owner task is gone, and the child with it.
            let _ = stopped.await;
        }
    }

    /// The ready child, if the published state has one that nobody reported lost: the way without a message.
    fn known_ready(&self) -> Option<Ready> {
        let status = self.status.borrow();
        let ready = status.ready.as_ref()?;
        (self.suspected.load(Ordering::SeqCst) != ready.generation).then(|| ready.clone())
    }
}
