//! The ledger of a running gateway: receipts, what is demanded of it, the commands.

mod kill;
mod reconcile;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use account::ledger::Filter;
use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, bin, http_client};
use tokio::io::AsyncReadExt;

use crate::support::{Reply, chat, cloud_config, hello, hello_stream, ledger_of, status_when};

/// Two dollars for a million tokens of a prompt, four for those of an answer.
const PRICE: &str = "    price: {input_usd_per_mtok: 2.0, output_usd_per_mtok: 4.0}\n    model:";

fn file(home: &Path) -> PathBuf {
    home.join("ledger/ledger.sqlite3")
}

fn edit(home: &Path, sql: &str) {
    rusqlite::Connection::open(file(home)).unwrap().execute_batch(sql).unwrap();
}

async fn receipt(gateway: &Gateway, id: &str) -> Reply {
    Reply::of(http_client().get(gateway.url(&format!("/v1/receipts/{id}")))).await
}

fn tidegate(home: &Path, args: &[&str]) -> Output {
    Command::new(bin("tidegate")).args(args).env("TIDEGATE_HOME", home).current_dir(home).output().unwrap()
}

/// A gateway with a policy.
async fn with_policy(upstreams: &[&ScriptedUpstream], policy: &str, extra: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, policy).unwrap();
    let config = cloud_config(upstreams, &format!("policy: {{file: '{}'}}\n{extra}", path.display()));
    (Gateway::start(&config.replace("    model:", PRICE)).await, folder)
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn a_receipt_is_there_as_soon_as_the_answer_is() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let policy = "{version: 1, reference: cloud/b, routes: [{id: all, objective: in_order}]}";
    let (gateway, _folder) = with_policy(&[&a, &b], policy, "ledger: {flush_ms: 10000}").await;
    a.script([Behaviour::status(400), Behaviour::SetText]);
    for body in [hello(), hello_stream()] {
        a.script([Behaviour::ResetBeforeHeaders, Behaviour::ResetBeforeHeaders]);
        let reply = Reply::of(chat(&gateway, &body)).await;
        let id = reply.header("x-request-id");
        let receipt = receipt(&gateway, id).await;
        assert_eq!(receipt.status, 200, "{}", receipt.text);
        let receipt = receipt.json();
        assert_eq!((&receipt["object"], &receipt["request_id"]), (&json!("receipt"), &json!(id)));
        if reply.status == 400 {
            assert_eq!(receipt["outcome"], "rejected_by_target");
            continue;
        }
        assert_eq!((&receipt["outcome"], &receipt["target"]), (&json!("answered"), &json!("cloud/a")), "{receipt}");
        assert_eq!(receipt["reason"], "rule=all");
    }
    let reply = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!(reply.header("x-tidegate-target"), "cloud/b", "{}", reply.text);
    let receipt = receipt(&gateway, reply.header("x-request-id")).await.json();
    // 11 tokens at 2, 7 at 4 dollars a million.
    assert_eq!(receipt["cost_usd"], json!(50e-6));
    assert_eq!(receipt["cost_avoided_usd"], json!(0.0), "the reference itself answered");
    assert_eq!(receipt["tokens"], json!({"input": 11, "cached": 0, "output": 7, "estimated": false}));
    let sent: usize = [&a, &b].iter().map(|upstream| upstream.attempts().last().unwrap().body.len()).sum();
    let attempts = receipt["attempts"].as_array().unwrap();
    let bytes: u64 = attempts.iter().map(|attempt| attempt["sent_bytes"].as_u64().unwrap()).sum();
    assert_eq!(receipt["left_device"], json!({"what": "text", "bytes": bytes}));
    assert!(bytes >= sent as u64, "{receipt}");
    assert_eq!(attempts[0]["outcome"], "connection_lost");
    let place = format!("{}:{}", receipt["ledger"]["seq"], receipt["ledger"]["hash"].as_str().unwrap());
    let verified = tidegate(gateway.home(), &["ledger", "verify", "--known", &place]);
    assert!(verified.status.success(), "{}", text(&verified));
}

