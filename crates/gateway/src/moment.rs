//! The moment of a decision: local time, and the network as `dispatch` finds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, Local, Timelike};
use dispatch::Network;
use policy::MomentFacts;

/// Minute of the day and day of the week in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LocalMinute {
    /// 0 to 1439.
    of_day: u64,
    /// 1 Monday to 7 Sunday.
    weekday: u64,
}

/// Tells the local time, asking the system's time zone once a minute. `TZ` and `/etc/localtime` are obeyed, changes to
/// daylight saving time too.
#[derive(Debug, Default)]
pub(crate) struct LocalClock {
    /// Minutes since 1970, weekday and minute of the day in 48, 5 and 11 bits; 0 before the first question.
    last: AtomicU64,
}

impl LocalClock {
    fn now(&self) -> Option<LocalMinute> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        self.at(since_epoch.as_secs() / 60, local_minute)
    }

    fn at(&self, minute: u64, convert: impl FnOnce(u64) -> Option<LocalMinute>) -> Option<LocalMinute> {
        let last = self.last.load(Ordering::Relaxed);
        if last >> 16 == minute && last != 0 {
            return Some(LocalMinute { of_day: last & 0x7ff, weekday: last >> 11 & 0x1f });
        }
        let local = convert(minute)?;
        self.last.store(minute << 16 | local.weekday << 11 | local.of_day, Ordering::Relaxed);
        Some(local)
    }
}

fn local_minute(minute: u64) -> Option<LocalMinute> {
    let utc = DateTime::from_timestamp(i64::try_from(minute).ok()?.checked_mul(60)?, 0)?;
    let local = utc.with_timezone(&Local);
    let of_day = u64::from(local.hour() * 60 + local.minute());
    Some(LocalMinute { of_day, weekday: local.weekday().number_from_monday().into() })
}

/// What is known of this moment. How full the battery is, is not known yet.
pub(crate) fn facts(clock: &LocalClock, network: &Network) -> MomentFacts {
    let local = clock.now();
    let small = |value: u64| u32::try_from(value).ok();
    MomentFacts {
        minute_of_day: local.and_then(|local| small(local.of_day)),
        weekday: local.and_then(|local| small(local.weekday)),
        connectivity: network.connectivity(),
        metered: network.metered(),
        battery_percent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_converted_once() {
        let clock = LocalClock::default();
        let minute = 29_000_000;
        let local = LocalMinute { of_day: 1439, weekday: 7 };
        assert_eq!(clock.at(minute, |_| Some(local)), Some(local));
        assert_eq!(clock.at(minute, |_| None), Some(local));
        assert_eq!(clock.at(minute + 1, |_| None), None);
        let next = LocalMinute { of_day: 0, weekday: 1 };
        assert_eq!(clock.at(minute + 1, |_| Some(next)), Some(next));
    }

    #[test]
    fn the_local_minute_is_that_of_the_system() {
        let minute = 29_000_000;
        let local = local_minute(minute).unwrap();
        let offset =
            DateTime::from_timestamp(minute as i64 * 60, 0).unwrap().with_timezone(&Local).offset().local_minus_utc();
        // 1970-01-01 was a Thursday.
        let since_epoch = minute as i64 + i64::from(offset) / 60;
        assert_eq!(local.of_day as i64, since_epoch.rem_euclid(1440));
        assert_eq!(local.weekday as i64, (since_epoch.div_euclid(1440) + 3) % 7 + 1);
    }
}
