//! Answers that go wrong, as a client sees them.

use super::{chat, playing, post, streamed};
use serde_json::{Value, json};
use testkit::{Behaviour, DEFAULT_TEXT, Ending, RawClient, ScriptedUpstream, text_pieces};

/// The first pieces of the default text.
fn first(count: usize) -> String {
    text_pieces(DEFAULT_TEXT)[..count].concat()
}

/// What a raw client reads after it posted, up to the end, and the kind of error that ended it.
async fn read_raw(upstream: &ScriptedUpstream, stream: bool) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut client = RawClient::connect(upstream.addr()).await;
    // The reset may come before the request is out.
    let _ = client.post("/v1/chat/completions", &chat(stream)).await;
    client.read_to_end().await.map_err(|error| error.kind())
}

#[tokio::test]
async fn resets_before_headers_are_resets() {
    for behaviour in [Behaviour::ResetOnAccept, Behaviour::ResetBeforeHeaders] {
        let upstream = playing(behaviour.clone()).await;
        assert_eq!(read_raw(&upstream, true).await, Err(std::io::ErrorKind::ConnectionReset), "{behaviour:?}");
        assert_eq!(upstream.wait_ended(0).await.how, Ending::Reset);
        let attempt = &upstream.attempts()[0];
        assert_eq!(attempt.method.is_empty(), behaviour == Behaviour::ResetOnAccept);
        assert_eq!((attempt.bytes_sent, &attempt.behaviour), (0, &behaviour));
    }
}

#[tokio::test]
async fn a_close_before_headers_is_an_end_without_bytes() {
    let upstream = playing(Behaviour::CloseBeforeHeaders).await;
    assert_eq!(read_raw(&upstream, true).await, Ok(Vec::new()));
    assert_eq!(upstream.wait_ended(0).await.how, Ending::Closed);
}

#[tokio::test]
async fn cuts_and_resets_come_after_exactly_as_much_content() {
    for (behaviour, ending) in
        [(Behaviour::CutAfter { chunks: 3 }, Ending::Closed), (Behaviour::ResetAfter { chunks: 3 }, Ending::Reset)]
    {
        let upstream = playing(behaviour).await;
        let answer = streamed(&upstream).await;
        assert_eq!((answer.status, answer.text), (200, first(3)));
        assert!(answer.broken.is_some() && !answer.saw_done && answer.finish_reason.is_none());
        assert_eq!(upstream.wait_ended(0).await.how, ending);
    }
}

#[tokio::test]
async fn a_cut_is_a_close_and_a_reset_is_a_reset() {
    for stream in [true, false] {
        let cut = read_raw(&playing(Behaviour::CutAfter { chunks: 2 }).await, stream).await.unwrap();
        assert!(!cut.is_empty() && !cut.ends_with(b"0\r\n\r\n") && !cut.ends_with(b"}"));
        let reset = read_raw(&playing(Behaviour::ResetAfter { chunks: 2 }).await, stream).await;
        assert_eq!(reset, Err(std::io::ErrorKind::ConnectionReset));
    }
}

#[tokio::test]
async fn a_fault_beyond_the_end_still_happens() {
    let answer = streamed(&playing(Behaviour::CutAfter { chunks: 1000 }).await).await;
    assert_eq!(answer.text, DEFAULT_TEXT);
    assert!(answer.broken.is_some());
    let document = post(&playing(Behaviour::CutAfter { chunks: 1000 }).await, &chat(false)).await.unwrap();
    assert!(document.bytes().await.is_err());
    let answer = streamed(&playing(Behaviour::MalformedFrame { at: 1000 }).await).await;
    assert_eq!(answer.text, first(7));
}

#[tokio::test]
async fn ends_without_done_or_finish_are_complete_as_http() {
    let no_done = streamed(&playing(Behaviour::EndWithoutDone).await).await;
    assert_eq!((no_done.broken, no_done.saw_done, no_done.finish_reason.as_deref()), (None, false, Some("stop")));
    let no_finish = streamed(&playing(Behaviour::EndWithoutFinish).await).await;
    assert_eq!((no_finish.broken, no_finish.saw_done, no_finish.finish_reason), (None, true, None));
    assert_eq!((no_done.text, no_finish.text), (DEFAULT_TEXT.to_owned(), DEFAULT_TEXT.to_owned()));
}

#[tokio::test]
async fn a_malformed_frame_takes_the_place_of_one_piece() {
    let answer = streamed(&playing(Behaviour::MalformedFrame { at: 2 }).await).await;
    assert_eq!(answer.events[1 + 2].json(), None);
    assert_eq!(answer.text, DEFAULT_TEXT.replacen("turns ", "", 1));
    let document = post(&playing(Behaviour::MalformedFrame { at: 2 }).await, &chat(false)).await.unwrap();
    assert!(serde_json::from_slice::<Value>(&document.bytes().await.unwrap()).is_err());
}

#[tokio::test]
async fn an_error_in_the_stream_ends_it() {
    let body = json!({ "error": { "message": "overloaded", "code": 503 } });
    let upstream = playing(Behaviour::ErrorInStream { after: 2, body: body.clone() }).await;
    let answer = streamed(&upstream).await;
    assert_eq!((answer.text, answer.error, answer.saw_done), (first(2), Some(body["error"].clone()), false));
    assert_eq!(answer.broken, None);
}

#[tokio::test]
async fn a_short_body_ends_before_its_length() {
    for stream in [true, false] {
        let upstream = playing(Behaviour::ShortBody).await;
        let response = post(&upstream, &chat(stream)).await.unwrap();
        let promised = response.content_length().unwrap();
        assert!(response.bytes().await.is_err());
        let raw = read_raw(&playing(Behaviour::ShortBody).await, stream).await.unwrap();
        let head_end = raw.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert_eq!((raw.len() - head_end) as u64, promised - 64);
        assert_eq!(upstream.wait_ended(0).await.how, Ending::Closed);
    }
}
