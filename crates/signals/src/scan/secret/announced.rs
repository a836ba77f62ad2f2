//! Passwords and keys that a word announces: `password: ...`, `"api_key": "..."`, `DB_PASSWORD=...`, "the password is ...".

use std::ops::Range;

use super::entropy;
use crate::scan::{
    candidate::{DOUBTFUL, POSSIBLE, Page, UNLIKELY},
    context::{Hit, Topic},
    kind::{Kind, Validator},
    text::{byte, is_placeholder, run, slice},
};

/// So much of a longer name may follow the word: `password_for_backup`.
const NAME_BYTES_MAX: usize = 24;
/// So many quotation marks and spaces may stand before the sign.
const GAP_BYTES_MAX: usize = 6;
/// The longest password and the longest key.
const PASSWORD_BYTES_MAX: usize = 128;
const KEY_BYTES_MAX: usize = 256;
const PASSWORD_BYTES_MIN: usize = 4;
const KEY_BYTES_MIN: usize = 16;

/// Words within a value longer than this announce nothing.
const LONG_VALUE_BYTES: usize = 32;

/// What may stand between a word and the secret in prose.
const VERBS: [&str; 18] = [
    "is", "was", "=", "are", "ist", "lautet", "est", "es", "es:", "è", "é", "jest", "is:", "это", "は", "是", "为",
    "為",
];

/// Words that people write where the password stands in reality.
const DUMMIES: [&str; 56] = [
    "password",
    "passwort",
    "passwd",
    "pass",
    "secret",
    "changeme",
    "change_me",
    "admin",
    "root",
    "test",
    "guest",
    "user",
    "username",
    "postgres",
    "mysql",
    "12345",
    "123456",
    "1234",
    "12345678",
    "123456789",
    "password1",
    "password123",
    "password!",
    "mypassword",
    "my_password",
    "yourpassword",
    "your_password",
    "pass123",
    "admin123",
    "qwerty",
    "letmein",
    "example",
    "none",
    "null",
    "nil",
    "true",
    "false",
    "undefined",
    "string",
    "str",
    "text",
    "required",
    "optional",
    "hidden",
    "default",
    "empty",
    "redacted",
    "foo",
    "bar",
    "foobar",
    "value",
    "token",
    "hunter2hunter2",
    "p@ssw0rd",
    "passw0rd",
    "secret123",
];

/// Whether the value is one of the words that stand in for a password.
pub(super) fn is_dummy(value: &[u8]) -> bool {
    DUMMIES.iter().any(|dummy| value.eq_ignore_ascii_case(dummy.as_bytes()))
}

/// Whether the value names where the secret is: `${PASSWORD}`, `<password>`, `os.environ[...]`, `{{ token }}`, `$1`, `%s`.
pub(super) fn is_reference(value: &[u8]) -> bool {
    let opens = matches!(value.first(), Some(b'$' | b'<' | b'{' | b'[' | b'%' | b'('));
    let calls = value.iter().any(|byte| matches!(byte, b'(' | b'[' | b'{' | b'<'))
        && value.iter().any(|byte| matches!(byte, b')' | b']' | b'}' | b'>'));
    let unfinished = value.ends_with(b"(")
        || value.windows(2).any(|pair| pair == b"(\"" || pair == b"('" || pair == b"::" || pair == b"->");
    let stars = value.iter().all(|byte| matches!(byte, b'*' | b'.' | b'x' | b'X' | b'-' | b'_' | b'?' | b'#'));
    opens || calls || unfinished || stars
}

/// How a value follows the word.
struct Value {
    span: Range<usize>,
    quoted: bool,
    /// Behind `:` or `=`, rather than a verb.
    assigned: bool,
}

/// A word for a password or a key.
pub(in crate::scan) fn announced(page: &mut Page<'_>, hit: Hit) {
    const PASSWORD: u8 = Topic::Password as u8;
    const KEY: u8 = Topic::Key as u8;
    match hit.topic {
        PASSWORD => password(page, hit),
        KEY => key(page, hit),
        _ => {}
    }
}

