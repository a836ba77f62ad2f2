//! How the groups of a number are separated, and what such groups are when they are no phone number.

use std::net::Ipv4Addr;

use crate::scan::{
    check::is_date,
    number::{Run, value},
    text::{before, slice},
};

/// How groups are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The first group stands in parentheses.
    Enclosed,
    /// By dashes, dots or a slash.
    Tight,
    /// By single spaces.
    Spaced,
}

/// How the first `count` groups are separated; none if in no way in which numbers are written.
pub(super) fn style(text: &[u8], run: &Run, count: usize) -> Option<Style> {
    let mut gaps = run.groups().windows(2).take(count - 1).filter_map(|pair| match pair {
        [left, right] => text.get(left.end..right.start),
        _ => None,
    });
    let first = gaps.next()?;
    let mut rest_is = |allowed: &[u8]| gaps.all(|gap| matches!(gap, [separator] if allowed.contains(separator)));
    match first {
        b")" | b") " | b")-" | b")." if before(text, run.first().start) == b'(' => {
            rest_is(b" -.").then_some(Style::Enclosed)
        }
        b"-" | b"/" | b" / " | b" - " => rest_is(b" -.").then_some(Style::Tight),
        b"." => rest_is(b".").then_some(Style::Tight),
        // 040 123-4567 too
        b" " => rest_is(b" -").then_some(Style::Spaced),
        _ => None,
    }
}

/// How many groups follow each other as those of one number do, with at most so many digits.
pub(super) fn reach(text: &[u8], run: &Run, digits_max: usize) -> usize {
    let joins = |gap: &[u8]| {
        matches!(gap, [b' ' | b'-' | b'.' | b'/'] | b")" | b") " | b")-" | b")." | b" (" | b"(" | b" / " | b" - ")
    };
    let joined = run.groups().windows(2).take_while(|pair| match pair {
        [left, right] => text.get(left.end..right.start).is_some_and(joins),
        _ => false,
    });
    let count = joined.count() + 1;
    (1..=count).rev().find(|count| run.digits(*count).len() <= digits_max).unwrap_or(1)
}

/// Whether the first `count` groups, or those at the beginning of them, are a date, a range of years or the address of a machine.
pub(super) fn is_date_or_address(text: &[u8], run: &Run, count: usize) -> bool {
    let group = |index: usize| run.groups().get(index).map_or(&[][..], |group| slice(text, group.start..group.end));
    let number = |index: usize| group(index).iter().fold(0, |value, byte| value * 10 + u64::from(byte - b'0'));
    let is_year = |index: usize| group(index).len() == 4 && matches!(number(index), 1000..=2199);
    let short = |index: usize| matches!(group(index).len(), 1 | 2);
    if count == 1 {
        // 20231123, 20231123101530
        let digits = run.digits(1);
        let part = |from: usize, to: usize| value(digits.get(from..to).unwrap_or(&[]));
        return matches!(digits.len(), 8 | 12 | 14)
            && matches!(part(0, 4), 1900..=2099)
            && is_date(part(0, 4), part(4, 6), part(6, 8));
    }
    if count == 2 && is_year(0) && is_year(1) {
        return true;
    }
    if count >= 3 {
        let (first, second, third) = (number(0), number(1), number(2));
        if is_year(0) && short(1) && short(2) && is_date(first, second, third) {
            return true;
        }
        let day_month = short(0) && short(1) && is_year(2);
        if day_month && (is_date(third, first, second) || is_date(third, second, first)) {
            return true;
        }
    }
    let span = run.span(count);
    count == 4 && std::str::from_utf8(slice(text, span)).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok())
}
