//! The way of a request: one function that reads like the table in ARCHITECTURE.md, a callee for each stage.

use std::pin::pin;
use std::sync::Arc;

use account::{ExchangeKind, RequestOutcome};
use dispatch::{Answer, AttemptRecord, Content, Failure, Journal};
use pingora_core::protocols::http::ServerSession;
use policy::{Plan, TargetId};
use wire::{ApiError, ChatRequest, RequestError, Usage};

use crate::awaiting::{self, Waited};
use crate::decision::{Asking, Decision};
use crate::gateway::Gateway;
use crate::learning::Reading;
use crate::outbox::Outbox;
use crate::recall::{self, Lookup, Seat, Shared, Sharing};
use crate::reply::{self, CacheLabel, Labels};
use crate::rescue;
use crate::settle::Settling;
use crate::{intake, outbox};

/// Answers one chat completion on `session`, whose header has been read. Settled exactly once, on every way out.
pub(crate) async fn chat_completion(gateway: &Arc<Gateway>, session: &mut ServerSession, request_id: &str) {
    let headers = Some(&session.req_header().headers);
    let mut settling = Settling::begin(gateway, ExchangeKind::Request, request_id, headers);
    answer(gateway, session, &mut settling).await;
    settling.responded(session);
    // settle: when `settling` is dropped
}

async fn answer(gateway: &Arc<Gateway>, session: &mut ServerSession, settling: &mut Settling<'_>) {
    // listen: limits
    let Ok(_permit) = gateway.in_flight.try_acquire() else {
        return refuse(session, settling, ApiError::too_many_in_flight(gateway.config.limits.in_flight_max)).await;
    };
    if gateway.forbids_unrecorded() {
        return refuse(session, settling, ApiError::ledger_unavailable()).await;
    }
    // parse
    let request = match parse(gateway, session).await {
        Ok(Some(request)) => request,
        Ok(None) => return settling.end(RequestOutcome::CallerGone),
        Err(error) => return refuse(session, settling, *error).await,
    };
    settling.parsed(&request);
    // enrich, decide
    let decided = Decision::of(gateway, &session.req_header().headers, &request, None).await;
    let mut decision = match decided {
        Ok(decision) => decision,
        Err(error) => return refuse(session, settling, *error).await,
    };
    settling.decided(&decision);
    // recall
    let lookup = Lookup::of(gateway, &session.req_header().headers, &request, &decision);
    settling.cached(lookup.cache_use());
    let label = lookup.label();
    if let Lookup::Hit(hit) = lookup {
        return hit.give(session, settling, &decision).await;
    }
    let outbox = outbox::wanted(gateway, &session.req_header().headers, &decision.plan);
    if let Some(outbox) = outbox
        && decision.answering_now().next().is_none()
        && decision.answering_later().is_some()
    {
        let error = decision.nobody_now();
        return outbox::defer(gateway, outbox, session, settling, &decision, &request, &error).await;
    }
    let mut is_begun = false;
    if let Some(seat) = lookup.seat(gateway, &request, &decision, settling.told()) {
        let asking = if seat.leads() { decision.asking(gateway, &request) } else { Asking::of_nobody() };
        settling.sit(Arc::clone(&seat));
        // Boxed, so that who shares nothing does not carry room for it.
        let shared = Box::pin(shared(gateway, session, settling, &decision, &request, outbox, asking, &seat));
        match shared.await {
            Shared::Done => return,
            Shared::Alone { is_begun: begun } => is_begun = begun,
        }
        settling.go_alone();
    }
    alone(gateway, session, settling, &mut decision, &request, outbox, label, is_begun).await;
}

