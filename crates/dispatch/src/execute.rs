//! Runs the attempts of a plan in order until one answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use policy::{
    Attempt, MAX_ATTEMPTS_MAX, NextStep, Outcome, Plan, TRIES_PER_TARGET_MAX, TargetFacts, TargetId, TargetProfile,
    next_step,
};
use tracing::warn;
use wire::{ChatCompletion, ChatRequest, CompletionError, StreamForm, UpstreamError};

use crate::assemble::assemble;
use crate::egress::{self, Response};
use crate::{Answer, AttemptRecord, Content, Failure, Lead, Provider, Relay, TargetFailure, Timeouts};

/// Tries made for one request at most: every attempt of the longest plan, each with its retry.
const TRIES_MAX: usize = MAX_ATTEMPTS_MAX * TRIES_PER_TARGET_MAX as usize;
/// Longest body of an answer that is not a stream, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest error body read from a target, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// One configured target.
pub struct Target {
    /// Its name, where it runs and what else is fixed of it.
    pub profile: Arc<TargetProfile>,
    /// How it is reached.
    pub provider: Box<dyn Provider>,
    /// Its limits in time.
    pub timeouts: Timeouts,
}

/// Every configured target, in the operator's order.
pub struct Dispatcher {
    targets: Vec<Target>,
}

impl Dispatcher {
    /// Takes the targets; their ids are unique.
    #[must_use]
    pub fn new(targets: Vec<Target>) -> Self {
        Self { targets }
    }

    /// What is known of every target now.
    #[must_use]
    pub fn facts(&self) -> Vec<TargetFacts> {
        let facts = |t: &Target| TargetFacts::new(Arc::clone(&t.profile), t.provider.state());
        self.targets.iter().map(facts).collect()
    }

    /// The configured ids, in the operator's order.
    pub fn ids(&self) -> impl Iterator<Item = &TargetId> {
        self.targets.iter().map(|target| &target.profile.id)
    }

    /// Tries the attempts of `plan` until one answers. Every finished attempt is added to `records`, also when
    /// the future is dropped in the middle, which closes whatever connection is open.
    ///
    /// # Errors
    /// [`Failure`] when no attempt answered; nothing was sent to the caller then.
    pub async fn execute(
        &self,
        plan: &Plan,
        request: &ChatRequest,
        records: &mut Vec<AttemptRecord>,
    ) -> Result<Answer, Failure> {
        for attempt in plan.attempts() {
            let Some(target) = self.targets.iter().find(|target| target.profile.id == *attempt.target()) else {
                continue;
            };
            let mut tries = 0;
            while records.len() < TRIES_MAX {
                tries += 1;
                let begun = Instant::now();
                match self.attempt(plan, attempt, target, request).await {
                    Ok(content) => {
                        let outcome = match &content {
                            Content::Rejected { status, .. } => Outcome::Rejected(*status),
                            Content::Whole { .. } | Content::Stream(_) => Outcome::Answered,
                        };
                        records.push(record(attempt, begun, outcome, None));
                        let (target, locality) = (attempt.target().clone(), attempt.locality());
                        return Ok(Answer { target, locality, content });
                    }
                    Err(failure) => {
                        let outcome = failure.outcome;
                        warn!(
                            target_id = %attempt.target(),
                            attempt = records.len() + 1,
                            outcome = outcome.as_str(),
                            detail = failure.detail,
                            "attempt failed"
                        );
                        records.push(record(attempt, begun, outcome, Some(failure)));
                        match next_step(outcome, attempt.locality(), tries) {
                            NextStep::SameTarget => {}
                            NextStep::NextAttempt => break,
                            NextStep::Stop => return Err(Failure::Exhausted),
                        }
                    }
                }
            }
        }
        Err(if records.is_empty() { Failure::NoAttempt } else { Failure::Exhausted })
    }

    async fn attempt(
        &self,
        plan: &Plan,
        attempt: &Attempt,
        target: &Target,
        request: &ChatRequest,
    ) -> Result<Content, TargetFailure> {
        debug_assert_eq!(attempt.locality(), target.profile.locality, "a plan is made of this dispatcher's facts");
        let Ok(lead) = tokio::time::timeout(target.timeouts.connect, target.provider.lead()).await else {
            let seconds = target.timeouts.connect.as_secs_f32();
            return Err(TargetFailure::worker(&format!("the worker was not ready within {seconds} s")));
        };
        let lead = lead?;
        let answered = run(plan, target, &lead, request).await;
        let outcome = match &answered {
            Ok(Content::Rejected { status, .. }) => Outcome::Rejected(*status),
            Ok(_) => Outcome::Answered,
            Err(failure) => failure.outcome,
        };
        target.provider.observe(lead.generation, outcome);
        answered
    }

