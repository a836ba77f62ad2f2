//! What goes to a caller across a break, chunk by chunk.

use wire::SseDecoder;

use super::*;

const END: &str = r#"{"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":9},"timings":1}"#;

fn output(include_usage: bool) -> Output {
    let body = format!(
        r#"{{"model":"m","stream":true,"stream_options":{{"include_usage":{include_usage}}},"messages":[{{"role":"user","content":"x"}}]}}"#
    );
    Output::new(&ChatRequest::parse(body.into()).unwrap())
}

fn give(output: &mut Output, data: &[&str]) -> Result<String, Outcome> {
    for data in data {
        let mut decoder = SseDecoder::new();
        decoder.push(&encode_data(data));
        let event = decoder.next_event().unwrap().unwrap();
        let chunk = ChatChunk::parse(event.data.as_bytes()).unwrap();
        output.chunk(&event, &chunk).map_err(|failure| failure.outcome)?;
    }
    Ok(String::from_utf8(output.take().to_vec()).unwrap())
}

fn text(text: &str) -> String {
    format!(r#"{{"id":"x","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#)
}

/// What a caller who has "ab" gets of a stream that should go on with it.
fn continued(include_usage: bool, data: &[&str]) -> (Output, Result<String, Outcome>) {
    let mut first = output(include_usage);
    let begin =
        r#"{"id":"","choices":[],"prompt_filter_results":[]}"#.to_owned() + "|" + &text("a").replace("\"x\"", "\"1\"");
    let stale =
        text("b").replace("\"x\"", "\"1\"").replace("]}", r#"],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
    let mut all: Vec<&str> = begin.split('|').collect();
    all.push(&stale);
    give(&mut first, &all).unwrap();
    let proof = first.delivered().unwrap().proof();
    let mut second = first.continued(&TargetId::new("cloud/b").unwrap(), proof);
    assert!(second.take().starts_with(b": continued by cloud/b"));
    let given = give(&mut second, data);
    (second, given)
}

#[test]
fn what_lies_beyond_passes_whole_and_under_the_first_identity() {
    let call = r#"{"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t"}]}}],"extra":1}"#;
    let (_, given) = continued(false, &[&text("ab"), call, END]);
    let given = given.unwrap();
    assert_eq!(
        given,
        format!(
            "data: {}\n\ndata: {}\n\n",
            call.replace("\"x\"", "\"1\""),
            END.replace("\"x\"", "\"1\"").replace(r#","usage":{"prompt_tokens":1,"completion_tokens":9}"#, "")
        )
    );
    // A call that comes before everything was reproduced is another answer.
    assert_eq!(continued(false, &[&text("a"), call]).1, Err(Outcome::Unproven));
    let other = text("ab").replace("\"index\":0", "\"index\":1");
    assert_eq!(continued(false, &[&text("ab"), &other]).1, Err(Outcome::Unproven));
}

#[test]
fn usage_is_that_of_the_stream_that_ended() {
    let straddling = text("abc").replace("}}]", r#"},"finish_reason":"stop"}]"#);
    for end in [vec![&*text("abc"), END], vec![&straddling]] {
        let (mut second, given) = continued(true, &end);
        let usage = Usage { prompt_tokens: 1, completion_tokens: 9, total_tokens: 10, ..Usage::default() };
        second.done(usage, false);
        let given = given.unwrap() + std::str::from_utf8(&second.take()).unwrap();
        assert_eq!(given.matches("completion_tokens\":9").count(), 1, "{given}");
        assert!(given.contains(r#""content":"c""#) && given.ends_with("data: [DONE]\n\n"), "{given}");
    }
}

#[test]
fn nothing_goes_on_behind_an_end() {
    let (second, given) = continued(false, &[&text("abc"), END]);
    assert!(given.is_ok() && second.delivered().unwrap().proof().is_none());
    let (second, given) = continued(false, &[&text("ab").replace("}}]", r#"},"finish_reason":"stop"}]"#)]);
    assert!(given.is_ok() && second.delivered().unwrap().proof().is_none());
}
