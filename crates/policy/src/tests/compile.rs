//! What compiling and linting a policy finds.

use std::time::Duration;

use super::*;

fn problems(yaml: &str) -> Vec<String> {
    let found = Policy::compile(&document(yaml)).expect_err("problems");
    found.into_iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

fn lints(yaml: &str) -> Vec<String> {
    let mut large = TargetProfile::new(TargetId::new("openai/large").unwrap(), Locality::Cloud);
    large.context_tokens = Some(1000);
    let targets = [profile("local/small", Locality::Device), Arc::new(large)];
    let found = policy(yaml).lint(&targets, &[]);
    found.into_iter().map(|problem| format!("{:?} {}: {}", problem.severity, problem.path, problem.message)).collect()
}

#[test]
fn all_problems_come_in_one_run() {
    let found = problems(
        r#"
version: 2
placement:
  - id: Bad Id
    when: request.privcy == "x"
    allow: {localities: [moon]}
  - id: twice
    allow: {}
routes:
  - id: twice
    objective: best
    limits: {max_attempts: 9, min_quality: 2}
    when_none: {relax: max_cost_usd}
  - id: privacy
    candidates: []
    when_none: {relax: nothing}
  - when_none: {relax: min_quality, refuse: no}
stickiness: {by: luck, ttl_s: 0, switch_cost: {usd: -1}}
tests:
  - name: tests nothing
  - name: odd
    facts: {request.nonsense: 1}
    targets: {local/small: asleep}
    expect: {rule: nowhere, placement_rules: [none], dropped: {local/small: bored}}
"#,
    );
    let expected = [
        "version: 2 is not known",
        "placement[0].id: has to be 1 to 64",
        "placement[0].when: ",
        "placement[0].allow.localities[0]: \"moon\" is not one of",
        "placement[1].allow: is missing",
        "routes[0].id: \"twice\" is used",
        "routes[0].objective: \"best\" is not one of",
        "routes[0].limits.max_attempts: is out of range",
        "routes[0].limits.min_quality: 2 is out of range",
        "routes[0].when_none.relax: the route has no max_cost_usd",
        "routes[1].id: \"privacy\" is reserved",
        "routes[1].candidates: is empty",
        "routes[1].when_none.relax: \"nothing\" is not one of",
        "routes[2].id: is missing",
        "routes[2].when_none.refuse: is given beside relax",
        "stickiness.by: \"luck\"",
        "stickiness.ttl_s: 0 is out of range",
        "stickiness.switch_cost.usd: -1 is out of range",
        "tests[0].expect: is empty",
        "tests[1].facts.request.nonsense: is not a fact",
        "tests[1].targets.local/small: \"asleep\"",
        "tests[1].expect.rule: there is no route",
        "tests[1].expect.placement_rules[0]: there is no placement rule",
        "tests[1].expect.dropped.local/small: \"bored\"",
    ];
    for part in expected {
        assert!(found.iter().any(|problem| problem.starts_with(part)), "{part} in {found:#?}");
    }
}

#[test]
fn lints_name_what_does_nothing() {
    let found = lints(
        r#"
version: 1
placement:
  - {id: nobody, allow: {providers: [acme]}}
  - {id: never, when: "false", allow: {localities: [device]}}
routes:
  - {id: first, when: 'request.stream', candidates: ["acme/*", local/smal]}
  - {id: pasted, when: 'request . stream'}
  - {id: signal, when: 'caller.team == "code"', candidates: ["tag:gpu"]}
  - {id: require, require: target.context_tokens > 5000}
  - {id: behind, when: 'request.stream'}
"#,
    );
    let expected = [
        "Warning placement[0].allow.providers[0]: no target has the provider \"acme\"",
        "Warning placement[1].when: is never true",
        "Warning routes[0].candidates[0]: \"acme/*\" matches no target",
        "Error routes[0].candidates[1]: there is no target \"local/smal\"",
        "Warning routes[1].id: never decides: the earlier route \"first\"",
        "Warning routes[2].when: caller.team is never produced",
        "Warning routes[2].candidates[0]: no target has a tag \"gpu\"",
        "Warning routes[3].require: no candidate meets it",
        "Warning routes[4].id: never decides",
    ];
    for part in expected {
        assert!(found.iter().any(|lint| lint.starts_with(part)), "{part} in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_sound_policy_has_no_lints() {
    let found = lints("version: 1\nroutes:\n  - {id: a, when: request.stream}\n  - {id: b}\n");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn what_is_switched_off_may_be_named() {
    let policy = policy(
        "version: 1\nroutes:\n  - {id: a, when: request.stream, candidates: [cloud/off, 'cloud/*', 'tag:far'], require: target.region == \"eu\"}\n  - {id: b, candidates: [cloud/none]}\n",
    );
    let off = [TargetId::new("cloud/off").unwrap()];
    let found = policy.lint(&[profile("local/small", Locality::Device)], &off);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].path.as_str(), found[0].severity), ("routes[1].candidates[0]", Severity::Error));
}

#[test]
fn a_refusal_is_no_way_round_what_else_is_expected() {
    let policy = policy(
        "version: 1\nroutes: [{id: a}]\ntest_targets: [{id: x/y, locality: cloud}]\ntests:\n  - name: n\n    facts: {request.privacy: restricted, request.mode: only_in_cloud}\n    expect: {refused: never leaves, target: x/y, rule: a, placement: [cloud], dropped: {x/y: down}}\n",
    );
    let differences = policy.tests()[0].run(&policy, Facts::default(), &[]);
    assert_eq!(differences.len(), 4, "{differences:?}");
}

#[test]
fn whether_a_route_wants_it_kept_for_later_is_expected_like_all_else() {
    let of = |wants: &str, expected: bool| {
        let text = format!(
            "version: 1\nroutes: [{{id: a{wants}}}]\ntests: [{{name: n, expect: {{respond_async: {expected}}}}}]\n"
        );
        let policy = policy(&text);
        (policy.tests()[0].run(&policy, Facts::default(), &[]), policy.lint_respond_async())
    };
    for (wants, expected) in [("", false), (", respond_async: false", false), (", respond_async: true", true)] {
        let (differences, warnings) = of(wants, expected);
        assert!(differences.is_empty(), "{wants} {differences:?}");
        assert_eq!(
            warnings.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(),
            match expected {
                true => vec!["routes[0].respond_async"],
                false => vec![],
            }
        );
        assert_eq!(of(wants, !expected).0[0].what, "respond_async");
    }
    let refused = policy(
        "version: 1\nroutes: [{id: a, respond_async: true}]\ntest_targets: [{id: x/y, locality: cloud}]\ntests:\n  - name: n\n    facts: {request.privacy: restricted, request.mode: only_in_cloud}\n    expect: {refused: never leaves, respond_async: true}\n",
    );
    assert_eq!(refused.tests()[0].run(&refused, Facts::default(), &[]).len(), 1, "what contradicts itself is not kept");
}

#[test]
fn whether_a_route_gives_answers_again_is_expected_like_all_else() {
    let of = |wants: &str, expected: bool| {
        let text =
            format!("version: 1\nroutes: [{{id: a{wants}}}]\ntests: [{{name: n, expect: {{cache: {expected}}}}}]\n");
        let policy = policy(&text);
        (policy.tests()[0].run(&policy, Facts::default(), &[]), policy.lint_cache())
    };
    for (wants, expected) in [("", false), (", cache: {ttl_s: 60}", true)] {
        let (differences, warnings) = of(wants, expected);
        assert!(differences.is_empty(), "{wants} {differences:?}");
        assert_eq!(warnings.len(), usize::from(expected));
        assert_eq!(of(wants, !expected).0[0].what, "cache");
    }
    let plan = |cache: &str| {
        let policy = policy(&format!("version: 1\nroutes: [{{id: a, cache: {cache}}}]\n"));
        decide(&policy, &Facts::default(), &[]).unwrap().cache().unwrap()
    };
    let rule = |seconds, only_deterministic| CacheRule { ttl: Duration::from_secs(seconds), only_deterministic };
    assert_eq!(plan("{ttl_s: 60}"), rule(60, true));
    assert_eq!(plan("{ttl_s: 2592000, only_deterministic: false}"), rule(2_592_000, false));
    for (cache, problem) in [("{}", "is missing"), ("{ttl_s: 0}", "out of range"), ("{ttl_s: 2592001}", "out of range")]
    {
        let problems = Policy::compile(&document(&format!("version: 1\nroutes: [{{id: a, cache: {cache}}}]\n")));
        let problems = problems.unwrap_err();
        assert_eq!(problems[0].path, "routes[0].cache.ttl_s");
        assert!(problems[0].message.contains(problem), "{problems:?}");
    }
}

/// An answer of a target that is only away may be given again, one of a target that is not wanted for this request never.
#[test]
fn who_could_have_answered() {
    let policy = policy(
        "version: 1\nplacement: [{id: no-b, when: '\"secret\" in request.tags', allow: {providers: [a]}}]\nroutes:\n  - {id: r, candidates: ['a/*', 'b/*'], require: 'target.context_tokens >= 100', limits: {max_attempts: 1}, objective: in_order, cache: {ttl_s: 60}}\n",
    );
    let target = |id: &str, window: u64, state: TargetState| {
        let profile = TargetProfile { context_tokens: Some(window), ..(*profile(id, Locality::Cloud)).clone() };
        TargetFacts::new(Arc::new(profile), state)
    };
    let could = |state: TargetState, window, tags: &[&str], away: bool| {
        let mut facts = Facts::default();
        facts.request.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        facts.moment.connectivity = away.then_some(Connectivity::Offline);
        let targets = [target("b/x", window, state), target("c/other", 1000, TargetState::Ready)];
        let plan = decide(&policy, &facts, &targets).unwrap();
        assert!(!plan.could_have_answered(&TargetId::new("c/other").unwrap()), "the route does not name it");
        plan.could_have_answered(&TargetId::new("b/x").unwrap())
    };
    let down = || TargetState::Down("gone".into());
    assert!(could(TargetState::Ready, 1000, &[], false) && could(TargetState::Ready, 1000, &[], true));
    assert!(could(down(), 1000, &[], false) && could(TargetState::Downloading, 1000, &[], false));
    assert!(could(TargetState::RateLimited { wait: None }, 1000, &[], false));
    for state in [TargetState::Ready, down()] {
        for away in [false, true] {
            assert!(!could(state.clone(), 50, &[], away), "it does not meet the requirement");
            assert!(!could(state.clone(), 1000, &["secret"], away), "a rule forbids it");
        }
    }
}

/// What is measured, spent or a matter of the moment may change; what the request is does not.
#[test]
fn time_alone_takes_few_reasons_away() {
    let over = |limit| DropReason::OverLimit { limit, expected: None, allowed: 1.0 };
    for reason in [
        DropReason::RequirementNotMet { failed: None },
        DropReason::OverBudget { expected: None, remaining: 0.0 },
        over(Limit::Ttft),
        over(Limit::Total),
    ] {
        assert!(reason.may_pass(), "{reason:?}");
    }
    let locality = Locality::Cloud;
    for reason in [
        DropReason::Locality { cause: PlacementCause::Privacy, locality },
        DropReason::NotTheModelAsked,
        DropReason::NotACandidate,
        DropReason::LacksCapability("tools"),
        DropReason::ContextTooSmall { needed: 2, window: 1 },
        over(Limit::Cost),
        over(Limit::Quality),
    ] {
        assert!(!reason.may_pass(), "{reason:?}");
    }
}

#[test]
fn globs_match_whole_ids() {
    let cases = [
        ("*", "a/b", true),
        ("a/*", "a/b", true),
        ("a/*", "ba/b", false),
        ("*/b", "a/b", true),
        ("*/b", "a/bc", false),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c2b", false),
        ("a/b", "a/b", true),
        ("a/b", "a/bc", false),
        ("a*a", "a", false),
        ("**", "a/b", true),
    ];
    for (glob, id, expected) in cases {
        let id = if id.contains('/') { id.to_owned() } else { format!("x/{id}") };
        let glob = if glob.contains('/') || glob.starts_with('*') { glob.to_owned() } else { format!("x/{glob}") };
        assert_eq!(Selector::parse(&glob).selects(&profile(&id, Locality::Device)), expected, "{glob} {id}");
    }
}

#[test]
fn tags_are_selected_by_their_own_globs() {
    let mut tagged = TargetProfile::new(TargetId::new("a/b").unwrap(), Locality::Cloud);
    tagged.tags = vec!["fast".to_owned(), "eu-west".to_owned()];
    for (selector, expected) in [("tag:fast", true), ("tag:eu-*", true), ("tag:slow", false), ("fast", false)] {
        assert_eq!(Selector::parse(selector).selects(&tagged), expected, "{selector}");
    }
}

#[test]
fn a_reference_is_the_id_of_a_target_that_may_be_switched_off() {
    let yaml = "{version: 1, reference: openai/large, routes: [{id: a, when: request.stream, reference: local/small}, {id: b}]}";
    assert_eq!(
        lints(yaml),
        ["Warning reference: what openai/large charges is not known, so nothing avoided is known either"]
    );
    let of = |stream| {
        let facts = Facts { request: RequestFacts { stream, ..RequestFacts::default() }, ..Facts::default() };
        let plan = decide(&policy(yaml), &facts, &[]).unwrap();
        plan.reference().map(TargetId::to_string)
    };
    assert_eq!((of(true).as_deref(), of(false).as_deref()), (Some("local/small"), Some("openai/large")));

    let nobody = "{version: 1, routes: [{id: a, reference: openai/none}]}";
    assert_eq!(lints(nobody), [r#"Error routes[0].reference: there is no target "openai/none""#]);
    let switched_off = [TargetId::new("openai/none").unwrap()];
    assert_eq!(policy(nobody).lint(&[], &switched_off), []);
    assert_eq!(
        problems("{version: 1, reference: gpt, routes: [{id: a}]}"),
        [r#"reference: target id "gpt" is not of the form provider/model"#]
    );
}

#[test]
fn a_request_that_names_its_target_is_priced_against_the_reference_of_the_policy() {
    let policy = policy("{version: 1, reference: openai/large, routes: [{id: a}]}");
    let id = TargetId::new("local/small").unwrap();
    let request = RequestFacts { model: ModelAsked::Target(id), ..RequestFacts::default() };
    let targets = [TargetFacts::new(profile("local/small", Locality::Device), TargetState::Ready)];
    let plan = decide(&policy, &Facts { request, ..Facts::default() }, &targets).unwrap();
    assert_eq!(plan.reference().map(TargetId::as_str), Some("openai/large"));
}
