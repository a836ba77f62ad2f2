//! A whole answer (not streamed): a light look at it, with the bytes kept as they came.
//!
//! Reads neither content nor tool calls. An answer is passed on unchanged or not at all.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json;
use crate::upstream_error::UpstreamError;
use crate::usage::Usage;

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
    finish_reasons: Vec<Option<String>>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<RawChoice<'a>>>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChoice<'a> {
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

impl ChatCompletion {
    /// Reads an answer: an object with an array `choices` of at least one object.
    ///
    /// # Errors
    /// [`CompletionError`] when it is something else, an `error` object among others.
    pub fn parse(body: Bytes) -> Result<Self, CompletionError> {
        let malformed = |reason| CompletionError::Malformed { reason };
        let text = std::str::from_utf8(&body).map_err(|_| malformed("it is not UTF-8"))?;
        json::validate(text).map_err(|_| malformed("it is not JSON"))?;
        let raw: Raw<'_> = match serde_json::from_str(text) {
            Ok(raw) if text.trim_ascii_start().starts_with('{') => raw,
            _ => return Err(malformed("it is not an object with an array `choices`")),
        };
        if raw.error.is_some() && raw.choices.as_ref().is_none_or(Vec::is_empty) {
            return Err(CompletionError::Upstream(UpstreamError::parse(&body)));
        }
        let choices = raw.choices.filter(|choices| !choices.is_empty()).ok_or(malformed("it has no `choices`"))?;
        let text_of = |raw: &RawValue| json::unescape(raw.get()).map(Cow::into_owned);
        let finish_reasons = choices.iter().map(|choice| choice.finish_reason.and_then(text_of)).collect();
        let (model, usage) = (raw.model.and_then(text_of), raw.usage.and_then(|usage| Usage::parse(usage.get())));
        Ok(Self { model, usage, finish_reasons, body })
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

    /// `finish_reason` of every choice, in order.
    pub fn finish_reasons(&self) -> impl Iterator<Item = Option<&str>> {
        self.finish_reasons.iter().map(Option::as_deref)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<ChatCompletion, CompletionError> {
        ChatCompletion::parse(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn reads_an_answer_and_keeps_its_bytes() {
        let body = r#" {"id":"x","choices":[{"index":0,"finish_reason":"st\u006fp","message":{"content":"hi"},
            "logprobs":{"p":1e999}},{"finish_reason":null}],"model":"m-1","usage":{"prompt_tokens":1,
            "completion_tokens":2,"total_tokens":3},"extra":12345678901234567890} "#;
        let completion = parse(body).unwrap();
        assert_eq!(completion.model(), Some("m-1"));
        assert_eq!(completion.usage().unwrap().total_tokens, 3);
        assert_eq!(completion.finish_reasons().collect::<Vec<_>>(), [Some("stop"), None]);
        assert_eq!(completion.into_body(), body);
    }

    #[test]
    fn odd_details_do_not_matter() {
        let completion =
            parse(r#"{"choices":[{"finish_reason":7}],"model":null,"usage":"none","error":null}"#).unwrap();
        assert_eq!((completion.model(), completion.usage()), (None, None));
        assert_eq!(completion.finish_reasons().collect::<Vec<_>>(), [None]);
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