#[tokio::test]
async fn what_stays_on_the_device_says_that_nothing_left_and_what_that_avoided() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let policy = "{version: 1, reference: cloud/b, routes: [{id: all, objective: in_order}]}";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, policy).unwrap();
    let config = cloud_config(&[&device, &cloud], &format!("policy: {{file: '{}'}}", path.display()));
    let config = config.replace("upstream-a\n", "upstream-a\n    locality: device\n");
    // Of the second alone is it known what it charges, and it is switched off.
    let config =
        config.replace("    model: upstream-b", "    enabled_if_env: TIDEGATE_TEST_NOT_SET\n    model: upstream-b");
    let config = config.replace(
        "    enabled_if_env",
        "    price: {input_usd_per_mtok: 2.0, output_usd_per_mtok: 4.0}\n    enabled_if_env",
    );
    let gateway = Gateway::start(&config).await;
    let reply = Reply::of(chat(&gateway, &hello()).header("x-tidegate-privacy", "restricted")).await;
    assert_eq!(reply.header("x-tidegate-locality"), "device", "{}", reply.text);
    let receipt = receipt(&gateway, reply.header("x-request-id")).await.json();
    assert_eq!(receipt["left_device"], json!({"what": "nothing", "bytes": 0}));
    assert_eq!((&receipt["cost_usd"], &receipt["cost_avoided_usd"]), (&json!(0.0), &json!(50e-6)), "{receipt}");
    assert_eq!(receipt["reference"], "cloud/b");
}

#[tokio::test]
async fn ids_that_are_not_known_or_come_again_are_told_apart() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Gateway::start(&cloud_config(&[&upstream], "")).await;
    let unknown = receipt(&gateway, "req_0").await;
    assert_eq!((unknown.status, unknown.error("code").as_str()), (404, "receipt_not_found"), "{}", unknown.text);
    for _ in 0..2 {
        let reply = Reply::of(chat(&gateway, &hello()).header("x-request-id", "mine:1")).await;
        assert_eq!(reply.status, 200);
    }
    let found = receipt(&gateway, "mine:1").await.json();
    assert_eq!(receipt(&gateway, "mine%3A1").await.json(), found);
    assert_eq!(found["earlier"].as_array().unwrap().len(), 1, "{found}");
    assert!(found["ledger"]["seq"].as_u64() > found["earlier"][0]["ledger"]["seq"].as_u64());
    let put = Reply::of(http_client().put(gateway.url("/v1/receipts/mine"))).await;
    assert_eq!((put.status, put.header("allow")), (405, "GET"));
    let off = Gateway::start(&cloud_config(&[&upstream], "ledger: {enabled: false}")).await;
    assert_eq!(Reply::of(chat(&off, &hello())).await.status, 200);
    let receipt = receipt(&off, "mine").await;
    assert_eq!((receipt.status, receipt.error("code").as_str()), (404, "receipts_off"), "{}", receipt.text);
    assert!(!file(off.home()).exists());
}

/// What cannot be recorded is answered, unless the operator demands otherwise.
#[tokio::test]
async fn a_ledger_that_cannot_be_written_is_told_and_harms_only_where_it_is_demanded() {
    let upstream = ScriptedUpstream::start().await;
    for is_required in [false, true] {
        let config = cloud_config(&[&upstream], &format!("ledger: {{flush_ms: 1, required: {is_required}}}"));
        let gateway = Gateway::start(&config).await;
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
        status_when(&gateway, "recorded", |status| status["ledger"]["written"] == json!(1)).await;
        // A table that is away stands for a disk that is full.
        edit(gateway.home(), "ALTER TABLE blocks RENAME TO away");
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200, "it cannot be known before");
        let status = status_when(&gateway, "failing", |status| status["ledger"]["state"] == json!("failing")).await;
        assert_eq!((&status["ledger"]["required"], &status["ready"]), (&json!(is_required), &json!(!is_required)));
        assert!(status["ledger"]["reason"].as_str().unwrap().contains("blocks"), "{status}");
        gateway.wait_for_log("the ledger cannot be written").await;
        let reply = Reply::of(chat(&gateway, &hello())).await;
        match is_required {
            true => assert_eq!((reply.status, reply.error("code").as_str()), (503, "ledger_unavailable")),
            false => assert_eq!(reply.status, 200),
        }
        edit(gateway.home(), "ALTER TABLE away RENAME TO blocks");
        status_when(&gateway, "ready", |status| status["ledger"]["state"] == json!("ready")).await;
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
        let written = |status: &Value| status["ledger"]["written"] == json!(4);
        let status = status_when(&gateway, "written", written).await;
        // Also what was refused.
        assert_eq!((&status["ledger"]["lost"], &status["ledger"]["waiting"]), (&json!(0), &json!(0)));
        assert_eq!(gateway.metric("tidegate_ledger_up", &[]).await, Some(1.0));
        let records = gateway.metric("tidegate_ledger_records_total", &[("result", "written")]).await;
        assert_eq!(records, Some(4.0));
    }
}

