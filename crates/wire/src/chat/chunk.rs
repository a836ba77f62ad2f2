//! One piece of a streamed answer: what the relay has to know of it, and how it looks without usage.
//!
//! Holds no state between pieces; whether a stream is complete is for the relay to say.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::{self, Cursor, Edit, Span, Stop, rewrite};
use crate::upstream_error::UpstreamError;
use crate::usage::Usage;

#[cfg(test)]
mod tests;

/// An event whose data is no piece of an answer. Says nothing of what it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event's data is not a chat completion chunk")]
pub struct ChunkError;

/// One choice of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkChoice<'a> {
    /// `index`, 0 when left out.
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
    /// An error in the middle of a stream.
    pub error: Option<UpstreamError>,
    has_usage_key: bool,
    has_prompt_progress: bool,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<RawChoice<'a>>>,
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
    delta: Option<Delta<'a>>,
    /// Some targets send whole messages as chunks.
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
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
    /// [`ChunkError`] when it is no JSON object of a chunk's shape. A field of odd type that decides nothing is no error.
    pub fn parse(data: &'a [u8]) -> Result<Self, ChunkError> {
        let data = std::str::from_utf8(data).map_err(|_| ChunkError)?;
        if !data.trim_ascii_start().starts_with('{') {
            return Err(ChunkError);
        }
        let raw: Raw<'_> = serde_json::from_str(data).map_err(|_| ChunkError)?;
        let is_error = raw.error.is_some() || raw.object.is_some_and(|object| object.get() == r#""error""#);
        Ok(Self {
            data,
            choices: raw.choices.unwrap_or_default().into_iter().map(RawChoice::read).collect(),
            usage: raw.usage.and_then(|usage| Usage::parse(usage.get())),
            error: is_error.then(|| UpstreamError::parse(data.as_bytes())),
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
    fn read(self) -> ChunkChoice<'a> {
        let said = self.delta.is_some_and(|delta| delta.says_something());
        let said = said || self.message.is_some_and(|message| message.says_something());
        ChunkChoice {
            index: self.index.and_then(|raw| raw.get().parse().ok()).unwrap_or_default(),
            // Some targets send an empty one in every chunk.
            finish_reason: self.finish_reason.and_then(|raw| json::unescape(raw.get())).filter(|word| !word.is_empty()),
            has_content: said || holds_something(self.text),
        }
    }
}

impl Delta<'_> {
    fn says_something(&self) -> bool {
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
