//! Connections to one target that wait for the next request, each for one on the runtime that it was made on: only that
//! one's driver watches it, and would wake any other thread for each event.
//!
//! A connection comes back only when its exchange has left nothing behind, and is looked at once more before it is used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, sleep};

use super::link::Link;

/// Idle connections kept to one target for each runtime.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long a connection may stay idle.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(90);
/// How often idle connections are looked at, so that those which the target has closed do not linger.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The idle connections to one target.
#[derive(Default)]
pub(super) struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    /// Of each runtime, the longest idle first.
    links: HashMap<Id, Vec<(Link, Instant)>>,
    is_swept: bool,
}

impl Pool {
    /// The connection of this runtime that was used last, if it is still good.
    pub(super) fn take(&self) -> Option<Link> {
        let mut idle = self.lock();
        let links = idle.links.get_mut(&Handle::current().id())?;
        while let Some((mut link, since)) = links.pop() {
            if since.elapsed() < IDLE_MAX && link.is_quiet() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection for the next request, or closes it when there are enough.
    pub(super) fn put(self: &Arc<Self>, link: Link) {
        let mut idle = self.lock();
        let links = idle.links.entry(link.runtime).or_default();
        if links.len() >= IDLE_CONNECTIONS_MAX {
            return;
        }
        links.push((link, Instant::now()));
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes all of them: what closed one at the other end has most likely closed the others.
    pub(super) fn clear(&self) {
        self.lock().links.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().links.values().map(Vec::len).sum()
    }

    /// Whether all that wait are still good.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.lock().links.values_mut().flatten().all(|(link, _)| link.is_quiet())
    }
}

/// Closes what was idle for too long or was closed by the target, until nothing is left or the pool is gone.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.lock();
        idle.links.retain(|_, links| {
            links.retain_mut(|(link, since)| since.elapsed() < IDLE_MAX && link.is_quiet());
            !links.is_empty()
        });
        if idle.links.is_empty() {
            idle.is_swept = false;
            return;
        }
    }
}
