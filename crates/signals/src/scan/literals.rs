//! One automaton over everything that is looked for literally: context words, prefixes of keys, marks such as `://`.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, Input, MatchKind};

use super::{
    context::{Hit, TopicId, stands_alone, words::WORDS},
    secret::shapes::SHAPES,
};

/// What a literal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A word of this topic.
    Topic(TopicId),
    /// The prefix of the shape with this index.
    Shape(usize),
    /// `-----BEGIN `
    Pem,
    /// `PuTTY-User-Key-File-`
    Putty,
    /// `eyJ`
    Jwt,
    /// `://`
    Url,
    /// `[at]` and the like.
    SpelledAt,
    /// ` dot com` and the like.
    SpelledDot,
}

/// A literal in the text that is no word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trigger {
    pub(super) mark: Mark,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Trigger {
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

const MARKS: [(&str, Mark); 15] = [
    ("-----BEGIN ", Mark::Pem),
    ("PuTTY-User-Key-File-", Mark::Putty),
    ("eyJ", Mark::Jwt),
    ("://", Mark::Url),
    ("[at]", Mark::SpelledAt),
    ("(at)", Mark::SpelledAt),
    ("{at}", Mark::SpelledAt),
    ("<at>", Mark::SpelledAt),
    ("[ at ]", Mark::SpelledAt),
    (" dot com", Mark::SpelledDot),
    (" dot org", Mark::SpelledDot),
    (" dot net", Mark::SpelledDot),
    (" dot edu", Mark::SpelledDot),
    (" dot de", Mark::SpelledDot),
    (" dot co dot uk", Mark::SpelledDot),
];

/// The compiled set. What holds other characters than ASCII has an automaton of its own, which a text in ASCII is spared; it
/// also keeps the table of the other one small enough for the processor's cache.
#[derive(Debug)]
pub(super) struct Literals {
    ascii: Set,
    others: Set,
}

#[derive(Debug)]
struct Set {
    automaton: AhoCorasick,
    marks: Vec<Mark>,
}

impl Literals {
    /// With the context words of custom recognisers, which have topics of their own.
    pub(super) fn new<'a>(custom: impl Iterator<Item = (TopicId, &'a str)>) -> Result<Self, BuildError> {
        let words = WORDS.iter().flat_map(|(topic, words)| words.iter().map(|word| (*word, Mark::Topic(*topic as u8))));
        let shapes = SHAPES.iter().enumerate().map(|(index, shape)| (shape.prefix, Mark::Shape(index)));
        let custom = custom.map(|(topic, word)| (word, Mark::Topic(topic)));
        let all = words.chain(shapes).chain(MARKS).chain(custom);
        let (ascii, others): (Vec<_>, Vec<_>) = all.partition(|(text, _)| text.is_ascii());
        Ok(Self { ascii: Set::new(ascii)?, others: Set::new(others)? })
    }

    /// The words of the text, ordered by where they end, and what else is in it.
    pub(super) fn find(&self, text: &[u8]) -> (Vec<Hit>, Vec<Trigger>) {
        let (mut hits, mut triggers) = (Vec::new(), Vec::new());
        self.ascii.find(text, &mut hits, &mut triggers);
        if !text.is_ascii() {
            let of_ascii = hits.len();
            self.others.find(text, &mut hits, &mut triggers);
            if of_ascii < hits.len() {
                hits.sort_by_key(|hit| hit.end);
            }
        }
        (hits, triggers)
    }
}

impl Set {
    fn new(literals: Vec<(&str, Mark)>) -> Result<Self, BuildError> {
        let (texts, marks): (Vec<&str>, Vec<Mark>) = literals.into_iter().unzip();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(texts)?;
        Ok(Self { automaton, marks })
    }

    fn find(&self, text: &[u8], hits: &mut Vec<Hit>, triggers: &mut Vec<Trigger>) {
        for found in self.automaton.find_overlapping_iter(Input::new(text)) {
            let span = found.span().start..found.span().end;
            match self.marks.get(found.pattern().as_usize()) {
                Some(Mark::Topic(topic)) if stands_alone(text, &span) => {
                    hits.push(Hit { start: span.start, end: span.end, topic: *topic });
                }
                Some(Mark::Topic(_)) | None => {}
                Some(mark) => triggers.push(Trigger { mark: *mark, start: span.start, end: span.end }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::context::{Topic, words::WORD_BYTES_MAX};

    #[test]
    fn words_are_found_in_either_case_and_alone() {
        let literals = Literals::new([(100, "employee")].into_iter()).unwrap();
        let (hits, triggers) = literals.find("Phone: a hotel; EMPLOYEE sk-ant-".as_bytes());
        let topics: Vec<u8> = hits.iter().map(|hit| hit.topic).collect();
        assert_eq!(topics, [Topic::Phone as u8, 100]);
        assert_eq!(triggers.len(), 2, "sk- and sk-ant-");
    }

    #[test]
    fn the_table_keeps_its_limit() {
        for (_, words) in WORDS {
            assert!(words.iter().all(|word| (2..=WORD_BYTES_MAX).contains(&word.len())));
        }
    }
}
