//! The ways a scripted upstream can answer: one value says all that happens to one request.
//!
//! No socket here; `steps.rs` turns a behaviour into bytes and acts, `play.rs` performs them.

use serde_json::Value;

/// The text of every behaviour that does not bring its own, unless [`super::ScriptedUpstream::set_text`]
/// chose another. Eight pieces.
pub const DEFAULT_TEXT: &str = "The tide turns at seven past six. Bye";

/// Token counts as the upstream reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// `prompt_tokens`.
    pub prompt_tokens: u64,
    /// `completion_tokens`.
    pub completion_tokens: u64,
    /// `prompt_tokens_details.cached_tokens`.
    pub cached_tokens: u64,
}

impl Default for Usage {
    /// 11 prompt tokens, none cached, and 7 completion tokens: numbers a test recognises.
    fn default() -> Self {
        Self { prompt_tokens: 11, completion_tokens: 7, cached_tokens: 0 }
    }
}

/// What the upstream does with one request.
///
/// Where a behaviour counts content, it counts the pieces of [`text_pieces`]: a streamed answer carries
/// one piece an event. Asked without `"stream": true`, the same behaviours cut one JSON document into as
/// many pieces, so that `CutAfter { chunks: 2 }` always means "some of the answer, not all". A count
/// beyond the last piece means the last place where the fault still shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    /// A correct answer: role chunk, one chunk a piece of text, finish chunk, usage chunk if asked for,
    /// `[DONE]`; or one JSON document.
    Answer {
        /// The whole text of the assistant.
        text: String,
        /// Token counts; always in the JSON document, in a stream only if the request asks.
        usage: Usage,
    },
    /// A correct answer with the text and counts that [`super::ScriptedUpstream::set_text`] chose.
    SetText,
    /// Exactly this response, whatever was asked; `content-length` is added.
    Raw {
        /// Status code.
        status: u16,
        /// Header lines, in order.
        headers: Vec<(String, String)>,
        /// Body bytes.
        body: String,
    },
    /// An error status with a body shaped as OpenAI's.
    Status {
        /// Status code.
        status: u16,
        /// Value of `retry-after`, if any.
        retry_after: Option<String>,
        /// `error.message` of the body.
        message: String,
    },
    /// RST as soon as the connection is accepted, before a byte is read. On a connection that is already
    /// open it acts as [`Behaviour::ResetBeforeHeaders`].
    ResetOnAccept,
    /// Reads the request, then RST.
    ResetBeforeHeaders,
    /// Reads the request, then FIN.
    CloseBeforeHeaders,
    /// Reads the request, then nothing until released; then a correct answer.
    StallBeforeHeaders,
    /// Sends status and headers, then nothing until released; then the rest.
    StallAfterHeaders,
    /// Sends `after` pieces of content, then nothing until released; then the rest.
    StallBetweenChunks {
        /// Pieces sent before the stall.
        after: usize,
    },
    /// A stream that goes as `then` says, but stands still once `after` pieces are sent, until released: what came before
    /// arrives alone. Without streaming it is `then`.
    HeldAfter {
        /// Pieces sent before the stop.
        after: usize,
        /// What happens to the request.
        then: Box<Behaviour>,
    },
    /// Sends `chunks` pieces of content, then FIN in the middle of the body.
    CutAfter {
        /// Pieces sent before the end.
        chunks: usize,
    },
    /// Sends `chunks` pieces of content, then RST.
    ResetAfter {
        /// Pieces sent before the reset.
        chunks: usize,
    },
    /// A stream that is complete as HTTP and has a finish reason, but no `[DONE]`.
    EndWithoutDone,
    /// A stream that is complete as HTTP and has `[DONE]`, but no finish reason.
    EndWithoutFinish,
    /// An event that is not JSON takes the place of piece `at`.
    MalformedFrame {
        /// Pieces sent before the bad event.
        at: usize,
    },
    /// After some pieces an event with `body` as its data, and then the end of the stream, without `[DONE]`.
    ErrorInStream {
        /// Pieces sent before the error.
        after: usize,
        /// The data of the event.
        body: Value,
    },
    /// Headers and the role chunk at once; the first content only when released.
    SlowFirstToken,
    /// Sends this text as content for ever, until the peer leaves. While the peer does not read, the
    /// attempt `is_blocked` and its `bytes_sent` stands still.
    Endless {
        /// The text of each content chunk.
        chunk: String,
    },
    /// `content-length` says 64 bytes more than are sent; then FIN. The same with or without streaming.
    ShortBody,
    /// A correct answer whose body is written one byte a write.
    OneBytePieces,
    /// A correct stream with a comment frame before each piece.
    Keepalives,
}

impl Behaviour {
    /// A correct answer with this text and the default token counts.
    pub fn answer(text: impl Into<String>) -> Self {
        Self::Answer { text: text.into(), usage: Usage::default() }
    }

    /// [`Self::HeldAfter`].
    pub fn held_after(after: usize, then: Self) -> Self {
        Self::HeldAfter { after, then: Box::new(then) }
    }

    /// An error status with a message that names it and no `retry-after`.
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None, message: format!("scripted status {status}") }
    }

    /// A 200 response with this JSON body, whatever was asked.
    pub fn json(body: &Value) -> Self {
        Self::json_with_status(200, body)
    }

    /// A response with this status and JSON body, whatever was asked.
    pub fn json_with_status(status: u16, body: &Value) -> Self {
        Self::Raw {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string(),
        }
    }

    /// A 200 event stream with exactly this body, complete as HTTP.
    pub fn event_stream(body: impl Into<String>) -> Self {
        Self::Raw {
            status: 200,
            headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
            body: body.into(),
        }
    }
}

/// The pieces in which a text is streamed: one a word, each with the space that follows it. Joined, they
/// are the text again.
pub fn text_pieces(text: &str) -> Vec<&str> {
    text.split_inclusive(' ').collect()
}
