//! What is remembered of traffic: metrics, labels to learn from, and requests that are answered later.
//!
//! Knows no HTTP and no prompt: a [`Settlement`] carries names, numbers and closed lists only, and what [`outbox`] keeps is
//! bytes to it.

mod health_metrics;
pub mod labels;
mod metrics;
pub mod outbox;
mod outbox_metrics;
mod policy_metrics;
mod settlement;
mod signals_metrics;
mod sqlite;

pub use health_metrics::{ShownHealth, ShownNetwork};
pub use metrics::{Metrics, MetricsError, WORKER_STATES};
pub use outbox_metrics::OutboxResult;
pub use policy_metrics::ShadowDifference;
pub use settlement::{AttemptMade, CacheUse, Decided, ExchangeKind, RequestOutcome, Settlement, StageTimes, Tokens};
pub use signals_metrics::SignalsOutcome;

#[cfg(test)]
mod tests;
