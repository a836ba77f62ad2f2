//! Sends one entry: reads it, decides it anew, executes its plan, keeps the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use account::outbox::{Begun, EntryId, EntryState, KeptRequest, OutboxError};
use account::{ExchangeKind, OutboxResult, RequestOutcome};
use dispatch::{Answer, AttemptRecord, Content};
use policy::{Locality, Outcome, TargetId};
use tokio::sync::oneshot;
use tracing::{info, warn};
use wire::{ApiError, ChatRequest};

use super::envelope::{Envelope, Told};
use super::queue::Hangs;
use super::{Outbox, now_ms};
use crate::decision::Decision;
use crate::exchange;
use crate::gateway::Gateway;
use crate::rescue;
use crate::settle::Settling;

/// How long a request waits after a target had it and failed; doubled with each failure.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// At most so long.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// How long an answer that cannot be written waits before the next try; doubled each time.
const WRITE_AGAIN_MIN: Duration = Duration::from_millis(500);
/// At most so long.
const WRITE_AGAIN_MAX: Duration = Duration::from_secs(30);
/// How long nothing is tried where the store cannot be read or written.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// What became of a try.
#[derive(Debug, PartialEq)]
pub(super) enum Ended {
    /// Finished, or deleted meanwhile.
    Gone,
    /// It waits again.
    Waits { not_before: Instant, hangs: Hangs },
}

/// What is written down of a try.
enum Verdict {
    Finished { state: EntryState, told: Told, answer: Option<bytes::Bytes> },
    Again { told: Told, not_before: Duration, failed: bool },
}

/// Whether a failure of a target may not come again at another time.
pub(crate) fn may_pass(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::WorkerUnavailable
            | Outcome::QueueFull
            | Outcome::LeftAlone
            | Outcome::ConnectFailed
            | Outcome::ConnectionLost
            | Outcome::NetworkGone
            | Outcome::FirstTokenTimeout
            | Outcome::IdleTimeout
            | Outcome::TotalTimeout
            | Outcome::Status(408 | 429 | 500..)
    )
}

/// Whether the request may have reached the target and failed for that: not where the network took its connection away.
fn reached(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::WorkerUnavailable
            | Outcome::QueueFull
            | Outcome::LeftAlone
            | Outcome::ConnectFailed
            | Outcome::NetworkGone
    )
}

/// Tries one entry; ends early when `deleted` does.
pub(super) async fn send(gateway: &Gateway, outbox: &Outbox, id: EntryId, deleted: oneshot::Receiver<()>) -> Ended {
    match try_to_send(gateway, outbox, id, deleted).await {
        Ok(ended) => ended,
        Err(failed) => {
            warn!(error = %failed, "the outbox cannot be read or written; its requests wait");
            Ended::Waits { not_before: Instant::now() + STORE_PAUSE, hangs: Hangs::No }
        }
    }
}

