//! One answer that several callers wait for. The work belongs to none of them: whoever needs the next piece drives it, whoever leaves
//! takes nothing along, and when the last one has left it is dropped at that moment.
//!
//! Nothing is read from a target before one of the callers has taken what came before. Each caller has all pieces at its own pace; the
//! last so many bytes are held, and who falls further behind than that is cut off.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use account::responses::ResponseKey;
use bytes::Bytes;
use dispatch::{AttemptRecord, Journal, Trace};
use policy::{Locality, TargetId};

mod state;

use state::State;
pub(super) use state::{End, Head, Next};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
/// What is asked for, and in which form.
type Name = (ResponseKey, bool);

/// All answers that are being given now and may be shared.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<Name, Arc<Flight>>>);

/// What a caller brings who wants to share.
pub(super) struct Joining {
    pub key: ResponseKey,
    pub is_stream: bool,
    /// Whom its plan tries.
    pub targets: Vec<TargetId>,
    /// Whether an answer will do that was begun before.
    pub may_join: bool,
    /// How long ago it may have begun.
    pub age_max: Duration,
    /// How many bytes are held of it, so that it can be kept and joined.
    pub keep_bytes_max: usize,
    /// How many bytes are held for who is behind.
    pub lag_bytes_max: usize,
    /// The trace that tries are part of which are made for this caller.
    pub trace: Option<Box<Trace>>,
}

/// One answer that is being given.
pub(super) struct Flight {
    name: Name,
    targets: Vec<TargetId>,
    begun: Instant,
    pub(super) journal: Arc<Journal>,
    state: Mutex<State>,
    work: Mutex<Option<Work>>,
}

/// The place of one caller. Left when it is dropped at the latest.
pub(crate) struct Seat {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    id: u64,
    leads: bool,
}

impl Flights {
    /// A seat of an answer that is being given, or that `work` will give. `None` where another one is being given that this caller may
    /// not share.
    pub(super) fn enter(
        self: &Arc<Self>,
        joining: Joining,
        work: impl FnOnce(&Arc<Flight>) -> Work,
    ) -> Option<Arc<Seat>> {
        let Joining { key, is_stream, targets, may_join, age_max, keep_bytes_max, lag_bytes_max, trace } = joining;
        let mut running = self.running();
        // Who wants it in one piece can take a stream, too; a stream is worth nothing when it comes at once.
        for name in [(key, is_stream), (key, true)] {
            let Some(flight) = running.get(&name) else { continue };
            let is_allowed = may_join
                && flight.begun.elapsed() <= age_max
                && flight.targets.iter().all(|target| targets.contains(target));
            match flight.sit(is_allowed) {
                Joined::Yes(id) => {
                    let flight = Arc::clone(flight);
                    return Some(Arc::new(Seat { flights: Arc::clone(self), flight, id, leads: false }));
                }
                Joined::No if name.1 == is_stream => return None,
                Joined::No | Joined::Over => {}
            }
        }
        let flight = Arc::new(Flight {
            name: (key, is_stream),
            targets,
            begun: Instant::now(),
            journal: Arc::new(Journal::traced(trace)),
            state: Mutex::new(State { keep_bytes_max, lag_bytes_max, ..State::default() }),
            work: Mutex::new(None),
        });
        *lock(&flight.work) = Some(work(&flight));
        let Joined::Yes(id) = flight.sit(true) else { return None };
        running.insert(flight.name, Arc::clone(&flight));
        Some(Arc::new(Seat { flights: Arc::clone(self), flight, id, leads: true }))
    }

