//! The outbox: how much is in it, and what became of what was.

use super::family::{Counts, FloatGauges, Gauges, Registering};
use super::labels::{ENTRY_STATE, closed};
use super::row::{Area, Kind, Label, Row, Unit};
use super::{Metrics, signed};
use crate::outbox::{EntryState, OutboxStats};

const RESULT: Label = closed!("result": "accepted", "refused", "completed", "failed", "expired", "deleted");

static ENTRIES: Row = Row {
    name: "tidegate_outbox_entries",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[ENTRY_STATE],
    help: "Entries of the outbox, by their state.",
};
static BYTES: Row = Row {
    name: "tidegate_outbox_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Bytes of requests and answers in the outbox.",
};
static OLDEST_AGE: Row = Row {
    name: "tidegate_outbox_oldest_age_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    help: "Age of the oldest request in the outbox that is not finished; 0 without one.",
};
static RESULTS: Row = Row {
    name: "tidegate_outbox_results_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[RESULT],
    help: "What became of requests for the outbox: accepted, refused (no room), completed, failed, expired, deleted (before they were finished).",
};

pub(super) const AREA: Area = Area { title: "Outbox", rows: &[&ENTRIES, &BYTES, &OLDEST_AGE, &RESULTS] };

pub(super) struct Families {
    entries: Gauges,
    bytes: Gauges,
    oldest_age: FloatGauges,
    results: Counts,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            entries: of.family(&ENTRIES)?,
            bytes: of.family(&BYTES)?,
            oldest_age: of.family(&OLDEST_AGE)?,
            results: of.family(&RESULTS)?,
        })
    }
}

/// What became of a request that came to the outbox. A closed list: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxResult {
    /// It was taken in.
    Accepted,
    /// There was no room, or it could not be written.
    Refused,
    /// It was finished, in this state.
    Finished(EntryState),
    /// Somebody deleted it before it was finished.
    Deleted,
}

impl OutboxResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Finished(state) => state.as_str(),
            Self::Deleted => "deleted",
        }
    }
}

impl Metrics {
    /// Counts what became of one request.
    pub fn outbox_result(&self, result: OutboxResult) {
        self.0.outbox.results.of([result.as_str().into()]).inc();
    }

    /// Shows what is in the outbox at `now_ms`, Unix time in milliseconds.
    pub fn show_outbox(&self, stats: &OutboxStats, now_ms: i64) {
        let outbox = &self.0.outbox;
        for (state, count) in EntryState::ALL.iter().zip(stats.entries) {
            outbox.entries.of([state.as_str().into()]).set(signed(count));
        }
        outbox.bytes.of([]).set(signed(stats.bytes));
        let age_ms = stats.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms).max(0));
        outbox.oldest_age.of([]).set(std::time::Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64());
    }
}
