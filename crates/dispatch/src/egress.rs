//! The way out. A prompt leaves this process here and nowhere else, and only to a destination that the
//! placement of its plan allows; the check stands directly before the connection is used.
//!
//! Never follows redirects (a redirect could carry a prompt elsewhere), and never takes a proxy on the way to
//! a destination on this device.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use policy::{Locality, Outcome, Placement, TargetProfile};
use reqwest::redirect;
use worker::Endpoint;

const CHAT_PATH: &str = "chat/completions";
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
/// Idle connections kept to one upstream host.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// Why a destination cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// The address is not an absolute http or https URL. It is not repeated here: it may hold credentials.
    #[error("base_url is not an absolute http:// or https:// address")]
    Address,
    /// A target declared to be on the device has an address elsewhere.
    #[error("host {0:?} is not a loopback address, so its locality cannot be device")]
    NotOnDevice(String),
    /// A query or fragment, which would have to stand behind the path that is added.
    #[error("base_url holds a query or fragment; only scheme, host, port and path are used")]
    Query,
    /// The path that is added is there already.
    #[error("base_url ends in /chat/completions; give it up to and including /v1")]
    FullPath,
    /// User name or password inside the address.
    #[error("base_url holds credentials; give them as api_key or headers")]
    Credentials,
    /// The API key cannot stand in a header.
    #[error("the API key holds characters that cannot stand in a header")]
    ApiKey,
    /// The HTTP client could not be made.
    #[error("http client: {0}")]
    Client(String),
}

/// One place that prompts may be sent to, with the locality that it really has.
#[derive(Clone)]
pub struct Destination {
    client: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
    locality: Locality,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination").field("url", &self.url.as_str()).field("locality", &self.locality).finish()
    }
}

impl Destination {
    /// A worker on this device.
    ///
    /// # Errors
    /// When no client can be made for its endpoint.
    pub fn worker(endpoint: &Endpoint) -> Result<Self, DestinationError> {
        let builder = client_builder().no_proxy().http1_only();
        let (builder, base) = match endpoint {
            Endpoint::Unix(path) => (builder.unix_socket(path.clone()), "http://worker/v1/".to_owned()),
            Endpoint::Tcp(address) if address.ip().is_loopback() => (builder, format!("http://{address}/v1/")),
            Endpoint::Tcp(address) => return Err(DestinationError::NotOnDevice(address.to_string())),
        };
        Self::build(builder, &base, HeaderMap::new(), Locality::Device)
    }

    /// An OpenAI-compatible address such as `https://api.openai.com/v1`. With `locality` device the host has to
    /// be a loopback address or `localhost`, which is then connected to as 127.0.0.1.
    ///
    /// # Errors
    /// [`DestinationError`] says what is wrong with address, locality or key.
    pub fn openai(
        base_url: &str,
        api_key: Option<&str>,
        mut headers: HeaderMap,
        locality: Locality,
        connect: Duration,
    ) -> Result<Self, DestinationError> {
        let url = reqwest::Url::parse(base_url).map_err(|_| DestinationError::Address)?;
        let is_http = matches!(url.scheme(), "http" | "https");
        let host = url.host_str().filter(|_| is_http).ok_or(DestinationError::Address)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(DestinationError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(DestinationError::Query);
        }
        if url.path().trim_end_matches('/').ends_with(CHAT_PATH) {
            return Err(DestinationError::FullPath);
        }
        let mut builder = client_builder().connect_timeout(connect);
        if locality == Locality::Device {
            if !is_loopback(host) {
                return Err(DestinationError::NotOnDevice(host.to_owned()));
            }
            builder = builder.no_proxy().resolve("localhost", (Ipv4Addr::LOCALHOST, 0).into());
        }
        if locality == Locality::Network {
            // A proxy may be anywhere.
            builder = builder.no_proxy();
        }
        if let Some(key) = api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| DestinationError::ApiKey)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let base = format!("{}/", base_url.trim_end_matches('/'));
        Self::build(builder, &base, headers, locality)
    }

    fn build(
        builder: reqwest::ClientBuilder,
        base: &str,
        mut headers: HeaderMap,
        locality: Locality,
    ) -> Result<Self, DestinationError> {
        let client = builder.build().map_err(|error| DestinationError::Client(error.to_string()))?;
        let url =
            reqwest::Url::parse(base).and_then(|base| base.join(CHAT_PATH)).map_err(|_| DestinationError::Address)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        Ok(Self { client, url, headers, locality })
    }

    /// Where this destination is.
    #[must_use]
    pub fn locality(&self) -> Locality {
        self.locality
    }
}

fn client_builder() -> reqwest::ClientBuilder {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Sends one prompt and waits for the response headers, at most `limit`.
///
/// # Errors
/// [`Outcome::ConnectFailed`], [`Outcome::ConnectionLost`] or [`Outcome::HeadersTimeout`]. A destination that the
/// placement forbids is never connected to; as that is a defect of the gateway, the error says so and the
/// attempt counts as not connected.
pub(crate) async fn send(
    placement: &Placement,
    profile: &TargetProfile,
    destination: &Destination,
    body: Bytes,
    stream: bool,
    limit: Duration,
) -> Result<reqwest::Response, (Outcome, String)> {
    let forbidden = placement.forbids(profile).map(|reason| reason.code());
    let elsewhere = (destination.locality != profile.locality).then_some("not_where_the_target_is");
    if let Some(cause) = forbidden.or(elsewhere) {
        let (target_id, locality) = (profile.id.as_str(), destination.locality.as_str());
        tracing::error!(
            target_id,
            locality,
            cause,
            "egress refused: the plan held a target that its placement forbids"
        );
        return Err((Outcome::ConnectFailed, "the gateway refused to send the prompt there".to_owned()));
    }
    let accept = if stream { "text/event-stream" } else { "application/json" };
    let request = destination
        .client
        .post(destination.url.clone())
        .headers(destination.headers.clone())
        .header(ACCEPT, accept)
        .body(body);
    match tokio::time::timeout(limit, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) if error.is_connect() => Err((Outcome::ConnectFailed, root_cause(&error))),
        Ok(Err(error)) => Err((Outcome::ConnectionLost, root_cause(&error))),
        Err(_) => Err((Outcome::HeadersTimeout, format!("no response headers within {} s", limit.as_secs_f32()))),
    }
}

/// The innermost cause of a transport error: an operating system or TLS message that holds neither address nor
/// prompt.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
