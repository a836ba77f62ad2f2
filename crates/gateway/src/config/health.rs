//! Checks the keys about targets that fail and a network that comes and goes.

use std::time::Duration;

use dispatch::{CaptiveProbe, ProbeConfig};
use policy::{BreakerLimits, ConnectivityLimits};
use url::Url;

use super::compile::Check;
use super::raw::{RawBreaker, RawNetwork, RawProbe};

/// Addresses of one's own that are probed, at most.
const PROBE_ADDRESSES_MAX: usize = 16;
/// How much longer than at first the network may be left unlooked for while nothing changes.
const IDLE_GROWTH: u32 = 20;

/// What is known of the network beforehand, and how it is looked for.
#[derive(Clone, Debug)]
pub(crate) struct NetworkConfig {
    /// Whether it is paid by volume, where that was said.
    pub metered: Option<bool>,
    /// When it counts as gone.
    pub limits: ConnectivityLimits,
    /// What is probed; no address means those of the cloud targets.
    pub probe: ProbeConfig,
}

/// `None` where there are no breakers.
pub(super) fn compile_breaker(check: &mut Check<'_>, raw: &RawBreaker) -> Option<BreakerLimits> {
    let default = BreakerLimits::default();
    let mut count = |key: &str, value, default: u32, most| {
        let number = check.number(&format!("breaker.{key}"), value, default.into(), (1, most));
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    let consecutive_failures =
        count("consecutive_failures", raw.consecutive_failures, default.consecutive_failures, 1000);
    let samples_min = count("samples_min", raw.samples_min, default.samples_min, 100_000);
    let failure_rate = raw.failure_rate.unwrap_or(default.failure_rate);
    if !(failure_rate > 0.0 && failure_rate <= 1.0) {
        check.problem("breaker.failure_rate", format!("{failure_rate} is out of range; allowed is above 0 to 1"));
    }
    let open_first = check.millis("breaker.open_ms", raw.open_ms, default.open_first);
    let open_max = check.millis("breaker.open_max_ms", raw.open_max_ms, default.open_max.max(open_first));
    if open_max < open_first {
        check.problem("breaker.open_max_ms", "is shorter than breaker.open_ms");
    }
    let window = check.millis("breaker.window_ms", raw.window_ms, default.window);
    let limits = BreakerLimits { consecutive_failures, failure_rate, samples_min, window, open_first, open_max };
    raw.enabled.unwrap_or(true).then_some(limits)
}

pub(super) fn compile_network(check: &mut Check<'_>, raw: &RawNetwork) -> NetworkConfig {
    let (probe, default) = (&raw.probe, ConnectivityLimits::default());
    let retry_max = check.millis("network.probe.retry_max_ms", probe.retry_max_ms, default.retry_max);
    let idle_first = check.millis("network.probe.idle_ms", probe.idle_ms, default.idle_first);
    let limits = ConnectivityLimits {
        probing: probe.enabled.unwrap_or(true),
        retry_first: default.retry_first.min(retry_max),
        retry_max,
        idle_first,
        idle_max: idle_first.saturating_mul(IDLE_GROWTH),
        ..default
    };
    NetworkConfig { metered: raw.metered, limits, probe: compile_probe(check, probe) }
}

fn compile_probe(check: &mut Check<'_>, raw: &RawProbe) -> ProbeConfig {
    let listed = raw.addresses.as_deref().unwrap_or_default();
    if raw.addresses.is_some() && !(1..=PROBE_ADDRESSES_MAX).contains(&listed.len()) {
        let message = format!("has {} entries; allowed are 1 to {PROBE_ADDRESSES_MAX}", listed.len());
        check.problem("network.probe.addresses", message);
    }
    let addresses = listed.iter().enumerate().filter_map(|(n, text)| {
        let path = format!("network.probe.addresses[{n}]");
        check.ok(&path, address(text, &["https", "http"]))
    });
    let addresses = addresses.collect();
    let captive_status = check.number("network.probe.captive_status", raw.captive_status, 204, (100, 599));
    if raw.captive_status.is_some() && raw.captive_url.is_none() {
        check.problem("network.probe.captive_status", "has no meaning without captive_url");
    }
    // A portal cannot answer in place of a server that proves who it is.
    let url =
        raw.captive_url.as_deref().and_then(|text| check.ok("network.probe.captive_url", address(text, &["http"])));
    let status = u16::try_from(captive_status).unwrap_or(204);
    let timeout = check.millis("network.probe.timeout_ms", raw.timeout_ms, Duration::from_secs(3));
    ProbeConfig { addresses, captive: url.map(|url| CaptiveProbe { url, status }), timeout }
}

/// The message does not repeat the address: it may hold what is not for logs.
fn address(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    if !schemes.contains(&url.scheme()) || !url.has_host() {
        return Err(format!("has to begin with {}", schemes.join(":// or ") + "://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials; a probe needs none".to_owned());
    }
    Ok(url)
}
