//! Dates of birth: a date with its day, behind a word that says so.

use crate::scan::{
    candidate::{DOUBTFUL, LIKELY, Page, STRONG, UNLIKELY},
    check::is_date,
    context::{Hit, Topic},
    kind::{Kind, Validator},
    text::{before, byte, run, slice},
};

/// So far behind the word the date may begin.
const DISTANCE_BYTES_MAX: usize = 48;
/// Nobody alive was born before.
const YEAR_MIN: u64 = 1900;
const YEAR_MAX: u64 = 2099;
/// Two digits of a year.
const SHORT_YEARS: std::ops::RangeInclusive<u64> = 0..=99;

const MONTHS: [&[&[u8]]; 12] = [
    &[b"jan", b"ene", b"gen"],
    &[b"feb", "fév".as_bytes(), b"fev"],
    &[b"mar", "mär".as_bytes(), b"maa", b"mrt"],
    &[b"apr", b"avr", b"abr"],
    &[b"may", b"mai", b"mei", b"mag"],
    &[b"jun", b"juin", b"giu"],
    &[b"jul", b"juil", b"lug"],
    &[b"aug", "aoû".as_bytes(), b"ago"],
    &[b"sep", b"set"],
    &[b"oct", b"okt", b"ott", b"out"],
    &[b"nov"],
    &[b"dec", b"dez", b"dic", "déc".as_bytes()],
];

pub(super) fn recognise(page: &mut Page<'_>, hit: Hit) {
    let text = page.text;
    let loose = hit.topic == Topic::BirthLoose as u8;
    let looked_to = page.births_to[usize::from(loose)].max(hit.end);
    let limit = text.len().min(hit.end + DISTANCE_BYTES_MAX);
    page.births_to[usize::from(loose)] = limit.max(looked_to);
    for at in looked_to..limit {
        if byte(text, at) == b'\n' && at > hit.end + 2 {
            page.births_to[usize::from(loose)] = at;
            return;
        }
        let starts_word = !before(text, at).is_ascii_alphanumeric();
        let Some((end, year)) = starts_word.then(|| date(text, at)).flatten() else { continue };
        let confidence = match (year >= YEAR_MIN, loose) {
            (false, _) => UNLIKELY,
            (true, false) => STRONG,
            // Encyclopedias say of anybody when they were born; a date in digits comes from a form.
            (true, true)
                if byte(text, at).is_ascii_digit()
                    && slice(text, at..end).iter().all(|byte| !byte.is_ascii_alphabetic()) =>
            {
                LIKELY
            }
            (true, true) => DOUBTFUL,
        };
        page.add(Kind::DateOfBirth, at..end, confidence, Validator::Context);
        return;
    }
}

/// A date with a day at `at`: where it ends, and its year.
fn date(text: &[u8], at: usize) -> Option<(usize, u64)> {
    let (found, end) = if byte(text, at).is_ascii_digit() {
        numeric(text, at).or_else(|| day_first(text, at))?
    } else {
        month_first(text, at)?
    };
    (!byte(text, end).is_ascii_alphanumeric()).then_some((end, found))
}

fn digits(text: &[u8], at: usize, max: usize) -> Option<(u64, usize)> {
    let len = run(text, at, max + 1, |byte| byte.is_ascii_digit());
    let value = slice(text, at..at + len).iter().fold(0, |value, byte| value * 10 + u64::from(byte - b'0'));
    (1..=max).contains(&len).then_some((value, at + len))
}

/// 2/8/1935, 1935-08-02, 2.8.35, 1935年8月2日.
fn numeric(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let (first, end) = digits(text, at, 4)?;
    let (second, end_second) = digits(text, separator(text, end)?, 2)?;
    let (third, end_third) = digits(text, separator(text, end_second)?, 4)?;
    let lens = (end - at, end_third - separator(text, end_second)?);
    let tail = if slice(text, end_third..end_third + 3) == "日".as_bytes()
        || slice(text, end_third..end_third + 3) == "일".as_bytes()
    {
        3
    } else {
        0
    };
    let year = match lens {
        (4, 1 | 2) if is_date(first, second, third) => first,
        (1 | 2, 4) if is_date(third, first, second) || is_date(third, second, first) => third,
        (1 | 2, 2)
            if SHORT_YEARS.contains(&third) && (is_date(2000, first, second) || is_date(2000, second, first)) =>
        {
            1900 + third
        }
        _ => return None,
    };
    (year <= YEAR_MAX).then_some((year, end_third + tail))
}

fn separator(text: &[u8], at: usize) -> Option<usize> {
    let marks: [&[u8]; 4] = ["年".as_bytes(), "月".as_bytes(), "년".as_bytes(), "월".as_bytes()];
    if let Some(mark) = marks.into_iter().find(|mark| slice(text, at..at + mark.len()) == *mark) {
        return Some(at + mark.len() + usize::from(byte(text, at + mark.len()) == b' '));
    }
    match (byte(text, at), byte(text, at + 1)) {
        (b'/' | b'-', _) => Some(at + 1),
        (b'.', b' ') => Some(at + 2),
        (b'.', _) => Some(at + 1),
        _ => None,
    }
}

/// 2 August 1935, 2nd of August, 1935; 2. August 1935; 2 de agosto de 1935.
fn day_first(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let (day, end) = digits(text, at, 2)?;
    let month_at = end + run(text, end, 6, |byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b' '));
    let month_at = word_start(text, end, month_at);
    let (month, end) = month(text, month_at)?;
    let gap = run(text, end, 5, |byte| !byte.is_ascii_digit() && byte != b'\n');
    let (year, end) = digits(text, end + gap, 4)?;
    (year >= 1000 && is_date(year, month, day)).then_some((year, end))
}

/// The beginning of the word at `to`, where a name of a month may stand that begins with a small letter.
fn word_start(text: &[u8], from: usize, to: usize) -> usize {
    let mut at = to;
    while at > from && before(text, at) != b' ' {
        at -= 1;
    }
    at
}

/// August 2, 1935; Aug. 2nd 1935.
fn month_first(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let (month, end) = month(text, at)?;
    let (day, end) = digits(text, end + run(text, end, 2, |byte| matches!(byte, b' ' | b'.')), 2)?;
    let gap = run(text, end, 5, |byte| !byte.is_ascii_digit() && byte != b'\n');
    let (year, end) = digits(text, end + gap, 4)?;
    (year >= 1000 && is_date(year, month, day)).then_some((year, end))
}

/// The name of a month at `at`, whole or abbreviated: which one, and where the word ends.
fn month(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte >= 0x80;
    let len = run(text, at, 14, is_letter);
    let word = slice(text, at..at + len);
    let starts = |name: &&[u8]| word.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    let index = MONTHS.iter().position(|names| names.iter().any(starts))?;
    Some((u64::try_from(index).ok()? + 1, at + len))
}
