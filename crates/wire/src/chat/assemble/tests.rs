//! What becomes of the members of chunks, one by one; whole streams are golden files.

use super::*;

fn assemble<'a>(chunks: impl IntoIterator<Item = &'a str>) -> Result<String, AssembleError> {
    let mut assembler = Assembler::new();
    chunks.into_iter().try_for_each(|chunk| assembler.push(chunk))?;
    assembler.finish().map(|answer| String::from_utf8(answer.to_vec()).unwrap())
}

const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

/// The message of deltas.
fn message(deltas: &[&str]) -> Result<String, AssembleError> {
    let chunks: Vec<_> =
        deltas.iter().map(|delta| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#)).collect();
    let answer = assemble(chunks.iter().map(String::as_str).chain([END]))?;
    let inner = answer.strip_prefix(r#"{"choices":[{"index":0,"message":"#);
    let inner = inner.and_then(|inner| inner.strip_suffix(r#","finish_reason":"stop"}],"object":"chat.completion"}"#));
    Ok(inner.unwrap_or_else(|| panic!("{answer}")).to_owned())
}

#[test]
fn texts_are_joined_and_all_else_keeps_one_value() {
    let check = |deltas: &[&str], expected: &str| assert_eq!(message(deltas).unwrap(), expected, "{deltas:?}");
    check(
        &[
            r#"{"role":"assistant","content":null}"#,
            r#"{"content":"a\n"}"#,
            r#"{"content":""}"#,
            r#"{"content":"\"é"}"#,
        ],
        r#"{"role":"assistant","content":"a\n\"é"}"#,
    );
    // A character cut in two comes together again, and what stands for no character stays what it was.
    check(&[r#"{"content":"\ud83d"}"#, r#"{"content":"\ude00\ud800"}"#], r#"{"content":"\ud83d\ude00\ud800"}"#);
    check(
        &[r#"{"reasoning_content":"a","reasoning":"b"}"#, r#"{"reasoning_content":"c","reasoning":"d","content":"e"}"#],
        r#"{"reasoning_content":"ac","reasoning":"bd","content":"e"}"#,
    );
    check(&[r#"{"role":"","content":"a"}"#, r#"{"role":"x"}"#, r#"{"role":"y"}"#], r#"{"role":"x","content":"a"}"#);
    check(
        &[r#"{"new":"a","n":1.0}"#, r#"{"new":"b","n":1e400}"#, r#"{"new":null}"#],
        r#"{"new":"b","n":1e400,"content":""}"#,
    );
}

#[test]
fn content_is_null_only_beside_something_else() {
    let check = |delta: &str, expected: &str| assert_eq!(message(&[delta]).unwrap(), expected, "{delta}");
    check("{}", r#"{"content":""}"#);
    check("null", r#"{"content":""}"#);
    check(r#"{"content":null,"refusal":null}"#, r#"{"content":"","refusal":null}"#);
    check(r#"{"content":null,"refusal":"no"}"#, r#"{"content":null,"refusal":"no"}"#);
    check(r#"{"reasoning_content":"hm"}"#, r#"{"reasoning_content":"hm","content":""}"#);
    check(r#"{"tool_calls":[{"index":0}]}"#, r#"{"tool_calls":[{}],"content":null}"#);
    check(r#"{"content":"","tool_calls":[]}"#, r#"{"content":""}"#);
}

#[test]
fn tool_calls_are_merged_by_index() {
    let check = |deltas: &[&str], expected: &str| assert_eq!(message(deltas).unwrap(), expected, "{deltas:?}");
    check(
        &[
            r#"{"content":null,"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\""}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"z","function":{"name":"","arguments":"{}"}},{"index":0,"function":{"arguments":":1}"}}]}"#,
        ],
        concat!(
            r#"{"content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},"#,
            r#"{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]}"#
        ),
    );
    // Without an index each is a call of its own.
    check(
        &[r#"{"tool_calls":[{"id":"a"},{"id":"b"}]}"#, r#"{"tool_calls":[{"id":"c","x":1}]}"#],
        r#"{"tool_calls":[{"id":"a"},{"id":"b"},{"id":"c","x":1}],"content":null}"#,
    );
    check(
        &[r#"{"function_call":{"name":"f","arguments":"{"}}"#, r#"{"function_call":{"arguments":"}"}}"#],
        r#"{"function_call":{"name":"f","arguments":"{}"},"content":null}"#,
    );
}

#[test]
fn choices_are_ordered_and_the_top_keeps_its_last_values() {
    let answer = assemble([
        r#"{"id":"x","usage":null,"choices":[{"index":1,"delta":{"content":"b"},"logprobs":null,"finish_reason":null}],"object":"chat.completion.chunk"}"#,
        r#"{"id":"x","usage":null,"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"t":1}],"refusal":null}}],"prompt_progress":{"total":1}}"#,
        r#"{"id":"y","choices":[{"index":0,"message":{"content":"c"},"logprobs":{"content":[ ]},"finish_reason":"length"}],"new":1.50}"#,
        r#"{"choices":[{"index":0,"logprobs":{"content":[ {"t":2} , {"t":3}]},"finish_reason":""},{"index":1,"finish_reason":"stop"}]}"#,
        r#"{"choices":null,"usage":{"total_tokens": 3},"timings":{"a":0.10}}"#,
    ]);
    let expected = concat!(
        r#"{"id":"y","usage":{"total_tokens": 3},"choices":[{"index":0,"message":{"content":"ac"},"logprobs":"#,
        r#"{"content":[{"t":1},{"t":2} , {"t":3}],"refusal":null},"finish_reason":"length"},"#,
        r#"{"index":1,"message":{"content":"b"},"logprobs":null,"finish_reason":"stop"}],"#,
        r#""object":"chat.completion","new":1.50,"timings":{"a":0.10}}"#
    );
    assert_eq!(answer.unwrap(), expected);
}

#[test]
fn what_is_no_answer_is_refused() {
    let check = |chunks: &[&str], expected: &str| {
        assert_eq!(assemble(chunks.iter().copied()).unwrap_err().to_string(), expected, "{chunks:?}");
    };
    let incomplete = "the stream ended before the answer was complete";
    check(&[], incomplete);
    check(&[r#"{"choices":[]}"#], incomplete);
    check(&[r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#], incomplete);
    check(&[END, r#"{"choices":[{"index":1,"delta":{"content":"a"},"finish_reason":""}]}"#], incomplete);
    let piece = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let goes_on = "the stream went on with a choice that had ended";
    check(&[piece, END, piece], goes_on);
    check(&[END, r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#], goes_on);
    let upstream = "the target answered with an error: slot lost";
    check(&[piece, r#"{"choices":[{"delta":{},"finish_reason":"stop","error":{"message":"slot lost"}}]}"#], upstream);
    let failed = "the target answered with an error: the finish reason is an error";
    check(&[piece, r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#], failed);
    check(&[END, r#"{"error":{"message":"slot lost","code":500}}"#], upstream);
    check(&[r#"{"object":"error","message":"slot lost"}"#], upstream);
    let malformed = |reason: &str| format!("an event of the stream is not a chat completion chunk: {reason}");
    check(&["{"], &malformed("it is not JSON"));
    let shape = malformed("it has another shape");
    check(&["[DONE]"], &shape);
    check(&["[]"], &shape);
    check(&[r#"{"choices":{}}"#], &shape);
    check(&[r#"{"choices":[7]}"#], &shape);
    check(&[r#"{"choices":[[0,"stop"]]}"#], &shape);
    check(&[r#"{"choices":[{"delta":"a"}]}"#], &shape);
    let index = malformed("the index of a choice is no number within the limit");
    check(&[r#"{"choices":[{"index":-1}]}"#], &index);
    check(&[r#"{"choices":[{"index":128}]}"#], &index);
    check(&[r#"{"choices":[{"finish_reason":7}]}"#], &malformed("a finish reason is no string"));
    check(&[r#"{"choices":[{"text":"a"}]}"#], &malformed("a choice has a `text` and no message"));
    let calls = |calls: &str| format!(r#"{{"choices":[{{"delta":{{"tool_calls":{calls}}}}}]}}"#);
    check(&[&calls("7")], &malformed("something is no array"));
    check(&[&calls("[7]")], &malformed("something is no object"));
    check(&[&calls(r#"[{"index":-1}]"#)], &malformed("an index is no number"));
    check(&[&calls(r#"[{"\ud800":1}]"#)], &malformed("a name holds an invalid escape"));
    check(&[r#"{"choices":[{"delta":{"content":["a"]}}]}"#], &malformed("a text is no string, or a list no array"));
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    check(&[&deep], &malformed("it is nested too deep"));
}

#[test]
fn limits_hold_at_their_edges() {
    let check = |what: &'static str, limit: usize, item: fn(usize) -> String| {
        let chunks: Vec<_> = (0..=limit).map(item).collect();
        let mut assembler = Assembler::new();
        for chunk in &chunks[..limit] {
            assembler.push(chunk).unwrap();
        }
        assert_eq!(assembler.push(&chunks[limit]), Err(AssembleError::TooLarge { what, limit }));
    };
    check("members", 64, |name| format!(r#"{{"k{name}":1}}"#));
    check("tool calls", TOOL_CALLS_MAX, |index| {
        format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{index}}}]}}}}]}}"#)
    });
    let wide = format!("{{{}}}", (0..65).map(|name| format!("\"{name}\":0")).collect::<Vec<_>>().join(","));
    assert_eq!(Assembler::new().push(&wide), Err(AssembleError::TooLarge { what: "members", limit: 64 }));
    let mut assembler = Assembler::with_bytes_max(10_000);
    let text = format!(r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#, "x".repeat(999));
    let pushed = (0..20).take_while(|_| assembler.push(&text).is_ok()).count();
    assert_eq!(pushed, 9);
    // What takes the place of something else costs nothing.
    let mut assembler = Assembler::with_bytes_max(10_000);
    let same = format!(r#"{{"id":"{}"}}"#, "x".repeat(9_000));
    (0..20).for_each(|_| assembler.push(&same).unwrap());
}

#[test]
fn long_answers_cost_linear_time() {
    // Copying what is collected for every chunk would be 2^40 bytes: minutes instead of a second.
    let mut assembler = Assembler::new();
    let chunk =
        r#"{"id":"x","choices":[{"index":0,"delta":{"content":"sixteen bytes ab"},"logprobs":{"content":[1]}}]}"#;
    let count = 1 << 18;
    (0..count).for_each(|_| assembler.push(chunk).unwrap());
    assembler.push(END).unwrap();
    assert!(assembler.finish().unwrap().len() > count * 18);
}
