//! Objectives in time at work: a missed first token moves on, a second attempt beside a slow first one, the first content wins,
//! the other is cancelled, a budget bounds them.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Behaviour, Gateway, ScriptedUpstream, bin};

use crate::support::{LISTEN, Reply, chat, cloud_config, hello, hello_stream, push_clouds, settled_metrics};

/// A target that is expected to answer in 10 ms, of a known price.
const EXPECTED: &str = "    price: {input_usd_per_mtok: 1.0, output_usd_per_mtok: 1.0}\n    latency: {ttft_ms: 10, tokens_per_s: 100}\n    model:";

/// Two targets of a route that hedges after 50 ms.
async fn hedged(a: &ScriptedUpstream, b: &ScriptedUpstream, extra: &str) -> (Gateway, tempfile::TempPath) {
    limited(a, b, "hedge_after_ms: 50", extra).await
}

/// Two targets of a route with `limits`, each expected to answer in 10 ms.
async fn limited(
    a: &ScriptedUpstream,
    b: &ScriptedUpstream,
    limits: &str,
    extra: &str,
) -> (Gateway, tempfile::TempPath) {
    let policy =
        format!("version: 1\nroutes:\n  - {{id: all, objective: in_order, candidates: ['*'], limits: {{{limits}}}}}\n");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(policy.as_bytes()).unwrap();
    let path = file.into_temp_path();
    let config = cloud_config(&[a, b], &format!("policy: {{file: '{}'}}\n{extra}", path.display()));
    let config = config.replace("    model:", EXPECTED);
    (Gateway::start(&config).await, path)
}

#[tokio::test]
async fn a_missed_objective_moves_on_and_the_last_attempt_is_not_cut_by_it() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let (gateway, _policy) = limited(&a, &b, "ttft_slo_ms: 60", "").await;
    a.set_default(Behaviour::SlowFirstToken);
    b.set_default(Behaviour::SlowFirstToken);
    let reading = tokio::spawn(Reply::of(chat(&gateway, &hello_stream())));
    // The first is given up for the objective, long before its own limit of 1.5 s; the second goes on past it.
    a.wait_ended(0).await;
    b.wait_held(0).await;
    gateway.wait_for_log("attempt failed").await;
    for _ in 0..20 {
        gateway.metrics().await;
    }
    b.release();
    let reply = reading.await.unwrap();
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/b"), "{}", reply.text);
    assert_eq!(reply.header("x-tidegate-reason"), "rule=all; fallback=first_token_timeout");
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn the_first_content_wins_and_the_other_is_cancelled() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let (gateway, _policy) = hedged(&a, &b, "hedging: {max_share: 1.0}").await;
    b.set_default(Behaviour::answer("second"));
    // Headers and a role chunk, or nothing at all: no content in either.
    for (slow, body) in [
        (Behaviour::SlowFirstToken, hello_stream()),
        (Behaviour::StallBeforeHeaders, hello_stream()),
        (Behaviour::StallBeforeHeaders, hello()),
    ] {
        a.set_default(slow);
        let index = a.attempts().len();
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/b"), "{}", reply.text);
        assert!(reply.text.contains("second"));
        a.wait_ended(index).await;
    }
    let metrics = settled_metrics(&gateway).await;
    for line in [
        r#"tidegate_hedges_total{outcome="answered",target="cloud/b"} 3"#,
        r#"tidegate_attempts_total{outcome="hedge_lost",target="cloud/a"} 3"#,
        r#"tidegate_requests_total{locality="cloud",outcome="answered",target="cloud/b"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn an_error_is_no_first_token_and_does_not_cancel_the_other() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let (gateway, _policy) = hedged(&a, &b, "hedging: {max_share: 1.0}").await;
    let error = serde_json::json!({"error": {"message": "broke", "type": "server_error"}});
    a.set_default(Behaviour::SlowFirstToken);
    b.set_default(Behaviour::ErrorInStream { after: 0, body: error });
    let reading = tokio::spawn(Reply::of(chat(&gateway, &hello_stream())));
    a.wait_held(0).await;
    gateway.wait_for_log("attempt failed").await;
    a.release();
    let reply = reading.await.unwrap();
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/a"), "{}", reply.text);
    assert_eq!(reply.header("x-tidegate-reason"), "rule=all", "nothing was fallen back from");
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
    assert!(
        settled_metrics(&gateway).await.contains(r#"tidegate_hedges_total{outcome="server_error",target="cloud/b"} 1"#)
    );
}

#[tokio::test]
async fn an_objective_does_not_cut_the_only_attempt_that_a_failed_hedge_left() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let limits = "hedge_after_ms: 30, ttft_slo_ms: 60";
    let (gateway, _policy) = limited(&a, &b, limits, "hedging: {max_share: 1.0}").await;
    a.set_default(Behaviour::SlowFirstToken);
    b.set_default(Behaviour::status(401));
    let (reading, begun) = (tokio::spawn(Reply::of(chat(&gateway, &hello_stream()))), Instant::now());
    gateway.wait_for_log("target refuses its key").await;
    // Well past the objective.
    while begun.elapsed() < Duration::from_millis(200) {
        gateway.metrics().await;
    }
    a.release();
    let reply = reading.await.unwrap();
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/a"), "{}", reply.text);
}

