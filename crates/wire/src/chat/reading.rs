//! Reads a request's fields in one walk over its text.
//!
//! Checks each value for itself. Whether values go together is not decided here.

use std::borrow::Cow;
use std::ops::Range;

use super::messages;
use super::request::{
    CHOICES_MAX, Fields, Layout, METADATA_LIST_BYTES_MAX, METADATA_WORD_BYTES_MAX, MODEL_NAME_BYTES_MAX, Nested,
    OBJECT_KEYS_MAX, ResponseFormat,
};
use super::request_error::{RequestError, field};
use crate::json::{self, Cursor, Span, Stop};

/// The beginning of keys that are for Tidegate and for nobody else: in any case, behind white space, hyphens,
/// underscores and `x`. Such a key must be the right one in the right place, or a demand for privacy would be passed over.
const OWN_KEY_PREFIX: &str = "tidegate";

/// The members of `metadata` that are for Tidegate.
const OWN_KEYS: [&str; 4] = ["tidegate_mode", "tidegate_privacy", "tidegate_tags", "tidegate_session"];

/// The top-level fields that are read here.
const READ_FIELDS: [&str; 13] = [
    "model",
    "stream",
    "stream_options",
    "messages",
    "metadata",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "functions",
    "logprobs",
    "top_logprobs",
    "response_format",
    "n",
];

/// Why reading stopped. The place of a [`Stop`] becomes line and column at the end.
pub(super) enum ReadError {
    Request(RequestError),
    Stopped(Stop),
}

impl From<RequestError> for ReadError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<Stop> for ReadError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

/// The keys of one object, to find those that stand twice.
#[derive(Default)]
pub(super) struct Keys<'a> {
    names: Vec<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    /// Unescapes the key at `key` and remembers it. `place` names the object, empty for the body.
    pub(super) fn read(
        &mut self,
        cursor: &Cursor<'a>,
        key: Range<usize>,
        place: impl Fn() -> String,
    ) -> Result<&str, RequestError> {
        let invalid = |reason: String| {
            let place = place();
            RequestError::invalid(if place.is_empty() { "body".to_owned() } else { place }, reason)
        };
        if self.names.len() == OBJECT_KEYS_MAX {
            return Err(invalid(format!("must hold at most {OBJECT_KEYS_MAX} keys")));
        }
        let name = json::unescape(cursor.text(key));
        self.names.push(name.ok_or_else(|| invalid("holds a key with an invalid escape".to_owned()))?);
        Ok(self.names.last().map(AsRef::as_ref).unwrap_or_default())
    }

    /// Refuses a key that stands twice, and one that a target which ignores case (Go's `encoding/json` does) would take
    /// for one of `known`.
    pub(super) fn check(mut self, place: impl Fn() -> String, known: &[&str]) -> Result<(), ReadError> {
        self.names.sort_unstable();
        if let Some((twice, _)) = self.names.iter().zip(self.names.iter().skip(1)).find(|(one, next)| one == next) {
            return Err(RequestError::duplicate(&place(), twice).into());
        }
        for name in &self.names {
            if let Some(meant) = known.iter().find(|known| name != *known && folds_to(name, known)) {
                return Err(RequestError::invalid(field(&place(), name), format!("must be written `{meant}`")).into());
            }
        }
        Ok(())
    }
}

