//! The key `ledger`: whether exchanges are recorded, how much is kept, and whether answers may be given without.

use std::time::Duration;

use account::ledger::LedgerLimits;

use super::compile::Check;
use super::raw::RawLedger;

const DAY_S: u64 = 86_400;

/// The ledger as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LedgerConfig {
    /// Whether exchanges are recorded.
    pub enabled: bool,
    /// Whether requests are refused while they cannot be recorded.
    pub required: bool,
    /// How much is kept, and how it is written.
    pub limits: LedgerLimits,
}

pub(super) fn compile_ledger(check: &mut Check<'_>, raw: &RawLedger) -> LedgerConfig {
    let default = LedgerLimits::default();
    let (enabled, required) = (raw.enabled.unwrap_or(true), raw.required.unwrap_or(false));
    if required && !enabled {
        check.problem("ledger.required", "is true, but ledger.enabled is false: nothing could be answered");
    }
    let queue_max = check.number("ledger.queue_max", raw.queue_max, default.queue_max as u64, (64, 1 << 20));
    let flush_ms = u64::try_from(default.flush_every.as_millis()).unwrap_or_default();
    let flush_ms = check.number("ledger.flush_ms", raw.flush_ms, flush_ms, (1, 10_000));
    let keep_days = check.number("ledger.keep_days", raw.keep_days, default.keep.as_secs() / DAY_S, (1, 36_500));
    let bytes_max = check.number("ledger.bytes_max", raw.bytes_max, default.bytes_max, (1 << 20, 1 << 40));
    let limits = LedgerLimits {
        queue_max: usize::try_from(queue_max).unwrap_or(default.queue_max),
        flush_every: Duration::from_millis(flush_ms),
        keep: Duration::from_secs(keep_days * DAY_S),
        bytes_max,
        is_synced: required,
    };
    LedgerConfig { enabled, required, limits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(ledger: &str) -> Result<LedgerConfig, String> {
        let text =
            format!("targets: [{{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}}]\nledger: {ledger}\n");
        Config::parse("t.yaml", &text, &|_| None).map(|config| config.ledger).map_err(|errors| errors.to_string())
    }

    #[test]
    fn it_is_on_and_not_required_when_nothing_is_said() {
        let ledger = parse("{}").unwrap();
        assert_eq!(ledger, LedgerConfig { enabled: true, required: false, limits: LedgerLimits::default() });
        let ledger = parse("{required: true, queue_max: 64, flush_ms: 50, keep_days: 2, bytes_max: 2097152}").unwrap();
        assert!(ledger.required && ledger.limits.is_synced);
        assert_eq!((ledger.limits.queue_max, ledger.limits.flush_every.as_millis()), (64, 50));
        assert_eq!((ledger.limits.keep.as_secs(), ledger.limits.bytes_max), (2 * DAY_S, 2 << 20));
    }

    #[test]
    fn everything_wrong_is_reported_with_its_place() {
        let errors = parse("{enabled: false, required: true, queue_max: 1, flush_ms: 0, keep_days: 0, bytes_max: 10}")
            .unwrap_err();
        for part in [
            "ledger.required: is true, but ledger.enabled is false",
            "ledger.queue_max: 1 is out of range; allowed are 64 to 1048576",
            "ledger.flush_ms: 0 is out of range; allowed are 1 to 10000",
            "ledger.keep_days: 0 is out of range",
            "ledger.bytes_max: 10 is out of range",
        ] {
            assert!(errors.contains(part), "{part} in {errors}");
        }
    }
}
