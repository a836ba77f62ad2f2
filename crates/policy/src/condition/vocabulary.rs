//! The facts: one table for the checker, the evaluation, the documentation and the lints.

use std::fmt::Write;

use crate::{Locality, ModelAsked, Privacy};

use super::{FactRef, Values};

/// The type of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number with a fraction.
    Double,
    /// A text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Words,
}

/// A fact that conditions may read.
pub struct Fact {
    /// Its name in conditions.
    pub name: &'static str,
    /// Its type.
    pub kind: FactKind,
    /// Its unit or form; empty when the type says it.
    pub unit: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// What its absence means; empty when it is never absent.
    pub when_absent: &'static str,
    /// Whether anything in this version produces it.
    pub produced: bool,
    /// Reads it.
    pub(super) get: for<'a> fn(&Values<'a>) -> FactRef<'a>,
}

impl std::fmt::Debug for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Fact {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Fact {
    /// The fact of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FACTS.iter().find(|fact| fact.name == name)
    }

    /// Whether only conditions over a target may read it.
    #[must_use]
    pub fn is_of_target(&self) -> bool {
        self.name.starts_with("target.")
    }
}

const MODES: FactKind = FactKind::Word(&["prefer_on_device", "only_on_device", "prefer_in_cloud", "only_in_cloud"]);
const CLASSES: FactKind = FactKind::Word(&["public", "internal", "confidential", "restricted"]);
const LOCALITIES: FactKind = FactKind::Word(&["device", "network", "cloud"]);
const STATES: FactKind =
    FactKind::Word(&["ready", "loading", "cold", "downloading", "unreachable", "rate_limited", "breaker_open", "down"]);
const NOT_SCANNED: &str = "the privacy scan did not run";
const NOT_TAGGED: &str = "the tagger did not run, or did not get through the whole request";
const NOT_CLASSIFIED: &str = "the classifier did not run";
const NOT_PREDICTED: &str =
    "the classifier did not run, knows no such target, or the request is unlike its training data";
const PROBABILITY: &str = "probability, 0 to 1";

/// A fact that is there for every request.
const fn always(
    name: &'static str,
    kind: FactKind,
    unit: &'static str,
    source: &'static str,
    get: for<'a> fn(&Values<'a>) -> FactRef<'a>,
) -> Fact {
    sometimes(name, kind, unit, source, "", get)
}

/// A fact that may be absent.
const fn sometimes(
    name: &'static str,
    kind: FactKind,
    unit: &'static str,
    source: &'static str,
    when_absent: &'static str,
    get: for<'a> fn(&Values<'a>) -> FactRef<'a>,
) -> Fact {
    Fact { name, kind, unit, source, when_absent, produced: true, get }
}

/// A fact that later versions will produce.
const fn later(
    name: &'static str,
    kind: FactKind,
    unit: &'static str,
    source: &'static str,
    when_absent: &'static str,
    get: for<'a> fn(&Values<'a>) -> FactRef<'a>,
) -> Fact {
    Fact { produced: false, ..sometimes(name, kind, unit, source, when_absent, get) }
}

use FactKind::{Bool, Double, Int, Text, Words};

