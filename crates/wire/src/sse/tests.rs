//! The event stream rules, case by case. That cutting does not matter is a property test in `tests/chunkings.rs`.

use super::*;

fn decode(stream: &[u8]) -> Vec<SseEvent> {
    let mut decoder = SseDecoder::new();
    decoder.push(stream);
    std::iter::from_fn(|| decoder.next_event()).map(|event| event.unwrap()).collect()
}

/// The data of the events that a listener gets.
fn data(stream: &str) -> Vec<String> {
    decode(stream.as_bytes()).into_iter().filter(|event| event.has_data).map(|event| event.data).collect()
}

#[test]
fn follows_the_rules() {
    let check = |stream: &str, expected: &[&str]| assert_eq!(data(stream), expected, "{stream:?}");
    check("data: a\n\n", &["a"]);
    check("data: a\r\rdata: b\r\r", &["a", "b"]);
    check("data: a\r\n\r\ndata:b\r\n\r\n", &["a", "b"]);
    check("data: a\r\ndata: b\ndata: c\r\r\n", &["a\nb\nc"]);
    check("\u{feff}data: a\n\n", &["a"]);
    check("\u{feff}\u{feff}data: a\n\n", &[]);
    check("\u{feff}\ndata: a\n\n", &["a"]);
    check("data:  a \n\n", &[" a "]);
    check("data\n\ndata\ndata\n\ndata:", &["", "\n"]);
    check("data:test\n\ndata: test\n\n", &["test", "test"]);
    check(": comment\n\ndata: a\n: b\n\n", &["a"]);
    check("\n\n\ndata: a\n\n\n", &["a"]);
    check("Data: a\ndata : b\n data: c\nfoo: d\ndatax\n\n", &[]);
    check("data: a:b\n\n", &["a:b"]);
    check("data: \u{feff}é\u{2028}\u{85}\n\n", &["\u{feff}é\u{2028}\u{85}"]);
    check("data: a\n", &[]);
    check("data: a", &[]);
}

#[test]
fn keeps_the_other_fields() {
    let events = decode(b"event: e\nid: 7\nretry: 250\ndata: a\n\nid: x\0y\nretry: 1s\nevent\n\n");
    let first = &events[0];
    assert_eq!((first.event.as_deref(), first.id.as_deref(), first.retry_ms), (Some("e"), Some("7"), Some(250)));
    let second = &events[1];
    assert_eq!((second.event.as_deref(), second.id.as_deref(), second.retry_ms), (Some(""), None, None));
    assert!(!second.has_data);
    assert!(decode(b"data: [DONE]\n\n")[0].is_done());
    assert_eq!(decode(&DONE_FRAME)[0].data, DONE);
}

#[test]
fn a_blank_line_ends_a_frame_at_once() {
    let mut decoder = SseDecoder::new();
    decoder.push(b"data: a\r\n\r");
    assert_eq!(decoder.next_event().unwrap().unwrap().raw, "data: a\r\n\r");
    decoder.push(b"\n");
    assert_eq!(decoder.next_event(), None);
    assert!(!decoder.is_mid_event());
    assert_eq!(decoder.finish(), Ok(()));
    decoder.push(b"\r\n");
    assert_eq!(decoder.next_event().unwrap().unwrap().raw, "\n\r\n");
    decoder.push(b"data: b\n\n");
    assert_eq!(decoder.next_event().unwrap().unwrap().data, "b");
}

#[test]
fn an_unfinished_frame_is_reported() {
    let mut decoder = SseDecoder::new();
    decoder.push(b"data: a\n\ndata: b\n");
    assert_eq!(decoder.next_event().unwrap().unwrap().data, "a");
    assert_eq!(decoder.next_event(), None);
    assert!(decoder.is_mid_event());
    assert_eq!(decoder.finish(), Err(SseError::Incomplete { bytes: 8 }));
    assert_eq!(decoder.remainder(), b"data: b\n");
}

#[test]
fn done_without_its_blank_line_is_known() {
    let check = |stream: &str, expected: bool| {
        let mut decoder = SseDecoder::new();
        decoder.push(stream.as_bytes());
        while decoder.next_event().is_some() {}
        assert_eq!(decoder.ends_with_done(), expected, "{stream:?}");
    };
    check("data: a\n\ndata: [DONE]", true);
    check("data: a\n\ndata: [DONE]\n", true);
    check("data: a\r\n\r\ndata: [DONE]\r", true);
    check("data: a\r\n\r\n: bye\r\ndata:[DONE]\r\n", true);
    check("data: a\n\ndata: [DON", false);
    check("data: a\n\ndata: [DONE", false);
    check("data: a\n\ndata: a\ndata: [DONE]\n", false);
    check("data: a\n\nevent: error\ndata: [DONE]\n", false);
    check("data: a\n\n", false);
    check("data: [DONE]\n\n", false);
}

#[test]
fn errors_are_known_by_their_name() {
    let check = |frame: &str, expected: bool| assert_eq!(decode(frame.as_bytes())[0].is_error(), expected, "{frame}");
    check("event: error\ndata: gone\n\n", true);
    check("event:error\n\n", true);
    check("event: message\ndata: error\n\n", false);
    check("data: event: error\n\n", false);
}

#[test]
fn errors_come_once_and_end_the_stream() {
    let mut decoder = SseDecoder::new();
    decoder.push(b"data: a\n\ndata: \xff\n\ndata: b\n\n");
    assert!(decoder.next_event().unwrap().is_ok());
    assert_eq!(decoder.next_event(), Some(Err(SseError::NotUtf8)));
    decoder.push(b"data: c\n\n");
    assert_eq!(decoder.next_event(), None);
    assert_eq!(decoder.remainder(), b"");
    assert!(decoder.is_mid_event());
    assert_eq!(decoder.finish(), Err(SseError::NotUtf8));
}

#[test]
fn a_frame_has_a_limit() {
    let too_long = Some(Err(SseError::FrameTooLong { limit_bytes: 9 }));
    let check = |stream: &[u8], fits: bool| {
        let mut decoder = SseDecoder::with_frame_bytes_max(9);
        decoder.push(stream);
        let next = decoder.next_event();
        if fits { assert!(next.unwrap().is_ok()) } else { assert_eq!(next, too_long) }
    };
    check(b"data: a\n\n", true);
    check(b"data: ab\n\n", false);
    check(b"data: abcd", false);
    // Many short frames in one chunk are no long frame.
    check(&b"data: a\n\n".repeat(10), true);
}

#[test]
fn single_bytes_cost_linear_time() {
    // Looking from the start again for every byte would be 2^41 steps: minutes instead of a second.
    let mut decoder = SseDecoder::new();
    let stream = format!("data: {}\n\n", "x".repeat(2 << 20));
    let mut events = 0;
    for byte in stream.as_bytes() {
        decoder.push(std::slice::from_ref(byte));
        events += usize::from(decoder.next_event().is_some());
    }
    assert_eq!(events, 1);
}

#[test]
fn encoding_can_be_decoded() {
    let check = |text: &str, frame: &str| assert_eq!(encode_data(text), frame);
    check("a", "data: a\n\n");
    check("", "data: \n\n");
    check("a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n");
    check("a\n", "data: a\ndata: \n\n");
    check(" é", "data:  é\n\n");
    assert_eq!(encode_comment("keep\nalive"), ": keep\n: alive\n\n");
    assert!(!decode(&encode_comment("data: x"))[0].has_data);
}
