//! Recall and false alarms of the privacy scan on public texts.
//!
//! `cargo run --release -p signals --example evaluate_scan -- DATA [--show]`, where DATA is the folder with `presidio_research`,
//! `ulab_llmrouter`, `bbh` and `arena_hard`. Recognisers were tuned on the templates with an even number; those with an odd one
//! report. `--show` prints what was missed and what alarmed, of the even half and the ordinary prompts only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a tool that stops at the first surprise")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    time::Instant,
};

use flate2::read::GzDecoder;
use serde::Deserialize;
use signals::scan::{Category, Finding, ScanConfig, Scanner};

/// Entity types of the set that the scan is responsible for, with the words of the kinds that count as a hit.
const ENTITIES: [(&str, &[&str]); 7] = [
    ("CREDIT_CARD", &["payment_card"]),
    ("IBAN_CODE", &["iban"]),
    ("US_SSN", &["us_ssn", "us_itin"]),
    ("PHONE_NUMBER", &["phone"]),
    ("EMAIL_ADDRESS", &["email"]),
    ("IP_ADDRESS", &["ip_address"]),
    ("US_DRIVER_LICENSE", &["driving_licence"]),
];
const HALVES: [&str; 2] = ["even (tuned on)", "odd (reported)"];

#[derive(Deserialize)]
struct Sample {
    full_text: String,
    spans: Vec<Entity>,
    template_id: usize,
}

#[derive(Deserialize)]
struct Entity {
    entity_type: String,
    start_position: usize,
    end_position: usize,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let data = PathBuf::from(arguments.next().expect("the folder of the data"));
    let show = arguments.next().is_some_and(|argument| argument == "--show");
    let scanner = Scanner::new(&ScanConfig::default()).unwrap();
    recall(&scanner, &data.join("presidio_research/synth_dataset_v2.json.gz"), show);
    alarms(&scanner, &data, show);
}

fn unzip(path: &Path) -> String {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// What became of the entities and findings of one type in one half.
#[derive(Default)]
struct Count {
    entities: usize,
    /// Covered by a finding of its kind, each character of it.
    found: usize,
    /// Touched by a finding of any kind.
    touched: usize,
    findings: usize,
    /// Findings of its kind that touch no entity of its type.
    wrong: usize,
}

fn recall(scanner: &Scanner, path: &Path, show: bool) {
    let samples: Vec<Sample> = serde_json::from_str(&unzip(path)).unwrap();
    let mut counts: BTreeMap<(usize, &str), Count> = BTreeMap::new();
    let mut others: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for sample in &samples {
        let half = sample.template_id % 2;
        let findings = scanner.scan(&sample.full_text);
        let bytes: Vec<usize> =
            sample.full_text.char_indices().map(|(at, _)| at).chain([sample.full_text.len()]).collect();
        let entities: Vec<(&str, Range<usize>)> = sample
            .spans
            .iter()
            .map(|entity| (entity.entity_type.as_str(), bytes[entity.start_position]..bytes[entity.end_position]))
            .collect();
        for (name, kinds) in ENTITIES {
            let count = counts.entry((half, name)).or_default();
            let own: Vec<&Finding> = findings.iter().filter(|finding| kinds.contains(&finding.kind.as_str())).collect();
            for (_, span) in entities.iter().filter(|(entity, _)| *entity == name) {
                count.entities += 1;
                let found = own.iter().any(|finding| finding.span.start <= span.start && span.end <= finding.span.end);
                count.found += usize::from(found);
                count.touched += usize::from(findings.iter().any(|finding| touches(&finding.span, span)));
                if show && half == 0 && !found {
                    println!("missed {name}: {:?}", around(&sample.full_text, span));
                }
            }
            for finding in own {
                count.findings += 1;
                if !entities.iter().any(|(entity, span)| *entity == name && touches(&finding.span, span)) {
                    count.wrong += 1;
                    if show && half == 0 {
                        println!("wrong {name}: {:?}", around(&sample.full_text, &finding.span));
                    }
                }
            }
        }
        for finding in &findings {
            if !ENTITIES.iter().any(|(_, kinds)| kinds.contains(&finding.kind.as_str())) {
                *others.entry((half, finding.kind.as_str().to_owned())).or_default() += 1;
                if show && half == 0 {
                    println!("other {}: {:?}", finding.kind.as_str(), around(&sample.full_text, &finding.span));
                }
            }
        }
    }
    println!("\n| entity | templates | entities | found | recall | touched by any finding | findings | false alarms |");
    println!("|---|---|---|---|---|---|---|---|");
    for ((half, name), count) in &counts {
        let share = if count.entities == 0 {
            "-".to_owned()
        } else {
            format!("{:.3}", count.found as f64 / count.entities as f64)
        };
        println!(
            "| {name} | {} | {} | {} | {share} | {} | {} | {} |",
            HALVES[*half], count.entities, count.found, count.touched, count.findings, count.wrong
        );
    }
    println!("\nOther findings, in {} texts:", samples.len());
    for ((half, kind), count) in others {
        println!("- {kind}, {}: {count}", HALVES[half]);
    }
}

fn touches(left: &Range<usize>, right: &Range<usize>) -> bool {
    left.start < right.end && right.start < left.end
}

/// The span with what stands around it.
fn around<'a>(text: &'a str, span: &Range<usize>) -> (&'a str, &'a str) {
    let (mut start, mut end) = (span.start.saturating_sub(60), text.len().min(span.end + 30));
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    (&text[span.clone()], &text[start..end])
}

