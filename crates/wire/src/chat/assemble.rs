//! Puts the chunks of a streamed answer together into the answer that the target would have given in one piece.
//!
//! Works on raw JSON: texts are joined as written, escapes included, and what is collected is not read again. Knows
//! neither events nor `[DONE]`, and not how many choices were asked for.

use bytes::Bytes;

use self::choice::{Choice, ITEM_COST_BYTES};
use self::record::{Budget, Record, Rule, elements, members};
use super::request::CHOICES_MAX;
use crate::json::{self, Stop};
use crate::upstream_error::UpstreamError;

mod choice;
mod record;
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
        /// What there is too much of, such as `bytes` or `choices`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
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
        Self { top: Record::default(), choices: Vec::new(), budget: Budget::new(bytes_max) }
    }

    /// Takes the data of the next event; `[DONE]` is none.
    ///
    /// # Errors
    /// [`AssembleError`], any but `Incomplete`.
    pub fn push(&mut self, data: &str) -> Result<(), AssembleError> {
        let malformed = |reason| AssembleError::Malformed { reason };
        json::validate(data).map_err(|_| malformed("it is not JSON"))?;
        let members = members(data)?;
        let is_error = |(name, value): &(_, &str)| match AsRef::<str>::as_ref(name) {
            "error" => *value != "null",
            "object" => *value == r#""error""#,
            _ => false,
        };
        if members.iter().any(is_error) {
            return Err(AssembleError::Upstream(UpstreamError::parse(data.as_bytes())));
        }
        for (name, value) in members {
            match &*name {
                "choices" => {
                    // Keeps its place; the value is written at the end.
                    self.top.fold(&name, "null", Rule::Last, &mut self.budget)?;
                    for choice in elements(value)? {
                        self.push_choice(choice)?;
                    }
                }
                "object" => self.top.fold(&name, r#""chat.completion""#, Rule::Last, &mut self.budget)?,
                "prompt_progress" => {}
                _ => self.top.fold(&name, value, Rule::Last, &mut self.budget)?,
            }
        }
        Ok(())
    }

    fn push_choice(&mut self, raw: &str) -> Result<(), AssembleError> {
        let members = members(raw)?;
        let index = record::index(&members)?.unwrap_or_default();
        let place = match self.choices.iter().position(|choice| choice.index() == index) {
            Some(place) => place,
            None if self.choices.len() as u64 >= CHOICES_MAX => {
                return Err(AssembleError::TooLarge { what: "choices", limit: self.choices.len() });
            }
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
        if self.choices.is_empty() || !self.choices.iter().all(Choice::is_finished) {
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

impl From<Stop> for AssembleError {
    fn from(_: Stop) -> Self {
        Self::Malformed { reason: "it is nested too deep" }
    }
}
