//! The configuration file as serde reads it: every key optional, no key unknown. Meaning is checked in `compile`.
//!
//! `schemas/tidegate.schema.json` is made of these types; their comments are what an editor shows.

mod health;
mod traces;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

pub(crate) use health::{RawBreaker, RawNetwork, RawProbe};
pub(crate) use traces::RawTraces;

/// The configuration of Tidegate.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawConfig {
    /// Address and port for applications; 127.0.0.1:8787 when absent. No authentication: keep it on loopback.
    pub listen: Option<String>,
    /// Address and port for operators; 127.0.0.1:8788 when absent.
    pub admin_listen: Option<String>,
    /// What holds for every request; a caller can tighten it and never loosen it.
    pub defaults: RawDefaults,
    /// What callers may say about their own requests.
    pub trust: RawTrust,
    /// The files of the policies; see policies/README.md.
    pub policy: RawPolicy,
    /// What counts as personal data and as a secret.
    pub scan: RawScan,
    /// Predicts how well each target would answer.
    pub classifier: RawClassifier,
    /// Learning from one's own traffic; off when absent.
    pub learning: RawLearning,
    /// Requests that are answered later.
    pub outbox: RawOutbox,
    /// Answers that may be given again.
    pub cache: RawCache,
    /// What became of requests, kept on this machine: names and numbers, no text.
    pub ledger: RawLedger,
    /// OpenTelemetry traces; none are exported when absent.
    pub traces: RawTraces,
    /// The models, in the order of preference among equals; 1 to 256.
    pub targets: Vec<RawTarget>,
    /// When a target that fails is left alone.
    pub breaker: RawBreaker,
    /// Whether targets in the cloud can be reached.
    pub network: RawNetwork,
    /// What the gateway takes at most.
    pub limits: RawLimits,
    /// What hedges may amount to.
    pub hedging: RawHedging,
    /// Log lines on standard error.
    pub log: RawLog,
    /// The llama-server to use instead of the installed one.
    pub engine: RawPath,
    /// The ONNX Runtime library to use instead of the installed one.
    pub onnxruntime: RawPath,
    /// Where engine and models come from.
    pub artifacts: RawArtifacts,
}

/// What holds for every request.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDefaults {
    /// `prefer_on_device` (when absent), `only_on_device`, `prefer_in_cloud`, `only_in_cloud`. An `only_*` mode holds for all requests.
    pub mode: Option<String>,
    /// `public`, `internal` (when absent), `confidential`, `restricted`: the least strict class of any request.
    pub privacy: Option<String>,
}

/// The policies. A relative path is taken from the folder of the configuration.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPolicy {
    /// The policy that decides; the built-in default when absent. Loaded again when it changes.
    pub file: Option<String>,
    /// A policy that is decided beside it and only counted.
    pub shadow: Option<String>,
}

/// The scan for personal data and secrets, which every request goes through.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawScan {
    /// Regions (ISO 3166 codes) in whose national formats phone numbers are recognised without a word beside them; all that
    /// are known when absent.
    pub phone_regions: Option<Vec<String>>,
    /// The least confidence at which a kind is reported, 0 to 1; above 1: never. 0.5 when absent.
    pub thresholds: BTreeMap<String, f32>,
    /// What is not reported.
    pub allow: RawAllow,
    /// Further kinds.
    pub recognisers: Vec<RawRecogniser>,
}

/// What the scan does not report.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAllow {
    /// Texts, exactly.
    pub values: Vec<String>,
    /// Regular expressions for the whole of what was found.
    pub patterns: Vec<String>,
}

/// A kind of one's own.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawRecogniser {
    /// Its word in `signals.kinds`: lower case, digits and underscores.
    pub name: String,
    /// `personal_data` or `secret`.
    pub category: String,
    /// A regular expression.
    pub pattern: String,
    /// Words of which one has to stand near, or the confidence is halved; none when absent.
    pub context: Vec<String>,
    /// 0 to 1; 0.75 when absent.
    pub confidence: Option<f32>,
}

/// The prompt classifier.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawClassifier {
    /// Whether requests are classified; true when absent.
    pub enabled: Option<bool>,
    /// `static` (the default; a fraction of a millisecond) or `layers2` (8 ms for 128 tokens; the artifact minilm-l6-v2 is fetched for it once).
    pub profile: Option<String>,
    /// A folder with the files of a classifier, instead of a built-in one. A relative path is taken from the folder of the
    /// configuration.
    pub folder: Option<String>,
    /// Longest time for one request; 20 when absent, with layers2 200. Past it the request is decided without.
    pub deadline_ms: Option<u64>,
    /// Longest time that names in one request are looked for, where a policy asks for `signals.entities` or the profile is layers2; 1000
    /// when absent. Past it `signals.entities` is absent.
    pub tagger_deadline_ms: Option<u64>,
}

