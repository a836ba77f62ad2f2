//! Puts the parts together: artifacts found or fetched, workers, destinations, metrics.
//!
//! A local target whose engine or model cannot be had does not keep the others from serving: it is down, with the
//! reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use account::Metrics;
use anyhow::Context;
use artifacts::{Found, Home, Manifest, Progress, Role, Settings, Store, engine_version, progress_for_stderr};
use dispatch::{Dispatcher, LlamaCpp, Network, OpenAi, Provider, Target, TargetHealth, Unavailable};
use policy::{Locality, Mode, TargetId};
use tracing::{info, warn};
use worker::{Worker, WorkerConfig};

use crate::classifier::{self, Source};
use crate::config::{Config, LlamaCppConfig, ModelSource, ProviderConfig, TargetConfig};
use crate::gateway::Gateway;
use crate::learning::Learning;
use crate::outbox::Outbox;
use crate::policies::{Context as PolicyContext, Policies};
use crate::signals::Signals;
use crate::token_counts::TokenCounts;

/// Longest name of a worker; it is part of a socket's path.
const WORKER_NAME_BYTES_MAX: usize = 40;

/// The artifacts of this machine as the configuration sees them.
pub(crate) fn store(config: &Config) -> anyhow::Result<Store> {
    let manifest = Manifest::embedded()?;
    let mut settings = Settings::from_env();
    if let Some(base) = &config.hub_base {
        settings.hub_base.clone_from(base);
    }
    let configured = [(Role::Engine, &config.engine_path), (Role::OnnxRuntime, &config.onnxruntime_path)];
    for (role, path) in configured {
        if let (Some(artifact), Some(path)) = (manifest.first(role), path) {
            settings.overrides.insert(artifact.name().to_owned(), path.clone());
        }
    }
    Ok(Store::new(Home::from_env()?, manifest, settings))
}

/// The artifacts, and whether missing ones may be fetched.
struct Artifacts {
    store: Store,
    progress: Box<dyn Progress>,
    fetch: bool,
}

impl Artifacts {
    async fn obtain(&self, name: &str) -> anyhow::Result<Found> {
        if self.fetch {
            return Ok(self.store.install(name, self.progress.as_ref()).await?);
        }
        self.store.find(name)?.with_context(|| format!("{name} is not on this machine and artifacts.fetch is false"))
    }
}

/// Builds the gateway. Installs what is missing, which may take minutes the first time.
pub(crate) async fn compose(config: Config) -> anyhow::Result<Gateway> {
    let artifacts = Artifacts { store: store(&config)?, progress: progress_for_stderr(), fetch: config.fetch };
    let policies = Policies::load(config.policy.clone(), &PolicyContext::of(&config))?;
    for warning in policies.in_force().warnings() {
        warn!(warning = %warning, "policy");
    }
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"))?;
    let engine = engine(&config, &artifacts).await;
    let (mut targets, mut workers, mut token_counts) = (Vec::new(), Vec::new(), TokenCounts::default());
    let network = Arc::new(network(&config)?);
    for target in &config.targets {
        let mut origin = None;
        let provider: Box<dyn Provider> = match &target.provider {
            ProviderConfig::OpenAi(openai) => {
                let destination = openai.destination(target.timeouts.connect)?;
                origin = destination.origin().map(str::to_owned);
                Box::new(OpenAi::new(openai.model.clone(), destination, target.continues_prefix))
            }
            ProviderConfig::LlamaCpp(local) => match worker(workers.len(), target, local, &engine, &artifacts).await {
                Ok((worker, model)) => {
                    token_counts.add(target.id().clone(), local.context_tokens.into(), model);
                    workers.push((target.id().clone(), worker.clone()));
                    Box::new(LlamaCpp::new(worker, alias(target.id()).to_owned(), target.continues_prefix))
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    warn!(target_id = %target.id(), reason, "local target is down");
                    Box::new(Unavailable::new(&reason))
                }
            },
        };
        let (profile, timeouts) = (Arc::clone(&target.profile), target.timeouts);
        let is_supervised = matches!(target.provider, ProviderConfig::LlamaCpp(_));
        let origin = origin.as_deref().filter(|_| profile.locality == Locality::Cloud);
        let (id, network) = (profile.id.clone(), Arc::clone(&network));
        let health = TargetHealth::new(id, config.breaker, timeouts.first_token, is_supervised, network, origin);
        targets.push(Target { profile, provider, timeouts, health });
    }
    let hedging = config.hedging;
    let signals = signals(&config, &artifacts).await?;
    let learning = learning(&config, artifacts.store.home().path());
    let mut gateway = Gateway::new(
        config,
        Dispatcher::new(targets, hedging, network),
        metrics,
        workers,
        policies,
        signals,
        token_counts,
    );
    gateway.learning = learning;
    gateway.outbox = outbox(&gateway.config, artifacts.store.home().path()).await;
    Ok(gateway)
}

/// The network that cloud targets are reached by. Where nothing may go there, it is not looked for.
fn network(config: &Config) -> anyhow::Result<Network> {
    let mut origins = Vec::new();
    for target in config.targets.iter().filter(|target| target.profile.locality == Locality::Cloud) {
        if let ProviderConfig::OpenAi(openai) = &target.provider {
            let destination = openai.destination(target.timeouts.connect)?;
            let origin = destination.origin().map(str::to_owned);
            origins.extend(origin.filter(|origin| !origins.contains(origin)));
        }
    }
    let is_used = config.mode != Mode::OnlyOnDevice && !config.privacy.stays_on_device();
    let mut limits = config.network.limits;
    limits.probing &= is_used;
    Ok(Network::new(origins, limits, config.network.probe.clone(), config.network.metered)?)
}

