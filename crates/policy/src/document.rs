//! A policy file as serde reads it: every key optional, no key unknown. Meaning is checked in `compile`.
//!
//! `schemas/policy.schema.json` is made of these types; their comments are what an editor shows.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

/// A policy of Tidegate.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDocument {
    /// Version of the language; 1.
    pub version: Option<u32>,
    /// Where may a request go? All matching rules apply, the strictest wins, and one that cannot be evaluated matches.
    pub placement: Vec<PlacementDocument>,
    /// Where is it best? In order; the first that matches decides.
    pub routes: Vec<RouteDocument>,
    /// The target against which answers are priced, for the routes that name none: what it would have charged for the same
    /// tokens, less what they cost, is the cost avoided. It decides nothing.
    pub reference: Option<String>,
    /// How long a conversation stays with its target.
    pub stickiness: StickinessDocument,
    /// Targets for the tests below, instead of those of the configuration.
    pub test_targets: Vec<TestTargetDocument>,
    /// Example requests with what is expected. A policy whose own tests fail is not activated.
    pub tests: Vec<TestDocument>,
}

/// One placement rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PlacementDocument {
    /// Its name, unique in the policy: 1 to 64 of a-z, 0-9, `-`, `_` and `.`.
    pub id: Option<String>,
    /// What it is for, for readers.
    pub description: Option<String>,
    /// A CEL condition over the facts of the request; without one the rule always applies.
    pub when: Option<String>,
    /// What is left when the rule applies.
    pub allow: AllowDocument,
    /// Whether the text has to be redacted before it leaves the device.
    pub redact: Option<bool>,
}

/// What a placement rule leaves.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AllowDocument {
    /// Any of `device`, `network` (a trusted machine of one's own), `cloud`.
    pub localities: Option<Vec<String>>,
    /// Providers off the device: the part of a target's id before the first `/`.
    pub providers: Option<Vec<String>>,
    /// Regions off the device, as stated by the targets.
    pub regions: Option<Vec<String>>,
}

/// One route.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RouteDocument {
    /// Its name, unique in the policy: 1 to 64 of a-z, 0-9, `-`, `_` and `.`. It stands in `x-tidegate-reason`.
    pub id: Option<String>,
    /// What it is for, for readers.
    pub description: Option<String>,
    /// A CEL condition over the facts of the request; without one the route always matches.
    pub when: Option<String>,
    /// Globs over target ids (`local/*`) or tags (`tag:fast`); `*` when absent.
    pub candidates: Option<Vec<String>>,
    /// A CEL condition over the facts of each candidate (`target.…`) that it has to meet.
    pub require: Option<String>,
    /// `cheapest_that_suffices` (when absent), `fastest`, `best_quality`, `prefer_on_device`, `prefer_in_cloud`, `in_order`.
    pub objective: Option<String>,
    /// What a candidate has to keep to.
    pub limits: LimitsDocument,
    /// What to do when no candidate qualifies.
    pub when_none: WhenNoneDocument,
    /// Whether a request that cannot be answered now is kept and answered later, as if its caller had sent
    /// `Prefer: respond-async`; false when absent. Its caller gets 202 with an id instead of an error.
    pub respond_async: Option<bool>,
    /// The target against which its answers are priced; that of the policy when absent.
    pub reference: Option<String>,
    /// Whether an answer may be given again to a request that says the same; not when absent.
    pub cache: Option<CacheDocument>,
}

/// How a route gives answers again.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CacheDocument {
    /// Seconds for which an answer may be given again, 1 to 2592000; needed.
    pub ttl_s: Option<u64>,
    /// Whether only for requests that ask for one answer that does not vary (`temperature: 0`, or a `seed`); true when absent. With
    /// false the same request gets the same answer for that time, whatever it asks for.
    pub only_deterministic: Option<bool>,
}

/// The limits of a route. A value that cannot be predicted does not meet a limit.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDocument {
    /// Expected cost of the request in US dollars.
    pub max_cost_usd: Option<f64>,
    /// Predicted time to first token in milliseconds.
    pub ttft_slo_ms: Option<f64>,
    /// Predicted time to the end of the answer in milliseconds.
    pub total_slo_ms: Option<f64>,
    /// Predicted quality from 0 to 1.
    pub min_quality: Option<f64>,
    /// Targets tried, 1 to 6; 4 when absent.
    pub max_attempts: Option<u64>,
    /// Milliseconds without a token after which the second target is asked as well.
    pub hedge_after_ms: Option<f64>,
}

