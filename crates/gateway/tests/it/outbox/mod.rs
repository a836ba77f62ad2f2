//! Requests that cannot be answered now: kept, sent when somebody can answer, fetched, deleted.

mod crash;
mod hostile;
mod placement;

use std::path::Path;
use std::process::Command;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use testkit::{Behaviour, DEFAULT_TEXT, Gateway, ScriptedUpstream, bin, http_client};

use crate::support::{LISTEN, Reply, chat, hello, settled_metrics, status, status_when};

/// A prompt that is looked for where it must not be.
const PROMPT: &str = "what does the heron say at low water";

/// Configuration with one cloud target, `cloud/a`, and `extra` in front.
fn config(base_url: &str, extra: &str) -> String {
    format!(
        "{LISTEN}{extra}\ntargets:\n  - {{id: cloud/a, provider: openai, model: m, base_url: '{base_url}', timeouts: {TIMEOUTS}}}\n"
    )
}

const TIMEOUTS: &str = "{connect_ms: 2000, first_token_ms: 60000, idle_ms: 60000, total_ms: 60000}";

fn prompt() -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": PROMPT}]})
}

/// The same request, for later if need be.
fn later(gateway: &Gateway, body: &Value) -> RequestBuilder {
    chat(gateway, body).header("prefer", "respond-async")
}

/// A request that has to be kept; what is told of it.
async fn kept(request: RequestBuilder) -> Value {
    let reply = Reply::of(request).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let entry = reply.json();
    assert_eq!(entry["status"], "queued", "{entry}");
    assert_eq!(reply.header("location"), format!("/v1/outbox/{}", entry["id"].as_str().unwrap()));
    entry
}

fn id(entry: &Value) -> &str {
    entry["id"].as_str().unwrap()
}

async fn get(gateway: &Gateway, path: &str) -> Reply {
    Reply::of(http_client().get(gateway.url(path))).await
}

async fn delete(gateway: &Gateway, id: &str) -> Reply {
    Reply::of(http_client().delete(gateway.url(&format!("/v1/outbox/{id}")))).await
}

