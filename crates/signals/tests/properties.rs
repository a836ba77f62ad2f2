//! Promises of the scan over generated texts.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::LazyLock;

use proptest::prelude::*;
use signals::scan::{Findings, ScanConfig, Scanner};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(&ScanConfig::default()).unwrap());

/// Texts that are found by themselves, with the word of their kind.
const FOUND: [(&str, &str); 14] = [
    ("4111 1111 1111 1111", "payment_card"),
    ("5555555555554444", "payment_card"),
    ("DE89 3704 0044 0532 0130 00", "iban"),
    ("anna.schmidt@corp.dev", "email"),
    ("+49 (0)30 1234567", "phone"),
    ("(212) 555-0187", "phone"),
    ("SSN 460-89-9847", "us_ssn"),
    ("RSSMRA85T10A562S", "it_codice_fiscale"),
    ("11010519491231002X", "cn_resident_id"),
    ("client 106.31.73.20", "ip_address"),
    ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "crypto_address"),
    ("password: xK9-mQ2vL", "password"),
    ("date of birth 2/8/1935", "date_of_birth"),
    ("529.982.247-25", "br_cpf"),
];

/// Pieces of what the recognisers look at, so that generated texts reach them.
const PIECES: [&str; 40] = [
    "4111",
    "1111",
    " ",
    "-",
    ".",
    "@",
    ":",
    "://",
    "/",
    "(",
    ")",
    "+",
    "+49",
    "00",
    "x12",
    "card",
    "phone",
    "password",
    "=",
    "is",
    "\"",
    "'",
    "DE89",
    "0x",
    "eyJ",
    "-----BEGIN ",
    "PRIVATE KEY-----",
    "born",
    "1/2/1980",
    "passport",
    "sk-",
    "AKIA",
    "[at]",
    " dot com",
    "\u{200b}",
    "４",
    "é",
    "中",
    "°",
    "\n",
];

fn assert_spans(text: &str, findings: &Findings) {
    let mut end = 0;
    for finding in findings {
        assert!(finding.span.start >= end && finding.span.start < finding.span.end, "{:?} in {text:?}", finding.span);
        assert!(text.get(finding.span.clone()).is_some(), "{:?} in {text:?}", finding.span);
        assert!((0.0..=1.0).contains(&finding.confidence));
        end = finding.span.end;
    }
    assert_eq!(findings.counts().map(|(_, count)| count).sum::<usize>(), findings.total());
}

fn everything() -> Scanner {
    let thresholds = signals::scan::Kind::BUILT_IN.iter().map(|kind| (kind.as_str().to_owned(), 0.0)).collect();
    Scanner::new(&ScanConfig { thresholds, ..Default::default() }).unwrap()
}

static EVERYTHING: LazyLock<Scanner> = LazyLock::new(everything);

proptest! {
    #[test]
    fn spans_of_any_text_are_in_range_and_in_order(text in any::<String>()) {
        assert_spans(&text, &EVERYTHING.scan(&text));
    }

    #[test]
    fn spans_of_likely_texts_are_in_range_and_in_order(pieces in prop::collection::vec(prop::sample::select(&PIECES), 0..60)) {
        let text = pieces.concat();
        assert_spans(&text, &EVERYTHING.scan(&text));
    }

    #[test]
    fn digits_and_signs(text in "[0-9a-fA-FxX@:./() +\\-_,'\"=&°]{0,200}") {
        assert_spans(&text, &EVERYTHING.scan(&text));
    }

    #[test]
    fn padding_keeps_a_finding(
        index in 0..FOUND.len(),
        before in "((lorem|Ipsum|dolor|sit|größe|日本)[ ,;\n]{1,2}){0,30}",
        after in "([ ,.\n](lorem|Ipsum|dolor|sit|größe|日本)){0,30}",
    ) {
        let (text, kind) = FOUND[index];
        let padded = format!("{before} {text} {after}");
        let findings = SCANNER.scan(&padded);
        let at = before.len() + 1;
        let found = findings.iter().any(|finding| {
            finding.kind.as_str() == kind && finding.span.start < at + text.len() && finding.span.end > at
        });
        prop_assert!(found, "{kind} in {padded:?}: {findings:?}");
    }

    #[test]
    fn a_finding_is_found_wherever_it_stands(index in 0..FOUND.len(), words in 0..5_000usize) {
        let (text, kind) = FOUND[index];
        let padded = "lorem ipsum ".repeat(words) + text + &" dolor sit".repeat(5_000 - words);
        let findings = SCANNER.scan(&padded);
        prop_assert_eq!(findings.total(), 1);
        prop_assert_eq!(findings.as_slice()[0].kind.as_str(), kind);
    }

    #[test]
    fn other_digits_and_invisible_characters_change_nothing(index in 0..FOUND.len(), zero in prop::sample::select(&['０', '٠', '०', '𝟎'][..])) {
        let (text, kind) = FOUND[index];
        let disguised: String = text
            .chars()
            .flat_map(|character| match character.to_digit(10) {
                Some(digit) => vec![char::from_u32(u32::from(zero) + digit).unwrap(), '\u{200b}'],
                None => vec![character],
            })
            .collect();
        let findings = SCANNER.scan(&disguised);
        assert_spans(&disguised, &findings);
        let kinds: Vec<&str> = findings.iter().map(|finding| finding.kind.as_str()).collect();
        prop_assert_eq!(kinds, [kind]);
    }
}
