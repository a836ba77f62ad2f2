//! What an answer has to keep to in each of its forms: the index, the finish reason and the errors of its choices.
//!
//! One home, so that a whole answer, a relayed stream and one that is put together agree on what is an answer.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::request::CHOICES_MAX;
use crate::json;
use crate::upstream_error::{UPSTREAM_BODY_BYTES_MAX, UpstreamError};

/// `finish_reason` of a choice that the target gave up.
const FAILED: &str = "error";

/// The index of a choice: 0 when left out.
pub(super) fn index(raw: Option<&RawValue>) -> Result<u64, &'static str> {
    let index = raw.map_or(Some(0), |raw| raw.get().parse().ok());
    index.filter(|index| *index < CHOICES_MAX).ok_or("the index of a choice is no number within the limit")
}

/// Why a choice ended; `None` while it has not. Some targets send `""` in every chunk.
pub(super) fn finish_reason(raw: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, &'static str> {
    let reason = raw.map(|raw| json::unescape(raw.get()).ok_or("a finish reason is no string")).transpose()?;
    Ok(reason.filter(|reason| !reason.is_empty()))
}

/// The error of a whole answer or chunk: its member `error`, or all of it when it says that it is one.
pub(super) fn top_error(text: &str, error: Option<&RawValue>, object: Option<&RawValue>) -> Option<UpstreamError> {
    match error {
        // Cut to its limit it would be no JSON, and the beginning of an answer no reason.
        Some(error) if text.len() > UPSTREAM_BODY_BYTES_MAX => Some(UpstreamError::parse(error.get().as_bytes())),
        None if object.is_none_or(|object| object.get() != r#""error""#) => None,
        _ => Some(UpstreamError::parse(text.as_bytes())),
    }
}

/// The error of a choice.
pub(super) fn choice_error(finish_reason: Option<&str>, error: Option<&RawValue>) -> Option<UpstreamError> {
    match error {
        Some(error) => Some(UpstreamError::parse(error.get().as_bytes())),
        None if finish_reason == Some(FAILED) => Some(UpstreamError::parse(b"the finish reason is an error")),
        None => None,
    }
}
