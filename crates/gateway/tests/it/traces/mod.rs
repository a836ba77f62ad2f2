//! OpenTelemetry traces of the real gateway, as a collector has them: a scripted upstream that takes OTLP over HTTP.

mod context;
mod export;
mod spans;

use std::fmt::Write;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use reqwest::RequestBuilder;
use testkit::{Attempt, Behaviour, Log, ScriptedUpstream};

use crate::support::{LISTEN, push_clouds};

/// A caller's span, and its trace.
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID: &str = "b7ad6b7169203331";

/// A collector that takes everything.
pub(crate) async fn collector() -> ScriptedUpstream {
    let collector = ScriptedUpstream::start().await;
    collector.set_default(taken());
    collector
}

fn taken() -> Behaviour {
    let headers = vec![("content-type".to_owned(), "application/x-protobuf".to_owned())];
    Behaviour::Raw { status: 200, headers, body: String::new() }
}

/// The key `traces`: exported to `collector` at once, and `more`.
pub(crate) fn traces(collector: &ScriptedUpstream, more: &str) -> String {
    format!("traces: {{enabled: true, endpoint: 'http://{}', flush_ms: 1{more}}}\n", collector.addr())
}

/// Targets in the cloud that are told of traces, which are exported.
fn config(collector: &ScriptedUpstream, upstreams: &[&ScriptedUpstream], extra: &str) -> String {
    let mut text = format!("{LISTEN}{}{extra}\ntargets:\n", traces(collector, ", propagate: cloud"));
    push_clouds(&mut text, upstreams);
    text
}

/// Every span that a collector has.
pub(crate) fn spans(log: &Log) -> Vec<Span> {
    log.attempts.iter().flat_map(|attempt| spans_of(&attempt.body)).collect()
}

fn spans_of(body: &[u8]) -> Vec<Span> {
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Every span, once so many exchanges have arrived.
async fn arrived(collector: &ScriptedUpstream, exchanges: usize) -> Vec<Span> {
    let count = |log: &Log| spans(log).iter().filter(|span| is_exchange(span)).count();
    collector.wait_for(|log| count(log) >= exchanges).await;
    spans(&collector.log())
}

/// Whether a span is that of an exchange.
fn is_exchange(span: &Span) -> bool {
    value(span, "tidegate.kind").is_some()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn value(span: &Span, key: &str) -> Option<AnyValue> {
    of(&span.attributes, key)
}

fn of(attributes: &[KeyValue], key: &str) -> Option<AnyValue> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.clone()?.value
}

/// A text of a span; empty where it has none.
fn text(span: &Span, key: &str) -> String {
    match value(span, key) {
        Some(AnyValue::StringValue(text)) => text,
        None => String::new(),
        Some(other) => panic!("{key} is {other:?}"),
    }
}

/// The words of a list.
fn list(span: &Span, key: &str) -> Vec<String> {
    match value(span, key) {
        Some(AnyValue::ArrayValue(list)) => {
            let word = |value: AnyValue| match value {
                AnyValue::StringValue(word) => word,
                other => panic!("{other:?}"),
            };
            list.values.into_iter().filter_map(|any| any.value.map(word)).collect()
        }
        None => Vec::new(),
        Some(other) => panic!("{key} is {other:?}"),
    }
}

pub(crate) fn roots(spans: &[Span]) -> Vec<&Span> {
    spans.iter().filter(|span| is_exchange(span)).collect()
}

/// The spans below this one, in the order of their begin.
fn below<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a Span> {
    let mut found: Vec<_> =
        spans.iter().filter(|span| span.parent_span_id == parent.span_id && span.trace_id == parent.trace_id).collect();
    found.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
    found
}

fn clients<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a Span> {
    below(spans, parent).into_iter().filter(|span| span.kind() == SpanKind::Client).collect()
}

fn names<'a>(spans: &[&'a Span]) -> Vec<&'a str> {
    spans.iter().map(|span| &*span.name).collect()
}

/// A request of a caller who has a trace.
fn traced(request: RequestBuilder) -> RequestBuilder {
    request.header("traceparent", PARENT)
}

/// What a target was told.
fn told(attempt: &Attempt) -> (Option<&str>, Option<&str>) {
    (attempt.header("traceparent"), attempt.header("tracestate"))
}
