//! Facts by the names that policies know them by, written from [`policy::FACTS`] and read back for a replay.
//!
//! Facts that follow from others are not written, nor those that are as in [`BASE`], which is kept beside the records.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use policy::{Connectivity, FACTS, FactKind, FactRef, FactValue, Facts, HistoryFacts, QualitySignal, TargetId, Values};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shared::name_of;
use super::text::{Put, list};

/// Facts that follow from others, or from the targets.
const DERIVED: [&str; 13] = [
    "request.api",
    "request.pinned",
    "request.privacy_level",
    "caller.anonymous",
    "signals.quality_device",
    "signals.quality_device_stderr",
    "signals.quality_cloud",
    "signals.quality_cloud_stderr",
    "moment.hour",
    "conversation.continues",
    "available.device",
    "available.network",
    "available.cloud",
];
/// What comes before a target's id in the name of its predicted quality: probability and standard error.
const QUALITY: &str = "signals.quality:";
/// What comes before a route's id in the name of its mean length of answers.
const HISTORY: &str = "history.output_tokens:";
/// Routes whose mean length of answers is written at most.
const HISTORY_MAX: usize = 64;

/// What records do not repeat: a plain request of whose text nothing was found, with the network there. With every fact that is never absent, so that a record says
/// by it which of them were known to the version that wrote it.
pub(super) static BASE: LazyLock<Base> = LazyLock::new(|| {
    let mut facts = Facts::default();
    let signals = &mut facts.signals;
    (signals.personal_data, signals.secrets, signals.opaque_parts) = (Some(0), Some(0), Some(0));
    signals.kinds = Some(Vec::new());
    facts.moment.connectivity = Some(Connectivity::Online);
    let plain: Vec<_> = written().map(|fact| (fact, FactRef::Absent)).collect();
    let mut json = Vec::new();
    write_upon(&mut json, &facts, &plain);
    let json = String::from_utf8(json).unwrap_or_default();
    Base { facts, name: name_of(&json), json }
});

/// The facts that are not repeated.
pub(super) struct Base {
    facts: Facts,
    /// By which records name it.
    pub(super) name: String,
    /// As it is kept.
    pub(super) json: String,
}

/// The facts that differ between requests and do not follow from others.
fn written() -> impl Iterator<Item = &'static policy::Fact> {
    FACTS.iter().filter(|fact| !fact.is_of_target() && !DERIVED.contains(&fact.name))
}

/// Each with its value in [`BASE`].
static WRITTEN: LazyLock<Vec<(&policy::Fact, FactRef<'_>)>> = LazyLock::new(|| {
    let values = Values::of(&BASE.facts, &[]);
    written().map(|fact| (fact, values.get(fact))).collect()
});

/// The facts of one request as they stand in a record, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordedFacts(BTreeMap<String, Value>);

impl RecordedFacts {
    /// The facts with the names of those that this version does not know, or reads otherwise: these are left as if they were not
    /// given.
    #[must_use]
    pub fn facts(&self) -> (Facts, Vec<String>) {
        let (mut facts, mut unknown, mut history) = (Facts::default(), Vec::new(), Vec::<(Arc<str>, f64)>::new());
        for (name, value) in &self.0 {
            let is_known = if let Some(id) = name.strip_prefix(QUALITY) {
                quality(id, value).map(|quality| facts.signals.quality.push(quality)).is_some()
            } else if let Some(route) = name.strip_prefix(HISTORY) {
                value.as_f64().map(|mean| history.push((route.into(), mean))).is_some()
            } else {
                fact_value(value).is_some_and(|value| facts.set(name, &value).is_ok())
            };
            if !is_known {
                unknown.push(name.clone());
            }
        }
        facts.history = HistoryFacts { output_tokens: history.into() };
        (facts, unknown)
    }

