//! A place that prompts may be sent to: where it really is, and by which client it is reached.
//!
//! Plain HTTP/1.1 goes through `http1`; TLS, HTTP/2 and whatever the system sends through a proxy through reqwest.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;
use policy::Locality;
use reqwest::redirect;
use worker::Endpoint;

use crate::http1::{self, Address, IDLE_CONNECTIONS_MAX, IDLE_MAX};

const CHAT_PATH: &str = "chat/completions";
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
/// Until a connection to a worker that says it is ready has to stand.
const WORKER_CONNECT_MAX: Duration = Duration::from_secs(10);

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
    origin: Option<Arc<str>>,
    pub(crate) route: Route,
    locality: Locality,
}

/// The client that leads there.
#[derive(Clone)]
pub(crate) enum Route {
    Plain(http1::Client),
    General { client: reqwest::Client, url: reqwest::Url, headers: HeaderMap },
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let route = match &self.route {
            Route::Plain(client) => format!("{:?}", client.address()),
            Route::General { url, .. } => url.to_string(),
        };
        f.debug_struct("Destination").field("route", &route).field("locality", &self.locality).finish()
    }
}

impl Destination {
    /// A worker on this device.
    ///
    /// # Errors
    /// When its endpoint is not on this device.
    pub fn worker(endpoint: &Endpoint) -> Result<Self, DestinationError> {
        let (address, host) = match endpoint {
            Endpoint::Unix(path) => (Address::Unix(path.clone()), "worker".to_owned()),
            Endpoint::Tcp(address) if address.ip().is_loopback() => {
                (Address::Tcp { host: address.ip().to_string(), port: address.port() }, address.to_string())
            }
            Endpoint::Tcp(address) => return Err(DestinationError::NotOnDevice(address.to_string())),
        };
        let (path, mut headers) = (format!("/v1/{CHAT_PATH}"), with_own(HeaderMap::new()));
        // llama-server (b10359) closes a connection after a stream though it says that it keeps it alive. Who sends the next request
        // before that is seen loses it, and takes the worker for crashed.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let client = http1::Client::new(address, &host, &path, &headers, WORKER_CONNECT_MAX);
        Ok(Self { route: Route::Plain(client), locality: Locality::Device, origin: None })
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
        let url = checked(base_url)?;
        let host = url.host_str().ok_or(DestinationError::Address)?;
        if locality == Locality::Device && !is_loopback(host) {
            return Err(DestinationError::NotOnDevice(host.to_owned()));
        }
        if let Some(key) = api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| DestinationError::ApiKey)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let headers = with_own(headers);
        let origin = Some(Arc::from(url.origin().ascii_serialization()));
        let route = match plain_address(&url, host, locality) {
            Some(address) => {
                let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
                Route::Plain(http1::Client::new(address, &host, url.path(), &headers, connect))
            }
            None => {
                let client = general_client(locality, connect).map_err(|e| DestinationError::Client(e.to_string()))?;
                Route::General { client, url, headers }
            }
        };
        Ok(Self { route, locality, origin })
    }

    /// Scheme, host and port of the address; `None` for a worker.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Where this destination is.
    #[must_use]
    pub fn locality(&self) -> Locality {
        self.locality
    }
}

/// The address that completions are posted to.
fn checked(base_url: &str) -> Result<reqwest::Url, DestinationError> {
    let url = reqwest::Url::parse(base_url).map_err(|_| DestinationError::Address)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(DestinationError::Address);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(DestinationError::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(DestinationError::Query);
    }
    if url.path().trim_end_matches('/').ends_with(CHAT_PATH) {
        return Err(DestinationError::FullPath);
    }
    let base = format!("{}/", base_url.trim_end_matches('/'));
    reqwest::Url::parse(&base).and_then(|base| base.join(CHAT_PATH)).map_err(|_| DestinationError::Address)
}

fn with_own(mut headers: HeaderMap) -> HeaderMap {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    headers
}

/// Where to connect to in plain HTTP/1.1; `None` where TLS is wanted or the system names a proxy. Only the cloud may be
/// reached through one: a proxy may be anywhere.
fn plain_address(url: &reqwest::Url, host: &str, locality: Locality) -> Option<Address> {
    let has_proxy = || match url.as_str().parse() {
        Ok(uri) => Matcher::from_system().intercept(&uri).is_some(),
        Err(_) => true,
    };
    if url.scheme() != "http" || (locality == Locality::Cloud && has_proxy()) {
        return None;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let host = match locality {
        Locality::Device if bare == "localhost" => Ipv4Addr::LOCALHOST.to_string(),
        _ => bare.to_owned(),
    };
    Some(Address::Tcp { host, port: url.port_or_known_default()? })
}

fn general_client(locality: Locality, connect: Duration) -> reqwest::Result<reqwest::Client> {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_MAX)
        .connect_timeout(connect);
    let builder = match locality {
        Locality::Device => builder.no_proxy().resolve("localhost", (Ipv4Addr::LOCALHOST, 0).into()),
        Locality::Network => builder.no_proxy(),
        Locality::Cloud => builder,
    };
    builder.build()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
