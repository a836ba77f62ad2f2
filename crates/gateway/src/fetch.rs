//! Fetches in the background what local targets and the classifier lack, while the gateway serves with what there is.
//!
//! What fails is tried again, less and less often: a machine may get its network later than its gateway.

mod board;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use artifacts::Role;
use dispatch::Supply;
use tokio::sync::watch;
use tracing::{info, warn};

use board::Watched;
pub(crate) use board::{Board, Shown};

use crate::classifier::ENTITIES;
use crate::compose::{Artifacts, LocalParts};
use crate::gateway::Gateway;

/// Pause before what failed is tried again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(15);
/// Longest pause.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// A local target that lacks its engine or its model.
pub(crate) struct Lacking {
    pub parts: LocalParts,
    pub supply: watch::Sender<Supply>,
}

/// What is to be fetched.
#[derive(Default)]
pub(crate) struct Missing {
    pub local: Vec<Lacking>,
    /// What classifier and tagger lack.
    pub signals: Vec<Role>,
}

/// What follows when something cannot be had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenFailed {
    /// It is tried again after a while.
    Retry,
    /// It stays missing.
    Leave,
}

/// Begins to fetch what is missing; returns at once.
pub(crate) fn begin(gateway: &Arc<Gateway>, artifacts: Arc<Artifacts>, missing: Missing) {
    if !missing.local.is_empty() {
        tokio::spawn(local(Arc::clone(gateway), Arc::clone(&artifacts), missing.local, WhenFailed::Retry));
    }
    if !missing.signals.is_empty() {
        tokio::spawn(for_signals(Arc::clone(gateway), artifacts, missing.signals, WhenFailed::Retry));
    }
}

/// Fetches what is missing, each once.
pub(crate) async fn complete(gateway: &Arc<Gateway>, artifacts: Arc<Artifacts>, missing: Missing) {
    if !missing.signals.is_empty() {
        for_signals(Arc::clone(gateway), Arc::clone(&artifacts), missing.signals, WhenFailed::Leave).await;
    }
    if !missing.local.is_empty() {
        local(Arc::clone(gateway), artifacts, missing.local, WhenFailed::Leave).await;
    }
}

/// Engine and models, one after the other, for one target after the other.
async fn local(gateway: Arc<Gateway>, artifacts: Arc<Artifacts>, mut lacking: Vec<Lacking>, when_failed: WhenFailed) {
    let progress = Watched::new(artifacts::progress_for_stderr(), Arc::clone(&gateway.fetches));
    let mut pause = RETRY_FIRST;
    loop {
        let mut failed = Vec::new();
        for target in lacking {
            let id = target.parts.id.clone();
            // Nobody holds the other end only when the gateway is gone.
            let _ = target.supply.send(Supply::Fetching);
            match target.parts.obtain(&artifacts, &progress).await {
                Ok(files) => {
                    let worker = target.parts.start(&gateway.workers, &gateway.token_counts, files);
                    info!(target_id = %id, "local target is there");
                    let _ = target.supply.send(Supply::Ready(worker));
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    warn!(target_id = %id, reason, retry_s = pause.as_secs(), "local target cannot be had yet");
                    let _ = target.supply.send(Supply::Missing(reason.into()));
                    failed.push(target);
                }
            }
        }
        if failed.is_empty() || when_failed == WhenFailed::Leave {
            return;
        }
        lacking = failed;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// What classifier and tagger need: ONNX Runtime, and the weights of the larger encoder where it is used.
async fn for_signals(gateway: Arc<Gateway>, artifacts: Arc<Artifacts>, roles: Vec<Role>, when_failed: WhenFailed) {
    let progress = Watched::new(Box::new(artifacts::LogProgress::default()), Arc::clone(&gateway.fetches));
    let mut pause = RETRY_FIRST;
    loop {
        let (mut runtime, mut weights, mut are_there) = (None, None, true);
        for role in &roles {
            let found = obtain(&artifacts, *role, &progress).await;
            if let Err(reason) = &found {
                warn!(reason, retry_s = pause.as_secs(), "what classifies requests cannot be had yet");
                are_there = false;
            }
            match role {
                Role::Encoder => weights = Some(found),
                _ => runtime = Some(found),
            }
        }
        let of = Arc::clone(&gateway);
        // Fails only in a panic.
        let _ = tokio::task::spawn_blocking(move || {
            let tag = of.policies.in_force().reads(ENTITIES);
            of.signals.take_up_fetched(&of.config, runtime, weights, tag);
            of.metrics.show_classifier(of.signals.has_classifier());
        })
        .await;
        if are_there || when_failed == WhenFailed::Leave {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn obtain(artifacts: &Artifacts, role: Role, progress: &Watched) -> Result<PathBuf, String> {
    let name = artifacts.name_of(role).ok_or("the manifest holds none")?;
    artifacts.obtain(&name, progress).await.map(|found| found.path).map_err(|error| format!("{error:#}"))
}
