//! Where a request may go: modes, privacy classes, pinned models, and what is refused.

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, http_client};

use crate::support::{LISTEN, Reply, chat, hello, post, push_clouds};

/// `device/d` on this machine and `cloud/a`, both scripted.
async fn both() -> (ScriptedUpstream, ScriptedUpstream, Gateway) {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    device.set_default(Behaviour::answer("from the device"));
    cloud.set_default(Behaviour::answer("from the cloud"));
    let mut config = format!(
        "{LISTEN}targets:\n  - {{id: device/d, provider: openai, model: m, base_url: '{}', locality: device}}\n",
        device.base_url()
    );
    push_clouds(&mut config, &[&cloud]);
    let gateway = Gateway::start(&config).await;
    (device, cloud, gateway)
}

#[tokio::test]
async fn mode_and_privacy_choose_the_target_and_the_reply_says_so() {
    let (_device, _cloud, gateway) = both().await;
    let cases = [
        (None, None, "device/d", "device", "rule=device-first"),
        (Some("prefer_on_device"), None, "device/d", "device", "rule=device-first"),
        (Some("only_on_device"), Some("public"), "device/d", "device", "rule=device-first; placement=mode"),
        (Some("prefer_in_cloud"), None, "cloud/a", "cloud", "rule=caller-prefers-cloud"),
        (Some("only_in_cloud"), Some("internal"), "cloud/a", "cloud", "rule=caller-prefers-cloud; placement=mode"),
        (
            Some("prefer_in_cloud"),
            Some("confidential"),
            "device/d",
            "device",
            "rule=caller-prefers-cloud; placement=privacy",
        ),
        (
            Some("prefer_in_cloud"),
            Some("restricted"),
            "device/d",
            "device",
            "rule=caller-prefers-cloud; placement=privacy",
        ),
    ];
    for (mode, privacy, target, locality, reason) in cases {
        let mut request = chat(&gateway, &hello());
        if let Some(mode) = mode {
            request = request.header("x-tidegate-mode", mode);
        }
        if let Some(privacy) = privacy {
            request = request.header("x-tidegate-privacy", privacy);
        }
        let reply = Reply::of(request.header("x-request-id", "my-id")).await;
        assert_eq!(reply.content(), format!("from the {locality}"));
        let said = ["x-tidegate-target", "x-tidegate-locality", "x-tidegate-reason", "x-request-id"];
        assert_eq!(said.map(|name| reply.header(name)), [target, locality, reason, "my-id"], "{mode:?} {privacy:?}");
    }
}

#[tokio::test]
async fn metadata_says_the_same_as_headers_the_stricter_wins_and_nothing_is_forwarded() {
    let (device, cloud, gateway) = both().await;
    let mut body = hello();
    body["metadata"] = json!({"tidegate_mode": "prefer_in_cloud", "tidegate_privacy": "public", "ticket": "T-1"});
    assert_eq!(Reply::of(chat(&gateway, &body)).await.header("x-tidegate-target"), "cloud/a");
    assert_eq!(cloud.attempts()[0].json()["metadata"], json!({"ticket": "T-1"}));

    // Stricter header beside looser metadata, and the other way round.
    let reply = Reply::of(chat(&gateway, &body).header("x-tidegate-privacy", "restricted")).await;
    assert_eq!(reply.header("x-tidegate-target"), "device/d");
    body["metadata"] = json!({"tidegate_privacy": "confidential"});
    let looser =
        chat(&gateway, &body).header("x-tidegate-privacy", "public").header("x-tidegate-mode", "prefer_in_cloud");
    assert_eq!(Reply::of(looser).await.header("x-tidegate-target"), "device/d");
    // Two header lines: again the stricter.
    let twice = chat(&gateway, &hello())
        .header("x-tidegate-mode", "prefer_in_cloud")
        .header("x-tidegate-privacy", "restricted")
        .header("x-tidegate-privacy", "public");
    assert_eq!(Reply::of(twice).await.header("x-tidegate-target"), "device/d");

    assert_eq!(cloud.attempts().len(), 1);
    for attempt in device.attempts().iter().chain(&cloud.attempts()) {
        assert!(!String::from_utf8_lossy(&attempt.body).contains("tidegate"), "{attempt:?}");
        assert!(!attempt.headers.iter().any(|(name, _)| name.starts_with("x-tidegate")), "{attempt:?}");
    }
    assert_eq!(device.attempts()[1].json().get("metadata"), None);
}

