//! Table tests of the decision and properties over random requests and targets.

use std::sync::Arc;

use proptest::prelude::*;

use crate::*;

fn target(id: &str, locality: Locality, state: TargetState) -> TargetFacts {
    TargetFacts::new(Arc::new(TargetProfile::new(TargetId::new(id).unwrap(), locality)), state)
}

fn asked(model: &str, mode: Mode, privacy: Privacy) -> RequestFacts {
    RequestFacts { model: ModelAsked::parse(model).unwrap(), mode, privacy, ..RequestFacts::default() }
}

fn two() -> Vec<TargetFacts> {
    vec![
        target("local/small", Locality::Device, TargetState::Ready),
        target("openai/large", Locality::Cloud, TargetState::Ready),
    ]
}

/// Decides and renders the attempts as `a > b` or the refusal as text.
fn outcome_of(request: &RequestFacts, targets: &[TargetFacts]) -> String {
    match decide(request, targets) {
        Ok(plan) => plan.attempts().iter().map(|a| a.target().as_str()).collect::<Vec<_>>().join(" > "),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn mode_privacy_and_model_decide_the_order() {
    use Mode::*;
    use Privacy::*;
    let cases = [
        ("auto", PreferOnDevice, Public, "local/small > openai/large"),
        ("auto", PreferInCloud, Public, "openai/large > local/small"),
        ("auto", OnlyOnDevice, Public, "local/small"),
        ("auto", OnlyInCloud, Internal, "openai/large"),
        ("auto", PreferInCloud, Confidential, "local/small"),
        ("auto", PreferInCloud, Restricted, "local/small"),
        ("auto", PreferOnDevice, Confidential, "local/small"),
        ("auto", OnlyInCloud, Restricted, "privacy restricted never leaves the device, but the mode is only_in_cloud"),
        (
            "auto",
            OnlyInCloud,
            Confidential,
            "privacy confidential never leaves the device, but the mode is only_in_cloud",
        ),
        ("local/small", PreferInCloud, Public, "local/small"),
        ("openai/large", PreferOnDevice, Public, "openai/large"),
        ("openai/large", OnlyOnDevice, Public, "model openai/large runs in the cloud, which mode forbids"),
        ("openai/large", PreferOnDevice, Restricted, "model openai/large runs in the cloud, which privacy forbids"),
        ("local/small", OnlyInCloud, Public, "model local/small runs on the device, which mode forbids"),
        ("openai/none", PreferOnDevice, Public, "model openai/none does not exist"),
    ];
    for (model, mode, privacy, expected) in cases {
        assert_eq!(outcome_of(&asked(model, mode, privacy), &two()), expected, "{model} {mode:?} {privacy:?}");
    }
}

#[test]
fn state_orders_targets_within_a_locality() {
    let targets = [
        target("cloud/unreachable", Locality::Cloud, TargetState::Unreachable),
        target("local/cold", Locality::Device, TargetState::Cold),
        target("local/loading", Locality::Device, TargetState::Loading),
        target("local/down", Locality::Device, TargetState::Down("no such file".into())),
        target("cloud/first", Locality::Cloud, TargetState::Ready),
        target("cloud/second", Locality::Cloud, TargetState::Ready),
    ];
    let request = asked("auto", Mode::PreferOnDevice, Privacy::Public);
    let expected = "local/loading > local/cold > cloud/first > cloud/second > cloud/unreachable";
    assert_eq!(outcome_of(&request, &targets), expected);
    let in_cloud = asked("auto", Mode::PreferInCloud, Privacy::Public);
    let expected = "cloud/first > cloud/second > local/loading > local/cold > cloud/unreachable";
    assert_eq!(outcome_of(&in_cloud, &targets), expected, "what cannot be reached comes last, whatever is preferred");
    let plan = decide(&request, &targets).unwrap();
    assert_eq!(plan.dropped()[0].reason, DropReason::Down("no such file".into()));
}

#[test]
fn a_plan_may_be_empty_and_says_why() {
    let targets = [
        target("local/small", Locality::Device, TargetState::Down("model file is missing".into())),
        target("openai/large", Locality::Cloud, TargetState::Ready),
    ];
    let plan = decide(&asked("auto", Mode::OnlyOnDevice, Privacy::Public), &targets).unwrap();
    assert!(plan.attempts().is_empty());
    let codes: Vec<_> = plan.dropped().iter().map(|d| (d.target.as_str(), d.reason.code())).collect();
    assert_eq!(codes, [("local/small", "down"), ("openai/large", "forbidden_by_mode")]);
}

#[test]
fn stricter_statement_wins_when_two_places_speak() {
    use Mode::*;
    assert_eq!(PreferInCloud.combine(OnlyOnDevice), Ok(OnlyOnDevice));
    assert_eq!(OnlyInCloud.combine(PreferOnDevice), Ok(OnlyInCloud));
    assert_eq!(PreferInCloud.combine(PreferOnDevice), Ok(PreferInCloud));
    assert_eq!(OnlyInCloud.combine(OnlyOnDevice), Err(Contradiction::Modes));
    assert_eq!(Privacy::Public.max(Privacy::Restricted), Privacy::Restricted);
}

#[test]
fn words_are_exact() {
    for mode in Mode::ALL {
        assert_eq!(Mode::parse(mode.as_str()), Ok(mode));
    }
    for class in Privacy::ALL {
        assert_eq!(Privacy::parse(class.as_str()), Ok(class));
    }
    for wrong in ["", "Restricted", " restricted", "secret", "restricted, public"] {
        let error = Privacy::parse(wrong).unwrap_err();
        assert!(error.to_string().contains("confidential, restricted"), "{error}");
    }
    assert!(Mode::parse("only-on-device").is_err());
}

#[test]
fn target_ids_are_safe_in_headers_and_labels() {
    for good in ["local/smollm2-135m-instruct", "openai/gpt-4o-mini", "hf/org/model@rev:q4", "a/b"] {
        assert_eq!(TargetId::new(good).unwrap().as_str(), good);
    }
    for bad in ["", "auto", "/b", "a/", "a/b\r\nx: y", "a/b c", "ä/b", &"a/".repeat(80)] {
        assert!(TargetId::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_follows_an_outcome() {
    use Locality::*;
    use NextStep::*;
    let cases = [
        (Outcome::Answered, Device, 1, Stop),
        (Outcome::Rejected(400), Cloud, 1, Stop),
        (Outcome::CallerGone, Cloud, 1, Stop),
        (Outcome::Interrupted, Device, 1, Stop),
        (Outcome::ConnectionLost, Device, 1, SameTarget),
        (Outcome::ConnectionLost, Device, 2, NextAttempt),
        (Outcome::ConnectFailed, Device, 1, SameTarget),
        (Outcome::ConnectionLost, Cloud, 1, SameTarget),
        (Outcome::ConnectionLost, Cloud, 2, NextAttempt),
        (Outcome::ConnectFailed, Cloud, 1, NextAttempt),
        (Outcome::HeadersTimeout, Device, 1, NextAttempt),
        (Outcome::WorkerUnavailable, Device, 1, NextAttempt),
        (Outcome::Status(429), Cloud, 1, NextAttempt),
        (Outcome::Status(500), Device, 1, NextAttempt),
        (Outcome::InvalidAnswer, Cloud, 1, NextAttempt),
    ];
    for (outcome, locality, tries, expected) in cases {
        assert_eq!(next_step(outcome, locality, tries), expected, "{outcome:?} {locality:?} {tries}");
    }
}

#[test]
fn statuses_sort_into_the_callers_and_the_targets_fault() {
    for status in [401, 403, 404, 408, 429, 500, 502, 503, 504, 529] {
        assert_eq!(Outcome::of_error_status(status), Outcome::Status(status));
    }
    for status in [300, 301, 400, 413, 415, 422, 451] {
        assert_eq!(Outcome::of_error_status(status), Outcome::Rejected(status));
    }
}

fn any_state() -> impl Strategy<Value = TargetState> {
    prop_oneof![
        Just(TargetState::Ready),
        Just(TargetState::Loading),
        Just(TargetState::Cold),
        Just(TargetState::Unreachable),
        Just(TargetState::Down("down".into())),
    ]
}

fn any_targets() -> impl Strategy<Value = Vec<TargetFacts>> {
    let one = (any::<bool>(), any_state());
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let locality = |device| if device { Locality::Device } else { Locality::Cloud };
        let numbered = all.into_iter().enumerate();
        numbered.map(|(n, (device, state))| target(&format!("any/t{n}"), locality(device), state)).collect()
    })
}

fn any_request() -> impl Strategy<Value = RequestFacts> {
    let model = prop_oneof![3 => Just("auto".to_owned()), 1 => (0..9usize).prop_map(|n| format!("any/t{n}"))];
    (model, prop::sample::select(&Mode::ALL[..]), prop::sample::select(&Privacy::ALL[..]))
        .prop_map(|(model, mode, privacy)| asked(&model, mode, privacy))
}

proptest! {
    /// Invariant 2: a plan for a device-only request holds no remote attempt.
    #[test]
    fn a_device_only_request_never_plans_a_remote_attempt(request in any_request(), targets in any_targets()) {
        if let Ok(plan) = decide(&request, &targets)
            && (request.privacy.stays_on_device() || request.mode == Mode::OnlyOnDevice)
        {
            prop_assert!(plan.attempts().iter().all(|a| a.locality() == Locality::Device));
            prop_assert!(!plan.placement().allows(Locality::Cloud));
        }
    }

    /// The same by construction: no list of candidates can smuggle one in.
    #[test]
    fn no_candidates_can_widen_a_placement(request in any_request(), targets in any_targets()) {
        if let Ok(placement) = Placement::of(request.mode, request.privacy) {
            let all = targets.iter().map(|facts| Candidate { facts, dropped: None }).collect();
            let plan = Plan::new(placement, Rule::PinnedModel, all);
            prop_assert!(plan.attempts().iter().all(|a| placement.allows(a.locality())));
        }
    }

    #[test]
    fn every_target_is_tried_or_dropped_once(request in any_request(), targets in any_targets()) {
        if let Ok(plan) = decide(&request, &targets) {
            let mut seen: Vec<_> = plan.attempts().iter().map(Attempt::target).collect();
            seen.extend(plan.dropped().iter().map(|d| &d.target));
            seen.sort();
            let mut all: Vec<_> = targets.iter().map(|t| t.id()).collect();
            all.sort();
            prop_assert_eq!(seen, all);
        }
    }

    #[test]
    fn deciding_twice_gives_the_same_plan(request in any_request(), targets in any_targets()) {
        prop_assert_eq!(decide(&request, &targets), decide(&request, &targets));
    }

    /// Following every possible series of outcomes ends, and never tries a target more than the limit allows.
    #[test]
    fn retries_are_bounded(status in 100..600u16, device in any::<bool>()) {
        let locality = if device { Locality::Device } else { Locality::Cloud };
        for outcome in [Outcome::of_error_status(status), Outcome::ConnectionLost, Outcome::ConnectFailed] {
            prop_assert_ne!(next_step(outcome, locality, TRIES_PER_TARGET_MAX), NextStep::SameTarget);
        }
    }
}
