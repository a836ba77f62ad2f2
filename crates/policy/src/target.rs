//! What a target is and what is known of it at the moment of a decision.
//!
//! Does not know how a target is reached; that is `dispatch`.

use std::fmt;

/// Longest target id in bytes; ids become metric label values and header values.
pub const TARGET_ID_BYTES_MAX: usize = 128;

/// Names one target, `provider/model`: `local/smollm2-135m-instruct`, `openai/gpt-4o-mini`.
///
/// Restricted to `[A-Za-z0-9._:/@-]`, so that it can stand in a header, a URL and a metric label unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(String);

/// Why a string is no [`TargetId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTargetId {
    /// Longer than [`TARGET_ID_BYTES_MAX`].
    #[error("target id is {0} bytes long; the limit is {TARGET_ID_BYTES_MAX}")]
    TooLong(usize),
    /// Not of the form `provider/model`.
    #[error("target id {0:?} is not of the form provider/model")]
    Shape(String),
    /// Holds a character outside the allowed set.
    #[error("target id {id:?} holds {found:?}; allowed are letters, digits and . _ : / @ -")]
    Character {
        /// The offending id.
        id: String,
        /// The first character that is not allowed.
        found: char,
    },
}

impl TargetId {
    /// Checks length, shape and characters.
    ///
    /// # Errors
    /// [`InvalidTargetId`] names what is wrong.
    pub fn new(id: &str) -> Result<Self, InvalidTargetId> {
        if id.len() > TARGET_ID_BYTES_MAX {
            return Err(InvalidTargetId::TooLong(id.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
        if let Some(found) = id.chars().find(|c| !allowed(*c)) {
            return Err(InvalidTargetId::Character { id: id.to_owned(), found });
        }
        match id.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(Self(id.to_owned())),
            _ => Err(InvalidTargetId::Shape(id.to_owned())),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a target runs, seen from the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locality {
    /// On this machine; the prompt does not leave it.
    Device,
    /// Somebody else's machine.
    Cloud,
}

impl Locality {
    /// The word used in headers, metrics and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Cloud => "cloud",
        }
    }
}

/// What a target could do with a request right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Answers at once as far as is known.
    Ready,
    /// A local worker that is loading its model.
    Starting,
    /// A local worker that is not running and would be started by a request.
    Cold,
    /// Not expected to answer at once: a recent attempt could not connect, or a crashed worker waits for its restart.
    /// Tried only after all others, whatever the mode prefers.
    Unreachable,
    /// Cannot answer; the text says why and holds no prompt text.
    Down(String),
}

impl TargetState {
    /// The word used in `/readyz` and `/v1/route`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Cold => "cold",
            Self::Unreachable => "unreachable",
            Self::Down(_) => "down",
        }
    }
}

/// One target as a fact of the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFacts {
    /// Its name.
    pub id: TargetId,
    /// Where it runs.
    pub locality: Locality,
    /// What it could do now.
    pub state: TargetState,
}
