//! The facts of one decision, as conditions read them.

use std::fmt;

use crate::{Facts, Locality, QualitySignal, TargetFacts, TargetState};

use super::Fact;

/// The value of a fact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FactRef<'a> {
    /// Not known.
    Absent,
    /// True or false.
    Bool(bool),
    /// A whole number or a fraction.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// A list of texts.
    Words(&'a [String]),
}

impl fmt::Display for FactRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::Words(words) => write!(f, "[{}]", words.join(", ")),
        }
    }
}

/// What conditions are evaluated over: borrows everything.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    pub(super) facts: &'a Facts,
    pub(super) targets: &'a [TargetFacts],
    pub(super) target: Option<&'a TargetFacts>,
}

impl<'a> Values<'a> {
    /// The facts of a request, with the targets it may go to.
    #[must_use]
    pub fn of(facts: &'a Facts, targets: &'a [TargetFacts]) -> Self {
        Self { facts, targets, target: None }
    }

    /// The same, with the facts of one target.
    #[must_use]
    pub fn with_target(&self, target: &'a TargetFacts) -> Self {
        Self { target: Some(target), ..*self }
    }

    /// What they are made of.
    #[must_use]
    pub fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// The value of a fact; one of a target is absent where there is no target.
    #[must_use]
    pub fn get(&self, fact: &Fact) -> FactRef<'a> {
        (fact.get)(self)
    }

    /// Targets of a locality that are ready; in the cloud none while there is no network.
    pub(super) fn ready(&self, locality: Locality) -> FactRef<'a> {
        let is_away = locality == Locality::Cloud && self.facts.moment.connectivity.is_some_and(|c| c.is_away());
        let is_ready =
            |target: &&TargetFacts| target.locality() == locality && target.state == TargetState::Ready && !is_away;
        FactRef::Number(self.targets.iter().filter(is_ready).count() as f64)
    }

    /// The best quality that the signals predict among the targets of a locality.
    pub(super) fn predicted_quality(&self, locality: Locality) -> Option<QualitySignal> {
        let of = |target: &&TargetFacts| target.locality() == locality;
        let predicted = self.targets.iter().filter(of).filter_map(|target| self.facts.predicted_quality(target.id()));
        predicted.reduce(|best, other| if other.probability > best.probability { other } else { best })
    }
}

impl From<Option<f64>> for FactRef<'_> {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Absent, Self::Number)
    }
}

impl From<Option<u64>> for FactRef<'_> {
    fn from(value: Option<u64>) -> Self {
        value.map(|value| value as f64).into()
    }
}

impl From<Option<u32>> for FactRef<'_> {
    fn from(value: Option<u32>) -> Self {
        value.map(f64::from).into()
    }
}

impl From<Option<bool>> for FactRef<'_> {
    fn from(value: Option<bool>) -> Self {
        value.map_or(Self::Absent, Self::Bool)
    }
}

impl<'a> From<Option<&'a [String]>> for FactRef<'a> {
    fn from(value: Option<&'a [String]>) -> Self {
        value.map_or(Self::Absent, Self::Words)
    }
}

impl<'a> From<Option<&'a str>> for FactRef<'a> {
    fn from(value: Option<&'a str>) -> Self {
        value.map_or(Self::Absent, Self::Text)
    }
}
