//! Development only: what the tests and the benchmark of Tidegate stand on.
//!
//! [`ScriptedUpstream`] answers like an OpenAI-compatible server and misbehaves on purpose;
//! [`Gateway`] runs the real binary on free ports; [`EventStream`] and [`RawClient`] are the two ends
//! of a caller, the one that reads properly and the one that does not. Everything stays on loopback,
//! on ports the system chose, and waits for events, never for time to pass. No shipped crate may
//! depend on this one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a panic is how a helper fails the test that called it"
)]

mod binary;
mod gateway;
pub mod http1;
mod metrics;
mod raw_client;
mod sse;
mod upstream;

pub use binary::bin;
pub use gateway::{Exited, Gateway, GatewayBuilder, http_client};
pub use metrics::{Sample, parse_metrics, sum_metric};
pub use raw_client::{RawClient, RawReply};
pub use sse::{Event, EventStream, Streamed};
pub use upstream::{Attempt, Behaviour, DEFAULT_TEXT, Ended, Ending, Log, ScriptedUpstream, Usage, text_pieces};

/// Longest time any helper of this crate waits for something before it fails the test. Generous on
/// purpose: it is there to end a hung test, never to measure anything.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
