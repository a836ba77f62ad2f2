//! One record: names and numbers of one exchange, as JSON with its keys in this order.
//!
//! As it is read; it is written by [`text`](super::text). What a later version adds has to have a default.

use policy::{Locality, TargetFacts, TargetState};
use serde::{Deserialize, Serialize};

use super::facts::RecordedFacts;
use super::profiles::latency;

/// What became of one exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its id; may be the caller's own, and come again. A comparison has that of the request that is compared.
    pub request_id: String,
    /// When it was settled, Unix time in milliseconds.
    pub at_ms: u64,
    /// `request`, `outbox` or `comparison`.
    pub kind: String,
    /// The protocol.
    pub api: String,
    /// Whether the caller asked for a stream.
    pub stream: bool,
    /// How it ended.
    pub outcome: String,
    /// Who answered, or was last answering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Where that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// The route that decided, or `pinned_model`, or `no_route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// From the first byte of the request to the end of the answer, in milliseconds.
    pub duration_ms: f64,
    /// Reading and parsing the request, the time included in which it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse_ms: Option<f64>,
    /// Scanning and classifying it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signals_ms: Option<f64>,
    /// Gathering the rest and deciding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide_ms: Option<f64>,
    /// From the first byte of the request to the first content of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Tokens of the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<RecordedTokens>,
    /// Bytes of the body of the request.
    pub request_bytes: u64,
    /// Bytes of the body of the response that were written to the caller.
    pub response_bytes: u64,
    /// A word of [`crate::CacheUse`].
    pub cache: String,
    /// Whether the same text left this device for another caller, who shared the answer and whose attempts these were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_with_another: bool,
    /// What the answer cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Whom it is priced against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<RecordedReference>,
    /// What that would have charged, less what it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_avoided_usd: Option<f64>,
    /// What it was decided by; absent where it was not decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<RecordedDecision>,
    /// Every attempt, in the order of their begin.
    pub attempts: Vec<RecordedAttempt>,
}

/// Token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTokens {
    /// Of the prompt.
    pub input: u64,
    /// Of the prompt, those that the target had cached.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached: u64,
    /// Of the answer.
    pub output: u64,
    /// Whether the target did not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// Whom an answer is priced against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedReference {
    /// Its id.
    pub target: String,
    /// What it charges: input, cached input and output, in US dollars per million tokens.
    pub price: [f64; 3],
}

/// A decision and what it was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedDecision {
    /// First digits of the hash of the policy.
    pub policy: String,
    /// The short form of the account, as in `x-tidegate-reason`.
    pub reason: String,
    /// The localities that were left.
    pub placement: Vec<String>,
    /// The targets to try, best first.
    pub plan: Vec<String>,
    /// When the route wants the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_slo_ms: Option<f64>,
    /// The limit of the route that was left aside because nothing qualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaxed: Option<String>,
    /// Names the facts that [`Self::facts`] does not repeat; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What was known of the request, as far as it is not in the base.
    pub facts: RecordedFacts,
    /// What was known of the targets.
    pub targets: Vec<RecordedTarget>,
}

/// One target as it was at the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedTarget {
    /// Names its profile.
    pub profile: String,
    /// What it could do.
    pub state: String,
    /// Requests waiting in front of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_depth: Option<u64>,
    /// Predicted mean and spread of the milliseconds to the first token, and of the tokens per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<[f64; 4]>,
    /// Tokens of the prompt, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedAttempt {
    /// The target.
    pub target: String,
    /// Where it runs.
    pub locality: String,
    /// How it ended.
    pub outcome: String,
    /// The status behind that, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From the begin of the exchange to its begin.
    pub begun_after_ms: f64,
    /// From its begin to its end.
    pub duration_ms: f64,
    /// From its begin to its first content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Tokens that it charges for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<RecordedTokens>,
    /// What it charges: input, cached input and output, in US dollars per million tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<[f64; 3]>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Bytes of the request that were written out to it.
    pub sent_bytes: u64,
    /// Whether it was started beside another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hedge: bool,
}

impl Record {
    /// What of the request left this device, and how many bytes of it in all: none for text that left for another caller, who has them in
    /// its own record.
    #[must_use]
    pub fn left_device(&self) -> (&'static str, u64) {
        let away = self.attempts.iter().filter(|attempt| attempt.locality != Locality::Device.as_str());
        match away.map(|attempt| attempt.sent_bytes).sum() {
            0 if self.left_with_another => ("text", 0),
            0 => ("nothing", 0),
            // Nothing redacts, so that what left is the text as it was.
            bytes => ("text", bytes),
        }
    }
}

impl RecordedTarget {
    /// The target as it was; `None` where its state is of another version.
    #[must_use]
    pub fn facts(&self, profile: std::sync::Arc<policy::TargetProfile>) -> Option<TargetFacts> {
        Some(TargetFacts {
            queue_depth: self.queue_depth,
            latency: self.latency.map(latency),
            prompt_tokens: self.prompt_tokens,
            ..TargetFacts::new(profile, TargetState::parse(&self.state).ok()?)
        })
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
