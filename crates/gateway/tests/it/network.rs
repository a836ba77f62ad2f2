//! A network that comes and goes: cloud targets are left out while it is gone, the device stands in and says so, and its return
//! is noticed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream};

use crate::support::{BARE, Reply, chat, hello, hello_stream, post, push_clouds, settled_metrics, status, status_when};

/// `device/d` and `home/n` on scripted upstreams of this machine, `cloud/a`, `cloud/b`, ... behind the network, and `network` in
/// the configuration.
async fn start(network: &str, device: &ScriptedUpstream, clouds: &[&ScriptedUpstream]) -> Gateway {
    start_with(&configuration(network, device, clouds)).await
}

/// The same with cloud targets that may be silent for a minute, and without probes.
async fn patient(device: &ScriptedUpstream, clouds: &[&ScriptedUpstream]) -> Gateway {
    let config = configuration("network: {probe: {enabled: false}}", device, clouds);
    let patient = config.replace(": 1500", ": 60000").replace("total_ms: 3000", "total_ms: 60000");
    assert_ne!(patient, config);
    start_with(&patient).await
}

fn configuration(network: &str, device: &ScriptedUpstream, clouds: &[&ScriptedUpstream]) -> String {
    let base = device.base_url();
    let mut config = format!(
        "{BARE}{network}\ntargets:\n  - {{id: device/d, provider: openai, model: m, base_url: '{base}', locality: device}}\n  - {{id: home/n, provider: openai, model: m, base_url: '{base}', locality: network}}\n"
    );
    push_clouds(&mut config, clouds);
    // A key that no probe may carry.
    config.replace("    model: upstream-a", "    api_key: {env: CLOUD_KEY}\n    model: upstream-a")
}

async fn start_with(config: &str) -> Gateway {
    Gateway::builder(config).env("CLOUD_KEY", "sk-secret").start().await
}

async fn cloudwards(gateway: &Gateway) -> Reply {
    Reply::of(chat(gateway, &hello()).header("x-tidegate-mode", "prefer_in_cloud")).await
}

async fn becomes(gateway: &Gateway, connectivity: &str) -> Value {
    status_when(gateway, connectivity, |status| status["network"]["connectivity"] == connectivity).await
}

async fn say(gateway: &Gateway, change: Value) -> Reply {
    let request = gateway.client().post(gateway.admin_url("/admin/network"));
    Reply::of(request.header("content-type", "application/json").body(change.to_string())).await
}

#[tokio::test]
async fn without_a_network_the_device_stands_in_at_once_and_the_return_is_noticed() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = start("network: {probe: {retry_max_ms: 1000}}", &device, &[&cloud]).await;
    assert_eq!(cloudwards(&gateway).await.header("x-tidegate-target"), "cloud/a");
    cloud.go_down().await;
    // The first is served by whoever follows in the plan; nothing is known yet.
    assert_eq!(
        cloudwards(&gateway).await.header("x-tidegate-reason").split("; ").next(),
        Some("rule=caller-prefers-cloud")
    );
    let told = becomes(&gateway, "offline").await;
    let of_cloud = &told["targets"][2];
    assert_eq!(of_cloud["reason"], "it runs in the cloud, and there is no network", "{told}");
    assert_eq!(told["ready"], true, "the device answers");

    let reply = cloudwards(&gateway).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "home/n"), "{}", reply.text);
    assert_eq!(reply.header("x-tidegate-reason"), "rule=caller-prefers-cloud; substituted=offline");
    let route = post(gateway.client(), &gateway, "/v1/route", &hello()).header("x-tidegate-mode", "prefer_in_cloud");
    let route = Reply::of(route).await.json();
    assert_eq!((&route["substituted"], &route["facts"]["moment.connectivity"]), (&json!("offline"), &json!("offline")));
    assert_eq!(
        (&route["dropped"][0]["target"], &route["dropped"][0]["reason"]),
        (&json!("cloud/a"), &json!("offline"))
    );
    assert_eq!((&route["facts"]["available.cloud"], &route["facts"]["available.device"]), (&json!(0), &json!(1)));
    // Where the cloud is all that may answer, that is said at once, with when to come again.
    let only = Reply::of(chat(&gateway, &hello()).header("x-tidegate-mode", "only_in_cloud")).await;
    assert_eq!((only.status, only.header("retry-after")), (503, "3"), "{}", only.text);
    assert!(only.error("message").contains("cloud/a: it runs in the cloud, and there is no network"), "{}", only.text);
    let state = |state: &'static str| [("state", state)];
    assert_eq!(gateway.metric("tidegate_connectivity_state", &state("offline")).await, Some(1.0));
    assert_eq!(gateway.metric("tidegate_connectivity_state", &state("online")).await, Some(0.0));

    cloud.come_back().await;
    let back = Instant::now();
    becomes(&gateway, "online").await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    let reply = cloudwards(&gateway).await;
    assert_eq!(
        (reply.header("x-tidegate-target"), reply.header("x-tidegate-reason")),
        ("cloud/a", "rule=caller-prefers-cloud"),
        "neither a breaker nor a mark is left of the time without a network"
    );
}

