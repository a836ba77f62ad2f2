//! What a request says about itself: the mode and privacy it asks for and the model it names.

use crate::{Contradiction, InvalidTargetId, TargetId};

/// The model name that lets Tidegate choose the target.
pub const AUTO_MODEL: &str = "auto";

/// A value outside a closed list; the message lists what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {allowed}")]
pub struct UnknownWord {
    /// What was given, cut to 64 characters.
    pub found: String,
    /// The allowed words, comma separated.
    pub allowed: &'static str,
}

impl UnknownWord {
    fn new(found: &str, allowed: &'static str) -> Self {
        Self { found: found.chars().take(64).collect(), allowed }
    }
}

/// Where the caller would like the request to run. The four names are those of hybrid inference SDKs
/// (Firebase AI Logic's `InferenceMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// On the device if a local target can answer, else in the cloud.
    #[default]
    PreferOnDevice,
    /// On the device or not at all.
    OnlyOnDevice,
    /// In the cloud if a cloud target can answer, else on the device.
    PreferInCloud,
    /// In the cloud or not at all.
    OnlyInCloud,
}

impl Mode {
    /// Every mode, in the order of documentation.
    pub const ALL: [Self; 4] = [Self::PreferOnDevice, Self::OnlyOnDevice, Self::PreferInCloud, Self::OnlyInCloud];

    /// The word used in headers, metadata and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreferOnDevice => "prefer_on_device",
            Self::OnlyOnDevice => "only_on_device",
            Self::PreferInCloud => "prefer_in_cloud",
            Self::OnlyInCloud => "only_in_cloud",
        }
    }

    /// Reads one of the four words, exactly.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything else; there is no default for a misspelt mode.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == word)
            .ok_or_else(|| UnknownWord::new(word, "prefer_on_device, only_on_device, prefer_in_cloud, only_in_cloud"))
    }

    /// Joins two statements about the same request, the first from the more specific place.
    /// `only_*` beats `prefer_*`; of two preferences the first is kept.
    ///
    /// # Errors
    /// [`Contradiction::Modes`] when one says only here and the other only there.
    pub fn combine(self, other: Self) -> Result<Self, Contradiction> {
        match (self, other) {
            (Self::OnlyOnDevice, Self::OnlyInCloud) | (Self::OnlyInCloud, Self::OnlyOnDevice) => {
                Err(Contradiction::Modes)
            }
            (Self::OnlyOnDevice | Self::OnlyInCloud, _) => Ok(self),
            (_, Self::OnlyOnDevice | Self::OnlyInCloud) => Ok(other),
            _ => Ok(self),
        }
    }
}

/// How far a prompt may be exposed, from loosest to strictest; ordered, so that the stricter of two is `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privacy {
    /// Anybody may read it.
    Public,
    /// For the organisation; may go to the cloud targets that the operator configured.
    #[default]
    Internal,
    /// Never leaves the device.
    Confidential,
    /// Never leaves the device.
    Restricted,
}

impl Privacy {
    /// Every class, loosest first.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];

    /// The word used in headers, metadata and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }

    /// Reads one of the four words, exactly.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything else; a misspelt class is never read as a looser one.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == word)
            .ok_or_else(|| UnknownWord::new(word, "public, internal, confidential, restricted"))
    }

    /// Whether this class keeps a prompt on the device.
    #[must_use]
    pub fn stays_on_device(self) -> bool {
        self >= Self::Confidential
    }
}

/// The model a caller named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelAsked {
    /// [`AUTO_MODEL`]: Tidegate chooses.
    Auto,
    /// One target and no other.
    Target(TargetId),
}

impl ModelAsked {
    /// Reads the `model` field.
    ///
    /// # Errors
    /// [`InvalidTargetId`] when it is neither `auto` nor shaped like a target id; such a target cannot exist.
    pub fn parse(model: &str) -> Result<Self, InvalidTargetId> {
        if model == AUTO_MODEL { Ok(Self::Auto) } else { TargetId::new(model).map(Self::Target) }
    }
}

/// What is known of one request when it is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The model named by the caller.
    pub model: ModelAsked,
    /// The combined mode of configuration, headers and metadata.
    pub mode: Mode,
    /// The strictest privacy class of headers and metadata, else the configured default.
    pub privacy: Privacy,
}
