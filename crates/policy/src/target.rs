//! What a target is and what is known of it at the moment of a decision.
//!
//! Does not know how a target is reached; that is `dispatch`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{BreakerCause, Facts, UnknownWord};

/// Longest target id in bytes; ids become metric label values and header values.
pub const TARGET_ID_BYTES_MAX: usize = 128;

/// Names one target, `provider/model`: `local/smollm2-135m-instruct`, `openai/gpt-4o-mini`.
///
/// Restricted to `[A-Za-z0-9._:/@-]`, so that it can stand in a header, a URL and a metric label unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(String);

/// Why a string is no [`TargetId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTargetId {
    /// Longer than [`TARGET_ID_BYTES_MAX`].
    #[error("target id is {0} bytes long; the limit is {TARGET_ID_BYTES_MAX}")]
    TooLong(usize),
    /// Not of the form `provider/model`.
    #[error("target id {0:?} is not of the form provider/model")]
    Shape(String),
    /// Holds a character outside the allowed set.
    #[error("target id {id:?} holds {found:?}; allowed are letters, digits and . _ : / @ -")]
    Character {
        /// The offending id.
        id: String,
        /// The first character that is not allowed.
        found: char,
    },
}

impl TargetId {
    /// Checks length, shape and characters.
    ///
    /// # Errors
    /// [`InvalidTargetId`] names what is wrong.
    pub fn new(id: &str) -> Result<Self, InvalidTargetId> {
        if id.len() > TARGET_ID_BYTES_MAX {
            return Err(InvalidTargetId::TooLong(id.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
        if let Some(found) = id.chars().find(|c| !allowed(*c)) {
            return Err(InvalidTargetId::Character { id: id.to_owned(), found });
        }
        match id.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(Self(id.to_owned())),
            _ => Err(InvalidTargetId::Shape(id.to_owned())),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a target runs, seen from the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locality {
    /// On this machine; the prompt does not leave it.
    Device,
    /// A trusted machine of one's own: the prompt leaves the device, but not to a stranger.
    Network,
    /// Somebody else's machine.
    Cloud,
}

impl Locality {
    /// Every locality, nearest first.
    pub const ALL: [Self; 3] = [Self::Device, Self::Network, Self::Cloud];

    /// The word used in headers, metrics and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Network => "network",
            Self::Cloud => "cloud",
        }
    }

    /// Reads one of the three words, exactly.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything else.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|locality| locality.as_str() == word)
            .ok_or_else(|| UnknownWord::new(word, "device, network, cloud"))
    }
}

/// What a target could do with a request right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Answers at once as far as is known.
    Ready,
    /// A local worker that is loading its model.
    Loading,
    /// A local worker that is not running and would be started by a request.
    Cold,
    /// Not expected to answer at once: a recent attempt could not connect or was told that there are too many, a crashed worker
    /// waits for its restart, or there is no network.
    /// Tried only after all others, whatever the mode prefers.
    Unreachable,
    /// Its model is being fetched.
    Downloading,
    /// It failed too often of late and is left alone for a while (circuit breaker).
    BreakerOpen {
        /// Why.
        cause: BreakerCause,
        /// Time until one request may try it; `None` when not known.
        probe_in: Option<Duration>,
    },
    /// It said that it takes no more requests for a while.
    RateLimited {
        /// What is left of that time; `None` when not known.
        wait: Option<Duration>,
    },
    /// Cannot answer; the text says why and holds no prompt text.
    Down(Arc<str>),
}

impl TargetState {
    /// Whether a request that is sent now is expected to be answered now. A worker that would be started for it counts, one
    /// that others are waiting for does not.
    #[must_use]
    pub fn can_answer(&self) -> bool {
        matches!(self, Self::Ready | Self::Cold)
    }

    /// The word used in `/readyz` and `/v1/route`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Loading => "loading",
            Self::Cold => "cold",
            Self::Unreachable => "unreachable",
            Self::Downloading => "downloading",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::RateLimited { .. } => "rate_limited",
            Self::Down(_) => "down",
        }
    }
}

/// What a request may need of a target, and what a target offers, beside text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// Calls tools.
    pub tools: bool,
    /// Reads images.
    pub vision: bool,
    /// Keeps to a JSON schema.
    pub json_schema: bool,
    /// Gives log probabilities.
    pub logprobs: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self { tools: true, vision: true, json_schema: true, logprobs: true };

    /// Each capability by its name in configuration and conditions.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 4] {
        [("tools", self.tools), ("vision", self.vision), ("json_schema", self.json_schema), ("logprobs", self.logprobs)]
    }

    /// The first capability that is needed and not offered by `self`.
    #[must_use]
    pub fn lacks(self, needed: Self) -> Option<&'static str> {
        let pairs = self.named().into_iter().zip(needed.named());
        pairs.filter(|((_, offered), (_, needed))| *needed && !offered).map(|((name, _), _)| name).next()
    }
}

