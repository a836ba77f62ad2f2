//! A whole answer (not streamed): a light look at it, with the bytes kept as they came.
//!
//! Reads neither content nor tool calls. An answer is passed on unchanged or not at all: one that does not say how each
//! of its choices ended may be cut, and is none.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::choice_rules;
use super::chunk::Delta;
use super::tokens::ASCII_BYTES_PER_TOKEN;
use crate::json::{self, Object};
use crate::upstream_error::UpstreamError;
use crate::usage::Usage;

/// What a message holds beside its text: `{"role":"assistant","content":""}`.
const MESSAGE_FRAME_BYTES: u64 = 33;

/// Why a success status came with something that is no chat completion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompletionError {
    /// Not UTF-8, not JSON, or an object of another shape.
    #[error("the answer is not a chat completion: {reason}")]
    Malformed {
        /// What is wrong; holds nothing of the answer.
        reason: &'static str,
    },
    /// An error under a success status.
    #[error("the target answered with an error: {0}")]
    Upstream(UpstreamError),
}

/// A chat completion with its bytes.
#[derive(Clone, Debug)]
pub struct ChatCompletion {
    body: Bytes,
    model: Option<String>,
    usage: Option<Usage>,
    finish_reasons: Vec<String>,
    message_bytes: u64,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Object<RawChoice<'a>>>>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChoice<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<Object<Delta<'a>>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl ChatCompletion {
    /// Reads an answer: an object with an array `choices` of at least one, each with a `message` and a `finish_reason`.
    ///
    /// # Errors
    /// [`CompletionError`] when it is something else, and when it or one of its choices holds an `error`, or ended with
    /// one, whatever else it holds.
    pub fn parse(body: Bytes) -> Result<Self, CompletionError> {
        let malformed = |reason| CompletionError::Malformed { reason };
        let text = std::str::from_utf8(&body).map_err(|_| malformed("it is not UTF-8"))?;
        let Object(raw): Object<Raw<'_>> = serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => malformed("it is not an object with an array `choices`"),
            _ => malformed("it is not JSON"),
        })?;
        if let Some(error) = choice_rules::top_error(text, raw.error, raw.object) {
            return Err(CompletionError::Upstream(error));
        }
        let choices = raw.choices.filter(|choices| !choices.is_empty()).ok_or(malformed("it has no `choices`"))?;
        let message_bytes =
            choices.iter().map(|Object(choice)| choice.message.map_or(0, |raw| raw.get().len() as u64)).sum();
        let finish_reasons = choices.into_iter().map(|Object(choice)| choice.read()).collect::<Result<_, _>>()?;
        let text_of = |raw: &RawValue| json::unescape(raw.get()).map(Cow::into_owned);
        let (model, usage) = (raw.model.and_then(text_of), raw.usage.and_then(|usage| Usage::parse(usage.get())));
        Ok(Self { model, usage, finish_reasons, message_bytes, body })
    }

    /// The model that the target says has answered.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Token counts, where the target gave them.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Tokens of the answer, estimated from the length of its messages as they are written, for where the target did not
    /// count.
    #[must_use]
    pub fn completion_tokens_estimate(&self) -> u64 {
        self.message_bytes
            .saturating_sub(MESSAGE_FRAME_BYTES * self.finish_reasons.len() as u64)
            .div_ceil(ASCII_BYTES_PER_TOKEN)
    }

    /// `finish_reason` of every choice, in order.
    pub fn finish_reasons(&self) -> impl Iterator<Item = &str> {
        self.finish_reasons.iter().map(String::as_str)
    }

    /// The answer as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The answer as it came.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.body
    }
}

