//! One piece of a streamed answer: what the relay has to know of it, and how it looks without usage.
//!
//! Holds no state between pieces; whether a stream is complete is for the relay to say.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::choice_rules;
use super::engine_report::{PromptProgress, Timings};
use crate::json::{self, Object};
use crate::upstream_error::UpstreamError;
use crate::usage::Usage;

mod edit;
#[cfg(test)]
mod tests;

pub use edit::{StreamIdentity, finish_chunk, text_chunk, usage_chunk};

/// An event whose data is no piece of an answer. Says nothing of what it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event's data is not a chat completion chunk: {reason}")]
pub struct ChunkError {
    /// What is wrong.
    pub reason: &'static str,
}

/// One choice of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkChoice<'a> {
    /// `index`, 0 when left out; below [`super::CHOICES_MAX`].
    pub index: u64,
    /// Set in the last chunk of this choice.
    pub finish_reason: Option<Cow<'a, str>>,
    /// Whether it brings anything to the caller: text, reasoning, a refusal, a tool call, audio.
    pub has_content: bool,
    /// The texts that it brings, as raw JSON strings.
    texts: [Option<&'a str>; TextKind::ALL.len()],
    /// Whether it brings something that is none of these texts.
    pub has_other: bool,
}

/// A text of an answer that comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// `content`.
    Content,
    /// `reasoning_content`, as llama-server and DeepSeek call it.
    ReasoningContent,
    /// `reasoning`, as OpenRouter and Groq call it.
    Reasoning,
    /// `refusal`.
    Refusal,
}

impl TextKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::ReasoningContent, Self::Reasoning, Self::Content, Self::Refusal];

    /// The member of `delta`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::ReasoningContent => "reasoning_content",
            Self::Reasoning => "reasoning",
            Self::Refusal => "refusal",
        }
    }
}

impl ChunkChoice<'_> {
    /// The texts that it brings, unescaped; one that is no string is not among them and makes `has_other` true.
    pub fn texts(&self) -> impl Iterator<Item = (TextKind, Cow<'_, str>)> {
        let texts = TextKind::ALL.into_iter().zip(self.texts);
        texts.filter_map(|(kind, raw)| Some((kind, json::unescape(raw?)?)))
    }
}

/// One chunk, borrowing from the event's data.
#[derive(Clone, Debug)]
pub struct ChatChunk<'a> {
    data: &'a str,
    /// Every choice, in order.
    pub choices: Vec<ChunkChoice<'a>>,
    /// Token counts, where given.
    pub usage: Option<Usage>,
    /// An error in the middle of a stream, of the whole answer or of a choice.
    pub error: Option<UpstreamError>,
    has_usage_key: bool,
    prompt_progress: Option<&'a RawValue>,
    timings: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Object<RawChoice<'a>>>>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_progress: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timings: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChoice<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<Object<Delta<'a>>>,
    /// Some targets send whole messages as chunks.
    #[serde(borrow, default)]
    message: Option<Object<Delta<'a>>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    audio: Option<&'a RawValue>,
}

