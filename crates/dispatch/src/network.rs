//! Whether there is a network: feeds `policy`'s state machine with what happens to requests and with probes, and tells what it
//! says.
//!
//! Sends no prompt. What is probed and how is in `probe`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policy::{Connectivity, ConnectivityLimits, Evidence, NetworkMachine, Outcome, ReachSignal};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::probe::{ProbeConfig, ProbeError, Prober};

/// The network of this machine, shared by all targets.
pub struct Network {
    begun: Instant,
    machine: Mutex<NetworkMachine>,
    /// Where cloud targets are: scheme, host and port. Evidence is numbered by place.
    origins: Vec<String>,
    prober: Option<Prober>,
    metered: Mutex<Option<bool>>,
    /// How often the network came back.
    returns: AtomicU64,
    rounds: AtomicU64,
    rounds_failed: AtomicU64,
    /// A plan for the next round is to be made anew.
    replan: Notify,
    changes: watch::Sender<u64>,
}

/// The network at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    /// How it stands; `None` where no target is in the cloud.
    pub connectivity: Option<Connectivity>,
    /// Whether an operator said that there is none (true) or that there is one (false).
    pub forced_offline: Option<bool>,
    /// Whether it is paid by volume, where that was said.
    pub metered: Option<bool>,
    /// Whether it is looked for beside what happens to requests.
    pub is_probed: bool,
    /// Rounds of probes so far.
    pub rounds_total: u64,
    /// Those that reached nothing.
    pub rounds_failed_total: u64,
}

impl Network {
    /// The network as far as targets at `origins` are concerned. Without any, and with none that may be used, nothing is probed
    /// and its state is not known.
    ///
    /// # Errors
    /// [`ProbeError`] where probes are wanted and cannot be made.
    pub fn new(
        origins: Vec<String>,
        limits: ConnectivityLimits,
        probe: ProbeConfig,
        metered: Option<bool>,
    ) -> Result<Self, ProbeError> {
        let probing = limits.probing && !origins.is_empty();
        let prober = probing.then(|| Prober::new(&origins, probe)).transpose()?;
        let mut machine = NetworkMachine::new(ConnectivityLimits { probing, ..limits }, origins.len(), Duration::ZERO);
        machine.set_metered(metered == Some(true));
        Ok(Self {
            begun: Instant::now(),
            machine: Mutex::new(machine),
            origins,
            prober,
            metered: Mutex::new(metered),
            returns: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            rounds_failed: AtomicU64::new(0),
            replan: Notify::new(),
            changes: watch::Sender::new(0),
        })
    }

    /// The place of an origin among those that evidence is told of.
    #[must_use]
    pub fn place(&self, origin: &str) -> Option<usize> {
        self.origins.iter().position(|known| known == origin)
    }

    /// How it stands; `None` where no target is in the cloud.
    #[must_use]
    pub fn connectivity(&self) -> Option<Connectivity> {
        let forced_or_found = || self.lock().state(self.begun.elapsed());
        (!self.origins.is_empty()).then(forced_or_found)
    }

    /// Whether targets in the cloud cannot be reached.
    pub(crate) fn is_away(&self) -> bool {
        self.connectivity().is_some_and(Connectivity::is_away)
    }

    /// Whether it is paid by volume, where that was said.
    #[must_use]
    pub fn metered(&self) -> Option<bool> {
        *self.metered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is told of it.
    #[must_use]
    pub fn status(&self) -> NetworkStatus {
        NetworkStatus {
            connectivity: self.connectivity(),
            forced_offline: self.lock().forced(),
            metered: self.metered(),
            is_probed: self.prober.is_some(),
            rounds_total: self.rounds.load(Ordering::Relaxed),
            rounds_failed_total: self.rounds_failed.load(Ordering::Relaxed),
        }
    }

    /// An operator's word: whether it is paid by volume (`None`: not known).
    pub fn set_metered(&self, metered: Option<bool>) {
        *self.metered.lock().unwrap_or_else(PoisonError::into_inner) = metered;
        self.change(|machine, _| machine.set_metered(metered == Some(true)));
    }

    /// An operator's word: that there is none (true), that there is one (false), or that it is as it is found to be.
    pub fn force_offline(&self, offline: Option<bool>) {
        self.change(|machine, now| machine.force(offline, now));
    }

    /// Counts up whenever a target may answer that could not a moment ago, or the other way round: the network or a breaker
    /// changed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How a try on the cloud target at this place went.
    pub(crate) fn tried(&self, place: usize, outcome: Outcome) {
        let evidence = match outcome.reach() {
            ReachSignal::Reached => Evidence::Reached(place),
            ReachSignal::Failed => Evidence::Failed(place),
            ReachSignal::Suspect => Evidence::Suspect,
            ReachSignal::Nothing => return,
        };
        self.notice(evidence);
    }

    pub(crate) fn notice(&self, evidence: Evidence) {
        self.change(|machine, now| machine.notice(evidence, now));
    }

    /// How often the network came back so far.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::Acquire)
    }

    /// Tells that something changed for a target.
    pub(crate) fn announce(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Looks for the network whenever that is due. Never ends; runs beside the listeners.
    pub async fn watch(self: Arc<Self>) {
        let Some(prober) = &self.prober else { return };
        loop {
            let replan = self.replan.notified();
            let due = self.lock().next_round();
            let until_due = async {
                match due {
                    Some(due) => sleep_until(self.begun + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = until_due => {}
                () = replan => continue,
            }
            // A request that was answered meanwhile puts it off.
            if !self.begin_round() {
                continue;
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
            let evidence = prober.round(|evidence| self.notice(evidence)).await;
            if evidence == Evidence::RoundFailed {
                self.rounds_failed.fetch_add(1, Ordering::Relaxed);
            }
            self.notice(evidence);
        }
    }

    fn begin_round(&self) -> bool {
        let mut machine = self.lock();
        let is_due = machine.next_round().is_some_and(|due| due <= self.begun.elapsed());
        if is_due {
            machine.begin_round();
        }
        is_due
    }

    /// Changes the machine, logs what came of it, and tells whom it concerns.
    fn change(&self, change: impl FnOnce(&mut NetworkMachine, Duration)) {
        let now = self.begun.elapsed();
        let (before, after, is_replanned) = {
            let mut machine = self.lock();
            let (before, round) = (machine.state(now), machine.next_round());
            change(&mut machine, now);
            let is_sooner = machine.next_round().is_some_and(|next| round.is_none_or(|round| next < round));
            (before, machine.state(now), is_sooner)
        };
        if is_replanned {
            self.replan.notify_one();
        }
        if before == after || self.origins.is_empty() {
            return;
        }
        let (from, to) = (before.as_str(), after.as_str());
        if before.is_away() && !after.is_away() {
            self.returns.fetch_add(1, Ordering::Release);
        }
        match after.is_away() {
            true => tracing::warn!(from, to, "the network is gone: targets in the cloud are left out"),
            false => tracing::info!(from, to, "the network changed"),
        }
        self.announce();
    }

    #[cfg(test)]
    pub(crate) fn is_round_due(&self) -> bool {
        self.lock().next_round().is_some_and(|due| due <= self.begun.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, NetworkMachine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
