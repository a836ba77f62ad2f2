//! The real llama-server with the real default model, through the built gateway. The engine and the model are those that
//! `tidegate artifacts install` put into the user's data folder (`make test` runs it first).
//!
//! One gateway for all steps, as each start costs seconds of a small machine.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Gateway, bin, http_client};

use crate::support::{LISTEN, Reply, chat, settled_metrics};

/// Tokens of an answer that is cut short.
const STORY_TOKENS: u64 = 1500;

/// The path that `tidegate artifacts list` shows for an artifact of the user's own data folder.
pub(crate) fn installed(name: &str) -> String {
    let list = Command::new(bin("tidegate")).args(["artifacts", "install", name]).output().unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    let path = text.strip_prefix(&format!("{name}: ")).and_then(|rest| rest.rsplit_once(" (")).map(|(path, _)| path);
    path.unwrap_or_else(|| {
        panic!("{name} is not installed; run `make test`: {}", String::from_utf8_lossy(&list.stderr))
    })
    .to_owned()
}

pub(crate) fn config() -> String {
    let (engine, model) = (installed("llama-server"), installed("smollm2-135m-instruct"));
    format!(
        "{LISTEN}engine: {{path: '{engine}'}}\ntargets:\n  - id: local/smollm2-135m-instruct\n    provider: llama_cpp\n    model_path: '{model}'\n    context_tokens: 2048\n    slots: 2\n    threads: 1\n    eager: true\n"
    )
}

fn story(max_tokens: u64, stream: bool) -> Value {
    json!({
        "model": "auto", "stream": stream, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true,
        // A prompt read in other pieces, as from a cache, may round to another text.
        "cache_prompt": false,
        "messages": [{"role": "user", "content": "Tell me a long story about the sea."}],
    })
}

fn streamed_text(sse: &str) -> String {
    let data = sse.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn the_real_engine_answers_frees_its_slots_and_survives_being_killed() {
    let gateway = Gateway::start(&config()).await;

    // The same text, streaming and not; usage is counted though nobody asked to see it.
    let whole = Reply::of(chat(&gateway, &story(24, false))).await;
    assert_eq!(whole.header("x-tidegate-locality"), "device");
    assert_eq!(whole.json()["usage"]["completion_tokens"], json!(24));
    let streamed = Reply::of(chat(&gateway, &story(24, true))).await;
    assert!(streamed.text.ends_with("data: [DONE]\n\n"), "{}", streamed.text);
    assert_eq!(streamed_text(&streamed.text), whole.content());
    settled_metrics(&gateway).await;
    let tokens = gateway.metric("tidegate_output_tokens_total", &[("locality", "device")]).await;
    assert_eq!(tokens, Some(48.0));

    no_try_is_lost_when_one_request_follows_another_at_once(&gateway).await;
    slots_are_free_soon_after_the_caller_left(&gateway).await;
    survives_kill(&gateway).await;
}

/// llama-server closes a connection after a stream without a word: the next request must not be sent on it.
async fn no_try_is_lost_when_one_request_follows_another_at_once(gateway: &Gateway) {
    for n in 0..30 {
        let reply = Reply::of(chat(gateway, &story(2, n % 2 == 0))).await;
        assert_eq!(reply.status, 200, "{n}: {}", reply.text);
    }
    let failed: Vec<_> = gateway.logs().into_iter().filter(|line| line.contains("attempt failed")).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// A client of the worker's own socket, to see what the gateway's callers cannot.
pub(crate) fn worker_client(gateway: &Gateway) -> reqwest::Client {
    let sockets = std::fs::read_dir(gateway.home().join("run/sockets")).unwrap();
    let socket = sockets.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "sock"));
    reqwest::Client::builder().no_proxy().unix_socket(socket.unwrap()).build().unwrap()
}

pub(crate) async fn slots(worker: &reqwest::Client) -> Vec<Value> {
    let slots = worker.get("http://worker/slots").send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&slots).unwrap()
}

