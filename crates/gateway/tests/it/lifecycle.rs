//! Boot, health, readiness, metrics, logs and a graceful end.

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, http_client};

use crate::support::{LISTEN, Reply, chat, cloud_config, cloud_gateway, hello, hello_stream, settled_metrics};

async fn admin(gateway: &Gateway, path: &str) -> Reply {
    Reply::of(http_client().get(gateway.admin_url(path))).await
}

#[tokio::test]
async fn health_readiness_and_metrics_are_on_the_admin_port_only() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    let health = admin(&gateway, "/healthz").await;
    assert_eq!((health.status, health.json()), (200, json!({"status": "ok"})));
    let ready = admin(&gateway, "/readyz").await;
    assert_eq!((ready.status, &ready.json()["targets"][0]["state"]), (200, &json!("ready")));
    let metrics = admin(&gateway, "/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(admin(&gateway, "/v1/models").await.status, 404);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(Reply::of(http_client().get(gateway.url(path))).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_gateway_whose_targets_are_all_down_is_not_ready_and_says_why() {
    let config =
        format!("{LISTEN}targets:\n  - {{id: local/m, provider: llama_cpp, model_path: /nonexistent/m.gguf}}\n");
    let gateway = Gateway::builder(&config).env("PATH", "/nonexistent").start().await;
    let ready = admin(&gateway, "/readyz").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
    let reason = ready.json()["targets"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("engine: "), "{reason}");
    let reply = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (503, "no_target_available"));
    assert!(reply.error("message").contains("local/m: engine: "), "{}", reply.text);
}

#[tokio::test]
async fn requests_are_counted_by_target_locality_and_outcome() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    upstream.script([Behaviour::status(502), Behaviour::status(500)]);
    Reply::of(chat(&gateway, &hello())).await;
    Reply::of(chat(&gateway, &hello())).await;
    Reply::of(chat(&gateway, &json!({"model": "auto"}))).await;
    settled_metrics(&gateway).await;
    let count = async |name: &str, labels: &[(&str, &str)]| gateway.metric(name, labels).await.unwrap_or(0.0);
    let requests = "tidegate_requests_total";
    assert_eq!(count(requests, &[("target", "none"), ("outcome", "targets_failed")]).await, 1.0);
    assert_eq!(count(requests, &[("target", "cloud/a"), ("locality", "cloud"), ("outcome", "answered")]).await, 1.0);
    assert_eq!(count(requests, &[("target", "none"), ("outcome", "invalid")]).await, 1.0);
    assert_eq!(count(requests, &[]).await, 3.0, "each exchange is settled once");
    assert_eq!(count("tidegate_attempts_total", &[("outcome", "server_error")]).await, 2.0);
    assert_eq!(count("tidegate_attempts_total", &[("outcome", "answered")]).await, 1.0);
    assert_eq!(count("tidegate_output_tokens_total", &[("target", "cloud/a")]).await, 7.0);
    assert_eq!(count("tidegate_route_duration_seconds_count", &[("stage", "decide")]).await, 2.0);
    assert_eq!(count("tidegate_in_flight_requests", &[]).await, 0.0);
}

#[tokio::test]
async fn logs_are_json_and_hold_neither_prompt_nor_answer_nor_key() {
    let upstream = ScriptedUpstream::start().await;
    let config = cloud_config(&[&upstream], "log: {level: trace}")
        .replace("    model: upstream-a", "    api_key: {env: SECRET_KEY}\n    model: upstream-a");
    let gateway = Gateway::builder(&config).env("SECRET_KEY", "sk-topsecret123").start().await;
    upstream.set_default(Behaviour::answer("answerword"));
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "promptword"}]});
    Reply::of(chat(&gateway, &body)).await;
    assert_eq!(upstream.attempts()[0].header("authorization"), Some("Bearer sk-topsecret123"));
    // A target that quotes the prompt in its error: the caller sees it, the log does not.
    let message = "cannot read promptword".to_owned();
    upstream.set_default(Behaviour::Status { status: 500, retry_after: None, message });
    assert!(Reply::of(chat(&gateway, &body)).await.text.contains("promptword"));
    let line = gateway.wait_for_log("attempt failed").await;
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    let all = gateway.logs().join("\n") + &gateway.metrics().await;
    for word in ["promptword", "answerword", "topsecret"] {
        assert!(!all.contains(word), "{word} in {all}");
    }
}

#[tokio::test]
async fn a_stream_is_finished_within_the_grace_period_and_new_connections_are_refused() {
    let upstream = ScriptedUpstream::start().await;
    let mut gateway = cloud_gateway(&[&upstream]).await;
    upstream.script([Behaviour::StallBetweenChunks { after: 2 }]);
    let running = chat(&gateway, &hello_stream()).send().await.unwrap();
    upstream.wait_held(0).await;
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_for_log("stopping").await;
    assert_eq!(admin(&gateway, "/readyz").await.json()["draining"], json!(true));
    assert!(chat(&gateway, &hello()).send().await.is_err(), "the data port is closed");
    upstream.release();
    let reply = Reply::read(running).await;
    assert!(reply.text.ends_with("data: [DONE]\n\n"), "{}", reply.text);
    assert!(gateway.wait().await.success());
}

#[tokio::test]
async fn a_stream_past_the_grace_period_is_cut_off() {
    let upstream = ScriptedUpstream::start().await;
    let config = cloud_config(&[&upstream], "limits: {grace_period_ms: 100}");
    let mut gateway = Gateway::start(&config).await;
    upstream.script([Behaviour::StallBetweenChunks { after: 2 }]);
    let running = chat(&gateway, &hello_stream()).send().await.unwrap();
    upstream.wait_held(0).await;
    assert!(gateway.terminate().await.success());
    assert!(running.text().await.is_err(), "the cut is seen as one: no clean end of the body");
}

#[tokio::test]
async fn a_second_gateway_on_the_same_port_fails_at_once() {
    let upstream = ScriptedUpstream::start().await;
    let first = cloud_gateway(&[&upstream]).await;
    let config = cloud_config(&[&upstream], "").replacen("127.0.0.1:0", &first.data_addr().to_string(), 1);
    let exited = Gateway::builder(&config).run_to_exit().await;
    assert!(!exited.status.success());
    assert!(exited.stderr.contains(&format!("cannot listen on {}", first.data_addr())), "{}", exited.stderr);
}