/// Every fact that conditions may read.
pub static FACTS: &[Fact] = &[
    always("request.api", FactKind::Word(&["chat_completions"]), "", "the address called", |v| {
        FactRef::Text(v.facts.request.api.as_str())
    }),
    always("request.model", Text, "`auto` or a target's id", "`model`", |v| {
        FactRef::Text(match &v.facts.request.model {
            ModelAsked::Auto => crate::AUTO_MODEL,
            ModelAsked::Target(id) => id.as_str(),
        })
    }),
    always("request.pinned", Bool, "", "whether `model` names a target", |v| {
        FactRef::Bool(v.facts.request.model != ModelAsked::Auto)
    }),
    always("request.mode", MODES, "", "`x-tidegate-mode`, `metadata.tidegate_mode`, configuration", |v| {
        FactRef::Text(v.facts.request.mode.as_str())
    }),
    always("request.mode_stated", Bool, "", "whether the caller named a mode", |v| {
        FactRef::Bool(v.facts.request.mode_stated)
    }),
    always("request.privacy", CLASSES, "", "the strictest of header, metadata and configuration", |v| {
        FactRef::Text(v.facts.request.privacy.as_str())
    }),
    always(
        "request.privacy_level",
        Int,
        "0 public, 1 internal, 2 confidential, 3 restricted",
        "the same, with the strictest class of the conversation",
        |v| FactRef::Number(level(v.facts.effective_privacy())),
    ),
    always("request.tags", Words, "", "`x-tidegate-tags`, `metadata.tidegate_tags`", |v| {
        FactRef::Words(&v.facts.request.tags)
    }),
    always("request.tools", Bool, "", "`tools`", |v| FactRef::Bool(v.facts.request.needs.tools)),
    always("request.vision", Bool, "", "image parts in any message", |v| FactRef::Bool(v.facts.request.needs.vision)),
    always("request.json_schema", Bool, "", "`response_format`", |v| FactRef::Bool(v.facts.request.needs.json_schema)),
    always("request.logprobs", Bool, "", "`logprobs`", |v| FactRef::Bool(v.facts.request.needs.logprobs)),
    always("request.stream", Bool, "", "`stream`", |v| FactRef::Bool(v.facts.request.stream)),
    sometimes(
        "request.max_tokens",
        Int,
        "tokens",
        "`max_completion_tokens`, `max_tokens`",
        "the caller set no limit",
        |v| v.facts.request.max_tokens.into(),
    ),
    always("request.prompt_tokens", Int, "tokens, estimated", "all messages and tools", |v| {
        FactRef::Number(v.facts.request.prompt_tokens as f64)
    }),
    always("request.messages", Int, "messages", "`messages`", |v| FactRef::Number(v.facts.request.messages as f64)),
    always("request.in_tool_loop", Bool, "", "whether the last message is the result of a tool", |v| {
        FactRef::Bool(v.facts.request.in_tool_loop)
    }),
    sometimes(
        "request.language",
        Text,
        "ISO 639-1",
        "the last user message",
        "too short, mixed, or not scanned",
        |v| v.facts.request.language.as_deref().into(),
    ),
    later("caller.key_id", Text, "", "the caller's key", "the caller is anonymous", |v| {
        v.facts.caller.key_id.as_deref().into()
    }),
    later("caller.team", Text, "", "the caller's key", "the caller is anonymous, or in no team", |v| {
        v.facts.caller.team.as_deref().into()
    }),
    always("caller.tags", Words, "", "the caller's key; empty without one", |v| FactRef::Words(&v.facts.caller.tags)),
    always("caller.anonymous", Bool, "", "whether there is no key", |v| FactRef::Bool(v.facts.caller.key_id.is_none())),
    sometimes("signals.task", Text, "a label of the classifier", "the classifier", NOT_CLASSIFIED, |v| {
        v.facts.signals.task.as_deref().into()
    }),
    sometimes("signals.task_probability", Double, PROBABILITY, "the classifier", NOT_CLASSIFIED, |v| {
        v.facts.signals.task_probability.into()
    }),
    sometimes("signals.personal_data", Int, "pieces found", "the privacy scan, the whole request", NOT_SCANNED, |v| {
        v.facts.signals.personal_data.into()
    }),
    sometimes("signals.secrets", Int, "pieces found", "the privacy scan, the whole request", NOT_SCANNED, |v| {
        v.facts.signals.secrets.into()
    }),
    sometimes("signals.kinds", Words, "kinds found", "the privacy scan, the whole request", NOT_SCANNED, |v| {
        v.facts.signals.kinds.as_deref().into()
    }),
    sometimes("signals.entities", Words, "kinds found", "the tagger, the whole request", NOT_TAGGED, |v| {
        v.facts.signals.entities.as_deref().into()
    }),
    sometimes(
        "signals.opaque_parts",
        Int,
        "parts",
        "images, audio, files: nobody looked into them",
        NOT_SCANNED,
        |v| v.facts.signals.opaque_parts.into(),
    ),
    sometimes("signals.injection", Double, PROBABILITY, "the classifier", NOT_CLASSIFIED, |v| {
        v.facts.signals.injection.into()
    }),
    sometimes("signals.seen_share", Double, "0 to 1", "the text that the classifier saw", NOT_CLASSIFIED, |v| {
        v.facts.signals.seen_share.into()
    }),
    sometimes(
        "signals.out_of_distribution",
        Bool,
        "",
        "the classifier: unlike its training data, quality unknown",
        NOT_CLASSIFIED,
        |v| v.facts.signals.out_of_distribution.into(),
    ),
    sometimes(
        "signals.quality_device",
        Double,
        PROBABILITY,
        "the classifier: the best target on the device",
        NOT_PREDICTED,
        |v| v.predicted_quality(Locality::Device).map(|quality| quality.probability).into(),
    ),
    sometimes("signals.quality_device_stderr", Double, "standard error", "the same", NOT_PREDICTED, |v| {
        v.predicted_quality(Locality::Device).map(|quality| quality.standard_error).into()
    }),
    sometimes(
        "signals.quality_cloud",
        Double,
        PROBABILITY,
        "the classifier: the best cloud target",
        NOT_PREDICTED,
        |v| v.predicted_quality(Locality::Cloud).map(|quality| quality.probability).into(),
    ),
    sometimes("signals.quality_cloud_stderr", Double, "standard error", "the same", NOT_PREDICTED, |v| {
        v.predicted_quality(Locality::Cloud).map(|quality| quality.standard_error).into()
    }),
    sometimes("moment.minute_of_day", Int, "0 to 1439, local time", "the clock", "the clock cannot be read", |v| {
        v.facts.moment.minute_of_day.into()
    }),
    sometimes("moment.hour", Int, "0 to 23, local time", "the clock", "the clock cannot be read", |v| {
        v.facts.moment.minute_of_day.map(|minute| minute / 60).into()
    }),
    sometimes("moment.weekday", Int, "1 Monday to 7 Sunday", "the clock", "the clock cannot be read", |v| {
        v.facts.moment.weekday.into()
    }),
    sometimes(
        "moment.connectivity",
        FactKind::Word(&crate::Connectivity::WORDS),
        "",
        "requests to cloud targets and probes, or `POST /admin/network`",
        "there is no cloud target",
        |v| v.facts.moment.connectivity.map(crate::Connectivity::as_str).into(),
    ),
    sometimes("moment.metered", Bool, "", "`network.metered`, or `POST /admin/network`", "neither says", |v| {
        v.facts.moment.metered.into()
    }),
    later("moment.battery_percent", Int, "0 to 100", "the operating system", "the system does not say", |v| {
        v.facts.moment.battery_percent.into()
    }),
    later(
        "budget.remaining_usd",
        Double,
        "US dollars",
        "the tightest budget that applies",
        "there is no budget",
        |v| v.facts.budget.remaining_usd.into(),
    ),
    sometimes(
        "conversation.privacy",
        CLASSES,
        "",
        "the strictest class that earlier requests had",
        "the first request of a conversation",
        |v| v.facts.conversation.strictest_privacy.map(Privacy::as_str).into(),
    ),
    sometimes(
        "conversation.previous_target",
        Text,
        "a target's id",
        "who answered last",
        "nobody answered in this conversation yet",
        |v| v.facts.conversation.previous_target.as_ref().map(crate::TargetId::as_str).into(),
    ),
    always("conversation.continues", Bool, "", "whether earlier requests of it are remembered", |v| {
        let known = &v.facts.conversation;
        FactRef::Bool(known.previous_target.is_some() || known.strictest_privacy.is_some())
    }),
    always("conversation.cached_tokens", Int, "tokens", "prompt of the last request; 0 for the first", |v| {
        FactRef::Number(v.facts.conversation.cached_tokens as f64)
    }),
    always("available.device", Int, "targets", "those on the device that are ready", |v| v.ready(Locality::Device)),
    always("available.network", Int, "targets", "those on the network that are ready", |v| v.ready(Locality::Network)),
    always("available.cloud", Int, "targets", "those in the cloud that are ready", |v| v.ready(Locality::Cloud)),
    always("target.id", Text, "", "configuration", |v| target(v, |t| FactRef::Text(t.id().as_str()))),
    always("target.provider", Text, "", "the part of the id before `/`", |v| {
        target(v, |t| FactRef::Text(&t.profile.provider))
    }),
    always("target.locality", LOCALITIES, "", "configuration", |v| target(v, |t| FactRef::Text(t.locality().as_str()))),
    sometimes("target.region", Text, "", "`region`", "the target states none", |v| {
        target(v, |t| t.profile.region.as_deref().into())
    }),
    always("target.tags", Words, "", "`tags`", |v| target(v, |t| FactRef::Words(&t.profile.tags))),
    sometimes("target.input_usd_per_mtok", Double, "US dollars", "`price`, or the table", "unknown", |v| {
        target(v, |t| t.profile.price.map(|price| price.input_usd_per_mtok).into())
    }),
    sometimes("target.output_usd_per_mtok", Double, "US dollars", "`price`, or the table", "unknown", |v| {
        target(v, |t| t.profile.price.map(|price| price.output_usd_per_mtok).into())
    }),
    sometimes("target.context_tokens", Int, "tokens", "`context_tokens`, or the table", "unknown", |v| {
        target(v, |t| t.profile.context_tokens.into())
    }),
    always("target.tools", Bool, "", "`capabilities`", |v| target(v, |t| FactRef::Bool(t.profile.capabilities.tools))),
    always("target.vision", Bool, "", "`capabilities`", |v| {
        target(v, |t| FactRef::Bool(t.profile.capabilities.vision))
    }),
    always("target.json_schema", Bool, "", "`capabilities`", |v| {
        target(v, |t| FactRef::Bool(t.profile.capabilities.json_schema))
    }),
    always("target.logprobs", Bool, "", "`capabilities`", |v| {
        target(v, |t| FactRef::Bool(t.profile.capabilities.logprobs))
    }),
    always("target.state", STATES, "", "dispatcher and worker", |v| target(v, |t| FactRef::Text(t.state.as_str()))),
    always("target.prompt_tokens", Int, "tokens", "counted by its tokenizer where that decides, else estimated", |v| {
        target(v, |t| FactRef::Number(t.prompt_tokens(v.facts) as f64))
    }),
    sometimes("target.queue_depth", Int, "requests waiting", "the queue of a local worker", "no queue", |v| {
        target(v, |t| t.queue_depth.into())
    }),
    sometimes("target.ttft_ms", Double, "milliseconds, mean", "measurements, else `latency`", "unknown", |v| {
        target(v, |t| t.latency().map(|latency| latency.ttft_ms.mean).into())
    }),
    sometimes(
        "target.ttft_spread_ms",
        Double,
        "milliseconds, standard deviation",
        "measurements, else `latency`",
        "unknown",
        |v| target(v, |t| t.latency().map(|latency| latency.ttft_ms.spread).into()),
    ),
    sometimes(
        "target.tokens_per_s",
        Double,
        "tokens per second, mean",
        "measurements, else `latency`",
        "unknown",
        |v| target(v, |t| t.latency().map(|latency| latency.tokens_per_s.mean).into()),
    ),
    sometimes("target.quality", Double, "probability, 0 to 1", "the classifier, else `quality`", "unknown", |v| {
        target(v, |t| v.facts.quality(&t.profile).into())
    }),
    sometimes("target.quality_stderr", Double, "standard error", "the classifier", "not predicted", |v| {
        target(v, |t| v.facts.predicted_quality(t.id()).map(|quality| quality.standard_error).into())
    }),
];

