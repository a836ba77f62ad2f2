//! Why a target is not tried: a closed list, each with the numbers that were compared.

use std::sync::Arc;
use std::time::Duration;

use crate::{BreakerCause, Connectivity, Locality, PlacementCause};

/// When a caller may ask again while there is no network: about as soon as its return is noticed.
pub const OFFLINE_RETRY_AFTER: Duration = Duration::from_secs(3);

/// A limit of a route that can be relaxed by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `max_cost_usd`.
    Cost,
    /// `ttft_slo_ms`.
    Ttft,
    /// `total_slo_ms`.
    Total,
    /// `min_quality`.
    Quality,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 4] = [Self::Cost, Self::Ttft, Self::Total, Self::Quality];

    /// Its key in a policy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cost => "max_cost_usd",
            Self::Ttft => "ttft_slo_ms",
            Self::Total => "total_slo_ms",
            Self::Quality => "min_quality",
        }
    }
}

/// Why a target is not in the plan.
#[derive(Clone, Debug, PartialEq)]
pub enum DropReason {
    /// The request may not go where this target runs.
    Locality {
        /// What forbids it.
        cause: PlacementCause,
        /// Where the target runs.
        locality: Locality,
    },
    /// A placement rule allows other providers only.
    Provider {
        /// The rule.
        rule: Arc<str>,
    },
    /// A placement rule allows other regions only.
    Region {
        /// The rule.
        rule: Arc<str>,
        /// The region of the target, when stated.
        region: Option<String>,
    },
    /// A placement rule demands redaction before the text leaves the device, and there is none.
    Unredacted {
        /// The rule.
        rule: Arc<str>,
    },
    /// The caller named another model.
    NotTheModelAsked,
    /// The route names other candidates.
    NotACandidate,
    /// The target does not meet the route's `require`.
    RequirementNotMet {
        /// Which fact was absent or what failed, when that is why.
        failed: Option<String>,
    },
    /// The target lacks something that the request needs.
    LacksCapability(&'static str),
    /// Prompt and answer do not fit its context window.
    ContextTooSmall {
        /// Estimated tokens of prompt and answer.
        needed: u64,
        /// Tokens of its window.
        window: u64,
    },
    /// The target cannot answer; the text says why.
    Down(Arc<str>),
    /// Its model is being fetched.
    Downloading,
    /// It runs in the cloud, and there is no network.
    Offline {
        /// Offline, or behind a captive portal.
        connectivity: Connectivity,
    },
    /// Its circuit breaker is open.
    BreakerOpen {
        /// Why.
        cause: BreakerCause,
        /// Time until one request may try it; `None` when not known.
        probe_in: Option<Duration>,
    },
    /// It takes no more requests for a while.
    RateLimited {
        /// What is left of that time; `None` when not known.
        wait: Option<Duration>,
    },
    /// A limit of the route is exceeded.
    OverLimit {
        /// The limit.
        limit: Limit,
        /// What is expected; `None` when it cannot be predicted, which does not meet a limit.
        expected: Option<f64>,
        /// The limit's value.
        allowed: f64,
    },
    /// It is expected to cost more than what is left of a budget.
    OverBudget {
        /// Expected cost in US dollars; `None` when unknown.
        expected: Option<f64>,
        /// What is left, in US dollars.
        remaining: f64,
    },
    /// Enough better ones are tried before it.
    BeyondMaxAttempts {
        /// The route's `max_attempts`.
        limit: usize,
    },
}

impl DropReason {
    /// Every code, for checking what a policy's tests expect.
    pub const CODES: [&'static str; 27] = [
        "forbidden_by_privacy",
        "forbidden_by_conversation_privacy",
        "forbidden_by_mode",
        "forbidden_by_rule",
        "provider_not_allowed",
        "region_not_allowed",
        "redaction_unavailable",
        "not_the_model_asked",
        "not_a_candidate",
        "requirement_not_met",
        "lacks_tools",
        "lacks_vision",
        "lacks_json_schema",
        "lacks_logprobs",
        "context_too_small",
        "down",
        "downloading",
        "offline",
        "captive_portal",
        "rate_limited",
        "breaker_open",
        "over_max_cost_usd",
        "over_ttft_slo_ms",
        "over_total_slo_ms",
        "under_min_quality",
        "over_budget",
        "beyond_max_attempts",
    ];

