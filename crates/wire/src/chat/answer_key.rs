//! Which requests have the same answer: a name for everything in a body that can change the answer, and whether the request
//! asks for one that does not vary.
//!
//! Knows nothing of who asks, of policies and of targets; whoever keeps answers adds these to the name.

use std::borrow::Cow;
use std::fmt;

use blake3::Hasher;

use super::request::ChatRequest;
use crate::hex;
use crate::json::{Cursor, Stop, unescape};

/// Members that do not make the answer depend on anything outside the request.
const SETTLED: [&str; 34] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "metadata",
    "n",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "service_tier",
    "reasoning_effort",
    "verbosity",
    "store",
    "cache_prompt",
];
/// Set apart from `null`, these ask for something to happen at the target, or for an answer that is of one moment: search results,
/// sound that is kept there for a while.
const MOMENTARY: [&str; 3] = ["web_search_options", "audio", "modalities"];

/// The name of all requests with the same answer, as far as their bodies tell: BLAKE3. Tells nothing of their text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnswerKey([u8; 32]);

impl AnswerKey {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AnswerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// How the members of a value are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// In the order in which they are written: the properties of a schema are shown to the model, and filled in, in that order.
    Ordered,
    Messages,
    Message,
    /// A message's content.
    Parts,
    Part,
}

impl ChatRequest {
    /// The name of this request's answer. The form of the answer (`stream`, `stream_options.include_usage`) and what is for Tidegate
    /// in `metadata` are not in it, everything else is. White space, the spelling of escapes, and the order of the members of the body, of
    /// messages, of their parts and of `metadata` do not matter; the order of all other members does.
    #[must_use]
    pub fn answer_key(&self) -> AnswerKey {
        let mut members = self.raw_members();
        members.retain(|(name, _)| name != "stream");
        members.sort_unstable();
        let mut hasher = Hasher::new();
        for (name, raw) in members {
            let put = match &*name {
                "messages" => put_member(&mut hasher, &name, raw, Shape::Messages),
                "metadata" => put_without(&mut hasher, &name, raw, super::reading::is_own),
                "stream_options" => put_without(&mut hasher, &name, raw, |key| key == "include_usage"),
                _ => put_member(&mut hasher, &name, raw, Shape::Ordered),
            };
            // The body was read before; nothing can stop the walk.
            debug_assert!(put.is_ok());
        }
        AnswerKey(*hasher.finalize().as_bytes())
    }

    /// Whether the request asks for an answer that does not vary: one choice, at temperature 0 or with a `seed`, with members
    /// only that are known to keep to it, and with nothing to be fetched from elsewhere (an image by its address, a file by its id).
    #[must_use]
    pub fn is_deterministic(&self) -> bool {
        let members = self.raw_members();
        let raw = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, raw)| *raw);
        let is_cold = raw("temperature").and_then(|raw| raw.parse().ok()) == Some(0.0);
        let is_seeded = raw("seed").is_some_and(|raw| raw.parse::<i64>().is_ok());
        self.n() == 1 && (is_cold || is_seeded) && self.has_only_members(&SETTLED) && self.is_self_contained()
    }

    /// Whether an answer given before can stand for a new one at all: not where something is to happen at the target (`store`), nor
    /// where the answer is of one moment.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        let is_off = |raw: &str| matches!(raw, "null" | "false");
        self.raw_members().iter().all(|(name, raw)| match &**name {
            "store" => is_off(raw),
            name => !MOMENTARY.contains(&name) || *raw == "null",
        })
    }

    /// The top-level members, names unescaped.
    fn raw_members(&self) -> Vec<(Cow<'_, str>, &str)> {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        let of = |range: &std::ops::Range<usize>| text.get(range.clone()).unwrap_or_default();
        self.layout.spans.iter().map(|span| (name(of(&span.key)), of(&span.value))).collect()
    }

    /// Whether all of its messages is in the body.
    fn is_self_contained(&self) -> bool {
        let json = self.messages_json();
        let text = std::str::from_utf8(&json).unwrap_or_default();
        let mut all_here = true;
        let walked = Cursor::new(text).array(|message| {
            message.object(|member, key| {
                let is_content = name(member.text(key)) == "content";
                if !is_content || member.peek() != Some(b'[') {
                    return member.skip().map(drop);
                }
                member.array(|part| part.skip().map(|part| all_here &= is_inline(part)))?;
                Ok::<_, Stop>(())
            })?;
            Ok::<_, Stop>(())
        });
        all_here && walked.is_ok()
    }
}

