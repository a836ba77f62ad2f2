//! No bytes make the crate panic, and nothing that it accepts is written as something else.

use bytes::Bytes;
use proptest::prelude::*;
use wire::{
    Assembler, ChatChunk, ChatCompletion, ChatRequest, SseDecoder, StreamForm, UpstreamError, UpstreamForm, Usage,
    UsageInStream,
};

const VALID: &str = r#"{"model":"auto","stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"é"}]}],
    "metadata":{"tidegate_mode":"x","a":null},"stream_options":{},"n":1,"tools":[],"response_format":{"type":"text"},
    "choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":{"prompt_tokens":1},"error":null}"#;

fn try_all(bytes: &[u8]) {
    if let Ok(request) = ChatRequest::parse(Bytes::copy_from_slice(bytes)) {
        let extra = [("return_progress", "true")];
        let form = UpstreamForm {
            model: "m",
            usage: UsageInStream::Always,
            stream: StreamForm::Always,
            extra: &extra,
            prefix: None,
        };
        let out = request.for_upstream(&form);
        let again = ChatRequest::parse(out.into()).unwrap();
        assert_eq!(again.model(), "m");
        assert_eq!(again.messages_json(), request.messages_json());
        assert!(again.stream() && again.include_usage() && again.has_member("return_progress"));
    }
    let _ = ChatCompletion::parse(Bytes::copy_from_slice(bytes));
    if let Some(data) = ChatChunk::parse(bytes).ok().and_then(|chunk| chunk.without_usage()) {
        assert_eq!(ChatChunk::parse(data.as_bytes()).unwrap().usage, None);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assemble(text);
    }
    let _ = UpstreamError::parse(bytes);
    let _ = std::str::from_utf8(bytes).map(Usage::parse);
    let mut decoder = SseDecoder::with_frame_bytes_max(32);
    decoder.push(bytes);
    while decoder.next_event().is_some() {}
    let _ = decoder.finish();
}

/// Whatever is put together is an answer.
fn assemble(data: &str) {
    let mut assembler = Assembler::new();
    let ends = r#"{"choices":[{"finish_reason":"stop"}]}"#;
    if [data, data, ends].iter().all(|data| assembler.push(data).is_ok())
        && let Ok(answer) = assembler.finish()
    {
        ChatCompletion::parse(answer).unwrap();
    }
}

#[test]
fn every_beginning_of_a_valid_body() {
    for end in 0..=VALID.len() {
        try_all(&VALID.as_bytes()[..end]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        try_all(&bytes);
    }

    #[test]
    fn bytes_of_json(bytes in prop::collection::vec(prop::sample::select(br#"{}[]",:\u0d8 1e-.truenlfasdo"#.to_vec()), 0..128)) {
        try_all(&bytes);
    }

    #[test]
    fn a_valid_body_with_damage(
        damage in prop::collection::vec((0..VALID.len(), prop::sample::select(b"{}[]\",:\\\xff 0nt\n".to_vec())), 1..4),
    ) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        try_all(&bytes);
    }

    #[test]
    fn pages_and_texts(text in "(<[a-zé/]{0,6}>?|<title>?|</title>|Bearer |sk-|[a-zé0-9]{0,12}| ){0,12}") {
        let error = UpstreamError::parse(text.as_bytes());
        prop_assert!(!error.message.is_empty());
    }
}
