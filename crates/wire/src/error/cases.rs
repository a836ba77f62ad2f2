//! Every error that the gateway can answer with: one row in one table, and one constructor each.
//!
//! A constructor takes what its message needs and cuts it to a limit; it never takes a prompt.

use std::borrow::Cow;
use std::time::Duration;

use super::{ApiError, ErrorType, Fault};
use crate::chat::RequestError;
use crate::redact::{cut, redact};
use crate::upstream_error::UpstreamError;

/// Longest part of a caller's own words (model, path, method) in a message, in bytes.
const ECHO_BYTES_MAX: usize = 200;
/// Longest list of ids or reasons in a message, in bytes.
const LIST_BYTES_MAX: usize = 2048;
/// Longest single id or reason in such a list, in bytes.
const LIST_ITEM_BYTES_MAX: usize = 512;
/// What a caller is told to wait when too much is in flight, in seconds.
const IN_FLIGHT_RETRY_AFTER_S: u32 = 1;

/// The kinds of errors, in the order of the table in [`ErrorCase::row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table says what each is")]
pub enum ErrorCase {
    InvalidJson,
    DuplicateField,
    MissingField,
    InvalidValue,
    PlacementContradiction,
    Unauthorized,
    NotFound,
    ModelNotFound,
    AnswerNotFound,
    LearningOff,
    OutboxEntryNotFound,
    OutboxOff,
    ReceiptNotFound,
    ReceiptsOff,
    MethodNotAllowed,
    BodyTimeout,
    BodyTooLarge,
    HeaderTooLarge,
    Internal,
    NoTargetAvailable,
    TooManyInFlight,
    LearningBusy,
    LedgerUnavailable,
    ShuttingDown,
    OutboxExpired,
    OutboxFull,
    OutboxFailed,
    UpstreamRejected,
    UpstreamRateLimited,
    UpstreamFailed,
    UpstreamTimeout,
    StreamInterrupted,
    StreamStalled,
}

impl ErrorCase {
    /// Every case, in order.
    pub const ALL: [Self; 33] = [
        Self::InvalidJson,
        Self::DuplicateField,
        Self::MissingField,
        Self::InvalidValue,
        Self::PlacementContradiction,
        Self::Unauthorized,
        Self::NotFound,
        Self::ModelNotFound,
        Self::AnswerNotFound,
        Self::LearningOff,
        Self::OutboxEntryNotFound,
        Self::OutboxOff,
        Self::ReceiptNotFound,
        Self::ReceiptsOff,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::HeaderTooLarge,
        Self::Internal,
        Self::NoTargetAvailable,
        Self::TooManyInFlight,
        Self::LearningBusy,
        Self::LedgerUnavailable,
        Self::ShuttingDown,
        Self::OutboxExpired,
        Self::OutboxFull,
        Self::OutboxFailed,
        Self::UpstreamRejected,
        Self::UpstreamRateLimited,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
        Self::StreamInterrupted,
        Self::StreamStalled,
    ];

