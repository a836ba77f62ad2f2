//! `/admin/network`: what the gateway holds the network for, and an operator's word on it.

use http::{Method, StatusCode};
use pingora_core::protocols::http::ServerSession;
use serde_json::{Map, Value};
use wire::ApiError;

use crate::gateway::Gateway;
use crate::status::NetworkReadiness;
use crate::{intake, reply};

/// What is to change; `None` leaves it as it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    metered: Option<Option<bool>>,
    offline: Option<Option<bool>>,
}

/// Answers `GET` with the state, and `POST` with the state after the change.
pub(super) async fn answer(gateway: &Gateway, session: &mut ServerSession, request_id: &str, method: &Method) {
    match *method {
        Method::GET | Method::HEAD => {}
        Method::POST => match changed(gateway, session).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                reply::error(session, request_id, &error).await;
                return;
            }
        },
        _ => return reply::refuse_method(session, request_id, method, "GET, POST").await,
    }
    let network = NetworkReadiness::of(&gateway.dispatcher.network().status());
    let body = serde_json::to_vec(&network).unwrap_or_default();
    reply::json(session, request_id, StatusCode::OK, body.into()).await;
}

/// False when the caller left.
async fn changed(gateway: &Gateway, session: &mut ServerSession) -> Result<bool, Box<ApiError>> {
    intake::check_origin(&session.req_header().headers)?;
    let Some(body) = intake::read_body(session, &gateway.config.limits).await? else { return Ok(false) };
    let change = read(&body)?;
    let network = gateway.dispatcher.network();
    if let Some(metered) = change.metered {
        network.set_metered(metered);
    }
    if let Some(offline) = change.offline {
        network.force_offline(offline);
    }
    tracing::info!(metered = ?change.metered, offline = ?change.offline, "an operator said what the network is");
    Ok(true)
}

fn read(body: &[u8]) -> Result<Change, Box<ApiError>> {
    let wrong = |param: &str, message: &str| Box::new(ApiError::invalid_value(param, message));
    let keys: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        wrong(
            "body",
            &format!("the body is no JSON object such as {{\"metered\": true, \"offline\": \"auto\"}}: {error}"),
        )
    })?;
    let mut change = Change::default();
    for (key, value) in &keys {
        match (key.as_str(), value) {
            ("metered", Value::Bool(metered)) => change.metered = Some(Some(*metered)),
            ("metered", Value::Null) => change.metered = Some(None),
            ("metered", _) => return Err(wrong("metered", "metered is true, false or null (not known)")),
            ("offline", Value::Bool(offline)) => change.offline = Some(Some(*offline)),
            ("offline", Value::String(word)) if word == "auto" => change.offline = Some(None),
            ("offline", _) => {
                return Err(wrong("offline", "offline is true, false or \"auto\" (as it is found to be)"));
            }
            (other, _) => return Err(wrong(other, "there is no such key; there are metered and offline")),
        }
    }
    match change {
        Change { metered: None, offline: None } => Err(wrong("body", "says nothing: give metered, offline or both")),
        change => Ok(change),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_it_changes_and_nothing_else() {
        let cases = [
            (r#"{"metered": true}"#, Change { metered: Some(Some(true)), offline: None }),
            (r#"{"metered": null, "offline": "auto"}"#, Change { metered: Some(None), offline: Some(None) }),
            (r#"{"offline": false}"#, Change { metered: None, offline: Some(Some(false)) }),
        ];
        for (body, expected) in cases {
            assert_eq!(read(body.as_bytes()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_change_is_refused_with_the_key_at_fault() {
        let cases = [
            ("", "body"),
            ("[]", "body"),
            ("{}", "body"),
            (r#"{"metered": "yes"}"#, "metered"),
            (r#"{"metered": true, "offline": "maybe"}"#, "offline"),
            (r#"{"offline": null}"#, "offline"),
            (r#"{"metred": true}"#, "metred"),
        ];
        for (body, param) in cases {
            let error = read(body.as_bytes()).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{body}");
        }
    }
}