#[tokio::test]
async fn an_objective_cuts_an_attempt_beside_which_none_may_run() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let limits = "hedge_after_ms: 30, ttft_slo_ms: 60";
    let (gateway, _policy) = limited(&a, &b, limits, "hedging: {max_share: 0.0}").await;
    a.set_default(Behaviour::SlowFirstToken);
    let reply = Reply::of(chat(&gateway, &hello_stream())).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/b"), "{}", reply.text);
    assert_eq!(reply.header("x-tidegate-reason"), "rule=all; fallback=first_token_timeout");
    let metrics = settled_metrics(&gateway).await;
    assert!(
        metrics.contains(r#"tidegate_attempts_total{outcome="first_token_timeout",target="cloud/a"} 1"#),
        "{metrics}"
    );
}

/// A worker, which holds its answers after this many chunks until the file is there, and `cloud/b`, for one request that is no stream.
async fn beside_a_worker(limits: &str, extra: &str, held_after: u64, b: Behaviour, lasts: Duration) -> (Reply, String) {
    let (folder, cloud) = (tempfile::tempdir().unwrap(), ScriptedUpstream::start().await);
    cloud.set_default(b);
    let (model, go) = (folder.path().join("m.gguf"), folder.path().join("go"));
    std::fs::write(&model, "GGUF").unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(
        &policy,
        format!("version: 1\nroutes:\n  - {{id: all, objective: in_order, candidates: ['*'], limits: {{{limits}}}}}\n"),
    )
    .unwrap();
    let mut config = format!(
        "{LISTEN}policy: {{file: '{}'}}\n{extra}\nengine: {{path: '{}'}}\ntargets:\n  - id: local/m\n    provider: llama_cpp\n    model_path: '{}'\n    eager: true\n    extra_args: [--fake-hold, '{}', --fake-hold-after, '{held_after}']\n    latency: {{ttft_ms: 10, tokens_per_s: 100}}\n",
        policy.display(),
        bin("fake-llama-server").display(),
        model.display(),
        go.display(),
    );
    push_clouds(&mut config, &[&cloud]);
    let config = config.replace("cloud/a", "cloud/b").replace("    model:", EXPECTED);
    let gateway = Gateway::start(&config).await;
    gateway.wait_for_log("\"state\":\"ready\"").await;
    let (reading, begun) = (tokio::spawn(Reply::of(chat(&gateway, &hello()))), Instant::now());
    while begun.elapsed() < lasts && !reading.is_finished() {
        gateway.metrics().await;
    }
    std::fs::write(&go, "").unwrap();
    (reading.await.unwrap(), settled_metrics(&gateway).await)
}

