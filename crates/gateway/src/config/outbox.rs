//! The key `outbox`: whether requests are kept for later, how many, how long.

use std::time::Duration;

use account::outbox::OutboxLimits;

use super::compile::Check;
use super::raw::RawOutbox;

/// Sends at the same time, when not configured.
const CONCURRENCY: u64 = 2;
/// How often targets may have a request and fail before it is given up, when not configured.
const FAILURES_MAX: u64 = 10;
const MONTH_S: u64 = 30 * 86_400;

/// The outbox as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutboxConfig {
    /// Whether requests are kept at all.
    pub enabled: bool,
    /// How many, how long.
    pub limits: OutboxLimits,
    /// How many are sent at the same time.
    pub concurrency: usize,
    /// How often targets may have a request and fail before it is given up.
    pub failures_max: u32,
}

pub(super) fn compile_outbox(check: &mut Check<'_>, raw: &RawOutbox) -> OutboxConfig {
    let default = OutboxLimits::default();
    let seconds = |check: &mut Check<'_>, path: &str, value, default: Duration| {
        Duration::from_secs(check.number(path, value, default.as_secs(), (1, MONTH_S)))
    };
    let limits = OutboxLimits {
        entries_max: check.number("outbox.entries_max", raw.entries_max, default.entries_max, (1, 10_000)),
        bytes_max: check.number("outbox.bytes_max", raw.bytes_max, default.bytes_max, (1024, 1 << 40)),
        age_max: seconds(check, "outbox.age_max_s", raw.age_max_s, default.age_max),
        keep: seconds(check, "outbox.keep_s", raw.keep_s, default.keep),
    };
    let concurrency = check.number("outbox.concurrency", raw.concurrency, CONCURRENCY, (1, 64));
    let failures_max = check.number("outbox.failures_max", raw.failures_max, FAILURES_MAX, (1, 1000));
    OutboxConfig {
        enabled: raw.enabled.unwrap_or(true),
        limits,
        // Both were checked to be small.
        concurrency: usize::try_from(concurrency).unwrap_or(1),
        failures_max: u32::try_from(failures_max).unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(outbox: &str) -> Result<OutboxConfig, String> {
        let text =
            format!("targets: [{{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}}]\noutbox: {outbox}\n");
        Config::parse("t.yaml", &text, &|_| None).map(|config| config.outbox).map_err(|errors| errors.to_string())
    }

    #[test]
    fn it_is_on_with_limits_when_nothing_is_said() {
        let outbox = parse("{}").unwrap();
        assert_eq!((outbox.enabled, outbox.limits), (true, OutboxLimits::default()));
        assert_eq!((outbox.concurrency, outbox.failures_max), (2, 10));
        let outbox = parse("{enabled: false, entries_max: 5, bytes_max: 2048, age_max_s: 60, keep_s: 70}").unwrap();
        let (age_max, keep) = (Duration::from_secs(60), Duration::from_secs(70));
        assert!(!outbox.enabled);
        assert_eq!(outbox.limits, OutboxLimits { entries_max: 5, bytes_max: 2048, age_max, keep });
    }

    #[test]
    fn everything_wrong_is_reported_with_its_place() {
        let errors = parse(
            "{entries_max: 0, bytes_max: 10, age_max_s: 0, keep_s: 9999999, concurrency: 65, failures_max: 0, dir: x}",
        )
        .unwrap_err();
        for part in [
            "t.yaml:2:23: outbox.entries_max: 0 is out of range; allowed are 1 to 10000",
            "outbox.bytes_max: 10 is out of range",
            "outbox.age_max_s: 0 is out of range; allowed are 1 to 2592000",
            "outbox.keep_s: 9999999 is out of range",
            "outbox.concurrency: 65 is out of range",
            "outbox.failures_max: 0 is out of range",
            "outbox.dir: ",
        ] {
            assert!(errors.contains(part), "{part} in {errors}");
        }
    }
}
