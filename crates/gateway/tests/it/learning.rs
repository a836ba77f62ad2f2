//! Learning from traffic: feedback, questions asked again, verifiers, and what is shown of them.

use std::fmt::Write;
use std::process::Command;

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, bin, http_client};

use crate::real_engine::installed;
use crate::support::{LISTEN, Reply, chat, cloud_config, hello, hello_stream};
use crate::training::fill;

async fn gateway(upstream: &ScriptedUpstream, learning: &str) -> Gateway {
    Gateway::start(&cloud_config(&[upstream], &format!("learning: {{enabled: true{learning}}}"))).await
}

async fn feedback(gateway: &Gateway, body: &Value) -> Reply {
    Reply::read(gateway.post("/v1/feedback", body).await).await
}

/// What `tidegate labels list` prints, without its head.
fn listed(gateway: &Gateway) -> Vec<String> {
    let mut command = Command::new(bin("tidegate"));
    let output = command.args(["labels", "list"]).env("TIDEGATE_HOME", gateway.home()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().skip(1).map(str::to_owned).collect()
}

/// Waits until the list of labels holds all of `parts`: outcomes are written beside the request.
async fn wait_for_label(gateway: &Gateway, parts: &[&str]) {
    let found = async {
        while !listed(gateway).iter().any(|line| parts.iter().all(|part| line.contains(part))) {
            tokio::task::yield_now().await;
        }
    };
    let found = tokio::time::timeout(testkit::PATIENCE, found).await;
    assert!(found.is_ok(), "{parts:?} in {:?}", listed(gateway));
}

#[tokio::test]
async fn feedback_is_written_at_once_and_the_last_holds_also_after_a_restart() {
    let upstream = ScriptedUpstream::start().await;
    let mut gateway = gateway(&upstream, ", retry_weight: 0").await;
    for (id, body) in [("req-whole", hello()), ("req-stream", hello_stream())] {
        let answer = Reply::of(chat(&gateway, &body).header("x-request-id", id)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // As soon as the caller has the answer.
        let rated = feedback(&gateway, &json!({"request_id": id, "rating": "up"})).await;
        assert_eq!((rated.status, &rated.json()["score"]), (200, &json!(1.0)), "{}", rated.text);
    }
    assert_eq!(feedback(&gateway, &json!({"request_id": "req-whole", "score": 0.25})).await.status, 200);
    let lines = listed(&gateway).join("\n");
    assert!(lines.contains("req-stream") && lines.contains("1.00 feedback"), "{lines}");
    assert!(lines.contains("0.25 feedback") && lines.matches("req-whole").count() == 1, "{lines}");
    assert_eq!(gateway.metric("tidegate_learning_records_total", &[("result", "written")]).await, Some(5.0));

    let (status, home) = (gateway.terminate().await, gateway.home().to_owned());
    assert!(status.success());
    let config = cloud_config(&[&upstream], "learning: {enabled: true}");
    let again = Gateway::builder(&config).home(&home).start().await;
    assert_eq!(feedback(&again, &json!({"request_id": "req-stream", "score": 0})).await.status, 200);
    assert!(listed(&again).join("\n").contains("0.00 feedback"));
}

#[tokio::test]
async fn what_cannot_be_rated_is_refused_and_says_why() {
    let upstream = ScriptedUpstream::start().await;
    // The second try finds nothing that goes on with what was cut.
    upstream.script([Behaviour::held_after(2, Behaviour::CutAfter { chunks: 2 }), Behaviour::status(400)]);
    let gateway = gateway(&upstream, "").await;
    let asked = chat(&gateway, &hello_stream()).header("x-request-id", "req-cut");
    let cut = Reply::released(asked, "tide ", &upstream).await;
    assert!(cut.text.contains("stream_interrupted"), "{}", cut.text);
    for (body, status, code, param) in [
        (json!({"request_id": "req-cut", "score": 1}), 404, "answer_not_found", "request_id"),
        (json!({"request_id": "req-none", "score": 1}), 404, "answer_not_found", "request_id"),
        (json!({"request_id": "req-cut", "score": 2}), 400, "invalid_value", "score"),
        (json!({"request_id": "req-cut", "score": 1, "comment": "well done"}), 400, "invalid_value", "comment"),
        (json!({"score": 1}), 400, "missing_field", "request_id"),
        (json!({"request_id": "x".repeat(5000), "score": 1}), 413, "body_too_large", "null"),
    ] {
        let reply = feedback(&gateway, &body).await;
        assert_eq!(
            (reply.status, reply.error("code"), reply.error("param")),
            (status, code.into(), param.into()),
            "{body}"
        );
        assert_eq!(reply.error("fault"), "caller");
    }
    let read = Reply::of(gateway.client().get(gateway.url("/v1/feedback"))).await;
    assert_eq!((read.status, read.header("allow")), (405, "POST"));

    let off = Gateway::start(&cloud_config(&[&upstream], "")).await;
    let reply = feedback(&off, &json!({"request_id": "req-none", "score": 1})).await;
    assert_eq!((reply.status, reply.error("code")), (404, "learning_off".to_owned()));
    assert!(!off.home().join("learning").exists(), "nothing is kept where learning is off");
}

#[tokio::test]
async fn a_question_asked_again_speaks_weakly_against_its_answer() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway(&upstream, ", retry_weight: 0.3").await;
    for id in ["req-first", "req-again"] {
        assert_eq!(Reply::of(chat(&gateway, &hello()).header("x-request-id", id)).await.status, 200);
    }
    wait_for_label(&gateway, &["req-first", "0.00 retry (weight 0.30)"]).await;
    assert!(listed(&gateway).iter().any(|line| line.contains("req-again") && line.ends_with('-')));
    // What somebody says counts before what is guessed.
    assert_eq!(feedback(&gateway, &json!({"request_id": "req-first", "rating": "up"})).await.status, 200);
    wait_for_label(&gateway, &["req-first", "1.00 feedback"]).await;
}

#[tokio::test]
async fn verifiers_judge_the_answers_that_they_are_for() {
    let upstream = ScriptedUpstream::start().await;
    let mut verifiers = String::from(", verifiers: [");
    verifiers.push_str("{when: {tag: bill}, kind: json, required: [total]}, ");
    write!(verifiers, "{{when: {{tag: tide}}, kind: command, command: [grep, -q, tide]}}]").unwrap();
    let gateway = gateway(&upstream, &verifiers).await;
    let cases = [
        ("bill-good", "bill", r#"{"total": 3}"#, "1.00 verifier"),
        ("bill-bad", "bill", "three", "0.00 verifier"),
        ("tide-good", "tide", "the tide turns", "1.00 verifier"),
        ("tide-bad", "tide", "the moon", "0.00 verifier"),
    ];
    for (n, (id, tag, text, outcome)) in cases.into_iter().enumerate() {
        upstream.script([Behaviour::answer(text)]);
        let body = json!({"model": "auto", "stream": n % 2 == 0, "messages": [{"role": "user", "content": id}]});
        let request = chat(&gateway, &body).header("x-request-id", id).header("x-tidegate-tags", tag);
        assert_eq!(Reply::of(request).await.status, 200);
        wait_for_label(&gateway, &[id, outcome]).await;
    }
    upstream.script([Behaviour::answer("no bill")]);
    assert_eq!(Reply::of(chat(&gateway, &hello()).header("x-request-id", "untagged")).await.status, 200);
    assert!(listed(&gateway).iter().any(|line| line.contains("untagged") && line.ends_with('-')));
}

#[tokio::test]
async fn a_store_that_cannot_be_used_keeps_nothing_from_working() {
    let upstream = ScriptedUpstream::start().await;
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("learning")).unwrap();
    std::fs::write(home.path().join("learning/labels.sqlite3"), "not a database at all".repeat(99)).unwrap();
    let config = cloud_config(&[&upstream], "learning: {enabled: true}");
    let gateway = Gateway::builder(&config).home(home.path()).start().await;
    gateway.wait_for_log("nothing is learnt from traffic").await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
}

#[tokio::test]
async fn traffic_is_learnt_from_and_a_running_gateway_takes_up_what_was_learnt() {
    let upstream = ScriptedUpstream::start().await;
    let runtime = installed("onnxruntime");
    let extra =
        format!("onnxruntime: {{path: '{runtime}'}}\nclassifier: {{deadline_ms: 10000}}\nlearning: {{enabled: true}}");
    let config = cloud_config(&[&upstream], &extra)
        .replace("    model: upstream-a\n", "    model: upstream-a\n    size_class: tiny\n");
    let gateway = Gateway::start(&config).await;
    for (n, question) in ["Why is the sky blue?", "What is two plus two?"].into_iter().enumerate() {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": question}]});
        let id = format!("req-{n}");
        assert_eq!(Reply::of(chat(&gateway, &body).header("x-request-id", &id)).await.status, 200);
        assert_eq!(feedback(&gateway, &json!({"request_id": id, "rating": "up"})).await.status, 200);
    }
    let tidegate = |args: &[&str]| {
        let mut command = Command::new(bin("tidegate"));
        let output = command.args(args).env("TIDEGATE_HOME", gateway.home()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let stats = tidegate(&["labels", "stats"]);
    assert!(stats.contains("cloud/a         2         2         2"), "two labels with features: {stats}");

    // Many more, written by the side while the gateway runs.
    fill(gateway.home(), "cloud/a", "upstream-a", 900);
    let config = gateway.config_path().to_str().unwrap();
    let trained = tidegate(&["train", "--config", config]);
    assert!(trained.contains("v1 is active"), "{trained}");
    let heads_in_force = async || {
        let reload = gateway.client().post(gateway.admin_url("/admin/reload")).send().await.unwrap();
        assert_eq!(reload.status(), 200);
        let ready = Reply::of(gateway.client().get(gateway.admin_url("/readyz"))).await.json();
        assert_eq!(ready["classifier"]["state"], "ready", "{ready}");
        ready["classifier"]["learnt"].clone()
    };
    assert_eq!(heads_in_force().await, "v1");
    tidegate(&["train", "--rollback"]);
    assert_eq!(heads_in_force().await, Value::Null);
}

/// A device and a cloud target that answer each in their own words, with a verifier that only the device's satisfy.
async fn comparing(comparison: &str) -> (ScriptedUpstream, ScriptedUpstream, Gateway) {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    device.set_default(Behaviour::answer("the tide turns"));
    cloud.set_default(Behaviour::answer("the moon"));
    let config = format!(
        "{LISTEN}learning:
  enabled: true
  retry_weight: 0
  verifiers: [{{kind: command, command: [grep, -q, tide]}}]
  comparison: {{targets: [device/d, cloud/c], share: 1, {comparison}}}
targets:
  - {{id: device/d, provider: openai, model: d, base_url: '{}', locality: device}}
  - {{id: cloud/c, provider: openai, model: c, base_url: '{}', price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 1}}}}\n",
        device.base_url(),
        cloud.base_url()
    );
    let gateway = Gateway::start(&config).await;
    (device, cloud, gateway)
}

/// Waits until so many answers of the cloud target are judged.
async fn wait_for_compared(gateway: &Gateway, count: usize) {
    let judged = |line: &&String| line.contains("cloud/c") && line.contains("verifier");
    let found = async {
        while listed(gateway).iter().filter(judged).count() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(testkit::PATIENCE, found).await.unwrap();
}

#[tokio::test]
async fn a_sample_is_answered_by_both_targets_within_the_budget_of_the_day() {
    let (_device, cloud, gateway) = comparing("requests_per_day: 2").await;
    for (n, body) in [hello(), hello_stream()].into_iter().enumerate() {
        let id = format!("req-{n}");
        let reply = Reply::of(chat(&gateway, &body).header("x-request-id", &id)).await;
        assert_eq!(reply.header("x-tidegate-locality"), "device", "{}", reply.text);
        assert!(!reply.text.contains("moon"), "the caller sees nothing of it: {}", reply.text);
        wait_for_label(&gateway, &[&id, "device/d", "1.00 verifier"]).await;
        wait_for_compared(&gateway, n + 1).await;
        // The receipt of an answer of the device says what left it all the same.
        let receipt = async || Reply::of(http_client().get(gateway.url(&format!("/v1/receipts/{id}")))).await.json();
        let is_told = async { while receipt().await["comparisons"] == Value::Null {} };
        tokio::time::timeout(testkit::PATIENCE, is_told).await.unwrap();
        let receipt = receipt().await;
        assert_eq!(
            (&receipt["locality"], &receipt["left_device"]["what"]),
            (&json!("device"), &json!("text")),
            "{receipt}"
        );
        assert_eq!(receipt["comparisons"][0]["target"], "cloud/c", "{receipt}");
        assert_eq!(receipt["comparisons"][0]["left_device"], receipt["left_device"], "{receipt}");
    }
    assert_eq!(cloud.attempts().len(), 2);
    assert_eq!(Reply::of(chat(&gateway, &hello()).header("x-request-id", "req-beyond")).await.status, 200);
    wait_for_label(&gateway, &["req-beyond", "1.00 verifier"]).await;
    assert_eq!(cloud.attempts().len(), 2, "the budget is used up");
}

#[tokio::test]
async fn nothing_is_compared_where_the_request_may_not_go_or_money_does_not_reach() {
    let (_device, cloud, gateway) = comparing("requests_per_day: 100").await;
    let card = json!({"model": "auto", "messages": [{"role": "user", "content": "My card is 4111 1111 1111 1111."}]});
    for (id, body, name, value) in [
        ("req-private", hello(), "x-tidegate-privacy", "confidential"),
        ("req-only", hello(), "x-tidegate-mode", "only_on_device"),
        ("req-card", card, "x-tidegate-mode", "prefer_in_cloud"),
        // Who names a target is answered by that one and no other.
        ("req-named", json!({"model": "device/d", "messages": hello()["messages"]}), "x-tidegate-privacy", "internal"),
    ] {
        let request = chat(&gateway, &body).header("x-request-id", id).header(name, value);
        assert_eq!(Reply::of(request).await.header("x-tidegate-locality"), "device", "{id}");
        wait_for_label(&gateway, &[id, "1.00 verifier"]).await;
    }
    // One that may go, so that what came before had its time.
    assert_eq!(Reply::of(chat(&gateway, &hello()).header("x-request-id", "req-may")).await.status, 200);
    wait_for_compared(&gateway, 1).await;
    assert_eq!(cloud.attempts().len(), 1, "nothing but that");

    let (_device_of_poor, cloud, poor) = comparing("requests_per_day: 100, usd_per_day: 0.00000001").await;
    assert_eq!(Reply::of(chat(&poor, &hello()).header("x-request-id", "req-poor")).await.status, 200);
    wait_for_label(&poor, &["req-poor", "1.00 verifier"]).await;
    assert_eq!(cloud.connections_total(), 0);
}
