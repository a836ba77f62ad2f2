//! Stored files compared byte for byte. `UPDATE_GOLDEN=1` writes them anew; look at the difference before keeping it.
//!
//! requests: `x.in.json` from the caller, `x.out.json` to a target, `x.streamed.json` to one that always streams.
//! streams: `x.sse` as a target sends it, `x.events` what is read, `x.relayed` what a caller who did not ask for usage
//! gets, `x.whole` what a caller gets who did not ask for a stream. errors: `x.body` of a target, `x.json` to the caller.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use bytes::Bytes;
use wire::sse::encode_data;
use wire::{
    ApiError, Assembler, ChatChunk, ChatCompletion, ChatRequest, SseDecoder, StreamForm, UpstreamError, UpstreamForm,
    UsageInStream,
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The files of a folder whose names end so, sorted.
fn files(name: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    found.sort();
    assert!(!found.is_empty(), "no {ending} in {name}");
    found
}

/// `path` with `from` at its end replaced by `to`.
fn sibling(path: &Path, from: &str, to: &str) -> PathBuf {
    PathBuf::from(path.to_str().unwrap().strip_suffix(from).unwrap().to_owned() + to)
}

fn check(path: &Path, actual: &[u8]) {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (actual, expected) = (String::from_utf8_lossy(actual), String::from_utf8_lossy(&expected));
    assert_eq!(actual, expected, "{}", path.display());
}

#[test]
fn requests_go_upstream_as_stored() {
    for path in files("requests", ".in.json") {
        let request = ChatRequest::parse(fs::read(&path).unwrap().into()).unwrap();
        let as_asked = UpstreamForm {
            model: "vendor/model-1",
            usage: UsageInStream::Always,
            stream: StreamForm::AsAsked,
            extra: &[],
            prefix: None,
        };
        let extra = [("return_progress", "true")];
        let streamed = UpstreamForm { stream: StreamForm::Always, extra: &extra, ..as_asked };
        for (form, ending) in [(as_asked, ".out.json"), (streamed, ".streamed.json")] {
            let out = request.for_upstream(&form);
            check(&sibling(&path, ".in.json", ending), &out);
            // What is sent is itself a valid request, and nothing of ours is left to do.
            let again = ChatRequest::parse(Bytes::from(out.clone())).unwrap();
            assert_eq!(again.for_upstream(&form), out, "{}", path.display());
            assert_eq!((again.tidegate_mode(), again.tidegate_privacy()), (None, None));
            assert_eq!(again.stream(), request.stream() || form.stream == StreamForm::Always);
        }
    }
}

#[test]
fn refused_requests_are_answered_as_stored() {
    for path in files("errors", ".request") {
        let error = ChatRequest::parse(fs::read(&path).unwrap().into()).unwrap_err();
        check(&sibling(&path, ".request", ".json"), &ApiError::from(error).to_json());
    }
}

#[test]
fn streams_are_read_and_relayed_as_stored() {
    for path in files("streams", ".sse") {
        let stream = fs::read(&path).unwrap();
        let mut decoder = SseDecoder::new();
        decoder.push(&stream);
        let (mut events, mut relayed) = (String::new(), Vec::new());
        while let Some(event) = decoder.next_event() {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    writeln!(events, "error: {error}").unwrap();
                    break;
                }
            };
            writeln!(events, "{} bytes, event {:?}, id {:?}", event.raw.len(), event.event, event.id).unwrap();
            writeln!(events, "  data {:?}", event.has_data.then_some(&event.data)).unwrap();
            let chunk = ChatChunk::parse(event.data.as_bytes()).ok();
            let of_no_use = |chunk: &ChatChunk<'_>| chunk.is_usage_only() || chunk.is_progress_only();
            let hidden = chunk.as_ref().is_some_and(|chunk| of_no_use(chunk) || chunk.is_error());
            match chunk.as_ref().and_then(ChatChunk::without_usage) {
                _ if hidden => {}
                Some(data) => relayed.extend_from_slice(&encode_data(&data)),
                None => relayed.extend_from_slice(&event.raw),
            }
            if let Some(chunk) = chunk {
                let reasons: Vec<_> = chunk.choices.iter().map(|choice| choice.finish_reason.as_deref()).collect();
                writeln!(events, "  chunk content {}, finish {reasons:?}", chunk.has_content()).unwrap();
                writeln!(events, "  usage {:?}, error {:?}", chunk.usage, chunk.error).unwrap();
            }
        }
        writeln!(events, "end: {:?}", decoder.finish()).unwrap();
        check(&sibling(&path, ".sse", ".events"), events.as_bytes());
        check(&sibling(&path, ".sse", ".relayed"), &relayed);
    }
}

#[test]
fn streams_are_put_together_as_stored() {
    for path in files("streams", ".sse") {
        let mut decoder = SseDecoder::new();
        decoder.push(&fs::read(&path).unwrap());
        let events = std::iter::from_fn(|| decoder.next_event()).filter_map(Result::ok);
        let mut assembler = Assembler::new();
        let mut data = events.filter(|event| event.has_data && !event.is_done()).map(|event| event.data);
        let whole = data.try_for_each(|data| assembler.push(&data)).and_then(|()| assembler.finish());
        let whole = whole.map_or_else(
            |error| format!("error: {error}"),
            |answer| {
                ChatCompletion::parse(answer.clone()).unwrap();
                String::from_utf8(answer.to_vec()).unwrap()
            },
        );
        check(&sibling(&path, ".sse", ".whole"), whole.as_bytes());
    }
}

#[test]
fn refusals_of_targets_are_passed_on_as_stored() {
    for path in files("errors", ".body") {
        let error = UpstreamError::parse(&fs::read(&path).unwrap());
        check(&sibling(&path, ".body", ".json"), &ApiError::from_upstream(400, &error).to_json());
    }
}

#[test]
fn errors_of_the_gateway_are_as_stored() {
    let reasons = ["local: the worker is loading".to_owned(), "cloud: privacy forbids it".to_owned()];
    let errors = [
        ApiError::invalid_value("x-tidegate-mode", "\"fast\" is not one of prefer_on_device, only_on_device"),
        ApiError::contradiction("privacy restricted never leaves the device", "x-tidegate-privacy"),
        ApiError::unauthorized(),
        ApiError::not_found("/v1/audio"),
        ApiError::model_not_found("gpt \"5\"", ["auto", "local"]),
        ApiError::method_not_allowed("DELETE", "POST"),
        ApiError::body_timeout(Duration::from_millis(1500)),
        ApiError::body_too_large(33_554_432),
        ApiError::header_too_large(65_536),
        ApiError::internal(),
        ApiError::no_target_available(&reasons),
        ApiError::too_many_in_flight(256),
        ApiError::shutting_down(),
        ApiError::upstream_rate_limited(&reasons, Some(20)),
        ApiError::upstream_failed(&reasons),
        ApiError::upstream_timeout(&reasons),
    ];
    let mut table = String::new();
    for error in errors {
        let json = error.to_json();
        writeln!(table, "{} retry {:?} {}", error.status, error.retry_after_s, std::str::from_utf8(&json).unwrap())
            .unwrap();
    }
    check(&folder("errors").join("gateway.table"), table.as_bytes());
    let last = ApiError::stream_interrupted("the target closed the stream before its end", false).to_sse_event();
    check(&folder("errors").join("interrupted.frame"), &last);
}