async fn try_to_send(
    gateway: &Gateway,
    outbox: &Outbox,
    id: EntryId,
    deleted: oneshot::Receiver<()>,
) -> Result<Ended, OutboxError> {
    if gateway.forbids_unrecorded() {
        return Ok(Ended::Waits { not_before: Instant::now() + STORE_PAUSE, hangs: Hangs::No });
    }
    let Some(mut kept) = outbox.blocking(move |store| store.request(id)).await? else { return Ok(Ended::Gone) };
    let (headers, request, floor) = match read(&mut kept) {
        Ok(read) => read,
        Err(reason) => {
            warn!(request_id = kept.request_id, reason, "an entry of the outbox cannot be read");
            return give_up(gateway, outbox, id, &kept.request_id, &ApiError::internal()).await;
        }
    };
    // What the policy of now forbids waits: another one may allow it, and its time is limited.
    let decided = Decision::of(gateway, &headers, &request, Some(&floor)).await;
    let generation = gateway.policies.in_force().generation;
    let mut decision = match decided {
        Ok(decision) => decision,
        Err(error) => return wait(outbox, id, &kept, &error, Hangs::on(Vec::new(), generation, Instant::now())).await,
    };
    let now = Instant::now();
    let worth_waiting_for = || Hangs::on(decision.worth_waiting_for(), decision.generation(), Instant::now());
    if !decision.answering_now().any(|target| outbox.queue().is_up(target, now)) {
        // Where some may be tried, how they failed before says more than that they are not tried now.
        if !decision.plan.attempts().is_empty() {
            return Ok(Ended::Waits { not_before: now, hangs: worth_waiting_for() });
        }
        return wait(outbox, id, &kept, &decision.nobody_now(), worth_waiting_for()).await;
    }
    match outbox.blocking(move |store| store.begin(id)).await? {
        Begun::Yes => {}
        Begun::Gone => return Ok(Ended::Gone),
        Begun::NoRoom => {
            let message = "answers that were not fetched or deleted use up the outbox (outbox.bytes_max)";
            let error = ApiError::outbox_full(message, "it is sent when there is room for its answer");
            return wait(outbox, id, &kept, &error, Hangs::on(Vec::new(), decision.generation(), now)).await;
        }
    }
    let hangs = worth_waiting_for();
    // Settled when the answer is kept, so that a gateway that stops waits for that.
    let mut settling = Settling::begin(gateway, ExchangeKind::Outbox, &kept.request_id, None);
    settling.parsed(&request);
    settling.decided(&decision);
    let verdict = tokio::select! {
        biased;
        _ = deleted => None,
        verdict = execute(gateway, outbox, &mut decision, &request, &kept, &mut settling) => Some(verdict),
    };
    match verdict {
        Some(verdict) => Ok(write(gateway, outbox, id, &kept.request_id, verdict, hangs).await),
        None => {
            settling.end(RequestOutcome::CallerGone);
            Ok(Ended::Gone)
        }
    }
}

/// The request as it came, and what held for it.
fn read(kept: &mut KeptRequest) -> Result<(http::HeaderMap, ChatRequest, crate::facts::Floor), String> {
    let (headers, floor) = Envelope::read(&kept.envelope).map_err(|error| error.to_string())?;
    // The error names a place and no text.
    let request = ChatRequest::parse(std::mem::take(&mut kept.body).into()).map_err(|error| error.to_string())?;
    Ok((headers, request, floor))
}

/// Runs the plan, and settles.
async fn execute(
    gateway: &Gateway,
    outbox: &Outbox,
    decision: &mut Decision,
    request: &ChatRequest,
    kept: &KeptRequest,
    settling: &mut Settling<'_>,
) -> Verdict {
    let asking = decision.asking(gateway, request);
    let journal = settling.journal();
    let due = settling.begun() + gateway.config.limits.total_timeout;
    let executed =
        gateway.dispatcher.execute(&decision.plan, request, decision.asking_worker(), &journal, due.into()).await;
    note(outbox, &journal.records());
    let answer = match executed {
        Ok(answer) => answer,
        Err(failure) => {
            let error = rescue::failure(&failure, &decision.plan, &journal.records());
            return failed(outbox, kept, settling, &error);
        }
    };
    let Answer { target, locality, content } = answer;
    settling.answering(&target, locality);
    let reason = exchange::reason(&decision.plan, &journal);
    match content {
        Content::Whole { body, usage, is_usage_estimated } => {
            settling.usage(Some(usage), is_usage_estimated);
            let (reading, counted) = (asking.reading(), (!is_usage_estimated).then_some(usage));
            decision.answered(gateway, request, asking, &kept.request_id, &target, counted);
            if let Some(reading) = reading {
                reading.judge(body.clone(), &kept.request_id);
            }
            settling.end(RequestOutcome::Answered);
            let told = Told { status_code: Some(200), ..Told::default() }.from(&target, locality, reason);
            Verdict::Finished { state: EntryState::Completed, told, answer: Some(body) }
        }
        Content::Rejected { status, error } => {
            settling.end(RequestOutcome::RejectedByTarget);
            refused(&ApiError::from_upstream(status, &error), &target, locality, reason)
        }
        // Not for a request that asks for none.
        Content::Stream(_) => failed(outbox, kept, settling, &ApiError::internal()),
    }
}

fn refused(error: &ApiError, target: &TargetId, locality: Locality, reason: String) -> Verdict {
    let told = Told::never(error).from(target, locality, reason);
    Verdict::Finished { state: EntryState::Failed, told, answer: None }
}

