//! The circuit breaker of one target: a target that fails is left alone for a while, and tried by one request at a time until
//! it answers again.
//!
//! Pure: time is an argument, counted from an origin of the caller's choosing. What an outcome says of a target is in
//! `health`; who asks before a try and reports afterwards is the dispatcher.

use std::collections::VecDeque;
use std::time::Duration;

use crate::HealthSignal;

#[cfg(test)]
mod tests;

/// Slices of the window over which the failure rate is taken.
const SLICES: u32 = 10;
/// How long a target stays closed until its next opening is as short as its first again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// How long a target that refuses the gateway's key is left alone: somebody has to mend the configuration.
pub const MISCONFIGURED_FOR: Duration = Duration::from_secs(30);

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerLimits {
    /// Failures in a row that open it.
    pub consecutive_failures: u32,
    /// Share of failures in the window, above 0 to 1, that opens it.
    pub failure_rate: f64,
    /// Outcomes in the window below which the share says nothing.
    pub samples_min: u32,
    /// The window of the share.
    pub window: Duration,
    /// How long it stays open the first time; doubled with each failed probe.
    pub open_first: Duration,
    /// The longest that it stays open, and how long a probe is waited for before another is let through.
    pub open_max: Duration,
}

impl Default for BreakerLimits {
    /// 5 in a row, or half of at least 20 within 30 s; open for 500 ms, doubled up to 4 s.
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: 0.5,
            samples_min: 20,
            window: Duration::from_secs(30),
            open_first: Duration::from_millis(500),
            open_max: Duration::from_secs(4),
        }
    }
}

/// Why a breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerCause {
    /// It failed too often.
    Failing,
    /// It refuses the gateway's key (401, 403).
    Misconfigured,
}

impl BreakerCause {
    /// Both causes.
    pub const ALL: [Self; 2] = [Self::Failing, Self::Misconfigured];

    /// The word used in metrics and in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// A breaker as others see it at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// None passes before `probe_in` is over.
    Open {
        /// Why.
        cause: BreakerCause,
        /// Time until a request may try it.
        probe_in: Duration,
    },
    /// One request at a time may try it.
    HalfOpen {
        /// Why it was opened.
        cause: BreakerCause,
        /// Time until a request may try it: zero, unless one is trying it now.
        probe_in: Duration,
    },
}

impl BreakerState {
    /// The words of [`Self::as_str`]: a closed list, for metrics.
    pub const WORDS: [&'static str; 3] = ["closed", "open", "half_open"];

    /// The word used in metrics and in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => Self::WORDS[0],
            Self::Open { .. } => Self::WORDS[1],
            Self::HalfOpen { .. } => Self::WORDS[2],
        }
    }
}

/// Whether a try may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may; the outcome is reported with the ticket.
    Granted(Ticket),
    /// Not before this time is over.
    Refused {
        /// Time until a request may try it.
        probe_in: Duration,
    },
}

/// One try that a breaker let through. Handed back with its outcome, or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    began: Duration,
    probe: Option<u64>,
}

impl Ticket {
    /// Whether the try is the single one by which an open breaker finds out whether the target is back.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// It opened, or stays open after a failed probe.
    Opened {
        /// Why.
        cause: BreakerCause,
        /// For how long.
        open_for: Duration,
        /// Whether it was closed before.
        was_closed: bool,
    },
    /// It closed.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    HalfOpen { probe: u64, began: Duration },
}