/// What a target charges, in US dollars per million tokens. Zero means free; an unknown price has no `Price`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Prompt tokens.
    pub input_usd_per_mtok: f64,
    /// Prompt tokens that the target had cached; the input price when it says nothing.
    pub cached_input_usd_per_mtok: f64,
    /// Tokens of the answer.
    pub output_usd_per_mtok: f64,
}

impl Price {
    /// Nothing to pay.
    pub const FREE: Self = Self { input_usd_per_mtok: 0.0, cached_input_usd_per_mtok: 0.0, output_usd_per_mtok: 0.0 };

    /// What so many tokens cost in US dollars; `cached` of the `prompt` were in the target's cache.
    #[must_use]
    pub fn cost_usd(&self, prompt: f64, cached: f64, output: f64) -> f64 {
        let input = (prompt - cached) * self.input_usd_per_mtok + cached * self.cached_input_usd_per_mtok;
        (input + output * self.output_usd_per_mtok) / 1e6
    }
}

/// A prediction: mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The expected value.
    pub mean: f64,
    /// Standard deviation, in the same unit.
    pub spread: f64,
}

/// How fast a target is expected to answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Time to first token in milliseconds. Measured: of the request that is decided, waiting and loading included; configured:
    /// of a short prompt, target ready.
    pub ttft_ms: Prediction,
    /// Tokens of the answer per second.
    pub tokens_per_s: Prediction,
}

/// What is fixed of a target while a configuration holds.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetProfile {
    /// Its name.
    pub id: TargetId,
    /// Where it runs.
    pub locality: Locality,
    /// The provider: the part of its id before the first `/`, such as `openai`.
    pub provider: String,
    /// Region it runs in, as the operator stated it, such as `eu`.
    pub region: Option<String>,
    /// Labels given by the operator.
    pub tags: Vec<String>,
    /// What it charges; `None` when unknown.
    pub price: Option<Price>,
    /// Tokens of prompt and answer together; `None` when unknown.
    pub context_tokens: Option<u64>,
    /// What it offers.
    pub capabilities: Capabilities,
    /// Configured probability from 0 to 1 that it answers well, used where the signals predict none.
    pub quality: Option<f64>,
    /// Configured speed, used where none was measured.
    pub latency: Option<Latency>,
}

impl TargetProfile {
    /// A target of which only name and place are known: offers everything, price, window, quality and speed unknown
    /// (free on machines of one's own).
    #[must_use]
    pub fn new(id: TargetId, locality: Locality) -> Self {
        let provider = id.as_str().split('/').next().unwrap_or_default().to_owned();
        let price = (locality != Locality::Cloud).then_some(Price::FREE);
        Self {
            id,
            locality,
            provider,
            region: None,
            tags: Vec::new(),
            price,
            context_tokens: None,
            capabilities: Capabilities::ALL,
            quality: None,
            latency: None,
        }
    }
}

/// One target as a fact of the decision.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetFacts {
    /// What is fixed.
    pub profile: Arc<TargetProfile>,
    /// What it could do now.
    pub state: TargetState,
    /// Requests waiting in front of it; `None` when not known.
    pub queue_depth: Option<u64>,
    /// Predicted from measurements for this request; `None` to use the configured speed.
    pub latency: Option<Latency>,
    /// Tokens of the prompt by its own tokenizer; `None` to use the estimate of the request.
    pub prompt_tokens: Option<u64>,
}

impl TargetFacts {
    /// A target in `state`, of which nothing was measured.
    #[must_use]
    pub fn new(profile: Arc<TargetProfile>, state: TargetState) -> Self {
        Self { profile, state, queue_depth: None, latency: None, prompt_tokens: None }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &TargetId {
        &self.profile.id
    }

    /// Where it runs.
    #[must_use]
    pub fn locality(&self) -> Locality {
        self.profile.locality
    }

    /// Tokens of the prompt: counted, else estimated.
    #[must_use]
    pub fn prompt_tokens(&self, facts: &Facts) -> u64 {
        self.prompt_tokens.unwrap_or(facts.request.prompt_tokens)
    }

    /// Predicted speed, else the configured one.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.latency.or(self.profile.latency)
    }
}