/// Waits until so many slots are busy. Says how long that took, and the most tokens of an answer that were seen meanwhile.
async fn wait_until_busy(worker: &reqwest::Client, wanted: usize) -> (Duration, u64) {
    let (begun, mut decoded) = (Instant::now(), 0);
    let reached = async {
        loop {
            let slots = slots(worker).await;
            let busy: Vec<_> = slots.iter().filter(|slot| slot["is_processing"] == json!(true)).collect();
            if busy.len() == wanted {
                return;
            }
            let tokens = |slot: &&Value| slot["next_token"][0]["n_decoded"].as_u64().unwrap_or(0);
            decoded = busy.iter().map(tokens).max().unwrap_or(0).max(decoded);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(testkit::PATIENCE, reached).await.unwrap();
    (begun.elapsed(), decoded)
}

async fn slots_are_free_soon_after_the_caller_left(gateway: &Gateway) {
    let worker = worker_client(gateway);
    for stream in [true, false] {
        wait_until_busy(&worker, 0).await;
        let request = tokio::spawn(chat(gateway, &story(STORY_TOKENS, stream)).send());
        wait_until_busy(&worker, 1).await;
        if stream {
            // In the middle of the answer, not before its headers.
            let mut response = request.await.unwrap().unwrap();
            response.chunk().await.unwrap().unwrap();
            drop(response);
        } else {
            request.abort();
        }
        let (took, decoded) = wait_until_busy(&worker, 0).await;
        println!("slot free {took:?} after the caller left, {decoded} tokens in (stream: {stream})");
        // The time depends on the machine. A slot that went on to the end would have been seen near its last token.
        assert!(decoded < STORY_TOKENS / 2, "{decoded} tokens after {took:?}");
    }
}

/// Kills the worker of this gateway, its only child.
pub(crate) fn kill_worker(gateway: &Gateway) {
    let pids = Command::new("pgrep").args(["-P", &gateway.pid().to_string()]).output().unwrap();
    let pid: i32 = String::from_utf8(pids.stdout).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}

async fn survives_kill(gateway: &Gateway) {
    kill_worker(gateway);
    let next = Reply::of(chat(gateway, &story(4, false))).await;
    assert_eq!(next.status, 200, "not noticed beyond the restart: {}", next.text);

    // In the middle of a stream: the next child writes the same again where nothing is left to chance, and the stream goes on
    // with that; else it ends in an error.
    let undisturbed = streamed_text(&Reply::of(chat(gateway, &story(200, true))).await.text);
    for temperature in [0.0, 2.0] {
        let mut body = story(200, true);
        body["temperature"] = json!(temperature);
        let mut running = chat(gateway, &body).send().await.unwrap();
        // So much that chance does not write the same again.
        let mut text = String::new();
        while text.matches("data: ").count() < 20 {
            text.push_str(&String::from_utf8_lossy(&running.chunk().await.unwrap().unwrap()));
        }
        kill_worker(gateway);
        while let Some(chunk) = running.chunk().await.unwrap() {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        if temperature == 0.0 {
            assert!(text.contains(": continued by local/") && text.ends_with("data: [DONE]\n\n"), "{text}");
            assert_eq!(streamed_text(&text), undisturbed);
        } else {
            assert!(text.contains("\"stream_interrupted\"") && !text.contains("[DONE]"), "{text}");
        }
    }
    assert_eq!(Reply::of(chat(gateway, &story(4, false))).await.status, 200);
}

#[tokio::test]
async fn offline_with_everything_installed_it_starts_and_answers() {
    // Every way out fails: package index, hub and proxies point at a closed port, and no pip may be run.
    let closed = "http://127.0.0.1:9";
    let home = tempfile::tempdir().unwrap();
    let engine = installed("llama-server");
    let artifacts = std::path::Path::new(&engine).ancestors().nth(3).unwrap();
    std::os::unix::fs::symlink(artifacts, home.path().join("artifacts")).unwrap();
    let fetching = config()
        .lines()
        .filter(|line| !line.starts_with("artifacts:") && !line.starts_with("engine:"))
        .map(|line| if line.contains("model_path") { "    artifact: smollm2-135m-instruct" } else { line })
        .collect::<Vec<_>>()
        .join("\n");
    let builder = Gateway::builder(&fetching).home(home.path());
    let builder = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "PIP_INDEX_URL"]
        .into_iter()
        .fold(builder, |builder, name| builder.env(name, closed));
    // ONNX Runtime would report to its maker, and keep what it could not send and an id of the device in a cache.
    let cache = home.path().join("cache");
    let builder = builder.env("HOME", home.path()).env("XDG_CACHE_HOME", &cache).env("ORT_DISABLE_TELEMETRY", "0");
    let gateway = builder.env("PATH", "/nonexistent").start().await;
    let status = Reply::of(http_client().get(gateway.admin_url("/readyz"))).await;
    assert_eq!(status.json()["classifier"]["state"], "ready", "{}", status.text);
    assert!(!cache.exists() && !home.path().join(".cache").exists());
    let reply = Reply::of(chat(&gateway, &story(4, false))).await;
    assert_eq!((reply.status, reply.header("x-tidegate-locality")), (200, "device"), "{}", reply.text);
    let models = Reply::of(http_client().get(gateway.url("/v1/models"))).await;
    assert_eq!(models.json()["data"][1]["id"], "local/smollm2-135m-instruct");
}
