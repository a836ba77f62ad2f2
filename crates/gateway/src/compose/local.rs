//! The parts of a local target: its engine and its model, found or fetched, and the worker that is made of them.

use std::path::PathBuf;

use anyhow::Context;
use artifacts::{Found, Progress, Role, engine_version};
use dispatch::{AdmissionLimits, LlamaCppSettings};
use policy::TargetId;
use tracing::info;
use worker::{Worker, WorkerConfig};

use super::Artifacts;
use crate::config::{LlamaCppConfig, ModelSource, TargetConfig};
use crate::gateway::Workers;
use crate::token_counts::TokenCounts;

/// Longest name of a worker; it is part of a socket's path.
const WORKER_NAME_BYTES_MAX: usize = 40;

/// A local target that is yet to be started.
pub(crate) struct LocalParts {
    pub id: TargetId,
    model: ModelSource,
    window: u64,
    /// All but the two files.
    worker: WorkerConfig,
}

/// What a worker is started from.
pub(crate) struct Files {
    engine: PathBuf,
    model: PathBuf,
}

impl LocalParts {
    /// `ordinal` keeps names apart that differ only in what is replaced or cut off.
    pub(super) fn new(ordinal: usize, target: &TargetConfig, local: &LlamaCppConfig, artifacts: &Artifacts) -> Self {
        let home = artifacts.store.home().path();
        let name: String = format!("{ordinal}-{}", alias(target.id()).replace(['/', ':', '@'], "_"));
        let name: String = name.chars().take(WORKER_NAME_BYTES_MAX).collect();
        let mut worker = WorkerConfig::new(name, "", "", home.join("run"), home.join("logs"));
        worker.model_alias = alias(target.id()).to_owned();
        worker.context_tokens = local.context_tokens;
        worker.slots = local.slots;
        worker.batch_tokens = local.batch_tokens;
        worker.threads = local.threads;
        worker.gpu_layers = local.gpu_layers;
        worker.extra_args.clone_from(&local.extra_args);
        worker.start_timeout = target.timeouts.connect;
        worker.eager = local.eager;
        Self { id: target.id().clone(), model: local.model.clone(), window: local.context_tokens.into(), worker }
    }

    /// What the dispatcher has to know of it.
    pub(super) fn settings(
        &self,
        target: &TargetConfig,
        local: &LlamaCppConfig,
        artifacts: &Artifacts,
    ) -> LlamaCppSettings {
        let model = match &self.model {
            ModelSource::Path(path) => Some(path.clone()),
            ModelSource::Artifact(name) => artifacts.find(name).ok().flatten().map(|found| found.path),
        };
        LlamaCppSettings {
            target: self.id.clone(),
            model: self.worker.model_alias.clone(),
            model_bytes: model.and_then(|path| path.metadata().ok()).map(|metadata| metadata.len()),
            admission: AdmissionLimits {
                slots: usize::try_from(local.slots).unwrap_or(usize::MAX),
                batch_tokens: self.worker.batch_tokens().into(),
                queue_max: usize::try_from(local.queue_max).unwrap_or(usize::MAX),
                wait_max: local.queue_wait,
            },
            continues_prefix: target.continues_prefix,
            ready_within: target.timeouts.connect,
        }
    }

    /// Both files, where both are here; `None` where one has to be fetched.
    ///
    /// # Errors
    /// When one cannot be had, or the engine does not run.
    pub(super) async fn find(&self, artifacts: &Artifacts) -> anyhow::Result<Option<Files>> {
        let Some(engine) = artifacts.find(&engine_name(artifacts)?).context("engine")? else { return Ok(None) };
        let model = match &self.model {
            ModelSource::Path(path) => path.clone(),
            ModelSource::Artifact(name) => match artifacts.find(name).with_context(|| format!("model {name}"))? {
                Some(found) => found.path,
                None => return Ok(None),
            },
        };
        let engine = checked(engine).await?;
        Ok(Some(Files { engine, model }))
    }

    /// Both files, fetched where they are not here: first the model, which takes seconds to minutes, then the engine, which
    /// may have to be built.
    ///
    /// # Errors
    /// When one cannot be had, or the engine does not run.
    pub(crate) async fn obtain(&self, artifacts: &Artifacts, progress: &dyn Progress) -> anyhow::Result<Files> {
        let model = match &self.model {
            ModelSource::Path(path) => path.clone(),
            ModelSource::Artifact(name) => {
                artifacts.obtain(name, progress).await.with_context(|| format!("model {name}"))?.path
            }
        };
        let engine = artifacts.obtain(&engine_name(artifacts)?, progress).await.context("engine")?;
        let engine = checked(engine).await?;
        Ok(Files { engine, model })
    }

    /// Makes the worker; it starts now when it is eager, else on first need.
    pub(crate) fn start(&self, workers: &Workers, token_counts: &TokenCounts, files: Files) -> Worker {
        let Files { engine: executable, model } = files;
        token_counts.add(self.id.clone(), self.window, model.clone());
        let worker = Worker::start(WorkerConfig { executable, model, ..self.worker.clone() });
        workers.add(self.id.clone(), worker.clone());
        worker
    }
}

fn engine_name(artifacts: &Artifacts) -> anyhow::Result<String> {
    artifacts.name_of(Role::Engine).context("the manifest holds no engine")
}

/// An engine that runs.
async fn checked(engine: Found) -> anyhow::Result<PathBuf> {
    let Found { path, origin, .. } = engine;
    let version = engine_version(&path).await.context("engine")?;
    info!(path = %path.display(), ?origin, version, "engine found");
    Ok(path)
}

/// The part of a target's id after the provider: what the worker calls its model.
fn alias(id: &TargetId) -> &str {
    id.as_str().split_once('/').map_or(id.as_str(), |(_, model)| model)
}
