//! Geographic coordinates: a latitude with a longitude, in decimal degrees beside a word that says so or with
//! hemispheres, or in degrees, minutes and seconds.

use crate::scan::{
    candidate::{DOUBTFUL, LIKELY, Page, STRONG, UNLIKELY},
    context::{Topic, Topics},
    kind::{Kind, Validator},
    text::{before, begins, byte, run},
};

const WORDS: Topics = Topics::of(&[Topic::Coordinates]);
const AGAINST: Topics = Topics::of(&[Topic::Maths, Topic::Version]);
/// With fewer decimals it is a town at best.
const DECIMALS_MIN: usize = 3;
const DECIMALS_MAX: usize = 15;
/// So much may stand between the two: `", "longitude": "`.
const BETWEEN_BYTES_MAX: usize = 20;

/// A number of decimal degrees.
struct Degrees {
    end: usize,
    whole: u32,
    decimals: usize,
    /// Whether a degree sign or a letter of a hemisphere follows.
    marked: bool,
}

/// Decimal degrees from `at` on, where a digit stands.
pub(super) fn decimal(page: &mut Page<'_>, at: usize) {
    let text = page.text;
    if !begins(text, at) {
        return;
    }
    let Some(latitude) = degrees(text, at) else { return };
    let gap = run(text, latitude.end, BETWEEN_BYTES_MAX, |byte| !byte.is_ascii_digit() && byte != b'\n');
    let second = latitude.end + gap;
    let between = text.get(latitude.end..second).unwrap_or(&[]);
    let named = between.windows(2).any(|pair| pair.eq_ignore_ascii_case(b"lo") || pair.eq_ignore_ascii_case(b"ln"));
    let plain =
        !between.is_empty() && between.iter().all(|byte| matches!(byte, b',' | b' ' | b'-' | b';' | b'+' | b'/'));
    if !(named || plain) || gap == BETWEEN_BYTES_MAX {
        return;
    }
    let Some(longitude) = degrees(text, second) else { return };
    if latitude.whole > 90 || longitude.whole > 180 {
        return;
    }
    let minus = matches!(before(text, at), b'-' | b'+') && !before(text, at - 1).is_ascii_alphanumeric();
    let span = at - usize::from(minus)..longitude.end;
    let support = page.support(&span, WORDS, AGAINST);
    let precise = latitude.decimals.min(longitude.decimals) >= 4;
    let confidence = if latitude.marked && longitude.marked {
        STRONG
    } else if named {
        support.pick(STRONG, LIKELY, DOUBTFUL)
    } else {
        support.pick(if precise { LIKELY } else { 0.5 }, DOUBTFUL, UNLIKELY)
    };
    page.add(Kind::Coordinates, span, confidence, Validator::Grammar);
}

fn degrees(text: &[u8], at: usize) -> Option<Degrees> {
    let whole_len = run(text, at, 4, |byte| byte.is_ascii_digit());
    let whole = text.get(at..at + whole_len)?.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    let decimals = run(text, at + whole_len + 1, DECIMALS_MAX + 1, |byte| byte.is_ascii_digit());
    let mut end = at + whole_len + 1 + decimals;
    if byte(text, at + whole_len) != b'.'
        || !(1..=3).contains(&whole_len)
        || !(DECIMALS_MIN..=DECIMALS_MAX).contains(&decimals)
    {
        return None;
    }
    let sign = if text.get(end..).is_some_and(|rest| rest.starts_with("°".as_bytes())) { 2 } else { 0 };
    let space = usize::from(byte(text, end + sign) == b' ');
    let hemisphere = matches!(byte(text, end + sign + space), b'N' | b'S' | b'E' | b'W' | b'O')
        && !byte(text, end + sign + space + 1).is_ascii_alphanumeric();
    if hemisphere {
        end += sign + space + 1;
    } else if byte(text, end).is_ascii_alphanumeric() || byte(text, end) == b'.' && byte(text, end + 1).is_ascii_digit()
    {
        return None;
    }
    Some(Degrees { end, whole, decimals, marked: hemisphere })
}

/// Degrees, minutes and seconds around a degree sign, which begins at `at`: `48°51'24"N 2°21'03"E`.
pub(super) fn sexagesimal(page: &mut Page<'_>, at: usize) {
    let text = page.text;
    let start = at - crate::scan::text::run_before(text, at, 3, |byte| byte.is_ascii_digit());
    let Some(latitude_end) = minutes(text, at, b"NS") else { return };
    let gap = run(text, latitude_end, 3, |byte| matches!(byte, b' ' | b',' | b';'));
    let second = latitude_end + gap;
    let digits = run(text, second, 3, |byte| byte.is_ascii_digit());
    let Some(end) = minutes(text, second + digits, b"EWO") else { return };
    if start < at && digits > 0 {
        page.add(Kind::Coordinates, start..end, STRONG, Validator::Grammar);
    }
}

/// The end of a degree sign, minutes, perhaps seconds, and one of these letters.
fn minutes(text: &[u8], at: usize, hemispheres: &[u8]) -> Option<usize> {
    text.get(at..)?.strip_prefix("°".as_bytes())?;
    let rest = at + 2;
    let len = run(text, rest, 16, |byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'\'' | b'"' | b' '));
    let end = rest + len;
    (hemispheres.contains(&byte(text, end)) && !byte(text, end + 1).is_ascii_alphanumeric()).then_some(end + 1)
}
