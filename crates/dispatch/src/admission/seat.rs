//! A slot of the worker in use: what is seen of the answer goes to the measurements, and when the answer is not read to its end
//! the slot counts as used until the worker has freed it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::{ChatChunk, PromptProgress, Timings};

use super::line::Ticket;
use super::{Shared, millis_since};
use crate::asking::Asking;
use crate::http1::Unheard;
use crate::meter::Situation;
use crate::worker_slots::{Seen, WorkerSlots};

/// Pause between two looks at a slot that is to be freed.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest wait for a slot to be freed. Past it the next request is sent all the same, and waits inside the worker.
const FREED_MAX: Duration = Duration::from_secs(30);
/// Looks without an answer after which nothing is to be learnt from more of them.
const UNANSWERED_MAX: u32 = 5;
/// Looks that have to show a slot free whose request may still be on its way to it.
const LOOKS_OF_UNSEEN: u32 = 3;

/// What was expected of a request when it came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) situation: Situation,
    /// Time to first token; `None` before anything was measured.
    pub(crate) ttft_ms: Option<f64>,
    /// When it came.
    pub(crate) since: Instant,
}

/// What a seat was taken for.
pub(super) struct Worked {
    pub(super) asking: Asking,
    /// Tokens of its prompt that are not cached, estimated.
    pub(super) uncached: f64,
    pub(super) expected: Expected,
    pub(super) generation: u64,
    pub(super) slots: Arc<WorkerSlots>,
}

/// A slot in use. Dropped before [`Self::finish`], it is given on when the worker has freed it.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    ticket: Ticket,
    slot: Option<usize>,
    worked: Worked,
    seated: Instant,
    /// Others that had slots when this one was taken.
    beside: usize,
    /// As the worker told last.
    progress: Option<PromptProgress>,
    first_token: Option<Instant>,
    /// From being seated to the first token, until it was taken into account.
    unaccounted_ms: Option<f64>,
    tokens: u64,
    is_finished: bool,
    /// Whether the worker has begun with the request.
    unheard: Unheard,
    /// The caller has left it: how long the slot takes to be free is measured.
    is_left: bool,
}

