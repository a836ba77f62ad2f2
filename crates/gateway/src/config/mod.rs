//! The configuration: one YAML file, or the built-in default, checked whole before anything starts.
//!
//! `raw` is what serde reads, `compile` turns it into what the gateway uses. All errors come in one run, each with
//! line and column.

mod cache;
mod compile;
mod health;
mod learning;
mod ledger;
mod outbox;
mod prices;
mod profile;
mod raw;
mod secret;
mod signals;
mod size_class;
mod target;
mod traces;
mod trust;
pub(crate) mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::signals::scan::Scanner;
use dispatch::{HedgeLimits, Timeouts};
use policy::{BreakerLimits, Locality, Mode, Price, Privacy, TargetId, TargetProfile};

use crate::policies::PolicySources;
pub(crate) use cache::CacheConfig;
pub(crate) use health::NetworkConfig;
pub(crate) use learning::{ComparisonConfig, LearningConfig, Verifier, VerifierKind};
pub(crate) use ledger::LedgerConfig;
pub(crate) use outbox::OutboxConfig;
pub(crate) use secret::Secret;
pub(crate) use signals::{ClassifierConfig, Profile};
pub(crate) use size_class::ClassifiedAs;
pub(crate) use traces::TracesConfig;
pub(crate) use trust::{CallerTrust, Claim, Trust};
use yaml::Problem;

/// The built-in default; `tidegate init` writes it to a file.
pub(crate) const DEFAULT_YAML: &str = include_str!("default.yaml");

/// Everything the gateway is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Address of the data port; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Address of the admin port.
    pub admin_listen: SocketAddr,
    /// Mode of a request that names none. An `only_*` mode holds for every request.
    pub mode: Mode,
    /// The least strict privacy class of any request.
    pub privacy: Privacy,
    /// What callers may say about their requests.
    pub trust: Trust,
    /// Where the policies come from.
    pub policy: PolicySources,
    /// What predicts how well targets answer.
    pub classifier: ClassifierConfig,
    /// What looks for personal data and secrets.
    pub scanner: Arc<Scanner>,
    /// What is learnt from traffic.
    pub learning: LearningConfig,
    /// What is kept for later.
    pub outbox: OutboxConfig,
    /// What is kept of answers that may be given again.
    pub cache: CacheConfig,
    /// What is recorded of requests.
    pub ledger: LedgerConfig,
    /// Where traces go, and who is told of them.
    pub traces: TracesConfig,
    /// The targets, in order of preference.
    pub targets: Vec<TargetConfig>,
    /// Targets left out because the environment variable they ask for is not set: id and variable.
    pub disabled: Vec<(String, String)>,
    /// What targets that are left out charge, where that is known: answers may be priced against them.
    pub disabled_prices: Vec<(TargetId, Price)>,
    /// When a target that fails is left alone; `None` where it never is.
    pub breaker: Option<BreakerLimits>,
    /// What is known of the network, and how it is looked for.
    pub network: NetworkConfig,
    /// Limits of the listeners.
    pub limits: Limits,
    /// What hedges may amount to.
    pub hedging: HedgeLimits,
    /// How to log.
    pub log: LogConfig,
    /// A llama-server to use instead of the installed one.
    pub engine_path: Option<PathBuf>,
    /// An ONNX Runtime library to use instead of the installed one.
    pub onnxruntime_path: Option<PathBuf>,
    /// Base address of the model hub or a mirror of it.
    pub hub_base: Option<String>,
    /// Whether what is missing may be fetched; else only what is on this machine is used.
    pub fetch: bool,
}

/// One target.
#[derive(Clone, Debug)]
pub(crate) struct TargetConfig {
    /// What a policy may know of it, its id above all.
    pub profile: Arc<TargetProfile>,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// What the classifier is asked about it.
    pub classified_as: ClassifiedAs,
    /// Whether it goes on with a text of the assistant that is the last message.
    pub continues_prefix: bool,
    /// How it is reached.
    pub provider: ProviderConfig,
}

impl TargetConfig {
    /// Its id.
    pub(crate) fn id(&self) -> &TargetId {
        &self.profile.id
    }
}

/// The providers.
#[derive(Clone, Debug)]
pub(crate) enum ProviderConfig {
    /// A supervised llama-server.
    LlamaCpp(LlamaCppConfig),
    /// An OpenAI-compatible address.
    OpenAi(OpenAiConfig),
}

