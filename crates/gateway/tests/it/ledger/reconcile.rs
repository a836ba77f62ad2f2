//! Many mixed requests at once: what the upstreams saw, the ledger, the receipts and the metrics agree on requests, attempts, tokens and
//! cost.
//!
//! By hand: `TIDEGATE_RECONCILE=5000 cargo test -p gateway --test it ledger::reconcile`.

use std::collections::BTreeMap;
use std::sync::Arc;

use account::ledger::{Filter, Row};
use serde_json::Value;
use testkit::{Attempt, Behaviour, Ending, Gateway, ScriptedUpstream, Usage, http_client, sum_metric};

use super::{PRICE, receipt};
use crate::support::{cloud_config, hello, hello_stream, ledger_of, post, settled_metrics};

const CONNECTIONS: usize = 16;
/// Routes by the tag that asks for them: one that answers, one that fails and one that answers, one that says nothing and one that is asked
/// beside it, one that goes on for ever, and nobody.
const POLICY: &str = r#"
version: 1
reference: cloud/b
routes:
  - {id: failover, when: '"failover" in request.tags', candidates: [cloud/a, cloud/b], objective: in_order}
  - {id: hedge, when: '"hedge" in request.tags', candidates: [cloud/c, cloud/b], objective: in_order, limits: {hedge_after_ms: 5}}
  - {id: cancel, when: '"cancel" in request.tags', candidates: [cloud/d], objective: in_order}
  - {id: nobody, when: '"nobody" in request.tags', candidates: [cloud/b], require: target.input_usd_per_mtok > 100.0}
  - {id: cache, when: '"cache" in request.tags', candidates: [cloud/b], cache: {ttl_s: 3600}}
  - {id: success, candidates: [cloud/b]}
"#;
const USAGE: Usage = Usage { prompt_tokens: 1234, completion_tokens: 56, cached_tokens: 234 };
/// By the prices of [`PRICE`], where cached tokens cost as much as others.
const COST_USD: f64 = (1234.0 * 2.0 + 56.0 * 4.0) / 1e6;

/// What one caller got.
struct Got {
    id: String,
    status: u16,
    is_whole: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_upstreams_ledger_receipts_and_metrics_say_is_the_same() {
    let count: usize = std::env::var("TIDEGATE_RECONCILE").ok().and_then(|count| count.parse().ok()).unwrap_or(320);
    let [a, b, c, d] = [(); 4].map(|()| ScriptedUpstream::start());
    let (a, b, c, d) = (&a.await, &b.await, &c.await, &d.await);
    a.set_default(Behaviour::status(500));
    b.set_default(Behaviour::Answer { text: "one two three".to_owned(), usage: USAGE });
    c.set_default(Behaviour::StallBeforeHeaders);
    d.set_default(Behaviour::Endless { chunk: "on and on ".to_owned() });
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let extra =
        format!("policy: {{file: '{}'}}\nhedging: {{max_share: 1.0, max_usd_per_hour: 1000}}", policy.display());
    let config = cloud_config(&[a, b, c, d], &extra)
        .replace("    model:", &format!("    latency: {{ttft_ms: 10, tokens_per_s: 100}}\n{PRICE}"));
    let gateway = Arc::new(Gateway::start(&config).await);

    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|caller| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move {
                let client = http_client();
                let mut got = Vec::new();
                for n in (caller..count).step_by(CONNECTIONS) {
                    got.push(ask(&client, &gateway, n).await);
                }
                got
            })
        })
        .collect();
    let mut got = Vec::new();
    for caller in callers {
        got.extend(caller.await.unwrap());
    }
    assert_eq!(got.len(), count);
    let metrics = settled_metrics(&gateway).await;
    // Written once the newest can be read.
    assert_eq!(receipt(&gateway, &got[0].id).await.status, 200);
    let rows = ledger_of(gateway.home()).rows(&Filter::default()).unwrap();
    assert_eq!(ledger_of(gateway.home()).verify(&[]).unwrap().faults, []);

    requests(&got, &rows, &metrics);
    attempts(&[("cloud/a", a), ("cloud/b", b), ("cloud/c", c), ("cloud/d", d)], &rows, &metrics).await;
    tokens_and_cost(b, &rows, &metrics);
    receipts(&gateway, &got, &rows).await;
}

