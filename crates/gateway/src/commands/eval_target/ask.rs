//! One prompt through policy and dispatcher, and its answer put together.

use std::time::{Duration, Instant};

use dispatch::{Content, Journal, Relay, StreamEnd};
use http::HeaderMap;
use policy::{Outcome, decide};
use serde::Deserialize;
use wire::{Assembler, ChatCompletion, SseDecoder, Usage};

use super::dataset::Row;
use crate::classifier::ENTITIES;
use crate::facts;
use crate::gateway::Gateway;

/// How often a target that says it is asked too much, or is left alone for a while, is asked again.
const RATE_LIMIT_TRIES: u32 = 5;
/// The wait before that, where the target names none; doubled each time.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(2);
/// The longest wait.
const RATE_LIMIT_WAIT_MAX: Duration = Duration::from_secs(60);

/// An answer.
pub(super) struct Answered {
    pub text: String,
    /// What the target calls its model.
    pub model: Option<String>,
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
    /// To the first content, from sending it.
    pub ttft: Option<Duration>,
    pub duration: Duration,
}

/// Why there is none.
pub(super) enum Unanswered {
    /// The prompt may not go there, or the target refuses it: it lies with the row.
    Refused(String),
    /// It lies with the target.
    Failed(String),
}

/// Asks one row, again where the target is asked too much.
pub(super) async fn ask(gateway: &Gateway, row: &Row) -> Result<Answered, Unanswered> {
    let mut wait = RATE_LIMIT_WAIT;
    for _ in 1..RATE_LIMIT_TRIES {
        let journal = Journal::default();
        let answered = ask_once(gateway, row, &journal).await;
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
    ask_once(gateway, row, &Journal::default()).await.map_err(|(why, _)| why)
}

/// Why there is no answer, and how long the target is left alone where nobody was asked for that.
type NotNow = (Unanswered, Option<Duration>);

async fn ask_once(gateway: &Gateway, row: &Row, journal: &Journal) -> Result<Answered, NotNow> {
    let begun = Instant::now();
    let in_force = gateway.policies.in_force();
    let stickiness = in_force.policy().stickiness();
    let signalled = gateway.signals.read(&row.request, &gateway.metrics, in_force.reads(ENTITIES)).await;
    let mut gathered = facts::gather(gateway, stickiness, &HeaderMap::new(), &row.request, signalled, None)
        .map_err(|error| (Unanswered::Refused(error.message.clone()), None))?;
    gateway.token_counts.count(&row.request, gathered.targets_mut()).await;
    let plan = decide(in_force.policy(), &gathered.facts, &gathered.targets)
        .map_err(|refusal| (Unanswered::Refused(refusal.to_string()), None))?;
    if plan.attempts().is_empty() {
        let asked = plan.dropped().iter().find(|dropped| dropped.profile.id.as_str() == row.request.model());
        let why = asked.map_or_else(String::new, |dropped| dropped.reason.explain());
        return Err((Unanswered::Failed(why), asked.and_then(|dropped| dropped.reason.passes_in())));
    }
    let due = begun + gateway.config.limits.total_timeout;
    let executed = gateway.dispatcher.execute(&plan, &row.request, &gathered.asking, journal, due.into()).await;
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
    while let Some(bytes) = relay.next().await {
        decoder.push(&bytes);
        while let Some(event) = decoder.next_event() {
            let event = event.map_err(|error| failed(error.to_string()))?;
            if event.has_data && !event.is_done() {
                assembler.push(&event.data).map_err(|error| failed(error.to_string()))?;
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
        ttft: relay.first_content_at().map(|at| at.duration_since(begun)),
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
