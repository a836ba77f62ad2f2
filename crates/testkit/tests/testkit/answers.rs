//! Answers that are correct, however oddly written.

use super::{chat, playing, post, streamed};
use serde_json::{Value, json};
use testkit::{Behaviour, DEFAULT_TEXT, Ending, ScriptedUpstream, Usage, text_pieces};

async fn document(response: reqwest::Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_stream_has_role_pieces_finish_and_done() {
    let upstream = playing(Behaviour::answer("one two three")).await;
    let answer = streamed(&upstream).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.text, "one two three");
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
    assert!(answer.is_complete(), "{answer:?}");
    assert_eq!(answer.usage, None);
    assert_eq!(answer.events.len(), 1 + 3 + 1 + 1);
    assert_eq!(answer.events[0].json().unwrap()["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(answer.events[0].json().unwrap()["model"], "m");
}

#[tokio::test]
async fn usage_is_streamed_only_when_asked_for() {
    let usage = Usage { prompt_tokens: 100, completion_tokens: 20, cached_tokens: 64 };
    let upstream = playing(Behaviour::Answer { text: "x".to_owned(), usage }).await;
    let mut body = chat(true);
    body["stream_options"] = json!({ "include_usage": true });
    let answer = testkit::Streamed::read(post(&upstream, &body).await.unwrap()).await;
    let seen = answer.usage.clone().unwrap();
    assert_eq!((&seen["prompt_tokens"], &seen["completion_tokens"]), (&json!(100), &json!(20)));
    assert_eq!((&seen["total_tokens"], &seen["prompt_tokens_details"]["cached_tokens"]), (&json!(120), &json!(64)));
    assert!(answer.is_complete());
}

#[tokio::test]
async fn without_streaming_there_is_one_document() {
    let upstream = playing(Behaviour::answer("one two three")).await;
    let answer = document(post(&upstream, &chat(false)).await.unwrap()).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "one two three");
    assert_eq!(answer["usage"]["total_tokens"], 18);
}

#[tokio::test]
async fn after_the_script_comes_the_default() {
    let upstream = playing(Behaviour::status(500)).await;
    upstream.set_text("after all", Usage::default());
    assert_eq!(post(&upstream, &chat(false)).await.unwrap().status(), 500);
    assert_eq!(streamed(&upstream).await.text, DEFAULT_TEXT);
    upstream.set_default(Behaviour::Keepalives);
    assert_eq!(streamed(&upstream).await.text, "after all");
    assert_eq!(upstream.attempts().len(), 3);
}

#[tokio::test]
async fn errors_are_shaped_as_openai_shapes_them() {
    let upstream =
        playing(Behaviour::Status { status: 429, retry_after: Some("7".to_owned()), message: "slow down".to_owned() })
            .await;
    let response = post(&upstream, &chat(true)).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    let error = document(response).await["error"].clone();
    assert_eq!((&error["message"], &error["code"]), (&json!("slow down"), &json!("rate_limit_exceeded")));
}

#[tokio::test]
async fn raw_answers_come_as_given() {
    let raw = Behaviour::Raw {
        status: 203,
        headers: vec![("x-odd".to_owned(), "yes".to_owned())],
        body: "not json".to_owned(),
    };
    let response = post(&playing(raw).await, &chat(true)).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-odd"]), (203, &"yes".parse().unwrap()));
    assert_eq!(response.text().await.unwrap(), "not json");
    let upstream = playing(Behaviour::event_stream("event: ping\ndata: 1\ndata: 2\r\n\r\ndata: [DONE]\n\n")).await;
    let answer = streamed(&upstream).await;
    assert_eq!((answer.events[0].name.as_str(), answer.events[0].data.as_str()), ("ping", "1\n2"));
    assert!(answer.saw_done);
}

#[tokio::test]
async fn one_byte_pieces_and_keepalives_change_no_content() {
    for stream in [true, false] {
        let upstream = playing(Behaviour::OneBytePieces).await;
        let text = post(&upstream, &chat(stream)).await.unwrap().text().await.unwrap();
        let reference = playing(Behaviour::answer(DEFAULT_TEXT)).await;
        assert_eq!(text, post(&reference, &chat(stream)).await.unwrap().text().await.unwrap());
    }
    let answer = streamed(&playing(Behaviour::Keepalives).await).await;
    assert_eq!((answer.text.as_str(), answer.comments), (DEFAULT_TEXT, text_pieces(DEFAULT_TEXT).len()));
    assert!(answer.is_complete());
}

#[tokio::test]
async fn probes_take_nothing_from_the_script() {
    let upstream = playing(Behaviour::status(500)).await;
    let models = testkit::http_client().get(format!("{}/models", upstream.base_url())).send().await.unwrap();
    assert_eq!(document(models).await["data"][0]["id"], "scripted");
    upstream.set_probe(Some(Behaviour::status(503)));
    let health = testkit::http_client().get(format!("http://{}/health", upstream.addr())).send().await.unwrap();
    assert_eq!(health.status(), 503);
    assert_eq!(post(&upstream, &chat(false)).await.unwrap().status(), 500);
    let log = upstream.log();
    assert_eq!((log.attempts.len(), log.probes.len(), log.probes[1].path.as_str()), (1, 2, "/health"));
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("up.sock");
    let upstream = ScriptedUpstream::start_unix(&path).await;
    let client = reqwest::Client::builder().no_proxy().unix_socket(path);
    testkit::http_client(); // Installs the TLS provider that any reqwest client asks for.
    let url = format!("{}/chat/completions", upstream.base_url());
    let response = client.build().unwrap().post(url).body(chat(true).to_string()).send().await.unwrap();
    assert!(testkit::Streamed::read(response).await.is_complete());
    assert_eq!(upstream.wait_ended(0).await.how, Ending::Completed);
}
