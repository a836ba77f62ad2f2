//! Writes answers and errors to the caller in OpenAI's shape, with the headers that say where they came from.

use std::pin::pin;

use account::RequestOutcome;
use bytes::Bytes;
use dispatch::{Relay, StreamEnd};
use http::{Method, StatusCode, Version, header};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use policy::{Locality, TargetId};
use wire::sse::encode_comment;
use wire::{ApiError, Usage};

use crate::connection::Connection;
use crate::learning::Reading;
use crate::outbox::RESPOND_ASYNC;
use crate::until_gone;

/// The headers that every answer carries.
pub(crate) struct Labels {
    pub request_id: String,
    pub target: TargetId,
    pub locality: Locality,
    pub reason: String,
    /// `None` where the route gives no answers again.
    pub cache: Option<CacheLabel>,
}

/// What a caller is told of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheLabel {
    /// An answer that was given before, so long ago.
    Hit { age_s: u64 },
    /// A new answer, which may be given again.
    Miss,
    /// An answer that another caller was already waiting for.
    Coalesced,
    /// A new answer, which is not given again.
    Bypass,
}

impl CacheLabel {
    /// The value of `x-tidegate-cache`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Bypass => "bypass",
        }
    }
}

pub(crate) type Written<T = ()> = pingora_core::Result<T>;

/// Delivers a complete answer.
pub(crate) async fn whole(session: &mut ServerSession, labels: &Labels, body: Bytes) -> RequestOutcome {
    match write_json(session, StatusCode::OK, body, |response| label(response, labels)).await {
        Ok(()) => RequestOutcome::Answered,
        Err(_) => RequestOutcome::CallerGone,
    }
}

/// Delivers the error with which a target refused the request itself.
pub(crate) async fn rejected(session: &mut ServerSession, labels: &Labels, error: &ApiError) -> RequestOutcome {
    match write_json(session, status_of(error), error.to_json(), |response| label(response, labels)).await {
        Ok(()) => RequestOutcome::RejectedByTarget,
        Err(_) => RequestOutcome::CallerGone,
    }
}

/// Delivers the events of a stream that was begun. A broken stream ends with an error event and without `[DONE]`. `complete` is called with
/// who answered at last and the token counts once the target has ended the stream as it should, before the caller has its last bytes. `reading` sees
/// every event before the caller does.
pub(crate) async fn stream(
    session: &mut ServerSession,
    relay: &mut Relay<'_>,
    mut reading: Option<&mut Reading>,
    complete: impl FnOnce(&TargetId, Option<Usage>),
) -> RequestOutcome {
    let mut complete = Some(complete);
    loop {
        let next = until_gone(session, pin!(relay.next())).await;
        if let (Some(reading), Some(Some(events))) = (&mut reading, &next) {
            reading.see(events);
        }
        let is_complete = relay.end() == Some(&StreamEnd::Complete);
        if let Some(complete) = complete.take_if(|_| is_complete) {
            complete(&relay.target().0, relay.usage().filter(|_| !relay.is_usage_estimated()));
        }
        match next {
            None => return RequestOutcome::CallerGone,
            Some(Some(events)) => {
                if is_complete {
                    // The end of the body goes out with them.
                    hold_flush(session);
                }
                if session.write_response_body(events, is_complete).await.is_err() {
                    return RequestOutcome::CallerGone;
                }
                if is_complete {
                    return RequestOutcome::Answered;
                }
            }
            Some(None) => break,
        }
    }
    let (last, outcome) = match relay.end() {
        Some(StreamEnd::Complete) => (Bytes::new(), RequestOutcome::Answered),
        Some(StreamEnd::Interrupted { detail, stalled }) => {
            (ApiError::stream_interrupted(detail, *stalled).to_sse_event(), RequestOutcome::Interrupted)
        }
        None => (
            ApiError::stream_interrupted("the gateway lost the stream", false).to_sse_event(),
            RequestOutcome::Interrupted,
        ),
    };
    match session.write_response_body(last, true).await {
        Ok(()) => outcome,
        Err(_) => RequestOutcome::CallerGone,
    }
}

/// Sends a comment within a stream that was begun. Event streams have no other way to say that a connection lives.
pub(crate) async fn comment(session: &mut ServerSession, text: &str) -> Written {
    session.write_response_body(encode_comment(text), false).await
}

/// Ends a stream that was begun with an error; false when the caller has left.
pub(crate) async fn error_event(session: &mut ServerSession, error: &ApiError) -> bool {
    session.write_response_body(error.to_sse_event(), true).await.is_ok()
}

/// Delivers an error of the gateway's own; false when the caller has left.
pub(crate) async fn error(session: &mut ServerSession, request_id: &str, error: &ApiError) -> bool {
    let written = write_json(session, status_of(error), error.to_json(), |response| {
        response.insert_header("x-request-id", request_id)?;
        response.insert_header("x-tidegate-reason", format!("error={}", error.code))?;
        if let Some(seconds) = error.retry_after_s {
            response.insert_header(header::RETRY_AFTER, seconds.to_string())?;
        }
        Ok(())
    });
    written.await.is_ok()
}