impl Seat {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket, slot: Option<usize>, worked: Worked) -> Self {
        let beside = shared.lock().line.running().len().saturating_sub(1);
        let (progress, first_token, unaccounted_ms, tokens) = (None, None, None, 0);
        let seated = Instant::now();
        Self {
            shared,
            ticket,
            slot,
            worked,
            seated,
            beside,
            progress,
            first_token,
            unaccounted_ms,
            tokens,
            is_finished: false,
            unheard: Unheard::default(),
            is_left: false,
        }
    }

    /// The slot to ask for; `None` where the worker picks.
    pub(crate) fn slot(&self) -> Option<usize> {
        self.slot
    }

    /// To be sent along with the request: the slot is not looked at before the worker has said something.
    pub(crate) fn unheard(&self) -> Unheard {
        self.unheard.clone()
    }

    /// A piece of the answer has come.
    pub(crate) fn saw(&mut self, chunk: &ChatChunk<'_>) {
        if self.slot.is_none() {
            // Several choices, each with a slot: nothing can be told of one.
            return;
        }
        if let Some(progress) = chunk.prompt_progress() {
            self.read(progress);
        }
        if chunk.has_content() {
            self.wrote();
        }
        if let Some(timings) = chunk.timings() {
            self.timed(&timings);
        }
        if chunk.has_finish_reason() {
            self.finish();
        }
    }

    /// Nothing will be seen of the answer before its end: other prompts do not wait until this one is read.
    pub(crate) fn hide(&self) {
        let mut state = self.shared.lock();
        if let Some(running) = state.line.running_mut(self.ticket) {
            running.unread = 0.0;
        }
        state.advance();
    }

    /// The answer is whole, or the worker refused: the slot is free.
    pub(crate) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// The caller has left.
    pub(crate) fn leave(&mut self) {
        self.is_left = true;
    }

    fn read(&mut self, progress: PromptProgress) {
        let mut state = self.shared.lock();
        if self.progress.is_none() {
            state.speed.prompt_counted(self.worked.uncached, progress.total.saturating_sub(progress.cache));
        }
        if let Some(running) = state.line.running_mut(self.ticket) {
            running.unread = progress.total.saturating_sub(progress.processed) as f64;
        }
        state.advance();
        drop(state);
        self.progress = Some(progress);
    }

    fn wrote(&mut self) {
        self.tokens += 1;
        let mut state = self.shared.lock();
        let expected = state.speed.output_tokens(self.worked.asking.max_tokens());
        let left = state.speed.output_left(expected, self.tokens as f64);
        if let Some(running) = state.line.running_mut(self.ticket) {
            (running.unread, running.output) = (0.0, left);
        }
        if self.first_token.is_some() {
            return;
        }
        state.advance();
        let ms = millis_since(self.seated);
        match self.progress {
            Some(told) => state.speed.first_token(told.total - told.cache, self.beside, ms),
            None => self.unaccounted_ms = Some(ms),
        }
        drop(state);
        self.first_token = Some(Instant::now());
        let Expected { situation, ttft_ms, since } = self.worked.expected;
        if let Some(predicted_ms) = ttft_ms {
            self.shared.meter.first_token(&self.shared.target, situation, predicted_ms, millis_since(since));
        }
    }

    fn timed(&mut self, timings: &Timings) {
        let mut state = self.shared.lock();
        if let Some(ms) = self.unaccounted_ms.take() {
            state.speed.first_token(timings.prompt_n, self.beside, ms);
            state.speed.prompt_counted(self.worked.uncached, timings.prompt_n);
        }
        let at_once = (self.beside + state.line.running().len()).div_ceil(2);
        state.speed.answered(timings.predicted_n, timings.predicted_ms, at_once);
    }

    /// Share of the prompt that the worker has read.
    fn share_read(&self) -> f64 {
        match self.progress {
            _ if self.first_token.is_some() || self.is_finished => 1.0,
            Some(told) => told.processed as f64 / told.total as f64,
            None => 0.0,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.generation == self.worked.generation {
            let answered = self.is_finished && self.first_token.is_some();
            state.caches.used(self.slot, self.worked.asking.prefixes(), self.share_read(), answered);
        }
        if self.is_finished {
            state.speed.served(millis_since(self.seated));
        }
        if let (false, Ok(runtime)) = (self.is_finished, tokio::runtime::Handle::try_current()) {
            drop(state);
            let (shared, ticket, slot) = (Arc::clone(&self.shared), self.ticket, self.slot);
            let slots = Arc::clone(&self.worked.slots);
            let looks = if self.progress.is_some() || self.first_token.is_some() { 1 } else { LOOKS_OF_UNSEEN };
            let (is_left, unheard) = (self.is_left, self.unheard.clone());
            runtime.spawn(async move {
                let left = Instant::now();
                let freed = async {
                    unheard.heard().await;
                    free(slot, &slots, looks).await
                };
                match tokio::time::timeout(FREED_MAX, freed).await {
                    Ok(Freed::Seen) if is_left => shared.meter.slot_freed(&shared.target, left.elapsed()),
                    Ok(Freed::Seen | Freed::WorkerGone) => {}
                    Ok(Freed::Unknown) | Err(_) => {
                        tracing::warn!(target_id = %shared.target, "a slot was not seen free after its request was given up");
                        shared.meter.slot_not_freed(&shared.target);
                    }
                }
                shared.release(ticket);
            });
            return;
        }
        state.line.release(self.ticket);
        state.advance();
    }
}

/// How a slot came to be free.
enum Freed {
    /// It was seen free.
    Seen,
    /// There is no worker any more.
    WorkerGone,
    /// The worker does not say.
    Unknown,
}

/// Waits until the worker has freed a slot.
async fn free(slot: Option<usize>, slots: &WorkerSlots, mut looks: u32) -> Freed {
    let mut unanswered = 0;
    loop {
        let is_free = match slots.look().await {
            Seen::Gone => return Freed::WorkerGone,
            Seen::Nothing => {
                unanswered += 1;
                false
            }
            Seen::Busy(busy) => match slot {
                Some(slot) => !busy.get(slot).copied().unwrap_or(false),
                None => !busy.contains(&true),
            },
        };
        looks = looks.saturating_sub(u32::from(is_free));
        if looks == 0 {
            return Freed::Seen;
        }
        if unanswered > UNANSWERED_MAX {
            return Freed::Unknown;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
