//! The labels of the table, each with the values it takes.

use policy::{BreakerCause, BreakerState, Connectivity, Locality, Outcome};

use super::row::{Label, NONE, Source, Values};
use crate::RequestOutcome;
use crate::outbox::EntryState;

/// Who answered, or was tried.
pub(super) const TARGET: Label = Label { name: "target", values: Values::Configured(Source::Targets) };
/// Where a target runs.
pub(super) const LOCALITY: Label = Label { name: "locality", values: Values::Closed(localities) };
/// How a request ended.
pub(super) const REQUEST_OUTCOME: Label = Label {
    name: "outcome",
    values: Values::Closed(|| RequestOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect()),
};
/// How a try ended.
pub(super) const OUTCOME: Label = Label { name: "outcome", values: Values::Closed(|| Outcome::WORDS.to_vec()) };
/// Whether the caller asked for a stream.
pub(super) const STREAM: Label = Label { name: "stream", values: Values::Closed(|| vec!["true", "false"]) };

fn localities() -> Vec<&'static str> {
    Locality::ALL.iter().map(|locality| locality.as_str()).chain([NONE]).collect()
}

/// The state of a breaker.
pub(super) const BREAKER_STATE: Label =
    Label { name: "state", values: Values::Closed(|| BreakerState::WORDS.to_vec()) };
/// Why a breaker opened.
pub(super) const BREAKER_CAUSE: Label =
    Label { name: "cause", values: Values::Closed(|| BreakerCause::ALL.iter().map(|cause| cause.as_str()).collect()) };
/// How the network stands.
pub(super) const CONNECTIVITY: Label = Label { name: "state", values: Values::Closed(|| Connectivity::WORDS.to_vec()) };
/// The state of an entry of the outbox.
pub(super) const ENTRY_STATE: Label =
    Label { name: "state", values: Values::Closed(|| EntryState::ALL.iter().map(|state| state.as_str()).collect()) };

/// A closed list that stands where it is used.
macro_rules! closed {
    ($name:literal: $($word:literal),+ $(,)?) => {
        crate::metrics::row::Label { name: $name, values: crate::metrics::row::Values::Closed(|| vec![$($word),+]) }
    };
}
pub(super) use closed;
