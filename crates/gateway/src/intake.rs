//! Takes a request in: its body within the limits, and what headers and metadata say about it.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora_core::protocols::http::ServerSession;
use policy::{Mode, ModelAsked, Privacy, RequestFacts};
use tokio::time::timeout;
use wire::{ApiError, ChatRequest};

use crate::config::{Config, Limits};

/// The header that carries the mode.
pub(crate) const MODE_HEADER: &str = "x-tidegate-mode";
/// The header that carries the privacy class.
pub(crate) const PRIVACY_HEADER: &str = "x-tidegate-privacy";

/// What every header of ours begins with, without `x-` and with hyphens for underscores.
const OWN_PREFIX: &str = "tidegate";
/// Headers of answers. From a caller they mean nothing and are passed over, so that a reply's headers may be sent back.
const ANSWER_HEADERS: [&str; 3] = ["x-tidegate-target", "x-tidegate-locality", "x-tidegate-reason"];

/// Reads the whole body; `None` when the caller left before its end.
///
/// # Errors
/// 413 past the limit, 408 past the time.
pub(crate) async fn read_body(session: &mut ServerSession, limits: &Limits) -> Result<Option<Bytes>, Box<ApiError>> {
    let declared = session.get_header("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || Box::new(ApiError::body_too_large(limits.body_bytes_max));
    let declared = usize::try_from(declared.unwrap_or(0)).unwrap_or(usize::MAX);
    if declared > limits.body_bytes_max {
        return Err(too_large());
    }
    if session.get_header_bytes("expect").eq_ignore_ascii_case(b"100-continue")
        && session.write_continue_response().await.is_err()
    {
        return Ok(None);
    }
    let read = async {
        // The declared length is the caller's claim: memory is taken as bytes arrive.
        let mut body = BytesMut::with_capacity(declared.min(64 << 10));
        loop {
            match session.read_request_body().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limits.body_bytes_max => return Err(too_large()),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(Some(body.freeze())),
                Err(_) => return Ok(None),
            }
        }
    };
    timeout(limits.body_timeout, read)
        .await
        .unwrap_or_else(|_| Err(Box::new(ApiError::body_timeout(limits.body_timeout))))
}

/// Joins configuration, headers and metadata. Of several privacy classes the strictest wins; of modes see
/// [`Mode::combine`]. The configured defaults hold only where the request says nothing.
///
/// # Errors
/// 400 naming the header or field that holds an unknown word, or a header of ours that does not exist: a misspelt privacy
/// header must not pass for none. 400 for modes that exclude each other; 404 for a model
/// name that cannot be a target.
pub(crate) fn facts(
    headers: &HeaderMap,
    request: &ChatRequest,
    config: &Config,
) -> Result<RequestFacts, Box<ApiError>> {
    if let Some(unknown) = headers.keys().map(http::HeaderName::as_str).find(|name| is_unknown(name)) {
        return Err(invalid(
            unknown,
            &format!("{unknown} is no header of Tidegate; there are {MODE_HEADER}, {PRIVACY_HEADER}"),
        ));
    }
    let mut mode: Option<Mode> = None;
    for (place, word) in statements(headers, MODE_HEADER, "metadata.tidegate_mode", request.tidegate_mode()) {
        let said = Mode::parse(&word).map_err(|error| invalid(place, &error.to_string()))?;
        let combined = mode.map_or(Ok(said), |earlier| earlier.combine(said));
        mode = Some(combined.map_err(|error| Box::new(ApiError::contradiction(&error.to_string(), place)))?);
    }
    let mut privacy: Option<Privacy> = None;
    for (place, word) in statements(headers, PRIVACY_HEADER, "metadata.tidegate_privacy", request.tidegate_privacy()) {
        let said = Privacy::parse(&word).map_err(|error| invalid(place, &error.to_string()))?;
        privacy = privacy.max(Some(said));
    }
    let ids = || config.targets.iter().map(|target| target.id.as_str());
    let model =
        ModelAsked::parse(request.model()).map_err(|_| Box::new(ApiError::model_not_found(request.model(), ids())))?;
    let (mode, privacy) = (mode.unwrap_or(config.mode), privacy.unwrap_or(config.privacy));
    Ok(RequestFacts { model, mode, privacy, ..RequestFacts::default() })
}

fn is_unknown(name: &str) -> bool {
    let plain = name.replace('_', "-");
    let is_ours = plain.strip_prefix("x-").unwrap_or(&plain).starts_with(OWN_PREFIX);
    is_ours && name != MODE_HEADER && name != PRIVACY_HEADER && !ANSWER_HEADERS.contains(&name)
}

/// Refuses requests that a web page of elsewhere makes a browser send: a page may reach a loopback port, and its browser
/// names the page in `Origin` on every POST (<https://fetch.spec.whatwg.org/#origin-header>).
///
/// # Errors
/// 400 naming the header, for an origin whose host is not this machine.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), Box<ApiError>> {
    let Some(origin) = headers.get("origin") else { return Ok(()) };
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
    Err(invalid("origin", "requests of web pages are answered only for pages of this machine"))
}

fn invalid(place: &str, message: &str) -> Box<ApiError> {
    Box::new(ApiError::invalid_value(place, message))
}

/// Everything a request says on one matter: each header line, then the metadata.
fn statements<'a>(
    headers: &HeaderMap,
    header: &'static str,
    field: &'static str,
    metadata: Option<&'a str>,
) -> Vec<(&'static str, std::borrow::Cow<'a, str>)> {
    let lines = headers.get_all(header).iter();
    let mut said: Vec<_> = lines.map(|v| (header, String::from_utf8_lossy(v.as_bytes()).into_owned().into())).collect();
    said.extend(metadata.map(|word| (field, word.into())));
    said
}
