//! The table of metrics, and the only place that writes them.
//!
//! [`TABLE`] says everything of a metric: name, type, unit, labels with their values, help, buckets. Metrics are made of it, and
//! `docs/metrics.md`. No label takes a value that is neither on a closed list nor declared from the configuration: it counts as `other`.

mod buckets;
mod engine;
mod family;
mod health;
mod known;
mod labels;
mod learning;
mod ledger;
mod outbox;
mod policy;
mod process;
mod reference;
mod responses;
mod routing;
mod row;
mod signals;
mod traces;
mod traffic;
mod turned_away;
mod worker;

use std::sync::{Arc, Mutex};

use prometheus::{Encoder, Registry, TextEncoder};

pub use engine::ShownEngine;
pub use health::{ShownHealth, ShownNetwork};
pub use learning::ComparisonResult;
pub use outbox::OutboxResult;
pub use policy::ShadowDifference;
pub use reference::reference;
pub use row::{Area, Kind, Label, NONE, OTHER, Row, Source, Unit, Values};
pub use signals::SignalsOutcome;
pub use traces::ShownTraces;
pub use turned_away::TurnedAway;
pub use worker::{ShownWorker, WORKER_STATES};

use family::Registering;
use known::Known;

/// Every metric there is.
pub const TABLE: &[Area] = &[
    traffic::AREA,
    turned_away::AREA,
    routing::AREA,
    policy::AREA,
    signals::AREA,
    worker::AREA,
    engine::AREA,
    health::AREA,
    outbox::AREA,
    responses::AREA,
    learning::AREA,
    ledger::AREA,
    traces::AREA,
    process::AREA,
];

/// Why metrics could not be registered or rendered; a defect, not an operational state.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Every metric of the process, in a registry of its own. Clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<All>);

struct All {
    registry: Registry,
    known: Arc<Known>,
    #[cfg(test)]
    names: Vec<&'static str>,
    traffic: traffic::Families,
    turned_away: turned_away::Families,
    routing: routing::Families,
    policy: policy::Families,
    signals: signals::Families,
    worker: worker::Families,
    engine: engine::Families,
    health: health::Families,
    outbox: outbox::Families,
    responses: responses::Families,
    learning: learning::Families,
    ledger: ledger::Families,
    traces: traces::Families,
    process: process::Families,
}

impl Metrics {
    /// Registers the table.
    ///
    /// # Errors
    /// When two metrics share a name.
    pub fn new(version: &str) -> Result<Self, MetricsError> {
        let (registry, known) = (Registry::new(), Arc::new(Known::default()));
        let registering = Registering { registry: &registry, known: &known, names: Mutex::default() };
        let all = All {
            traffic: traffic::Families::register(&registering)?,
            turned_away: turned_away::Families::register(&registering)?,
            routing: routing::Families::register(&registering)?,
            policy: policy::Families::register(&registering)?,
            signals: signals::Families::register(&registering)?,
            worker: worker::Families::register(&registering)?,
            engine: engine::Families::register(&registering)?,
            health: health::Families::register(&registering)?,
            outbox: outbox::Families::register(&registering)?,
            responses: responses::Families::register(&registering)?,
            learning: learning::Families::register(&registering)?,
            ledger: ledger::Families::register(&registering)?,
            traces: traces::Families::register(&registering)?,
            process: process::Families::register(&registering, version)?,
            #[cfg(test)]
            names: registering.names.into_inner().unwrap_or_default(),
            known,
            registry,
        };
        Ok(Self(Arc::new(all)))
    }

    /// Tells values that a configured label takes from now on; others count as [`OTHER`]. Past [`Source::values_max`] no more are taken.
    pub fn declare<'a>(&self, source: Source, values: impl IntoIterator<Item = &'a str>) {
        self.0.known.declare(source, values);
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> Result<Vec<u8>, MetricsError> {
        self.0.process.show();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// As a gauge holds it.
fn signed(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
