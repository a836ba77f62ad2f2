//! The account of a running gateway: what `/readyz` answers with and `tidegate status` reads.
//!
//! One shape for both sides, so that they cannot drift. Holds no addresses of targets, no keys and nothing of requests.

use std::time::Duration;

use account::ledger::LedgerHealth;
use account::outbox::EntryState;
use dispatch::{HealthStatus, NetworkStatus};
use policy::{BreakerCause, BreakerState, Connectivity, DropReason, Locality, TargetFacts, TargetState};
use serde::{Deserialize, Serialize};
use traces::{Exporter, TraceHealth};

use crate::fetch::Shown;
use crate::gateway::Gateway;
use crate::outbox::OutboxHealth;
use crate::policies::Policies;
use crate::signals::Signals;
use crate::unix_time::signed_now_ms;

/// A gateway at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Whether some target can answer: it is up, or a request would start it.
    pub ready: bool,
    pub draining: bool,
    pub version: String,
    pub in_flight: i64,
    pub policy: PolicyReadiness,
    pub classifier: ClassifierReadiness,
    pub network: NetworkReadiness,
    #[serde(default)]
    pub ledger: LedgerReadiness,
    #[serde(default)]
    pub outbox: OutboxReadiness,
    #[serde(default)]
    pub traces: TracesReadiness,
    /// What is being fetched, and how far it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fetching: Vec<Shown>,
    pub targets: Vec<TargetReadiness>,
    pub workers: Vec<WorkerReadiness>,
}

/// Which policy decides. A reload that failed leaves the gateway ready: the last good one decides.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PolicyReadiness {
    pub file: String,
    pub generation: u64,
    pub hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload_error: Option<String>,
}

/// Whether requests are classified. A gateway that does not classify is ready all the same.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClassifierReadiness {
    /// `ready`, `off`, or `missing` where one is wanted.
    pub state: String,
    /// The version of learnt heads in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learnt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether names are looked for where a policy asks: `ready`, `off`, or `missing` where that is wanted.
    pub tagger: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tagger_reason: Option<String>,
}

