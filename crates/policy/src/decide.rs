//! The decision: where may the request go, and where within that is it served best?

use crate::estimate::{OUTPUT_RESERVE_TOKENS, output_tokens};
use crate::plan::{Bounds, Candidate};
use crate::route::{MAX_ATTEMPTS_DEFAULT, Route, WhenNone};
use crate::{
    Contradiction, DropReason, Estimate, Facts, Limit, Locality, ModelAsked, Objective, PassedOver, Placement,
    PlacementCause, Plan, Policy, Rule, TargetFacts, TargetId, TargetState, Truth, Values, sticky,
};

/// Why a request cannot be planned at all. No change of the targets' states would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The demands exclude each other.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// The named model is no target.
    #[error("model {0} does not exist")]
    UnknownModel(TargetId),
}

/// Plans one request over `targets`, which come in the operator's order of preference.
///
/// Every target ends up either as an attempt or as a drop with a reason. A request that names its model goes there and
/// nowhere else: only placement applies to it, no route. A plan without attempts is possible and means "nothing that may
/// answer can answer now". The same arguments give the same plan.
///
/// # Errors
/// [`Refusal`] for a contradiction or a model that does not exist.
pub fn decide(policy: &Policy, facts: &Facts, targets: &[TargetFacts]) -> Result<Plan, Refusal> {
    let values = Values::of(facts, targets);
    let placement = Placement::of_request(facts)?.narrow(&policy.placement, &values, facts.request.mode)?;
    if let ModelAsked::Target(id) = &facts.request.model {
        let mut plan = pinned(id, placement, facts, targets)?;
        plan.reference.clone_from(&policy.reference);
        return Ok(plan);
    }
    let mut passed_over = Vec::new();
    let fired = policy.routes.iter().find(|route| match route.when.as_ref().map(|when| when.evaluate(&values)) {
        None | Some(Truth::True) => true,
        Some(Truth::False) => false,
        Some(Truth::Unknown(why)) => {
            passed_over.push(PassedOver { route: route.id.clone(), failed: why.to_string() });
            false
        }
    });
    let mut plan = match fired {
        Some(route) => routed(policy, route, placement, &values, targets),
        None => {
            let drop = |facts| Candidate {
                facts,
                estimate: Estimate::default(),
                dropped: Some(DropReason::NotACandidate),
                fits: false,
            };
            Plan::new(placement, Rule::NoRoute, targets.iter().map(drop).collect(), Bounds::default())
        }
    };
    plan.passed_over = passed_over;
    plan.reference = fired.and_then(|route| route.reference.as_ref()).or(policy.reference.as_ref()).cloned();
    Ok(plan)
}

impl Default for Bounds {
    fn default() -> Self {
        Self { attempts_max: MAX_ATTEMPTS_DEFAULT, ttft_deadline: None }
    }
}

/// The one target that the caller named.
fn pinned(id: &TargetId, placement: Placement, facts: &Facts, targets: &[TargetFacts]) -> Result<Plan, Refusal> {
    let Some(target) = targets.iter().find(|target| target.id() == id) else {
        return Err(Refusal::UnknownModel(id.clone()));
    };
    match placement.forbids(&target.profile) {
        None => {}
        Some(reason) => {
            let (target, locality) = (id.clone(), target.locality());
            let cause = forbidding(reason);
            return Err(Contradiction::ModelAndPlacement { target, locality, cause }.into());
        }
    }
    let output = output_tokens(facts, None);
    let candidates = targets.iter().map(|target| {
        let other = (target.id() != id).then_some(DropReason::NotTheModelAsked);
        // A model that is being fetched is waited for where it is named.
        let out_of_service = || out_of_service(facts, target).filter(|reason| *reason != DropReason::Downloading);
        let dropped = other.or_else(out_of_service);
        Candidate { facts: target, estimate: Estimate::of(facts, target, output), dropped, fits: false }
    });
    Ok(Plan::new(placement, Rule::PinnedModel, candidates.collect(), Bounds::default()))
}

