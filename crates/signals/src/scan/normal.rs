//! The text as the recognisers see it: digits, letters, dashes, dots, spaces and quotation marks of other scripts become
//! ASCII, invisible characters vanish. A map leads every span back to the text as it was given. Nothing else changes;
//! a text without such characters is borrowed.

mod fold;

use std::{borrow::Cow, ops::Range};

use fold::{Fold, fold};

/// A stretch of the normalised text and where it came from. Either both lengths are equal and it was copied, or one
/// character became one byte.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    original: usize,
    original_len: usize,
    copied: bool,
}

/// A normalised text with its way back.
#[derive(Debug)]
pub(crate) struct Normal<'a> {
    text: Cow<'a, str>,
    pieces: Vec<Piece>,
}

impl<'a> Normal<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        match first_folded(text) {
            None => Self { text: Cow::Borrowed(text), pieces: Vec::new() },
            Some(at) => Builder::new(text).build(at),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The span in the text as it was given. Invisible characters at either end are not part of it.
    pub(crate) fn original(&self, span: Range<usize>) -> Range<usize> {
        if self.pieces.is_empty() || span.is_empty() {
            return span;
        }
        let (first, last) = (self.piece(span.start), self.piece(span.end - 1));
        let start = first.original + if first.copied { span.start - first.start } else { 0 };
        let end = last.original + if last.copied { span.end - last.start } else { last.original_len };
        start..end
    }

    fn piece(&self, at: usize) -> Piece {
        let next = self.pieces.partition_point(|piece| piece.start <= at);
        let whole = Piece { start: 0, original: 0, original_len: self.text.len(), copied: true };
        next.checked_sub(1).and_then(|index| self.pieces.get(index)).copied().unwrap_or(whole)
    }
}

/// Where the first character stands that does not stay as it is.
fn first_folded(text: &str) -> Option<usize> {
    let mut at = ascii_prefix(text.as_bytes());
    while let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) {
        if !matches!(fold(character), Fold::Keep) {
            return Some(at);
        }
        at += character.len_utf8();
        at += text.as_bytes().get(at..).map_or(0, ascii_prefix);
    }
    None
}

/// How many bytes at the beginning are ASCII, counted in steps that the compiler vectorises.
fn ascii_prefix(bytes: &[u8]) -> usize {
    const STEP: usize = 32;
    let steps = bytes.chunks_exact(STEP).take_while(|step| step.is_ascii()).count() * STEP;
    steps + bytes.get(steps..).map_or(0, |rest| rest.iter().take_while(|byte| byte.is_ascii()).count())
}

struct Builder<'a> {
    source: &'a str,
    text: String,
    pieces: Vec<Piece>,
    /// Up to here the source is in `text`.
    copied_to: usize,
}

impl<'a> Builder<'a> {
    fn new(source: &'a str) -> Self {
        Self { source, text: String::with_capacity(source.len()), pieces: Vec::new(), copied_to: 0 }
    }

    fn build(mut self, first: usize) -> Normal<'a> {
        let mut at = first;
        while let Some(character) = self.source.get(at..).and_then(|rest| rest.chars().next()) {
            let width = character.len_utf8();
            match fold(character) {
                Fold::Keep => {}
                Fold::Drop => self.replace(at, width, None),
                Fold::To(byte) => self.replace(at, width, Some(byte)),
            }
            at += width;
            at += self.source.as_bytes().get(at..).map_or(0, ascii_prefix);
        }
        self.copy(self.source.len());
        Normal { text: Cow::Owned(self.text), pieces: self.pieces }
    }

    fn replace(&mut self, at: usize, width: usize, byte: Option<u8>) {
        self.copy(at);
        if let Some(byte) = byte {
            let piece = Piece { start: self.text.len(), original: at, original_len: width, copied: false };
            self.pieces.push(piece);
            self.text.push(char::from(byte));
        }
        self.copied_to = at + width;
    }

    fn copy(&mut self, end: usize) {
        let Some(stretch) = self.source.get(self.copied_to..end).filter(|stretch| !stretch.is_empty()) else { return };
        let piece =
            Piece { start: self.text.len(), original: self.copied_to, original_len: stretch.len(), copied: true };
        self.pieces.push(piece);
        self.text.push_str(stretch);
        self.copied_to = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, normal: &str, needle: &str, original: &str) {
        let seen = Normal::of(given);
        assert_eq!(seen.as_str(), normal);
        let at = seen.as_str().find(needle).unwrap();
        assert_eq!(&given[seen.original(at..at + needle.len())], original);
    }

    #[test]
    fn spans_lead_back_to_the_text_as_given() {
        check("plain 12-34", "plain 12-34", "12-34", "12-34");
        check("a ４１１１ b", "a 4111 b", "4111", "４１１１");
        check("é ٠١٢٣ é", "é 0123 é", "12", "١٢");
        check("x 1\u{200b}2\u{200b} y", "x 12 y", "12", "1\u{200b}2");
        check("\u{feff}12\u{a0}34\u{2011}5", "12 34-5", "12 34-5", "12\u{a0}34\u{2011}5");
        check("1️⃣2️⃣", "12", "12", "1️⃣2");
        check("𝟒𝟏𝟏𝟏 𝐀𝐛", "4111 Ab", "4111 Ab", "𝟒𝟏𝟏𝟏 𝐀𝐛");
    }

    #[test]
    fn other_scripts_are_borrowed() {
        for text in ["", "ascii", "Привет, мир", "电话号码", "ñandú größer"] {
            assert!(matches!(Normal::of(text).text, Cow::Borrowed(_)), "{text}");
        }
    }
}