impl<'a> ChatChunk<'a> {
    /// Reads the data of one event; `[DONE]` is no chunk.
    ///
    /// # Errors
    /// [`ChunkError`] when it is no JSON object of a chunk's shape, and when an index or a finish reason is none. A field
    /// of odd type that decides nothing is no error.
    pub fn parse(data: &'a [u8]) -> Result<Self, ChunkError> {
        let data = std::str::from_utf8(data).map_err(|_| ChunkError { reason: "it is not UTF-8" })?;
        let Object(raw): Object<Raw<'_>> = serde_json::from_str(data).map_err(|error| match error.classify() {
            Category::Data => ChunkError { reason: "it has another shape" },
            _ => ChunkError { reason: "it is not JSON" },
        })?;
        let mut error = choice_rules::top_error(data, raw.error, raw.object);
        let mut choices = Vec::new();
        for Object(raw) in raw.choices.unwrap_or_default() {
            let given = raw.error;
            let choice = raw.read().map_err(|reason| ChunkError { reason })?;
            error = error.or_else(|| choice_rules::choice_error(choice.finish_reason.as_deref(), given));
            choices.push(choice);
        }
        Ok(Self {
            data,
            choices,
            usage: raw.usage.and_then(|usage| Usage::parse(usage.get())),
            error,
            has_usage_key: raw.usage.is_some(),
            prompt_progress: raw.prompt_progress,
            timings: raw.timings,
        })
    }

    /// Whether any choice brings something to the caller. A chunk with only a role does not.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.choices.iter().any(|choice| choice.has_content)
    }

    /// Whether any choice ends here.
    #[must_use]
    pub fn has_finish_reason(&self) -> bool {
        self.choices.iter().any(|choice| choice.finish_reason.is_some())
    }

    /// Whether the chunk is an error of the target.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Whether the chunk exists only to report usage: it would not be there for a caller who did not ask.
    #[must_use]
    pub fn is_usage_only(&self) -> bool {
        self.choices.is_empty() && self.usage.is_some() && self.error.is_none()
    }

    /// Whether the chunk exists only to report how far the prompt is read (llama-server's `prompt_progress`): it would
    /// not be there for a caller who did not ask. It may name a role; the first chunk with a token names it again.
    #[must_use]
    pub fn is_progress_only(&self) -> bool {
        let says_more = self.has_content() || self.has_finish_reason() || self.usage.is_some() || self.error.is_some();
        self.prompt_progress.is_some() && !says_more
    }

    /// How far llama-server has read the prompt, where it tells. Read only now.
    #[must_use]
    pub fn prompt_progress(&self) -> Option<PromptProgress> {
        self.prompt_progress.and_then(|raw| PromptProgress::parse(raw.get()))
    }

    /// What the answer took llama-server, in its last chunk. Read only now.
    #[must_use]
    pub fn timings(&self) -> Option<Timings> {
        self.timings.and_then(|raw| Timings::parse(raw.get()))
    }
}

impl<'a> RawChoice<'a> {
    fn read(self) -> Result<ChunkChoice<'a>, &'static str> {
        let deltas = [self.delta, self.message];
        let mut texts = [None; TextKind::ALL.len()];
        let mut has_other = holds_something(self.text);
        for Object(delta) in deltas.into_iter().flatten() {
            has_other |= delta.calls().into_iter().any(holds_something);
            for (text, raw) in texts.iter_mut().zip(delta.texts()).filter(|(_, raw)| holds_something(*raw)) {
                let raw = raw.map(RawValue::get);
                // Two of a kind, or no string.
                has_other |= text.is_some() || raw.is_none_or(|raw| json::unescape(raw).is_none());
                *text = raw;
            }
        }
        Ok(ChunkChoice {
            index: choice_rules::index(self.index)?,
            finish_reason: choice_rules::finish_reason(self.finish_reason)?,
            has_content: has_other || texts.iter().any(Option::is_some),
            texts,
            has_other,
        })
    }
}

impl<'a> Delta<'a> {
    /// In the order of [`TextKind::ALL`].
    fn texts(&self) -> [Option<&'a RawValue>; TextKind::ALL.len()] {
        TextKind::ALL.map(|kind| match kind {
            TextKind::Content => self.content,
            TextKind::ReasoningContent => self.reasoning_content,
            TextKind::Reasoning => self.reasoning,
            TextKind::Refusal => self.refusal,
        })
    }

    fn calls(&self) -> [Option<&'a RawValue>; 3] {
        [self.tool_calls, self.function_call, self.audio]
    }

    pub(super) fn says_something(&self) -> bool {
        self.texts().into_iter().chain(self.calls()).any(holds_something)
    }
}

/// Whether a value is there and is not `null`, `""`, `[]`, `{}` or `false`.
fn holds_something(raw: Option<&RawValue>) -> bool {
    let Some(raw) = raw else { return false };
    match raw.get() {
        "null" | "false" | "\"\"" => false,
        nested if nested.starts_with(['[', '{']) => nested.bytes().skip(1).any(|byte| !b" \t\r\n]}".contains(&byte)),
        _ => true,
    }
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
