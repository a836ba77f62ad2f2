//! The transition table, row by row, and how the breaker behaves over time.

use proptest::prelude::*;

use super::*;

const LIMITS: BreakerLimits = BreakerLimits {
    consecutive_failures: 3,
    failure_rate: 0.5,
    samples_min: 10,
    window: Duration::from_secs(10),
    open_first: Duration::from_secs(1),
    open_max: Duration::from_secs(4),
};

/// A breaker and a clock that only the test moves.
struct Bench {
    breaker: Breaker,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        Self { breaker: Breaker::new(LIMITS), now: Duration::from_secs(1000) }
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn ask(&mut self) -> Option<Ticket> {
        match self.breaker.admit(self.now) {
            Admission::Granted(ticket) => Some(ticket),
            Admission::Refused { .. } => None,
        }
    }

    fn report(&mut self, ticket: Ticket, signal: HealthSignal) -> Option<BreakerChange> {
        self.breaker.report(ticket, signal, self.now)
    }

    /// A try that ends at once.
    fn try_once(&mut self, signal: HealthSignal) -> Option<BreakerChange> {
        let ticket = self.ask().expect("the breaker lets it through");
        self.report(ticket, signal)
    }

    fn fail_thrice(&mut self) {
        for _ in 0..3 {
            self.try_once(Failure);
        }
    }

    fn word(&self) -> &'static str {
        self.breaker.state(self.now).as_str()
    }

    fn opened() -> Self {
        let mut bench = Self::new();
        bench.fail_thrice();
        assert_eq!(bench.word(), "open");
        bench
    }

    fn open_for_ms(&self) -> u128 {
        match self.breaker.state(self.now) {
            BreakerState::Open { probe_in, .. } => probe_in.as_millis(),
            other => panic!("{other:?}"),
        }
    }
}

use HealthSignal::{Failure, KeyRefused, Nothing, Success};

#[test]
fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let mut bench = Bench::new();
    for signal in [Failure, Failure, Success, Failure, Failure, Nothing] {
        assert_eq!(bench.try_once(signal), None);
    }
    let opened =
        BreakerChange::Opened { cause: BreakerCause::Failing, open_for: Duration::from_secs(1), was_closed: true };
    assert_eq!(bench.try_once(Failure), Some(opened));
    assert_eq!(bench.breaker.admit(bench.now), Admission::Refused { probe_in: Duration::from_secs(1) });
}

#[test]
fn what_says_nothing_of_the_target_never_opens_it() {
    let mut bench = Bench::new();
    (0..1000).for_each(|_| assert_eq!(bench.after(1).try_once(Nothing), None));
    assert_eq!(bench.word(), "closed");
}

#[test]
fn half_of_enough_outcomes_open_it_and_old_ones_are_forgotten() {
    let mut bench = Bench::new();
    // Never three in a row: two failures, two successes.
    let pattern = [Failure, Failure, Success, Success];
    let changes: Vec<_> = pattern.iter().cycle().take(9).map(|signal| bench.try_once(*signal)).collect();
    assert!(changes.iter().all(Option::is_none), "nine are too few to say");
    assert!(bench.try_once(Failure).is_some(), "six of ten");

    let mut bench = Bench::new();
    for signal in pattern.iter().cycle().take(8) {
        bench.try_once(*signal);
    }
    bench.after(10_000);
    assert_eq!((bench.try_once(Failure), bench.try_once(Failure)), (None, None), "the window has moved on");
    assert_eq!(bench.word(), "closed");
}

#[test]
fn one_probe_at_a_time_and_a_success_closes_at_once() {
    let mut bench = Bench::opened();
    assert!(bench.after(999).ask().is_none());
    let probe = bench.after(1).ask().expect("the time is over");
    assert!(probe.is_probe());
    assert_eq!(bench.word(), "half_open");
    assert!(bench.ask().is_none() && bench.after(3000).ask().is_none(), "one runs already");
    assert_eq!(bench.report(probe, Success), Some(BreakerChange::Closed));
    assert!(!bench.ask().expect("closed").is_probe());
    // Not one failure short of opening again.
    assert_eq!((bench.try_once(Failure), bench.try_once(Failure)), (None, None));
}

#[test]
fn the_open_time_doubles_up_to_its_limit_and_is_forgotten_after_a_quiet_minute() {
    let mut bench = Bench::opened();
    for expected in [1000, 2000, 4000, 4000, 4000] {
        assert_eq!(bench.open_for_ms(), expected);
        bench.after(u64::try_from(expected).unwrap());
        bench.try_once(Failure);
    }
    bench.after(4000).try_once(Success);
    bench.fail_thrice();
    assert_eq!(bench.open_for_ms(), 4000, "it had hardly closed");
    bench.after(4000).try_once(Success);
    bench.after(60_000);
    bench.fail_thrice();
    assert_eq!(bench.open_for_ms(), 1000);
}

#[test]
fn a_probe_that_says_nothing_makes_room_for_the_next() {
    let mut bench = Bench::opened();
    let probe = bench.after(1000).ask().unwrap();
    assert_eq!(bench.report(probe, Nothing), None);
    let next = bench.ask().expect("the next request may try");
    assert_eq!(bench.report(next, Success), Some(BreakerChange::Closed));
}

