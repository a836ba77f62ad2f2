//! The answers in memory. Reading and writing wait for nothing; the disk is behind a queue.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::disk::Disk;
use super::{ResponseError, ResponseKey, ResponseLimits, ResponseStats, StoredResponse};

/// The store.
pub struct Responses {
    limits: ResponseLimits,
    kept: Cache<ResponseKey, Kept>,
    removed: Arc<Removed>,
    disk: Option<Disk>,
}

#[derive(Default)]
struct Removed {
    evicted: AtomicU64,
    expired: AtomicU64,
}

#[derive(Clone)]
struct Kept {
    response: Arc<StoredResponse>,
    /// From when it was taken in; only for giving its memory back, as every reader looks at the age itself.
    time_left: Duration,
}

/// Each entry has its own time.
struct OwnTime;

impl Expiry<ResponseKey, Kept> for OwnTime {
    fn expire_after_create(&self, _: &ResponseKey, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.time_left)
    }

    fn expire_after_update(&self, _: &ResponseKey, kept: &Kept, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.time_left)
    }
}

impl Responses {
    /// An empty store in memory alone.
    #[must_use]
    pub fn new(limits: ResponseLimits) -> Self {
        let removed = Arc::new(Removed::default());
        let counted = Arc::clone(&removed);
        let kept = Cache::builder()
            .max_capacity(limits.bytes_max)
            .weigher(|_, kept: &Kept| u32::try_from(kept.response.weight()).unwrap_or(u32::MAX))
            // Admits every new answer; a policy that counts uses would refuse those that come for the first time once it is full.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(OwnTime)
            .eviction_listener(move |_, _, cause| {
                let counter = match cause {
                    RemovalCause::Size => &counted.evicted,
                    RemovalCause::Expired => &counted.expired,
                    RemovalCause::Explicit | RemovalCause::Replaced => return,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        Self { limits, kept, removed, disk: None }
    }

    /// A store that is on disk as well, in the file `path`, which is made where it is not there, and begins with what is in it. Blocks
    /// while it reads.
    ///
    /// # Errors
    /// [`ResponseError`] for a file that cannot be used.
    pub fn open(limits: ResponseLimits, path: &Path, now_ms: i64) -> Result<Self, ResponseError> {
        let mut store = Self::new(limits);
        store.disk = Some(Disk::open(path, limits, now_ms, |key, response| store.keep(key, response, now_ms))?);
        Ok(store)
    }

    /// What is kept under `key`, unless it is older than `age_max` at `now_ms`.
    #[must_use]
    pub fn get(&self, key: &ResponseKey, age_max: Duration, now_ms: i64) -> Option<Arc<StoredResponse>> {
        let kept = self.kept.get(key)?;
        let is_young = kept.response.age_ms(now_ms).is_some_and(|age_ms| u128::from(age_ms) <= age_max.as_millis());
        is_young.then_some(kept.response)
    }

    /// Keeps an answer in place of an earlier one; `false` for one that is too long.
    pub fn put(&self, key: ResponseKey, response: StoredResponse) -> bool {
        if response.weight() > self.limits.entry_bytes_max.min(self.limits.bytes_max) {
            return false;
        }
        let response = Arc::new(response);
        self.keep(key, Arc::clone(&response), response.stored_ms);
        if let Some(disk) = &self.disk {
            disk.write(key, response);
        }
        true
    }

    /// What is kept now and what happened since the start.
    #[must_use]
    pub fn stats(&self) -> ResponseStats {
        // What is counted and what is removed lags behind otherwise.
        self.kept.run_pending_tasks();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = ResponseStats {
            entries: self.kept.entry_count(),
            bytes: self.kept.weighted_size(),
            evicted: of(&self.removed.evicted),
            expired: of(&self.removed.expired),
            ..ResponseStats::default()
        };
        if let Some(disk) = &self.disk {
            (stats.written, stats.overflowed, stats.failed) = disk.counts();
        }
        stats
    }

    /// Waits until what was put before is written. Blocks.
    pub fn flush(&self) {
        if let Some(disk) = &self.disk {
            disk.flush();
        }
    }

    fn keep(&self, key: ResponseKey, response: Arc<StoredResponse>, now_ms: i64) {
        let left_ms = u64::try_from(response.expires_ms.saturating_sub(now_ms)).unwrap_or_default();
        self.kept.insert(key, Kept { response, time_left: Duration::from_millis(left_ms) });
        // Otherwise the limit would hold only some time later.
        self.kept.run_pending_tasks();
    }
}
