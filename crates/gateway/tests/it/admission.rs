//! The queue in front of a local worker, with the fake llama-server, which refuses a request for which it has no free slot.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use testkit::{Gateway, ScriptedUpstream, bin, http_client};

use crate::support::{LISTEN, Reply, chat, hello, hello_stream, push_clouds};

/// `local/m` with the fake llama-server, these further keys and these arguments of the fake.
pub(crate) fn config(folder: &Path, keys: &str, fake_args: &str, clouds: &[&ScriptedUpstream]) -> String {
    let model = folder.join("m.gguf");
    std::fs::write(&model, "GGUF").unwrap();
    let mut text = format!("{LISTEN}engine: {{path: '{}'}}\ntargets:\n", bin("fake-llama-server").display());
    writeln!(text, "  - id: local/m\n    provider: llama_cpp\n    model_path: '{}'", model.display()).unwrap();
    writeln!(text, "    extra_args: [{fake_args}]\n    {keys}").unwrap();
    push_clouds(&mut text, clouds);
    text
}

/// Begins a stream that stands still after its first chunk and keeps its slot.
async fn hold(gateway: &Gateway) -> reqwest::Response {
    let mut held = chat(gateway, &hello_stream()).send().await.unwrap();
    assert_eq!(held.headers()["x-tidegate-target"], "local/m");
    held.chunk().await.unwrap().unwrap();
    held
}

async fn gauge(gateway: &Gateway, name: &str) -> Option<f64> {
    gateway.metric(name, &[("target", "local/m")]).await
}

/// Waits until a gauge of the worker has this value.
pub(crate) async fn wait_for_gauge(gateway: &Gateway, name: &str, value: f64) {
    let reached = async {
        while gauge(gateway, name).await != Some(value) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(testkit::PATIENCE, reached).await.unwrap_or_else(|_| panic!("{name} does not become {value}"));
}

#[tokio::test]
async fn a_worker_never_gets_more_than_it_has_slots() {
    all_are_answered("").await;
}

/// It has freed its slot, and takes a moment to close the connection that it was asked to close.
#[tokio::test]
async fn no_request_is_lost_on_a_connection_that_the_worker_is_about_to_close() {
    all_are_answered("--fake-close-late, '5'").await;
}

async fn all_are_answered(fake_args: &str) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "slots: 2", fake_args, &[])).await;
    let requests: Vec<_> = (0..40)
        .map(|n| {
            let body = if n % 2 == 0 { hello() } else { hello_stream() };
            tokio::spawn(Reply::of(chat(&gateway, &body)))
        })
        .collect();
    for request in requests {
        let reply = request.await.unwrap();
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "local/m"), "{}", reply.text);
    }
    let logged = gateway.logs().iter().filter(|line| line.contains("more requests than slots")).count();
    assert_eq!(logged, 0);
    wait_for_gauge(&gateway, "tidegate_worker_slots_busy", 0.0).await;
    assert_eq!(gauge(&gateway, "tidegate_worker_queue_depth").await, Some(0.0));
    // Nobody has left.
    assert_eq!(gauge(&gateway, "tidegate_cancellation_duration_seconds_count").await.unwrap_or(0.0), 0.0);
}

#[tokio::test]
async fn past_the_queue_the_next_target_answers_or_the_caller_is_told_when_to_come_again() {
    let (folder, cloud) = (tempfile::tempdir().unwrap(), ScriptedUpstream::start().await);
    let keys = "slots: 1\n    queue_max: 1";
    let gateway = Gateway::start(&config(folder.path(), keys, "--fake-stall-after, '1'", &[&cloud])).await;
    let only = |body| chat(&gateway, &body).header("x-tidegate-mode", "only_on_device");
    // The first starts the worker.
    let mut held = only(hello_stream()).send().await.unwrap();
    held.chunk().await.unwrap().unwrap();
    let waiting = tokio::spawn(only(hello_stream()).send());
    wait_for_gauge(&gateway, "tidegate_worker_queue_depth", 1.0).await;
    let refused = Reply::of(only(hello())).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (503, "no_target_available"), "{}", refused.text);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert!(refused.error("message").contains("queue is full"), "{}", refused.text);
    let elsewhere = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((elsewhere.status, elsewhere.header("x-tidegate-target")), (200, "cloud/a"), "{}", elsewhere.text);
    assert!(elsewhere.header("x-tidegate-reason").ends_with("fallback=queue_full"));
    // Who leaves makes room: in the queue at once, in the slot when the worker has freed it.
    waiting.abort();
    wait_for_gauge(&gateway, "tidegate_worker_queue_depth", 0.0).await;
    drop(held);
    wait_for_gauge(&gateway, "tidegate_worker_slots_busy", 0.0).await;
    let freed = gateway.metric("tidegate_cancellation_duration_seconds_count", &[("target", "local/m")]).await;
    assert_eq!(freed, Some(1.0));
    drop(hold(&gateway).await);
}