fn level(privacy: Privacy) -> f64 {
    match privacy {
        Privacy::Public => 0.0,
        Privacy::Internal => 1.0,
        Privacy::Confidential => 2.0,
        Privacy::Restricted => 3.0,
    }
}

fn target<'a>(values: &Values<'a>, read: impl FnOnce(&'a crate::TargetFacts) -> FactRef<'a>) -> FactRef<'a> {
    values.target.map_or(FactRef::Absent, read)
}

/// The table of facts in Markdown, as it stands in `policies/README.md`.
#[must_use]
pub fn facts_table() -> String {
    let mut table = "| fact | type | unit or form | from | absent means |\n|---|---|---|---|---|\n".to_owned();
    for fact in FACTS {
        let kind = match fact.kind {
            FactKind::Bool => "bool".to_owned(),
            FactKind::Int => "int".to_owned(),
            FactKind::Double => "double".to_owned(),
            FactKind::Text => "string".to_owned(),
            FactKind::Word(words) => format!("one of {}", words.join(", ")),
            FactKind::Words => "list of strings".to_owned(),
        };
        let absent = if fact.when_absent.is_empty() { "never absent" } else { fact.when_absent };
        let later = if fact.produced { "" } else { "; **not produced yet**" };
        // Writing to a text does not fail.
        let _ = writeln!(table, "| `{}` | {kind} | {} | {} | {absent}{later} |", fact.name, fact.unit, fact.source);
    }
    table
}
