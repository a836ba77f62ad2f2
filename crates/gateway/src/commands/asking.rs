//! What the commands share that put prompts to targets themselves (`eval-target`, `bench`): the same configuration, workers, policy and
//! dispatcher as `tidegate up`, without listeners, so that a prompt goes nowhere that it could not go there.
//!
//! Knows neither what is asked nor what an answer is worth.

use std::time::{Duration, Instant};

use anyhow::bail;
use dispatch::{Content, Journal, Relay, StreamEnd};
use http::HeaderMap;
use policy::{Outcome, decide};
use serde::Deserialize;
use wire::{Assembler, ChatChunk, ChatCompletion, ChatRequest, SseDecoder, Timings, Usage};

use crate::classifier::ENTITIES;
use crate::config::{Config, ProviderConfig, TargetConfig};
use crate::facts;
use crate::gateway::Gateway;

/// How long classifying one prompt may take: nobody waits for it.
const CLASSIFIER_DEADLINE: Duration = Duration::from_secs(10);
/// Prompts asked at the same time at most.
pub(super) const CONCURRENCY_MAX: usize = 256;

/// How often a target that says it is asked too much, or is left alone for a while, is asked again.
const RATE_LIMIT_TRIES: u32 = 5;
/// The wait before that, where the target names none; doubled each time.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(2);
/// The longest wait.
const RATE_LIMIT_WAIT_MAX: Duration = Duration::from_secs(60);

/// The configured target of this name.
///
/// # Errors
/// When there is none, with those that there are.
pub(super) fn known_target<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a TargetConfig> {
    if let Some(target) = config.targets.iter().find(|target| target.id().as_str() == name) {
        return Ok(target);
    }
    if let Some((id, variable)) = config.disabled.iter().find(|(id, _)| id == name) {
        bail!("{id} is off: {variable} is not set");
    }
    let known: Vec<_> = config.targets.iter().map(|target| target.id().as_str()).collect();
    bail!("there is no target {name:?}; configured are {}", known.join(", "))
}

/// Requests that a target answers at the same time, where it says so.
pub(super) fn slots(target: &TargetConfig) -> Option<usize> {
    match &target.provider {
        ProviderConfig::LlamaCpp(local) => usize::try_from(local.slots).ok(),
        ProviderConfig::OpenAi(_) => None,
    }
}

/// No worker starts before it is asked: the others would only take memory and processor time from the one that is. What is asked here is
/// no traffic to learn from, and there is time to classify it.
pub(super) fn prepare(config: &mut Config) {
    config.learning.enabled = false;
    config.classifier.deadline = CLASSIFIER_DEADLINE;
    for target in &mut config.targets {
        if let ProviderConfig::LlamaCpp(local) = &mut target.provider {
            local.eager = false;
        }
    }
}

/// An answer.
pub(super) struct Answered {
    pub text: String,
    /// What the target calls its model.
    pub model: Option<String>,
    pub finish_reason: Option<String>,
    /// What the target counted.
    pub usage: Option<Usage>,
    /// What llama-server says of its own work.
    pub timings: Option<Timings>,
    /// To the first content, from the begin of the decision.
    pub ttft: Option<Duration>,
    /// From the first content to the last; `None` where all of it came at once.
    pub decoding: Option<Duration>,
    pub duration: Duration,
}

/// Why there is none. The reason may quote the target; it goes to the person who runs the command and to no log.
pub(super) enum Unanswered {
    /// The prompt may not go there, or the target refuses it: it lies with the row.
    Refused(String),
    /// It lies with the target.
    Failed(String),
}

/// Puts a prompt for a stream to the target that it names, again where the target is asked too much.
pub(super) async fn ask(gateway: &Gateway, request: &ChatRequest) -> Result<Answered, Unanswered> {
    let mut wait = RATE_LIMIT_WAIT;
    for _ in 1..RATE_LIMIT_TRIES {
        let journal = Journal::default();
        let answered = ask_once(gateway, request, &journal).await;
        let last = journal.records().pop();
        let asked_for = match (&answered, &last) {
            (Err((_, Some(left))), _) => Some(*left),
            (Err(_), Some(last)) if matches!(last.outcome, Outcome::Status(429) | Outcome::LeftAlone) => {
                last.retry_after
            }
            _ => return answered.map_err(|(why, _)| why),
        };
        tokio::time::sleep(asked_for.unwrap_or(wait).min(RATE_LIMIT_WAIT_MAX)).await;
        wait *= 2;
    }
    ask_once(gateway, request, &Journal::default()).await.map_err(|(why, _)| why)
}

