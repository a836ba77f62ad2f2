//! The health of targets and of the network.

use policy::{BreakerCause, BreakerState, Connectivity, TargetId};

use super::Metrics;
use super::family::{CatchUp, Counts, Gauges, Registering};
use super::labels::{BREAKER_CAUSE, BREAKER_STATE, CONNECTIVITY, TARGET, closed};
use super::row::{Area, Kind, Row, Unit};

static BREAKER: Row = Row {
    name: "tidegate_breaker_state",
    kind: Kind::Gauge,
    unit: Unit::YesNo,
    labels: &[TARGET, BREAKER_STATE],
    help: "1 for the state that the breaker of a target is in, 0 for the others.",
};
static OPENED: Row = Row {
    name: "tidegate_breaker_opened_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET, BREAKER_CAUSE],
    help: "How often the breaker of a target opened, by why.",
};
static PROBES: Row = Row {
    name: "tidegate_breaker_probes_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Requests let through an open breaker to find out whether the target answers again.",
};
static RATE_LIMITED: Row = Row {
    name: "tidegate_target_rate_limited",
    kind: Kind::Gauge,
    unit: Unit::YesNo,
    labels: &[TARGET],
    help: "1 while a target is left alone because it said that it takes no more requests for a while.",
};
static NETWORK: Row = Row {
    name: "tidegate_connectivity_state",
    kind: Kind::Gauge,
    unit: Unit::YesNo,
    labels: &[CONNECTIVITY],
    help: "1 for the state of the network as far as cloud targets are concerned, 0 for the others.",
};
static METERED: Row = Row {
    name: "tidegate_network_metered",
    kind: Kind::Gauge,
    unit: Unit::YesNo,
    labels: &[],
    help: "1 where the network is said to be paid by volume, 0 where it is said not to be; not shown where that is not known.",
};
static PROBE_ROUNDS: Row = Row {
    name: "tidegate_network_probe_rounds_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[closed!("result": "reached", "failed")],
    help: "Rounds of probes for the network, by whether any address was reached.",
};

pub(super) const AREA: Area = Area {
    title: "Health of targets and of the network",
    rows: &[&BREAKER, &OPENED, &PROBES, &RATE_LIMITED, &NETWORK, &METERED, &PROBE_ROUNDS],
};

pub(super) struct Families {
    breaker: Gauges,
    opened: Counts,
    probes: Counts,
    rate_limited: Gauges,
    network: Gauges,
    /// Shown by `only`.
    metered: Gauges,
    probe_rounds: Counts,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        let metered: Gauges = of.family(&METERED)?;
        metered.hide();
        Ok(Self {
            breaker: of.family(&BREAKER)?,
            opened: of.family(&OPENED)?,
            probes: of.family(&PROBES)?,
            rate_limited: of.family(&RATE_LIMITED)?,
            network: of.family(&NETWORK)?,
            metered,
            probe_rounds: of.family(&PROBE_ROUNDS)?,
        })
    }
}

/// The health of one target, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownHealth {
    /// Its breaker.
    pub breaker: BreakerState,
    /// How often its breaker opened since the start, by [`BreakerCause::ALL`].
    pub opened_total: [u64; BreakerCause::ALL.len()],
    /// Requests since the start that were let through an open breaker to find out whether the target answers again.
    pub probes_total: u64,
    /// Whether it takes no requests for a while.
    pub is_rate_limited: bool,
}

/// The network, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownNetwork {
    /// How it stands; `None` where no target is in the cloud.
    pub connectivity: Option<Connectivity>,
    /// Whether it is paid by volume, where that is known.
    pub metered: Option<bool>,
    /// Rounds of probes since the start that reached something.
    pub rounds_reached_total: u64,
    /// Rounds of probes since the start that reached nothing.
    pub rounds_failed_total: u64,
}

impl Metrics {
    /// Shows the health of a target.
    pub fn show_health(&self, target: &TargetId, health: &ShownHealth) {
        let (shown, target) = (&self.0.health, self.target(target));
        for word in BreakerState::WORDS {
            shown.breaker.of([target, word.into()]).set((word == health.breaker.as_str()).into());
        }
        for (cause, total) in BreakerCause::ALL.into_iter().zip(health.opened_total) {
            shown.opened.of([target, cause.as_str().into()]).catch_up(total);
        }
        shown.probes.of([target]).catch_up(health.probes_total);
        shown.rate_limited.of([target]).set(health.is_rate_limited.into());
    }

    /// Shows the network; nothing of what is not known.
    pub fn show_network(&self, network: &ShownNetwork) {
        let shown = &self.0.health;
        if let Some(state) = network.connectivity {
            for word in Connectivity::WORDS {
                shown.network.of([word.into()]).set((word == state.as_str()).into());
            }
        }
        match network.metered {
            Some(metered) => shown.metered.only(&[]).set(metered.into()),
            None => shown.metered.hide(),
        }
        let rounds = [("reached", network.rounds_reached_total), ("failed", network.rounds_failed_total)];
        for (result, total) in rounds {
            shown.probe_rounds.of([result.into()]).catch_up(total);
        }
    }
}
