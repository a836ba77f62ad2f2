//! Installing one artifact: lock, look again, room, fetch or build, name, receipt.
//!
//! Whether an installation is needed at all is `store`'s to say.

use std::path::{Path, PathBuf};

use crate::build::{Builder, check_compiler};
use crate::digest::{Digest, hash_file};
use crate::disk::{check_room, publish};
use crate::engine::engine_version;
use crate::error::{Error, IoContext};
use crate::fetch::Fetcher;
use crate::home::{Home, make_folder, remove_folder};
use crate::lock::Lock;
use crate::manifest::{Artifact, Build, Pinned, Plan, Role, Toolchain};
use crate::progress::Progress;
use crate::receipt::{OnDisk, Receipt, now_unix_s};
use crate::settings::Settings;

/// Mode of an installed file that is run.
const EXECUTABLE_MODE: u32 = 0o755;
/// Mode of an installed file that is read.
const READABLE_MODE: u32 = 0o644;

/// One installation.
pub(crate) struct Installation<'a> {
    pub(crate) home: &'a Home,
    pub(crate) settings: &'a Settings,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) artifact: &'a Artifact,
    pub(crate) plan: Plan<'a>,
}

/// What is ready to be given its name.
struct Ready {
    from: PathBuf,
    sha256: Digest,
    size_bytes: u64,
    sources: Vec<String>,
}

impl Installation<'_> {
    /// Installs, unless another process did while this one waited for the lock.
    pub(crate) async fn run(&self) -> Result<PathBuf, Error> {
        let Artifact { name, version, file_name, .. } = self.artifact;
        let _lock = Lock::take(self.home, name, self.progress).await?;
        let folder = self.home.version(name, version);
        let path = folder.join(file_name);
        if let OnDisk::Whole(_) = Receipt::read(&folder, file_name, &self.plan.pinned()) {
            return Ok(path);
        }
        if let Plan::Build(..) = self.plan {
            check_compiler(name, self.settings)?;
        }
        make_folder(self.home.path())?;
        check_room(name, self.home.path(), self.plan.disk_bytes())?;
        let ready = match self.plan {
            Plan::Fetch(pinned) => self.fetch(pinned).await?,
            Plan::Build(build, tools) => self.build(build, tools).await?,
        };
        self.name(ready, &folder, &path)?;
        remove_folder(&self.home.build(name, version))?;
        Ok(path)
    }

    async fn fetch(&self, pinned: &Pinned) -> Result<Ready, Error> {
        let fetched = self.fetcher().fetch(pinned).await?;
        Ok(Ready {
            from: fetched.part,
            sha256: pinned.sha256,
            size_bytes: pinned.size_bytes,
            sources: vec![fetched.source],
        })
    }

    async fn build(&self, build: &Build, tools: Toolchain<'_>) -> Result<Ready, Error> {
        let folder = self.home.build(&self.artifact.name, &self.artifact.version);
        let built = Builder { fetcher: self.fetcher(), build, tools, folder }.run().await?;
        let version = engine_version(&built.path).await?;
        self.progress.note(&format!("{}: built, it says version {version}", self.artifact.name));
        let (sha256, size_bytes) = hash_file(&built.path).await.during("read", &built.path)?;
        Ok(Ready { from: built.path, sha256, size_bytes, sources: built.sources })
    }

    fn name(&self, ready: Ready, folder: &Path, path: &Path) -> Result<(), Error> {
        make_folder(folder)?;
        let mode = if self.artifact.role == Role::Engine { EXECUTABLE_MODE } else { READABLE_MODE };
        publish(&ready.from, path, mode)?;
        let receipt = Receipt {
            name: self.artifact.name.clone(),
            version: self.artifact.version.clone(),
            file: self.artifact.file_name.clone(),
            sha256: ready.sha256,
            size_bytes: ready.size_bytes,
            sources: ready.sources,
            pinned: self.plan.pinned(),
            installed_at_unix_s: now_unix_s(),
        };
        receipt.write(folder)
    }

    fn fetcher(&self) -> Fetcher<'_> {
        let Self { home, settings, progress, artifact, .. } = *self;
        Fetcher { home, settings, progress, artifact: &artifact.name }
    }
}
