//! The key `cache`: whether answers are given again, and how much is kept of them.

use account::responses::ResponseLimits;

use super::compile::Check;
use super::raw::RawCache;

/// The cache as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheConfig {
    /// Whether any answer is given again.
    pub enabled: bool,
    /// How much is kept.
    pub limits: ResponseLimits,
    /// Whether on disk as well.
    pub persist: bool,
}

pub(super) fn compile_cache(check: &mut Check<'_>, raw: &RawCache) -> CacheConfig {
    let default = ResponseLimits::default();
    let entry_range = (1 << 10, 64 << 20);
    let limits = ResponseLimits {
        bytes_max: check.number("cache.bytes_max", raw.bytes_max, default.bytes_max, (1 << 10, 1 << 40)),
        entry_bytes_max: check.number(
            "cache.entry_bytes_max",
            raw.entry_bytes_max,
            default.entry_bytes_max,
            entry_range,
        ),
    };
    CacheConfig { enabled: raw.enabled.unwrap_or(true), limits, persist: raw.persist.unwrap_or(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(cache: &str) -> Result<CacheConfig, String> {
        let text =
            format!("targets: [{{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}}]\ncache: {cache}\n");
        Config::parse("t.yaml", &text, &|_| None).map(|config| config.cache).map_err(|errors| errors.to_string())
    }

    #[test]
    fn it_is_in_memory_with_limits_when_nothing_is_said() {
        let default = CacheConfig { enabled: true, limits: ResponseLimits::default(), persist: false };
        assert_eq!(parse("{}").unwrap(), default);
        let limits = ResponseLimits { bytes_max: 2048, entry_bytes_max: 1024 };
        let said = parse("{enabled: false, bytes_max: 2048, entry_bytes_max: 1024, persist: true}").unwrap();
        assert_eq!(said, CacheConfig { enabled: false, limits, persist: true });
    }

    #[test]
    fn everything_wrong_is_reported_with_its_place() {
        let errors = parse("{bytes_max: 1023, entry_bytes_max: 67108865, ttl_s: 5}").unwrap_err();
        for part in [
            "t.yaml:2:20: cache.bytes_max: 1023 is out of range; allowed are 1024 to 1099511627776",
            "cache.entry_bytes_max: 67108865 is out of range",
            "cache.ttl_s: ",
        ] {
            assert!(errors.contains(part), "{part} in {errors}");
        }
    }
}
