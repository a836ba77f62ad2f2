//! Whether there is a network: a state machine over what happens to requests and to probes.
//!
//! Pure: time is an argument, counted from an origin of the caller's choosing. It says when a round of probes is due and hears
//! what came of it; who connects to what is `dispatch`.

use std::time::Duration;

use crate::Connectivity;

#[cfg(test)]
mod tests;

/// How long an address counts as out of reach after it was last found so, unless it is reached before.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// How long nothing was reached before a silent connection is reason enough to look for the network.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// Without probes: how long cloud targets are left alone before one request may find out whether the network is back.
const HOLD_WITHOUT_PROBES: Duration = Duration::from_secs(5);

/// When the network counts as gone, and how often it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectivityLimits {
    /// Failures in a row, nothing reached between them, before it is offline; at least 1.
    pub failures: u32,
    /// Whether there are probes.
    pub probing: bool,
    /// Time to the next round of probes after one that reached nothing; doubled with each.
    pub retry_first: Duration,
    /// The longest such time: how soon a network that returns is noticed.
    pub retry_max: Duration,
    /// How long nothing may have been heard of a network that is there before it is looked for; doubled with each round.
    pub idle_first: Duration,
    /// The longest such time.
    pub idle_max: Duration,
}

impl Default for ConnectivityLimits {
    /// 2 failures; 500 ms up to 3 s while the network is gone, 30 s up to 10 min while nothing is asked.
    fn default() -> Self {
        Self {
            failures: 2,
            probing: true,
            retry_first: Duration::from_millis(500),
            retry_max: Duration::from_secs(3),
            idle_first: Duration::from_secs(30),
            idle_max: Duration::from_secs(600),
        }
    }
}

/// One thing that was noticed of the network. Addresses are numbered from 0; those beyond the ones that a [`NetworkMachine`] was made
/// for count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Somebody answered at this address, to a request or a probe.
    Reached(usize),
    /// No connection to this address came about.
    Failed(usize),
    /// A connection broke or fell silent.
    Suspect,
    /// A connection on which something is awaited has been silent for a while.
    Silent,
    /// Something between this machine and the network answers in its place.
    Captive,
    /// A round of probes is over and reached nothing.
    RoundFailed,
    /// A round of probes is over; it reached something, or found a captive portal.
    RoundEnded,
}

/// The network of this machine, as far as cloud targets are concerned.
///
/// | state | evidence | next state |
/// |---|---|---|
/// | online | an address fails, or a round of probes reaches nothing | degraded, and a round of probes is due |
/// | degraded | a round reaches nothing, the `failures`-th failure in a row | offline |
/// | degraded | without probes: the `failures`-th failure in a row, at all addresses or at least two | offline |
/// | degraded | an address is reached, another failed within a minute | degraded |
/// | degraded | an address is reached, no other is known to fail | online |
/// | degraded | a minute passes without a failure | online |
/// | offline, captive | anything is reached | online |
/// | offline | without probes: a while passes | degraded, until the next failure |
/// | any | the probe for captive portals is answered by somebody else | captive |
/// | captive | a round reaches nothing, the `failures`-th in a row | offline |
/// | any | a connection breaks or falls silent | the same, and a round of probes is due |
/// | any | a connection is silent, and for a while nothing was reached elsewhere | the same, and a round of probes is due |
///
/// An operator's word ([`Self::force`]) stands above all of it.
#[derive(Debug)]
pub struct NetworkMachine {
    limits: ConnectivityLimits,
    state: Connectivity,
    /// Since when.
    since: Duration,
    /// When each address was last found out of reach, if it was not reached since. The last one stands for all others.
    failed_at: Vec<Option<Duration>>,
    /// Failures since anything was reached; a round is one.
    failures: u32,
    last_reached: Option<Duration>,
    rounds: Rounds,
    forced: Option<bool>,
    is_metered: bool,
}

/// When the network is looked for.
#[derive(Debug)]
struct Rounds {
    due: Duration,
    wait: Duration,
    last_ended: Option<Duration>,
    is_running: bool,
}

impl NetworkMachine {
    /// A network with this many addresses to tell apart, taken to be there. The first round of probes is due at once, so that a
    /// machine that starts without a network knows.
    #[must_use]
    pub fn new(limits: ConnectivityLimits, addresses: usize, now: Duration) -> Self {
        Self {
            limits,
            state: Connectivity::Online,
            since: now,
            failed_at: vec![None; addresses + 1],
            failures: 0,
            last_reached: None,
            rounds: Rounds { due: now, wait: limits.idle_first, last_ended: None, is_running: false },
            forced: None,
            is_metered: false,
        }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self, now: Duration) -> Connectivity {
        match (self.forced, self.state) {
            (Some(true), _) => Connectivity::Offline,
            (Some(false), _) => Connectivity::Online,
            (None, Connectivity::Degraded) if !self.any_failing(now) => Connectivity::Online,
            (None, Connectivity::Offline) if !self.limits.probing && now >= self.since + HOLD_WITHOUT_PROBES => {
                Connectivity::Degraded
            }
            (None, state) => state,
        }
    }

