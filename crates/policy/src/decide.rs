//! Step two of the decision: where is the request served best, within its placement?

use crate::{
    Candidate, Contradiction, DropReason, Locality, Mode, ModelAsked, Placement, PlacementCause, Plan, RequestFacts,
    Rule, TargetFacts, TargetId, TargetState,
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
/// Every target ends up either as an attempt or as a drop with a reason. The order of attempts is: first what is not
/// unreachable, then the locality that the mode prefers, then what answers soonest (ready, starting, cold), then the
/// operator's order. A plan without attempts is possible and means "nothing can answer now".
///
/// # Errors
/// [`Refusal`] for a contradiction or a model that does not exist.
pub fn decide(request: &RequestFacts, targets: &[TargetFacts]) -> Result<Plan, Refusal> {
    let placement = Placement::of(request.mode, request.privacy)?;
    let pinned = pinned_target(&request.model, targets, placement)?;
    let mut order: Vec<&TargetFacts> = targets.iter().collect();
    order.sort_by_key(|target| {
        let is_last_resort = target.state == TargetState::Unreachable;
        (is_last_resort, locality_rank(request.mode, target.locality()), state_rank(&target.state))
    });
    let candidates = order.into_iter().map(|facts| Candidate { facts, dropped: drop_reason(facts, pinned) }).collect();
    Ok(Plan::new(placement, rule(request, placement), candidates))
}

fn pinned_target<'a>(
    model: &ModelAsked,
    targets: &'a [TargetFacts],
    placement: Placement,
) -> Result<Option<&'a TargetId>, Refusal> {
    let ModelAsked::Target(id) = model else { return Ok(None) };
    let Some(target) = targets.iter().find(|target| target.id() == id) else {
        return Err(Refusal::UnknownModel(id.clone()));
    };
    match placement.forbids(target.locality()) {
        None => Ok(Some(target.id())),
        Some(cause) => {
            let (target, locality) = (id.clone(), target.locality());
            Err(Contradiction::ModelAndPlacement { target, locality, cause }.into())
        }
    }
}

fn drop_reason(target: &TargetFacts, pinned: Option<&TargetId>) -> Option<DropReason> {
    if pinned.is_some_and(|id| id != target.id()) {
        return Some(DropReason::NotTheModelAsked);
    }
    match &target.state {
        TargetState::Down(why) => Some(DropReason::Down(why.to_string())),
        _ => None,
    }
}

fn rule(request: &RequestFacts, placement: Placement) -> Rule {
    match (&request.model, placement.forbids(Locality::Cloud)) {
        (ModelAsked::Target(_), _) => Rule::PinnedModel,
        (_, Some(PlacementCause::Privacy)) => Rule::Privacy,
        _ => Rule::Mode(request.mode),
    }
}

fn locality_rank(mode: Mode, locality: Locality) -> u8 {
    let preferred = match mode {
        Mode::PreferOnDevice | Mode::OnlyOnDevice => Locality::Device,
        Mode::PreferInCloud | Mode::OnlyInCloud => Locality::Cloud,
    };
    u8::from(locality != preferred)
}

fn state_rank(state: &TargetState) -> u8 {
    match state {
        TargetState::Ready => 0,
        TargetState::Loading => 1,
        TargetState::Cold | TargetState::Downloading => 2,
        TargetState::Unreachable | TargetState::BreakerOpen => 3,
        TargetState::Down(_) => 4,
    }
}
