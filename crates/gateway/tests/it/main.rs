//! The built binary with scripted upstreams, a fake worker and the real one; one file for each behaviour.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod admission;
mod bench;
mod cache;
mod cancellation;
mod chaos;
mod cli;
mod commit;
mod dashboards;
mod eval_target;
mod failover;
mod health;
mod hedging;
mod http2;
mod learning;
mod ledger;
mod lifecycle;
mod limits;
mod network;
mod outage;
mod outbox;
mod placement;
mod policies;
mod policy_cli;
mod proxy;
mod python_client;
mod real_engine;
mod real_engine_busy;
mod real_signals;
mod series;
mod shutdown;
mod signals;
mod status;
mod streaming;
mod support;
mod traces;
mod training;
mod trust;
mod wire_proof;
mod workers;
