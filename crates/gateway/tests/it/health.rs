//! Targets that fail, refuse the key or limit their rate are left alone, and used again as soon as they answer.

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream};

use crate::support::{BARE, Reply, chat, hello, hello_stream, post, push_clouds, status, status_when};

/// `cloud/a`, `cloud/b`, ... behind breakers that open after three failures, for 200 ms.
async fn guarded(upstreams: &[&ScriptedUpstream]) -> Gateway {
    let breaker = "breaker: {consecutive_failures: 3, open_ms: 200, open_max_ms: 400}";
    let mut config = format!("{BARE}{breaker}\nnetwork: {{probe: {{enabled: false}}}}\ntargets:\n");
    push_clouds(&mut config, upstreams);
    Gateway::start(&config).await
}

fn breaker_of_a(status: &Value) -> &Value {
    &status["targets"][0]["breaker"]
}

/// Fails `cloud/a` until its breaker opens.
async fn break_a(gateway: &Gateway, a: &ScriptedUpstream) {
    a.set_default(Behaviour::status(503));
    let asked = a.attempts().len();
    while breaker_of_a(&status(gateway).await)["state"] != "open" {
        Reply::of(chat(gateway, &hello())).await;
    }
    assert_eq!(a.attempts().len() - asked, 3, "no more than it takes");
}

async fn may_be_probed(gateway: &Gateway) {
    let is_due = |status: &Value| {
        let breaker = breaker_of_a(status);
        breaker["state"] == "half_open" && breaker["probe_in_ms"] == 0
    };
    status_when(gateway, "the breaker lets a request try", is_due).await;
}

#[tokio::test]
async fn a_failing_target_is_left_alone_and_used_again_after_one_success() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = guarded(&[&a, &b]).await;
    b.set_default(Behaviour::answer("second"));
    break_a(&gateway, &a).await;
    let told = status(&gateway).await;
    assert_eq!((&told["ready"], &breaker_of_a(&told)["cause"]), (&json!(true), &json!("failing")), "{told}");

    // Whoever comes now is answered by the other one and told why.
    let before = a.attempts().len();
    let reply = Reply::of(chat(&gateway, &hello())).await;
    if a.attempts().len() == before {
        assert_eq!(reply.header("x-tidegate-target"), "cloud/b");
        assert_eq!(reply.header("x-tidegate-reason"), "rule=device-first; substituted=breaker_open");
    }

    // One request at a time finds out, and the others do not wait for it.
    may_be_probed(&gateway).await;
    a.set_default(Behaviour::SlowFirstToken);
    let (before, body) = (a.attempts().len(), hello_stream());
    let probe = tokio::spawn(chat(&gateway, &body).send());
    a.wait_held(before).await;
    for body in [hello(), hello_stream()] {
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/b"), "{}", reply.text);
    }
    assert_eq!(a.attempts().len(), before + 1);
    // Its first content closes the breaker, long before its end.
    a.set_default(Behaviour::answer("first"));
    a.release();
    let probe = Reply::read(probe.await.unwrap().unwrap()).await;
    assert_eq!(probe.header("x-tidegate-target"), "cloud/a");
    assert_eq!(breaker_of_a(&status(&gateway).await)["state"], "closed");
    for _ in 0..5 {
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.header("x-tidegate-target"), "cloud/a");
    }
    let metric = async |name: &str, labels: &[(&str, &str)]| gateway.metric(name, labels).await;
    let of_a = |state: &'static str| [("target", "cloud/a"), ("state", state)];
    assert_eq!(metric("tidegate_breaker_state", &of_a("closed")).await, Some(1.0));
    assert_eq!(metric("tidegate_breaker_state", &of_a("open")).await, Some(0.0));
    assert_eq!(
        metric("tidegate_breaker_opened_total", &[("target", "cloud/a"), ("cause", "failing")]).await,
        Some(1.0)
    );
    assert!(
        metric("tidegate_breaker_probes_total", &[("target", "cloud/a")]).await.is_some_and(|probes| probes >= 1.0)
    );
}

#[tokio::test]
async fn a_caller_that_leaves_its_probe_makes_room_for_the_next() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = guarded(&[&a, &b]).await;
    break_a(&gateway, &a).await;
    may_be_probed(&gateway).await;
    a.set_default(Behaviour::StallBeforeHeaders);
    let before = a.attempts().len();
    let probe = tokio::spawn(chat(&gateway, &hello()).send());
    a.wait_held(before).await;
    a.set_default(Behaviour::answer("first"));
    probe.abort();
    a.wait_ended(before).await;
    // Without the place it left, the next would go to the other one for another 400 ms at least.
    may_be_probed(&gateway).await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.header("x-tidegate-target"), "cloud/a");
}

