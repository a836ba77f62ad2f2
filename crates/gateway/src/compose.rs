//! Puts the parts together: artifacts found or fetched, workers, destinations, metrics.
//!
//! A local target whose engine or model is not here does not keep the others from serving: it is fetched in the background
//! (`fetch`), or down, with the reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use account::Metrics;
use account::metrics::Source as MetricsSource;
use anyhow::Context;
use artifacts::{Found, Home, Manifest, Progress, Role, Settings, Store};
use dispatch::{
    Dispatcher, LlamaCpp, Meter, Network, OpenAi, Provider, RemoteSpeed, Situation, Supply, Target, TargetHealth,
};
use policy::{Locality, Mode, TargetId};
use tokio::sync::watch;
use traces::Exporter;
use tracing::{debug, info, warn};

pub(crate) use local::LocalParts;

use crate::classifier::{self, ENTITIES, Source};
use crate::config::{Config, Profile, ProviderConfig};
use crate::fetch::{self, Lacking, Missing};
use crate::gateway::{Gateway, Workers};
use crate::learning::Learning;
use crate::outbox::Outbox;
use crate::policies::{Context as PolicyContext, Policies};
use crate::recall::Recall;
use crate::recording::{NoRecording, Recording};
use crate::signals::Signals;
use crate::token_counts::TokenCounts;
use crate::trace;

mod local;

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
pub(crate) struct Artifacts {
    store: Store,
    fetch: bool,
}

impl Artifacts {
    /// What is here; nothing is fetched.
    fn find(&self, name: &str) -> anyhow::Result<Option<Found>> {
        let found = self.store.find(name)?;
        if found.is_none() && !self.fetch {
            anyhow::bail!("{name} is not on this machine and artifacts.fetch is false");
        }
        Ok(found)
    }

    /// What is here, fetched if it is not.
    pub(crate) async fn obtain(&self, name: &str, progress: &dyn Progress) -> anyhow::Result<Found> {
        match self.find(name)? {
            Some(found) => Ok(found),
            None => Ok(self.store.install(name, progress).await?),
        }
    }

    /// The first artifact of this role.
    pub(crate) fn name_of(&self, role: Role) -> Option<String> {
        self.store.manifest().first(role).map(|artifact| artifact.name().to_owned())
    }
}

/// A gateway that can serve, and what it lacks.
pub(crate) struct Composed {
    gateway: Gateway,
    artifacts: Artifacts,
    missing: Missing,
}

impl Composed {
    /// Begins to fetch what is missing; the gateway serves meanwhile.
    pub(crate) fn begin(self) -> Arc<Gateway> {
        let gateway = Arc::new(self.gateway);
        fetch::begin(&gateway, Arc::new(self.artifacts), self.missing);
        gateway
    }

    /// Fetches what is missing first. What cannot be had is down, with the reason.
    pub(crate) async fn complete(self) -> Arc<Gateway> {
        let gateway = Arc::new(self.gateway);
        fetch::complete(&gateway, Arc::new(self.artifacts), self.missing).await;
        gateway
    }
}

/// What is measured goes to the metrics.
struct MetricsMeter(Metrics);

impl Meter for MetricsMeter {
    fn slot_freed(&self, target: &TargetId, after: Duration) {
        self.0.slot_freed(target, after);
    }

    fn seated(&self, target: &TargetId, waited: Duration) {
        self.0.seated(target, waited);
    }

    fn slot_not_freed(&self, target: &TargetId) {
        self.0.slot_not_freed(target);
    }

    fn first_token(&self, target: &TargetId, situation: Situation, predicted_ms: f64, actual_ms: f64) {
        debug!(target_id = %target, situation = situation.as_str(), predicted_ms, actual_ms, "first token");
        self.0.first_token_predicted(target, situation.as_str(), predicted_ms, actual_ms);
    }
}

