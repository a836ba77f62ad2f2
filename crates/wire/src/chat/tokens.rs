//! An estimate of how many tokens a prompt has, made without a tokenizer.
//!
//! It decides whether a prompt fits a context window and what it may cost, before any target has counted. Of English
//! prose and code it is mostly within a quarter of what byte-pair tokenizers of current models count. Known errors: text
//! outside ASCII counts a token a character, which is about right for Chinese, Japanese and Korean and up to three times
//! too much for Cyrillic, Greek or Arabic; text that a client writes as `\u` escapes counts one and a half tokens for
//! each; long runs of digits, base64 and other noise have up to twice as many tokens as estimated.

/// Bytes of ASCII text that count as one token.
pub const ASCII_BYTES_PER_TOKEN: u64 = 4;
/// What the frame of one message (role, marks of the template) adds, in tokens.
pub const TOKENS_PER_MESSAGE: u64 = 4;
/// What one image or other attachment counts, in tokens: an image of about one megapixel. Its size is not looked at.
pub const TOKENS_PER_ATTACHMENT: u64 = 1000;

/// The size of some text, counted as it is written in JSON: an escape counts for its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextSize {
    /// ASCII characters.
    pub ascii: u64,
    /// All other characters.
    pub wide: u64,
}

impl TextSize {
    /// Adds the characters of `text`.
    pub(super) fn add(&mut self, text: &str) {
        self.ascii += text.bytes().filter(u8::is_ascii).count() as u64;
        // Every character outside ASCII begins with one such byte.
        self.wide += text.bytes().filter(|byte| *byte >= 0xc0).count() as u64;
    }

    /// The estimate: a token for each [`ASCII_BYTES_PER_TOKEN`] of ASCII, rounded up, and for each other character.
    #[must_use]
    pub fn tokens(self) -> u64 {
        self.ascii.div_ceil(ASCII_BYTES_PER_TOKEN) + self.wide
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_characters_and_not_bytes_outside_ascii() {
        let mut size = TextSize::default();
        size.add("abcde");
        size.add("é世\u{1f600}");
        assert_eq!(size, TextSize { ascii: 5, wide: 3 });
        assert_eq!((size.tokens(), TextSize::default().tokens()), (5, 0));
    }
}
