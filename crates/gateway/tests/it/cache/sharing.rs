//! Several callers who ask the same at the same moment.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Behaviour, DEFAULT_TEXT, EventStream, Gateway, RawClient, ScriptedUpstream, Streamed, http_client};
use tokio::task::JoinHandle;

use super::{POLICY, Setting, ask, cache, put_together, said, setting, streamed, with};
use crate::support::{Reply, chat, settled_metrics, sharing};

/// Asks beside the test.
fn asking(gateway: &Gateway, body: &serde_json::Value) -> JoinHandle<Reply> {
    let request = chat(gateway, body);
    tokio::spawn(Reply::of(request))
}

#[tokio::test]
async fn one_upstream_serves_all_who_ask_the_same() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    upstream.script([Behaviour::StallBetweenChunks { after: 2 }]);
    let leader = asking(&gateway, &streamed("hi", true));
    upstream.wait_held(0).await;
    let followers = [streamed("hi", true), streamed("hi", false), ask("hi")].map(|body| asking(&gateway, &body));
    let other = asking(&gateway, &ask("ho"));
    assert_eq!(cache(&other.await.unwrap()), "miss");
    sharing(&gateway, 4).await;
    upstream.release();
    let leader = leader.await.unwrap();
    assert_eq!((cache(&leader), leader.header("x-tidegate-reason")), ("miss", "rule=r"));
    let mut replies = Vec::new();
    for follower in followers {
        replies.push(follower.await.unwrap());
    }
    for reply in &replies {
        assert_eq!((cache(reply), reply.header("x-tidegate-reason")), ("coalesced", "rule=r; cache=coalesced"));
    }
    // The text of all of them left with the first, and the bytes are counted once.
    let receipt =
        |reply: &Reply| http_client().get(gateway.url(&format!("/v1/receipts/{}", reply.header("x-request-id"))));
    for (reply, is_first) in replies.iter().map(|reply| (reply, false)).chain([(&leader, true)]) {
        let receipt = Reply::of(receipt(reply)).await.json();
        let left = &receipt["left_device"];
        assert_eq!((&left["what"], left["bytes"].as_u64() > Some(0)), (&json!("text"), is_first), "{receipt}");
    }
    assert_eq!(replies[0].text, leader.text);
    assert_eq!(put_together(&replies[1].text), (DEFAULT_TEXT.to_owned(), json!("stop"), vec![]));
    assert_eq!(replies[2].content(), DEFAULT_TEXT);
    assert_eq!(upstream.attempts().len(), 2);
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "hit");
    let metrics = settled_metrics(&gateway).await;
    let of = |name: &str, labels: &[(&str, &str)]| testkit::sum_metric(&metrics, name, labels).unwrap_or_default();
    assert_eq!(of("tidegate_cache_requests_total", &[("result", "coalesced")]), 3.0, "{metrics}");
    assert_eq!(of("tidegate_attempts_total", &[]), 2.0);
    assert_eq!(of("tidegate_output_tokens_total", &[]), 14.0, "what is shared is paid for once");
}

#[tokio::test]
async fn the_first_may_leave_and_the_others_have_all_of_it() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    upstream.script([Behaviour::StallBetweenChunks { after: 3 }]);
    let mut leader = RawClient::connect(gateway.data_addr()).await;
    leader.post("/v1/chat/completions", &streamed("hi", true)).await.unwrap();
    upstream.wait_held(0).await;
    let follower = asking(&gateway, &streamed("hi", true));
    sharing(&gateway, 2).await;
    drop(leader);
    sharing(&gateway, 1).await;
    assert!(upstream.attempts()[0].ended.is_none(), "the other one still waits");
    upstream.release();
    let reply = follower.await.unwrap();
    assert_eq!(put_together(&reply.text).0, DEFAULT_TEXT);
    assert_eq!(upstream.attempts().len(), 1);
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "hit");
    let metrics = settled_metrics(&gateway).await;
    let of = |name: &str, labels: &[(&str, &str)]| testkit::sum_metric(&metrics, name, labels).unwrap_or_default();
    // Who stayed accounts for the attempt.
    assert_eq!(of("tidegate_attempts_total", &[("outcome", "answered")]), 1.0, "{metrics}");
    assert_eq!(of("tidegate_attempts_total", &[]), 1.0);
    assert_eq!(of("tidegate_output_tokens_total", &[]), 7.0);
    assert_eq!(of("tidegate_requests_total", &[("outcome", "caller_gone")]), 1.0);
}