/// Why there is no answer, and how long the target is left alone where nobody was asked for that.
pub(super) type NotNow = (Unanswered, Option<Duration>);

/// Puts a prompt for a stream to the target that it names. Every try that the dispatcher makes is in `journal`.
pub(super) async fn ask_once(gateway: &Gateway, request: &ChatRequest, journal: &Journal) -> Result<Answered, NotNow> {
    let begun = Instant::now();
    let in_force = gateway.policies.in_force();
    let stickiness = in_force.policy().stickiness();
    let signalled = gateway.signals.read(request, &gateway.metrics, in_force.reads(ENTITIES)).await;
    let mut gathered = facts::gather(gateway, stickiness, &HeaderMap::new(), request, signalled, None)
        .map_err(|error| (Unanswered::Refused(error.message.clone()), None))?;
    gateway.token_counts.count(request, gathered.targets_mut()).await;
    let plan = decide(in_force.policy(), &gathered.facts, &gathered.targets)
        .map_err(|refusal| (Unanswered::Refused(refusal.to_string()), None))?;
    if plan.attempts().is_empty() {
        let asked = plan.dropped().iter().find(|dropped| dropped.profile.id.as_str() == request.model());
        let why = asked.map_or_else(String::new, |dropped| dropped.reason.explain());
        return Err((Unanswered::Failed(why), asked.and_then(|dropped| dropped.reason.passes_in())));
    }
    let due = begun + gateway.config.limits.total_timeout;
    let executed = gateway.dispatcher.execute(&plan, request, &gathered.asking, journal, due.into()).await;
    let answer = executed.map_err(|failure| {
        let detail = journal.records().pop().map(|last| last.detail);
        (Unanswered::Failed(detail.unwrap_or_else(|| failure.to_string())), None)
    })?;
    let answered = match answer.content {
        Content::Stream(relay) => streamed(*relay, begun).await,
        Content::Whole { .. } => Err(Unanswered::Failed("the target did not stream".to_owned())),
        Content::Rejected { status, error } => Err(Unanswered::Refused(format!("status {status}: {}", error.message))),
    };
    answered.map_err(|why| (why, None))
}

async fn streamed(mut relay: Relay<'_>, begun: Instant) -> Result<Answered, Unanswered> {
    let failed = |reason: String| Unanswered::Failed(reason);
    let (mut decoder, mut assembler) = (SseDecoder::new(), Assembler::new());
    let (mut last_content_at, mut timings) = (None, None);
    while let Some(bytes) = relay.next().await {
        let arrived = Instant::now();
        decoder.push(&bytes);
        while let Some(event) = decoder.next_event() {
            let event = event.map_err(|error| failed(error.to_string()))?;
            if event.has_data && !event.is_done() {
                assembler.push(&event.data).map_err(|error| failed(error.to_string()))?;
                let chunk = ChatChunk::parse(event.data.as_bytes()).map_err(|error| failed(error.to_string()))?;
                timings = chunk.timings().or(timings);
                last_content_at = chunk.has_content().then_some(arrived).or(last_content_at);
            }
        }
    }
    if let Some(StreamEnd::Interrupted { detail, .. }) = relay.end() {
        return Err(failed(detail.clone()));
    }
    let duration = begun.elapsed();
    let body = assembler.finish().map_err(|error| failed(error.to_string()))?;
    let completion = ChatCompletion::parse(body).map_err(|error| failed(error.to_string()))?;
    let Body { choices } = serde_json::from_slice(completion.body()).map_err(|error| failed(error.to_string()))?;
    let content = choices.into_iter().next().and_then(|choice| choice.message.content);
    let finish_reason = completion.finish_reasons().next().map(str::to_owned);
    Ok(Answered {
        text: content.unwrap_or_default(),
        model: completion.model().map(str::to_owned),
        finish_reason,
        usage: relay.usage().filter(|_| !relay.is_usage_estimated()),
        timings,
        ttft: relay.first_content_at().map(|at| at.duration_since(begun)),
        decoding: relay
            .first_content_at()
            .zip(last_content_at)
            .map(|(first, last)| last.saturating_duration_since(first))
            .filter(|took| !took.is_zero()),
        duration,
    })
}

/// The text of an answer; all else of it was checked when it was put together.
#[derive(Deserialize)]
struct Body {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}
