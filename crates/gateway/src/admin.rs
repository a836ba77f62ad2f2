//! The admin port: `/healthz`, `/readyz`, `/metrics`, `/admin/reload`.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora_core::protocols::http::ServerSession;
use policy::TargetState;
use serde::Serialize;
use wire::ApiError;

use crate::gateway::Gateway;
use crate::policies::Policies;
use crate::signals::Signals;
use crate::{intake, reply};

const RELOAD_PATH: &str = "/admin/reload";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    draining: bool,
    policy: PolicyReadiness,
    classifier: ClassifierReadiness,
    targets: Vec<TargetReadiness<'a>>,
}

/// Which policy decides. A reload that failed leaves the gateway ready: the last good one decides.
#[derive(Serialize)]
struct PolicyReadiness {
    file: String,
    generation: u64,
    hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reload_error: Option<String>,
}

/// Whether requests are classified. A gateway that does not classify is ready all the same.
#[derive(Serialize)]
struct ClassifierReadiness {
    /// `ready`, `off`, or `missing` where one is wanted.
    state: &'static str,
    /// The version of learnt heads in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    learnt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl ClassifierReadiness {
    fn of(signals: &Signals) -> Self {
        let reason = signals.missing();
        let state = match (&reason, signals.has_classifier()) {
            (Some(_), _) => "missing",
            (None, true) => "ready",
            (None, false) => "off",
        };
        Self { state, learnt: signals.learnt(), reason }
    }
}

impl PolicyReadiness {
    fn of(policies: &Policies) -> Self {
        let in_force = policies.in_force();
        Self {
            file: in_force.active.name.clone(),
            generation: in_force.generation,
            hash: in_force.active.hash.clone(),
            shadow_hash: in_force.shadow.as_ref().map(|shadow| shadow.hash.clone()),
            reload_error: policies.last_error(),
        }
    }
}

#[derive(Serialize)]
struct TargetReadiness<'a> {
    id: &'a str,
    locality: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Answers one admin request.
pub(crate) async fn answer(gateway: &Arc<Gateway>, session: &mut ServerSession, request_id: &str) {
    let header = session.req_header();
    let (path, method) = (header.uri.path().to_owned(), header.method.clone());
    if path == RELOAD_PATH {
        return reload(gateway, session, request_id, &method).await;
    }
    if !matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics") {
        reply::error(session, request_id, &ApiError::not_found(&path)).await;
        return;
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        reply::refuse_method(session, request_id, &method, "GET").await;
        return;
    }
    match path.as_str() {
        "/healthz" => {
            reply::json(session, request_id, StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}")).await;
        }
        "/readyz" => {
            let (status, body) = readiness(gateway);
            reply::json(session, request_id, status, body).await;
        }
        _ => {
            for (target, worker) in &gateway.workers {
                let status = worker.status();
                gateway.metrics.show_worker(target, status.state.as_str(), status.restarts_total);
            }
            if let Some(learning) = &gateway.learning {
                gateway.metrics.show_labels(learning.store().counts());
            }
            if let Ok(outbox) = &gateway.outbox {
                outbox.show(&gateway.metrics);
            }
            let body = gateway.metrics.render().unwrap_or_default().into();
            // Only a caller that left makes this fail.
            let _ = reply::write_body(session, StatusCode::OK, METRICS_TYPE, body, |_| Ok(())).await;
        }
    }
}

/// Loads the policies anew: 200 with what is in force now, 422 with everything that is wrong with the files.
async fn reload(gateway: &Arc<Gateway>, session: &mut ServerSession, request_id: &str, method: &Method) {
    if let Err(error) = intake::check_origin(&session.req_header().headers) {
        reply::error(session, request_id, &error).await;
        return;
    }
    if method != Method::POST {
        reply::refuse_method(session, request_id, method, "POST").await;
        return;
    }
    let status = match gateway.reload_policies().await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let body = serde_json::to_vec(&PolicyReadiness::of(&gateway.policies)).unwrap_or_default();
    reply::json(session, request_id, status, body.into()).await;
}

/// Ready when some target can answer: it is up, or a request would start it.
fn readiness(gateway: &Gateway) -> (StatusCode, Bytes) {
    let facts = gateway.dispatcher.facts();
    let draining = gateway.is_draining();
    let can_answer = facts.iter().any(|target| matches!(target.state, TargetState::Ready | TargetState::Cold));
    let reason = |state: &TargetState| -> Option<String> {
        match state {
            TargetState::Ready | TargetState::Cold => None,
            TargetState::Loading => Some("the worker is loading its model".to_owned()),
            TargetState::Downloading => Some("its model is being fetched".to_owned()),
            TargetState::BreakerOpen => Some("it failed too often of late".to_owned()),
            TargetState::Unreachable => Some("the last connection failed or the worker is being restarted".to_owned()),
            TargetState::Down(why) => Some(why.to_string()),
        }
    };
    let reasons: Vec<_> = facts.iter().map(|target| reason(&target.state)).collect();
    let targets = facts.iter().zip(&reasons).map(|(target, reason)| TargetReadiness {
        id: target.id().as_str(),
        locality: target.locality().as_str(),
        state: target.state.as_str(),
        reason: reason.as_deref(),
    });
    let ready = can_answer && !draining;
    let policy = PolicyReadiness::of(&gateway.policies);
    let classifier = ClassifierReadiness::of(&gateway.signals);
    let readiness = Readiness { ready, draining, policy, classifier, targets: targets.collect() };
    let body = serde_json::to_vec(&readiness).unwrap_or_default();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body.into())
}
