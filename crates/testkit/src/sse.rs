//! A caller that reads a streaming answer as it should be read: event by event, until the end.
//!
//! It understands the chunks of OpenAI chat completions; events of other dialects are kept as they came.
//! It never fails a test by itself: how a stream ended is a value to assert on.

use crate::PATIENCE;
use reqwest::Response;
use serde_json::Value;
use std::time::Instant;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; empty when there was none.
    pub name: String,
    /// The `data` field, its lines joined by line feeds.
    pub data: String,
    /// When its last byte was read.
    pub at: Instant,
}

impl Event {
    /// The data as JSON, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.data).ok()
    }

    /// `choices[0].delta.content`, if there is any.
    pub fn content(&self) -> Option<String> {
        self.json()?["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
    }
}

/// Reads the events of one response one by one.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    unread: Vec<u8>,
    comments: usize,
}

/// A streaming answer, read to its end.
#[derive(Debug, Clone, Default)]
pub struct Streamed {
    /// HTTP status.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// All events, in order, `[DONE]` included.
    pub events: Vec<Event>,
    /// Comment frames (keep-alives) seen.
    pub comments: usize,
    /// The content of all chunks, joined.
    pub text: String,
    /// The last finish reason.
    pub finish_reason: Option<String>,
    /// The last usage object.
    pub usage: Option<Value>,
    /// Whether `[DONE]` was seen.
    pub saw_done: bool,
    /// The first `error` object in an event or, when the whole body is one JSON document, in that.
    pub error: Option<Value>,
    /// Why the body could not be read to its end, if it could not.
    pub broken: Option<String>,
    /// The body bytes that belong to no event: a document that is no stream, or a torn last event.
    pub rest: String,
    /// When the first non-empty content was read.
    pub first_content_at: Option<Instant>,
}

impl Streamed {
    /// Reads `response` to its end.
    pub async fn read(response: Response) -> Self {
        EventStream::new(response).collect().await
    }

    /// Whether the stream ended as a correct one does: readable to its end, finish reason, `[DONE]`, no error.
    pub fn is_complete(&self) -> bool {
        self.broken.is_none() && self.error.is_none() && self.saw_done && self.finish_reason.is_some()
    }

    /// The value of the first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn note(&mut self, event: Event) {
        if event.data == "[DONE]" {
            self.saw_done = true;
        } else if let Some(json) = event.json() {
            if let Some(error) = json.get("error").filter(|error| !error.is_null()) {
                self.error.get_or_insert_with(|| error.clone());
            }
            if let Some(content) = json["choices"][0]["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
                self.first_content_at.get_or_insert(event.at);
                self.text.push_str(content);
            }
            if let Some(reason) = json["choices"][0]["finish_reason"].as_str() {
                self.finish_reason = Some(reason.to_owned());
            }
            if let Some(usage) = json.get("usage").filter(|usage| usage.is_object()) {
                self.usage = Some(usage.clone());
            }
        }
        self.events.push(event);
    }
}

impl EventStream {
    /// The events of this response. Dropping the stream closes the connection.
    pub fn new(response: Response) -> Self {
        Self { response, unread: Vec::new(), comments: 0 }
    }

    /// HTTP status of the response.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next event, `None` at the end of the body, or why the body cannot be read further.
    ///
    /// # Panics
    /// When nothing comes within [`PATIENCE`].
    pub async fn next(&mut self) -> Option<Result<Event, String>> {
        loop {
            while let Some(block) = self.take_block() {
                match parse_block(&block) {
                    Some(event) => return Some(Ok(event)),
                    None => self.comments += 1,
                }
            }
            let more = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            match more.expect("the stream neither went on nor ended") {
                Ok(Some(bytes)) => self.unread.extend_from_slice(&bytes),
                Ok(None) => return None,
                Err(error) => return Some(Err(describe(&error))),
            }
        }
    }

    /// Reads until an event carries non-empty content and returns that content; `None` if none comes.
    pub async fn next_content(&mut self) -> Option<String> {
        while let Some(Ok(event)) = self.next().await {
            if let Some(content) = event.content().filter(|content| !content.is_empty()) {
                return Some(content);
            }
        }
        None
    }

    /// Reads all that is left.
    pub async fn collect(mut self) -> Streamed {
        let headers = self.response.headers().iter();
        let mut streamed = Streamed {
            status: self.status(),
            headers: headers
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            ..Streamed::default()
        };
        while let Some(outcome) = self.next().await {
            match outcome {
                Ok(event) => streamed.note(event),
                Err(reason) => {
                    streamed.broken = Some(reason);
                    break;
                }
            }
        }
        streamed.comments = self.comments;
        streamed.rest = String::from_utf8_lossy(&self.unread).into_owned();
        if let Ok(document) = serde_json::from_str::<Value>(&streamed.rest) {
            streamed.error = streamed.error.or_else(|| document.get("error").cloned());
        }
        streamed
    }

    /// Takes the bytes up to the next empty line off what was read.
    fn take_block(&mut self) -> Option<String> {
        let ends = [b"\n\n".as_slice(), b"\r\n\r\n"];
        let (at, length) =
            ends.iter().filter_map(|end| crate::http1::find(&self.unread, end).map(|at| (at, end.len()))).min()?;
        let block: Vec<u8> = self.unread.drain(..at + length).take(at).collect();
        Some(String::from_utf8_lossy(&block).into_owned())
    }
}

/// The event in this block of lines; `None` if it holds only comments.
fn parse_block(block: &str) -> Option<Event> {
    let mut name = String::new();
    let mut data: Vec<&str> = Vec::new();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => data.push(value),
            _ => {}
        }
    }
    let has_event = !data.is_empty() || !name.is_empty();
    has_event.then(|| Event { name, data: data.join("\n"), at: Instant::now() })
}

/// An error with all its causes: reqwest names the interesting one last.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
