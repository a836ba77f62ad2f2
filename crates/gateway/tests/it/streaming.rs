//! The relay of streams: whole ones exactly, broken ones never as if they were whole.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, RawClient, ScriptedUpstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{LISTEN, Reply, chat, cloud_gateway, hello_stream, settled_metrics};

async fn one() -> (ScriptedUpstream, Gateway) {
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    (upstream, gateway)
}

/// The data of every event of an SSE text.
fn events(text: &str) -> Vec<&str> {
    text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
}

fn content(text: &str) -> String {
    let parsed = events(text).into_iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    parsed.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_stream_arrives_exactly_whatever_its_pieces() {
    let (upstream, gateway) = one().await;
    upstream.set_text("Grüße an die Möwe 🌊 am Kai", testkit::Usage::default());
    for behaviour in [Behaviour::answer("Grüße an die Möwe 🌊 am Kai"), Behaviour::OneBytePieces, Behaviour::Keepalives]
    {
        upstream.set_default(behaviour.clone());
        let reply = Reply::of(chat(&gateway, &hello_stream())).await;
        assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8");
        assert_eq!(content(&reply.text), "Grüße an die Möwe 🌊 am Kai", "{behaviour:?}");
        assert_eq!(events(&reply.text).last(), Some(&"[DONE]"));
        assert_eq!(reply.header("x-tidegate-target"), "cloud/a");
    }
}

#[tokio::test]
async fn usage_is_asked_for_upstream_and_shown_only_to_who_asked() {
    let (upstream, gateway) = one().await;
    let reply = Reply::of(chat(&gateway, &hello_stream())).await;
    assert_eq!(upstream.attempts()[0].json()["stream_options"], json!({"include_usage": true}));
    assert!(!reply.text.contains("usage"), "{}", reply.text);

    let mut body = hello_stream();
    body["stream_options"] = json!({"include_usage": true, "x": 1});
    let reply = Reply::of(chat(&gateway, &body)).await;
    assert!(reply.text.contains(r#""completion_tokens":7"#), "{}", reply.text);
    assert_eq!(upstream.attempts()[1].json()["stream_options"], json!({"include_usage": true, "x": 1}));

    let metrics = settled_metrics(&gateway).await;
    let counted = r#"tidegate_output_tokens_total{counted="reported",locality="cloud",target="cloud/a"} 14"#;
    assert!(metrics.contains(counted), "counted for both: {metrics}");
    assert!(metrics.contains(r#"tidegate_time_to_first_token_seconds_count{locality="cloud",target="cloud/a"} 2"#));
}

#[tokio::test]
async fn a_stream_without_done_but_with_a_finish_reason_is_completed() {
    let (upstream, gateway) = one().await;
    upstream.set_default(Behaviour::EndWithoutDone);
    let reply = Reply::of(chat(&gateway, &hello_stream())).await;
    assert_eq!(content(&reply.text), testkit::DEFAULT_TEXT);
    assert_eq!(events(&reply.text).last(), Some(&"[DONE]"));
}

#[tokio::test]
async fn a_broken_stream_ends_in_an_error_event_and_never_in_done() {
    let (upstream, gateway) = one().await;
    let reported = json!({"error": {"message": "out of memory", "type": "server_error"}});
    let cases = [
        (Behaviour::CutAfter { chunks: 2 }, "stream_interrupted"),
        (Behaviour::ResetAfter { chunks: 2 }, "stream_interrupted"),
        (Behaviour::EndWithoutFinish, "stream_interrupted"),
        (Behaviour::MalformedFrame { at: 2 }, "stream_interrupted"),
        (Behaviour::ErrorInStream { after: 2, body: reported }, "stream_interrupted"),
        (Behaviour::StallBetweenChunks { after: 2 }, "stream_stalled"),
    ];
    // The second try does not go on with it.
    upstream.set_default(Behaviour::answer("something else"));
    for (behaviour, code) in cases {
        upstream.script([Behaviour::held_after(2, behaviour.clone())]);
        let reply = Reply::released(chat(&gateway, &hello_stream()), "tide ", &upstream).await;
        let events = events(&reply.text);
        assert_eq!(reply.status, 200, "{behaviour:?} {}", reply.text);
        assert!(!reply.text.contains("[DONE]"), "{behaviour:?} {}", reply.text);
        let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert_eq!(
            (&last["error"]["code"], &last["error"]["fault"]),
            (&json!(code), &json!("upstream")),
            "{behaviour:?}"
        );
        assert!(testkit::DEFAULT_TEXT.starts_with(&content(&reply.text)), "nothing is made up");
    }
    let metrics = settled_metrics(&gateway).await;
    let counted = r#"tidegate_requests_total{locality="cloud",outcome="interrupted",target="cloud/a"} 6"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_never_delivered() {
    let (upstream, gateway) = one().await;
    let truncated = Behaviour::json(&json!({"id": "x", "choices": "none"}));
    for behaviour in [Behaviour::ShortBody, Behaviour::CutAfter { chunks: 2 }, truncated] {
        upstream.set_default(behaviour.clone());
        let reply = Reply::of(chat(&gateway, &crate::support::hello())).await;
        assert_eq!((reply.status, reply.error("fault").as_str()), (502, "upstream"), "{behaviour:?} {}", reply.text);
    }
}

#[tokio::test]
async fn unknown_fields_of_request_and_answer_pass_unchanged() {
    let (upstream, gateway) = one().await;
    let answer = r#"{"id":"c1","x_first":1.50,"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"}],"z":{"deep":[1e2]}}"#;
    upstream.set_default(Behaviour::Raw {
        status: 200,
        headers: vec![("content-type".into(), "application/json".into())],
        body: answer.into(),
    });
    let body = r#"{"zeta":1.0,"messages":[{"role":"user","content":[{"type":"text","text":"a\u00e9"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}],"model":"auto","tools":[{"type":"function","function":{"name":"f"}}],"seed":12345678901234567890,"alpha":[ ]}"#;
    let request = testkit::http_client().post(gateway.url("/v1/chat/completions")).body(body);
    let reply = Reply::of(request.header("content-type", "application/json")).await;
    assert_eq!(reply.text, answer);
    let sent = String::from_utf8(upstream.attempts()[0].body.to_vec()).unwrap();
    assert_eq!(sent, body.replace("\"auto\"", "\"upstream-a\""));
}

#[tokio::test]
async fn a_caller_that_does_not_read_holds_the_target_back() {
    let (upstream, gateway) = one().await;
    upstream.set_default(Behaviour::Endless { chunk: "x".repeat(4096) });
    let mut client = RawClient::connect(gateway.data_addr()).await;
    client.post("/v1/chat/completions", &hello_stream()).await.unwrap();
    upstream.wait_attempts(1).await;
    // The sockets fill; then nothing moves any more. Two looks with the same count, some reads of metrics apart.
    let mut last = 0;
    let mut same = 0;
    for _ in 0..2000 {
        gateway.metrics().await;
        let sent = upstream.attempts()[0].bytes_sent;
        same = if sent == last && sent > 0 { same + 1 } else { 0 };
        last = sent;
        if same >= 50 {
            break;
        }
    }
    assert!(same >= 50, "the target is still sending after {last} bytes");
    let resident = gateway.resident_bytes();
    assert!(resident < 128 << 20, "{resident} bytes resident");
    drop(client);
    upstream.wait_ended(0).await;
}

#[tokio::test]
async fn two_hundred_slow_readers_take_no_more_memory_for_what_they_do_not_read() {
    const READERS: usize = 200;
    let upstream = ScriptedUpstream::start().await;
    upstream.set_default(Behaviour::Endless { chunk: "x".repeat(64 << 10) });
    let target = format!("  - {{id: cloud/a, provider: openai, model: m, base_url: '{}'}}\n", upstream.base_url());
    let gateway = Gateway::start(&format!("{LISTEN}targets:\n{target}")).await;
    let mut clients = Vec::new();
    for _ in 0..READERS {
        let mut client = RawClient::connect_with_receive_buffer(gateway.data_addr(), 32 << 10).await;
        client.post("/v1/chat/completions", &hello_stream()).await.unwrap();
        clients.push(client);
    }
    // Gigabytes fill the buffers of the sockets first, so that this may take longer than one patience.
    let all_blocked = async || {
        let count = || upstream.attempts().iter().filter(|attempt| attempt.is_blocked).count();
        let waiting = async {
            while count() < READERS {
                gateway.metrics().await;
            }
        };
        let waited = tokio::time::timeout(4 * testkit::PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{} of {READERS} hold their target back", count());
    };
    all_blocked().await;
    let first = gateway.resident_bytes();
    // Each reads a little, again and again, and stands still in between.
    for _ in 0..3 {
        for client in &mut clients {
            let mut read = 0;
            while read < 256 << 10 {
                read += client.read_some(64 << 10).await.unwrap().len();
            }
        }
        all_blocked().await;
    }
    let (last, sent) = (gateway.resident_bytes(), upstream.attempts().iter().map(|a| a.bytes_sent).sum::<u64>());
    println!("{READERS} readers: {first} bytes resident, {last} after {sent} bytes");
    assert!(first < 160 << 20 && last < first + (16 << 20), "{first}, then {last} bytes resident");
    drop(clients);
    for index in 0..READERS {
        upstream.wait_ended(index).await;
    }
}

const PIECE: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
const FINISH: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

/// A stream of these events and `[DONE]`.
fn stream_of(data: &[&str]) -> String {
    data.iter().chain(&["[DONE]"]).map(|data| format!("data: {data}\n\n")).collect()
}

#[tokio::test]
async fn a_stream_that_contradicts_itself_is_broken() {
    let (upstream, gateway) = one().await;
    let named = |name: &str| format!("data: {PIECE}\n\nevent: error\ndata: {name}\n\n{}", stream_of(&[FINISH]));
    let cases = [
        // Goes on after its end.
        stream_of(&[PIECE, FINISH, PIECE]),
        stream_of(&[PIECE, FINISH, r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}"#]),
        // Ends in an error.
        stream_of(&[PIECE, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#]),
        stream_of(&[PIECE, r#"{"choices":[{"delta":{},"error":{"message":"gone"},"finish_reason":"stop"}]}"#]),
        named(r#"{"message":"gone"}"#),
        named("gone"),
        // Belongs to no choice, or has no known end.
        stream_of(&[PIECE, r#"{"choices":[{"index":128,"delta":{"content":"b"}}]}"#, FINISH]),
        stream_of(&[PIECE, r#"{"choices":[{"index":"0","delta":{"content":"b"}}]}"#, FINISH]),
        stream_of(&[PIECE, r#"{"choices":[{"index":-1,"delta":{"content":"b"}}]}"#, FINISH]),
        stream_of(&[PIECE, r#"{"choices":[[0,"stop"]]}"#, FINISH]),
        stream_of(&[PIECE, r#"{"choices":[{"index":0,"delta":{},"finish_reason":7}]}"#, FINISH]),
        // Has no end.
        format!("data: {PIECE}\n\ndata: [DONE]"),
    ];
    for body in cases {
        upstream.set_default(Behaviour::event_stream(body.clone()));
        let reply = Reply::of(chat(&gateway, &hello_stream())).await;
        assert!(!reply.text.contains("[DONE]"), "{body}: {}", reply.text);
        // As a rule all of it is read at once, and then nothing of it is passed on.
        if reply.status != 502 {
            assert_eq!(content(&reply.text), "a", "{body}");
            let last: Value = serde_json::from_str(events(&reply.text).last().unwrap()).unwrap();
            assert_eq!(last["error"]["code"], "stream_interrupted", "{body}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_whole_ends_in_done_whatever_its_last_frames() {
    let (upstream, gateway) = one().await;
    let bare = r#"{"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let empty = r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    let cases = [
        stream_of(&[PIECE, FINISH, bare]),
        stream_of(&[PIECE, FINISH, empty]),
        stream_of(&[PIECE, FINISH, FINISH]),
        format!("data: {PIECE}\n\ndata: {FINISH}\n\ndata: [DONE]"),
        format!("data: {PIECE}\n\ndata: {FINISH}\n\ndata: [DON"),
        format!("data: {PIECE}\n\ndata: {FINISH}\n\ndata: {{\"choices\":[],\"usa\n\n"),
        format!("data: {PIECE}\r\n\r\ndata: {FINISH}\r\n\r\ndata: [DONE]\r\n"),
    ];
    for body in cases {
        upstream.set_default(Behaviour::event_stream(body.clone()));
        let reply = Reply::of(chat(&gateway, &hello_stream())).await;
        assert!(reply.text.ends_with("data: [DONE]\n\n"), "{body}: {}", reply.text);
        assert_eq!((reply.text.matches("[DONE]").count(), reply.text.contains("error")), (1, false), "{body}");
    }
}

#[tokio::test]
async fn an_answer_whose_end_is_not_told_is_never_delivered() {
    let (upstream, gateway) = one().await;
    let message = r#""message":{"role":"assistant","content":"a"}"#;
    let bodies = [
        format!(r#"{{"error":{{"message":"gone"}},"choices":[{{"index":0,{message},"finish_reason":"stop"}}]}}"#),
        format!(r#"{{"choices":[{{"index":0,{message},"finish_reason":null}}]}}"#),
        format!(r#"{{"choices":[{{"index":0,{message}}}]}}"#),
        format!(r#"{{"choices":[{{"index":0,{message},"finish_reason":""}}]}}"#),
        format!(r#"{{"choices":[{{"index":0,{message},"finish_reason":"error"}}]}}"#),
        format!(r#"{{"choices":[{{"index":0,{message},"finish_reason":"stop","error":{{"message":"gone"}}}}]}}"#),
        r#"{"choices":[{}]}"#.to_owned(),
        FINISH.to_owned(),
    ];
    for body in bodies {
        let headers = vec![("content-type".into(), "application/json".into())];
        upstream.set_default(Behaviour::Raw { status: 200, headers, body: body.clone() });
        let reply = Reply::of(chat(&gateway, &crate::support::hello())).await;
        assert_eq!((reply.status, reply.error("fault").as_str()), (502, "upstream"), "{body} {}", reply.text);
    }
    let metrics = settled_metrics(&gateway).await;
    assert!(!metrics.contains(r#"outcome="answered""#), "{metrics}");
}

#[tokio::test]
async fn what_is_no_event_stream_is_refused_and_its_type_stays_out_of_the_log() {
    let (upstream, gateway) = one().await;
    let stream_as = |content_type: &str| Behaviour::Raw {
        status: 200,
        headers: vec![("content-type".into(), content_type.into())],
        body: stream_of(&[PIECE, FINISH]),
    };
    for content_type in ["text/event-stream", "Text/Event-Stream ; charset=utf-8", "text/event-stream;x"] {
        upstream.set_default(stream_as(content_type));
        let reply = Reply::of(chat(&gateway, &hello_stream())).await;
        assert_eq!((reply.status, content(&reply.text).as_str()), (200, "a"), "{content_type}");
    }
    for content_type in ["text/event-streams", "text/event-stream-my-prompt", "my-prompt/text"] {
        upstream.set_default(stream_as(content_type));
        let reply = Reply::of(chat(&gateway, &hello_stream())).await;
        assert_eq!(reply.status, 502, "{content_type}");
        assert!(reply.error("message").contains(content_type), "{}", reply.text);
    }
    gateway.wait_for_log("attempt failed").await;
    let quoting: Vec<_> = gateway.logs().into_iter().filter(|line| line.contains("my-prompt")).collect();
    assert!(quoting.is_empty(), "{quoting:?}");
}

/// Answers one request on each connection with a stream whose body never ends, `[DONE]` or not.
async fn serve_without_end(listener: TcpListener) {
    let mut open = Vec::new();
    while let Ok((mut socket, _)) = listener.accept().await {
        let (mut request, mut piece) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"}") {
            let count = socket.read(&mut piece).await.unwrap();
            request.extend_from_slice(&piece[..count]);
        }
        let body = stream_of(&[PIECE, FINISH]);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(format!("{head}{:x}\r\n{body}\r\n", body.len()).as_bytes()).await.unwrap();
        open.push(socket);
    }
}

#[tokio::test]
async fn a_target_that_keeps_its_connection_open_after_done_delays_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_without_end(listener));
    let target = format!("  - {{id: cloud/a, provider: openai, model: m, base_url: 'http://{address}/v1'}}\n");
    let gateway = Gateway::start(&format!("{LISTEN}targets:\n{target}")).await;
    // The quickest of several: only a wait that is always there counts.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let reply = Reply::of(chat(&gateway, &hello_stream())).await;
        assert!(reply.text.ends_with("data: [DONE]\n\n"), "{}", reply.text);
        quickest = quickest.min(begun.elapsed());
    }
    assert!(quickest < Duration::from_millis(200), "{quickest:?}");
}
