//! What of a stream has reached the caller, as far as another stream can be held against it, and the proof that one
//! continues it.
//!
//! Only texts of choice 0 can be compared: tool calls carry ids that no second run gives again.

use wire::{ChatChunk, ChunkChoice, TextKind};

/// Longest text that is kept for a continuation, in bytes; a stream beyond it cannot be continued.
pub(crate) const CONTINUABLE_BYTES_MAX: usize = 256 << 10;
/// Changes between kinds of text that are kept (reasoning, then content, is one).
const RUNS_MAX: usize = 1024;

/// The texts delivered, in order; neighbours of one kind are one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivered {
    runs: Vec<(TextKind, String)>,
    bytes: usize,
    /// Something was delivered that cannot be compared, or the end.
    is_beyond: bool,
}

impl Delivered {
    /// Takes in a chunk that goes to the caller.
    pub(crate) fn take(&mut self, chunk: &ChatChunk<'_>) {
        for choice in &chunk.choices {
            if choice.has_content && !self.is_beyond {
                self.take_choice(choice);
            }
            if choice.finish_reason.is_some() {
                self.end();
            }
        }
    }

    fn take_choice(&mut self, choice: &ChunkChoice<'_>) {
        if choice.index != 0 || choice.has_other {
            return self.give_up();
        }
        for (kind, text) in choice.texts() {
            self.push(kind, &text);
        }
    }

    pub(crate) fn push(&mut self, kind: TextKind, text: &str) {
        self.bytes += text.len();
        if self.is_beyond || self.bytes > CONTINUABLE_BYTES_MAX || self.runs.len() > RUNS_MAX {
            return self.give_up();
        }
        match self.runs.last_mut() {
            Some((last, run)) if *last == kind => run.push_str(text),
            _ => self.runs.push((kind, text.to_owned())),
        }
    }

    /// A finish reason was delivered: nothing may follow.
    pub(crate) fn end(&mut self) {
        self.give_up();
    }

    fn give_up(&mut self) {
        (self.is_beyond, self.runs) = (true, Vec::new());
    }

    /// Whether another stream can be held against it.
    pub(crate) fn is_comparable(&self) -> bool {
        !self.is_beyond
    }

    /// The proof that a stream has to bring; `None` where none can.
    pub(crate) fn proof(&self) -> Option<Proof> {
        self.is_comparable().then(|| Proof { runs: self.runs.clone(), run: 0, at: 0 })
    }

    /// The text, where nothing but content was delivered.
    pub(crate) fn content_only(&self) -> Option<&str> {
        match self.runs.as_slice() {
            [(TextKind::Content, text)] if !self.is_beyond => Some(text),
            _ => None,
        }
    }
}

/// A stream did not reproduce what was delivered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unproven;

/// Follows a second stream along what was delivered.
#[derive(Debug)]
pub(crate) struct Proof {
    runs: Vec<(TextKind, String)>,
    run: usize,
    at: usize,
}

impl Proof {
    /// Whether everything was reproduced.
    pub(crate) fn is_met(&self) -> bool {
        match self.runs.get(self.run) {
            None => true,
            Some((_, text)) => self.run + 1 == self.runs.len() && self.at == text.len(),
        }
    }

