//! What is found out about requests before they are decided: privacy scan and classifier.

use std::time::Duration;

use super::family::{Counts, Gauges, Histograms, Registering};
use super::labels::closed;
use super::row::{Area, Kind, Label, Row, Source, Unit, Values};
use super::{Metrics, buckets};

const OUTCOME: Label = closed!("outcome": "ok", "out_of_distribution", "empty", "unavailable", "late", "failed");

static READ: Row = Row {
    name: "tidegate_signals_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("signal": "scan", "classifier"), OUTCOME],
    help: "Requests looked into before they were decided, by whether that gave something.",
};
static DURATION: Row = Row {
    name: "tidegate_signals_duration_seconds",
    kind: Kind::Histogram(buckets::STAGES),
    unit: Unit::Seconds,
    labels: &[],
    help: "Time taken to scan and classify a request, waiting for a processor included.",
};
static CLASSIFIER_DURATION: Row = Row {
    name: "tidegate_classifier_duration_seconds",
    kind: Kind::Histogram(buckets::STAGES),
    unit: Unit::Seconds,
    labels: &[],
    help: "Time taken to classify a request, of the requests that were.",
};
static FINDINGS: Row = Row {
    name: "tidegate_scan_findings_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label { name: "kind", values: Values::Configured(Source::Kinds) }],
    help: "Personal data and secrets found in requests, by kind.",
};
static CLASSIFIER_UP: Row = Row {
    name: "tidegate_classifier_up",
    kind: Kind::Gauge,
    unit: Unit::YesNo,
    labels: &[],
    help: "1 while requests are classified, else 0.",
};

pub(super) const AREA: Area = Area {
    title: "Privacy scan and classifier",
    rows: &[&READ, &DURATION, &CLASSIFIER_DURATION, &FINDINGS, &CLASSIFIER_UP],
};

pub(super) struct Families {
    read: Counts,
    duration: Histograms,
    classifier_duration: Histograms,
    findings: Counts,
    classifier_up: Gauges,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            read: of.family(&READ)?,
            duration: of.family(&DURATION)?,
            classifier_duration: of.family(&CLASSIFIER_DURATION)?,
            findings: of.family(&FINDINGS)?,
            classifier_up: of.family(&CLASSIFIER_UP)?,
        })
    }
}

/// How reading one request ended, in the words of the `outcome` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalsOutcome {
    /// `ok`, `late`, `failed`.
    pub scan: &'static str,
    /// `ok`, `out_of_distribution`, `empty`, `unavailable`, `late`, `failed`.
    pub classifier: &'static str,
}

impl SignalsOutcome {
    /// Nothing is known of the request.
    pub const FAILED: Self = Self { scan: "failed", classifier: "failed" };
}

impl Metrics {
    /// Counts one request that was read.
    pub fn signals_read(&self, outcome: &SignalsOutcome, took: Duration) {
        let signals = &self.0.signals;
        signals.read.of(["scan".into(), outcome.scan.into()]).inc();
        signals.read.of(["classifier".into(), outcome.classifier.into()]).inc();
        signals.duration.of([]).observe(took.as_secs_f64());
    }

    /// A request was classified in this time.
    pub fn classified(&self, took: Duration) {
        self.0.signals.classifier_duration.of([]).observe(took.as_secs_f64());
    }

    /// Counts what the privacy scan found in one request, by kind. Kinds that were not declared count as `other`.
    pub fn scan_found<'a>(&self, kinds: impl Iterator<Item = (&'a str, u64)>) {
        for (kind, count) in kinds {
            self.0.signals.findings.of([kind.into()]).inc_by(count);
        }
    }

    /// Shows whether requests are classified.
    pub fn show_classifier(&self, is_up: bool) {
        self.0.signals.classifier_up.of([]).set(is_up.into());
    }
}
