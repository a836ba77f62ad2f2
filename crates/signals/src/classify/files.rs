//! The files of a classifier, read and checked against their checksums.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::heads::{HEADS_BYTES_MAX, HeadsError};
use super::tagger::TAGGER_BYTES_MAX;

/// Largest `tokenizer.json` and `encoder.onnx`, in bytes.
const FILE_BYTES_MAX: usize = 128 << 20;
/// Largest `SHA256SUMS`, in bytes.
const SUMS_BYTES_MAX: usize = 64 << 10;

/// Why a classifier is not used.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// A file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Its name.
        file: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A file is not what `SHA256SUMS` says.
    #[error("{file} is damaged: its SHA-256 is not the one in SHA256SUMS")]
    Damaged {
        /// Its name.
        file: &'static str,
    },
    /// The heads are not usable.
    #[error(transparent)]
    Heads(#[from] HeadsError),
    /// Tokenizer, model or runtime are not usable.
    #[error("{0}")]
    Unusable(String),
}

/// The contents of a classifier's files.
#[derive(Clone)]
pub struct Files {
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `encoder.onnx`.
    pub encoder: Vec<u8>,
    /// `heads.json`.
    pub heads: Vec<u8>,
}

impl Files {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`ClassifierError::Read`] and [`ClassifierError::Damaged`], for the first file that is missing, too large or not what
    /// its checksum says.
    pub fn read(folder: &Path) -> Result<Self, ClassifierError> {
        let sums = Sums::read(folder)?;
        let file = |name, bytes_max| sums.file(folder, name, bytes_max);
        Ok(Self {
            tokenizer: file("tokenizer.json", FILE_BYTES_MAX)?,
            encoder: file("encoder.onnx", FILE_BYTES_MAX)?,
            heads: file("heads.json", HEADS_BYTES_MAX)?,
        })
    }

    /// Reads `tagger.json` of a folder that has one.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn read_tagger(folder: &Path) -> Result<Vec<u8>, ClassifierError> {
        Sums::read(folder)?.file(folder, "tagger.json", TAGGER_BYTES_MAX)
    }
}

/// The checksums of a folder.
struct Sums(String);

impl Sums {
    fn read(folder: &Path) -> Result<Self, ClassifierError> {
        Ok(Self(String::from_utf8_lossy(&read(folder, "SHA256SUMS", SUMS_BYTES_MAX)?).into_owned()))
    }

    /// A file that is what its checksum says.
    fn file(&self, folder: &Path, name: &'static str, bytes_max: usize) -> Result<Vec<u8>, ClassifierError> {
        let bytes = read(folder, name, bytes_max)?;
        let is_listed =
            listed(&self.0, name).is_some_and(|sum| sum.eq_ignore_ascii_case(&hex(&Sha256::digest(&bytes))));
        if is_listed { Ok(bytes) } else { Err(ClassifierError::Damaged { file: name }) }
    }
}

fn read(folder: &Path, file: &'static str, bytes_max: usize) -> Result<Vec<u8>, ClassifierError> {
    let failed = |error| ClassifierError::Read { file, error };
    let opened = std::fs::File::open(folder.join(file)).map_err(failed)?;
    let mut bytes = Vec::new();
    opened.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(failed(io::Error::other(format!("is larger than {bytes_max} bytes"))));
    }
    Ok(bytes)
}

/// The checksum of a file in the form of `sha256sum`: the digest, white space, an optional `*`, the name.
fn listed<'a>(sums: &'a str, name: &str) -> Option<&'a str> {
    let entries = sums.lines().filter_map(|line| line.split_once(char::is_whitespace));
    entries
        .map(|(sum, rest)| (sum, rest.trim_start().trim_start_matches('*')))
        .find(|(_, of)| *of == name)
        .map(|(sum, _)| sum)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
