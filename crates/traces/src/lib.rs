//! Traces: settled exchanges as OpenTelemetry spans, and their way to a collector (OTLP over HTTP, protobuf).
//!
//! Spans are made when everything is over, from the settlement: nothing is done for them while a request runs. They hold names, numbers and
//! words of closed lists, never text of a prompt or an answer. Whoever settles hands over and neither waits nor fails; what does not
//! fit or cannot be delivered is counted and lost. Nothing here is traced itself, and no prompt is known here.

mod attributes;
mod collector;
mod exporter;
mod queue;
mod spans;
mod traced;

pub use collector::{Collector, CollectorError};
pub use exporter::{Exporter, TraceCounts, TraceHealth, TraceLimits};
pub use spans::{Described, Resource};
pub use traced::{TracedAttempt, TracedExchange};
