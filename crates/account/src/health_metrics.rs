//! What the metrics say of the health of targets and of the network. Names and labels stand in the table of `metrics`.

use policy::{BreakerCause, BreakerState, Connectivity, TargetId};

use crate::Metrics;

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
        let id = target.as_str();
        for word in BreakerState::WORDS {
            self.breaker_state.with_label_values(&[id, word]).set(i64::from(word == health.breaker.as_str()));
        }
        for (cause, total) in BreakerCause::ALL.into_iter().zip(health.opened_total) {
            catch_up(&self.breaker_opened.with_label_values(&[id, cause.as_str()]), total);
        }
        catch_up(&self.breaker_probes.with_label_values(&[id]), health.probes_total);
        self.rate_limited.with_label_values(&[id]).set(health.is_rate_limited.into());
    }

    /// Shows the network; nothing of what is not known.
    pub fn show_network(&self, network: &ShownNetwork) {
        if let Some(state) = network.connectivity {
            for word in Connectivity::WORDS {
                self.connectivity_state.with_label_values(&[word]).set(i64::from(word == state.as_str()));
            }
        }
        match network.metered {
            Some(metered) => self.network_metered.with_label_values::<&str>(&[]).set(metered.into()),
            None => self.network_metered.reset(),
        }
        let rounds = [("reached", network.rounds_reached_total), ("failed", network.rounds_failed_total)];
        for (result, total) in rounds {
            catch_up(&self.network_probes.with_label_values(&[result]), total);
        }
    }
}

/// Counts up to what was counted elsewhere.
fn catch_up(counter: &prometheus::IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
