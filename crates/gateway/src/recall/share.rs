//! One of the callers of an answer: waits for it, within its own time, and has it written as it comes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use account::{CacheUse, RequestOutcome};
use bytes::BytesMut;
use dispatch::StreamEnd;
use pingora_core::protocols::http::ServerSession;
use policy::TargetId;
use tokio::time::timeout_at;
use wire::chat::whole_of_stream;
use wire::{ApiError, ChatRequest, Usage};

use super::flight::{Head, Next};
use super::{Seat, for_caller};
use crate::awaiting::{self, Waited};
use crate::decision::Decision;
use crate::gateway::Gateway;
use crate::learning::Reading;
use crate::outbox::Outbox;
use crate::reply::{self, CacheLabel, Labels};
use crate::settle::Settling;
use crate::{exchange, until_gone};

/// What the answer did not end by the caller's own limit.
const LATE: &str = "the answer did not end within the limit of the request";

/// A request that shares its answer.
pub(crate) struct Sharing<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub decision: &'a Decision,
    pub request: &'a ChatRequest,
    /// Where it may be kept when nobody answers.
    pub outbox: Option<&'a Outbox>,
    pub seat: &'a Arc<Seat>,
    /// Sees the answer.
    pub reading: Option<Reading>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    /// The caller has its answer, or an error, or has left.
    Done,
    /// Nothing that it could have; it may go by itself. Says whether the headers of a stream have been sent.
    Alone { is_begun: bool },
}

/// Waits for the answer and writes it to the caller of `session`. Also says who has answered it whole. `remember` is told that as soon
/// as it is known, before the caller has its last bytes.
pub(crate) async fn share(
    sharing: Sharing<'_>,
    session: &mut ServerSession,
    settling: &mut Settling<'_>,
    remember: impl FnOnce(&TargetId, Option<Usage>),
) -> (Shared, Option<TargetId>) {
    let Sharing { gateway, decision, request, outbox, seat, mut reading } = sharing;
    let due = settling.begun() + gateway.config.limits.total_timeout;
    let label = if seat.leads() { CacheLabel::Miss } else { CacheLabel::Coalesced };
    let may_begin = request.stream() && outbox.is_none();
    let request_id = settling.request_id().to_owned();
    let Waited { done, is_begun } = {
        let work = pin!(timeout_at(due.into(), seat.begun()));
        awaiting::run(gateway, session, &decision.plan, &request_id, may_begin, Some(label), work).await
    };
    let head = match done {
        None => return done_as(settling, RequestOutcome::CallerGone),
        Some(Err(_)) => {
            exchange::fail(session, settling, ApiError::upstream_timeout(&[LATE.to_owned()]), is_begun).await;
            return (Shared::Done, None);
        }
        Some(Ok(Head::Failed(failure))) if seat.leads() => {
            let records = seat.journal().records();
            exchange::nobody(gateway, session, settling, decision, request, outbox, &failure, &records, is_begun).await;
            return (Shared::Done, None);
        }
        Some(Ok(head)) => head,
    };
    let Some((mut target, locality)) = seat.answering().0 else { return (Shared::Alone { is_begun }, None) };
    settling.answering(&target, locality);
    let reason = exchange::reason(&decision.plan, seat.journal());
    let labels = Labels { request_id, target: target.clone(), locality, reason, cache: Some(label) };
    let outcome = match head {
        Head::Rejected { status, error } if seat.is_stream() == request.stream() => {
            exchange::reject(session, &labels, &ApiError::from_upstream(status, &error), is_begun).await
        }
        Head::Whole { body, usage, is_usage_estimated } => {
            settling.usage(Some(usage), is_usage_estimated);
            remember(&target, (!is_usage_estimated).then_some(usage));
            if let Some(reading) = reading {
                reading.judge(body.clone(), &labels.request_id);
            }
            reply::whole(session, &labels, body).await
        }
        Head::Stream if !request.stream() => return whole(seat, session, settling, labels, due, remember).await,
        Head::Stream => {
            if !is_begun && reply::begin_stream(session, &labels).await.is_err() {
                return done_as(settling, RequestOutcome::CallerGone);
            }
            settling.end(RequestOutcome::Interrupted);
            let outcome = stream(seat, session, settling, request, due, reading.as_mut(), remember).await;
            if let Some(reading) = reading.filter(|_| outcome == RequestOutcome::Answered) {
                reading.judge_stream(&labels.request_id);
            }
            target = seat.answering().0.map_or(target, |(target, _)| target);
            outcome
        }
        Head::Failed(_) | Head::Rejected { .. } => return (Shared::Alone { is_begun }, None),
    };
    settling.end(outcome);
    (Shared::Done, (outcome == RequestOutcome::Answered).then_some(target))
}

