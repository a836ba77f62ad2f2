//! Whether traces are exported.

use super::family::{CatchUp, Counts, Gauges, Registering};
use super::labels::closed;
use super::row::{Area, Kind, Row, Unit};
use super::{Metrics, signed};

static UP: Row = Row {
    name: "tidegate_trace_export_up",
    kind: Kind::Gauge,
    unit: Unit::YesNo,
    labels: &[],
    help: "1 where the collector took the last traces, or none were sent yet, 0 where it did not; absent where none are exported.",
};
static EXCHANGES: Row = Row {
    name: "tidegate_trace_exchanges_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("result": "exported", "overflowed", "failed")],
    help: "Settled exchanges whose trace is recorded, by what became of it: exported, overflowed (the queue was full), failed (the collector did not take it).",
};
static REJECTED: Row = Row {
    name: "tidegate_trace_rejected_spans_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Spans of exported exchanges that the collector says it did not take.",
};
static WAITING: Row = Row {
    name: "tidegate_trace_waiting_exchanges",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Exchanges whose trace is not exported yet.",
};

pub(super) const AREA: Area = Area { title: "Traces", rows: &[&UP, &EXCHANGES, &REJECTED, &WAITING] };

pub(super) struct Families {
    up: Gauges,
    exchanges: Counts,
    rejected: Counts,
    waiting: Gauges,
}

/// How the export of traces fares, as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownTraces {
    /// Whether the collector took what it was last sent.
    pub is_up: bool,
    /// Exchanges that it has taken.
    pub exported: u64,
    /// Exchanges lost because the queue was full.
    pub overflowed: u64,
    /// Exchanges lost because it did not take them.
    pub failed: u64,
    /// Spans that it did not take of what it took.
    pub rejected_spans: u64,
    /// Exchanges that wait.
    pub waiting: u64,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        let up: Gauges = of.family(&UP)?;
        // Shown by `only`, where traces are exported.
        up.hide();
        let (exchanges, rejected) = (of.family(&EXCHANGES)?, of.family(&REJECTED)?);
        Ok(Self { up, exchanges, rejected, waiting: of.family(&WAITING)? })
    }
}

impl Metrics {
    /// Shows how the export of traces fares.
    pub fn show_traces(&self, shown: &ShownTraces) {
        let families = &self.0.traces;
        families.up.only(&[]).set(i64::from(shown.is_up));
        families.waiting.of([]).set(signed(shown.waiting));
        families.rejected.of([]).catch_up(shown.rejected_spans);
        let results = [("exported", shown.exported), ("overflowed", shown.overflowed), ("failed", shown.failed)];
        for (result, count) in results {
            families.exchanges.of([result.into()]).catch_up(count);
        }
    }
}
