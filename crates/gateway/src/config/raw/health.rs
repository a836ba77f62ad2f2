//! The keys about targets that fail and a network that comes and goes.

use serde::Deserialize;

/// A target that fails is left alone for a while, and tried by one request at a time until it answers again.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawBreaker {
    /// true when absent.
    pub enabled: Option<bool>,
    /// Failures in a row after which a target is left alone, 1 to 1000; 5 when absent.
    pub consecutive_failures: Option<u64>,
    /// Share of failures in the window, above 0 to 1, from which on it is left alone; 0.5 when absent.
    pub failure_rate: Option<f64>,
    /// Outcomes in the window below which the share says nothing, 1 to 100000; 20 when absent.
    pub samples_min: Option<u64>,
    /// The window; 30000 when absent.
    pub window_ms: Option<u64>,
    /// How long it is left alone the first time; 500 when absent. Doubled with each request that finds it failing still.
    pub open_ms: Option<u64>,
    /// The longest that it is left alone; 4000 when absent.
    pub open_max_ms: Option<u64>,
}

/// Whether targets in the cloud can be reached.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawNetwork {
    /// Whether the network is paid by volume, as policies read it in `moment.metered`; not known when absent. `POST /admin/network` sets it while
    /// the gateway runs.
    pub metered: Option<bool>,
    /// How the network is looked for, beside what happens to requests.
    pub probe: RawProbe,
}

/// How the network is looked for while it is not there, or nothing was heard of it for a while. A probe carries neither prompt nor key.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawProbe {
    /// true when absent. Without probes only requests tell.
    pub enabled: Option<bool>,
    /// What is asked (`HEAD /`; any answer will do), at most 16 http or https addresses; those of the cloud targets when absent,
    /// and before nothing counts as reached.
    pub addresses: Option<Vec<String>>,
    /// A plain http address that answers `captive_status` unless a captive portal answers in its place; none when absent.
    pub captive_url: Option<String>,
    /// 204 when absent.
    pub captive_status: Option<u64>,
    /// How long an answer is waited for; 3000 when absent.
    pub timeout_ms: Option<u64>,
    /// How long it takes at most to notice that the network is back; 3000 when absent.
    pub retry_max_ms: Option<u64>,
    /// How long nothing may have been heard of the network before it is looked for; 30000 when absent. Doubled up to 20 times as long
    /// while nothing changes.
    pub idle_ms: Option<u64>,
}