#[test]
fn a_silent_probe_is_not_waited_for_for_ever() {
    let mut bench = Bench::opened();
    let silent = bench.after(1000).ask().unwrap();
    assert!(bench.after(3999).ask().is_none());
    let second = bench.after(1).ask().expect("the first has been silent for open_max");
    // What became of the first does not count any more, unless it answered.
    assert_eq!(bench.report(silent, Failure), None);
    assert_eq!(bench.word(), "half_open");
    assert_eq!(bench.report(second, Success), Some(BreakerChange::Closed));

    let mut bench = Bench::opened();
    let slow = bench.after(1000).ask().unwrap();
    bench.after(4000).try_once(Failure);
    assert_eq!(bench.word(), "open");
    assert_eq!(bench.report(slow, Success), Some(BreakerChange::Closed), "it answers after all");
}

#[test]
fn outcomes_of_a_time_that_is_over_change_nothing() {
    let mut bench = Bench::new();
    let old: Vec<_> = (0..8).map(|_| bench.ask().unwrap()).collect();
    bench.after(1);
    bench.fail_thrice();
    assert_eq!(bench.report(old[0], Success), None, "it began before the target failed");
    assert_eq!(bench.report(old[1], Failure), None);
    assert_eq!(bench.open_for_ms(), 1000);
    bench.after(1000).try_once(Success);
    // Requests that hung through the outage and end now.
    old[2..].iter().for_each(|ticket| assert_eq!(bench.report(*ticket, Failure), None));
    assert_eq!(bench.word(), "closed");
}

#[test]
fn a_refused_key_opens_it_at_once_unless_others_succeed_with_it() {
    let misconfigured = |was_closed| {
        let (cause, open_for) = (BreakerCause::Misconfigured, MISCONFIGURED_FOR);
        Some(BreakerChange::Opened { cause, open_for, was_closed })
    };
    let mut bench = Bench::new();
    assert_eq!(bench.try_once(KeyRefused), misconfigured(true));
    bench.after(30_000);
    assert_eq!(bench.try_once(KeyRefused), misconfigured(false));
    assert_eq!(bench.after(30_000).try_once(Success), Some(BreakerChange::Closed));

    // A firewall that answers 403 for one prompt does not take the target from everybody else.
    assert_eq!((bench.try_once(KeyRefused), bench.try_once(KeyRefused)), (None, None));
    bench.try_once(Success);
    assert_eq!((bench.try_once(KeyRefused), bench.try_once(KeyRefused)), (None, None));
    assert_eq!(bench.try_once(KeyRefused), misconfigured(true), "the third in a row");
}

#[test]
fn when_the_network_returns_the_next_request_tries_but_not_with_a_refused_key() {
    let mut bench = Bench::opened();
    bench.breaker.expedite(bench.now);
    assert!(bench.ask().expect("at once").is_probe());
    assert!(bench.ask().is_none(), "one probe runs");
    bench.breaker.expedite(bench.now);
    assert!(bench.ask().is_some(), "which went into a network that was not there");

    let mut bench = Bench::new();
    bench.try_once(KeyRefused);
    bench.breaker.expedite(bench.now);
    assert!(bench.ask().is_none());
}

#[test]
fn the_longest_time_and_the_largest_counts_do_not_overflow() {
    let limits = BreakerLimits { open_first: Duration::MAX / 4, open_max: Duration::MAX / 4, ..LIMITS };
    let mut breaker = Breaker::new(limits);
    for _ in 0..200 {
        let now = breaker.since;
        if let Admission::Granted(ticket) = breaker.admit(now) {
            breaker.report(ticket, Failure, now);
        }
        breaker.expedite(now);
    }
    assert_eq!(breaker.state(Duration::ZERO).as_str(), "half_open");
}

proptest! {
    /// Whatever happens in whatever order: never two probes within `open_max`, and a target that answers from some moment on is
    /// closed once `open_max` has passed twice and a request came.
    #[test]
    fn probes_are_single_and_recovery_is_prompt(steps in prop::collection::vec((0_u64..1500, 0_usize..4, 0_usize..8), 1..200)) {
        let mut bench = Bench::new();
        let (mut running, mut last_probe): (Vec<Ticket>, Option<Duration>) = (Vec::new(), None);
        for (ms, signal, which) in steps {
            bench.after(ms);
            if let Some(ticket) = bench.ask() {
                if ticket.is_probe() {
                    let others = running.iter().filter(|other| other.is_probe()).count();
                    if let (Some(last), 1..) = (last_probe, others) {
                        prop_assert!(bench.now - last >= LIMITS.open_max);
                    }
                    running.retain(|other| !other.is_probe());
                    last_probe = Some(bench.now);
                }
                running.push(ticket);
            }
            if !running.is_empty() {
                let ticket = running.swap_remove(which % running.len());
                bench.report(ticket, [Success, Failure, KeyRefused, Nothing][signal]);
            }
        }
        bench.after(u64::try_from(MISCONFIGURED_FOR.as_millis()).unwrap());
        let ticket = bench.ask().expect("whatever it was, a request may try now");
        bench.report(ticket, Success);
        prop_assert_eq!(bench.word(), "closed");
    }
}
