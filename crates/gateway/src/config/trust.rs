//! The `trust` section: what a caller may say about its own request, by who the caller is.

use super::compile::Check;
use super::raw::RawTrust;

/// One matter on which a request may speak for itself, in a header or in `metadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Where it would like to run.
    Mode,
    /// How far its prompt may be exposed.
    Privacy,
    /// Words for policies to go by.
    Tags,
    /// The conversation it belongs to.
    Session,
}

impl Claim {
    /// Every claim, in the order of documentation.
    pub(crate) const ALL: [Self; 4] = [Self::Mode, Self::Privacy, Self::Tags, Self::Session];

    /// The word used in configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Privacy => "privacy",
            Self::Tags => "tags",
            Self::Session => "session",
        }
    }

    /// The header that carries it.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Mode => "x-tidegate-mode",
            Self::Privacy => "x-tidegate-privacy",
            Self::Tags => "x-tidegate-tags",
            Self::Session => "x-tidegate-session",
        }
    }

    /// The member of the body that carries it.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Mode => "metadata.tidegate_mode",
            Self::Privacy => "metadata.tidegate_privacy",
            Self::Tags => "metadata.tidegate_tags",
            Self::Session => "metadata.tidegate_session",
        }
    }

    /// The words or headers of all claims, comma separated.
    pub(crate) fn list(name: fn(Self) -> &'static str) -> String {
        Self::ALL.map(name).join(", ")
    }
}

/// Who may say what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Callers without a key; so far there are no others.
    pub anonymous: CallerTrust,
}

/// What one kind of caller may say. Whatever it says can only tighten what the configuration demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerTrust {
    /// The matters it may speak on; on others it is refused, never passed over.
    pub may_set: Vec<Claim>,
}

pub(super) fn compile_trust(check: &mut Check<'_>, raw: &RawTrust) -> Trust {
    Trust {
        anonymous: CallerTrust { may_set: claims(check, "trust.anonymous.may_set", raw.anonymous.may_set.as_deref()) },
    }
}

/// All claims when there is no list.
fn claims(check: &mut Check<'_>, path: &str, words: Option<&[String]>) -> Vec<Claim> {
    let Some(words) = words else { return Claim::ALL.to_vec() };
    let mut claims = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let path = format!("{path}[{n}]");
        match Claim::ALL.into_iter().find(|claim| claim.as_str() == word) {
            None => check.problem(&path, format!("{word:?} is not one of {}", Claim::list(Claim::as_str))),
            Some(claim) if claims.contains(&claim) => check.problem(&path, format!("{word:?} is given twice")),
            Some(claim) => claims.push(claim),
        }
    }
    claims
}
