//! What classifying a request takes, tokenising included, with each profile: `cargo bench -p signals --bench classify`.
//!
//! Needs ONNX Runtime (`tidegate artifacts install`), and for the profile `layers2` its weights (`tidegate artifacts install minilm-l6-v2`); where these
//! are not here, that profile is left out and said to be. Printed: median and 99th percentile over single requests that are not remembered,
//! a remembered one for comparison, and the memory that loading took. Each profile is measured in a process of its own, so that one's memory is not
//! the other's; `-- static` or `-- layers2` measures one in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifacts::{Home, Manifest, Settings, Store};
use signals::classify::layers2::encoder_model;
use signals::classify::{Files, Tagger, Tagging};
use signals::scan::{ScanConfig, Scanner};
use signals::{Classifier, Reader};
use wire::ChatRequest;

type Failure = Box<dyn std::error::Error>;

const PROFILES: [&str; 2] = ["static", "layers2"];
const TOKENS: [usize; 4] = [32, 128, 512, 8000];
/// Single requests for each length; the tagger, which looks at all of a text, gets fewer of the long ones.
const RUNS: usize = 400;
const RUNS_TAGGED: usize = 100;
const LATER: Duration = Duration::from_secs(600);

fn main() -> Result<(), Failure> {
    let named = std::env::args().skip(1).find(|argument| PROFILES.contains(&argument.as_str()));
    match named {
        Some(profile) => measure(&profile),
        None => PROFILES.iter().try_for_each(|profile| {
            let status = std::process::Command::new(std::env::current_exe()?).arg(profile).status()?;
            if status.success() { Ok(()) } else { Err(format!("{profile}: {status}").into()) }
        }),
    }
}

fn measure(profile: &str) -> Result<(), Failure> {
    let store = Store::new(Home::from_env()?, Manifest::embedded()?, Settings::from_env());
    let runtime = store.find("onnxruntime")?.ok_or("ONNX Runtime is not here: tidegate artifacts install")?.path;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/router-v1");
    let weights = store.find("minilm-l6-v2")?.map(|found| found.path);
    let files = match (profile, weights) {
        ("static", _) => Files::read(&folder)?,
        (_, Some(weights)) => layers2(&folder, &weights)?,
        (_, None) => {
            println!("\n{profile}: left out, its weights are not here: tidegate artifacts install minilm-l6-v2");
            return Ok(());
        }
    };
    let (before, began) = (resident_kib(), Instant::now());
    let classifier = Classifier::new(&files, &runtime)?;
    let took = began.elapsed();
    drop(files);
    let after = resident_kib();
    println!(
        "\n{profile}: loaded in {took:.1?}, resident memory {} MiB before, {} MiB after",
        before >> 10,
        after >> 10
    );
    println!(
        "| tokens | classify p50 | p99 | whole request with scan p50 | p99 | remembered p50 |\n|---|---|---|---|---|---|"
    );
    let encoded: Vec<_> = TOKENS.iter().map(|tokens| times(RUNS, |n| encode(&classifier, *tokens, n))).collect();
    let encoder = Arc::clone(classifier.encoder());
    let scanner = Arc::new(Scanner::new(&ScanConfig::default()).map_err(|_| "the scanner")?);
    let reader = Reader::new(Arc::clone(&scanner), Some(classifier), LATER);
    for (tokens, (p50, p99)) in TOKENS.iter().zip(encoded) {
        let (whole_p50, whole_p99) = times(RUNS, |n| read(&reader, *tokens, n, false));
        let (known_p50, _) = times(RUNS, |_| read(&reader, *tokens, 0, false));
        println!("| {tokens} | {p50:.3?} | {p99:.3?} | {whole_p50:.3?} | {whole_p99:.3?} | {known_p50:.3?} |");
    }
    if encoder.has_tokens() {
        let tagger = Tagger::parse(&std::fs::read(folder.join("layers2/tagger.json"))?)?;
        let tagging = Tagging { tagger: Arc::new(tagger), encoder, deadline: LATER };
        let reader = Reader::new(scanner, None, LATER).with_tagger(Some(tagging));
        println!("\ntagger alone, which reads the whole text:\n| tokens | p50 | p99 |\n|---|---|---|");
        for tokens in TOKENS {
            let runs = if tokens > 1000 { RUNS_TAGGED / 10 } else { RUNS_TAGGED };
            let (p50, p99) = times(runs, |n| read(&reader, tokens, n, true));
            println!("| {tokens} | {p50:.3?} | {p99:.3?} ({runs} runs) |");
        }
    }
    println!("resident memory at the end {} MiB", resident_kib() >> 10);
    Ok(())
}

/// The files of the profile `layers2`, its encoder made of the weights as the gateway makes it.
fn layers2(folder: &Path, weights: &Path) -> Result<Files, Failure> {
    let whole = tempfile::tempdir()?;
    let copy = |from: PathBuf, name: &str| std::fs::copy(from, whole.path().join(name));
    copy(folder.join("tokenizer.json"), "tokenizer.json")?;
    for name in ["heads.json", "SHA256SUMS"] {
        copy(folder.join("layers2").join(name), name)?;
    }
    let graph = std::fs::read(folder.join("layers2/graph.onnx"))?;
    std::fs::write(whole.path().join("encoder.onnx"), encoder_model(&graph, weights)?)?;
    Ok(Files::read(whole.path())?)
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
    let vector = classifier.encoder().encode(&text, began + LATER);
    let hand = signals::classify::hand::features(&text);
    let said = vector.map(|vector| {
        let turn = signals::classify::Turn { hand: &hand, tokens: vector.tokens, language: Some("en") };
        classifier.classify(&vector.vector, &turn)
    });
    let took = began.elapsed();
    assert!(said.is_ok());
    took
}

fn read(reader: &Reader, tokens: usize, n: usize, tag: bool) -> Duration {
    let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"{}"}}]}}"#, prompt(tokens, n));
    let request = ChatRequest::parse(body.into());
    let began = Instant::now();
    let report = request.map(|request| reader.read(&request, began, tag));
    let took = began.elapsed();
    assert!(report.is_ok_and(|report| if tag { report.entities.is_some() } else { report.classification.is_ok() }));
    took
}

/// Median and 99th percentile of so many runs after one that does not count.
fn times(runs: usize, run: impl Fn(usize) -> Duration) -> (Duration, Duration) {
    run(runs + 1);
    let mut took: Vec<_> = (1..=runs).map(run).collect();
    took.sort_unstable();
    (took[runs / 2], took[(runs * 99 / 100).min(runs - 1)])
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok()).unwrap_or_default()
}
