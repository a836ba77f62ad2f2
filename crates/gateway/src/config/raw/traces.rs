//! The key `traces` as serde reads it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::RawValue;

/// OpenTelemetry traces: a span of each request, its stages and its attempts, to a collector by OTLP over HTTP. Names and numbers only, never text
/// of a prompt or an answer.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTraces {
    /// Whether traces are exported; false when absent.
    pub enabled: Option<bool>,
    /// The collector, up to and without `/v1/traces`; when absent what `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (its whole address) or
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` says, else `http://127.0.0.1:4318`.
    pub endpoint: Option<RawValue>,
    /// Headers for the collector; secret ones as `{env: NAME}` or `{file: PATH}`. When absent those of `OTEL_EXPORTER_OTLP_TRACES_HEADERS` or
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    pub headers: Option<BTreeMap<String, RawValue>>,
    /// `service.name`; when absent `OTEL_SERVICE_NAME`, else `tidegate`.
    pub service_name: Option<String>,
    /// Further attributes of the process, at most 64, beside those of `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: BTreeMap<String, String>,
    /// Share of the traces that begin here which are recorded, 0 to 1; 1 when absent. One that a caller began is recorded where the caller
    /// says so.
    pub sample: Option<f64>,
    /// The furthest targets that are told of a trace (`traceparent`), also of a caller's where none are exported: `none`, `device`, `network`
    /// (when absent), `cloud`.
    pub propagate: Option<String>,
    /// Requests that wait to be exported, 64 to 1048576; 2048 when absent. Further ones are lost and counted.
    pub queue_max: Option<u64>,
    /// Requests that are sent together, 1 to 8192 and no more than `queue_max`; 128 when absent. Making more into one message keeps a
    /// processor busy for milliseconds; fewer need a collector that is near.
    pub batch_max: Option<u64>,
    /// Milliseconds that a request waits for others to be sent with it, 1 to 60000; 1000 when absent.
    pub flush_ms: Option<u64>,
    /// Milliseconds that the collector may take for one message; 10000 when absent.
    pub timeout_ms: Option<u64>,
}
