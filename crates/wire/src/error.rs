//! The error envelope: OpenAI's shape, with one key of our own that says who is at fault.
//!
//! Which errors there are is one flat table in `error/cases.rs`. This crate logs nothing and decides no retry.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::json::quote;
use crate::sse;

mod cases;
pub use cases::ErrorCase;

#[cfg(test)]
mod tests;

/// Where a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// In the request itself, before any target saw it.
    Caller,
    /// In Tidegate, which could not do it now or as configured.
    Gateway,
    /// At a target, which failed or refused.
    Upstream,
}

impl Fault {
    /// The word in `error.fault`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Gateway => "gateway",
            Self::Upstream => "upstream",
        }
    }
}

/// The coarse class in `error.type`, in OpenAI's words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// `invalid_request_error`.
    InvalidRequest,
    /// `authentication_error`.
    Authentication,
    /// `rate_limit_error`.
    RateLimit,
    /// `server_error`: Tidegate itself.
    Server,
    /// `upstream_error`: a target.
    Upstream,
    /// What a target called it, when its refusal is passed on.
    Other(String),
}

impl ErrorType {
    /// The word in `error.type`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::RateLimit => "rate_limit_error",
            Self::Server => "server_error",
            Self::Upstream => "upstream_error",
            Self::Other(word) => word,
        }
    }
}

/// One error as its caller gets it. Holds no prompt text of Tidegate's making.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: ErrorType,
    /// `error.code`, stable: what programs compare.
    pub code: Cow<'static, str>,
    /// `error.message`, for people.
    pub message: String,
    /// `error.param`: the field or header at fault.
    pub param: Option<String>,
    /// `error.fault`.
    pub fault: Fault,
    /// For the `Retry-After` header, in seconds.
    pub retry_after_s: Option<u32>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
    }
}

impl ApiError {
    /// The body: `{"error":{"message","type","param","code","fault"}}` in one line.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        self.json().into()
    }

    /// The same as one event of a stream, for errors after its beginning. OpenAI's clients raise an error for an event
    /// whose data has the key `error`.
    #[must_use]
    pub fn to_sse_event(&self) -> Bytes {
        sse::encode_data(&self.json())
    }

    fn json(&self) -> String {
        let (message, kind, code) = (quote(&self.message), quote(self.kind.as_str()), quote(&self.code));
        let param = self.param.as_deref().map_or("null".to_owned(), quote);
        let fault = self.fault.as_str();
        format!(r#"{{"error":{{"message":{message},"type":{kind},"param":{param},"code":{code},"fault":"{fault}"}}}}"#)
    }
}
