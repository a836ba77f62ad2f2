//! What recognisers see of a text and where they put what they find.

use std::ops::Range;

use super::{
    context::{Context, Support, Topics},
    kind::{Kind, Validator},
};

/// Confirmed beyond reasonable doubt: a checksum and words, or a published shape.
pub(crate) const CERTAIN: f32 = 0.99;
/// A checksum and a shape that chance does not hit, or a grammar with words.
pub(crate) const STRONG: f32 = 0.9;
/// A shape that is used for little else.
pub(crate) const LIKELY: f32 = 0.75;
/// More likely than not.
pub(crate) const POSSIBLE: f32 = 0.55;
/// Less likely than not: reported only where a threshold is lowered.
pub(crate) const DOUBTFUL: f32 = 0.35;
/// Has the looks, but words or its own value speak against it.
pub(crate) const UNLIKELY: f32 = 0.15;

/// Something that may be reported, with its place in the normalised text.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
    pub(crate) confidence: f32,
    pub(crate) validator: Option<Validator>,
}

/// The normalised text with its context words, and what was found so far.
pub(crate) struct Page<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) context: Context<'a>,
    pub(crate) found: Vec<Candidate>,
    /// What is less confident is reported by no threshold and not noted.
    pub(crate) floor: f32,
    /// Up to here the values behind words for passwords and keys were looked at, so that no text is looked at again for
    /// every word in it.
    pub(crate) values_to: usize,
    /// Up to here there is no date of birth that was not noted, behind a word like `born` and behind others.
    pub(crate) births_to: [usize; 2],
    /// Up to here there is no number of a passport, and none of a driving licence.
    pub(crate) documents_to: [usize; 2],
    /// Where the last phone number ends, within which no other begins.
    pub(crate) phones_to: usize,
}

impl<'a> Page<'a> {
    pub(crate) fn new(text: &'a [u8], context: Context<'a>, floor: f32) -> Self {
        let found = Vec::new();
        Self { text, context, found, floor, values_to: 0, births_to: [0; 2], documents_to: [0; 2], phones_to: 0 }
    }
}

impl Page<'_> {
    pub(crate) fn support(&self, span: &Range<usize>, speak_for: Topics, speak_against: Topics) -> Support {
        self.context.support(span, speak_for, speak_against)
    }

    pub(crate) fn add(&mut self, kind: Kind, span: Range<usize>, confidence: f32, validator: Validator) {
        if confidence < self.floor {
            return;
        }
        self.found.push(Candidate { kind, span, confidence, validator: Some(validator) });
    }
}
