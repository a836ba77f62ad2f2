//! The versions of heads that were learnt on this machine.
//!
//! ```text
//! <data folder>/learning/
//!   labels.sqlite3            what heads are fitted to
//!   heads/v1/heads.json       one folder for each version, never changed once it is there
//!   heads/v1/about.json       when, from what, how good; the version that was active before
//!   active                    the name of the version in force; absent for the heads that came with the classifier
//! ```
//!
//! A version holds for the classifier whose `heads.json` it was made from, known by its SHA-256: with another classifier
//! the heads that came with it are in force again. Everything is written beside its place and moved there, so that a reader
//! sees a whole version or none.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use signals::classify::heads::HEADS_BYTES_MAX;

/// Versions kept; the oldest go first, the active one and those it goes back to stay.
const VERSIONS_MAX: usize = 20;
/// Largest `about.json` and `active`, in bytes.
const ABOUT_BYTES_MAX: usize = 1 << 20;
/// Number of a version at most.
const NUMBER_MAX: u64 = 1_000_000;

/// Why versions cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VersionError {
    /// A file.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that is not what it was.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is nothing to go back to.
    #[error("no learnt version is active: the heads that came with the classifier are in force")]
    NothingActive,
    /// Another `tidegate train` is running.
    #[error("another tidegate train is running")]
    Busy,
}

/// What is said of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Unix time in seconds.
    pub created_s: u64,
    /// The version that was active before; `None` for the heads that came with the classifier.
    pub parent: Option<String>,
    /// SHA-256 of the `heads.json` that came with the classifier.
    pub shipped_sha256: String,
    /// SHA-256 of the version's own.
    pub heads_sha256: String,
    /// The heads that were fitted anew.
    pub targets: Vec<AboutTarget>,
}

/// What is said of a head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AboutTarget {
    /// The target whose labels it was fitted to.
    pub target: String,
    /// The model whose head it is.
    pub model: String,
    /// How much of it was fitted.
    pub refit: String,
    /// Labels it was fitted to.
    pub training: usize,
    /// Labels it was compared on.
    pub held_out: usize,
    /// 95 % interval of its log loss less that of the head before.
    pub log_loss_difference: [f64; 2],
    /// 95 % interval of its APGR less that of the head before.
    pub apgr_difference: [f64; 2],
}

/// A version that is in force.
#[derive(Debug)]
pub(crate) struct Learnt {
    /// Its name.
    pub version: String,
    /// Its `heads.json`.
    pub heads: Vec<u8>,
}

/// The versions below a data folder.
pub(crate) struct Versions {
    folder: PathBuf,
}

impl Versions {
    /// Nothing is read or made.
    pub(crate) fn below(home: &Path) -> Self {
        Self { folder: home.join(super::FOLDER) }
    }

