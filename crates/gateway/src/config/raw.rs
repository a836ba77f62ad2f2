//! The configuration file as serde reads it: every key optional, no key unknown. Meaning is checked in `compile`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawConfig {
    pub listen: Option<String>,
    pub admin_listen: Option<String>,
    pub defaults: RawDefaults,
    pub trust: RawTrust,
    pub policy: RawPolicy,
    pub targets: Vec<RawTarget>,
    pub limits: RawLimits,
    pub log: RawLog,
    pub engine: RawPath,
    pub onnxruntime: RawPath,
    pub artifacts: RawArtifacts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDefaults {
    pub mode: Option<String>,
    pub privacy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPolicy {
    pub file: Option<String>,
    pub shadow: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTrust {
    pub anonymous: RawCallerTrust,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCallerTrust {
    pub may_set: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTarget {
    pub id: Option<String>,
    pub provider: Option<String>,
    pub enabled_if_env: Option<String>,
    pub artifact: Option<String>,
    pub model_path: Option<String>,
    pub context_tokens: Option<u32>,
    pub slots: Option<u32>,
    pub threads: Option<u32>,
    pub gpu_layers: Option<u32>,
    pub extra_args: Option<Vec<String>>,
    pub eager: Option<bool>,
    pub model: Option<String>,
    pub base_url: Option<RawValue>,
    pub api_key: Option<RawValue>,
    pub headers: Option<BTreeMap<String, RawValue>>,
    pub locality: Option<String>,
    pub timeouts: RawTimeouts,
    pub tags: Option<Vec<String>>,
    pub region: Option<String>,
    pub capabilities: RawCapabilities,
    pub price: Option<RawPrice>,
    pub quality: Option<f64>,
    pub latency: Option<RawLatency>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCapabilities {
    pub tools: Option<bool>,
    pub vision: Option<bool>,
    pub json_schema: Option<bool>,
    pub logprobs: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPrice {
    pub input_usd_per_mtok: Option<f64>,
    pub cached_input_usd_per_mtok: Option<f64>,
    pub output_usd_per_mtok: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLatency {
    pub ttft_ms: Option<f64>,
    pub ttft_spread_ms: Option<f64>,
    pub tokens_per_s: Option<f64>,
    pub tokens_per_s_spread: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTimeouts {
    pub connect_ms: Option<u64>,
    pub headers_ms: Option<u64>,
    pub idle_ms: Option<u64>,
    pub answer_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    pub body_bytes_max: Option<u64>,
    pub header_bytes_max: Option<u64>,
    pub in_flight_max: Option<u64>,
    pub connections_max: Option<u64>,
    pub header_timeout_ms: Option<u64>,
    pub body_timeout_ms: Option<u64>,
    pub write_timeout_ms: Option<u64>,
    pub keepalive_timeout_ms: Option<u64>,
    pub grace_period_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLog {
    pub format: Option<String>,
    pub level: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPath {
    pub path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawArtifacts {
    pub hub_base: Option<String>,
    pub fetch: Option<bool>,
}

/// A value given as text, or as `{env: NAME, default: text}`, or as `{file: PATH}`.
pub(crate) enum RawValue {
    Text(String),
    From(RawFrom),
}

/// Where a value comes from.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawFrom {
    pub env: Option<String>,
    pub default: Option<String>,
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
