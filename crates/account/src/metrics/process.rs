//! The process: what it is, and what it takes of the machine. Names are those of Prometheus' client libraries.
//!
//! Read here and not by the library's collector, which counts processor time in whole seconds. What `/proc` tells is not shown elsewhere than
//! on Linux.

use std::time::SystemTime;

use prometheus::Result;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::family::{CatchUp, FloatGauges, Gauges, Registering, Sums};
use super::row::{Area, Kind, Label, Row, Unit, Values};
use super::signed;

static BUILD_INFO: Row = Row {
    name: "tidegate_build_info",
    kind: Kind::Gauge,
    unit: Unit::Info,
    labels: &[Label { name: "version", values: Values::One("the version") }],
    help: "Always 1; the version is the label.",
};
static CPU: Row = Row {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    unit: Unit::Seconds,
    labels: &[],
    help: "Processor time that the gateway has used, its workers not included.",
};
static RESIDENT: Row = Row {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Memory of the gateway that is in RAM, its workers not included.",
};
static OPEN_FDS: Row = Row {
    name: "process_open_fds",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "File descriptors that are open.",
};
static MAX_FDS: Row = Row {
    name: "process_max_fds",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "File descriptors that may be open.",
};
static START: Row = Row {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    unit: Unit::UnixTime,
    labels: &[],
    help: "When the gateway was started.",
};

pub(super) const AREA: Area =
    Area { title: "Process", rows: &[&BUILD_INFO, &CPU, &RESIDENT, &OPEN_FDS, &MAX_FDS, &START] };

pub(super) struct Families {
    cpu: Sums,
    resident: Gauges,
    open_fds: Gauges,
    max_fds: Gauges,
    start: FloatGauges,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>, version: &str) -> Result<Self> {
        of.family::<prometheus::IntGaugeVec>(&BUILD_INFO)?.only(&[version]).set(1);
        let families = Self {
            cpu: of.family(&CPU)?,
            resident: of.family(&RESIDENT)?,
            open_fds: of.family(&OPEN_FDS)?,
            max_fds: of.family(&MAX_FDS)?,
            start: of.family(&START)?,
        };
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        families.start.of([]).set(started.as_secs_f64());
        Ok(families)
    }

    /// Reads what is shown.
    pub(super) fn show(&self) {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        self.cpu.of([]).catch_up(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
        if let Some(bytes) = resident_bytes("self") {
            self.resident.of([]).set(signed(bytes));
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            self.open_fds.of([]).set(signed(open.count()));
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            self.max_fds.of([]).set(signed(most));
        }
    }
}

/// Bytes of a process that are in RAM; `process` is its id, or `self`.
pub(super) fn resident_bytes(process: &str) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