    /// Status, type, code and fault of this case. `UpstreamRejected` takes its status from the target, and the last two
    /// come when a status has long been sent.
    #[must_use]
    pub const fn row(self) -> (u16, ErrorType, &'static str, Fault) {
        use ErrorType::{Authentication, InvalidRequest, RateLimit, Server, Upstream};
        match self {
            Self::InvalidJson => (400, InvalidRequest, "invalid_json", Fault::Caller),
            Self::DuplicateField => (400, InvalidRequest, "duplicate_field", Fault::Caller),
            Self::MissingField => (400, InvalidRequest, "missing_field", Fault::Caller),
            Self::InvalidValue => (400, InvalidRequest, "invalid_value", Fault::Caller),
            Self::PlacementContradiction => (400, InvalidRequest, "placement_contradiction", Fault::Caller),
            Self::Unauthorized => (401, Authentication, "invalid_api_key", Fault::Caller),
            Self::NotFound => (404, InvalidRequest, "not_found", Fault::Caller),
            Self::ModelNotFound => (404, InvalidRequest, "model_not_found", Fault::Caller),
            Self::AnswerNotFound => (404, InvalidRequest, "answer_not_found", Fault::Caller),
            Self::LearningOff => (404, InvalidRequest, "learning_off", Fault::Caller),
            Self::OutboxEntryNotFound => (404, InvalidRequest, "outbox_entry_not_found", Fault::Caller),
            Self::OutboxOff => (404, InvalidRequest, "outbox_off", Fault::Caller),
            Self::ReceiptNotFound => (404, InvalidRequest, "receipt_not_found", Fault::Caller),
            Self::ReceiptsOff => (404, InvalidRequest, "receipts_off", Fault::Caller),
            Self::MethodNotAllowed => (405, InvalidRequest, "method_not_allowed", Fault::Caller),
            Self::BodyTimeout => (408, InvalidRequest, "body_timeout", Fault::Caller),
            Self::BodyTooLarge => (413, InvalidRequest, "body_too_large", Fault::Caller),
            Self::HeaderTooLarge => (431, InvalidRequest, "header_too_large", Fault::Caller),
            Self::Internal => (500, Server, "internal_error", Fault::Gateway),
            Self::NoTargetAvailable => (503, Server, "no_target_available", Fault::Gateway),
            Self::TooManyInFlight => (503, Server, ApiError::TOO_MANY_IN_FLIGHT, Fault::Gateway),
            Self::LearningBusy => (503, Server, "learning_busy", Fault::Gateway),
            Self::LedgerUnavailable => (503, Server, ApiError::LEDGER_UNAVAILABLE, Fault::Gateway),
            Self::ShuttingDown => (503, Server, "shutting_down", Fault::Gateway),
            Self::OutboxExpired => (504, Server, "outbox_expired", Fault::Gateway),
            Self::OutboxFull => (507, Server, ApiError::OUTBOX_FULL, Fault::Gateway),
            Self::OutboxFailed => (507, Server, ApiError::OUTBOX_FAILED, Fault::Gateway),
            Self::UpstreamRejected => (400, Upstream, "upstream_rejected", Fault::Upstream),
            Self::UpstreamRateLimited => (429, RateLimit, "upstream_rate_limited", Fault::Upstream),
            Self::UpstreamFailed => (502, Upstream, "upstream_failed", Fault::Upstream),
            Self::UpstreamTimeout => (504, Upstream, "upstream_timeout", Fault::Upstream),
            Self::StreamInterrupted => (502, Upstream, "stream_interrupted", Fault::Upstream),
            Self::StreamStalled => (504, Upstream, "stream_stalled", Fault::Upstream),
        }
    }

    fn says(self, message: impl Into<String>) -> ApiError {
        let (status, kind, code, fault) = self.row();
        let code = Cow::Borrowed(code);
        ApiError { status, kind, code, message: message.into(), param: None, fault, retry_after_s: None }
    }
}

impl ApiError {
    /// The code of [`Self::too_many_in_flight`].
    pub const TOO_MANY_IN_FLIGHT: &'static str = "too_many_in_flight";
    /// The code of [`Self::outbox_full`].
    pub const OUTBOX_FULL: &'static str = "outbox_full";
    /// The code of [`Self::ledger_unavailable`].
    pub const LEDGER_UNAVAILABLE: &'static str = "ledger_unavailable";
    /// The code of [`Self::outbox_failed`].
    pub const OUTBOX_FAILED: &'static str = "outbox_failed";

    /// A field or header holds what it cannot hold; `message` is a whole sentence.
    #[must_use]
    pub fn invalid_value(param: &str, message: &str) -> Self {
        ErrorCase::InvalidValue.says(message).with_param(param)
    }

    /// Demands that no target can meet, now or later. `param` is one of the places at fault.
    #[must_use]
    pub fn contradiction(message: &str, param: &str) -> Self {
        ErrorCase::PlacementContradiction.says(message).with_param(param)
    }

    /// No or a wrong API key.
    #[must_use]
    pub fn unauthorized() -> Self {
        ErrorCase::Unauthorized.says("no valid API key was given in the Authorization header")
    }

    /// No such address.
    #[must_use]
    pub fn not_found(path: &str) -> Self {
        ErrorCase::NotFound.says(format!("there is nothing at {}", cut(path, ECHO_BYTES_MAX)))
    }