    /// Tells a target that a stream it had begun broke off, so that a dead worker is noticed at once.
    pub fn observe_interruption(&self, id: &TargetId, relay: &Relay) {
        if let Some(target) = self.targets.iter().find(|target| target.profile.id == *id) {
            target.provider.observe(relay.generation(), Outcome::Interrupted);
        }
    }
}

fn record(attempt: &Attempt, begun: Instant, outcome: Outcome, failure: Option<TargetFailure>) -> AttemptRecord {
    let (detail, retry_after_s) = match failure {
        None => (String::new(), None),
        Some(TargetFailure { detail, said: Some(said), retry_after_s, .. }) => {
            (format!("{detail}: {said}"), retry_after_s)
        }
        Some(failure) => (failure.detail, failure.retry_after_s),
    };
    let (target, locality) = (attempt.target().clone(), attempt.locality());
    AttemptRecord { target, locality, outcome, detail, retry_after_s, duration: begun.elapsed() }
}

/// One try: send, check the status, read or hand over the body.
async fn run(plan: &Plan, target: &Target, lead: &Lead, request: &ChatRequest) -> Result<Content, TargetFailure> {
    let form = target.provider.form(request);
    let limit = if request.stream() { target.timeouts.headers } else { target.timeouts.answer };
    let deadline = tokio::time::Instant::now() + limit;
    let streams = request.stream() || form.stream == StreamForm::Always;
    let body = request.for_upstream(&form).into();
    let response = egress::send(plan.placement(), &target.profile, &lead.destination, body, streams, limit)
        .await
        .map_err(|(outcome, detail)| TargetFailure::new(outcome, &detail))?;
    if response.status() != 200 {
        return refused(response, limit).await;
    }
    if streams {
        expect_event_stream(&response)?;
    }
    if request.stream() {
        let relay = Relay::new(response, request.include_usage(), target.timeouts.idle, lead.generation);
        return Ok(Content::Stream(Box::new(relay)));
    }
    let read = async { if streams { assemble(response).await } else { read_body(response, ANSWER_BYTES_MAX).await } };
    match tokio::time::timeout_at(deadline, read).await {
        Ok(body) => whole(body?),
        Err(_) => Err(TargetFailure::new(Outcome::InvalidAnswer, "the answer did not end within its limit")),
    }
}

fn whole(body: Bytes) -> Result<Content, TargetFailure> {
    match ChatCompletion::parse(body) {
        Ok(completion) => {
            let usage = completion.usage();
            Ok(Content::Whole { body: completion.into_body(), usage })
        }
        Err(CompletionError::Upstream(error)) => {
            Err(TargetFailure::new(Outcome::InvalidAnswer, "an error under a success status").quoting(&error.message))
        }
        Err(error) => Err(TargetFailure::new(Outcome::InvalidAnswer, &error.to_string())),
    }
}

fn expect_event_stream(response: &Response) -> Result<(), TargetFailure> {
    let content_type = response.content_type().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("text/event-stream") {
        return Ok(());
    }
    let failure = TargetFailure::new(Outcome::InvalidAnswer, "asked for a stream, got another content type");
    Err(failure.quoting(content_type))
}

/// Sorts an error status: the caller's to mend, or a failure of the target.
async fn refused(response: Response, limit: Duration) -> Result<Content, TargetFailure> {
    let status = response.status();
    let retry_after_s = response.retry_after().and_then(|text| text.trim().parse().ok());
    let body = tokio::time::timeout(limit, read_body(response, ERROR_BYTES_MAX)).await;
    let error = UpstreamError::parse(&body.ok().and_then(Result::ok).unwrap_or_default());
    match Outcome::of_error_status(status) {
        Outcome::Rejected(status @ 400..) => Ok(Content::Rejected { status, error }),
        Outcome::Rejected(status) => {
            Err(TargetFailure::new(Outcome::InvalidAnswer, &format!("unexpected status {status}")))
        }
        outcome => {
            let failure = TargetFailure::new(outcome, &format!("status {status}")).quoting(&error.message);
            Err(TargetFailure { retry_after_s, ..failure })
        }
    }
}

async fn read_body(mut response: Response, limit: usize) -> Result<Bytes, TargetFailure> {
    let mut body = BytesMut::new();
    loop {
        match response.read(&mut body).await {
            Ok(_) if body.len() > limit => {
                let detail = format!("the body is longer than {limit} bytes");
                return Err(TargetFailure::new(Outcome::InvalidAnswer, &detail));
            }
            Ok(true) => {}
            Ok(false) => return Ok(body.freeze()),
            Err(error) => return Err(TargetFailure::new(Outcome::ConnectionLost, &error)),
        }
    }
}