#[tokio::test]
async fn an_objective_does_not_cut_the_last_of_two_answers_that_go_out_whole() {
    let limits = "hedge_after_ms: 30, ttft_slo_ms: 100";
    let (both, lasts) = ("hedging: {max_share: 1.0}", Duration::from_millis(400));
    // The hedge has failed, and the worker is all that is left: its prompt may take longer than wanted.
    let (reply, metrics) = beside_a_worker(limits, both, 0, Behaviour::status(401), lasts).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "local/m"), "{}", reply.text);
    assert!(metrics.contains(r#"tidegate_hedges_total{outcome="unauthorized",target="cloud/b"} 1"#), "{metrics}");
    // Both run past the objective, and the worker is first.
    let (reply, metrics) = beside_a_worker(limits, both, 0, Behaviour::StallBeforeHeaders, lasts).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "local/m"), "{}", reply.text);
    assert!(metrics.contains(r#"tidegate_hedges_total{outcome="hedge_lost",target="cloud/b"} 1"#), "{metrics}");
}

#[tokio::test]
async fn an_objective_is_met_by_the_first_token_of_an_answer_that_goes_out_whole() {
    let limits = "hedge_after_ms: 30, ttft_slo_ms: 300";
    let lasts = Duration::from_millis(700);
    let answer = Behaviour::answer("from the cloud");
    let off = "hedging: {max_share: 0.0}";
    let (reply, _) = beside_a_worker(limits, off, 1, answer.clone(), lasts).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "local/m"), "{}", reply.text);
    // Without one the other is asked, as none may run beside it.
    let (reply, metrics) = beside_a_worker(limits, off, 0, answer, lasts).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/b"), "{}", reply.text);
    assert!(
        metrics.contains(r#"tidegate_attempts_total{outcome="first_token_timeout",target="local/m"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_refusal_of_the_first_is_the_answer_and_one_of_the_other_is_not() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let (gateway, _policy) = hedged(&a, &b, "hedging: {max_share: 1.0}").await;
    let error = serde_json::json!({"error": {"message": "filtered", "code": "content_filter"}});
    let filtered = Behaviour::ErrorInStream { after: 0, body: error };
    a.set_default(Behaviour::SlowFirstToken);
    b.set_default(filtered.clone());
    let reading = tokio::spawn(Reply::of(chat(&gateway, &hello_stream())));
    gateway.wait_for_log("target refuses the request").await;
    a.release();
    let reply = reading.await.unwrap();
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/a"), "{}", reply.text);
    // The first refuses once the other runs.
    a.set_default(Behaviour::held_after(0, filtered));
    b.set_default(Behaviour::SlowFirstToken);
    let reading = tokio::spawn(Reply::of(chat(&gateway, &hello_stream())));
    b.wait_held(1).await;
    a.release();
    let reply = reading.await.unwrap();
    assert_eq!((reply.status, reply.error("code").as_str()), (400, "content_filter"), "{}", reply.text);
    b.wait_ended(1).await;
    let metrics = settled_metrics(&gateway).await;
    assert!(metrics.contains(r#"tidegate_attempts_total{outcome="hedge_lost",target="cloud/b"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_fast_answer_is_not_hedged_and_the_budget_bounds_the_rest() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let (gateway, _policy) = hedged(&a, &b, "hedging: {max_share: 0.0}").await;
    a.script([Behaviour::answer("first")]);
    assert!(Reply::of(chat(&gateway, &hello_stream())).await.text.contains("first"));
    a.set_default(Behaviour::SlowFirstToken);
    let index = a.attempts().len();
    let reading = tokio::spawn(Reply::of(chat(&gateway, &hello_stream())));
    // No hedge: the first attempt runs into its own limit, and then the second is asked.
    let reply = reading.await.unwrap();
    a.wait_ended(index).await;
    assert_eq!(reply.header("x-tidegate-reason"), "rule=all; fallback=first_token_timeout");
    assert!(!settled_metrics(&gateway).await.contains("tidegate_hedges_total{"));
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_both() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let (gateway, _policy) = hedged(&a, &b, "hedging: {max_share: 1.0}").await;
    a.set_default(Behaviour::SlowFirstToken);
    b.set_default(Behaviour::SlowFirstToken);
    let body: Value = hello_stream();
    let mut client = testkit::RawClient::connect(gateway.data_addr()).await;
    client.post("/v1/chat/completions", &body).await.unwrap();
    a.wait_held(0).await;
    b.wait_held(0).await;
    drop(client);
    a.wait_ended(0).await;
    b.wait_ended(0).await;
    let metrics = settled_metrics(&gateway).await;
    assert!(metrics.contains(r#"tidegate_attempts_total{outcome="caller_gone",target="cloud/a"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"tidegate_attempts_total{outcome="caller_gone",target="cloud/b"} 1"#), "{metrics}");
}