    /// The caller named a model that is not there; the message lists those that are.
    #[must_use]
    pub fn model_not_found<'a>(model: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let model = cut(model, ECHO_BYTES_MAX);
        let known = join(known.into_iter(), ", ");
        let known = if known.is_empty() { "no target is configured".to_owned() } else { format!("there are: {known}") };
        ErrorCase::ModelNotFound.says(format!("the model `{model}` does not exist; {known}")).with_param("model")
    }

    /// Feedback on an answer that is not kept.
    #[must_use]
    pub fn answer_not_found(request_id: &str) -> Self {
        let id = cut(request_id, ECHO_BYTES_MAX);
        let message = format!("no answer with the request id `{id}` is kept: it was never whole, or its time is over");
        ErrorCase::AnswerNotFound.says(message).with_param("request_id")
    }

    /// Feedback where none is collected.
    #[must_use]
    pub fn learning_off() -> Self {
        ErrorCase::LearningOff.says("feedback is not collected: learning.enabled is false in the configuration")
    }

    /// Feedback that cannot be written now.
    #[must_use]
    pub fn learning_busy() -> Self {
        let error = ErrorCase::LearningBusy.says("feedback cannot be written now");
        Self { retry_after_s: Some(IN_FLIGHT_RETRY_AFTER_S), ..error }
    }

    /// An id of the outbox that names nothing: never, or no longer, or nothing of this caller's.
    #[must_use]
    pub fn outbox_entry_not_found(id: &str) -> Self {
        let id = cut(id, ECHO_BYTES_MAX);
        let message = format!("there is no entry `{id}` in the outbox: it never was, was deleted, or its time is over");
        ErrorCase::OutboxEntryNotFound.says(message).with_param("id")
    }

    /// The outbox, where there is none; `reason` is a clause that says why.
    #[must_use]
    pub fn outbox_off(reason: &str) -> Self {
        ErrorCase::OutboxOff.says(format!("there is no outbox: {}", cut(reason, LIST_ITEM_BYTES_MAX)))
    }

    /// No target could answer for as long as the request could wait; `last` says why not the last time.
    #[must_use]
    pub fn outbox_expired(last: &str) -> Self {
        let last = cut(last, LIST_BYTES_MAX);
        ErrorCase::OutboxExpired
            .says(format!("the request could not be answered in the time it may wait; at last: {last}"))
    }

    /// A request that cannot be answered now, for which the outbox has no room; both reasons are whole clauses.
    #[must_use]
    pub fn outbox_full(reason: &str, now: &str) -> Self {
        let (reason, now) = (cut(reason, LIST_ITEM_BYTES_MAX), cut(now, LIST_BYTES_MAX));
        ErrorCase::OutboxFull.says(format!("the request cannot be kept for later: {reason}. Now: {now}"))
    }

    /// The outbox cannot be read or written.
    #[must_use]
    pub fn outbox_failed() -> Self {
        ErrorCase::OutboxFailed.says("the outbox cannot be read or written; the log of the gateway says why")
    }

    /// Nothing is recorded of a request with this id, or not any more.
    #[must_use]
    pub fn receipt_not_found(request_id: &str) -> Self {
        let id = cut(request_id, ECHO_BYTES_MAX);
        ErrorCase::ReceiptNotFound.says(format!("there is no receipt for a request {id:?}")).with_param("request_id")
    }

    /// Nothing is recorded; `why` says why.
    #[must_use]
    pub fn no_receipts(why: &str) -> Self {
        ErrorCase::ReceiptsOff.says(format!("there are no receipts: {why}"))
    }

    /// The operator demands that every request is recorded, and none can be now.
    #[must_use]
    pub fn ledger_unavailable() -> Self {
        let message = "the ledger cannot be written, and nothing is answered without it (ledger.required)";
        ErrorCase::LedgerUnavailable.says(message)
    }

    /// The address exists for another method; `allowed` names it.
    #[must_use]
    pub fn method_not_allowed(method: &str, allowed: &str) -> Self {
        let method = cut(method, ECHO_BYTES_MAX);
        ErrorCase::MethodNotAllowed.says(format!("{method} is not allowed here, only {allowed}"))
    }

    /// The body did not arrive in time.
    #[must_use]
    pub fn body_timeout(limit: Duration) -> Self {
        ErrorCase::BodyTimeout.says(format!("the body did not arrive within {} s", limit.as_secs_f32()))
    }

    /// The body is longer than the limit.
    #[must_use]
    pub fn body_too_large(limit_bytes: usize) -> Self {
        ErrorCase::BodyTooLarge.says(format!("the body is longer than {limit_bytes} bytes"))
    }

    /// The request header is longer than the limit.
    #[must_use]
    pub fn header_too_large(limit_bytes: usize) -> Self {
        ErrorCase::HeaderTooLarge.says(format!("the request header is longer than {limit_bytes} bytes"))
    }

    /// A defect of Tidegate.
    #[must_use]
    pub fn internal() -> Self {
        ErrorCase::Internal.says("the gateway failed; its log says more under this request id")
    }

    /// No target can answer now; each reason says why one cannot.
    #[must_use]
    pub fn no_target_available(reasons: &[String]) -> Self {
        ErrorCase::NoTargetAvailable.says(with_reasons("no target can answer this request now", reasons))
    }

    /// As many requests are running as are allowed.
    #[must_use]
    pub fn too_many_in_flight(limit: usize) -> Self {
        let error =
            ErrorCase::TooManyInFlight.says(format!("{limit} requests are in flight already, the most allowed"));
        Self { retry_after_s: Some(IN_FLIGHT_RETRY_AFTER_S), ..error }
    }

    /// The gateway is going down and takes nothing new.
    #[must_use]
    pub fn shutting_down() -> Self {
        let error = ErrorCase::ShuttingDown.says("the gateway is shutting down");
        Self { retry_after_s: Some(IN_FLIGHT_RETRY_AFTER_S), ..error }
    }

    /// A target refused the request itself, with a 4xx `status`; its own words are passed on.
    #[must_use]
    pub fn from_upstream(status: u16, error: &UpstreamError) -> Self {
        let ours = ErrorCase::UpstreamRejected.says(error.message.clone());
        Self {
            status,
            kind: error.kind.clone().map_or(ours.kind, ErrorType::Other),
            code: error.code.clone().map_or(ours.code, Cow::Owned),
            param: error.param.clone(),
            ..ours
        }
    }

    /// The last target tried refused for its rate limit.
    #[must_use]
    pub fn upstream_rate_limited(reasons: &[String], retry_after_s: Option<u32>) -> Self {
        let error = ErrorCase::UpstreamRateLimited.says(with_reasons("the target limits its rate", reasons));
        Self { retry_after_s, ..error }
    }

    /// Every attempt failed.
    #[must_use]
    pub fn upstream_failed(reasons: &[String]) -> Self {
        ErrorCase::UpstreamFailed.says(with_reasons("no target answered", reasons))
    }

    /// The last target tried did not answer in time.
    #[must_use]
    pub fn upstream_timeout(reasons: &[String]) -> Self {
        ErrorCase::UpstreamTimeout.says(with_reasons("no target answered in time", reasons))
    }

    /// A stream broke off after a part of it had been sent; `stalled` when it fell silent.
    #[must_use]
    pub fn stream_interrupted(detail: &str, stalled: bool) -> Self {
        let case = if stalled { ErrorCase::StreamStalled } else { ErrorCase::StreamInterrupted };
        case.says(format!("the stream broke off: {}", redact(cut(detail, LIST_BYTES_MAX))))
    }

    fn with_param(self, param: &str) -> Self {
        Self { param: Some(cut(param, ECHO_BYTES_MAX).to_owned()), ..self }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let case = match &error {
            RequestError::NotUtf8 { .. }
            | RequestError::NotJson { .. }
            | RequestError::TooDeep { .. }
            | RequestError::NotAnObject => ErrorCase::InvalidJson,
            RequestError::Duplicate { .. } => ErrorCase::DuplicateField,
            RequestError::Missing { .. } => ErrorCase::MissingField,
            RequestError::Invalid { .. } => ErrorCase::InvalidValue,
        };
        let answer = case.says(error.to_string());
        match error.param() {
            Some(param) => answer.with_param(param),
            None => answer,
        }
    }
}

/// `what`, then the reasons in brackets; they may quote a target, so they are redacted.
fn with_reasons(what: &str, reasons: &[String]) -> String {
    if reasons.is_empty() {
        return what.to_owned();
    }
    format!("{what} ({})", redact(&join(reasons.iter().map(String::as_str), "; ")))
}

/// Joins as many items as fit into [`LIST_BYTES_MAX`], and says how many do not.
fn join<'a>(items: impl Iterator<Item = &'a str>, separator: &str) -> String {
    let (mut out, mut left_out) = (String::new(), 0_usize);
    for item in items.map(|item| cut(item, LIST_ITEM_BYTES_MAX)) {
        if left_out > 0 || out.len() + separator.len() + item.len() > LIST_BYTES_MAX {
            left_out += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(separator);
        }
        out.push_str(item);
    }
    if left_out > 0 {
        out.push_str(&format!("{separator}and {left_out} more"));
    }
    out
}
