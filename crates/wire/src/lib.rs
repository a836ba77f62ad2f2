//! Bytes to types and back, for every API dialect that Tidegate speaks: OpenAI's chat completions, its event streams, its
//! model list and its errors; and for the trace context beside them.
//!
//! Typed where Tidegate decides, lossless everywhere else: what a caller or a target sent passes through byte for byte
//! and in order. Knows no async, no I/O, no clock and no policy.

pub mod chat;
mod error;
mod json;
mod models;
mod redact;
pub mod sse;
mod trace_context;
mod upstream_error;
mod usage;

pub use chat::{
    AnswerKey, AssembleError, Assembler, ChatChunk, ChatCompletion, ChatRequest, ChoiceEnds, ChunkChoice, ChunkError,
    CompletionError, ContentAfterEnd, EngineCounts, MessageName, MessagesSummary, Prefix, PrefixName, PromptProgress,
    RequestError, ResponseFormat, StreamForm, StreamIdentity, TextKind, TextSize, Texts, Timings, UpstreamForm,
    UsageInStream, busy_slots, finish_chunk, text_chunk, usage_chunk,
};
pub use error::{ApiError, ErrorCase, ErrorType, Fault};
pub use json::JSON_DEPTH_MAX;
pub use models::ModelList;
pub use redact::redact;
pub use sse::{SseDecoder, SseError, SseEvent};
pub use trace_context::{SpanId, TRACE_STATE_BYTES_MAX, TraceContext, TraceId};
pub use upstream_error::{ErrorClass, UPSTREAM_BODY_BYTES_MAX, UPSTREAM_MESSAGE_BYTES_MAX, UpstreamError};
pub use usage::Usage;

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8], f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