/// Whether `name` is `known` (all lower case) under Unicode's simple case folding.
fn folds_to(name: &str, known: &str) -> bool {
    if name.is_ascii() {
        return name.eq_ignore_ascii_case(known);
    }
    let fold = |character| match character {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(known.chars())
}

/// Reads all of a valid JSON text.
pub(super) fn read(text: &str) -> Result<(Layout, Fields), ReadError> {
    let mut cursor = Cursor::new(text);
    if cursor.peek() != Some(b'{') {
        return Err(RequestError::NotAnObject.into());
    }
    let (mut layout, mut fields, mut keys) = (Layout::default(), Fields::default(), Keys::default());
    cursor.object(|cursor, key| {
        let start = cursor.offset();
        let name = keys.read(cursor, key.clone(), String::new)?;
        read_field(cursor, name, &mut layout, &mut fields)?;
        layout.spans.push(Span { key, value: start..cursor.offset() });
        Ok::<_, ReadError>(())
    })?;
    keys.check(String::new, &READ_FIELDS)?;
    // Neither can be empty when it was read.
    if fields.model.is_empty() {
        return Err(RequestError::missing("model").into());
    }
    if fields.messages.count == 0 {
        return Err(RequestError::missing("messages").into());
    }
    Ok((layout, fields))
}

fn read_field(cursor: &mut Cursor<'_>, name: &str, layout: &mut Layout, fields: &mut Fields) -> Result<(), ReadError> {
    let index = layout.spans.len();
    match name {
        "model" => {
            fields.model = string(cursor, || "model".to_owned(), MODEL_NAME_BYTES_MAX)?;
            layout.model = index;
        }
        "messages" => {
            (fields.messages, layout.message_places) = messages::read(cursor)?;
            layout.messages = index;
        }
        "stream" => {
            fields.stream = boolean(cursor, name)?;
            layout.stream = Some(index);
        }
        "stream_options" => {
            let options = nested(cursor, name, &["include_usage"], |cursor, key| {
                let own = key == "include_usage";
                if own {
                    fields.include_usage = boolean(cursor, "stream_options.include_usage")?;
                }
                Ok(own)
            })?;
            layout.stream_options = Some(Nested { index, ..options });
        }
        "metadata" => {
            let metadata = nested(cursor, name, &[], |cursor, key| metadata(cursor, key, fields))?;
            layout.metadata = Some(Nested { index, ..metadata });
        }
        "max_tokens" => fields.max_tokens = positive(cursor, name, u64::MAX)?,
        "max_completion_tokens" => fields.max_completion_tokens = positive(cursor, name, u64::MAX)?,
        "n" => fields.n = positive(cursor, name, CHOICES_MAX)?,
        "tools" | "functions" => {
            let tools = array_or_null(cursor, name)?;
            fields.has_tools |= !tools.is_empty();
            fields.tools.add(tools);
        }
        // Of any type: what is wrong with it is for the target to say.
        "logprobs" | "top_logprobs" => fields.logprobs |= !matches!(cursor.skip()?, "false" | "null" | "0"),
        "response_format" => fields.response_format = response_format(cursor)?,
        other if is_own(other) => {
            let reason = format!("is not known; Tidegate reads {} of `metadata`", own_keys());
            return Err(RequestError::invalid(field("", other), reason).into());
        }
        _ => {
            cursor.skip()?;
        }
    }
    Ok(())
}

pub(super) fn is_own(key: &str) -> bool {
    let plain = key.trim_start_matches(|c: char| c.is_whitespace() || "-_xX".contains(c));
    plain.get(..OWN_KEY_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN_KEY_PREFIX))
}

