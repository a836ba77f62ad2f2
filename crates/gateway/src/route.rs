//! `POST /v1/route`: the decision on a request, explained and not run.

use bytes::Bytes;
use http::StatusCode;
use pingora_core::protocols::http::ServerSession;
use policy::decide;
use wire::ApiError;

use crate::classifier::ENTITIES;
use crate::explanation::Explanation;
use crate::gateway::Gateway;
use crate::{exchange, facts, reply, rescue};

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
    let in_force = gateway.policies.in_force();
    let signalled = gateway.signals.read(&request, &gateway.metrics, in_force.reads(ENTITIES)).await;
    let stickiness = in_force.policy().stickiness();
    let mut gathered = facts::gather(gateway, stickiness, &session.req_header().headers, &request, signalled, None)?;
    gateway.token_counts.count(&request, gathered.targets_mut()).await;
    let (facts, targets) = (&gathered.facts, &gathered.targets);
    let plan = rescue::refused(decide(in_force.policy(), facts, targets), targets)?;
    let explanation = Explanation::of(&in_force, facts, targets, &plan);
    serde_json::to_vec(&explanation).map(|json| Some(json.into())).map_err(|_| Box::new(ApiError::internal()))
}
