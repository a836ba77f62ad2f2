//! Looks for the network: asks addresses whether anybody answers there. Carries neither prompt nor key nor path of a target.

use std::ops::Range;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use policy::Evidence;
use reqwest::{Client, Method, Url, redirect};

/// Addresses asked in one round at most, where they are those of the cloud targets.
const TARGETS_PROBED_MAX: usize = 16;
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// What is probed.
#[derive(Clone, Debug)]
pub struct ProbeConfig {
    /// Any answer to `HEAD` will do; none means the addresses of the cloud targets.
    pub addresses: Vec<Url>,
    /// How a captive portal is told from the network.
    pub captive: Option<CaptiveProbe>,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// An address that answers with a known status, unless a captive portal answers in its place.
#[derive(Clone, Debug)]
pub struct CaptiveProbe {
    /// A plain http address.
    pub url: Url,
    /// What it answers.
    pub status: u16,
}

/// Probes cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("no client for probes: {0}")]
pub struct ProbeError(String);

/// Makes rounds of probes.
pub(crate) struct Prober {
    client: Client,
    addresses: Vec<Url>,
    /// The number of the first address, as evidence.
    first: usize,
    captive: Option<CaptiveProbe>,
}

impl Prober {
    /// Takes the way that requests to the cloud take: the system's proxy, and TLS that is checked.
    pub(crate) fn new(origins: &[String], config: ProbeConfig) -> Result<Self, ProbeError> {
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A connection from before says nothing of the network now.
            .pool_max_idle_per_host(0)
            .connect_timeout(config.timeout)
            // Later, so that a connection that does not come about is told from one that is slow to answer.
            .timeout(config.timeout.saturating_mul(2))
            .user_agent(AGENT)
            .build()
            .map_err(|error| ProbeError(error.to_string()))?;
        let of_targets = origins.iter().filter_map(|origin| Url::parse(origin).ok()).take(TARGETS_PROBED_MAX);
        let (addresses, first) = match config.addresses.is_empty() {
            true => (of_targets.collect(), 0),
            false => (config.addresses, origins.len()),
        };
        Ok(Self { client, addresses, first, captive: config.captive })
    }

    /// The numbers of the addresses, as evidence: those of the targets' origins, or behind them.
    pub(crate) fn places(&self) -> Range<usize> {
        self.first..self.first + self.addresses.len()
    }

    /// Asks everybody at once, tells what each says as soon as it does, and what the round came to.
    pub(crate) async fn round(&self, tell: impl Fn(Evidence)) -> Evidence {
        if let Some(captive) = &self.captive
            && let Ok(answer) = self.client.get(captive.url.clone()).send().await
            && answer.status().as_u16() != captive.status
        {
            tell(Evidence::Captive);
            return Evidence::RoundEnded;
        }
        let places = self.places().zip(&self.addresses);
        let mut asked: FuturesUnordered<_> = places.map(|(place, url)| self.ask(place, url)).collect();
        let mut is_reached = false;
        while let Some((place, answers)) = asked.next().await {
            is_reached |= answers;
            tell(if answers { Evidence::Reached(place) } else { Evidence::Failed(place) });
        }
        if is_reached { Evidence::RoundEnded } else { Evidence::RoundFailed }
    }

    /// Whether anybody is there. A connection (with TLS that proves who it is) is enough: what comes over it does not matter, and a
    /// server that is slow is there.
    async fn ask(&self, place: usize, url: &Url) -> (usize, bool) {
        let answer = self.client.request(Method::HEAD, url.clone()).send().await;
        (place, answer.map_or_else(|error| !error.is_connect(), |_| true))
    }
}
