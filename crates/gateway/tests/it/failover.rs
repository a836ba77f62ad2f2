//! What follows a failed attempt, before anything was sent to the caller.

use serde_json::json;
use testkit::{Behaviour, ScriptedUpstream};

use crate::support::{Reply, chat, cloud_gateway, hello, hello_stream};

#[tokio::test]
async fn each_failure_moves_on_to_the_next_target_streaming_and_not() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = cloud_gateway(&[&a, &b]).await;
    b.set_default(Behaviour::answer("second"));
    // A target that names a time is not asked before.
    let limited = Behaviour::Status { status: 429, retry_after: Some("0".into()), message: "slow down".into() };
    let failures = [
        (limited, "rate_limited"),
        (Behaviour::status(500), "server_error"),
        (Behaviour::status(502), "server_error"),
        (Behaviour::status(503), "overloaded"),
        (Behaviour::status(529), "overloaded"),
        (Behaviour::status(401), "unauthorized"),
        (Behaviour::ResetBeforeHeaders, "connection_lost"),
        (Behaviour::CloseBeforeHeaders, "connection_lost"),
        (Behaviour::StallBeforeHeaders, "TIMEOUT"),
        (Behaviour::json(&json!({"object": "nonsense"})), "invalid_answer"),
        (
            Behaviour::Raw { status: 302, headers: vec![("location".into(), b.base_url())], body: String::new() },
            "invalid_answer",
        ),
    ];
    for (failure, word) in failures {
        a.set_default(failure.clone());
        for body in [hello(), hello_stream()] {
            let reply = Reply::of(chat(&gateway, &body)).await;
            assert_eq!(
                (reply.status, reply.header("x-tidegate-target")),
                (200, "cloud/b"),
                "{failure:?} {}",
                reply.text
            );
            let word = match (word, &body["stream"]) {
                ("TIMEOUT", stream) if *stream == true => "first_token_timeout",
                ("TIMEOUT", _) => "total_timeout",
                (word, _) => word,
            };
            let reason = format!("rule=device-first; fallback={word}");
            assert_eq!(reply.header("x-tidegate-reason"), reason, "{failure:?}");
            assert!(reply.text.contains("second"));
        }
    }
}

#[tokio::test]
async fn an_unreachable_target_is_passed_over_and_then_tried_last() {
    let gone = ScriptedUpstream::start().await;
    let b = ScriptedUpstream::start().await;
    let base = {
        // An address that nobody listens on: bound, never listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = crate::support::cloud_config(&[&gone, &b], "")
            .replace(&gone.base_url(), &format!("http://{}/v1", socket.local_addr().unwrap()));
        (socket, config)
    };
    let gateway = testkit::Gateway::start(&base.1).await;
    let reply = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!(reply.header("x-tidegate-reason"), "rule=device-first; fallback=connect_failed");
    let again = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!(again.header("x-tidegate-reason"), "rule=device-first", "the unreachable one comes last now");
}

#[tokio::test]
async fn the_second_target_gets_every_byte_of_a_5_mib_prompt() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = cloud_gateway(&[&a, &b]).await;
    a.set_default(Behaviour::status(500));
    let prompt: String = ('a'..='z').cycle().take(5 << 20).collect();
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": prompt}], "x_extra": [1, 2.50]});
    let reply = Reply::of(chat(&gateway, &body)).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/b"), "{}", reply.text);
    let expected = body.to_string().replace("\"auto\"", "\"upstream-b\"");
    assert_eq!(b.attempts()[0].body.len(), expected.len());
    assert!(b.attempts()[0].body == expected.as_bytes(), "every byte");
    assert_eq!(a.attempts()[0].body.len(), expected.len());
}

#[tokio::test]
async fn the_callers_own_mistake_is_relayed_and_not_tried_elsewhere() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = cloud_gateway(&[&a, &b]).await;
    let error = json!({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}});
    a.set_default(Behaviour::json_with_status(400, &error));
    for body in [hello(), hello_stream()] {
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (400, "cloud/a"));
        assert_eq!(reply.error("code"), "context_length_exceeded");
        assert_eq!((reply.error("param"), reply.error("message")), ("messages".into(), "too long".into()));
    }
    assert_eq!(b.connections_total(), 0);
}

#[tokio::test]
async fn when_all_fail_the_reply_says_what_each_did() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = cloud_gateway(&[&a, &b]).await;
    let limited = Behaviour::Status { status: 429, retry_after: Some("7".into()), message: "slow down".into() };
    let cases = [
        (Behaviour::status(500), Behaviour::status(503), 502, "upstream_failed"),
        (Behaviour::status(500), Behaviour::StallBeforeHeaders, 504, "upstream_timeout"),
        (Behaviour::status(500), limited, 429, "upstream_rate_limited"),
    ];
    for (first, second, status, code) in cases {
        a.set_default(first);
        b.set_default(second);
        let reply = Reply::of(chat(&gateway, &hello())).await;
        assert_eq!((reply.status, reply.error("code").as_str()), (status, code), "{}", reply.text);
        assert_eq!(reply.error("fault"), "upstream");
        assert!(reply.error("message").contains("cloud/a: status 500"), "{}", reply.text);
        assert_eq!(reply.header("x-tidegate-target"), "");
        assert_eq!(reply.header("retry-after"), if status == 429 { "7" } else { "" });
    }
}

#[tokio::test]
async fn at_most_two_tries_on_one_target() {
    let a = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&a]).await;
    a.set_default(Behaviour::ResetBeforeHeaders);
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 502);
    assert_eq!(a.attempts().len(), 2);
}
