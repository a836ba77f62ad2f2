//! Everything that can go wrong here, each naming the artifact, source, path or limit at fault.
//!
//! Errors are not logged where they arise; whoever asked decides what to tell.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;

/// Why something about an artifact could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No environment variable says where the data folder is.
    #[error("no data folder is known: set TIDEGATE_HOME, XDG_DATA_HOME or HOME")]
    NoHome,
    /// The data folder must not depend on the working directory.
    #[error("the data folder {} is not an absolute path", path.display())]
    HomeNotAbsolute {
        /// What was given.
        path: PathBuf,
    },
    /// The manifest has mistakes; all of them.
    #[error("the artifact manifest is not usable:{}", lines(.0))]
    Manifest(Vec<Problem>),
    /// No such artifact.
    #[error("there is no artifact named {name:?}; known are: {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names in the manifest.
        known: Vec<String>,
    },
    /// The manifest has no file for this machine.
    #[error("{artifact} has no source for {platform}; put one on this machine and name its path in the configuration")]
    Unsupported {
        /// Artifact.
        artifact: String,
        /// This machine, such as `linux-x86_64`.
        platform: String,
    },
    /// A path that somebody set explicitly leads to no usable file.
    #[error("{artifact}: {setting} names {}, which is not {needed}", path.display())]
    Configured {
        /// Artifact.
        artifact: String,
        /// Who named the path: the configuration or a variable.
        setting: &'static str,
        /// The path.
        path: PathBuf,
        /// What it should be.
        needed: &'static str,
    },
    /// A file operation failed.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Too little room for what would be fetched and unpacked.
    #[error("{artifact} needs {need_bytes} bytes free in {}, and {available_bytes} are", path.display())]
    DiskFull {
        /// Artifact.
        artifact: String,
        /// Where it would go.
        path: PathBuf,
        /// Bytes needed, headroom included.
        need_bytes: u64,
        /// Bytes free for this user.
        available_bytes: u64,
    },
    /// Every source failed; each with its reason, in the order tried.
    #[error("{artifact} could not be had from any of {} source(s):{}", failures.len(), lines(failures))]
    Sources {
        /// Artifact.
        artifact: String,
        /// What was tried.
        failures: Vec<SourceFailure>,
    },
    /// The engine must be compiled here and there is nothing to compile it with.
    #[error(
        "{artifact} must be built here and this machine has no C++ compiler (looked for {looked_for}); install one, or put a ready {artifact} on PATH"
    )]
    NoCompiler {
        /// Artifact.
        artifact: String,
        /// Commands looked for.
        looked_for: String,
    },
    /// A step of a build failed.
    #[error("{artifact}: {step} failed: {reason}{}", lines(tail))]
    Build {
        /// Artifact.
        artifact: String,
        /// Step.
        step: &'static str,
        /// What happened to it.
        reason: String,
        /// The last lines it printed.
        tail: Vec<String>,
    },
    /// Asked of an artifact that is not here.
    #[error("{artifact} is not installed")]
    NotInstalled {
        /// Artifact.
        artifact: String,
    },
    /// An installed file is not what was installed.
    #[error("{artifact}: {} has sha256 {actual} where {expected} is right; remove and install it again", path.display())]
    Corrupt {
        /// Artifact.
        artifact: String,
        /// The file.
        path: PathBuf,
        /// Recorded digest.
        expected: Digest,
        /// Digest of what is there.
        actual: Digest,
    },
    /// Another process is installing or removing this artifact; later it may work.
    #[error("{artifact} is being worked on by another process (it holds {})", path.display())]
    Busy {
        /// Artifact.
        artifact: String,
        /// The lock file.
        path: PathBuf,
    },
    /// An executable did not tell its version.
    #[error("{} --version: {reason}", path.display())]
    EngineVersion {
        /// The executable.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// One mistake in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

/// A source that was tried in vain.
#[derive(Debug)]
pub struct SourceFailure {
    /// The source as the manifest writes it.
    pub source: String,
    /// Why it failed.
    pub error: SourceError,
}

/// Why one source did not deliver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The delivered bytes are not the pinned ones.
    #[error("{what} has sha256 {actual} where the manifest pins {expected}")]
    WrongDigest {
        /// The file or wheel.
        what: String,
        /// Pinned.
        expected: Digest,
        /// Delivered.
        actual: Digest,
    },
    /// The source offers another number of bytes than the manifest states.
    #[error("{what} has {actual_bytes} bytes where the manifest states {expected_bytes}")]
    WrongSize {
        /// The file or member.
        what: String,
        /// Stated.
        expected_bytes: u64,
        /// Offered.
        actual_bytes: u64,
    },
    /// The body went on past the stated size.
    #[error("the answer is longer than the {expected_bytes} bytes that the manifest states")]
    TooLong {
        /// Stated size.
        expected_bytes: u64,
    },
    /// The server answered with this status.
    #[error("the server answered {status}")]
    Status {
        /// HTTP status.
        status: u16,
    },
    /// A 206 for a range nobody asked for.
    #[error("the server sent the wrong range ({got})")]
    WrongRange {
        /// Its `content-range`.
        got: String,
    },
    /// The answer ended early, again and again.
    #[error("the answer ended after {got_bytes} of {expected_bytes} bytes ({reason})")]
    Cut {
        /// Bytes kept; the next install goes on from there.
        got_bytes: u64,
        /// Stated size.
        expected_bytes: u64,
        /// How it ended.
        reason: String,
    },
    /// No connection or no answer.
    #[error("no answer: {reason}")]
    Unreachable {
        /// The chain of causes.
        reason: String,
    },
    /// Plain HTTP to a host that is neither this machine nor the configured Hub mirror.
    #[error("{url} is not https")]
    NotEncrypted {
        /// The address.
        url: String,
    },
    /// The configured Hub base address makes no address with this path.
    #[error("{url:?} is not a usable address: {reason}")]
    BadAddress {
        /// What came out.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A file operation failed.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no Python to run pip with.
    #[error("{python:?} is not on this machine; a pypi: source needs Python with pip")]
    PythonMissing {
        /// The command.
        python: String,
    },
    /// There is Python without pip.
    #[error(
        "{python:?} has no pip; a pypi: source needs it (`{python} -m ensurepip`, or the system's python3-pip package)"
    )]
    PipMissing {
        /// The command.
        python: String,
    },
    /// pip failed.
    #[error("pip download failed ({status}):{}", lines(tail))]
    Pip {
        /// Its exit status.
        status: String,
        /// The last lines it printed.
        tail: Vec<String>,
    },
    /// pip printed nothing and fetched nothing for this long.
    #[error("pip download made no progress for {} s", .0.as_secs())]
    PipStalled(Duration),
    /// pip succeeded and left something else than one wheel.
    #[error("pip left {count} wheels where one was asked for")]
    WheelCount {
        /// Wheels found.
        count: usize,
    },
    /// The wheel cannot be read or lacks what was asked for, or holds what it should not.
    #[error("the wheel is not usable: {reason}")]
    Wheel {
        /// Why.
        reason: String,
    },
}

/// Adds what was being done, and with what, to an [`io::Error`].
pub(crate) trait IoContext<T> {
    /// Names the operation and the path.
    fn during<E: FromIo>(self, doing: &'static str, path: &Path) -> Result<T, E>;
}

/// Errors that have a place for a failed file operation.
pub(crate) trait FromIo {
    /// Wraps the failure.
    fn from_io(doing: &'static str, path: PathBuf, source: io::Error) -> Self;
}

impl FromIo for Error {
    fn from_io(doing: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self::Io { doing, path, source }
    }
}

impl FromIo for SourceError {
    fn from_io(doing: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self::Io { doing, path, source }
    }
}

impl<T> IoContext<T> for io::Result<T> {
    fn during<E: FromIo>(self, doing: &'static str, path: &Path) -> Result<T, E> {
        self.map_err(|source| E::from_io(doing, path.to_owned(), source))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.error)
    }
}

/// Each item on a line of its own, indented, after a line break.
fn lines<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\n  {item}")).collect()
}
