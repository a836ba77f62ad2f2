//! Reads as much of `messages` as Tidegate needs: that they are messages, how many, how much text and images, and whose
//! the last one is.
//!
//! Interprets no content: whatever shape `content` has goes to the target as it came.

use std::ops::Range;

use super::RequestError;
use super::reading::{Keys, ReadError, string};
use super::tokens::{TOKENS_PER_ATTACHMENT, TOKENS_PER_MESSAGE, TextSize};
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
    /// Text of all messages: contents, and as raw JSON whatever else they hold (calls of tools above all).
    pub text: TextSize,
    /// Content parts that are images.
    pub images: usize,
    /// Content parts that are neither text nor images: audio, files and whatever this version does not know.
    pub attachments: usize,
    /// The last message is the result of a tool (role `tool`, or `function` as it was called before).
    pub ends_in_tool_result: bool,
    /// The last message is one of the assistant: the beginning of the answer, for targets that go on with one.
    pub ends_in_answer: bool,
}

impl MessagesSummary {
    /// Tokens of the messages, estimated; see [`TextSize::tokens`] and the constants beside it.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let times = |count: usize, tokens: u64| tokens.saturating_mul(count as u64);
        self.text.tokens()
            + times(self.count, TOKENS_PER_MESSAGE)
            + times(self.images + self.attachments, TOKENS_PER_ATTACHMENT)
    }
}

/// Reads the array; `cursor` stands before it. Also gives the place of each message.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<(MessagesSummary, Vec<Range<usize>>), ReadError> {
    let (mut summary, mut places) = (MessagesSummary::default(), Vec::new());
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
        places.push(message(cursor, index, &mut summary)?);
        Ok(())
    })?;
    if summary.count == 0 {
        return Err(RequestError::invalid("messages", "must hold at least one message").into());
    }
    Ok((summary, places))
}

fn message(cursor: &mut Cursor<'_>, index: usize, summary: &mut MessagesSummary) -> Result<Range<usize>, ReadError> {
    let place = || format!("messages[{index}]");
    if cursor.peek() != Some(b'{') {
        return Err(RequestError::invalid(place(), "must be an object").into());
    }
    let mut keys = Keys::default();
    let mut has_role = false;
    let object = cursor.object(|cursor, key| {
        match keys.read(cursor, key, place)? {
            "role" => {
                let role = string(cursor, || format!("messages[{index}].role"), ROLE_BYTES_MAX)?;
                summary.ends_in_tool_result = matches!(role.as_str(), "tool" | "function");
                summary.ends_in_answer = role == "assistant";
                has_role = true;
            }
            "content" => content(cursor, index, summary)?,
            _ => summary.text.add(cursor.skip()?),
        }
        Ok::<_, ReadError>(())
    })?;
    keys.check(place, &["role", "content"])?;
    if has_role { Ok(object) } else { Err(RequestError::missing(format!("messages[{index}].role")).into()) }
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
    // A part without a type is taken for what is not known.
    let (mut is_image, mut is_text) = (false, false);
    cursor.object(|cursor, key| {
        match keys.read(cursor, key, &place)? {
            "type" => {
                let kind = json::unescape(cursor.skip()?);
                is_image = matches!(kind.as_deref(), Some("image_url" | "input_image" | "image"));
                is_text = matches!(kind.as_deref(), Some("text" | "refusal"));
            }
            "text" | "refusal" => text(cursor, summary)?,
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, ReadError>(())
    })?;
    keys.check(place, &["type", "text"])?;
    summary.images += usize::from(is_image);
    summary.attachments += usize::from(!is_image && !is_text);
    Ok(())
}

/// Counts what stands between the quotes of a string; steps over anything else.
fn text(cursor: &mut Cursor<'_>, summary: &mut MessagesSummary) -> Result<(), ReadError> {
    let raw = cursor.skip()?;
    if let Some(inner) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        summary.text.add(inner);
    }
    Ok(())
}