/// Builds the gateway from what is on this machine, without waiting for what has to be fetched.
pub(crate) async fn compose(config: Config) -> anyhow::Result<Composed> {
    let artifacts = Artifacts { store: store(&config)?, fetch: config.fetch };
    let policies = Policies::load(config.policy.clone(), &PolicyContext::of(&config))?;
    for warning in policies.in_force().warnings() {
        warn!(warning = %warning, "policy");
    }
    let metrics = metrics(&config)?;
    let meter: Arc<dyn Meter> = Arc::new(MetricsMeter(metrics.clone()));
    let (mut targets, workers, token_counts) = (Vec::new(), Workers::default(), TokenCounts::default());
    let mut missing = Missing::default();
    let network = Arc::new(network(&config)?);
    for target in &config.targets {
        let mut origin = None;
        let provider: Box<dyn Provider> = match &target.provider {
            ProviderConfig::OpenAi(openai) => {
                let destination = openai.destination(target.timeouts.connect)?;
                origin = destination.origin().map(str::to_owned);
                let speed = RemoteSpeed::new(target.id().clone(), Arc::clone(&meter));
                Box::new(OpenAi::new(openai.model.clone(), destination, target.continues_prefix, speed))
            }
            ProviderConfig::LlamaCpp(local) => {
                let parts = LocalParts::new(targets.len(), target, local, &artifacts);
                let settings = parts.settings(target, local, &artifacts);
                let supply = supply(parts, &artifacts, &workers, &token_counts, &mut missing).await;
                Box::new(LlamaCpp::new(supply, settings, Arc::clone(&meter)))
            }
        };
        let (profile, timeouts) = (Arc::clone(&target.profile), target.timeouts);
        let is_supervised = matches!(target.provider, ProviderConfig::LlamaCpp(_));
        let origin = origin.as_deref().filter(|_| profile.locality == Locality::Cloud);
        let (id, network) = (profile.id.clone(), Arc::clone(&network));
        let health = TargetHealth::new(id, config.breaker, timeouts.first_token, is_supervised, network, origin);
        targets.push(Target { profile, provider, timeouts, health });
    }
    let hedging = config.hedging;
    let signals = signals(&config, &artifacts, &mut missing, policies.in_force().reads(ENTITIES)).await?;
    let recording = recording(&config, artifacts.store.home().path()).await?;
    let learning = learning(&config, artifacts.store.home().path());
    if let (Some(learning), Ok(recording)) = (&learning, &recording) {
        learning.resume_comparisons(recording);
    }
    let mut gateway = Gateway::new(
        config,
        Dispatcher::new(targets, hedging, network),
        metrics,
        workers,
        policies,
        signals,
        token_counts,
    );
    gateway.traces = exporter(&gateway.config)?;
    gateway.learning = learning;
    gateway.recording = recording;
    gateway.outbox = outbox(&gateway.config, artifacts.store.home().path()).await;
    gateway.recall = recall(&gateway.config, artifacts.store.home().path()).await;
    Ok(Composed { gateway, artifacts, missing })
}

/// The worker of a local target where its parts are here; else it is noted as missing, or down with the reason.
async fn supply(
    parts: LocalParts,
    artifacts: &Artifacts,
    workers: &Workers,
    token_counts: &TokenCounts,
    missing: &mut Missing,
) -> watch::Receiver<Supply> {
    match parts.find(artifacts).await {
        Ok(Some(files)) => watch::channel(Supply::Ready(parts.start(workers, token_counts, files))).1,
        Ok(None) => {
            let (supply, received) = watch::channel(Supply::Fetching);
            missing.local.push(Lacking { parts, supply });
            received
        }
        Err(error) => {
            let reason = format!("{error:#}");
            warn!(target_id = %parts.id, reason, "local target is down");
            watch::channel(Supply::Missing(reason.into())).1
        }
    }
}

