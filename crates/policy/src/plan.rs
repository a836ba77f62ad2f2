//! The result of a decision: which targets are tried in which order, and why the others are not.

use crate::{Locality, Placement, PlacementCause, TargetFacts, TargetId};

/// One target to try. Made only inside a [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    target: TargetId,
    locality: Locality,
}

impl Attempt {
    /// The target to try.
    #[must_use]
    pub fn target(&self) -> &TargetId {
        &self.target
    }

    /// Where it runs.
    #[must_use]
    pub fn locality(&self) -> Locality {
        self.locality
    }
}

/// Why a target is not in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The request may not go where this target runs.
    Placement(PlacementCause),
    /// The caller named another model.
    NotTheModelAsked,
    /// The target cannot answer; the text says why.
    Down(String),
}

impl DropReason {
    /// A short stable word, for metrics and `/v1/route`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Placement(PlacementCause::Privacy) => "forbidden_by_privacy",
            Self::Placement(PlacementCause::Mode) => "forbidden_by_mode",
            Self::NotTheModelAsked => "not_the_model_asked",
            Self::Down(_) => "down",
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Self::Placement(PlacementCause::Privacy) => "the privacy class keeps this request on the device".into(),
            Self::Placement(PlacementCause::Mode) => "the mode forbids this locality".into(),
            Self::NotTheModelAsked => "the request names another model".into(),
            Self::Down(why) => why.clone(),
        }
    }
}

/// A target left out of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The target.
    pub target: TargetId,
    /// Where it runs.
    pub locality: Locality,
    /// Why it is not tried.
    pub reason: DropReason,
}

/// What decided the order of the attempts. Low cardinality: it stands in `x-tidegate-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The caller named one target.
    PinnedModel,
    /// The privacy class left only the device.
    Privacy,
    /// The mode of the request.
    Mode(crate::Mode),
}

impl Rule {
    /// The word after `rule=`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PinnedModel => "pinned_model",
            Self::Privacy => "privacy",
            Self::Mode(mode) => mode.as_str(),
        }
    }
}

/// A target that the decision would like to try, or would not and why.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The target.
    pub facts: &'a TargetFacts,
    /// `None` to try it, else why not.
    pub dropped: Option<DropReason>,
}

/// What to try, in order. An attempt that [`Placement`] forbids cannot be in it: the fields are private and
/// [`Plan::new`] turns every candidate that may not be used into a drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    placement: Placement,
    rule: Rule,
    attempts: Vec<Attempt>,
    dropped: Vec<Dropped>,
}

impl Plan {
    /// Builds a plan from candidates in the order of preference. Placement is applied here, whatever the
    /// candidates say, and comes before any other reason for a drop.
    #[must_use]
    pub fn new(placement: Placement, rule: Rule, candidates: Vec<Candidate<'_>>) -> Self {
        let mut plan = Self { placement, rule, attempts: Vec::new(), dropped: Vec::new() };
        for Candidate { facts, dropped } in candidates {
            let (target, locality) = (facts.id().clone(), facts.locality());
            let forbidden = placement.forbids(locality).map(DropReason::Placement);
            match forbidden.or(dropped) {
                Some(reason) => plan.dropped.push(Dropped { target, locality, reason }),
                None => plan.attempts.push(Attempt { target, locality }),
            }
        }
        plan
    }

    /// Where the request may go; `dispatch` checks every connection against it once more.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// What decided the order.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The targets to try, best first; empty when none can answer.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Every other target, with its reason.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }
}
