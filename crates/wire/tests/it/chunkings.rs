//! However a stream is cut into chunks, the same events come out of it, and every byte of it.

use proptest::prelude::*;
use wire::{SseDecoder, SseError, SseEvent};

/// What a listener can see of a frame; where the LF of a cut CRLF goes is not part of it.
type Seen = (String, bool, Option<String>, Option<String>, Option<u64>);

fn seen(event: SseEvent) -> Seen {
    (event.data, event.has_data, event.event, event.id, event.retry_ms)
}

/// Decodes chunk by chunk and checks that all raw frames and the rest are the input.
fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Result<Seen, SseError>>, Result<(), SseError>) {
    let mut decoder = SseDecoder::new();
    let (mut events, mut input, mut output) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in chunks {
        input.extend_from_slice(chunk);
        decoder.push(chunk);
        while let Some(event) = decoder.next_event() {
            events.push(event.map(|event| {
                output.extend_from_slice(&event.raw);
                seen(event)
            }));
        }
    }
    if events.last().is_none_or(Result::is_ok) {
        output.extend_from_slice(decoder.remainder());
        assert_eq!(output, input);
    }
    (events, decoder.finish().map_err(without_length))
}

/// Whether the LF of a cut CRLF counts into what is left depends on the cut.
fn without_length(error: SseError) -> SseError {
    match error {
        SseError::Incomplete { .. } => SseError::Incomplete { bytes: 0 },
        other => other,
    }
}

fn cut<'a>(stream: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(stream.len() + 1)).collect();
    places.sort_unstable();
    places.push(stream.len());
    let mut from = 0;
    places.iter().map(|&to| &stream[std::mem::replace(&mut from, to)..to]).collect()
}

/// The rules once more, as plainly as they can be written: the data of every event of a whole stream.
fn plain_rules(stream: &str) -> Vec<String> {
    let text = stream.strip_prefix('\u{feff}').unwrap_or(stream).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut data) = (Vec::new(), Vec::new());
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop();
    for line in lines {
        if line.is_empty() {
            if !data.is_empty() {
                events.push(data.join("\n"));
            }
            data.clear();
        } else if line == "data" {
            data.push("");
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        }
    }
    events
}

/// Streams of lines that mean something, ended in every way, now and then broken.
fn streams() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => Just(String::new()),
        4 => "data: ?[a-z é😀\u{2028}:]{0,12}",
        1 => Just("data".to_owned()),
        1 => ":[ a-zé]{0,8}",
        1 => "event: ?[a-z]{0,4}",
        1 => "id: ?[0-9\0]{0,4}",
        1 => "retry: ?[0-9a]{0,4}",
        1 => "[a-zé\u{feff}]{1,6}:? ?x?",
    ];
    let end = prop::sample::select(vec!["\n", "\r", "\r\n"]);
    let lines = prop::collection::vec((line, end), 0..24);
    (any::<bool>(), lines, "(data: é)?").prop_map(|(mark, lines, rest)| {
        let lines: String = lines.into_iter().map(|(line, end)| line + end).collect();
        format!("{}{lines}{rest}", if mark { "\u{feff}" } else { "" })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn cutting_changes_nothing(stream in streams(), places in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let stream = stream.as_bytes();
        let whole = decode(std::iter::once(stream));
        prop_assert_eq!(&decode(cut(stream, &places).into_iter()), &whole);
        prop_assert_eq!(&decode(stream.chunks(1)), &whole);
    }

    #[test]
    fn cutting_changes_nothing_in_bytes_that_are_no_text(
        stream in prop::collection::vec(prop::sample::select(b"\r\n\n: da\xc3\xa9\xff\xef\xbb\xbf".to_vec()), 0..64),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = decode(std::iter::once(&stream[..]));
        prop_assert_eq!(&decode(cut(&stream, &places).into_iter()), &whole);
        prop_assert_eq!(&decode(stream.chunks(1)), &whole);
    }

    #[test]
    fn events_are_those_of_the_rules(stream in streams()) {
        let (events, _) = decode(stream.as_bytes().chunks(3));
        let data: Vec<_> = events.into_iter().map(Result::unwrap).filter(|seen| seen.1).map(|seen| seen.0).collect();
        prop_assert_eq!(data, plain_rules(&stream));
    }

    #[test]
    fn what_is_encoded_is_decoded(text in "[a-z\né \r:]{0,40}") {
        let mut decoder = SseDecoder::new();
        decoder.push(&wire::sse::encode_data(&text));
        let data = decoder.next_event().unwrap().unwrap().data;
        prop_assert_eq!(data, text.replace("\r\n", "\n").replace('\r', "\n"));
        prop_assert_eq!(decoder.remainder(), b"");
    }
}
