//! The transition table, and when the network is looked for.

use proptest::prelude::*;

use super::*;

const LIMITS: ConnectivityLimits = ConnectivityLimits {
    failures: 2,
    probing: true,
    retry_first: Duration::from_millis(500),
    retry_max: Duration::from_secs(3),
    idle_first: Duration::from_secs(30),
    idle_max: Duration::from_secs(120),
};
const PASSIVE: ConnectivityLimits = ConnectivityLimits { probing: false, ..LIMITS };

use Connectivity::{Captive, Degraded, Offline, Online};
use Evidence::{Failed, Reached, RoundEnded, RoundFailed, Silent, Suspect};

/// A network and a clock that only the test moves.
struct Bench {
    network: NetworkMachine,
    now: Duration,
}

impl Bench {
    fn new(limits: ConnectivityLimits, addresses: usize) -> Self {
        let now = Duration::from_secs(1000);
        Self { network: NetworkMachine::new(limits, addresses, now), now }
    }

    /// After a first round that found everything well.
    fn online(addresses: usize) -> Self {
        let mut bench = Self::new(LIMITS, addresses);
        bench.round(&[Reached(0)]);
        bench
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn sees(&mut self, evidence: &[Evidence]) -> Connectivity {
        evidence.iter().for_each(|evidence| self.network.notice(*evidence, self.now));
        self.network.state(self.now)
    }

    /// A round of probes that notices this.
    fn round(&mut self, probes: &[Evidence]) -> Connectivity {
        self.network.begin_round();
        assert_eq!(self.network.next_round(), None, "one at a time");
        self.sees(probes);
        let reached = probes.iter().any(|evidence| !matches!(evidence, Failed(_)));
        self.sees(&[if reached { RoundEnded } else { RoundFailed }])
    }

    /// Milliseconds until the next round.
    fn due_in_ms(&self) -> Option<u128> {
        self.network.next_round().map(|due| due.saturating_sub(self.now).as_millis())
    }
}

#[test]
fn a_failed_request_and_a_failed_round_are_enough_and_one_of_them_is_not() {
    let mut bench = Bench::online(1);
    assert_eq!(bench.after(10_000).sees(&[Failed(0)]), Degraded);
    assert_eq!(bench.due_in_ms(), Some(0), "looked for at once");
    assert_eq!(bench.round(&[Failed(0)]), Offline);

    let mut bench = Bench::online(1);
    bench.after(10_000).sees(&[Failed(0)]);
    assert_eq!(bench.round(&[Reached(0)]), Online, "it was that one request");
}

#[test]
fn a_machine_that_starts_without_a_network_knows_after_two_rounds() {
    let mut bench = Bench::new(LIMITS, 2);
    assert_eq!((bench.network.state(bench.now), bench.due_in_ms()), (Online, Some(0)));
    assert_eq!(bench.round(&[Failed(0), Failed(1)]), Degraded);
    assert_eq!(bench.due_in_ms(), Some(500));
    assert_eq!(bench.after(500).round(&[Failed(0), Failed(1)]), Offline);
}

#[test]
fn many_failing_requests_do_not_make_it_offline_while_a_round_reaches_something() {
    let mut bench = Bench::online(2);
    for _ in 0..20 {
        assert_eq!(bench.after(100).sees(&[Failed(1)]), Degraded);
    }
    assert_eq!(bench.round(&[Reached(0), Failed(1)]), Degraded, "one of two is gone");
    assert_eq!(bench.round(&[Failed(1), Reached(0)]), Degraded, "in whatever order that is found");
    assert_eq!(bench.after(59_000).sees(&[Reached(0)]), Degraded);
    assert_eq!(bench.after(1_000).sees(&[]), Online, "a minute ago");
    assert_eq!(bench.sees(&[Failed(1)]), Degraded);
    assert_eq!(bench.sees(&[Reached(1)]), Online);
}

#[test]
fn whatever_is_reached_ends_offline_and_captive_at_once() {
    for away in [&[RoundFailed, RoundFailed][..], &[Evidence::Captive]] {
        for address in [0, 1, 99] {
            let mut bench = Bench::online(2);
            bench.sees(&[Failed(0), Failed(1), Failed(7)]);
            assert!(bench.sees(away).is_away());
            assert_eq!(bench.sees(&[Reached(address)]), Online, "{away:?}");
        }
    }
}

#[test]
fn a_captive_portal_is_left_by_reaching_something_or_by_losing_the_network() {
    let mut bench = Bench::online(1);
    assert_eq!(bench.round(&[Evidence::Captive]), Captive);
    assert_eq!(bench.due_in_ms(), Some(500));
    assert_eq!(bench.round(&[Failed(0)]), Captive);
    assert_eq!(bench.round(&[Failed(0)]), Offline);
    assert_eq!(bench.round(&[Evidence::Captive]), Captive);
    assert_eq!(bench.round(&[Reached(0)]), Online);
}

#[test]
fn while_it_is_away_it_is_looked_for_every_few_seconds_and_then_rarely() {
    let mut bench = Bench::online(1);
    bench.sees(&[Failed(0)]);
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.round(&[Failed(0)]);
        waits.push(bench.due_in_ms().unwrap());
        bench.after(5000);
    }
    assert_eq!(waits, [500, 1000, 2000, 3000, 3000, 3000]);
    let mut waits = Vec::new();
    for _ in 0..4 {
        bench.round(&[Reached(0)]);
        waits.push(bench.due_in_ms().unwrap());
        bench.after(200_000);
    }
    assert_eq!(waits, [30_000, 60_000, 120_000, 120_000]);
    bench.sees(&[Reached(0)]);
    assert_eq!(bench.due_in_ms(), Some(30_000), "requests tell enough");
}

