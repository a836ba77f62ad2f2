//! The hand features of a text: lengths and shares of kinds of characters. Pure, linear in the text.

use super::heads::HAND_FEATURES;

#[cfg(test)]
mod tests;

/// Their names, in order; the table in `training/README.md` says what they are.
pub const NAMES: [&str; HAND_FEATURES] = [
    "log_chars",
    "log_words",
    "word_length",
    "digit_share",
    "upper_share",
    "wide_share",
    "code_share",
    "math_share",
    "quote_share",
    "log_lines",
    "log_questions",
    "log_sentences",
    "log_numbers",
    "has_options",
    "asks",
    "has_fence",
];

/// Where `log_chars` and `wide_share` stand among them.
pub(super) const LOG_CHARS: usize = 0;
pub(super) const WIDE_SHARE: usize = 5;
const WORD_LENGTH_MAX: f64 = 20.0;
/// First words of a question.
const ASKING: [&str; 17] = [
    "who", "what", "when", "where", "which", "why", "how", "is", "are", "do", "does", "did", "can", "could", "should",
    "would", "will",
];

/// What is counted in one walk over the bytes. Everything but wide characters is ASCII.
#[derive(Default)]
struct Counts {
    chars: u64,
    white: u64,
    words: u64,
    digits: u64,
    upper: u64,
    wide: u64,
    code: u64,
    math: u64,
    quotes: u64,
    lines: u64,
    questions: u64,
    sentences: u64,
    numbers: u64,
}

/// The hand features of a text, not scaled.
#[must_use]
pub fn features(text: &str) -> [f32; HAND_FEATURES] {
    let counts = count(text);
    let chars = counts.chars.max(1) as f64;
    let log = |count: u64| (count as f64).ln_1p();
    let share = |count: u64| count as f64 / chars;
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    let word_length = (counts.chars - counts.white) as f64 / counts.words.max(1) as f64;
    [
        log(counts.chars),
        log(counts.words),
        word_length.min(WORD_LENGTH_MAX),
        share(counts.digits),
        share(counts.upper),
        share(counts.wide),
        share(counts.code),
        share(counts.math),
        share(counts.quotes),
        log(counts.lines),
        log(counts.questions),
        log(counts.sentences),
        log(counts.numbers),
        flag(has_options(text)),
        flag(asks(text)),
        flag(text.contains("```")),
    ]
    .map(|value| value as f32)
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn count(text: &str) -> Counts {
    let bytes = text.as_bytes();
    let mut counts = Counts::default();
    let (mut in_word, mut in_number) = (false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        let is = u64::from;
        let white = is_white(byte);
        // The first byte of a character, not those that continue it.
        let begins = byte & 0xc0 != 0x80;
        counts.chars += is(begins);
        counts.wide += is(begins && byte >= 0x80);
        counts.white += is(white);
        counts.words += is(!white && !in_word);
        in_word = !white;
        let digit = byte.is_ascii_digit();
        counts.digits += is(digit);
        counts.numbers += is(digit && !in_number);
        in_number = digit;
        counts.upper += is(byte.is_ascii_uppercase());
        counts.code += is(matches!(byte, b'{' | b'}' | b'[' | b']' | b'(' | b')' | b';' | b'=' | b'<' | b'>' | b'_'));
        counts.math += is(matches!(byte, b'+' | b'-' | b'*' | b'/' | b'^' | b'%' | b'$' | b'\\'));
        counts.quotes += is(matches!(byte, b'"' | b'`'));
        counts.lines += is(byte == b'\n');
        counts.questions += is(byte == b'?');
        let ends = matches!(byte, b'.' | b'!' | b'?') && bytes.get(at + 1).is_none_or(|next| is_white(*next));
        counts.sentences += is(ends);
    }
    counts
}

/// Whether at least two lines begin like the options of a multiple choice.
fn has_options(text: &str) -> bool {
    let is_option = |line: &str| {
        let line = line.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_white));
        let line = line.strip_prefix('(').unwrap_or(line).as_bytes();
        matches!(line, [b'A'..=b'E' | b'a'..=b'e', b'.' | b')' | b':', ..])
    };
    text.split('\n').filter(|line| is_option(line)).nth(1).is_some()
}

fn asks(text: &str) -> bool {
    let is_white = |c: char| u8::try_from(c).is_ok_and(is_white);
    let first = text.split(is_white).find(|word| !word.is_empty()).unwrap_or_default();
    let word = first.trim_matches(|c: char| c.is_ascii_punctuation());
    !word.is_empty() && ASKING.iter().any(|asking| word.eq_ignore_ascii_case(asking))
}
