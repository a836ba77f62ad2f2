//! International bank account numbers: country, length of that country, mod 97.

use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, Page, STRONG},
    check,
    context::{Support, Topic, Topics},
    kind::{Kind, Validator},
    text::{before, byte},
};

const WORDS: Topics = Topics::of(&[Topic::Bank]);
/// The longest IBAN.
const CHARACTERS_MAX: usize = 34;

/// Lengths by country, from the registry of SWIFT.
const LENGTHS: [(&[u8; 2], usize); 89] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// A word that begins at `start` and has its first digit at `digit`.
pub(super) fn recognise(page: &mut Page<'_>, start: usize, digit: usize) {
    let text = page.text;
    if digit != start + 2 || !byte(text, digit + 1).is_ascii_digit() || before(text, start) == b'_' {
        return;
    }
    let country = [byte(text, start), byte(text, start + 1)].map(|letter| letter.to_ascii_uppercase());
    let length = LENGTHS.binary_search_by_key(&&country, |(known, _)| *known).ok();
    let Some((_, length)) = length.and_then(|index| LENGTHS.get(index)) else { return };
    let Some((characters, end, groups)) = collect(text, start, *length) else { return };
    let span = start..end;
    let support = page.support(&span, WORDS, Topics::default());
    if check::iban(characters.get(..*length).unwrap_or(&[])) {
        let confidence = if support == Support::For { CERTAIN } else { STRONG };
        page.add(Kind::Iban, span, confidence, Validator::Mod97);
    } else if support == Support::For && groups <= length.div_ceil(4) {
        page.add(Kind::Iban, span, DOUBTFUL, Validator::Context);
    }
}

/// So many letters and digits from `start` on, with at most one separator between two of them; where they end, which has
/// to be the end of a word, and in how many groups they stand.
fn collect(text: &[u8], start: usize, length: usize) -> Option<([u8; CHARACTERS_MAX], usize, usize)> {
    let mut characters = [0; CHARACTERS_MAX];
    let (mut at, mut groups) = (start, 1);
    for character in characters.iter_mut().take(length) {
        if matches!(byte(text, at), b' ' | b'-' | b'.') {
            at += 1;
            groups += 1;
        }
        if !byte(text, at).is_ascii_alphanumeric() {
            return None;
        }
        *character = byte(text, at);
        at += 1;
    }
    (!byte(text, at).is_ascii_alphanumeric()).then_some((characters, at, groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_sorted() {
        assert!(LENGTHS.is_sorted());
        assert!(LENGTHS.iter().all(|(_, length)| *length <= CHARACTERS_MAX));
    }
}
