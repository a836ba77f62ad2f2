//! What changes the name of an answer and what does not.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn request(body: &str) -> ChatRequest {
    ChatRequest::parse(body.to_owned().into()).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn key(body: &str) -> AnswerKey {
    request(body).answer_key()
}

const PLAIN: &str = r#"{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":0}"#;

#[test]
fn form_order_space_and_what_is_for_tidegate_do_not_matter() {
    for same in [
        r#"{ "temperature" : 0, "messages":[ {"content":"\u0068i","role":"user"} ],"model":"auto" }"#,
        r#"{"stream":true,"stream_options":{"include_usage":true},"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":0}"#,
        r#"{"stream":false,"stream_options":null,"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":0}"#,
        r#"{"metadata":{"tidegate_tags":"a","tidegate_privacy":"public"},"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":0}"#,
    ] {
        assert_eq!(key(PLAIN), key(same), "{same}");
    }
    let tagged = |metadata: &str| PLAIN.replacen('{', &format!(r#"{{"metadata":{metadata},"#), 1);
    assert_eq!(
        key(&tagged(r#"{"a":"1","b":"2"}"#)),
        key(&tagged(r#"{"b":"2","tidegate_mode":"only_on_device","a":"1"}"#))
    );
    let part = |part: &str| PLAIN.replace(r#""hi""#, &format!("[{part}]"));
    assert_eq!(key(&part(r#"{"type":"text","text":"hi"}"#)), key(&part(r#"{"text":"hi", "type":"text"}"#)));
}

#[test]
fn everything_else_matters() {
    let with = |more: &str| PLAIN.replacen('{', &format!("{{{more},"), 1);
    let mut bodies = vec![
        PLAIN.to_owned(),
        PLAIN.replace("hi", "hi "),
        PLAIN.replace("\"hi\"", "[\"hi\"]"),
        PLAIN.replace("user", "system"),
        PLAIN.replace("auto", "a/b"),
        PLAIN.replace(":0}", ":0.0}"),
        PLAIN.replace("]", r#",{"role":"user","content":"hi"}]"#),
    ];
    for more in [
        r#""seed":1"#,
        r#""seed":"1""#,
        r#""seed":null"#,
        r#""user":"a""#,
        r#""user":"b""#,
        r#""metadata":{}"#,
        r#""metadata":{"a":"b"}"#,
        r#""metadata":{"ab":""}"#,
        r#""metadata":{"a":"b","c":"d"}"#,
        r#""stop":["a","b"]"#,
        r#""stop":["b","a"]"#,
        r#""stop":[["a"],"b"]"#,
        r#""stop":[["a","b"]]"#,
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"a":{},"b":{}}}}}]"#,
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"b":{},"a":{}}}}}]"#,
        r#""stream_options":{"include_obfuscation":false}"#,
        r#""odd":"\ud800""#,
        r#""odd":"\\ud800""#,
    ] {
        bodies.push(with(more));
    }
    let keys: Vec<_> = bodies.iter().map(|body| key(body)).collect();
    for (n, one) in keys.iter().enumerate() {
        for (m, other) in keys.iter().enumerate().skip(n + 1) {
            assert_ne!(one, other, "{} and {}", bodies[n], bodies[m]);
        }
    }
}

#[test]
fn what_is_deterministic() {
    let check = |body: &str, expected: bool| assert_eq!(request(body).is_deterministic(), expected, "{body}");
    let with = |more: &str| PLAIN.replacen(r#""temperature":0"#, more, 1);
    check(PLAIN, true);
    for yes in [r#""temperature":0.0,"top_p":0.9"#, r#""seed":7"#, r#""seed":-7,"temperature":1,"stream":true,"n":1"#] {
        check(&with(yes), true);
    }
    for no in [
        r#""top_p":1"#,
        r#""temperature":0.1"#,
        r#""temperature":"0""#,
        r#""temperature":null"#,
        r#""seed":null"#,
        r#""seed":1.5"#,
        r#""seed":1,"n":2"#,
        r#""temperature":0,"new_member":1"#,
        r#""temperature":0,"web_search_options":{}"#,
    ] {
        check(&with(no), false);
    }
    let part = |part: &str| PLAIN.replace(r#""hi""#, &format!("[{part}]"));
    check(&part(r#""a",{"type":"text","text":"hi"}"#), true);
    check(&part(r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}"#), true);
    check(&part(r#"{"type":"image_url","image_url":{"url":"https://example.org/now.png"}}"#), false);
    check(&part(r#"{"type":"file","file":{"file_id":"f-1"}}"#), false);
}

#[test]
fn what_cannot_be_repeated() {
    let check = |more: &str, expected: bool| {
        let body = PLAIN.replacen('{', &format!("{{{more},"), 1);
        assert_eq!(request(&body).is_repeatable(), expected, "{body}");
    };
    check(r#""store":false"#, true);
    check(r#""store":null,"web_search_options":null"#, true);
    check(r#""store":true"#, false);
    check(r#""web_search_options":{}"#, false);
    check(r#""modalities":["text","audio"]"#, false);
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\é ]{0,4}".prop_map(Value::from)
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
        ]
    })
}

/// A valid body with these members that are not read, and this content.
fn body(members: &std::collections::BTreeMap<String, Value>, content: &Value) -> Value {
    let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": content, "x": members.get("a")}]});
    for (name, value) in members {
        body[format!("z{name}")] = value.clone();
    }
    body
}

proptest! {
    /// Two bodies have the same name exactly where they are the same JSON, however they are written.
    #[test]
    fn a_body_that_differs_has_another_name(
        one in prop::collection::btree_map("[a-c]", value(), 0..3),
        other in prop::collection::btree_map("[a-c]", value(), 0..3),
        first in value(),
        second in value(),
    ) {
        let bodies = [body(&one, &first), body(&other, &second), body(&one, &second), body(&other, &first)];
        for a in &bodies {
            for b in &bodies {
                // `serde_json` writes members in the order of their names.
                let (keys, spaced) = (key(&a.to_string()), serde_json::to_string_pretty(b).unwrap());
                prop_assert_eq!(keys == key(&spaced), a == b, "{} and {}", a, b);
            }
        }
    }
}
