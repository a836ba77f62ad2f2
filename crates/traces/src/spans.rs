//! A settled exchange as spans: one for the exchange, one for each stage that it went through, one for each attempt.
//!
//! Names are those of OpenTelemetry's semantic conventions for generative AI and HTTP where they have one, else `tidegate.*`.
//! Tokens stand on the attempts that used them and nowhere else, so that whoever adds them up counts none twice.

mod values;

use std::collections::HashMap;
use std::time::Duration;

use account::{AttemptMade, CacheUse, ExchangeKind, Settlement};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use policy::{ModelAsked, Outcome, TargetId};
use wire::{SpanId, TraceContext};

use crate::attributes::{Attributes, TEXT_BYTES_MAX};
use crate::{TracedAttempt, TracedExchange};
use values::{attempt_attributes, is_error, root_attributes};

/// `gen_ai.operation.name`, and how every span of a request begins.
const OPERATION: &str = "chat";
const SCOPE: &str = "tidegate";
/// Flags of a span that say whether its parent is known to be elsewhere, and that it is (OTLP, `SpanFlags`).
const KNOWS_WHERE_PARENT_IS: u32 = 0x100;
const PARENT_IS_ELSEWHERE: u32 = 0x200;

/// What exports: attributes of all its spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// `service.name`.
    pub service_name: String,
    /// Version of the gateway.
    pub version: &'static str,
    /// Further ones.
    pub attributes: Vec<(String, String)>,
}

/// What spans tell of a target beside its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its own name of the model.
    pub model: String,
    /// The word before the slash of its id, or `llama_cpp`.
    pub provider: String,
    /// Host and port, where it has them.
    pub server: Option<(String, u16)>,
}

/// Makes messages of exchanges.
pub(crate) struct Writer {
    resource: ResourceMessage,
    scope: InstrumentationScope,
    targets: HashMap<TargetId, Described>,
}

impl Writer {
    pub(crate) fn new(resource: &Resource, targets: HashMap<TargetId, Described>) -> Self {
        let mut attributes = Attributes::default();
        attributes.text("service.name", &resource.service_name);
        attributes.text("service.version", resource.version);
        for (name, value) in &resource.attributes {
            attributes.text(name, value);
        }
        let scope = InstrumentationScope { name: SCOPE.into(), version: resource.version.into(), ..Default::default() };
        let resource = ResourceMessage { attributes: attributes.into_inner(), ..Default::default() };
        Self { resource, scope, targets }
    }

    /// A batch as it is sent.
    pub(crate) fn message(&self, batch: &[TracedExchange]) -> ExportTraceServiceRequest {
        let spans = batch.iter().flat_map(|exchange| self.spans(exchange)).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(self.scope.clone()), spans, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..Default::default() }],
        }
    }

    /// Every span that is recorded.
    fn spans(&self, exchange: &TracedExchange) -> Vec<Span> {
        let time = Timeline::of(&exchange.settlement);
        let mut spans = Vec::new();
        if exchange.context.is_sampled() {
            spans.push(root(exchange, &time));
            stages(exchange, &time, &mut spans);
        }
        for (made, attempt) in exchange.settlement.attempts.iter().zip(&exchange.attempts) {
            if let Some(attempt) = attempt {
                self.attempt(exchange, made, attempt, &time, &mut spans);
            }
        }
        spans
    }

    /// One try on one target, and how long it waited for a worker.
    fn attempt(
        &self,
        exchange: &TracedExchange,
        made: &AttemptMade,
        attempt: &TracedAttempt,
        time: &Timeline,
        spans: &mut Vec<Span>,
    ) {
        let target = self.targets.get(&made.target);
        let begin = time.at(made.begun_after).saturating_sub(nanos(attempt.begun_before));
        let context = attempt.parent.with_span(attempt.id);
        let model = target.map_or(made.target.as_str(), |target| &target.model);
        let mut span = Span {
            name: format!("{OPERATION} {model}"),
            kind: SpanKind::Client.into(),
            parent_span_id: attempt.parent.span_id.bytes().to_vec(),
            attributes: attempt_attributes(exchange, made, attempt, target),
            ..spanning(&context, begin, begin + nanos(made.duration))
        };
        if made.outcome.is_failure() {
            span.status = Some(failed(made.outcome.as_str()));
        }
        // The answer was made for another exchange than the one that accounts for it.
        if attempt.parent.span_id != exchange.context.span_id {
            span.links.push(link(&exchange.context));
        }
        span.name.truncate(span.name.floor_char_boundary(TEXT_BYTES_MAX));
        if let Some(led_after) = attempt.led_after {
            spans.push(Span {
                name: "wait".to_owned(),
                kind: SpanKind::Internal.into(),
                parent_span_id: span.span_id.clone(),
                ..spanning(&context.with_span(new_id()), begin, begin + nanos(led_after.min(made.duration)))
            });
        }
        spans.push(span);
    }
}

/// When things happened, in nanoseconds of Unix time.
struct Timeline {
    /// The begin of the first stage.
    start: u64,
    /// The begin of the exchange: after its decision where that was made beforehand, for a kept request.
    begun: u64,
    end: u64,
}

