//! Which choices of a streamed answer have begun and which have ended: whether it is whole.
//!
//! Keeps no content, and does not know how many choices were asked for.

use std::collections::BTreeSet;

use super::chunk::ChatChunk;

/// A stream that contradicts itself: what was told to be the end of a choice was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream went on with a choice that had ended")]
pub struct ContentAfterEnd;

/// The choices of one stream so far. Holds at most [`super::CHOICES_MAX`]: a chunk has no index beyond.
#[derive(Debug, Default)]
pub struct ChoiceEnds {
    open: BTreeSet<u64>,
    ended: BTreeSet<u64>,
}

impl ChoiceEnds {
    /// Takes in the next chunk. A choice that has ended stays so: a chunk that brings it nothing (an empty `delta`
    /// beside usage, a finish reason once more) changes nothing.
    ///
    /// # Errors
    /// [`ContentAfterEnd`] when it brings content to a choice that has ended.
    pub fn take(&mut self, chunk: &ChatChunk<'_>) -> Result<(), ContentAfterEnd> {
        for choice in &chunk.choices {
            let index = choice.index;
            if self.ended.contains(&index) {
                if choice.has_content {
                    return Err(ContentAfterEnd);
                }
            } else if choice.finish_reason.is_some() {
                self.open.remove(&index);
                self.ended.insert(index);
            } else {
                self.open.insert(index);
            }
        }
        Ok(())
    }

    /// How many choices have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended.len() as u64
    }

    /// Whether there is a choice and every one that began has ended.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.open.is_empty() && !self.ended.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_end() {
        let check = |choices: &[&str], expected: Result<bool, ContentAfterEnd>| {
            let mut ends = ChoiceEnds::default();
            let taken = choices.iter().try_for_each(|choices| {
                ends.take(&ChatChunk::parse(format!(r#"{{"choices":[{choices}]}}"#).as_bytes()).unwrap())
            });
            assert_eq!(taken.map(|()| ends.is_whole()), expected, "{choices:?}");
        };
        let (piece, end) = (r#"{"index":1,"delta":{"content":"a"}}"#, r#"{"index":1,"finish_reason":"stop"}"#);
        let both = r#"{"index":1,"delta":{"content":"a"},"finish_reason":"stop"}"#;
        let empty = r#"{"index":1,"delta":{"role":"assistant","content":""},"finish_reason":null}"#;
        check(&[], Ok(false));
        check(&[""], Ok(false));
        check(&[piece], Ok(false));
        check(&[empty], Ok(false));
        check(&[piece, end], Ok(true));
        check(&[both, ""], Ok(true));
        check(&[piece, end, empty], Ok(true));
        check(&[piece, end, end], Ok(true));
        check(&[piece, end, piece], Err(ContentAfterEnd));
        check(&[piece, end, both], Err(ContentAfterEnd));
        check(&[&format!("{end},{piece}")], Err(ContentAfterEnd));
        check(&[piece, end, r#"{"index":0,"delta":{"content":"a"}}"#], Ok(false));
        check(&[piece, end, r#"{"finish_reason":"length"}"#], Ok(true));
    }
}
