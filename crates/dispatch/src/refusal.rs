//! What an error of a target means: its status and words to an outcome.

use std::time::{Duration, SystemTime};

use policy::Outcome;
use wire::{ErrorClass, UpstreamError};

use crate::TargetFailure;

/// Longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The failure that an error with this status is, or, inside a stream, one without.
pub(crate) fn of_error(status: Option<u16>, error: &UpstreamError) -> TargetFailure {
    let status = status.or_else(|| error.status());
    let class = error.class();
    let outcome = match (class, status) {
        // Some targets call it a failure of their own.
        (ErrorClass::ContextLength, status) => Outcome::ContextExceeded(client_status(status)),
        (ErrorClass::ContentFilter, status) => Outcome::ContentFiltered(client_status(status)),
        (_, Some(status)) if status < 400 => Outcome::InvalidAnswer,
        (_, Some(status)) => Outcome::of_error_status(status),
        (ErrorClass::RateLimit, None) => Outcome::Status(429),
        (ErrorClass::Overloaded, None) => Outcome::Status(503),
        (ErrorClass::Unauthorized, None) => Outcome::Status(401),
        (ErrorClass::Server, None) => Outcome::Status(500),
        (ErrorClass::Other, None) => Outcome::InvalidAnswer,
    };
    let detail = match status {
        Some(status) if status < 400 => format!("unexpected status {status}"),
        Some(status) => format!("status {status}"),
        None => outcome.as_str().to_owned(),
    };
    let refusal = match outcome {
        Outcome::Rejected(status) | Outcome::ContextExceeded(status) | Outcome::ContentFiltered(status) => {
            Some(Box::new((status, error.clone())))
        }
        _ => None,
    };
    TargetFailure { refusal, ..TargetFailure::new(outcome, &detail).quoting(&error.message) }
}

fn client_status(status: Option<u16>) -> u16 {
    status.filter(|status| (400..500).contains(status)).unwrap_or(400)
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub(crate) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_words_make_the_outcome() {
        let check = |status: Option<u16>, body: &str, outcome: Outcome| {
            let failure = of_error(status, &UpstreamError::parse(body.as_bytes()));
            assert_eq!(failure.outcome, outcome, "{status:?} {body}");
            assert_eq!(failure.refusal.is_some(), outcome.is_refusal());
        };
        let error =
            |code: &str| format!(r#"{{"error":{{"message":"m","type":"invalid_request_error","code":"{code}"}}}}"#);
        check(Some(400), &error("x"), Outcome::Rejected(400));
        check(Some(400), &error("context_length_exceeded"), Outcome::ContextExceeded(400));
        check(Some(413), &error("context_length_exceeded"), Outcome::ContextExceeded(413));
        check(Some(500), &error("context_length_exceeded"), Outcome::ContextExceeded(400));
        check(Some(400), &error("content_filter"), Outcome::ContentFiltered(400));
        check(Some(429), &error("rate_limit_exceeded"), Outcome::Status(429));
        check(Some(529), r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, Outcome::Status(529));
        check(Some(302), "", Outcome::InvalidAnswer);
        check(Some(204), "", Outcome::InvalidAnswer);
        check(None, &error("rate_limit_exceeded"), Outcome::Status(429));
        check(None, r#"{"error":{"message":"m","code":502}}"#, Outcome::Status(502));
        check(None, r#"{"error":{"message":"m","type":"server_error"}}"#, Outcome::Status(500));
        check(None, r#"{"error":"m"}"#, Outcome::InvalidAnswer);
        check(None, &error("context_length_exceeded"), Outcome::ContextExceeded(400));
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(retry_after(text, now).map(|wait| wait.as_secs_f64()), expected, "{text}");
        };
        check("7", Some(7.0));
        check(" 0.5 ", Some(0.5));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60.0));
        check("Sun, 06 Nov 1994 08:48:37 GMT", Some(0.0));
        check("999999999999", Some(86400.0));
        for text in ["-1", "NaN", "inf", "soon", ""] {
            check(text, None);
        }
    }
}
