//! OpenAI's chat completions: the request, the whole answer and the pieces of a streamed answer.
//!
//! Nothing here knows where a request goes or why.

mod answer_key;
mod assemble;
mod choice_ends;
mod choice_rules;
mod chunk;
mod completion;
mod engine_report;
mod messages;
mod names;
mod reading;
mod replay;
mod request;
mod request_error;
mod texts;
mod tokens;
mod upstream_body;

pub use answer_key::AnswerKey;
pub use assemble::{ANSWER_BYTES_MAX, AssembleError, Assembler, TOOL_CALLS_MAX};
pub use choice_ends::{ChoiceEnds, ContentAfterEnd};
pub use chunk::{ChatChunk, ChunkChoice, ChunkError, StreamIdentity, TextKind, finish_chunk, text_chunk, usage_chunk};
pub use completion::{ChatCompletion, CompletionError};
pub use engine_report::{EngineCounts, PromptProgress, Timings, busy_slots};
pub use messages::{MESSAGES_MAX, MessagesSummary, ROLE_BYTES_MAX};
pub use names::{MessageName, PREFIXES_MAX, Prefix, PrefixName};
pub use replay::{ends_by_itself, stream_of_whole, whole_of_stream, without_comments, without_usage};
pub use request::{
    CHOICES_MAX, ChatRequest, METADATA_LIST_BYTES_MAX, METADATA_WORD_BYTES_MAX, MODEL_NAME_BYTES_MAX, OBJECT_KEYS_MAX,
    ResponseFormat,
};
pub use request_error::RequestError;
pub use texts::{BLOB_BYTES_MIN, Texts};
pub use tokens::{ASCII_BYTES_PER_TOKEN, TOKENS_PER_ATTACHMENT, TOKENS_PER_MESSAGE, TextSize};
pub use upstream_body::{StreamForm, UpstreamForm, UsageInStream};
