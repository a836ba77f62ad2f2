//! What is fixed of a target, as it is written.

use policy::{Capabilities, Latency, Locality, Prediction, Price, TargetId, TargetProfile};
use serde::{Deserialize, Serialize};

/// A target's profile as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedProfile {
    id: String,
    locality: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    /// Input, cached input and output, in US dollars per million tokens.
    #[serde(default)]
    price: Option<[f64; 3]>,
    #[serde(default)]
    context_tokens: Option<u64>,
    /// What it offers.
    #[serde(default)]
    offers: Vec<String>,
    #[serde(default)]
    quality: Option<f64>,
    /// Mean and spread of the milliseconds to the first token, and of the tokens per second.
    #[serde(default)]
    latency: Option<[f64; 4]>,
}

impl RecordedProfile {
    pub(super) fn of(profile: &TargetProfile) -> Self {
        let offers = profile.capabilities.named().into_iter().filter(|(_, offered)| *offered);
        Self {
            id: profile.id.as_str().to_owned(),
            locality: profile.locality.as_str().to_owned(),
            region: profile.region.clone(),
            tags: profile.tags.clone(),
            price: profile.price.map(prices),
            context_tokens: profile.context_tokens,
            offers: offers.map(|(name, _)| name.to_owned()).collect(),
            quality: profile.quality,
            latency: profile.latency.map(numbers),
        }
    }

    /// The profile; `None` where this version cannot read it.
    #[must_use]
    pub fn profile(&self) -> Option<TargetProfile> {
        let offers = |what: &str| self.offers.iter().any(|offered| offered == what);
        let price = |[input, cached, output]: [f64; 3]| Price {
            input_usd_per_mtok: input,
            cached_input_usd_per_mtok: cached,
            output_usd_per_mtok: output,
        };
        Some(TargetProfile {
            region: self.region.clone(),
            tags: self.tags.clone(),
            price: self.price.map(price),
            context_tokens: self.context_tokens,
            capabilities: Capabilities {
                tools: offers("tools"),
                vision: offers("vision"),
                json_schema: offers("json_schema"),
                logprobs: offers("logprobs"),
            },
            quality: self.quality,
            latency: self.latency.map(latency),
            ..TargetProfile::new(TargetId::new(&self.id).ok()?, Locality::parse(&self.locality).ok()?)
        })
    }
}

/// A price as three numbers: input, cached input and output, in US dollars per million tokens.
pub(super) fn prices(price: Price) -> [f64; 3] {
    [price.input_usd_per_mtok, price.cached_input_usd_per_mtok, price.output_usd_per_mtok]
}

/// A speed as four numbers.
pub(super) fn numbers(latency: Latency) -> [f64; 4] {
    let Latency { ttft_ms, tokens_per_s } = latency;
    [ttft_ms.mean, ttft_ms.spread, tokens_per_s.mean, tokens_per_s.spread]
}

/// The speed of [`numbers`].
pub(super) fn latency([ttft, ttft_spread, rate, rate_spread]: [f64; 4]) -> Latency {
    Latency {
        ttft_ms: Prediction { mean: ttft, spread: ttft_spread },
        tokens_per_s: Prediction { mean: rate, spread: rate_spread },
    }
}
