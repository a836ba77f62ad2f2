//! The record of every try of one request, kept beside its execution: whoever drops the execution still has it.
//!
//! A try that is dropped before it ends is recorded as left by the caller, where whoever drops it says nothing else, and
//! observed like any other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use policy::{Outcome, TargetId, TargetProfile};
use wire::{ChatChunk, ChatCompletion, TraceContext, Usage};

use crate::admission::Seat;
use crate::counted::estimated;
use crate::health::Permit;
use crate::sent::Sent;
use crate::{AttemptSpan, Observation, Target, TargetFailure, Trace};

/// One try on one target.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The target, with where it runs and what it charges.
    pub profile: Arc<TargetProfile>,
    /// When it began.
    pub begun: Instant,
    /// How it ended; [`Outcome::CallerGone`] while it runs.
    pub outcome: Outcome,
    /// One sentence on a failure for the caller, the target's own words included; empty on success. Not for logs.
    pub detail: String,
    /// When the target wants to be asked again.
    pub retry_after: Option<Duration>,
    /// How long it took until it ended.
    pub duration: Duration,
    /// From its begin to its first content; there as soon as that has come.
    pub time_to_first_token: Option<Duration>,
    /// Token counts: as the target gave them, else estimated where it is likely to charge for them: for an answer, and for one
    /// that it had begun, or could have, when nobody wanted it any more.
    pub usage: Option<Usage>,
    /// Events of its stream that were no answer and were skipped.
    pub skipped_events: u32,
    /// Whether the target did not count and `usage` is an estimate.
    pub is_usage_estimated: bool,
    /// Bytes of the request that were written out to it.
    pub sent_bytes: u64,
    /// Whether it was started beside another one that had brought no token yet.
    pub is_hedge: bool,
    /// What it is in the trace of the request, where that is recorded.
    pub span: Option<Box<AttemptSpan>>,
}

/// Every try of one request, in the order in which they began.
#[derive(Debug, Default)]
pub struct Journal {
    records: Mutex<Vec<AttemptRecord>>,
    /// How tries end that are dropped at this moment.
    dropped_as: Mutex<Option<Outcome>>,
    trace: Option<Box<Trace>>,
}

impl Journal {
    /// Of a request that is part of `trace`.
    #[must_use]
    pub fn traced(trace: Option<Box<Trace>>) -> Self {
        Self { trace, ..Self::default() }
    }

    /// The trace that the request is part of.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    /// What was tried so far.
    #[must_use]
    pub fn records(&self) -> Vec<AttemptRecord> {
        self.lock().clone()
    }

    /// How many tries have begun.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing was tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the first try ended, where another one was made for that: not where the first is the one that answers.
    #[must_use]
    pub fn fallback_from(&self) -> Option<Outcome> {
        match self.lock().as_slice() {
            [first, .., _] => {
                Some(first.outcome).filter(|outcome| !matches!(outcome, Outcome::Answered | Outcome::CallerGone))
            }
            _ => None,
        }
    }

    /// Whether the try at this place has brought content.
    pub(crate) fn has_begun(&self, place: usize) -> bool {
        self.lock().get(place).is_some_and(|record| record.time_to_first_token.is_some())
    }

    /// Whose answer broke off last after a part of it had reached the caller.
    pub(crate) fn interrupted(&self) -> Option<TargetId> {
        let records = self.lock();
        let broken = records.iter().rev().find(|record| record.outcome == Outcome::Interrupted);
        broken.map(|record| record.profile.id.clone())
    }

    /// Drops `work`; the tries that run in it end as `outcome`.
    pub(crate) fn dropping<T>(&self, outcome: Outcome, work: T) {
        self.set_dropped_as(Some(outcome));
        drop(work);
        self.set_dropped_as(None);
    }

