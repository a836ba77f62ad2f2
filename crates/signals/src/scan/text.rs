//! Small questions about bytes that several recognisers ask.

use std::ops::Range;

/// The byte at `at`, or a space outside the text.
pub(crate) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(b' ')
}

/// The byte before `at`, or a space at the beginning.
pub(crate) fn before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(b' ', |at| byte(text, at))
}

/// The bytes of `span`, cut to the text.
pub(crate) fn slice(text: &[u8], span: Range<usize>) -> &[u8] {
    text.get(span.start..span.end.min(text.len())).unwrap_or(&[])
}

/// How many bytes from `at` on satisfy `belongs`, at most `max`.
pub(crate) fn run(text: &[u8], at: usize, max: usize, belongs: impl Fn(u8) -> bool) -> usize {
    slice(text, at..at.saturating_add(max)).iter().take_while(|byte| belongs(**byte)).count()
}

/// How many bytes before `at` satisfy `belongs`, at most `max`.
pub(crate) fn run_before(text: &[u8], at: usize, max: usize, belongs: impl Fn(u8) -> bool) -> usize {
    slice(text, at.saturating_sub(max)..at).iter().rev().take_while(|byte| belongs(**byte)).count()
}

/// Whether a number or identifier may begin at `at`: not within a word, nor after a digit and a separator.
pub(crate) fn begins(text: &[u8], at: usize) -> bool {
    let previous = before(text, at);
    if previous.is_ascii_alphanumeric() || previous == b'_' {
        return false;
    }
    !(matches!(previous, b'.' | b'-' | b'/') && before(text, at - 1).is_ascii_alphanumeric())
}

/// Whether a number or identifier may end at `at`: not within a word, nor before a separator with a digit behind.
pub(crate) fn ends(text: &[u8], at: usize) -> bool {
    let next = byte(text, at);
    if next.is_ascii_alphanumeric() || next == b'_' {
        return false;
    }
    !(matches!(next, b'.' | b'-' | b'/') && byte(text, at + 1).is_ascii_digit())
}

/// Whether these characters are too uniform, or too obviously an example, to be real: `xxxxxxxx`, `your-key-here`.
pub(crate) fn is_placeholder(value: &[u8]) -> bool {
    const MARKS: [&[u8]; 14] = [
        b"xxxx",
        b"example",
        b"your",
        b"placeholder",
        b"redacted",
        b"changeme",
        b"dummy",
        b"insert",
        b"****",
        b"....",
        b"fake",
        b"sample",
        b"replace",
        b"abcdefghijklm",
    ];
    let mut seen = [false; 256];
    let distinct = value.iter().filter(|byte| !std::mem::replace(&mut seen[usize::from(**byte)], true)).count();
    let uniform = value.len() >= 8 && distinct * 5 < value.len().min(30);
    let marked = MARKS.iter().any(|mark| value.windows(mark.len()).any(|window| window.eq_ignore_ascii_case(mark)));
    uniform || marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        for (text, at, wanted) in [
            ("a 12", 2, true),
            ("a12", 1, false),
            ("1.12", 2, false),
            ("-12", 1, true),
            ("12", 0, true),
            ("x-12", 2, false),
            (". 12", 2, true),
            ("_12", 1, false),
        ] {
            assert_eq!(begins(text.as_bytes(), at), wanted, "{text}");
        }
        for (text, at, wanted) in [
            ("12 a", 2, true),
            ("12a", 2, false),
            ("12.5", 2, false),
            ("12.", 2, true),
            ("12-", 2, true),
            ("12", 2, true),
        ] {
            assert_eq!(ends(text.as_bytes(), at), wanted, "{text}");
        }
    }

    #[test]
    fn placeholders() {
        for text in ["xxxxxxxxxxxxxxxx", "YOUR_API_KEY", "aaaaaaaaaaaa", "0000000000000000", "EXAMPLEKEY"] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
        for text in ["kJ8s0Pq2mWz7", "9f86d081884c7d65"] {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
    }
}