    /// Keeps others from writing until it is dropped.
    ///
    /// # Errors
    /// When another process does the same.
    pub(crate) fn lock(&self) -> Result<File, VersionError> {
        make_folder(&self.folder)?;
        let path = self.folder.join("train.lock");
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| VersionError::Io { path, error })?;
        file.try_lock().map_err(|_| VersionError::Busy)?;
        Ok(file)
    }

    /// The name of the active version.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn active(&self) -> Result<Option<String>, VersionError> {
        let path = self.folder.join("active");
        match read(&path, ABOUT_BYTES_MAX) {
            Err(VersionError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(bytes) => {
                let name = String::from_utf8_lossy(&bytes).trim().to_owned();
                match number(&name) {
                    Some(_) => Ok(Some(name)),
                    None => Err(VersionError::Damaged { path, problem: "it names no version".to_owned() }),
                }
            }
        }
    }

    /// The version in force for the classifier that came with these heads; `None` when it is none, or one for another
    /// classifier.
    ///
    /// # Errors
    /// When the active version cannot be read or is damaged.
    pub(crate) fn in_force(&self, shipped: &[u8]) -> Result<Option<Learnt>, VersionError> {
        let Some(version) = self.active()? else { return Ok(None) };
        let about = self.about(&version)?;
        if about.shipped_sha256 != sha256(shipped) {
            return Ok(None);
        }
        let path = self.version(&version).join("heads.json");
        let heads = read(&path, HEADS_BYTES_MAX)?;
        if sha256(&heads) != about.heads_sha256 {
            return Err(VersionError::Damaged { path, problem: "its SHA-256 is not the one in about.json".to_owned() });
        }
        Ok(Some(Learnt { version, heads }))
    }

    /// Writes a version with its account, and gives its name. It is not active yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn add(
        &self,
        shipped: &[u8],
        heads: &[u8],
        created_s: u64,
        targets: Vec<AboutTarget>,
    ) -> Result<String, VersionError> {
        let about = About {
            created_s,
            parent: self.in_force(shipped)?.map(|learnt| learnt.version),
            shipped_sha256: sha256(shipped),
            heads_sha256: sha256(heads),
            targets,
        };
        let about = serde_json::to_vec_pretty(&about)
            .map_err(|error| VersionError::Io { path: self.folder.clone(), error: error.into() })?;
        make_folder(&self.folder.join("heads"))?;
        let unfinished = self.folder.join("heads").join(format!(".unfinished-{}", std::process::id()));
        make_folder(&unfinished)?;
        write(&unfinished.join("heads.json"), heads)?;
        write(&unfinished.join("about.json"), &about)?;
        let next = self.numbers()?.last().map_or(1, |last| last + 1);
        let version = format!("v{next}");
        rename(&unfinished, &self.version(&version))?;
        Ok(version)
    }

    /// Puts a version in force, or the heads that came with the classifier.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn activate(&self, version: Option<&str>) -> Result<(), VersionError> {
        let path = self.folder.join("active");
        match version {
            Some(version) => {
                let unfinished = self.folder.join(".active");
                write(&unfinished, format!("{version}\n").as_bytes())?;
                rename(&unfinished, &path)?;
            }
            None => fs::remove_file(&path).map_err(|error| VersionError::Io { path, error })?,
        }
        self.prune()
    }

    /// Goes back to the version before the active one. Gives both names; `None` for the heads that came with the classifier.
    ///
    /// # Errors
    /// When none is active.
    pub(crate) fn roll_back(&self) -> Result<(String, Option<String>), VersionError> {
        let active = self.active()?.ok_or(VersionError::NothingActive)?;
        let parent = self.about(&active)?.parent;
        self.activate(parent.as_deref())?;
        Ok((active, parent))
    }

    /// The account of a version.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn about(&self, version: &str) -> Result<About, VersionError> {
        let path = self.version(version).join("about.json");
        let bytes = read(&path, ABOUT_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|error| VersionError::Damaged { path, problem: error.to_string() })
    }

    fn version(&self, version: &str) -> PathBuf {
        self.folder.join("heads").join(version)
    }

    /// The numbers of all versions, ascending.
    fn numbers(&self) -> Result<Vec<u64>, VersionError> {
        let path = self.folder.join("heads");
        let entries = fs::read_dir(&path).map_err(|error| VersionError::Io { path, error })?;
        let mut numbers: Vec<_> =
            entries.filter_map(|entry| number(&entry.ok()?.file_name().to_string_lossy())).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes the oldest versions beyond the limit that nothing leads back to.
    fn prune(&self) -> Result<(), VersionError> {
        let mut kept = Vec::new();
        let mut next = self.active()?;
        while let Some(version) = next.take().filter(|_| kept.len() < VERSIONS_MAX / 2) {
            next = self.about(&version).ok().and_then(|about| about.parent);
            kept.push(version);
        }
        let numbers = self.numbers()?;
        let beyond = numbers.len().saturating_sub(VERSIONS_MAX);
        for version in numbers.into_iter().take(beyond).map(|number| format!("v{number}")) {
            if !kept.contains(&version) {
                let path = self.version(&version);
                fs::remove_dir_all(&path).map_err(|error| VersionError::Io { path, error })?;
            }
        }
        Ok(())
    }
}

