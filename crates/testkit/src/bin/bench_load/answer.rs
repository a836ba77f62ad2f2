//! The body of one answer, and whether it is complete.

use anyhow::{Context, ensure};
use serde_json::Value;

/// What two complete answers to the same request have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of the decoded body.
    pub(crate) bytes: u64,
    /// Events of a stream, `[DONE]` included; 0 for a document.
    pub(crate) frames: u64,
    /// Bytes of the assistant's text. Parsed in the first answer only: parsing each would slow the
    /// generator down.
    pub(crate) content_bytes: u64,
}

impl Shape {
    /// This shape with what the command line knows better.
    pub(crate) fn expecting(&self, frames: Option<u64>, bytes: Option<u64>) -> Self {
        Self {
            bytes: bytes.unwrap_or(self.bytes),
            frames: frames.unwrap_or(self.frames),
            content_bytes: self.content_bytes,
        }
    }
}

/// A body as it grows.
pub(crate) struct Body {
    bytes: Vec<u8>,
    is_stream: bool,
}

impl Body {
    pub(crate) fn new(is_stream: bool) -> Self {
        Self { bytes: Vec::with_capacity(16 * 1024), is_stream }
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the first event is complete, or any byte of a document is there.
    pub(crate) fn has_begun(&self) -> bool {
        if self.is_stream { self.bytes.windows(2).any(|pair| pair == b"\n\n") } else { !self.bytes.is_empty() }
    }

    /// Checks that the answer is whole and, if given, like the expected one.
    pub(crate) fn check(&self, expected: Option<&Shape>) -> anyhow::Result<Shape> {
        let frames = if self.is_stream { self.count_events() } else { 0 };
        if self.is_stream {
            ensure!(self.bytes.ends_with(b"data: [DONE]\n\n"), "the stream does not end with [DONE]");
        }
        let bytes = self.bytes.len() as u64;
        let Some(expected) = expected else {
            return Ok(Shape { bytes, frames, content_bytes: self.content_bytes()? });
        };
        ensure!(frames == expected.frames, "{frames} events, not {}", expected.frames);
        ensure!(bytes == expected.bytes, "{bytes} bytes, not {}", expected.bytes);
        Ok(expected.clone())
    }

    /// Blocks that begin with `data:`; comments are no events.
    fn count_events(&self) -> u64 {
        let mut count = 0;
        let mut at_block_start = true;
        let mut rest = self.bytes.as_slice();
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line = &rest[..end];
            count += u64::from(at_block_start && line.starts_with(b"data:"));
            at_block_start = line.is_empty();
            rest = &rest[end + 1..];
        }
        count
    }

    fn content_bytes(&self) -> anyhow::Result<u64> {
        let text = std::str::from_utf8(&self.bytes).context("the answer is not UTF-8")?;
        let length = |value: &Value| value.as_str().map_or(0, str::len) as u64;
        if !self.is_stream {
            let document: Value = serde_json::from_str(text).context("the answer is not JSON")?;
            return Ok(length(&document["choices"][0]["message"]["content"]));
        }
        let mut bytes = 0;
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
            let event: Value = serde_json::from_str(data).context("an event is not JSON")?;
            bytes += length(&event["choices"][0]["delta"]["content"]);
        }
        Ok(bytes)
    }
}