fn alarms(scanner: &Scanner, data: &Path, show: bool) {
    let sets = [
        ("ulab_llmrouter/default_query_train.jsonl.gz", "query"),
        ("ulab_llmrouter/default_query_test.jsonl.gz", "query"),
        ("bbh/bbh.jsonl.gz", "prompt"),
        ("arena_hard/question_v0.1.jsonl.gz", "prompt"),
        ("arena_hard/question_v2.0.jsonl.gz", "prompt"),
    ];
    println!("\n| prompts | number | MB | with personal data | with secrets | with any | share | MB/s |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let (mut all, mut all_alarmed) = (0, 0);
    for (path, field) in sets {
        let lines = unzip(&data.join(path));
        let prompts: Vec<String> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()[field].as_str().unwrap().to_owned())
            .collect();
        let (mut personal, mut secret, mut any) = (0, 0, 0);
        let started = Instant::now();
        let results: Vec<_> = prompts.iter().map(|prompt| scanner.scan(prompt)).collect();
        let elapsed = started.elapsed();
        for (prompt, findings) in prompts.iter().zip(&results) {
            personal += usize::from(findings.count(Category::PersonalData) > 0);
            secret += usize::from(findings.count(Category::Secret) > 0);
            any += usize::from(!findings.is_empty());
            let found: std::collections::BTreeSet<&str> =
                findings.iter().map(|finding| finding.kind.as_str()).collect();
            for kind in found {
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
            if show {
                for finding in findings {
                    println!(
                        "alarm {} {:.2}: {:?}",
                        finding.kind.as_str(),
                        finding.confidence,
                        around(prompt, &finding.span)
                    );
                }
            }
        }
        let bytes: usize = prompts.iter().map(String::len).sum();
        let megabytes = bytes as f64 / 1e6;
        println!(
            "| `{path}` | {} | {megabytes:.2} | {personal} | {secret} | {any} | {:.2} % | {:.0} |",
            prompts.len(),
            100.0 * f64::from(any as u32) / prompts.len() as f64,
            megabytes / elapsed.as_secs_f64()
        );
        all += prompts.len();
        all_alarmed += any;
    }
    println!("| all | {all} | | | | {all_alarmed} | {:.2} % | |", 100.0 * all_alarmed as f64 / all as f64);
    println!("\nPrompts with a finding of each kind:");
    for (kind, count) in kinds {
        println!("- {kind}: {count}");
    }
}