/// One that cannot even be opened is no reason not to answer, and every record that is missing for that is counted.
#[tokio::test]
async fn a_ledger_that_cannot_be_opened_is_told_and_what_it_loses_is_counted() {
    let upstream = ScriptedUpstream::start().await;
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(file(home.path())).unwrap();
    let config = cloud_config(&[&upstream], "");
    let gateway = Gateway::builder(&config).home(home.path()).start().await;
    for _ in 0..2 {
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    }
    let status = status_when(&gateway, "counted", |status| status["ledger"]["lost"] == json!(2)).await;
    assert_eq!((&status["ledger"]["state"], &status["ready"]), (&json!("failing"), &json!(true)), "{status}");
    assert_eq!(gateway.metric("tidegate_ledger_up", &[]).await, Some(0.0));
    assert_eq!(gateway.metric("tidegate_ledger_records_total", &[("result", "failed")]).await, Some(2.0));
    assert_eq!(receipt(&gateway, "req_0").await.error("code"), "receipts_off");
    let required = home.path().join("required.yaml");
    std::fs::write(&required, config + "\nledger: {required: true}\n").unwrap();
    let refused = tidegate(home.path(), &["up", "--config", required.to_str().unwrap()]);
    let told = text(&refused);
    assert!(!refused.status.success() && told.contains("ledger.required is true: the ledger: "), "{told}");
    let reason = told.rsplit_once("the ledger: ").unwrap().1.trim();
    assert_eq!(told.matches(reason).count(), 1, "{told}");
}

/// What stands in `--outcome` and `--kind` is a word that there is.
#[test]
fn a_word_that_no_record_has_is_refused() {
    for (option, expected) in [("--outcome", "targets_failed"), ("--kind", "comparison")] {
        let refused = Command::new(bin("tidegate")).args(["ledger", "query", option, "anwsered"]).output().unwrap();
        assert!(!refused.status.success() && text(&refused).contains(expected), "{}", text(&refused));
    }
}

#[tokio::test]
async fn commands_read_beside_a_gateway_and_without_one() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let policy = "{version: 1, routes: [{id: b, when: '\"b\" in request.tags', candidates: [cloud/b]}, {id: rest, candidates: [cloud/a]}]}";
    let (mut gateway, folder) = with_policy(&[&a, &b], policy, "").await;
    let mut ids = Vec::new();
    for n in 0..10 {
        let request = chat(&gateway, &hello());
        let request = if n < 3 { request.header("x-tidegate-tags", "b") } else { request };
        ids.push(Reply::of(request).await.header("x-request-id").to_owned());
    }
    receipt(&gateway, &ids[9]).await;
    let home = gateway.home().to_owned();
    let run = |args: &[&str]| {
        let output = tidegate(&home, args);
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        text(&output)
    };
    let check = |tail: usize| {
        assert_eq!(run(&["ledger", "tail", "-n", "4"]).lines().count(), tail);
        let csv = run(&["ledger", "query", "--since", "1h", "--target", "cloud/b", "--format", "csv"]);
        assert_eq!((csv.lines().count(), csv.contains(&ids[0]), csv.contains(&ids[5])), (4, true, false), "{csv}");
        let json =
            run(&["ledger", "query", "--route", "rest", "--outcome", "answered", "--limit", "2", "--format", "json"]);
        let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
        assert_eq!((json.lines().count(), &last["record"]["request_id"]), (2, &json!(ids[9])));
        let facts = &last["record"]["decision"]["facts"];
        assert_eq!((&facts["request.mode"], &facts["request.messages"]), (&json!("prefer_on_device"), &json!(1)));
        let summary: Value = serde_json::from_str(&run(&["ledger", "summary", "--since", "1h", "--json"])).unwrap();
        assert_eq!((&summary["requests"], &summary["stayed_on_device"]), (&json!(10), &json!(0)));
        assert_eq!(summary["targets"]["cloud/b"]["requests"], 3);
        assert!((summary["cost_usd"].as_f64().unwrap() - 500e-6).abs() < 1e-12, "{summary}");
        assert!(run(&["ledger", "verify"]).contains("10 records looked at"));
    };
    check(5);
    gateway.terminate().await;
    check(5);
    let out = home.join("out.jsonl");
    assert!(run(&["ledger", "export", out.to_str().unwrap()]).starts_with("10 records written"));
    let exported = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (shared, records) = lines.split_at(lines.len() - 10);
    assert!(records.iter().all(|line| line["record"].is_object()));
    let decision = &records[0]["record"]["decision"];
    let named = [&decision["base"], &decision["targets"][0]["profile"], &decision["targets"][1]["profile"]];
    assert!(named.iter().all(|name| shared.iter().any(|line| line["shared"] == **name)), "{exported}");
    let again = tidegate(&home, &["ledger", "export", out.to_str().unwrap()]);
    assert!(!again.status.success() && text(&again).contains("cannot be made"));

    // The same requests under a policy that sends all of them to the other target.
    let candidate = folder.path().join("candidate.yaml");
    std::fs::write(&candidate, "{version: 1, routes: [{id: all, candidates: [cloud/b]}]}").unwrap();
    let config = folder.path().join("tidegate.yaml");
    let base = cloud_config(&[&a, &b, &b], "").replace("    model:", &PRICE.replace("4.0", "40.0"));
    std::fs::write(&config, base).unwrap();
    let args = ["replay", "--config", config.to_str().unwrap(), "--policy", candidate.to_str().unwrap()];
    let report: Value = serde_json::from_str(&run(&[&args[..], &["--json"]].concat())).unwrap();
    assert_eq!((&report["requests"], &report["first_target_changed"]), (&json!(10), &json!(7)), "{report}");
    assert_eq!((&report["placement_changed"], &report["with_unknown_facts"]), (&json!(0), &json!(0)));
    assert_eq!(report["changed"][0]["request_id"], json!(ids[3]));
    assert_eq!(report["changed"][0]["target"], json!(["cloud/a", "cloud/b"]));
    assert_eq!(report["changed"][0]["rule"], json!(["rest", "all"]));
    // A few seconds say nothing of a week, and nobody knows what a target would have done that was not there.
    assert_eq!(report["cost_usd_a_week"], Value::Null, "{report}");
    // At the prices of then, which both had.
    assert_eq!(report["cost_usd"]["now"], report["cost_usd"]["then"], "{report}");
    assert_eq!(report["before_target"], json!({"cloud/c": 10}), "{report}");
    let people = run(&args);
    assert!(people.contains("tried elsewhere first         7   70.0 %"), "{people}");
    assert!(people.contains("10 came before cloud/c was configured"), "{people}");
    assert!(!people.contains("a week  "), "{people}");

    edit(&home, "UPDATE blocks SET hash = zeroblob(32) WHERE seq = 10");
    let verify = tidegate(&home, &["ledger", "verify"]);
    assert_eq!(verify.status.code(), Some(1));
    assert!(text(&verify).contains("10 was edited") || text(&verify).contains("10 were edited"), "{}", text(&verify));
    drop((a, b));
}

