//! What is kept, for how long, over a restart, without a network, and what else a hit does and does not do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use testkit::{Behaviour, DEFAULT_TEXT, Gateway, ScriptedUpstream};

use super::{POLICY, Setting, ask, cache, config, said, setting, streamed};
use crate::support::{BARE, Reply, chat, push_clouds, settled_metrics, status_when};

const PERSIST: &str = "cache: {persist: true}\n";

#[tokio::test]
async fn bytes_are_bounded() {
    let upstream = ScriptedUpstream::start().await;
    let extra = "cache: {bytes_max: 8192, entry_bytes_max: 4096}\n";
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], extra).await;
    for n in 0..30 {
        assert_eq!(cache(&said(&gateway, &ask(&n.to_string())).await), "miss");
    }
    assert_eq!(cache(&said(&gateway, &ask("29")).await), "hit");
    assert_eq!(cache(&said(&gateway, &ask("0")).await), "miss", "it had to make room");
    upstream.set_default(Behaviour::answer("long ".repeat(1000)));
    for _ in 0..2 {
        assert_eq!(cache(&said(&gateway, &ask("a long story")).await), "miss");
    }
    let metrics = settled_metrics(&gateway).await;
    let of = |name: &str| testkit::sum_metric(&metrics, name, &[]).unwrap();
    assert!(of("tidegate_cache_bytes") <= 8192.0, "{metrics}");
    let evicted = testkit::sum_metric(&metrics, "tidegate_cache_evictions_total", &[("reason", "size")]).unwrap();
    assert_eq!(of("tidegate_cache_entries") + evicted, 31.0, "{metrics}");
}

/// Waits until so many answers are on disk.
async fn written(gateway: &Gateway, count: u64) {
    let line = format!("tidegate_cache_disk_writes_total{{result=\"written\"}} {count}\n");
    let there = async { while !gateway.metrics().await.contains(&line) {} };
    tokio::time::timeout(testkit::PATIENCE, there).await.unwrap();
}

fn persistent(folder: &Path, upstreams: &[&ScriptedUpstream], extra: &str) -> String {
    let file = folder.join("policy.yaml");
    std::fs::write(&file, POLICY).unwrap();
    let mut text = config(&file, &format!("{PERSIST}{extra}"));
    push_clouds(&mut text, upstreams);
    text
}

#[tokio::test]
async fn what_is_kept_on_disk_is_there_after_a_restart_and_after_a_kill() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let upstream = ScriptedUpstream::start().await;
    let text = persistent(folder.path(), &[&upstream], "");
    let start = async || Gateway::builder(&text).home(home.path()).start().await;
    let mut gateway = start().await;
    let first = said(&gateway, &streamed("hi", true)).await;
    // Nobody waits for the disk: what is stopped properly writes the rest.
    assert!(gateway.terminate().await.success());
    let kept = home.path().join("cache");
    for file in std::fs::read_dir(&kept).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let mut gateway = start().await;
    let again = said(&gateway, &streamed("hi", true)).await;
    assert_eq!((cache(&again), &again.text), ("hit", &first.text));
    let second = said(&gateway, &ask("ho")).await;
    written(&gateway, 1).await;
    gateway.kill().await;

    let mut gateway = start().await;
    let again = said(&gateway, &ask("ho")).await;
    assert_eq!((cache(&again), &again.text), ("hit", &second.text));
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "hit");
    assert_eq!(upstream.attempts().len(), 2);
    assert!(gateway.terminate().await.success());
    // What a target is no longer, it does not answer as.
    let other = text.replace("upstream-a", "upstream-new");
    let gateway = Gateway::builder(&other).home(home.path()).start().await;
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "miss");
}