    /// How many callers wait for answers that may be shared, or read them.
    pub(super) fn callers(&self) -> usize {
        self.running().values().map(|flight| flight.state().seats.len()).sum()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Name, Arc<Flight>>> {
        lock(&self.0)
    }
}

enum Joined {
    Yes(u64),
    No,
    /// It is given already; what is kept of it is in the store.
    Over,
}

impl Flight {
    fn sit(&self, is_allowed: bool) -> Joined {
        let mut state = self.state();
        if state.is_over() {
            return Joined::Over;
        }
        if !is_allowed || state.first > 0 {
            return Joined::No;
        }
        let id = state.next_seat;
        state.next_seat += 1;
        state.seats.insert(id, None);
        state.payer.get_or_insert(id);
        Joined::Yes(id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made in one step; a panic leaves nothing half done.
        lock(&self.state)
    }

    /// Says what kind of answer it is and who gives it.
    pub(super) fn begin(&self, head: Head, target: Option<(TargetId, Locality)>, first_content_at: Option<Instant>) {
        let mut state = self.state();
        state.changes += 1;
        (state.head, state.target, state.first_content_at) = (Some(head), target, first_content_at);
    }

    /// Resolves when somebody wants the next piece. To be awaited by the work alone: whoever wants it drives the work.
    pub(super) async fn wanted(&self) {
        poll_fn(|_| {
            let state = self.state();
            if state.wanted > state.first + state.pieces.len() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Adds the next piece, whole events of `target`, and the end where this was the last.
    pub(super) fn push(&self, piece: Bytes, target: &(TargetId, Locality), end: Option<End>) {
        let mut state = self.state();
        state.changes += 1;
        state.bytes += piece.len();
        state.pieces.push_back(piece);
        // For one caller alone nothing has to be held but what it may still be kept of.
        let is_shared = state.seats.len() > 1;
        let limit = if is_shared { state.lag_bytes_max.max(state.keep_bytes_max) } else { state.keep_bytes_max };
        while state.bytes > limit && state.pieces.len() > 1 {
            let gone = state.pieces.pop_front().map_or(0, |piece| piece.len());
            state.bytes -= gone;
            state.first += 1;
        }
        (state.target, state.end) = (Some(target.clone()), end);
    }

    /// Ends the stream.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state();
        state.changes += 1;
        state.end = Some(end);
    }

    /// All events so far, as long as they are held from the first on.
    pub(super) fn so_far(&self) -> Option<Vec<u8>> {
        let state = self.state();
        (state.first == 0).then(|| state.pieces.iter().flat_map(|piece| piece.iter().copied()).collect())
    }

    /// The answer was kept.
    pub(super) fn kept(&self) {
        self.state().is_kept = true;
    }

    /// Takes a seat away: what it has to account for, if anything, and whether it was the last.
    fn stand_up(&self, id: u64) -> Option<(bool, bool)> {
        let mut state = self.state();
        state.seats.remove(&id)?;
        let is_last = state.seats.is_empty();
        let is_payer = state.payer == Some(id);
        let pays = is_payer && (is_last || state.is_over());
        if is_payer {
            state.payer = state.seats.keys().next().copied().filter(|_| !pays);
        }
        Some((pays, is_last))
    }
}

/// Something that the work waits for has happened: whoever waits may drive it on.
impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        let wakers = self.state().wakers();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Seat {
    /// Whether this caller was the first.
    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    /// Whether the answer comes as a stream.
    pub(super) fn is_stream(&self) -> bool {
        self.flight.name.1
    }

    /// Who answers, and when its first content came.
    pub(super) fn answering(&self) -> (Option<(TargetId, Locality)>, Option<Instant>) {
        let state = self.flight.state();
        (state.target.clone(), state.first_content_at)
    }

    /// Whether the answer was kept for the next caller.
    pub(super) fn is_kept(&self) -> bool {
        self.flight.state().is_kept
    }

    /// What was tried so far, for all.
    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.flight.journal
    }

    /// Waits until it is known what kind of answer it is. Cancel-safe.
    pub(super) async fn begun(&self) -> Head {
        poll_fn(|cx| self.poll(cx, |state| state.head.clone())).await
    }

    /// Waits for the pieces from number `at` on. Cancel-safe.
    pub(super) async fn next(&self, at: usize) -> Next {
        poll_fn(|cx| self.poll(cx, |state| state.next(at))).await
    }

    /// Leaves; what was tried, where this caller has to account for it. The last one ends the work.
    pub(crate) fn leave(&self) -> Option<Vec<AttemptRecord>> {
        let mut running = self.flights.running();
        let (pays, is_last) = self.flight.stand_up(self.id)?;
        if is_last && running.get(&self.flight.name).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            running.remove(&self.flight.name);
        }
        drop(running);
        if is_last {
            let work = lock(&self.flight.work).take();
            // Ends what is being tried, so that the journal knows how.
            drop(work);
        }
        pays.then(|| self.flight.journal.records())
    }

    /// Looks for what `ready` wants, and drives the work as long as it is not there.
    fn poll<T>(&self, cx: &Context<'_>, ready: impl Fn(&mut State) -> Option<T>) -> Poll<T> {
        loop {
            let before = {
                let mut state = self.flight.state();
                if let Some(found) = ready(&mut state) {
                    return Poll::Ready(found);
                }
                state.seats.insert(self.id, Some(cx.waker().clone()));
                state.changes
            };
            let Some(mut work) = self.try_drive() else { return Poll::Pending };
            let Some(mut running) = work.take() else {
                self.flight.state().give_up();
                continue;
            };
            let waker = Waker::from(Arc::clone(&self.flight));
            let is_pending = running.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
            if is_pending {
                *work = Some(running);
            }
            drop(work);
            let mut state = self.flight.state();
            let found = ready(&mut state);
            if found.is_some() {
                state.seats.insert(self.id, None);
            }
            let concerns_others = std::mem::take(&mut state.missed) || state.changes != before || !is_pending;
            let others = if concerns_others { state.wakers() } else { Vec::new() };
            drop(state);
            others.into_iter().for_each(Waker::wake);
            match found {
                Some(found) => return Poll::Ready(found),
                None if is_pending => return Poll::Pending,
                None => {}
            }
        }
    }

    /// The work, unless another caller drives it; that one wakes all others then.
    fn try_drive(&self) -> Option<MutexGuard<'_, Option<Work>>> {
        for last in [false, true] {
            match self.flight.work.try_lock() {
                Ok(work) => return Some(work),
                // A panic of the work has left nothing behind.
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if last => return None,
                Err(TryLockError::WouldBlock) => self.flight.state().missed = true,
            }
        }
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Has been left before, by whoever accounts for it.
        let _ = self.leave();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
