//! Which characters become ASCII and which vanish. Letters of other alphabets that look like Latin ones stay.

/// What becomes of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// It stays.
    Keep,
    /// It is invisible.
    Drop,
    /// It becomes this ASCII byte.
    To(u8),
}

/// The zeros of the decimal digits of Unicode (general category Nd), each followed by its one to nine.
const ZEROS: [u32; 66] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136,
    0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0,
    0x11F50, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0,
    0x1E950,
];

pub(super) fn fold(character: char) -> Fold {
    let code = u32::from(character);
    match code {
        0..=0x7F => Fold::Keep,
        0x80..=0x24FF => fold_low(code),
        // Katakana's middle dot, ideographic space and brackets; the ideographs themselves stay.
        0x3000 => Fold::To(b' '),
        0x300C..=0x300F => Fold::To(b'"'),
        0x30FB => Fold::To(b'.'),
        0x2E80..=0x9FFF | 0xAC00..=0xD7AF => Fold::Keep,
        0x29F8 => Fold::To(b'/'),
        0x2E3A | 0x2E3B | 0xFE58 | 0xFE63 => Fold::To(b'-'),
        0xA789 | 0xFE55 => Fold::To(b':'),
        0xFE62 => Fold::To(b'+'),
        0xFE6B => Fold::To(b'@'),
        0xFE00..=0xFE0F | 0xFEFF | 0xE0000..=0xE01EF => Fold::Drop,
        0xFF01..=0xFF5E => ascii(code - 0xFF01 + 0x21),
        0xFF61 => Fold::To(b'.'),
        0x1D400..=0x1D6A3 => mathematical_letter(code),
        _ => digit(code),
    }
}

fn fold_low(code: u32) -> Fold {
    match code {
        0xA0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F => Fold::To(b' '),
        0x2028 | 0x2029 => Fold::To(b'\n'),
        0xAD | 0x34F | 0x61C | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x20E3 => {
            Fold::Drop
        }
        0x2D7 | 0x58A | 0x5BE | 0x2010..=0x2015 | 0x2043 | 0x207B | 0x208B | 0x2212 => Fold::To(b'-'),
        0xB7 | 0x2022 | 0x2024 | 0x2219 | 0x22C5 => Fold::To(b'.'),
        0x2044 | 0x2215 => Fold::To(b'/'),
        0x2236 => Fold::To(b':'),
        0x2018..=0x201B | 0x2032 => Fold::To(b'\''),
        0xAB | 0xBB | 0x201C..=0x201F | 0x2033 => Fold::To(b'"'),
        0x2460..=0x2468 => ascii(code - 0x2460 + u32::from(b'1')),
        0x24EA => Fold::To(b'0'),
        0x80..=0x65F | 0x800..=0x965 | 0x10A0..=0x17DF | 0x1E00..=0x1FFF => Fold::Keep,
        _ => digit(code),
    }
}

fn digit(code: u32) -> Fold {
    let after = ZEROS.partition_point(|zero| *zero <= code);
    match after.checked_sub(1).and_then(|index| ZEROS.get(index)) {
        Some(zero) if code - zero < 10 => ascii(u32::from(b'0') + code - zero),
        _ => Fold::Keep,
    }
}

/// The mathematical alphabets stand one after the other, 26 capitals and 26 small letters each.
fn mathematical_letter(code: u32) -> Fold {
    let index = (code - 0x1D400) % 52;
    ascii(if index < 26 { u32::from(b'A') + index } else { u32::from(b'a') + index - 26 })
}

fn ascii(code: u32) -> Fold {
    u8::try_from(code).map_or(Fold::Keep, Fold::To)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_becomes_what_it_looks_like() {
        let cases = [('５', b'5'), ('٣', b'3'), ('۷', b'7'), ('९', b'9'), ('𝟗', b'9'), ('𝟘', b'0'), ('𝓪', b'a')];
        for (given, wanted) in cases {
            assert_eq!(fold(given), Fold::To(wanted), "{given}");
        }
        for (given, wanted) in [('–', b'-'), ('−', b'-'), ('\u{202f}', b' '), ('＠', b'@'), ('’', b'\''), ('③', b'3')]
        {
            assert_eq!(fold(given), Fold::To(wanted), "{given}");
        }
        for given in ['\u{200b}', '\u{feff}', '\u{ad}', '\u{2060}', '\u{20e3}'] {
            assert_eq!(fold(given), Fold::Drop, "{given:?}");
        }
        for given in ['a', 'é', 'ж', '中', '한', '½', 'ー'] {
            assert_eq!(fold(given), Fold::Keep, "{given}");
        }
    }

    #[test]
    fn zeros_are_sorted_and_are_digits() {
        assert!(ZEROS.is_sorted());
        assert!(ZEROS.iter().all(|zero| char::from_u32(*zero).is_some_and(char::is_numeric)));
    }
}