/// What a drop by placement goes back to.
fn forbidding(reason: DropReason) -> PlacementCause {
    match reason {
        DropReason::Provider { rule } | DropReason::Region { rule, .. } | DropReason::Unredacted { rule } => {
            PlacementCause::Rule(rule)
        }
        DropReason::Locality { cause, .. } => cause,
        _ => PlacementCause::Mode,
    }
}

/// The targets of a route, in its order, within its limits; once more without one limit if it says so.
fn routed(policy: &Policy, route: &Route, placement: Placement, values: &Values<'_>, targets: &[TargetFacts]) -> Plan {
    let mut candidates = candidates(route, &placement, values, targets, None);
    let mut relaxed = None;
    if let WhenNone::Relax(limit) = route.when_none
        && candidates.iter().all(|candidate| candidate.dropped.is_some())
    {
        candidates = self::candidates(route, &placement, values, targets, Some(limit));
        relaxed = candidates.iter().any(|candidate| candidate.dropped.is_none()).then_some(limit);
    }
    if !matches!(route.when_none, WhenNone::RefuseWith(_)) {
        wait_where_nothing_else_answers(&mut candidates);
    }
    let warm_up = warm_up(route, &candidates);
    let stay = sticky::apply(&policy.stickiness, route.objective, values.facts(), &mut candidates);
    let rule = Rule::Route { id: route.id.clone(), objective: route.objective };
    let slo = route.limits.ttft_slo_ms.filter(|_| relaxed != Some(Limit::Ttft));
    let ttft_deadline = slo.map(|ms| std::time::Duration::from_secs_f64(ms.max(0.0) / 1000.0));
    let bounds = Bounds { attempts_max: route.max_attempts, ttft_deadline };
    let substituted = substituted(&candidates);
    let mut plan = Plan::new(placement, rule, candidates, bounds);
    (plan.stay, plan.relaxed, plan.hedge_after) = (stay, relaxed, route.hedge_after);
    (plan.respond_async, plan.cache) = (route.respond_async, route.cache);
    plan.substituted = substituted;
    plan.warm_up = warm_up;
    if plan.attempts().is_empty()
        && let WhenNone::RefuseWith(message) = &route.when_none
    {
        plan.refusal = Some(message.clone());
    }
    plan
}

