//! What is remembered of traffic: metrics, labels to learn from, requests that are answered later, and answers that may be given again.
//!
//! Knows no HTTP and no prompt: a [`Settlement`] carries names, numbers and closed lists only, and what [`outbox`] and
//! [`responses`] keep is bytes to it.

pub mod labels;
pub mod ledger;
pub mod metrics;
pub mod outbox;
pub mod responses;
mod settlement;
mod sqlite;

pub use metrics::{
    ComparisonResult, Metrics, MetricsError, OutboxResult, ShadowDifference, ShownEngine, ShownHealth, ShownNetwork,
    ShownTraces, ShownWorker, SignalsOutcome, TurnedAway, WORKER_STATES,
};
pub use settlement::{AttemptMade, CacheUse, Decided, ExchangeKind, RequestOutcome, Settlement, StageTimes, Tokens};

#[cfg(test)]
mod tests;
