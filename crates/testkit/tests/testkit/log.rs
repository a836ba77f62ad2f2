//! What the log tells of requests and connections.

use super::{chat, playing, post};
use std::time::Instant;
use testkit::{Behaviour, Ending, RawClient, ScriptedUpstream};

#[tokio::test]
async fn an_attempt_holds_the_request_as_it_came() {
    let upstream = ScriptedUpstream::start().await;
    let before = Instant::now();
    let response = testkit::http_client()
        .post(format!("{}/chat/completions?x=1", upstream.base_url()))
        .header("Authorization", "Bearer k")
        .body(chat(false).to_string())
        .send()
        .await
        .unwrap();
    let received = response.bytes().await.unwrap().len() as u64;
    let ended = upstream.wait_ended(0).await;
    let attempt = &upstream.attempts()[0];
    assert_eq!((attempt.method.as_str(), attempt.path.as_str()), ("POST", "/v1/chat/completions?x=1"));
    assert_eq!(attempt.header("authorization"), Some("Bearer k"));
    assert_eq!(attempt.json(), chat(false));
    assert_eq!((ended.how, attempt.ended_as(Ending::Completed)), (Ending::Completed, true));
    assert!(before <= attempt.arrived_at && attempt.arrived_at <= ended.at);
    assert!(attempt.bytes_sent > received);
}

#[tokio::test]
async fn connections_are_kept_and_counted() {
    let upstream = ScriptedUpstream::start().await;
    let mut client = RawClient::connect(upstream.addr()).await;
    for _ in 0..3 {
        client.post("/v1/chat/completions", &chat(true)).await.unwrap();
        let reply = client.read_reply().await.unwrap();
        assert!(reply.text().ends_with("data: [DONE]\n\n"));
    }
    assert_eq!((upstream.connections_total(), upstream.connections_open(), upstream.attempts().len()), (1, 1, 3));
    assert!(upstream.attempts().iter().all(|attempt| attempt.connection == 0));
    drop(client);
    upstream.wait_for(|log| log.connections_open == 0).await;
    post(&upstream, &chat(false)).await.unwrap();
    assert_eq!((upstream.connections_total(), upstream.attempts()[3].connection), (2, 1));
}

#[tokio::test]
async fn a_peer_may_leave_before_it_asked_anything() {
    let upstream = ScriptedUpstream::start().await;
    drop(RawClient::connect(upstream.addr()).await);
    upstream.wait_for(|log| log.connections_total == 1 && log.connections_open == 0).await;
    assert!(upstream.attempts().is_empty());
}

#[tokio::test]
async fn chunked_and_torn_requests_are_read_whole() {
    let upstream = ScriptedUpstream::start().await;
    let mut client = RawClient::connect(upstream.addr()).await;
    let request = "POST /v1/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
    for byte in request.as_bytes() {
        client.send([*byte]).await.unwrap();
    }
    assert_eq!(client.read_reply().await.unwrap().status, 200);
    assert_eq!(&upstream.attempts()[0].body[..], b"hello world");
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let upstream = ScriptedUpstream::start().await;
    let mut client = RawClient::connect(upstream.addr()).await;
    client.send("\0\0nonsense\r\n\r\n").await.unwrap();
    assert_eq!(client.read_reply().await.unwrap().status, 400);
    assert_eq!(client.read_to_end().await.unwrap(), b"");
}

#[tokio::test]
async fn dropping_the_upstream_closes_all() {
    let upstream = playing(Behaviour::StallBeforeHeaders).await;
    let mut client = RawClient::connect(upstream.addr()).await;
    client.post("/v1/chat/completions", &chat(true)).await.unwrap();
    upstream.wait_held(0).await;
    drop(upstream);
    assert_eq!(client.read_to_end().await.unwrap(), b"");
}