    /// With what they do not repeat of `base`; what is null in them is absent.
    #[must_use]
    pub(super) fn upon(&self, base: &BTreeMap<String, Value>) -> Self {
        let mut all = base.clone();
        all.extend(self.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        all.retain(|_, value| !value.is_null());
        Self(all)
    }

    /// Whether a fact that is never absent was known to the version that wrote these: also one that follows from others.
    #[must_use]
    pub fn is_recorded(&self, name: &str) -> bool {
        DERIVED.contains(&name) || self.0.contains_key(name)
    }
}

fn quality(id: &str, value: &Value) -> Option<(TargetId, QualitySignal)> {
    let [probability, standard_error] = value.as_array()?.as_slice() else { return None };
    let signal = QualitySignal { probability: probability.as_f64()?, standard_error: standard_error.as_f64()? };
    Some((TargetId::new(id).ok()?, signal))
}

fn fact_value(value: &Value) -> Option<FactValue> {
    Some(match value {
        Value::Bool(value) => FactValue::One(value.to_string()),
        Value::Number(number) => FactValue::One(number.to_string()),
        Value::String(text) => FactValue::One(text.clone()),
        Value::Array(words) => {
            FactValue::Many(words.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<_>>()?)
        }
        Value::Null | Value::Object(_) => return None,
    })
}

/// Writes the facts of a request, without those that are as in [`BASE`].
pub(super) fn write(out: &mut Vec<u8>, facts: &Facts) {
    write_upon(out, facts, &WRITTEN);
}

/// Writes those that differ from a base, with null for one that is absent and is there in the base.
fn write_upon(out: &mut Vec<u8>, facts: &Facts, base: &[(&'static policy::Fact, FactRef<'static>)]) {
    out.push(b'{');
    let values = Values::of(facts, &[]);
    for (fact, of_base) in base {
        let value = values.get(fact);
        if value != *of_base {
            put_key(out, fact.name);
            put_value(out, value, fact.kind);
        }
    }
    for (id, quality) in &facts.signals.quality {
        put_key(out, &format!("{QUALITY}{id}"));
        [quality.probability, quality.standard_error].put(out);
    }
    for (route, mean) in facts.history.output_tokens.iter().take(HISTORY_MAX) {
        put_key(out, &format!("{HISTORY}{route}"));
        mean.put(out);
    }
    out.push(b'}');
}

fn put_key(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    name.put(out);
    out.push(b':');
}

fn put_value(out: &mut Vec<u8>, value: FactRef<'_>, kind: FactKind) {
    match value {
        FactRef::Absent => out.extend_from_slice(b"null"),
        FactRef::Bool(value) => value.put(out),
        FactRef::Number(value) if kind == FactKind::Int => (value as u64).put(out),
        FactRef::Number(value) => value.put(out),
        FactRef::Text(text) => text.put(out),
        FactRef::Words(words) => list(out, words.iter().map(String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use policy::{Mode, ModelAsked, Privacy};

    use super::*;

    fn base() -> BTreeMap<String, Value> {
        serde_json::from_str(&BASE.json).unwrap()
    }

    fn round_trip(facts: &Facts) -> (Facts, Vec<String>) {
        serde_json::from_str::<RecordedFacts>(&written(facts)).unwrap().upon(&base()).facts()
    }

    fn written(facts: &Facts) -> String {
        let mut out = Vec::new();
        write(&mut out, facts);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_plain_request_repeats_nothing_and_all_that_is_never_absent_is_in_the_base() {
        assert_eq!(written(&BASE.facts), "{}");
        let read = RecordedFacts(BTreeMap::new()).upon(&base());
        for fact in FACTS.iter().filter(|fact| fact.when_absent.is_empty() && !fact.is_of_target()) {
            assert!(read.is_recorded(fact.name), "{}", fact.name);
        }
        // Nobody scanned it: that is not the same as nothing found.
        let json = written(&Facts::default());
        assert!(json.contains(r#""signals.personal_data":null"#), "{json}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let id = TargetId::new("openai/large").unwrap();
        let mut facts = Facts::default();
        assert_eq!(round_trip(&facts), (facts.clone(), vec![]));
        facts.request.model = ModelAsked::Target(id.clone());
        (facts.request.mode, facts.request.mode_stated) = (Mode::PreferInCloud, true);
        (facts.request.privacy, facts.request.tags) = (Privacy::Public, vec!["a".into(), "b".into()]);
        (facts.request.max_tokens, facts.request.language) = (Some(9), Some("de".into()));
        (facts.request.prompt_tokens, facts.request.messages, facts.request.in_tool_loop) = (123_456, 7, true);
        facts.request.needs = policy::Capabilities::ALL;
        (facts.caller.key_id, facts.caller.team, facts.caller.tags) =
            (Some("k".into()), Some("t".into()), vec!["x".into()]);
        let signals = &mut facts.signals;
        (signals.task, signals.task_probability) = (Some("code".into()), Some(0.123_456_789_012_345));
        (signals.personal_data, signals.secrets, signals.opaque_parts) = (Some(0), Some(2), Some(1));
        (signals.kinds, signals.entities) = (Some(vec![]), Some(vec!["person".into()]));
        (signals.injection, signals.seen_share, signals.out_of_distribution) = (Some(0.5), Some(1.0), Some(false));
        signals.quality = vec![(id.clone(), QualitySignal { probability: 0.75, standard_error: 0.1 })];
        let moment = &mut facts.moment;
        (moment.minute_of_day, moment.weekday, moment.battery_percent) = (Some(1439), Some(7), Some(50));
        (moment.connectivity, moment.metered) = (Some(Connectivity::Degraded), Some(true));
        facts.budget.remaining_usd = Some(1e-9);
        facts.conversation.strictest_privacy = Some(Privacy::Restricted);
        (facts.conversation.previous_target, facts.conversation.cached_tokens) = (Some(id), 55);
        facts.history = HistoryFacts { output_tokens: Arc::from([(Arc::from("route"), 42.5)]) };
        assert_eq!(round_trip(&facts), (facts, vec![]));
    }

    #[test]
    fn every_fact_of_the_vocabulary_is_written_or_follows_from_others() {
        for fact in FACTS.iter().filter(|fact| !fact.is_of_target()) {
            let settable = !matches!(Facts::default().set(fact.name, &FactValue::Absent), Err(error) if error.contains("can be set"));
            assert!(settable || DERIVED.contains(&fact.name), "{} is neither", fact.name);
        }
    }

    #[test]
    fn what_is_not_known_is_named_and_left_out() {
        let json = r#"{"request.stream":true,"request.future":1,"request.mode":"anywhere","signals.quality:odd":[1,2],"x":{}}"#;
        let (facts, unknown) = serde_json::from_str::<RecordedFacts>(json).unwrap().facts();
        assert!(facts.request.stream);
        assert_eq!(unknown, ["request.future", "request.mode", "signals.quality:odd", "x"]);
    }
}
