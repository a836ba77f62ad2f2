//! `tidegate bench` with scripted targets, and with the real engine: what is asked, what is counted, and that nobody pays unasked.
//!
//! No figure is compared with a time: what a machine does meanwhile decides that.

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::{Behaviour, ScriptedUpstream, bin};
use tokio::process::Command;

use crate::real_engine;
use crate::support::LISTEN;

const REQUESTS: usize = 3;
const CASES: usize = 4;

/// A target on the device, two in the cloud, of which one has a price.
struct Setting {
    device: ScriptedUpstream,
    priced: ScriptedUpstream,
    unpriced: ScriptedUpstream,
    folder: tempfile::TempDir,
}

async fn setting(extra: &str) -> Setting {
    let (device, priced, unpriced) =
        (ScriptedUpstream::start().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "{extra}\n{LISTEN}targets:
  - {{id: device/d, provider: openai, model: d, base_url: '{}', locality: device}}
  - {{id: cloud/priced, provider: openai, model: p, base_url: '{}', price: {{input_usd_per_mtok: 1000, output_usd_per_mtok: 5000}}}}
  - {{id: cloud/unpriced, provider: openai, model: u, base_url: '{}'}}\n",
        device.base_url(),
        priced.base_url(),
        unpriced.base_url()
    );
    std::fs::write(folder.path().join("t.yaml"), config).unwrap();
    Setting { device, priced, unpriced, folder }
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(bin("tidegate"));
    let requests = REQUESTS.to_string();
    command.args(["bench", "--config", "t.yaml", "--json", "out.json", "--svg", "out.svg", "--requests", &requests]);
    command.args(args).current_dir(folder).env("TIDEGATE_HOME", folder.join("home")).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(folder: &Path, args: &[&str]) -> (Output, String, String) {
    let output = command(folder, args).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("out.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn without_a_target_those_on_the_device_are_measured_each_prompt_unlike_the_others() {
    let s = setting("").await;
    let (output, out, err) = run(s.folder.path(), &["--concurrency", "2", "--max-tokens", "9"]).await;
    assert!(output.status.success(), "{out}{err}");
    assert_eq!((s.priced.connections_total(), s.unpriced.connections_total()), (0, 0));
    let attempts = s.device.attempts();
    assert_eq!(attempts.len(), CASES * (REQUESTS + 1), "one of each case to warm up");
    let mut beginnings = std::collections::HashSet::new();
    for attempt in &attempts {
        let body = attempt.json();
        let first = &body["messages"][0];
        assert!(beginnings.insert(first["content"].as_str().unwrap().to_owned()), "{first} came before");
        assert_eq!(
            (&body["stream"], &body["max_tokens"], &body["ignore_eos"]),
            (&json!(true), &json!(9), &Value::Null)
        );
    }
    let report = report(s.folder.path());
    assert_eq!(
        (&report["interrupted"], &report["max_tokens"], &report["warm_up"]),
        (&json!(false), &json!(9), &json!(1))
    );
    assert!(report["machine"]["cores"].as_u64().unwrap() >= 1 && report["tidegate"]["version"].is_string());
    let [target] = &report["targets"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(
        (&target["id"], &target["locality"], &target["model"]),
        (&json!("device/d"), &json!("device"), &json!("d"))
    );
    let cases = target["cases"].as_array().unwrap();
    let of = |case: &Value| (case["prompt"].clone(), case["at_once"].clone());
    assert_eq!(
        cases.iter().map(of).collect::<Vec<_>>(),
        [("short", 1), ("short", 2), ("long", 1), ("long", 2)].map(|(prompt, at_once)| (json!(prompt), json!(at_once)))
    );
    for case in cases {
        assert_eq!((&case["answered"], &case["requests"]), (&json!(REQUESTS), &json!(REQUESTS)), "{case}");
        assert_eq!(case["samples"].as_array().unwrap().len(), REQUESTS);
        assert_eq!((&case["prompt_tokens"]["median"], &case["answer_tokens"]["median"]), (&json!(11.0), &json!(7.0)));
        assert_eq!(case["prefill_tokens_per_s"]["source"], "client", "this target has no clock of its own");
        let (low, middle, high) = (&case["ttft_ms"]["p25"], &case["ttft_ms"]["median"], &case["ttft_ms"]["p75"]);
        assert!(low.as_f64() > Some(0.0) && low.as_f64() <= middle.as_f64() && middle.as_f64() <= high.as_f64());
    }
    assert!(out.contains("device/d  (device, d)") && out.contains("3/3") && out.contains("█"), "{out}");
    let picture = std::fs::read_to_string(s.folder.path().join("out.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("long prompt, 2 at once"), "{picture}");
}

#[tokio::test]
async fn nothing_is_sent_to_who_may_cost_money_before_somebody_said_yes() {
    let s = setting("").await;
    let targets = ["device/d", "cloud/priced", "cloud/unpriced", "--concurrency", "2", "--short", "1", "--long", "2"];
    let (output, out, err) = run(s.folder.path(), &targets).await;
    assert_eq!(output.status.code(), Some(64), "{out}{err}");
    for part in [
        "cloud/priced: 16 requests, at most",
        "of answers: at most $",
        "cloud/unpriced: 16 requests",
        "its price is not known",
        "--yes",
    ] {
        assert!(err.contains(part), "{part} in {err}");
    }
    assert!(!err.contains("device/d"), "{err}");
    for upstream in [&s.device, &s.priced, &s.unpriced] {
        assert_eq!(upstream.connections_total(), 0, "not even what is free");
    }
    assert!(!s.folder.path().join("out.json").exists());

    let (output, out, err) = run(s.folder.path(), &[&targets[..], &["--yes"]].concat()).await;
    assert!(output.status.success(), "{out}{err}");
    assert!(err.contains("cloud/priced: 16 requests, at most"), "it is said all the same: {err}");
    let report = report(s.folder.path());
    let bound = err.split("of answers: at most $").nth(1).unwrap().split(' ').next().unwrap().parse::<f64>().unwrap();
    for upstream in [&s.priced, &s.unpriced] {
        assert_eq!(upstream.attempts().len(), 16);
    }
    let [_, priced, unpriced] = &report["targets"].as_array().unwrap()[..] else { panic!("{report}") };
    // 12 answers that count, of 11 and 7 tokens.
    let cost = 12.0 * (11.0 * 1000.0 + 7.0 * 5000.0) / 1e6;
    assert!((priced["cost_usd"].as_f64().unwrap() - cost).abs() < 1e-9 && cost <= bound, "{priced} {bound}");
    assert_eq!(unpriced["cost_usd"], Value::Null);
}

#[tokio::test]
async fn what_fails_is_counted_and_a_target_that_answers_nothing_does_not_keep_the_others() {
    let s = setting("").await;
    s.priced.set_default(Behaviour::status(404));
    // Cut once, and continued by a second try, whose time would be that of both.
    s.device.script([Behaviour::answer("warm"), Behaviour::CutAfter { chunks: 3 }]);
    let (output, out, err) = run(s.folder.path(), &["cloud/priced", "device/d", "--concurrency", "1", "--yes"]).await;
    assert!(output.status.success(), "{out}{err}");
    let report = report(s.folder.path());
    let [priced, device] = &report["targets"].as_array().unwrap()[..] else { panic!("{report}") };
    assert!(priced["given_up"].as_str().is_some_and(|reason| !reason.is_empty()), "{priced}");
    assert!(s.priced.attempts().len() <= 5, "{}", s.priced.attempts().len());
    assert!(out.contains("given up: "), "{out}");
    let first = &device["cases"][0];
    assert_eq!((&first["answered"], &first["requests"]), (&json!(REQUESTS - 1), &json!(REQUESTS)), "{first}");
    assert_eq!(first["failures"], json!([{"reason": "answered at try 2 only", "count": 1}]));
    assert!(out.contains("2/3") && out.contains("1 of short, 1 at once, failed: answered at try 2 only"), "{out}");

    s.device.set_default(Behaviour::status(404));
    let (output, out, err) = run(s.folder.path(), &["device/d"]).await;
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(err.contains("nothing was answered"), "{err}");
}

#[tokio::test]
async fn an_interrupt_ends_it_with_what_there_is() {
    let s = setting("").await;
    let good = || Behaviour::answer("The tide.");
    s.device.script([good(), good(), good(), Behaviour::StallBetweenChunks { after: 2 }]);
    let run = command(s.folder.path(), &["device/d"]).spawn().unwrap();
    s.device.wait_held(3).await;
    kill_process(Pid::from_raw(i32::try_from(run.id().unwrap()).unwrap()).unwrap(), Signal::INT).unwrap();
    let output = run.wait_with_output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("interrupted") && out.contains("interrupted: not everything was measured"), "{out}{err}");
    let report = report(s.folder.path());
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["targets"][0]["cases"][0]["answered"], json!(2), "{report}");
    assert!(s.folder.path().join("out.svg").exists());
    assert_eq!(s.device.attempts().len(), 4, "nothing is asked any more");
}

#[tokio::test]
async fn a_prompt_goes_nowhere_that_it_could_not_go_in_traffic() {
    let s = setting("defaults: {privacy: confidential}").await;
    let (output, out, err) = run(s.folder.path(), &["cloud/unpriced", "--yes"]).await;
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("given up: ") && out.contains("privacy"), "{out}");
    assert_eq!(s.unpriced.connections_total(), 0);
}

#[tokio::test]
async fn the_real_engine_is_measured_by_its_own_clock_and_reads_every_prompt_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.yaml"), real_engine::config()).unwrap();
    let args = ["--requests", "2", "--max-tokens", "6", "--short", "8", "--long", "40", "--concurrency", "2"];
    let mut command = Command::new(bin("tidegate"));
    command.args(["bench", "--config", "t.yaml", "--json", "out.json"]).args(args).current_dir(folder.path());
    let output = command.env("TIDEGATE_HOME", folder.path().join("home")).output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let report = report(folder.path());
    assert!(report["llama_server"].is_string(), "{report}");
    let target = &report["targets"][0];
    let local = &target["local"];
    assert_eq!((&local["quantisation"], &local["slots"], &local["threads"]), (&json!("Q4_1"), &json!(2), &json!(1)));
    assert!(local["file"].as_str().unwrap().ends_with(".gguf") && local["load_ms"].as_f64() > Some(0.0), "{local}");
    for case in target["cases"].as_array().unwrap() {
        assert_eq!((&case["answered"], &case["failures"]), (&json!(2), &json!([])), "{case}");
        assert_eq!(case["answer_tokens"]["median"], json!(6.0), "to the end, whatever the model thinks of it");
        // What comes before the first of its own words is the same in all: the mark that a message begins, and whose.
        assert!(case["cached_prompt_tokens"]["max"].as_f64().unwrap() <= 5.0, "{case}");
        assert!(case["prompt_tokens"]["min"].as_f64().unwrap() > 20.0, "{case}");
        assert_eq!(case["prefill_tokens_per_s"]["source"], "engine");
        assert!(case["decode_tokens_per_s"]["median"].as_f64() > Some(0.0), "{case}");
    }
}
