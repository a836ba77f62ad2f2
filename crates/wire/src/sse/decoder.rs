//! Cuts a stream of chunks into frames.
//!
//! Every byte is looked at once for the end of its line and once as part of its whole frame, so single-byte chunks cost
//! no more than large ones. What lines mean is in the module above.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

use super::SseEvent;

/// Longest frame, in bytes, when nothing else is said.
pub const SSE_FRAME_BYTES_MAX: usize = 8 << 20;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A frame is longer than the limit.
    #[error("an event of the stream is longer than {limit_bytes} bytes")]
    FrameTooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// A frame is not UTF-8.
    #[error("an event of the stream is not valid UTF-8")]
    NotUtf8,
    /// The stream ended inside a frame, which is lost by the rules.
    #[error("the stream ended in the middle of an event, {bytes} bytes into it")]
    Incomplete {
        /// How much of it came.
        bytes: usize,
    },
}

/// Takes chunks, gives frames.
///
/// After the first error nothing more comes. Holds at most one unfinished frame and what was pushed last.
#[derive(Debug)]
pub struct SseDecoder {
    /// Whole frames not yet taken, and the beginning of the next.
    buffer: BytesMut,
    /// Where to look for the next end of a line.
    scan: usize,
    /// Where the line begins that `scan` is in.
    line: usize,
    /// A frame ended with CR at the end of what was there: a LF that follows belongs to it.
    expects_line_feed: bool,
    /// Bytes at the beginning of the frame that end the frame before.
    lead: usize,
    is_first: bool,
    failed: Option<SseError>,
    frame_bytes_max: usize,
}

impl Default for SseDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl SseDecoder {
    /// With [`SSE_FRAME_BYTES_MAX`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_frame_bytes_max(SSE_FRAME_BYTES_MAX)
    }

    /// With another limit for one frame, blank line included.
    #[must_use]
    pub fn with_frame_bytes_max(frame_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scan: 0,
            line: 0,
            expects_line_feed: false,
            lead: 0,
            is_first: true,
            failed: None,
            frame_bytes_max,
        }
    }

    /// Takes the next chunk, cut anywhere. Call [`Self::next_event`] until `None` before the next push, or chunks pile
    /// up here.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// The next whole frame; `None` when there is none until more is pushed. A frame is given as soon as its blank line
    /// has begun to end; of a CRLF that is cut in two, the LF leads the `raw` of the next frame.
    ///
    /// # Errors
    /// [`SseError::FrameTooLong`] or [`SseError::NotUtf8`], once; after that always `None`.
    pub fn next_event(&mut self) -> Option<Result<SseEvent, SseError>> {
        if self.failed.is_some() {
            return None;
        }
        let end = self.frame_end();
        if end.unwrap_or(self.buffer.len()) > self.frame_bytes_max {
            return Some(Err(self.fail(SseError::FrameTooLong { limit_bytes: self.frame_bytes_max })));
        }
        let raw = self.buffer.split_to(end?).freeze();
        let lead = std::mem::take(&mut self.lead);
        (self.scan, self.line) = (0, 0);
        let Ok(text) = std::str::from_utf8(&raw) else { return Some(Err(self.fail(SseError::NotUtf8))) };
        let text = text.get(lead..).unwrap_or_default();
        let text =
            if std::mem::take(&mut self.is_first) { text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text) } else { text };
        Some(Ok(SseEvent::read(text, raw.clone())))
    }

    /// Whether a frame has begun and not ended, or could not be read. A stream that ends now has lost it.
    #[must_use]
    pub fn is_mid_event(&self) -> bool {
        self.failed.is_some() || self.remainder().iter().any(|byte| !b"\r\n".contains(byte))
    }

    /// Whether the stream, ended now, would end with the event [`super::DONE`] that lacks no more than its blank line. By
    /// the rules that is no event, but all of it has come.
    #[must_use]
    pub fn ends_with_done(&self) -> bool {
        let Ok(text) = std::str::from_utf8(self.remainder()) else { return false };
        let event = SseEvent::read(&format!("{text}\n"), Bytes::new());
        event.is_done() && !event.is_error()
    }

    /// What was pushed and is in no frame that was taken.
    #[must_use]
    pub fn remainder(&self) -> &[u8] {
        &self.buffer
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// [`SseError::Incomplete`] when it ended inside a frame. By the rules that frame is no event; its bytes are in
    /// [`Self::remainder`]. After an error, that error again.
    pub fn finish(&self) -> Result<(), SseError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.is_mid_event() => Err(SseError::Incomplete { bytes: self.buffer.len() }),
            None => Ok(()),
        }
    }

    /// Looks on for a blank line; gives the place after it.
    fn frame_end(&mut self) -> Option<usize> {
        if self.expects_line_feed {
            let first = *self.buffer.first()?;
            self.expects_line_feed = false;
            if first == b'\n' {
                (self.lead, self.scan, self.line) = (1, 1, 1);
            }
        }
        loop {
            let rest = self.buffer.get(self.scan..)?;
            let Some(found) = memchr2(b'\r', b'\n', rest) else {
                self.scan = self.buffer.len();
                return None;
            };
            let end = self.scan + found;
            let is_blank = end == self.line;
            let next = match (self.buffer.get(end), self.buffer.get(end + 1)) {
                (Some(b'\r'), Some(b'\n')) => end + 2,
                (Some(b'\r'), None) if is_blank => {
                    self.expects_line_feed = true;
                    end + 1
                }
                // Not yet known whether a LF follows: looked at again with the next chunk.
                (Some(b'\r'), None) => {
                    self.scan = end;
                    return None;
                }
                _ => end + 1,
            };
            (self.scan, self.line) = (next, next);
            if is_blank {
                return Some(next);
            }
        }
    }

    fn fail(&mut self, error: SseError) -> SseError {
        self.failed = Some(error);
        self.buffer.advance(self.buffer.len());
        error
    }
}
