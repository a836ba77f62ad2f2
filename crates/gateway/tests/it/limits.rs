//! Named limits, and what a caller that passes one is told.

use serde_json::json;
use testkit::{Behaviour, Gateway, RawClient, ScriptedUpstream, http_client};

use crate::support::{Reply, chat, cloud_config, hello, hello_stream};

async fn limited(limits: &str) -> (ScriptedUpstream, Gateway) {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Gateway::start(&cloud_config(&[&upstream], &format!("limits: {{{limits}}}"))).await;
    (upstream, gateway)
}

#[tokio::test]
async fn a_body_past_the_limit_is_413_declared_or_chunked() {
    let (upstream, gateway) = limited("body_bytes_max: 4096").await;
    let long = json!({"model": "auto", "messages": [{"role": "user", "content": "x".repeat(8000)}]});
    let declared = Reply::of(chat(&gateway, &long)).await;
    assert_eq!((declared.status, declared.error("code").as_str()), (413, "body_too_large"));
    assert!(declared.error("message").contains("4096"), "names the limit");

    let mut client = RawClient::connect(gateway.data_addr()).await;
    let text = long.to_string();
    let chunked = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
        text.len()
    );
    client.send(chunked.as_bytes()).await.unwrap();
    let reply = client.read_reply().await.unwrap();
    assert_eq!(reply.status, 413);
    assert_eq!(upstream.connections_total(), 0);
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200, "the next request works");
}

#[tokio::test]
async fn a_header_past_the_limit_is_431() {
    let (_upstream, gateway) = limited("header_bytes_max: 2048").await;
    let reply = Reply::of(chat(&gateway, &hello()).header("x-long", "y".repeat(3000))).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (431, "header_too_large"));
}

#[tokio::test]
async fn requests_past_the_limit_in_flight_get_503_with_retry_after() {
    let (upstream, gateway) = limited("in_flight_max: 1").await;
    upstream.script([Behaviour::SlowFirstToken]);
    let first = tokio::spawn(chat(&gateway, &hello_stream()).send());
    upstream.wait_held(0).await;
    let second = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((second.status, second.error("code").as_str()), (503, "too_many_in_flight"));
    assert_eq!((second.header("retry-after"), second.error("fault").as_str()), ("1", "gateway"));
    upstream.release();
    let first = Reply::read(first.await.unwrap().unwrap()).await;
    assert!(first.text.ends_with("data: [DONE]\n\n"), "{}", first.text);
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
}

