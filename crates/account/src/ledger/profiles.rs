//! What is fixed of targets, apart from the records: written once for each profile, under a hash that the records name.

use std::sync::Arc;

use policy::{Capabilities, Latency, Locality, Prediction, Price, TargetId, TargetProfile};
use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};

/// Hexadecimal digits of the hash by which records name a profile.
const NAME_DIGITS: usize = 16;
/// Profiles that are known without asking the file at most.
const KNOWN_MAX: usize = 1024;

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
    fn of(profile: &TargetProfile) -> Self {
        let offers = profile.capabilities.named().into_iter().filter(|(_, offered)| *offered);
        let price =
            |price: Price| [price.input_usd_per_mtok, price.cached_input_usd_per_mtok, price.output_usd_per_mtok];
        Self {
            id: profile.id.as_str().to_owned(),
            locality: profile.locality.as_str().to_owned(),
            region: profile.region.clone(),
            tags: profile.tags.clone(),
            price: profile.price.map(price),
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

/// The name of a profile, by its text.
pub(super) fn name_of(json: &str) -> String {
    blake3::hash(json.as_bytes()).to_hex()[..NAME_DIGITS].to_owned()
}

/// The profiles that were met, with their names. A profile is told by its address, as a configuration keeps its own.
#[derive(Default)]
pub(super) struct Profiles {
    known: Vec<(Arc<TargetProfile>, Arc<str>)>,
    /// How many of them are in the file.
    written: usize,
}

impl Profiles {
    /// The name of a profile, which is in the file once [`Self::write`] has been called.
    pub(super) fn name(&mut self, profile: &Arc<TargetProfile>) -> Arc<str> {
        if let Some((_, name)) = self.known.iter().find(|(known, _)| Arc::ptr_eq(known, profile)) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name_of(&json(profile)).into();
        self.known.push((Arc::clone(profile), Arc::clone(&name)));
        name
    }

    /// Writes those that are new.
    pub(super) fn write(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        for (profile, name) in &self.known[self.written..] {
            let sql = "INSERT OR IGNORE INTO profiles (name, profile) VALUES (?1, ?2)";
            transaction.execute(sql, (&**name, json(profile)))?;
        }
        Ok(())
    }

    /// What was written is in the file for good, or is not.
    pub(super) fn settle(&mut self, is_committed: bool) {
        if is_committed {
            self.written = self.known.len();
        }
        if self.known.len() > KNOWN_MAX {
            *self = Self::default();
        }
    }
}

fn json(profile: &TargetProfile) -> String {
    // Numbers and texts; that does not fail.
    serde_json::to_string(&RecordedProfile::of(profile)).unwrap_or_default()
}

/// Looks a profile up.
pub(super) fn read(connection: &Connection, name: &str) -> rusqlite::Result<Option<RecordedProfile>> {
    let mut find = connection.prepare("SELECT profile FROM profiles WHERE name = ?1")?;
    let json: Option<String> = find.query_row([name], |row| row.get(0)).optional()?;
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}
