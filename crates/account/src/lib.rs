//! What is remembered of traffic: metrics, and labels to learn from.
//!
//! Knows no HTTP and no prompt: a [`Settlement`] carries names, numbers and closed lists only.

pub mod labels;
mod metrics;
mod policy_metrics;
mod settlement;
mod signals_metrics;

pub use metrics::{Metrics, MetricsError, WORKER_STATES};
pub use policy_metrics::ShadowDifference;
pub use settlement::{AttemptMade, RequestOutcome, Settlement};
pub use signals_metrics::SignalsOutcome;

#[cfg(test)]
mod tests;
