//! `tidegate eval-target` with a scripted target: labels, resume after a kill, what is refused.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use testkit::{Behaviour, ScriptedUpstream, bin};
use tokio::process::Command;

use crate::support::cloud_config;

const ROWS: usize = 6;

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(bin("tidegate"));
    command.args(["eval-target", "cloud/a", "--config", "t.yaml", "--out", "out.jsonl", "--concurrency", "1"]);
    command.args(args).current_dir(folder).env("TIDEGATE_HOME", folder.join("home")).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A folder with a configuration and a set of [`ROWS`] rows whose right answers are "tide".
async fn folder(upstream: &ScriptedUpstream, extra: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.yaml"), cloud_config(&[upstream], extra)).unwrap();
    let row = |n| json!({"id": format!("row-{n}"), "prompt": format!("question {n}"), "gold": "tide", "metric": "contains", "task": "sea"});
    let lines: String = (0..ROWS).map(|n| format!("{}\n", row(n))).collect();
    std::fs::write(folder.path().join("set.jsonl"), lines).unwrap();
    folder
}

fn labels(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("out.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on_and_asks_nothing_twice() {
    let upstream = ScriptedUpstream::start().await;
    let folder = folder(&upstream, "").await;
    upstream.script([
        Behaviour::answer("The tide."),
        Behaviour::answer("The moon."),
        Behaviour::StallBetweenChunks { after: 2 },
    ]);
    let mut run = command(folder.path(), &["--dataset", "set.jsonl"]).spawn().unwrap();
    upstream.wait_held(2).await;
    run.start_kill().unwrap();
    run.wait().await.unwrap();
    let before = labels(folder.path());
    assert_eq!(before.iter().map(|label| label["score"].as_f64().unwrap()).collect::<Vec<_>>(), [1.0, 0.0]);
    // As a machine that lost power in the middle of a line would leave it.
    let path = folder.path().join("out.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{}", &text[..40])).unwrap();

    upstream.set_default(Behaviour::answer("Tide"));
    let output = command(folder.path(), &["--dataset", "set.jsonl"]).output().await.unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    let after = labels(folder.path());
    let ids: Vec<_> = after.iter().map(|label| label["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..ROWS).map(|n| format!("row-{n}")).collect::<Vec<_>>());
    let asked: Vec<Value> = upstream.attempts().iter().map(testkit::Attempt::json).collect();
    // The third was asked twice: its first answer was never whole.
    assert_eq!(asked.len(), ROWS + 1);
    assert_eq!(asked[2]["messages"], asked[3]["messages"]);
    assert_eq!((&asked[0]["temperature"], &asked[0]["seed"]), (&json!(0), &json!(0)));
    assert!(out.contains("4 answered, 0 failed"), "{out}");
    let label = &after[5];
    assert_eq!(
        (&label["target"], &label["task"], &label["finish_reason"]),
        (&json!("cloud/a"), &json!("sea"), &json!("stop"))
    );
    assert!(
        label["ttft_ms"].as_f64().unwrap() > 0.0 && label["completion_tokens"] == 7 && label.get("answer").is_none()
    );

    // Everything is labelled: nothing is asked.
    let output = command(folder.path(), &["--dataset", "set.jsonl"]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("6 rows, 6 of them labelled"));
    assert_eq!(upstream.attempts().len(), ROWS + 1);
}

#[tokio::test]
async fn a_prompt_goes_nowhere_that_it_could_not_go_in_traffic() {
    let upstream = ScriptedUpstream::start().await;
    let folder = folder(&upstream, "defaults: {privacy: restricted}").await;
    let output = command(folder.path(), &["--dataset", "set.jsonl"]).output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("0 answered, 6 failed"), "{out}");
    assert!(err.contains("which privacy forbids"), "{err}");
    assert_eq!(upstream.connections_total(), 0);
}

#[tokio::test]
async fn a_target_that_does_not_answer_ends_the_run_and_a_bad_set_does_not_begin_it() {
    let upstream = ScriptedUpstream::start().await;
    upstream.set_default(Behaviour::status(500));
    let folder = folder(&upstream, "").await;
    let many: String = (0..40).map(|n| format!(r#"{{"id":"{n}","prompt":"p","metric":"nonempty"}}"#) + "\n").collect();
    std::fs::write(folder.path().join("many.jsonl"), many).unwrap();
    let output = command(folder.path(), &["--dataset", "many.jsonl"]).output().await.unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("did not answer 20 prompts in a row"), "{err}");

    let bad = "{\"id\":\"a\",\"prompt\":\"p\",\"metric\":\"nonempty\"}\n\nnothing\n{\"id\":\"a\",\"prompt\":\"p\",\"metric\":\"nonempty\"}\n{\"id\":\"b\",\"messages\":[],\"metric\":\"nonempty\"}\n";
    std::fs::write(folder.path().join("bad.jsonl"), bad).unwrap();
    let before = upstream.attempts().len();
    let output = command(folder.path(), &["--dataset", "bad.jsonl"]).output().await.unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["bad.jsonl:3: ", "bad.jsonl:4: id \"a\" is used above", "bad.jsonl:5: `messages`"] {
        assert!(err.contains(part), "{part} in {err}");
    }
    assert_eq!(upstream.attempts().len(), before);
    let output = Command::new(bin("tidegate"))
        .args(["eval-target", "cloud/z", "--config", "t.yaml", "--dataset", "set.jsonl"])
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no target \"cloud/z\"; configured are cloud/a"));
}
