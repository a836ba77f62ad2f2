//! Server-sent events: what a target streams, cut into frames and read, and what Tidegate writes itself.
//!
//! Follows the event stream rules of the WHATWG for any cutting into chunks. Keeps no last event id, waits for nothing
//! and reconnects nowhere.

use bytes::{Bytes, BytesMut};

mod decoder;
pub use decoder::{SSE_FRAME_BYTES_MAX, SseDecoder, SseError};

/// The data of the event that ends a stream of OpenAI's dialect.
pub const DONE: &str = "[DONE]";

/// The frame of [`DONE`].
pub static DONE_FRAME: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// One frame: everything up to and including a blank line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The values of all `data` lines, joined by line feeds.
    pub data: String,
    /// Whether there was a `data` line. A frame without one (comments, `retry`, blank lines) is no event for whoever
    /// listens, but keeps a connection alive when it is passed on.
    pub has_data: bool,
    /// The last `event` line.
    pub event: Option<String>,
    /// The last `id` line of this frame.
    pub id: Option<String>,
    /// The last `retry` line, in milliseconds.
    pub retry_ms: Option<u64>,
    /// The frame as it came, blank line included: all frames in a row are the stream.
    pub raw: Bytes,
}

impl SseEvent {
    /// Whether this is the end of a stream of OpenAI's dialect.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.data.trim_ascii() == DONE
    }

    /// Whether the target calls it an error, whatever its data.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.event.as_deref().is_some_and(|event| event.trim_ascii() == "error")
    }

    /// Reads a frame; `text` is `raw` without what belongs to the frame before.
    fn read(text: &str, raw: Bytes) -> Self {
        let mut frame = Self { data: String::new(), has_data: false, event: None, id: None, retry_ms: None, raw };
        for line in lines(text) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "data" => {
                    if frame.has_data {
                        frame.data.push('\n');
                    }
                    frame.data.push_str(value);
                    frame.has_data = true;
                }
                "event" => frame.event = Some(value.to_owned()),
                "id" if !value.contains('\0') => frame.id = Some(value.to_owned()),
                "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => frame.retry_ms = value.parse().ok(),
                // A comment (no name) or a field that nobody knows.
                _ => {}
            }
        }
        frame
    }
}

/// One event with this data: a `data` line for each of its lines.
#[must_use]
pub fn encode_data(data: &str) -> Bytes {
    encode("data: ", data)
}

/// A comment that keeps a connection alive.
#[must_use]
pub fn encode_comment(comment: &str) -> Bytes {
    encode(": ", comment)
}

fn encode(prefix: &str, text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(prefix.len() + text.len() + 2);
    let mut rest = Some(text);
    while let Some(text) = rest {
        let line = match memchr::memchr2(b'\r', b'\n', text.as_bytes()) {
            Some(end) => {
                let (line, ended) = text.split_at(end);
                rest = ended.strip_prefix("\r\n").or_else(|| ended.get(1..));
                line
            }
            None => {
                rest = None;
                text
            }
        };
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
    out.freeze()
}

/// The lines of a text that end with CR, LF or CRLF, without these; what follows the last end is no line.
fn lines(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = memchr::memchr2(b'\r', b'\n', text.as_bytes())?;
        let (line, ended) = text.split_at(end);
        text = ended.strip_prefix("\r\n").or_else(|| ended.get(1..)).unwrap_or_default();
        Some(line)
    })
}

#[cfg(test)]
mod tests;
