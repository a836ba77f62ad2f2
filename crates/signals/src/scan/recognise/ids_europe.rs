//! Identity numbers of Britain, France, Germany, Spain and Italy.

use std::ops::Range;

use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, LIKELY, POSSIBLE, Page, STRONG, UNLIKELY},
    check,
    context::{NUMBERS_OF_THINGS, Support, Topic, Topics},
    kind::{Kind, Validator},
    number::{Run, is_uniform, value},
    text::{before, begins, byte, ends, slice},
};

const NINO_WORDS: Topics = Topics::of(&[Topic::Nino]);
const NHS_WORDS: Topics = Topics::of(&[Topic::Nhs]);
const NIR_WORDS: Topics = Topics::of(&[Topic::Nir]);
const STEUER_WORDS: Topics = Topics::of(&[Topic::SteuerId]);
const DNI_WORDS: Topics = Topics::of(&[Topic::Dni]);
const CODICE_WORDS: Topics = Topics::of(&[Topic::CodiceFiscale]);

/// Groups of digits.
pub(super) fn recognise(page: &mut Page<'_>, run: &Run) {
    let whole = run.first_len();
    if run.starts_with(&[2, 2, 2]) {
        spaced_nino(page, run);
    }
    if whole == 10 || run.starts_with(&[3, 3, 4]) {
        nhs(page, run, if whole == 10 { 1 } else { 3 });
    }
    nir(page, run);
    steuer_id(page, run);
    if whole == 8 || run.starts_with(&[2, 3, 3]) {
        dni(page, run, if whole == 8 { 1 } else { 3 });
    }
    if whole == 7 && before(page.text, run.start()) == b'-' {
        dashed_nie(page, run);
    }
}

/// Words of letters and digits.
pub(super) fn token(page: &mut Page<'_>, span: Range<usize>) {
    let word = slice(page.text, span.clone());
    match word.len() {
        9 if byte(word, 1).is_ascii_alphabetic() && word.iter().skip(2).take(6).all(u8::is_ascii_digit) => {
            nino(page, span)
        }
        9 => nie(page, span),
        16 => codice_fiscale(page, span),
        _ => {}
    }
}

/// Two letters, six digits, a letter from A to D; no check digit.
fn nino(page: &mut Page<'_>, span: Range<usize>) {
    let text = page.text;
    let (first, second, suffix) = (byte(text, span.start), byte(text, span.start + 1), before(text, span.end));
    if !is_nino_prefix(first, second) || !matches!(suffix.to_ascii_uppercase(), b'A'..=b'D') || !alone(text, &span) {
        return;
    }
    let bare = if first.is_ascii_uppercase() && suffix.is_ascii_uppercase() { LIKELY } else { DOUBTFUL };
    let support = page.support(&span, NINO_WORDS, NUMBERS_OF_THINGS);
    page.add(Kind::UkNino, span, support.pick(STRONG, bare, UNLIKELY), Validator::Grammar);
}

/// The same with a separator between each two characters: `QQ 12 34 56 C`.
fn spaced_nino(page: &mut Page<'_>, run: &Run) {
    let (text, digits) = (page.text, run.span(3));
    let Some(separator) = run.separator(3) else { return };
    let span = digits.start.saturating_sub(3)..digits.end + 2;
    if before(text, digits.start) == separator && byte(text, digits.end) == separator {
        let letters = byte(text, span.start).is_ascii_alphabetic() && byte(text, span.start + 1).is_ascii_alphabetic();
        if letters && digits.start >= 3 {
            nino(page, span);
        }
    }
}

fn is_nino_prefix(first: u8, second: u8) -> bool {
    let (first, second) = (first.to_ascii_uppercase(), second.to_ascii_uppercase());
    let never = [*b"BG", *b"GB", *b"NK", *b"KN", *b"TN", *b"NT", *b"ZZ"];
    first.is_ascii_uppercase()
        && second.is_ascii_uppercase()
        && !matches!(first, b'D' | b'F' | b'I' | b'Q' | b'U' | b'V')
        && !matches!(second, b'D' | b'F' | b'I' | b'O' | b'Q' | b'U' | b'V')
        && !never.contains(&[first, second])
}

fn nhs(page: &mut Page<'_>, run: &Run, groups: usize) {
    let (span, digits) = (run.span(groups), run.digits(groups));
    if alone(page.text, &span) && !is_uniform(digits) && check::nhs(digits) {
        // One number in eleven passes, and phone numbers look alike.
        let support = page.support(&span, NHS_WORDS, NUMBERS_OF_THINGS);
        page.add(Kind::UkNhs, span, support.pick(CERTAIN, DOUBTFUL, UNLIKELY), Validator::CheckDigit);
    }
}

