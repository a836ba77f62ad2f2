//! Telephone numbers: with a country's calling code, in the formats of the configured regions, or beside a word that says
//! so. Numbers have no check digit; what is not formatted like one and stands beside no such word is not reported.

pub(in crate::scan) mod regions;
mod style;

use std::ops::Range;

use regions::{CALLING_CODES, SHAPES};
use style::{Style, is_date_or_address, reach, style};

use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, LIKELY, POSSIBLE, Page, STRONG, UNLIKELY},
    context::{Support, Topic, Topics},
    kind::{Kind, Validator},
    number::{Run, value},
    text::{before, begins, byte, ends, run as run_of, slice},
};

/// The shortest number, a local one without area code.
const DIGITS_MIN: usize = 7;
/// The longest number, by E.164.
const DIGITS_MAX: usize = 15;
/// So near has a word like `call` to stand before digits that are not grouped.
const LOOSE_BYTES: usize = 12;

const WORDS: Topics = Topics::of(&[Topic::Phone]);
const LOOSE_WORDS: Topics = Topics::of(&[Topic::PhoneLoose]);
const AGAINST: Topics = Topics::of(&[
    Topic::Thing,
    Topic::Version,
    Topic::Digest,
    Topic::Time,
    Topic::Maths,
    Topic::Card,
    Topic::Ssn,
    Topic::Itin,
    Topic::Nhs,
    Topic::Nir,
    Topic::SteuerId,
    Topic::Dni,
    Topic::Aadhaar,
    Topic::Cpf,
    Topic::CnId,
    Topic::Passport,
    Topic::Licence,
    Topic::Coordinates,
    Topic::Birth,
]);

/// How a region writes its numbers, compiled.
#[derive(Debug)]
struct Shape {
    /// The lengths of the groups, a nibble each.
    signature: u32,
    /// For each digit the least and the greatest.
    digits: Vec<(u8, u8)>,
    /// Whether the first group has to stand in parentheses.
    enclosed: bool,
    /// The confidence where dashes, dots or parentheses separate the groups, and where spaces do.
    tight: f32,
    spaced: f32,
}

/// The formats of the configured regions.
#[derive(Debug)]
pub(in crate::scan) struct Phones {
    /// Ordered by signature.
    shapes: Vec<Shape>,
}

impl Phones {
    /// The formats of the regions for which `wanted` holds.
    pub(in crate::scan) fn new(wanted: impl Fn(&str) -> bool) -> Self {
        let rows = SHAPES.iter().filter(|(regions, ..)| regions.split(' ').any(&wanted));
        let mut shapes: Vec<Shape> =
            rows.map(|(_, pattern, tight, spaced)| compile(pattern, *tight, *spaced)).collect();
        shapes.sort_by_key(|shape| shape.signature);
        Self { shapes }
    }

    /// Groups of digits.
    pub(in crate::scan) fn recognise(&self, page: &mut Page<'_>, run: &Run) {
        let (text, start) = (page.text, run.start());
        if run.all_digits().len() < DIGITS_MIN {
            return;
        }
        if start < page.phones_to || international(page, run) || !begins(text, start) {
            return;
        }
        if let Some((count, bare)) = self.shape(text, run) {
            self.shaped(page, run, count, bare);
        } else {
            self.in_context(page, run);
        }
    }

    /// The longest of the formats that the first groups have, with its confidence.
    fn shape(&self, text: &[u8], run: &Run) -> Option<(usize, f32)> {
        let mut best = None;
        let mut signature = 0;
        for count in 1..=run.len().min(7) {
            let len = u32::try_from(run.lens(count).last().unwrap_or(0)).unwrap_or(0);
            let digits = run.digits(count);
            if len > 15 || digits.len() > DIGITS_MAX {
                break;
            }
            signature = signature << 4 | len;
            if count < 2 || digits.len() < DIGITS_MIN {
                continue;
            }
            let Some(style) = style(text, run, count) else { break };
            let from = self.shapes.partition_point(|shape| shape.signature < signature);
            let alike = self.shapes.iter().skip(from).take_while(|shape| shape.signature == signature);
            let confidences = alike.filter(|shape| shape.matches(digits, style)).map(|shape| match style {
                Style::Spaced => shape.spaced,
                _ => shape.tight,
            });
            if let Some(confidence) = confidences.max_by(f32::total_cmp) {
                best = Some((count, confidence));
            }
        }
        best
    }

