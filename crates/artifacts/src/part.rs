//! The `.part` file: bytes on their way in, hashed as they are written, never more than stated.
//!
//! Does not know where the bytes come from. A part becomes an artifact only after [`Part::check`].

use std::fs;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use crate::digest::{Hasher, hash_reader};
use crate::error::{IoContext, SourceError};
use crate::manifest::Pinned;

/// Bytes collected before they are written to the disk.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// A partial file with the digest of what it holds so far.
pub(crate) struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: Hasher,
    len_bytes: u64,
    limit_bytes: u64,
}

impl Part {
    /// Opens the part, keeping and hashing what an earlier try left; more than `limit_bytes` is no
    /// beginning of the file and is dropped.
    pub(crate) async fn open(path: &Path, limit_bytes: u64) -> Result<Self, SourceError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .await
            .during("open", path)?;
        let size_bytes = file.metadata().await.during("read the size of", path)?.len();
        if size_bytes > limit_bytes {
            file.set_len(0).await.during("empty", path)?;
        }
        let known = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || hash_reader(&mut fs::File::open(known)?)).await;
        let (hasher, len_bytes) = hashed.map_err(io::Error::other).and_then(|result| result).during("read", path)?;
        file.seek(SeekFrom::Start(len_bytes)).await.during("seek in", path)?;
        let file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        Ok(Self { path: path.to_owned(), file, hasher, len_bytes, limit_bytes })
    }

    /// Bytes held so far.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`SourceError::TooLong`] before anything past the stated size is written.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        if self.len_bytes.saturating_add(bytes.len() as u64) > self.limit_bytes {
            return Err(SourceError::TooLong { expected_bytes: self.limit_bytes });
        }
        self.file.write_all(bytes).await.during("write", &self.path)?;
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew with an empty file.
    pub(crate) async fn restart(&mut self) -> Result<(), SourceError> {
        self.flush().await?;
        let file = self.file.get_mut();
        file.set_len(0).await.during("empty", &self.path)?;
        file.seek(SeekFrom::Start(0)).await.during("seek in", &self.path)?;
        self.hasher = Hasher::default();
        self.len_bytes = 0;
        Ok(())
    }

    /// Hands what was written to the system, so that a later try can go on from there.
    pub(crate) async fn flush(&mut self) -> Result<(), SourceError> {
        self.file.flush().await.during("write", &self.path)
    }

    /// Makes sure that the part is the whole pinned file.
    ///
    /// # Errors
    /// [`SourceError::WrongSize`] or [`SourceError::WrongDigest`].
    pub(crate) async fn check(mut self, pinned: &Pinned, what: &str) -> Result<(), SourceError> {
        self.flush().await?;
        check(self.hasher, self.len_bytes, pinned, what)
    }
}

/// Compares what came with what is pinned.
pub(crate) fn check(hasher: Hasher, actual_bytes: u64, pinned: &Pinned, what: &str) -> Result<(), SourceError> {
    let expected_bytes = pinned.size_bytes;
    if actual_bytes != expected_bytes {
        return Err(SourceError::WrongSize { what: what.to_owned(), expected_bytes, actual_bytes });
    }
    let (expected, actual) = (pinned.sha256, hasher.finish());
    match actual == expected {
        true => Ok(()),
        false => Err(SourceError::WrongDigest { what: what.to_owned(), expected, actual }),
    }
}

/// Removes a part and the note of its entity tag; what is not there is no error.
pub(crate) fn discard(part: &Path) {
    for path in [part.to_owned(), tag_of(part)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "partial file not removed");
            }
            _ => (),
        }
    }
}

/// Where the entity tag of a part is noted.
pub(crate) fn tag_of(part: &Path) -> PathBuf {
    part.with_extension("part.etag")
}
