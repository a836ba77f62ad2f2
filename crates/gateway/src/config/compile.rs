//! Raw configuration into the checked one. Every problem is noted and checking goes on with a default.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dispatch::HedgeLimits;
use policy::{Mode, Privacy};

use super::cache::compile_cache;
use super::health::{compile_breaker, compile_network};
use super::learning::compile_learning;
use super::ledger::compile_ledger;
use super::outbox::compile_outbox;
use super::profile::{price_of_disabled, real};
use super::raw::{RawConfig, RawHedging, RawLimits, RawLog, RawPath, RawPolicy};
use super::signals::{compile_classifier, compile_scan};
use super::target::compile_target;
use super::traces::compile_traces;
use super::trust::compile_trust;
use super::yaml::{Document, Problem};
use crate::policies::PolicySources;

use super::{Config, Env, Limits, LogConfig, LogFormat};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Targets in one configuration at most; each is a metric label value.
const TARGETS_MAX: usize = 256;

/// What checking needs at every place: the file, the environment and the list of problems.
pub(super) struct Check<'a> {
    pub document: &'a Document,
    /// The folder that relative paths are taken from.
    pub folder: &'a Path,
    pub env: Env<'a>,
    pub problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    /// Notes a problem with the key at `path`. A key that could not even be read is reported once.
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        if !self.problems.iter().any(|known| known.path == path) {
            self.problems.push(self.document.problem(path, message));
        }
    }

    /// The value, or its error noted and `None`.
    pub(super) fn ok<T, E: std::fmt::Display>(&mut self, path: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(path, error.to_string())).ok()
    }

    /// A number within a range, else the default.
    pub(super) fn number(&mut self, path: &str, value: Option<u64>, default: u64, range: (u64, u64)) -> u64 {
        let (least, most) = range;
        match value {
            Some(value) if !(least..=most).contains(&value) => {
                self.problem(path, format!("{value} is out of range; allowed are {least} to {most}"));
                default
            }
            value => value.unwrap_or(default),
        }
    }

    /// A duration in milliseconds, from 1 ms to a day.
    pub(super) fn millis(&mut self, path: &str, value: Option<u64>, default: Duration) -> Duration {
        let default_ms = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.number(path, value, default_ms, (1, 86_400_000)))
    }
}

