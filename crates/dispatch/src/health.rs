//! How one target has fared of late: its breaker, its rate limit, and whether it could be connected to. Asked before every try,
//! and told how it went.
//!
//! The rules are `policy`'s; here are the clock, the lock and the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policy::{
    Admission, Breaker, BreakerCause, BreakerChange, BreakerLimits, BreakerState, HealthSignal, Outcome, TargetId,
    TargetState, Ticket,
};
use tokio::time::Instant;

use crate::Network;
use crate::way::Way;

#[cfg(test)]
mod tests;

/// How long a target may say nothing before that is its fault, where its own limit is longer.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// How long a target that could not be connected to, or limits its rate and does not say for how long, is tried only after the
/// others.
pub const UNREACHABLE_FOR: Duration = Duration::from_secs(1);
/// The longest that a target is believed that it takes no requests.
pub const RATE_LIMITED_MAX: Duration = Duration::from_secs(600);

/// The health of one target. Cheap to ask on every request.
pub struct TargetHealth {
    target: TargetId,
    /// A worker, whose life is its supervisor's business.
    is_supervised: bool,
    network: Arc<Network>,
    /// Where it is in the cloud, for the network.
    place: Option<usize>,
    /// A wait for the first token that was shorter was cut short by an objective, and says nothing of the target.
    silent_after: Duration,
    begun: Instant,
    condition: Mutex<Condition>,
}

struct Condition {
    /// `None` where there are no breakers.
    breaker: Option<Breaker>,
    limited_until: Duration,
    unreachable_until: Duration,
    /// How often the network had come back when that was last looked at.
    returns: u64,
    opened: [u64; BreakerCause::ALL.len()],
    probes: u64,
}

/// The health of a target at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthStatus {
    /// Its breaker; closed where there are none.
    pub breaker: BreakerState,
    /// What is left of the time that it takes no requests.
    pub rate_limited: Option<Duration>,
    /// How often its breaker opened, by [`BreakerCause::ALL`]; failed probes are not counted again.
    pub opened_total: [u64; BreakerCause::ALL.len()],
    /// Requests that were let through to find out whether it answers again.
    pub probes_total: u64,
}

/// That a try may be made; told how it went, or given up when dropped.
pub(crate) struct Permit<'a> {
    health: &'a TargetHealth,
    /// `None` where there are no breakers.
    ticket: Option<Ticket>,
    is_told: bool,
}

impl TargetHealth {
    /// A target that nothing is known of. `breaker` is `None` where there are none; `first_token` is the target's own limit;
    /// `is_supervised` for a worker; `origin` where it is in the cloud.
    #[must_use]
    pub fn new(
        target: TargetId,
        breaker: Option<BreakerLimits>,
        first_token: Duration,
        is_supervised: bool,
        network: Arc<Network>,
        origin: Option<&str>,
    ) -> Self {
        let condition = Condition {
            breaker: breaker.map(Breaker::new),
            limited_until: Duration::ZERO,
            unreachable_until: Duration::ZERO,
            returns: network.returns(),
            opened: [0; BreakerCause::ALL.len()],
            probes: 0,
        };
        let place = origin.and_then(|origin| network.place(origin));
        let (begun, condition) = (Instant::now(), Mutex::new(condition));
        let silent_after = first_token.min(SILENT_AFTER);
        Self { target, is_supervised, network, place, silent_after, begun, condition }
    }

    /// What the target could do now, when it says `own` of itself.
    #[must_use]
    pub fn state(&self, own: TargetState) -> TargetState {
        if matches!(own, TargetState::Down(_) | TargetState::Downloading) {
            return own;
        }
        if self.way().is_gone() {
            return TargetState::Unreachable;
        }
        let now = self.begun.elapsed();
        let condition = self.lock(now);
        let breaker = condition.breaker.as_ref().map_or(BreakerState::Closed, |breaker| breaker.state(now));
        match breaker {
            BreakerState::Open { cause, probe_in } | BreakerState::HalfOpen { cause, probe_in }
                if !probe_in.is_zero() =>
            {
                TargetState::BreakerOpen { cause, probe_in: Some(probe_in) }
            }
            _ if now < condition.limited_until => {
                TargetState::RateLimited { wait: Some(condition.limited_until - now) }
            }
            _ if now < condition.unreachable_until && own == TargetState::Ready => TargetState::Unreachable,
            _ => own,
        }
    }

