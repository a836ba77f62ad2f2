use super::*;

fn message(json: &str) -> Texts {
    Texts::of_message(json)
}

#[test]
fn the_content_is_the_text_parts_and_everything_else_is_a_line() {
    let texts = message(
        r#"{"role":"user","name":"Ann","content":[{"type":"text","text":"a"},{"type":"input_text","text":"b\u0021"},"c",
        {"type":"image_url","image_url":{"url":"https://h/x.png","detail":"low"}}],"n":[1,true,null]}"#,
    );
    assert_eq!((texts.role.as_str(), texts.content.as_str()), ("user", "a\nb!\nc"));
    assert_eq!(texts.rest, "name: Ann\nurl: https://h/x.png\ndetail: low\nn: 1\nn: \nn: \n");
    assert_eq!(texts.opaque, 1);
}

#[test]
fn arguments_of_a_tool_are_taken_apart_however_they_are_escaped() {
    let plain =
        message(r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"card\":\"4111\"}"}}]}"#);
    assert_eq!(plain.rest, "name: f\narguments: {\"card\":\"4111\"}\n");
    let escaped =
        message(r#"{"role":"assistant","tool_calls":[{"function":{"arguments":"{\"card\":\"\\u0034111\"}"}}]}"#);
    assert_eq!(escaped.rest, "card: 4111\n");
    let twice = message(r#"{"role":"assistant","arguments":"{\"inner\":\"{\\\"card\\\":\\\"\\\\u0034111\\\"}\"}"}"#);
    assert_eq!(twice.rest, "card: 4111\n");
}

#[test]
fn half_a_character_hides_nothing() {
    let texts = message(r#"{"role":"user","content":"\ud83d \u0034111"}"#);
    assert!(texts.content.ends_with(" 4111"), "{:?}", texts.content);
}

#[test]
fn numbers_and_keys_are_texts_too() {
    assert_eq!(Texts::of_field(r#""metadata": {"4111": null, "card": 4111.5e3}"#).rest, "4111: \ncard: 4111.5e3\n");
}

#[test]
fn data_urls_of_text_are_decoded_and_others_are_opaque() {
    let file = |url: &str| {
        message(&format!(
            r#"{{"role":"user","content":[{{"type":"file","file":{{"filename":"x","file_data":"{url}"}}}}]}}"#
        ))
    };
    let text = file("data:text/plain;base64,aGVsbG8=");
    assert_eq!((text.rest.as_str(), text.opaque), ("filename: x\nfile_data: hello\n", 0));
    assert_eq!(file("data:text/plain;charset=utf-8;base64,aGVsbG8").rest, "filename: x\nfile_data: hello\n");
    for opaque in ["data:application/pdf;base64,aGVsbG8=", "DATA:image/png;base64,AAAA", "data:text/plain;base64,%%"] {
        assert_eq!((file(opaque).rest.as_str(), file(opaque).opaque), ("filename: x\n", 1), "{opaque}");
    }
    let blob = "QUJD".repeat(BLOB_BYTES_MIN / 4);
    assert_eq!(message(&format!(r#"{{"role":"user","content":"{blob}"}}"#)).opaque, 1);
}

#[test]
fn a_request_is_cut_into_its_messages_and_its_other_fields() {
    let body = r#"{"model":"auto", "messages" : [ {"role":"user","content":"a"} , {"role":"user","content":"]"}],"user" : "u"}"#;
    let request = ChatRequest::parse(body.into()).unwrap();
    assert_eq!(request.message_slices(), [r#"{"role":"user","content":"a"}"#, r#"{"role":"user","content":"]"}"#]);
    assert_eq!(request.other_slices(), [r#""model":"auto""#, r#""user" : "u""#]);
    assert_eq!(Texts::of_field(request.other_slices()[1]).rest, "user: u\n");
}
