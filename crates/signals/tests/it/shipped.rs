//! What the shipped classifier says of requests, and what happens when its files are not what they should be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use signals::scan::{ScanConfig, Scanner};
use signals::{Classifier, NotClassified, Reader, Report};
use wire::ChatRequest;

use super::{folder, runtime};

fn reader(deadline: Duration) -> Reader {
    let scanner = Arc::new(Scanner::new(&ScanConfig::default()).unwrap());
    Reader::new(scanner, Some(Classifier::load(&folder(), &runtime()).unwrap()), deadline)
}

fn read(reader: &Reader, messages: &serde_json::Value) -> Report {
    let body = serde_json::json!({"model": "auto", "messages": messages}).to_string();
    reader.read(&ChatRequest::parse(body.into()).unwrap(), Instant::now(), false)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn kinds_of_tasks_are_told_apart() {
    let reader = reader(LONG);
    let cases = [
        ("Write a Python function that reverses a linked list and returns its head.", "code"),
        ("Translate the following sentence into German: The train leaves at nine.", "translation"),
        ("If a train travels 60 miles in 1.5 hours, what is its average speed in miles per hour?", "maths"),
        ("Write a SQL query that returns the number of orders for each customer.", "sql"),
        ("Write a poem about the first snow in the mountains.", "creative"),
    ];
    for (prompt, expected) in cases {
        let report = read(&reader, &serde_json::json!([{"role": "user", "content": prompt}]));
        let said = report.classification.unwrap();
        assert_eq!(reader.classifier().unwrap().task_label(said.task), Some(expected), "{prompt}");
    }
}

#[test]
fn a_request_unlike_the_training_data_has_no_quality() {
    let reader = reader(LONG);
    let odd = [
        "ẞ⟁⟁ ᚠᚢᚦ ᚨᚱᚲ ".repeat(40),
        "東京都は日本の首都であり、世界最大の都市圏を形成している。".to_owned(),
        "Können Sie mir bitte erklären, wie die Photosynthese funktioniert?".to_owned(),
        "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQ".repeat(10),
    ];
    for prompt in odd {
        let said = read(&reader, &serde_json::json!([{"role": "user", "content": prompt}])).classification.unwrap();
        assert!(said.out_of_distribution, "{prompt}");
        assert_eq!(reader.classifier().unwrap().quality(&said, None, Some("medium")), None);
    }
    for prompt in ["hello", "What is the capital of France?", "Write a Python function that reverses a linked list."] {
        let said = read(&reader, &serde_json::json!([{"role": "user", "content": prompt}])).classification.unwrap();
        assert!(!said.out_of_distribution, "{prompt}");
    }
}

#[test]
fn a_long_conversation_is_seen_in_part_and_says_how_much() {
    let reader = reader(LONG);
    let report = read(&reader, &serde_json::json!([{"role": "user", "content": "word ".repeat(20_000)}]));
    assert!(report.classification.is_ok());
    assert!((0.03..0.06).contains(&report.seen_share), "{}", report.seen_share);
    let short = read(&reader, &serde_json::json!([{"role": "user", "content": "What is the capital of France?"}]));
    assert_eq!(short.seen_share, 1.0);
}

#[test]
fn past_its_deadline_nothing_is_said_but_the_scan_is_done() {
    let report = read(&reader(Duration::ZERO), &serde_json::json!([{"role": "user", "content": "hello"}]));
    assert_eq!(report.classification.unwrap_err(), NotClassified::Late);
    assert!(report.scan.is_some());
}

#[test]
fn files_that_are_damaged_or_missing_are_named() {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let load = || Classifier::load(copy.path(), &runtime()).unwrap_err().to_string();
    let heads = copy.path().join("heads.json");
    let mut bytes = std::fs::read(&heads).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&heads, bytes).unwrap();
    assert!(load().contains("heads.json is damaged"), "{}", load());
    std::fs::remove_file(copy.path().join("encoder.onnx")).unwrap();
    assert!(load().contains("encoder.onnx"), "{}", load());
}