#[tokio::test]
async fn when_all_have_left_the_connection_upstream_is_dropped_at_once() {
    for body in [ask("hi"), streamed("hi", true)] {
        let upstream = ScriptedUpstream::start().await;
        let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
        upstream.set_default(Behaviour::StallBetweenChunks { after: 2 });
        let mut callers = Vec::new();
        for _ in 0..3 {
            let mut caller = RawClient::connect(gateway.data_addr()).await;
            caller.post("/v1/chat/completions", &body).await.unwrap();
            upstream.wait_held(0).await;
            callers.push(caller);
        }
        sharing(&gateway, 3).await;
        let last = callers.pop();
        drop(callers);
        sharing(&gateway, 1).await;
        assert!(upstream.attempts()[0].ended.is_none());
        let left = Instant::now();
        drop(last);
        let ended = upstream.wait_ended(0).await;
        // Half of the shortest timeout of the target: it was the callers leaving, not a limit.
        assert!(ended.at.duration_since(left) < Duration::from_millis(750), "{body}");
        let metrics = settled_metrics(&gateway).await;
        let of = |name: &str, labels: &[(&str, &str)]| testkit::sum_metric(&metrics, name, labels).unwrap_or_default();
        assert_eq!(of("tidegate_attempts_total", &[("outcome", "caller_gone")]), 1.0, "{metrics}");
        assert_eq!(of("tidegate_attempts_total", &[]), 1.0);
        assert_eq!(upstream.attempts().len(), 1);
        // Nothing of it is kept, and nobody waits for it any more.
        upstream.set_default(Behaviour::SetText);
        assert_eq!(cache(&said(&gateway, &body).await), "miss");
    }
}

#[tokio::test]
async fn what_fails_for_the_first_is_tried_by_the_others_themselves() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    for behaviour in [Behaviour::StallBeforeHeaders, Behaviour::SlowFirstToken] {
        let before = upstream.attempts().len();
        upstream.script([behaviour]);
        let leader = asking(&gateway, &streamed("hi", true));
        upstream.wait_held(before).await;
        let follower = asking(&gateway, &streamed("hi", true));
        sharing(&gateway, 2).await;
        // The first token does not come in time, and the first has no other target.
        let leader = leader.await.unwrap();
        assert_eq!(leader.status, 504, "{}", leader.text);
        let follower = follower.await.unwrap();
        assert_eq!(put_together(&follower.text).0, DEFAULT_TEXT);
        assert_eq!(cache(&follower), "miss");
    }
    let metrics = settled_metrics(&gateway).await;
    let of =
        |labels: &[(&str, &str)]| testkit::sum_metric(&metrics, "tidegate_attempts_total", labels).unwrap_or_default();
    assert_eq!((of(&[("outcome", "answered")]), of(&[("outcome", "first_token_timeout")])), (2.0, 2.0), "{metrics}");
}

#[tokio::test]
async fn a_break_reaches_all_who_have_a_part() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    // With log probabilities no other run goes on with it.
    let of = |body: serde_json::Value| with(body, &json!({"logprobs": true}));
    let broken = Behaviour::CutAfter { chunks: 4 };
    upstream.script([Behaviour::HeldAfter { after: 2, then: Box::new(broken) }]);
    let leader = asking(&gateway, &of(streamed("hi", true)));
    upstream.wait_held(0).await;
    let followers = [streamed("hi", true), streamed("hi", false)].map(|body| asking(&gateway, &of(body)));
    let whole = asking(&gateway, &of(ask("hi")));
    sharing(&gateway, 4).await;
    upstream.release();
    assert!(leader.await.unwrap().text.contains("stream_interrupted"));
    for follower in followers {
        let reply = follower.await.unwrap();
        assert!(reply.text.contains("stream_interrupted") && !reply.text.contains("[DONE]"), "{}", reply.text);
    }
    // Who has nothing yet goes by itself.
    assert_eq!(whole.await.unwrap().content(), DEFAULT_TEXT);
    assert_eq!(upstream.attempts().len(), 2);
}

