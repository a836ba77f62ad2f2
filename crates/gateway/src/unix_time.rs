//! The wall clock as records and stores have it: Unix time. What lasts how long is measured by `Instant` instead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix time in seconds; 0 on a clock before 1970.
pub(crate) fn now_s() -> u64 {
    since_epoch().as_secs()
}

/// Unix time in milliseconds; 0 on a clock before 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// The same for SQLite, whose integers are signed.
pub(crate) fn signed_now_ms() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
