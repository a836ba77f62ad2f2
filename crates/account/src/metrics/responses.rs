//! Answers that may be given again: what came of looking for them, how much is kept, and what was let go.

use super::family::{CatchUp, Counts, Gauges, Registering};
use super::labels::closed;
use super::row::{Area, Kind, Row, Unit};
use super::{Metrics, signed};
use crate::CacheUse;
use crate::responses::ResponseStats;

static REQUESTS: Row = Row {
    name: "tidegate_cache_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("result": "hit", "coalesced", "miss", "bypass")],
    help: "Requests of routes that give answers again: answered again (hit), with others who asked the same (coalesced), anew (miss), or anew and not to be kept (bypass).",
};
static STORED: Row = Row {
    name: "tidegate_cache_stored_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Answers that were kept to be given again.",
};
static ENTRIES: Row = Row {
    name: "tidegate_cache_entries",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Answers kept in memory to be given again.",
};
static BYTES: Row = Row {
    name: "tidegate_cache_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Bytes of answers kept in memory to be given again.",
};
static EVICTIONS: Row = Row {
    name: "tidegate_cache_evictions_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("reason": "size", "age")],
    help: "Kept answers that were let go, to make room (size) or because they were too old (age).",
};
static DISK_WRITES: Row = Row {
    name: "tidegate_cache_disk_writes_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("result": "written", "overflowed", "failed")],
    help: "Answers to be kept on disk, by what became of them: written, overflowed (the queue was full), failed.",
};
static SHARING: Row = Row {
    name: "tidegate_cache_sharing_callers",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Callers that wait for a new answer that may be given again, or read it, now.",
};

pub(super) const AREA: Area =
    Area { title: "Response cache", rows: &[&REQUESTS, &STORED, &ENTRIES, &BYTES, &EVICTIONS, &DISK_WRITES, &SHARING] };

pub(super) struct Families {
    requests: Counts,
    stored: Counts,
    entries: Gauges,
    bytes: Gauges,
    evictions: Counts,
    disk_writes: Counts,
    sharing: Gauges,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            requests: of.family(&REQUESTS)?,
            stored: of.family(&STORED)?,
            entries: of.family(&ENTRIES)?,
            bytes: of.family(&BYTES)?,
            evictions: of.family(&EVICTIONS)?,
            disk_writes: of.family(&DISK_WRITES)?,
            sharing: of.family(&SHARING)?,
        })
    }
}

impl Metrics {
    /// Counts what the cache had to do with one exchange.
    pub(super) fn cache_used(&self, cache: CacheUse) {
        let responses = &self.0.responses;
        let result = match cache {
            CacheUse::None => return,
            CacheUse::Hit => "hit",
            CacheUse::Coalesced => "coalesced",
            CacheUse::Bypassed => "bypass",
            CacheUse::Missed | CacheUse::Stored => "miss",
        };
        responses.requests.of([result.into()]).inc();
        if cache == CacheUse::Stored {
            responses.stored.of([]).inc();
        }
    }

    /// Shows how many callers wait for answers that may be shared, or read them, now.
    pub fn show_sharing(&self, callers: usize) {
        self.0.responses.sharing.of([]).set(signed(callers));
    }

    /// Shows what is kept and what was let go.
    pub fn show_responses(&self, stats: &ResponseStats) {
        let responses = &self.0.responses;
        responses.entries.of([]).set(signed(stats.entries));
        responses.bytes.of([]).set(signed(stats.bytes));
        for (reason, count) in [("size", stats.evicted), ("age", stats.expired)] {
            responses.evictions.of([reason.into()]).catch_up(count);
        }
        let writes = [("written", stats.written), ("overflowed", stats.overflowed), ("failed", stats.failed)];
        for (result, count) in writes {
            responses.disk_writes.of([result.into()]).catch_up(count);
        }
    }
}
