//! Staying: a conversation keeps its target while that qualifies, unless another is better by more than the switch cost.

use crate::plan::Candidate;
use crate::{Facts, Objective, Stay, TargetState};

/// How a conversation is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StickyBy {
    /// By the session that the caller names, else by the prefix of its messages.
    #[default]
    Conversation,
    /// Only by the session that the caller names.
    Session,
    /// Targets are chosen anew for every request. The privacy of a conversation is remembered all the same.
    None,
}

/// The `stickiness` part of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Stickiness {
    /// How a conversation is recognised.
    pub by: StickyBy,
    /// How long a conversation is remembered after its last request.
    pub ttl: std::time::Duration,
    /// Whether the turns of a tool loop stay on one target, whatever another would gain.
    pub pin_in_tool_loop: bool,
    /// What another target has to save in US dollars (objective `cheapest_that_suffices`).
    pub switch_cost_usd: f64,
    /// What it has to gain in milliseconds to the first token (objective `fastest`).
    pub switch_cost_ttft_ms: f64,
    /// What it has to gain in quality (objective `best_quality`).
    pub switch_cost_quality: f64,
}

impl Default for Stickiness {
    /// One hour, pinned in tool loops, switch costs of 0.001 USD, 500 ms and 0.1.
    fn default() -> Self {
        Self {
            by: StickyBy::default(),
            ttl: std::time::Duration::from_secs(3600),
            pin_in_tool_loop: true,
            switch_cost_usd: 0.001,
            switch_cost_ttft_ms: 500.0,
            switch_cost_quality: 0.1,
        }
    }
}

/// Moves the previous target of the conversation to the front where it should stay there, and says why.
pub(crate) fn apply(
    stickiness: &Stickiness,
    objective: Objective,
    facts: &Facts,
    candidates: &mut [Candidate<'_>],
) -> Option<Stay> {
    if stickiness.by == StickyBy::None {
        return None;
    }
    let previous = facts.conversation.previous_target.as_ref()?;
    let kept = |candidate: &Candidate<'_>| candidate.dropped.is_none();
    let first = candidates.iter().position(kept)?;
    let at = candidates.iter().position(|candidate| kept(candidate) && candidate.facts.id() == previous)?;
    if at == first || candidates[at].facts.state == TargetState::Unreachable {
        return None;
    }
    let in_loop = facts.request.in_tool_loop && stickiness.pin_in_tool_loop;
    let stay = if in_loop {
        Stay::ToolLoop
    } else if gains_too_little(stickiness, objective, &candidates[first], &candidates[at]) {
        Stay::SwitchCost
    } else {
        return None;
    };
    candidates[first..=at].rotate_right(1);
    Some(stay)
}

/// Whether `best` is not worth leaving `previous`. An unknown cost, time or quality is no gain. A preferred locality is
/// worth every switch: it is what the route is for.
fn gains_too_little(
    stickiness: &Stickiness,
    objective: Objective,
    best: &Candidate<'_>,
    previous: &Candidate<'_>,
) -> bool {
    if previous.facts.state != TargetState::Ready {
        return false;
    }
    let more_than = |gain: Option<f64>, cost: f64| gain.is_some_and(|gain| gain > cost);
    let difference = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a - b);
    let (new, old) = (&best.estimate, &previous.estimate);
    match objective {
        Objective::CheapestThatSuffices => {
            !more_than(difference(old.cost_usd, new.cost_usd), stickiness.switch_cost_usd)
        }
        Objective::Fastest => !more_than(difference(old.ttft_ms, new.ttft_ms), stickiness.switch_cost_ttft_ms),
        Objective::BestQuality => !more_than(difference(new.quality, old.quality), stickiness.switch_cost_quality),
        Objective::PreferOnDevice | Objective::PreferInCloud => objective.rank(best) == objective.rank(previous),
        Objective::InOrder => true,
    }
}
