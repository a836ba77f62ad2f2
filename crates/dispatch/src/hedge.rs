//! The budget of hedges: how many requests may have a second attempt beside the first, and for how much money.
//!
//! Whether one is wanted is said by the route (`hedge_after_ms`) and by [`policy::hedge_is_due`]; here is only whether it can
//! be afforded.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use policy::{Attempt, Plan, hedge_is_due};

/// Requests after which the share is about as strict as it will be; a new gateway may hedge its first slow request.
const GRACE_REQUESTS: f64 = 20.0;
/// Half of what was counted is forgotten in this time.
const HALF_LIFE: Duration = Duration::from_secs(300);

/// How much may be spent on hedges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeLimits {
    /// Hedges as a share of requests, from 0 (none) to 1, over about ten minutes.
    pub max_share: f64,
    /// Expected cost of hedges in US dollars an hour. A target of unknown price is hedged with only where this is infinite.
    pub max_usd_per_hour: f64,
}

impl Default for HedgeLimits {
    /// A twentieth of the requests, and a dollar an hour.
    fn default() -> Self {
        Self { max_share: 0.05, max_usd_per_hour: 1.0 }
    }
}

/// What was spent of late.
pub(crate) struct Hedging {
    limits: HedgeLimits,
    spent: Mutex<Spent>,
}

struct Spent {
    at: Instant,
    requests: f64,
    hedges: f64,
    usd: f64,
}

impl Hedging {
    pub(crate) fn new(limits: HedgeLimits) -> Self {
        let spent = Spent { at: Instant::now(), requests: 0.0, hedges: 0.0, usd: 0.0 };
        Self { limits, spent: Mutex::new(spent) }
    }

    /// Counts a request of a route that hedges.
    pub(crate) fn saw_request(&self) {
        self.at(Instant::now(), |spent| spent.requests += 1.0);
    }

    /// Takes a hedge with `second` out of the budget, if one beside `first`, which has brought nothing for `waited`, is wanted
    /// and there is enough left.
    pub(crate) fn take(&self, plan: &Plan, first: &Attempt, second: &Attempt, waited: Duration) -> bool {
        hedge_is_due(plan, first, waited) && self.afford(second.estimate().cost_usd, Instant::now())
    }

    fn afford(&self, cost_usd: Option<f64>, now: Instant) -> bool {
        let HedgeLimits { max_share, max_usd_per_hour } = self.limits;
        // What decays with a half-life sums up to what came in this much time.
        let hours = HALF_LIFE.as_secs_f64() / std::f64::consts::LN_2 / 3600.0;
        let cost = cost_usd.unwrap_or(f64::INFINITY);
        self.at(now, |spent| {
            let share_left = (spent.requests + GRACE_REQUESTS) * max_share;
            let fits = spent.hedges + 1.0 <= share_left.max(if max_share > 0.0 { 1.0 } else { 0.0 });
            let pays = max_usd_per_hour.is_infinite() || spent.usd + cost <= max_usd_per_hour * hours;
            if fits && pays {
                spent.hedges += 1.0;
                spent.usd += cost_usd.unwrap_or(0.0);
            }
            fits && pays
        })
    }

    fn at<T>(&self, now: Instant, change: impl FnOnce(&mut Spent) -> T) -> T {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(spent.at);
        let kept = 0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64());
        let Spent { requests, hedges, usd, .. } = *spent;
        *spent = Spent { at: now, requests: requests * kept, hedges: hedges * kept, usd: usd * kept };
        change(&mut spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hedges(limits: HedgeLimits, requests: u32, cost_usd: Option<f64>) -> u32 {
        let hedging = Hedging::new(limits);
        let now = Instant::now();
        let mut made = 0;
        for _ in 0..requests {
            hedging.at(now, |spent| spent.requests += 1.0);
            made += u32::from(hedging.afford(cost_usd, now));
        }
        made
    }

    #[test]
    fn hedges_stay_a_share_of_the_requests() {
        let limits = HedgeLimits { max_share: 0.1, max_usd_per_hour: 100.0 };
        assert_eq!(hedges(limits, 1000, Some(0.0)), 102);
        assert_eq!(hedges(limits, 1, Some(0.0)), 1);
        assert_eq!(hedges(HedgeLimits { max_share: 0.0, ..limits }, 1000, Some(0.0)), 0);
    }

    #[test]
    fn hedges_cost_no_more_than_they_may() {
        let limits = HedgeLimits { max_share: 1.0, max_usd_per_hour: 1.0 };
        // A budget of 1 USD an hour is one of 0.12 USD in the time that is remembered.
        assert_eq!(hedges(limits, 1000, Some(0.01)), 12);
        assert_eq!(hedges(limits, 1000, None), 0);
        assert_eq!(hedges(HedgeLimits { max_usd_per_hour: f64::INFINITY, ..limits }, 10, None), 10);
    }

    #[test]
    fn what_was_spent_is_forgotten() {
        let hedging = Hedging::new(HedgeLimits { max_share: 1.0, max_usd_per_hour: 1.0 });
        let now = Instant::now();
        assert!(hedging.afford(Some(0.12), now));
        assert!(!hedging.afford(Some(0.12), now));
        assert!(hedging.afford(Some(0.12), now + 20 * HALF_LIFE));
    }
}