#[tokio::test]
async fn what_is_the_callers_own_fault_opens_nothing() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = guarded(&[&a, &b]).await;
    for status in [400, 422, 413] {
        a.set_default(Behaviour::status(status));
        for _ in 0..4 {
            assert_eq!(Reply::of(chat(&gateway, &hello())).await.header("x-tidegate-target"), "cloud/a");
        }
    }
    a.set_default(Behaviour::StallBeforeHeaders);
    for n in 12..16 {
        let caller = tokio::spawn(chat(&gateway, &hello()).send());
        a.wait_held(n).await;
        caller.abort();
        a.wait_ended(n).await;
    }
    assert_eq!(breaker_of_a(&status(&gateway).await)["state"], "closed");
}

#[tokio::test]
async fn a_target_that_refuses_the_key_is_left_alone_at_once_and_loudly() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = guarded(&[&a, &b]).await;
    a.set_default(Behaviour::status(401));
    for _ in 0..4 {
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.header("x-tidegate-target"), "cloud/b");
    }
    assert_eq!(a.attempts().len(), 1);
    let told = status(&gateway).await;
    assert_eq!(breaker_of_a(&told)["cause"], "misconfigured", "{told}");
    let reason = told["targets"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("it refuses the gateway's key (401 or 403) and is left alone for "), "{reason}");
    let opened = gateway.metric("tidegate_breaker_opened_total", &[("cause", "misconfigured")]).await;
    assert_eq!(opened, Some(1.0));
    let line = gateway.wait_for_log("breaker opened").await;
    assert!(line.contains("\"ERROR\"") && line.contains("misconfigured"), "an operator has to act: {line}");
}

#[tokio::test]
async fn a_target_that_limits_its_rate_is_not_asked_before_the_time_it_said() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = guarded(&[&a, &b]).await;
    let limited =
        |seconds: &str| Behaviour::Status { status: 429, retry_after: Some(seconds.into()), message: "slow".into() };
    a.set_default(limited("40"));
    for n in 0..10 {
        let reply = Reply::of(chat(&gateway, &hello())).await;
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/b"), "{n}");
        let reason = if n == 0 { "fallback=rate_limited" } else { "substituted=rate_limited" };
        assert_eq!(reply.header("x-tidegate-reason"), format!("rule=device-first; {reason}"));
    }
    assert_eq!(a.attempts().len(), 1);
    let told = status(&gateway).await;
    assert_eq!(
        (&told["targets"][0]["state"], &breaker_of_a(&told)["state"]),
        (&json!("rate_limited"), &json!("closed"))
    );
    assert_eq!(gateway.metric("tidegate_target_rate_limited", &[("target", "cloud/a")]).await, Some(1.0));
    let route = Reply::of(post(gateway.client(), &gateway, "/v1/route", &hello())).await.json();
    let dropped = &route["dropped"][0];
    assert_eq!((&dropped["reason"], &route["substituted"]), (&json!("rate_limited"), &json!("rate_limited")));
    let detail = dropped["detail"].as_str().unwrap();
    let left = detail.strip_prefix("it limits its rate, free again in ").and_then(|rest| rest.strip_suffix(" s"));
    let left: f64 = left.unwrap_or_else(|| panic!("{detail}")).parse().unwrap();
    assert!((1.0..=40.0).contains(&left), "{left}");

    // With nobody else left the caller is told when to come again, and nobody is asked.
    b.set_default(limited("50"));
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 429);
    let asked = b.attempts().len();
    let reply = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (429, "upstream_rate_limited"), "{}", reply.text);
    let seconds: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=40).contains(&seconds), "{seconds}");
    assert_eq!((a.attempts().len(), b.attempts().len()), (1, asked));
    // Nor is one that is named.
    let mut pinned = hello();
    pinned["model"] = json!("cloud/b");
    assert_eq!(Reply::of(chat(&gateway, &pinned)).await.status, 429);
    assert_eq!(b.attempts().len(), asked);
}

#[tokio::test]
async fn when_every_breaker_is_open_the_caller_is_told_when_to_come_again() {
    let a = ScriptedUpstream::start().await;
    let breaker = "breaker: {consecutive_failures: 3, open_ms: 20000, open_max_ms: 20000}";
    let mut config = format!("{BARE}{breaker}\nnetwork: {{probe: {{enabled: false}}}}\ntargets:\n");
    push_clouds(&mut config, &[&a]);
    let gateway = Gateway::start(&config).await;
    a.set_default(Behaviour::CloseBeforeHeaders);
    while breaker_of_a(&status(&gateway).await)["state"] != "open" {
        assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 502);
    }
    let asked = a.attempts().len();
    for body in [hello(), hello_stream()] {
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.error("code").as_str()), (503, "no_target_available"), "{}", reply.text);
        let seconds: u64 = reply.header("retry-after").parse().unwrap();
        assert!((1..=20).contains(&seconds), "{seconds}");
        assert!(
            reply.error("message").contains("cloud/a: it failed too often of late, tried again in "),
            "{}",
            reply.text
        );
    }
    assert_eq!(a.attempts().len(), asked);
    assert_eq!(Reply::of(gateway.client().get(gateway.admin_url("/readyz"))).await.status, 503);
}
