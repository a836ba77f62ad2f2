//! The way from a place in the queue to a seat. Dropping it at any moment makes room for the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;
use super::line::{Granted, Ticket};
use super::seat::{Expected, Seat, Worked};
use crate::asking::Asking;
use crate::worker_slots::WorkerSlots;

/// Why a request got no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSeated {
    /// As many wait as may.
    QueueFull {
        /// When all that wait now will have been served.
        retry_after: Duration,
    },
    /// It waited as long as it may.
    WaitedTooLong {
        /// When all that wait now will have been served.
        retry_after: Duration,
    },
}

/// A place in the queue.
pub(crate) struct Place {
    shared: Arc<Shared>,
    expected: Expected,
}

/// A request that stands in the line.
struct InLine {
    shared: Arc<Shared>,
    ticket: Ticket,
    is_over: bool,
}

impl Place {
    pub(super) fn new(shared: Arc<Shared>, expected: Expected) -> Self {
        Self { shared, expected }
    }

    /// Waits for a slot of the run `generation` of the worker, which is ready. Dropping the future gives the place up.
    ///
    /// # Errors
    /// [`NotSeated::WaitedTooLong`].
    pub(crate) async fn seat(
        self,
        asking: &Asking,
        generation: u64,
        slots: Arc<WorkerSlots>,
    ) -> Result<Seat, NotSeated> {
        let shared = &self.shared;
        let (waker, woken) = oneshot::channel();
        let mut in_line = {
            let mut state = shared.lock();
            state.enter_generation(generation, shared.limits.slots);
            let mut need = asking.need(&shared.limits, &state.speed);
            need.unread = state.speed.unread(need.uncached(state.cached(&need, None)));
            let ticket = state.line.join(need);
            state.wakers.insert(ticket, waker);
            state.advance();
            InLine { shared: Arc::clone(shared), ticket, is_over: false }
        };
        match timeout(shared.limits.wait_max, woken).await {
            Ok(Ok(Granted { ticket, uncached, slot })) => {
                in_line.is_over = true;
                shared.meter.seated(&shared.target, self.expected.since.elapsed());
                let worked = Worked { asking: asking.clone(), uncached, expected: self.expected, generation, slots };
                Ok(Seat::new(Arc::clone(shared), ticket, slot, worked))
            }
            _ => Err(NotSeated::WaitedTooLong { retry_after: shared.retry_after(&shared.lock()) }),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.lock().queued -= 1;
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.shared.lock();
        state.wakers.remove(&self.ticket);
        // Granted already, but nobody took it: given on.
        if !state.line.leave(self.ticket) {
            state.line.release(self.ticket);
        }
        state.advance();
    }
}
