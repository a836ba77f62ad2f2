//! Every row of the table, and every constructor in its shape.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::chat::RequestError;
use crate::upstream_error::UpstreamError;

/// One error of each case, in the order of [`ErrorCase::ALL`].
fn one_of_each() -> Vec<ApiError> {
    let reasons = ["a: refused".to_owned(), "b: sk-0123456789".to_owned()];
    let param = "x".to_owned();
    vec![
        RequestError::NotAnObject.into(),
        RequestError::Duplicate { param: param.clone() }.into(),
        RequestError::Missing { param: param.clone() }.into(),
        RequestError::Invalid { param, reason: "must be y".to_owned() }.into(),
        ApiError::contradiction("both", "x-tidegate-mode"),
        ApiError::unauthorized(),
        ApiError::not_found("/v2"),
        ApiError::model_not_found("gpt", ["auto", "local"]),
        ApiError::answer_not_found("req_1"),
        ApiError::learning_off(),
        ApiError::outbox_entry_not_found("outbox_1"),
        ApiError::outbox_off("outbox.enabled is false"),
        ApiError::receipt_not_found("req_1"),
        ApiError::no_receipts("ledger.enabled is false"),
        ApiError::method_not_allowed("PUT", "POST"),
        ApiError::body_timeout(Duration::from_secs(3)),
        ApiError::body_too_large(10),
        ApiError::header_too_large(10),
        ApiError::internal(),
        ApiError::no_target_available(&reasons),
        ApiError::too_many_in_flight(8),
        ApiError::learning_busy(),
        ApiError::ledger_unavailable(),
        ApiError::shutting_down(),
        ApiError::outbox_expired("a: refused"),
        ApiError::outbox_full("the outbox holds 3 entries, and its limit is 3", "no target"),
        ApiError::outbox_failed(),
        ApiError::from_upstream(400, &UpstreamError::parse(b"no")),
        ApiError::upstream_rate_limited(&reasons, Some(9)),
        ApiError::upstream_failed(&reasons),
        ApiError::upstream_timeout(&[]),
        ApiError::stream_interrupted("gone", false),
        ApiError::stream_interrupted("silent", true),
    ]
}

#[test]
fn every_case_follows_its_row() {
    let errors = one_of_each();
    assert_eq!(errors.len(), ErrorCase::ALL.len());
    let mut codes = HashSet::new();
    for (case, error) in ErrorCase::ALL.into_iter().zip(errors) {
        let (status, kind, code, fault) = case.row();
        assert_eq!((error.status, &error.kind, &*error.code, error.fault), (status, &kind, code, fault), "{case:?}");
        assert!(codes.insert(code), "{code} stands for two cases");
        assert!((400..600).contains(&status));
        assert_eq!(fault == Fault::Caller, status < 429 && case != ErrorCase::UpstreamRejected || status == 431);
        assert!(!error.message.is_empty() && !error.message.contains("0123456789"), "{}", error.message);

        let json: serde_json::Value = serde_json::from_slice(&error.to_json()).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 1);
        let body = json["error"].as_object().unwrap();
        assert_eq!(body.keys().collect::<Vec<_>>(), ["code", "fault", "message", "param", "type"]);
        assert_eq!(body["message"], error.message);
        assert_eq!(body["type"], kind.as_str());
        assert_eq!(body["code"], code);
        assert_eq!(body["fault"], fault.as_str());
        assert_eq!(body["param"].as_str(), error.param.as_deref());
        let mut frame = b"data: ".to_vec();
        frame.extend_from_slice(&error.to_json());
        frame.extend_from_slice(b"\n\n");
        assert_eq!(error.to_sse_event(), frame, "one line, whatever the message holds");
    }
}

#[test]
fn says_where_and_when() {
    assert_eq!(ApiError::contradiction("both", "model").param.as_deref(), Some("model"));
    assert_eq!(ApiError::model_not_found("a", []).param.as_deref(), Some("model"));
    assert_eq!(ApiError::too_many_in_flight(8).retry_after_s, Some(1));
    assert_eq!(ApiError::upstream_rate_limited(&[], Some(9)).retry_after_s, Some(9));
    let param = |body: &'static [u8]| crate::ChatRequest::parse(body.into()).map_err(ApiError::from).unwrap_err().param;
    assert_eq!(param(br#"{"model":"m","messages":[{"role":1}]}"#).as_deref(), Some("messages[0].role"));
    assert_eq!(param(b"{").as_deref(), None);
}

#[test]
fn passes_a_targets_words_on() {
    let body = br#"{"error":{"message":"too long","type":"t","param":"p","code":"c"}}"#;
    let error = ApiError::from_upstream(413, &UpstreamError::parse(body));
    assert_eq!(
        error.to_json(),
        r#"{"error":{"message":"too long","type":"t","param":"p","code":"c","fault":"upstream"}}"#
    );
    assert_eq!(error.status, 413);
}

#[test]
fn messages_are_bounded() {
    let long = "x".repeat(100_000);
    let many = vec!["reason".repeat(200); 1000];
    for error in [
        ApiError::not_found(&long),
        ApiError::method_not_allowed(&long, "POST"),
        ApiError::model_not_found(&long, many.iter().map(String::as_str)),
        ApiError::no_target_available(&many),
        ApiError::stream_interrupted(&long, true),
        ApiError::invalid_value(&long, "m"),
    ] {
        assert!(error.to_json().len() < 3000, "{}", error.code);
    }
    assert!(ApiError::no_target_available(&many).message.ends_with("and 997 more)"));
}
