//! `POST /v1/route`: the decision on a request, explained and not run.

use bytes::Bytes;
use http::StatusCode;
use pingora_core::protocols::http::ServerSession;
use policy::{Plan, RequestFacts, TargetFacts};
use serde::Serialize;
use wire::{ApiError, ChatRequest};

use crate::gateway::Gateway;
use crate::{exchange, facts, reply};

#[derive(Serialize)]
struct Explained<'a> {
    object: &'static str,
    model: &'a str,
    mode: &'static str,
    privacy: &'static str,
    placement: Vec<&'static str>,
    rule: &'static str,
    attempts: Vec<Kept<'a>>,
    dropped: Vec<Left<'a>>,
}

#[derive(Serialize)]
struct Kept<'a> {
    target: &'a str,
    locality: &'static str,
    state: &'static str,
}

#[derive(Serialize)]
struct Left<'a> {
    target: &'a str,
    locality: &'static str,
    state: &'static str,
    reason: &'static str,
    detail: String,
}

/// Answers with the plan of the request on `session`. Same body, headers and refusals as a chat completion.
pub(crate) async fn explain(gateway: &Gateway, session: &mut ServerSession, request_id: &str) {
    let Ok(_permit) = gateway.in_flight.try_acquire() else {
        reply::error(session, request_id, &ApiError::too_many_in_flight(gateway.config.limits.in_flight_max)).await;
        return;
    };
    match explained(gateway, session).await {
        Ok(Some(body)) => {
            reply::json(session, request_id, StatusCode::OK, body).await;
        }
        Ok(None) => {}
        Err(error) => {
            reply::error(session, request_id, &error).await;
        }
    }
}

async fn explained(gateway: &Gateway, session: &mut ServerSession) -> Result<Option<Bytes>, Box<ApiError>> {
    let Some(request) = exchange::parse(gateway, session).await? else { return Ok(None) };
    let gathered = facts::gather(gateway, &session.req_header().headers, &request)?;
    let plan = exchange::plan(&gathered)?;
    let explained = Explained::new(&request, &gathered.facts.request, &plan, &gathered.targets);
    serde_json::to_vec(&explained).map(|json| Some(json.into())).map_err(|_| Box::new(ApiError::internal()))
}

impl<'a> Explained<'a> {
    fn new(request: &'a ChatRequest, facts: &RequestFacts, plan: &'a Plan, targets: &[TargetFacts]) -> Self {
        let state = |id: &policy::TargetId| {
            targets.iter().find(|target| target.id() == id).map_or("unknown", |t| t.state.as_str())
        };
        let kept = plan.attempts().iter().map(|attempt| Kept {
            target: attempt.target().as_str(),
            locality: attempt.locality().as_str(),
            state: state(attempt.target()),
        });
        let left = plan.dropped().iter().map(|dropped| Left {
            target: dropped.target.as_str(),
            locality: dropped.locality.as_str(),
            state: state(&dropped.target),
            reason: dropped.reason.code(),
            detail: dropped.reason.explain(),
        });
        Self {
            object: "route",
            model: request.model(),
            mode: facts.mode.as_str(),
            privacy: facts.privacy.as_str(),
            placement: plan.placement().localities().into_iter().map(policy::Locality::as_str).collect(),
            rule: plan.rule().as_str(),
            attempts: kept.collect(),
            dropped: left.collect(),
        }
    }
}
