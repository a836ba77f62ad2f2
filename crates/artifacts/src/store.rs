//! The store: what is on this machine, and the commands that change it.
//!
//! [`Store::find`] looks only at files. The network is used by [`Store::install`] and
//! [`Store::install_own`] alone, and only for what is missing.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, hash_file};
use crate::engine::engine_version;
use crate::error::{Error, IoContext};
use crate::fetch::discard_downloads;
use crate::home::{Home, remove_folder};
use crate::install::Installation;
use crate::lock::Lock;
use crate::manifest::{Artifact, Manifest, Plan, Role};
use crate::progress::Progress;
use crate::receipt::{OnDisk, Receipt};
use crate::settings::Settings;

/// The artifacts of one home.
#[derive(Debug, Clone)]
pub struct Store {
    home: Home,
    manifest: Manifest,
    settings: Settings,
}

/// How a file came to be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Tidegate installed it.
    Installed,
    /// The configuration names it.
    Configured,
    /// It is on `PATH`.
    Path,
    /// `ORT_DYLIB_PATH` names it.
    Environment,
}

/// A file that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file. A bare library name in `ORT_DYLIB_PATH` stays bare: the loader looks for it.
    pub path: PathBuf,
    /// The installed version; `None` for a file from elsewhere, whose version only running it would
    /// tell ([`engine_version`]).
    pub version: Option<String>,
    /// How it came to be here.
    pub origin: Origin,
}

/// What [`Store::verify`] could compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The digest is the recorded one.
    Matches,
    /// The file is from elsewhere: there is nothing to compare with.
    NotPinned,
}

/// A file that was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The file.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// How it came to be here.
    pub origin: Origin,
    /// What it was compared with.
    pub check: Check,
}

/// Whether an artifact can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Installed, whole by its size.
    Installed,
    /// Not installed, and a file from elsewhere on this machine is used.
    Elsewhere,
    /// Not here.
    Missing,
    /// Installed once, and what is there does not fit its receipt or the manifest.
    Corrupt,
    /// Not here, and the manifest has nothing for this platform.
    Unsupported,
    /// The configuration or `ORT_DYLIB_PATH` names a file that is not usable.
    Misconfigured,
}

/// An artifact as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Whether it is installed only where somebody asks for it by name or a configuration needs it.
    pub is_optional: bool,
    /// SPDX expression.
    pub licence: String,
    /// One sentence.
    pub about: String,
    /// The version that would be installed.
    pub version: String,
    /// The version that is used: asked of an engine from elsewhere, where it answers.
    pub found_version: Option<String>,
    /// Whether it can be used.
    pub state: State,
    /// Size of the file that is used.
    pub size_bytes: Option<u64>,
    /// What installing would fetch at most; `None` where there is nothing for this platform.
    pub fetch_bytes: Option<u64>,
    /// The file that is used.
    pub path: Option<PathBuf>,
    /// How it came to be here.
    pub origin: Option<Origin>,
}

impl Store {
    /// A store over a home; touches nothing yet.
    pub fn new(home: Home, manifest: Manifest, settings: Settings) -> Self {
        Self { home, manifest, settings }
    }

    /// The home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The file to use, if there is one. No network, no locks; a few file metadata.
    ///
    /// Order: for an engine configured, installed, `PATH` (an installed engine is of a version known to
    /// work); for the ONNX Runtime configured, `ORT_DYLIB_PATH`, installed (whoever sets the variable
    /// means it); for a model configured, installed. What is installed counts when its receipt fits the
    /// manifest and the file has the recorded size.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Configured`] when the configuration or the variable names a file
    /// that is not usable, rather than quietly using another.
    pub fn find(&self, name: &str) -> Result<Option<Found>, Error> {
        let artifact = self.artifact(name)?;
        if let Some(path) = self.settings.overrides.get(name) {
            return self.named(artifact, path, "the configuration", Origin::Configured).map(Some);
        }
        if let (Role::OnnxRuntime, Some(path)) = (artifact.role, &self.settings.ort_dylib_path) {
            return self.named(artifact, path, "ORT_DYLIB_PATH", Origin::Environment).map(Some);
        }
        if let OnDisk::Whole(receipt) = self.on_disk(artifact) {
            return Ok(Some(self.installed(artifact, receipt.version)));
        }
        let on_path = || executable_on_path(&artifact.file_name, self.settings.search_path.as_deref());
        let path = if artifact.role == Role::Engine { on_path() } else { None };
        Ok(path.map(|path| Found { path, version: None, origin: Origin::Path }))
    }

