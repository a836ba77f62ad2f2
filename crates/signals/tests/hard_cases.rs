//! The hand-made cases of `hard_cases.yaml`, each by itself.
//!
//! A case says exactly what is found: kinds and texts, in order. `~+~` is taken out of both, so that no made-up key stands in this
//! repository as it would be recognised.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{collections::BTreeMap, fmt::Write};

use serde::Deserialize;
use signals::scan::{ScanConfig, Scanner};

const CASES_MIN: usize = 150;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    text: String,
    /// A kind, a space, and the text that it covers.
    finds: Vec<String>,
}

#[test]
fn every_case_is_found_or_not_as_it_says() {
    let sections: BTreeMap<String, Vec<Case>> = marked_yaml::from_yaml(0, include_str!("hard_cases.yaml")).unwrap();
    let cases: Vec<&Case> = sections.values().flatten().collect();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let scanner = Scanner::new(&ScanConfig::default()).unwrap();
    let mut failures = String::new();
    let mut failed = 0;
    for case in &cases {
        let text = case.text.replace("~+~", "");
        let wanted: Vec<String> = case.finds.iter().map(|found| found.replace("~+~", "")).collect();
        let findings = scanner.scan(&text);
        let found: Vec<String> = findings
            .iter()
            .map(|finding| format!("{} {}", finding.kind.as_str(), &text[finding.span.clone()]))
            .collect();
        if found != wanted {
            failed += 1;
            writeln!(failures, "\n{text:?}\n  wanted {wanted:?}\n  found  {found:?}").unwrap();
        }
    }
    assert!(failures.is_empty(), "{failed} of {} cases failed:{failures}", cases.len());
}
