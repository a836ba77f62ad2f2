//! The scanner as a whole: its configuration, limits and promises. Single texts are in `tests/hard_cases.yaml`.

use super::*;

fn words(scanner: &Scanner, text: &str) -> Vec<String> {
    scanner.scan(text).iter().map(|finding| finding.kind.as_str().to_owned()).collect()
}

fn custom() -> RecogniserConfig {
    RecogniserConfig {
        name: "employee_id".to_owned(),
        category: "personal_data".to_owned(),
        pattern: r"EMP-\d+".to_owned(),
        ..Default::default()
    }
}

#[test]
fn custom_recognisers_with_and_without_context() {
    let always = ScanConfig { recognisers: vec![custom()], ..Default::default() };
    let scanner = Scanner::new(&always).unwrap();
    assert_eq!(words(&scanner, "ask EMP-0042 please"), ["employee_id"]);
    assert_eq!(scanner.scan("ask EMP-0042 please").count(Category::PersonalData), 1);
    let with_word = RecogniserConfig { context: vec!["badge".to_owned()], ..custom() };
    let scanner = Scanner::new(&ScanConfig { recognisers: vec![with_word], ..Default::default() }).unwrap();
    assert!(scanner.scan("ask EMP-0042 please").is_empty());
    assert_eq!(words(&scanner, "badge EMP-0042"), ["employee_id"]);
}

#[test]
fn what_is_allowed_is_not_reported() {
    let allow = AllowConfig {
        values: vec!["info@tidegate.dev".to_owned()],
        patterns: vec![r"\+1 555 .*".to_owned(), ".*@corp\\.dev".to_owned()],
    };
    let scanner = Scanner::new(&ScanConfig { allow, ..Default::default() }).unwrap();
    assert!(scanner.scan("info@tidegate.dev, anna@corp.dev").is_empty());
    assert_eq!(words(&scanner, "info@tidegate.dev.uk"), ["email"], "the whole text of a finding, not a part");
}

#[test]
fn thresholds_are_by_kind() {
    let set = |word: &str, threshold| {
        let thresholds = [(word.to_owned(), threshold)].into();
        Scanner::new(&ScanConfig { thresholds, ..Default::default() }).unwrap()
    };
    assert!(set("email", 1.1).scan("anna@corp.dev").is_empty());
    assert_eq!(words(&set("ip_address", 0.1), "at 127.0.0.1"), ["ip_address"]);
    assert!(Scanner::new(&ScanConfig::default()).unwrap().scan("at 127.0.0.1").is_empty());
}

#[test]
fn regions_decide_which_national_formats_count() {
    let of = |regions: &[&str]| {
        let phone_regions = Some(regions.iter().map(|region| (*region).to_owned()).collect());
        Scanner::new(&ScanConfig { phone_regions, ..Default::default() }).unwrap()
    };
    assert_eq!(words(&of(&["US"]), "905-674-3793 or 01.84.17.61.18"), ["phone"]);
    assert_eq!(words(&of(&["US", "FR"]), "905-674-3793 or 01.84.17.61.18"), ["phone", "phone"]);
    assert_eq!(words(&of(&[]), "+33 1 84 17 61 18; phone: 905-674-3793"), ["phone", "phone"]);
}

#[test]
fn all_errors_are_told_at_once() {
    let broken = RecogniserConfig {
        name: "Bad Name".to_owned(),
        category: "other".to_owned(),
        pattern: "(".to_owned(),
        context: vec!["x".to_owned()],
        confidence: Some(2.0),
    };
    let too_long = RecogniserConfig { name: "long".to_owned(), pattern: "(a+b+)+".to_owned(), ..custom() };
    let empty = RecogniserConfig { name: "empty".to_owned(), pattern: "a?".to_owned(), ..custom() };
    let config = ScanConfig {
        phone_regions: Some(vec!["usa".to_owned()]),
        thresholds: [("no_such_kind".to_owned(), 0.5), ("email".to_owned(), -1.0)].into(),
        allow: AllowConfig { patterns: vec!["[".to_owned()], ..Default::default() },
        recognisers: vec![broken, too_long, empty, custom(), custom()],
    };
    let errors = Scanner::new(&config).unwrap_err();
    let mut fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    fields.sort_unstable();
    let wanted = [
        "allow.patterns[0]",
        "phone_regions[0]",
        "recognisers[0].category",
        "recognisers[0].confidence",
        "recognisers[0].context",
        "recognisers[0].name",
        "recognisers[0].pattern",
        "recognisers[1].pattern",
        "recognisers[2].pattern",
        "recognisers[4].name",
        "thresholds.email",
        "thresholds.no_such_kind",
    ];
    assert_eq!(fields, wanted);
}

#[test]
fn what_is_beyond_the_list_is_counted() {
    let scanner = Scanner::new(&ScanConfig::default()).unwrap();
    let key = ["glpat", "-kJ8s0Pq2mWz7xR4tLb9V"].concat();
    let text = "anna@corp.dev ".repeat(FINDINGS_MAX + 5) + &key;
    let findings = scanner.scan(&text);
    assert_eq!(findings.as_slice().len(), FINDINGS_MAX);
    assert_eq!((findings.total(), findings.unlisted()), (FINDINGS_MAX + 6, 6));
    assert_eq!(findings.count(Category::Secret), 1);
}

#[test]
fn a_finding_never_shows_the_text() {
    let scanner = Scanner::new(&ScanConfig::default()).unwrap();
    let shown = format!("{:?}", scanner.scan("anna@corp.dev"));
    assert!(shown.contains("Email") && !shown.contains("anna"), "{shown}");
}

#[test]
fn a_scanner_is_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Scanner>();
}