async fn ask(client: &reqwest::Client, gateway: &Gateway, n: usize) -> Got {
    let tags = ["success", "failover", "cache", "hedge", "success", "cancel", "nobody", "cache", "refuse", "success"];
    let tag = tags[n % tags.len()];
    let mut body = if n.is_multiple_of(3) || tag == "cancel" { hello_stream() } else { hello() };
    if tag == "cache" {
        body["temperature"] = 0.into();
    }
    let mut request = post(client, gateway, "/v1/chat/completions", &body).header("x-tidegate-tags", tag);
    if tag == "refuse" {
        request = request.header("x-tidegate-privacy", "restricted").header("x-tidegate-mode", "only_in_cloud");
    }
    let mut response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    if tag == "cancel" {
        // One piece, and away.
        response.chunk().await.unwrap();
        return Got { id, status, is_whole: false };
    }
    response.bytes().await.unwrap();
    Got { id, status, is_whole: true }
}

fn by<'a>(rows: &'a [Row], key: impl Fn(&'a Row) -> &'a str) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(key(row)).or_default() += 1;
    }
    counts
}

fn metric(metrics: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    sum_metric(metrics, name, labels).unwrap_or_default()
}

/// One record for each request, with the outcome that its caller saw and the metrics count.
fn requests(got: &[Got], rows: &[Row], metrics: &str) {
    assert_eq!(rows.len(), got.len());
    assert_eq!(metric(metrics, "tidegate_requests_total", &[]), got.len() as f64);
    for (outcome, count) in by(rows, |row| &row.record.outcome) {
        assert_eq!(metric(metrics, "tidegate_requests_total", &[("outcome", outcome)]), count as f64, "{outcome}");
    }
    let seen =
        |status: u16, is_whole| got.iter().filter(|got| got.status == status && got.is_whole == is_whole).count();
    let outcomes = by(rows, |row| &row.record.outcome);
    let expected = [
        ("answered", seen(200, true)),
        ("caller_gone", seen(200, false)),
        ("invalid", seen(400, true)),
        ("no_target", seen(503, true)),
    ];
    assert_eq!(outcomes, expected.into_iter().collect());
}

/// As many attempts on each target as it saw.
async fn attempts(upstreams: &[(&str, &ScriptedUpstream)], rows: &[Row], metrics: &str) {
    for (target, upstream) in upstreams {
        let recorded = rows.iter().flat_map(|row| &row.record.attempts).filter(|attempt| attempt.target == *target);
        let sent: Vec<_> = recorded.clone().map(|attempt| attempt.sent_bytes).filter(|bytes| *bytes > 0).collect();
        let count = recorded.count();
        assert_eq!(metric(metrics, "tidegate_attempts_total", &[("target", target)]), count as f64, "{target}");
        // One that was given up before it was connected was not seen. A read of what was left behind may come late.
        for index in 0..sent.len() {
            upstream.wait_ended(index).await;
        }
        let seen = upstream.attempts();
        assert_eq!(sent.len(), seen.len(), "{target}");
        let bytes: u64 = seen.iter().map(|attempt| attempt.body.len() as u64).sum();
        assert_eq!(sent.iter().sum::<u64>(), bytes, "bytes to {target}");
    }
    let hedges = rows.iter().flat_map(|row| &row.record.attempts).filter(|attempt| attempt.hedge).count();
    assert_eq!(metric(metrics, "tidegate_hedges_total", &[]), hedges as f64);
    assert!(hedges > 0);
}

