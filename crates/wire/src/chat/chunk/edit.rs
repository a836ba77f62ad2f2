//! Chunks as they go to the caller: without the usage that was not asked for, under one identity for the whole stream, and
//! the few that Tidegate writes itself.
//!
//! Everything else stays byte for byte.

use std::borrow::Cow;

use super::{ChatChunk, TextKind};
use crate::json::{self, Cursor, Edit, Span, Stop, quote, rewrite};
use crate::usage::Usage;

/// What the chunks of one stream have in common, as raw JSON. A client takes them from the first chunk it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamIdentity {
    /// `id`.
    pub id: String,
    /// `created`.
    pub created: String,
    /// `model`: the name of the model that this part of the stream comes from.
    pub model: String,
}

impl StreamIdentity {
    /// Of a stream that named nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { id: "null".into(), created: "null".into(), model: "null".into() }
    }
}

impl ChatChunk<'_> {
    /// The data without the top-level `usage` (also `"usage":null`, which stands in every chunk when usage was asked
    /// for), all else byte for byte; `None` when there is none to take out.
    #[must_use]
    pub fn without_usage(&self) -> Option<String> {
        if self.has_usage_key { self.edited(true, None) } else { None }
    }

    /// The data with `id` and `created` of another stream and, where `drop_usage` says so, without `usage`. What the chunk
    /// does not have is not added.
    #[must_use]
    pub fn under(&self, identity: &StreamIdentity, drop_usage: bool) -> Option<String> {
        self.edited(drop_usage, Some(identity))
    }

    /// `id`, `created` and `model`; `null` for what it does not have.
    #[must_use]
    pub fn identity(&self) -> StreamIdentity {
        let mut identity = StreamIdentity::none();
        // Only nesting beyond the limit can stop the walk.
        let _ = self.walk(|name, value, _| {
            let value = || value.to_owned();
            match name {
                "id" => identity.id = value(),
                "created" => identity.created = value(),
                "model" => identity.model = value(),
                _ => {}
            }
        });
        identity
    }

    /// Calls `member` with name, raw value and number of each top-level member; gives all their places.
    fn walk(&self, mut member: impl FnMut(&str, &str, usize)) -> Result<Vec<Span>, Stop> {
        let mut spans: Vec<Span> = Vec::new();
        let mut cursor = Cursor::new(self.data);
        cursor.object(|cursor, key| {
            let start = cursor.offset();
            let value = cursor.skip()?;
            if let Some(name) = json::unescape(cursor.text(key.clone())) {
                member(&name, value, spans.len());
            }
            spans.push(Span { key, value: start..cursor.offset() });
            Ok::<_, Stop>(())
        })?;
        Ok(spans)
    }

    fn edited(&self, drop_usage: bool, identity: Option<&StreamIdentity>) -> Option<String> {
        let mut edits: Vec<(usize, Option<Cow<'_, str>>)> = Vec::new();
        let spans = self.walk(|name, _, number| match (name, identity) {
            ("usage", _) if drop_usage => edits.push((number, None)),
            ("id", Some(identity)) => edits.push((number, Some(identity.id.clone().into()))),
            ("created", Some(identity)) => edits.push((number, Some(identity.created.clone().into()))),
            _ => {}
        });
        let edit = |index| match edits.iter().find(|(number, _)| *number == index) {
            None => Edit::Keep,
            Some((_, None)) => Edit::Drop,
            Some((_, Some(value))) => Edit::Replace(value.as_bytes().to_vec()),
        };
        String::from_utf8(rewrite(self.data.as_bytes(), 0..self.data.len(), &spans.ok()?, edit, None)).ok()
    }
}

/// The data of a chunk that brings `text` for choice 0.
#[must_use]
pub fn text_chunk(identity: &StreamIdentity, kind: TextKind, text: &str) -> String {
    let delta = format!("{{{}:{}}}", quote(kind.as_str()), quote(text));
    let choices = format!(r#"[{{"index":0,"delta":{delta},"finish_reason":null}}]"#);
    written(identity, &choices, None)
}

/// The data of a chunk that ends choice 0.
#[must_use]
pub fn finish_chunk(identity: &StreamIdentity, reason: &str) -> String {
    let choices = format!(r#"[{{"index":0,"delta":{{}},"finish_reason":{}}}]"#, quote(reason));
    written(identity, &choices, None)
}

/// The data of a chunk that reports `usage`. What is estimated says so in a member of its own, `estimated`.
#[must_use]
pub fn usage_chunk(identity: &StreamIdentity, usage: Usage, is_estimated: bool) -> String {
    let Usage { prompt_tokens, completion_tokens, total_tokens, cached_prompt_tokens, reasoning_tokens } = usage;
    let detail = |of: &str, name: &str, count: Option<u64>| {
        count.map_or(String::new(), |count| format!(r#","{of}_tokens_details":{{"{name}":{count}}}"#))
    };
    let cached = detail("prompt", "cached_tokens", cached_prompt_tokens);
    let reasoning = detail("completion", "reasoning_tokens", reasoning_tokens);
    let estimated = if is_estimated { r#","estimated":true"# } else { "" };
    let counts = format!(
        r#"{{"prompt_tokens":{prompt_tokens},"completion_tokens":{completion_tokens},"total_tokens":{total_tokens}{cached}{reasoning}{estimated}}}"#
    );
    written(identity, "[]", Some(&counts))
}

fn written(identity: &StreamIdentity, choices: &str, usage: Option<&str>) -> String {
    let StreamIdentity { id, created, model } = identity;
    let usage = usage.map_or(String::new(), |usage| format!(r#","usage":{usage}"#));
    format!(
        r#"{{"id":{id},"object":"chat.completion.chunk","created":{created},"model":{model},"choices":{choices}{usage}}}"#
    )
}