/// Shares the answer with others who ask the same at this moment.
#[expect(clippy::too_many_arguments, reason = "all that an exchange is made of")]
async fn shared(
    gateway: &Arc<Gateway>,
    session: &mut ServerSession,
    settling: &mut Settling<'_>,
    decision: &Decision,
    request: &ChatRequest,
    outbox: Option<&Outbox>,
    asking: Asking<'_>,
    seat: &Arc<Seat>,
) -> Shared {
    let request_id = settling.request_id().to_owned();
    let comparison = |target: &TargetId| decision.comparison(&asking, request, target);
    let (reading, of) = (asking.reading(), asking.clone());
    let remember = |target: &TargetId, usage: Option<Usage>| {
        // The length of an answer counts once.
        let usage = usage.filter(|_| seat.leads());
        decision.answered(gateway, request, of, &request_id, target, usage);
    };
    let sharing = Sharing { gateway, decision, request, outbox, seat, reading };
    let (shared, answered) = recall::share(sharing, session, settling, remember).await;
    if let Some(comparison) = answered.as_ref().and_then(comparison) {
        comparison.begin(gateway, &request_id);
    }
    shared
}

/// Executes the plan for this caller alone.
#[expect(clippy::too_many_arguments, reason = "all that an exchange is made of")]
async fn alone(
    gateway: &Arc<Gateway>,
    session: &mut ServerSession,
    settling: &mut Settling<'_>,
    decision: &mut Decision,
    request: &ChatRequest,
    outbox: Option<&Outbox>,
    cache: Option<CacheLabel>,
    was_begun: bool,
) {
    let asking = decision.asking(gateway, request);
    let decision = &*decision;
    // execute
    let journal = settling.journal();
    let due = settling.begun() + gateway.config.limits.total_timeout;
    let plan = &decision.plan;
    // A stream that was begun can no longer be answered with a place in the outbox.
    let may_begin = request.stream() && outbox.is_none();
    let request_id = settling.request_id().to_owned();
    let Waited { done: executed, is_begun } = {
        let work = pin!(gateway.dispatcher.execute(plan, request, decision.asking_worker(), &journal, due.into()));
        awaiting::run(gateway, session, plan, &request_id, may_begin && !was_begun, cache, work).await
    };
    let is_begun = is_begun || was_begun;
    // relay
    match executed {
        None => settling.end(RequestOutcome::CallerGone),
        Some(Err(failure)) => {
            nobody(gateway, session, settling, decision, request, outbox, &failure, &journal.records(), is_begun).await;
        }
        Some(Ok(answer)) => {
            let (reading, of) = (asking.reading(), asking.clone());
            let remember = |target: &TargetId, usage: Option<Usage>| {
                decision.answered(gateway, request, of, &request_id, target, usage);
            };
            let answered = relay(session, plan, answer, settling, reading, is_begun, cache, remember).await;
            if let Some(comparison) = answered.and_then(|target| decision.comparison(&asking, request, &target)) {
                comparison.begin(gateway, &request_id);
            }
        }
    }
}

/// Nobody answered: the request is kept for later where that is wanted and may help, else its caller is told.
#[expect(clippy::too_many_arguments, reason = "all that an exchange is made of")]
pub(crate) async fn nobody(
    gateway: &Gateway,
    session: &mut ServerSession,
    settling: &mut Settling<'_>,
    decision: &Decision,
    request: &ChatRequest,
    outbox: Option<&Outbox>,
    failure: &Failure,
    records: &[AttemptRecord],
    is_begun: bool,
) {
    let error = rescue::failure(failure, &decision.plan, records);
    let may_pass = records.iter().any(|record| outbox::may_pass(record.outcome));
    match outbox.filter(|_| may_pass) {
        Some(outbox) => outbox::defer(gateway, outbox, session, settling, decision, request, &error).await,
        None => fail(session, settling, error, is_begun).await,
    }
}

/// Ends an exchange with an error: as a reply, or as the last event of a stream that was begun.
pub(crate) async fn fail(session: &mut ServerSession, settling: &mut Settling<'_>, error: ApiError, is_begun: bool) {
    match is_begun {
        true => break_off(session, settling, &error).await,
        false => refuse(session, settling, error).await,
    }
}