/// The one upstream that answers reports its tokens; nobody else does, and what is estimated is said to be.
fn tokens_and_cost(b: &ScriptedUpstream, rows: &[Row], metrics: &str) {
    let whole = |attempt: &Attempt| attempt.ended_as(Ending::Completed);
    let answers = b.attempts().iter().filter(|attempt| whole(attempt)).count();
    let all = || rows.iter().flat_map(|row| &row.record.attempts);
    let reported: Vec<_> = all().filter_map(|attempt| attempt.tokens).filter(|tokens| !tokens.estimated).collect();
    assert_eq!(reported.len(), answers);
    let sum = |of: fn(&account::ledger::RecordedTokens) -> u64| reported.iter().map(of).sum::<u64>();
    let each = answers as u64;
    assert_eq!(
        (sum(|tokens| tokens.input), sum(|tokens| tokens.cached), sum(|tokens| tokens.output)),
        (each * USAGE.prompt_tokens, each * USAGE.cached_tokens, each * USAGE.completion_tokens)
    );
    let counted = |name: &str, how: &str| metric(metrics, name, &[("counted", how)]);
    assert_eq!(counted("tidegate_input_tokens_total", "reported"), (each * USAGE.prompt_tokens) as f64);
    assert_eq!(counted("tidegate_output_tokens_total", "reported"), (each * USAGE.completion_tokens) as f64);
    assert_eq!(metric(metrics, "tidegate_cached_input_tokens_total", &[]), (each * USAGE.cached_tokens) as f64);
    let guessed = || all().filter_map(|attempt| attempt.tokens).filter(|tokens| tokens.estimated);
    let sum = guessed().map(|tokens| tokens.input).sum::<u64>();
    assert_eq!(counted("tidegate_input_tokens_total", "estimated"), sum as f64);
    let sum = guessed().map(|tokens| tokens.output).sum::<u64>();
    assert_eq!(counted("tidegate_output_tokens_total", "estimated"), sum as f64);
    let answered = rows.iter().filter(|row| row.record.outcome == "answered");
    let cost: f64 = answered.clone().map(|row| row.record.cost_usd.unwrap()).sum();
    assert!((cost - COST_USD * answers as f64).abs() < 1e-9, "{cost} for {answers} answers");
    // The reference answered; what was given again cost nothing.
    let (again, anew): (Vec<_>, Vec<_>) = answered.partition(|row| row.record.attempts.is_empty());
    assert!(anew.iter().all(|row| row.record.cost_avoided_usd == Some(0.0)));
    let avoided = |row: &&Row| (row.record.cost_avoided_usd.unwrap() - COST_USD).abs() < 1e-9;
    assert!(!again.is_empty() && again.iter().all(avoided));
    for cache in ["hit", "coalesced"] {
        let recorded = again.iter().filter(|row| row.record.cache == cache).count();
        assert_eq!(metric(metrics, "tidegate_cache_requests_total", &[("result", cache)]), recorded as f64, "{cache}");
    }
    for (purpose, is_lost) in [("answer", false), ("hedge_lost", true)] {
        let of = all().filter(|attempt| (attempt.outcome == "hedge_lost") == is_lost);
        let (cost, shown) = (
            of.filter_map(|attempt| attempt.cost_usd).sum::<f64>(),
            metric(metrics, "tidegate_cost_usd_total", &[("purpose", purpose)]),
        );
        assert!((cost - shown).abs() < 1e-9 && cost > 0.0, "{purpose}: {cost} and {shown}");
    }
    let estimated = all().filter(|attempt| attempt.tokens.is_some_and(|tokens| tokens.estimated));
    let outcomes: std::collections::BTreeSet<_> = estimated.map(|attempt| &*attempt.outcome).collect();
    assert_eq!(outcomes, ["caller_gone", "hedge_lost"].into_iter().collect());
    let failed = all().filter(|attempt| attempt.outcome == "server_error");
    assert!(failed.clone().count() > 0 && failed.clone().all(|attempt| attempt.cost_usd.is_none()));
}

/// Each caller's receipt is what the ledger says.
async fn receipts(gateway: &Gateway, got: &[Got], rows: &[Row]) {
    let rows: BTreeMap<&str, &Row> = rows.iter().map(|row| (&*row.record.request_id, row)).collect();
    for got in got {
        let row = rows[got.id.as_str()];
        let receipt: Value = receipt(gateway, &got.id).await.json();
        assert_eq!(receipt["ledger"]["hash"], row.head.hash.to_string());
        assert_eq!(receipt["outcome"], *row.record.outcome);
        assert_eq!(receipt["cost_usd"].as_f64(), row.record.cost_usd);
        assert_eq!(receipt["attempts"].as_array().unwrap().len(), row.record.attempts.len());
    }
}
