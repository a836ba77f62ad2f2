//! A source: where a file can be had from. Parsing and printing of the four schemes.
//!
//! Fetches nothing; `fetch` does.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use reqwest::Url;

use crate::digest::Digest;
use crate::error::SourceError;

/// Where a pinned file can be had from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `file:/absolute/path`
    File(PathBuf),
    /// `https://...`, or `http://` to this very machine.
    Web(Url),
    /// `hf:owner/repo@revision/path/in/repo`
    Hub(HubFile),
    /// `pypi:project==version`
    Pypi(WheelSource),
}

/// A file on the Hub or a mirror of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubFile {
    pub(crate) repository: String,
    pub(crate) revision: String,
    pub(crate) path: String,
}

/// A wheel, or one file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WheelSource {
    pub(crate) project: String,
    pub(crate) version: String,
    pub(crate) sha256: Digest,
    pub(crate) size_bytes: u64,
    /// `None` delivers the wheel itself.
    pub(crate) member: Option<String>,
    pub(crate) tags: WheelTags,
}

/// Which wheel of a release pip is to pick, whatever Python runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WheelTags {
    pub(crate) platform: Option<String>,
    pub(crate) python: Option<String>,
    pub(crate) implementation: Option<String>,
    pub(crate) abi: Option<String>,
}

/// The text of a source, before a wheel's details are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    File(PathBuf),
    Web(Url),
    Hub(HubFile),
    Pypi { project: String, version: String },
}

impl Address {
    /// Parses `scheme:rest`; the error is a sentence for the manifest's author.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(format!("source {text:?} has no scheme; file:, https:, hf: and pypi: are known"));
        };
        match scheme {
            "file" => parse_file(text, rest),
            "https" | "http" => parse_web(text),
            "hf" => parse_hub(text, rest),
            "pypi" => parse_pypi(text, rest),
            _ => Err(format!("source scheme {scheme:?} is unknown; file:, https:, hf: and pypi: are known")),
        }
    }
}

impl HubFile {
    /// The address under `base`, in the Hub's layout.
    pub(crate) fn url(&self, base: &str) -> Result<Url, SourceError> {
        let Self { repository, revision, path } = self;
        let text = format!("{}/{repository}/resolve/{revision}/{path}", base.trim_end_matches('/'));
        Url::parse(&text).map_err(|error| SourceError::BadAddress { url: text, reason: error.to_string() })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Web(url) => f.write_str(&without_credentials(url)),
            Self::Hub(HubFile { repository, revision, path }) => write!(f, "hf:{repository}@{revision}/{path}"),
            Self::Pypi(wheel) => {
                write!(f, "pypi:{}=={}", wheel.project, wheel.version)?;
                wheel.member.iter().try_for_each(|member| write!(f, " ({member})"))
            }
        }
    }
}

/// Whether a name from a manifest or archive stays below the folder it is joined to.
pub(crate) fn is_safe_relative(name: &str) -> bool {
    let normal = |part| matches!(part, Component::Normal(_));
    !name.is_empty() && !name.contains(['\\', '\0']) && !name.ends_with('/') && Path::new(name).components().all(normal)
}

/// Whether this address is this very machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The address as it may be shown.
fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    let has_changed = url.set_password(None).is_ok() && url.set_username("").is_ok();
    if has_changed { url.to_string() } else { url.origin().ascii_serialization() }
}

fn parse_file(text: &str, rest: &str) -> Result<Address, String> {
    let path = PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
    match path.is_absolute() {
        true => Ok(Address::File(path)),
        false => Err(format!("source {text:?} must name an absolute path")),
    }
}

fn parse_web(text: &str) -> Result<Address, String> {
    let url = Url::parse(text).map_err(|error| format!("source {text:?}: {error}"))?;
    match url.scheme() == "https" || is_loopback(&url) {
        true => Ok(Address::Web(url)),
        false => Err(format!("source {text:?} must be https: (http: is for this very machine only)")),
    }
}

