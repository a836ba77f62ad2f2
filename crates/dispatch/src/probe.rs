//! Looks for the network: asks addresses whether anybody answers there. Carries neither prompt nor key nor path of a target.

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
    /// Any answer to `HEAD` will do. The addresses of the cloud targets are asked where there are none, and where none of these
    /// answers.
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
    /// The addresses of the targets, where others are to be asked: asked before nothing counts as reached.
    targets: Vec<Url>,
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
        Ok(Self { client, addresses: config.addresses, targets: of_targets.collect(), captive: config.captive })
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
        // All of one's own addresses are one place behind those of the targets. That none of them answers says nothing of the
        // targets, which are not to be left out because of an address that is wrong.
        let elsewhere = usize::MAX;
        let is_reached = self.ask_all(self.addresses.iter().map(|url| (elsewhere, url)), &tell).await
            || self.ask_all(self.targets.iter().enumerate(), &tell).await;
        if is_reached { Evidence::RoundEnded } else { Evidence::RoundFailed }
    }

    /// Whether anybody is there; tells of each who is, and of each target that is not.
    async fn ask_all<'a>(&self, addresses: impl Iterator<Item = (usize, &'a Url)>, tell: &impl Fn(Evidence)) -> bool {
        let mut asked: FuturesUnordered<_> = addresses.map(|(place, url)| self.ask(place, url)).collect();
        let mut is_reached = false;
        while let Some((place, answers)) = asked.next().await {
            is_reached |= answers;
            match answers {
                true => tell(Evidence::Reached(place)),
                false if place < self.targets.len() => tell(Evidence::Failed(place)),
                false => {}
            }
        }
        is_reached
    }

    /// Whether anybody is there. A connection (with TLS that proves who it is) is enough: what comes over it does not matter, and a
    /// server that is slow is there.
    async fn ask(&self, place: usize, url: &Url) -> (usize, bool) {
        let answer = self.client.request(Method::HEAD, url.clone()).send().await;
        (place, answer.map_or_else(|error| !error.is_connect(), |_| true))
    }
}
