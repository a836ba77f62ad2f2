//! Takes a request in: its body within the limits, and the facts that follow from its claims and the configuration.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora_core::protocols::http::ServerSession;
use policy::{Api, Capabilities, ModelAsked, RequestFacts};
use tokio::time::timeout;
use wire::{ApiError, ChatRequest, ResponseFormat};

use crate::claims::Claims;
use crate::config::{Config, Limits};

/// Reads the whole body; `None` when the caller left before its end.
///
/// # Errors
/// 413 past the limit, 408 past the time.
pub(crate) async fn read_body(session: &mut ServerSession, limits: &Limits) -> Result<Option<Bytes>, Box<ApiError>> {
    let declared = session.get_header("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || Box::new(ApiError::body_too_large(limits.body_bytes_max));
    let declared = usize::try_from(declared.unwrap_or(0)).unwrap_or(usize::MAX);
    if declared > limits.body_bytes_max {
        return Err(too_large());
    }
    if session.get_header_bytes("expect").eq_ignore_ascii_case(b"100-continue")
        && session.write_continue_response().await.is_err()
    {
        return Ok(None);
    }
    let read = async {
        // The declared length is the caller's claim: memory is taken as bytes arrive.
        let mut body = BytesMut::with_capacity(declared.min(64 << 10));
        loop {
            match session.read_request_body().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limits.body_bytes_max => return Err(too_large()),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(Some(body.freeze())),
                Err(_) => return Ok(None),
            }
        }
    };
    timeout(limits.body_timeout, read)
        .await
        .unwrap_or_else(|_| Err(Box::new(ApiError::body_timeout(limits.body_timeout))))
}

/// Joins what the request says with what the configuration demands: a caller can tighten that and never loosen it. The
/// configured privacy class is the least strict that holds, and a configured `only_*` mode stays; a configured
/// preference holds where the request names no mode.
///
/// # Errors
/// 400 for a mode that the configured one excludes; 404 for a model name that no target can have.
pub(crate) fn request_facts(
    claims: &Claims,
    request: &ChatRequest,
    config: &Config,
) -> Result<RequestFacts, Box<ApiError>> {
    let ids = || config.targets.iter().map(|target| target.id().as_str());
    let model =
        ModelAsked::parse(request.model()).map_err(|_| Box::new(ApiError::model_not_found(request.model(), ids())))?;
    let privacy = claims.privacy.map_or(config.privacy, |said| said.max(config.privacy));
    let mode = match claims.mode {
        None => config.mode,
        Some((said, place)) => said.combine(config.mode).map_err(|_| {
            let (said, configured) = (said.as_str(), config.mode.as_str());
            let message = format!("{place} says {said}, but the configuration (defaults.mode) says {configured}");
            Box::new(ApiError::contradiction(&message, place))
        })?,
    };
    let messages = request.messages();
    Ok(RequestFacts {
        api: Api::ChatCompletions,
        model,
        mode,
        privacy,
        tags: claims.tags.clone(),
        needs: needs(request),
        stream: request.stream(),
        max_tokens: request.max_tokens(),
        prompt_tokens: request.prompt_tokens_estimate(),
        messages: messages.count as u64,
        in_tool_loop: messages.ends_in_tool_result,
        language: None,
    })
}

/// What a target has to offer beside text; looked for in the whole request, not only in its last message.
fn needs(request: &ChatRequest) -> Capabilities {
    Capabilities {
        tools: request.has_tools(),
        vision: request.messages().images > 0,
        json_schema: request.response_format() == Some(ResponseFormat::JsonSchema),
        logprobs: request.wants_logprobs(),
    }
}

/// Refuses requests that a web page of elsewhere makes a browser send: a page may reach a loopback port, and its browser
/// names the page in `Origin` on every POST (<https://fetch.spec.whatwg.org/#origin-header>).
///
/// # Errors
/// 400 naming the header, for an origin whose host is not this machine.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), Box<ApiError>> {
    let Some(origin) = headers.get("origin") else { return Ok(()) };
    let host = origin
        .to_str()
        .ok()
        .and_then(|text| text.parse::<http::Uri>().ok())
        .and_then(|uri| uri.host().map(str::to_owned));
    let is_loopback = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    if host.as_deref().is_some_and(is_loopback) {
        return Ok(());
    }
    let message = "requests of web pages are answered only for pages of this machine";
    Err(Box::new(ApiError::invalid_value("origin", message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CallerTrust;

    fn facts(headers: &[(&'static str, &'static str)], body: &str) -> RequestFacts {
        let text = "targets: [{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}]";
        let config = Config::parse("t.yaml", text, &|_| None).unwrap();
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), (*value).parse().unwrap()));
        let request = ChatRequest::parse(body.to_owned().into()).unwrap();
        let trust: &CallerTrust = &config.trust.anonymous;
        let claims = Claims::read(&headers.collect(), &request, trust).unwrap();
        request_facts(&claims, &request, &config).unwrap()
    }

    #[test]
    fn the_facts_are_those_of_the_whole_request() {
        let image = r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}"#;
        let body = format!(
            r#"{{"model":"auto","stream":true,"max_tokens":9,"logprobs":true,"tools":[{{}}],
            "response_format":{{"type":"json_schema"}},"metadata":{{"tidegate_tags":"b,a"}},
            "messages":[{image},{{"role":"assistant","content":"x"}},{{"role":"tool","content":"12345678"}}]}}"#
        );
        let facts = facts(&[("x-tidegate-tags", "c, a")], &body);
        assert_eq!(facts.needs, Capabilities::ALL);
        assert_eq!((facts.stream, facts.max_tokens, facts.messages, facts.in_tool_loop), (true, Some(9), 3, true));
        assert_eq!(facts.tags, ["a", "b", "c"]);
        // Nine characters and three messages, one image, and `{}` of the tools.
        assert_eq!(facts.prompt_tokens, 3 + 3 * 4 + 1000 + 1);
    }

    #[test]
    fn a_plain_request_needs_nothing() {
        let facts = facts(&[], r#"{"model":"auto","messages":[{"role":"user","content":"hello"}]}"#);
        let plain = RequestFacts { prompt_tokens: 2 + 4, ..RequestFacts::default() };
        assert_eq!(facts, plain);
    }
}
