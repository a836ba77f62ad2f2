//! A compiled route: when it fires, whom it asks, what it is after, within which limits.

use std::sync::Arc;
use std::time::Duration;

use crate::{Condition, DropReason, Estimate, Limit, Objective, TargetId, TargetProfile};

/// Attempts of a route that does not say, at most.
pub const MAX_ATTEMPTS_DEFAULT: usize = 4;
/// Attempts that a route may ask for.
pub const MAX_ATTEMPTS_MAX: usize = 6;

/// Names targets: `local/*`, `*`, `tag:fast`. `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A glob over target ids.
    Id(String),
    /// A glob over target tags.
    Tag(String),
}

impl Selector {
    /// Reads `tag:GLOB` or `GLOB`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("tag:") {
            Some(tag) => Self::Tag(tag.to_owned()),
            None => Self::Id(text.to_owned()),
        }
    }

    /// Whether it names `profile`.
    #[must_use]
    pub fn selects(&self, profile: &TargetProfile) -> bool {
        match self {
            Self::Id(glob) => glob_matches(glob, profile.id.as_str()),
            Self::Tag(glob) => profile.tags.iter().any(|tag| glob_matches(glob, tag)),
        }
    }
}

/// Matches piece by piece between the stars; linear but for repeated pieces.
fn glob_matches(glob: &str, text: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').map_or(("", rest), |(middle, tail)| (middle, tail));
    for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(tail)
}

/// The limits of a route; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) max_cost_usd: Option<f64>,
    pub(crate) ttft_slo_ms: Option<f64>,
    pub(crate) total_slo_ms: Option<f64>,
    pub(crate) min_quality: Option<f64>,
}

impl Limits {
    /// The first limit that is not met, `relaxed` left aside. What cannot be predicted does not meet a limit.
    pub(crate) fn exceeded(&self, estimate: &Estimate, relaxed: Option<Limit>) -> Option<DropReason> {
        let checks = [
            (Limit::Cost, estimate.cost_usd, self.max_cost_usd),
            (Limit::Quality, estimate.quality, self.min_quality),
            (Limit::Ttft, estimate.ttft_ms, self.ttft_slo_ms),
            (Limit::Total, estimate.total_ms, self.total_slo_ms),
        ];
        checks.into_iter().filter(|(limit, ..)| relaxed != Some(*limit)).find_map(|(limit, expected, allowed)| {
            let allowed = allowed?;
            let is_met = expected.is_some_and(|expected| match limit {
                Limit::Quality => expected >= allowed,
                _ => expected <= allowed,
            });
            (!is_met).then_some(DropReason::OverLimit { limit, expected, allowed })
        })
    }

    pub(crate) fn has(&self, limit: Limit) -> bool {
        match limit {
            Limit::Cost => self.max_cost_usd.is_some(),
            Limit::Ttft => self.ttft_slo_ms.is_some(),
            Limit::Total => self.total_slo_ms.is_some(),
            Limit::Quality => self.min_quality.is_some(),
        }
    }
}

/// What to do when no candidate qualifies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum WhenNone {
    /// Say so.
    #[default]
    Refuse,
    /// Say so in the operator's words.
    RefuseWith(Arc<str>),
    /// Decide once more without one limit.
    Relax(Limit),
}

/// A compiled route.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) id: Arc<str>,
    /// `None` matches always.
    pub(crate) when: Option<Condition>,
    pub(crate) candidates: Vec<Selector>,
    /// Over each target; `None` asks for nothing.
    pub(crate) require: Option<Condition>,
    pub(crate) objective: Objective,
    pub(crate) limits: Limits,
    pub(crate) max_attempts: usize,
    pub(crate) hedge_after: Option<Duration>,
    pub(crate) when_none: WhenNone,
    /// Whether what cannot be answered now is to be kept for later.
    pub(crate) respond_async: bool,
    /// Against which its answers are priced, where it names one itself.
    pub(crate) reference: Option<Arc<TargetId>>,
    /// Whether its answers are given again.
    pub(crate) cache: Option<CacheRule>,
}

/// For how long, and to whom, the answers of a route are given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRule {
    /// How old an answer may be.
    pub ttl: Duration,
    /// Whether only to requests that ask for an answer that does not vary.
    pub only_deterministic: bool,
}

impl Route {
    /// Where in the list of candidates a target stands; `None` when it is none.
    pub(crate) fn position(&self, profile: &TargetProfile) -> Option<usize> {
        self.candidates.iter().position(|selector| selector.selects(profile))
    }
}
