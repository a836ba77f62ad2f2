//! A collector that is slow, away or says no: nothing waits for it, everything is counted, and nothing is sent that need not be.

use account::{ExchangeKind, Settlement};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use testkit::{Behaviour, PATIENCE, ScriptedUpstream};
use wire::{SpanId, TraceContext, TraceId};

use super::*;

fn exchange() -> TracedExchange {
    let context = TraceContext::root(TraceId::new([1; 16]).unwrap(), SpanId::new([2; 8]).unwrap(), true);
    TracedExchange::new(&Settlement::begun(ExchangeKind::Request, "r".to_owned(), 1), context, None)
}

fn exporter(upstream: &ScriptedUpstream, limits: TraceLimits) -> Exporter {
    let address = format!("http://{}/v1/traces", upstream.addr()).parse().unwrap();
    let collector = Collector::new(address, http::HeaderMap::new(), limits.timeout).unwrap();
    let resource = Resource { service_name: "tidegate".to_owned(), version: "1", attributes: Vec::new() };
    Exporter::start(collector, limits, &resource, HashMap::new())
}

fn limits() -> TraceLimits {
    TraceLimits { queue_max: 4, batch_max: 2, flush_every: Duration::from_millis(1), timeout: Duration::from_secs(30) }
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Behaviour {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Behaviour::Raw { status, headers, body: String::new() }
}

async fn until(exporter: &Exporter, what: impl Fn(TraceHealth) -> bool) {
    let holds = async {
        while !what(exporter.health()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.unwrap_or_else(|_| panic!("{:?}", exporter.health()));
}

fn spans(upstream: &ScriptedUpstream) -> usize {
    let of = |body: &[u8]| {
        let message = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.map(|scope| scope.spans.len()).sum::<usize>()
    };
    upstream.attempts().iter().map(|attempt| of(&attempt.body)).sum()
}

#[tokio::test]
async fn what_is_settled_arrives_in_batches_and_the_rest_at_the_end() {
    let upstream = ScriptedUpstream::start().await;
    upstream.set_default(answer(200, &[]));
    let long = TraceLimits { flush_every: Duration::from_secs(3600), ..limits() };
    let exporter = exporter(&upstream, long);
    (0..3).for_each(|_| exporter.settled(exchange()));
    until(&exporter, |health| health.counts.exported == 2).await;
    assert_eq!((upstream.attempts().len(), exporter.health().waiting), (1, 1), "a full batch does not wait");
    exporter.close().await;
    assert_eq!((spans(&upstream), exporter.health().counts.exported), (3, 3));
    let attempt = &upstream.attempts()[0];
    assert_eq!((attempt.path.as_str(), attempt.header("content-type")), ("/v1/traces", Some("application/x-protobuf")));
    exporter.settled(exchange());
    assert_eq!(exporter.health().counts.overflowed, 1, "it is closed");
}

#[tokio::test]
async fn a_collector_that_stands_still_fills_the_queue_and_nothing_else() {
    let upstream = ScriptedUpstream::start().await;
    upstream.set_default(Behaviour::StallBeforeHeaders);
    let exporter = exporter(&upstream, limits());
    exporter.settled(exchange());
    upstream.wait_held(0).await;
    (0..100).for_each(|_| exporter.settled(exchange()));
    let health = exporter.health();
    assert_eq!((health.waiting, health.counts.overflowed), (5, 96), "one on its way and four that wait");
    tokio::time::pause();
    exporter.close().await;
    let health = exporter.health();
    assert_eq!((health.waiting, health.counts.failed, health.counts.exported), (0, 5, 0));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_lost() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script([answer(503, &[("retry-after", "0")]), answer(429, &[("retry-after", "0")]), answer(200, &[])]);
    let exporter = exporter(&upstream, limits());
    exporter.settled(exchange());
    until(&exporter, |health| health.counts.exported == 1).await;
    let bodies: Vec<_> = upstream.attempts().into_iter().map(|attempt| attempt.body).collect();
    assert!(bodies.len() == 3 && bodies[0] == bodies[2], "the same message");
    for status in [400, 401, 404, 302, 500] {
        let upstream = ScriptedUpstream::start().await;
        upstream.set_default(answer(status, &[("location", &upstream.base_url())]));
        let exporter = self::exporter(&upstream, limits());
        exporter.settled(exchange());
        until(&exporter, |health| health.counts.failed == 1).await;
        assert_eq!(upstream.attempts().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_collector_that_asks_for_time_is_not_asked_by_the_next_batch_either() {
    let upstream = ScriptedUpstream::start().await;
    upstream.set_default(answer(503, &[("retry-after", "3600")]));
    let exporter = exporter(&upstream, limits());
    exporter.settled(exchange());
    until(&exporter, |health| health.counts.failed == 1).await;
    (0..4).for_each(|_| exporter.settled(exchange()));
    tokio::time::pause();
    tokio::time::advance(TRY_FOR / 2).await;
    assert_eq!((upstream.attempts().len(), exporter.health().waiting), (1, 4));
}

#[tokio::test]
async fn a_collector_that_comes_back_is_found_again() {
    let upstream = ScriptedUpstream::start_down().await;
    let exporter = exporter(&upstream, limits());
    exporter.settled(exchange());
    until(&exporter, |health| health.failure.is_some()).await;
    assert_eq!((exporter.health().waiting, upstream.attempts().len()), (1, 0));
    upstream.set_default(answer(200, &[]));
    upstream.come_back().await;
    until(&exporter, |health| health.counts.exported == 1).await;
    assert_eq!((spans(&upstream), exporter.health().failure), (1, None));
}
