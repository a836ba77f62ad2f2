//! What waits to be written: the texts of records, one behind the other. Handing one over costs a lock and a copy; the writer is woken once for a
//! batch, and gives its memory back for the next.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::block::{self, BETWEEN, FoundBy, RECORDS_MAX};

/// At so many the writer does not wait for more: a longer run of it makes those who answer requests wait for a processor.
const BATCH_ENOUGH: usize = 2 * RECORDS_MAX;
/// Bytes of memory that a batch keeps for the next one.
const KEPT_BYTES: usize = 1 << 20;

/// Records that are written in one transaction.
#[derive(Default)]
pub(super) struct Batch {
    /// Of all of them, with something between.
    texts: Vec<u8>,
    entries: Vec<Entry>,
}

/// One record of a batch.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Where its text ends.
    end: usize,
    pub(super) found_by: FoundBy,
}

impl Batch {
    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The earliest of their times; the latest there is where there is no record.
    pub(super) fn earliest_ms(&self) -> u64 {
        self.entries.iter().map(|entry| entry.found_by.at_ms).min().unwrap_or(u64::MAX)
    }

    /// The blocks that they make: the records of each with their texts.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (&[Entry], &[u8])> {
        let (mut left, mut begin) = (&self.entries[..], 0);
        std::iter::from_fn(move || {
            let ends = std::iter::once(begin).chain(left.iter().map(|entry| entry.end));
            let lengths = left.iter().zip(ends).map(|(entry, before)| (entry.found_by, entry.end - before));
            let (block, others) = left.split_at(block::next(lengths));
            let end = block.last()?.end;
            let texts = self.texts.get(begin..end).unwrap_or_default();
            (left, begin) = (others, end + 1);
            Some((block, texts))
        })
    }

    fn push(&mut self, text: &[u8], found_by: FoundBy) {
        if !self.texts.is_empty() {
            self.texts.push(BETWEEN);
        }
        self.texts.extend_from_slice(text);
        self.entries.push(Entry { end: self.texts.len(), found_by });
    }

    /// Takes everything out.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.texts.shrink_to(KEPT_BYTES);
        self.entries.clear();
        self.entries.shrink_to(KEPT_BYTES / size_of::<Entry>());
    }
}

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
    waiting: Batch,
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
    pub(super) fn push(&self, text: &[u8], found_by: FoundBy) -> bool {
        let mut state = self.lock();
        if state.is_closed || state.waiting.len() >= self.limit {
            return false;
        }
        if state.waiting.len() == 0 {
            state.since[0] = Some(Instant::now());
        }
        state.waiting.push(text, found_by);
        state.taken += 1;
        if state.is_idle || state.waiting.len() == BATCH_ENOUGH {
            self.filled.notify_one();
        }
        true
    }

    /// The next batch, in `batch`, which is empty: waits until there is something, and then for as long as `gather` for more. Where
    /// nothing comes for as long as `quiet` it is [`Next::Quiet`].
    pub(super) fn take(&self, batch: &mut Batch, gather: Duration, quiet: Option<Duration>) -> Next {
        let mut state = self.lock();
        state.is_idle = true;
        while state.waiting.len() == 0 && !state.is_closed {
            let Some(quiet) = quiet else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (locked, waited) = self.filled.wait_timeout(state, quiet).unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if waited.timed_out() && state.waiting.len() == 0 {
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
        std::mem::swap(&mut state.waiting, batch);
        if batch.len() == 0 { Next::Closed } else { Next::Batch }
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
