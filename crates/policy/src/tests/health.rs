//! What the states of targets and network mean for a plan: who stands in for whom, and when to ask again.

use std::time::Duration;

use super::*;

const POLICY: &str = r#"
version: 1
routes:
  - {id: cloud, when: 'request.mode == "prefer_in_cloud"', objective: prefer_in_cloud, require: '!("off" in target.tags)'}
  - {id: order, when: '"order" in request.tags', objective: in_order, candidates: [b/cloud, a/cloud, d/device]}
  - {id: device, objective: prefer_on_device}
"#;

fn open(probe_in_ms: u64) -> TargetState {
    TargetState::BreakerOpen { cause: BreakerCause::Failing, probe_in: Some(Duration::from_millis(probe_in_ms)) }
}

fn limited(wait_ms: u64) -> TargetState {
    TargetState::RateLimited { wait: Some(Duration::from_millis(wait_ms)) }
}

/// Plans for `d/device`, `a/cloud` and `b/cloud` in these states.
fn plan(facts: &[(&str, &str)], states: [TargetState; 3]) -> Plan {
    let mut known = Facts::default();
    for (name, value) in facts {
        known.set(name, &FactValue::One((*value).to_owned())).unwrap();
    }
    let ids = [("d/device", Locality::Device), ("a/cloud", Locality::Cloud), ("b/cloud", Locality::Cloud)];
    let targets: Vec<_> =
        ids.into_iter().zip(states).map(|((id, at), s)| TargetFacts::new(profile(id, at), s)).collect();
    decide(&policy(POLICY), &known, &targets).unwrap()
}

#[test]
fn an_answer_that_stands_in_for_a_better_target_says_so() {
    use TargetState::{Ready, Unreachable};
    const CLOUD: (&str, &str) = ("request.mode", "prefer_in_cloud");
    const ORDER: (&str, &str) = ("request.tags", "order");
    const OFFLINE: (&str, &str) = ("moment.connectivity", "offline");
    type Case = (&'static [(&'static str, &'static str)], [TargetState; 3], &'static str);
    let cases: [Case; 12] = [
        (&[CLOUD, OFFLINE], [Ready, Ready, Ready], "rule=cloud; substituted=offline"),
        // How the cloud failed before it was known why does not matter.
        (&[CLOUD, OFFLINE], [Ready, Unreachable, Unreachable], "rule=cloud; substituted=offline"),
        (&[CLOUD, ("moment.connectivity", "captive")], [Ready, Ready, Ready], "rule=cloud; substituted=captive_portal"),
        (&[CLOUD, ("moment.connectivity", "degraded")], [Ready, Ready, Ready], "rule=cloud"),
        (&[CLOUD], [Ready, open(100), Ready], "rule=cloud; substituted=breaker_open"),
        (&[CLOUD], [Ready, limited(100), open(100)], "rule=cloud; substituted=rate_limited"),
        (&[CLOUD], [Ready, Ready, open(100)], "rule=cloud"),
        (&[ORDER], [Ready, Ready, open(100)], "rule=order; substituted=breaker_open"),
        (&[ORDER, OFFLINE], [Ready, Ready, Ready], "rule=order; substituted=offline"),
        // The device would have come first anyway.
        (&[OFFLINE], [Ready, Ready, Ready], "rule=device"),
        // Nobody stands in for what may not be used, and nobody stands in where nobody answers.
        (&[CLOUD, OFFLINE, ("request.privacy", "restricted")], [Ready, Ready, Ready], "rule=cloud; placement=privacy"),
        (&[("request.mode", "only_in_cloud"), OFFLINE], [Ready, Ready, Ready], "rule=device; placement=mode"),
    ];
    for (facts, states, expected) in cases {
        let shown = format!("{facts:?} {states:?}");
        assert_eq!(plan(facts, states).reason(), expected, "{shown}");
    }
}

#[test]
fn a_target_that_would_not_have_been_used_is_not_stood_in_for() {
    let mut known = Facts::default();
    known.set("request.mode", &FactValue::One("prefer_in_cloud".into())).unwrap();
    known.moment.connectivity = Some(Connectivity::Offline);
    let mut off = TargetProfile::new(TargetId::new("a/cloud").unwrap(), Locality::Cloud);
    off.tags = vec!["off".to_owned()];
    let targets = [
        TargetFacts::new(profile("d/device", Locality::Device), TargetState::Ready),
        TargetFacts::new(Arc::new(off), TargetState::Ready),
    ];
    assert_eq!(decide(&policy(POLICY), &known, &targets).unwrap().reason(), "rule=cloud");
}

#[test]
fn a_plan_that_can_try_nothing_says_when_to_ask_again() {
    let down = || TargetState::Down("gone".into());
    let ms = Duration::from_millis;
    for (states, expected) in [
        ([down(), open(1500), limited(700)], Some(ms(700))),
        ([down(), open(1500), down()], Some(ms(1500))),
        ([down(), down(), down()], None),
    ] {
        let plan = plan(&[], states);
        assert!(plan.attempts().is_empty());
        assert_eq!(plan.retry_after(), expected);
    }
    let offline = plan(&[("moment.connectivity", "offline")], [down(), open(60_000), TargetState::Ready]);
    assert_eq!(offline.retry_after(), Some(Duration::from_secs(3)));
}

#[test]
fn a_drop_says_the_time_that_is_left() {
    let explained = |state| plan(&[], [TargetState::Ready, state, TargetState::Ready]).dropped()[0].reason.explain();
    assert_eq!(explained(limited(7240)), "it limits its rate, free again in 7.3 s");
    assert_eq!(explained(open(500)), "it failed too often of late, tried again in 0.5 s");
    assert_eq!(explained(open(0)), "it failed too often of late, tried again any moment");
    let misconfigured = TargetState::BreakerOpen { cause: BreakerCause::Misconfigured, probe_in: None };
    assert_eq!(explained(misconfigured), "it refuses the gateway's key");
}