    /// Takes the next text; gives what of it lies beyond what was delivered.
    pub(crate) fn take<'t>(&mut self, kind: TextKind, mut text: &'t str) -> Result<&'t str, Unproven> {
        while let Some((expected, run)) = self.runs.get(self.run) {
            let rest = run.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                // Of the last run there may be more; between two runs the kind changes.
                if self.run + 1 < self.runs.len() && *expected == kind {
                    return Err(Unproven);
                }
                (self.run, self.at) = (self.run + 1, 0);
                continue;
            }
            if *expected != kind {
                return Err(Unproven);
            }
            if let Some(beyond) = text.strip_prefix(rest) {
                (self.at, text) = (run.len(), beyond);
            } else if rest.starts_with(text) {
                self.at += text.len();
                return Ok("");
            } else {
                return Err(Unproven);
            }
            if text.is_empty() {
                return Ok("");
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: TextKind = TextKind::Reasoning;
    const C: TextKind = TextKind::Content;

    fn delivered(pieces: &[(TextKind, &str)]) -> Delivered {
        let mut delivered = Delivered::default();
        for (kind, text) in pieces {
            delivered.push(*kind, text);
        }
        delivered
    }

    /// What passes of `pieces` after `before`, and whether everything before was reproduced.
    fn beyond(before: &[(TextKind, &str)], pieces: &[(TextKind, &str)]) -> Result<(String, bool), Unproven> {
        let mut proof = delivered(before).proof().unwrap();
        let mut passed = String::new();
        for (kind, text) in pieces {
            passed.push_str(proof.take(*kind, text)?);
        }
        Ok((passed, proof.is_met()))
    }

    #[test]
    fn only_what_lies_beyond_an_exact_reproduction_passes() {
        let ok = |text: &str, met| Ok((text.to_owned(), met));
        let before = [(C, "The ti"), (C, "de ")];
        assert_eq!(beyond(&before, &[]), ok("", false));
        assert_eq!(beyond(&before, &[(C, "The tide ")]), ok("", true));
        assert_eq!(beyond(&before, &[(C, "T"), (C, "he tide turns"), (C, " at")]), ok("turns at", true));
        assert_eq!(beyond(&before, &[(C, "The tide"), (C, " "), (C, "turns")]), ok("turns", true));
        assert_eq!(beyond(&before, &[(C, "The tide"), (C, "turns")]), Err(Unproven));
        assert_eq!(beyond(&before, &[(C, "A tide turns")]), Err(Unproven));
        assert_eq!(beyond(&before, &[(R, "The tide ")]), Err(Unproven));
        assert_eq!(beyond(&before, &[(C, "The tide "), (R, "hm")]), ok("hm", true));
        assert_eq!(beyond(&[], &[(C, "a")]), ok("a", true));
    }

    #[test]
    fn the_order_of_reasoning_and_content_counts() {
        let ok = |text: &str, met| Ok((text.to_owned(), met));
        let before = [(R, "hm"), (C, "é")];
        assert_eq!(beyond(&before, &[(R, "h"), (R, "m"), (C, "éa")]), ok("a", true));
        assert_eq!(beyond(&before, &[(R, "hm")]), ok("", false));
        assert_eq!(beyond(&before, &[(R, "hmm"), (C, "é")]), Err(Unproven));
        assert_eq!(beyond(&before, &[(R, "hm"), (R, "m")]), Err(Unproven));
        assert_eq!(beyond(&before, &[(C, "é")]), Err(Unproven));
        assert_eq!(beyond(&[(R, "h")], &[(R, "h"), (R, "m"), (C, "a")]), ok("ma", true));
    }

    #[test]
    fn what_cannot_be_compared_cannot_be_continued() {
        let take = |choices: &str| {
            let mut delivered = Delivered::default();
            for choice in choices.split('|') {
                let data = format!(r#"{{"choices":[{choice}]}}"#);
                delivered.take(&ChatChunk::parse(data.as_bytes()).unwrap());
            }
            (delivered.proof().is_some(), delivered.content_only().map(str::to_owned))
        };
        let text = r#"{"index":0,"delta":{"content":"a"}}"#;
        assert_eq!(take(&format!("{text}|{text}")), (true, Some("aa".to_owned())));
        assert_eq!(take(r#"{"delta":{"role":"assistant","content":""}}"#), (true, None));
        assert_eq!(take(&format!(r#"{{"delta":{{"reasoning":"h"}}}}|{text}"#)), (true, None));
        assert_eq!(take(&format!(r#"{text}|{{"delta":{{"tool_calls":[{{"index":0}}]}}}}"#)), (false, None));
        assert_eq!(take(r#"{"index":1,"delta":{"content":"a"}}"#), (false, None));
        assert_eq!(take(&format!(r#"{text}|{{"delta":{{}},"finish_reason":"stop"}}"#)), (false, None), "it has ended");
        let long = format!(r#"{{"delta":{{"content":"{}"}}}}"#, "a".repeat(CONTINUABLE_BYTES_MAX));
        assert!(take(&long).0);
        assert_eq!(take(&format!("{long}|{text}")), (false, None));
    }
}