/// The metrics, told what the configuration names.
fn metrics(config: &Config) -> anyhow::Result<Metrics> {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"))?;
    metrics.declare(MetricsSource::Targets, config.targets.iter().map(|target| target.id().as_str()));
    metrics.declare(MetricsSource::Kinds, config.scanner.kinds());
    metrics.declare(MetricsSource::ErrorCodes, wire::ErrorCase::ALL.iter().map(|case| case.row().2));
    Ok(metrics)
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

/// The ledger, or why there is none. A gateway that records nothing serves all the same.
///
/// # Errors
/// Where the operator demands a ledger and there is none.
async fn recording(config: &Config, home: &Path) -> anyhow::Result<Result<Recording, NoRecording>> {
    if !config.ledger.enabled {
        return Ok(Err(NoRecording::off("ledger.enabled is false in the configuration")));
    }
    let (ledger, home) = (config.ledger, home.to_owned());
    match tokio::task::spawn_blocking(move || Recording::open(ledger, &home)).await? {
        Ok(recording) => Ok(Ok(recording)),
        Err(error) if ledger.required => Err(error).context("ledger.required is true"),
        Err(error) => {
            warn!(error = %error, "requests are not recorded");
            Ok(Err(NoRecording::failed(&error)))
        }
    }
}

/// What exports traces, where any are.
fn exporter(config: &Config) -> anyhow::Result<Option<Exporter>> {
    let Some(export) = &config.traces.export else { return Ok(None) };
    let targets = config.targets.iter().map(|target| (target.id().clone(), trace::described(target))).collect();
    Ok(Some(Exporter::start(export.collector()?, export.limits, &export.resource, targets)))
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

/// The answers that may be given again. Where the disk refuses they are kept in memory alone.
async fn recall(config: &Config, home: &Path) -> Option<Arc<Recall>> {
    if !config.cache.enabled {
        return None;
    }
    let (of, home) = (config.clone(), home.to_owned());
    let opened = tokio::task::spawn_blocking(move || Recall::open(&of, &home).map_err(|error| error.to_string()));
    let opened = opened.await.map_err(|error| error.to_string()).flatten();
    let recall = opened.unwrap_or_else(|reason| {
        warn!(reason, "answers are not kept over a restart");
        Recall::in_memory(config)
    });
    Some(Arc::new(recall))
}

/// What a classifier is loaded from, as far as that is on this machine; nothing is fetched.
///
/// # Errors
/// When the configuration names a file that cannot be used.
pub(crate) fn source(config: &Config) -> anyhow::Result<Source> {
    let store = store(config)?;
    let found = |role| {
        let artifact = store.manifest().first(role).ok_or("the manifest holds none")?;
        let found = store.find(artifact.name()).map_err(|error| error.to_string())?;
        found.map(|found| found.path).ok_or_else(|| not_installed(artifact.name()))
    };
    let (runtime, weights) = (found(Role::OnnxRuntime), found(Role::Encoder));
    Ok(Source { home: store.home().path().to_owned(), runtime, weights })
}

fn not_installed(name: &str) -> String {
    format!("{name} is not installed; `tidegate artifacts install {name}` does it")
}

/// What requests are looked into with; without a classifier or tagger where that cannot be had, or not yet. `tag` asks for the tagger, whatever the
/// profile.
async fn signals(config: &Config, artifacts: &Artifacts, missing: &mut Missing, tag: bool) -> anyhow::Result<Signals> {
    let classifies = config.classifier.enabled;
    let mut wanted = |role, is_wanted: bool| match is_wanted {
        true => for_signals(artifacts, role, missing),
        false => Err("nothing asks for it".to_owned()),
    };
    let source = Source {
        home: artifacts.store.home().path().to_owned(),
        runtime: wanted(Role::OnnxRuntime, classifies || tag),
        weights: wanted(Role::Encoder, tag || (classifies && config.classifier.profile == Profile::Layers2)),
    };
    let (from, of) = (source.clone(), config.clone());
    let loaded = tokio::task::spawn_blocking(move || classifier::reader(&of, &from, tag)).await?;
    if let Some(reason) = &loaded.no_tagger {
        warn!(reason, "names are not looked for; signals.entities is absent");
    }
    match &loaded.missing {
        Some(reason) => warn!(reason, "requests are not classified; what policies ask of the classifier is absent"),
        None => {
            let name = loaded.reader.classifier().map(|classifier| &*classifier.heads().name);
            info!(classifier = name, learnt = loaded.learnt, "requests are scanned")
        }
    }
    Ok(Signals::new(loaded, source, config))
}

/// Where an artifact is that classifier or tagger need, or why it is not here.
fn for_signals(artifacts: &Artifacts, role: Role, missing: &mut Missing) -> Result<PathBuf, String> {
    let name = artifacts.name_of(role).ok_or("the manifest holds none")?;
    match artifacts.find(&name).map_err(|error| format!("{error:#}"))? {
        Some(found) => {
            info!(artifact = name, path = %found.path.display(), origin = ?found.origin, "artifact found");
            Ok(found.path)
        }
        None => {
            missing.signals.push(role);
            Err("it is being fetched".to_owned())
        }
    }
}
