//! The admin port: `/healthz`, `/readyz`, `/metrics`, `/admin/reload`, `/admin/network`.

mod network;

use std::sync::Arc;

use account::{ShownEngine, ShownHealth, ShownNetwork, ShownTraces, ShownWorker};
use bytes::Bytes;
use dispatch::HealthStatus;
use http::{Method, StatusCode};
use pingora_core::protocols::http::ServerSession;
use traces::{TraceCounts, TraceHealth};
use wire::{ApiError, EngineCounts};

use crate::gateway::Gateway;
use crate::status::{PolicyReadiness, Status};
use crate::{intake, reply};

const RELOAD_PATH: &str = "/admin/reload";
const NETWORK_PATH: &str = "/admin/network";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers one admin request.
pub(crate) async fn answer(gateway: &Arc<Gateway>, session: &mut ServerSession, request_id: &str) {
    let header = session.req_header();
    let (path, method) = (header.uri.path().to_owned(), header.method.clone());
    if path == RELOAD_PATH {
        return reload(gateway, session, request_id, &method).await;
    }
    if path == NETWORK_PATH {
        return network::answer(gateway, session, request_id, &method).await;
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
            let showing = gateway.showing_metrics.lock().await;
            show(gateway).await;
            let body = gateway.metrics.render().unwrap_or_default().into();
            drop(showing);
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

/// 200 with the state of the gateway when it is ready, else 503.
fn readiness(gateway: &Gateway) -> (StatusCode, Bytes) {
    let status = Status::of(gateway);
    let body = serde_json::to_vec(&status).unwrap_or_default();
    (if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body.into())
}

/// What is not counted where it happens.
async fn show(gateway: &Gateway) {
    for (target, worker) in &gateway.workers.all() {
        let status = worker.status();
        let shown = ShownWorker {
            state: status.state.as_str(),
            restarts_total: status.restarts_total,
            starts_total: status.generation,
            load_time: status.load_time,
            pid: status.pid,
        };
        gateway.metrics.show_worker(target, &shown);
    }
    for (target, counts) in gateway.dispatcher.engine_counts().await {
        gateway.metrics.show_engine(target, &shown_engine(&counts));
    }
    if let Some(learning) = &gateway.learning {
        gateway.metrics.show_labels(learning.store().counts());
    }
    if let Some(health) = gateway.ledger_health() {
        gateway.metrics.show_ledger(&health);
    }
    if let Some(traces) = &gateway.traces {
        let TraceHealth { waiting, failure, counts } = traces.health();
        let TraceCounts { exported, overflowed, failed, rejected_spans } = counts;
        let is_up = failure.is_none();
        gateway.metrics.show_traces(&ShownTraces { is_up, exported, overflowed, failed, rejected_spans, waiting });
    }
    if let Ok(outbox) = &gateway.outbox {
        outbox.show(&gateway.metrics);
    }
    if let Some(recall) = &gateway.recall {
        recall.show(&gateway.metrics);
    }
    for (target, load) in gateway.dispatcher.loads() {
        gateway.metrics.show_load(target, load.slots, load.busy, load.queued);
    }
    for (target, health) in gateway.dispatcher.health() {
        let HealthStatus { breaker, rate_limited, opened_total, probes_total } = health;
        let shown = ShownHealth { breaker, opened_total, probes_total, is_rate_limited: rate_limited.is_some() };
        gateway.metrics.show_health(target, &shown);
    }
    let network = gateway.dispatcher.network().status();
    gateway.metrics.show_network(&ShownNetwork {
        connectivity: network.connectivity,
        metered: network.metered,
        rounds_reached_total: network.rounds_total.saturating_sub(network.rounds_failed_total),
        rounds_failed_total: network.rounds_failed_total,
    });
}

fn shown_engine(counts: &EngineCounts) -> ShownEngine {
    ShownEngine {
        prompt_tokens: counts.prompt_tokens,
        cached_tokens: counts.cached_tokens,
        prompt_seconds: counts.prompt_seconds,
        output_tokens: counts.output_tokens,
        output_seconds: counts.output_seconds,
        decode_calls: counts.decode_calls,
        busy_slots_per_decode: counts.busy_slots_per_decode,
        context_used: counts.context_used,
        context_size: counts.context_size,
    }
}