    /// The file to use, installed if there is none. What [`Store::find`] finds is returned at once,
    /// without network.
    ///
    /// # Errors
    /// Those of [`Store::find`] and [`Store::install_own`].
    pub async fn install(&self, name: &str, progress: &dyn Progress) -> Result<Found, Error> {
        match self.find(name)? {
            Some(found) => Ok(found),
            None => self.install_own(name, progress).await,
        }
    }

    /// As [`Store::install`], but what is on `PATH` or named from outside does not count: for a person
    /// who wants the version of the manifest.
    ///
    /// Waits while another process installs the same artifact, and then uses what that one installed.
    /// Dropping the future stops children and leaves partial files that a later call goes on with.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::DiskFull`], [`Error::NoCompiler`], [`Error::Sources`] with every
    /// source and its reason, [`Error::Build`], [`Error::Io`]. All but the first may pass with time.
    pub async fn install_own(&self, name: &str, progress: &dyn Progress) -> Result<Found, Error> {
        let artifact = self.artifact(name)?;
        if let OnDisk::Whole(receipt) = self.on_disk(artifact) {
            return Ok(self.installed(artifact, receipt.version));
        }
        let Some(plan) = artifact.plan(&self.settings.platform) else {
            let platform = self.settings.platform.to_string();
            return Err(Error::Unsupported { artifact: name.to_owned(), platform });
        };
        let Self { home, settings, .. } = self;
        Installation { home, settings, progress, artifact, plan }.run().await?;
        Ok(self.installed(artifact, artifact.version.clone()))
    }

    /// Hashes the file that is used and compares it with what the receipt and the manifest say.
    ///
    /// # Errors
    /// [`Error::NotInstalled`]; [`Error::Corrupt`] with both digests; those of [`Store::find`].
    pub async fn verify(&self, name: &str) -> Result<Verified, Error> {
        let artifact = self.artifact(name)?;
        let on_disk = self.on_disk(artifact);
        let found = self.find(name)?.filter(|found| found.origin != Origin::Path || on_disk == OnDisk::Nothing);
        let (path, origin) = match found {
            Some(found) => (found.path, found.origin),
            None if on_disk == OnDisk::Damaged => (self.file(artifact), Origin::Installed),
            None => return Err(Error::NotInstalled { artifact: name.to_owned() }),
        };
        let (sha256, size_bytes) = hash_file(&path).await.during("read", &path)?;
        let expected = match (origin, on_disk, artifact.plan(&self.settings.platform)) {
            (Origin::Installed, _, Some(Plan::Fetch(pinned))) => Some(pinned.sha256),
            (Origin::Installed, OnDisk::Whole(receipt), _) => Some(receipt.sha256),
            (Origin::Installed, ..) => return Err(Error::NotInstalled { artifact: name.to_owned() }),
            _ => None,
        };
        match expected {
            Some(expected) if expected != sha256 => {
                Err(Error::Corrupt { artifact: name.to_owned(), path, expected, actual: sha256 })
            }
            Some(_) => Ok(Verified { path, sha256, size_bytes, origin, check: Check::Matches }),
            None => Ok(Verified { path, sha256, size_bytes, origin, check: Check::NotPinned }),
        }
    }

