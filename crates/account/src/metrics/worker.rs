//! Workers on this device: their state, how busy they are, what they cost in time and memory.

use std::time::Duration;

use policy::TargetId;

use super::family::{CatchUp, Counts, FloatGauges, Gauges, Histograms, Registering};
use super::labels::{TARGET, closed};
use super::process::resident_bytes;
use super::row::{Area, Kind, Label, Row, Unit};
use super::{Metrics, buckets, signed};

/// The `state` label values of `tidegate_worker_state`.
pub const WORKER_STATES: [&str; 5] = ["stopped", "starting", "ready", "draining", "failed"];

const STATE: Label = closed!("state": "stopped", "starting", "ready", "draining", "failed");
/// In which situation a time to first token was predicted.
const SITUATION: Label = closed!("situation": "cold", "queued", "cached", "warm", "remote");

static STATES: Row = Row {
    name: "tidegate_worker_state",
    kind: Kind::Gauge,
    unit: Unit::YesNo,
    labels: &[TARGET, STATE],
    help: "1 for the state that a local worker is in, 0 for the others.",
};
static RESTARTS: Row = Row {
    name: "tidegate_worker_restarts_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Starts of a local worker because the one before had ended unwanted.",
};
static SLOTS_BUSY: Row = Row {
    name: "tidegate_worker_slots_busy",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Slots of a local worker in use, those included that are being freed.",
};
static QUEUE_DEPTH: Row = Row {
    name: "tidegate_worker_queue_depth",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Requests that wait for a slot of a local worker, or for the worker to be ready.",
};
static SLOTS: Row = Row {
    name: "tidegate_worker_slots",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Requests that a local worker answers at the same time.",
};
static QUEUE_WAIT: Row = Row {
    name: "tidegate_queue_wait_seconds",
    kind: Kind::Histogram(buckets::QUEUE),
    unit: Unit::Seconds,
    labels: &[TARGET],
    help: "From asking for a slot of a local worker until having it, the time included in which the worker was made ready.",
};
static STARTS: Row = Row {
    name: "tidegate_worker_starts_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Starts of a local worker: cold starts and restarts.",
};
static LOAD_DURATION: Row = Row {
    name: "tidegate_worker_load_duration_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[TARGET],
    help: "How long the last start of a local worker took until it was ready.",
};
static RESIDENT: Row = Row {
    name: "tidegate_worker_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[TARGET],
    help: "Memory of a local worker that is in RAM, its model included as far as it is; 0 where none runs.",
};
static CANCELLATION: Row = Row {
    name: "tidegate_cancellation_duration_seconds",
    kind: Kind::Histogram(buckets::CANCELLATION),
    unit: Unit::Seconds,
    labels: &[TARGET],
    help: "From seeing that a caller has left until the worker's slot was free.",
};
static NOT_FREED: Row = Row {
    name: "tidegate_worker_slots_not_freed_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Slots that were not seen free in time after their caller had left.",
};
static PREDICTION_ERROR: Row = Row {
    name: "tidegate_ttft_prediction_error_ratio",
    kind: Kind::Histogram(buckets::ERRORS),
    unit: Unit::Ratio,
    labels: &[TARGET, SITUATION],
    help: "How far the predicted time to first token was off, as a share of the real one.",
};

pub(super) const AREA: Area = Area {
    title: "Workers on this device",
    rows: &[
        &STATES,
        &RESTARTS,
        &STARTS,
        &LOAD_DURATION,
        &RESIDENT,
        &SLOTS,
        &SLOTS_BUSY,
        &QUEUE_DEPTH,
        &QUEUE_WAIT,
        &CANCELLATION,
        &NOT_FREED,
        &PREDICTION_ERROR,
    ],
};

pub(super) struct Families {
    states: Gauges,
    restarts: Counts,
    slots_busy: Gauges,
    queue_depth: Gauges,
    slots: Gauges,
    queue_wait: Histograms,
    starts: Counts,
    load_duration: FloatGauges,
    resident: Gauges,
    cancellation: Histograms,
    not_freed: Counts,
    prediction_error: Histograms,
}

/// A local worker, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownWorker<'a> {
    /// One of [`WORKER_STATES`].
    pub state: &'a str,
    /// Starts since the gateway's own because the child before had ended unwanted.
    pub restarts_total: u64,
    /// All starts since then.
    pub starts_total: u64,
    /// How long the last one took that succeeded.
    pub load_time: Option<Duration>,
    /// Process id of the child, while there is one.
    pub pid: Option<u32>,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            states: of.family(&STATES)?,
            restarts: of.family(&RESTARTS)?,
            slots_busy: of.family(&SLOTS_BUSY)?,
            queue_depth: of.family(&QUEUE_DEPTH)?,
            slots: of.family(&SLOTS)?,
            queue_wait: of.family(&QUEUE_WAIT)?,
            starts: of.family(&STARTS)?,
            load_duration: of.family(&LOAD_DURATION)?,
            resident: of.family(&RESIDENT)?,
            cancellation: of.family(&CANCELLATION)?,
            not_freed: of.family(&NOT_FREED)?,
            prediction_error: of.family(&PREDICTION_ERROR)?,
        })
    }
}

impl Metrics {
    /// Shows a local worker.
    pub fn show_worker(&self, target: &TargetId, shown: &ShownWorker<'_>) {
        let (worker, target) = (&self.0.worker, self.target(target));
        for known in WORKER_STATES {
            worker.states.of([target, known.into()]).set((known == shown.state).into());
        }
        worker.restarts.of([target]).catch_up(shown.restarts_total);
        worker.starts.of([target]).catch_up(shown.starts_total);
        // It begins at 0.
        worker.not_freed.of([target]);
        if let Some(time) = shown.load_time {
            worker.load_duration.of([target]).set(time.as_secs_f64());
        }
        let resident = shown.pid.and_then(|pid| resident_bytes(&pid.to_string()));
        worker.resident.of([target]).set(signed(resident.unwrap_or_default()));
    }

    /// Shows how busy a local worker is.
    pub fn show_load(&self, target: &TargetId, slots: usize, busy: usize, queued: usize) {
        let (worker, target) = (&self.0.worker, self.target(target));
        worker.slots.of([target]).set(signed(slots));
        worker.slots_busy.of([target]).set(signed(busy));
        worker.queue_depth.of([target]).set(signed(queued));
    }

    /// A request got a slot of a worker this long after it had asked for one.
    pub fn seated(&self, target: &TargetId, waited: Duration) {
        self.0.worker.queue_wait.of([self.target(target)]).observe(waited.as_secs_f64());
    }

    /// A slot of a worker was free this long after its caller was seen gone.
    pub fn slot_freed(&self, target: &TargetId, after: Duration) {
        self.0.worker.cancellation.of([self.target(target)]).observe(after.as_secs_f64());
    }

    /// A slot of a worker was not seen free in time.
    pub fn slot_not_freed(&self, target: &TargetId) {
        self.0.worker.not_freed.of([self.target(target)]).inc();
    }

    /// A first token came after `actual_ms` when `predicted_ms` were expected; `situation` is a word of a closed list.
    pub fn first_token_predicted(&self, target: &TargetId, situation: &str, predicted_ms: f64, actual_ms: f64) {
        let error = (predicted_ms - actual_ms).abs() / actual_ms.max(1.0);
        self.0.worker.prediction_error.of([self.target(target), situation.into()]).observe(error);
    }
}
