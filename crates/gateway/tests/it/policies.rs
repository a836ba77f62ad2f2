//! Policies in the running gateway: in force, replaced, explained, remembered and compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, http_client};

use crate::support::{LISTEN, Reply, chat, hello, post, push_clouds, settled_metrics};

const TO_DEVICE: &str = "version: 1\nroutes: [{id: to-device, candidates: ['device/*']}]\n";
const TO_CLOUD: &str = "version: 1\nroutes: [{id: to-cloud, candidates: ['cloud/*']}]\n";
/// Fails its own test; the rest of it is fine, and would be a third way to decide.
const BROKEN: &str = "version: 1\nroutes: [{id: broken, candidates: ['cloud/*']}]\n\
                      tests: [{name: fails, expect: {target: nobody/nothing}}]\n";

struct Setting {
    device: ScriptedUpstream,
    cloud: ScriptedUpstream,
    gateway: Gateway,
    policy: PathBuf,
    _folder: tempfile::TempDir,
}

/// `device/d` and `cloud/a` under a policy in a file, with `more` in the configuration's `policy` section.
async fn setting(policy: &str, more: &[(&str, &str)]) -> Setting {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    device.set_default(Behaviour::answer("from the device"));
    cloud.set_default(Behaviour::answer("from the cloud"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, policy).unwrap();
    let mut section = format!("policy:\n  file: {}\n", file.display());
    for (key, text) in more {
        let path = folder.path().join(format!("{key}.yaml"));
        std::fs::write(&path, text).unwrap();
        section += &format!("  {key}: {}\n", path.display());
    }
    let mut config = format!(
        "{LISTEN}{section}targets:\n  - {{id: device/d, provider: openai, model: m, base_url: '{}', locality: device}}\n",
        device.base_url()
    );
    push_clouds(&mut config, &[&cloud]);
    let gateway = Gateway::start(&config).await;
    Setting { device, cloud, gateway, policy: file, _folder: folder }
}

impl Setting {
    async fn ready(&self) -> Value {
        Reply::of(http_client().get(self.gateway.admin_url("/readyz"))).await.json()
    }

    async fn reload(&self) -> Reply {
        Reply::of(http_client().post(self.gateway.admin_url("/admin/reload"))).await
    }
}

/// Replaces the file in one step, as editors do.
fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, file).unwrap();
}

#[tokio::test]
async fn a_policy_file_decides_and_the_reply_names_its_route() {
    let s = setting(TO_CLOUD, &[]).await;
    let reply = Reply::of(chat(&s.gateway, &hello())).await;
    assert_eq!((reply.content().as_str(), reply.header("x-tidegate-reason")), ("from the cloud", "rule=to-cloud"));
    let confidential = Reply::of(chat(&s.gateway, &hello()).header("x-tidegate-privacy", "confidential")).await;
    assert_eq!(confidential.status, 503, "no policy sends it to the cloud: {}", confidential.text);
    assert_eq!((s.cloud.connections_total(), s.device.connections_total()), (1, 0));
    let ready = s.ready().await;
    assert_eq!(ready["policy"]["generation"], 1);
    assert!(ready["policy"]["file"].as_str().unwrap().ends_with("policy.yaml"), "{ready}");
}

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_one_and_says_so() {
    let s = setting(TO_DEVICE, &[]).await;
    let before = s.ready().await["policy"]["hash"].clone();
    for bad in [BROKEN, "version: 1\nroutes: [{id: x, when: request.nope}]\n", "{", ""] {
        replace(&s.policy, bad);
        let reply = s.reload().await;
        assert_eq!(reply.status, 422, "{bad}: {}", reply.text);
        assert!(reply.json()["reload_error"].as_str().unwrap().contains("policy.yaml"), "{}", reply.text);
        let ready = s.ready().await;
        assert_eq!((&ready["ready"], &ready["policy"]["hash"]), (&json!(true), &before));
        assert_eq!(Reply::of(chat(&s.gateway, &hello())).await.header("x-tidegate-reason"), "rule=to-device");
    }
    replace(&s.policy, TO_CLOUD);
    let reply = s.reload().await;
    assert_eq!((reply.status, &reply.json()["reload_error"]), (200, &Value::Null), "{}", reply.text);
    assert_eq!(Reply::of(chat(&s.gateway, &hello())).await.header("x-tidegate-reason"), "rule=to-cloud");
    let metrics = settled_metrics(&s.gateway).await;
    // The watcher may have seen each of them as well.
    for (result, least) in [("failed", 4.0), ("ok", 1.0)] {
        let reloads = s.gateway.metric("tidegate_policy_reload_total", &[("result", result)]).await;
        assert!(reloads.is_some_and(|reloads| reloads >= least), "{result} in {metrics}");
    }
    assert!(s.gateway.metric("tidegate_policy_generation", &[]).await >= Some(2.0), "{metrics}");
    assert_eq!(metrics.matches("tidegate_policy_info{").count(), 1, "one hash at a time");
}