/// Reads and parses the body; `None` when the caller left meanwhile.
pub(crate) async fn parse(
    gateway: &Gateway,
    session: &mut ServerSession,
) -> Result<Option<ChatRequest>, Box<ApiError>> {
    let Some(body) = intake::read_body(session, &gateway.config.limits).await? else { return Ok(None) };
    let parsed = gateway.signals.aside.run_long(body.len(), move || {
        let request = ChatRequest::parse(body)?;
        // They are wanted soon, and take as long.
        request.prefixes();
        Ok(request)
    });
    let parsed = parsed.await.ok_or_else(|| Box::new(ApiError::internal()))?;
    parsed.map(Some).map_err(|error: RequestError| Box::new(error.into()))
}

/// Writes the answer to the caller. Says who gave the end of it, where it is whole; `remember` is told that before the caller has its last bytes.
#[expect(clippy::too_many_arguments, reason = "all that an answer is made of")]
async fn relay(
    session: &mut ServerSession,
    plan: &Plan,
    answer: Answer<'_>,
    settling: &mut Settling<'_>,
    mut reading: Option<Reading>,
    is_begun: bool,
    cache: Option<CacheLabel>,
    remember: impl FnOnce(&TargetId, Option<Usage>),
) -> Option<TargetId> {
    let Answer { mut target, locality, content } = answer;
    settling.answering(&target, locality);
    let labels = Labels {
        request_id: settling.request_id().to_owned(),
        target: target.clone(),
        locality,
        reason: reason(plan, &settling.journal()),
        cache,
    };
    let outcome = match content {
        Content::Whole { body, usage, is_usage_estimated } => {
            settling.usage(Some(usage), is_usage_estimated);
            remember(&labels.target, (!is_usage_estimated).then_some(usage));
            if let Some(reading) = reading {
                reading.judge(body.clone(), &labels.request_id);
            }
            reply::whole(session, &labels, body).await
        }
        Content::Rejected { status, error } => {
            reject(session, &labels, &ApiError::from_upstream(status, &error), is_begun).await
        }
        Content::Stream(mut relay) => {
            if !is_begun && reply::begin_stream(session, &labels).await.is_err() {
                settling.end(RequestOutcome::CallerGone);
                return None;
            }
            // Where it is cut off, nothing else is said of it.
            settling.end(RequestOutcome::Interrupted);
            let outcome = reply::stream(session, &mut relay, reading.as_mut(), remember).await;
            settling.streamed(&relay);
            if let Some(reading) = reading.filter(|_| outcome == RequestOutcome::Answered) {
                reading.judge_stream(&labels.request_id);
            }
            target.clone_from(&relay.target().0);
            outcome
        }
    };
    settling.end(outcome);
    (outcome == RequestOutcome::Answered).then_some(target)
}

/// Delivers the error with which a target refused the request itself.
pub(crate) async fn reject(
    session: &mut ServerSession,
    labels: &Labels,
    error: &ApiError,
    is_begun: bool,
) -> RequestOutcome {
    match is_begun {
        true if !reply::error_event(session, error).await => RequestOutcome::CallerGone,
        true => RequestOutcome::RejectedByTarget,
        false => reply::rejected(session, labels, error).await,
    }
}

/// `x-tidegate-reason`: the rule, and how the first attempt failed when another answered.
pub(crate) fn reason(plan: &Plan, journal: &Journal) -> String {
    let reason = plan.reason();
    match journal.fallback_from() {
        Some(outcome) => format!("{reason}; fallback={}", outcome.as_str()),
        None => reason,
    }
}

/// Answers with an error and settles accordingly.
pub(crate) async fn refuse(session: &mut ServerSession, settling: &mut Settling<'_>, error: ApiError) {
    settling.refused(&error);
    let delivered = reply::error(session, settling.request_id(), &error).await;
    settling.end(if delivered { rescue::outcome(&error) } else { RequestOutcome::CallerGone });
}

/// Ends a stream whose headers were sent before its answer came, with an error event.
async fn break_off(session: &mut ServerSession, settling: &mut Settling<'_>, error: &ApiError) {
    settling.refused(error);
    let delivered = reply::error_event(session, error).await;
    settling.end(if delivered { rescue::outcome(error) } else { RequestOutcome::CallerGone });
}