fn done_as(settling: &mut Settling<'_>, outcome: RequestOutcome) -> (Shared, Option<TargetId>) {
    settling.end(outcome);
    (Shared::Done, None)
}

/// Delivers the events as they come; see [`reply::stream`].
async fn stream(
    seat: &Seat,
    session: &mut ServerSession,
    settling: &mut Settling<'_>,
    request: &ChatRequest,
    due: Instant,
    mut reading: Option<&mut Reading>,
    remember: impl FnOnce(&TargetId, Option<Usage>),
) -> RequestOutcome {
    let (mut at, mut remember) = (0, Some(remember));
    let interrupted = |detail: &str, stalled| Some(ApiError::stream_interrupted(detail, stalled));
    let error = loop {
        match until_gone(session, pin!(timeout_at(due.into(), seat.next(at)))).await {
            None => return RequestOutcome::CallerGone,
            Some(Err(_)) => break interrupted(LATE, true),
            Some(Ok(Next::Lagged)) => {
                break interrupted("the caller fell too far behind the answer that it shares with others", false);
            }
            Some(Ok(Next::End(end))) => {
                settle_end(settling, seat, &end);
                break match &end.how {
                    StreamEnd::Complete => None,
                    StreamEnd::Interrupted { detail, stalled } => interrupted(detail, *stalled),
                };
            }
            Some(Ok(Next::Pieces { events, at: next, end })) => {
                at = next;
                if let Some(end) = end
                    && let Some((target, _)) = seat.answering().0
                    && let Some(remember) = remember.take()
                {
                    remember(&target, end.counted());
                }
                let Some(events) = for_caller(&events, request) else {
                    break interrupted("the gateway cannot read the stream", false);
                };
                if let Some(reading) = &mut reading {
                    reading.see(&events);
                }
                if session.write_response_body(events, false).await.is_err() {
                    return RequestOutcome::CallerGone;
                }
            }
        }
    };
    let (last, outcome) = match error {
        None => (bytes::Bytes::new(), RequestOutcome::Answered),
        Some(error) => (error.to_sse_event(), RequestOutcome::Interrupted),
    };
    match session.write_response_body(last, true).await {
        Ok(()) => outcome,
        Err(_) => RequestOutcome::CallerGone,
    }
}

/// Reads a stream to its end for a caller who wants the answer in one piece.
async fn whole(
    seat: &Seat,
    session: &mut ServerSession,
    settling: &mut Settling<'_>,
    mut labels: Labels,
    due: Instant,
    remember: impl FnOnce(&TargetId, Option<Usage>),
) -> (Shared, Option<TargetId>) {
    let alone = (Shared::Alone { is_begun: false }, None);
    let (mut at, mut all) = (0, BytesMut::new());
    let end = loop {
        match until_gone(session, pin!(timeout_at(due.into(), seat.next(at)))).await {
            None => return done_as(settling, RequestOutcome::CallerGone),
            Some(Err(_)) => {
                exchange::fail(session, settling, ApiError::upstream_timeout(&[LATE.to_owned()]), false).await;
                return (Shared::Done, None);
            }
            Some(Ok(Next::Lagged)) => return alone,
            Some(Ok(Next::End(end))) => break end,
            Some(Ok(Next::Pieces { events, at: next, .. })) => {
                at = next;
                all.extend_from_slice(&events);
            }
        }
    };
    let body = if end.how == StreamEnd::Complete { whole_of_stream(&all) } else { None };
    let Some(body) = body else { return alone };
    settling.usage(end.usage, end.is_usage_estimated);
    if let Some(answering) = seat.answering().0 {
        // Another one than began, where it was continued.
        (labels.target, labels.locality) = answering;
    }
    remember(&labels.target, end.counted());
    let outcome = reply::whole(session, &labels, body).await;
    settling.end(outcome);
    (Shared::Done, (outcome == RequestOutcome::Answered).then_some(labels.target))
}

fn settle_end(settling: &mut Settling<'_>, seat: &Seat, end: &super::flight::End) {
    let (target, first_content_at) = seat.answering();
    if let Some((target, locality)) = target {
        settling.answering(&target, locality);
    }
    settling.usage(end.usage, end.is_usage_estimated);
    settling.first_content_at(first_content_at);
}

/// How the cache was used by a caller who leaves its seat, having to account for what was tried or not.
pub(crate) fn cache_use(seat: &Seat, pays: bool) -> CacheUse {
    match (pays || seat.leads(), seat.is_kept()) {
        (false, _) => CacheUse::Coalesced,
        (true, true) => CacheUse::Stored,
        (true, false) => CacheUse::Missed,
    }
}
