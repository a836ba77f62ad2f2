//! A policy that is decided beside the active one and only counted.

use account::{Metrics, ShadowDifference};
use policy::{Facts, Plan, Refusal, TargetFacts, decide};

use super::InForce;

/// US dollars by which two estimates have to differ to count as different.
const COST_DIFFERENCE_USD: f64 = 1e-9;

/// Decides the request by the shadow policy, if there is one, and counts how that would differ from `decided`.
pub(crate) fn compare(
    in_force: &InForce,
    facts: &Facts,
    targets: &[TargetFacts],
    decided: &Result<Plan, Refusal>,
    metrics: &Metrics,
) {
    let Some(shadow) = &in_force.shadow else { return };
    let other = decide(&shadow.policy, facts, targets);
    let placement = |plan: &Result<Plan, Refusal>| plan.as_ref().ok().map(|plan| plan.placement().localities());
    let first = |plan: &Result<Plan, Refusal>| {
        plan.as_ref().ok().and_then(|plan| plan.attempts().first().map(|attempt| attempt.target().clone()))
    };
    let cost = |plan: &Result<Plan, Refusal>| {
        plan.as_ref().ok().and_then(|plan| plan.attempts().first()).and_then(|attempt| attempt.estimate().cost_usd)
    };
    let (active_cost, shadow_cost) = (cost(decided), cost(&other));
    let cost_differs = match (active_cost, shadow_cost) {
        (Some(a), Some(b)) => (a - b).abs() > COST_DIFFERENCE_USD,
        (a, b) => a.is_some() != b.is_some(),
    };
    metrics.shadow_decided(&ShadowDifference {
        placement: placement(decided) != placement(&other),
        first_target: first(decided) != first(&other),
        estimated_cost: cost_differs,
        active_cost_usd: active_cost,
        shadow_cost_usd: shadow_cost,
    });
}
