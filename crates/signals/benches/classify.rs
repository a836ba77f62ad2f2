//! What classifying a request takes, tokenising included: `cargo bench -p signals --bench classify`.
//!
//! Needs ONNX Runtime (`tidegate artifacts install`). Printed: median and 99th percentile over single requests that are not
//! remembered, a remembered one for comparison, and the memory that loading took.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifacts::{Home, Manifest, Settings, Store};
use signals::scan::{ScanConfig, Scanner};
use signals::{Classifier, Reader};
use wire::ChatRequest;

const RUNS: usize = 400;
const TOKENS: [usize; 4] = [32, 128, 512, 8000];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::new(Home::from_env()?, Manifest::embedded()?, Settings::from_env());
    let runtime = store.find("onnxruntime")?.ok_or("ONNX Runtime is not installed")?.path;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/router-v1");
    let before = resident_kib();
    let began = Instant::now();
    let classifier = Classifier::load(&folder, &runtime)?;
    println!("loaded in {:?}, resident memory + {} MiB", began.elapsed(), (resident_kib() - before) / 1024);
    println!("| tokens | classify p50 | p99 | with scan p50 | p99 | remembered p50 |\n|---|---|---|---|---|---|");
    let encoder_only: Vec<_> = TOKENS.iter().map(|tokens| times(|n| encode(&classifier, *tokens, n))).collect();
    let scanner = Arc::new(Scanner::new(&ScanConfig::default()).map_err(|_| "the scanner")?);
    let reader = Reader::new(scanner, Some(classifier), Duration::from_secs(10));
    for (tokens, (p50, p99)) in TOKENS.iter().zip(encoder_only) {
        let (whole_p50, whole_p99) = times(|n| read(&reader, *tokens, n));
        let (known_p50, _) = times(|_| read(&reader, *tokens, 0));
        println!("| {tokens} | {p50:?} | {p99:?} | {whole_p50:?} | {whole_p99:?} | {known_p50:?} |");
    }
    Ok(())
}

/// A prompt of about so many tokens, another for each number.
fn prompt(tokens: usize, n: usize) -> String {
    const WORDS: [&str; 12] =
        ["how", "does", "the", "river", "reach", "a", "city", "when", "winter", "comes", "early", "again"];
    // A linear congruential generator is enough to tell prompts apart.
    let mut state = n as u64 ^ 0x9e37_79b9;
    let words = (0..tokens).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 33) as usize % WORDS.len()]
    });
    words.collect::<Vec<_>>().join(" ")
}

fn encode(classifier: &Classifier, tokens: usize, n: usize) -> Duration {
    let text = prompt(tokens, n);
    let began = Instant::now();
    let vector = classifier.encoder().encode(&text, began + Duration::from_secs(10));
    let hand = signals::classify::hand::features(&text);
    let said = vector.map(|vector| {
        let turn = signals::classify::Turn { hand: &hand, tokens: vector.tokens, language: Some("en") };
        classifier.classify(&vector.vector, &turn)
    });
    let took = began.elapsed();
    assert!(said.is_ok());
    took
}

fn read(reader: &Reader, tokens: usize, n: usize) -> Duration {
    let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"{}"}}]}}"#, prompt(tokens, n));
    let request = ChatRequest::parse(body.into());
    let began = Instant::now();
    let report = request.map(|request| reader.read(&request, began, false));
    let took = began.elapsed();
    assert!(report.is_ok_and(|report| report.classification.is_ok()));
    took
}

/// Median and 99th percentile.
fn times(run: impl Fn(usize) -> Duration) -> (Duration, Duration) {
    let mut took: Vec<_> = (1..=RUNS).map(run).collect();
    took.sort_unstable();
    (took[RUNS / 2], took[RUNS * 99 / 100])
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok()).unwrap_or_default()
}
