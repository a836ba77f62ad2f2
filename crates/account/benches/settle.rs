//! What settling one request costs the metrics: `cargo bench -p account`. Beside it, what looking up as many handles by the hash of their label
//! values costs, as the library does it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::time::Duration;

use account::metrics::Source;
use account::{AttemptMade, ExchangeKind, Metrics, RequestOutcome, Settlement, StageTimes, Tokens};
use policy::{Locality, Outcome, TargetId};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

fn main() {
    divan::main();
}

fn settlement() -> Settlement {
    let target = TargetId::new("local/small").unwrap();
    let tokens = Tokens { input: 7, cached: 0, output: 21, is_estimated: false };
    let attempt = AttemptMade {
        target: target.clone(),
        locality: Locality::Device,
        outcome: Outcome::Answered,
        begun_after: Duration::from_millis(1),
        duration: Duration::from_millis(1400),
        time_to_first_token: Some(Duration::from_millis(39)),
        tokens: Some(tokens),
        price: None,
        cost_usd: None,
        sent_bytes: 100,
        skipped_events: 0,
        is_hedge: false,
    };
    Settlement {
        target: Some((target, Locality::Device)),
        outcome: RequestOutcome::Answered,
        stream: true,
        duration: Duration::from_millis(1500),
        stages: StageTimes { decide: Some(Duration::from_micros(3)), ..StageTimes::default() },
        time_to_first_token: Some(Duration::from_millis(40)),
        tokens: Some(tokens),
        attempts: vec![attempt],
        ..Settlement::begun(ExchangeKind::Request, "r".to_owned(), 0)
    }
}

#[divan::bench]
fn settle(bencher: divan::Bencher<'_, '_>) {
    let metrics = Metrics::new("0").unwrap();
    metrics.declare(Source::Targets, ["cloud/a", "cloud/b", "local/small"]);
    let settlement = settlement();
    bencher.bench_local(|| metrics.settle(divan::black_box(&settlement)));
}

/// The same handles without families.
#[divan::bench]
fn hashed(bencher: divan::Bencher<'_, '_>) {
    let counter = |name: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, "x"), labels).unwrap();
    let histogram = |name: &str, labels: &[&str]| HistogramVec::new(HistogramOpts::new(name, "x"), labels).unwrap();
    let (requests, tokens_in, tokens_out) =
        (counter("a", &["t", "l", "o"]), counter("b", &["t", "l", "c"]), counter("c", &["t", "l", "c"]));
    let cached = counter("i", &["t", "l"]);
    let (attempts, duration) = (counter("d", &["t", "o"]), histogram("e", &["t", "l", "s"]));
    let (first, step, route) = (histogram("f", &["t", "l"]), histogram("g", &["t", "l"]), histogram("h", &["s"]));
    let words = divan::black_box(["local/small", "device", "answered", "reported", "true", "decide"]);
    let [target, locality, outcome, counted, stream, stage] = words;
    bencher.bench_local(|| {
        requests.with_label_values(&[target, locality, outcome]).inc();
        duration.with_label_values(&[target, locality, stream]).observe(1.5);
        first.with_label_values(&[target, locality]).observe(0.04);
        step.with_label_values(&[target, locality]).observe(0.073);
        tokens_in.with_label_values(&[target, locality, counted]).inc_by(7);
        cached.with_label_values(&[target, locality]).inc_by(0);
        tokens_out.with_label_values(&[target, locality, counted]).inc_by(21);
        route.with_label_values(&[stage]).observe(3e-6);
        attempts.with_label_values(&[target, outcome]).inc();
    });
}
