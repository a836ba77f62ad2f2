//! What waits to be exported. Handing over costs a lock and a move; the exporter is woken once for a batch.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::TracedExchange;

/// The queue between those who settle and the one who exports.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// The exporter waits for it.
    filled: Notify,
    /// So many wait at most.
    limit: usize,
    /// So many are a batch; at so many the exporter does not wait for more.
    batch: usize,
}

#[derive(Default)]
struct State {
    waiting: Vec<TracedExchange>,
    /// The exporter sleeps until something comes.
    is_idle: bool,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(limit: usize, batch: usize) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), limit, batch }
    }

    /// Takes one in, unless the queue is full or closed.
    pub(crate) fn push(&self, exchange: TracedExchange) -> bool {
        let mut state = self.lock();
        if state.is_closed || state.waiting.len() >= self.limit {
            return false;
        }
        state.waiting.push(exchange);
        let is_wanted = state.is_idle || state.waiting.len() == self.batch;
        drop(state);
        if is_wanted {
            self.filled.notify_one();
        }
        true
    }

    /// The next batch: waits until there is something, and then for as long as `gather` for more. `None` once the queue is closed
    /// and empty.
    pub(crate) async fn take(&self, gather: Duration) -> Option<Vec<TracedExchange>> {
        while self.sleeps() {
            self.filled.notified().await;
        }
        let due = Instant::now() + gather;
        while self.has_room() && timeout_at(due, self.filled.notified()).await.is_ok() {}
        let mut state = self.lock();
        let count = state.waiting.len().min(self.batch);
        (count > 0).then(|| state.waiting.drain(..count).collect())
    }

    /// Takes no more in.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Whether there is nothing and something may still come.
    fn sleeps(&self) -> bool {
        let mut state = self.lock();
        state.is_idle = state.waiting.is_empty() && !state.is_closed;
        state.is_idle
    }

    /// Whether a batch is not full and may still be.
    fn has_room(&self) -> bool {
        let state = self.lock();
        state.waiting.len() < self.batch && !state.is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
