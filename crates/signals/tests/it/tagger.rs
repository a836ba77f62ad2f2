//! The shipped tagger: it computes what training computed, keeps its time, and gives requests their entities.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use signals::classify::{NotEncoded, Tagger, Tagging};
use signals::scan::{ScanConfig, Scanner};
use signals::{Reader, Report};
use wire::ChatRequest;

use super::{layers2, layers2_folder};

const TOLERANCE: f32 = 1e-3;

static TAGGER: LazyLock<Arc<Tagger>> =
    LazyLock::new(|| Arc::new(Tagger::parse(&std::fs::read(layers2_folder().join("tagger.json")).unwrap()).unwrap()));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    text: String,
    words: usize,
    first: Vec<f32>,
    last: Vec<f32>,
    findings: Vec<(usize, usize, String, f32)>,
}

fn scanner(config: &ScanConfig) -> Arc<Scanner> {
    Arc::new(Scanner::new(config).unwrap())
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

#[test]
fn what_is_found_is_what_training_found() {
    let file = std::fs::read(layers2_folder().join("tagger-parity.json")).unwrap();
    let examples: Vec<Example> = serde_json::from_slice(&file).unwrap();
    assert!(examples.iter().any(|example| example.findings.len() > 20) && examples.len() > 15);
    let scanner = scanner(&ScanConfig::default());
    for example in examples {
        let text = &example.text;
        let words = TAGGER.words(layers2().encoder(), text, later()).unwrap();
        assert_eq!(words.len(), example.words, "{text}");
        for (word, expected) in [(words.first(), &example.first), (words.last(), &example.last)] {
            let apart = word.map_or(0.0, |word| {
                word.probabilities.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            });
            assert!(apart <= TOLERANCE, "{apart} in {text}");
        }
        let found = TAGGER.tag(layers2().encoder(), &scanner, text, later()).unwrap();
        let found: Vec<_> = found.iter().map(|f| (f.span.start, f.span.end, f.kind.as_str().to_owned())).collect();
        let expected: Vec<_> =
            example.findings.iter().map(|(begin, end, kind, _)| (*begin, *end, kind.clone())).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn thresholds_and_allow_lists_of_the_scan_hold_for_it() {
    let text = "My name is Anna Keller.";
    let count = |config: &ScanConfig| TAGGER.tag(layers2().encoder(), &scanner(config), text, later()).unwrap().total();
    assert_eq!(count(&ScanConfig::default()), 1);
    assert_eq!(count(&ScanConfig { thresholds: [("person".to_owned(), 1.1)].into(), ..Default::default() }), 0);
    let mut config = ScanConfig::default();
    config.allow.values = vec!["Anna Keller".to_owned()];
    assert_eq!(count(&config), 0);
}

#[test]
fn past_its_deadline_it_says_so_rather_than_what_it_has() {
    let said = TAGGER.tag(layers2().encoder(), &scanner(&ScanConfig::default()), "Anna Keller", Instant::now());
    assert_eq!(said, Err(NotEncoded::Late));
}

fn report(tagging_deadline: Duration, tag: bool) -> Report {
    let tagging =
        Tagging { tagger: Arc::clone(&TAGGER), encoder: Arc::clone(layers2().encoder()), deadline: tagging_deadline };
    let reader =
        Reader::new(scanner(&ScanConfig::default()), None, Duration::from_secs(600)).with_tagger(Some(tagging));
    let body = r#"{"model":"auto","messages":[{"role":"system","content":"You help Anna Keller."},{"role":"user","content":"hello"}]}"#;
    reader.read(&ChatRequest::parse(body.into()).unwrap(), Instant::now(), tag)
}

#[test]
fn entities_are_of_the_whole_request_and_absent_where_not_all_of_it_was_read() {
    let entities = report(Duration::from_secs(600), true).entities.unwrap();
    assert_eq!(entities.get("person"), Some(&1), "{entities:?}");
    assert_eq!(report(Duration::from_secs(600), false).entities, None, "nobody asked");
    assert_eq!(report(Duration::ZERO, true).entities, None, "late");
    assert_eq!(
        report(Duration::from_secs(600), true).scan.map(|scan| scan.personal_data),
        Some(0),
        "advice is not counted"
    );
}
