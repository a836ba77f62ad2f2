//! How the groups of a number are separated, and what such groups are when they are no phone number.

use std::net::Ipv4Addr;

use crate::scan::{
    check::is_date,
    number::{Gap, Run, value},
    text::{before, slice},
};

/// How groups are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The first group stands in parentheses.
    Enclosed,
    /// By dashes, dots or a slash.
    Tight,
    /// By single spaces, or spaces and dashes.
    Spaced,
}

/// How the first `count` groups are separated; none if in no way in which numbers are written.
pub(super) fn style(text: &[u8], run: &Run, count: usize) -> Option<Style> {
    let mut gaps = run.gaps(count);
    let first = gaps.next()?;
    let mut rest_is = |allowed: &[u8]| gaps.all(|gap| matches!(gap, Gap::Single(byte) if allowed.contains(&byte)));
    match first {
        Gap::Closing if before(text, run.start()) == b'(' => rest_is(b" -.").then_some(Style::Enclosed),
        Gap::Single(b'-' | b'/') | Gap::Spaced => rest_is(b" -.").then_some(Style::Tight),
        Gap::Single(b'.') => rest_is(b".").then_some(Style::Tight),
        Gap::Single(b' ') => rest_is(b" -").then_some(Style::Spaced),
        _ => None,
    }
}

/// How many groups follow each other as those of one number do, with at most so many digits.
pub(super) fn reach(run: &Run, digits_max: usize) -> usize {
    let joins = |gap: &Gap| !matches!(gap, Gap::Other | Gap::Single(b'_' | b'\t'));
    let count = run.gaps(run.len()).take_while(joins).count() + 1;
    (1..=count).rev().find(|count| run.digits(*count).len() <= digits_max).unwrap_or(1)
}

/// Whether the first `count` groups, or those at the beginning of them, are a date, a range of years or the address of a
/// machine.
pub(super) fn is_date_or_address(text: &[u8], run: &Run, count: usize) -> bool {
    let mut lens = run.lens(3);
    let lens = [lens.next().unwrap_or(0), lens.next().unwrap_or(0), lens.next().unwrap_or(0)];
    let digits = run.digits(count);
    if count == 1 {
        return matches!(digits.len(), 8 | 12 | 14) && is_compact_date(digits);
    }
    let (first_to, second_to) = (lens[0], lens[0] + lens[1]);
    let part = |from: usize, to: usize| value(digits.get(from..to).unwrap_or(&[]));
    let is_year = |value: u64| (1000..2200).contains(&value);
    match (lens, count) {
        ([4, 4, _], 2) => is_year(part(0, 4)) && is_year(part(4, 8)),
        ([4, 1 | 2, 1 | 2], 3..) => {
            let (year, month) = (part(0, 4), part(first_to, second_to));
            is_year(year) && is_date(year, month, part(second_to, second_to + lens[2]))
        }
        ([1 | 2, 1 | 2, 4], 3..) => {
            let (first, second, year) = (part(0, first_to), part(first_to, second_to), part(second_to, second_to + 4));
            is_year(year) && (is_date(year, first, second) || is_date(year, second, first))
        }
        _ if count == 4 && run.separator(4) == Some(b'.') => {
            std::str::from_utf8(slice(text, run.span(4))).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok())
        }
        _ => false,
    }
}

/// 20231123, 20231123101530
fn is_compact_date(digits: &[u8]) -> bool {
    let part = |from: usize, to: usize| value(digits.get(from..to).unwrap_or(&[]));
    matches!(part(0, 4), 1900..=2099) && is_date(part(0, 4), part(4, 6), part(6, 8))
}