impl RawChoice<'_> {
    /// Its finish reason.
    fn read(self) -> Result<String, CompletionError> {
        let malformed = |reason| CompletionError::Malformed { reason };
        let finish_reason = choice_rules::finish_reason(self.finish_reason).map_err(malformed)?;
        if let Some(error) = choice_rules::choice_error(finish_reason.as_deref(), self.error) {
            return Err(CompletionError::Upstream(error));
        }
        choice_rules::index(self.index).map_err(malformed)?;
        // Some targets put an empty one beside each message.
        if self.delta.is_some_and(|Object(delta)| delta.says_something()) {
            return Err(malformed("it is a piece of a stream"));
        }
        if !self.message.is_some_and(|message| message.get().starts_with('{')) {
            return Err(malformed("a choice has no `message`"));
        }
        finish_reason.map(Cow::into_owned).ok_or(malformed("a choice has no `finish_reason`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<ChatCompletion, CompletionError> {
        ChatCompletion::parse(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn reads_an_answer_and_keeps_its_bytes() {
        let body = r#" {"id":"x","choices":[{"index":0,"finish_reason":"st\u006fp","message":{"content":"hi"},
            "logprobs":{"p":1e999}},{"message":{},"finish_reason":"new"}],"model":"m-1","usage":{"prompt_tokens":1,
            "completion_tokens":2,"total_tokens":3},"extra":12345678901234567890} "#;
        let completion = parse(body).unwrap();
        assert_eq!(completion.model(), Some("m-1"));
        assert_eq!(completion.usage().unwrap().total_tokens, 3);
        let text = r#"{"choices":[{"message":{"role":"assistant","content":"12345678"},"finish_reason":"stop"}]}"#;
        assert_eq!(parse(text).unwrap().completion_tokens_estimate(), 2);
        assert_eq!(completion.finish_reasons().collect::<Vec<_>>(), ["stop", "new"]);
        assert_eq!(completion.into_body(), body);
    }

    #[test]
    fn odd_details_do_not_matter() {
        let body = r#"{"choices":[{"index":null,"delta":{"role":"assistant","content":""},"error":null,"message":{"content":7},
            "finish_reason":"stop"}],"model":null,"usage":"none","object":"x","error":null}"#;
        let completion = parse(body).unwrap();
        assert_eq!((completion.model(), completion.usage()), (None, None));
        assert_eq!(completion.finish_reasons().collect::<Vec<_>>(), ["stop"]);
    }

    #[test]
    fn refuses_what_may_not_be_whole() {
        let check = |choice: &str, expected: &str| {
            // As the second of two: the first is whole.
            let whole = r#"{"index":1,"message":{},"finish_reason":"stop"}"#;
            let error = parse(&format!(r#"{{"choices":[{whole},{choice}]}}"#)).unwrap_err();
            assert_eq!(error.to_string(), expected, "{choice}");
        };
        let malformed = |reason: &str| format!("the answer is not a chat completion: {reason}");
        let no_reason = malformed("a choice has no `finish_reason`");
        check(r#"{"message":{"content":"a"}}"#, &no_reason);
        check(r#"{"message":{"content":"a"},"finish_reason":null}"#, &no_reason);
        check(r#"{"message":{"content":"a"},"finish_reason":""}"#, &no_reason);
        check(r#"{"message":{"content":"a"},"finish_reason":7}"#, &malformed("a finish reason is no string"));
        check(r#"{"message":{"content":"a"},"finish_reason":"\ud800"}"#, &malformed("a finish reason is no string"));
        let no_message = malformed("a choice has no `message`");
        check("{}", &no_message);
        check(r#"{"finish_reason":"stop"}"#, &no_message);
        check(r#"{"message":null,"text":"a","finish_reason":"stop"}"#, &no_message);
        check(r#"{"message":["a"],"finish_reason":"stop"}"#, &no_message);
        check(r#"{"delta":{},"finish_reason":"stop"}"#, &no_message);
        let piece = malformed("it is a piece of a stream");
        check(r#"{"delta":{"content":"a"},"finish_reason":"stop"}"#, &piece);
        check(r#"{"message":{},"delta":{"content":"a"},"finish_reason":"stop"}"#, &piece);
        let no_index = malformed("the index of a choice is no number within the limit");
        check(r#"{"index":"0","message":{},"finish_reason":"stop"}"#, &no_index);
        check(r#"{"index":128,"message":{},"finish_reason":"stop"}"#, &no_index);
        let shape = malformed("it is not an object with an array `choices`");
        check(r#"[0,{},null,"stop"]"#, &shape);
        check("null", &shape);
        let failed = |reason: &str| format!("the target answered with an error: {reason}");
        check(r#"{"message":{"content":"a"},"finish_reason":"error"}"#, &failed("the finish reason is an error"));
        check(r#"{"message":{},"finish_reason":"stop","error":{"message":"gone"}}"#, &failed("gone"));
        check(r#"{"message":{},"finish_reason":"stop","error":"gone"}"#, &failed("gone"));
    }

    #[test]
    fn an_error_beside_choices_is_an_error() {
        let check = |top: &str, content: &str| {
            let choice = format!(r#"{{"message":{{"content":"{content}"}},"finish_reason":"stop"}}"#);
            let error = parse(&format!(r#"{{"choices":[{choice}],{top}}}"#)).unwrap_err();
            assert_eq!(error.to_string(), "the target answered with an error: gone", "{top}");
        };
        check(r#""error":{"message":"gone"}"#, "a");
        check(r#""error":"gone""#, "a");
        check(r#""object":"error","message":"gone""#, "a");
        // Not the beginning of the answer.
        check(r#""error":{"message":"gone"}"#, &"a".repeat(100_000));
    }

    #[test]
    fn refuses_what_is_no_answer() {
        let check = |body: &str, expected: &str| assert_eq!(parse(body).unwrap_err().to_string(), expected, "{body}");
        check("", "the answer is not a chat completion: it is not JSON");
        check("<html>", "the answer is not a chat completion: it is not JSON");
        check(r#"{"choices":[{}]} x"#, "the answer is not a chat completion: it is not JSON");
        check("[[{}]]", "the answer is not a chat completion: it is not an object with an array `choices`");
        check(r#"{"choices":"a"}"#, "the answer is not a chat completion: it is not an object with an array `choices`");
        check(r#"{"choices":[]}"#, "the answer is not a chat completion: it has no `choices`");
        check("{}", "the answer is not a chat completion: it has no `choices`");
        check(r#"{"error":{"message":"no"}}"#, "the target answered with an error: no");
        check(r#"{"error":"no","choices":[]}"#, "the target answered with an error: no");
        assert!(ChatCompletion::parse(Bytes::from_static(b"\xff")).is_err());
    }
}