/// Answers what could not be read as HTTP/1.1: there is no request then that could be asked about its method.
pub(crate) async fn unreadable(session: &mut ServerSession, request_id: &str) -> Written {
    let body =
        ApiError::invalid_value("request", "the request is not valid HTTP/1.1, or its header is too long").to_json();
    let mut response = ResponseHeader::build_no_case(StatusCode::BAD_REQUEST, Some(4))?;
    response.insert_header(header::CONTENT_TYPE, "application/json")?;
    response.insert_header(header::CONTENT_LENGTH, body.len().to_string())?;
    response.insert_header(header::CONNECTION, "close")?;
    response.insert_header("x-request-id", request_id)?;
    session.write_response_header(Box::new(response)).await?;
    session.write_response_body(body, true).await
}

/// Refuses a method; `allowed` goes into the `Allow` header (RFC 9110, section 15.5.6).
pub(crate) async fn refuse_method(session: &mut ServerSession, request_id: &str, method: &Method, allowed: &str) {
    let error = ApiError::method_not_allowed(method.as_str(), allowed);
    let written = write_json(session, status_of(&error), error.to_json(), |response| {
        response.insert_header("x-request-id", request_id)?;
        response.insert_header(header::ALLOW, allowed)
    });
    // Fails only for a caller that left.
    let _ = written.await;
}

/// Tells that a request was kept for later (RFC 7240, section 4.1); `entry` is what is told of it, at `location`. `preferred`
/// says that its caller asked for that.
pub(crate) async fn accepted(
    session: &mut ServerSession,
    request_id: &str,
    reason: &str,
    location: &str,
    entry: Bytes,
    preferred: bool,
) -> bool {
    let written = write_json(session, StatusCode::ACCEPTED, entry, |response| {
        response.insert_header("x-request-id", request_id)?;
        response.insert_header("x-tidegate-reason", reason)?;
        response.insert_header(header::LOCATION, location)?;
        if preferred {
            response.insert_header("preference-applied", RESPOND_ASYNC)?;
        }
        Ok(())
    });
    written.await.is_ok()
}

/// Delivers any JSON of the gateway's own.
pub(crate) async fn json(session: &mut ServerSession, request_id: &str, status: StatusCode, body: Bytes) -> bool {
    let written = write_json(session, status, body, |response| response.insert_header("x-request-id", request_id));
    written.await.is_ok()
}

async fn write_json(
    session: &mut ServerSession,
    status: StatusCode,
    body: Bytes,
    label: impl FnOnce(&mut ResponseHeader) -> Written,
) -> Written {
    write_body(session, status, "application/json", body, label).await
}

/// Writes a whole response with its length.
pub(crate) async fn write_body(
    session: &mut ServerSession,
    status: StatusCode,
    content_type: &str,
    body: Bytes,
    label: impl FnOnce(&mut ResponseHeader) -> Written,
) -> Written {
    let mut response = ResponseHeader::build_no_case(status, Some(8))?;
    response.insert_header(header::CONTENT_TYPE, content_type)?;
    response.insert_header(header::CONTENT_LENGTH, body.len().to_string())?;
    label(&mut response)?;
    session.write_response_header(Box::new(response)).await?;
    let is_head = session.req_header().method == Method::HEAD;
    session.write_response_body(if is_head { Bytes::new() } else { body }, true).await
}

fn hold_flush(session: &ServerSession) {
    if let Some(connection) = Connection::of(session) {
        connection.hold_flush();
    }
}

/// Begins a stream: its headers go out with what is written next, which has to be at once.
pub(crate) async fn begin_stream(session: &mut ServerSession, labels: &Labels) -> Written {
    let mut response = ResponseHeader::build_no_case(StatusCode::OK, Some(8))?;
    response.insert_header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")?;
    response.insert_header(header::CACHE_CONTROL, "no-cache")?;
    match session.req_header().version {
        Version::HTTP_2 => {}
        // Without chunks only the end of the connection marks the end of the body.
        Version::HTTP_10 => session.set_keepalive(None),
        _ => response.insert_header(header::TRANSFER_ENCODING, "chunked")?,
    }
    label(&mut response, labels)?;
    hold_flush(session);
    session.write_response_header(Box::new(response)).await
}

fn label(response: &mut ResponseHeader, labels: &Labels) -> Written {
    response.insert_header("x-request-id", &labels.request_id)?;
    response.insert_header("x-tidegate-target", labels.target.as_str())?;
    response.insert_header("x-tidegate-locality", labels.locality.as_str())?;
    let Some(cache) = labels.cache else {
        return response.insert_header("x-tidegate-reason", &labels.reason);
    };
    response.insert_header("x-tidegate-cache", cache.as_str())?;
    if let CacheLabel::Hit { age_s } = cache {
        response.insert_header(header::AGE, age_s.to_string())?;
    }
    match cache {
        CacheLabel::Hit { .. } | CacheLabel::Coalesced => {
            response.insert_header("x-tidegate-reason", format!("{}; cache={}", labels.reason, cache.as_str()))
        }
        CacheLabel::Miss | CacheLabel::Bypass => response.insert_header("x-tidegate-reason", &labels.reason),
    }
}

fn status_of(error: &ApiError) -> StatusCode {
    StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