/// Whether a part of a message's content holds what it brings: text, sound, an image as `data:`.
fn is_inline(part: &str) -> bool {
    if part.starts_with('"') {
        return true;
    }
    let text = |raw: Option<&str>| raw.and_then(unescape).map(Cow::into_owned).unwrap_or_default();
    let Ok(members) = members(part) else { return false };
    let raw = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, raw)| *raw);
    match text(raw("type")).as_str() {
        "text" | "refusal" | "input_audio" => true,
        "image_url" => {
            let image = raw("image_url").and_then(|image| self::members(image).ok()).unwrap_or_default();
            let url = image.iter().find(|(name, _)| name == "url").map(|(_, raw)| *raw);
            text(url).starts_with("data:")
        }
        _ => false,
    }
}

/// The members of an object, names unescaped; none of what is no object.
fn members(raw: &str) -> Result<Vec<(Cow<'_, str>, &str)>, Stop> {
    let (mut members, mut cursor) = (Vec::new(), Cursor::new(raw));
    if cursor.peek() == Some(b'{') {
        cursor.object(|cursor, key| {
            let name = name(cursor.text(key));
            members.push((name, cursor.skip()?));
            Ok::<_, Stop>(())
        })?;
    }
    Ok(members)
}

/// A name, as it is written where its escapes stand for nothing.
fn name(raw: &str) -> Cow<'_, str> {
    unescape(raw).unwrap_or(Cow::Borrowed(raw))
}

fn put_member(hasher: &mut Hasher, name: &str, raw: &str, shape: Shape) -> Result<(), Stop> {
    put(hasher, b's', name.as_bytes());
    put_value(hasher, raw, shape)
}

/// An object without some of its members, in any order; nothing where no others are left, as targets get none then either.
fn put_without(hasher: &mut Hasher, name: &str, raw: &str, is_left_out: impl Fn(&str) -> bool) -> Result<(), Stop> {
    let all = members(raw)?;
    let kept: Vec<_> = all.iter().filter(|(key, _)| !is_left_out(key)).cloned().collect();
    if kept.is_empty() && (kept.len() != all.len() || raw == "null") {
        return Ok(());
    }
    put(hasher, b's', name.as_bytes());
    put_sorted(hasher, kept, |_| Shape::Ordered)
}

/// Every value begins with its kind and its length, so that no two values look alike.
fn put(hasher: &mut Hasher, kind: u8, bytes: &[u8]) {
    hasher.update(&[kind]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

fn put_sorted(
    hasher: &mut Hasher,
    mut members: Vec<(Cow<'_, str>, &str)>,
    shape: impl Fn(&str) -> Shape,
) -> Result<(), Stop> {
    members.sort_unstable();
    put(hasher, b'{', &(members.len() as u64).to_le_bytes());
    members.iter().try_for_each(|(name, raw)| put_member(hasher, name, raw, shape(name)))
}

/// Goes no deeper than the body was read: [`crate::JSON_DEPTH_MAX`].
fn put_value(hasher: &mut Hasher, raw: &str, shape: Shape) -> Result<(), Stop> {
    let mut cursor = Cursor::new(raw);
    match cursor.peek() {
        Some(b'{') => {
            let members = members(raw)?;
            if matches!(shape, Shape::Message | Shape::Part) {
                let is_message = shape == Shape::Message;
                let of = |name: &str| if is_message && name == "content" { Shape::Parts } else { Shape::Ordered };
                return put_sorted(hasher, members, of);
            }
            put(hasher, b'{', &(members.len() as u64).to_le_bytes());
            members.iter().try_for_each(|(name, raw)| put_member(hasher, name, raw, Shape::Ordered))
        }
        Some(b'[') => {
            let of = match shape {
                Shape::Messages => Shape::Message,
                Shape::Parts => Shape::Part,
                _ => Shape::Ordered,
            };
            let mut elements = Vec::new();
            cursor.array(|cursor| cursor.skip().map(|element| elements.push(element)))?;
            put(hasher, b'[', &(elements.len() as u64).to_le_bytes());
            elements.iter().try_for_each(|element| put_value(hasher, element, of))
        }
        _ => {
            match unescape(raw) {
                Some(text) => put(hasher, b's', text.as_bytes()),
                // A number, a word, or a string that stands for no text.
                None => put(hasher, b'r', raw.trim_ascii().as_bytes()),
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
