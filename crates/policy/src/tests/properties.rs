//! Properties over random policies, facts, target sets and sequences of outcomes.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Conditions over facts that may be absent, true or false.
const CONDITIONS: [&str; 10] = [
    "true",
    "false",
    "signals.personal_data > 0",
    "!(signals.personal_data > 0)",
    "signals.injection > 0.5 || request.stream",
    "request.prompt_tokens > 1000",
    "\"a\" in request.tags",
    "moment.hour < 12 && signals.secrets == 0",
    "caller.team == \"x\"",
    "has(signals.task) && signals.task == \"code\"",
];
const OBJECTIVES: [&str; 6] =
    ["cheapest_that_suffices", "fastest", "best_quality", "prefer_on_device", "prefer_in_cloud", "in_order"];
const GLOBS: [&str; 5] = ["*", "p0/*", "p1/*", "tag:t", "*/m1"];

fn any_rule() -> impl Strategy<Value = PlacementDocument> {
    let localities =
        select(vec![vec!["device"], vec!["cloud"], vec!["device", "network"], vec!["device", "network", "cloud"]]);
    let words = |choices: &'static [&'static str]| proptest::option::of(vec(select(choices), 1..3));
    (
        select(&CONDITIONS[..]),
        proptest::option::of(localities),
        words(&["p0", "p1"]),
        words(&["eu", "us"]),
        any::<bool>(),
    )
        .prop_map(|(when, localities, providers, regions, redact)| {
            let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let allow = AllowDocument {
                localities: localities.map(owned),
                providers: providers.map(owned),
                regions: regions.map(owned),
            };
            PlacementDocument { when: Some(when.to_owned()), allow, redact: Some(redact), ..Default::default() }
        })
}

fn any_route() -> impl Strategy<Value = RouteDocument> {
    let limit = |most: f64| proptest::option::of(0.0..most);
    (select(&CONDITIONS[..]), vec(select(&GLOBS[..]), 1..3), select(&OBJECTIVES[..]), limit(0.01), limit(1.0), 1u64..6)
        .prop_map(|(when, globs, objective, max_cost_usd, min_quality, attempts)| RouteDocument {
            when: Some(when.to_owned()),
            candidates: Some(globs.into_iter().map(str::to_owned).collect()),
            objective: Some(objective.to_owned()),
            limits: LimitsDocument { max_cost_usd, min_quality, max_attempts: Some(attempts), ..Default::default() },
            when_none: WhenNoneDocument { relax: min_quality.map(|_| "min_quality".to_owned()), refuse: None },
            ..Default::default()
        })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (vec(any_rule(), 0..5), vec(any_route(), 1..5)).prop_map(|(mut placement, mut routes)| {
        placement.retain(|rule| rule.redact == Some(true) || rule.allow.localities.is_some());
        for (n, rule) in placement.iter_mut().enumerate() {
            rule.id = Some(format!("p{n}"));
        }
        for (n, route) in routes.iter_mut().enumerate() {
            route.id = Some(format!("r{n}"));
        }
        let document = PolicyDocument { version: Some(1), placement, routes, ..Default::default() };
        Policy::compile(&document).unwrap_or_else(|problems| panic!("{problems:#?}"))
    })
}

fn any_state() -> impl Strategy<Value = TargetState> {
    let words = ["ready", "ready", "loading", "cold", "downloading", "unreachable", "breaker_open", "down"];
    select(words.to_vec()).prop_map(|word| TargetState::parse(word).unwrap())
}

fn any_targets() -> impl Strategy<Value = Vec<TargetFacts>> {
    let region = select(vec![None, Some("eu"), Some("us")]);
    let target =
        (select(Locality::ALL.to_vec()), region, any_state(), proptest::option::of(0.0..1.0f64), any::<bool>());
    vec(target, 0..6).prop_map(|targets| {
        let facts = |(n, (locality, region, state, quality, tagged)): (usize, (_, Option<&str>, _, _, bool))| {
            let id = TargetId::new(&format!("p{}/m{n}", n % 2)).unwrap();
            let mut profile = TargetProfile::new(id, locality);
            profile.region = region.map(str::to_owned);
            profile.quality = quality;
            profile.tags = tagged.then(|| "t".to_owned()).into_iter().collect();
            TargetFacts::new(Arc::new(profile), state)
        };
        targets.into_iter().enumerate().map(facts).collect()
    })
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let conversation = (proptest::option::of(select(Privacy::ALL.to_vec())), proptest::option::of(0usize..6));
    let signals = (proptest::option::of(0u64..3), proptest::option::of(0.0..1.0f64), proptest::option::of(0u64..2));
    let request = (select(Mode::ALL.to_vec()), select(Privacy::ALL.to_vec()), 0u64..3000, any::<[bool; 3]>());
    (request, signals, conversation, proptest::option::of(0u32..1440)).prop_map(
        |((mode, privacy, prompt_tokens, [stream, tagged, in_tool_loop]), signals, conversation, minute)| {
            let mut facts = Facts::default();
            let tags = tagged.then(|| "a".to_owned()).into_iter().collect();
            facts.request =
                RequestFacts { mode, privacy, prompt_tokens, stream, tags, in_tool_loop, ..RequestFacts::default() };
            (facts.signals.personal_data, facts.signals.injection, facts.signals.secrets) = signals;
            facts.moment.minute_of_day = minute;
            facts.conversation.strictest_privacy = conversation.0;
            let id = |n: usize| TargetId::new(&format!("p{}/m{n}", n % 2)).unwrap();
            facts.conversation.previous_target = conversation.1.map(id);
            facts
        },
    )
}

