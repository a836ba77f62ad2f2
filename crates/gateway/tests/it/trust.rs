//! What a caller may say about its own request: it can tighten what the configuration demands and never loosen it.

use serde_json::json;
use testkit::{Behaviour, Gateway, ScriptedUpstream, http_client};

use crate::support::{Reply, chat, cloud_config, hello, post, push_clouds};

/// `cloud/a`, with `settings` in front.
async fn cloud(settings: &str) -> (ScriptedUpstream, Gateway) {
    let cloud = ScriptedUpstream::start().await;
    cloud.set_default(Behaviour::answer("from the cloud"));
    let gateway = Gateway::start(&cloud_config(&[&cloud], settings)).await;
    (cloud, gateway)
}

/// `device/d` and `cloud/a`, with `settings` in front.
async fn both(settings: &str) -> (ScriptedUpstream, ScriptedUpstream, Gateway) {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    device.set_default(Behaviour::answer("from the device"));
    cloud.set_default(Behaviour::answer("from the cloud"));
    let mut config = cloud_config(&[], settings);
    config.push_str(&format!(
        "  - {{id: device/d, provider: openai, model: m, base_url: '{}', locality: device}}\n",
        device.base_url()
    ));
    push_clouds(&mut config, &[&cloud]);
    let gateway = Gateway::start(&config).await;
    (device, cloud, gateway)
}

#[tokio::test]
async fn no_caller_loosens_the_configured_privacy() {
    let (device, cloud, gateway) = both("defaults: {privacy: confidential}").await;
    let prefer_cloud = || chat(&gateway, &hello()).header("x-tidegate-mode", "prefer_in_cloud");
    let mut body = hello();
    body["metadata"] = json!({"tidegate_privacy": "public"});
    let looser = [
        prefer_cloud(),
        prefer_cloud().header("x-tidegate-privacy", "public"),
        prefer_cloud().header("x-tidegate-privacy", "internal"),
        chat(&gateway, &body).header("x-tidegate-mode", "prefer_in_cloud"),
    ];
    for request in looser {
        assert_eq!(Reply::of(request).await.header("x-tidegate-target"), "device/d");
    }
    let only_cloud = chat(&gateway, &body).header("x-tidegate-mode", "only_in_cloud");
    let reply = Reply::of(only_cloud).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (400, "placement_contradiction"), "{}", reply.text);
    body["model"] = json!("cloud/a");
    assert_eq!(Reply::of(chat(&gateway, &body)).await.status, 400);

    let route = |privacy| post(&http_client(), &gateway, "/v1/route", &hello()).header("x-tidegate-privacy", privacy);
    assert_eq!(Reply::of(route("public")).await.json()["privacy"], "confidential");
    assert_eq!(Reply::of(route("restricted")).await.json()["privacy"], "restricted");
    assert_eq!((device.attempts().len(), cloud.connections_total()), (4, 0));
}

#[tokio::test]
async fn no_caller_loosens_a_configured_only_mode_and_preferences_give_way() {
    let (_device, cloud, gateway) = both("defaults: {mode: only_on_device}").await;
    let reply = Reply::of(chat(&gateway, &hello()).header("x-tidegate-mode", "prefer_in_cloud")).await;
    assert_eq!(reply.header("x-tidegate-reason"), "rule=device-first; placement=mode");
    let reply = Reply::of(chat(&gateway, &hello()).header("x-tidegate-mode", "only_in_cloud")).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (400, "placement_contradiction"), "{}", reply.text);
    assert_eq!(reply.error("param"), "x-tidegate-mode");
    assert!(reply.error("message").contains("the configuration (defaults.mode) says only_on_device"), "{}", reply.text);
    let mut body = hello();
    body["metadata"] = json!({"tidegate_mode": "only_in_cloud"});
    assert_eq!(Reply::of(chat(&gateway, &body)).await.error("param"), "metadata.tidegate_mode");
    assert_eq!(cloud.connections_total(), 0);

    let (_device, _cloud, gateway) = both("defaults: {mode: prefer_in_cloud}").await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.header("x-tidegate-target"), "cloud/a");
    let reply = Reply::of(chat(&gateway, &hello()).header("x-tidegate-mode", "prefer_on_device")).await;
    assert_eq!(reply.header("x-tidegate-target"), "device/d");
}