fn password(page: &mut Page<'_>, hit: Hit) {
    let Some(value) = value_after(page, &hit, PASSWORD_BYTES_MAX) else { return };
    let found = slice(page.text, value.span.clone());
    if found.len() < PASSWORD_BYTES_MIN || is_reference(found) || is_placeholder(found) || is_code(page.text, &value) {
        return;
    }
    let confidence = match strength(found) {
        _ if is_dummy(found) => DOUBTFUL,
        2.. if value.assigned || found.len() >= 6 => 0.85,
        2.. => POSSIBLE,
        1 if value.assigned && value.quoted && found.len() >= 6 => POSSIBLE,
        1 if value.assigned && found.len() >= 6 && found.iter().all(u8::is_ascii_digit) => POSSIBLE,
        _ => UNLIKELY,
    };
    page.add(Kind::Password, value.span, confidence, Validator::Context);
}

fn key(page: &mut Page<'_>, hit: Hit) {
    let Some(mut value) = value_after(page, &hit, KEY_BYTES_MAX) else { return };
    // Authorization: Bearer ..., Basic ...
    for scheme in [b"bearer ".as_slice(), b"basic ", b"token "] {
        let start = value.span.start;
        if slice(page.text, start..start + scheme.len()).eq_ignore_ascii_case(scheme) {
            let at = start + scheme.len();
            value.span = at..at + run(page.text, at, KEY_BYTES_MAX + 1, is_key);
        }
    }
    let key_len = run(page.text, value.span.start, KEY_BYTES_MAX + 1, is_key);
    let span = value.span.start..value.span.start + key_len;
    let found = slice(page.text, span.clone());
    let quoted_more = value.quoted && span.end < value.span.end;
    if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&found.len())
        || quoted_more
        || is_reference(found)
        || is_placeholder(found)
    {
        return;
    }
    let calls = matches!(byte(page.text, span.end), b'(' | b'[');
    if calls || !entropy::is_random(found) {
        return;
    }
    let confidence = match value.assigned {
        _ if is_uuid(found) || is_path(found) => DOUBTFUL,
        true => 0.85,
        false => POSSIBLE,
    };
    page.add(Kind::HighEntropy, span, confidence, Validator::Entropy);
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-' | b'.' | b'~')
}

