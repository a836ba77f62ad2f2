//! What kind of error a target means, from its type, code and words: providers use one status for several, and an error
//! inside a stream has none.

use super::UpstreamError;

/// The kinds that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request does not fit the context window.
    ContextLength,
    /// The request or its answer was refused for its content.
    ContentFilter,
    /// Too many requests or tokens in some time, or nothing left to pay with.
    RateLimit,
    /// The target has more to do than it can.
    Overloaded,
    /// No or a wrong key, or one that may not do this.
    Unauthorized,
    /// The target itself failed.
    Server,
    /// Nothing that is known here.
    Other,
}

/// Words of `code` and `type`: OpenAI (platform.openai.com/docs/guides/error-codes), Azure OpenAI, llama-server
/// (`format_error_response`), Anthropic (docs.anthropic.com/en/api/errors), vLLM.
const WORDS: [(&str, ErrorClass); 21] = [
    ("context_length_exceeded", ErrorClass::ContextLength),
    ("exceed_context_size_error", ErrorClass::ContextLength),
    ("string_above_max_length", ErrorClass::ContextLength),
    ("content_filter", ErrorClass::ContentFilter),
    ("content_policy_violation", ErrorClass::ContentFilter),
    ("responsibleaipolicyviolation", ErrorClass::ContentFilter),
    ("rate_limit_exceeded", ErrorClass::RateLimit),
    ("rate_limit_error", ErrorClass::RateLimit),
    ("insufficient_quota", ErrorClass::RateLimit),
    ("requests", ErrorClass::RateLimit),
    ("tokens", ErrorClass::RateLimit),
    ("overloaded_error", ErrorClass::Overloaded),
    ("unavailable_error", ErrorClass::Overloaded),
    ("service_unavailable", ErrorClass::Overloaded),
    ("server_overloaded", ErrorClass::Overloaded),
    ("invalid_api_key", ErrorClass::Unauthorized),
    ("authentication_error", ErrorClass::Unauthorized),
    ("permission_error", ErrorClass::Unauthorized),
    ("server_error", ErrorClass::Server),
    ("internal_server_error", ErrorClass::Server),
    ("api_error", ErrorClass::Server),
];

/// Phrases of messages of targets that say `400` and `invalid_request_error` for everything, in lower case.
const PHRASES: [(&str, ErrorClass); 6] = [
    ("maximum context length", ErrorClass::ContextLength),
    ("exceeds the available context size", ErrorClass::ContextLength),
    ("exceeds the context window", ErrorClass::ContextLength),
    ("prompt is too long", ErrorClass::ContextLength),
    ("input token count exceeds", ErrorClass::ContextLength),
    ("content management policy", ErrorClass::ContentFilter),
];

impl UpstreamError {
    /// What kind of error this is: by its code, then its type, then its words.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        let words = [self.code.as_deref(), self.kind.as_deref()];
        let by_word =
            |word: &str| WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, class)| *class);
        let message = self.message.to_ascii_lowercase();
        let by_phrase = || PHRASES.iter().find(|(phrase, _)| message.contains(phrase)).map(|(_, class)| *class);
        words.into_iter().flatten().find_map(by_word).or_else(by_phrase).unwrap_or(ErrorClass::Other)
    }

    /// The status in `code`, where it is one of an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.code.as_deref()?.parse().ok().filter(|status| (400..600).contains(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_of_providers_are_told_apart() {
        use ErrorClass::{ContentFilter, ContextLength, Other, Overloaded, RateLimit, Server, Unauthorized};
        let check = |body: &str, class: ErrorClass, status: Option<u16>| {
            let error = UpstreamError::parse(body.as_bytes());
            assert_eq!((error.class(), error.status()), (class, status), "{body}");
        };
        check(
            r#"{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            ContextLength,
            None,
        );
        check(
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            ContextLength,
            Some(400),
        );
        check(
            r#"{"message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","code":400}"#,
            ContextLength,
            Some(400),
        );
        check(
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens"}}"#,
            ContextLength,
            None,
        );
        check(r#"{"error":{"code":"content_filter","message":"filtered","status":400}}"#, ContentFilter, None);
        check(r#"{"error":{"message":"slow","type":"tokens","code":"rate_limit_exceeded"}}"#, RateLimit, None);
        check(
            r#"{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            RateLimit,
            None,
        );
        check(r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded, None);
        check(r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, Overloaded, Some(503));
        check(
            r#"{"error":{"message":"no","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            Unauthorized,
            None,
        );
        check(r#"{"error":{"message":"broke","type":"server_error"}}"#, Server, None);
        check(r#"{"error":{"message":"bad","type":"invalid_request_error","param":"n"}}"#, Other, None);
        check(r#"{"error":"gone"}"#, Other, None);
        check(r#"{"error":{"code":200,"message":"odd"}}"#, Other, None);
    }
}