#[tokio::test]
async fn contradictions_and_unknown_words_are_refused_before_any_connection() {
    let (device, cloud, gateway) = both().await;
    let refused = async |headers: &[(&str, &str)], model: &str| {
        let mut body = hello();
        body["model"] = json!(model);
        let mut request = chat(&gateway, &body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request).await
    };
    let (mode, privacy) = ("x-tidegate-mode", "x-tidegate-privacy");
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);
    let cases: [Case<'_>; 14] = [
        (&[("x-tidegate-privcy", "restricted")], "auto", "invalid_value", "x-tidegate-privcy"),
        (&[("x-tidegate_privacy", "restricted")], "auto", "invalid_value", "x-tidegate_privacy"),
        (&[("x_tidegate_privacy", "restricted")], "auto", "invalid_value", "x_tidegate_privacy"),
        (&[("tidegate-privacy", "restricted")], "auto", "invalid_value", "tidegate-privacy"),
        (&[("origin", "https://example.com")], "auto", "invalid_value", "origin"),
        (&[("origin", "null")], "auto", "invalid_value", "origin"),
        (&[(mode, "only_in_cloud"), (privacy, "restricted")], "auto", "placement_contradiction", "x-tidegate-privacy"),
        (
            &[(mode, "only_in_cloud"), (privacy, "confidential")],
            "auto",
            "placement_contradiction",
            "x-tidegate-privacy",
        ),
        (&[(mode, "only_in_cloud"), (mode, "only_on_device")], "auto", "placement_contradiction", "x-tidegate-mode"),
        (&[(mode, "only_on_device")], "cloud/a", "placement_contradiction", "model"),
        (&[(privacy, "restricted")], "cloud/a", "placement_contradiction", "model"),
        (&[(mode, "only_in_cloud")], "device/d", "placement_contradiction", "model"),
        (&[(mode, "on_device")], "auto", "invalid_value", "x-tidegate-mode"),
        (&[(privacy, "Restricted")], "auto", "invalid_value", "x-tidegate-privacy"),
    ];
    for (headers, model, code, param) in cases {
        let reply = refused(headers, model).await;
        assert_eq!((reply.status, reply.error("code").as_str()), (400, code), "{headers:?} {}", reply.text);
        assert_eq!(reply.error("param"), param, "{}", reply.text);
        assert_eq!(reply.error("type"), "invalid_request_error");
        assert_eq!(reply.error("fault"), "caller");
    }
    assert_eq!((device.connections_total(), cloud.connections_total()), (0, 0));
}

#[tokio::test]
async fn headers_of_answers_sent_back_and_pages_of_this_machine_are_fine() {
    let (_device, _cloud, gateway) = both().await;
    let request = chat(&gateway, &hello())
        .header("x-tidegate-target", "cloud/a")
        .header("x-tidegate-locality", "cloud")
        .header("origin", "http://localhost:3000");
    let reply = Reply::of(request).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "device/d"), "{}", reply.text);
}

