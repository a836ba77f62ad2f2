//! The chat completion request: checked where Tidegate decides, kept byte for byte everywhere else.
//!
//! The body is read once, without a tree and without copying: what stays are a few values and the places of all
//! top-level fields. How they are read is in `reading`, how the body is written for a target in `upstream_body`.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::messages::MessagesSummary;
use super::names::Names;
use super::reading::{self, ReadError};
use super::request_error::RequestError;
use super::tokens::TextSize;
use crate::json::{self, Span};

#[cfg(test)]
mod tests;

/// Longest `model`, in bytes.
pub const MODEL_NAME_BYTES_MAX: usize = 256;
/// Most keys in an object that Tidegate reads: the body, `metadata`, `stream_options`, a message, a content part.
pub const OBJECT_KEYS_MAX: usize = 1024;
/// Longest value of `metadata.tidegate_mode` and `metadata.tidegate_privacy`, in bytes.
pub const METADATA_WORD_BYTES_MAX: usize = 64;
/// Longest value of `metadata.tidegate_tags` and `metadata.tidegate_session`, in bytes.
pub const METADATA_LIST_BYTES_MAX: usize = 4096;
/// Largest `n`.
pub const CHOICES_MAX: u64 = 128;

/// `response_format.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFormat {
    /// `text`.
    Text,
    /// `json_object`.
    JsonObject,
    /// `json_schema`.
    JsonSchema,
    /// A type that this version does not know.
    Other,
}

/// A valid request with its body.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    pub(super) body: Bytes,
    pub(super) layout: Layout,
    fields: Fields,
    /// Once they were asked for.
    pub(super) names: OnceLock<Arc<Names>>,
}

/// Where everything stands in the body.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// Every top-level field, in order.
    pub(super) spans: Vec<Span>,
    pub(super) model: usize,
    pub(super) messages: usize,
    pub(super) message_places: Vec<Range<usize>>,
    pub(super) stream: Option<usize>,
    pub(super) stream_options: Option<Nested>,
    pub(super) metadata: Option<Nested>,
}

/// The places in an object inside the body, or `null` in its stead.
#[derive(Clone, Debug, Default)]
pub(super) struct Nested {
    /// Its number among the top-level fields.
    pub(super) index: usize,
    pub(super) object: Range<usize>,
    pub(super) is_null: bool,
    pub(super) spans: Vec<Span>,
    /// The members that Tidegate reads.
    pub(super) own: Vec<usize>,
}

/// The values that were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) messages: MessagesSummary,
    pub(super) tidegate_mode: Option<String>,
    pub(super) tidegate_privacy: Option<String>,
    pub(super) tidegate_tags: Option<String>,
    pub(super) tidegate_session: Option<String>,
    pub(super) max_tokens: Option<u64>,
    pub(super) max_completion_tokens: Option<u64>,
    pub(super) has_tools: bool,
    pub(super) tools: TextSize,
    pub(super) logprobs: bool,
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) n: Option<u64>,
}

impl ChatRequest {
    /// Reads and checks a body. Keys are compared after unescaping; an object that is read here must not hold one
    /// twice, nor a key that differs from one that is read only in upper and lower case: some targets would take that one.
    ///
    /// # Errors
    /// [`RequestError`], naming the field at fault or the place in the text.
    pub fn parse(body: Bytes) -> Result<Self, RequestError> {
        let text = std::str::from_utf8(&body).map_err(|error| RequestError::NotUtf8 { offset: error.valid_up_to() })?;
        json::validate(text).map_err(|error| RequestError::syntax(&error))?;
        let (layout, fields) = reading::read(text).map_err(|error| match error {
            ReadError::Request(error) => error,
            ReadError::Stopped(stop) => RequestError::stopped(stop, text),
        })?;
        Ok(Self { body, layout, fields, names: OnceLock::new() })
    }

    /// The body as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// `model`, unescaped: 1 to [`MODEL_NAME_BYTES_MAX`] bytes.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.fields.model
    }

    /// Whether the caller wants the answer as a stream.
    #[must_use]
    pub fn stream(&self) -> bool {
        self.fields.stream
    }

    /// Whether the caller asked for usage in the stream (`stream_options.include_usage`).
    #[must_use]
    pub fn include_usage(&self) -> bool {
        self.fields.include_usage
    }

    /// Whether the body has a top-level field of this name, read here or not, `null` or not.
    #[must_use]
    pub fn has_member(&self, name: &str) -> bool {
        self.members().any(|member| member.as_deref() == Some(name))
    }

    /// Whether the body has no other top-level fields than these.
    #[must_use]
    pub fn has_only_members(&self, names: &[&str]) -> bool {
        self.members().all(|member| member.is_some_and(|member| names.contains(&&*member)))
    }

    /// The names of the top-level fields, unescaped.
    fn members(&self) -> impl Iterator<Item = Option<Cow<'_, str>>> {
        let text = |range: &Range<usize>| self.body.get(range.clone()).and_then(|key| std::str::from_utf8(key).ok());
        self.layout.spans.iter().map(move |span| json::unescape(text(&span.key)?))
    }

    /// What is known of the messages.
    #[must_use]
    pub fn messages(&self) -> MessagesSummary {
        self.fields.messages
    }

    /// The JSON of `messages`, a slice of the body.
    #[must_use]
    pub fn messages_json(&self) -> Bytes {
        self.layout.spans.get(self.layout.messages).map(|span| self.body.slice(span.value.clone())).unwrap_or_default()
    }

    /// `metadata.tidegate_mode` as written, not yet understood.
    #[must_use]
    pub fn tidegate_mode(&self) -> Option<&str> {
        self.fields.tidegate_mode.as_deref()
    }

    /// `metadata.tidegate_privacy` as written, not yet understood.
    #[must_use]
    pub fn tidegate_privacy(&self) -> Option<&str> {
        self.fields.tidegate_privacy.as_deref()
    }

    /// `metadata.tidegate_tags` as written, not yet understood.
    #[must_use]
    pub fn tidegate_tags(&self) -> Option<&str> {
        self.fields.tidegate_tags.as_deref()
    }

    /// `metadata.tidegate_session` as written, not yet understood.
    #[must_use]
    pub fn tidegate_session(&self) -> Option<&str> {
        self.fields.tidegate_session.as_deref()
    }

    /// Tokens of the whole prompt, messages and tools, estimated: see [`TextSize`] for how well. A schema in
    /// `response_format` is not counted.
    #[must_use]
    pub fn prompt_tokens_estimate(&self) -> u64 {
        self.fields.messages.tokens() + self.fields.tools.tokens()
    }

    /// Most tokens of the answer: `max_completion_tokens`, else `max_tokens`.
    #[must_use]
    pub fn max_tokens(&self) -> Option<u64> {
        self.fields.max_completion_tokens.or(self.fields.max_tokens)
    }

    /// Whether the caller asks for log probabilities (`logprobs`, or some `top_logprobs`).
    #[must_use]
    pub fn wants_logprobs(&self) -> bool {
        self.fields.logprobs
    }

    /// Whether the caller offers at least one tool (`tools`, or `functions` as they were called before).
    #[must_use]
    pub fn has_tools(&self) -> bool {
        self.fields.has_tools
    }

    /// `response_format.type`, when the caller gave one.
    #[must_use]
    pub fn response_format(&self) -> Option<ResponseFormat> {
        self.fields.response_format
    }

    /// How many answers the caller wants: 1 to [`CHOICES_MAX`], 1 when not given.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.fields.n.unwrap_or(1)
    }
}
