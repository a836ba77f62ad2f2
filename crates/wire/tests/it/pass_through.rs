//! Fields that Tidegate does not know reach the target byte for byte and in order, whatever they hold.

use proptest::prelude::*;
use wire::{ChatChunk, ChatRequest, StreamForm, UpstreamForm, UsageInStream};

fn space() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(vec!["", "", " ", "\n", "\t \r\n"])
}

/// JSON values as text, with everything in them that a parser and printer would change.
fn value() -> impl Strategy<Value = String> {
    let odd = [
        "1e400",
        "-0",
        "0.10",
        "1E+2",
        "12345678901234567890",
        "0.1000000000000000055",
        "null",
        "true",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"\\/\"",
        "\"é😀\"",
        "\"]}\\\"{[,:\"",
        "\"model\"",
        "{}",
        "[]",
        "[ ]",
        "{\"a\":1,\"a\":2}",
    ];
    let leaf = prop_oneof![
        prop::sample::select(odd.map(str::to_owned).to_vec()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let items = prop::collection::vec((inner, space(), space()), 0..5);
        prop_oneof![
            items.clone().prop_map(|items| {
                let items: Vec<_> = items.into_iter().map(|(value, a, b)| format!("{a}{value}{b}")).collect();
                format!("[{}]", items.join(","))
            }),
            items.prop_map(|items| {
                let items: Vec<_> =
                    items.into_iter().map(|(value, a, b)| format!("{a}\"model\"{b}:{a}{value}{b}")).collect();
                format!("{{{}}}", items.join(","))
            }),
        ]
    })
}

/// Members `"k0": value`, ... as written, each with white space around and some keys escaped.
fn unknown_members() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec((value(), space(), space(), any::<bool>()), 0..8).prop_map(|members| {
        let write = |(index, (value, a, b, escaped)): (usize, (String, &str, &str, bool))| {
            let key = if escaped { format!("\\u006b{index}") } else { format!("k{index}") };
            format!("{a}\"{key}\"{b}:{a}{value}{b}")
        };
        members.into_iter().enumerate().map(write).collect()
    })
}

/// Without white space at the outside, of which nobody can say to which member it belongs.
fn tight(members: Vec<String>) -> Vec<String> {
    members.iter().map(|member| member.trim_ascii().to_owned()).collect()
}

const MESSAGES: &str = r#" "messages" : [ {"role":"user","content":"\u00e9\/"} ]"#;

fn out(request: &ChatRequest, model: &str, usage: UsageInStream, stream: StreamForm) -> String {
    String::from_utf8(request.for_upstream(&UpstreamForm { model, usage, stream, extra: &[], prefix: None })).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn only_the_model_changes(mut members in unknown_members(), at in any::<[prop::sample::Index; 2]>()) {
        members.insert(at[0].index(members.len() + 1), MESSAGES.to_owned());
        let model = at[1].index(members.len() + 1);
        members.insert(model, "\t\"mod\\u0065l\" :\"auto\" ".to_owned());
        let body = format!(" {{{}}}\n", members.join(","));
        members[model] = "\t\"mod\\u0065l\" :\"a\\\"b\" ".to_owned();
        let expected = format!(" {{{}}}\n", members.join(","));
        let request = ChatRequest::parse(body.into()).unwrap();
        for usage in [UsageInStream::AsAsked, UsageInStream::Always] {
            prop_assert_eq!(out(&request, "a\"b", usage, StreamForm::AsAsked), expected.as_str());
        }
    }

    #[test]
    fn streams_gain_usage_and_lose_our_metadata(
        members in unknown_members().prop_map(tight),
        options in unknown_members().prop_map(tight),
        metadata in unknown_members().prop_map(tight),
        own in any::<prop::sample::Index>(),
    ) {
        let write = |options: &[String], metadata: Option<&[String]>| {
            let metadata = metadata.map(|members| format!(",\"metadata\": {{{}}}", members.join(","))).unwrap_or_default();
            let more: String = members.iter().map(|member| format!(",{member}")).collect();
            let options = options.join(",");
            format!("{{\"model\":\"m\",\"stream\": true,{MESSAGES}{metadata},\"stream_options\":{{{options}}}{more}}}")
        };
        let (mut with_own, mut with_usage) = (metadata.clone(), options.clone());
        with_own.insert(own.index(metadata.len() + 1), "\"tidegate_mode\":\"x\"".to_owned());
        with_usage.push("\"include_usage\":true".to_owned());
        let request = ChatRequest::parse(write(&options, Some(&with_own)).into()).unwrap();
        let kept = (!metadata.is_empty()).then_some(&metadata[..]);
        for stream in [StreamForm::AsAsked, StreamForm::Always] {
            prop_assert_eq!(out(&request, "m", UsageInStream::AsAsked, stream), write(&options, kept));
            prop_assert_eq!(out(&request, "m", UsageInStream::Always, stream), write(&with_usage, kept));
        }
    }

    #[test]
    fn a_whole_answer_is_asked_for_by_leaving_two_members_out(
        mut members in unknown_members().prop_map(tight),
        at in any::<[prop::sample::Index; 2]>(),
    ) {
        members.push("\"model\":\"m\"".to_owned());
        members.push(MESSAGES.trim_ascii().to_owned());
        let expected = format!("{{{}}}", members.join(","));
        members.insert(at[0].index(members.len() + 1), "\"str\\u0065am\" : true".to_owned());
        members.insert(at[1].index(members.len() + 1), "\"stream_options\":{\"include_usage\":true}".to_owned());
        let request = ChatRequest::parse(format!("{{{}}}", members.join(",")).into()).unwrap();
        let body = String::from_utf8(request.without_stream()).unwrap();
        prop_assert_eq!(&body, &expected);
        let again = ChatRequest::parse(body.into()).unwrap();
        prop_assert!(!again.stream() && again.without_stream() == expected.as_bytes());
    }

    #[test]
    fn chunks_lose_nothing_but_usage(mut members in unknown_members().prop_map(tight), at in any::<prop::sample::Index>()) {
        let data = format!("{{{}}}", members.join(","));
        prop_assert_eq!(ChatChunk::parse(data.as_bytes()).unwrap().without_usage(), None);
        members.insert(at.index(members.len() + 1), "\"usage\":{\"usage\":1}".to_owned());
        let with_usage = format!("{{{}}}", members.join(","));
        prop_assert_eq!(ChatChunk::parse(with_usage.as_bytes()).unwrap().without_usage(), Some(data));
    }
}