/// A local worker.
#[derive(Clone, Debug)]
pub(crate) struct LlamaCppConfig {
    /// Where its model comes from.
    pub model: ModelSource,
    /// Tokens of context for each slot.
    pub context_tokens: u32,
    /// Requests answered at the same time.
    pub slots: u32,
    /// Requests that may wait for a slot.
    pub queue_max: u32,
    /// Longest wait for a slot.
    pub queue_wait: Duration,
    /// Tokens of prompts read at once; the worker's default when absent.
    pub batch_tokens: Option<u32>,
    /// Threads; llama-server chooses when absent.
    pub threads: Option<u32>,
    /// Layers kept on a GPU; llama-server chooses when absent.
    pub gpu_layers: Option<u32>,
    /// Further arguments of llama-server.
    pub extra_args: Vec<String>,
    /// Started at boot.
    pub eager: bool,
}

/// Where the file of a local model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelSource {
    /// An artifact of the manifest.
    Artifact(String),
    /// A GGUF file.
    Path(PathBuf),
}

/// An OpenAI-compatible target.
#[derive(Clone, Debug)]
pub(crate) struct OpenAiConfig {
    /// The upstream's name of the model.
    pub model: String,
    /// Address up to and including `/v1`.
    pub base_url: String,
    /// Bearer token.
    pub api_key: Option<Secret>,
    /// Further headers; values may be secrets.
    pub headers: BTreeMap<String, Secret>,
    /// Where it is.
    pub locality: Locality,
}

/// Limits of the listeners, each with a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Longest request body in bytes.
    pub body_bytes_max: usize,
    /// Longest request line and header section in bytes.
    pub header_bytes_max: usize,
    /// Requests handled at the same time.
    pub in_flight_max: usize,
    /// Open connections on the data port.
    pub connections_max: usize,
    /// Time to send the header section.
    pub header_timeout: Duration,
    /// Time to send the body.
    pub body_timeout: Duration,
    /// Longest wait for a caller to take bytes.
    pub write_timeout: Duration,
    /// From the begin of a request to the end of its answer.
    pub total_timeout: Duration,
    /// How long an idle connection is kept.
    pub keepalive_timeout: Duration,
    /// How long running requests may go on after SIGTERM.
    pub grace_period: Duration,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// Form of the lines.
    pub format: LogFormat,
    /// Least severe level shown.
    pub level: String,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Every problem of one configuration.
#[derive(Debug)]
pub(crate) struct ConfigErrors {
    file: String,
    problems: Vec<Problem>,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some((line, column)) = problem.at {
                write!(f, ":{line}:{column}")?;
            }
            if !problem.path.is_empty() {
                write!(f, ": {}", problem.path)?;
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

/// Looks a variable up; the environment in production, a map in tests.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// What a target charges, also one that is left out; `None` when unknown.
    pub(crate) fn price(&self, id: &TargetId) -> Option<Price> {
        match self.targets.iter().find(|target| target.id() == id) {
            Some(target) => target.profile.price,
            None => self.disabled_prices.iter().find(|(left_out, _)| left_out == id).map(|(_, price)| *price),
        }
    }

    /// Reads `file`, or the built-in default when there is none.
    ///
    /// # Errors
    /// Every problem of the file.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(path) = file else { return Self::parse("built-in default", DEFAULT_YAML, &env) };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&name, &text, &env),
            Err(error) => {
                let problem = Problem { at: None, path: String::new(), message: format!("cannot be read: {error}") };
                Err(ConfigErrors { file: name, problems: vec![problem] })
            }
        }
    }

    /// The built-in configuration on a machine whose environment says nothing.
    ///
    /// # Errors
    /// None, as the tests show.
    pub(crate) fn built_in() -> Result<Self, ConfigErrors> {
        Self::parse("built-in default", DEFAULT_YAML, &|_| None)
    }

    /// Parses and checks `text`; `file` names it in errors.
    ///
    /// # Errors
    /// Every problem of the text.
    pub(crate) fn parse(file: &str, text: &str, env: Env<'_>) -> Result<Self, ConfigErrors> {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        let errors = |problems| ConfigErrors { file: file.to_owned(), problems };
        let (raw, document, mut problems) = yaml::read(text).map_err(errors)?;
        let config = compile::compile(raw, &document, folder, env, &mut problems);
        if let Some(config) = config.filter(|_| problems.is_empty()) {
            return Ok(config);
        }
        problems.sort_by_key(|problem| problem.at);
        Err(errors(problems))
    }
}

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