/// Learning from one's own traffic. Features of requests are kept on this machine with how well they were answered, no text.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLearning {
    /// Whether answers are kept and feedback is taken; false when absent.
    pub enabled: Option<bool>,
    /// Answers kept at most, 100 to 1000000; 50000 when absent, about 90 MB.
    pub rows_max: Option<u64>,
    /// Days that an answer with an outcome is kept; 180 when absent.
    pub keep_days: Option<u64>,
    /// Days that an answer waits for an outcome; 7 when absent.
    pub wait_days: Option<u64>,
    /// The same question again within this time is taken for a bad answer; 600000 when absent.
    pub retry_window_ms: Option<u64>,
    /// How much such an answer counts beside one that somebody rated, 0 (not at all) to 1; 0.2 when absent.
    pub retry_weight: Option<f64>,
    /// What looks at answers by itself, in order: the first that fits a request; at most 64.
    pub verifiers: Vec<RawVerifier>,
    /// Requests that a second target answers too, where a verifier judges them; none when absent.
    pub comparison: Option<RawComparison>,
}

/// A sample of requests is sent to another target as well, where the request might go, and that answer is judged like the first. Nobody else sees
/// it.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawComparison {
    /// The targets that are compared with each other, two or more.
    pub targets: Vec<String>,
    /// Share of the judged requests, above 0 to 1.
    pub share: Option<f64>,
    /// So many a day (UTC) at most, since the start of the gateway.
    pub requests_per_day: Option<u64>,
    /// So many US dollars a day at most, by the prices of the targets; a target without a known price is not asked then. Not limited when absent.
    pub usd_per_day: Option<f64>,
}

/// Requests that cannot be answered now and are answered later: those with `Prefer: respond-async`, and those of routes with
/// `respond_async`. They are kept on this machine, readable by its user alone and not encrypted.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawOutbox {
    /// Whether any are kept; true when absent. Otherwise the preference is passed over.
    pub enabled: Option<bool>,
    /// Entries, finished ones included, 1 to 10000; 1000 when absent. Further requests get 507.
    pub entries_max: Option<u64>,
    /// Bytes of requests and answers, from 1024; 268435456 when absent. Further requests get 507, and nothing is sent while
    /// answers that were not fetched use it up.
    pub bytes_max: Option<u64>,
    /// Seconds that a request waits before it expires, 1 to 2592000; 86400 when absent.
    pub age_max_s: Option<u64>,
    /// Seconds that an answer is kept, 1 to 2592000; 86400 when absent.
    pub keep_s: Option<u64>,
    /// Requests sent at the same time, 1 to 64; 2 when absent.
    pub concurrency: Option<u64>,
    /// How often targets may have a request and fail before it is given up, 1 to 1000; 10 when absent.
    pub failures_max: Option<u64>,
}

/// Answers that may be given again, by routes with `cache`. Without such a route none are kept.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCache {
    /// Whether any are given again, whatever the policy says; true when absent.
    pub enabled: Option<bool>,
    /// Bytes of all answers, from 1024; 67108864 when absent. The one that was not used for longest goes first.
    pub bytes_max: Option<u64>,
    /// Bytes of one answer, 1024 to 67108864; 1048576 when absent. A longer one is not kept, and of one that callers share so much is held
    /// for the slower of them.
    pub entry_bytes_max: Option<u64>,
    /// Whether they are on disk as well, readable by the user of this machine alone and not encrypted, so that they are there after a
    /// restart; false when absent. Takes `bytes_max` again.
    pub persist: Option<bool>,
}

/// The ledger: one record of each request, with what it was decided by, its attempts and what it cost.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLedger {
    /// Whether requests are recorded; true when absent.
    pub enabled: Option<bool>,
    /// Whether requests are refused (503) while they cannot be recorded, and each record is synced to the disk; false when absent.
    pub required: Option<bool>,
    /// Records that wait to be written, 64 to 1048576; 16384 when absent. Further ones are lost and counted.
    pub queue_max: Option<u64>,
    /// Milliseconds that a record waits for others to be written with it, 1 to 10000; 200 when absent. A gateway that is killed loses what was
    /// settled within that time.
    pub flush_ms: Option<u64>,
    /// Days that a record is kept, 1 to 36500; 90 when absent.
    pub keep_days: Option<u64>,
    /// Bytes of the file, from 1048576; 1073741824 when absent. The oldest records go first.
    pub bytes_max: Option<u64>,
}

