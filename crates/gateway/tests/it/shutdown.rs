//! A gateway that is told to stop: what runs may finish, what may not is cut off, and either way it is in the ledger once when the process is gone.

use std::collections::BTreeMap;
use std::path::Path;

use account::ledger::Filter;
use reqwest::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, RawClient, ScriptedUpstream};

use crate::support::{chat, cloud_config, hello, hello_stream, ledger_of, post, sharing};
use crate::traces;

/// Every answer of the first target may be shared and given again; what is for later is for the second alone.
const POLICY: &str = "{version: 1, routes: [\
    {id: later, when: '\"later\" in request.tags', objective: in_order, candidates: [cloud/b]},\
    {id: shared, when: '\"shared\" in request.tags', objective: in_order, candidates: [cloud/a], cache: {ttl_s: 60}},\
    {id: all, objective: in_order, candidates: [cloud/a]}]}";

/// A gateway with two targets that take their time.
struct Setting {
    a: ScriptedUpstream,
    b: ScriptedUpstream,
    collector: ScriptedUpstream,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

async fn setting(limits: &str) -> Setting {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start_down().await);
    let collector = traces::collector().await;
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    // Nothing is written before the end, unless somebody waits for it.
    let extra = format!(
        "limits: {{{limits}}}\nledger: {{flush_ms: 10000}}\n{}policy: {{file: '{}'}}\n",
        traces::traces(&collector, ""),
        policy.display()
    );
    let config = cloud_config(&[&a, &b], &extra);
    let config = config.replace(
        "first_token_ms: 1500, idle_ms: 1500, total_ms: 3000",
        "first_token_ms: 60000, idle_ms: 60000, total_ms: 60000",
    );
    Setting { a, b, collector, gateway: Gateway::start(&config).await, _folder: folder }
}

/// How often each request is in the ledger, and how it ended there: kind, id, outcome.
fn recorded(home: &Path) -> BTreeMap<String, Vec<String>> {
    let reader = ledger_of(home);
    assert_eq!(reader.verify(&[]).unwrap().faults, []);
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for row in reader.rows(&Filter::default()).unwrap() {
        let outcome = format!("{} {}", row.record.kind, row.record.outcome);
        found.entry(row.record.request_id.to_string()).or_default().push(outcome);
    }
    found
}

fn http2() -> Client {
    Client::builder().no_proxy().http2_prior_knowledge().build().unwrap()
}

/// The same for the route of this tag; deterministic, so that it may be shared.
fn tagged(mut body: Value, tag: &str) -> Value {
    body["metadata"] = json!({"tidegate_tags": tag});
    body["temperature"] = json!(0);
    body
}