#[tokio::test]
async fn a_wait_that_is_too_long_ends_and_the_next_target_answers() {
    let (folder, cloud) = (tempfile::tempdir().unwrap(), ScriptedUpstream::start().await);
    let keys = "slots: 1\n    eager: true\n    queue_wait_ms: 200";
    let gateway = Gateway::start(&config(folder.path(), keys, "--fake-stall-after, '1'", &[&cloud])).await;
    gateway.wait_for_log("\"state\":\"ready\"").await;
    let _held = hold(&gateway).await;
    let elsewhere = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!(elsewhere.header("x-tidegate-target"), "cloud/a", "{}", elsewhere.text);
    let refused = Reply::of(chat(&gateway, &hello()).header("x-tidegate-privacy", "restricted")).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.error("message").contains("no slot was free within the limit"), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn while_a_worker_starts_the_cloud_answers_and_the_worker_is_started_by_that() {
    let (folder, cloud) = (tempfile::tempdir().unwrap(), ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(folder.path(), "slots: 1", "", &[&cloud])).await;
    let first = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((first.status, first.header("x-tidegate-target")), (200, "cloud/a"), "{}", first.text);
    gateway.wait_for_log("\"state\":\"ready\"").await;
    let second = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((second.status, second.header("x-tidegate-target")), (200, "local/m"), "{}", second.text);
    // A request that must stay waits for its model.
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "slots: 1", "", &[&cloud])).await;
    let stays = Reply::of(chat(&gateway, &hello_stream()).header("x-tidegate-privacy", "restricted")).await;
    assert_eq!((stays.status, stays.header("x-tidegate-target")), (200, "local/m"), "{}", stays.text);
    gateway.wait_for_log("request waits for its model").await;
}

/// An engine that is not there and cannot be fetched keeps the gateway neither from starting nor from answering elsewhere.
#[tokio::test]
async fn it_serves_while_engine_and_model_are_fetched() {
    let (home, cloud) = (tempfile::tempdir().unwrap(), ScriptedUpstream::start().await);
    // The package index accepts and says nothing, so that fetching goes on for as long as the test wants.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let index = format!("http://{}/simple", silent.local_addr().unwrap());
    let mut text = format!("{LISTEN}targets:\n").replace("artifacts: {fetch: false}\n", "");
    text.push_str("  - id: local/m\n    provider: llama_cpp\n    artifact: smollm2-135m-instruct\n");
    push_clouds(&mut text, &[&cloud]);
    let builder = Gateway::builder(&text).home(home.path()).env("PIP_INDEX_URL", &index).env("PIP_NO_CACHE_DIR", "1");
    let gateway = builder.env("PIP_FIND_LINKS", "").start().await;
    let ready = Reply::of(http_client().get(gateway.admin_url("/readyz"))).await;
    assert_eq!(ready.json()["targets"][0]["state"], json!("downloading"), "{}", ready.text);
    let answered = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((answered.status, answered.header("x-tidegate-target")), (200, "cloud/a"), "{}", answered.text);
    // A stream that must stay here is begun, named and kept alive.
    let stays = chat(&gateway, &hello_stream()).header("x-tidegate-mode", "only_on_device").send().await.unwrap();
    assert_eq!((stays.status().as_u16(), &stays.headers()["x-tidegate-target"]), (200, &"local/m".parse().unwrap()));
    let mut stays = stays;
    let comment = String::from_utf8(stays.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(comment.starts_with(": downloading") && comment.ends_with("\n\n"), "{comment:?}");
    let waiting = Reply::of(http_client().get(gateway.admin_url("/readyz"))).await;
    // Beside what is fetched for the classifier, in either order.
    let fetching = waiting.json()["fetching"].as_array().cloned().unwrap_or_default();
    let is_of_model = |phase: &Value| phase["phase"].as_str().is_some_and(|phase| phase.contains("smollm2"));
    assert_eq!(fetching.iter().filter(|phase| is_of_model(phase)).count(), 1, "{}", waiting.text);
    assert_eq!(gauge(&gateway, "tidegate_worker_queue_depth").await, Some(1.0));
    drop(stays);
    wait_for_gauge(&gateway, "tidegate_worker_queue_depth", 0.0).await;
}
