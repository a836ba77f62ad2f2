//! Whether requests are recorded.

use super::family::{CatchUp, Counts, FloatGauges, Gauges, Registering};
use super::labels::closed;
use super::row::{Area, Kind, Row, Unit};
use super::{Metrics, signed};
use crate::ledger::LedgerHealth;

static UP: Row = Row {
    name: "tidegate_ledger_up",
    kind: Kind::Gauge,
    unit: Unit::YesNo,
    labels: &[],
    help: "1 while the ledger can be written, 0 while it cannot; absent where there is none.",
};
static RECORDS: Row = Row {
    name: "tidegate_ledger_records_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("result": "written", "overflowed", "failed")],
    help: "Settled exchanges, by what became of their record: written, overflowed (the queue was full), failed (lost at the end of the process, or as the ledger could not be opened).",
};
static WAITING: Row = Row {
    name: "tidegate_ledger_waiting_records",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Records that are not written yet.",
};
static LAG: Row = Row {
    name: "tidegate_ledger_lag_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    help: "How long the oldest record waits that is not written yet; 0 without one.",
};

pub(super) const AREA: Area = Area { title: "Ledger", rows: &[&UP, &RECORDS, &WAITING, &LAG] };

pub(super) struct Families {
    up: Gauges,
    records: Counts,
    waiting: Gauges,
    lag: FloatGauges,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        let up: Gauges = of.family(&UP)?;
        // Shown by `only`, where there is a ledger.
        up.hide();
        Ok(Self { up, records: of.family(&RECORDS)?, waiting: of.family(&WAITING)?, lag: of.family(&LAG)? })
    }
}

impl Metrics {
    /// Shows how the ledger fares.
    pub fn show_ledger(&self, health: &LedgerHealth) {
        let LedgerHealth { waiting, lag, failure, counts } = health;
        let families = &self.0.ledger;
        families.up.only(&[]).set(i64::from(failure.is_none()));
        families.waiting.of([]).set(signed(*waiting));
        families.lag.of([]).set(lag.as_secs_f64());
        let results = [("written", counts.written), ("overflowed", counts.overflowed), ("failed", counts.failed)];
        for (result, count) in results {
            families.records.of([result.into()]).catch_up(count);
        }
    }
}
