//! What a route is after, and the order of candidates that follows from it.

use std::cmp::Ordering;

use crate::{Locality, TargetState, UnknownWord, plan::Candidate};

/// What a route is after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Objective {
    /// The cheapest that meets the route's limits; an unknown price comes last.
    #[default]
    CheapestThatSuffices,
    /// The shortest predicted time to first token; an unknown one comes last.
    Fastest,
    /// The highest predicted quality; an unknown one comes last.
    BestQuality,
    /// Device, then network, then cloud; but one that is ready before one that is not, which is started meanwhile.
    PreferOnDevice,
    /// Cloud, then network, then device.
    PreferInCloud,
    /// As the candidates of the route are listed.
    InOrder,
}

impl Objective {
    /// Every objective, in the order of documentation.
    pub const ALL: [Self; 6] = [
        Self::CheapestThatSuffices,
        Self::Fastest,
        Self::BestQuality,
        Self::PreferOnDevice,
        Self::PreferInCloud,
        Self::InOrder,
    ];

    /// The word used in policies and accounts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CheapestThatSuffices => "cheapest_that_suffices",
            Self::Fastest => "fastest",
            Self::BestQuality => "best_quality",
            Self::PreferOnDevice => "prefer_on_device",
            Self::PreferInCloud => "prefer_in_cloud",
            Self::InOrder => "in_order",
        }
    }

    /// Reads one of the words, exactly.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything else.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        const ALLOWED: &str =
            "cheapest_that_suffices, fastest, best_quality, prefer_on_device, prefer_in_cloud, in_order";
        Self::ALL
            .into_iter()
            .find(|objective| objective.as_str() == word)
            .ok_or_else(|| UnknownWord::new(word, ALLOWED))
    }

    /// The better of two candidates first. Whatever is preferred, a target that cannot be reached is the last resort;
    /// among equals the one that answers sooner comes first. Candidates that are equal here keep the order they have.
    pub(crate) fn compare(self, a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
        // What is dropped is not tried: it stands where it would if it could answer, which tells whom another stands in for.
        let last_resort = |c: &Candidate<'_>| c.dropped.is_none() && c.facts.state == TargetState::Unreachable;
        let readiness = |c: &Candidate<'_>| if c.dropped.is_none() { readiness(&c.facts.state) } else { 0 };
        let cost = |c: &Candidate<'_>| c.estimate.cost_usd.unwrap_or(f64::INFINITY);
        let ttft = |c: &Candidate<'_>| c.estimate.ttft_ms.unwrap_or(f64::INFINITY);
        let worseness = |c: &Candidate<'_>| c.estimate.quality.map_or(f64::INFINITY, |quality| -quality);
        let order = last_resort(a).cmp(&last_resort(b)).then_with(|| match self {
            Self::CheapestThatSuffices => cost(a).total_cmp(&cost(b)),
            Self::Fastest => readiness(a).cmp(&readiness(b)).then_with(|| ttft(a).total_cmp(&ttft(b))),
            Self::BestQuality => worseness(a).total_cmp(&worseness(b)).then_with(|| cost(a).total_cmp(&cost(b))),
            // Answered elsewhere while a model is loaded.
            Self::PreferOnDevice => is_awaited(a).cmp(&is_awaited(b)).then_with(|| self.rank(a).cmp(&self.rank(b))),
            Self::PreferInCloud => self.rank(a).cmp(&self.rank(b)),
            Self::InOrder => Ordering::Equal,
        });
        match self {
            Self::InOrder => order,
            _ => order.then_with(|| readiness(a).cmp(&readiness(b))),
        }
    }

    /// How far down the list of preferred localities a candidate stands; 0 for objectives without one.
    pub(crate) fn rank(self, candidate: &Candidate<'_>) -> u8 {
        let nearest_first = match candidate.facts.locality() {
            Locality::Device => 0,
            Locality::Network => 1,
            Locality::Cloud => 2,
        };
        match self {
            Self::PreferOnDevice => nearest_first,
            Self::PreferInCloud => 2 - nearest_first,
            _ => 0,
        }
    }
}

/// Whether a target answers only after it was loaded.
fn is_awaited(candidate: &Candidate<'_>) -> bool {
    matches!(candidate.facts.state, TargetState::Loading | TargetState::Cold)
}

fn readiness(state: &TargetState) -> u8 {
    match state {
        TargetState::Ready => 0,
        TargetState::Loading => 1,
        TargetState::Cold => 2,
        TargetState::Downloading => 3,
        TargetState::Unreachable => 4,
        TargetState::BreakerOpen { .. } | TargetState::RateLimited { .. } | TargetState::Down(_) => 5,
    }
}
