//! The result of a decision: which targets are tried in which order, and why the others are not.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    CacheRule, DropReason, Estimate, Limit, Locality, Objective, Placement, TargetFacts, TargetId, TargetProfile,
};

/// One target to try. Made only inside a [`Plan`].
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    profile: Arc<TargetProfile>,
    estimate: Estimate,
    ttft_deadline: Option<Duration>,
}

impl Attempt {
    /// The target to try.
    #[must_use]
    pub fn target(&self) -> &TargetId {
        &self.profile.id
    }

    /// Where it runs.
    #[must_use]
    pub fn locality(&self) -> Locality {
        self.profile.locality
    }

    /// What is fixed of the target.
    #[must_use]
    pub fn profile(&self) -> &Arc<TargetProfile> {
        &self.profile
    }

    /// What the attempt is expected to cost and to take.
    #[must_use]
    pub fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// How long to wait for the first token before the next attempt; `None` on the last one, which is never cut short by
    /// an objective.
    #[must_use]
    pub fn ttft_deadline(&self) -> Option<Duration> {
        self.ttft_deadline
    }
}

/// A target left out of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// The target.
    pub profile: Arc<TargetProfile>,
    /// Why it is not tried.
    pub reason: DropReason,
}

/// What chose the candidates and their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The caller named one target.
    PinnedModel,
    /// A route of the policy.
    Route {
        /// Its id.
        id: Arc<str>,
        /// Its objective.
        objective: Objective,
    },
    /// No route of the policy matched.
    NoRoute,
}

impl Rule {
    /// The word after `rule=`: the id of the route, or a built-in. Low cardinality: it stands in `x-tidegate-reason`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::PinnedModel => "pinned_model",
            Self::Route { id, .. } => id,
            Self::NoRoute => "no_route",
        }
    }

    /// The objective of the route that fired.
    #[must_use]
    pub fn objective(&self) -> Option<Objective> {
        match self {
            Self::Route { objective, .. } => Some(*objective),
            Self::PinnedModel | Self::NoRoute => None,
        }
    }
}

/// A route whose condition could not be evaluated, so that it was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its id.
    pub route: Arc<str>,
    /// Which fact was absent, or what failed.
    pub failed: String,
}

/// Why the conversation stayed where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// The request is a turn inside a tool loop.
    ToolLoop,
    /// No other target is better by more than the switch cost.
    SwitchCost,
}

impl Stay {
    /// The word used in `/v1/route`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolLoop => "tool_loop",
            Self::SwitchCost => "switch_cost",
        }
    }
}

/// A target that the decision would like to try, or would not and why.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) facts: &'a TargetFacts,
    pub(crate) estimate: Estimate,
    pub(crate) dropped: Option<DropReason>,
    /// Whether only its present state can keep it from being tried.
    pub(crate) fits: bool,
}

/// What to try, in order. An attempt that [`Placement`] forbids cannot be in it: the fields are private and
/// `Plan::new` turns every candidate that may not be used into a drop.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    placement: Placement,
    rule: Rule,
    attempts: Vec<Attempt>,
    tries_max: u32,
    ttft_slo: Option<Duration>,
    dropped: Vec<Dropped>,
    pub(crate) passed_over: Vec<PassedOver>,
    pub(crate) stay: Option<Stay>,
    pub(crate) relaxed: Option<Limit>,
    pub(crate) refusal: Option<Arc<str>>,
    pub(crate) hedge_after: Option<Duration>,
    pub(crate) respond_async: bool,
    pub(crate) cache: Option<CacheRule>,
    /// The targets that only their present state keeps from being tried.
    away: Vec<TargetId>,
    pub(crate) substituted: Option<&'static str>,
    pub(crate) warm_up: Option<TargetId>,
    pub(crate) reference: Option<Arc<TargetId>>,
}

/// How many attempts a plan may hold, and how long each but the last may wait for its first token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) attempts_max: usize,
    pub(crate) ttft_deadline: Option<Duration>,
}