/// Every outcome that a try can have.
fn any_outcome() -> impl Strategy<Value = Outcome> {
    use Outcome::*;
    let fixed = vec![
        WorkerUnavailable,
        QueueFull,
        ConnectFailed,
        ConnectionLost,
        FirstTokenTimeout,
        IdleTimeout,
        TotalTimeout,
        InvalidAnswer,
        ContextExceeded(400),
        ContentFiltered(400),
        CallerGone,
    ];
    prop_oneof![select(fixed), (400u16..600).prop_map(Outcome::of_error_status)]
}

/// The targets that a dispatcher asks for a plan, with one outcome for each try; with a hedge where `hedged` says so.
fn asked<'a>(plan: &'a Plan, outcomes: &[(Outcome, bool)]) -> Vec<&'a Attempt> {
    let (mut walk, mut asked) = (Walk::new(plan), Vec::new());
    let mut step = walk.advance(plan);
    for (outcome, hedged) in outcomes {
        let Some(Step { place, attempt, .. }) = step else { break };
        asked.push(attempt);
        if *hedged && let Some(beside) = walk.advance(plan) {
            asked.push(beside.attempt);
        }
        step = walk.after(plan, place, *outcome, None, Duration::from_secs(60), 0.5);
    }
    asked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_request_that_stays_on_the_device_is_never_sent_elsewhere(
        policy in any_policy(), facts in any_facts(), targets in any_targets(), outcomes in vec((any_outcome(), any::<bool>()), 0..12)
    ) {
        let Ok(plan) = decide(&policy, &facts, &targets) else { return Ok(()) };
        let asked = asked(&plan, &outcomes);
        prop_assert!(asked.len() <= plan.tries_max() as usize);
        for attempt in plan.attempts() {
            let tries = asked.iter().filter(|asked| asked.target() == attempt.target()).count();
            prop_assert!(tries <= TRIES_PER_TARGET_MAX as usize);
        }
        for attempt in asked.into_iter().chain(plan.attempts()) {
            prop_assert!(plan.placement().forbids(attempt.profile()).is_none());
            if facts.effective_privacy().stays_on_device() || facts.request.mode == Mode::OnlyOnDevice {
                prop_assert_eq!(attempt.locality(), Locality::Device);
            }
        }
    }

    #[test]
    fn every_target_is_tried_or_dropped_with_a_reason(
        policy in any_policy(), facts in any_facts(), targets in any_targets()
    ) {
        let Ok(plan) = decide(&policy, &facts, &targets) else { return Ok(()) };
        let tried = plan.attempts().iter().map(|attempt| attempt.target());
        let mut seen: Vec<_> = tried.chain(plan.dropped().iter().map(|dropped| &dropped.profile.id)).collect();
        seen.sort();
        let mut all: Vec<_> = targets.iter().map(TargetFacts::id).collect();
        all.sort();
        prop_assert_eq!(seen, all);
        for dropped in plan.dropped() {
            prop_assert!(DropReason::CODES.contains(&dropped.reason.code()));
            prop_assert!(!dropped.reason.explain().is_empty());
        }
    }

    #[test]
    fn deciding_twice_gives_the_same_plan(policy in any_policy(), facts in any_facts(), targets in any_targets()) {
        prop_assert_eq!(decide(&policy, &facts, &targets), decide(&policy, &facts, &targets));
    }

    /// Forgetting a fact (a classifier that did not run, a clock that cannot be read) never opens a way.
    #[test]
    fn an_absent_fact_never_widens(
        policy in any_policy(), facts in any_facts(), targets in any_targets(),
        name in select(vec!["signals.personal_data", "signals.injection", "signals.secrets", "moment.minute_of_day"])
    ) {
        let mut forgotten = facts.clone();
        forgotten.set(name, &FactValue::Absent).unwrap();
        let (Ok(knowing), Ok(ignorant)) = (decide(&policy, &facts, &targets), decide(&policy, &forgotten, &targets))
        else { return Ok(()) };
        for target in &targets {
            if knowing.placement().forbids(&target.profile).is_some() {
                prop_assert!(ignorant.placement().forbids(&target.profile).is_some(), "{}", target.id());
            }
        }
    }

    /// Adding a rule only ever takes something away.
    #[test]
    fn a_further_rule_never_widens(
        policy in any_policy(), more in any_policy(), facts in any_facts(), targets in any_targets()
    ) {
        let mut narrower = policy.clone();
        narrower.placement.extend(more.placement);
        let (Ok(wide), Ok(narrow)) = (decide(&policy, &facts, &targets), decide(&narrower, &facts, &targets))
        else { return Ok(()) };
        for target in &targets {
            if wide.placement().forbids(&target.profile).is_some() {
                prop_assert!(narrow.placement().forbids(&target.profile).is_some());
            }
        }
    }
}