#[tokio::test]
async fn a_caller_that_does_not_read_holds_up_nobody() {
    let upstream = ScriptedUpstream::start().await;
    let extra = "cache: {entry_bytes_max: 65536}\n";
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], extra).await;
    // About 48 MB: far more than is held for who is behind (8 MiB), than the system's buffers take and than an allocator keeps.
    let text = format!("{} ", "x".repeat(64_000)).repeat(750);
    upstream.set_text(text.clone(), testkit::Usage::default());
    upstream.script([Behaviour::HeldAfter { after: 1, then: Box::new(Behaviour::SetText) }]);
    let leader = gateway.chat(&streamed("hi", false)).await;
    upstream.wait_held(0).await;
    let mut slow = RawClient::connect_with_receive_buffer(gateway.data_addr(), 4096).await;
    slow.post("/v1/chat/completions", &streamed("hi", false)).await.unwrap();
    sharing(&gateway, 2).await;
    let before = gateway.resident_bytes();
    upstream.release();
    let read = Streamed::read(leader).await;
    assert!(read.is_complete() && read.text == text);
    let grown = gateway.resident_bytes().saturating_sub(before);
    println!("{grown} bytes more");
    assert!(grown < 32 << 20, "{grown} bytes for a caller who does not read");
    // The slow one is told that it does not have all of it.
    let rest = slow.read_reply().await.unwrap().text();
    assert!(
        rest.contains("fell too far behind") && !rest.contains("[DONE]"),
        "{}",
        &rest[rest.len().saturating_sub(500)..]
    );
    assert_eq!(cache(&said(&gateway, &ask("hi")).await), "miss", "too long to be kept");
}

#[tokio::test]
async fn each_has_its_own_time() {
    let upstream = ScriptedUpstream::start().await;
    let extra = "limits: {total_timeout_ms: 2000}\n";
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], extra).await;
    // The first begins here, and says what it wants only after another one has waited for its first token in vain.
    let mut first = RawClient::connect(gateway.data_addr()).await;
    let body = streamed("hi", true).to_string();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len());
    first.send(head + &body[..10]).await.unwrap();
    upstream.script([Behaviour::SlowFirstToken, Behaviour::StallBetweenChunks { after: 2 }]);
    assert_eq!(Reply::of(chat(&gateway, &streamed("tick", true))).await.status, 504);
    first.send(&body[10..]).await.unwrap();
    upstream.wait_held(1).await;
    let mut second = EventStream::new(gateway.chat(&streamed("hi", true)).await);
    assert!(second.next_content().await.is_some());
    first.read_until("the stream broke off").await.unwrap();
    assert!(upstream.attempts()[1].ended.is_none(), "the other one's time is not over");
    upstream.release();
    let rest = second.collect().await;
    assert!(rest.saw_done && rest.error.is_none(), "{rest:?}");
}

#[tokio::test]
async fn only_those_share_who_could_share_what_is_kept() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "defaults: {privacy: public}\n").await;
    upstream.set_default(Behaviour::StallBeforeHeaders);
    let plain = asking(&gateway, &ask("hi"));
    let internal = tokio::spawn(Reply::of(chat(&gateway, &ask("hi")).header("x-tidegate-privacy", "internal")));
    let anew = {
        upstream.wait_attempts(2).await;
        tokio::spawn(Reply::of(chat(&gateway, &ask("hi")).header("cache-control", "no-cache")))
    };
    let bypass = tokio::spawn(Reply::of(chat(&gateway, &ask("hi")).header("cache-control", "no-store")));
    let varies = asking(&gateway, &with(ask("hi"), &json!({"temperature": 1})));
    upstream.wait_attempts(5).await;
    for _ in 0..5 {
        upstream.release();
    }
    for (reply, expected) in
        [(plain, "miss"), (internal, "miss"), (anew, "miss"), (bypass, "bypass"), (varies, "bypass")]
    {
        assert_eq!(cache(&reply.await.unwrap()), expected);
    }
    assert_eq!(upstream.attempts().len(), 5);
}