/// The value behind a word: after the rest of a name, quotation marks, and a sign or a verb.
fn value_after(page: &mut Page<'_>, hit: &Hit, max: usize) -> Option<Value> {
    let text = page.text;
    if hit.start < page.values_to {
        return None;
    }
    let name = run(text, hit.end, NAME_BYTES_MAX, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let mut at = hit.end + name;
    at += run(text, at, GAP_BYTES_MAX, |byte| matches!(byte, b'"' | b'\'' | b' ' | b'`' | b'\\' | b']' | b'*' | b')'));
    let sign = sign_length(text, at);
    if sign > 0 {
        at += sign;
        at += run(text, at, GAP_BYTES_MAX, |byte| matches!(byte, b' ' | b'*' | b'\\'));
    } else if name == 0 {
        at = verb_after(text, hit.end)?;
    } else {
        return None;
    }
    let quote = byte(text, at);
    let quoted = matches!(quote, b'"' | b'\'' | b'`');
    let start = at + usize::from(quoted);
    let len = if quoted {
        run(text, start, max + 1, |byte| byte != quote && byte != b'\n' && byte != b'\\')
    } else {
        unquoted_len(text, start, max + 1, sign > 0)
    };
    let mut end = start + len;
    if !quoted {
        while end > start && matches!(byte(text, end - 1), b'.' | b')' | b'?' | b']' | b'}' | b'>' | b':') {
            end -= 1;
        }
    }
    if len > LONG_VALUE_BYTES {
        page.values_to = start + len;
    }
    // A cut within a character would be no span of the text.
    let whole = byte(text, end) & 0xC0 != 0x80;
    (len <= max && whole).then_some(Value { span: start..end, quoted, assigned: sign > 0 })
}

/// How long a value without quotation marks is; in the query of an address it ends before the next name.
fn unquoted_len(text: &[u8], start: usize, max: usize, assigned: bool) -> usize {
    let is_value = |byte: u8| byte > b' ' && !matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b'\\') && byte != 0x7F;
    let mut len = 0;
    loop {
        len += run(text, start + len, max - len, |byte| is_value(byte) && byte != b'&');
        let name = run(text, start + len + 1, NAME_BYTES_MAX, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let ends = byte(text, start + len) != b'&' || assigned && byte(text, start + len + 1 + name) == b'=';
        if ends || len >= max {
            return len;
        }
        len += 1;
    }
}

/// `:`, `=`, `=>`, `:=`, `：`; none before a second one, as in `==` and `::`.
fn sign_length(text: &[u8], at: usize) -> usize {
    match (byte(text, at), byte(text, at + 1)) {
        (b'=', b'=') | (b':', b':') | (b':', b'/') => 0,
        (b'=', b'>') | (b':', b'=') => 2,
        (b'=' | b':', _) => 1,
        _ => 0,
    }
}

/// Where the value begins behind ` is ` and the like.
fn verb_after(text: &[u8], at: usize) -> Option<usize> {
    let gap = run(text, at, 2, |byte| byte == b' ');
    let verb = VERBS.iter().find(|verb| {
        let end = at + gap + verb.len();
        slice(text, at + gap..end).eq_ignore_ascii_case(verb.as_bytes())
            && (byte(text, end) == b' ' || !verb.is_ascii() && verb.len() == 3)
            && (gap > 0 || !verb.is_ascii())
    })?;
    let end = at + gap + verb.len();
    Some(end + run(text, end, 2, |byte| matches!(byte, b' ' | b':')))
}

/// How many of letters, digits and signs the value mixes, as far as it says that it is no word.
fn strength(value: &[u8]) -> usize {
    let letters = value.iter().any(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    let digits = value.iter().any(u8::is_ascii_digit);
    let signs = value
        .iter()
        .any(|byte| matches!(byte, b'!' | b'@' | b'#' | b'$' | b'%' | b'^' | b'&' | b'*' | b'+' | b'?' | b'~' | b'='));
    usize::from(letters) + usize::from(digits) + usize::from(signs)
}

/// Whether an unquoted value is code or prose rather than a password: a call, a path, a name of several words, a type.
fn is_code(text: &[u8], value: &Value) -> bool {
    let found = slice(text, value.span.clone());
    if value.quoted {
        return found.contains(&b' ') || found.contains(&b'{');
    }
    let calls = found.contains(&b'(') || matches!(byte(text, value.span.end), b'(' | b'[');
    let comparison = found.first().is_some_and(|byte| matches!(byte, b'=' | b'!' | b'&' | b'|' | b'+' | b'-'));
    let name = found.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.' | b'-'));
    calls || comparison || name || is_path(found)
}

fn is_path(value: &[u8]) -> bool {
    let slashes = value.iter().filter(|byte| **byte == b'/').count();
    matches!(value, [b'/' | b'~' | b'.', ..])
        || slashes > 1
            && value.windows(2).any(|pair| matches!(pair, [b'/', next] if next.is_ascii_lowercase()))
            && !value.iter().any(|byte| matches!(byte, b'+' | b'='))
            && value.len() < 40
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_dummies() {
        for value in ["${PASSWORD}", "<password>", "os.environ[\"X\"]", "{{token}}", "********", "getpass()", "input("]
        {
            assert!(is_reference(value.as_bytes()), "{value}");
        }
        for value in ["hunter2!", "a1b2c3", "Tr0ub4dor&3"] {
            assert!(!is_reference(value.as_bytes()) && !is_dummy(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn signs() {
        for (text, wanted) in [("= x", 1), ("== x", 0), (": x", 1), (":: x", 0), ("=> x", 2), (":= x", 2), ("://", 0)] {
            assert_eq!(sign_length(text.as_bytes(), 0), wanted, "{text}");
        }
    }
}
