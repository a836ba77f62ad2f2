//! Takes a request in: its body within the limits, and only from where a request may come.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT, ORIGIN};
use http::uri::Authority;
use pingora_core::ErrorType;
use pingora_core::protocols::http::ServerSession;
use tokio::time::timeout;
use wire::ApiError;

use crate::config::Limits;

/// Reads the whole body; `None` when the caller left before its end. Where it could not be read to its end, nothing else is read from the connection.
///
/// # Errors
/// 413 past the limit, 408 past the time, 400 where its chunks are none.
pub(crate) async fn read_body(session: &mut ServerSession, limits: &Limits) -> Result<Option<Bytes>, Box<ApiError>> {
    let declared = session.get_header(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let declared = usize::try_from(declared.unwrap_or(0)).unwrap_or(usize::MAX);
    if declared > limits.body_bytes_max {
        return Err(Box::new(ApiError::body_too_large(limits.body_bytes_max)));
    }
    if session.get_header_bytes(EXPECT).eq_ignore_ascii_case(b"100-continue")
        && session.write_continue_response().await.is_err()
    {
        return Ok(None);
    }
    let read = timeout(limits.body_timeout, read_to_end(session, declared, limits));
    let read = read.await.unwrap_or_else(|_| Err(Box::new(ApiError::body_timeout(limits.body_timeout))));
    if !matches!(read, Ok(Some(_))) {
        session.set_keepalive(None);
    }
    read
}

async fn read_to_end(
    session: &mut ServerSession,
    declared: usize,
    limits: &Limits,
) -> Result<Option<Bytes>, Box<ApiError>> {
    // The declared length is the caller's claim: memory is taken as bytes arrive.
    let mut body = BytesMut::with_capacity(declared.min(64 << 10));
    loop {
        match session.read_request_body().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limits.body_bytes_max => {
                return Err(Box::new(ApiError::body_too_large(limits.body_bytes_max)));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Some(body.freeze())),
            Err(error) if has_left(&error) => return Ok(None),
            Err(_) => {
                let message = "the chunks of the body are not as they have to be (RFC 9112, section 7.1)";
                return Err(Box::new(ApiError::invalid_value("body", message)));
            }
        }
    }
}

/// Whether reading failed because nothing more comes, and not because of what came.
pub(crate) fn has_left(error: &pingora_core::Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::ReadTimedout | ErrorType::H2Error
    )
}

/// Refuses requests that a web page of elsewhere makes a browser send: a page may reach a loopback port, and its browser
/// names the page in `Origin` on every POST (<https://fetch.spec.whatwg.org/#origin-header>).
///
/// # Errors
/// 400 naming the header, for an origin whose host is not this machine.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), Box<ApiError>> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let host = origin
        .to_str()
        .ok()
        .and_then(|text| text.parse::<http::Uri>().ok())
        .and_then(|uri| uri.host().map(str::to_owned));
    let is_loopback = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    if host.as_deref().is_some_and(is_loopback) {
        return Ok(());
    }
    let message = "requests of web pages are answered only for pages of this machine";
    Err(Box::new(ApiError::invalid_value("origin", message)))
}

/// Refuses requests that were made for another host. A page may have its own name point to this machine after it was loaded
/// (DNS rebinding); what it reads then is of its own origin to the browser, which names none on a GET. For addresses under which a
/// GET tells something private, on a listener of this machine alone.
///
/// # Errors
/// 400 naming the header, for a host that is neither an address, nor `localhost`, nor a name without dots.
pub(crate) fn check_host(header: &pingora_http::RequestHeader) -> Result<(), Box<ApiError>> {
    let said = header.headers.get("host").map(|host| host.to_str().unwrap_or_default());
    // HTTP/2 has it in the address.
    let said = said.or(header.uri.authority().map(Authority::as_str)).unwrap_or_default();
    let host = said.parse::<Authority>().ok().map(|authority| authority.host().to_ascii_lowercase());
    let is_own = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.');
        bare.parse::<std::net::IpAddr>().is_ok()
            || host.ends_with(".localhost")
            || !host.is_empty() && !host.contains('.')
    };
    if host.as_deref().is_some_and(is_own) {
        return Ok(());
    }
    let message =
        "this is answered only for an address, localhost or a name without dots; a proxy in front has to set it so";
    Err(Box::new(ApiError::invalid_value("host", message)))
}
