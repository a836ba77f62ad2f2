//! What the tests share: a home in a temporary folder, manifests, a progress that remembers.

pub(crate) mod server;
pub(crate) mod wheels;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use artifacts::{Error, Home, Manifest, Progress, Settings, SourceError, Stage, Store};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::Notify;

/// Name of the artifact that most tests install.
pub(crate) const MODEL: &str = "model";

/// A home that goes with the test.
pub(crate) struct Place {
    temp: TempDir,
}

/// Remembers what it was told, and tells when the first note comes.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) notes: Mutex<Vec<String>>,
    pub(crate) stages: Mutex<Vec<(String, u64, Option<u64>)>>,
    pub(crate) advanced: Mutex<u64>,
    pub(crate) noted: Arc<Notify>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    /// A file beside the home.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.temp.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn folder(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.temp.path().join("home")
    }

    pub(crate) fn store(&self, manifest: &str) -> Store {
        self.store_with(manifest, settings())
    }

    pub(crate) fn store_with(&self, manifest: &str, settings: Settings) -> Store {
        Store::new(Home::at(self.home()), Manifest::parse(manifest).unwrap(), settings)
    }

    /// Where the model's file is when it is installed.
    pub(crate) fn installed(&self) -> PathBuf {
        self.home().join("artifacts/model/1/model.gguf")
    }

    /// Where the model's bytes are on their way in.
    pub(crate) fn part(&self, body: &[u8]) -> PathBuf {
        let folder = self.home().join("downloads");
        std::fs::create_dir_all(&folder).unwrap();
        folder.join(format!("model-{}.part", sha256(body)))
    }

    /// What lies in the folder of downloads.
    pub(crate) fn downloads(&self) -> Vec<String> {
        names(&self.home().join("downloads"))
    }
}

impl Progress for Recorder {
    fn began(&self, stage: &Stage<'_>) {
        self.stages.lock().unwrap().push((stage.what.to_string(), stage.already, stage.total));
    }

    fn advanced(&self, amount: u64) {
        *self.advanced.lock().unwrap() += amount;
    }

    fn note(&self, line: &str) {
        self.notes.lock().unwrap().push(line.to_owned());
        self.noted.notify_one();
    }

    fn finished(&self) {}
}

impl Recorder {
    pub(crate) fn noted(&self, text: &str) -> bool {
        self.notes.lock().unwrap().iter().any(|note| note.contains(text))
    }
}

/// Nothing from this machine's environment, and no waiting.
pub(crate) fn settings() -> Settings {
    Settings { retry_delay: Duration::ZERO, ..Settings::isolated() }
}

/// The names in a folder, sorted; none when there is no folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Bytes that differ from place to place, so that a wrongly joined file does not pass.
pub(crate) fn body(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A manifest with one model of these bytes and these sources.
pub(crate) fn manifest(body: &[u8], sources: &[String]) -> String {
    manifest_sized(body, body.len() as u64, sources)
}

/// As [`manifest`], with a size that need not be true.
pub(crate) fn manifest_sized(body: &[u8], size_bytes: u64, sources: &[String]) -> String {
    format!("artifacts:\n{}", entry(MODEL, "model", "model.gguf", &sha256(body), size_bytes, sources))
}

/// One entry of a manifest.
pub(crate) fn entry(name: &str, role: &str, file: &str, sha256: &str, size_bytes: u64, sources: &[String]) -> String {
    let sources: String = sources.iter().map(|source| format!("          - {{from: '{source}'}}\n")).collect();
    format!(
        "  - name: {name}\n    version: '1'\n    role: {role}\n    licence: MIT\n    about: a\n    file_name: {file}\n    files:\n      - sha256: {sha256}\n        size_bytes: {size_bytes}\n        sources:\n{sources}"
    )
}

/// The failures of the sources that were tried.
pub(crate) fn failures(error: Error) -> Vec<SourceError> {
    match error {
        Error::Sources { failures, .. } => failures.into_iter().map(|failure| failure.error).collect(),
        other => panic!("not a failure of sources: {other}"),
    }
}
