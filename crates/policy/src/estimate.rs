//! What a request is expected to cost and to take at one target. An unknown price or speed stays unknown.

use crate::{Facts, Prediction, TargetFacts, TargetState};

/// Tokens of an answer that are expected where neither the request nor earlier answers say.
pub const OUTPUT_TOKENS_DEFAULT: u64 = 256;
/// Tokens that are kept free for the answer where the request does not limit it.
pub const OUTPUT_RESERVE_TOKENS: u64 = 256;

/// The expectations of one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// US dollars; `None` when the price is unknown.
    pub cost_usd: Option<f64>,
    /// Time to first token in milliseconds: predicted mean plus one standard deviation. `None` when the speed is
    /// unknown: nothing was measured, and none is configured or the target is not ready.
    pub ttft_ms: Option<f64>,
    /// The prediction that `ttft_ms` was made of.
    pub ttft: Option<Prediction>,
    /// Time to the end of the answer in milliseconds, from the same prediction.
    pub total_ms: Option<f64>,
    /// Probability from 0 to 1 that it answers well.
    pub quality: Option<f64>,
}

/// Tokens of the answer to expect: the running mean of the route or the default, at most what the caller allows.
pub(crate) fn output_tokens(facts: &Facts, route: Option<&str>) -> f64 {
    let learned = route.and_then(|route| facts.history.output_tokens.iter().find(|(id, _)| **id == *route));
    let expected = learned.map_or(OUTPUT_TOKENS_DEFAULT as f64, |(_, mean)| *mean);
    facts.request.max_tokens.map_or(expected, |most| expected.min(most as f64))
}

impl Estimate {
    /// The expectations for `target` when the answer has `output_tokens`.
    pub(crate) fn of(facts: &Facts, target: &TargetFacts, output_tokens: f64) -> Self {
        // What was measured knows how long loading takes; what is configured holds for a target that is ready.
        let configured = target.profile.latency.filter(|_| target.state == TargetState::Ready);
        let latency = target.latency.or(configured);
        let ttft_ms = latency.map(|latency| latency.ttft_ms.mean + latency.ttft_ms.spread);
        let decode_ms = latency
            .map(|latency| latency.tokens_per_s.mean - latency.tokens_per_s.spread)
            .filter(|rate| *rate > 0.0)
            .map(|rate| output_tokens / rate * 1000.0);
        Self {
            cost_usd: cost(facts, target, output_tokens),
            ttft_ms,
            ttft: latency.map(|latency| latency.ttft_ms),
            total_ms: ttft_ms.zip(decode_ms).map(|(ttft, decode)| ttft + decode),
            quality: facts.quality(&target.profile),
        }
    }
}

/// The target that the conversation used last is charged its price for cached tokens.
fn cost(facts: &Facts, target: &TargetFacts, output_tokens: f64) -> Option<f64> {
    let price = target.profile.price?;
    let prompt = target.prompt_tokens(facts) as f64;
    let is_previous = facts.conversation.previous_target.as_ref() == Some(target.id());
    let cached = if is_previous { (facts.conversation.cached_tokens as f64).min(prompt) } else { 0.0 };
    Some(price.cost_usd(prompt, cached, output_tokens))
}
