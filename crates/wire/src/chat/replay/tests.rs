//! Each form against the other.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The answer that a caller has who puts the stream of this one together.
fn there_and_back(body: &Value) -> Option<Value> {
    let stream = stream_of_whole(&body.to_string().into())?;
    assert!(stream.ends_with(b"data: [DONE]\n\n"));
    serde_json::from_slice(&whole_of_stream(&stream).unwrap()).ok()
}

fn answer(choices: Value) -> Value {
    json!({"id": "c-1", "object": "chat.completion", "created": 7, "model": "m", "choices": choices,
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}},
        "system_fingerprint": "fp", "timings": {"prompt_n": 3}})
}

#[test]
fn one_answer_as_a_stream_is_that_answer() {
    let logprobs = json!({"content": [{"token": "hi", "logprob": -0.25, "top_logprobs": []}], "refusal": null});
    let call = json!({"id": "t-1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":\"\\n\"}"}});
    for choices in [
        json!([{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop", "logprobs": logprobs}]),
        json!([{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [call, call]}, "finish_reason": "tool_calls"}]),
        json!([{"index": 0, "message": {"role": "assistant", "content": "a", "reasoning_content": "hm"}, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "stop", "stop_reason": 7}]),
        json!([{"index": 0, "message": {"role": "assistant", "content": null, "refusal": "no"}, "finish_reason": "stop"}]),
    ] {
        let answer = answer(choices);
        assert_eq!(there_and_back(&answer), Some(answer));
    }
    let nothings = json!([{"index": 0, "logprobs": null, "finish_reason": "stop", "message":
        {"role": "assistant", "content": "hi", "refusal": null, "tool_calls": [], "function_call": null}}]);
    let text = there_and_back(&answer(nothings)).unwrap();
    assert_eq!(text["choices"][0]["message"], json!({"role": "assistant", "content": "hi", "refusal": null}));
}

#[test]
fn what_would_not_be_the_same_is_no_stream() {
    let message = json!({"role": "assistant", "content": "hi"});
    let whole = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
    let without = |member: &str| {
        let mut answer = answer(whole.clone());
        answer.as_object_mut().unwrap().remove(member);
        there_and_back(&answer)
    };
    assert_eq!(without("usage"), None, "a caller may ask for it");
    assert!(without("id").is_some());
    // A list of parts is no text, and what is put together is one.
    let parts =
        json!([{"index": 0, "message": {"role": "assistant", "content": [{"text": "a"}]}, "finish_reason": "stop"}]);
    assert_eq!(there_and_back(&answer(parts)), None);
    let cut = json!([{"index": 0, "message": message}]);
    assert_eq!(there_and_back(&answer(cut)), None);
    assert_eq!(stream_of_whole(&Bytes::from_static(b"{")), None);
    assert_eq!(whole_of_stream(b"data: {\"choices\":[]}\n\ndata: [DO"), None, "torn");
}

#[test]
fn usage_is_taken_out_as_from_a_live_stream() {
    let stream = Bytes::from_static(
        b": hm\n\ndata: {\"id\":1,\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n",
    );
    let plain = b": hm\n\ndata: {\"id\":1,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    assert_eq!(without_usage(&stream).unwrap(), plain.as_slice());
    assert_eq!(without_comments(&stream).unwrap(), stream.slice(6..));
}

#[test]
fn only_an_end_of_its_own_counts() {
    let check = |reasons: &[&str], n, expected| {
        let choices = reasons.iter().map(|reason| json!({"message": {"content": "a"}, "finish_reason": reason}));
        let body = answer(choices.collect());
        let parsed = ChatCompletion::parse(body.to_string().into()).unwrap();
        assert_eq!(ends_by_itself(&parsed, n), expected, "{reasons:?}");
    };
    check(&["stop"], 1, true);
    check(&["tool_calls", "stop"], 2, true);
    check(&["stop"], 2, false);
    check(&["length"], 1, false);
    check(&["stop", "content_filter"], 2, false);
}

proptest! {
    #[test]
    fn any_text_comes_back(content in ".{0,40}", reasoning in prop::option::of(".{0,20}"), arguments in ".{0,20}", calls in 0..3) {
        let mut message = json!({"role": "assistant", "content": content});
        if let Some(reasoning) = reasoning {
            message["reasoning"] = reasoning.into();
        }
        if calls > 0 {
            let call = |n: i32| json!({"id": format!("t{n}"), "type": "function", "function": {"name": "f", "arguments": arguments}});
            message["tool_calls"] = (0..calls).map(call).collect();
        }
        let answer = answer(json!([{"index": 0, "message": message, "finish_reason": "stop"}]));
        prop_assert_eq!(there_and_back(&answer), Some(answer));
    }
}