/// Sex, year, month, place, serial number and a key of two digits. Corsica's 2A and 2B stand in the place.
fn nir(page: &mut Page<'_>, run: &Run) {
    let (text, start) = (page.text, run.start());
    let long = run.all_digits().len() >= 15 || matches!(byte(text, run.span(run.len()).end), b'A' | b'B');
    if !long || !matches!(byte(text, start), b'1' | b'2') || !begins(text, start) {
        return;
    }
    let (mut digits, mut len, mut at, mut corsica) = ([0u8; 15], 0, start, 0);
    while let Some(digit) = digits.get_mut(len) {
        let found = byte(text, at);
        if found.is_ascii_digit() {
            *digit = found - b'0';
            len += 1;
        } else if len == 6 && matches!(found, b'A' | b'B') && before(text, at) == b'2' {
            // 2A counts as 19, 2B as 18.
            corsica = if found == b'A' { 1_000_000 } else { 2_000_000 };
            *digit = 0;
            len += 1;
        } else if !matches!(found, b' ' | b'.' | b'-') || at == start || !byte(text, at + 1).is_ascii_alphanumeric() {
            break;
        }
        at += 1;
    }
    let month = value(digits.get(3..5).unwrap_or(&[]));
    if len != 15 || !ends(text, at) || !matches!(month, 1..=12 | 20..=42 | 50..=99) {
        return;
    }
    let number = value(digits.get(..13).unwrap_or(&[])) - corsica;
    if check::nir(number, value(digits.get(13..).unwrap_or(&[]))) {
        let support = page.support(&(start..at), NIR_WORDS, NUMBERS_OF_THINGS);
        page.add(Kind::FrNir, start..at, support.pick(CERTAIN, LIKELY, UNLIKELY), Validator::CheckDigit);
    }
}

fn steuer_id(page: &mut Page<'_>, run: &Run) {
    let groups = if run.first_len() == 11 {
        1
    } else if run.starts_with(&[2, 3, 3, 3]) {
        4
    } else {
        return;
    };
    let (span, digits) = (run.span(groups), run.digits(groups));
    if alone(page.text, &span) && check::steuer_id(digits) {
        let bare = if groups == 4 { POSSIBLE } else { DOUBTFUL };
        let support = page.support(&span, STEUER_WORDS, NUMBERS_OF_THINGS);
        page.add(Kind::DeSteuerId, span, support.pick(CERTAIN, bare, UNLIKELY), Validator::CheckDigit);
    }
}

/// Eight digits and a letter: `12345678Z`, `12.345.678-Z`.
fn dni(page: &mut Page<'_>, run: &Run, groups: usize) {
    let (text, digits) = (page.text, run.span(groups));
    let separated = matches!(byte(text, digits.end), b'-' | b' ');
    let letter = digits.end + usize::from(separated);
    let span = digits.start..letter + 1;
    let found = byte(text, letter);
    if !alone(text, &span) || check::dni_letter(value(run.digits(groups))) != found.to_ascii_uppercase() {
        return;
    }
    // A word after a number may well be a single letter.
    let bare = match byte(text, digits.end) {
        b' ' => DOUBTFUL,
        _ if found.is_ascii_uppercase() => LIKELY,
        _ => DOUBTFUL,
    };
    let support = page.support(&span, DNI_WORDS, NUMBERS_OF_THINGS);
    page.add(Kind::EsDni, span, support.pick(CERTAIN, bare, UNLIKELY), Validator::CheckDigit);
}

/// A letter, seven digits and a letter: `X1234567L`.
fn nie(page: &mut Page<'_>, span: Range<usize>) {
    let word = slice(page.text, span.clone());
    let [head, digits @ .., letter] = word else { return };
    if digits.iter().all(u8::is_ascii_digit) {
        let digits: Vec<u8> = digits.iter().map(|digit| digit - b'0').collect();
        judge_nie(page, span, *head, &digits, *letter);
    }
}

/// The same with dashes: `X-1234567-L`.
fn dashed_nie(page: &mut Page<'_>, run: &Run) {
    let (text, digits) = (page.text, run.span(1));
    let Some(start) = digits.start.checked_sub(2) else { return };
    let letter = digits.end + usize::from(byte(text, digits.end) == b'-');
    judge_nie(page, start..letter + 1, byte(text, start), run.digits(1), byte(text, letter));
}

fn judge_nie(page: &mut Page<'_>, span: Range<usize>, head: u8, digits: &[u8], letter: u8) {
    let leading = match head.to_ascii_uppercase() {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        _ => return,
    };
    let number = leading * 10_000_000 + value(digits);
    if !alone(page.text, &span) || check::dni_letter(number) != letter.to_ascii_uppercase() {
        return;
    }
    let bare = if head.is_ascii_uppercase() && letter.is_ascii_uppercase() { LIKELY } else { DOUBTFUL };
    let support = page.support(&span, DNI_WORDS, NUMBERS_OF_THINGS);
    page.add(Kind::EsNie, span, support.pick(CERTAIN, bare, UNLIKELY), Validator::CheckDigit);
}

/// Six letters, then year, month letter, day, place and check letter; digits may be replaced by letters.
fn codice_fiscale(page: &mut Page<'_>, span: Range<usize>) {
    let word = slice(page.text, span.clone()).to_ascii_uppercase();
    let is_digit = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'L'..=b'N' | b'P'..=b'V');
    let shape = word.iter().enumerate().all(|(index, byte)| match index {
        0..=5 | 11 | 15 => byte.is_ascii_uppercase(),
        8 => matches!(byte, b'A'..=b'E' | b'H' | b'L' | b'M' | b'P' | b'R'..=b'T'),
        _ => is_digit(byte),
    });
    if shape && alone(page.text, &span) && check::codice_fiscale(&word) {
        let support = page.support(&span, CODICE_WORDS, Topics::default());
        let confidence = if support == Support::For { CERTAIN } else { STRONG };
        page.add(Kind::ItCodiceFiscale, span, confidence, Validator::CheckDigit);
    }
}

fn alone(text: &[u8], span: &Range<usize>) -> bool {
    begins(text, span.start) && ends(text, span.end)
}
