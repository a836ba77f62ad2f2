//! Gathers what a decision knows: the request, its caller, the moment, the conversation, the targets.

use std::sync::Arc;
use std::time::Instant;

use ::signals::Reader;
use bytes::Bytes;
use dispatch::Asking;
use http::HeaderMap;
use policy::{
    Api, CallerFacts, Capabilities, ConversationFacts, Facts, Mode, ModelAsked, Privacy, RequestFacts, Stickiness,
    StickyBy, TargetFacts,
};
use wire::{ApiError, ChatRequest, ResponseFormat};

use crate::claims::Claims;
use crate::config::{Claim, Config};
use crate::conversation::Thread;
use crate::gateway::Gateway;
use crate::moment;
use crate::signals::{self, Signalled};

/// Everything that one request is decided by.
pub(crate) struct Gathered {
    pub facts: Arc<Facts>,
    pub targets: Arc<Vec<TargetFacts>>,
    /// By which the conversation is remembered.
    pub thread: Thread,
    /// By which a worker serves it.
    pub asking: Asking,
}

/// What held for a request when it was put aside, and holds for as long as it is kept, whatever the configuration says and
/// whatever is forgotten meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    /// Of the request itself.
    pub privacy: Privacy,
    /// The strictest of its conversation.
    pub conversation: Option<Privacy>,
    /// Where it was to run; only an `only_*` mode holds.
    pub mode: Mode,
}

impl Floor {
    /// Tightens the facts of a request that is decided anew; loosens none.
    ///
    /// # Errors
    /// 400 when what was demanded then excludes what is demanded now.
    fn hold(&self, request: &mut RequestFacts, conversation: &mut ConversationFacts) -> Result<(), Box<ApiError>> {
        request.privacy = request.privacy.max(self.privacy);
        conversation.strictest_privacy = conversation.strictest_privacy.max(self.conversation);
        request.mode = request.mode.combine(self.mode).map_err(|error| {
            let message = format!("the request was kept when {}: {error}", self.mode.as_str());
            Box::new(ApiError::contradiction(&message, Claim::Mode.header()))
        })?;
        Ok(())
    }
}

impl Gathered {
    /// The privacy class that holds: the stricter of what the request says and what its conversation was.
    pub(crate) fn class(&self) -> Privacy {
        self.facts.effective_privacy()
    }

    /// The targets, to write more into; copied only where somebody else has them already.
    pub(crate) fn targets_mut(&mut self) -> &mut [TargetFacts] {
        Arc::make_mut(&mut self.targets).as_mut_slice()
    }

    /// What has to hold for this request as long as it is kept.
    pub(crate) fn floor(&self) -> Floor {
        let Facts { request, conversation, .. } = &*self.facts;
        Floor { privacy: request.privacy, conversation: conversation.strictest_privacy, mode: request.mode }
    }
}

/// Reads the claims of a request and looks up the rest; `floor` is what held for one that was kept. Changes nothing but the
/// time at which the conversation was used.
///
/// # Errors
/// 400 naming the header or field at fault; 404 for a model name that no target can have.
pub(crate) fn gather(
    gateway: &Gateway,
    stickiness: &Stickiness,
    headers: &HeaderMap,
    request: &ChatRequest,
    signalled: Signalled,
    floor: Option<&Floor>,
) -> Result<Gathered, Box<ApiError>> {
    let config = &gateway.config;
    let claims = Claims::read(headers, request, &config.trust.anonymous)?;
    let mut request_facts = request_facts(&claims, request, config)?;
    request_facts.language = signalled.language.map(str::to_owned);
    let caller = CallerFacts::default();
    let thread = Thread::of(request, &caller, claims.session.as_deref());
    let asking = Asking::of(request, thread.prefixes(), caller.key_id.as_deref(), claims.session.as_deref());
    let targets = gateway.dispatcher.facts(Some(&asking));
    let mut conversation = gateway.conversations.recall(&thread, stickiness.ttl, Instant::now());
    if stickiness.by == StickyBy::Session && claims.session.is_none() {
        conversation = ConversationFacts { strictest_privacy: conversation.strictest_privacy, ..Default::default() };
    }
    if let Some(floor) = floor {
        floor.hold(&mut request_facts, &mut conversation)?;
    }
    let facts = Facts {
        request: request_facts,
        caller,
        signals: signalled.facts,
        moment: moment::facts(&gateway.clock, gateway.dispatcher.network()),
        conversation,
        history: gateway.history.facts(Instant::now()),
        ..Facts::default()
    };
    Ok(Gathered { facts: Arc::new(facts), targets: Arc::new(targets), thread, asking })
}