#[tokio::test]
async fn a_probe_carries_nothing_and_there_is_none_where_none_is_wanted() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = start("", &device, &[&cloud]).await;
    cloud.wait_for(|log| !log.probes.is_empty()).await;
    let probe = cloud.log().probes[0].clone();
    assert_eq!((probe.method.as_str(), probe.path.as_str(), probe.body.len()), ("HEAD", "/", 0));
    let mut names: Vec<_> = probe.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "user-agent"], "{probe:?}");
    assert_eq!((device.log().probes.len(), cloud.attempts().len()), (0, 0));
    drop(gateway);

    for config in
        ["network: {probe: {enabled: false}}", "defaults: {mode: only_on_device}", "defaults: {privacy: restricted}"]
    {
        let cloud = ScriptedUpstream::start().await;
        let gateway = start(config, &device, &[&cloud]).await;
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.header("x-tidegate-target"), "device/d");
        assert_eq!(status(&gateway).await["network"]["probed"], false, "{config}");
        assert_eq!(cloud.connections_total(), 0, "{config}");
    }
}

#[tokio::test]
async fn a_gateway_that_starts_without_a_network_knows_before_the_first_request() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start_down().await);
    let gateway = start("", &device, &[&cloud]).await;
    becomes(&gateway, "offline").await;
    let reply = cloudwards(&gateway).await;
    assert_eq!(reply.header("x-tidegate-reason"), "rule=caller-prefers-cloud; substituted=offline");
    assert_eq!(gateway.metric("tidegate_attempts_total", &[("target", "cloud/a")]).await, None, "nobody tried");
}

#[tokio::test]
async fn one_of_two_addresses_that_is_gone_is_no_network_that_is_gone() {
    let (device, a, b) =
        (ScriptedUpstream::start().await, ScriptedUpstream::start_down().await, ScriptedUpstream::start().await);
    let gateway = start("", &device, &[&a, &b]).await;
    becomes(&gateway, "degraded").await;
    for _ in 0..10 {
        assert_eq!(cloudwards(&gateway).await.header("x-tidegate-target"), "cloud/b");
    }
    assert_eq!(status(&gateway).await["network"]["connectivity"], "degraded");
    a.come_back().await;
    while cloudwards(&gateway).await.header("x-tidegate-target") != "cloud/a" {}
    becomes(&gateway, "online").await;
}

#[tokio::test]
async fn without_probes_requests_tell_that_the_network_is_gone_and_that_it_is_back() {
    let (device, a) = (ScriptedUpstream::start().await, ScriptedUpstream::start_down().await);
    let gateway = start("network: {probe: {enabled: false}}\nbreaker: {enabled: false}", &device, &[&a]).await;
    let mut pinned = hello();
    pinned["model"] = json!("cloud/a");
    assert_eq!(Reply::of(chat(&gateway, &pinned)).await.status, 502);
    assert_eq!(Reply::of(chat(&gateway, &pinned)).await.status, 502);
    let reply = Reply::of(chat(&gateway, &pinned)).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (503, "no_target_available"), "{}", reply.text);
    a.come_back().await;
    becomes(&gateway, "degraded").await;
    assert_eq!(Reply::of(chat(&gateway, &pinned)).await.status, 200, "one may find out");
    becomes(&gateway, "online").await;
}

