//! What waits to be written. Handing over costs a lock and a move; the writer is woken once for a batch.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Settlement;

/// Records that are written in one transaction at most.
pub(super) const BATCH_MAX: usize = 1024;
/// At so many the writer does not wait for more: a transaction costs as much as a few records, and a longer run of the writer makes those who
/// answer requests wait for a processor.
const BATCH_ENOUGH: usize = 64;

/// The queue between those who settle and the one who writes.
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer waits for it.
    filled: Condvar,
    /// Whoever wants what was handed over to be written waits for it.
    written: Condvar,
    limit: usize,
}

/// What the writer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Write a batch.
    Batch,
    /// Nothing came for a while.
    Quiet,
    /// Nothing is left, and nothing more will come.
    Closed,
}

#[derive(Default)]
struct State {
    waiting: Vec<Settlement>,
    /// Since when the oldest of them waits, and the oldest of those that are being written.
    since: [Option<Instant>; 2],
    /// The writer sleeps until something comes.
    is_idle: bool,
    /// Somebody waits for what is here.
    is_wanted: bool,
    is_closed: bool,
    /// How many were ever taken in.
    taken: u64,
    /// How many of them are over and done with: written, or lost.
    done: u64,
    /// Why nothing can be written now.
    failure: Option<String>,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), written: Condvar::new(), limit }
    }

    /// Takes one in, unless the queue is full or closed.
    pub(super) fn push(&self, settlement: Settlement) -> bool {
        let mut state = self.lock();
        if state.is_closed || state.waiting.len() >= self.limit {
            return false;
        }
        if state.waiting.is_empty() {
            state.since[0] = Some(Instant::now());
        }
        state.waiting.push(settlement);
        state.taken += 1;
        if state.is_idle || state.waiting.len() == BATCH_ENOUGH {
            self.filled.notify_one();
        }
        true
    }

    /// The next batch, in `batch`, which is empty: waits until there is something, and then for as long as `gather` for more. Where
    /// nothing comes for as long as `quiet` it is [`Next::Quiet`].
    pub(super) fn take(&self, batch: &mut Vec<Settlement>, gather: Duration, quiet: Option<Duration>) -> Next {
        let mut state = self.lock();
        state.is_idle = true;
        while state.waiting.is_empty() && !state.is_closed {
            let Some(quiet) = quiet else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (locked, waited) = self.filled.wait_timeout(state, quiet).unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if waited.timed_out() && state.waiting.is_empty() {
                state.is_idle = false;
                return Next::Quiet;
            }
        }
        state.is_idle = false;
        let due = Instant::now() + gather;
        while state.waiting.len() < BATCH_ENOUGH && !state.is_wanted && !state.is_closed {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_wanted = false;
        state.since[1] = state.since[0].take();
        if state.waiting.len() <= BATCH_MAX {
            std::mem::swap(&mut state.waiting, batch);
        } else {
            batch.extend(state.waiting.drain(..BATCH_MAX));
            state.since[0] = state.since[1];
        }
        if batch.is_empty() { Next::Closed } else { Next::Batch }
    }

    /// So many of what was taken in are written, or lost.
    pub(super) fn done(&self, count: usize) {
        let mut state = self.lock();
        state.done += count as u64;
        (state.failure, state.since[1]) = (None, None);
        self.written.notify_all();
    }

    /// Nothing can be written now.
    pub(super) fn failed(&self, failure: String) {
        self.lock().failure = Some(failure);
        self.written.notify_all();
    }

    /// Waits before another try; false at once when the queue is closed.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let due = Instant::now() + pause;
        let mut state = self.lock();
        while !state.is_closed {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Waits until everything that was handed over before is written; false where that fails or takes longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let due = Instant::now() + limit;
        let mut state = self.lock();
        let wanted = state.taken;
        while state.done < wanted {
            let left = due.saturating_duration_since(Instant::now());
            if state.failure.is_some() || left.is_zero() {
                return false;
            }
            state.is_wanted = true;
            self.filled.notify_one();
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Takes no more in.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// How many are not written yet, how long the oldest waits, and why where that has a reason.
    pub(super) fn waiting(&self) -> (u64, Duration, Option<String>) {
        let state = self.lock();
        let [next, written] = state.since;
        let lag = written.or(next).map_or(Duration::ZERO, |since| since.elapsed());
        (state.taken - state.done, lag, state.failure.clone())
    }

    /// Whether another one would be taken in and can be written as far as is known.
    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        !state.is_closed && state.failure.is_none() && state.waiting.len() < self.limit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
