//! The recognisers of personal data, and which of them looks at which place of a text.
//!
//! Each gets a place (a group of digits, an `@`, a `:`) and looks at a bounded neighbourhood of it, so that the whole takes
//! time linear in the text.

mod birth;
mod card;
mod coin;
mod document;
pub(super) mod email;
mod iban;
mod ids_america;
mod ids_asia;
mod ids_europe;
mod network;
pub(super) mod phone;
mod place;

use super::{
    candidate::Page,
    context::{Hit, Topic},
    number::Run,
    secret,
    text::{before, byte, run, run_before},
};

/// A word of letters and digits longer than this is no identifier of a person.
const TOKEN_BYTES_MAX: usize = 64;

/// No number of a person has fewer digits, but for those in context.
const DIGITS_MIN: usize = 6;

/// Looks at every digit, `@` and `:` of the text.
pub(super) fn sweep(page: &mut Page<'_>, phones: &phone::Phones) {
    let text = page.text;
    let (mut at, mut after_token) = (0, 0);
    let mut found = Run::default();
    while let Some(skipped) = text.get(at..).and_then(|rest| rest.iter().position(|byte| is_looked_at(*byte))) {
        at += skipped;
        match byte(text, at) {
            b'@' => email::recognise(page, at),
            b':' => network::colon(page, at),
            b'-' => network::dashed_mac(page, at),
            DEGREE => place::sexagesimal(page, at),
            _ => {
                if at >= after_token {
                    after_token = token(page, at);
                }
                let end = at + run(text, at, usize::MAX, |byte| byte.is_ascii_digit());
                number(page, phones, &mut found, at, end);
                at = end - 1;
            }
        }
        at += 1;
    }
}

/// The first byte of a degree sign.
const DEGREE: u8 = 0xC2;

fn is_looked_at(byte: u8) -> bool {
    const LOOKED_AT: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = matches!(byte as u8, b'0'..=b'9' | b'@' | b':' | b'-' | DEGREE);
            byte += 1;
        }
        table
    };
    LOOKED_AT[usize::from(byte)]
}

/// Words that have to stand before what they announce.
pub(super) fn announced(page: &mut Page<'_>, hit: Hit) {
    const BIRTH: u8 = Topic::Birth as u8;
    const BIRTH_LOOSE: u8 = Topic::BirthLoose as u8;
    const PASSPORT: u8 = Topic::Passport as u8;
    const LICENCE: u8 = Topic::Licence as u8;
    match hit.topic {
        BIRTH | BIRTH_LOOSE => birth::recognise(page, hit),
        PASSPORT => document::passport(page, hit),
        LICENCE => document::licence(page, hit),
        _ => secret::announced(page, hit),
    }
}

/// A group of digits from `at` to `end`.
fn number(page: &mut Page<'_>, phones: &phone::Phones, run: &mut Run, at: usize, end: usize) {
    let text = page.text;
    if before(text, at).is_ascii_alphabetic() {
        return;
    }
    let next = byte(text, end);
    if next == b'.' && end - at <= 3 {
        network::ipv4(page, at);
        place::decimal(page, at);
    }
    // Of digits that stand singly only the first begins a number, which keeps long lists of them cheap.
    if end - at == 1
        && before(text, at) == next
        && at >= 2
        && byte(text, at - 2).is_ascii_digit()
        && !byte(text, at.wrapping_sub(3)).is_ascii_digit()
    {
        return;
    }
    run.read(text, at);
    if run.all_digits().len() < DIGITS_MIN {
        return;
    }
    card::recognise(page, run);
    ids_america::recognise(page, run);
    ids_europe::recognise(page, run);
    ids_asia::recognise(page, run);
    phones.recognise(page, run);
    secret::telegram(page, run);
}

/// The word of letters and digits around `at`, where its first digit stands. Returns where it ends.
fn token(page: &mut Page<'_>, at: usize) -> usize {
    let text = page.text;
    let start = at - run_before(text, at, TOKEN_BYTES_MAX, |byte| byte.is_ascii_alphabetic());
    let end = at + run(text, at, usize::MAX, |byte| byte.is_ascii_alphanumeric());
    if end - start > TOKEN_BYTES_MAX || before(text, start).is_ascii_alphanumeric() {
        return end;
    }
    iban::recognise(page, start, at);
    ids_europe::token(page, start..end);
    coin::token(page, start..end);
    secret::token(page, start..end);
    end
}