/// Takes back that models are still being fetched, where no other target qualifies.
fn wait_where_nothing_else_answers(candidates: &mut [Candidate<'_>]) {
    if candidates.iter().any(|candidate| candidate.dropped.is_none()) {
        return;
    }
    for candidate in candidates.iter_mut().filter(|candidate| candidate.fits) {
        candidate.dropped.take_if(|reason| *reason == DropReason::Downloading);
    }
}

/// The target that would have been tried first were it running, where another is tried in its stead.
fn warm_up(route: &Route, candidates: &[Candidate<'_>]) -> Option<TargetId> {
    if route.objective != Objective::PreferOnDevice {
        return None;
    }
    let usable = || candidates.iter().filter(|candidate| candidate.dropped.is_none());
    let first = usable().next()?;
    let preferred = usable().min_by_key(|candidate| route.objective.rank(candidate))?;
    let is_better = route.objective.rank(preferred) < route.objective.rank(first);
    (is_better && preferred.facts.state == TargetState::Cold).then(|| preferred.facts.id().clone())
}

/// Why the target that would have been tried first is not, where that passes by itself and another stands in.
fn substituted(candidates: &[Candidate<'_>]) -> Option<&'static str> {
    let first = candidates.iter().position(|candidate| candidate.dropped.is_none())?;
    let better = candidates[..first].iter().filter(|candidate| candidate.fits).filter_map(|c| c.dropped.as_ref());
    better.filter(|reason| reason.is_passing()).map(DropReason::code).next()
}

/// Every target, those of the route first and in its order.
fn candidates<'a>(
    route: &Route,
    placement: &Placement,
    values: &Values<'_>,
    targets: &'a [TargetFacts],
    relaxed: Option<Limit>,
) -> Vec<Candidate<'a>> {
    let facts = values.facts();
    let output = output_tokens(facts, Some(&route.id));
    let mut listed: Vec<(usize, Candidate<'a>)> = Vec::with_capacity(targets.len());
    for target in targets {
        let position = route.position(&target.profile);
        let estimate = Estimate::of(facts, target, output);
        let unsuited = placement.forbids(&target.profile).or_else(|| match position {
            None => Some(DropReason::NotACandidate),
            Some(_) => incapable(facts, target),
        });
        let (dropped, fits) = match (unsuited, out_of_service(facts, target)) {
            (Some(reason), _) => (Some(reason), false),
            (None, Some(reason)) => (Some(reason), unfit(route, values, target, &estimate, relaxed).is_none()),
            (None, None) => (unfit(route, values, target, &estimate, relaxed), true),
        };
        listed.push((position.unwrap_or(usize::MAX), Candidate { facts: target, estimate, dropped, fits }));
    }
    if route.objective == Objective::InOrder {
        listed.sort_by_key(|(position, _)| *position);
    }
    let mut candidates: Vec<_> = listed.into_iter().map(|(_, candidate)| candidate).collect();
    candidates.sort_by(|a, b| route.objective.compare(a, b));
    candidates
}

/// Why a candidate that may be used cannot serve this request, whatever its state.
fn incapable(facts: &Facts, target: &TargetFacts) -> Option<DropReason> {
    let profile = &target.profile;
    if let Some(what) = profile.capabilities.lacks(facts.request.needs) {
        return Some(DropReason::LacksCapability(what));
    }
    let needed = target.prompt_tokens(facts).saturating_add(facts.request.max_tokens.unwrap_or(OUTPUT_RESERVE_TOKENS));
    if let Some(window) = profile.context_tokens.filter(|window| needed > *window) {
        return Some(DropReason::ContextTooSmall { needed, window });
    }
    None
}

/// Why a candidate that could serve this request should not.
fn unfit(
    route: &Route,
    values: &Values<'_>,
    target: &TargetFacts,
    estimate: &Estimate,
    relaxed: Option<Limit>,
) -> Option<DropReason> {
    match route.require.as_ref().map(|require| require.evaluate(&values.with_target(target))) {
        None | Some(Truth::True) => {}
        Some(Truth::False) => return Some(DropReason::RequirementNotMet { failed: None }),
        Some(Truth::Unknown(why)) => return Some(DropReason::RequirementNotMet { failed: Some(why.to_string()) }),
    }
    over_budget(values.facts(), target, estimate).or_else(|| route.limits.exceeded(estimate, relaxed))
}

/// Budgets are for what is paid for: nothing on the device.
fn over_budget(facts: &Facts, target: &TargetFacts, estimate: &Estimate) -> Option<DropReason> {
    let remaining = facts.budget.remaining_usd.filter(|_| target.locality() != Locality::Device)?;
    let fits = estimate.cost_usd.is_some_and(|cost| cost <= remaining);
    (!fits).then_some(DropReason::OverBudget { expected: estimate.cost_usd, remaining })
}

/// Why a target cannot answer now.
fn out_of_service(facts: &Facts, target: &TargetFacts) -> Option<DropReason> {
    if let Some(connectivity) = facts.moment.connectivity.filter(|connectivity| connectivity.is_away())
        && target.locality() == Locality::Cloud
        && !matches!(target.state, TargetState::Down(_))
    {
        return Some(DropReason::Offline { connectivity });
    }
    match &target.state {
        TargetState::Down(why) => Some(DropReason::Down(why.clone())),
        TargetState::Downloading => Some(DropReason::Downloading),
        TargetState::BreakerOpen { cause, probe_in } => {
            Some(DropReason::BreakerOpen { cause: *cause, probe_in: *probe_in })
        }
        TargetState::RateLimited { wait } => Some(DropReason::RateLimited { wait: *wait }),
        TargetState::Ready | TargetState::Loading | TargetState::Cold | TargetState::Unreachable => None,
    }
}
