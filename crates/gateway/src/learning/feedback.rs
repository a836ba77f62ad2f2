//! `POST /v1/feedback`: how well an answer was, by its request id. The last rating of an answer holds.

use bytes::Bytes;
use http::StatusCode;
use pingora_core::protocols::http::ServerSession;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use wire::{ApiError, RequestError};

use account::labels::{OutcomeRecord, OutcomeSource, Recorded};

use super::Learning;
use crate::config::Limits;
use crate::gateway::Gateway;
use crate::unix_time::now_s;
use crate::{intake, reply};

/// Longest body, in bytes.
const FEEDBACK_BYTES_MAX: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    request_id: Option<Value>,
    score: Option<Value>,
    rating: Option<Value>,
}

/// A rating that can be written.
#[derive(Debug, PartialEq)]
struct Feedback {
    request_id: String,
    score: f64,
}

/// Answers one request: 200 when it is written, 400 naming the field at fault, 404 for an answer that is not kept.
pub(crate) async fn feedback(gateway: &Gateway, session: &mut ServerSession, request_id: &str) {
    let limits = Limits { body_bytes_max: FEEDBACK_BYTES_MAX, ..gateway.config.limits };
    let taken = match (&gateway.learning, intake::read_body(session, &limits).await) {
        (_, Ok(None)) => return,
        (_, Err(error)) => Err(error),
        (None, Ok(Some(_))) => Err(Box::new(ApiError::learning_off())),
        (Some(learning), Ok(Some(body))) => take(learning, &body).await,
    };
    match taken {
        Ok(Feedback { request_id: rated, score }) => {
            let body = json!({"object": "feedback", "request_id": rated, "score": score});
            reply::json(session, request_id, StatusCode::OK, body.to_string().into()).await;
        }
        Err(error) => {
            reply::error(session, request_id, &error).await;
        }
    }
}

async fn take(learning: &Learning, body: &Bytes) -> Result<Feedback, Box<ApiError>> {
    let feedback = parse(body)?;
    let (sender, receiver) = oneshot::channel();
    let outcome = OutcomeRecord {
        request_id: feedback.request_id.clone(),
        at_s: now_s(),
        source: OutcomeSource::Feedback,
        score: feedback.score,
        weight: 1.0,
    };
    learning.store().outcome_then(outcome, move |recorded| {
        // Fails only for a caller that left.
        let _ = sender.send(recorded);
    });
    match receiver.await {
        Ok(Ok(Recorded::Written)) => Ok(feedback),
        Ok(Ok(Recorded::Unknown)) => Err(Box::new(ApiError::answer_not_found(&feedback.request_id))),
        Ok(Err(_)) | Err(_) => Err(Box::new(ApiError::learning_busy())),
    }
}

fn parse(body: &[u8]) -> Result<Feedback, Box<ApiError>> {
    let invalid = |param: &str, message: &str| Box::new(ApiError::invalid_value(param, message));
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Box::new(RequestError::NotAnObject.into()));
    }
    let raw: Raw = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let request_id = match raw.request_id {
        Some(Value::String(id)) if !id.is_empty() => id,
        Some(_) => return Err(invalid("request_id", "`request_id` must be the x-request-id of an answer")),
        None => {
            let missing = RequestError::Missing { param: "request_id".to_owned() };
            return Err(Box::new(missing.into()));
        }
    };
    let score = match (raw.score, raw.rating) {
        (Some(_), Some(_)) => return Err(invalid("rating", "`score` and `rating` exclude each other")),
        (None, None) => return Err(Box::new(RequestError::Missing { param: "score".to_owned() }.into())),
        (Some(score), None) => {
            let score = score.as_f64().filter(|score| (0.0..=1.0).contains(score));
            score.ok_or_else(|| invalid("score", "`score` must be a number from 0 (bad) to 1 (good)"))?
        }
        (None, Some(rating)) => match rating.as_str() {
            Some("up") => 1.0,
            Some("down") => 0.0,
            _ => return Err(invalid("rating", "`rating` must be \"up\" or \"down\"")),
        },
    };
    Ok(Feedback { request_id, score })
}

/// What serde says, in the shape of the other errors.
fn unreadable(error: &serde_json::Error) -> Box<ApiError> {
    let text = error.to_string();
    let named = text.split('`').nth(1).unwrap_or_default();
    let error = match &text {
        _ if !error.is_data() => {
            let reason = text.split(" at line ").next().unwrap_or_default().to_owned();
            RequestError::NotJson { reason, line: error.line(), column: error.column() }
        }
        text if text.starts_with("duplicate field") => RequestError::Duplicate { param: named.to_owned() },
        text if text.starts_with("unknown field") => {
            let reason = if named == "comment" { "is not taken: no text is kept" } else { "is not known" };
            RequestError::Invalid { param: named.to_owned(), reason: reason.to_owned() }
        }
        _ => RequestError::NotAnObject,
    };
    Box::new(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rating_is_a_score_and_what_is_wrong_is_named() {
        let read = |body: &str| {
            parse(body.as_bytes()).map(|feedback| feedback.score).map_err(|error| {
                assert_eq!(error.status, 400, "{body}");
                (error.code.into_owned(), error.param.unwrap_or_default())
            })
        };
        assert_eq!(read(r#"{"request_id":"a","score":0.25}"#), Ok(0.25));
        assert_eq!(read(r#"{"request_id":"a","rating":"up"}"#), Ok(1.0));
        assert_eq!(read(r#"{"request_id":"a","rating":"down"}"#), Ok(0.0));
        for (body, code, param) in [
            ("{", "invalid_json", ""),
            (r#"["a", 1, null]"#, "invalid_json", ""),
            (r#"{"score":1}"#, "missing_field", "request_id"),
            (r#"{"request_id":7,"score":1}"#, "invalid_value", "request_id"),
            (r#"{"request_id":"a"}"#, "missing_field", "score"),
            (r#"{"request_id":"a","score":1.5}"#, "invalid_value", "score"),
            (r#"{"request_id":"a","score":"1"}"#, "invalid_value", "score"),
            (r#"{"request_id":"a","rating":"meh"}"#, "invalid_value", "rating"),
            (r#"{"request_id":"a","rating":"up","score":1}"#, "invalid_value", "rating"),
            (r#"{"request_id":"a","score":1,"comment":"x"}"#, "invalid_value", "comment"),
            (r#"{"request_id":"a","score":1,"stars":5}"#, "invalid_value", "stars"),
            (r#"{"request_id":"a","request_id":"b","score":1}"#, "duplicate_field", "request_id"),
        ] {
            assert_eq!(read(body), Err((code.to_owned(), param.to_owned())), "{body}");
        }
    }
}
