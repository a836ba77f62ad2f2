//! The metrics of the outbox: how much is in it, and what became of what was.

use crate::Metrics;
use crate::outbox::{EntryState, OutboxStats};

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
        self.outbox_results.with_label_values(&[result.as_str()]).inc();
    }

    /// Shows what is in the outbox at `now_ms`, Unix time in milliseconds.
    pub fn show_outbox(&self, stats: &OutboxStats, now_ms: i64) {
        for (state, count) in EntryState::ALL.iter().zip(stats.entries) {
            self.outbox_entries.with_label_values(&[state.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.outbox_bytes.set(i64::try_from(stats.bytes).unwrap_or(i64::MAX));
        let age_ms = stats.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms).max(0));
        self.outbox_oldest_age.set(std::time::Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64());
    }
}
