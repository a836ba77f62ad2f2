//! The relay of a stream that has begun: events of a target on to the caller, and, where the target breaks off, those of
//! another one that is proven to go on with exactly what the caller has.
//!
//! Pull-driven: nothing is read from a target before the caller took what came before, so a slow reader holds the target
//! back and not memory. Never ends a broken stream as if it were whole, and never joins two answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use policy::{Locality, Outcome, TargetId};
use tokio::time::timeout;
use wire::Usage;

use crate::TargetFailure;
use crate::attempt::{Begun, Opened};
use crate::counted::Counted;
use crate::delivered::Delivered;
use crate::execute::Execution;
use crate::leg::{Leg, Progress};
use crate::output::Output;

/// How long a continuation is looked for, all targets together, while the caller sees nothing.
const CONTINUE_WITHIN: Duration = Duration::from_secs(30);

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// With a finish reason; everything was relayed, `[DONE]` included.
    Complete,
    /// Without one. The caller has to be told with an error, never with a clean end.
    Interrupted {
        /// One sentence for the caller; may quote what the target said.
        detail: String,
        /// The silence between two pieces, or all of it, passed its limit.
        stalled: bool,
    },
}

/// A stream on its way to the caller.
pub struct Relay<'a> {
    execution: Execution<'a>,
    place: usize,
    leg: Option<Leg<'a>>,
    output: Output,
    /// The target broke off; what it had sent before is on its way first.
    broken: Option<TargetFailure>,
    end: Option<StreamEnd>,
    /// Of what earlier targets wrote, behind which this one goes on; `None` where it answers from the beginning.
    beginning: Option<Counted>,
    /// Of the whole answer, once it is complete.
    counted: Option<Counted>,
    first_content_at: Option<Instant>,
    target: (TargetId, Locality),
}

impl<'a> Relay<'a> {
    pub(crate) fn new(execution: Execution<'a>, place: usize, opened: Opened<'a>) -> Self {
        let Opened { leg, output, progress } = opened;
        let profile = &leg.tried.target().profile;
        let target = (profile.id.clone(), profile.locality);
        let first_content_at = leg.tried.first_content_at();
        let mut relay = Self {
            execution,
            place,
            leg: Some(leg),
            output,
            broken: None,
            end: None,
            beginning: None,
            counted: None,
            first_content_at,
            target,
        };
        if progress == Progress::Whole {
            relay.complete();
        }
        relay
    }

    /// The next bytes for the caller: whole events, at least one. `None` after the last; then [`Self::end`] says how it
    /// ended. Dropping the future in the middle drops what was being tried in it: do so only to give the stream up.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.output.is_empty() {
                return Some(self.output.take());
            }
            if self.end.is_some() {
                return None;
            }
            if let Some(failure) = self.broken.take() {
                self.recover(failure).await;
                continue;
            }
            let Some(leg) = &mut self.leg else {
                let detail = "the gateway lost the stream".to_owned();
                self.end = Some(StreamEnd::Interrupted { detail, stalled: false });
                return None;
            };
            match leg.pull(&mut self.output).await {
                Ok(Progress::More) => {}
                Ok(Progress::Whole) => self.complete(),
                Err(failure) => self.broken = Some(failure),
            }
        }
    }

    /// How the stream ended; `None` while it lasts.
    #[must_use]
    pub fn end(&self) -> Option<&StreamEnd> {
        self.end.as_ref()
    }

    /// Who answers, and where: another target than at first after a continuation.
    #[must_use]
    pub fn target(&self) -> &(TargetId, Locality) {
        &self.target
    }

    /// Token counts of the whole answer once the stream is complete, as the target gave them, else estimated. Of an answer whose
    /// end was written behind its beginning: the first prompt, and what all of its targets wrote.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.counted.map(|counted| counted.usage)
    }

    /// Whether [`Self::usage`] is an estimate, or a part of it.
    #[must_use]
    pub fn is_usage_estimated(&self) -> bool {
        self.counted.is_some_and(|counted| counted.is_estimated())
    }

    /// When the first content (text, reasoning, tool call, refusal) arrived.
    #[must_use]
    pub fn first_content_at(&self) -> Option<Instant> {
        self.first_content_at
    }

    fn complete(&mut self) {
        let Some(mut leg) = self.leg.take() else { return };
        let own = match leg.usage() {
            Some(usage) => Counted::reported(usage),
            None => Counted::estimated(leg.tried.prompt_tokens(), self.output.tokens()),
        };
        let whole = self.beginning.map_or(own, |beginning| beginning.followed_by(own));
        self.output.done(whole.usage, whole.is_estimated());
        leg.tried.count(Some(own.usage), own.is_estimated());
        leg.tried.succeed();
        (self.counted, self.end) = (Some(whole), Some(StreamEnd::Complete));
    }

    /// The target broke off: goes on with another stream, or ends.
    async fn recover(&mut self, failure: TargetFailure) {
        let mut so_far = self.beginning;
        if let Some(mut leg) = self.leg.take() {
            // What was written so far is paid for, if anything is.
            let own = leg.counted_so_far();
            so_far = Some(so_far.map_or(own, |beginning| beginning.followed_by(own)));
            leg.tried.count(Some(own.usage), own.is_estimated());
            leg.tried.fail(&TargetFailure { outcome: Outcome::Interrupted, ..failure.clone() });
        }
        if self.output.delivered().is_some_and(Delivered::is_comparable) {
            let journal = self.execution.order.journal;
            let mut looking = Box::pin(self.execution.continuation(self.place, failure.clone(), &self.output));
            let found = timeout(CONTINUE_WITHIN, &mut looking).await;
            // Slow is not wrong, nor did the caller leave.
            journal.dropping(Outcome::Unproven, looking);
            if let Ok(Some((place, begun))) = found {
                return self.go_on(place, begun, so_far);
            }
        }
        let stalled = matches!(failure.outcome, Outcome::IdleTimeout | Outcome::TotalTimeout);
        let detail = match failure.said {
            Some(said) => format!("{}: {said}", failure.detail),
            None => failure.detail,
        };
        self.end = Some(StreamEnd::Interrupted { detail, stalled });
    }

    fn go_on(&mut self, place: usize, begun: Begun<'a>, so_far: Option<Counted>) {
        let Begun::Stream(opened) = begun else { return };
        let Opened { leg, output, progress } = *opened;
        let profile = &leg.tried.target().profile;
        self.target = (profile.id.clone(), profile.locality);
        self.beginning = so_far.filter(|_| output.is_rest());
        (self.place, self.output, self.leg) = (place, output, Some(leg));
        if progress == Progress::Whole {
            self.complete();
        }
    }
}