/// The number of a version's name, which cannot lead out of its folder.
fn number(version: &str) -> Option<u64> {
    let digits = version.strip_prefix('v')?;
    let number = digits.parse().ok().filter(|number| (1..=NUMBER_MAX).contains(number))?;
    (digits == number.to_string()).then_some(number)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_folder(path: &Path) -> Result<(), VersionError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| VersionError::Io { path: path.to_owned(), error })
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, VersionError> {
    let failed = |error| VersionError::Io { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(failed)?;
    opened.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(failed(io::Error::other(format!("is larger than {bytes_max} bytes"))));
    }
    Ok(bytes)
}

/// Writes a file that is on the disk when this returns.
fn write(path: &Path, bytes: &[u8]) -> Result<(), VersionError> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| VersionError::Io { path: path.to_owned(), error })
}

/// Moves what was written, and has the folder know it.
fn rename(from: &Path, to: &Path) -> Result<(), VersionError> {
    let renamed = fs::rename(from, to).and_then(|()| match to.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    });
    renamed.map_err(|error| VersionError::Io { path: to.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_into_force_and_go_back_one_by_one() {
        let home = tempfile::tempdir().unwrap();
        let versions = Versions::below(home.path());
        let in_force = || versions.in_force(b"shipped").unwrap().map(|learnt| (learnt.version, learnt.heads));
        assert!(in_force().is_none() && matches!(versions.roll_back(), Err(VersionError::NothingActive)));
        let add = |heads: &[u8]| {
            let version = versions.add(b"shipped", heads, 7, Vec::new()).unwrap();
            versions.activate(Some(&version)).unwrap();
            version
        };
        assert_eq!((add(b"one"), in_force()), ("v1".to_owned(), Some(("v1".to_owned(), b"one".to_vec()))));
        assert_eq!((add(b"two"), in_force()), ("v2".to_owned(), Some(("v2".to_owned(), b"two".to_vec()))));
        assert_eq!(versions.about("v2").unwrap().parent.as_deref(), Some("v1"));
        assert_eq!(versions.roll_back().unwrap(), ("v2".to_owned(), Some("v1".to_owned())));
        assert_eq!(in_force().unwrap().1, b"one");
        assert_eq!(versions.roll_back().unwrap(), ("v1".to_owned(), None));
        assert!(in_force().is_none());
        // What was made before stays, and is not written over.
        assert_eq!((add(b"three"), versions.about("v3").unwrap().parent), ("v3".to_owned(), None));
        assert!(versions.in_force(b"another classifier").unwrap().is_none());
        for n in 0..30u8 {
            add(&[n]);
        }
        assert_eq!(versions.numbers().unwrap().len(), VERSIONS_MAX);
        assert_eq!(in_force().unwrap().1, [29]);
    }

    #[test]
    fn what_is_damaged_is_not_used_and_one_process_writes() {
        let home = tempfile::tempdir().unwrap();
        let versions = Versions::below(home.path());
        let held = versions.lock().unwrap();
        assert!(matches!(versions.lock(), Err(VersionError::Busy)));
        drop(held);
        let version = versions.add(b"shipped", b"heads", 7, Vec::new()).unwrap();
        versions.activate(Some(&version)).unwrap();
        std::fs::write(home.path().join("learning/heads/v1/heads.json"), "changed").unwrap();
        let error = versions.in_force(b"shipped").unwrap_err().to_string();
        assert!(error.contains("is damaged: its SHA-256"), "{error}");
        for active in ["../../elsewhere", "v0", "v01", ""] {
            std::fs::write(home.path().join("learning/active"), active).unwrap();
            assert!(matches!(versions.active(), Err(VersionError::Damaged { .. })), "{active}");
        }
    }
}
