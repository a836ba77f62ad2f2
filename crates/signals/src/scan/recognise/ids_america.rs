//! Identity numbers of the United States and Brazil.

use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, LIKELY, Page, STRONG, UNLIKELY},
    check,
    context::{NUMBERS_OF_THINGS, Support, Topic, Topics},
    kind::{Kind, Validator},
    number::{Run, is_uniform, value},
    text::{begins, ends},
};

const SSN_WORDS: Topics = Topics::of(&[Topic::Ssn]);
const ITIN_WORDS: Topics = Topics::of(&[Topic::Itin, Topic::Ssn]);
const CPF_WORDS: Topics = Topics::of(&[Topic::Cpf]);

pub(super) fn recognise(page: &mut Page<'_>, run: &Run) {
    if run.starts_with(&[3, 2, 4]) {
        nine_digits(page, run, 3);
    } else if run.first_len() == 9 {
        nine_digits(page, run, 1);
    }
    if run.starts_with(&[3, 3, 3, 2]) {
        cpf(page, run, 4);
    } else if run.first_len() == 11 {
        cpf(page, run, 1);
    } else if run.starts_with(&[9, 2]) {
        cpf(page, run, 2);
    }
}

/// Area, group and serial number. Neither number has a check digit, so that without dashes or words nothing is certain.
fn nine_digits(page: &mut Page<'_>, run: &Run, groups: usize) {
    let (text, span, digits) = (page.text, run.span(groups), run.digits(groups));
    let (Some(area), Some(group), Some(serial)) = (digits.get(..3), digits.get(3..5), digits.get(5..9)) else { return };
    let (area, group, serial) = (value(area), value(group), value(serial));
    let separator = run.separator(groups);
    if !begins(text, span.start) || !ends(text, span.end) || serial == 0 || (groups == 3 && separator.is_none()) {
        return;
    }
    let bare = match separator {
        Some(b'-') => LIKELY,
        Some(_) => DOUBTFUL,
        None => UNLIKELY,
    };
    let itin = area >= 900 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99);
    let (kind, words) = if itin { (Kind::UsItin, ITIN_WORDS) } else { (Kind::UsSsn, SSN_WORDS) };
    if !itin && (matches!(area, 0 | 666 | 900..) || group == 0) {
        return;
    }
    let support = page.support(&span, words, NUMBERS_OF_THINGS);
    let validator = if support == Support::For { Validator::Context } else { Validator::Grammar };
    page.add(kind, span, support.pick(STRONG, bare, UNLIKELY), validator);
}

fn cpf(page: &mut Page<'_>, run: &Run, groups: usize) {
    let (text, span, digits) = (page.text, run.span(groups), run.digits(groups));
    if !begins(text, span.start) || !ends(text, span.end) || is_uniform(digits) || !check::cpf(digits) {
        return;
    }
    let bare = if groups == 4 { STRONG } else { DOUBTFUL };
    let support = page.support(&span, CPF_WORDS, NUMBERS_OF_THINGS);
    page.add(Kind::BrCpf, span, support.pick(CERTAIN, bare, UNLIKELY), Validator::CheckDigit);
}