#[tokio::test]
async fn a_model_pins_its_target_and_an_unknown_one_is_404_with_the_ids_that_exist() {
    let (_device, cloud, gateway) = both().await;
    let mut body = hello();
    body["model"] = json!("cloud/a");
    let reply = Reply::of(chat(&gateway, &body)).await;
    assert_eq!(
        (reply.header("x-tidegate-target"), reply.header("x-tidegate-reason")),
        ("cloud/a", "rule=pinned_model")
    );
    assert_eq!(cloud.attempts()[0].json()["model"], "upstream-a");

    for unknown in ["gpt-4o", "cloud/none", "a b"] {
        body["model"] = json!(unknown);
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.error("code").as_str()), (404, "model_not_found"), "{}", reply.text);
        let message = reply.error("message");
        assert!(message.contains("device/d") && message.contains("cloud/a"), "{message}");
    }
}

#[tokio::test]
async fn models_lists_auto_and_every_target() {
    let (_device, _cloud, gateway) = both().await;
    let reply = Reply::of(http_client().get(gateway.url("/v1/models"))).await;
    let json = reply.json();
    let ids: Vec<_> = json["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["auto", "device/d", "cloud/a"]);
    assert_eq!((&json["object"], &json["data"][0]["object"]), (&json!("list"), &json!("model")));
    for path in ["/v1/models/cloud/a", "/v1/models/cloud%2Fa"] {
        let one = Reply::of(http_client().get(gateway.url(path))).await;
        assert_eq!((one.status, &one.json()), (200, &json["data"][2]), "{path}");
    }
    let none = Reply::of(http_client().get(gateway.url("/v1/models/cloud/none"))).await;
    assert_eq!((none.status, none.error("code").as_str()), (404, "model_not_found"));
}

#[tokio::test]
async fn route_explains_the_plan_and_runs_nothing() {
    let (device, cloud, gateway) = both().await;
    let request = post(&http_client(), &gateway, "/v1/route", &hello()).header("x-tidegate-privacy", "restricted");
    let route = Reply::of(request).await.json();
    assert_eq!((&route["rule"], &route["placement"]), (&json!("device-first"), &json!(["device"])));
    assert_eq!(
        (&route["narrowed_by"], &route["reason"]),
        (&json!("privacy"), &json!("rule=device-first; placement=privacy"))
    );
    let attempts = route["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        [&attempts[0]["target"], &attempts[0]["locality"], &attempts[0]["state"]],
        ["device/d", "device", "ready"]
    );
    assert_eq!(
        (&route["facts"]["request.privacy"], &route["facts"]["signals.task"]),
        (&json!("restricted"), &Value::Null)
    );
    let dropped: &Value = &route["dropped"][0];
    assert_eq!((&dropped["target"], &dropped["reason"]), (&json!("cloud/a"), &json!("forbidden_by_privacy")));

    let refused = post(&http_client(), &gateway, "/v1/route", &hello())
        .header("x-tidegate-privacy", "restricted")
        .header("x-tidegate-mode", "only_in_cloud");
    assert_eq!(Reply::of(refused).await.status, 400);
    assert_eq!((device.connections_total(), cloud.connections_total()), (0, 0));
}

#[tokio::test]
async fn a_device_only_request_is_never_sent_to_the_cloud_whatever_fails_on_the_device() {
    let (device, cloud, gateway) = both().await;
    let failures = [
        Behaviour::status(500),
        Behaviour::status(429),
        Behaviour::ResetBeforeHeaders,
        Behaviour::CloseBeforeHeaders,
        Behaviour::ShortBody,
        Behaviour::json(&json!({"not": "a completion"})),
        Behaviour::Raw { status: 307, headers: vec![("location".into(), cloud.base_url())], body: String::new() },
    ];
    for failure in failures {
        device.set_default(failure.clone());
        let reply = Reply::of(chat(&gateway, &hello()).header("x-tidegate-privacy", "restricted")).await;
        assert!(reply.status >= 429, "{failure:?} {}", reply.text);
        assert_eq!(reply.error("fault"), "upstream", "{failure:?}");
        assert!(!reply.text.contains("hello"), "no prompt text in errors");
    }
    assert_eq!(cloud.connections_total(), 0);
}