    fn shaped(&self, page: &mut Page<'_>, run: &Run, count: usize, bare: f32) {
        let span = whole_span(page.text, run.span(count));
        let separator = run.separator(count);
        let goes_on =
            separator.is_some_and(|separator| separator != b' ' && run.continues(page.text, count, separator));
        if !ends(page.text, span.end) || goes_on || is_date_or_address(page.text, run, count) {
            return;
        }
        let support = page.support(&span, WORDS, AGAINST);
        let loose = page.support(&span, LOOSE_WORDS, AGAINST);
        let (confidence, validator) = match (support, loose) {
            (Support::For, _) => (CERTAIN, Validator::Context),
            (_, Support::For) => (bare.max(LIKELY), Validator::Context),
            (Support::Against, _) => (UNLIKELY, Validator::Grammar),
            _ => (bare, Validator::Grammar),
        };
        add(page, span, confidence, validator);
    }

    /// Digits in no known format, beside a word that says that they are a phone number.
    fn in_context(&self, page: &mut Page<'_>, run: &Run) {
        let text = page.text;
        if !page.context.has(WORDS) && !page.context.has(LOOSE_WORDS) {
            return;
        }
        let count = reach(run, DIGITS_MAX);
        let digits = run.digits(count);
        let span = whole_span(text, run.span(count));
        if digits.len() < DIGITS_MIN || !ends(text, span.end) || is_date_or_address(text, run, count) {
            return;
        }
        if page.support(&span, WORDS, AGAINST) == Support::For {
            let confidence = if count > 1 { STRONG } else { LIKELY };
            add(page, span, confidence, Validator::Context);
        } else if digits.len() <= 13 && page.support(&span, LOOSE_WORDS, AGAINST) == Support::For {
            let grouped = count > 1 && style(text, run, count).is_some();
            let dialled = matches!(digits, [2..=9, ..] if digits.len() == 10)
                || matches!(digits, [0, 1..=9, ..] if digits.len() >= 9);
            let near = page.context.just_before(span.start, LOOSE_BYTES, LOOSE_WORDS);
            let confidence = if grouped || dialled && near { POSSIBLE } else { UNLIKELY };
            add(page, span, confidence, Validator::Context);
        }
    }
}

impl Shape {
    fn matches(&self, digits: &[u8], style: Style) -> bool {
        (!self.enclosed || style == Style::Enclosed)
            && digits.len() == self.digits.len()
            && digits.iter().zip(&self.digits).all(|(digit, (least, greatest))| (least..=greatest).contains(&digit))
    }
}

/// A pattern of the table: `X` is any digit, `Z` none but 0, `N` from 2 to 9, digits stand for themselves.
fn compile(pattern: &str, tight: f32, spaced: f32) -> Shape {
    let mut digits = Vec::new();
    let mut signature = 0;
    let groups = pattern.split(|character: char| !character.is_ascii_alphanumeric()).filter(|group| !group.is_empty());
    for group in groups {
        signature = signature << 4 | u32::try_from(group.len()).unwrap_or(0);
        digits.extend(group.bytes().map(|byte| match byte {
            b'N' => (2, 9),
            b'Z' => (1, 9),
            b'0'..=b'9' => (byte - b'0', byte - b'0'),
            _ => (0, 9),
        }));
    }
    Shape { signature, digits, enclosed: pattern.starts_with('('), tight, spaced }
}