async fn entry(gateway: &Gateway, id: &str) -> Value {
    let reply = get(gateway, &format!("/v1/outbox/{id}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

/// What is told of an entry once `condition` holds for it.
async fn entry_when(gateway: &Gateway, id: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let when = async {
        loop {
            let entry = entry(gateway, id).await;
            if condition(&entry) {
                return entry;
            }
        }
    };
    match tokio::time::timeout(testkit::PATIENCE, when).await {
        Ok(entry) => entry,
        Err(_) => panic!("it never came to that: {}\n{:#?}", entry(gateway, id).await, gateway.logs()),
    }
}

async fn finished(gateway: &Gateway, id: &str, status: &str) -> Value {
    entry_when(gateway, id, |entry| entry["status"] == status).await
}

/// The text of a completed entry.
fn text(entry: &Value) -> &str {
    assert_eq!(entry["response"]["status_code"], 200, "{entry}");
    entry["response"]["body"]["choices"][0]["message"]["content"].as_str().unwrap()
}

async fn offline(extra: &str) -> (ScriptedUpstream, Gateway) {
    let upstream = ScriptedUpstream::start_down().await;
    let gateway = Gateway::start(&config(&upstream.base_url(), extra)).await;
    (upstream, gateway)
}

/// What `tidegate status` says of the outbox.
async fn shown(gateway: &Gateway) -> String {
    let admin = gateway.admin_addr().to_string();
    let run = move || Command::new(bin("tidegate")).args(["status", "--admin", &admin]).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let line = table.lines().find_map(|line| line.strip_prefix("outbox      "));
    line.unwrap_or_else(|| panic!("{table}")).to_owned()
}

#[tokio::test]
async fn its_state_is_told() {
    let (upstream, gateway) = offline("outbox: {entries_max: 2}").await;
    assert_eq!(shown(&gateway).await, "ready, 0 waiting, 0 finished");
    kept(later(&gateway, &prompt())).await;
    let told = status(&gateway).await["outbox"].clone();
    assert_eq!(
        (&told["state"], &told["waiting"], &told["finished"]),
        (&json!("ready"), &json!(1), &json!(0)),
        "{told}"
    );
    assert!(told["oldest_age_s"].is_u64() && told["bytes"].as_u64() > Some(PROMPT.len() as u64), "{told}");
    assert!(shown(&gateway).await.starts_with("ready, 1 waiting (the oldest for "), "{}", shown(&gateway).await);

    // A table that is away stands for a disk that is full.
    let edit = |sql: &str| {
        let file = gateway.home().join("outbox/outbox.sqlite3");
        rusqlite::Connection::open(file).unwrap().execute_batch(sql).unwrap();
    };
    edit("ALTER TABLE entries RENAME TO away");
    let refused = Reply::of(later(&gateway, &prompt())).await;
    assert_eq!(refused.status, 507, "{}", refused.text);
    let told = status(&gateway).await["outbox"].clone();
    assert_eq!(told["state"], "failing", "{told}");
    assert!(told["reason"].as_str().unwrap().contains("no such table"), "{told}");
    assert!(shown(&gateway).await.starts_with("failing, 1 waiting"), "{}", shown(&gateway).await);
    edit("ALTER TABLE away RENAME TO entries");
    // Found out without a request.
    status_when(&gateway, "written again", |status| status["outbox"]["state"] == "ready").await;

    kept(later(&gateway, &prompt())).await;
    assert_eq!(status(&gateway).await["outbox"]["state"], "full");
    upstream.come_back().await;
    status_when(&gateway, "answered", |status| status["outbox"]["finished"] == 2).await;
    assert_eq!(status(&gateway).await["outbox"]["oldest_age_s"], Value::Null);
    let off = Gateway::start(&config(&upstream.base_url(), "outbox: {enabled: false}")).await;
    assert_eq!(shown(&off).await, "off, 0 waiting, 0 finished: outbox.enabled is false in the configuration");
}

#[tokio::test]
async fn what_cannot_be_answered_now_is_answered_when_the_network_is_back() {
    let (upstream, gateway) = offline("").await;
    let reply = Reply::of(later(&gateway, &prompt()).header("x-request-id", "mine-1")).await;
    assert_eq!((reply.status, reply.header("preference-applied")), (202, "respond-async"), "{}", reply.text);
    assert_eq!((reply.header("x-request-id"), reply.header("x-tidegate-reason")), ("mine-1", "rule=device-first"));
    let accepted = reply.json();
    let id = id(&accepted).to_owned();
    assert_eq!(reply.header("location"), format!("/v1/outbox/{id}"));
    assert_eq!(accepted["object"], "outbox.entry");
    assert_eq!((&accepted["status"], &accepted["attempts"]), (&json!("queued"), &json!(0)));
    assert_eq!(accepted["error"]["code"], "upstream_failed", "{accepted}");
    assert!(accepted["error"]["message"].as_str().unwrap().contains("cloud/a"), "{accepted}");
    let (created, expires) = (accepted["created_at"].as_i64().unwrap(), accepted["expires_at"].as_i64().unwrap());
    assert_eq!(expires - created, 86_400);

    upstream.come_back().await;
    let done = finished(&gateway, &id, "completed").await;
    assert_eq!(text(&done), DEFAULT_TEXT);
    assert_eq!((&done["target"], &done["locality"]), (&json!("cloud/a"), &json!("cloud")));
    assert_eq!((&done["reason"], &done["error"]), (&json!("rule=device-first"), &Value::Null));
    assert_eq!((&done["request_id"], &done["response"]["request_id"]), (&json!("mine-1"), &json!("mine-1")));
    assert_eq!((&done["attempts"], &done["interrupted_attempts"]), (&json!(1), &json!(0)), "{done}");
    assert_eq!(upstream.attempts().len(), 1);
    assert_eq!(upstream.attempts()[0].json()["messages"], prompt()["messages"]);

    let metrics = settled_metrics(&gateway).await;
    for line in [
        r#"tidegate_outbox_entries{state="completed"} 1"#,
        r#"tidegate_outbox_entries{state="queued"} 0"#,
        r#"tidegate_outbox_results_total{result="accepted"} 1"#,
        r#"tidegate_outbox_results_total{result="completed"} 1"#,
        "tidegate_outbox_oldest_age_seconds 0",
        r#"tidegate_requests_total{locality="none",outcome="deferred",target="none"} 1"#,
        r#"tidegate_requests_total{locality="cloud",outcome="answered",target="cloud/a"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(!metrics.contains("heron") && !gateway.logs().iter().any(|line| line.contains("heron")));
    assert_eq!(
        delete(&gateway, &id).await.json(),
        json!({"id": id, "object": "outbox.entry.deleted", "deleted": true})
    );
    assert_eq!(get(&gateway, &format!("/v1/outbox/{id}")).await.status, 404);
}

#[tokio::test]
async fn a_request_that_can_be_answered_now_is_and_one_that_does_not_ask_is_not_kept() {
    let a = ScriptedUpstream::start().await;
    let gateway = Gateway::start(&config(&a.base_url(), "")).await;
    let reply = Reply::of(later(&gateway, &hello())).await;
    assert_eq!((reply.content().as_str(), reply.header("preference-applied")), (DEFAULT_TEXT, ""));
    a.set_default(Behaviour::status(503));
    let reply = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (502, "upstream_failed"));
    // What another try will not mend is told at once.
    a.set_default(Behaviour::status(401));
    assert_eq!(Reply::of(later(&gateway, &hello())).await.status, 502);
    a.set_default(Behaviour::status(400));
    assert_eq!(Reply::of(later(&gateway, &hello())).await.status, 400);
    let list = get(&gateway, "/v1/outbox").await.json();
    assert_eq!(list, json!({"object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false}));
    // Overloaded is for later.
    a.set_default(Behaviour::status(503));
    let entry = kept(later(&gateway, &hello())).await;
    a.set_default(Behaviour::answer("at last"));
    assert_eq!(text(&finished(&gateway, id(&entry), "completed").await), "at last");
}

#[tokio::test]
async fn a_stream_becomes_a_whole_answer_later() {
    let (upstream, gateway) = offline("").await;
    let mut body = prompt();
    (body["stream"], body["stream_options"]) = (true.into(), json!({"include_usage": true}));
    let entry = kept(later(&gateway, &body)).await;
    upstream.come_back().await;
    assert_eq!(text(&finished(&gateway, id(&entry), "completed").await), DEFAULT_TEXT);
    let sent = upstream.attempts()[0].json();
    assert_eq!((sent.get("stream"), sent.get("stream_options")), (None, None), "{sent}");
}

#[tokio::test]
async fn what_never_can_be_answered_is_refused_at_once() {
    let (_upstream, gateway) = offline("").await;
    let chat = |body: Value, header: (&'static str, &'static str)| later(&gateway, &body).header(header.0, header.1);
    let no_model = json!({"model": "none/such", "messages": [{"role": "user", "content": "x"}]});
    for (request, status, code) in [
        (chat(json!({"model": "auto"}), ("x-a", "b")), 400, "missing_field"),
        (chat(no_model, ("x-a", "b")), 404, "model_not_found"),
        (chat(hello(), ("x-tidegate-mode", "nowhere")), 400, "invalid_value"),
        (chat(hello(), ("x-tidegate-privacy", "confidential")), 503, "no_target_available"),
        (chat(hello(), ("x-tidegate-mode", "only_on_device")), 503, "no_target_available"),
    ] {
        let reply = Reply::of(request).await;
        assert_eq!((reply.status, reply.error("code").as_str()), (status, code), "{}", reply.text);
    }
    let both = later(&gateway, &hello()).header("x-tidegate-mode", "only_in_cloud");
    let reply = Reply::of(both.header("x-tidegate-privacy", "restricted")).await;
    assert_eq!(reply.error("code"), "placement_contradiction");
    assert_eq!(get(&gateway, "/v1/outbox").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_target_that_refuses_the_request_itself_ends_it_and_so_do_failures_without_end() {
    let (upstream, gateway) = offline("outbox: {failures_max: 2}").await;
    let refused = kept(later(&gateway, &hello())).await;
    upstream.come_back().await;
    upstream.set_default(Behaviour::status(422));
    let done = finished(&gateway, id(&refused), "failed").await;
    assert_eq!(done["response"]["status_code"], 422, "{done}");
    assert_eq!(done["response"]["body"]["error"]["fault"], "upstream");
    assert_eq!((&done["error"]["fault"], &done["target"]), (&json!("upstream"), &json!("cloud/a")));
    upstream.set_default(Behaviour::status(500));
    let failing = kept(later(&gateway, &hello())).await;
    let done = finished(&gateway, id(&failing), "failed").await;
    assert_eq!((&done["response"]["status_code"], &done["attempts"]), (&json!(502), &json!(2)), "{done}");
    let metrics = settled_metrics(&gateway).await;
    for line in [
        r#"tidegate_outbox_results_total{result="failed"} 2"#,
        r#"outcome="rejected_by_target",target="cloud/a"} 1"#,
        r#"tidegate_requests_total{locality="none",outcome="targets_failed",target="none"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn deleting_what_is_being_sent_ends_it_and_frees_its_place() {
    let (upstream, gateway) = offline("outbox: {concurrency: 1}").await;
    let first = kept(later(&gateway, &prompt())).await;
    let second = kept(later(&gateway, &hello())).await;
    upstream.come_back().await;
    upstream.script([Behaviour::StallBeforeHeaders]);
    upstream.wait_held(0).await;
    assert_eq!(entry(&gateway, id(&first)).await["status"], "sending");
    assert_eq!(entry(&gateway, id(&second)).await["status"], "queued", "one at a time");
    assert_eq!(delete(&gateway, id(&first)).await.status, 200);
    upstream.wait_ended(0).await;
    finished(&gateway, id(&second), "completed").await;
    assert_eq!(get(&gateway, &format!("/v1/outbox/{}", id(&first))).await.error("code"), "outbox_entry_not_found");
    assert_eq!(delete(&gateway, id(&first)).await.status, 404);
    let metrics = settled_metrics(&gateway).await;
    assert!(metrics.contains(r#"tidegate_outbox_results_total{result="deleted"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"tidegate_attempts_total{outcome="caller_gone",target="cloud/a"} 1"#), "{metrics}");
}

#[tokio::test]
async fn time_ends_a_request_and_then_the_news_of_it() {
    let (_upstream, gateway) = offline("outbox: {age_max_s: 1, keep_s: 1}").await;
    let entry = kept(later(&gateway, &hello())).await;
    let over = finished(&gateway, id(&entry), "expired").await;
    assert_eq!((&over["response"]["status_code"], &over["error"]["code"]), (&json!(504), &json!("outbox_expired")));
    assert!(over["error"]["message"].as_str().unwrap().contains("cloud/a"), "{over}");
    let removed = async { while get(&gateway, &format!("/v1/outbox/{}", id(&entry))).await.status != 404 {} };
    tokio::time::timeout(testkit::PATIENCE, removed).await.unwrap();
    let metrics = settled_metrics(&gateway).await;
    assert!(metrics.contains(r#"tidegate_outbox_results_total{result="expired"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_route_may_want_it_for_its_callers() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let text = "version: 1\nroutes:\n  - {id: patient, when: '\"batch\" in request.tags', respond_async: true}\n  - {id: rest}\n";
    std::fs::write(&policy, text).unwrap();
    let (upstream, gateway) = offline(&format!("policy: {{file: {}}}", policy.display())).await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 502);
    let reply = Reply::of(chat(&gateway, &hello()).header("x-tidegate-tags", "batch")).await;
    assert_eq!((reply.status, reply.header("preference-applied")), (202, ""), "nobody stated a preference");
    upstream.come_back().await;
    finished(&gateway, id(&reply.json()), "completed").await;
}

#[tokio::test]
async fn an_outbox_that_is_off_keeps_nothing_and_says_why() {
    let (_upstream, gateway) = offline("outbox: {enabled: false}").await;
    assert_eq!(Reply::of(later(&gateway, &hello())).await.status, 502, "a preference may be passed over");
    let reply = get(&gateway, "/v1/outbox").await;
    assert_eq!((reply.status, reply.error("code").as_str()), (404, "outbox_off"));
    assert!(reply.error("message").contains("outbox.enabled"));
    assert!(!gateway.home().join("outbox").exists());
    assert!(!gateway.metrics().await.contains("tidegate_outbox_entries{"));
}

#[tokio::test]
async fn the_command_line_looks_and_deletes_beside_a_running_gateway() {
    let (upstream, gateway) = offline("").await;
    let home = gateway.home().to_owned();
    let (ok, said) = tidegate(&home, &["outbox", "list"]);
    assert!(ok && said.contains("status"), "{said}");
    let entry = kept(later(&gateway, &prompt())).await;
    let (ok, said) = tidegate(&home, &["outbox", "list"]);
    assert!(ok && said.contains(id(&entry)) && said.contains("queued"), "{said}");
    upstream.come_back().await;
    upstream.script([Behaviour::StallBeforeHeaders]);
    upstream.wait_held(0).await;
    let (ok, said) = tidegate(&home, &["outbox", "delete", id(&entry)]);
    assert!(ok && said.contains("was sending"), "{said}");
    upstream.wait_ended(0).await;
    let next = kept_and_answered(&gateway, &upstream).await;
    let (ok, said) = tidegate(&home, &["outbox", "show", &next]);
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert!(ok && text(&shown) == "later", "{said}");
    for wrong in ["../x", id(&entry)] {
        let (ok, said) = tidegate(&home, &["outbox", "show", wrong]);
        assert!(!ok && said.contains("outbox"), "{said}");
    }
}

/// A request that the target turns down at first and answers then; the id of its entry.
async fn kept_and_answered(gateway: &Gateway, upstream: &ScriptedUpstream) -> String {
    upstream.set_default(Behaviour::status(503));
    let entry = kept(later(gateway, &hello())).await;
    upstream.set_default(Behaviour::answer("later"));
    finished(gateway, id(&entry), "completed").await;
    id(&entry).to_owned()
}

fn tidegate(home: &Path, arguments: &[&str]) -> (bool, String) {
    let ran = Command::new(testkit::bin("tidegate")).env("TIDEGATE_HOME", home).args(arguments).output().unwrap();
    let said = if ran.status.success() { ran.stdout } else { ran.stderr };
    (ran.status.success(), String::from_utf8(said).unwrap())
}
