//! Step one of the decision: where may the request go? Hard, fail-closed, and only ever narrowed.

use std::sync::Arc;

use crate::{Condition, DropReason, Facts, Locality, Mode, Privacy, TargetId, TargetProfile, Truth, Values};

/// What forbids a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PlacementCause {
    /// The privacy class of the request.
    Privacy,
    /// The privacy class that an earlier request of the conversation had.
    ConversationPrivacy,
    /// An `only_*` mode.
    Mode,
    /// A placement rule of the policy, by its id.
    Rule(Arc<str>),
}

impl PlacementCause {
    /// The word used in `/v1/route` and in reasons: the id of a rule, or the built-in that stands beside the rules.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Privacy => "privacy",
            Self::ConversationPrivacy => "conversation_privacy",
            Self::Mode => "mode",
            Self::Rule(id) => id,
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
    /// The same, with the class of an earlier request of the conversation.
    #[error("this conversation has been {}, which never leaves the device, but the mode is only_in_cloud", .0.as_str())]
    ConversationAndMode(Privacy),
    /// A placement rule keeps the request out of the cloud, and the mode asks for nothing else.
    #[error("the placement rule {0} keeps this request out of the cloud, but the mode is only_in_cloud")]
    RuleAndMode(Arc<str>),
    /// The model names a target that mode, privacy or a rule forbid.
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

/// A compiled rule of the `placement` part of a policy.
#[derive(Clone, Debug)]
pub(crate) struct PlacementRule {
    pub(crate) id: Arc<str>,
    /// `None` matches always.
    pub(crate) when: Option<Condition>,
    /// Localities left; `None` leaves all.
    pub(crate) localities: Option<Vec<Locality>>,
    /// Providers left off the device; `None` leaves all.
    pub(crate) providers: Option<Arc<[String]>>,
    /// Regions left off the device; `None` leaves all. A target without a stated region is then forbidden.
    pub(crate) regions: Option<Arc<[String]>>,
    /// Whether the text has to be redacted before it leaves the device.
    pub(crate) redact: bool,
}

/// A placement rule that applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedRule {
    /// Its id.
    pub id: Arc<str>,
    /// Why its condition could not be evaluated, when it applied for that reason.
    pub failed: Option<String>,
}

/// A list that a target off the device has to be on, and the rule that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    rule: Arc<str>,
    words: Arc<[String]>,
}

/// Where a request may be answered. Fields are private: it is made from mode, privacy and the rules of a policy, and
/// there is no way to widen it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// By [`Locality::ALL`].
    forbidden_by: [Option<PlacementCause>; 3],
    providers: Vec<Allowed>,
    regions: Vec<Allowed>,
    redact: Option<Arc<str>>,
    narrowed_by: Option<PlacementCause>,
    matched: Vec<MatchedRule>,
}

impl Placement {
    /// The placement that mode and privacy alone demand. Privacy is named as the cause before the mode.
    ///
    /// # Errors
    /// [`Contradiction`] when nothing would be left.
    pub fn of_request(facts: &Facts) -> Result<Self, Contradiction> {
        let (mode, privacy) = (facts.request.mode, facts.effective_privacy());
        let mut placement = Self::default();
        if privacy.stays_on_device() {
            let own = facts.request.privacy.stays_on_device();
            if mode == Mode::OnlyInCloud {
                let contradiction =
                    if own { Contradiction::PrivacyAndMode } else { Contradiction::ConversationAndMode };
                return Err(contradiction(privacy));
            }
            let cause = if own { PlacementCause::Privacy } else { PlacementCause::ConversationPrivacy };
            placement.keep(&[Locality::Device], &cause);
        }
        match mode {
            Mode::OnlyOnDevice => placement.keep(&[Locality::Device], &PlacementCause::Mode),
            Mode::OnlyInCloud => placement.keep(&[Locality::Cloud], &PlacementCause::Mode),
            Mode::PreferOnDevice | Mode::PreferInCloud => {}
        }
        Ok(placement)
    }