/// Nobody answered: again later, unless targets had it and failed as often as is allowed.
fn failed(outbox: &Outbox, kept: &KeptRequest, settling: &mut Settling<'_>, error: &ApiError) -> Verdict {
    let failed = settling.journal().records().iter().any(|record| reached(record.outcome));
    let failures = kept.failures + u32::from(failed);
    if failures >= outbox.config.failures_max {
        settling.end(rescue::outcome(error));
        return Verdict::Finished { state: EntryState::Failed, told: Told::never(error), answer: None };
    }
    settling.end(RequestOutcome::Deferred);
    let doubled = BACK_OFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACK_OFF_MAX);
    let not_before = if failed { doubled } else { Duration::ZERO };
    Verdict::Again { told: Told::not_yet(error), not_before, failed }
}

/// Tells the queue which targets failed and which answered.
fn note(outbox: &Outbox, records: &[AttemptRecord]) {
    let now = Instant::now();
    for record in records {
        match record.outcome {
            outcome if may_pass(outcome) => outbox.queue().failed_on(&record.profile.id, record.retry_after, now),
            outcome if outcome == Outcome::Answered || outcome.is_refusal() => {
                outbox.queue().is_back(&record.profile.id)
            }
            _ => {}
        }
    }
    outbox.note_pauses();
}

/// Lets an entry that was not sent wait, with the reason where that is a new one.
async fn wait(
    outbox: &Outbox,
    id: EntryId,
    kept: &KeptRequest,
    error: &ApiError,
    hangs: Hangs,
) -> Result<Ended, OutboxError> {
    let outcome = Told::not_yet(error).to_json();
    if outcome != kept.outcome {
        let now_ms = now_ms();
        if !outbox.blocking(move |store| store.put_back(id, &outcome, now_ms, false)).await? {
            return Ok(Ended::Gone);
        }
    }
    Ok(Ended::Waits { not_before: Instant::now(), hangs })
}

/// Finishes an entry that never can be sent.
async fn give_up(
    gateway: &Gateway,
    outbox: &Outbox,
    id: EntryId,
    request_id: &str,
    error: &ApiError,
) -> Result<Ended, OutboxError> {
    if outbox.blocking(move |store| store.begin(id)).await? == Begun::Gone {
        return Ok(Ended::Gone);
    }
    let verdict = Verdict::Finished { state: EntryState::Failed, told: Told::never(error), answer: None };
    Ok(write(gateway, outbox, id, request_id, verdict, Hangs::No).await)
}

/// Writes down what became of a try, and does not let go of an answer before it is kept or its entry deleted.
async fn write(
    gateway: &Gateway,
    outbox: &Outbox,
    id: EntryId,
    request_id: &str,
    verdict: Verdict,
    hangs: Hangs,
) -> Ended {
    let verdict = Arc::new(verdict);
    let mut pause = WRITE_AGAIN_MIN;
    loop {
        let of = Arc::clone(&verdict);
        let written = outbox.blocking(move |store| match &*of {
            Verdict::Finished { state, told, answer } => {
                store.finish(id, *state, &told.to_json(), answer.as_deref(), now_ms())
            }
            Verdict::Again { told, not_before, failed } => {
                let due_ms = now_ms().saturating_add(i64::try_from(not_before.as_millis()).unwrap_or(i64::MAX));
                store.put_back(id, &told.to_json(), due_ms, *failed)
            }
        });
        match written.await {
            Ok(false) => return Ended::Gone,
            Ok(true) => break,
            Err(failed) => {
                warn!(error = %failed, retry_s = pause.as_secs_f32(), "an answer cannot be kept in the outbox; it is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(WRITE_AGAIN_MAX);
            }
        }
    }
    match &*verdict {
        Verdict::Finished { state, .. } => {
            gateway.metrics.outbox_result(OutboxResult::Finished(*state));
            info!(request_id, state = state.as_str(), "a request of the outbox is finished");
            Ended::Gone
        }
        Verdict::Again { not_before, .. } => Ended::Waits { not_before: Instant::now() + *not_before, hangs },
    }
}
