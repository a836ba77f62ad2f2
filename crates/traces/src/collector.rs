//! The way to the collector: one message by one POST, and what its answer means.
//!
//! Follows no redirect, and takes no proxy to an address of this machine. Not the way of a prompt: that is `dispatch::egress`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::Client;
use reqwest::redirect::Policy;
use url::{Host, Url};

const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
/// The form of messages.
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// Most bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The longest wait that a collector can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Why a collector cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The HTTP client could not be made.
    #[error("http client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Where spans go.
#[derive(Clone)]
pub struct Collector {
    client: Client,
    address: Url,
    headers: HeaderMap,
}

/// A message that was not taken.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    /// In words without address or secret.
    pub(crate) reason: String,
    /// Whether the same message may be taken later.
    pub(crate) may_pass: bool,
    /// When the collector wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

impl Collector {
    /// Sends to `address`, its path included, with these `headers`, and waits for each answer for as long as `timeout`.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn new(address: Url, mut headers: HeaderMap, timeout: Duration) -> Result<Self, CollectorError> {
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().redirect(Policy::none()).timeout(timeout).pool_max_idle_per_host(1);
        let builder = if is_on_device(&address) { builder.no_proxy() } else { builder };
        headers.insert(CONTENT_TYPE, PROTOBUF);
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        Ok(Self { client: builder.build()?, address, headers })
    }

    /// Sends one message; how many of its spans the collector did not take.
    pub(crate) async fn post(&self, message: Bytes) -> Result<u64, Refused> {
        let request = self.client.post(self.address.clone()).headers(self.headers.clone()).body(message);
        let lost = |error: reqwest::Error| Refused { reason: root_cause(&error), may_pass: true, retry_after: None };
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        if !(200..300).contains(&status) {
            let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(Refused {
                reason: format!("status {status}"),
                may_pass: matches!(status, 429 | 502..=504),
                retry_after: asked.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
            });
        }
        let mut answer = Vec::new();
        // It has taken the message, whatever becomes of its answer.
        while let Ok(Some(chunk)) = response.chunk().await {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Ok(0);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(rejected(&answer))
    }
}

/// How many spans an answer says were not taken; none for an answer that cannot be read.
fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or_default())
}

fn is_on_device(address: &Url) -> bool {
    match address.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The innermost cause: a message of the operating system or of TLS, which holds no address.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn what_was_not_taken_is_counted() {
        let answer = |rejected_spans| {
            let error_message = "no".to_owned();
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        };
        assert_eq!((rejected(&answer(3)), rejected(&answer(-3)), rejected(b""), rejected(b"<html>")), (3, 0, 0, 0));
    }

    #[test]
    fn proxies_are_not_asked_for_addresses_of_this_machine() {
        let on_device = |address: &str| is_on_device(&address.parse().unwrap());
        assert!(["http://localhost:4318/", "http://127.0.0.1/", "http://[::1]:1/"].into_iter().all(on_device));
        assert!(!["http://localhost.example.com/", "https://10.0.0.1/"].into_iter().any(on_device));
    }
}
