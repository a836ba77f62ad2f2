//! The way out. A prompt leaves this process here and nowhere else, and only to a destination that the
//! placement of its plan allows; the check stands directly before the connection is used.
//!
//! Never follows redirects (a redirect could carry a prompt elsewhere), and never takes a proxy on the way to
//! a destination on this device.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use policy::{Outcome, Placement, TargetProfile};
use tokio::time::Instant;
use wire::TraceContext;

use crate::destination::Route;
use crate::http1;
use crate::sent::{CountedBody, Sent};
use crate::trace::{TRACEPARENT, TRACESTATE};
use crate::way::{Cut, NETWORK_WENT, Way};
use crate::{Destination, TargetFailure};

/// How long the end of a body is awaited that nobody needs, so that the connection can be used again.
const DRAIN_LIMIT: Duration = Duration::from_millis(250);

/// One prompt as it is sent.
pub(crate) struct Message {
    pub(crate) body: Bytes,
    /// Whether a stream is asked for.
    pub(crate) stream: bool,
    /// What the target is told of the trace that the request is part of.
    pub(crate) trace: Option<TraceContext>,
}

/// How long the response headers are awaited.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a> {
    pub(crate) due: Instant,
    /// What it means when they do not come in time.
    pub(crate) late: Outcome,
    pub(crate) way: Way<'a>,
}

/// Sends one prompt and waits for the response headers as `wait` says. `out` is told how much of it has left, also where this is
/// dropped.
///
/// # Errors
/// [`Outcome::ConnectFailed`], [`Outcome::ConnectionLost`], [`Outcome::NetworkGone`], or what `wait` says when they do not come in time. A destination that the
/// placement forbids is never connected to; as that is a defect of the gateway, the error says so and the
/// attempt counts as not connected.
pub(crate) async fn send(
    placement: &Placement,
    profile: &TargetProfile,
    destination: &Destination,
    Message { body, stream, trace }: Message,
    out: &Sent,
    wait: Wait<'_>,
) -> Result<Response, TargetFailure> {
    let forbidden = placement.forbids(profile).map(|reason| reason.code());
    let elsewhere = (destination.locality() != profile.locality).then_some("not_where_the_target_is");
    if let Some(cause) = forbidden.or(elsewhere) {
        let (target_id, locality) = (profile.id.as_str(), destination.locality().as_str());
        tracing::error!(
            target_id,
            locality,
            cause,
            "egress refused: the plan held a target that its placement forbids"
        );
        let detail = "the gateway refused to send the prompt there";
        return Err(TargetFailure::new(Outcome::ConnectFailed, detail));
    }
    let accept = if stream { "text/event-stream" } else { "application/json" };
    let sent = pin!(async {
        match &destination.route {
            Route::Plain(client) => {
                client.post(accept, trace.as_ref(), body, out).await.map(Response::Plain).map_err(|error| match error {
                    http1::Error::Connect(_) => (Outcome::ConnectFailed, error.to_string()),
                    _ => (Outcome::ConnectionLost, error.to_string()),
                })
            }
            Route::General { client, url, headers } => {
                let body = reqwest::Body::wrap(CountedBody::new(body, out.clone()));
                let mut request = client.post(url.clone()).headers(headers.clone()).header(ACCEPT, accept).body(body);
                if let Some(trace) = trace {
                    request = request.header(TRACEPARENT, trace.to_string());
                    if let Some(state) = trace.state() {
                        request = request.header(TRACESTATE, state);
                    }
                }
                request.send().await.map(Response::General).map_err(|error| match error.is_connect() {
                    true => (Outcome::ConnectFailed, root_cause(&error)),
                    false => (Outcome::ConnectionLost, root_cause(&error)),
                })
            }
        }
    });
    match wait.way.within(wait.due, sent).await {
        Ok(sent) => sent.map_err(|(outcome, detail)| TargetFailure::new(outcome, &detail)),
        Err(Cut::Late) => Err(TargetFailure::new(wait.late, "no response headers within the limit")),
        Err(Cut::NetworkGone) => Err(TargetFailure::network_gone(NETWORK_WENT)),
    }
}

/// A response whose header has come. Dropped before its end, it closes its connection.
pub(crate) enum Response {
    Plain(http1::Response),
    General(reqwest::Response),
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Plain(response) => response.head().status,
            Self::General(response) => response.status().as_u16(),
        }
    }

    /// `Content-Type`, where given and readable.
    pub(crate) fn content_type(&self) -> Option<&str> {
        match self {
            Self::Plain(response) => response.head().content_type.as_deref(),
            Self::General(response) => response.headers().get(CONTENT_TYPE)?.to_str().ok(),
        }
    }

    /// `Retry-After`, where given and readable.
    pub(crate) fn retry_after(&self) -> Option<&str> {
        match self {
            Self::Plain(response) => response.head().retry_after.as_deref(),
            Self::General(response) => response.headers().get(RETRY_AFTER)?.to_str().ok(),
        }
    }

    /// Appends the next bytes of the body to `out`; false at its end, with nothing appended. Cancel-safe.
    ///
    /// # Errors
    /// In words that hold neither address nor answer, when the connection breaks.
    pub(crate) async fn read(&mut self, out: &mut BytesMut) -> Result<bool, String> {
        match self {
            Self::Plain(response) => response.read(out).await.map_err(|error| error.to_string()),
            Self::General(response) => {
                let chunk = response.chunk().await.map_err(|error| root_cause(&error))?;
                out.extend_from_slice(chunk.as_deref().unwrap_or_default());
                Ok(chunk.is_some())
            }
        }
    }

    /// Lets the connection be used again once the end of the body, with which nobody is concerned any more, was read.
    /// Past a limit the connection is closed.
    pub(crate) fn drain(mut self) {
        if let Self::Plain(response) = &mut self
            && response.has_ended()
        {
            return;
        }
        tokio::spawn(async move {
            let mut rest = BytesMut::new();
            let read = async {
                while let Ok(true) = self.read(&mut rest).await {
                    rest.clear()
                }
            };
            let _ = tokio::time::timeout(DRAIN_LIMIT, read).await;
        });
    }
}

/// The innermost cause of a transport error: an operating system or TLS message that holds neither address nor
/// prompt.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
