//! Reads as much of `messages` as Tidegate needs: that they are messages, how many, how much text, whether there are
//! images.
//!
//! Interprets no content: whatever shape `content` has goes to the target as it came.

use super::RequestError;
use super::reading::{Keys, ReadError, string};
use crate::json::{self, Cursor};

/// Most messages in one request.
pub const MESSAGES_MAX: usize = 10_000;
/// Longest `role`, in bytes.
pub const ROLE_BYTES_MAX: usize = 64;

/// What is known of a request's messages without interpreting them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessagesSummary {
    /// How many messages there are, at least 1.
    pub count: usize,
    /// Bytes of text in all contents, counted as written in JSON: an escape counts for its length. An estimate for
    /// sizes: never less than the real length in UTF-8, at most 6 times as much.
    pub text_bytes: usize,
    /// Some content part is an image.
    pub has_images: bool,
}

/// Reads the array; `cursor` stands before it.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<MessagesSummary, ReadError> {
    let mut summary = MessagesSummary::default();
    if cursor.peek() != Some(b'[') {
        return Err(RequestError::invalid("messages", "must be an array").into());
    }
    cursor.array(|cursor| {
        if summary.count == MESSAGES_MAX {
            let reason = format!("must hold at most {MESSAGES_MAX} messages");
            return Err(ReadError::from(RequestError::invalid("messages", reason)));
        }
        let index = summary.count;
        summary.count += 1;
        message(cursor, index, &mut summary)
    })?;
    if summary.count == 0 {
        return Err(RequestError::invalid("messages", "must hold at least one message").into());
    }
    Ok(summary)
}

fn message(cursor: &mut Cursor<'_>, index: usize, summary: &mut MessagesSummary) -> Result<(), ReadError> {
    let place = || format!("messages[{index}]");
    if cursor.peek() != Some(b'{') {
        return Err(RequestError::invalid(place(), "must be an object").into());
    }
    let mut keys = Keys::default();
    let mut has_role = false;
    cursor.object(|cursor, key| {
        match keys.read(cursor, key, place)? {
            "role" => {
                string(cursor, || format!("messages[{index}].role"), ROLE_BYTES_MAX)?;
                has_role = true;
            }
            "content" => content(cursor, index, summary)?,
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, ReadError>(())
    })?;
    keys.check(place, &["role", "content"])?;
    if has_role { Ok(()) } else { Err(RequestError::missing(format!("messages[{index}].role")).into()) }
}

fn content(cursor: &mut Cursor<'_>, index: usize, summary: &mut MessagesSummary) -> Result<(), ReadError> {
    if cursor.peek() != Some(b'[') {
        return text(cursor, summary);
    }
    let mut part_index = 0;
    cursor.array(|cursor| {
        part_index += 1;
        if cursor.peek() != Some(b'{') {
            return text(cursor, summary);
        }
        part(cursor, || format!("messages[{index}].content[{}]", part_index - 1), summary)
    })?;
    Ok(())
}

fn part(cursor: &mut Cursor<'_>, place: impl Fn() -> String, summary: &mut MessagesSummary) -> Result<(), ReadError> {
    let mut keys = Keys::default();
    cursor.object(|cursor, key| {
        match keys.read(cursor, key, &place)? {
            "type" => {
                let kind = json::unescape(cursor.skip()?);
                summary.has_images |= matches!(kind.as_deref(), Some("image_url" | "input_image" | "image"));
            }
            "text" => text(cursor, summary)?,
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, ReadError>(())
    })?;
    keys.check(place, &["type", "text"])
}

/// Counts the bytes between the quotes of a string; steps over anything else.
fn text(cursor: &mut Cursor<'_>, summary: &mut MessagesSummary) -> Result<(), ReadError> {
    let raw = cursor.skip()?;
    if raw.starts_with('"') {
        summary.text_bytes += raw.len().saturating_sub(2);
    }
    Ok(())
}
