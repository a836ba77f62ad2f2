//! The policies in force: loaded whole or not at all, replaced in one step, never by something broken.

mod file;
mod reload;
mod shadow;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use account::Metrics;
use account::metrics::Source;
use policy::{Policy, Rule};
use tracing::{error, info};

use file::Finding;
pub(crate) use file::{Context, LoadedPolicy, PolicyErrors, load_file};
pub(crate) use reload::{Stamp, watch};
pub(crate) use shadow::compare;

/// Stack of the thread that loads policies.
const LOADER_STACK_BYTES: usize = 32 << 20;

/// Where the policies come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicySources {
    /// The file of the active policy; the built-in default when absent.
    pub file: Option<PathBuf>,
    /// The file of a policy that is decided beside the active one and only counted.
    pub shadow: Option<PathBuf>,
}

/// What one request is decided by, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct InForce {
    /// Counts up from 1 with every successful load of this process.
    pub generation: u64,
    /// The policy that decides.
    pub active: LoadedPolicy,
    /// The policy that is only counted.
    pub shadow: Option<LoadedPolicy>,
}

impl PolicySources {
    fn files(&self) -> Vec<&Path> {
        [&self.file, &self.shadow].into_iter().flatten().map(PathBuf::as_path).collect()
    }
}

impl InForce {
    /// The policy that decides.
    pub(crate) fn policy(&self) -> &Policy {
        &self.active.policy
    }

    /// Whether one of them reads this fact.
    pub(crate) fn reads(&self, fact: &str) -> bool {
        self.policy().reads(fact) || self.shadow.as_ref().is_some_and(|shadow| shadow.policy.reads(fact))
    }

    /// What is most likely a mistake in them.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.active.warnings.iter().chain(self.shadow.iter().flat_map(|shadow| &shadow.warnings))
    }
}

/// The policies of a running gateway.
pub(crate) struct Policies {
    sources: PolicySources,
    in_force: RwLock<Arc<InForce>>,
    /// Held while loading, so that two triggers do not overtake each other: the files as they were before they were read.
    loading: Mutex<Stamp>,
    /// What the last load failed with.
    last_error: Mutex<Option<String>>,
}

impl Policies {
    /// Loads the policies for the first time.
    ///
    /// # Errors
    /// Everything wrong with them.
    pub(crate) fn load(sources: PolicySources, context: &Context<'_>) -> Result<Self, PolicyErrors> {
        let seen = Stamp::of(&sources.files());
        let in_force = RwLock::new(Arc::new(load(&sources, 1, context)?));
        Ok(Self { sources, in_force, loading: Mutex::new(seen), last_error: Mutex::new(None) })
    }

    /// The policies that a request beginning now is decided by. It keeps them to its end.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a file has changed since it was read, or cannot be looked at just now because it is being read.
    pub(crate) fn changed(&self) -> Option<Stamp> {
        let loaded = self.loading.try_lock().ok()?;
        let seen = Stamp::of(&self.sources.files());
        (*loaded != seen).then_some(seen)
    }

    /// How the files are now.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::of(&self.sources.files())
    }

    /// Whether there are files that could change.
    pub(crate) fn has_files(&self) -> bool {
        !self.sources.files().is_empty()
    }

    /// What the last reload failed with; `None` when it succeeded.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads the files anew. A policy that cannot be used changes nothing: the last good one stays in force. Takes as long as
    /// reading, compiling and testing takes; not for threads that requests run on.
    ///
    /// # Errors
    /// Everything wrong with the files.
    pub(crate) fn reload(&self, context: &Context<'_>, metrics: &Metrics) -> Result<Arc<InForce>, PolicyErrors> {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        *loading = Stamp::of(&self.sources.files());
        let before = self.in_force();
        let failed = |error| *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        match load(&self.sources, before.generation + 1, context) {
            Ok(loaded) => {
                failed(None);
                let loaded = Arc::new(loaded);
                *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&loaded);
                metrics.policy_reloaded(true);
                show(&loaded, metrics);
                info!(generation = loaded.generation, policy_hash = &*loaded.active.hash, "policy reloaded");
                Ok(loaded)
            }
            Err(errors) => {
                metrics.policy_reloaded(false);
                error!(errors = %errors, generation = before.generation, "policy not reloaded; the last good one stays");
                failed(Some(errors.to_string()));
                Err(errors)
            }
        }
    }
}

/// Shows generation and hash in the metrics, which learn the ids of the rules.
pub(crate) fn show(in_force: &InForce, metrics: &Metrics) {
    let built_in = [Rule::PinnedModel, Rule::NoRoute];
    metrics.declare(Source::Rules, built_in.iter().map(Rule::as_str));
    let policy = in_force.policy();
    metrics.declare(Source::Rules, policy.route_ids().chain(policy.placement_ids()).map(|id| &**id));
    metrics.show_policy(in_force.generation, &in_force.active.hash);
}

fn load(sources: &PolicySources, generation: u64, context: &Context<'_>) -> Result<InForce, PolicyErrors> {
    with_stack(|| load_here(sources, generation, context))
}

/// Runs `work` on a thread with room for whatever depth a parser's limits allow.
///
/// # Errors
/// Those of `work`, and one when the system has no thread to give.
pub(crate) fn with_stack<T: Send>(work: impl FnOnce() -> Result<T, PolicyErrors> + Send) -> Result<T, PolicyErrors> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(LOADER_STACK_BYTES).spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(PolicyErrors::not_loaded(&format!("there is no thread to load policies: {error}"))),
        }
    })
}

fn load_here(sources: &PolicySources, generation: u64, context: &Context<'_>) -> Result<InForce, PolicyErrors> {
    let active = load_file(sources.file.as_deref(), context)?;
    let shadow = sources.shadow.as_deref().map(|file| load_file(Some(file), context)).transpose()?;
    Ok(InForce { generation, active, shadow })
}
