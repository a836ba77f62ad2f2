//! Local workers behind the gateway, with the fake llama-server: cold starts, crashes, and what dies with what.

use serde_json::json;
use testkit::{Gateway, ScriptedUpstream, bin, http_client};

use crate::support::{LISTEN, Reply, chat, hello, hello_stream, push_clouds};

/// A configuration with `local/m` served by the fake llama-server with these arguments.
fn config(folder: &std::path::Path, fake_args: &str, clouds: &[&ScriptedUpstream]) -> String {
    let model = folder.join("m.gguf");
    std::fs::write(&model, "GGUF").unwrap();
    let mut config = format!(
        "{LISTEN}engine: {{path: '{}'}}\ntargets:\n  - id: local/m\n    provider: llama_cpp\n    model_path: '{}'\n    extra_args: [{fake_args}]\n    timeouts: {{connect_ms: 20000, first_token_ms: 20000, idle_ms: 20000, total_ms: 20000}}\n",
        bin("fake-llama-server").display(),
        model.display()
    );
    push_clouds(&mut config, clouds);
    config
}

async fn worker_pid(gateway: &Gateway) -> i32 {
    let line = gateway.wait_for_log("\"state\":\"ready\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    i32::try_from(line["fields"]["pid"].as_i64().unwrap()).unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Whether a process is there and no zombie.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn many_requests_to_a_cold_worker_start_one_child() {
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let args = format!("--fake-start-log, '{}', --fake-healthy-after, '3'", starts.display());
    let gateway = Gateway::start(&config(folder.path(), &args, &[])).await;
    assert!(!starts.exists(), "started on need");
    let ready = Reply::of(http_client().get(gateway.admin_url("/readyz"))).await;
    assert_eq!((ready.status, &ready.json()["targets"][0]["state"]), (200, &json!("cold")));
    let requests: Vec<_> = (0..50).map(|_| tokio::spawn(Reply::of(chat(&gateway, &hello())))).collect();
    for request in requests {
        let reply = request.await.unwrap();
        let answered = (reply.status, reply.header("x-tidegate-target"));
        assert_eq!(answered, (200, "local/m"), "{}\n{}", reply.text, gateway.logs().join("\n"));
    }
    assert_eq!(std::fs::read_to_string(&starts).unwrap().lines().count(), 1);
    let state = gateway.metric("tidegate_worker_state", &[("target", "local/m"), ("state", "ready")]).await;
    assert_eq!(state, Some(1.0));
}

#[tokio::test]
async fn a_worker_killed_between_two_requests_is_not_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "", &[])).await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    kill(worker_pid(&gateway).await);
    for body in [hello(), hello_stream()] {
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "local/m"), "{}", reply.text);
    }
    assert_eq!(gateway.metric("tidegate_worker_restarts_total", &[]).await, Some(1.0));
}

#[tokio::test]
async fn a_worker_killed_in_a_stream_ends_it_in_an_error_and_the_next_request_works() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "--fake-stall-after, '2'", &[])).await;
    let mut running = chat(&gateway, &hello_stream()).send().await.unwrap();
    let mut text = String::new();
    // All that it says before it stalls: the worker that takes its place would go on with what is missing.
    while !text.contains("orker ") {
        text.push_str(std::str::from_utf8(&running.chunk().await.unwrap().unwrap()).unwrap());
    }
    kill(worker_pid(&gateway).await);
    while let Some(chunk) = running.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("\"stream_interrupted\"") && !text.contains("[DONE]"), "{text}");
    let mut next = chat(&gateway, &hello_stream()).send().await.unwrap();
    assert_eq!(
        (next.status(), next.headers()["x-tidegate-target"].as_bytes()),
        (reqwest::StatusCode::OK, &b"local/m"[..])
    );
    assert!(next.chunk().await.unwrap().is_some());
}

#[tokio::test]
async fn a_worker_killed_again_and_again_is_waited_for_while_it_is_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "--fake-crash-on-chat, '2'", &[])).await;
    // Each child answers one request and dies of the next, which is tried once more on its successor.
    for n in 0..4 {
        let reply = Reply::of(chat(&gateway, &hello()).header("x-tidegate-mode", "only_on_device")).await;
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "local/m"), "{n}: {}", reply.text);
    }
}

#[tokio::test]
async fn only_on_device_with_an_impossible_worker_is_503_and_the_cloud_sees_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = ScriptedUpstream::start().await;
    let args = "--fake-exit, '1', --fake-say, 'error loading model: bad magic'";
    let gateway = Gateway::start(&config(folder.path(), args, &[&cloud])).await;
    let device_only = [("x-tidegate-mode", "only_on_device"), ("x-tidegate-privacy", "restricted")];
    for (name, value) in device_only {
        for body in [hello(), hello_stream()] {
            let reply = Reply::of(chat(&gateway, &body).header(name, value)).await;
            assert_eq!((reply.status, reply.error("code").as_str()), (503, "no_target_available"), "{}", reply.text);
            assert!(reply.error("message").contains("bad magic"), "says why: {}", reply.text);
        }
    }
    assert_eq!(cloud.connections_total(), 0);
    let allowed = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((allowed.status, allowed.header("x-tidegate-target")), (200, "cloud/a"), "{}", allowed.text);
}

#[tokio::test]
async fn no_worker_stays_behind_when_the_gateway_is_killed_or_stopped() {
    for gracefully in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut gateway = Gateway::start(&config(folder.path(), "", &[])).await;
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
        let pid = worker_pid(&gateway).await;
        assert!(is_running(pid));
        if gracefully {
            assert!(gateway.terminate().await.success());
        } else {
            gateway.kill().await;
        }
        // The signal was delivered when the gateway died; the child is gone as soon as it is scheduled.
        let gone = async {
            while is_running(pid) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(testkit::PATIENCE, gone).await.unwrap();
    }
}