    /// The way to it.
    pub(crate) fn way(&self) -> Way<'_> {
        Way::new(self.place.map(|_| &*self.network))
    }

    /// Everything that is told of it.
    #[must_use]
    pub fn status(&self) -> HealthStatus {
        let now = self.begun.elapsed();
        let condition = self.lock(now);
        HealthStatus {
            breaker: condition.breaker.as_ref().map_or(BreakerState::Closed, |breaker| breaker.state(now)),
            rate_limited: (now < condition.limited_until).then(|| condition.limited_until - now),
            opened_total: condition.opened,
            probes_total: condition.probes,
        }
    }

    /// Asks for a try that begins now.
    ///
    /// # Errors
    /// The time until another may be asked for.
    pub(crate) fn admit(&self) -> Result<Permit<'_>, Duration> {
        let now = self.begun.elapsed();
        let mut condition = self.lock(now);
        let ticket = match condition.breaker.as_mut().map(|breaker| breaker.admit(now)) {
            None => None,
            Some(Admission::Granted(ticket)) => Some(ticket),
            Some(Admission::Refused { probe_in }) => return Err(probe_in),
        };
        condition.probes += u64::from(ticket.is_some_and(|ticket| ticket.is_probe()));
        Ok(Permit { health: self, ticket, is_told: false })
    }

    fn report(&self, ticket: Option<Ticket>, signal: HealthSignal) {
        let now = self.begun.elapsed();
        let change = {
            let mut condition = self.lock(now);
            let change = condition.breaker.as_mut().zip(ticket).and_then(|(b, ticket)| b.report(ticket, signal, now));
            if let Some(BreakerChange::Opened { cause, was_closed: true, .. }) = change {
                condition.opened[cause as usize] += 1;
            }
            change
        };
        if let Some(change) = change {
            self.log(change);
            self.network.announce();
        }
    }

    fn log(&self, change: BreakerChange) {
        let target_id = self.target.as_str();
        match change {
            BreakerChange::Closed => tracing::info!(target_id, "breaker closed: the target answers again"),
            BreakerChange::Opened { cause, open_for, was_closed } => {
                let (cause, open_ms) = (cause.as_str(), open_for.as_millis());
                match (was_closed, change) {
                    (true, BreakerChange::Opened { cause: BreakerCause::Misconfigured, .. }) => {
                        tracing::error!(
                            target_id,
                            cause,
                            open_ms,
                            "breaker opened: the target refuses the gateway's key"
                        );
                    }
                    (true, _) => tracing::warn!(target_id, cause, open_ms, "breaker opened: the target is left alone"),
                    (false, _) => {
                        tracing::debug!(target_id, cause, open_ms, "breaker stays open: the target still fails")
                    }
                }
            }
        }
    }

    /// How a try went, beside what the breaker makes of it.
    fn mark(&self, outcome: Outcome, retry_after: Option<Duration>) {
        if let Some(place) = self.place {
            self.network.tried(place, outcome);
        }
        let now = self.begun.elapsed();
        let mut condition = self.lock(now);
        match outcome {
            Outcome::Status(429) => match retry_after {
                Some(wait) => condition.limited_until = condition.limited_until.max(now + wait.min(RATE_LIMITED_MAX)),
                // Nothing forbids to ask, where nobody else is left.
                None => condition.unreachable_until = now + UNREACHABLE_FOR,
            },
            Outcome::ConnectFailed if !self.is_supervised => condition.unreachable_until = now + UNREACHABLE_FOR,
            _ if outcome.reach() == policy::ReachSignal::Reached => condition.unreachable_until = Duration::ZERO,
            _ => {}
        }
    }

    /// The condition, after what the return of the network changes for a target in the cloud.
    fn lock(&self, now: Duration) -> MutexGuard<'_, Condition> {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        let returns = self.network.returns();
        if self.place.is_some() && condition.returns != returns {
            condition.returns = returns;
            condition.unreachable_until = Duration::ZERO;
            if let Some(breaker) = &mut condition.breaker {
                breaker.expedite(now);
            }
        }
        condition
    }
}

impl Permit<'_> {
    /// Content has come: a target that was left alone answers again.
    pub(crate) fn saw_content(&self) {
        if self.ticket.is_some_and(|ticket| ticket.is_probe()) {
            self.health.report(self.ticket, HealthSignal::Success);
        }
        if let Some(place) = self.health.place {
            self.health.network.tried(place, Outcome::Answered);
        }
    }

    /// The try has ended, after this time.
    pub(crate) fn tell(&mut self, outcome: Outcome, retry_after: Option<Duration>, took: Duration) {
        self.is_told = true;
        self.health.mark(outcome, retry_after);
        let signal = match outcome {
            Outcome::FirstTokenTimeout if took < self.health.silent_after => HealthSignal::Nothing,
            outcome => outcome.health(self.health.is_supervised),
        };
        self.health.report(self.ticket, signal);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            self.health.report(self.ticket, HealthSignal::Nothing);
        }
    }
}