/// The label store, where one is wanted. A gateway that cannot learn serves all the same.
fn learning(config: &Config, home: &Path) -> Option<Learning> {
    let models =
        config.targets.iter().map(|target| (target.id().clone(), target.classified_as.model.clone())).collect();
    let opened = config.learning.enabled.then(|| Learning::open(config.learning.clone(), home, models))?;
    opened.map_err(|error| warn!(error = %error, "nothing is learnt from traffic")).ok()
}

/// The outbox, or why there is none. A gateway that keeps nothing for later serves all the same.
async fn outbox(config: &Config, home: &Path) -> Result<Arc<Outbox>, String> {
    if !config.outbox.enabled {
        return Err("outbox.enabled is false in the configuration".to_owned());
    }
    let (config, home) = (config.outbox, home.to_owned());
    let opened = tokio::task::spawn_blocking(move || Outbox::open(config, &home).map_err(|error| error.to_string()));
    let opened = opened.await.map_err(|error| error.to_string()).flatten();
    opened.map(Arc::new).inspect_err(|reason| warn!(reason, "nothing is kept for later"))
}

/// The engine, once for all local targets: where it is, or why it cannot be had. Not looked for when nobody needs it.
async fn engine(config: &Config, artifacts: &Artifacts) -> Result<PathBuf, String> {
    let is_local = |target: &TargetConfig| matches!(target.provider, ProviderConfig::LlamaCpp(_));
    if !config.targets.iter().any(is_local) {
        return Err("no local target is configured".to_owned());
    }
    let Some(artifact) = artifacts.store.manifest().first(Role::Engine) else {
        return Err("the manifest holds no engine".to_owned());
    };
    let Found { path, origin, .. } =
        artifacts.obtain(artifact.name()).await.map_err(|error| format!("engine: {error:#}"))?;
    match engine_version(&path).await {
        Ok(version) => info!(path = %path.display(), ?origin, version, "engine found"),
        Err(error) => return Err(format!("engine: {error}")),
    }
    Ok(path)
}

/// Starts a local worker; with the file of its model.
async fn worker(
    ordinal: usize,
    target: &TargetConfig,
    local: &LlamaCppConfig,
    engine: &Result<PathBuf, String>,
    artifacts: &Artifacts,
) -> anyhow::Result<(Worker, PathBuf)> {
    let executable = engine.clone().map_err(anyhow::Error::msg)?;
    let model = match &local.model {
        ModelSource::Path(path) => path.clone(),
        ModelSource::Artifact(name) => artifacts.obtain(name).await.with_context(|| format!("model {name}"))?.path,
    };
    let home = artifacts.store.home().path();
    // The ordinal keeps names apart that differ only in what is replaced or cut off.
    let name: String = format!("{ordinal}-{}", alias(target.id()).replace(['/', ':', '@'], "_"));
    let name: String = name.chars().take(WORKER_NAME_BYTES_MAX).collect();
    let mut config = WorkerConfig::new(name, executable, model.clone(), home.join("run"), home.join("logs"));
    config.model_alias = alias(target.id()).to_owned();
    config.context_tokens = local.context_tokens;
    config.slots = local.slots;
    config.threads = local.threads;
    config.gpu_layers = local.gpu_layers;
    config.extra_args.clone_from(&local.extra_args);
    config.start_timeout = target.timeouts.connect;
    config.eager = local.eager;
    Ok((Worker::start(config), model))
}

/// The part of a target's id after the provider: what the worker calls its model.
fn alias(id: &TargetId) -> &str {
    id.as_str().split_once('/').map_or(id.as_str(), |(_, model)| model)
}

/// What requests are looked into with; without a classifier where that cannot be had.
async fn signals(config: &Config, artifacts: &Artifacts) -> anyhow::Result<Signals> {
    let runtime = match config.classifier.enabled {
        true => runtime_library(artifacts).await,
        false => Err("the classifier is off".to_owned()),
    };
    let source = Source { home: artifacts.store.home().path().to_owned(), runtime };
    let (from, of) = (source.clone(), config.clone());
    let loaded = tokio::task::spawn_blocking(move || classifier::reader(&of, &from)).await?;
    match &loaded.missing {
        Some(reason) => warn!(reason, "requests are not classified; what policies ask of the classifier is absent"),
        None => {
            let name = loaded.reader.classifier().map(|classifier| &*classifier.heads().name);
            info!(classifier = name, learnt = loaded.learnt, "requests are scanned")
        }
    }
    Ok(Signals::new(loaded, source, &config.targets))
}

/// Where ONNX Runtime is, or why it cannot be had.
async fn runtime_library(artifacts: &Artifacts) -> Result<PathBuf, String> {
    let artifact = artifacts.store.manifest().first(Role::OnnxRuntime).ok_or("the manifest holds none")?;
    let found = artifacts.obtain(artifact.name()).await.map_err(|error| format!("{error:#}"))?;
    info!(path = %found.path.display(), origin = ?found.origin, "onnx runtime found");
    Ok(found.path)
}
