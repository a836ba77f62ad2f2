//! What two decisions on the same request differ in: where it may go, who is tried first, what that costs, whether its first token is
//! late.
//!
//! Costs are those of the tokens that the answer had, at the price of whoever is tried first; where it had none, of the tokens expected. An
//! answer that was given again cost nothing, and would cost nothing under a route that gives answers again, too.

use std::collections::BTreeMap;

use account::CacheUse;
use account::ledger::{Record, RecordedDecision};
use policy::{Facts, Limit, Locality, OUTPUT_TOKENS_DEFAULT, Plan, Refusal, TargetFacts};

/// Where a request goes that nobody is asked to answer.
const NOBODY: &str = "none";

/// One request as it was decided, and as it would be.
pub(super) struct Case<'a> {
    pub record: &'a Record,
    pub decision: &'a RecordedDecision,
    pub facts: &'a Facts,
    pub targets: &'a [TargetFacts],
    pub decided: &'a Result<Plan, Refusal>,
}

/// A request that would be decided differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub request_id: String,
    /// Who was tried first, and who would be.
    pub target: (String, String),
    /// The route that decided, and the one that would.
    pub route: (String, String),
}

/// What differs, added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Difference {
    /// Requests that may go elsewhere.
    pub placement: u64,
    /// Requests of which another target is tried first.
    pub first_target: u64,
    /// By where the first target runs, then and now.
    pub moved: BTreeMap<(&'static str, &'static str), u64>,
    /// By the first target, then and now.
    pub targets: BTreeMap<String, (u64, u64)>,
    /// Costs in US dollars of the requests of which both are known.
    pub cost_usd: (f64, f64),
    /// Requests of which one is not.
    pub cost_unknown: u64,
    /// First tokens that are expected to be later than the route wants.
    pub slo_misses: (f64, f64),
    /// Requests whose route wants one in time.
    pub with_slo: (u64, u64),
    /// First tokens that were later.
    pub slo_missed: u64,
    /// The first of the requests that changed, oldest first.
    pub changed: Vec<Changed>,
}

/// One side.
struct Side<'a> {
    first: Option<&'a TargetFacts>,
    placement: Vec<&'a str>,
    route: &'a str,
    slo_ms: Option<f64>,
    /// The answer was one given before, or shared.
    is_given_again: bool,
    /// The route wants a first token in time, and nobody was expected to bring it.
    is_late: bool,
}

impl Side<'_> {
    fn target(&self) -> &str {
        self.first.map_or(NOBODY, |target| target.id().as_str())
    }

    fn locality(&self) -> &'static str {
        self.first.map_or(NOBODY, |target| target.locality().as_str())
    }

    /// How likely the first token is late, from 0 to 1; `None` where nothing is wanted or known.
    fn miss(&self) -> Option<f64> {
        if self.is_late {
            return Some(1.0);
        }
        let (slo, latency) = (self.slo_ms?, self.first?.latency()?.ttft_ms);
        Some(later_than(slo, latency.mean, latency.spread))
    }
}

/// The share of a normal distribution above a value, to a hundredth (Bowling et al. 2009).
fn later_than(value: f64, mean: f64, spread: f64) -> f64 {
    if spread <= 0.0 {
        return f64::from(u8::from(mean > value));
    }
    let z = (value - mean) / spread;
    1.0 / (1.0 + (0.07056 * z.powi(3) + 1.5976 * z).exp())
}