    /// Removes what was installed of an artifact, every version, with partial downloads and builds.
    /// Files from elsewhere are left alone.
    ///
    /// # Errors
    /// [`Error::NotInstalled`] when there is nothing; [`Error::Busy`] while another process installs it.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let artifact = self.artifact(name)?;
        let Some(_lock) = Lock::try_take(&self.home, name)? else {
            return Err(Error::Busy { artifact: name.to_owned(), path: self.home.lock(name) });
        };
        let folder = self.home.artifact(name);
        let is_there = folder.exists();
        discard_downloads(&self.home, name)?;
        remove_folder(&self.home.build(name, &artifact.version))?;
        remove_folder(&folder)?;
        match is_there {
            true => Ok(()),
            false => Err(Error::NotInstalled { artifact: name.to_owned() }),
        }
    }

    /// Every artifact of the manifest, as it is on this machine. Runs engines from elsewhere to ask
    /// their version; no network.
    pub async fn list(&self) -> Vec<Listed> {
        let mut listed = Vec::new();
        for artifact in self.manifest.artifacts() {
            listed.push(self.listed(artifact).await);
        }
        listed
    }

    async fn listed(&self, artifact: &Artifact) -> Listed {
        let plan = artifact.plan(&self.settings.platform);
        let found = self.find(&artifact.name);
        let state = match (&found, self.on_disk(artifact), &plan) {
            (Err(_), ..) => State::Misconfigured,
            (Ok(Some(found)), ..) if found.origin == Origin::Installed => State::Installed,
            (Ok(Some(_)), ..) => State::Elsewhere,
            (Ok(None), OnDisk::Damaged, _) => State::Corrupt,
            (Ok(None), _, None) => State::Unsupported,
            (Ok(None), ..) => State::Missing,
        };
        let found = found.ok().flatten();
        let found_version = match &found {
            Some(Found { version: None, path, .. }) if artifact.role == Role::Engine => engine_version(path).await.ok(),
            Some(found) => found.version.clone(),
            None => None,
        };
        Listed {
            name: artifact.name.clone(),
            role: artifact.role,
            is_optional: artifact.is_optional,
            licence: artifact.licence.clone(),
            about: artifact.about.clone(),
            version: artifact.version.clone(),
            found_version,
            state,
            size_bytes: found.as_ref().and_then(|found| fs::metadata(&found.path).ok()).map(|data| data.len()),
            fetch_bytes: plan.map(|plan| plan.fetch_bytes()),
            origin: found.as_ref().map(|found| found.origin),
            path: found.map(|found| found.path),
        }
    }

    fn artifact(&self, name: &str) -> Result<&Artifact, Error> {
        self.manifest.get(name).ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
            known: self.manifest.artifacts().map(|artifact| artifact.name.clone()).collect(),
        })
    }

    /// What lies under the artifact's own version; nothing for a platform that the manifest leaves out.
    fn on_disk(&self, artifact: &Artifact) -> OnDisk {
        let folder = self.home.version(&artifact.name, &artifact.version);
        match artifact.plan(&self.settings.platform) {
            Some(plan) => Receipt::read(&folder, &artifact.file_name, &plan.pinned()),
            None => OnDisk::Nothing,
        }
    }

    fn file(&self, artifact: &Artifact) -> PathBuf {
        self.home.version(&artifact.name, &artifact.version).join(&artifact.file_name)
    }

    fn installed(&self, artifact: &Artifact, version: String) -> Found {
        Found { path: self.file(artifact), version: Some(version), origin: Origin::Installed }
    }

    /// A file that somebody named: it must be there.
    fn named(&self, artifact: &Artifact, path: &Path, setting: &'static str, origin: Origin) -> Result<Found, Error> {
        let is_bare_library =
            artifact.role == Role::OnnxRuntime && path.components().count() == 1 && path.is_relative();
        let (is_usable, needed) = match artifact.role {
            Role::Engine => (is_executable(path), "an executable file"),
            Role::Model | Role::OnnxRuntime | Role::Encoder => (path.is_file() || is_bare_library, "a file"),
        };
        match is_usable {
            true => Ok(Found { path: path.to_owned(), version: None, origin }),
            false => Err(Error::Configured { artifact: artifact.name.clone(), setting, path: path.to_owned(), needed }),
        }
    }
}

/// The first executable of this name in the folders of a search path.
pub(crate) fn executable_on_path(name: &str, search_path: Option<&OsStr>) -> Option<PathBuf> {
    let folders = search_path.into_iter().flat_map(env::split_paths);
    let mut candidates = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
    candidates.find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