#[tokio::test]
async fn slow_callers_are_let_go() {
    let (upstream, gateway) = limited("header_timeout_ms: 200, body_timeout_ms: 200, keepalive_timeout_ms: 1000").await;
    // Never sends a byte; stops within the header; stops within the body.
    let mut silent = RawClient::connect(gateway.data_addr()).await;
    silent.read_to_end().await.unwrap();
    let mut header = RawClient::connect(gateway.data_addr()).await;
    header.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost:").await.unwrap();
    header.read_to_end().await.unwrap();
    // The time of a header begins with its first byte, however long a connection may be idle.
    let limits = "header_timeout_ms: 200, keepalive_timeout_ms: 3600000";
    let (_upstream, patient) = limited(limits).await;
    for requests in 0..2 {
        let mut header = RawClient::connect(patient.data_addr()).await;
        for _ in 0..requests {
            header.send("GET /v1/models HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
            assert_eq!(header.read_reply().await.unwrap().status, 200);
        }
        header.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost:").await.unwrap();
        assert_eq!(header.read_to_end().await.unwrap(), b"");
    }
    let mut body = RawClient::connect(gateway.data_addr()).await;
    body.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{\"model\"").await.unwrap();
    let reply = body.read_reply().await.unwrap();
    assert_eq!(reply.status, 408);
    body.read_to_end().await.unwrap();
    assert_eq!(upstream.connections_total(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_longer_than_a_header_may_take() {
    let (_upstream, gateway) = limited("header_timeout_ms: 200").await;
    let mut kept = RawClient::connect(gateway.data_addr()).await;
    for length in [1, 4000, 65_536] {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": "x".repeat(length)}]});
        kept.post("/v1/chat/completions", &body).await.unwrap();
        assert_eq!(kept.read_reply().await.unwrap().status, 200, "behind a body of {length}");
        // As long as it takes to let two others go one after the other.
        for _ in 0..2 {
            RawClient::connect(gateway.data_addr()).await.read_to_end().await.unwrap();
        }
    }
    kept.post("/v1/chat/completions", &hello_stream()).await.unwrap();
    assert_eq!(kept.read_reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_let_go_after_the_write_timeout() {
    let (upstream, gateway) = limited("write_timeout_ms: 300").await;
    upstream.set_default(Behaviour::Endless { chunk: "x".repeat(4096) });
    let mut client = RawClient::connect(gateway.data_addr()).await;
    client.post("/v1/chat/completions", &hello_stream()).await.unwrap();
    upstream.wait_ended(0).await;
}

#[tokio::test]
async fn wrong_paths_methods_and_bodies_are_refused_in_openais_shape() {
    let (upstream, gateway) = limited("").await;
    let client = http_client();
    let post = |body: &str| client.post(gateway.url("/v1/chat/completions")).body(body.to_owned());
    let cases = [
        (client.get(gateway.url("/v1/nothing")), 404, "not_found"),
        (client.get(gateway.url("/v1/chat/completions")), 405, "method_not_allowed"),
        (client.post(gateway.url("/v1/models")), 405, "method_not_allowed"),
        (post("{"), 400, "invalid_json"),
        (post("[]"), 400, "invalid_json"),
        (post(""), 400, "invalid_json"),
        (post(r#"{"messages":[{"role":"user","content":"x"}]}"#), 400, "missing_field"),
        (post(r#"{"model":"auto"}"#), 400, "missing_field"),
        (post(r#"{"model":"auto","messages":[]}"#), 400, "invalid_value"),
        (post(r#"{"model":7,"messages":[{"role":"user","content":"x"}]}"#), 400, "invalid_value"),
        (
            post(r#"{"model":"auto","model":"cloud/a","messages":[{"role":"user","content":"x"}]}"#),
            400,
            "duplicate_field",
        ),
        (
            post(
                r#"{"model":"auto","messages":[{"role":"user","content":"x"}],"metadata":{"tidegate_privacy":"restricted","tidegate_privacy":"public"}}"#,
            ),
            400,
            "duplicate_field",
        ),
    ];
    for (request, status, code) in cases {
        let reply = Reply::of(request).await;
        assert_eq!((reply.status, reply.error("code").as_str()), (status, code), "{}", reply.text);
        assert_eq!(reply.error("fault"), "caller");
        assert!(!reply.header("x-request-id").is_empty());
        if status == 405 {
            assert!(!reply.header("allow").is_empty(), "405 names what is allowed (RFC 9110, section 15.5.6)");
        }
    }
    assert_eq!(upstream.connections_total(), 0);
}

#[tokio::test]
async fn a_request_that_is_no_http_is_400() {
    let (_upstream, gateway) = limited("").await;
    let mut client = RawClient::connect(gateway.data_addr()).await;
    client.send(b"\x16\x03\x01 not http at all, but long enough to be read\r\n\r\n").await.unwrap();
    let reply = client.read_reply().await.unwrap();
    assert_eq!((reply.status, &reply.json()["error"]["fault"]), (400, &json!("caller")));
    assert!(reply.header("x-request-id").is_some());
}

#[tokio::test]
async fn nothing_is_read_behind_a_body_whose_end_is_not_sure() {
    let (upstream, gateway) = limited("").await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n";
    let next = "GET /v1/models HTTP/1.1\r\nhost: t\r\n\r\n";
    // Chunks that are none: told, and the end.
    let mut client = RawClient::connect(gateway.data_addr()).await;
    client.send(format!("{head}\r\nzz\r\n{next}")).await.unwrap();
    let reply = client.read_reply().await.unwrap();
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("body")), "{}", reply.text());
    assert_eq!(client.read_to_end().await.unwrap_or_default(), b"");
    // Two lengths: chunks count, and then the connection ends.
    let mut client = RawClient::connect(gateway.data_addr()).await;
    let body = hello().to_string();
    client.send(format!("{head}content-length: 5\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n{next}", body.len())).await.unwrap();
    assert_eq!(client.read_reply().await.unwrap().status, 200);
    assert_eq!(client.read_to_end().await.unwrap_or_default(), b"");
    assert_eq!(upstream.attempts().len(), 1);
    let invalid = gateway.metric("tidegate_requests_total", &[("outcome", "invalid")]).await;
    assert_eq!(invalid, Some(1.0), "its caller has not left");
}

#[tokio::test]
async fn what_does_not_become_an_exchange_is_counted_by_why() {
    let (upstream, gateway) = limited("header_bytes_max: 2048").await;
    let client = http_client();
    let mut raw = RawClient::connect(gateway.data_addr()).await;
    raw.send("no http\r\n\r\n").await.unwrap();
    assert_eq!(raw.read_reply().await.unwrap().status, 400);
    // Whoever leaves within a header is told nothing.
    let mut leaves = RawClient::connect(gateway.data_addr()).await;
    leaves.send("POST /v1/chat/comple").await.unwrap();
    leaves.half_close().await.unwrap();
    assert_eq!(leaves.read_to_end().await.unwrap(), b"");
    for (request, status) in [
        (chat(&gateway, &hello()).header("x-long", "y".repeat(3000)), 431),
        (chat(&gateway, &hello()).header("origin", "https://elsewhere.example"), 400),
        (client.get(gateway.url("/v1/nothing")), 404),
        (client.delete(gateway.url("/v1/models")), 405),
        (client.get(gateway.url("/v1/chat/completions")), 405),
        (client.get(gateway.admin_url("/nothing")), 404),
    ] {
        assert_eq!(Reply::of(request).await.status, status);
    }
    for (reason, count) in [
        ("unreadable", 1.0),
        ("header_too_large", 1.0),
        ("foreign_origin", 1.0),
        ("not_found", 1.0),
        ("method_not_allowed", 2.0),
    ] {
        let counted = gateway.metric("tidegate_turned_away_requests_total", &[("reason", reason)]).await;
        assert_eq!(counted, Some(count), "{reason}");
    }
    assert_eq!(gateway.metric("tidegate_requests_total", &[]).await, None, "none of them is an exchange");
    assert_eq!(upstream.connections_total(), 0);
}

#[tokio::test]
async fn http2_with_prior_knowledge_works_streaming_and_not() {
    let (upstream, gateway) = limited("").await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let post = |body: serde_json::Value| client.post(gateway.url("/v1/chat/completions")).body(body.to_string());
    let response = post(hello()).send().await.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert_eq!(Reply::read(response).await.content(), testkit::DEFAULT_TEXT);
    assert!(Reply::of(post(hello_stream())).await.text.ends_with("data: [DONE]\n\n"));

    // A reset stream drops the connection upstream.
    upstream.script([Behaviour::StallBetweenChunks { after: 1 }]);
    let response = post(hello_stream()).send().await.unwrap();
    upstream.wait_held(2).await;
    drop(response);
    upstream.wait_ended(2).await;
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let (_upstream, gateway) = limited("").await;
    let body = hello().to_string();
    let mut client = RawClient::connect(gateway.data_addr()).await;
    let length = body.len();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    client.send(head).await.unwrap();
    client.read_until(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    client.send(body).await.unwrap();
    assert_eq!(client.read_reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let (upstream, gateway) = limited("").await;
    let mut client = RawClient::connect(gateway.data_addr()).await;
    for body in [hello(), hello_stream()].iter().cycle().take(20) {
        client.post("/v1/chat/completions", body).await.unwrap();
        assert_eq!(client.read_reply().await.unwrap().status, 200);
    }
    // The connection of a stream is free a moment after its last event, so the next request may open a second one.
    let opened = upstream.connections_total();
    assert!(opened <= 5, "{opened} connections upstream for 20 requests: they are not used again");
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let (_upstream, gateway) = limited("").await;
    let mut client = RawClient::connect(gateway.data_addr()).await;
    let get = "GET /v1/models HTTP/1.1\r\nhost: t\r\n\r\n";
    client.post("/v1/chat/completions", &hello_stream()).await.unwrap();
    client.send(format!("{get}{get}")).await.unwrap();
    assert!(client.read_reply().await.unwrap().text().ends_with("data: [DONE]\n\n"));
    for _ in 0..2 {
        assert_eq!(client.read_reply().await.unwrap().json()["object"], "list");
    }
}

#[tokio::test]
async fn idle_connections_do_not_keep_probes_out() {
    let (_upstream, gateway) = limited("").await;
    let mut idle = Vec::new();
    for has_asked in [false, true] {
        for _ in 0..70 {
            let mut client = RawClient::connect(gateway.admin_addr()).await;
            if has_asked {
                client.send("GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
                assert_eq!(client.read_reply().await.unwrap().status, 200);
            }
            idle.push(client);
        }
        let health = http_client().get(gateway.admin_url("/healthz")).send();
        let health = tokio::time::timeout(std::time::Duration::from_secs(5), health).await.unwrap().unwrap();
        assert_eq!(health.status(), 200, "{has_asked}");
    }
}