/// Judges answers. One of `required`, `schema_file` and `command` says how.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawVerifier {
    /// Which answers; all when absent.
    pub when: RawVerifierWhen,
    /// `json` (the answer is JSON, of `schema_file` or with the keys `required`) or `command`.
    pub kind: Option<String>,
    /// json: keys that the answer has to have.
    pub required: Option<Vec<String>>,
    /// json: a file with a JSON schema. A relative path is taken from the folder of the configuration.
    pub schema_file: Option<String>,
    /// command: program and arguments, without a shell. The answer is its standard input; it ends with 0 for a good answer, 1 for
    /// a bad one, and anything else says nothing.
    pub command: Option<Vec<String>>,
    /// command: how long it may take; 5000 when absent.
    pub timeout_ms: Option<u64>,
}

/// Which answers a verifier looks at.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawVerifierWhen {
    /// Those to requests with this tag.
    pub tag: Option<String>,
    /// Those to requests that the classifier takes for this kind of task.
    pub task: Option<String>,
}

/// What callers may say about their own requests, by who they are.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTrust {
    /// Callers without a key; so far there are no others.
    pub anonymous: RawCallerTrust,
}

/// What one kind of caller may say.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCallerTrust {
    /// Any of `mode`, `privacy`, `tags`, `session`; all when absent. Anything else that such a caller sets is refused.
    pub may_set: Option<Vec<String>>,
}

/// One model.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTarget {
    /// Its name, `provider/model`.
    pub id: Option<String>,
    /// `llama_cpp` (a worker on this device) or `openai` (any address that speaks OpenAI's chat completions).
    pub provider: Option<String>,
    /// The target exists only where this environment variable is set.
    pub enabled_if_env: Option<String>,
    /// llama_cpp: a model of the manifest (`tidegate artifacts list`).
    pub artifact: Option<String>,
    /// llama_cpp: a GGUF file, instead of `artifact`.
    pub model_path: Option<String>,
    /// Tokens of its window, prompt and answer together; llama_cpp: of each slot, 4096 when absent.
    pub context_tokens: Option<u32>,
    /// llama_cpp: requests answered at the same time, 1 to 256; 4 when absent.
    pub slots: Option<u32>,
    /// llama_cpp: requests that may wait for a slot, 0 to 10000; 64 when absent. Past it the next target is tried.
    pub queue_max: Option<u32>,
    /// llama_cpp: longest wait for a slot in milliseconds; 60000 when absent. Past it the next target is tried.
    pub queue_wait_ms: Option<u64>,
    /// llama_cpp: tokens of prompts read at once, 2 to 16384 and more than `slots`; when absent 2048 where `gpu_layers` is above 0, else 6 or `slots` + 3. Fewer free a
    /// slot sooner when its caller leaves and let other answers go on meanwhile; more read long prompts faster.
    pub batch_tokens: Option<u32>,
    /// llama_cpp: threads; llama-server chooses when absent.
    pub threads: Option<u32>,
    /// llama_cpp: layers kept on a GPU; llama-server chooses when absent.
    pub gpu_layers: Option<u32>,
    /// llama_cpp: further arguments of llama-server.
    pub extra_args: Option<Vec<String>>,
    /// llama_cpp: started at boot instead of at the first request.
    pub eager: Option<bool>,
    /// openai: the model's name there.
    pub model: Option<String>,
    /// openai: the address, up to and including `/v1`.
    pub base_url: Option<RawValue>,
    /// openai: the key, as `{env: NAME}` or `{file: PATH}`.
    pub api_key: Option<RawValue>,
    /// openai: further headers; secret ones as `{env: NAME}` or `{file: PATH}`.
    pub headers: Option<BTreeMap<String, RawValue>>,
    /// openai: `cloud` (when absent), `network` (a machine of one's own) or `device` (a loopback address).
    pub locality: Option<String>,
    /// How long it may take.
    pub timeouts: RawTimeouts,
    /// Whether it goes on with a text that is the last message, of the assistant, so that an answer of the same model which broke
    /// off is continued by that; false when absent.
    pub continues_prefix: Option<bool>,
    /// Words by which policies tell targets apart, of a-z 0-9 _ . : -.
    pub tags: Option<Vec<String>>,
    /// Where it runs, such as `eu`.
    pub region: Option<String>,
    /// What it offers beside text, where that is not what is known of it.
    pub capabilities: RawCapabilities,
    /// What it charges; absent, a table of known cloud models is looked up.
    pub price: Option<RawPrice>,
    /// How likely it answers well, 0 to 1.
    pub quality: Option<f64>,
    /// How big the model is: `tiny` (under 1 billion parameters), `small` (to 4), `medium` (to 15), `large` (to 80), `frontier`. As
    /// its name says when absent. The classifier predicts by it what it was not trained on.
    pub size_class: Option<String>,
    /// How fast it is expected to answer.
    pub latency: Option<RawLatency>,
}

