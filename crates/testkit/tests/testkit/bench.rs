//! The two programs of the benchmark: the generator counts what is complete and refuses what is not.

use serde_json::Value;
use std::net::SocketAddr;
use std::process::Stdio;
use testkit::{Behaviour, ScriptedUpstream, bin};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Runs the generator for a few requests.
async fn load(addr: SocketAddr, stream: bool, requests: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body.json");
    std::fs::write(&body, super::chat(stream).to_string()).unwrap();
    let mut command = Command::new(bin("bench-load"));
    command.arg("--url").arg(format!("http://{addr}/v1/chat/completions")).arg("--body-file").arg(body);
    command.args(["--warmup", "0", "--duration", "20", "--connections", "2", "--requests", requests]);
    let output = command.args(stream.then_some("--stream")).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_fast_upstream_passes_every_check() {
    let mut upstream = Command::new(bin("bench-upstream")).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(upstream.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let facts: Value = serde_json::from_str(&line).unwrap();
    let addr = facts["addr"].as_str().unwrap().parse().unwrap();
    for stream in [false, true] {
        let report = load(addr, stream, "200").await;
        assert_eq!(report["errors"], 0, "{report}");
        assert!(report["requests"].as_u64().unwrap() >= 200 && report["total_us"]["p99"].as_f64().unwrap() > 0.0);
        assert_eq!(report["answer"]["content_bytes"], facts["content_bytes"]);
        let (key, fact) = if stream { ("frames", "frames") } else { ("bytes", "document_bytes") };
        assert_eq!(report["answer"][key], facts[fact]);
    }
}

#[tokio::test]
async fn incomplete_answers_are_errors() {
    for (behaviour, stream, expected) in [
        (Behaviour::CutAfter { chunks: 3 }, true, "cut short"),
        (Behaviour::EndWithoutDone, true, "[DONE]"),
        (Behaviour::MalformedFrame { at: 1 }, true, "bytes, not"),
        (Behaviour::EndWithoutFinish, true, "events, not"),
        (Behaviour::answer("shorter"), false, "bytes, not"),
        (Behaviour::ShortBody, false, "cut short"),
        (Behaviour::status(503), false, "status 503"),
        (Behaviour::ResetBeforeHeaders, false, ""),
    ] {
        let upstream = ScriptedUpstream::start().await;
        // The first answer sets what is expected; later ones are checked against it. Few requests, for
        // the tenth answer has a longer id.
        let good = || Behaviour::answer(testkit::DEFAULT_TEXT);
        upstream.script([good(), good(), behaviour.clone()]);
        let report = load(upstream.addr(), stream, "5").await;
        assert_eq!(report["errors"], 1, "{behaviour:?}: {report}");
        assert!(report["first_error"].as_str().unwrap().contains(expected), "{report}");
        assert!(report["requests"].as_u64().unwrap() >= 5);
    }
}
