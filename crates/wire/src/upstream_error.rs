//! What a target said when it refused or failed, in whichever of the usual shapes.
//!
//! The text is a stranger's: it is cut to a limit and credentials are taken out. It may still quote the prompt, so it is
//! for the caller and not for a log. Whether to try again is not decided here.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::redact::{cut, redact};

mod class;
#[cfg(test)]
mod tests;

pub use class::ErrorClass;

/// As much of an error body is looked at, in bytes.
pub const UPSTREAM_BODY_BYTES_MAX: usize = 64 << 10;
/// Longest message kept, in bytes.
pub const UPSTREAM_MESSAGE_BYTES_MAX: usize = 1024;
/// Longest type, code or param kept, in bytes.
const WORD_BYTES_MAX: usize = 128;
/// Messages joined from a list of validation errors.
const DETAILS_MAX: usize = 4;
/// What stands for a body that says nothing.
const NO_MESSAGE: &str = "the target gave no reason";

/// A target's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    /// In the target's words; never empty, at most [`UPSTREAM_MESSAGE_BYTES_MAX`] bytes and a mark where it was cut.
    pub message: String,
    /// `type`.
    pub kind: Option<String>,
    /// `code`; a number in decimal.
    pub code: Option<String>,
    /// `param`.
    pub param: Option<String>,
}

impl UpstreamError {
    /// Reads an error body: OpenAI's shape, `{"error":"text"}`, `{"detail":...}` (FastAPI), `{"message":...}`, any of
    /// them alone in an array, an HTML page, plain text. There is no body that this refuses.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let body = body.get(..UPSTREAM_BODY_BYTES_MAX).unwrap_or(body);
        let text = String::from_utf8_lossy(body);
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => Self::from_value(&value),
            Err(_) => Self::from_text(&plain(&text)),
        }
    }

    fn from_value(value: &Value) -> Self {
        let object = match value {
            Value::Object(object) => object,
            Value::Array(list) => match list.first() {
                Some(Value::Object(object)) => object,
                _ => return Self::from_text(""),
            },
            Value::String(text) => return Self::from_text(text),
            _ => return Self::from_text(""),
        };
        match object.get("error") {
            Some(Value::Object(error)) => Self::from_object(error),
            Some(Value::String(text)) if !object.contains_key("message") => {
                Self { message: message(text), ..Self::from_object(object) }
            }
            _ => Self::from_object(object),
        }
    }

    fn from_object(object: &Map<String, Value>) -> Self {
        let said = ["message", "detail", "msg", "error_description"];
        let said = said.iter().filter_map(|key| object.get(*key)).find_map(sentence);
        Self {
            message: message(&said.unwrap_or_default()),
            kind: word(object.get("type")),
            code: word(object.get("code")),
            param: word(object.get("param")),
        }
    }

    fn from_text(text: &str) -> Self {
        Self { message: message(text), kind: None, code: None, param: None }
    }
}

/// The text in a value: itself, the `message` or `msg` of an object, or those of a list, each with its place.
fn sentence(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Object(object) => {
            let text = object.get("message").or_else(|| object.get("msg")).and_then(Value::as_str)?;
            let place: Vec<Cow<'_, str>> = object
                .get("loc")
                .and_then(Value::as_array)
                .map_or(Vec::new(), |place| place.iter().filter_map(scalar).collect());
            Some(if place.is_empty() { text.to_owned() } else { format!("{}: {text}", place.join(".")) })
        }
        Value::Array(list) => {
            // Objects and texts only: a list in a list would recurse.
            let flat = list.iter().filter(|item| !item.is_array()).take(DETAILS_MAX);
            let said: Vec<String> = flat.filter_map(sentence).collect();
            (!said.is_empty()).then(|| said.join("; "))
        }
        _ => None,
    }
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

fn word(value: Option<&Value>) -> Option<String> {
    let text = scalar(value?)?;
    let text = cut(text.trim(), WORD_BYTES_MAX);
    (!text.is_empty()).then(|| redact(text))
}

/// One line without credentials, within the limit.
fn message(text: &str) -> String {
    // Redacted before it is cut: half a key is still half a key.
    let line = redact(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    let kept = cut(&line, UPSTREAM_MESSAGE_BYTES_MAX);
    match kept {
        "" => NO_MESSAGE.to_owned(),
        _ if kept.len() < line.len() => format!("{kept}…"),
        _ => kept.to_owned(),
    }
}

/// The words of an HTML page, of its title if it has one; other text as it is.
fn plain(text: &str) -> String {
    let trimmed = text.trim_start();
    if !trimmed.starts_with('<') {
        return text.to_owned();
    }
    let lower = trimmed.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|open| {
        let start = open + lower.get(open..)?.find('>')? + 1;
        let end = start + lower.get(start..)?.find("</title")?;
        trimmed.get(start..end).filter(|title| !title.trim().is_empty())
    });
    title.map_or_else(|| without_tags(trimmed), str::to_owned)
}

fn without_tags(html: &str) -> String {
    let mut out = String::new();
    for piece in html.split('<') {
        out.push(' ');
        out.push_str(piece.split_once('>').map_or(piece, |(_, text)| text));
    }
    out
}