#[tokio::test]
async fn a_captive_portal_is_no_network() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let portal = ScriptedUpstream::start().await;
    let answer = |status| Some(Behaviour::Raw { status, headers: Vec::new(), body: String::new() });
    portal.set_probe(answer(204));
    let url = portal.base_url();
    let probe = format!("network: {{probe: {{captive_url: '{url}/generate_204', idle_ms: 100, retry_max_ms: 100}}}}");
    let gateway = start(&probe, &device, &[&cloud]).await;
    assert_eq!(cloudwards(&gateway).await.header("x-tidegate-target"), "cloud/a");
    portal.set_probe(answer(302));
    let told = becomes(&gateway, "captive").await;
    assert_eq!(
        told["targets"][2]["reason"],
        "it runs in the cloud, and a captive portal answers in place of the network"
    );
    let reply = cloudwards(&gateway).await;
    assert_eq!(reply.header("x-tidegate-reason"), "rule=caller-prefers-cloud; substituted=captive_portal");
    portal.set_probe(answer(204));
    becomes(&gateway, "online").await;
    assert_eq!(cloudwards(&gateway).await.header("x-tidegate-target"), "cloud/a");
    assert!(portal.log().probes.iter().all(|probe| probe.path == "/v1/generate_204" && probe.body.is_empty()));
}

#[tokio::test]
async fn an_operators_word_stands_above_what_is_found() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = start("network: {metered: false}", &device, &[&cloud]).await;
    let fact = async |name: &str| {
        let route = Reply::of(post(gateway.client(), &gateway, "/v1/route", &hello())).await;
        route.json()["facts"][name].clone()
    };
    assert_eq!(fact("moment.metered").await, false);
    let said = say(&gateway, json!({"metered": true, "offline": true})).await;
    let network = said.json();
    assert_eq!((said.status, &network["connectivity"], &network["offline"]), (200, &json!("offline"), &json!(true)));
    assert_eq!((fact("moment.metered").await, fact("moment.connectivity").await), (json!(true), json!("offline")));
    assert_eq!(
        cloudwards(&gateway).await.header("x-tidegate-reason"),
        "rule=caller-prefers-cloud; substituted=offline"
    );
    assert_eq!(cloud.attempts().len(), 0);
    say(&gateway, json!({"offline": "auto", "metered": null})).await;
    becomes(&gateway, "online").await;
    assert_eq!(
        (cloudwards(&gateway).await.header("x-tidegate-target"), fact("moment.metered").await),
        ("cloud/a", Value::Null)
    );

    let read = Reply::of(gateway.client().get(gateway.admin_url("/admin/network"))).await;
    assert_eq!((read.status, &read.json()["offline"]), (200, &json!("auto")));
    let wrong = say(&gateway, json!({"offline": "perhaps"})).await;
    assert_eq!((wrong.status, wrong.error("param").as_str()), (400, "offline"), "{}", wrong.text);
    let put = Reply::of(gateway.client().put(gateway.admin_url("/admin/network"))).await;
    assert_eq!((put.status, put.header("allow")), (405, "GET, POST"));
    let page = gateway.client().post(gateway.admin_url("/admin/network")).header("origin", "https://example.com");
    assert_eq!(Reply::of(page.body(r#"{"offline": true}"#)).await.status, 400, "no page may cut this machine off");
}

#[tokio::test]
async fn machines_of_ones_own_do_not_need_the_network() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start_down().await);
    let gateway = start("", &device, &[&cloud]).await;
    becomes(&gateway, "offline").await;
    for model in ["device/d", "home/n"] {
        let mut pinned = hello();
        pinned["model"] = json!(model);
        assert_eq!(Reply::of(chat(&gateway, &pinned)).await.header("x-tidegate-target"), model);
    }
}

#[tokio::test]
async fn an_address_to_probe_that_is_wrong_cuts_nobody_off() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let nobody = ScriptedUpstream::start_down().await;
    let network = format!("network: {{probe: {{addresses: ['http://{}'], idle_ms: 20}}}}", nobody.addr());
    let gateway = start(&network, &device, &[&cloud]).await;
    cloud.wait_for(|log| log.probes.len() >= 3).await;
    assert_eq!(status(&gateway).await["network"]["connectivity"], "online");
    assert_eq!(cloudwards(&gateway).await.header("x-tidegate-target"), "cloud/a");

    // One that answers is asked alone.
    let somebody = ScriptedUpstream::start().await;
    let cloud = ScriptedUpstream::start().await;
    let network = format!("network: {{probe: {{addresses: ['http://{}'], idle_ms: 20}}}}", somebody.addr());
    let _gateway = start(&network, &device, &[&cloud]).await;
    somebody.wait_for(|log| log.probes.len() >= 3).await;
    assert_eq!(cloud.connections_total(), 0);
}

