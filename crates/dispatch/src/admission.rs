//! Admission to one worker: a slot for each request, a queue in front with a limit on its length and on the wait, and the
//! measurements that tell what a request that comes now has to expect.
//!
//! The queue is ours and not the engine's: who leaves it is gone at once, it is fair, and what it holds is known. The rules
//! are in `line`, the arithmetic in `forecast`; here they are waited for.

mod line;
mod seat;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use policy::{Latency, Prediction, TargetId};
use tokio::sync::oneshot;

pub use line::Flow;
pub(crate) use line::Need;
use line::{Granted, Line, Running, Ticket};
use seat::Expected;
pub(crate) use seat::Seat;
pub(crate) use waiting::{NotSeated, Place};

use crate::asking::Asking;
use crate::forecast::{Before, Cached, Caches, EngineSpeed};
use crate::meter::{Meter, Situation};

/// Shortest `Retry-After`.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// Longest `Retry-After`: beyond it the measurements say nothing.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// The limits of a worker's queue, and what it serves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Requests answered at the same time; at least 1.
    pub slots: usize,
    /// Tokens of prompts that the engine reads at once (its batch).
    pub batch_tokens: u64,
    /// Requests that may wait for a slot, or for the worker to be ready.
    pub queue_max: usize,
    /// Longest wait for a slot of a worker that is ready.
    pub wait_max: Duration,
}

/// How busy a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Slots in use, those included that are being freed.
    pub busy: usize,
    /// All slots.
    pub slots: usize,
    /// Requests that wait for a slot or for the worker.
    pub queued: usize,
}

/// Admission to one worker. Clones share it.
#[derive(Clone)]
pub(crate) struct Admission {
    shared: Arc<Shared>,
}

struct Shared {
    target: TargetId,
    limits: AdmissionLimits,
    meter: Arc<dyn Meter>,
    state: Mutex<State>,
}

struct State {
    line: Line,
    caches: Caches,
    speed: EngineSpeed,
    /// The run of the worker that `caches` is of.
    generation: u64,
    /// Who waits in `line`.
    wakers: HashMap<Ticket, oneshot::Sender<Granted>>,
    /// Requests with a place and without a seat.
    queued: usize,
}

impl Admission {
    /// In front of a worker whose load is assumed to take `load_ms` until it was measured.
    pub(crate) fn new(target: TargetId, limits: AdmissionLimits, load_ms: f64, meter: Arc<dyn Meter>) -> Self {
        let state = State {
            line: Line::new(limits.slots, limits.batch_tokens),
            caches: Caches::new(limits.slots),
            speed: EngineSpeed::new(limits.batch_tokens, load_ms),
            generation: 0,
            wakers: HashMap::new(),
            queued: 0,
        };
        Self { shared: Arc::new(Shared { target, limits, meter, state: Mutex::new(state) }) }
    }

    /// A place in the queue, held until it is dropped or exchanged for a seat. `load` is how long the worker still loads.
    ///
    /// # Errors
    /// [`NotSeated::QueueFull`].
    pub(crate) fn join(&self, asking: &Asking, load: Option<Prediction>) -> Result<Place, NotSeated> {
        let mut state = self.shared.lock();
        let room = self.shared.limits.queue_max + state.line.free_slots().len();
        if state.queued >= room {
            return Err(NotSeated::QueueFull { retry_after: self.shared.retry_after(&state) });
        }
        let need = asking.need(&self.shared.limits, &state.speed);
        let latency = state.predict(&need, self.shared.limits.slots, load);
        let situation = match state.cached(&need, load) {
            _ if load.is_some() => Situation::Cold,
            _ if state.line.free_slots().len() < need.slots || state.queued > 0 => Situation::Queued,
            Cached { share, .. } if share >= 0.5 => Situation::Cached,
            _ => Situation::Warm,
        };
        let ttft_ms = latency.map(|latency| latency.ttft_ms.mean);
        state.queued += 1;
        Ok(Place::new(Arc::clone(&self.shared), Expected { situation, ttft_ms, since: Instant::now() }))
    }

    /// How busy the worker is.
    pub(crate) fn load(&self) -> Load {
        let (state, slots) = (self.shared.lock(), self.shared.limits.slots);
        Load { busy: slots - state.line.free_slots().len(), slots, queued: state.queued }
    }

    /// What a request that came now would have to expect; `load` is how long the worker still loads. `None` before anything was
    /// measured.
    pub(crate) fn predict(&self, asking: &Asking, load: Option<Prediction>) -> Option<Latency> {
        let state = self.shared.lock();
        state.predict(&asking.need(&self.shared.limits, &state.speed), self.shared.limits.slots, load)
    }

    /// The time that loading still takes when it began `elapsed` ago.
    pub(crate) fn load_left(&self, elapsed: Duration) -> Prediction {
        self.shared.lock().speed.load_left(millis(elapsed))
    }

    /// A start took this long until the worker was ready.
    pub(crate) fn loaded(&self, took: Duration) {
        self.shared.lock().speed.loaded(millis(took));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made in one step; a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When everything that waits now will have been served, going by how long slots were used.
    fn retry_after(&self, state: &State) -> Duration {
        let rounds = (state.queued + 1).div_ceil(self.limits.slots.max(1));
        let ms = state.speed.service_ms() * rounds as f64;
        let wait = Duration::try_from_secs_f64(ms.max(0.0) / 1000.0).unwrap_or(RETRY_AFTER_MAX);
        wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }

    /// Gives a slot back that is free again.
    fn release(&self, ticket: Ticket) {
        let mut state = self.lock();
        state.line.release(ticket);
        state.advance();
    }
}

impl State {
    /// Lets everybody go who may go now.
    fn advance(&mut self) {
        while let Some(granted) = self.line.grant(&self.caches, &self.speed) {
            let told = self.wakers.remove(&granted.ticket).is_some_and(|waker| waker.send(granted).is_ok());
            if !told {
                // Its caller left in this moment.
                self.line.release(granted.ticket);
            }
        }
    }

    /// Of a new run of the worker nothing is cached.
    fn enter_generation(&mut self, generation: u64, slots: usize) {
        if generation > self.generation {
            self.generation = generation;
            self.caches = Caches::new(slots);
        }
    }

    fn predict(&self, need: &Need, slots: usize, load: Option<Prediction>) -> Option<Latency> {
        let running: Vec<_> = self.line.running().iter().map(before_running).collect();
        let ahead = self.line.ahead_of(need.flow);
        let queued: Vec<_> = ahead.into_iter().map(Need::before).collect();
        let unread = self.speed.unread(need.uncached(self.cached(need, load)));
        self.speed.predict(unread, slots, &running, &queued, load)
    }

    /// What is cached for a request, if it gets the slot that serves it best. A worker that is yet to be loaded has nothing.
    fn cached(&self, need: &Need, load: Option<Prediction>) -> Cached {
        match load {
            Some(_) => Cached { share: 0.0, slot: None },
            None => self.caches.cached(&need.prefixes, |_| true),
        }
    }
}

fn before_running(running: &Running) -> Before {
    Before { unread: running.unread, output: running.output }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Milliseconds since `begun`.
fn millis_since(begun: Instant) -> f64 {
    millis(begun.elapsed())
}

#[cfg(test)]
mod tests;