/// One of everything that can be under way, each held by its target. Returns what the callers wait with.
async fn under_way(setting: &Setting) -> (Vec<tokio::task::JoinHandle<reqwest::Result<String>>>, RawClient) {
    let Setting { a, b, gateway, .. } = setting;
    let mut callers = Vec::new();
    let mut ask = |client: &Client, id: &str, body: &Value| {
        let request = post(client, gateway, "/v1/chat/completions", body).header("x-request-id", id.to_owned());
        callers.push(tokio::spawn(async move { request.send().await?.text().await }));
    };
    // For later: nobody can answer, so it is kept, and then it is sent.
    let kept =
        chat(gateway, &tagged(hello(), "later")).header("prefer", "respond-async").header("x-request-id", "kept");
    assert_eq!(kept.send().await.unwrap().status(), 202);
    b.set_default(Behaviour::StallBeforeHeaders);
    b.come_back().await;
    b.wait_held(0).await;

    let (one, two) = (testkit::http_client(), http2());
    let behaviours = [
        Behaviour::StallBetweenChunks { after: 2 },
        Behaviour::StallBeforeHeaders,
        Behaviour::StallBetweenChunks { after: 2 },
        Behaviour::StallBeforeHeaders,
        Behaviour::StallBetweenChunks { after: 2 },
    ];
    let requests = [
        (&one, "stream", hello_stream()),
        (&one, "whole", hello()),
        (&two, "stream-2", hello_stream()),
        (&two, "whole-2", hello()),
        (&one, "leads", tagged(hello_stream(), "shared")),
    ];
    for (place, (behaviour, (client, id, body))) in behaviours.into_iter().zip(requests).enumerate() {
        a.script([behaviour]);
        ask(client, id, &body);
        a.wait_held(place).await;
    }
    ask(&one, "follows", &tagged(hello_stream(), "shared"));
    ask(&two, "follows-2", &tagged(hello_stream(), "shared"));
    sharing(gateway, 3).await;
    // Its body has not come yet.
    let mut uploads = RawClient::connect(gateway.data_addr()).await;
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nx-request-id: uploads\r\ncontent-length: 1000\r\n\r\n{";
    uploads.send(head).await.unwrap();
    let in_flight = async { while gateway.metric("tidegate_in_flight_requests", &[]).await != Some(9.0) {} };
    tokio::time::timeout(testkit::PATIENCE, in_flight).await.unwrap();
    (callers, uploads)
}

#[tokio::test]
async fn what_is_cut_off_is_in_the_ledger_once() {
    // At the end of the grace period, and by a second signal.
    for (grace_ms, signals) in [(100, 1), (60_000, 2)] {
        let mut setting = setting(&format!("grace_period_ms: {grace_ms}")).await;
        let (callers, uploads) = under_way(&setting).await;
        for _ in 0..signals {
            setting.gateway.signal(Signal::TERM);
            setting.gateway.wait_for_log("stopping").await;
        }
        assert!(setting.gateway.wait().await.success());
        drop(uploads);
        for caller in callers {
            let reply = caller.await.unwrap();
            assert!(reply.is_err(), "cut, and not a clean end: {reply:?}");
        }
        let found = recorded(setting.gateway.home());
        let expected: BTreeMap<String, Vec<String>> = [
            ("follows", vec!["request interrupted"]),
            ("follows-2", vec!["request interrupted"]),
            ("kept", vec!["request deferred", "outbox gateway_failed"]),
            ("leads", vec!["request interrupted"]),
            ("stream", vec!["request interrupted"]),
            ("stream-2", vec!["request interrupted"]),
            ("uploads", vec!["request gateway_failed"]),
            ("whole", vec!["request gateway_failed"]),
            ("whole-2", vec!["request gateway_failed"]),
        ]
        .into_iter()
        .map(|(id, outcomes)| (id.to_owned(), outcomes.into_iter().map(str::to_owned).collect()))
        .collect();
        assert_eq!(found, expected, "{:#?}", setting.gateway.logs());
        let spans = traces::spans(&setting.collector.log());
        assert_eq!(traces::roots(&spans).len(), 10, "each is a trace as well");
    }
}

#[tokio::test]
async fn who_waits_on_another_thread_is_cut_off_as_well() {
    const SHARED: usize = 24;
    let mut setting = setting("grace_period_ms: 60000").await;
    setting.a.set_default(Behaviour::StallBetweenChunks { after: 2 });
    let mut callers = Vec::new();
    let mut ask = async |n: usize, who: &str| {
        let mut body = tagged(hello_stream(), "shared");
        body["messages"][0]["content"] = json!(format!("question {n}"));
        let body = body.to_string();
        let mut caller = RawClient::connect(setting.gateway.data_addr()).await;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nx-request-id: {who}-{n}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        caller.send(head + &body).await.unwrap();
        callers.push(caller);
    };
    for n in 0..SHARED {
        ask(n, "leads").await;
        setting.a.wait_held(n).await;
    }
    // One more shifts by a thread who follows.
    ask(SHARED, "leads").await;
    setting.a.wait_held(SHARED).await;
    for n in 0..SHARED {
        ask(n, "follows").await;
    }
    sharing(&setting.gateway, 2 * SHARED + 1).await;
    // Threads that have something to do do not all stop in the same moment.
    setting.a.set_text(format!("{} ", "x".repeat(64_000)).repeat(1500), testkit::Usage::default());
    setting.a.set_default(Behaviour::SetText);
    let busy: Vec<_> = (0..4).map(|_| chat(&setting.gateway, &hello_stream()).send()).map(tokio::spawn).collect();
    let mut busy_read = Vec::new();
    for reply in busy {
        let mut reply = reply.await.unwrap().unwrap();
        busy_read.push(tokio::spawn(async move { while let Ok(Some(_)) = reply.chunk().await {} }));
    }
    for _ in 0..2 {
        setting.gateway.signal(Signal::TERM);
        setting.gateway.wait_for_log("stopping").await;
    }
    assert!(setting.gateway.wait().await.success());
    let logs = setting.gateway.logs();
    assert!(!logs.iter().any(|line| line.contains("panicked")), "{logs:#?}");
    let rows = ledger_of(setting.gateway.home()).rows(&Filter::default()).unwrap();
    assert_eq!(rows.len(), 2 * SHARED + 1 + 4);
    let ended = |row: &account::ledger::Row| {
        let attempts = row.record.attempts.iter().map(|attempt| attempt.outcome.to_string()).collect::<Vec<_>>();
        (row.record.outcome.to_string(), attempts)
    };
    let mut attempts = 0;
    for row in &rows {
        let (outcome, tried) = ended(row);
        assert_eq!(outcome, "interrupted", "{tried:?}");
        assert!(tried.iter().all(|outcome| outcome == "caller_gone"), "nobody else is to blame: {tried:?}");
        attempts += tried.len();
    }
    assert_eq!(attempts, SHARED + 1 + 4);
}