/// `None` when nothing can be made of it; problems have been noted then.
pub(super) fn compile(
    raw: RawConfig,
    document: &Document,
    folder: &Path,
    env: Env<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Config> {
    let mut check = Check { document, folder, env, problems };
    let listen = address(&mut check, "listen", raw.listen.as_deref(), 8787);
    let admin_listen = address(&mut check, "admin_listen", raw.admin_listen.as_deref(), 8788);
    if listen == admin_listen && listen.port() != 0 {
        check.problem("admin_listen", "is the same address as listen");
    }
    let mode = raw.defaults.mode.as_deref().and_then(|word| check.ok("defaults.mode", Mode::parse(word)));
    let privacy = raw.defaults.privacy.as_deref().and_then(|word| check.ok("defaults.privacy", Privacy::parse(word)));
    let (mode, privacy) = (mode.unwrap_or_default(), privacy.unwrap_or_default());
    if mode == Mode::OnlyInCloud && privacy.stays_on_device() {
        check.problem("defaults.mode", format!("excludes defaults.privacy {}: nothing could answer", privacy.as_str()));
    }
    let trust = compile_trust(&mut check, &raw.trust);
    let breaker = compile_breaker(&mut check, &raw.breaker);
    let network = compile_network(&mut check, &raw.network);
    let limits = limits(&mut check, &raw.limits);
    let hedging = hedging(&mut check, &raw.hedging);
    let log = log(&mut check, raw.log);
    let engine_path = existing_file(&mut check, "engine.path", raw.engine);
    let onnxruntime_path = existing_file(&mut check, "onnxruntime.path", raw.onnxruntime);
    let hub_base = raw.artifacts.hub_base;
    if hub_base.as_deref().is_some_and(|base| !base.starts_with("http://") && !base.starts_with("https://")) {
        check.problem("artifacts.hub_base", "has to begin with https:// or http://");
    }
    if raw.targets.len() > TARGETS_MAX {
        check.problem("targets", format!("has {} entries; the limit is {TARGETS_MAX}", raw.targets.len()));
    }

    let (mut targets, mut disabled, mut ids) = (Vec::new(), Vec::new(), HashSet::new());
    let mut disabled_prices = Vec::new();
    for (index, target) in raw.targets.into_iter().enumerate() {
        let path = format!("targets[{index}]");
        if let Some(id) = &target.id
            && !ids.insert(id.clone())
        {
            check.problem(&format!("{path}.id"), format!("{id:?} is used by an earlier target"));
        }
        match &target.enabled_if_env {
            Some(variable) if (check.env)(variable).is_none() => {
                disabled_prices.extend(price_of_disabled(&target));
                disabled.push((target.id.clone().unwrap_or_default(), variable.clone()));
            }
            _ => targets.extend(compile_target(&mut check, &path, target)),
        }
    }
    if ids.is_empty() && check.problems.is_empty() {
        check.problem("targets", "is empty; at least one target is needed");
    }
    let policy = policy_sources(&mut check, raw.policy);
    let classifier = compile_classifier(&mut check, raw.classifier);
    let scanner = compile_scan(&mut check, raw.scan);
    let learning = compile_learning(&mut check, raw.learning, &ids);
    let outbox = compile_outbox(&mut check, &raw.outbox);
    let cache = compile_cache(&mut check, &raw.cache);
    let ledger = compile_ledger(&mut check, &raw.ledger);
    let traces = compile_traces(&mut check, &raw.traces);
    Some(Config {
        listen,
        policy,
        learning,
        outbox,
        cache,
        ledger,
        traces,
        admin_listen,
        mode,
        privacy,
        trust,
        classifier,
        scanner: scanner?,
        targets,
        disabled,
        disabled_prices,
        breaker,
        network,
        limits,
        hedging,
        log,
        engine_path,
        onnxruntime_path,
        hub_base,
        fetch: raw.artifacts.fetch.unwrap_or(true),
    })
}

fn address(check: &mut Check<'_>, path: &str, text: Option<&str>, port: u16) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], port));
    let Some(text) = text else { return default };
    text.parse().unwrap_or_else(|_| {
        check.problem(path, format!("{text:?} is not an address and port such as 127.0.0.1:{port}"));
        default
    })
}

/// The files of the policies; a relative path is taken from the folder of the configuration.
fn policy_sources(check: &mut Check<'_>, raw: RawPolicy) -> PolicySources {
    let mut file = |key: &str, path: Option<String>| {
        let file = check.folder.join(path?);
        if !file.is_file() {
            check.problem(&format!("policy.{key}"), format!("{} is not a file", file.display()));
        }
        Some(file)
    };
    PolicySources { file: file("file", raw.file), shadow: file("shadow", raw.shadow) }
}

fn existing_file(check: &mut Check<'_>, path: &str, raw: RawPath) -> Option<PathBuf> {
    let file = PathBuf::from(raw.path?);
    if !file.is_file() {
        check.problem(path, format!("{} is not a file", file.display()));
    }
    Some(file)
}

fn limits(check: &mut Check<'_>, raw: &RawLimits) -> Limits {
    let mut size = |path: &str, value, default, range| {
        usize::try_from(check.number(path, value, default, range)).unwrap_or(usize::MAX)
    };
    let body_bytes_max = size("limits.body_bytes_max", raw.body_bytes_max, 32 << 20, (1 << 10, 1 << 30));
    let header_bytes_max = size("limits.header_bytes_max", raw.header_bytes_max, 64 << 10, (1 << 10, 1 << 20));
    let in_flight_max = size("limits.in_flight_max", raw.in_flight_max, 256, (1, 1 << 20));
    let connections_max = size("limits.connections_max", raw.connections_max, 1024, (1, 1 << 20));
    let seconds = Duration::from_secs;
    Limits {
        body_bytes_max,
        header_bytes_max,
        in_flight_max,
        connections_max,
        header_timeout: check.millis("limits.header_timeout_ms", raw.header_timeout_ms, seconds(10)),
        body_timeout: check.millis("limits.body_timeout_ms", raw.body_timeout_ms, seconds(60)),
        write_timeout: check.millis("limits.write_timeout_ms", raw.write_timeout_ms, seconds(60)),
        total_timeout: check.millis("limits.total_timeout_ms", raw.total_timeout_ms, seconds(1800)),
        keepalive_timeout: check.millis("limits.keepalive_timeout_ms", raw.keepalive_timeout_ms, seconds(60)),
        grace_period: check.millis("limits.grace_period_ms", raw.grace_period_ms, seconds(30)),
    }
}

fn hedging(check: &mut Check<'_>, raw: &RawHedging) -> HedgeLimits {
    let default = HedgeLimits::default();
    let share = real(check, "hedging.max_share", raw.max_share, (0.0, 1.0));
    let usd = real(check, "hedging.max_usd_per_hour", raw.max_usd_per_hour, (0.0, f64::MAX));
    HedgeLimits {
        max_share: share.unwrap_or(default.max_share),
        max_usd_per_hour: usd.unwrap_or(default.max_usd_per_hour),
    }
}

fn log(check: &mut Check<'_>, raw: RawLog) -> LogConfig {
    let format = match raw.format.as_deref() {
        None | Some("auto") => LogFormat::Auto,
        Some("human") => LogFormat::Human,
        Some("json") => LogFormat::Json,
        Some(other) => {
            check.problem("log.format", format!("{other:?} is not one of auto, human, json"));
            LogFormat::Auto
        }
    };
    let level = raw.level.unwrap_or_else(|| "info".to_owned());
    if !LEVELS.contains(&level.as_str()) {
        check.problem("log.level", format!("{level:?} is not one of {}", LEVELS.join(", ")));
    }
    LogConfig { format, level }
}
