//! Puts the chunks of a streamed answer together into the answer that the target would have given in one piece.
//!
//! Works on raw JSON: texts are joined as written, escapes included, and what is collected is not read again. Knows
//! neither events nor `[DONE]`, and not how many choices were asked for.

use bytes::Bytes;

use self::choice::{Choice, ITEM_COST_BYTES};
use self::record::{Budget, Record, Rule, elements, members};
use super::choice_ends::{ChoiceEnds, ContentAfterEnd};
use super::chunk::{ChatChunk, ChunkError};
use crate::json::Stop;
use crate::upstream_error::UpstreamError;

mod choice;
pub(super) mod record;
#[cfg(test)]
mod tests;

/// Most that is collected for one answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Most tool calls of one choice.
pub const TOOL_CALLS_MAX: usize = 128;

/// Why chunks make no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// The data of an event is no chunk.
    #[error("an event of the stream is not a chat completion chunk: {reason}")]
    Malformed {
        /// What is wrong; holds nothing of the answer.
        reason: &'static str,
    },
    /// The target reported an error in the middle of its answer.
    #[error("the target answered with an error: {0}")]
    Upstream(UpstreamError),
    /// More came than is collected.
    #[error("the answer has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of, such as `bytes` or `tool calls`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// What the chunks say contradicts itself.
    #[error(transparent)]
    Inconsistent(#[from] ContentAfterEnd),
    /// The stream ended before every choice that had begun came to its end.
    #[error("the stream ended before the answer was complete")]
    Incomplete,
}

/// Takes chunks, gives one `chat.completion`. After the first error nothing it gives means anything.
///
/// Top-level members, members of a choice and members of a message that are not known here keep the last value that is
/// not `null`, byte for byte; none is joined, since nobody can say whether an unknown text comes in pieces or whole.
/// `prompt_progress`, which is about the stream, is left out.
#[derive(Debug)]
pub struct Assembler {
    top: Record,
    choices: Vec<Choice>,
    ends: ChoiceEnds,
    budget: Budget,
}

impl Default for Assembler {
    fn default() -> Self {
        Self::new()
    }
}

impl Assembler {
    /// With [`ANSWER_BYTES_MAX`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_bytes_max(ANSWER_BYTES_MAX)
    }

    /// With another limit for what is collected, in bytes.
    #[must_use]
    pub fn with_bytes_max(bytes_max: usize) -> Self {
        Self {
            top: Record::default(),
            choices: Vec::new(),
            ends: ChoiceEnds::default(),
            budget: Budget::new(bytes_max),
        }
    }

    /// Takes the data of the next event; `[DONE]` is none.
    ///
    /// # Errors
    /// [`AssembleError`], any but `Incomplete`.
    pub fn push(&mut self, data: &str) -> Result<(), AssembleError> {
        // What a chunk and an error are, and what may follow what, is decided as for a stream that is relayed.
        let chunk = ChatChunk::parse(data.as_bytes())?;
        if let Some(error) = chunk.error {
            return Err(AssembleError::Upstream(error));
        }
        self.ends.take(&chunk)?;
        for (name, value) in members(data)? {
            match &*name {
                "choices" => {
                    // Keeps its place; the value is written at the end.
                    self.top.fold(&name, "null", Rule::Last, &mut self.budget)?;
                    for (choice, read) in elements(value)?.into_iter().zip(&chunk.choices) {
                        self.push_choice(read.index, choice)?;
                    }
                }
                "object" => self.top.fold(&name, r#""chat.completion""#, Rule::Last, &mut self.budget)?,
                "prompt_progress" => {}
                _ => self.top.fold(&name, value, Rule::Last, &mut self.budget)?,
            }
        }
        Ok(())
    }

    fn push_choice(&mut self, index: u64, raw: &str) -> Result<(), AssembleError> {
        let members = members(raw)?;
        let place = match self.choices.iter().position(|choice| choice.index() == index) {
            Some(place) => place,
            // At most as many as there are indices.
            None => {
                self.budget.take(ITEM_COST_BYTES)?;
                self.choices.push(Choice::new(index));
                self.choices.len() - 1
            }
        };
        self.choices.get_mut(place).map_or(Ok(()), |choice| choice.push(members, &mut self.budget))
    }

    /// The answer, its choices ordered by `index`, its members in the order in which they came first.
    ///
    /// # Errors
    /// [`AssembleError::Incomplete`] when there is no choice, or one without a finish reason.
    pub fn finish(mut self) -> Result<Bytes, AssembleError> {
        if !self.ends.is_whole() {
            return Err(AssembleError::Incomplete);
        }
        self.choices.sort_unstable_by_key(Choice::index);
        self.top.fold("object", r#""chat.completion""#, Rule::Last, &mut self.budget)?;
        let mut out = String::with_capacity(self.budget.spent());
        out.push('{');
        self.top.write(&mut out, |out, name| {
            let is_here = name == "choices";
            if is_here {
                record::write_list(out, &self.choices, Choice::write);
            }
            is_here
        });
        out.push('}');
        Ok(out.into())
    }
}

impl From<ChunkError> for AssembleError {
    fn from(error: ChunkError) -> Self {
        Self::Malformed { reason: error.reason }
    }
}

impl From<Stop> for AssembleError {
    fn from(_: Stop) -> Self {
        Self::Malformed { reason: "it is nested too deep" }
    }
}
