//! Waiting for an answer of which only a model that is still fetched or loaded can be the source.
//!
//! The log says so. A caller who asked for a stream gets its headers after a while and comments from then on, so that
//! nothing between the two takes the connection for dead. That is done only where one target alone is in the plan: the headers name who answers,
//! and what was said cannot be taken back. What fails afterwards is an error event in the stream.

use std::pin::{Pin, pin};
use std::time::Duration;

use pingora_core::protocols::http::ServerSession;
use policy::{Plan, TargetState};
use tokio::time::timeout;
use tracing::info;

use crate::fetch::Shown;
use crate::gateway::Gateway;
use crate::reply::{self, CacheLabel, Labels};
use crate::until_gone;

/// Silence after which a stream begins, and between two comments.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);

/// What came of the work.
pub(crate) struct Waited<T> {
    /// `None` when the caller has left.
    pub done: Option<T>,
    /// Whether the headers of the stream have been sent.
    pub is_begun: bool,
}

/// Runs `work`, which executes `plan`, until it is done or the caller of `session` has left.
pub(crate) async fn run<T>(
    gateway: &Gateway,
    session: &mut ServerSession,
    plan: &Plan,
    request_id: &str,
    may_begin: bool,
    cache: Option<CacheLabel>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Waited<T> {
    let [only] = plan.attempts() else {
        return Waited { done: until_gone(session, work).await, is_begun: false };
    };
    let Some(state) = gateway.dispatcher.state(only.target()).filter(is_awaited) else {
        return Waited { done: until_gone(session, work).await, is_begun: false };
    };
    info!(request_id, target_id = %only.target(), state = state.as_str(), "request waits for its model");
    if !may_begin {
        return Waited { done: until_gone(session, work).await, is_begun: false };
    }
    let labels = Labels {
        request_id: request_id.to_owned(),
        target: only.target().clone(),
        locality: only.locality(),
        reason: plan.reason(),
        cache,
    };
    let mut is_begun = false;
    loop {
        match until_gone(session, pin!(timeout(KEEP_ALIVE_EVERY, &mut work))).await {
            None => return Waited { done: None, is_begun },
            Some(Ok(done)) => return Waited { done: Some(done), is_begun },
            Some(Err(_)) => {}
        }
        let state = gateway.dispatcher.state(only.target());
        let comment = status(&state, &gateway.fetches.stages());
        if !is_begun && reply::begin_stream(session, &labels).await.is_err() {
            return Waited { done: None, is_begun };
        }
        is_begun = true;
        if reply::comment(session, &comment).await.is_err() {
            return Waited { done: None, is_begun };
        }
    }
}

fn is_awaited(state: &TargetState) -> bool {
    matches!(state, TargetState::Downloading | TargetState::Loading | TargetState::Cold | TargetState::Unreachable)
}

/// What a caller is told who waits.
fn status(state: &Option<TargetState>, fetching: &[Shown]) -> String {
    let state = state.as_ref().map_or("unknown", TargetState::as_str);
    match fetching.first().filter(|_| state == TargetState::Downloading.as_str()) {
        Some(stage) => format!("{state}: {stage}"),
        None => state.to_owned(),
    }
}
