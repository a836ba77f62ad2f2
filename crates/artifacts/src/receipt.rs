//! The receipt beside an installed file: what was installed, from where, with which digest.
//!
//! Written last, so that its presence says that the installation was completed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::sync_folder_of;
use crate::error::{Error, IoContext};

/// Name of a receipt.
pub(crate) const RECEIPT: &str = "receipt.json";
/// Largest receipt that is read.
const RECEIPT_BYTES_MAX: u64 = 64 << 10;

/// What is recorded of an installed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) file: String,
    pub(crate) sha256: Digest,
    pub(crate) size_bytes: u64,
    /// The sources that delivered.
    pub(crate) sources: Vec<String>,
    /// Digests that the manifest pinned: the file's own, or those of a build's inputs.
    pub(crate) pinned: Vec<Digest>,
    pub(crate) installed_at_unix_s: u64,
}

/// What a version's folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// Nothing, or something unfinished.
    Nothing,
    /// A receipt, and a file that it does not fit.
    Damaged,
    /// A file as its receipt says (by size; `verify` compares digests).
    Whole(Receipt),
}

impl Receipt {
    /// Writes the receipt into a version's folder, all or nothing.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(RECEIPT);
        let fresh = folder.join("receipt.json.new");
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other).during("write", &path)?;
        let mut file = File::create(&fresh).during("create", &fresh)?;
        file.write_all(&text).and_then(|()| file.sync_all()).during("write", &fresh)?;
        fs::rename(&fresh, &path).during("name", &path)?;
        sync_folder_of(&path)
    }

    /// Reads what is installed in a version's folder, by sizes only.
    pub(crate) fn read(folder: &Path, file_name: &str, pinned: &[Digest]) -> OnDisk {
        let path = folder.join(RECEIPT);
        let is_small = fs::metadata(&path).map(|data| data.len() <= RECEIPT_BYTES_MAX);
        let bytes = match is_small {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return OnDisk::Nothing,
            Ok(true) => fs::read(&path).ok(),
            _ => None,
        };
        let receipt = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        match receipt {
            Some(receipt) if receipt.fits(folder, file_name, pinned) => OnDisk::Whole(receipt),
            _ => OnDisk::Damaged,
        }
    }

    fn fits(&self, folder: &Path, file_name: &str, pinned: &[Digest]) -> bool {
        let size_bytes = fs::metadata(folder.join(file_name)).ok().filter(fs::Metadata::is_file).map(|data| data.len());
        self.file == file_name && self.pinned == pinned && size_bytes == Some(self.size_bytes)
    }
}

/// Now, in whole seconds since 1970.
pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_holds_only_for_the_file_it_was_written_for() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        let digest: Digest = "00".repeat(32).parse().unwrap();
        let other: Digest = "11".repeat(32).parse().unwrap();
        let receipt = Receipt {
            name: "a".into(),
            version: "1".into(),
            file: "f".into(),
            sha256: digest,
            size_bytes: 3,
            sources: vec!["file:/x".into()],
            pinned: vec![digest],
            installed_at_unix_s: now_unix_s(),
        };
        assert_eq!(Receipt::read(folder, "f", &[digest]), OnDisk::Nothing);
        receipt.write(folder).unwrap();
        assert_eq!(Receipt::read(folder, "f", &[digest]), OnDisk::Damaged);
        fs::write(folder.join("f"), "abc").unwrap();
        assert_eq!(Receipt::read(folder, "f", &[digest]), OnDisk::Whole(receipt));
        assert_eq!(Receipt::read(folder, "f", &[other]), OnDisk::Damaged);
        assert_eq!(Receipt::read(folder, "g", &[digest]), OnDisk::Damaged);
        fs::write(folder.join("f"), "abcd").unwrap();
        assert_eq!(Receipt::read(folder, "f", &[digest]), OnDisk::Damaged);
        fs::write(folder.join(RECEIPT), "{").unwrap();
        assert_eq!(Receipt::read(folder, "f", &[digest]), OnDisk::Damaged);
    }
}
