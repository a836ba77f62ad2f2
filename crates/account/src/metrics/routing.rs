//! Decisions: which rules fired, where requests may go, which targets were left out and why, and what was refused.

use policy::{DropReason, Locality, Placement, Plan, Privacy};

use super::Metrics;
use super::family::{Counts, Registering};
use super::labels::{LOCALITY, TARGET, closed};
use super::row::{Area, Kind, Label, Row, Source, Unit, Values};
use crate::Settlement;

/// The privacy class that held for a request, its conversation and the configuration included.
pub(super) const PRIVACY: Label =
    Label { name: "privacy", values: Values::Closed(|| Privacy::ALL.iter().map(|class| class.as_str()).collect()) };
/// Where a request may be answered.
const ALLOWED: Label = closed!(
    "allowed":
    "device", "network", "cloud", "device+network", "device+cloud", "network+cloud", "device+network+cloud", "nowhere",
);

static RULES: Row = Row {
    name: "tidegate_rule_matches_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label { name: "rule", values: Values::Configured(Source::Rules) }, closed!("kind": "route", "placement")],
    help: "Requests decided by a route, and placement rules that applied to them.",
};
static PLACEMENTS: Row = Row {
    name: "tidegate_placements_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[PRIVACY, ALLOWED],
    help: "Requests decided, by their privacy class and by where the policy allows them to be answered.",
};
static DROPS: Row = Row {
    name: "tidegate_target_drops_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET, Label { name: "reason", values: Values::Closed(|| DropReason::CODES.to_vec()) }],
    help: "Targets that decisions left out, by why.",
};
static LEFT_REQUESTS: Row = Row {
    name: "tidegate_left_device_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[PRIVACY, LOCALITY],
    help: "Requests of which anything was sent to a target off the device, by their privacy class and by where.",
};
static LEFT_BYTES: Row = Row {
    name: "tidegate_left_device_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    labels: &[PRIVACY, LOCALITY],
    help: "Bytes of requests that were sent to targets off the device, each attempt counted, by privacy class and by where.",
};
static REFUSALS: Row = Row {
    name: "tidegate_refusals_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label { name: "reason", values: Values::Configured(Source::ErrorCodes) }],
    help: "Chat completions answered with an error of the gateway, by its code.",
};

pub(super) const AREA: Area =
    Area { title: "Decisions", rows: &[&RULES, &PLACEMENTS, &DROPS, &LEFT_REQUESTS, &LEFT_BYTES, &REFUSALS] };

pub(super) struct Families {
    rules: Counts,
    placements: Counts,
    drops: Counts,
    left_requests: Counts,
    left_bytes: Counts,
    refusals: Counts,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            rules: of.family(&RULES)?,
            placements: of.family(&PLACEMENTS)?,
            drops: of.family(&DROPS)?,
            left_requests: of.family(&LEFT_REQUESTS)?,
            left_bytes: of.family(&LEFT_BYTES)?,
            refusals: of.family(&REFUSALS)?,
        })
    }
}

impl Metrics {
    /// Counts what was decided of an exchange.
    pub(super) fn decided(&self, settlement: &Settlement) {
        let stages = &settlement.stages;
        for (stage, time) in [("parse", stages.parse), ("signals", stages.signals), ("decide", stages.decide)] {
            if let Some(time) = time {
                self.0.policy.route_duration.of([stage.into()]).observe(time.as_secs_f64());
            }
        }
        if let Some(decided) = &settlement.decided {
            self.planned(&decided.plan, decided.facts.effective_privacy());
        }
    }

    /// Counts what of an exchange left the device.
    pub(super) fn left_device(&self, settlement: &Settlement) {
        let Some(decided) = &settlement.decided else { return };
        let privacy = decided.facts.effective_privacy();
        for locality in [Locality::Network, Locality::Cloud] {
            let attempts = settlement.attempts.iter();
            let sent = attempts.filter(|attempt| attempt.locality == locality).map(|attempt| attempt.sent_bytes);
            let bytes: u64 = sent.sum();
            if bytes > 0 {
                let labels = [privacy.as_str().into(), locality.as_str().into()];
                self.0.routing.left_requests.of(labels).inc();
                self.0.routing.left_bytes.of(labels).inc_by(bytes);
            }
        }
    }

    fn planned(&self, plan: &Plan, privacy: Privacy) {
        let routing = &self.0.routing;
        routing.rules.of([plan.rule().as_str().into(), "route".into()]).inc();
        for matched in plan.placement().matched() {
            routing.rules.of([(*matched.id).into(), "placement".into()]).inc();
        }
        routing.placements.of([privacy.as_str().into(), allowed(plan.placement()).into()]).inc();
        for dropped in plan.dropped() {
            routing.drops.of([self.target(&dropped.profile.id), dropped.reason.code().into()]).inc();
        }
    }

    /// Counts a request that is answered with an error of the gateway.
    pub fn refused(&self, code: &str) {
        self.0.routing.refusals.of([code.into()]).inc();
    }
}

fn allowed(placement: &Placement) -> &'static str {
    let is_allowed = |locality| placement.forbids_locality(locality).is_none();
    match Locality::ALL.map(is_allowed) {
        [true, true, true] => "device+network+cloud",
        [true, true, false] => "device+network",
        [true, false, true] => "device+cloud",
        [true, false, false] => "device",
        [false, true, true] => "network+cloud",
        [false, true, false] => "network",
        [false, false, true] => "cloud",
        [false, false, false] => "nowhere",
    }
}
