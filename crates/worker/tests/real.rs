//! The supervisor with the real `llama-server` and a real model, as `make artifacts` fetches them.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::path::PathBuf;

use support::{Place, Watched, chat, get, kill};
use worker::{Ready, StateName, Worker};

const CHAT: &str = r#"{"messages":[{"role":"user","content":"Say hello."}],"max_tokens":8}"#;

/// An artifact: named by the environment, or where `make artifacts` keeps it for this user.
fn artifact(variable: &str, name: &str, file_name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("TIDEGATE_HOME")
        .or_else(|| set("XDG_DATA_HOME").map(|data| data.join("tidegate")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/share/tidegate")))
        .unwrap_or_default();
    let versions = home.join("artifacts").join(name);
    let found = std::fs::read_dir(&versions).into_iter().flatten().flatten().map(|entry| entry.path().join(file_name));
    found.filter(|path| path.is_file()).max().unwrap_or_else(|| {
        panic!("no {file_name} under {}: run `make artifacts`, or set {variable}", versions.display())
    })
}

fn place() -> Place {
    let executable = artifact("TIDEGATE_TEST_LLAMA_SERVER", "llama-server", "llama-server");
    let model = artifact("TIDEGATE_TEST_MODEL", "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf");
    let mut place = Place::new(executable, model);
    place.config.context_tokens = 1024;
    // Tests run side by side: more threads than cores would slow all of them down.
    place.config.threads = Some(1);
    place.config.model_alias = "smol".to_owned();
    place
}

async fn answers(ready: &Ready) {
    let answer = chat(ready, CHAT).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"model\":\"smol\"") && answer.contains("\"completion_tokens\":"), "{answer}");
}

#[tokio::test]
async fn starts_answers_restarts_and_stops() {
    let place = place();
    let worker = Worker::start(place.config.clone());
    let first = worker.ensure_ready().await.unwrap();
    answers(&first).await;
    let slots = get(&first, "/slots").await.unwrap();
    assert_eq!(slots.matches("\"n_ctx\":1024").count(), 2, "each slot has its context: {slots}");

    kill(worker.status().pid.unwrap());
    worker.report_lost(first.generation);
    let second = worker.ensure_ready().await.unwrap();
    assert_eq!(second.generation, 2);
    answers(&second).await;

    let child = Watched::open(worker.status().pid.unwrap());
    worker.stop().await;
    child.ended().await;
    assert_eq!(worker.status().state, StateName::Stopped);
    assert!(!place.log().contains("SIGTERM"), "it ends by itself when it is told to: {}", place.log());
}

#[tokio::test]
async fn text_of_requests_stays_out_of_the_log() {
    let place = place();
    let worker = Worker::start(place.config.clone());
    let ready = worker.ensure_ready().await.unwrap();
    answers(&ready).await;
    let bodies = [
        r#"{"messages":[{"role":"user","content":"SECRET"}],"max_tokens":4}"#,
        r#"{"messages":[{"role":"user","content":"SECRET"#,
        r#"{"messages":"SECRET"}"#,
        r#"{"messages":[{"role":"SECRET","content":[{"type":"SECRET"}]}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":4,"grammar":"root ::= SECRET ["}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":4,"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"SECRET"}}}}"#,
    ];
    for body in bodies {
        chat(&ready, body).await.unwrap();
    }
    worker.stop().await;
    let log = place.log();
    assert!(log.contains("model loaded") && log.contains("prompt eval time") && log.contains("withheld"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
}

#[tokio::test]
async fn a_bad_model_file_is_reported_with_the_last_lines() {
    let mut place = place();
    place.config.model = place.folder.path().join("bad.gguf");
    std::fs::write(&place.config.model, "this is no model").unwrap();
    let worker = Worker::start(place.config.clone());
    let error = worker.ensure_ready().await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert!(error.to_string().contains("not a GGUF file"), "{error}");
    assert!(error.last_lines().iter().any(|line| line.contains("failed to load model")), "{error:?}");
    assert_eq!(worker.status().generation, 1);
}

#[tokio::test]
async fn an_unknown_flag_is_reported() {
    let mut place = place();
    place.config.extra_args = vec!["--no-such-flag".into()];
    let error = Worker::start(place.config.clone()).ensure_ready().await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("--no-such-flag"), "{error}");
}
