//! An estimate of how many tokens a prompt has, made without a tokenizer.
//!
//! It decides whether a prompt fits a context window and what it may cost, before any target has counted. Against the
//! tokenizers cl100k and o200k of OpenAI's models it gave, of what they count: 1.0 to 1.4 times as much for English,
//! German and French prose, 1.0 to 1.2 times for Markdown and source code, 0.7 times for dense YAML, lock files and
//! digits, 0.35 times for base64; outside ASCII, where a character counts as a token, 0.9 to 1.4 times for Chinese,
//! Japanese and Korean and 0.9 to 3.2 times for Russian, Greek, Arabic and Hindi. What a client writes as `\u` escapes
//! counts one and a half tokens for each.

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
    pub fn add(&mut self, text: &str) {
        let ascii = if text.is_ascii() { text.len() } else { ascii_bytes(text) };
        self.ascii += ascii as u64;
        if ascii < text.len() {
            self.wide += (text.chars().count() - ascii) as u64;
        }
    }

    /// The estimate: a token for each [`ASCII_BYTES_PER_TOKEN`] of ASCII, rounded up, and for each other character.
    #[must_use]
    pub fn tokens(self) -> u64 {
        self.ascii.div_ceil(ASCII_BYTES_PER_TOKEN) + self.wide
    }
}

/// Counted in pieces whose count fits a byte, so that the compiler counts many bytes at once.
fn ascii_bytes(text: &str) -> usize {
    let count = |piece: &[u8]| piece.iter().map(|byte| u8::from(byte.is_ascii())).sum::<u8>();
    text.as_bytes().chunks(128).map(|piece| usize::from(count(piece))).sum()
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
        let mut long = TextSize::default();
        long.add(&"aé".repeat(1000));
        assert_eq!(long, TextSize { ascii: 1000, wide: 1000 });
    }
}