/// The breaker of one target.
///
/// | state | event | next state |
/// |---|---|---|
/// | closed | success | closed, no failures in a row |
/// | closed | failure, the last of too many in a row or too many of the window | open |
/// | closed | the key is refused, and nothing succeeded within the window | open (misconfigured) |
/// | closed | the key is refused, but others succeed | as a failure |
/// | open | a request asks before the time is over | open, refused |
/// | open | a request asks after it | half-open, granted as the probe |
/// | half-open | a request asks while the probe runs | half-open, refused; granted as another probe once the first is silent for `open_max` |
/// | half-open | the probe fails or its key is refused | open, for twice as long up to `open_max` |
/// | half-open | the probe says nothing (the caller left, 429, the caller's own 4xx) | open, the next request may try |
/// | open, half-open | a try that began after the opening succeeds | closed |
/// | any | an outcome of a try from before the last change | unchanged: it tells of a time that is over |
#[derive(Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    state: State,
    cause: BreakerCause,
    /// When the present state of being closed, or of not being closed, began.
    since: Duration,
    /// Openings in a row, for the doubling; kept for a while after a closing.
    openings: u32,
    consecutive: u32,
    window: Window,
    probes: u64,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(limits: BreakerLimits) -> Self {
        Self {
            limits,
            state: State::Closed,
            cause: BreakerCause::Failing,
            since: Duration::ZERO,
            openings: 0,
            consecutive: 0,
            window: Window::new(limits.window),
            probes: 0,
        }
    }

    /// How it stands. Changes nothing.
    #[must_use]
    pub fn state(&self, now: Duration) -> BreakerState {
        let cause = self.cause;
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open { cause, probe_in: until - now },
            State::Open { .. } => BreakerState::HalfOpen { cause, probe_in: Duration::ZERO },
            State::HalfOpen { began, .. } => {
                BreakerState::HalfOpen { cause, probe_in: (began + self.limits.open_max).saturating_sub(now) }
            }
        }
    }

    /// Asks for a try that begins now.
    pub fn admit(&mut self, now: Duration) -> Admission {
        match self.state(now) {
            BreakerState::Closed => Admission::Granted(Ticket { began: now, probe: None }),
            BreakerState::Open { probe_in, .. } | BreakerState::HalfOpen { probe_in, .. } if !probe_in.is_zero() => {
                Admission::Refused { probe_in }
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => {
                self.probes += 1;
                self.state = State::HalfOpen { probe: self.probes, began: now };
                Admission::Granted(Ticket { began: now, probe: Some(self.probes) })
            }
        }
    }

    /// Hears how a try ended, or that it was given up ([`HealthSignal::Nothing`]). A change is told.
    pub fn report(&mut self, ticket: Ticket, signal: HealthSignal, now: Duration) -> Option<BreakerChange> {
        let is_of_the_past = ticket.began < self.since;
        match (self.state, signal) {
            (State::Closed, HealthSignal::Success) => {
                self.window.add(now, true);
                self.consecutive = 0;
                None
            }
            (State::Closed, HealthSignal::Failure | HealthSignal::KeyRefused) if !is_of_the_past => {
                self.fail_closed(signal, now)
            }
            (State::Open { .. } | State::HalfOpen { .. }, HealthSignal::Success) if !is_of_the_past => {
                self.close(now);
                Some(BreakerChange::Closed)
            }
            (State::HalfOpen { probe, .. }, _) if ticket.probe == Some(probe) => match signal {
                HealthSignal::Failure => Some(self.open(BreakerCause::Failing, now)),
                HealthSignal::KeyRefused => Some(self.open(BreakerCause::Misconfigured, now)),
                HealthSignal::Success | HealthSignal::Nothing => {
                    self.state = State::Open { until: now };
                    None
                }
            },
            _ => None,
        }
    }

    /// Lets the next request try at once, also beside a probe that runs: what kept the target from being reached is over, and
    /// with it, most likely, the probe.
    pub fn expedite(&mut self, now: Duration) {
        let until = match self.state {
            State::Open { until } if self.cause == BreakerCause::Failing => until.min(now),
            State::HalfOpen { .. } => now,
            State::Open { .. } | State::Closed => return,
        };
        self.state = State::Open { until };
    }

    fn fail_closed(&mut self, signal: HealthSignal, now: Duration) -> Option<BreakerChange> {
        let limits = self.limits;
        self.window.add(now, false);
        self.consecutive = self.consecutive.saturating_add(1);
        let (succeeded, failed) = self.window.counts(now);
        let total = succeeded.saturating_add(failed);
        let too_many = self.consecutive >= limits.consecutive_failures
            || (total >= limits.samples_min && f64::from(failed) >= limits.failure_rate * f64::from(total));
        match signal {
            HealthSignal::KeyRefused if succeeded == 0 || too_many => Some(self.open(BreakerCause::Misconfigured, now)),
            _ if too_many => Some(self.open(BreakerCause::Failing, now)),
            _ => None,
        }
    }

    fn open(&mut self, cause: BreakerCause, now: Duration) -> BreakerChange {
        let was_closed = self.state == State::Closed;
        if was_closed {
            let is_forgiven = now.saturating_sub(self.since) >= FORGIVEN_AFTER;
            self.openings = if is_forgiven { 0 } else { self.openings };
            self.since = now;
        }
        let open_for = match cause {
            BreakerCause::Failing => {
                let doubled = 2_u32.checked_pow(self.openings).and_then(|n| self.limits.open_first.checked_mul(n));
                doubled.map_or(self.limits.open_max, |doubled| doubled.min(self.limits.open_max))
            }
            BreakerCause::Misconfigured => MISCONFIGURED_FOR,
        };
        self.openings = self.openings.saturating_add(1);
        self.cause = cause;
        self.state = State::Open { until: now + open_for };
        BreakerChange::Opened { cause, open_for, was_closed }
    }

    fn close(&mut self, now: Duration) {
        self.state = State::Closed;
        self.since = now;
        self.consecutive = 0;
        self.window = Window::new(self.limits.window);
        self.window.add(now, true);
    }
}

/// Successes and failures of late, in slices of time that are dropped as they grow old.
#[derive(Debug)]
struct Window {
    slice: Duration,
    /// Number of the slice, successes, failures; oldest first, at most [`SLICES`].
    slices: VecDeque<(u128, u32, u32)>,
}

impl Window {
    fn new(window: Duration) -> Self {
        Self { slice: (window / SLICES).max(Duration::from_millis(1)), slices: VecDeque::new() }
    }

    fn add(&mut self, now: Duration, succeeded: bool) {
        let number = self.number(now);
        self.drop_old(number);
        if self.slices.back().is_none_or(|(last, ..)| *last < number) {
            self.slices.push_back((number, 0, 0));
        }
        if let Some((_, successes, failures)) = self.slices.back_mut() {
            let count = if succeeded { successes } else { failures };
            *count = count.saturating_add(1);
        }
    }

    fn counts(&self, now: Duration) -> (u32, u32) {
        let oldest = self.number(now).saturating_sub(u128::from(SLICES) - 1);
        let young = self.slices.iter().filter(|(number, ..)| *number >= oldest);
        young.fold((0, 0), |(a, b), (_, successes, failures)| {
            (a.saturating_add(*successes), b.saturating_add(*failures))
        })
    }

    fn number(&self, now: Duration) -> u128 {
        now.as_nanos() / self.slice.as_nanos()
    }

    fn drop_old(&mut self, number: u128) {
        while self.slices.front().is_some_and(|(first, ..)| first + u128::from(SLICES) <= number) {
            self.slices.pop_front();
        }
    }
}