impl Timeline {
    fn of(settlement: &Settlement) -> Self {
        let begun = settlement.begun_ms.saturating_mul(1_000_000);
        let stages = settlement.stages;
        let decided = stages.signals.unwrap_or_default() + stages.decide.unwrap_or_default();
        let before = if stages.parse.is_none() { nanos(decided) } else { 0 };
        Self { start: begun.saturating_sub(before), begun, end: begun.saturating_add(nanos(settlement.duration)) }
    }

    fn at(&self, after: Duration) -> u64 {
        self.begun.saturating_add(nanos(after))
    }
}

fn root(exchange: &TracedExchange, time: &Timeline) -> Span {
    let settlement = &exchange.settlement;
    let asked = settlement.decided.as_ref().map(|decided| match &decided.facts.request.model {
        ModelAsked::Auto => policy::AUTO_MODEL,
        ModelAsked::Target(id) => id.as_str(),
    });
    let kind = match settlement.kind {
        ExchangeKind::Request => SpanKind::Server,
        // Nobody waits for these.
        ExchangeKind::Outbox | ExchangeKind::Comparison => SpanKind::Internal,
    };
    let mut span = Span {
        name: asked.map_or_else(|| OPERATION.to_owned(), |model| format!("{OPERATION} {model}")),
        kind: kind.into(),
        parent_span_id: exchange.parent.map(|id| id.bytes().to_vec()).unwrap_or_default(),
        attributes: root_attributes(exchange, asked),
        links: exchange.shared.iter().map(link).collect(),
        ..spanning(&exchange.context, time.start, time.end)
    };
    if exchange.parent.is_some() {
        span.flags |= PARENT_IS_ELSEWHERE;
    }
    if is_error(settlement.outcome, exchange.status) {
        span.status = Some(failed(settlement.outcome.as_str()));
    }
    span
}

/// What the exchange went through, one after the other.
fn stages(exchange: &TracedExchange, time: &Timeline, spans: &mut Vec<Span>) {
    let settlement = &exchange.settlement;
    let mut add = |name: &str, begin: u64, end: u64, attributes: Attributes| {
        let (begin, end) = (begin.min(time.end), end.min(time.end));
        spans.push(Span {
            name: name.to_owned(),
            kind: SpanKind::Internal.into(),
            parent_span_id: exchange.context.span_id.bytes().to_vec(),
            attributes: attributes.into_inner(),
            ..spanning(&exchange.context.with_span(new_id()), begin, end.max(begin))
        });
    };
    let mut at = time.start;
    let stages = settlement.stages;
    for (name, took) in [("parse", stages.parse), ("signals", stages.signals), ("decide", stages.decide)] {
        let Some(took) = took else { continue };
        let mut attributes = Attributes::default();
        if let ("decide", Some(decided)) = (name, &settlement.decided) {
            let plan = &decided.plan;
            attributes.list("tidegate.plan", plan.attempts().iter().map(|attempt| attempt.target().as_str()));
            let dropped = plan.dropped().iter();
            let dropped = dropped.map(|dropped| format!("{}: {}", dropped.profile.id, dropped.reason.code()));
            attributes.list("tidegate.dropped", dropped);
        }
        add(name, at, at + nanos(took), attributes);
        at += nanos(took);
    }
    if let Some(recalled_after) = exchange.recalled_after {
        add("recall", at, time.at(recalled_after).max(at), Attributes::default());
        at = at.max(time.at(recalled_after));
    }
    if let Some(begin) = relayed_from(settlement, time, at) {
        add("relay", begin, time.end, Attributes::default());
    }
}

/// When the answer began to go to the caller: with the first content of a stream, with the end of the attempt that brought a whole
/// one, or at once where it was there already.
fn relayed_from(settlement: &Settlement, time: &Timeline, at: u64) -> Option<u64> {
    settlement.target.as_ref()?;
    if settlement.kind != ExchangeKind::Request {
        return None;
    }
    let first = settlement.time_to_first_token.map(|after| time.at(after));
    let whole = || {
        let answered = settlement.attempts.iter().rev().find(|made| made.outcome == Outcome::Answered)?;
        Some(time.at(answered.begun_after + answered.duration))
    };
    let kept = (settlement.cache == CacheUse::Hit).then_some(at);
    first.or_else(whole).or(kept)
}

/// Without name, kind and parent.
fn spanning(context: &TraceContext, start_time_unix_nano: u64, end_time_unix_nano: u64) -> Span {
    Span {
        trace_id: context.trace_id.bytes().to_vec(),
        span_id: context.span_id.bytes().to_vec(),
        trace_state: context.state().unwrap_or_default().to_owned(),
        flags: u32::from(context.flags()) | KNOWS_WHERE_PARENT_IS,
        start_time_unix_nano,
        end_time_unix_nano,
        ..Span::default()
    }
}

fn link(to: &TraceContext) -> Link {
    Link {
        trace_id: to.trace_id.bytes().to_vec(),
        span_id: to.span_id.bytes().to_vec(),
        trace_state: to.state().unwrap_or_default().to_owned(),
        flags: u32::from(to.flags()) | KNOWS_WHERE_PARENT_IS,
        ..Link::default()
    }
}

fn failed(word: &str) -> Status {
    Status { code: StatusCode::Error.into(), message: word.to_owned() }
}

/// Of a span that nobody is told of.
fn new_id() -> SpanId {
    loop {
        if let Some(id) = SpanId::new(fastrand::u64(1..).to_be_bytes()) {
            return id;
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