    /// Whether time alone may take it away while every target is reachable: what is measured, what is spent, and what
    /// conditions say of the moment change, what the request is and needs does not.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::RequirementNotMet { .. } | Self::OverBudget { .. } | Self::Offline { .. } => true,
            Self::OverLimit { limit, .. } => matches!(limit, Limit::Ttft | Limit::Total),
            // States of targets, which the question leaves aside, and what only another policy or request would change.
            Self::Down(_)
            | Self::Downloading
            | Self::BreakerOpen { .. }
            | Self::RateLimited { .. }
            | Self::Locality { .. }
            | Self::Provider { .. }
            | Self::Region { .. }
            | Self::Unredacted { .. }
            | Self::NotTheModelAsked
            | Self::NotACandidate
            | Self::LacksCapability(_)
            | Self::ContextTooSmall { .. }
            | Self::BeyondMaxAttempts { .. } => false,
        }
    }

    /// Whether it says of the target only that it cannot answer now.
    pub(crate) fn is_of_state(&self) -> bool {
        self.is_passing() || matches!(self, Self::Down(_) | Self::Downloading)
    }

    /// Whether the target would do but for its present state, which passes by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Offline { .. } | Self::BreakerOpen { .. } | Self::RateLimited { .. })
    }

    /// In what time it may be otherwise, where that is known.
    #[must_use]
    pub fn passes_in(&self) -> Option<Duration> {
        match self {
            Self::Offline { .. } => Some(OFFLINE_RETRY_AFTER),
            Self::BreakerOpen { probe_in: time, .. } | Self::RateLimited { wait: time } => *time,
            _ => None,
        }
    }

    /// A short stable word, for metrics, tests and `/v1/route`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locality { cause: PlacementCause::Privacy, .. } => "forbidden_by_privacy",
            Self::Locality { cause: PlacementCause::ConversationPrivacy, .. } => "forbidden_by_conversation_privacy",
            Self::Locality { cause: PlacementCause::Mode, .. } => "forbidden_by_mode",
            Self::Locality { cause: PlacementCause::Rule(_), .. } => "forbidden_by_rule",
            Self::Provider { .. } => "provider_not_allowed",
            Self::Region { .. } => "region_not_allowed",
            Self::Unredacted { .. } => "redaction_unavailable",
            Self::NotTheModelAsked => "not_the_model_asked",
            Self::NotACandidate => "not_a_candidate",
            Self::RequirementNotMet { .. } => "requirement_not_met",
            Self::LacksCapability("tools") => "lacks_tools",
            Self::LacksCapability("vision") => "lacks_vision",
            Self::LacksCapability("json_schema") => "lacks_json_schema",
            Self::LacksCapability(_) => "lacks_logprobs",
            Self::ContextTooSmall { .. } => "context_too_small",
            Self::Down(_) => "down",
            Self::Downloading => "downloading",
            Self::Offline { connectivity: Connectivity::Captive } => "captive_portal",
            Self::Offline { .. } => "offline",
            Self::RateLimited { .. } => "rate_limited",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::OverLimit { limit: Limit::Cost, .. } => "over_max_cost_usd",
            Self::OverLimit { limit: Limit::Ttft, .. } => "over_ttft_slo_ms",
            Self::OverLimit { limit: Limit::Total, .. } => "over_total_slo_ms",
            Self::OverLimit { limit: Limit::Quality, .. } => "under_min_quality",
            Self::OverBudget { .. } => "over_budget",
            Self::BeyondMaxAttempts { .. } => "beyond_max_attempts",
        }
    }

    /// One sentence for a person, with the numbers compared.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Self::Locality { cause, .. } => match cause {
                PlacementCause::Privacy => "the privacy class keeps this request on the device".into(),
                PlacementCause::ConversationPrivacy => {
                    "the privacy class of an earlier request keeps this conversation on the device".into()
                }
                PlacementCause::Mode => "the mode forbids this locality".into(),
                PlacementCause::Rule(id) => format!("the placement rule {id} forbids this locality"),
            },
            Self::Provider { rule } => format!("the placement rule {rule} does not allow this provider"),
            Self::Region { rule, region: Some(region) } => {
                format!("the placement rule {rule} does not allow region {region}")
            }
            Self::Region { rule, region: None } => {
                format!("the placement rule {rule} asks for a region, none is stated")
            }
            Self::Unredacted { rule } => {
                format!(
                    "the placement rule {rule} demands redaction before the text leaves the device, and there is none"
                )
            }
            Self::NotTheModelAsked => "the request names another model".into(),
            Self::NotACandidate => "the route names other candidates".into(),
            Self::RequirementNotMet { failed: None } => "it does not meet the route's requirement".into(),
            Self::RequirementNotMet { failed: Some(why) } => {
                format!("the route's requirement cannot be checked: {why}")
            }
            Self::LacksCapability(what) => format!("the request needs {what}, which it does not offer"),
            Self::ContextTooSmall { needed, window } => {
                format!("prompt and answer need about {needed} tokens, its window holds {window}")
            }
            Self::Down(why) => why.to_string(),
            Self::Downloading => "its model is being fetched".into(),
            Self::Offline { connectivity: Connectivity::Captive } => {
                "it runs in the cloud, and a captive portal answers in place of the network".into()
            }
            Self::Offline { .. } => "it runs in the cloud, and there is no network".into(),
            Self::RateLimited { wait } => format!("it limits its rate{}", left("free again", *wait)),
            Self::BreakerOpen { cause: BreakerCause::Failing, probe_in } => {
                format!("it failed too often of late{}", left("tried again", *probe_in))
            }
            Self::BreakerOpen { cause: BreakerCause::Misconfigured, probe_in } => {
                format!("it refuses the gateway's key{}", left("tried again", *probe_in))
            }
            Self::OverLimit { limit, expected: Some(expected), allowed } => {
                format!("{}: expected {}, allowed {}", limit.as_str(), number(*expected), number(*allowed))
            }
            Self::OverLimit { limit, expected: None, allowed } => {
                format!("{}: not known, allowed {}", limit.as_str(), number(*allowed))
            }
            Self::OverBudget { expected: Some(expected), remaining } => {
                format!("expected to cost {} USD, {} USD are left", number(*expected), number(*remaining))
            }
            Self::OverBudget { expected: None, remaining } => {
                format!("its price is not known, {} USD are left", number(*remaining))
            }
            Self::BeyondMaxAttempts { limit } => format!("the route tries at most {limit}"),
        }
    }
}

/// `, <what> in 2.5 s`; a time that is over is now.
fn left(what: &str, time: Option<Duration>) -> String {
    match time {
        Some(time) if time.is_zero() => format!(", {what} any moment"),
        Some(time) => format!(", {what} in {} s", number((time.as_secs_f64() * 10.0).ceil() / 10.0)),
        None => String::new(),
    }
}

/// At most six decimals, without trailing zeros.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
