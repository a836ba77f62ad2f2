//! The scan over texts of every size, and over texts that are made to be slow.
//!
//! `cargo bench -p signals --bench scan`. Throughput is printed beside each time. The reference in the same run is the crate
//! `regex` with three patterns, for e-mail, card and phone, one after the other.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::sync::LazyLock;

use divan::{Bencher, black_box, counter::BytesCount};
use regex::Regex;
use signals::scan::{ScanConfig, Scanner};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(&ScanConfig::default()).unwrap());

const MEGABYTE: usize = 1_000_000;
const SIZES: [usize; 3] = [100, 10_000, MEGABYTE];

/// What people write: prose, code, a log, a table.
const PROSE: &str = "Could you summarise the meeting of last Tuesday? We spoke about the budget for 2024, which grew by 12.5 percent \
to 1,234,567 dollars, and about moving the service from EC2 to EKS before version 2.3.1 is released on 2023-12-01.\n\
fn main() { let total: u64 = items.iter().map(|item| item.price * 100).sum(); println!(\"{total}\"); }\n\
2023-11-23T03:43:12.123Z INFO [worker-3] request_id=7f3a9c2e-11d2-4b8e status=200 took=12.5ms bytes=18231\n\
| name | id | share |\n|---|---|---|\n| alpha | 10293 | 0.123 |\n| beta | 48571 | 0.877 |\n";
/// One personal datum and one secret in two kilobytes.
const FINDING: &str =
    " Write to anna.schmidt@corp.dev or +49 (0)30 1234567, card 4111 1111 1111 1111, password: xK9-mQ2vL \n";

fn filled(piece: &str, size: usize) -> String {
    let mut text = piece.repeat(size / piece.len() + 1);
    let end = (0..=size).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}

fn scan(bencher: Bencher<'_, '_>, text: &str) {
    bencher.counter(BytesCount::of_str(text)).bench(|| SCANNER.scan(black_box(text)));
}

#[divan::bench(args = SIZES)]
fn ordinary(bencher: Bencher<'_, '_>, size: usize) {
    scan(bencher, &filled(PROSE, size));
}

#[divan::bench(args = SIZES)]
fn ordinary_with_findings(bencher: Bencher<'_, '_>, size: usize) {
    scan(bencher, &filled(&(PROSE.repeat(3) + FINDING), size));
}

#[divan::bench(args = [10_000, MEGABYTE])]
fn other_scripts(bencher: Bencher<'_, '_>, size: usize) {
    scan(
        bencher,
        &filled(
            "Сколько стоит билет до Москвы? 明天的会议是几点开始的？ Größe und Maß, l’été à Noël — ça va ！２０２３年 ",
            size,
        ),
    );
}

#[divan::bench]
fn base64(bencher: Bencher<'_, '_>) {
    let mut state = 1u32;
    let text: String = (0..MEGABYTE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 26) as usize])
        })
        .collect();
    scan(bencher, &text);
}

/// Pieces that, repeated to a megabyte, make one recogniser or another work as much as it can.
const HOSTILE: [&str; 26] = [
    "1",
    "1 ",
    "12 ",
    "1-",
    "4111 ",
    "4111111111111111 ",
    "4111-1111-1111-1111-",
    "+1 ",
    "(555) 123-4567 ",
    "1.1.1.1.",
    "a@",
    "a@b.c ",
    "a:",
    "::",
    "aa-",
    "DE89",
    "password=",
    "pw=&",
    "phone ",
    "born ",
    "cnh ",
    "eyJ.",
    "-----BEGIN PRIVATE KEY-----",
    "://a:b@",
    "sk-",
    "\u{200b}１",
];

#[divan::bench(args = HOSTILE, sample_count = 10)]
fn hostile(bencher: Bencher<'_, '_>, piece: &str) {
    scan(bencher, &filled(piece, MEGABYTE));
}

/// Everything that is found, as dense as it goes.
#[divan::bench(sample_count = 10)]
fn hostile_all_findings(bencher: Bencher<'_, '_>) {
    scan(bencher, &filled(FINDING, MEGABYTE));
}

#[divan::bench(args = SIZES)]
fn reference_regex_email_card_phone(bencher: Bencher<'_, '_>, size: usize) {
    let patterns = [
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",
        r"\b(?:\d[ -]?){12,18}\d\b",
        r"(?:\+?\d{1,3}[ .-]?)?\(?\d{2,4}\)?[ .-]?\d{3,4}[ .-]?\d{3,4}",
    ];
    let patterns = patterns.map(|pattern| Regex::new(pattern).unwrap());
    let text = filled(PROSE, size);
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| patterns.iter().map(|pattern| pattern.find_iter(black_box(&text)).count()).sum::<usize>());
}

#[divan::bench]
fn compile_the_default_configuration(bencher: Bencher<'_, '_>) {
    bencher.bench(|| Scanner::new(black_box(&ScanConfig::default())));
}

fn main() {
    divan::main();
}
