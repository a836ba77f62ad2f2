//! What spans say: the attributes of an exchange and of an attempt.

use account::{AttemptMade, ExchangeKind, RequestOutcome};
use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::{Described, OPERATION};
use crate::attributes::Attributes;
use crate::{TracedAttempt, TracedExchange};

/// Of an exchange, whose caller `asked` for this model.
pub(super) fn root_attributes(exchange: &TracedExchange, asked: Option<&str>) -> Vec<KeyValue> {
    let settlement = &exchange.settlement;
    let mut of = Attributes::default();
    of.text("gen_ai.operation.name", OPERATION);
    of.maybe_text("gen_ai.request.model", asked);
    of.flag("gen_ai.request.stream", settlement.stream);
    if settlement.kind == ExchangeKind::Request {
        of.text("http.request.method", "POST");
        of.text("http.route", "/v1/chat/completions");
        of.text("url.path", "/v1/chat/completions");
        of.text("url.scheme", "http");
        of.maybe_number("http.response.status_code", exchange.status);
    }
    if is_error(settlement.outcome, exchange.status) {
        of.text("error.type", settlement.outcome.as_str());
    }
    of.text("tidegate.request_id", &settlement.request_id);
    of.text("tidegate.kind", settlement.kind.as_str());
    of.text("tidegate.outcome", settlement.outcome.as_str());
    of.text("tidegate.cache", settlement.cache.as_str());
    of.maybe_text("tidegate.target", settlement.target.as_ref().map(|(target, _)| target.as_str()));
    of.maybe_text("tidegate.locality", settlement.target.as_ref().map(|(_, locality)| locality.as_str()));
    if let Some(decided) = &settlement.decided {
        let (plan, facts) = (&decided.plan, &decided.facts);
        of.maybe_number("gen_ai.request.max_tokens", facts.request.max_tokens);
        of.text("tidegate.rule", plan.rule().as_str());
        of.text("tidegate.reason", &plan.reason());
        of.list("tidegate.placement", plan.placement().localities().into_iter().map(|locality| locality.as_str()));
        of.text("tidegate.mode", facts.request.mode.as_str());
        of.text("tidegate.privacy", facts.effective_privacy().as_str());
        of.text("tidegate.policy", &decided.policy_hash);
    }
    of.maybe_real("tidegate.time_to_first_token", settlement.time_to_first_token.map(|time| time.as_secs_f64()));
    of.maybe_real("tidegate.cost_usd", settlement.cost_usd);
    of.maybe_real("tidegate.cost_avoided_usd", settlement.cost_avoided_usd);
    of.number("tidegate.left_device_bytes", settlement.left_device_bytes());
    of.number("http.request.body.size", settlement.request_bytes);
    of.number("http.response.body.size", settlement.response_bytes);
    of.into_inner()
}

/// Of a try on `target`.
pub(super) fn attempt_attributes(
    exchange: &TracedExchange,
    made: &AttemptMade,
    attempt: &TracedAttempt,
    target: Option<&Described>,
) -> Vec<KeyValue> {
    let settlement = &exchange.settlement;
    let mut of = Attributes::default();
    of.text("gen_ai.operation.name", OPERATION);
    if let Some(target) = target {
        of.text("gen_ai.provider.name", provider_name(&target.provider));
        of.text("gen_ai.request.model", &target.model);
        of.maybe_text("server.address", target.server.as_ref().map(|(host, _)| host.as_str()));
        of.maybe_number("server.port", target.server.as_ref().map(|(_, port)| *port));
    }
    // A worker is asked for a stream also where its caller is not given one.
    of.flag("gen_ai.request.stream", settlement.stream || made.time_to_first_token.is_some());
    let facts = settlement.decided.as_ref().map(|decided| &decided.facts);
    of.maybe_number("gen_ai.request.max_tokens", facts.and_then(|facts| facts.request.max_tokens));
    of.maybe_text("gen_ai.response.model", attempt.model.as_deref());
    of.list("gen_ai.response.finish_reasons", finish_reasons(made, attempt));
    let first = made.time_to_first_token.map(|time| time.as_secs_f64());
    of.maybe_real("gen_ai.response.time_to_first_chunk", first);
    if let Some(tokens) = made.tokens {
        of.number("gen_ai.usage.input_tokens", tokens.input);
        of.number("gen_ai.usage.output_tokens", tokens.output);
        of.maybe_number("gen_ai.usage.cache_read.input_tokens", Some(tokens.cached).filter(|cached| *cached > 0));
        of.flag("tidegate.usage_estimated", tokens.is_estimated);
    }
    of.maybe_number("http.response.status_code", made.outcome.status());
    if made.outcome.is_failure() {
        of.text("error.type", made.outcome.as_str());
    }
    of.text("tidegate.target", made.target.as_str());
    of.text("tidegate.locality", made.locality.as_str());
    of.text("tidegate.outcome", made.outcome.as_str());
    of.flag("tidegate.hedge", made.is_hedge);
    of.maybe_real("tidegate.cost_usd", made.cost_usd);
    of.number("tidegate.sent_bytes", made.sent_bytes);
    of.into_inner()
}

/// In the order of the choices; `error` for an answer that was begun and did not end.
pub(super) fn finish_reasons(made: &AttemptMade, attempt: &TracedAttempt) -> Vec<&'static str> {
    let mut reasons = attempt.finish_reasons.clone();
    reasons.sort_unstable_by_key(|(index, _)| *index);
    match (reasons.is_empty(), made.time_to_first_token) {
        (true, Some(_)) => vec!["error"],
        _ => reasons.into_iter().map(|(_, reason)| reason).collect(),
    }
}

/// The conventions' word for a provider.
fn provider_name(provider: &str) -> &str {
    match provider {
        "google" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        "moonshot" => "moonshot_ai",
        "azure" => "azure.ai.openai",
        other => other,
    }
}

/// Whether the gateway, or what is behind it, has failed; what is the caller's own fault is no error of a server.
pub(super) fn is_error(outcome: RequestOutcome, status: Option<u16>) -> bool {
    use RequestOutcome::{GatewayFailed, Interrupted, NoTarget, TargetsFailed};
    matches!(outcome, GatewayFailed | Interrupted | NoTarget | TargetsFailed) || status.is_some_and(|code| code >= 500)
}
