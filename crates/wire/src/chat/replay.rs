//! An answer that was given once, in the form in which it is asked for again: a stream as one answer, one answer as a stream, a
//! stream with or without usage.
//!
//! Exact or not at all: a form that would lose or change something is `None`.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::assemble::Assembler;
use super::assemble::record::{elements, members};
use super::chunk::ChatChunk;
use super::completion::ChatCompletion;
use crate::json::quote;
use crate::sse::{DONE_FRAME, SseDecoder, SseEvent, encode_data};

/// Top-level members that stand in every chunk.
const IN_EVERY_CHUNK: [&str; 5] = ["id", "created", "model", "system_fingerprint", "service_tier"];
/// Why a choice ended that says all it had to say.
const WHOLE_REASONS: [&str; 3] = ["stop", "tool_calls", "function_call"];

/// Whether every one of `n` choices of this answer came to its own end: it was not cut by a limit of tokens, filtered, or given up.
#[must_use]
pub fn ends_by_itself(answer: &ChatCompletion, n: u64) -> bool {
    answer.finish_reasons().count() as u64 == n && answer.finish_reasons().all(|reason| WHOLE_REASONS.contains(&reason))
}

/// The events of a whole stream, `[DONE]` included, without what only kept a connection alive.
#[must_use]
pub fn without_comments(stream: &[u8]) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(stream.len());
    for event in events(stream)? {
        if !event.data.is_empty() {
            out.extend_from_slice(&event.raw);
        }
    }
    Some(out.freeze())
}

/// Whole events of a stream that reports usage, as who did not ask for it sees them.
#[must_use]
pub fn without_usage(piece: &Bytes) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(piece.len());
    for event in events(piece)? {
        if event.data.is_empty() || event.is_done() {
            out.extend_from_slice(&event.raw);
            continue;
        }
        let chunk = ChatChunk::parse(event.data.as_bytes()).ok()?;
        match chunk.without_usage() {
            _ if chunk.is_usage_only() => {}
            Some(data) => out.extend_from_slice(&encode_data(&data)),
            None => out.extend_from_slice(&event.raw),
        }
    }
    Some(out.freeze())
}

/// The one answer that the events of a whole stream make.
#[must_use]
pub fn whole_of_stream(stream: &[u8]) -> Option<Bytes> {
    let mut assembler = Assembler::new();
    for event in events(stream)? {
        if !event.data.is_empty() && !event.is_done() {
            assembler.push(&event.data).ok()?;
        }
    }
    assembler.finish().ok()
}

/// The stream of one answer, usage and `[DONE]` included: for each choice a chunk with all it says and one with its end. `None`
/// where whoever puts these together would not have the same answer, or where the answer tells no usage.
#[must_use]
pub fn stream_of_whole(body: &Bytes) -> Option<Bytes> {
    let chunks = chunks(std::str::from_utf8(body).ok()?)?;
    let mut assembler = Assembler::new();
    chunks.iter().try_for_each(|chunk| assembler.push(chunk)).ok()?;
    let again = assembler.finish().ok()?;
    if meaning(&again)? != meaning(body)? {
        return None;
    }
    let mut out = BytesMut::with_capacity(body.len() * 2);
    chunks.iter().for_each(|chunk| out.extend_from_slice(&encode_data(chunk)));
    out.extend_from_slice(&DONE_FRAME);
    Some(out.freeze())
}

fn chunks(body: &str) -> Option<Vec<String>> {
    let (mut common, mut last, mut choices, mut usage) = (String::new(), String::new(), Vec::new(), None);
    for (name, raw) in members(body).ok()? {
        match &*name {
            "choices" => choices = elements(raw).ok()?,
            "usage" => usage = Some(raw).filter(|raw| raw.starts_with('{')),
            "object" => {}
            name if IN_EVERY_CHUNK.contains(&name) => push(&mut common, name, raw),
            name => push(&mut last, name, raw),
        }
    }
    let usage = usage?;
    let chunk = |choices: &str, more: &str| {
        let mut chunk = format!(r#"{{"object":"chat.completion.chunk","choices":[{choices}]"#);
        for part in [common.as_str(), more].into_iter().filter(|part| !part.is_empty()) {
            chunk.push(',');
            chunk.push_str(part);
        }
        chunk + "}"
    };
    let mut chunks = Vec::with_capacity(choices.len() * 2 + 1);
    for (place, raw) in choices.iter().enumerate() {
        let (said, end) = choice(place, raw)?;
        chunks.push(chunk(&said, ""));
        chunks.push(chunk(&end, if place + 1 == choices.len() { &last } else { "" }));
    }
    chunks.push(chunk("", &format!(r#""usage":{usage}"#)));
    Some(chunks)
}

/// The two chunks of a choice.
fn choice(place: usize, raw: &str) -> Option<(String, String)> {
    let members = members(raw).ok()?;
    let index = members
        .iter()
        .find(|(name, _)| name == "index")
        .map_or_else(|| place.to_string(), |(_, raw)| (*raw).to_owned());
    let (mut said, mut end) = (format!(r#""index":{index}"#), format!(r#""index":{index},"delta":{{}}"#));
    for (name, raw) in &members {
        match &**name {
            "index" => {}
            "message" => push(&mut said, "delta", &delta(raw)?),
            "logprobs" => push(&mut said, name, raw),
            _ => push(&mut end, name, raw),
        }
    }
    push(&mut said, "finish_reason", "null");
    Some((format!("{{{said}}}"), format!("{{{end}}}")))
}

/// A message as what is new in it; tool calls are numbered.
fn delta(raw: &str) -> Option<String> {
    let mut delta = String::new();
    for (name, raw) in members(raw).ok()? {
        if name != "tool_calls" || raw == "null" {
            push(&mut delta, &name, raw);
            continue;
        }
        let mut calls = Vec::new();
        for (place, call) in elements(raw).ok()?.into_iter().enumerate() {
            let mut written = format!(r#""index":{place}"#);
            members(call)
                .ok()?
                .iter()
                .filter(|(name, _)| name != "index")
                .for_each(|(name, raw)| push(&mut written, name, raw));
            calls.push(format!("{{{written}}}"));
        }
        push(&mut delta, "tool_calls", &format!("[{}]", calls.join(",")));
    }
    Some(format!("{{{delta}}}"))
}

fn push(out: &mut String, name: &str, raw: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(&quote(name));
    out.push(':');
    out.push_str(raw);
}

/// What an answer says, however it is written: a member that is `null`, or an empty list of tool calls, says nothing.
fn meaning(body: &[u8]) -> Option<Value> {
    let mut value = serde_json::from_slice(body).ok()?;
    forget_nothings(&mut value);
    Some(value)
}

fn forget_nothings(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let says_nothing = |name: &str, value: &Value| {
                value.is_null() || (name == "tool_calls" && *value == Value::Array(Vec::new()))
            };
            members.retain(|name, value| !says_nothing(name, value));
            members.values_mut().for_each(forget_nothings);
        }
        Value::Array(elements) => elements.iter_mut().for_each(forget_nothings),
        _ => {}
    }
}

/// The frames of whole events.
fn events(stream: &[u8]) -> Option<Vec<SseEvent>> {
    let mut decoder = SseDecoder::new();
    decoder.push(stream);
    let mut events = Vec::new();
    while let Some(event) = decoder.next_event() {
        events.push(event.ok()?);
    }
    decoder.remainder().is_empty().then_some(events)
}

#[cfg(test)]
mod tests;
