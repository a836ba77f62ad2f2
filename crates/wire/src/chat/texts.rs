//! Every text that a request carries: contents, calls of tools and their results, definitions of tools, schemas, names.
//!
//! For those who have to look at all of it, whatever shape it has. Texts are unescaped, also where an escape stands for half
//! a character, and JSON inside a string is taken apart once more, so that no way of writing hides anything. What is not text
//! is counted as opaque.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserializer;
use serde::de::Visitor;

use super::request::ChatRequest;
use crate::json::{self, Cursor, Stop};

#[cfg(test)]
mod tests;

/// How often JSON inside a string is taken apart: arguments of a call that hold JSON in a string.
const NESTED_JSON_MAX: usize = 3;
/// A string of at least this many bytes that holds nothing but the alphabet of base64 is opaque.
pub const BLOB_BYTES_MIN: usize = 512;

/// Decodes with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// The texts of one message, or of one other field of the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// `role` of a message; empty for what is none.
    pub role: String,
    /// The content of a message: its text parts, joined with newlines. Empty for what is none.
    pub content: String,
    /// All other texts, a line for each string and each number, led by its key and a colon where it has one.
    pub rest: String,
    /// Parts that are not text and were not looked into: images, audio, files, long base64.
    pub opaque: usize,
}

impl ChatRequest {
    /// The JSON of each message, in order.
    #[must_use]
    pub fn message_slices(&self) -> Vec<&str> {
        self.layout.message_places.iter().map(|place| self.text(place.clone())).collect()
    }

    /// The JSON of each other field of the body, key included, in order. `model` and plain numbers and flags are among them.
    #[must_use]
    pub fn other_slices(&self) -> Vec<&str> {
        let spans = self.layout.spans.iter().enumerate().filter(|(index, _)| *index != self.layout.messages);
        spans.map(|(_, span)| self.text(span.key.start..span.value.end)).collect()
    }

    fn text(&self, range: std::ops::Range<usize>) -> &str {
        self.body.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Texts {
    /// Reads one message, as [`ChatRequest::message_slices`] gives it.
    #[must_use]
    pub fn of_message(json: &str) -> Self {
        let mut texts = Self::default();
        let _ = Cursor::new(json).object(|cursor, key| {
            let key = unescape(cursor.text(key));
            match key.as_ref() {
                "role" => texts.role = unescape(cursor.skip()?).into_owned(),
                "content" => texts.content(cursor)?,
                key => texts.value(cursor, key, 0)?,
            }
            Ok::<_, Stop>(())
        });
        texts
    }

    /// Reads one other field, as [`ChatRequest::other_slices`] gives it.
    #[must_use]
    pub fn of_field(member: &str) -> Self {
        let mut texts = Self::default();
        let object = format!("{{{member}}}");
        let _ = Cursor::new(&object).object(|cursor, key| {
            let key = unescape(cursor.text(key));
            texts.value(cursor, &key, 0)
        });
        texts
    }

    fn content(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        match cursor.peek() {
            Some(b'"') => self.content_line(&unescape(cursor.skip()?)),
            Some(b'[') => {
                cursor.array(|cursor| match cursor.peek() {
                    Some(b'{') => self.part(cursor),
                    Some(b'"') => {
                        self.content_line(&unescape(cursor.skip()?));
                        Ok(())
                    }
                    _ => self.value(cursor, "", 0),
                })?;
            }
            _ => self.value(cursor, "content", 0)?,
        }
        Ok(())
    }

    /// A content part: its text belongs to the content, everything else to the rest.
    fn part(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        cursor.object(|cursor, key| {
            let key = unescape(cursor.text(key));
            match (key.as_ref(), cursor.peek()) {
                ("text" | "refusal", Some(b'"')) => self.content_line(&unescape(cursor.skip()?)),
                ("type", Some(b'"')) => {
                    let kind = unescape(cursor.skip()?);
                    let is_opaque = !matches!(kind.as_ref(), "text" | "refusal" | "file" | "input_text");
                    self.opaque += usize::from(is_opaque);
                }
                (key, _) => self.value(cursor, key, 0)?,
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Any value: strings and numbers become lines.
    fn value(&mut self, cursor: &mut Cursor<'_>, key: &str, nested: usize) -> Result<(), Stop> {
        match cursor.peek() {
            Some(b'"') => self.string(key, &unescape(cursor.skip()?), nested),
            Some(b'{') => {
                cursor.object(|cursor, key| {
                    let key = unescape(cursor.text(key));
                    self.value(cursor, &key, nested)
                })?;
            }
            Some(b'[') => {
                cursor.array(|cursor| self.value(cursor, key, nested))?;
            }
            _ => {
                let scalar = cursor.skip()?;
                // A key may be the text, also before null and before a flag.
                self.line(key, if scalar.starts_with(|c: char| c.is_ascii_digit() || c == '-') { scalar } else { "" });
            }
        }
        Ok(())
    }

    fn string(&mut self, key: &str, text: &str, nested: usize) {
        if let Some((kind, data)) = data_url(text) {
            return self.data(key, kind, data);
        }
        self.opaque += usize::from(is_blob(text));
        let is_json = text.contains('\\') && text.trim_start().starts_with(['{', '[', '"']);
        if is_json && nested < NESTED_JSON_MAX && json::validate(text).is_ok() {
            let before = self.rest.len();
            if self.value(&mut Cursor::new(text), key, nested + 1).is_ok() {
                return;
            }
            self.rest.truncate(before);
        }
        self.line(key, text);
    }

    /// A `data:` URL: text is decoded, anything else is opaque.
    fn data(&mut self, key: &str, kind: &str, data: &str) {
        let is_text =
            kind.starts_with("text/") || kind.contains("json") || kind.contains("xml") || kind.contains("yaml");
        let decoded = if is_text { BASE64.decode(data.trim()).ok() } else { None };
        match decoded {
            Some(bytes) => self.line(key, &String::from_utf8_lossy(&bytes)),
            None => self.opaque += 1,
        }
    }

    fn line(&mut self, key: &str, text: &str) {
        if !key.is_empty() {
            self.rest.push_str(key);
            self.rest.push_str(": ");
        }
        self.rest.push_str(text);
        self.rest.push('\n');
    }

    fn content_line(&mut self, text: &str) {
        if !self.content.is_empty() {
            self.content.push('\n');
        }
        self.opaque += usize::from(is_blob(text));
        self.content.push_str(text);
    }
}

/// The type and the base64 of a `data:` URL.
fn data_url(text: &str) -> Option<(&str, &str)> {
    let rest = text.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and_then(|_| text.get(5..))?;
    let (kind, data) = rest.split_once(',')?;
    Some((kind.strip_suffix(";base64")?, data))
}

fn is_blob(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    text.len() >= BLOB_BYTES_MIN && text.bytes().all(is_base64)
}

/// The value of a raw JSON string; an escape that stands for half a character becomes U+FFFD. Anything else is given as it is.
fn unescape(raw: &str) -> Cow<'_, str> {
    if let Some(text) = json::unescape(raw) {
        return text;
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    match deserializer.deserialize_bytes(LossyText) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(raw),
    }
}

/// `serde_json` gives a string as bytes when asked for bytes, half characters encoded as if they were whole.
struct LossyText;

impl Visitor<'_> for LossyText {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}
