//! Takes what looks like a credential out of text that a target wrote, and cuts text to a limit.
//!
//! A simple scan, not a detector of personal data: it knows how API keys and bearer tokens look.

/// What stands in place of a credential.
const REDACTED: &str = "[redacted]";
/// How keys of well-known services begin.
const KEY_PREFIXES: [&str; 14] =
    ["sk-", "sk_", "pk-", "pk_", "rk_", "gsk_", "hf_", "xai-", "ghp_", "gho_", "glpat-", "AIza", "AKIA", "eyJ"];
/// A word with such a prefix is a key from this length on, in bytes.
const PREFIXED_KEY_BYTES_MIN: usize = 8;
/// A word of letters and digits is a key from this length on, in bytes. A UUID has 36.
const BARE_KEY_BYTES_MIN: usize = 40;
/// A word after `Bearer` is a token from this length on even without a digit, in bytes.
const INTRODUCED_BYTES_MIN: usize = 20;
/// Words after which a credential follows.
const INTRODUCTIONS: [&str; 2] = ["bearer", "basic"];

/// `text` with everything that looks like a credential replaced by `[redacted]`: words that begin like a key of a known
/// service, words after `Bearer` and `Basic`, and words of letters and digits that are long enough to be a key.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut introduced = false;
    let mut rest = text;
    while !rest.is_empty() {
        let word_end = rest.find(|character| !is_of_word(character)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        let gap_end = after.find(is_of_word).unwrap_or(after.len());
        let (gap, next) = after.split_at(gap_end);
        if !word.is_empty() {
            let credential = looks_like_key(word) || (introduced && looks_like_token(word));
            out.push_str(if credential { REDACTED } else { word });
            // A token may go on after a character that is of no word, such as `/` in base64.
            introduced = INTRODUCTIONS.iter().any(|word_before| word.eq_ignore_ascii_case(word_before))
                || (introduced && credential && !gap.contains(char::is_whitespace));
        }
        out.push_str(gap);
        rest = next;
    }
    out
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '*' | '.' | '+' | '~')
}

/// After `Bearer`: not every word, since errors also speak of "bearer authentication".
fn looks_like_token(word: &str) -> bool {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    word.len() >= INTRODUCED_BYTES_MIN || (word.len() >= PREFIXED_KEY_BYTES_MIN && has_digit)
}

fn looks_like_key(word: &str) -> bool {
    let prefixed = word.len() >= PREFIXED_KEY_BYTES_MIN && KEY_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    let has = |test: fn(&u8) -> bool| word.bytes().any(|byte| test(&byte));
    prefixed || (word.len() >= BARE_KEY_BYTES_MIN && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic))
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and cuts no character.
#[must_use]
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_out_credentials_and_nothing_else() {
        let check = |text: &str, expected: &str| assert_eq!(redact(text), expected);
        check("Incorrect API key provided: sk-abc***wxyz. See x.", "Incorrect API key provided: [redacted] See x.");
        check("Authorization: Bearer abcdef123456/xyzxyzxyz0=", "Authorization: Bearer [redacted]/[redacted]=");
        check("token=ghp_0123456789abcdef&x=1", "token=[redacted]&x=1");
        check("key 0123456789abcdef0123456789abcdef01234567 refused", "key [redacted] refused");
        check(
            "request 123e4567-e89b-12d3-a456-426614174000 failed",
            "request 123e4567-e89b-12d3-a456-426614174000 failed",
        );
        check("The bearer of bad news: sk-1 é", "The bearer of bad news: sk-1 é");
        check("bearer authentication failed", "bearer authentication failed");
        check("", "");
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("é", 0), "");
    }
}