    /// What an operator says: there is none (true), there is one (false), or it is as it is found to be.
    pub fn force(&mut self, offline: Option<bool>, now: Duration) {
        if offline.is_none() && self.forced.is_some() {
            self.rounds.due = now;
        }
        self.forced = offline;
    }

    /// What an operator said.
    #[must_use]
    pub fn forced(&self) -> Option<bool> {
        self.forced
    }

    /// Whether the network is paid by volume: it is then not looked for only because nothing was heard of it for a while.
    pub fn set_metered(&mut self, is_metered: bool) {
        self.is_metered = is_metered;
    }

    /// When the next round of probes is due; `None` where there are none, while one runs, and while an operator's word stands.
    #[must_use]
    pub fn next_round(&self) -> Option<Duration> {
        let only_idles = self.failures == 0 && self.last_reached.is_some() && !self.is_away();
        let is_off = !self.limits.probing || self.rounds.is_running || self.forced.is_some();
        let is_spared = self.is_metered && only_idles;
        (!is_off && !is_spared).then_some(self.rounds.due)
    }

    /// A round of probes begins; it ends with [`Evidence::RoundFailed`] or [`Evidence::RoundEnded`].
    pub fn begin_round(&mut self) {
        self.rounds.is_running = true;
    }

    /// Takes in what was noticed.
    pub fn notice(&mut self, evidence: Evidence, now: Duration) {
        match evidence {
            Evidence::Reached(address) => self.reached(address, now),
            Evidence::Failed(address) => self.failed(address, now),
            Evidence::Suspect => self.ask_for_round(now),
            Evidence::Silent if self.last_reached.is_none_or(|at| now >= at + SILENT_FOR) => self.ask_for_round(now),
            Evidence::Silent => {}
            Evidence::Captive => self.enter(Connectivity::Captive, now),
            Evidence::RoundFailed => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.limits.failures {
                    self.enter(Connectivity::Offline, now);
                } else if self.state == Connectivity::Online {
                    self.enter(Connectivity::Degraded, now);
                }
                self.end_round(now);
            }
            Evidence::RoundEnded => self.end_round(now),
        }
    }

    fn reached(&mut self, address: usize, now: Duration) {
        (self.last_reached, self.failures) = (Some(now), 0);
        if self.is_away() {
            self.failed_at.fill(None);
        }
        *self.failure_of(address) = None;
        self.enter(if self.any_failing(now) { Connectivity::Degraded } else { Connectivity::Online }, now);
        if !self.rounds.is_running {
            // While there are requests, they tell enough.
            self.rounds.wait = self.limits.idle_first;
            self.rounds.due = now + self.limits.idle_first;
        }
    }

    fn failed(&mut self, address: usize, now: Duration) {
        *self.failure_of(address) = Some(now);
        if self.state == Connectivity::Online {
            self.enter(Connectivity::Degraded, now);
        }
        if self.rounds.is_running {
            // What the round brings is counted once, when it ends.
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if !self.limits.probing && self.failures >= self.limits.failures && self.several_failed() {
            self.enter(Connectivity::Offline, now);
        }
        self.ask_for_round(now);
    }

    fn failure_of(&mut self, address: usize) -> &mut Option<Duration> {
        let last = self.failed_at.len() - 1;
        &mut self.failed_at[address.min(last)]
    }

    /// Whether all addresses, or at least two, failed since anything was reached.
    fn several_failed(&self) -> bool {
        let since = self.last_reached.unwrap_or_default();
        let failed = self.failed_at.iter().flatten().filter(|at| **at >= since).count();
        failed >= (self.failed_at.len() - 1).clamp(1, 2)
    }

    fn any_failing(&self, now: Duration) -> bool {
        self.failed_at.iter().flatten().any(|at| now < *at + FRESH_FOR)
    }

    fn is_away(&self) -> bool {
        matches!(self.state, Connectivity::Offline | Connectivity::Captive)
    }

    /// Enters a state; the one that it is in begins anew, so that its time is counted from now.
    fn enter(&mut self, state: Connectivity, now: Duration) {
        if state != self.state {
            let is_there = state == Connectivity::Online;
            self.rounds.wait = if is_there { self.limits.idle_first } else { self.limits.retry_first };
        }
        (self.state, self.since) = (state, now);
    }

    /// Plans the next round: soon while the network is away, rarely while it is there.
    fn end_round(&mut self, now: Duration) {
        let limits = self.limits;
        let (first, most) = match self.failures > 0 || self.is_away() {
            true => (limits.retry_first, limits.retry_max),
            false => (limits.idle_first, limits.idle_max),
        };
        let wait = self.rounds.wait.max(first).min(most);
        let doubled = wait.saturating_mul(2).min(most);
        self.rounds = Rounds { due: now + wait, wait: doubled, last_ended: Some(now), is_running: false };
    }

    /// A round is due at once, but not right after another.
    fn ask_for_round(&mut self, now: Duration) {
        let earliest = self.rounds.last_ended.map_or(now, |ended| (ended + self.limits.retry_first).max(now));
        self.rounds.due = self.rounds.due.min(earliest);
    }
}