impl Plan {
    /// Builds a plan from candidates in the order of preference. Placement is applied here, whatever the
    /// candidates say, and comes before any other reason for a drop.
    pub(crate) fn new(placement: Placement, rule: Rule, candidates: Vec<Candidate<'_>>, bounds: Bounds) -> Self {
        let (mut attempts, mut dropped) = (Vec::with_capacity(candidates.len()), Vec::with_capacity(candidates.len()));
        let mut away = Vec::new();
        for candidate in candidates {
            let profile = Arc::clone(&candidate.facts.profile);
            let beyond = (attempts.len() >= bounds.attempts_max)
                .then_some(DropReason::BeyondMaxAttempts { limit: bounds.attempts_max });
            match placement.forbids(&profile).or(candidate.dropped).or(beyond) {
                Some(reason) => {
                    if candidate.fits && reason.is_of_state() {
                        away.push(profile.id.clone());
                    }
                    dropped.push(Dropped { profile, reason });
                }
                None => {
                    let (estimate, ttft_deadline) = (candidate.estimate, bounds.ttft_deadline);
                    attempts.push(Attempt { profile, estimate, ttft_deadline });
                }
            }
        }
        if let Some(last) = attempts.last_mut() {
            last.ttft_deadline = None;
        }
        Self {
            placement,
            rule,
            attempts,
            tries_max: u32::try_from(bounds.attempts_max).unwrap_or(u32::MAX),
            ttft_slo: bounds.ttft_deadline,
            dropped,
            passed_over: Vec::new(),
            stay: None,
            relaxed: None,
            refusal: None,
            hedge_after: None,
            respond_async: false,
            cache: None,
            away,
            substituted: None,
            warm_up: None,
            reference: None,
        }
    }

    /// Where the request may go; `dispatch` checks every connection against it once more.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// What decided the order.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The targets to try, best first; empty when none can answer.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Tries that may be made on all targets together.
    #[must_use]
    pub fn tries_max(&self) -> u32 {
        self.tries_max
    }

    /// The time to first token that the route wants.
    #[must_use]
    pub fn ttft_slo(&self) -> Option<Duration> {
        self.ttft_slo
    }

    /// Every other target, with its reason.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Routes before the one that fired whose condition could not be evaluated.
    #[must_use]
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// Why the first attempt is the target that the conversation used before, where another would have come first.
    #[must_use]
    pub fn stay(&self) -> Option<Stay> {
        self.stay
    }

    /// The limit of the route that was left aside because nothing qualified.
    #[must_use]
    pub fn relaxed(&self) -> Option<Limit> {
        self.relaxed
    }

    /// The message of the route for a request that nothing qualifies for.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// When to start the second attempt beside the first one that has brought no token yet.
    #[must_use]
    pub fn hedge_after(&self) -> Option<Duration> {
        self.hedge_after
    }

    /// Whether the route wants a request that cannot be answered now to be kept for later.
    #[must_use]
    pub fn respond_async(&self) -> bool {
        self.respond_async
    }

    /// For how long, and whether at all, the route lets the answer to such a request be given again.
    #[must_use]
    pub fn cache(&self) -> Option<CacheRule> {
        self.cache
    }

    /// Whether an answer that `target` gave earlier may answer this request: it is tried, or would be but for the state it is in now.
    #[must_use]
    pub fn could_have_answered(&self, target: &TargetId) -> bool {
        self.attempts.iter().any(|attempt| attempt.target() == target) || self.away.contains(target)
    }

    /// The code of the drop ([`DropReason::code`]) of a target that would have been tried first, had it not been for a state
    /// that passes by itself: the first attempt stands in for it.
    #[must_use]
    pub fn substituted(&self) -> Option<&'static str> {
        self.substituted
    }

    /// When to ask again: the soonest that a dropped target may be tried, where one was dropped only for now.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.dropped.iter().filter_map(|dropped| dropped.reason.passes_in()).min()
    }

    /// The target against which the answer is priced, as the route or the policy says.
    #[must_use]
    pub fn reference(&self) -> Option<&TargetId> {
        self.reference.as_deref()
    }

    /// A target that is not running and would have been preferred: worth starting for the requests to come.
    #[must_use]
    pub fn warm_up(&self) -> Option<&TargetId> {
        self.warm_up.as_ref()
    }

    /// The short form of the account for `x-tidegate-reason`: `rule=<id>`, what narrowed the placement, and why another target
    /// stands in.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut reason = ["rule=", self.rule.as_str()].concat();
        if let Some(cause) = self.placement.narrowed_by() {
            reason.extend(["; placement=", cause.as_str()]);
        }
        if let Some(code) = self.substituted {
            reason.extend(["; substituted=", code]);
        }
        reason
    }
}
