//! Step one of the decision: where may the request go? Hard, and only ever narrowed.

use crate::{Locality, Mode, Privacy, TargetId};

/// What forbids a locality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlacementCause {
    /// The privacy class.
    Privacy,
    /// An `only_*` mode.
    Mode,
}

impl PlacementCause {
    /// The word used in `/v1/route` and in reasons.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privacy => "privacy",
            Self::Mode => "mode",
        }
    }
}

/// Demands of one request that cannot all be met by any target, now or later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Two places of the request name opposite `only_*` modes.
    #[error("one place of the request says only_on_device and another only_in_cloud")]
    Modes,
    /// A privacy class that stays on the device together with `only_in_cloud`.
    #[error("privacy {} never leaves the device, but the mode is only_in_cloud", .0.as_str())]
    PrivacyAndMode(Privacy),
    /// The model names a target at a place that mode or privacy forbid.
    #[error("model {target} runs {}, which {} forbids", place(*.locality), .cause.as_str())]
    ModelAndPlacement {
        /// The pinned target.
        target: TargetId,
        /// Where it runs.
        locality: Locality,
        /// What forbids it.
        cause: PlacementCause,
    },
}

fn place(locality: Locality) -> &'static str {
    match locality {
        Locality::Device => "on the device",
        Locality::Network => "on another machine",
        Locality::Cloud => "in the cloud",
    }
}

/// The localities a request may be answered at. Fields are private: it is made from privacy and mode only,
/// and there is no way to widen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    device_forbidden_by: Option<PlacementCause>,
    cloud_forbidden_by: Option<PlacementCause>,
}

impl Placement {
    /// Derives the placement. Privacy is named as the cause before the mode where both forbid.
    ///
    /// # Errors
    /// [`Contradiction::PrivacyAndMode`] when nothing would be left.
    pub fn of(mode: Mode, privacy: Privacy) -> Result<Self, Contradiction> {
        let cloud_forbidden_by = if privacy.stays_on_device() {
            Some(PlacementCause::Privacy)
        } else {
            (mode == Mode::OnlyOnDevice).then_some(PlacementCause::Mode)
        };
        let device_forbidden_by = (mode == Mode::OnlyInCloud).then_some(PlacementCause::Mode);
        if cloud_forbidden_by.is_some() && device_forbidden_by.is_some() {
            return Err(Contradiction::PrivacyAndMode(privacy));
        }
        Ok(Self { device_forbidden_by, cloud_forbidden_by })
    }

    /// What forbids `locality`, or `None` when the request may go there.
    #[must_use]
    pub fn forbids(&self, locality: Locality) -> Option<PlacementCause> {
        match locality {
            Locality::Device => self.device_forbidden_by,
            Locality::Network | Locality::Cloud => self.cloud_forbidden_by,
        }
    }

    /// Whether the request may go to `locality`.
    #[must_use]
    pub fn allows(&self, locality: Locality) -> bool {
        self.forbids(locality).is_none()
    }

    /// The allowed localities, device first.
    #[must_use]
    pub fn localities(&self) -> Vec<Locality> {
        Locality::ALL.into_iter().filter(|l| self.allows(*l)).collect()
    }
}