/// A number with its country's calling code, after `+` or a prefix of international calls. Whether it is one.
fn international(page: &mut Page<'_>, run: &Run) -> bool {
    let (text, start) = (page.text, run.start());
    let open = usize::from(before(text, start) == b'(');
    let plus = before(text, start - open) == b'+';
    let dialled =
        run.all_digits().starts_with(&[0, 0]) || run.first_len() == 3 && run.all_digits().starts_with(&[0, 1, 1]);
    if !plus && (!dialled || !begins(text, start)) {
        return false;
    }
    let sign = start - open - usize::from(plus);
    if plus && before(text, sign).is_ascii_alphanumeric() {
        return false;
    }
    let prefix = if plus {
        0
    } else if run.all_digits().starts_with(&[0, 0]) {
        2
    } else {
        3
    };
    let Some(count) = international_groups(text, run, prefix) else { return false };
    let span = whole_span(text, sign..run.span(count).end);
    if !ends(text, span.end) {
        return false;
    }
    let support = page.support(&span, WORDS, AGAINST);
    let bare = match (plus, count > 1) {
        (true, true) => STRONG,
        (true, false) | (false, true) => LIKELY,
        (false, false) => DOUBTFUL,
    };
    let against = if plus && count > 1 { POSSIBLE } else { DOUBTFUL };
    add(page, span, support.pick(CERTAIN, bare, against), Validator::Grammar);
    true
}

fn add(page: &mut Page<'_>, span: Range<usize>, confidence: f32, validator: Validator) {
    if confidence >= POSSIBLE {
        page.phones_to = span.end;
    }
    page.add(Kind::Phone, span, confidence, validator);
}

/// How many groups make a number of the country whose calling code comes after `prefix` digits.
fn international_groups(text: &[u8], run: &Run, prefix: usize) -> Option<usize> {
    let code = |len: usize| run.all_digits().get(prefix..prefix + len).map(value);
    let known = (1..=3).rev().find_map(|len| {
        let code = code(len)?;
        let index = CALLING_CODES.binary_search_by_key(&code, |(known, ..)| u64::from(*known)).ok()?;
        CALLING_CODES.get(index).map(|(_, least, most)| (len, usize::from(*least), usize::from(*most)))
    });
    let (code_len, least, most) = known?;
    let reachable = reach(run, DIGITS_MAX + prefix + 1);
    (1..=reachable).rev().find(|count| {
        let span = run.span(*count);
        let trunk = usize::from(slice(text, span).windows(3).any(|three| three == b"(0)"));
        let national = run.digits(*count).len().saturating_sub(prefix + code_len + trunk);
        let first = run.all_digits().get(prefix + code_len);
        (least..=most).contains(&national) && !(code_len == 1 && code(1) == Some(1) && matches!(first, Some(0 | 1)))
    })
}

/// The span with a parenthesis or plus before it and an extension behind it: `x123`, `ext. 123`.
fn whole_span(text: &[u8], span: Range<usize>) -> Range<usize> {
    const MARKS: [&[u8]; 5] = [b"extension", b"ext.", b"ext", b"x", b"#"];
    let start = span.start - usize::from(before(text, span.start) == b'(' && slice(text, span.clone()).contains(&b')'));
    let gap = run_of(text, span.end, 2, |byte| matches!(byte, b' ' | b','));
    let mark_at = span.end + gap;
    let mark = MARKS.into_iter().find(|mark| slice(text, mark_at..mark_at + mark.len()).eq_ignore_ascii_case(mark));
    let Some(mark) = mark else { return start..span.end };
    let digits_at = mark_at + mark.len() + usize::from(byte(text, mark_at + mark.len()) == b' ');
    let digits = run_of(text, digits_at, 7, |byte| byte.is_ascii_digit());
    if (1..=6).contains(&digits) { start..digits_at + digits } else { start..span.end }
}

#[cfg(test)]
mod tests;
