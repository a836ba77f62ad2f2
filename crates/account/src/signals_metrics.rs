//! What the metrics say of classifier and privacy scan. Names and labels stand in the table of `metrics`.

use std::time::Duration;

use crate::Metrics;

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
        self.signals.with_label_values(&["scan", outcome.scan]).inc();
        self.signals.with_label_values(&["classifier", outcome.classifier]).inc();
        self.signals_duration.with_label_values::<&str>(&[]).observe(took.as_secs_f64());
    }

    /// Counts what the privacy scan found in one request, by kind. Kinds are a closed list and those of the configuration.
    pub fn scan_found<'a>(&self, kinds: impl Iterator<Item = (&'a str, u64)>) {
        for (kind, count) in kinds {
            self.scan_findings.with_label_values(&[kind]).inc_by(count);
        }
    }

    /// Shows whether requests are classified.
    pub fn show_classifier(&self, is_up: bool) {
        self.classifier_up.set(i64::from(is_up));
    }
}
