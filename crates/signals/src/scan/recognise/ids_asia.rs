//! Identity numbers of India and China.

use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, LIKELY, POSSIBLE, Page, STRONG, UNLIKELY},
    check,
    context::{NUMBERS_OF_THINGS, Topic, Topics},
    kind::{Kind, Validator},
    number::{Run, value},
    text::{begins, byte, ends},
};

const AADHAAR_WORDS: Topics = Topics::of(&[Topic::Aadhaar]);
const CN_WORDS: Topics = Topics::of(&[Topic::CnId]);
/// A resident lives in one of these provinces.
const PROVINCES: [u64; 35] = [
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63,
    64, 65, 71, 81, 82, 83,
];

pub(super) fn recognise(page: &mut Page<'_>, run: &Run) {
    if run.starts_with(&[4, 4, 4]) {
        aadhaar(page, run, 3);
    } else if run.first_len() == 12 {
        aadhaar(page, run, 1);
    }
    if matches!(run.first_len(), 17 | 18) {
        resident_id(page, run);
    }
}

fn aadhaar(page: &mut Page<'_>, run: &Run, groups: usize) {
    let (text, span, digits) = (page.text, run.span(groups), run.digits(groups));
    let separator = run.separator(groups);
    let first = digits.first().copied().unwrap_or(0);
    if !begins(text, span.start) || !ends(text, span.end) || first < 2 || !check::verhoeff(digits) {
        return;
    }
    if groups == 3 && separator.is_none_or(|separator| run.continues(text, groups, separator)) {
        return;
    }
    let years = digits.chunks(4).all(|group| matches!(value(group), 1900..=2099));
    let bare = match separator {
        _ if years => UNLIKELY,
        Some(b' ' | b'-') => POSSIBLE,
        Some(_) => UNLIKELY,
        None => DOUBTFUL,
    };
    let support = page.support(&span, AADHAAR_WORDS, NUMBERS_OF_THINGS);
    page.add(Kind::InAadhaar, span, support.pick(CERTAIN, bare, UNLIKELY), Validator::Verhoeff);
}

/// Region, date of birth, serial number and check character, which may be an X.
fn resident_id(page: &mut Page<'_>, run: &Run) {
    let (text, group) = (page.text, run.group(0));
    let check = byte(text, group.start + 17);
    let end = group.start + 18;
    let Some(digits) = run.digits(1).get(..17) else { return };
    if !begins(text, group.start) || !ends(text, end) || !check::cn_resident_id(digits, check) {
        return;
    }
    let part = |from: usize, to: usize| value(digits.get(from..to).unwrap_or(&[]));
    let born = (1900..2100).contains(&part(6, 10)) && check::is_date(part(6, 10), part(10, 12), part(12, 14));
    if !born || !PROVINCES.contains(&part(0, 2)) {
        return;
    }
    let support = page.support(&(group.start..end), CN_WORDS, NUMBERS_OF_THINGS);
    page.add(Kind::CnResidentId, group.start..end, support.pick(CERTAIN, STRONG, LIKELY), Validator::CheckDigit);
}