    fn set_dropped_as(&self, outcome: Option<Outcome>) {
        *self.dropped_as.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    fn dropped_as(&self) -> Outcome {
        self.dropped_as.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(Outcome::CallerGone)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AttemptRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One try while it runs.
pub(crate) struct Try<'a> {
    journal: &'a Journal,
    target: &'a Target,
    /// `None` where the target is left alone, so that the try ends before it was made.
    permit: Option<Permit<'a>>,
    place: usize,
    begun: Instant,
    prompt_tokens: u64,
    pub(crate) generation: u64,
    /// The slot of the worker that it uses.
    seat: Option<Seat>,
    first_content: Option<Duration>,
    usage: Option<Usage>,
    is_usage_estimated: bool,
    skipped_events: u32,
    /// Chunks with content that came.
    pieces: u64,
    /// How much of the request is out.
    pub(crate) sent: Sent,
    span: Option<Box<AttemptSpan>>,
    is_over: bool,
}

impl<'a> Try<'a> {
    pub(crate) fn begin(
        journal: &'a Journal,
        target: &'a Target,
        permit: Option<Permit<'a>>,
        prompt_tokens: u64,
        is_hedge: bool,
    ) -> Self {
        let (begun, generation) = (Instant::now(), 0);
        let span = journal.trace().and_then(Trace::span);
        let mut records = journal.lock();
        let place = records.len();
        records.push(AttemptRecord {
            profile: Arc::clone(&target.profile),
            begun,
            outcome: Outcome::CallerGone,
            detail: String::new(),
            retry_after: None,
            duration: Duration::ZERO,
            time_to_first_token: None,
            usage: None,
            skipped_events: 0,
            is_usage_estimated: false,
            sent_bytes: 0,
            is_hedge,
            span: span.clone(),
        });
        drop(records);
        Self {
            journal,
            target,
            permit,
            place,
            begun,
            prompt_tokens,
            generation,
            seat: None,
            first_content: None,
            usage: None,
            is_usage_estimated: false,
            skipped_events: 0,
            pieces: 0,
            sent: Sent::default(),
            span,
            is_over: false,
        }
    }

    pub(crate) fn target(&self) -> &'a Target {
        self.target
    }

    /// Tokens of what the target has to read, estimated.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    /// Chunks with content that came.
    pub(crate) fn pieces(&self) -> u64 {
        self.pieces
    }

    /// Has a slot from now on.
    pub(crate) fn sit(&mut self, seat: Option<Seat>) {
        if let (Some(span), true) = (&mut self.span, seat.is_some()) {
            span.led(self.begun);
        }
        self.seat = seat;
    }

    /// What the target is told of the trace that the request is part of.
    pub(crate) fn told(&self) -> Option<TraceContext> {
        self.journal.trace()?.told(self.target.profile.locality, self.span.as_deref())
    }

    /// The whole answer has come.
    pub(crate) fn saw_whole(&mut self, completion: &ChatCompletion) {
        if let Some(span) = &mut self.span {
            span.answered(completion);
        }
    }

    /// The answer will come in one piece.
    pub(crate) fn hide(&self) {
        if let Some(seat) = &self.seat {
            seat.hide();
        }
    }

    /// The target needs the slot no more.
    pub(crate) fn rise(&mut self) {
        if let Some(seat) = &mut self.seat {
            seat.finish();
        }
    }

    /// A chunk has come.
    pub(crate) fn saw(&mut self, chunk: &ChatChunk<'_>) {
        if chunk.has_content() {
            self.pieces += 1;
            if self.first_content.is_none() {
                self.first_content = Some(self.begun.elapsed());
                if let Some(record) = self.journal.lock().get_mut(self.place) {
                    record.time_to_first_token = self.first_content;
                }
                if let Some(permit) = &self.permit {
                    permit.saw_content();
                }
            }
        }
        if let Some(seat) = &mut self.seat {
            seat.saw(chunk);
        }
        if let Some(span) = &mut self.span {
            span.saw(chunk);
        }
    }

    /// An event was no answer and is skipped.
    pub(crate) fn skipped_event(&mut self) {
        self.skipped_events += 1;
    }

    /// When the first content came.
    pub(crate) fn first_content_at(&self) -> Option<Instant> {
        self.first_content.map(|after| self.begun + after)
    }

    pub(crate) fn count(&mut self, usage: Option<Usage>, is_estimated: bool) {
        (self.usage, self.is_usage_estimated) = (usage, is_estimated && usage.is_some());
    }

    /// Ends with a whole answer.
    pub(crate) fn succeed(mut self) {
        self.end(Outcome::Answered, String::new(), None);
    }

    /// Ends with a failure, which is logged.
    pub(crate) fn fail(mut self, failure: &TargetFailure) {
        self.failed(failure);
    }

    fn failed(&mut self, failure: &TargetFailure) {
        let TargetFailure { outcome, detail, said, retry_after, .. } = failure;
        let (target_id, attempt) = (&self.target.profile.id, self.place + 1);
        match outcome {
            Outcome::Status(401 | 403) => {
                tracing::error!(%target_id, attempt, outcome = outcome.as_str(), detail, "target refuses its key");
            }
            Outcome::LeftAlone => {
                tracing::debug!(%target_id, attempt, outcome = outcome.as_str(), "target is left alone");
            }
            outcome if outcome.is_refusal() => {
                tracing::info!(%target_id, attempt, outcome = outcome.as_str(), detail, "target refuses the request");
            }
            _ => tracing::warn!(%target_id, attempt, outcome = outcome.as_str(), detail, "attempt failed"),
        }
        let detail = match said {
            Some(said) => format!("{detail}: {said}"),
            None => detail.clone(),
        };
        self.end(*outcome, detail, *retry_after);
    }

    /// The token counts by which the target charges, and whether they are estimated: a piece of an answer is taken for a token.
    fn charged(&self, outcome: Outcome) -> (Option<Usage>, bool) {
        if self.usage.is_some() || !is_charged(outcome) || self.sent.bytes() == 0 {
            return (self.usage, self.is_usage_estimated);
        }
        (Some(estimated(self.prompt_tokens, self.pieces)), true)
    }

    fn end(&mut self, outcome: Outcome, detail: String, retry_after: Option<Duration>) {
        if let Some(seat) = &mut self.seat {
            match outcome {
                Outcome::Answered => seat.finish(),
                Outcome::CallerGone => seat.leave(),
                _ => {}
            }
        }
        self.is_over = true;
        let duration = self.begun.elapsed();
        let time_to_first_token = self.first_content;
        let (usage, is_estimated) = self.charged(outcome);
        if let Some(record) = self.journal.lock().get_mut(self.place) {
            (record.outcome, record.detail, record.retry_after) = (outcome, detail, retry_after);
            (record.duration, record.time_to_first_token) = (duration, time_to_first_token);
            (record.usage, record.is_usage_estimated) = (usage, is_estimated);
            (record.skipped_events, record.sent_bytes) = (self.skipped_events, self.sent.bytes());
            record.span = self.span.take();
        }
        if let Some(mut permit) = self.permit.take() {
            permit.tell(outcome, retry_after, duration);
        }
        self.target.observe(&Observation {
            generation: self.generation,
            outcome,
            retry_after,
            prompt_tokens: self.prompt_tokens,
            time_to_first_token,
            duration,
            usage: self.usage.filter(|_| !self.is_usage_estimated),
        });
    }
}

/// Whether a target that had the request charges for what it did until then, as far as is known of providers: an answer that
/// nobody waits for any more is one to them. A failure of its own is not charged.
fn is_charged(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Answered | Outcome::Interrupted | Outcome::CallerGone | Outcome::HedgeLost)
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            match self.journal.dropped_as() {
                outcome @ (Outcome::CallerGone | Outcome::HedgeLost) => self.end(outcome, String::new(), None),
                outcome => self.failed(&TargetFailure::new(outcome, outcome.as_str())),
            }
        }
    }
}