/// Reads an object or `null`; `known` are the keys that are read of it. `member` says whether a key is Tidegate's own, and may step over its value.
fn nested(
    cursor: &mut Cursor<'_>,
    place: &str,
    known: &[&str],
    mut member: impl FnMut(&mut Cursor<'_>, &str) -> Result<bool, ReadError>,
) -> Result<Nested, ReadError> {
    let mut nested = Nested::default();
    if cursor.peek() != Some(b'{') {
        nested.is_null = cursor.skip()? == "null";
        let refusal = || RequestError::invalid(place, "must be an object or null").into();
        return if nested.is_null { Ok(nested) } else { Err(refusal()) };
    }
    let mut keys = Keys::default();
    nested.object = cursor.object(|cursor, key| {
        let start = cursor.offset();
        if member(cursor, keys.read(cursor, key.clone(), || place.to_owned())?)? {
            nested.own.push(nested.spans.len());
        }
        if cursor.offset() == start {
            cursor.skip()?;
        }
        nested.spans.push(Span { key, value: start..cursor.offset() });
        Ok::<_, ReadError>(())
    })?;
    keys.check(|| place.to_owned(), known)?;
    Ok(nested)
}

fn metadata(cursor: &mut Cursor<'_>, key: &str, fields: &mut Fields) -> Result<bool, ReadError> {
    if !is_own(key) {
        return Ok(false);
    }
    let place = || field("metadata", key);
    let (slot, bytes_max) = match key {
        "tidegate_mode" => (&mut fields.tidegate_mode, METADATA_WORD_BYTES_MAX),
        "tidegate_privacy" => (&mut fields.tidegate_privacy, METADATA_WORD_BYTES_MAX),
        "tidegate_tags" => (&mut fields.tidegate_tags, METADATA_LIST_BYTES_MAX),
        "tidegate_session" => (&mut fields.tidegate_session, METADATA_LIST_BYTES_MAX),
        _ => {
            return Err(RequestError::invalid(place(), format!("is not known; Tidegate reads {}", own_keys())).into());
        }
    };
    *slot = Some(string(cursor, place, bytes_max)?);
    Ok(true)
}

fn own_keys() -> String {
    OWN_KEYS.map(|key| format!("`{key}`")).join(", ")
}

/// A string of 1 to `bytes_max` bytes.
pub(super) fn string(
    cursor: &mut Cursor<'_>,
    place: impl Fn() -> String,
    bytes_max: usize,
) -> Result<String, ReadError> {
    let raw = cursor.skip()?;
    let invalid = |reason: &str| ReadError::from(RequestError::invalid(place(), reason));
    if !raw.starts_with('"') {
        return Err(invalid("must be a string"));
    }
    // One escape of six bytes stands for at least one byte.
    let value = (raw.len() <= bytes_max * 6 + 2).then(|| json::unescape(raw));
    match value {
        Some(None) => Err(invalid("holds an invalid escape")),
        Some(Some(value)) if value.is_empty() => Err(invalid("must not be empty")),
        Some(Some(value)) if value.len() <= bytes_max => Ok(value.into_owned()),
        _ => Err(invalid(&format!("must be at most {bytes_max} bytes long"))),
    }
}

fn boolean(cursor: &mut Cursor<'_>, place: &str) -> Result<bool, ReadError> {
    match cursor.skip()? {
        "true" => Ok(true),
        "false" | "null" => Ok(false),
        _ => Err(RequestError::invalid(place, "must be true, false or null").into()),
    }
}

fn positive(cursor: &mut Cursor<'_>, place: &str, max: u64) -> Result<Option<u64>, ReadError> {
    let raw = cursor.skip()?;
    if raw == "null" {
        return Ok(None);
    }
    match raw.parse() {
        Ok(value) if (1..=max).contains(&value) => Ok(Some(value)),
        _ if max == u64::MAX => Err(RequestError::invalid(place, "must be a positive integer or null").into()),
        _ => Err(RequestError::invalid(place, format!("must be an integer from 1 to {max} or null")).into()),
    }
}

/// The elements of an array as text; nothing for an empty one and for `null`.
fn array_or_null<'a>(cursor: &mut Cursor<'a>, place: &str) -> Result<&'a str, ReadError> {
    let raw = cursor.skip()?;
    if raw == "null" {
        return Ok("");
    }
    let inner = raw.strip_prefix('[').and_then(|raw| raw.strip_suffix(']'));
    let inner = inner.ok_or_else(|| RequestError::invalid(place, "must be an array or null"))?;
    Ok(inner.trim_ascii())
}

fn response_format(cursor: &mut Cursor<'_>) -> Result<Option<ResponseFormat>, ReadError> {
    let mut format = None;
    let place = "response_format";
    let nested = nested(cursor, place, &["type"], |cursor, key| {
        if key == "type" {
            format =
                Some(match string(cursor, || "response_format.type".to_owned(), METADATA_WORD_BYTES_MAX)?.as_str() {
                    "text" => ResponseFormat::Text,
                    "json_object" => ResponseFormat::JsonObject,
                    "json_schema" => ResponseFormat::JsonSchema,
                    _ => ResponseFormat::Other,
                });
        }
        Ok(key == "type")
    })?;
    if format.is_none() && !nested.is_null {
        return Err(RequestError::missing("response_format.type").into());
    }
    Ok(format)
}
