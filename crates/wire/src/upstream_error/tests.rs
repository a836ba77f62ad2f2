//! The shapes in which targets put their errors.

use super::*;

fn check(body: &str, message: &str, kind: Option<&str>, code: Option<&str>, param: Option<&str>) {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let expected =
        UpstreamError { message: message.to_owned(), kind: owned(kind), code: owned(code), param: owned(param) };
    assert_eq!(UpstreamError::parse(body.as_bytes()), expected, "{body}");
}

#[test]
fn reads_every_usual_shape() {
    check(
        r#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        "too long",
        Some("invalid_request_error"),
        Some("context_length_exceeded"),
        Some("messages"),
    );
    // llama.cpp
    check(
        r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
        "Loading model",
        Some("unavailable_error"),
        Some("503"),
        None,
    );
    // vLLM before it followed OpenAI
    check(
        r#"{"object":"error","message":"no such model","type":"NotFoundError","param":null,"code":404}"#,
        "no such model",
        Some("NotFoundError"),
        Some("404"),
        None,
    );
    check(r#"{"error":"model 'x' not found"}"#, "model 'x' not found", None, None, None);
    check(r#"{"error":"Bad Request","message":"n is wrong"}"#, "n is wrong", None, None, None);
    check(r#"{"detail":"Not authenticated"}"#, "Not authenticated", None, None, None);
    check(
        r#"{"detail":[{"loc":["body","messages",0],"msg":"field required","type":"missing"},{"msg":"b"}]}"#,
        "body.messages.0: field required; b",
        None,
        None,
        None,
    );
    check(r#"{"detail":{"message":"quota"}}"#, "quota", None, None, None);
    // Gemini's compatible endpoint
    check(r#"[{"error":{"code":400,"message":"bad key","status":"X"}}]"#, "bad key", None, Some("400"), None);
    check(r#"{"message":"Unauthorized","request_id":"r"}"#, "Unauthorized", None, None, None);
    check(r#""just text""#, "just text", None, None, None);
    check("upstream connect error\nor  disconnect", "upstream connect error or disconnect", None, None, None);
    check(
        "<html>\r\n<head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
        "502 Bad Gateway",
        None,
        None,
        None,
    );
    check("<!DOCTYPE html><h1>Oops</h1><p>broken", "Oops broken", None, None, None);
}

#[test]
fn a_body_that_says_nothing_still_gives_a_message() {
    for body in
        ["", " \n", "{}", "[]", "null", "7", r#"{"error":null}"#, r#"{"error":{"message":" "}}"#, "<p></p>", "[[[]]]"]
    {
        check(body, NO_MESSAGE, None, None, None);
    }
}

#[test]
fn is_bounded_and_free_of_credentials() {
    let long = format!(r#"{{"error":{{"message":"{}","code":"{}"}}}}"#, "é".repeat(5000), "c".repeat(500));
    let error = UpstreamError::parse(long.as_bytes());
    assert_eq!(error.message, format!("{}…", "é".repeat(UPSTREAM_MESSAGE_BYTES_MAX / 2)));
    assert_eq!(error.code.unwrap().len(), WORD_BYTES_MAX);
    check(
        r#"{"error":{"message":"Incorrect API key provided: sk-proj-abcdef123","code":"sk-proj-abcdef123"}}"#,
        "Incorrect API key provided: [redacted]",
        None,
        Some("[redacted]"),
        None,
    );
    // Past the limit the JSON is cut and read as text.
    let huge = format!(r#"{{"error":"{}"}}"#, "word ".repeat(100_000));
    assert!(UpstreamError::parse(huge.as_bytes()).message.len() <= UPSTREAM_MESSAGE_BYTES_MAX + '…'.len_utf8());
    assert_eq!(UpstreamError::parse(&[0xff, 0xfe]).message, "\u{fffd}\u{fffd}");
    let _ = UpstreamError::parse("[".repeat(60_000).as_bytes());
}
