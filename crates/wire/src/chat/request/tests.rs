//! What a request must and must not be.

use super::*;
use crate::chat::{MESSAGES_MAX, ROLE_BYTES_MAX, TOKENS_PER_ATTACHMENT, TOKENS_PER_MESSAGE};
use crate::json::JSON_DEPTH_MAX;

fn parse(body: impl Into<Bytes>) -> Result<ChatRequest, RequestError> {
    ChatRequest::parse(body.into())
}

/// A valid request with `more` fields in front.
fn with(more: &str) -> String {
    format!(r#"{{{more}"model":"auto","messages":[{{"role":"user","content":"hi"}}]}}"#)
}

fn refused(body: impl Into<Bytes>, expected: &str) {
    let body = body.into();
    let shown = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
    match parse(body) {
        Ok(_) => panic!("accepted {shown}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{shown}"),
    }
}

#[test]
fn reads_what_tidegate_decides_on() {
    let request = parse(
        r#" {"model":"a\u00e9","stream":true,"stream_options":{"include_usage":true,"x":1},"n":2,
        "messages":[{"role":"system","content":"abc"},{"role":"user","content":[{"type":"text","text":"d\n"},"ef",
        {"type":"image\u005furl","image_url":{"url":"data:"}},7]},{"role":"assistant","content":null,"tool_calls":[]}],
        "metadata":{"a":"b","tidegate_mode":"only_on_device","tidegate\u005fprivacy":"public"},"max_tokens":5,
        "max_completion_tokens":7,"tools":[ {} ],"response_format":{"json_schema":{},"type":"json_schema"}} "#,
    )
    .unwrap();
    assert_eq!(request.model(), "aé");
    assert!(request.stream() && request.include_usage() && request.has_tools());
    assert!(request.has_member("metadata") && !request.has_member("tidegate_mode") && !request.has_member("x"));
    // "abc", "d\n" as it is written, "ef", and `[]` of the calls.
    let text = TextSize { ascii: 10, wide: 0 };
    let summary =
        MessagesSummary { count: 3, text, images: 1, attachments: 0, ends_in_tool_result: false, ends_in_answer: true };
    assert_eq!(request.messages(), summary);
    assert_eq!(request.tidegate_mode(), Some("only_on_device"));
    assert_eq!(request.tidegate_privacy(), Some("public"));
    assert_eq!((request.max_tokens(), request.n()), (Some(7), 2));
    assert_eq!(request.response_format(), Some(ResponseFormat::JsonSchema));
    assert!(request.messages_json().starts_with(br#"[{"role":"system""#));
    assert!(request.messages_json().ends_with(br#""tool_calls":[]}]"#));
}

#[test]
fn reads_what_a_request_needs_of_a_target_from_all_of_it() {
    let request = parse(
        r#"{"model":"auto","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:AAAA"}},
        {"type":"input_audio","input_audio":{"data":"AAAA"}},{"type":"text","text":"hé"}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},{"role":"tool","tool_call_id":"1","content":"ok"}],
        "logprobs":true,"functions":[{"name":"f"}],
        "metadata":{"tidegate_tags":"a, b","tidegate_session":"s 1"}}"#,
    )
    .unwrap();
    let messages = request.messages();
    assert_eq!((messages.images, messages.attachments, messages.ends_in_tool_result), (1, 1, true));
    assert!(request.wants_logprobs() && request.has_tools());
    assert_eq!((request.tidegate_tags(), request.tidegate_session()), (Some("a, b"), Some("s 1")));
    // h; [{"id":"1"}]; "1"; ok: 18 characters and é, three messages and two attachments; {"name":"f"} of the tools.
    assert_eq!(messages.text, TextSize { ascii: 18, wide: 1 });
    assert_eq!(messages.tokens(), 5 + 1 + 3 * TOKENS_PER_MESSAGE + 2 * TOKENS_PER_ATTACHMENT);
    assert_eq!(request.prompt_tokens_estimate(), messages.tokens() + 3);
}

#[test]
fn only_the_last_message_makes_a_tool_loop_and_only_a_real_wish_log_probabilities() {
    let ends = |messages: &str| {
        let request = parse(format!(r#"{{"model":"m","messages":[{messages}]}}"#)).unwrap();
        request.messages().ends_in_tool_result
    };
    assert!(ends(r#"{"role":"function","name":"f","content":"1"}"#));
    assert!(!ends(r#"{"role":"tool","content":"1"},{"role":"user","content":"a"}"#));
    let begun = parse(r#"{"model":"m","messages":[{"role":"user","content":"1"},{"content":"a","role":"assistant"}]}"#);
    let begun = begun.unwrap();
    assert!(begun.messages().ends_in_answer && !begun.messages().ends_in_tool_result);
    assert!(begun.has_only_members(&["messages", "model", "n"]) && !begun.has_only_members(&["messages"]));
    for (fields, wanted) in [
        (r#""logprobs":false,"top_logprobs":0,"#, false),
        (r#""logprobs":null,"top_logprobs":null,"#, false),
        (r#""top_logprobs":3,"#, true),
        (r#""logprobs":true,"top_logprobs":0,"#, true),
    ] {
        assert_eq!(parse(with(fields)).unwrap().wants_logprobs(), wanted, "{fields}");
    }
    refused(with(r#""LogProbs":true,"#), "`LogProbs` must be written `logprobs`");
}

#[test]
fn null_and_absent_are_the_same() {
    let nulls = r#""stream":null,"stream_options":null,"metadata":null,"max_tokens":null,"max_completion_tokens":null,
        "tools":null,"response_format":null,"n":null,"#;
    for body in [with(""), with(nulls), with(r#""tools":[ ],"stream":false,"stream_options":{"include_usage":null},"#)]
    {
        let request = parse(body).unwrap();
        assert!(!request.stream() && !request.include_usage() && !request.has_tools());
        assert_eq!((request.tidegate_mode(), request.tidegate_privacy()), (None, None));
        assert_eq!((request.max_tokens(), request.n(), request.response_format()), (None, 1, None));
    }
}

#[test]
fn refuses_what_is_not_json() {
    refused("", "the body is not valid JSON: EOF while parsing a value at line 1 column 0");
    refused("{\n\"a\": x}", "the body is not valid JSON: expected value at line 2 column 6");
    refused(with("") + " x", "the body is not valid JSON: trailing characters at line 1 column 62");
    refused(with(r#""a":NaN,"#), "the body is not valid JSON: expected value at line 1 column 6");
    refused(with(r#""a":01,"#), "the body is not valid JSON: invalid number at line 1 column 7");
    refused(with(r#""a":"\x","#), "the body is not valid JSON: invalid escape at line 1 column 8");
    refused(&b"{\"a\":\"\xff\"}"[..], "the body is not valid UTF-8 (first at byte 6)");
    refused("\u{feff}{}", "the body is not valid JSON: expected value at line 1 column 1");
    for body in ["[]", "null", "\"text\"", "7"] {
        refused(body, "the body must be a JSON object");
    }
}

#[test]
fn no_nesting_exhausts_the_stack() {
    for levels in [JSON_DEPTH_MAX, 10_000, 2_000_000] {
        for place in [r#""messages":"#, r#""tools":"#, r#""x":"#, r#""metadata":"#] {
            let body = format!(r#"{{"model":"m",{place}{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
            let error = parse(body).unwrap_err();
            let is_shape = matches!(error, RequestError::Invalid { .. });
            assert!(is_shape || matches!(error, RequestError::TooDeep { line: 1, .. }), "{place} {error}");
        }
        let error = parse("[".repeat(levels)).unwrap_err();
        assert!(matches!(error, RequestError::NotJson { .. }), "{error}");
    }
    let within = "[".repeat(JSON_DEPTH_MAX - 1) + &"]".repeat(JSON_DEPTH_MAX - 1);
    parse(with(&format!(r#""x":{within},"#))).unwrap();
    refused(with(&format!("\"x\":[{within}],")), "the body is nested deeper than 100 levels at line 1 column 105");
}

#[test]
fn no_key_may_have_two_meanings() {
    refused(with(r#""model":"b","#), "`model` is given more than once");
    refused(with(r#""mod\u0065l":"b","#), "`model` is given more than once");
    refused(with(r#""x":1,"\u0078":2,"#), "`x` is given more than once");
    refused(with(r#""metadata":{"a":"1","a":"1"},"#), "`metadata.a` is given more than once");
    refused(
        with(r#""metadata":{"tidegate_privacy":"public","tidegate\u005fprivacy":"restricted"},"#),
        "`metadata.tidegate_privacy` is given more than once",
    );
    refused(
        with(r#""stream_options":{"include_usage":true,"include_usage":false},"#),
        "`stream_options.include_usage` is given more than once",
    );
    refused(
        r#"{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}"#,
        "`messages[0].content` is given more than once",
    );
    refused(
        r#"{"model":"m","messages":[{"role":"user","content":["x",{"type":"text","text":"a","text":"b"}]}]}"#,
        "`messages[0].content[1].text` is given more than once",
    );
    refused(with(r#""Model":"b","#), "`Model` must be written `model`");
    refused(with(r#""meſſages":[],"#), "`meſſages` must be written `messages`");
    refused(with(r#""\ud800":1,"#), "`body` holds a key with an invalid escape");
    refused(
        with(&format!(r#""{0}":1,"{0}":1,"#, "é".repeat(500))),
        &format!("`{}` is given more than once", "é".repeat(32)),
    );
}

#[test]
fn names_the_field_at_fault() {
    let check = |more: &str, expected: &str| refused(with(more), expected);
    check(r#""stream":1,"#, "`stream` must be true, false or null");
    check(r#""stream_options":[],"#, "`stream_options` must be an object or null");
    check(r#""stream_options":{"include_usage":"yes"},"#, "`stream_options.include_usage` must be true, false or null");
    check(r#""metadata":"x","#, "`metadata` must be an object or null");
    check(r#""metadata":{"tidegate_mode":null},"#, "`metadata.tidegate_mode` must be a string");
    check(r#""metadata":{"tidegate_privacy":1},"#, "`metadata.tidegate_privacy` must be a string");
    check(
        r#""metadata":{"Tidegate-Privacy":"restricted"},"#,
        "`metadata.Tidegate-Privacy` is not known; Tidegate reads `tidegate_mode`, `tidegate_privacy`, `tidegate_tags`, `tidegate_session`",
    );
    check(r#""max_tokens":0,"#, "`max_tokens` must be a positive integer or null");
    check(r#""max_completion_tokens":1.5,"#, "`max_completion_tokens` must be a positive integer or null");
    check(r#""max_tokens":99999999999999999999,"#, "`max_tokens` must be a positive integer or null");
    check(r#""n":129,"#, "`n` must be an integer from 1 to 128 or null");
    check(r#""tools":{},"#, "`tools` must be an array or null");
    check(r#""response_format":"json","#, "`response_format` must be an object or null");
    check(r#""response_format":{},"#, "`response_format.type` is required");
    refused(r#"{"messages":[{"role":"user"}]}"#, "`model` is required");
    refused(r#"{"model":"m"}"#, "`messages` is required");
    refused(r#"{"model":null}"#, "`model` must be a string");
    refused(r#"{"model":""}"#, "`model` must not be empty");
    refused(r#"{"model":"\ud800"}"#, "`model` holds an invalid escape");
    refused(r#"{"model":"m","messages":{}}"#, "`messages` must be an array");
    refused(r#"{"model":"m","messages":[]}"#, "`messages` must hold at least one message");
    refused(r#"{"model":"m","messages":["a"]}"#, "`messages[0]` must be an object");
    refused(r#"{"model":"m","messages":[{"role":"user"},{"content":"a"}]}"#, "`messages[1].role` is required");
    refused(r#"{"model":"m","messages":[{"role":7}]}"#, "`messages[0].role` must be a string");
}

#[test]
fn limits_hold_at_their_edges() {
    let model = |length: usize| format!(r#"{{"model":"{}","messages":[{{"role":"u"}}]}}"#, "m".repeat(length));
    parse(model(MODEL_NAME_BYTES_MAX)).unwrap();
    refused(model(MODEL_NAME_BYTES_MAX + 1), "`model` must be at most 256 bytes long");
    refused(model(100_000), "`model` must be at most 256 bytes long");
    let role = |length: usize| format!(r#"{{"model":"m","messages":[{{"role":"{}"}}]}}"#, "r".repeat(length));
    parse(role(ROLE_BYTES_MAX)).unwrap();
    refused(role(ROLE_BYTES_MAX + 1), "`messages[0].role` must be at most 64 bytes long");
    let messages =
        |count: usize| format!(r#"{{"model":"m","messages":[{}]}}"#, vec![r#"{"role":"u"}"#; count].join(","));
    assert_eq!(parse(messages(MESSAGES_MAX)).unwrap().messages().count, MESSAGES_MAX);
    refused(messages(MESSAGES_MAX + 1), "`messages` must hold at most 10000 messages");
    let keys = |count: usize| (0..count).map(|key| format!("\"k{key}\":0,")).collect::<String>();
    parse(with(&keys(OBJECT_KEYS_MAX - 2))).unwrap();
    refused(with(&keys(OBJECT_KEYS_MAX - 1)), "`body` must hold at most 1024 keys");
}

#[test]
fn errors_hold_no_prompt() {
    let secret = "my secret prompt";
    for body in [
        format!(r#"{{"model":{{"{secret}":1}},"messages":[]}}"#),
        format!(r#"{{"model":"m","messages":"{secret}"}}"#),
        format!(r#"{{"model":"m","messages":["{secret}"]}}"#),
        format!(r#"{{"model":"m","messages":[{{"role":["{secret}"]}}]}}"#),
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{secret}]}}"#),
        format!(r#"{{"model":"m","stream":"{secret}"}}"#),
        format!(r#""{secret}""#),
    ] {
        assert!(!parse(body.clone()).unwrap_err().to_string().contains("secret"), "{body}");
    }
}

#[test]
fn a_demand_for_privacy_in_the_wrong_place_or_spelling_is_refused() {
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    for key in ["tidegate_privacy", "Tidegate_privacy", "x-tidegate-privacy", " tidegate_mode", "X_TIDEGATE"] {
        for body in [
            format!(r#"{{"model":"auto",{messages},"{key}":"restricted"}}"#),
            format!(r#"{{"model":"auto",{messages},"metadata":{{"x-{key}":"restricted"}}}}"#),
        ] {
            let error = ChatRequest::parse(Bytes::from(body.clone())).unwrap_err();
            assert!(matches!(error, RequestError::Invalid { .. }), "{body}: {error}");
        }
    }
}
