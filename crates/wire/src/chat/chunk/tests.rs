//! The chunks that targets send.

use super::*;
use crate::usage::Usage;

fn parse(data: &str) -> ChatChunk<'_> {
    ChatChunk::parse(data.as_bytes()).unwrap_or_else(|error| panic!("{error}: {data}"))
}

#[test]
fn sees_content_of_every_kind() {
    let check = |choice: &str, expected: bool| {
        assert_eq!(parse(&format!(r#"{{"choices":[{choice}]}}"#)).has_content(), expected, "{choice}");
    };
    check(r#"{"delta":{"content":"a"}}"#, true);
    check(r#"{"delta":{"content":" "}}"#, true);
    check(r#"{"delta":{"content":"\n"}}"#, true);
    check(r#"{"delta":{"role":"assistant","content":""}}"#, false);
    check(r#"{"delta":{"role":"assistant","content":null,"refusal":null}}"#, false);
    check(r#"{"delta":{}}"#, false);
    check(r#"{"delta":null,"finish_reason":"stop"}"#, false);
    check("{}", false);
    check(r#"{"delta":{"reasoning_content":"hm"}}"#, true);
    check(r#"{"delta":{"reasoning":"hm"}}"#, true);
    check(r#"{"delta":{"refusal":"no"}}"#, true);
    check(r#"{"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}"#, true);
    check(r#"{"delta":{"tool_calls":[ ]}}"#, false);
    check(r#"{"delta":{"function_call":{"name":"f"}}}"#, true);
    check(r#"{"delta":{"audio":{"id":"a"}}}"#, true);
    check(r#"{"delta":{"audio":{}}}"#, false);
    check(r#"{"delta":{"content":[{"type":"text","text":"a"}]}}"#, true);
    check(r#"{"message":{"content":"a"}}"#, true);
    check(r#"{"text":"a"}"#, true);
}

#[test]
fn reads_choices_one_by_one() {
    let chunk = parse(
        r#"{"choices":[{"index":1,"delta":{"content":"a"},"finish_reason":null},
            {"index":0,"delta":{},"finish_reason":"tool\u005fcalls"},{"index":null,"finish_reason":""}]}"#,
    );
    let read: Vec<_> = chunk.choices.iter().map(|c| (c.index, c.finish_reason.as_deref(), c.has_content)).collect();
    assert_eq!(read, [(1, None, true), (0, Some("tool_calls"), false), (0, None, false)]);
    assert!(chunk.has_finish_reason());
    assert!(!parse(r#"{"choices":[{"finish_reason":""}]}"#).has_finish_reason());
}

#[test]
fn tells_usage_frames_from_others() {
    let check = |data: &str, only: bool, without: Option<&str>| {
        let chunk = parse(data);
        assert_eq!(chunk.is_usage_only(), only, "{data}");
        assert_eq!(chunk.without_usage().as_deref(), without, "{data}");
    };
    let usage = r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#;
    check(&format!(r#"{{"choices":[],{usage}}}"#), true, Some(r#"{"choices":[]}"#));
    check(&format!("{{{usage}}}"), true, Some("{}"));
    check(
        &format!(r#"{{"choices":[{{"delta":{{}}}}],{usage},"x":1}}"#),
        false,
        Some(r#"{"choices":[{"delta":{}}],"x":1}"#),
    );
    check(
        r#"{"id":"a", "usage" : null , "choices":[{"usage":1}]}"#,
        false,
        Some(r#"{"id":"a" , "choices":[{"usage":1}]}"#),
    );
    check(r#"{"\u0075sage":null,"a":1e400,"b":"\u00e9"}"#, false, Some(r#"{"a":1e400,"b":"\u00e9"}"#));
    check(r#"{"choices":[]}"#, false, None);
    check(r#"{"choices":[],"prompt_filter_results":[]}"#, false, None);
    let counted = format!("{{{usage}}}");
    assert_eq!(parse(&counted).usage.map(|usage| usage.total_tokens), Some(3));
}

#[test]
fn reads_what_the_engine_reports() {
    let told = parse(
        r#"{"choices":[],"prompt_progress":{"total":9,"cache":1,"processed":4,"time_ms":7},"timings":{"prompt_n":8}}"#,
    );
    assert_eq!(told.prompt_progress(), Some(PromptProgress { total: 9, cache: 1, processed: 4, time_ms: 7 }));
    assert_eq!(told.timings().map(|timings| timings.prompt_n), Some(8));
    for silent in [r#"{"choices":[]}"#, r#"{"choices":[],"prompt_progress":null,"timings":1}"#] {
        assert_eq!((parse(silent).prompt_progress(), parse(silent).timings()), (None, None), "{silent}");
    }
}

#[test]
fn tells_progress_of_the_prompt_from_others() {
    let check = |choice: &str, more: &str, expected: bool| {
        let data = format!(r#"{{"choices":[{choice}],"prompt_progress":{{"total":2,"processed":1}}{more}}}"#);
        assert_eq!(parse(&data).is_progress_only(), expected, "{data}");
    };
    check(r#"{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}"#, "", true);
    check("", "", true);
    check("", r#","usage":null"#, true);
    check(r#"{"delta":{"content":"a"}}"#, "", false);
    check(r#"{"delta":{},"finish_reason":"stop"}"#, "", false);
    check("", r#","usage":{"prompt_tokens":1}"#, false);
    check("", r#","error":"slot lost""#, false);
    assert!(!parse(r#"{"choices":[{"delta":{"role":"assistant"}}],"prompt_progress":null}"#).is_progress_only());
    assert!(!parse(r#"{"choices":[{"delta":{"role":"assistant"}}]}"#).is_progress_only());
}

#[test]
fn sees_errors_in_the_middle_of_a_stream() {
    let check = |data: &str, message: Option<&str>| {
        let chunk = parse(data);
        assert_eq!(chunk.error.as_ref().map(|error| error.message.as_str()), message, "{data}");
        assert!(!chunk.is_usage_only());
    };
    check(r#"{"error":{"message":"slot lost","type":"server_error","code":500}}"#, Some("slot lost"));
    check(r#"{"error":"slot lost"}"#, Some("slot lost"));
    check(r#"{"object":"error","message":"slot lost"}"#, Some("slot lost"));
    check(r#"{"choices":[],"error":{"code":502,"message":"gone"},"usage":{"prompt_tokens":1}}"#, Some("gone"));
    check(r#"{"choices":[{"delta":{},"error":{"message":"gone"}}]}"#, Some("gone"));
    check(r#"{"choices":[{"delta":{},"finish_reason":"\u0065rror"}]}"#, Some("the finish reason is an error"));
    check(r#"{"error":null,"choices":[{"delta":{"content":"a"},"error":null}]}"#, None);
}

#[test]
fn refuses_what_is_no_chunk() {
    for data in [
        "",
        "[DONE]",
        "[]",
        "null",
        "{",
        "{} {}",
        "{\"choices\":7}",
        "{\"choices\":[7]}",
        "{\"choices\":[{\"delta\":\"a\"}]}",
        "{\"choices\":[{\"delta\":[\"a\"]}]}",
        "{\"choices\":[[0,\"stop\"]]}",
        "{\"choices\":[{\"index\":\"0\"}]}",
        "{\"choices\":[{\"index\":-1}]}",
        "{\"choices\":[{\"index\":0.0}]}",
        "{\"choices\":[{\"index\":128}]}",
        "{\"choices\":[{\"finish_reason\":7}]}",
        "{\"choices\":[{\"finish_reason\":\"\\ud800\"}]}",
    ] {
        assert!(ChatChunk::parse(data.as_bytes()).is_err(), "{data}");
    }
    assert!(ChatChunk::parse(b"{\"a\":\"\xff\"}").is_err());
    assert!(ChatChunk::parse("{\"choices\":".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn texts_are_told_from_all_else() {
    use TextKind::{Content, Reasoning, ReasoningContent, Refusal};
    let check = |choice: &str, expected: &[(TextKind, &str)], has_other: bool| {
        let data = format!(r#"{{"choices":[{choice}]}}"#);
        let choice = &parse(&data).choices[0];
        let texts: Vec<_> = choice.texts().collect();
        let expected: Vec<_> = expected.iter().map(|(kind, text)| (*kind, Cow::Borrowed(*text))).collect();
        assert_eq!((texts, choice.has_other), (expected, has_other), "{data}");
    };
    check(r#"{"delta":{"role":"assistant","content":"a\u00e9"}}"#, &[(Content, "aé")], false);
    check(r#"{"delta":{"content":"b","reasoning_content":"a"}}"#, &[(ReasoningContent, "a"), (Content, "b")], false);
    check(r#"{"delta":{"reasoning":"a","refusal":"no","content":""}}"#, &[(Reasoning, "a"), (Refusal, "no")], false);
    check(r#"{"delta":{"content":"a","tool_calls":[{"index":0}]}}"#, &[(Content, "a")], true);
    check(r#"{"delta":{"content":[{"type":"text","text":"a"}]}}"#, &[], true);
    check(r#"{"delta":{"content":"\ud800"}}"#, &[], true);
    check(r#"{"delta":{"content":"a"},"message":{"content":"a"}}"#, &[(Content, "a")], true);
    check(r#"{"delta":{"audio":{"id":"x"}}}"#, &[], true);
    check(r#"{"text":"a"}"#, &[], true);
    check(r#"{"delta":{}}"#, &[], false);
}

#[test]
fn a_chunk_goes_on_under_the_identity_of_another() {
    let first = parse(r#"{"id":"a","created":7,"model":"m1","choices":[]}"#).identity();
    let check = |data: &str, drop_usage: bool, expected: &str| {
        assert_eq!(parse(data).under(&first, drop_usage).as_deref(), Some(expected), "{data}");
    };
    check(
        r#"{"id": "b", "model":"m2","created":9,"usage":null,"x":[1e2]}"#,
        true,
        r#"{"id": "a", "model":"m2","created":7,"x":[1e2]}"#,
    );
    check(r#"{"choices":[{"id":"b"}],"usage":null}"#, false, r#"{"choices":[{"id":"b"}],"usage":null}"#);
    let none = parse("{}").identity();
    assert_eq!(parse(&text_chunk(&none, TextKind::Content, "x")).identity(), none);
}

#[test]
fn chunks_of_our_own_are_read_as_what_they_are() {
    let identity = parse(r#"{"id":"a","created":7,"model":"m\u0031","choices":[]}"#).identity();
    let data = text_chunk(&identity, TextKind::Reasoning, "say \"é\"\n");
    let chunk = parse(&data);
    assert_eq!(chunk.choices[0].texts().collect::<Vec<_>>(), [(TextKind::Reasoning, "say \"é\"\n".into())]);
    assert_eq!(chunk.identity(), identity);
    let data = finish_chunk(&identity, "stop");
    assert_eq!(parse(&data).choices[0].finish_reason.as_deref(), Some("stop"));
    let usage = Usage { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7, ..Usage::default() };
    let data = usage_chunk(&identity, usage, true);
    assert!(parse(&data).is_usage_only() && data.contains(r#""estimated":true"#), "{data}");
    assert_eq!(parse(&data).usage, Some(usage));
    assert!(!usage_chunk(&identity, usage, false).contains("estimated"));
    let detailed = Usage { cached_prompt_tokens: Some(2), reasoning_tokens: Some(1), ..usage };
    assert_eq!(parse(&usage_chunk(&identity, detailed, false)).usage, Some(detailed));
}
