//! The commit point: what happens before the first content is invisible, and after it nothing is joined that is not proven.

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, Usage};

use crate::support::{Reply, chat, cloud_gateway, hello, hello_stream, settled_metrics};

/// The data of every event of an SSE text.
fn chunks(text: &str) -> Vec<Value> {
    let data = text
        .split("\n\n")
        .filter_map(|event| event.trim_start_matches(": continued by cloud/a\n\n").strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

fn content(text: &str) -> String {
    let pieces = chunks(text)
        .into_iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned));
    pieces.collect()
}

async fn two() -> (ScriptedUpstream, ScriptedUpstream, Gateway) {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = cloud_gateway(&[&a, &b]).await;
    (a, b, gateway)
}

/// Asks for a stream; `a` sends two pieces of the default text alone, and then goes on as `then` says.
async fn cut(a: &ScriptedUpstream, gateway: &Gateway, request: &Value, then: Behaviour) -> Reply {
    a.script([Behaviour::held_after(2, then)]);
    Reply::released(chat(gateway, request), "tide ", a).await
}

#[tokio::test]
async fn whatever_fails_before_the_first_content_moves_on_unseen() {
    let (a, b, gateway) = two().await;
    b.set_default(Behaviour::answer("second"));
    let role = r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    let error = json!({"error": {"message": "overloaded", "type": "overloaded_error"}});
    let failures = [
        (Behaviour::CutAfter { chunks: 0 }, "connection_lost"),
        (Behaviour::ResetAfter { chunks: 0 }, "connection_lost"),
        (Behaviour::ErrorInStream { after: 0, body: error.clone() }, "overloaded"),
        (Behaviour::event_stream(format!("event: error\ndata: {error}\n\n")), "overloaded"),
        (Behaviour::event_stream(format!("data: {error}\n\n")), "overloaded"),
        (Behaviour::event_stream(format!("data: {role}\n\ndata: [DONE]\n\n")), "invalid_answer"),
        (Behaviour::event_stream(format!(": comment\n\ndata: {role}\n\n")), "connection_lost"),
        (Behaviour::MalformedFrame { at: 0 }, "invalid_answer"),
        (Behaviour::SlowFirstToken, "first_token_timeout"),
        (Behaviour::StallAfterHeaders, "first_token_timeout"),
    ];
    for (failure, word) in failures {
        a.set_default(failure.clone());
        let reply = Reply::of(chat(&gateway, &hello_stream())).await;
        assert_eq!(reply.header("x-tidegate-target"), "cloud/b", "{failure:?} {}", reply.text);
        assert_eq!(reply.header("x-tidegate-reason"), format!("rule=device-first; fallback={word}"), "{failure:?}");
        assert_eq!(content(&reply.text), "second", "{failure:?}");
        assert_eq!(
            chunks(&reply.text).iter().filter(|chunk| chunk["choices"][0]["delta"]["role"] == "assistant").count(),
            1
        );
        assert!(reply.text.ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn a_silent_target_is_not_asked_again_and_one_that_failed_is_once() {
    let (a, b, gateway) = two().await;
    let cases = [
        (Behaviour::SlowFirstToken, 1),
        (Behaviour::StallBeforeHeaders, 1),
        (Behaviour::status(500), 2),
        (Behaviour::ResetBeforeHeaders, 2),
        (Behaviour::status(503), 1),
        (Behaviour::status(401), 1),
        (Behaviour::status(404), 1),
        (Behaviour::status(408), 1),
        (Behaviour::status(429), 1),
    ];
    for (failure, tries) in cases {
        a.set_default(failure.clone());
        let (before, before_b) = (a.attempts().len(), b.attempts().len());
        assert_eq!(Reply::of(chat(&gateway, &hello_stream())).await.status, 200);
        assert_eq!((a.attempts().len() - before, b.attempts().len() - before_b), (tries, 1), "{failure:?}");
    }
}

#[tokio::test]
async fn a_broken_stream_goes_on_only_where_the_other_reproduces_it_exactly() {
    let (a, b, gateway) = two().await;
    // The same target fails once more, so that the other one is asked.
    let breaks = [
        Behaviour::CutAfter { chunks: 2 },
        Behaviour::ResetAfter { chunks: 2 },
        Behaviour::StallBetweenChunks { after: 2 },
        Behaviour::EndWithoutFinish,
        Behaviour::MalformedFrame { at: 2 },
        Behaviour::ErrorInStream { after: 2, body: json!({"error": {"message": "m", "type": "server_error"}}) },
    ];
    a.set_default(Behaviour::status(500));
    for behaviour in breaks {
        // The same text in the same pieces, in one piece, and byte by byte.
        for whole in [Behaviour::answer(testkit::DEFAULT_TEXT), Behaviour::OneBytePieces] {
            b.set_default(whole);
            let reply = cut(&a, &gateway, &hello_stream(), behaviour.clone()).await;
            assert_eq!(content(&reply.text), testkit::DEFAULT_TEXT, "{behaviour:?} {}", reply.text);
            assert!(reply.text.ends_with("data: [DONE]\n\n"), "{behaviour:?} {}", reply.text);
            assert!(reply.text.contains(": continued by cloud/b\n\n"), "{}", reply.text);
            let ids: Vec<_> = chunks(&reply.text).iter().map(|chunk| chunk["id"].to_string()).collect();
            assert!(ids.iter().all(|id| *id == ids[0]), "one stream has one id: {ids:?}");
            assert_eq!(chunks(&reply.text).last().unwrap()["model"], "upstream-b", "who really answered");
        }
        // Another text, a shorter one, one that ends there.
        for other in ["The sea turns", "The ", "The tide ", "Another"] {
            b.set_default(Behaviour::answer(other));
            let reply = cut(&a, &gateway, &hello_stream(), behaviour.clone()).await;
            let is_end = other == "The tide " && reply.text.contains("[DONE]");
            assert!(is_end || !reply.text.contains("[DONE]"), "{other}: {}", reply.text);
            assert!(testkit::DEFAULT_TEXT.starts_with(&content(&reply.text)), "{other}: {}", reply.text);
            let last = chunks(&reply.text).pop().unwrap();
            assert!(is_end || last["error"]["fault"] == "upstream", "{behaviour:?} {other}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn a_conversation_goes_on_with_who_gave_the_end_of_its_answer() {
    let (a, b, gateway) = two().await;
    a.set_default(Behaviour::status(500));
    b.set_default(Behaviour::answer(testkit::DEFAULT_TEXT));
    let reply = cut(&a, &gateway, &hello_stream(), Behaviour::CutAfter { chunks: 2 }).await;
    assert!(reply.text.contains(": continued by cloud/b\n\n"), "{}", reply.text);
    a.set_default(Behaviour::answer("from the first"));
    let mut looping = hello_stream();
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{}"}}]});
    let messages = looping["messages"].as_array_mut().unwrap();
    messages.extend([call, json!({"role": "tool", "tool_call_id": "c1", "content": "high"})]);
    let reply = Reply::of(chat(&gateway, &looping)).await;
    assert_eq!(reply.header("x-tidegate-target"), "cloud/b", "{}", reply.text);
}

#[tokio::test]
async fn what_cannot_be_compared_is_not_continued() {
    let (a, b, gateway) = two().await;
    b.set_default(Behaviour::answer(testkit::DEFAULT_TEXT));
    let with = |key: &str, value: Value| {
        let mut body = hello_stream();
        body[key] = value;
        body
    };
    for request in [with("n", json!(2)), with("logprobs", json!(true))] {
        let reply = cut(&a, &gateway, &request, Behaviour::CutAfter { chunks: 2 }).await;
        assert!(!reply.text.contains("[DONE]") && reply.text.contains("stream_interrupted"), "{}", reply.text);
    }
    assert_eq!(b.attempts().len(), 0);
}

#[tokio::test]
async fn a_target_that_continues_a_prefix_is_asked_to_only_for_the_same_model() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let start = async |model: &str| {
        let config = crate::support::cloud_config(&[&a, &b], "")
            .replace("model: upstream-b\n", &format!("model: {model}\n    continues_prefix: true\n"));
        Gateway::start(&config).await
    };
    a.set_default(Behaviour::status(500));
    b.set_default(Behaviour::answer("turns."));
    let same = start("upstream-a").await;
    let reply = cut(&a, &same, &hello_stream(), Behaviour::CutAfter { chunks: 2 }).await;
    assert_eq!(content(&reply.text), "The tide turns.", "{}", reply.text);
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
    let sent: Value = serde_json::from_slice(&b.attempts()[0].body).unwrap();
    assert_eq!(sent["messages"][1], json!({"role": "assistant", "content": "The tide "}));

    // With a limit of tokens it would write as many again; a stop sequence can lie across; of what is not known nobody knows.
    for (key, value) in [("max_tokens", json!(100)), ("stop", json!("e t")), ("guided_regex", json!("The .*"))] {
        let mut limited = hello_stream();
        // A conversation of its own: one goes on with who gave the end of its last answer.
        limited["messages"][0]["content"] = json!(key);
        limited[key] = value;
        let reply = cut(&a, &same, &limited, Behaviour::CutAfter { chunks: 2 }).await;
        assert_eq!(content(&reply.text), "The tide ", "{}", reply.text);
        assert_eq!(last_messages(&b), 1, "{key}");
    }
    let mut begun = hello_stream();
    begun["messages"][0]["content"] = json!("begun");
    begun["messages"].as_array_mut().unwrap().push(json!({"role": "assistant", "content": "Well, "}));
    let reply = cut(&a, &same, &begun, Behaviour::CutAfter { chunks: 2 }).await;
    assert_eq!((content(&reply.text).as_str(), last_messages(&b)), ("The tide ", 2));

    let other = start("upstream-b").await;
    let reply = cut(&a, &other, &hello_stream(), Behaviour::CutAfter { chunks: 2 }).await;
    assert_eq!(content(&reply.text), "The tide ", "two models are never joined: {}", reply.text);
    assert!(!reply.text.contains("[DONE]"));
    assert_eq!(last_messages(&b), 1);
}

/// What a caller is told, and what is recorded, of an answer whose end another target wrote behind its beginning.
#[tokio::test]
async fn the_usage_of_an_answer_in_two_parts_is_of_the_whole() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let config = crate::support::cloud_config(&[&a, &b], "")
        .replace("model: upstream-b\n", "model: upstream-a\n    continues_prefix: true\n");
    let gateway = Gateway::start(&config).await;
    let piece = |text: &str, usage: Value| {
        let choices = json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]);
        let data = json!({"id": "c", "model": "m", "choices": choices, "usage": usage});
        format!("data: {data}\n\n")
    };
    let count = |prompt: u64, completion: u64| json!({"prompt_tokens": prompt, "completion_tokens": completion});
    let finish = r#"data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let counted = Behaviour::Answer {
        text: "turns.".into(),
        usage: Usage { prompt_tokens: 15, completion_tokens: 3, cached_tokens: 0 },
    };
    let uncounted = Behaviour::event_stream(piece("turns.", Value::Null) + finish + "\n\ndata: [DONE]\n\n");
    let whole = piece("The ", Value::Null) + &piece("tide ", count(12, 2));
    let early = piece("The ", count(12, 1)) + &piece("tide ", Value::Null);
    let never = piece("The ", Value::Null) + &piece("tide ", Value::Null);
    // What the first counts, and the second; the counts of the whole, and of each.
    let cases = [
        (&never, &counted, (13, 5, true), [(None, 2, true), (Some(15), 3, false)]),
        (&whole, &counted, (12, 5, false), [(Some(12), 2, false), (Some(15), 3, false)]),
        (&early, &counted, (12, 5, true), [(Some(12), 2, true), (Some(15), 3, false)]),
        (&whole, &uncounted, (12, 4, true), [(Some(12), 2, false), (None, 2, true)]),
    ];
    for (number, (first, second, of_whole, of_each)) in cases.into_iter().enumerate() {
        let mut body = hello_stream();
        // A conversation of its own: one goes on with who gave the end of its last answer.
        body["messages"][0]["content"] = json!(format!("case {number}"));
        body["stream_options"] = json!({"include_usage": true});
        a.script([Behaviour::event_stream(first.clone()), Behaviour::status(500)]);
        b.set_default(second.clone());
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!(content(&reply.text), "The tide turns.", "{number}: {}", reply.text);
        let (_, rest) = reply.text.split_once(": continued by cloud/b\n\n").unwrap();
        let told: Vec<Value> = chunks(rest).into_iter().filter(|chunk| chunk["usage"].is_object()).collect();
        let (prompt, completion, is_estimated) = of_whole;
        let mut usage = count(prompt, completion);
        usage["total_tokens"] = json!(prompt + completion);
        if is_estimated {
            usage["estimated"] = json!(true);
        }
        assert_eq!((told.len(), &told[0]["usage"]), (1, &usage), "{number}: {}", reply.text);
        let id = reply.header("x-request-id");
        let receipt = Reply::of(testkit::http_client().get(gateway.url(&format!("/v1/receipts/{id}")))).await.json();
        let tokens = json!({"input": prompt, "cached": 0, "output": completion, "estimated": is_estimated});
        assert_eq!(receipt["tokens"], tokens, "{number}");
        let attempts = receipt["attempts"].as_array().unwrap();
        let ends = [attempts.first().unwrap(), attempts.last().unwrap()];
        for (attempt, (prompt, completion, is_estimated)) in ends.into_iter().zip(of_each) {
            let own = &attempt["tokens"];
            assert!(prompt.is_none_or(|prompt: u64| own["input"] == prompt), "{number}: {receipt}");
            assert_eq!((&own["output"], &own["estimated"]), (&json!(completion), &json!(is_estimated)), "{receipt}");
        }
    }
}

/// How many messages the last request had.
fn last_messages(upstream: &ScriptedUpstream) -> usize {
    upstream.attempts().last().unwrap().json()["messages"].as_array().unwrap().len()
}

#[tokio::test]
async fn streams_as_they_are_in_the_wild() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    let piece =
        r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"abcd efgh"},"finish_reason":null}]}"#;
    let finish = r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let stream = |data: &[&str]| data.iter().map(|data| format!("data: {data}\n\n")).collect::<String>();
    // What has nothing of an object has nothing of the answer; what has and cannot be read may have.
    upstream.set_default(Behaviour::event_stream(stream(&["ping", piece, "", "<html>", finish, "[DONE]"])));
    let reply = Reply::of(chat(&gateway, &hello_stream())).await;
    assert_eq!(content(&reply.text), "abcd efgh");
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
    upstream.set_default(Behaviour::event_stream(stream(&[piece, &piece[..50], finish, "[DONE]"])));
    let reply = Reply::of(chat(&gateway, &hello_stream())).await;
    assert!(reply.status == 502 || !reply.text.contains("[DONE]"), "{}", reply.text);
    // Usage that nobody counted is estimated, and says so where it is asked for.
    upstream.set_default(Behaviour::event_stream(stream(&[piece, finish, "[DONE]"])));
    let mut body = hello_stream();
    body["stream_options"] = json!({"include_usage": true});
    let reply = Reply::of(chat(&gateway, &body)).await;
    let usage = chunks(&reply.text).pop().unwrap()["usage"].clone();
    assert_eq!((&usage["completion_tokens"], &usage["estimated"]), (&json!(3), &json!(true)), "{}", reply.text);
    upstream.set_default(Behaviour::Answer { text: "a".into(), usage: Usage::default() });
    let reply = Reply::of(chat(&gateway, &body)).await;
    let counted = chunks(&reply.text).into_iter().filter(|chunk| chunk["usage"].is_object()).collect::<Vec<_>>();
    assert_eq!((counted.len(), &counted[0]["usage"]["completion_tokens"]), (1, &json!(7)));
    assert_eq!(counted[0]["usage"]["estimated"], Value::Null);
    let metrics = settled_metrics(&gateway).await;
    assert!(metrics.contains(r#"tidegate_stream_events_skipped_total{target="cloud/a"} 2"#), "{metrics}");
}

#[tokio::test]
async fn a_tool_call_of_megabytes_arrives_whole() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    let arguments = "x".repeat(3 << 20);
    let call = |arguments: &str| {
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "t", "type": "function",
            "function": {"name": "f", "arguments": arguments}}]}, "finish_reason": null}]})
    };
    let finish = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
    let (first, second) = (call(&arguments), call(&arguments));
    let body = format!("data: {first}\n\ndata: {second}\n\ndata: {finish}\n\ndata: [DONE]\n\n");
    upstream.set_default(Behaviour::event_stream(body.clone()));
    let reply = Reply::of(chat(&gateway, &hello_stream())).await;
    assert!(reply.text == body, "{} bytes of {}", reply.text.len(), body.len());
}

