//! What records are searched by and added up by, read without the rest of them.

use std::borrow::Cow;

use policy::Locality;
use serde::Deserialize;

use super::record::RecordedTokens;
use crate::CacheUse;

/// What [`Record`](super::Record) says under the same names, as far as it is wanted here.
#[derive(Deserialize)]
pub(super) struct Figures<'a> {
    #[serde(borrow)]
    pub(super) request_id: Cow<'a, str>,
    pub(super) at_ms: u64,
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    pub(super) target: Option<String>,
    pub(super) route: Option<String>,
    pub(super) duration_ms: f64,
    pub(super) ttft_ms: Option<f64>,
    pub(super) tokens: Option<RecordedTokens>,
    #[serde(borrow)]
    pub(super) cache: Cow<'a, str>,
    #[serde(default)]
    pub(super) left_with_another: bool,
    pub(super) cost_usd: Option<f64>,
    pub(super) cost_avoided_usd: Option<f64>,
    #[serde(borrow)]
    pub(super) attempts: Vec<AttemptFigures<'a>>,
}

/// Of an attempt.
#[derive(Deserialize)]
pub(super) struct AttemptFigures<'a> {
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) locality: Cow<'a, str>,
    pub(super) sent_bytes: u64,
    pub(super) cost_usd: Option<f64>,
}

impl<'a> Figures<'a> {
    /// `None` for what is no record any more.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Whether anything of the request left the device.
    pub(super) fn has_left(&self) -> bool {
        let is_away =
            |attempt: &AttemptFigures<'_>| attempt.locality != Locality::Device.as_str() && attempt.sent_bytes > 0;
        self.left_with_another || self.attempts.iter().any(is_away)
    }

    /// Whether its target was not asked for it.
    pub(super) fn is_given_again(&self) -> bool {
        CacheUse::is_free_word(&self.cache)
    }
}
