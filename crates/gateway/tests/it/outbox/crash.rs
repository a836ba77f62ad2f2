//! What is kept survives SIGKILL in every state.

use serde_json::{Value, json};
use testkit::{Behaviour, DEFAULT_TEXT, Gateway, ScriptedUpstream};

use super::{config, delete, entry, finished, get, id, kept, later, offline, prompt, text};
use crate::support::{Reply, chat, hello};

async fn start(home: &std::path::Path, upstream: &ScriptedUpstream, extra: &str) -> Gateway {
    Gateway::builder(&config(&upstream.base_url(), extra)).home(home).start().await
}

#[tokio::test]
async fn a_request_that_waits_is_sent_by_the_next_process() {
    let home = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start_down().await;
    let mut gateway = Gateway::builder(&config(&upstream.base_url(), "")).home(home.path()).start().await;
    let kept = kept(later(&gateway, &prompt()).header("x-tidegate-tags", "a, b")).await;
    gateway.kill().await;
    upstream.come_back().await;
    let mut gateway = start(home.path(), &upstream, "").await;
    let done = finished(&gateway, id(&kept), "completed").await;
    assert_eq!((text(&done), &done["interrupted_attempts"]), (DEFAULT_TEXT, &json!(0)));
    assert_eq!(done["created_at"], kept["created_at"]);
    // And its answer by the one after that.
    gateway.kill().await;
    let gateway = start(home.path(), &upstream, "").await;
    assert_eq!(entry(&gateway, id(&kept)).await, done);
    assert_eq!(upstream.attempts().len(), 1, "what is finished is not sent again");
}

#[tokio::test]
async fn what_was_being_sent_is_sent_again_and_marked() {
    let home = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start_down().await;
    let mut gateway = Gateway::builder(&config(&upstream.base_url(), "")).home(home.path()).start().await;
    let kept = kept(later(&gateway, &prompt())).await;
    upstream.come_back().await;
    upstream.script([Behaviour::StallBeforeHeaders]);
    upstream.wait_held(0).await;
    assert_eq!(entry(&gateway, id(&kept)).await["status"], "sending");
    gateway.kill().await;
    let gateway = start(home.path(), &upstream, "").await;
    let done = finished(&gateway, id(&kept), "completed").await;
    assert_eq!((&done["attempts"], &done["interrupted_attempts"]), (&json!(2), &json!(1)), "{done}");
    assert_eq!(upstream.attempts().len(), 2);
}

/// A gateway that is told to stop finishes what it sends and begins nothing new.
#[tokio::test]
async fn a_gateway_that_stops_keeps_the_answer_that_is_on_its_way() {
    let home = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start_down().await;
    let extra = "outbox: {concurrency: 1}";
    let mut gateway = Gateway::builder(&config(&upstream.base_url(), extra)).home(home.path()).start().await;
    let first = kept(later(&gateway, &prompt())).await;
    let second = kept(later(&gateway, &hello())).await;
    upstream.come_back().await;
    upstream.script([Behaviour::StallBeforeHeaders]);
    upstream.wait_held(0).await;
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_for_log("stopping").await;
    upstream.release();
    assert!(gateway.wait().await.success());
    assert_eq!(upstream.attempts().len(), 1);
    let gateway = start(home.path(), &upstream, extra).await;
    let done = entry(&gateway, id(&first)).await;
    assert_eq!((&done["status"], &done["interrupted_attempts"]), (&json!("completed"), &json!(0)), "{done}");
    finished(&gateway, id(&second), "completed").await;
    assert_eq!(upstream.attempts().len(), 2);
}

/// 202 means kept: whatever was accepted before a kill in the middle of a flood is there afterwards, and nothing else but what
/// was cut off while it was being accepted.
#[tokio::test]
async fn whatever_was_accepted_before_a_kill_is_there() {
    let home = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start_down().await;
    let mut gateway = Gateway::builder(&config(&upstream.base_url(), "")).home(home.path()).start().await;
    let (accepted, mut ids) = tokio::sync::mpsc::unbounded_channel();
    let flood: Vec<_> = (0..4)
        .map(|_| {
            let request = later(&gateway, &prompt());
            let accepted = accepted.clone();
            tokio::spawn(async move {
                while let Ok(response) = request.try_clone().unwrap().send().await {
                    let Ok(text) = response.text().await else { return };
                    let entry: Value = serde_json::from_str(&text).unwrap();
                    accepted.send(id(&entry).to_owned()).unwrap();
                }
            })
        })
        .collect();
    drop(accepted);
    let mut all = Vec::new();
    while all.len() < 20 {
        all.push(ids.recv().await.unwrap());
    }
    gateway.kill().await;
    for task in flood {
        task.await.unwrap();
    }
    while let Some(id) = ids.recv().await {
        all.push(id);
    }
    let gateway = Gateway::builder(&config(&upstream.base_url(), "")).home(home.path()).start().await;
    let mut after = None;
    let mut listed = Vec::new();
    loop {
        let page =
            get(&gateway, &format!("/v1/outbox?limit=100{}", after.map_or(String::new(), |id| format!("&after={id}"))))
                .await;
        let page = page.json();
        listed.extend(page["data"].as_array().unwrap().iter().map(|entry| id(entry).to_owned()));
        after = page["last_id"].as_str().map(str::to_owned);
        if page["has_more"] != json!(true) {
            break;
        }
    }
    assert!(all.iter().all(|id| listed.contains(id)), "{} accepted, {} there", all.len(), listed.len());
    assert!(listed.len() <= all.len() + 4, "{} accepted, {} there", all.len(), listed.len());
    upstream.come_back().await;
    for id in &all[..3] {
        finished(&gateway, id, "completed").await;
    }
    drop(upstream);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_folder_sends_nothing_of_the_first() {
    let (upstream, gateway) = offline("").await;
    let waiting = kept(later(&gateway, &prompt())).await;
    let second = Gateway::builder(&config(&upstream.base_url(), "")).home(gateway.home()).start().await;
    let reply = get(&second, "/v1/outbox").await;
    assert_eq!((reply.status, reply.error("code").as_str()), (404, "outbox_off"));
    assert!(reply.error("message").contains("another gateway"), "{}", reply.text);
    assert_eq!(Reply::of(later(&second, &hello())).await.status, 502);
    upstream.come_back().await;
    finished(&gateway, id(&waiting), "completed").await;
    assert_eq!(upstream.attempts().len(), 1);
    assert!(Reply::of(chat(&second, &hello())).await.status == 200);
    assert_eq!(delete(&gateway, id(&waiting)).await.status, 200);
}