fn parse_hub(text: &str, rest: &str) -> Result<Address, String> {
    let wrong = || format!("source {text:?} must be hf:owner/repo@revision/path/in/repo");
    let plain = |part: &str| is_safe_relative(part) && !part.contains([':', '?', '#', '%', '@', ' ']);
    let (repository, rest) = rest.split_once('@').ok_or_else(wrong)?;
    let (revision, path) = rest.split_once('/').ok_or_else(wrong)?;
    let is_good = plain(repository) && plain(revision) && plain(path) && repository.split('/').count() == 2;
    match is_good {
        true => Ok(Address::Hub(HubFile {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
            path: path.to_owned(),
        })),
        false => Err(wrong()),
    }
}

fn parse_pypi(text: &str, rest: &str) -> Result<Address, String> {
    let plain = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        part.bytes().all(allowed) && part.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
    };
    match rest.split_once("==") {
        Some((project, version)) if plain(project) && plain(version) => {
            Ok(Address::Pypi { project: project.to_owned(), version: version.to_owned() })
        }
        _ => Err(format!("source {text:?} must be pypi:project==version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_schemes_parse() {
        let check = |text: &str, expected: Address| assert_eq!(Address::parse(text).as_ref(), Ok(&expected), "{text}");
        check("file:/a/b", Address::File("/a/b".into()));
        check("file:///a/b", Address::File("/a/b".into()));
        check("https://h/x", Address::Web("https://h/x".parse().unwrap()));
        check("http://127.0.0.1:1/x", Address::Web("http://127.0.0.1:1/x".parse().unwrap()));
        check("http://[::1]:1/x", Address::Web("http://[::1]:1/x".parse().unwrap()));
        let hub = HubFile { repository: "o/r".into(), revision: "main".into(), path: "d/f.gguf".into() };
        check("hf:o/r@main/d/f.gguf", Address::Hub(hub));
        check("pypi:a-b==1.0.post1", Address::Pypi { project: "a-b".into(), version: "1.0.post1".into() });
    }

    #[test]
    fn other_texts_are_refused_with_what_was_expected() {
        for (text, expected) in [
            ("model.gguf", "no scheme"),
            ("ftp://h/x", "unknown"),
            ("file:a/b", "absolute"),
            ("http://example.org/x", "https:"),
            ("https://", "https://"),
            ("hf:o@main/f", "hf:owner/repo@revision"),
            ("hf:o/r/f", "hf:owner/repo@revision"),
            ("hf:o/r@main/../f", "hf:owner/repo@revision"),
            ("hf:o/r@main/f?x", "hf:owner/repo@revision"),
            ("pypi:a", "pypi:project==version"),
            ("pypi:-r==1", "pypi:project==version"),
            ("pypi:a==1 --hash", "pypi:project==version"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn sources_print_as_they_are_written_but_for_credentials() {
        let check = |source: Source, text: &str| assert_eq!(source.to_string(), text);
        check(Source::File("/a".into()), "file:/a");
        check(Source::Web("https://me:secret@h/x".parse().unwrap()), "https://h/x");
        let hub = HubFile { repository: "o/r".into(), revision: "v1".into(), path: "f".into() };
        check(Source::Hub(hub), "hf:o/r@v1/f");
    }

    #[test]
    fn hub_addresses_follow_the_resolve_layout() {
        let file = HubFile { repository: "o/r".into(), revision: "v1".into(), path: "d/f.gguf".into() };
        for base in ["https://hub", "https://hub/"] {
            assert_eq!(file.url(base).unwrap().as_str(), "https://hub/o/r/resolve/v1/d/f.gguf");
        }
        assert!(file.url("not a base").is_err());
    }

    #[test]
    fn names_that_leave_their_folder_are_not_safe() {
        for name in ["a", "a/b", "a.b/..c"] {
            assert!(is_safe_relative(name), "{name}");
        }
        for name in ["", "/a", "..", "a/../b", "a/", "./a", "a\\b", "a\0"] {
            assert!(!is_safe_relative(name), "{name:?}");
        }
    }
}
