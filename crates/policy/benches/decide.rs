//! A decision with 50 rules and 20 targets, compiling the same, and prompts of every length.
//!
//! `cargo bench -p policy`. The reference in the same run is the crate `cel`'s own interpreter over the same conditions.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::sync::Arc;

use divan::{Bencher, black_box};
use policy::{
    AllowDocument, Facts, Latency, LimitsDocument, Locality, PlacementDocument, Policy, PolicyDocument, Prediction,
    Price, RouteDocument, TargetFacts, TargetId, TargetProfile, TargetState, decide,
};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

const PLACEMENT_RULES: usize = 25;
const ROUTES: usize = 25;
const TARGETS: usize = 20;

/// What conditions of real policies look like: one to three facts each; none matches, so that all are evaluated.
const CONDITIONS: [&str; 5] = [
    "request.privacy == \"restricted\" && \"finance\" in request.tags",
    "request.prompt_tokens > 100000 || (request.messages > 500 && request.in_tool_loop)",
    "request.tags.exists(t, t.startsWith(\"project-\")) && request.stream",
    "moment.hour >= 22 && request.mode in [\"prefer_in_cloud\", \"only_in_cloud\"]",
    "request.model.matches(\"^openai/gpt-[0-9]\") || request.tools && request.vision",
];

fn document() -> PolicyDocument {
    let placement = (0..PLACEMENT_RULES).map(|n| PlacementDocument {
        id: Some(format!("placement-{n}")),
        when: Some(CONDITIONS[n % CONDITIONS.len()].to_owned()),
        allow: AllowDocument { localities: Some(vec!["device".to_owned()]), ..Default::default() },
        ..Default::default()
    });
    let routes = (0..ROUTES).map(|n| RouteDocument {
        id: Some(format!("route-{n}")),
        when: (n + 1 < ROUTES).then(|| CONDITIONS[n % CONDITIONS.len()].to_owned()),
        candidates: Some(vec!["local/*".to_owned(), "cloud/*".to_owned(), "tag:fast".to_owned()]),
        require: Some("target.tools && target.context_tokens > 4000".to_owned()),
        limits: LimitsDocument {
            max_cost_usd: Some(1.0),
            ttft_slo_ms: Some(2000.0),
            max_attempts: Some(6),
            ..Default::default()
        },
        ..Default::default()
    });
    let (placement, routes) = (placement.collect(), routes.collect());
    PolicyDocument { version: Some(1), placement, routes, ..Default::default() }
}

fn targets() -> Vec<TargetFacts> {
    let target = |n: usize| {
        let (locality, provider) =
            if n.is_multiple_of(4) { (Locality::Device, "local") } else { (Locality::Cloud, "cloud") };
        let mut profile = TargetProfile::new(TargetId::new(&format!("{provider}/model-{n}")).unwrap(), locality);
        let about = |mean| Prediction { mean, spread: mean / 5.0 };
        let usd = n as f64 / 10.0;
        profile.context_tokens = Some(32_000);
        profile.price =
            Some(Price { input_usd_per_mtok: usd, cached_input_usd_per_mtok: usd, output_usd_per_mtok: 4.0 * usd });
        profile.latency = Some(Latency { ttft_ms: about(100.0 + n as f64), tokens_per_s: about(50.0) });
        TargetFacts::new(Arc::new(profile), TargetState::Ready)
    };
    (0..TARGETS).map(target).collect()
}

fn facts(prompt_tokens: u64) -> Facts {
    let mut facts = Facts::default();
    facts.request.prompt_tokens = prompt_tokens;
    facts.request.tags = vec!["interactive".to_owned(), "team-a".to_owned()];
    facts.moment.minute_of_day = Some(600);
    facts
}

#[divan::bench]
fn decide_50_rules_20_targets(bencher: Bencher<'_, '_>) {
    let (policy, targets, facts) = (Policy::compile(&document()).unwrap(), targets(), facts(1000));
    bencher.bench(|| decide(black_box(&policy), black_box(&facts), black_box(&targets)));
}

/// The columns of allocations have to be the same for each.
#[divan::bench(args = [10, 1_000, 30_000])]
fn decide_by_prompt_tokens(bencher: Bencher<'_, '_>, prompt_tokens: u64) {
    let (policy, targets, facts) = (Policy::compile(&document()).unwrap(), targets(), facts(prompt_tokens));
    bencher.bench(|| decide(black_box(&policy), black_box(&facts), black_box(&targets)));
}

#[divan::bench]
fn compile_50_rules(bencher: Bencher<'_, '_>) {
    let document = document();
    bencher.bench(|| Policy::compile(black_box(&document)));
}

/// The reference: the same 50 conditions by the interpreter of `cel`, its facts prepared beforehand.
#[divan::bench]
fn reference_cel_interpreter_50_conditions(bencher: Bencher<'_, '_>) {
    use std::collections::HashMap;
    let mut context = cel::Context::default();
    let request: HashMap<&str, cel::Value> = HashMap::from([
        ("privacy", "internal".into()),
        ("tags", vec!["interactive", "team-a"].into()),
        ("prompt_tokens", 1000.into()),
        ("messages", 1.into()),
        ("in_tool_loop", false.into()),
        ("stream", false.into()),
        ("mode", "prefer_on_device".into()),
        ("tools", false.into()),
        ("vision", false.into()),
        ("model", "auto".into()),
    ]);
    context.add_variable_from_value("request", request);
    context.add_variable_from_value("moment", HashMap::from([("hour", 10)]));
    // Without `matches`, for which the crate builds its expression anew each time.
    let programs: Vec<_> =
        (0..50).map(|n| cel::Program::compile(CONDITIONS[n % (CONDITIONS.len() - 1)]).unwrap()).collect();
    bencher.bench(|| programs.iter().filter(|program| program.execute(black_box(&context)).is_ok()).count());
}

fn main() {
    divan::main();
}