#[tokio::test]
async fn what_waits_for_the_cloud_when_the_network_goes_is_answered_by_the_device_at_once() {
    let (device, a, b) =
        (ScriptedUpstream::start().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = patient(&device, &[&a, &b]).await;
    for (silence, body) in [
        (Behaviour::StallBeforeHeaders, hello()),
        (Behaviour::StallBeforeHeaders, hello_stream()),
        (Behaviour::StallAfterHeaders, hello()),
        (Behaviour::SlowFirstToken, hello_stream()),
    ] {
        a.set_default(silence.clone());
        let (index, begun) = (a.attempts().len(), Instant::now());
        let asked = chat(&gateway, &body).header("x-tidegate-mode", "prefer_in_cloud");
        let reading = tokio::spawn(Reply::of(asked));
        a.wait_held(index).await;
        say(&gateway, json!({"offline": true})).await;
        let reply = reading.await.unwrap();
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "home/n"), "{silence:?} {}", reply.text);
        assert_eq!(reply.header("x-tidegate-reason"), "rule=caller-prefers-cloud; fallback=network_gone");
        assert!(reply.text.contains("turns"), "{}", reply.text);
        assert!(begun.elapsed() < Duration::from_secs(30), "{silence:?}: {:?}", begun.elapsed());
        a.wait_ended(index).await;
        say(&gateway, json!({"offline": "auto"})).await;
    }
    assert_eq!(b.connections_total(), 0, "nor is another cloud target waited for");

    // Where nobody stands in, that is said, with when to come again.
    let only = chat(&gateway, &hello()).header("x-tidegate-mode", "only_in_cloud");
    let index = a.attempts().len();
    a.set_default(Behaviour::StallBeforeHeaders);
    let reading = tokio::spawn(Reply::of(only));
    a.wait_held(index).await;
    say(&gateway, json!({"offline": true})).await;
    let reply = reading.await.unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (503, "3"), "{}", reply.text);
    assert!(reply.error("message").contains("cloud/a: the network went away"), "{}", reply.text);
    say(&gateway, json!({"offline": "auto"})).await;

    // It says nothing against the target.
    a.set_default(Behaviour::SetText);
    assert_eq!(cloudwards(&gateway).await.header("x-tidegate-reason"), "rule=caller-prefers-cloud");
    let metrics = settled_metrics(&gateway).await;
    for line in [
        r#"tidegate_attempts_total{outcome="network_gone",target="cloud/a"} 5"#,
        r#"tidegate_attempts_total{outcome="network_gone",target="cloud/b"} 5"#,
        r#"tidegate_breaker_state{state="closed",target="cloud/a"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

/// Reads a stream until `seen` has arrived, says that the network is gone, and reads the rest.
async fn cut_off(gateway: &Gateway, seen: &str) -> String {
    let asked = chat(gateway, &hello_stream()).header("x-tidegate-mode", "prefer_in_cloud");
    let mut running = asked.send().await.unwrap();
    let mut text = String::new();
    let mut is_said = false;
    while let Some(piece) = running.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&piece).unwrap());
        if text.contains(seen) && !is_said {
            is_said = true;
            say(gateway, json!({"offline": true})).await;
        }
    }
    say(gateway, json!({"offline": "auto"})).await;
    text
}

#[tokio::test]
async fn a_stream_that_falls_silent_as_the_network_goes_is_a_broken_one() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = patient(&device, &[&cloud]).await;
    cloud.set_default(Behaviour::StallBetweenChunks { after: 2 });
    let text = cut_off(&gateway, "tide ").await;
    assert!(text.contains(": continued by home/n\n\n") && text.ends_with("data: [DONE]\n\n"), "{text}");
    device.set_default(Behaviour::answer("Another text"));
    let text = cut_off(&gateway, "tide ").await;
    assert!(text.contains("stream_interrupted") && !text.contains("[DONE]"), "{text}");
    assert!(text.contains("the network went away"), "{text}");
}

#[tokio::test]
async fn a_stream_that_still_comes_is_let_come() {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = patient(&device, &[&cloud]).await;
    cloud.set_default(Behaviour::Endless { chunk: "x".repeat(10_000) });
    let asked = chat(&gateway, &hello_stream()).header("x-tidegate-mode", "prefer_in_cloud");
    let mut running = asked.send().await.unwrap();
    running.chunk().await.unwrap().unwrap();
    say(&gateway, json!({"offline": true})).await;
    let begun = Instant::now();
    // Longer than a silence may last.
    while begun.elapsed() < Duration::from_millis(1500) {
        let piece = running.chunk().await.unwrap().unwrap();
        assert!(!piece.windows(7).any(|part| part == b"\"error\""), "it was cut");
    }
}