/// What a route does when no candidate qualifies; one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct WhenNoneDocument {
    /// The limit to leave aside: `max_cost_usd`, `ttft_slo_ms`, `total_slo_ms` or `min_quality`.
    pub relax: Option<String>,
    /// What the caller is told.
    pub refuse: Option<String>,
}

/// How conversations stay where they are.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct StickinessDocument {
    /// `conversation` (when absent), `session` or `none`.
    pub by: Option<String>,
    /// Seconds that a conversation is remembered after its last request, 1 to 604800; 3600 when absent.
    pub ttl_s: Option<u64>,
    /// Whether the turns of a tool loop stay on one target; true when absent.
    pub pin_in_tool_loop: Option<bool>,
    /// What another target has to be better by.
    pub switch_cost: SwitchCostDocument,
}

/// What another target has to be better by before a conversation moves.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SwitchCostDocument {
    /// US dollars a request, for `cheapest_that_suffices`; 0.001 when absent.
    pub usd: Option<f64>,
    /// Milliseconds to the first token, for `fastest`; 500 when absent.
    pub ttft_ms: Option<f64>,
    /// Quality, for `best_quality`; 0.1 when absent.
    pub quality: Option<f64>,
}

/// A target that exists only for the tests of the policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TestTargetDocument {
    /// Its id, `provider/model`.
    pub id: Option<String>,
    /// `device`, `network` or `cloud`.
    pub locality: Option<String>,
    /// Its state before a test changes it; `ready` when absent.
    pub state: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// US dollars per million prompt tokens.
    pub input_usd_per_mtok: Option<f64>,
    /// US dollars per million tokens of the answer.
    pub output_usd_per_mtok: Option<f64>,
    /// Tokens of its window.
    pub context_tokens: Option<u64>,
    /// What it does not offer: any of `tools`, `vision`, `json_schema`, `logprobs`.
    pub lacks: Vec<String>,
    /// Its quality from 0 to 1.
    pub quality: Option<f64>,
    /// Milliseconds to the first token.
    pub ttft_ms: Option<f64>,
    /// Tokens of the answer per second.
    pub tokens_per_s: Option<f64>,
}

/// One test of the policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TestDocument {
    /// What it shows.
    pub name: Option<String>,
    /// The body of a chat completion. Its facts are those that the gateway would find.
    #[cfg_attr(test, schemars(with = "Option<BTreeMap<String, serde_json::Value>>"))]
    pub request: Option<IgnoredAny>,
    /// Headers of that request, such as `x-tidegate-privacy`.
    pub headers: BTreeMap<String, String>,
    /// Facts by name, set after those of the request.
    pub facts: BTreeMap<String, FactValue>,
    /// States of targets by id: `ready`, `loading`, `cold`, `downloading`, `unreachable`, `breaker_open`, `down`.
    pub targets: BTreeMap<String, String>,
    /// What has to come out.
    pub expect: ExpectDocument,
}

/// What a test expects. Everything given has to hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ExpectDocument {
    /// The first target tried.
    pub target: Option<String>,
    /// Every target tried, in order.
    pub attempts: Option<Vec<String>>,
    /// The localities left.
    pub placement: Option<Vec<String>>,
    /// The placement rules that applied, in the order of the policy.
    pub placement_rules: Option<Vec<String>>,
    /// The route that fired, or `pinned_model`, or `no_route`.
    pub rule: Option<String>,
    /// Codes of the reasons for which targets were dropped, by target.
    pub dropped: BTreeMap<String, String>,
    /// Part of the message with which the request is refused.
    pub refused: Option<String>,
    /// Whether it is kept for later where it cannot be answered now.
    pub respond_async: Option<bool>,
    /// Whether the route gives answers again.
    pub cache: Option<bool>,
}

/// The value of a fact in a test: text, a number, true or false, null for absent, or a list of words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactValue {
    /// Not known.
    Absent,
    /// Anything written as one word or number.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for FactValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyFact)
    }
}

struct AnyFact;

impl<'de> Visitor<'de> for AnyFact {
    type Value = FactValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, null or a list of words")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<FactValue, E> {
        Ok(if matches!(text, "null" | "~" | "") { FactValue::Absent } else { FactValue::One(text.to_owned()) })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<FactValue, E> {
        Ok(FactValue::One(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<FactValue, E> {
        Ok(FactValue::One(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<FactValue, E> {
        Ok(FactValue::One(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<FactValue, E> {
        Ok(FactValue::One(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<FactValue, E> {
        Ok(FactValue::Absent)
    }

    fn visit_none<E: Error>(self) -> Result<FactValue, E> {
        Ok(FactValue::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<FactValue, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = sequence.next_element()? {
            words.push(word);
        }
        Ok(FactValue::Many(words))
    }
}