/// As in `tidegate ledger tail --follow | head`.
#[tokio::test]
async fn who_follows_the_ledger_ends_with_who_reads_that() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Gateway::start(&cloud_config(&[&upstream], "")).await;
    let ask = async || {
        let id = Reply::of(chat(&gateway, &hello())).await.header("x-request-id").to_owned();
        assert_eq!(receipt(&gateway, &id).await.status, 200);
    };
    ask().await;
    let mut tail = tokio::process::Command::new(bin("tidegate"));
    tail.args(["ledger", "tail", "--follow"]).env("TIDEGATE_HOME", gateway.home()).kill_on_drop(true);
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut read = [0];
    tail.stdout.take().unwrap().read_exact(&mut read).await.unwrap();
    ask().await;
    let ended = tokio::time::timeout(testkit::PATIENCE, tail.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}

/// What nobody could answer is recorded with what it was decided by; what is not valid without.
#[tokio::test]
async fn whatever_the_way_out_there_is_one_record() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Gateway::start(&cloud_config(&[&upstream], "")).await;
    let body = hello();
    let requests = [
        ("answered", 200, chat(&gateway, &body)),
        ("invalid", 400, chat(&gateway, &json!({"model": "auto"}))),
        ("no_target", 503, chat(&gateway, &body).header("x-tidegate-privacy", "restricted")),
    ];
    for (outcome, status, request) in requests {
        let reply = Reply::of(request).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        let receipt = receipt(&gateway, reply.header("x-request-id")).await.json();
        assert_eq!(receipt["outcome"], outcome, "{receipt}");
    }
    let rows = ledger_of(gateway.home()).rows(&Filter::default()).unwrap();
    let decided: Vec<_> = rows.iter().map(|row| row.record.decision.is_some()).collect();
    assert_eq!(decided, [true, false, true]);
    let bytes: Vec<_> = rows.iter().map(|row| (row.record.request_bytes, row.record.response_bytes > 0)).collect();
    assert_eq!(bytes, [(body.to_string().len() as u64, true), (0, true), (body.to_string().len() as u64, true)]);
}
