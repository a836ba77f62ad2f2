//! What is remembered of traffic: metrics, labels to learn from, and requests that are answered later.
//!
//! Knows no HTTP and no prompt: a [`Settlement`] carries names, numbers and closed lists only, and what [`outbox`] keeps is
//! bytes to it.

pub mod labels;
pub mod metrics;
pub mod outbox;
mod settlement;
mod sqlite;

pub use metrics::{
    ComparisonResult, Metrics, MetricsError, OutboxResult, ShadowDifference, ShownEngine, ShownHealth, ShownNetwork,
    ShownWorker, SignalsOutcome, WORKER_STATES,
};
pub use settlement::{AttemptMade, CacheUse, Decided, ExchangeKind, RequestOutcome, Settlement, StageTimes, Tokens};

#[cfg(test)]
mod tests;
