//! The policy in force, how long it takes to decide by it, and a shadow beside it.

use super::family::{Counts, Gauges, Histograms, Registering, Sums};
use super::labels::closed;
use super::row::{Area, Kind, Label, Row, Unit, Values};
use super::{Metrics, buckets, signed};

static RELOADS: Row = Row {
    name: "tidegate_policy_reload_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("result": "ok", "failed")],
    help: "Reloads of the policy, by whether the new one is in force (ok) or the last good one stays (failed).",
};
static GENERATION: Row = Row {
    name: "tidegate_policy_generation",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Counts up from 1 with every policy that comes into force.",
};
static INFO: Row = Row {
    name: "tidegate_policy_info",
    kind: Kind::Gauge,
    unit: Unit::Info,
    labels: &[Label { name: "hash", values: Values::One("the hash of the policy in force") }],
    help: "Always 1; the hash of the policy in force is the label.",
};
static ROUTE_DURATION: Row = Row {
    name: "tidegate_route_duration_seconds",
    kind: Kind::Histogram(buckets::STAGES),
    unit: Unit::Seconds,
    labels: &[closed!("stage": "parse", "signals", "decide")],
    help: "Time that a request took on its way to its targets, by stage: reading and parsing it, looking into it, deciding.",
};
static SHADOW_DECISIONS: Row = Row {
    name: "tidegate_policy_shadow_decisions_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Requests that the shadow policy was asked about as well.",
};
static SHADOW_DIFFERENCES: Row = Row {
    name: "tidegate_policy_shadow_differences_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("difference": "placement", "first_target", "estimated_cost")],
    help: "Requests that the shadow policy would have decided differently, by what differs.",
};
static SHADOW_COST: Row = Row {
    name: "tidegate_policy_shadow_estimated_cost_usd_total",
    kind: Kind::Counter,
    unit: Unit::UsDollars,
    labels: &[closed!("policy": "active", "shadow")],
    help: "Estimated cost of the first attempts of requests that both policies know the cost of.",
};

pub(super) const AREA: Area = Area {
    title: "Policy",
    rows: &[&ROUTE_DURATION, &RELOADS, &GENERATION, &INFO, &SHADOW_DECISIONS, &SHADOW_DIFFERENCES, &SHADOW_COST],
};

pub(super) struct Families {
    pub(super) route_duration: Histograms,
    reloads: Counts,
    generation: Gauges,
    info: Gauges,
    shadow_decisions: Counts,
    shadow_differences: Counts,
    shadow_cost: Sums,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            route_duration: of.family(&ROUTE_DURATION)?,
            reloads: of.family(&RELOADS)?,
            generation: of.family(&GENERATION)?,
            info: of.family(&INFO)?,
            shadow_decisions: of.family(&SHADOW_DECISIONS)?,
            shadow_differences: of.family(&SHADOW_DIFFERENCES)?,
            shadow_cost: of.family(&SHADOW_COST)?,
        })
    }
}

/// How the shadow policy would have decided one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShadowDifference {
    /// Other localities would be left.
    pub placement: bool,
    /// Another target would be tried first, or none.
    pub first_target: bool,
    /// The first attempt is estimated to cost something else, or one of the two is not known.
    pub estimated_cost: bool,
    /// Estimated cost in US dollars by the active policy.
    pub active_cost_usd: Option<f64>,
    /// Estimated cost in US dollars by the shadow policy.
    pub shadow_cost_usd: Option<f64>,
}

impl Metrics {
    /// Counts a reload of the policy.
    pub fn policy_reloaded(&self, ok: bool) {
        self.0.policy.reloads.of([if ok { "ok" } else { "failed" }.into()]).inc();
    }

    /// Shows which policy is in force.
    pub fn show_policy(&self, generation: u64, hash: &str) {
        self.0.policy.generation.of([]).set(signed(generation));
        self.0.policy.info.only(&[hash]).set(1);
    }

    /// Counts a decision of the shadow policy.
    pub fn shadow_decided(&self, difference: &ShadowDifference) {
        let policy = &self.0.policy;
        policy.shadow_decisions.of([]).inc();
        let differences = [
            ("placement", difference.placement),
            ("first_target", difference.first_target),
            ("estimated_cost", difference.estimated_cost),
        ];
        for (name, _) in differences.into_iter().filter(|(_, differs)| *differs) {
            policy.shadow_differences.of([name.into()]).inc();
        }
        if let (Some(active), Some(shadow)) = (difference.active_cost_usd, difference.shadow_cost_usd) {
            policy.shadow_cost.of(["active".into()]).inc_by(active);
            policy.shadow_cost.of(["shadow".into()]).inc_by(shadow);
        }
    }
}
