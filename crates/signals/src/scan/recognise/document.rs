//! Numbers of passports and driving licences. Each country has its own format, so only words tell: the first word behind
//! them that has the looks of a document's number is taken.

use std::ops::{Range, RangeInclusive};

use crate::scan::{
    candidate::{LIKELY, Page, STRONG},
    context::Hit,
    kind::{Kind, Validator},
    text::{before, byte, is_placeholder, run, slice},
};

/// So far behind the word the number may begin.
const DISTANCE_BYTES_MAX: usize = 40;
/// The longest number with its separators: 16 characters of Britain in groups.
const NUMBER_BYTES_MAX: usize = 24;

/// A number has at least so many digits.
const DIGITS_MIN: usize = 5;
/// So near behind the word it is hardly another's.
const NEAR_BYTES: usize = 24;

pub(super) fn passport(page: &mut Page<'_>, hit: Hit) {
    announced(page, hit, Kind::Passport, 6..=12);
}

pub(super) fn licence(page: &mut Page<'_>, hit: Hit) {
    announced(page, hit, Kind::DrivingLicence, 5..=18);
}

/// The first number behind the word with so many characters.
fn announced(page: &mut Page<'_>, hit: Hit, kind: Kind, lengths: RangeInclusive<usize>) {
    let index = usize::from(kind == Kind::DrivingLicence);
    let from = page.documents_to[index].max(hit.end);
    let limit = page.text.len().min(hit.end + DISTANCE_BYTES_MAX);
    let (found, looked_to) = number_after(page.text, from, limit, &lengths);
    page.documents_to[index] = looked_to;
    if let Some(span) = found {
        let near = span.start - hit.end <= NEAR_BYTES;
        page.add(kind, span, if near { STRONG } else { LIKELY }, Validator::Context);
    }
}

/// The first identifier from `from` on with so many characters, in the same sentence, and up to where there is none.
fn number_after(
    text: &[u8],
    from: usize,
    limit: usize,
    lengths: &RangeInclusive<usize>,
) -> (Option<Range<usize>>, usize) {
    let (mut at, mut sentence, mut word_len) = (from, false, 0);
    while at < limit {
        let found = byte(text, at);
        if !found.is_ascii_alphanumeric() {
            // A full stop behind a short word belongs to an abbreviation, as in "No.".
            sentence |= matches!(found, b'.' | b'?' | b'!') && byte(text, at + 1) == b' ' && word_len > 3;
            at += 1;
            continue;
        }
        let len = run(text, at, NUMBER_BYTES_MAX + 1, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let word = slice(text, at..at + len);
        let mut span = at..at + len;
        if word.iter().all(u8::is_ascii_digit) || is_letters_of_number(word) {
            span.end = with_groups(text, span.clone());
        }
        let within = matches!(byte(text, span.end), b'_' | b'@' | b'/') || before(text, at) == b'/';
        if !within && is_number(slice(text, span.clone()), lengths) {
            return (Some(span).filter(|_| !sentence), at);
        }
        word_len = len;
        at += len;
    }
    (None, at)
}

/// One to three capitals, which may stand apart from the digits of a number.
fn is_letters_of_number(word: &[u8]) -> bool {
    word.len() <= 3 && word.iter().all(u8::is_ascii_uppercase)
}

/// The end of the groups of digits or capitals that follow after single spaces.
fn with_groups(text: &[u8], span: Range<usize>) -> usize {
    let mut end = span.end;
    while byte(text, end) == b' ' && end - span.start < NUMBER_BYTES_MAX {
        let len = run(text, end + 1, 10, |byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        let group = slice(text, end + 1..end + 1 + len);
        if len == 0 || byte(text, end + 1 + len).is_ascii_alphanumeric() || !group.iter().any(u8::is_ascii_digit) {
            break;
        }
        end += 1 + len;
    }
    end
}

fn is_number(word: &[u8], lengths: &RangeInclusive<usize>) -> bool {
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let characters = word.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    let lower = word.iter().any(u8::is_ascii_lowercase) && word.iter().any(u8::is_ascii_uppercase);
    let dashes = word.iter().filter(|byte| **byte == b'-').count();
    let date = word.len() == 10 && dashes == 2 && matches!(word, [_, _, _, _, b'-', ..] | [_, _, b'-', _, _, b'-', ..]);
    digits >= DIGITS_MIN && lengths.contains(&characters) && !lower && !date && dashes <= 3 && !is_placeholder(word)
}