#[test]
fn a_suspicion_is_looked_into_but_not_without_end() {
    let mut bench = Bench::online(1);
    bench.after(100);
    (0..50).for_each(|_| assert_eq!(bench.sees(&[Suspect]), Online));
    assert_eq!(bench.due_in_ms(), Some(400), "half a second after the last round");
    assert_eq!(bench.after(400).round(&[Reached(0)]), Online);
    bench.sees(&[Suspect, Reached(0)]);
    assert_eq!(bench.due_in_ms(), Some(30_000), "a request answered it");
}

#[test]
fn silence_is_looked_into_where_nothing_else_was_heard_for_a_while() {
    let mut bench = Bench::online(1);
    bench.after(4999).sees(&[Silent]);
    assert_eq!(bench.due_in_ms(), Some(25_001), "others were answered a moment ago");
    bench.after(1);
    (0..50).for_each(|_| assert_eq!(bench.sees(&[Silent]), Online));
    assert_eq!(bench.due_in_ms(), Some(0));
    bench.round(&[Reached(0)]);
    bench.after(4000).sees(&[Silent]);
    assert!(bench.due_in_ms() > Some(20_000), "a target that thinks for long is not probed all the time");
    bench.after(1000).sees(&[Silent]);
    assert_eq!(bench.round(&[Failed(0)]), Degraded);
    assert_eq!(bench.after(500).round(&[Failed(0)]), Offline);

    let mut bench = Bench::online(1);
    bench.network.set_metered(true);
    bench.after(60_000).sees(&[Silent]);
    assert_eq!(bench.due_in_ms(), None, "it costs");
}

#[test]
fn failures_of_requests_during_a_round_are_counted_with_it() {
    let mut bench = Bench::online(1);
    bench.network.begin_round();
    (0..10).for_each(|_| assert_ne!(bench.sees(&[Failed(0)]), Offline));
    assert_eq!(bench.sees(&[RoundFailed]), Degraded, "one round");
}

#[test]
fn without_probes_several_failing_addresses_are_enough_and_it_is_tried_again_after_a_while() {
    for (addresses, evidence, expected) in [
        (1, &[Failed(0)][..], Degraded),
        (1, &[Failed(0), Failed(0)], Offline),
        (2, &[Failed(0), Failed(0), Failed(0)], Degraded),
        (2, &[Failed(0), Failed(1)], Offline),
        (5, &[Failed(0), Failed(4)], Offline),
        (2, &[Failed(0), Reached(1), Failed(1)], Degraded),
        (2, &[Failed(0), Suspect, Suspect, Suspect], Degraded),
    ] {
        let mut bench = Bench::new(PASSIVE, addresses);
        assert_eq!(bench.sees(evidence), expected, "{addresses} {evidence:?}");
        assert_eq!(bench.due_in_ms(), None);
    }
    let mut bench = Bench::new(PASSIVE, 1);
    bench.sees(&[Failed(0), Failed(0)]);
    assert_eq!(bench.after(4999).sees(&[]), Offline);
    assert_eq!(bench.after(1).sees(&[]), Degraded, "one may find out");
    assert_eq!(bench.sees(&[Failed(0)]), Offline);
    assert_eq!(bench.after(5000).sees(&[Reached(0)]), Online);
}

#[test]
fn an_operators_word_stands_above_all_evidence() {
    let mut bench = Bench::online(1);
    bench.network.force(Some(true), bench.now);
    assert_eq!((bench.sees(&[Reached(0)]), bench.due_in_ms()), (Offline, None));
    bench.network.force(Some(false), bench.now);
    assert_eq!(bench.sees(&[RoundFailed, RoundFailed]), Online);
    bench.network.force(None, bench.now);
    assert_eq!((bench.sees(&[]), bench.due_in_ms()), (Offline, Some(0)), "as it is found to be");
}

#[test]
fn a_metered_network_is_not_looked_for_while_it_is_there() {
    let mut bench = Bench::new(LIMITS, 1);
    bench.network.set_metered(true);
    assert_eq!(bench.due_in_ms(), Some(0), "once, to know");
    bench.round(&[Reached(0)]);
    assert_eq!(bench.due_in_ms(), None);
    bench.sees(&[Failed(0)]);
    assert!(bench.due_in_ms().is_some(), "there is a reason");
    bench.round(&[Failed(0)]);
    assert_eq!(bench.due_in_ms(), Some(500));
}

proptest! {
    /// Whatever was noticed before: reaching something means not being away, nothing but an operator's word or failures take it
    /// away, and while it is away the next round is never further off than the longest wait.
    #[test]
    fn what_is_reached_counts(steps in prop::collection::vec((0_u64..40_000, 0_usize..9), 1..200), probing: bool) {
        let mut bench = Bench::new(ConnectivityLimits { probing, ..LIMITS }, 2);
        for (ms, which) in steps {
            bench.after(ms);
            let was_away = bench.network.state(bench.now).is_away();
            match which {
                0 | 1 => prop_assert!(!bench.sees(&[Reached(which)]).is_away()),
                2 | 3 => { bench.sees(&[Failed(which - 2)]); }
                4 => prop_assert_eq!(bench.sees(&[Suspect]).is_away(), was_away),
                8 => prop_assert_eq!(bench.sees(&[Silent]).is_away(), was_away),
                5 => { bench.round(&[Failed(0), Failed(1)]); }
                6 => prop_assert!(!bench.round(&[Reached(1), Failed(0)]).is_away()),
                _ => prop_assert_eq!(bench.round(&[Evidence::Captive]), Captive),
            }
            if probing && bench.network.state(bench.now).is_away() {
                prop_assert!(bench.due_in_ms().is_some_and(|ms| ms <= 3000));
            }
        }
    }
}