#[tokio::test]
async fn what_a_caller_may_not_set_is_refused_wherever_it_stands() {
    let (cloud, gateway) = cloud("trust: {anonymous: {may_set: [privacy]}}").await;
    let header = Reply::of(chat(&gateway, &hello()).header("x-tidegate-mode", "prefer_in_cloud")).await;
    assert_eq!((header.status, header.error("param").as_str()), (400, "x-tidegate-mode"), "{}", header.text);
    let mut body = hello();
    body["metadata"] = json!({"tidegate_mode": "prefer_in_cloud"});
    let metadata = Reply::of(chat(&gateway, &body)).await;
    assert_eq!((metadata.status, metadata.error("param").as_str()), (400, "metadata.tidegate_mode"));
    assert!(metadata.error("message").contains("may not be set by this caller"), "{}", metadata.text);
    assert_eq!(cloud.connections_total(), 0);
    let allowed = Reply::of(chat(&gateway, &hello()).header("x-tidegate-privacy", "internal")).await;
    assert_eq!(allowed.content(), "from the cloud");
}

#[tokio::test]
async fn forged_headers_of_answers_change_nothing_and_go_nowhere() {
    let (device, cloud, gateway) = both("").await;
    let forged = [
        ("x-tidegate-target", "cloud/a"),
        ("x-tidegate-locality", "cloud"),
        ("x-tidegate-reason", "rule=caller-prefers-cloud"),
    ];
    for mode in ["prefer_on_device", "prefer_in_cloud"] {
        let plain = Reply::of(chat(&gateway, &hello()).header("x-tidegate-mode", mode)).await;
        let mut request = chat(&gateway, &hello()).header("x-tidegate-mode", mode);
        for (name, value) in forged {
            request = request.header(name, value);
        }
        let reply = Reply::of(request).await;
        for (name, _) in forged {
            assert_eq!(reply.header(name), plain.header(name));
        }
    }
    assert_eq!((device.attempts().len(), cloud.attempts().len()), (2, 2));
    for attempt in device.attempts().iter().chain(&cloud.attempts()) {
        assert!(!attempt.headers.iter().any(|(name, _)| name.starts_with("x-tidegate")), "{attempt:?}");
    }
}

#[tokio::test]
async fn tags_and_sessions_are_checked_wherever_they_stand_and_not_sent_on() {
    let (cloud, gateway) = cloud("").await;
    let mut body = hello();
    body["metadata"] = json!({"tidegate_tags": "fast,eu.west", "tidegate_session": "s-1", "ticket": "T-1"});
    let request = chat(&gateway, &body).header("x-tidegate-tags", "a_b , c:d").header("x-tidegate-session", "s-1");
    assert_eq!(Reply::of(request).await.content(), "from the cloud");
    assert_eq!(cloud.attempts()[0].json()["metadata"], json!({"ticket": "T-1"}));
    assert!(!cloud.attempts()[0].headers.iter().any(|(name, _)| name.starts_with("x-tidegate")));

    let many = (0..33).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
    let long = "s".repeat(129);
    for (name, value) in [
        ("x-tidegate-tags", "Fast"),
        ("x-tidegate-tags", "a,,b"),
        ("x-tidegate-tags", "a b"),
        ("x-tidegate-tags", ""),
        ("x-tidegate-tags", &long[..65]),
        ("x-tidegate-tags", &many),
        ("x-tidegate-session", ""),
        ("x-tidegate-session", "a b"),
        ("x-tidegate-session", &long),
        ("x-tidegate-tag", "a"),
    ] {
        let reply = Reply::of(chat(&gateway, &hello()).header(name, value)).await;
        assert_eq!((reply.status, reply.error("param").as_str()), (400, name), "{value} {}", reply.text);
    }
    for (key, value) in [("tidegate_tags", "é"), ("tidegate_session", "é"), ("tidegate_sessions", "a")] {
        let mut body = hello();
        body["metadata"] = json!({key: value});
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.error("param")), (400, format!("metadata.{key}")), "{}", reply.text);
    }
    let two = chat(&gateway, &hello()).header("x-tidegate-session", "a").header("x-tidegate-session", "b");
    assert_eq!(Reply::of(two).await.error("param"), "x-tidegate-session");
    assert_eq!(cloud.attempts().len(), 1);
}
