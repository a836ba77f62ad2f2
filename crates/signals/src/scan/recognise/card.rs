//! Payment cards: a known prefix, its length, and Luhn's checksum. A test number such as 4111 1111 1111 1111 counts: whoever
//! pastes one may as well paste another.

use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, LIKELY, POSSIBLE, Page, STRONG, UNLIKELY},
    check,
    context::{NUMBERS_OF_THINGS, Support, Topic, Topics},
    kind::{Kind, Validator},
    number::{Run, is_uniform, value},
    text::{before, begins, byte, ends},
};

const WORDS: Topics = Topics::of(&[Topic::Card]);
const DIGITS_MIN: usize = 12;
const DIGITS_MAX: usize = 19;

/// How the digits are grouped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// All together.
    Whole,
    /// As on a card, or every digit by itself.
    Usual,
    Odd,
}

pub(super) fn recognise(page: &mut Page<'_>, run: &Run) {
    if run.all_digits().len() < DIGITS_MIN {
        return;
    }
    let lengths = lengths(run.all_digits());
    if lengths.is_empty() && !page.context.has(WORDS) {
        return;
    }
    for count in 1..=run.len() {
        let digits = run.digits(count);
        if digits.len() > DIGITS_MAX {
            return;
        }
        // The prefixes of the world are more than those listed: beside a word any will do that has the usual length.
        let issued = lengths.contains(&digits.len());
        if (issued || matches!(digits.len(), 15 | 16)) && !is_uniform(digits) {
            judge(page, run, count, issued);
        }
    }
}

fn judge(page: &mut Page<'_>, run: &Run, count: usize, issued: bool) {
    let (text, span, digits) = (page.text, run.span(count), run.digits(count));
    let next = byte(text, span.end);
    if next.is_ascii_alphabetic() || before(text, span.start) == b'.' && !begins(text, span.start) {
        return;
    }
    let support = page.support(&span, WORDS, NUMBERS_OF_THINGS);
    let layout = layout(text, run, count);
    let stands_alone = begins(text, span.start) && ends(text, span.end);
    let usual_length = matches!(digits.len(), 15 | 16);
    if !check::luhn(digits) {
        if issued && support == Support::For && usual_length && stands_alone && layout != Layout::Odd {
            page.add(Kind::PaymentCard, span, DOUBTFUL, Validator::Context);
        }
        return;
    }
    let confidence = match (layout, usual_length) {
        _ if !issued && layout != Layout::Odd => {
            support.pick(if stands_alone { STRONG } else { DOUBTFUL }, UNLIKELY, UNLIKELY)
        }
        _ if !stands_alone => support.pick(LIKELY, UNLIKELY, UNLIKELY),
        (Layout::Usual, true) => support.pick(CERTAIN, 0.95, POSSIBLE),
        (Layout::Whole, true) => support.pick(CERTAIN, 0.8, UNLIKELY),
        (Layout::Usual, false) => support.pick(CERTAIN, POSSIBLE, DOUBTFUL),
        (Layout::Whole, false) => support.pick(STRONG, DOUBTFUL, UNLIKELY),
        (Layout::Odd, _) => support.pick(LIKELY, UNLIKELY, UNLIKELY),
    };
    page.add(Kind::PaymentCard, span, confidence, Validator::Luhn);
}

fn layout(text: &[u8], run: &Run, count: usize) -> Layout {
    if count == 1 {
        return Layout::Whole;
    }
    let Some(separator) = run.separator(count) else { return Layout::Odd };
    let fours = run.lens(count - 1).all(|len| len == 4) && run.lens(count).last().is_some_and(|len| len <= 4);
    let usual = fours
        || (count == 3 && (run.starts_with(&[4, 6, 5]) || run.starts_with(&[4, 6, 4])))
        || run.lens(count).all(|len| len == 1);
    // After a space the date of expiry may follow; after a dash the number goes on and is another.
    let goes_on = separator != b' ' && run.continues(text, count, separator);
    if usual && !goes_on { Layout::Usual } else { Layout::Odd }
}

/// The lengths of the cards that a network issues with this prefix; none if none does.
fn lengths(digits: &[u8]) -> &'static [usize] {
    let prefix = |len: usize| value(digits.get(..len).unwrap_or(&[]));
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    match (two, three, four) {
        (40..=49, ..) => &[13, 16, 19],
        (34 | 37, ..) => &[15],
        (51..=55, ..) | (_, _, 2221..=2720 | 2200..=2204 | 9792) => &[16],
        (_, 300..=305, _) | (36 | 38 | 39, ..) | (_, _, 3095) => &[14, 15, 16, 17, 18, 19],
        (_, _, 3528..=3589) => &[16, 17, 18, 19],
        (_, _, 1800 | 2131) => &[15],
        (_, 644..=649, _) | (65, ..) | (_, _, 6011) => &[16, 17, 18, 19],
        (62 | 81, ..) => &[16, 17, 18, 19],
        (60 | 82, ..) => &[16],
        (50 | 56..=58 | 67, ..) | (_, _, 6304 | 6390) => &[12, 13, 14, 15, 16, 17, 18, 19],
        _ => &[],
    }
}