/// The facts of an example: what a request with this body and these headers would say, at no moment in particular, in no
/// conversation. It is scanned for personal data and secrets as any other, and classified where `reader` has a classifier.
///
/// # Errors
/// What its caller would be told, with the place at fault.
pub(crate) fn of_example(body: Bytes, headers: &HeaderMap, config: &Config, reader: &Reader) -> Result<Facts, String> {
    let facts = || {
        let request = ChatRequest::parse(body).map_err(|error| Box::new(ApiError::from(error)))?;
        let claims = Claims::read(headers, &request, &config.trust.anonymous)?;
        let report = reader.read(&request, Instant::now(), true);
        let mut request = request_facts(&claims, &request, config)?;
        request.language = report.language.map(str::to_owned);
        let targets = config.targets.iter().map(|target| (target.id(), &target.classified_as));
        Ok(Facts { request, signals: signals::facts(reader, &report, targets), ..Facts::default() })
    };
    facts().map_err(|error: Box<ApiError>| match &error.param {
        Some(param) => format!("{param}: {}", error.message),
        None => error.message.clone(),
    })
}

/// Joins what the request says with what the configuration demands: a caller can tighten that and never loosen it. The
/// configured privacy class is the least strict that holds, and a configured `only_*` mode stays; a configured
/// preference holds where the request names no mode.
///
/// # Errors
/// 400 for a mode that the configured one excludes; 404 for a model name that no target can have.
fn request_facts(claims: &Claims, request: &ChatRequest, config: &Config) -> Result<RequestFacts, Box<ApiError>> {
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
        mode_stated: claims.mode.is_some(),
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
    fn what_held_for_a_kept_request_is_never_loosened() {
        let floor = |privacy, conversation, mode| Floor { privacy, conversation, mode };
        let held = |floor: &Floor, mode, privacy, before| {
            let mut request = RequestFacts { mode, privacy, ..RequestFacts::default() };
            let mut conversation = ConversationFacts { strictest_privacy: before, ..ConversationFacts::default() };
            floor
                .hold(&mut request, &mut conversation)
                .map(|()| (request.mode, request.privacy, conversation.strictest_privacy))
        };
        let strict = floor(Privacy::Confidential, Some(Privacy::Restricted), Mode::OnlyOnDevice);
        let loose = floor(Privacy::Public, None, Mode::PreferInCloud);
        for before in [None, Some(Privacy::Internal), Some(Privacy::Restricted)] {
            let held = held(&strict, Mode::PreferInCloud, Privacy::Public, before).unwrap();
            assert_eq!(held, (Mode::OnlyOnDevice, Privacy::Confidential, Some(Privacy::Restricted)));
        }
        let now = (Mode::PreferOnDevice, Privacy::Restricted, Some(Privacy::Confidential));
        assert_eq!(
            held(&loose, now.0, now.1, now.2).unwrap(),
            now,
            "a preference of then does not hold, a class of now does"
        );
        let error = held(&strict, Mode::OnlyInCloud, Privacy::Public, None).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some("x-tidegate-mode")));
    }

    #[test]
    fn a_plain_request_needs_nothing() {
        let facts = facts(&[], r#"{"model":"auto","messages":[{"role":"user","content":"hello"}]}"#);
        let plain = RequestFacts { prompt_tokens: 2 + 4, ..RequestFacts::default() };
        assert_eq!(facts, plain);
    }
}
