//! Numbers of passports and driving licences. Each country has its own format, so only words tell: the first word behind
//! them that has the looks of a document's number is taken.

use std::ops::Range;

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

pub(super) fn passport(page: &mut Page<'_>, hit: Hit) {
    // Six digits at least; letters before and between them.
    if let Some((span, near)) = number_after(page.text, hit.end, 6..=12, 5) {
        page.add(Kind::Passport, span, if near { STRONG } else { LIKELY }, Validator::Context);
    }
}

pub(super) fn licence(page: &mut Page<'_>, hit: Hit) {
    if let Some((span, near)) = number_after(page.text, hit.end, 5..=18, 5) {
        page.add(Kind::DrivingLicence, span, if near { STRONG } else { LIKELY }, Validator::Context);
    }
}

/// The first identifier behind `from` with so many characters and at least so many digits, and whether only words like `number is`
/// and signs stand between.
fn number_after(
    text: &[u8],
    from: usize,
    lengths: std::ops::RangeInclusive<usize>,
    digits_min: usize,
) -> Option<(Range<usize>, bool)> {
    let limit = from + DISTANCE_BYTES_MAX;
    let mut at = from;
    let (mut sentence, mut word_len) = (false, 0);
    while at < limit.min(text.len()) {
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
        if is_number(slice(text, span.clone()), &lengths, digits_min)
            && !matches!(byte(text, span.end), b'_' | b'@' | b'/')
            && before(text, at) != b'/'
        {
            return (!sentence).then_some((span, at - from <= 24));
        }
        word_len = len;
        at += len;
    }
    None
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

fn is_number(word: &[u8], lengths: &std::ops::RangeInclusive<usize>, digits_min: usize) -> bool {
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let characters = word.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    let lower = word.iter().any(u8::is_ascii_lowercase) && word.iter().any(u8::is_ascii_uppercase);
    let dashes = word.iter().filter(|byte| **byte == b'-').count();
    let date = word.len() == 10 && dashes == 2 && matches!(word, [_, _, _, _, b'-', ..] | [_, _, b'-', _, _, b'-', ..]);
    digits >= digits_min && lengths.contains(&characters) && !lower && !date && dashes <= 3 && !is_placeholder(word)
}