#[tokio::test]
async fn too_long_for_one_target_is_asked_only_of_a_larger_one() {
    let ups = [ScriptedUpstream::start().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await];
    let [a, b, c] = &ups;
    let window = |config: String, name: &str, tokens: u32| {
        config.replace(
            &format!("model: upstream-{name}\n"),
            &format!("model: upstream-{name}\n    context_tokens: {tokens}\n"),
        )
    };
    let config = crate::support::cloud_config(&[a, b, c], "");
    let config = window(window(window(config, "a", 8000), "b", 4000), "c", 16000);
    let gateway = Gateway::start(&config).await;
    let error =
        json!({"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}});
    let too_long = Behaviour::json_with_status(400, &error);
    a.set_default(too_long.clone());
    for body in [hello(), hello_stream()] {
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/c"), "{}", reply.text);
    }
    assert_eq!((a.attempts().len(), b.connections_total()), (2, 0));
    // Where it is too long for the largest, its own words are the answer.
    c.set_default(too_long);
    let reply = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (400, "context_length_exceeded"));
}

#[tokio::test]
async fn a_content_filter_is_the_answer_and_nobody_else_is_asked() {
    let (a, b, gateway) = two().await;
    let error = json!({"error": {"message": "filtered", "type": "invalid_request_error", "code": "content_filter"}});
    a.set_default(Behaviour::json_with_status(400, &error));
    for body in [hello(), hello_stream()] {
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.error("code").as_str()), (400, "content_filter"));
        assert_eq!(reply.error("message"), "filtered");
    }
    assert_eq!(b.connections_total(), 0);
}

#[tokio::test]
async fn a_short_retry_after_is_waited_for_where_nobody_else_is_left() {
    let a = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&a]).await;
    let limited =
        |after: &str| Behaviour::Status { status: 429, retry_after: Some(after.into()), message: "slow".into() };
    a.script([limited("0.05")]);
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    a.script([limited("3600")]);
    let reply = Reply::of(chat(&gateway, &hello())).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "3600"));
}

#[tokio::test]
async fn the_whole_of_a_request_has_a_limit() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let config = crate::support::cloud_config(&[&a, &b], "limits: {total_timeout_ms: 400}");
    let gateway = Gateway::start(&config).await;
    a.set_default(Behaviour::StallBeforeHeaders);
    for body in [hello(), hello_stream()] {
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!((reply.status, reply.error("code").as_str()), (504, "upstream_timeout"), "{}", reply.text);
    }
    // Also of a target that sends without end.
    a.set_default(Behaviour::Endless { chunk: "x".repeat(100) });
    let reply = Reply::of(chat(&gateway, &hello_stream())).await;
    assert!(reply.text.contains("stream_stalled") && !reply.text.contains("[DONE]"));
    assert_eq!(b.attempts().len(), 0, "no time was left for it");
}
