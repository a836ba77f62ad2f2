//! On what was measured: processor, memory, system, and the versions of what answered.
//!
//! What the system does not tell is absent; nothing here fails.

use std::path::Path;

use artifacts::Role;
use serde::Serialize;

use super::gguf::{self, Model};
use crate::compose;
use crate::config::{Config, LlamaCppConfig, ModelSource};

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Machine {
    /// The processor's own name.
    pub cpu: Option<String>,
    /// Processors that this process may use.
    pub cores: usize,
    pub memory_bytes: Option<u64>,
    /// Name and version of the system, and its kernel.
    pub os: String,
    pub arch: &'static str,
    /// Processes that wanted to run in the last minute, when it began: what else there was to do.
    pub load_average: Option<f64>,
}

/// A model that runs on this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LocalModel {
    pub file: Option<String>,
    pub bytes: Option<u64>,
    /// What the file says of itself.
    #[serde(flatten)]
    pub told: Model,
}

impl Machine {
    /// Looks at this one.
    pub(super) fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: after(&read("/proc/cpuinfo"), "model name", ':'),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory(&read("/proc/meminfo")),
            os: system(&read("/etc/os-release"), &read("/proc/sys/kernel/osrelease")),
            arch: std::env::consts::ARCH,
            load_average: read("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse().ok()),
        }
    }
}

impl LocalModel {
    /// Of the file of a local target, as far as it is here.
    pub(super) fn of(local: &LlamaCppConfig, config: &Config) -> Self {
        let path = match &local.model {
            ModelSource::Path(path) => Some(path.clone()),
            ModelSource::Artifact(name) => {
                compose::store(config).ok().and_then(|store| store.find(name).ok().flatten()).map(|found| found.path)
            }
        };
        let Some(path) = path else { return Self { file: None, bytes: None, told: Model::default() } };
        Self {
            file: path.file_name().map(|name| name.to_string_lossy().into_owned()),
            bytes: path.metadata().ok().map(|metadata| metadata.len()),
            told: gguf::read(&path).unwrap_or_default(),
        }
    }
}

/// What llama-server says of its version; `None` where there is none, or none that runs.
pub(super) async fn engine_version(config: &Config) -> Option<String> {
    let path = engine(config)?;
    artifacts::engine_version(Path::new(&path)).await.ok()
}

fn engine(config: &Config) -> Option<std::path::PathBuf> {
    let store = compose::store(config).ok()?;
    let name = store.manifest().first(Role::Engine)?.name().to_owned();
    store.find(&name).ok().flatten().map(|found| found.path)
}

/// What stands behind `key` and a sign on the first line that begins with it.
fn after(text: &str, key: &str, sign: char) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(sign))?;
    let value = line.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

fn memory(meminfo: &str) -> Option<u64> {
    let kilobytes = after(meminfo, "MemTotal", ':')?;
    kilobytes.trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn system(release: &str, kernel: &str) -> String {
    let name = after(release, "PRETTY_NAME", '=').unwrap_or_else(|| std::env::consts::OS.to_owned());
    match kernel.trim() {
        "" => name,
        kernel => format!("{name}, {kernel}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_tells_and_leaves_out_what_it_does_not() {
        let cpu = "processor\t: 0\nmodel name\t: AMD Ryzen 7 7840U\nmodel name\t: other\n";
        assert_eq!(after(cpu, "model name", ':').as_deref(), Some("AMD Ryzen 7 7840U"));
        assert_eq!(after("", "model name", ':'), None);
        assert_eq!(memory("MemTotal:       24563456 kB\nMemFree: 1 kB\n"), Some(24_563_456 * 1024));
        assert_eq!(memory("MemTotal: many"), None);
        assert_eq!(
            system("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n", "6.1.0-1\n"),
            "Debian GNU/Linux 12, 6.1.0-1"
        );
        assert_eq!(system("", ""), std::env::consts::OS);
        assert!(Machine::look().cores >= 1);
    }
}