/// Whether requests are recorded. A gateway that does not is ready all the same, unless its operator demands a ledger.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LedgerReadiness {
    /// `ready`, `off`, or `failing`.
    pub state: String,
    pub required: bool,
    /// Settled and not written yet.
    pub waiting: u64,
    pub written: u64,
    /// Not recorded since the start.
    pub lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether requests are kept for later. A gateway that keeps none is ready all the same.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OutboxReadiness {
    /// `ready`, `off`, `full` where a limit is reached, or `failing` where it could not be opened or written.
    pub state: String,
    /// Requests that are not answered yet.
    pub waiting: u64,
    /// Since the oldest of them was taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_s: Option<u64>,
    /// Answers, and news that there is none, that can be fetched.
    pub finished: u64,
    /// What all of it counts for `outbox.bytes_max`.
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether traces reach their collector. A gateway whose traces do not is ready all the same.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TracesReadiness {
    /// `ready`, `off`, or `failing`.
    pub state: String,
    /// Settled and not exported yet.
    pub waiting: u64,
    pub exported: u64,
    /// Not exported since the start, for want of room or because the collector did not take them.
    pub lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The network as far as cloud targets are concerned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NetworkReadiness {
    /// `null` where no target is in the cloud.
    pub connectivity: Option<String>,
    /// `true` or `false` where an operator said so, else `auto`.
    pub offline: Offline,
    /// `null` where nobody said.
    pub metered: Option<bool>,
    pub probed: bool,
    pub probe_rounds: u64,
    pub probe_rounds_failed: u64,
}

/// What an operator says of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Offline {
    Said(bool),
    Found(Auto),
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Auto {
    Auto,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TargetReadiness {
    pub id: String,
    pub locality: String,
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub breaker: BreakerReadiness,
    /// Requests waiting in front of it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_depth: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BreakerReadiness {
    /// `closed`, `open`, `half_open`.
    pub state: String,
    /// `failing` or `misconfigured`, where it is not closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Until a request may try the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_in_ms: Option<u64>,
    /// How often it opened since the start.
    pub opened: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerReadiness {
    pub target: String,
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    pub restarts: u64,
    /// How long it has been in this state.
    pub for_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Status {
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let network = gateway.dispatcher.network().status();
        let away = network.connectivity.filter(|connectivity| connectivity.is_away());
        let cut_off = |target: &TargetFacts| away.filter(|_| target.locality() == Locality::Cloud);
        let facts = gateway.dispatcher.facts(None);
        let is_up = |target: &TargetFacts| matches!(target.state, TargetState::Ready | TargetState::Cold);
        let draining = gateway.is_draining();
        let is_recorded = !gateway.forbids_unrecorded();
        let ready = !draining && is_recorded && facts.iter().any(|target| is_up(target) && cut_off(target).is_none());
        let health = gateway.dispatcher.health();
        let targets = facts.iter().zip(health);
        let targets = targets.map(|(target, (_, health))| TargetReadiness::of(target, &health, cut_off(target)));
        Self {
            ready,
            draining,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            in_flight: gateway.metrics.in_flight(),
            policy: PolicyReadiness::of(&gateway.policies),
            classifier: ClassifierReadiness::of(&gateway.signals),
            network: NetworkReadiness::of(&network),
            ledger: LedgerReadiness::of(gateway),
            outbox: OutboxReadiness::of(gateway),
            traces: TracesReadiness::of(gateway.traces.as_ref()),
            fetching: gateway.fetches.stages(),
            targets: targets.collect(),
            workers: gateway
                .workers
                .all()
                .iter()
                .map(|(target, worker)| WorkerReadiness::of(target, &worker.status()))
                .collect(),
        }
    }
}

impl PolicyReadiness {
    pub(crate) fn of(policies: &Policies) -> Self {
        let in_force = policies.in_force();
        Self {
            file: in_force.active.name.clone(),
            generation: in_force.generation,
            hash: in_force.active.hash.to_string(),
            shadow_hash: in_force.shadow.as_ref().map(|shadow| shadow.hash.to_string()),
            reload_error: policies.last_error(),
        }
    }
}

impl ClassifierReadiness {
    fn of(signals: &Signals) -> Self {
        let reason = signals.missing();
        let state = |reason: &Option<String>, is_there| match (reason, is_there) {
            (Some(_), _) => "missing".to_owned(),
            (None, true) => "ready".to_owned(),
            (None, false) => "off".to_owned(),
        };
        let tagger_reason = signals.no_tagger();
        Self {
            state: state(&reason, signals.has_classifier()),
            learnt: signals.learnt(),
            reason,
            tagger: state(&tagger_reason, signals.has_tagger()),
            tagger_reason,
        }
    }
}

impl LedgerReadiness {
    fn of(gateway: &Gateway) -> Self {
        let required = gateway.config.ledger.required;
        let recording = gateway.recording.as_ref();
        let Some(LedgerHealth { waiting, failure, counts, .. }) = gateway.ledger_health() else {
            let reason = recording.err().map(|none| none.reason.clone());
            return Self { state: "off".to_owned(), required, reason, ..Self::default() };
        };
        let is_ready = recording.is_ok_and(|recording| recording.ledger.can_write());
        Self {
            state: if is_ready { "ready" } else { "failing" }.to_owned(),
            required,
            waiting,
            written: counts.written,
            lost: counts.overflowed + counts.failed,
            reason: failure,
        }
    }
}

impl OutboxReadiness {
    fn of(gateway: &Gateway) -> Self {
        let outbox = match &gateway.outbox {
            Ok(outbox) => outbox,
            Err(reason) => {
                let state = if gateway.config.outbox.enabled { "failing" } else { "off" }.to_owned();
                return Self { state, reason: Some(reason.clone()), ..Self::default() };
            }
        };
        let OutboxHealth { stats, is_full, failure } = outbox.health();
        let state = match (&failure, is_full) {
            (Some(_), _) => "failing",
            (None, true) => "full",
            (None, false) => "ready",
        };
        let count = |is_finished: bool| {
            let counted = EntryState::ALL.iter().zip(stats.entries);
            counted.filter(|(state, _)| state.is_finished() == is_finished).map(|(_, count)| count).sum()
        };
        let age_ms = |oldest_ms: i64| signed_now_ms().saturating_sub(oldest_ms).max(0).unsigned_abs();
        Self {
            state: state.to_owned(),
            waiting: count(false),
            oldest_age_s: stats.oldest_ms.map(|oldest_ms| age_ms(oldest_ms) / 1000),
            finished: count(true),
            bytes: stats.bytes,
            reason: failure,
        }
    }
}

impl TracesReadiness {
    fn of(traces: Option<&Exporter>) -> Self {
        let Some(traces) = traces else { return Self { state: "off".to_owned(), ..Self::default() } };
        let TraceHealth { waiting, failure, counts } = traces.health();
        Self {
            state: if failure.is_none() { "ready" } else { "failing" }.to_owned(),
            waiting,
            exported: counts.exported,
            lost: counts.overflowed + counts.failed,
            reason: failure,
        }
    }
}

impl NetworkReadiness {
    pub(crate) fn of(network: &NetworkStatus) -> Self {
        Self {
            connectivity: network.connectivity.map(|state| state.as_str().to_owned()),
            offline: network.forced_offline.map_or(Offline::Found(Auto::Auto), Offline::Said),
            metered: network.metered,
            probed: network.is_probed,
            probe_rounds: network.rounds_total,
            probe_rounds_failed: network.rounds_failed_total,
        }
    }
}

impl TargetReadiness {
    fn of(target: &TargetFacts, health: &HealthStatus, cut_off: Option<Connectivity>) -> Self {
        Self {
            id: target.id().to_string(),
            locality: target.locality().as_str().to_owned(),
            state: target.state.as_str().to_owned(),
            reason: reason(&target.state, cut_off),
            breaker: BreakerReadiness::of(health),
            queue_depth: target.queue_depth,
        }
    }
}

impl BreakerReadiness {
    fn of(health: &HealthStatus) -> Self {
        let open = match health.breaker {
            BreakerState::Closed => None,
            BreakerState::Open { cause, probe_in } | BreakerState::HalfOpen { cause, probe_in } => {
                Some((cause, probe_in))
            }
        };
        Self {
            state: health.breaker.as_str().to_owned(),
            cause: open.map(|(cause, _)| cause.as_str().to_owned()),
            probe_in_ms: open.map(|(_, probe_in)| millis(probe_in)),
            opened: health.opened_total.iter().sum(),
        }
    }
}

impl WorkerReadiness {
    fn of(target: &policy::TargetId, status: &worker::Status) -> Self {
        Self {
            target: target.to_string(),
            state: status.state.as_str().to_owned(),
            pid: status.pid,
            restarts: status.restarts_total,
            for_ms: millis(status.since.elapsed()),
            reason: status.reason.clone(),
        }
    }
}

/// Why a target cannot answer at once.
fn reason(state: &TargetState, cut_off: Option<Connectivity>) -> Option<String> {
    let seconds =
        |time: &Option<Duration>| time.map_or_else(String::new, |time| format!(" for {:.1} s", time.as_secs_f64()));
    if let Some(connectivity) = cut_off.filter(|_| !matches!(state, TargetState::Down(_))) {
        return Some(DropReason::Offline { connectivity }.explain());
    }
    let text = match state {
        TargetState::Down(why) => why.to_string(),
        TargetState::Downloading => "its engine or model is being fetched".to_owned(),
        TargetState::Ready | TargetState::Cold => return None,
        TargetState::Loading => "the worker is loading its model".to_owned(),
        TargetState::Unreachable => "the last connection failed or the worker is being restarted".to_owned(),
        TargetState::BreakerOpen { cause: BreakerCause::Failing, probe_in } => {
            format!("it failed too often of late and is left alone{}", seconds(probe_in))
        }
        TargetState::BreakerOpen { cause: BreakerCause::Misconfigured, probe_in } => {
            format!("it refuses the gateway's key (401 or 403) and is left alone{}", seconds(probe_in))
        }
        TargetState::RateLimited { wait } => format!("it said that it takes no more requests{}", seconds(wait)),
    };
    Some(text)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
