//! Points in time on the command line: so long ago, or a date.

use std::str::FromStr;

use chrono::{DateTime, Local, NaiveDate, NaiveTime, TimeZone, Utc};

const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So many milliseconds ago.
    Ago(u64),
    /// Unix time in milliseconds.
    At(u64),
}

impl Since {
    /// Unix time in milliseconds, where it is `now_ms`.
    pub(crate) fn at_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(ms) => now_ms.saturating_sub(ms),
            Self::At(ms) => ms,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = || {
            let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
            let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
            count.checked_mul(seconds)?.checked_mul(1000).map(Self::Ago)
        };
        let at = |time: DateTime<Utc>| u64::try_from(time.timestamp_millis()).ok().map(Self::At);
        let time = || at(DateTime::parse_from_rfc3339(text).ok()?.to_utc());
        let day = || {
            let midnight = text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN);
            at(Local.from_local_datetime(&midnight).earliest()?.to_utc())
        };
        ago().or_else(time).or_else(day).ok_or_else(|| {
            "is neither a span such as 30m, 12h or 7d nor a time such as 2026-11-28 or 2026-11-28T18:00:00Z".to_owned()
        })
    }
}

/// A time for people, in UTC to the second.
pub(crate) fn shown(at_ms: u64) -> String {
    let time = i64::try_from(at_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    time.unwrap_or_default().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_read() {
        let at = |text: &str| text.parse::<Since>().map(|since| since.at_ms(10_000_000_000));
        assert_eq!(at("90s"), Ok(10_000_000_000 - 90_000));
        assert_eq!(at("2w"), Ok(10_000_000_000 - 1_209_600_000));
        assert_eq!(at("900w"), Ok(0));
        assert_eq!(at("2026-11-28T18:00:00Z"), Ok(1_795_888_800_000));
        assert_eq!(at("2026-11-28T18:00:00+01:00"), Ok(1_795_885_200_000));
        assert!(at("2026-11-28").is_ok_and(|ms| ms % 60_000 == 0));
        for odd in ["", "7", "d", "-1d", "7 d", "99999999999999999999d", "yesterday", "2026-13-01"] {
            assert!(at(odd).is_err_and(|error| error.contains("30m")), "{odd}");
        }
        assert_eq!(shown(1_795_888_800_123), "2026-11-28T18:00:00Z");
    }
}
