//! The way of a request: one function that reads like the table in ARCHITECTURE.md, a callee for each stage.

use std::sync::Arc;

use account::{ExchangeKind, RequestOutcome};
use dispatch::{Answer, Content, Journal};
use pingora_core::protocols::http::ServerSession;
use policy::Plan;
use wire::{ApiError, ChatRequest, Usage};

use crate::awaiting::{self, Waited};
use crate::decision::Decision;
use crate::gateway::Gateway;
use crate::learning::Reading;
use crate::reply::{self, Labels};
use crate::rescue;
use crate::settle::Settling;
use crate::{intake, outbox};

/// Answers one chat completion on `session`, whose header has been read. Settled exactly once, on every way out.
pub(crate) async fn chat_completion(gateway: &Arc<Gateway>, session: &mut ServerSession, request_id: &str) {
    let mut settling = Settling::begin(gateway, ExchangeKind::Request, request_id);
    answer(gateway, session, request_id, &mut settling).await;
    settling.responded(session.body_bytes_sent());
    // settle: when `settling` is dropped
}

async fn answer(gateway: &Arc<Gateway>, session: &mut ServerSession, request_id: &str, settling: &mut Settling<'_>) {
    // listen: limits
    let Ok(_permit) = gateway.in_flight.try_acquire() else {
        return refuse(session, settling, ApiError::too_many_in_flight(gateway.config.limits.in_flight_max)).await;
    };
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
    let outbox = outbox::wanted(gateway, &session.req_header().headers, &decision.plan);
    if let Some(outbox) = outbox
        && decision.answering_now().next().is_none()
        && decision.answering_later().is_some()
    {
        let error = decision.nobody_now();
        return outbox::defer(gateway, outbox, session, settling, &decision, &request, &error).await;
    }
    let asking = decision.asking(gateway, &request);
    // execute
    let journal = settling.journal();
    let due = settling.begun() + gateway.config.limits.total_timeout;
    let plan = &decision.plan;
    let work = gateway.dispatcher.execute(plan, &request, decision.asking_worker(), &journal, due.into());
    // A stream that was begun can no longer be answered with a place in the outbox.
    let may_begin = request.stream() && outbox.is_none();
    let Waited { done: executed, is_begun } = awaiting::run(gateway, session, plan, request_id, may_begin, work).await;
    // relay
    match executed {
        None => settling.end(RequestOutcome::CallerGone),
        Some(Err(failure)) => {
            let error = rescue::failure(&failure, plan, &journal.records());
            let may_pass = journal.records().iter().any(|record| outbox::may_pass(record.outcome));
            match outbox.filter(|_| may_pass) {
                Some(outbox) => {
                    outbox::defer(gateway, outbox, session, settling, &decision, &request, &error).await;
                }
                None if is_begun => break_off(session, settling, &error).await,
                None => refuse(session, settling, error).await,
            }
        }
        Some(Ok(answer)) => {
            let (target, reading) = (answer.target.clone(), asking.reading());
            let comparison = decision.comparison(&asking, &request, &target);
            let remember = |usage| decision.answered(gateway, &request, asking, request_id, &target, usage);
            let outcome = relay(session, plan, answer, settling, reading, is_begun, remember).await;
            if let Some(comparison) = comparison.filter(|_| outcome == RequestOutcome::Answered) {
                comparison.begin(gateway, request_id);
            }
        }
    }
}

/// Reads and parses the body; `None` when the caller left meanwhile.
pub(crate) async fn parse(
    gateway: &Gateway,
    session: &mut ServerSession,
) -> Result<Option<ChatRequest>, Box<ApiError>> {
    let Some(body) = intake::read_body(session, &gateway.config.limits).await? else { return Ok(None) };
    let request = ChatRequest::parse(body).map_err(|error| Box::new(ApiError::from(error)))?;
    Ok(Some(request))
}

async fn relay(
    session: &mut ServerSession,
    plan: &Plan,
    answer: Answer<'_>,
    settling: &mut Settling<'_>,
    mut reading: Option<Reading>,
    is_begun: bool,
    remember: impl FnOnce(Option<Usage>),
) -> RequestOutcome {
    let Answer { target, locality, content } = answer;
    settling.answering(&target, locality);
    let labels = Labels {
        request_id: settling.request_id().to_owned(),
        target,
        locality,
        reason: reason(plan, &settling.journal()),
    };
    let outcome = match content {
        Content::Whole { body, usage, is_usage_estimated } => {
            settling.usage(Some(usage), is_usage_estimated);
            remember((!is_usage_estimated).then_some(usage));
            if let Some(reading) = reading {
                reading.judge(&body, &labels.request_id);
            }
            reply::whole(session, &labels, body).await
        }
        Content::Rejected { status, error } => {
            let error = ApiError::from_upstream(status, &error);
            match is_begun {
                true if !reply::error_event(session, &error).await => RequestOutcome::CallerGone,
                true => RequestOutcome::RejectedByTarget,
                false => reply::rejected(session, &labels, &error).await,
            }
        }
        Content::Stream(mut relay) => {
            if !is_begun && reply::begin_stream(session, &labels).await.is_err() {
                settling.end(RequestOutcome::CallerGone);
                return RequestOutcome::CallerGone;
            }
            let outcome = reply::stream(session, &mut relay, reading.as_mut(), remember).await;
            settling.streamed(&relay);
            if let Some(reading) = reading.filter(|_| outcome == RequestOutcome::Answered) {
                reading.judge_stream(&labels.request_id);
            }
            outcome
        }
    };
    settling.end(outcome);
    outcome
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