#[tokio::test]
async fn a_kill_under_load_leaves_a_file_that_can_be_used() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let upstream = ScriptedUpstream::start().await;
    let text = persistent(folder.path(), &[&upstream], "");
    for round in 0..3 {
        let mut gateway = Gateway::builder(&text).home(home.path()).start().await;
        assert!(!gateway.logs().iter().any(|line| line.contains("not kept over a restart")));
        let flood: Vec<_> = (0..4)
            .map(|task| {
                let request = move |n: usize| ask(&format!("{round}-{task}-{n}"));
                let (client, url) = (gateway.client().clone(), gateway.url("/v1/chat/completions"));
                tokio::spawn(async move {
                    for n in 0.. {
                        let body = request(n).to_string();
                        let sent = client.post(&url).header("content-type", "application/json").body(body).send();
                        let Ok(response) = sent.await else { return };
                        if response.text().await.is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        upstream.wait_attempts((round + 1) * 60).await;
        gateway.kill().await;
        for task in flood {
            task.await.unwrap();
        }
    }
    let gateway = Gateway::builder(&text).home(home.path()).start().await;
    let kept = testkit::sum_metric(&settled_metrics(&gateway).await, "tidegate_cache_entries", &[]).unwrap();
    assert!(kept >= 20.0, "{kept} are there");
    let hits = [said(&gateway, &ask("0-0-0")).await, said(&gateway, &ask("1-0-0")).await];
    assert_eq!(hits.map(|reply| reply.content()), [DEFAULT_TEXT, DEFAULT_TEXT]);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_costs_the_restart_and_nothing_else() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let upstream = ScriptedUpstream::start().await;
    let text = persistent(folder.path(), &[&upstream], "");
    std::fs::create_dir(home.path().join("cache")).unwrap();
    std::fs::write(home.path().join("cache/responses.sqlite3"), "no database ".repeat(100)).unwrap();
    let gateway = Gateway::builder(&text).home(home.path()).start().await;
    gateway.wait_for_log("answers are not kept over a restart").await;
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "miss");
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "hit");
}

/// Without a network an answer of a cloud target is there all the same; what placement forbids is not.
#[tokio::test]
async fn offline_what_was_answered_before_is_answered() {
    let cloud = ScriptedUpstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, POLICY).unwrap();
    let mut text =
        format!("{BARE}policy: {{file: {}}}\nnetwork: {{probe: {{retry_max_ms: 1000}}}}\ntargets:\n", file.display());
    push_clouds(&mut text, &[&cloud]);
    let gateway = Gateway::start(&text).await;
    let first = said(&gateway, &ask("hi")).await;
    cloud.go_down().await;
    // Refused, and noticed.
    assert_eq!(Reply::of(chat(&gateway, &ask("ho"))).await.status, 502);
    status_when(&gateway, "offline", |status| status["network"]["connectivity"] == "offline").await;
    let again = said(&gateway, &ask("hi")).await;
    assert_eq!((cache(&again), &again.text), ("hit", &first.text));
    assert_eq!(Reply::of(chat(&gateway, &ask("ho"))).await.status, 503);
    // Also for who would wait for it, at once.
    let waiting = Reply::of(chat(&gateway, &ask("hi")).header("prefer", "respond-async")).await;
    assert_eq!((waiting.status, cache(&waiting)), (200, "hit"));
    assert_eq!(Reply::of(chat(&gateway, &ask("ho")).header("prefer", "respond-async")).await.status, 202);
    for (name, value, status) in [("x-tidegate-privacy", "restricted", 503), ("x-tidegate-mode", "only_on_device", 503)]
    {
        let reply = Reply::of(chat(&gateway, &ask("hi")).header(name, value)).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.text);
    }
}

/// What answered because another was away does not outlast that.
#[tokio::test]
async fn what_stood_in_for_another_is_not_kept() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    b.set_default(Behaviour::answer("from b"));
    let Setting { gateway, .. } = setting(POLICY, &[&a, &b], "").await;
    a.script([Behaviour::status(503)]);
    let first = said(&gateway, &ask("hi")).await;
    assert_eq!((cache(&first), first.content().as_str()), ("miss", "from b"));
    let second = said(&gateway, &ask("hi")).await;
    assert_eq!((cache(&second), second.content().as_str()), ("miss", DEFAULT_TEXT));
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "hit");
}

/// A hit is neither learnt from nor rated, and no question that was asked again speaks against an answer that is given again.
#[tokio::test]
async fn a_hit_teaches_nothing() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "learning: {enabled: true}\n").await;
    let asked = async |id: &str| Reply::of(chat(&gateway, &ask("hi")).header("x-request-id", id)).await;
    let rated = async |id: &str| {
        let rating = json!({"request_id": id, "rating": "up"});
        Reply::read(gateway.post("/v1/feedback", &rating).await).await.status
    };
    assert_eq!(cache(&asked("first").await), "miss");
    assert_eq!(cache(&asked("again").await), "hit");
    assert_eq!((rated("first").await, rated("again").await), (200, 404));
    // One answer and its rating; no retry among them.
    assert_eq!(gateway.metric("tidegate_learning_records_total", &[("result", "written")]).await, Some(3.0));
}

/// A hit says nothing of where the conversation is: the next turn is decided as if it were the first.
#[tokio::test]
async fn a_hit_binds_no_conversation() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let setting = setting(POLICY, &[&a, &b], "").await;
    let gateway = &setting.gateway;
    said(gateway, &ask("hi")).await;
    let policy = POLICY.replace(
        "routes: [",
        "routes: [{id: turn, when: 'request.messages > 1', candidates: ['cloud/b', 'cloud/a'], objective: in_order}, ",
    );
    std::fs::write(&setting.policy, policy).unwrap();
    let reload = Reply::of(gateway.client().post(gateway.admin_url("/admin/reload"))).await;
    assert_eq!(reload.status, 200, "{}", reload.text);
    let in_session = |body: &Value| chat(gateway, body).header("x-tidegate-session", "s");
    assert_eq!(cache(&Reply::of(in_session(&ask("hi"))).await), "hit");
    let mut next = ask("hi");
    next["messages"].as_array_mut().unwrap().push(json!({"role": "assistant", "content": DEFAULT_TEXT}));
    next["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": "go on"}));
    assert_eq!(Reply::of(in_session(&next)).await.header("x-tidegate-target"), "cloud/b");
}

/// Requests that are answered later neither have such answers nor leave any.
#[tokio::test]
async fn the_outbox_stays_out_of_it() {
    let upstream = ScriptedUpstream::start_down().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    let kept = Reply::of(chat(&gateway, &ask("hi")).header("prefer", "respond-async")).await;
    assert_eq!(kept.status, 202, "{}", kept.text);
    upstream.come_back().await;
    let path = kept.header("location").to_owned();
    let done = async {
        loop {
            let entry = Reply::of(gateway.client().get(gateway.url(&path))).await.json();
            if entry["status"] == "completed" {
                return;
            }
        }
    };
    tokio::time::timeout(testkit::PATIENCE, done).await.unwrap();
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "miss");
    assert_eq!(upstream.attempts().len(), 2);
}