    /// Adds the rules of a policy: all that match apply, and one whose condition cannot be evaluated matches.
    ///
    /// # Errors
    /// [`Contradiction::RuleAndMode`] when the mode asks for the cloud only and a rule forbids it.
    pub(crate) fn narrow(
        mut self,
        rules: &[PlacementRule],
        values: &Values<'_>,
        mode: Mode,
    ) -> Result<Self, Contradiction> {
        for rule in rules {
            let failed = match rule.when.as_ref().map(|condition| condition.evaluate(values)) {
                Some(Truth::False) => continue,
                None | Some(Truth::True) => None,
                Some(Truth::Unknown(why)) => Some(why.to_string()),
            };
            self.matched.push(MatchedRule { id: Arc::clone(&rule.id), failed });
            self.apply(rule);
        }
        match (mode, self.forbids_locality(Locality::Cloud)) {
            (Mode::OnlyInCloud, Some(PlacementCause::Rule(id))) => Err(Contradiction::RuleAndMode(Arc::clone(id))),
            _ => Ok(self),
        }
    }

    fn apply(&mut self, rule: &PlacementRule) {
        if let Some(localities) = &rule.localities {
            self.keep(localities, &PlacementCause::Rule(Arc::clone(&rule.id)));
        }
        let allowed = |words: &Arc<[String]>| Allowed { rule: Arc::clone(&rule.id), words: Arc::clone(words) };
        self.providers.extend(rule.providers.as_ref().map(allowed));
        self.regions.extend(rule.regions.as_ref().map(allowed));
        if rule.redact && self.redact.is_none() {
            self.redact = Some(Arc::clone(&rule.id));
        }
        if rule.providers.is_some() || rule.regions.is_some() || rule.redact {
            self.narrowed_by.get_or_insert_with(|| PlacementCause::Rule(Arc::clone(&rule.id)));
        }
    }

    /// Forbids every locality that is not among `kept`; the first cause stays.
    fn keep(&mut self, kept: &[Locality], cause: &PlacementCause) {
        for (locality, forbidden) in Locality::ALL.iter().zip(&mut self.forbidden_by) {
            if !kept.contains(locality) && forbidden.is_none() {
                *forbidden = Some(cause.clone());
                self.narrowed_by.get_or_insert_with(|| cause.clone());
            }
        }
    }

    /// What forbids a locality altogether, or `None`. A single target there may still be forbidden.
    #[must_use]
    pub fn forbids_locality(&self, locality: Locality) -> Option<&PlacementCause> {
        let mut pairs = Locality::ALL.iter().zip(&self.forbidden_by);
        pairs.find(|(known, _)| **known == locality).and_then(|(_, cause)| cause.as_ref())
    }

    /// Why the request may not go to this target, or `None` when it may.
    #[must_use]
    pub fn forbids(&self, profile: &TargetProfile) -> Option<DropReason> {
        if let Some(cause) = self.forbids_locality(profile.locality) {
            return Some(DropReason::Locality { cause: cause.clone(), locality: profile.locality });
        }
        if profile.locality == Locality::Device {
            return None;
        }
        let lacks = |allowed: &&Allowed, word: Option<&String>| !word.is_some_and(|word| allowed.words.contains(word));
        if let Some(allowed) = self.providers.iter().find(|allowed| lacks(allowed, Some(&profile.provider))) {
            return Some(DropReason::Provider { rule: Arc::clone(&allowed.rule) });
        }
        if let Some(allowed) = self.regions.iter().find(|allowed| lacks(allowed, profile.region.as_ref())) {
            return Some(DropReason::Region { rule: Arc::clone(&allowed.rule), region: profile.region.clone() });
        }
        self.redact.as_ref().map(|rule| DropReason::Unredacted { rule: Arc::clone(rule) })
    }

    /// The localities that are not forbidden altogether, nearest first.
    #[must_use]
    pub fn localities(&self) -> Vec<Locality> {
        Locality::ALL.into_iter().filter(|locality| self.forbids_locality(*locality).is_none()).collect()
    }

    /// The placement rules that applied, in the order of the policy.
    #[must_use]
    pub fn matched(&self) -> &[MatchedRule] {
        &self.matched
    }

    /// What first took something away: a built-in before the rules.
    #[must_use]
    pub fn narrowed_by(&self) -> Option<&PlacementCause> {
        self.narrowed_by.as_ref()
    }
}
