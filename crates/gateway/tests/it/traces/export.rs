//! The way to the collector: what a gateway does whose collector is slow, away or says no, and what it does at its end.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Behaviour, Gateway, ScriptedUpstream};

use super::*;
use crate::support::{Reply, chat, hello, status};

async fn exchanges(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric("tidegate_trace_exchanges_total", &[("result", result)]).await.unwrap_or_default()
}

async fn until(gateway: &Gateway, result: &str, count: f64) {
    let there = async { while exchanges(gateway, result).await < count {} };
    tokio::time::timeout(testkit::PATIENCE, there).await.unwrap();
}

#[tokio::test]
async fn what_is_not_exported_yet_is_when_the_gateway_stops() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let config = config(&collector, &[&upstream], "").replace("flush_ms: 1", "flush_ms: 60000");
    let mut gateway = Gateway::start(&config).await;
    for _ in 0..3 {
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    }
    assert_eq!(collector.connections_total(), 0);
    assert!(gateway.terminate().await.success());
    assert_eq!((roots(&spans(&collector.log())).len(), collector.attempts().len()), (3, 1), "in one message");
}

#[tokio::test]
async fn a_collector_that_stands_still_holds_up_no_request_and_no_end() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    collector.set_default(Behaviour::StallBeforeHeaders);
    let config =
        config(&collector, &[&upstream], "").replace("flush_ms: 1", "flush_ms: 1, queue_max: 64, batch_max: 1");
    let mut gateway = Gateway::start(&config).await;
    let before = gateway.resident_bytes();
    for _ in 0..200 {
        let reply = Reply::of(chat(&gateway, &hello())).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    until(&gateway, "overflowed", 135.0).await;
    assert_eq!(exchanges(&gateway, "exported").await, 0.0);
    assert_eq!(gateway.metric("tidegate_trace_waiting_exchanges", &[]).await, Some(65.0));
    assert!(gateway.resident_bytes() < before + (32 << 20));
    let lost = gateway.logs().iter().filter(|line| line.contains("some are lost")).count();
    assert_eq!(lost, 1, "told once");
    let stopping = Instant::now();
    assert!(gateway.terminate().await.success());
    assert!(stopping.elapsed() < Duration::from_secs(20), "within its limit");
    assert!(gateway.logs().iter().any(|line| line.contains("\"lost\":65")), "{}", gateway.logs().join("\n"));
}

#[tokio::test]
async fn a_collector_that_is_away_or_says_no_is_counted_and_told_of_once() {
    let (collector, upstream) = (ScriptedUpstream::start_down().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&upstream], "")).await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    gateway.wait_for_log("traces cannot be exported").await;
    assert_eq!(gateway.metric("tidegate_trace_export_up", &[]).await, Some(0.0));
    let told = status(&gateway).await;
    assert_eq!((&told["traces"]["state"], &told["traces"]["waiting"]), (&json!("failing"), &json!(1)), "{told}");
    assert!(!told["traces"]["reason"].as_str().unwrap().is_empty() && told["ready"] == true, "{told}");
    collector.set_default(taken());
    collector.come_back().await;
    until(&gateway, "exported", 1.0).await;
    gateway.wait_for_log("traces are exported again").await;
    assert_eq!(gateway.metric("tidegate_trace_export_up", &[]).await, Some(1.0));
    assert_eq!(status(&gateway).await["traces"], json!({"state": "ready", "exported": 1, "waiting": 0, "lost": 0}));
    collector.set_default(Behaviour::status(500));
    for _ in 0..2 {
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    }
    until(&gateway, "failed", 2.0).await;
    let told = gateway.logs().iter().filter(|line| line.contains("traces cannot be exported")).count();
    assert_eq!(told, 2, "{}", gateway.logs().join("\n"));
}

#[tokio::test]
async fn secrets_and_names_come_from_the_environment() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let mut text = format!(
        "{LISTEN}traces: {{enabled: true, flush_ms: 1, headers: {{authorization: {{env: OTLP_TOKEN}}}}}}\ntargets:\n"
    );
    push_clouds(&mut text, &[&upstream]);
    let builder = Gateway::builder(&text)
        .env("OTLP_TOKEN", "Bearer sk-otlp-secret")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}/base/", collector.addr()))
        .env("OTEL_SERVICE_NAME", "sidecar")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,note=a%20b");
    let gateway = builder.start().await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    arrived(&collector, 1).await;
    let attempt = &collector.attempts()[0];
    assert_eq!((attempt.method.as_str(), attempt.path.as_str()), ("POST", "/base/v1/traces"));
    assert_eq!(attempt.header("authorization"), Some("Bearer sk-otlp-secret"));
    assert_eq!((attempt.header("content-type"), attempt.header("traceparent")), (Some("application/x-protobuf"), None));
    let message = ExportTraceServiceRequest::decode(&*attempt.body).unwrap();
    let resource = message.resource_spans[0].resource.clone().unwrap();
    for (name, expected) in [("service.name", "sidecar"), ("deployment.environment.name", "test"), ("note", "a b")] {
        assert_eq!(of(&resource.attributes, name), Some(AnyValue::StringValue(expected.into())), "{name}");
    }
    assert!(!gateway.logs().join("\n").contains("sk-otlp-secret"));
}
