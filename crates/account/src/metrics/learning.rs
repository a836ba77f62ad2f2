//! What is learnt from traffic.

use policy::TargetId;

use super::Metrics;
use super::family::{CatchUp, Counts, Registering};
use super::labels::{TARGET, closed};
use super::row::{Area, Kind, Label, Row, Unit};
use crate::labels::LabelCounts;

const RESULT: Label = closed!("result": "written", "overflowed", "failed");

static RECORDS: Row = Row {
    name: "tidegate_learning_records_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[RESULT],
    help: "Answers and outcomes, by what became of them: written, overflowed (the queue was full), failed.",
};

static COMPARISONS: Row = Row {
    name: "tidegate_comparisons_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET, closed!("result": "answered", "over_budget", "failed")],
    help: "Requests that were to be answered by a second target for comparison, by what became of that.",
};
pub(super) const AREA: Area = Area { title: "Learning", rows: &[&RECORDS, &COMPARISONS] };

pub(super) struct Families {
    records: Counts,
    comparisons: Counts,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self { records: of.family(&RECORDS)?, comparisons: of.family(&COMPARISONS)? })
    }
}

/// What became of a comparison. A closed list: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonResult {
    /// The second target answered.
    Answered,
    /// It did not fit the budget of the day.
    OverBudget,
    /// There was no whole answer.
    Failed,
}

impl Metrics {
    /// Counts a request that was to be answered by `target` too.
    pub fn compared(&self, target: &TargetId, result: ComparisonResult) {
        let word = match result {
            ComparisonResult::Answered => "answered",
            ComparisonResult::OverBudget => "over_budget",
            ComparisonResult::Failed => "failed",
        };
        self.0.learning.comparisons.of([self.target(target), word.into()]).inc();
    }

    /// Shows what the label store has written so far.
    pub fn show_labels(&self, counts: LabelCounts) {
        let results = [("written", counts.written), ("overflowed", counts.overflowed), ("failed", counts.failed)];
        for (result, count) in results {
            self.0.learning.records.of([result.into()]).catch_up(count);
        }
    }
}