#[tokio::test]
async fn a_changed_file_and_a_hangup_reload() {
    let s = setting(TO_DEVICE, &[]).await;
    let generation = async |least: u64| {
        let seen = async {
            while s.ready().await["policy"]["generation"].as_u64().unwrap() < least {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(testkit::PATIENCE, seen).await.expect("a new generation");
    };
    replace(&s.policy, TO_CLOUD);
    generation(2).await;
    assert_eq!(Reply::of(chat(&s.gateway, &hello())).await.header("x-tidegate-reason"), "rule=to-cloud");
    s.gateway.signal(rustix::process::Signal::HUP);
    generation(3).await;
}

/// Eight callers while the policy changes under them: every request is answered, each by one policy as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_decided_by_whole_policies_while_these_change() {
    const RELOADS: usize = 60;
    let s = Arc::new(setting(TO_DEVICE, &[]).await);
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (s, done, answered) = (Arc::clone(&s), Arc::clone(&done), Arc::clone(&answered));
            tokio::spawn(async move {
                let client = http_client();
                while !done.load(Ordering::Relaxed) {
                    let reply = Reply::of(post(&client, &s.gateway, "/v1/chat/completions", &hello())).await;
                    assert_eq!(reply.status, 200, "{}", reply.text);
                    let decided = [reply.header("x-tidegate-reason"), reply.header("x-tidegate-target")];
                    let whole = [["rule=to-device", "device/d"], ["rule=to-cloud", "cloud/a"]];
                    assert!(whole.contains(&decided), "{decided:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for n in 0..RELOADS {
        let (text, status) = [(TO_CLOUD, 200), (BROKEN, 422), (TO_DEVICE, 200), ("version: [", 422)][n % 4];
        // Written in place, so that a reload may see a half-written file; the reload that is asked for sees it whole.
        std::fs::write(&s.policy, text).unwrap();
        assert_eq!(s.reload().await.status, status);
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) >= RELOADS / 2, "{answered:?}");
}

#[tokio::test]
async fn a_shadow_policy_is_only_counted() {
    let s = setting(TO_DEVICE, &[("shadow", TO_CLOUD)]).await;
    for _ in 0..3 {
        assert_eq!(Reply::of(chat(&s.gateway, &hello())).await.header("x-tidegate-target"), "device/d");
    }
    assert_eq!(s.cloud.connections_total(), 0);
    let metrics = settled_metrics(&s.gateway).await;
    for line in [
        "tidegate_policy_shadow_decisions_total 3",
        "tidegate_policy_shadow_differences_total{difference=\"first_target\"} 3",
        "tidegate_policy_shadow_differences_total{difference=\"estimated_cost\"} 3",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(metrics.contains("difference=\"placement\"} 0\n"), "{metrics}");
}

fn turns(contents: &[(&str, &str)]) -> Value {
    let messages: Vec<_> = contents.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    json!({"model": "auto", "messages": messages})
}

/// "Yes, do it" in a confidential conversation is confidential, also when only the messages tell that it goes on.
#[tokio::test]
async fn the_strictest_privacy_of_a_conversation_stays_with_it() {
    let s = setting("version: 1\nroutes: [{id: r, objective: prefer_in_cloud}]\n", &[]).await;
    let first = [("user", "our secret plan"), ("assistant", "from the device"), ("user", "yes, do it")];
    let opening = Reply::of(chat(&s.gateway, &turns(&first[..1])).header("x-tidegate-privacy", "confidential")).await;
    assert_eq!(opening.header("x-tidegate-target"), "device/d");
    let reply = Reply::of(chat(&s.gateway, &turns(&first))).await;
    assert_eq!(
        (reply.header("x-tidegate-target"), reply.header("x-tidegate-reason")),
        ("device/d", "rule=r; placement=conversation_privacy")
    );
    let pushed = Reply::of(chat(&s.gateway, &turns(&first)).header("x-tidegate-mode", "only_in_cloud")).await;
    assert_eq!(pushed.status, 400, "{}", pushed.text);
    assert_eq!(s.cloud.connections_total(), 0);

    // Neither a session named anew nor many messages at once lose the class.
    let fresh = chat(&s.gateway, &turns(&first)).header("x-tidegate-session", "fresh");
    assert_eq!(Reply::of(fresh).await.header("x-tidegate-target"), "device/d");
    let mut many = first.to_vec();
    many.extend((0..100).map(|_| ("user", "more")));
    assert_eq!(Reply::of(chat(&s.gateway, &turns(&many))).await.header("x-tidegate-target"), "device/d");
    assert_eq!(s.cloud.connections_total(), 0);

    let session = |privacy| {
        let request = chat(&s.gateway, &hello()).header("x-tidegate-session", "a-1");
        request.header("x-tidegate-privacy", privacy)
    };
    assert_eq!(Reply::of(session("restricted")).await.header("x-tidegate-target"), "device/d");
    assert_eq!(Reply::of(session("public")).await.header("x-tidegate-target"), "device/d");
    // Another conversation is not touched by it.
    let other = turns(&[("user", "something else")]);
    assert_eq!(Reply::of(chat(&s.gateway, &other)).await.header("x-tidegate-target"), "cloud/a");
}

#[tokio::test]
async fn a_tool_loop_stays_on_its_target() {
    let s = setting("version: 1\nroutes: [{id: r, objective: prefer_on_device}]\n", &[]).await;
    s.device.set_default(Behaviour::status(500));
    let question = turns(&[("user", "the weather?")]);
    assert_eq!(Reply::of(chat(&s.gateway, &question)).await.header("x-tidegate-target"), "cloud/a");
    s.device.set_default(Behaviour::answer("from the device"));
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]});
    let mut looping = question.clone();
    let messages = looping["messages"].as_array_mut().unwrap();
    messages.extend([call, json!({"role": "tool", "tool_call_id": "c1", "content": "rain"})]);
    let reply = Reply::of(chat(&s.gateway, &looping)).await;
    assert_eq!(reply.header("x-tidegate-target"), "cloud/a", "{}", reply.text);
    let route = Reply::of(post(&http_client(), &s.gateway, "/v1/route", &looping)).await.json();
    assert_eq!((&route["stay"], &route["facts"]["request.in_tool_loop"]), (&json!("tool_loop"), &json!(true)));
    assert_eq!(Reply::of(chat(&s.gateway, &question)).await.header("x-tidegate-target"), "device/d");
}

/// A target that is healthy is tried, however the others before it fail.
#[tokio::test]
async fn the_last_attempt_of_the_longest_plan_is_tried() {
    let upstreams: Vec<_> = futures_util::future::join_all((0..6).map(|_| ScriptedUpstream::start())).await;
    upstreams[0].set_default(Behaviour::ResetBeforeHeaders);
    upstreams[1..5].iter().for_each(|upstream| upstream.set_default(Behaviour::status(500)));
    upstreams[5].set_default(Behaviour::answer("at last"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, "version: 1\nroutes: [{id: all, objective: in_order, limits: {max_attempts: 6}}]\n").unwrap();
    let mut config = format!("{LISTEN}policy: {{file: {}}}\ntargets:\n", file.display());
    push_clouds(&mut config, &upstreams.iter().collect::<Vec<_>>());
    let gateway = Gateway::start(&config).await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.content(), "at last");
    let mut huge = hello();
    huge["max_tokens"] = json!(u64::MAX);
    assert_eq!(Reply::of(chat(&gateway, &huge)).await.status, 200, "no window is known, so none is too small");
}

#[tokio::test]
async fn a_route_that_refuses_says_so_in_the_operators_words() {
    let policy = "version: 1\nroutes:\n  - id: strict\n    limits: {min_quality: 0.9}\n    when_none: {refuse: ask the platform team}\n";
    let s = setting(policy, &[]).await;
    let reply = Reply::of(chat(&s.gateway, &hello())).await;
    assert_eq!(reply.status, 503);
    assert!(reply.error("message").contains("ask the platform team"), "{}", reply.text);
    assert_eq!((s.cloud.connections_total(), s.device.connections_total()), (0, 0));
}
