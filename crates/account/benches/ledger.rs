//! What a record costs: the request that hands it over, and the thread that writes it, in batches as under load.
//!
//! `cargo bench -p account`. The file is on whatever `TMPDIR` names.

#![allow(clippy::expect_used, missing_docs, reason = "a benchmark")]

use std::sync::Arc;
use std::time::Duration;

use account::ledger::{Ledger, LedgerLimits};
use account::{AttemptMade, Decided, ExchangeKind, RequestOutcome, Settlement, StageTimes, Tokens};
use policy::{
    Facts, Latency, Locality, Outcome, Policy, PolicyDocument, Prediction, Price, QualitySignal, RouteDocument,
    TargetFacts, TargetId, TargetProfile, TargetState, decide,
};

/// Records of one run.
const RECORDS: usize = 20_000;

fn main() {
    divan::main();
}

fn id(text: &str) -> TargetId {
    TargetId::new(text).expect("an id")
}

/// An exchange as a gateway with three targets and a classifier settles it.
fn settlement() -> Settlement {
    let prediction = |mean| Prediction { mean, spread: mean / 10.0 };
    let price = Price { input_usd_per_mtok: 3.0, cached_input_usd_per_mtok: 0.3, output_usd_per_mtok: 15.0 };
    let target = |name: &str, locality| {
        let profile = TargetProfile { price: Some(price), ..TargetProfile::new(id(name), locality) };
        let latency = Latency { ttft_ms: prediction(312.125), tokens_per_s: prediction(80.5) };
        TargetFacts { latency: Some(latency), ..TargetFacts::new(Arc::new(profile), TargetState::Ready) }
    };
    let targets = vec![
        target("local/smollm2-135m-instruct", Locality::Device),
        target("openai/gpt-4o-mini", Locality::Cloud),
        target("openai/gpt-4o", Locality::Cloud),
    ];
    let mut facts = Facts::default();
    facts.request.language = Some("en".to_owned());
    facts.signals.task = Some("question_answering".to_owned());
    facts.signals.task_probability = Some(0.876_543_21);
    (facts.signals.personal_data, facts.signals.secrets) = (Some(0), Some(0));
    (facts.signals.kinds, facts.signals.seen_share) = (Some(vec![]), Some(1.0));
    (facts.signals.injection, facts.signals.out_of_distribution) = (Some(0.012_345), Some(false));
    let quality = QualitySignal { probability: 0.712_345_678, standard_error: 0.051_234 };
    facts.signals.quality = targets.iter().map(|target| (target.id().clone(), quality)).collect();
    (facts.moment.minute_of_day, facts.moment.weekday) = (Some(754), Some(3));
    let routes = vec![RouteDocument { id: Some("default".to_owned()), ..RouteDocument::default() }];
    let document = PolicyDocument { version: Some(1), routes, ..PolicyDocument::default() };
    let policy = Policy::compile(&document).expect("a policy");
    let plan = Arc::new(decide(&policy, &facts, &targets).expect("a plan"));
    let tokens = Tokens { input: 812, cached: 0, output: 64, is_estimated: false };
    let mut settlement = Settlement {
        stream: true,
        decided: Some(Decided {
            plan,
            facts: Arc::new(facts),
            targets: Arc::new(targets),
            policy_hash: "0a1b2c".into(),
        }),
        target: Some((id("openai/gpt-4o-mini"), Locality::Cloud)),
        outcome: RequestOutcome::Answered,
        duration: Duration::from_micros(1_234_567),
        stages: StageTimes { parse: Some(Duration::from_micros(35)), ..StageTimes::default() },
        tokens: Some(tokens),
        attempts: vec![AttemptMade {
            target: id("openai/gpt-4o-mini"),
            locality: Locality::Cloud,
            outcome: Outcome::Answered,
            begun_after: Duration::from_micros(312),
            duration: Duration::from_micros(1_234_000),
            time_to_first_token: Some(Duration::from_micros(301_000)),
            tokens: Some(tokens),
            price: Some(price),
            cost_usd: Some(tokens.cost_usd(&price)),
            sent_bytes: 3_412,
            skipped_events: 0,
            is_hedge: false,
        }],
        ..Settlement::begun(ExchangeKind::Request, String::new(), 1_760_000_000_000)
    };
    settlement.add_up();
    settlement
}

/// The settlements of one run, each with an id as the gateway makes them.
fn settlements() -> Vec<Settlement> {
    let one = settlement();
    let named = |n: usize| {
        // Eight of them in a millisecond.
        let begun_ms = one.begun_ms + n as u64 / 8;
        let random = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Settlement {
            request_id: format!("req_{begun_ms:012x}{:04x}{random:016x}", random & 0xffff),
            begun_ms,
            ..one.clone()
        }
    };
    (0..RECORDS).map(named).collect()
}

fn limits() -> LedgerLimits {
    LedgerLimits { queue_max: RECORDS, flush_every: Duration::ZERO, ..LedgerLimits::default() }
}

/// Time of 20 000 records until they are in the file: divide by as much.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn written(bencher: divan::Bencher) {
    let with = || (tempfile::tempdir().expect("a folder"), settlements());
    bencher.with_inputs(with).bench_local_values(|(folder, settlements)| {
        let ledger = Ledger::open(&folder.path().join("ledger.sqlite3"), limits()).expect("a ledger");
        for settlement in &settlements {
            ledger.settled(settlement);
        }
        assert!(ledger.flush());
        (ledger, folder)
    });
}

/// What the request pays: handing one over, while the writer waits for more.
#[divan::bench(sample_count = 20, sample_size = 500)]
fn handed_over(bencher: divan::Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let limits =
        LedgerLimits { queue_max: 1 << 20, flush_every: Duration::from_millis(200), ..LedgerLimits::default() };
    let ledger = Ledger::open(&folder.path().join("ledger.sqlite3"), limits).expect("a ledger");
    let one = settlement();
    bencher.with_inputs(|| one.clone()).bench_local_refs(|settlement| ledger.settled(settlement));
}
