//! One piece of a streamed answer: what the relay has to know of it, and how it looks without usage.
//!
//! Holds no state between pieces; whether a stream is complete is for the relay to say.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::choice_rules;
use crate::json::{self, Cursor, Edit, Object, Span, Stop, rewrite};
use crate::upstream_error::UpstreamError;
use crate::usage::Usage;

#[cfg(test)]
mod tests;

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
    has_prompt_progress: bool,
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
            has_prompt_progress: raw.prompt_progress.is_some(),
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
        self.has_prompt_progress && !says_more
    }

    /// The data without the top-level `usage` (also `"usage":null`, which stands in every chunk when usage was asked
    /// for), all else byte for byte; `None` when there is none to take out.
    #[must_use]
    pub fn without_usage(&self) -> Option<String> {
        if !self.has_usage_key {
            return None;
        }
        let (mut spans, mut usages) = (Vec::new(), Vec::new());
        let mut cursor = Cursor::new(self.data);
        let walked = cursor.object(|cursor, key| {
            let start = cursor.offset();
            cursor.skip()?;
            if json::unescape(cursor.text(key.clone())).as_deref() == Some("usage") {
                usages.push(spans.len());
            }
            spans.push(Span { key, value: start..cursor.offset() });
            Ok::<_, Stop>(())
        });
        // Only nesting beyond the limit can stop the walk.
        walked.ok()?;
        let edit = |index| if usages.contains(&index) { Edit::Drop } else { Edit::Keep };
        String::from_utf8(rewrite(self.data.as_bytes(), 0..self.data.len(), &spans, edit, None)).ok()
    }
}

impl<'a> RawChoice<'a> {
    fn read(self) -> Result<ChunkChoice<'a>, &'static str> {
        let said = [self.delta, self.message].into_iter().flatten().any(|Object(delta)| delta.says_something());
        Ok(ChunkChoice {
            index: choice_rules::index(self.index)?,
            finish_reason: choice_rules::finish_reason(self.finish_reason)?,
            has_content: said || holds_something(self.text),
        })
    }
}

impl Delta<'_> {
    pub(super) fn says_something(&self) -> bool {
        let texts = [self.content, self.reasoning_content, self.reasoning, self.refusal];
        let calls = [self.tool_calls, self.function_call, self.audio];
        texts.into_iter().chain(calls).any(holds_something)
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
