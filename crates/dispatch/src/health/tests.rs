//! What a target's health makes of the tries it let through, with the clock standing still.

use policy::{ConnectivityLimits, Evidence};

use super::*;
use crate::ProbeConfig;

const ORIGIN: &str = "http://127.0.0.1:1";

fn network() -> Arc<Network> {
    let limits = ConnectivityLimits { probing: false, ..ConnectivityLimits::default() };
    let probe = ProbeConfig { addresses: Vec::new(), captive: None, timeout: Duration::from_secs(1) };
    Arc::new(Network::new(vec![ORIGIN.to_owned()], limits, probe, None).unwrap())
}

/// A target whose breaker opens at the second failure in a row, for a second; in the cloud, or a worker.
fn target(network: &Arc<Network>, is_supervised: bool) -> TargetHealth {
    let limits = BreakerLimits { consecutive_failures: 2, open_first: Duration::from_secs(1), ..Default::default() };
    let id = TargetId::new("a/b").unwrap();
    let (first_token, origin) = (Duration::from_secs(60), (!is_supervised).then_some(ORIGIN));
    TargetHealth::new(id, Some(limits), first_token, is_supervised, Arc::clone(network), origin)
}

fn tried(health: &TargetHealth, outcome: Outcome, took_ms: u64) {
    health.admit().ok().unwrap().tell(outcome, None, Duration::from_millis(took_ms));
}

fn state(health: &TargetHealth) -> &'static str {
    health.state(TargetState::Ready).as_str()
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_an_objective_cut_short_is_no_failure() {
    let health = target(&network(), false);
    (0..10).for_each(|_| tried(&health, Outcome::FirstTokenTimeout, 4999));
    assert_eq!(state(&health), "ready");
    (0..2).for_each(|_| tried(&health, Outcome::FirstTokenTimeout, 5000));
    assert_eq!(state(&health), "breaker_open");
    assert_eq!(health.status().opened_total, [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_crashes_of_a_worker_are_its_supervisors_business() {
    let health = target(&network(), true);
    for outcome in [Outcome::ConnectFailed, Outcome::ConnectionLost, Outcome::Interrupted, Outcome::WorkerUnavailable] {
        (0..5).for_each(|_| tried(&health, outcome, 1));
        assert_eq!(state(&health), "ready", "{outcome:?}");
    }
    (0..2).for_each(|_| tried(&health, Outcome::InvalidAnswer, 1));
    assert_eq!(state(&health), "breaker_open");
    assert_eq!(health.state(TargetState::Down("gone".into())).as_str(), "down", "what is down says why");
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_dropped_makes_room_for_the_next_probe() {
    let health = target(&network(), false);
    (0..2).for_each(|_| tried(&health, Outcome::Status(503), 1));
    assert!(health.admit().is_err());
    tokio::time::advance(Duration::from_secs(1)).await;
    let probe = health.admit().ok().unwrap();
    assert!(health.admit().is_err(), "one at a time");
    assert_eq!(state(&health), "breaker_open");
    drop(probe);
    let probe = health.admit().ok().unwrap();
    probe.saw_content();
    assert_eq!(state(&health), "ready", "before its end");
    assert_eq!(health.status().probes_total, 2);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_believed_but_not_without_end() {
    let health = target(&network(), false);
    let limited = |wait| health.admit().ok().unwrap().tell(Outcome::Status(429), wait, Duration::ZERO);
    limited(None);
    assert_eq!((state(&health), health.status().rate_limited), ("unreachable", None), "only tried last");
    limited(Some(Duration::from_secs(86_400)));
    assert_eq!(health.state(TargetState::Ready), TargetState::RateLimited { wait: Some(RATE_LIMITED_MAX) });
    // Another answer of the same moment that names less does not shorten it.
    limited(Some(Duration::from_secs(1)));
    tokio::time::advance(RATE_LIMITED_MAX - Duration::from_secs(1)).await;
    assert_eq!(state(&health), "rate_limited");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(state(&health), "ready");
    assert_eq!(health.status().breaker.as_str(), "closed");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_a_time_without_a_network() {
    let network = network();
    let (health, mut changes) = (target(&network, false), network.subscribe());
    tried(&health, Outcome::ConnectFailed, 1);
    assert_eq!(state(&health), "unreachable");
    tried(&health, Outcome::ConnectFailed, 1);
    assert_eq!(network.connectivity(), Some(policy::Connectivity::Offline));
    assert_eq!(state(&health), "unreachable");
    assert!(health.admit().is_err(), "its breaker is open as well");
    changes.mark_unchanged();
    network.notice(Evidence::Reached(0));
    assert!(changes.has_changed().unwrap(), "whoever waits for a target hears of it");
    assert_eq!(state(&health), "ready");
    assert!(health.admit().is_ok());
}
