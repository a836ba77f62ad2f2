//! What can be wrong with a request's body. Every error lies with the caller and is answered with status 400.
//!
//! No variant carries text of a prompt: only places, the names of fields, and keys cut to a limit.

use crate::json::{self, Stop};

/// Longest part of a caller's own key that is repeated to the caller, in bytes.
const KEY_SHOWN_BYTES_MAX: usize = 64;

/// Why a body is no chat completion request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The body is not UTF-8.
    #[error("the body is not valid UTF-8 (first at byte {offset})")]
    NotUtf8 {
        /// The first byte that is not, from 0.
        offset: usize,
    },
    /// The body is not one JSON value.
    #[error("the body is not valid JSON: {reason} at line {line} column {column}")]
    NotJson {
        /// What is wrong, in `serde_json`'s words.
        reason: String,
        /// From 1; 0 for an empty body.
        line: usize,
        /// In bytes, from 1.
        column: usize,
    },
    /// Nested deeper than [`crate::JSON_DEPTH_MAX`].
    #[error("the body is nested deeper than {} levels at line {line} column {column}", crate::JSON_DEPTH_MAX)]
    TooDeep {
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
    },
    /// The body is JSON, but not an object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A key that stands twice in an object that Tidegate reads. Caller, gateway and target could each mean another one.
    #[error("`{param}` is given more than once")]
    Duplicate {
        /// The field, such as `metadata.tidegate_mode`.
        param: String,
    },
    /// A required field is not there.
    #[error("`{param}` is required")]
    Missing {
        /// The field, such as `messages[2].role`.
        param: String,
    },
    /// A field holds what it cannot hold.
    #[error("`{param}` {reason}")]
    Invalid {
        /// The field.
        param: String,
        /// The end of a sentence that begins with the field.
        reason: String,
    },
}

impl RequestError {
    /// The field at fault, where it is one field.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Duplicate { param } | Self::Missing { param } | Self::Invalid { param, .. } => Some(param),
            Self::NotUtf8 { .. } | Self::NotJson { .. } | Self::TooDeep { .. } | Self::NotAnObject => None,
        }
    }

    pub(super) fn invalid(param: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { param: param.into(), reason: reason.into() }
    }

    pub(super) fn missing(param: impl Into<String>) -> Self {
        Self::Missing { param: param.into() }
    }

    /// `key` in the object that `place` names (empty for the body), cut to what may be shown.
    pub(super) fn duplicate(place: &str, key: &str) -> Self {
        Self::Duplicate { param: field(place, key) }
    }

    pub(super) fn syntax(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default().to_owned();
        Self::NotJson { reason, line: error.line(), column: error.column() }
    }

    pub(super) fn stopped(stop: Stop, text: &str) -> Self {
        match stop {
            Stop::TooDeep(offset) => {
                let (line, column) = json::line_and_column(text, offset);
                Self::TooDeep { line, column }
            }
            Stop::Malformed(offset) => {
                let (line, column) = json::line_and_column(text, offset);
                Self::NotJson { reason: "unexpected character".to_owned(), line, column }
            }
        }
    }
}

/// The name of `key` in the object that `place` names.
pub(super) fn field(place: &str, key: &str) -> String {
    let key = crate::redact::cut(key, KEY_SHOWN_BYTES_MAX);
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}