impl<'a> Case<'a> {
    fn before(&self) -> Side<'_> {
        let first = self.decision.plan.first();
        Side {
            first: first.and_then(|id| self.targets.iter().find(|target| target.id().as_str() == id)),
            placement: self.decision.placement.iter().map(|word| &**word).collect(),
            route: self.record.route.as_deref().unwrap_or(NOBODY),
            slo_ms: self.decision.ttft_slo_ms,
            is_given_again: self.was_given_again(),
            is_late: self.decision.relaxed.as_deref() == Some(Limit::Ttft.as_str()),
        }
    }

    fn after(&self) -> Side<'_> {
        let plan = self.decided.as_ref().ok();
        let first = plan.and_then(|plan| plan.attempts().first());
        let localities = plan.map(|plan| plan.placement().localities()).unwrap_or_default();
        Side {
            first: first.and_then(|attempt| self.targets.iter().find(|target| target.id() == attempt.target())),
            placement: localities.into_iter().map(Locality::as_str).collect(),
            route: plan.map_or(NOBODY, |plan| plan.rule().as_str()),
            is_given_again: self.was_given_again() && plan.is_some_and(|plan| plan.cache().is_some()),
            slo_ms: plan.and_then(Plan::ttft_slo).map(|slo| slo.as_secs_f64() * 1000.0),
            is_late: plan.and_then(Plan::relaxed) == Some(Limit::Ttft),
        }
    }

    fn was_given_again(&self) -> bool {
        CacheUse::is_free_word(&self.record.cache)
    }

    /// What the answer costs at its first target; nothing where nobody is asked, or nobody again.
    fn cost_usd(&self, side: &Side<'_>) -> Option<f64> {
        let Some(first) = side.first.filter(|_| !side.is_given_again) else { return Some(0.0) };
        let price = first.profile.price?;
        Some(match self.record.tokens {
            Some(tokens) => price.cost_usd(tokens.input as f64, tokens.cached as f64, tokens.output as f64),
            None => price.cost_usd(first.prompt_tokens(self.facts) as f64, 0.0, OUTPUT_TOKENS_DEFAULT as f64),
        })
    }
}

impl Difference {
    /// Adds one request; lists it where it changed and the list is not too long.
    pub(super) fn add(&mut self, case: &Case<'_>, list_max: usize) {
        let (before, after) = (case.before(), case.after());
        self.placement += u64::from(before.placement != after.placement);
        *self.moved.entry((before.locality(), after.locality())).or_default() += 1;
        self.targets.entry(before.target().to_owned()).or_default().0 += 1;
        self.targets.entry(after.target().to_owned()).or_default().1 += 1;
        match (case.cost_usd(&before), case.cost_usd(&after)) {
            (Some(then), Some(now)) => self.cost_usd = (self.cost_usd.0 + then, self.cost_usd.1 + now),
            _ => self.cost_unknown += 1,
        }
        let wants = |side: &Side<'_>| u64::from(side.slo_ms.is_some() || side.is_late);
        self.with_slo = (self.with_slo.0 + wants(&before), self.with_slo.1 + wants(&after));
        self.slo_misses.0 += before.miss().unwrap_or_default();
        self.slo_misses.1 += after.miss().unwrap_or_default();
        let missed = case.record.ttft_ms.zip(before.slo_ms).is_some_and(|(ttft, slo)| ttft > slo);
        self.slo_missed += u64::from(missed);
        let is_moved = before.target() != after.target();
        self.first_target += u64::from(is_moved);
        if (is_moved || before.placement != after.placement) && self.changed.len() < list_max {
            self.changed.push(Changed {
                request_id: case.record.request_id.to_string(),
                target: (before.target().to_owned(), after.target().to_owned()),
                route: (before.route.to_owned(), after.route.to_owned()),
            });
        }
    }

    /// Requests that would be tried somewhere else first, to there less from there.
    pub(super) fn net_to(&self, locality: &str) -> i64 {
        let count = |is: &dyn Fn(&(&str, &str)) -> bool| {
            let found = self.moved.iter().filter(|((then, now), _)| then != now && is(&(then, now)));
            found.map(|(_, count)| i64::try_from(*count).unwrap_or(i64::MAX)).sum::<i64>()
        };
        count(&|(_, now)| *now == locality) - count(&|(then, _)| *then == locality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_likely_a_token_is_late() {
        let about = |found: f64, expected: f64| assert!((found - expected).abs() < 0.01, "{found} for {expected}");
        about(later_than(100.0, 100.0, 10.0), 0.5);
        about(later_than(110.0, 100.0, 10.0), 0.1587);
        about(later_than(80.0, 100.0, 10.0), 0.9772);
        assert_eq!((later_than(100.0, 99.0, 0.0), later_than(100.0, 101.0, 0.0)), (0.0, 1.0));
    }

    #[test]
    fn what_moves_there_less_what_moves_away() {
        let moved =
            [(("device", "cloud"), 5), (("cloud", "device"), 2), (("cloud", "cloud"), 9), (("none", "cloud"), 1)];
        let difference = Difference { moved: moved.into_iter().collect(), ..Difference::default() };
        assert_eq!((difference.net_to("cloud"), difference.net_to("device"), difference.net_to("none")), (4, -3, -1));
    }
}