/// What a target offers beside text.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCapabilities {
    /// Calls tools.
    pub tools: Option<bool>,
    /// Reads images.
    pub vision: Option<bool>,
    /// Keeps to a JSON schema.
    pub json_schema: Option<bool>,
    /// Gives log probabilities.
    pub logprobs: Option<bool>,
}

/// US dollars per million tokens.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPrice {
    /// Prompt; needed.
    pub input_usd_per_mtok: Option<f64>,
    /// Prompt that the target had cached; as the rest when absent.
    pub cached_input_usd_per_mtok: Option<f64>,
    /// Answer; needed.
    pub output_usd_per_mtok: Option<f64>,
}

/// How fast a target is expected to answer.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLatency {
    /// Milliseconds to the first token, mean; needed.
    pub ttft_ms: Option<f64>,
    /// Its standard deviation; 0 when absent.
    pub ttft_spread_ms: Option<f64>,
    /// Tokens of the answer per second, mean; needed.
    pub tokens_per_s: Option<f64>,
    /// Its standard deviation; 0 when absent.
    pub tokens_per_s_spread: Option<f64>,
}

/// How long a target may take, in milliseconds.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTimeouts {
    /// To connect (openai, 5000 when absent) or to start the worker (llama_cpp, 120000).
    pub connect_ms: Option<u64>,
    /// From then to the first token of a stream: 60000, or 600000 for llama_cpp.
    pub first_token_ms: Option<u64>,
    /// Between two pieces of a stream after that: 60000, or 300000 for llama_cpp.
    pub idle_ms: Option<u64>,
    /// For the whole answer: 600000, or 1800000 for llama_cpp.
    pub total_ms: Option<u64>,
}

/// What the gateway takes at most.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    /// Longest body of a request, 1024 to 1073741824; 33554432 when absent.
    pub body_bytes_max: Option<u64>,
    /// Longest header section of a request, 1024 to 1048576; 65536 when absent.
    pub header_bytes_max: Option<u64>,
    /// Requests handled at the same time; 256 when absent. Further ones get 503.
    pub in_flight_max: Option<u64>,
    /// Open connections; 1024 when absent.
    pub connections_max: Option<u64>,
    /// Time for a caller to send its header; 10000 when absent.
    pub header_timeout_ms: Option<u64>,
    /// Time for a caller to send its body; 60000 when absent.
    pub body_timeout_ms: Option<u64>,
    /// Silence of a caller that is to read its answer; 60000 when absent.
    pub write_timeout_ms: Option<u64>,
    /// From the begin of a request to the end of its answer, whatever the targets allow; 1800000 when absent.
    pub total_timeout_ms: Option<u64>,
    /// How long an idle connection is kept; 60000 when absent.
    pub keepalive_timeout_ms: Option<u64>,
    /// How long running requests may go on after SIGTERM; 30000 when absent.
    pub grace_period_ms: Option<u64>,
}

/// What second attempts beside slow first ones (`hedge_after_ms` of a route) may amount to.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawHedging {
    /// Share of the requests, 0 to 1; 0.05 when absent.
    pub max_share: Option<f64>,
    /// Expected cost in US dollars an hour; 1 when absent. What has no known price is not hedged with.
    pub max_usd_per_hour: Option<f64>,
}

/// Log lines.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLog {
    /// `auto` (when absent: human on a terminal, JSON otherwise), `human`, `json`.
    pub format: Option<String>,
    /// `error`, `warn`, `info` (when absent), `debug`, `trace`.
    pub level: Option<String>,
}

/// A file on this machine.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPath {
    /// The file.
    pub path: Option<String>,
}

/// Where engine and models come from.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawArtifacts {
    /// A mirror of the model hub.
    pub hub_base: Option<String>,
    /// Whether what is missing is fetched; true when absent.
    pub fetch: Option<bool>,
}

/// A value given as text, or as `{env: NAME, default: text}`, or as `{file: PATH}`.
pub(crate) enum RawValue {
    Text(String),
    From(RawFrom),
}

/// Where a value comes from: `env`, with or without `default`, or `file`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawFrom {
    /// An environment variable.
    pub env: Option<String>,
    /// What holds where the variable is not set.
    pub default: Option<String>,
    /// A file.
    pub file: Option<String>,
}

impl fmt::Debug for RawValue {
    /// A literal may be a secret in the wrong place; it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::From(from) => from.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrSource;
        impl<'de> Visitor<'de> for TextOrSource {
            type Value = RawValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, {env: NAME} or {file: PATH}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawValue, E> {
                Ok(RawValue::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawValue, A::Error> {
                RawFrom::deserialize(MapAccessDeserializer::new(map)).map(RawValue::From)
            }
        }
        deserializer.deserialize_any(TextOrSource)
    }
}
