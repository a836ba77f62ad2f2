//! One record: names and numbers of one exchange, as JSON with its keys in this order.
//!
//! The same type is written, borrowing from a settlement, and read again. What a later version adds has to have a default.

use std::borrow::Cow;
use std::time::Duration;

use policy::{Locality, Price, TargetFacts, TargetState};
use serde::{Deserialize, Serialize};

use super::facts::{BASE, RecordedFacts};
use super::profiles::{latency, numbers};
use super::shared::Shared;
use crate::{AttemptMade, Decided, Settlement, Tokens};

/// What became of one exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record<'a> {
    /// Its id; may be the caller's own, and come again. A comparison has that of the request that is compared.
    pub request_id: Cow<'a, str>,
    /// When it was settled, Unix time in milliseconds.
    pub at_ms: u64,
    /// `request`, `outbox` or `comparison`.
    pub kind: Cow<'a, str>,
    /// The protocol.
    pub api: Cow<'a, str>,
    /// Whether the caller asked for a stream.
    pub stream: bool,
    /// How it ended.
    pub outcome: Cow<'a, str>,
    /// Who answered, or was last answering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Cow<'a, str>>,
    /// Where that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<Cow<'a, str>>,
    /// The route that decided, or `pinned_model`, or `no_route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Cow<'a, str>>,
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
    pub cache: Cow<'a, str>,
    /// Whether the same text left this device for another caller, who shared the answer and whose attempts these were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_with_another: bool,
    /// What the answer cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Whom it is priced against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<RecordedReference<'a>>,
    /// What that would have charged, less what it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_avoided_usd: Option<f64>,
    /// What it was decided by; absent where it was not decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<RecordedDecision<'a>>,
    /// Every attempt, in the order of their begin.
    pub attempts: Vec<RecordedAttempt<'a>>,
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
pub struct RecordedReference<'a> {
    /// Its id.
    pub target: Cow<'a, str>,
    /// What it charges: input, cached input and output, in US dollars per million tokens.
    pub price: [f64; 3],
}

/// A decision and what it was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedDecision<'a> {
    /// First digits of the hash of the policy.
    pub policy: Cow<'a, str>,
    /// The short form of the account, as in `x-tidegate-reason`.
    pub reason: Cow<'a, str>,
    /// The localities that were left.
    pub placement: Vec<Cow<'a, str>>,
    /// The targets to try, best first.
    pub plan: Vec<Cow<'a, str>>,
    /// When the route wants the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_slo_ms: Option<f64>,
    /// The limit of the route that was left aside because nothing qualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaxed: Option<Cow<'a, str>>,
    /// Names the facts that [`Self::facts`] does not repeat; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Cow<'a, str>>,
    /// What was known of the request, as far as it is not in the base.
    pub facts: RecordedFacts<'a>,
    /// What was known of the targets.
    pub targets: Vec<RecordedTarget<'a>>,
}

/// One target as it was at the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedTarget<'a> {
    /// Names its profile.
    pub profile: Cow<'a, str>,
    /// What it could do.
    pub state: Cow<'a, str>,
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
pub struct RecordedAttempt<'a> {
    /// The target.
    pub target: Cow<'a, str>,
    /// Where it runs.
    pub locality: Cow<'a, str>,
    /// How it ended.
    pub outcome: Cow<'a, str>,
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

impl<'a> Record<'a> {
    /// The record of a settlement, whose targets `shared` has met.
    pub(super) fn of(settlement: &'a Settlement, shared: &'a Shared) -> Self {
        let stages = settlement.stages;
        let plan = settlement.decided.as_ref().map(|decided| &decided.plan);
        Self {
            request_id: settlement.request_id.as_str().into(),
            at_ms: settlement.settled_ms(),
            kind: settlement.kind.as_str().into(),
            api: settlement.api.as_str().into(),
            stream: settlement.stream,
            outcome: settlement.outcome.as_str().into(),
            target: settlement.target.as_ref().map(|(target, _)| target.as_str().into()),
            locality: settlement.target.as_ref().map(|(_, locality)| locality.as_str().into()),
            route: plan.map(|plan| plan.rule().as_str().into()),
            duration_ms: millis(settlement.duration),
            parse_ms: stages.parse.map(millis),
            signals_ms: stages.signals.map(millis),
            decide_ms: stages.decide.map(millis),
            ttft_ms: settlement.time_to_first_token.map(millis),
            tokens: settlement.tokens.map(RecordedTokens::of),
            request_bytes: settlement.request_bytes,
            response_bytes: settlement.response_bytes,
            cache: settlement.cache.as_str().into(),
            left_with_another: settlement.left_with_another,
            cost_usd: settlement.cost_usd,
            reference: settlement
                .reference
                .as_ref()
                .map(|(target, charged)| RecordedReference { target: target.as_str().into(), price: price(*charged) }),
            cost_avoided_usd: settlement.cost_avoided_usd,
            decision: settlement.decided.as_ref().map(|decided| RecordedDecision::of(decided, shared)),
            attempts: settlement.attempts.iter().map(RecordedAttempt::of).collect(),
        }
    }

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

impl RecordedTokens {
    fn of(tokens: Tokens) -> Self {
        let Tokens { input, cached, output, is_estimated: estimated } = tokens;
        Self { input, cached, output, estimated }
    }
}

impl<'a> RecordedDecision<'a> {
    fn of(decided: &'a Decided, shared: &'a Shared) -> Self {
        let Decided { plan, facts, targets, policy_hash } = decided;
        Self {
            policy: (&**policy_hash).into(),
            reason: plan.reason().into(),
            placement: plan.placement().localities().into_iter().map(|locality| locality.as_str().into()).collect(),
            plan: plan.attempts().iter().map(|attempt| attempt.target().as_str().into()).collect(),
            ttft_slo_ms: plan.ttft_slo().map(millis),
            relaxed: plan.relaxed().map(|limit| limit.as_str().into()),
            base: Some(BASE.name.as_str().into()),
            facts: RecordedFacts::Of(facts),
            targets: targets.iter().map(|target| RecordedTarget::of(target, shared)).collect(),
        }
    }
}

impl<'a> RecordedTarget<'a> {
    fn of(target: &'a TargetFacts, shared: &'a Shared) -> Self {
        Self {
            profile: shared.name(&target.profile).into(),
            state: target.state.as_str().into(),
            queue_depth: target.queue_depth,
            latency: target.latency.map(numbers),
            prompt_tokens: target.prompt_tokens,
        }
    }

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

impl<'a> RecordedAttempt<'a> {
    fn of(attempt: &'a AttemptMade) -> Self {
        Self {
            target: attempt.target.as_str().into(),
            locality: attempt.locality.as_str().into(),
            outcome: attempt.outcome.as_str().into(),
            status: attempt.outcome.status(),
            begun_after_ms: millis(attempt.begun_after),
            duration_ms: millis(attempt.duration),
            ttft_ms: attempt.time_to_first_token.map(millis),
            tokens: attempt.tokens.map(RecordedTokens::of),
            price: attempt.price.map(price),
            cost_usd: attempt.cost_usd,
            sent_bytes: attempt.sent_bytes,
            hedge: attempt.is_hedge,
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn price(price: Price) -> [f64; 3] {
    [price.input_usd_per_mtok, price.cached_input_usd_per_mtok, price.output_usd_per_mtok]
}

/// To the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
