//! Answers that stand still, go on when released, and notice a peer that leaves.

use super::{chat, playing, post};
use std::time::Duration;
use testkit::{Behaviour, DEFAULT_TEXT, Ending, EventStream, RawClient, Streamed, text_pieces};

#[tokio::test]
async fn each_stall_holds_and_goes_on_when_released() {
    for behaviour in [
        Behaviour::StallBeforeHeaders,
        Behaviour::StallAfterHeaders,
        Behaviour::StallBetweenChunks { after: 3 },
        Behaviour::SlowFirstToken,
    ] {
        let upstream = playing(behaviour.clone()).await;
        let read = async { Streamed::read(post(&upstream, &chat(true)).await.unwrap()).await };
        let release = async {
            upstream.wait_held(0).await;
            let held = upstream.attempts()[0].clone();
            upstream.release();
            held
        };
        let (answer, held) = tokio::join!(read, release);
        assert!(answer.is_complete() && answer.text == DEFAULT_TEXT, "{behaviour:?}: {answer:?}");
        assert_eq!(held.bytes_sent == 0, behaviour == Behaviour::StallBeforeHeaders);
        assert!(held.ended.is_none());
        assert_eq!(upstream.wait_ended(0).await.how, Ending::Completed);
        assert!(!upstream.attempts()[0].is_held);
    }
}

#[tokio::test]
async fn stalls_hold_without_streaming_too() {
    for behaviour in [
        Behaviour::StallBeforeHeaders,
        Behaviour::StallAfterHeaders,
        Behaviour::StallBetweenChunks { after: 3 },
        Behaviour::SlowFirstToken,
    ] {
        let upstream = playing(behaviour).await;
        let read = async { post(&upstream, &chat(false)).await.unwrap().text().await.unwrap() };
        let release = async {
            upstream.wait_held(0).await;
            upstream.release();
        };
        let (answer, ()) = tokio::join!(read, release);
        assert!(answer.contains(DEFAULT_TEXT));
    }
}

#[tokio::test]
async fn content_before_a_stall_has_arrived() {
    let upstream = playing(Behaviour::StallBetweenChunks { after: 2 }).await;
    let mut stream = EventStream::new(post(&upstream, &chat(true)).await.unwrap());
    let pieces = text_pieces(DEFAULT_TEXT);
    assert_eq!(stream.next_content().await.as_deref(), Some(pieces[0]));
    assert_eq!(stream.next_content().await.as_deref(), Some(pieces[1]));
    upstream.wait_held(0).await;
    upstream.release();
    assert_eq!(stream.next_content().await.as_deref(), Some(pieces[2]));
    assert!(stream.collect().await.saw_done);
}

#[tokio::test]
async fn a_slow_first_token_sends_its_role_at_once() {
    let upstream = playing(Behaviour::SlowFirstToken).await;
    let mut stream = EventStream::new(post(&upstream, &chat(true)).await.unwrap());
    let role = stream.next().await.unwrap().unwrap();
    assert_eq!(role.json().unwrap()["choices"][0]["delta"]["role"], "assistant");
    upstream.wait_held(0).await;
}

#[tokio::test]
async fn one_release_lets_one_exchange_go_on() {
    let upstream = playing(Behaviour::StallBeforeHeaders).await;
    upstream.script([Behaviour::StallBeforeHeaders]);
    let mut first = RawClient::connect(upstream.addr()).await;
    first.post("/v1/chat/completions", &chat(false)).await.unwrap();
    upstream.wait_held(0).await;
    let mut second = RawClient::connect(upstream.addr()).await;
    second.post("/v1/chat/completions", &chat(false)).await.unwrap();
    upstream.wait_held(1).await;
    upstream.release();
    assert_eq!(first.read_reply().await.unwrap().status, 200);
    assert!(upstream.attempts()[1].is_held);
    upstream.release();
    assert_eq!(second.read_reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_peer_that_leaves_a_stall_is_seen_at_once() {
    for behaviour in [
        Behaviour::StallBeforeHeaders,
        Behaviour::StallAfterHeaders,
        Behaviour::StallBetweenChunks { after: 1 },
        Behaviour::SlowFirstToken,
    ] {
        for leaves_with_reset in [true, false] {
            let upstream = playing(behaviour.clone()).await;
            let mut client = RawClient::connect(upstream.addr()).await;
            client.post("/v1/chat/completions", &chat(true)).await.unwrap();
            upstream.wait_held(0).await;
            let left_at = std::time::Instant::now();
            if leaves_with_reset {
                client.reset()
            } else {
                drop(client)
            }
            let ended = upstream.wait_ended(0).await;
            assert_eq!(ended.how, Ending::PeerClosed);
            assert!(ended.at.duration_since(left_at) < Duration::from_secs(5));
            upstream.wait_for(|log| log.connections_open == 0).await;
        }
    }
}

#[tokio::test]
async fn endless_content_blocks_on_a_peer_that_does_not_read() {
    let upstream = playing(Behaviour::Endless { chunk: "x".repeat(1000) }).await;
    let mut client = RawClient::connect_with_receive_buffer(upstream.addr(), 4096).await;
    client.post("/v1/chat/completions", &chat(true)).await.unwrap();
    upstream.wait_blocked(0).await;
    let blocked_at = upstream.attempts()[0].bytes_sent;
    assert!(blocked_at > 0);
    let mut read = 0;
    while read <= blocked_at {
        read += client.read_some(64 * 1024).await.unwrap().len() as u64;
    }
    // More was read than had been sent when it blocked: it went on.
    upstream.wait_for(|log| log.attempts[0].bytes_sent > blocked_at).await;
    drop(client);
    assert_eq!(upstream.wait_ended(0).await.how, Ending::PeerClosed);
}

#[tokio::test]
async fn a_peer_that_leaves_a_full_socket_is_seen() {
    let upstream = playing(Behaviour::Endless { chunk: "y".repeat(100_000) }).await;
    let mut client = RawClient::connect_with_receive_buffer(upstream.addr(), 4096).await;
    client.post("/v1/chat/completions", &chat(false)).await.unwrap();
    client.read_until("yyyy").await.unwrap();
    client.reset();
    assert_eq!(upstream.wait_ended(0).await.how, Ending::PeerClosed);
}
