//! Tags: the words by which policies tell requests and targets apart.

/// Longest tag in bytes.
pub const TAG_BYTES_MAX: usize = 64;
/// What a tag is, for messages.
pub const TAG_FORM: &str = "a tag is 1 to 64 lower-case letters, digits and _ . : -";

/// Whether a word is a tag: 1 to [`TAG_BYTES_MAX`] bytes of `[a-z0-9_.:-]`.
#[must_use]
pub fn is_tag(word: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.:-".contains(&byte);
    (1..=TAG_BYTES_MAX).contains(&word.len()) && word.bytes().all(is_allowed)
}
