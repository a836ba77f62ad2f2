//! The chain: the hash of records that were written together covers the one before, so that no record can be changed, removed or moved unseen.
//!
//! Whoever can write to the file can compute all hashes anew. What that cannot change is a head that is known elsewhere, from a receipt or
//! a log line.

use std::fmt;

/// BLAKE3 of the hash before and of the texts of records, a line each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; Self::BYTES]);

impl Hash {
    /// Its length.
    pub(super) const BYTES: usize = 32;
    /// Stands before the first record.
    pub(super) const GENESIS: Self = Self([0; Self::BYTES]);

    /// The hash of these records behind `self`.
    pub(super) fn then(&self, texts: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(texts);
        Self(*hasher.finalize().as_bytes())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// `None` for anything but 32 bytes.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Counts records from 1; 0 stands before the first.
    pub seq: u64,
    /// The hash of those that were written with the record at that place.
    pub hash: Hash,
}

impl Head {
    /// Before the first record.
    pub(super) const GENESIS: Self = Self { seq: 0, hash: Hash::GENESIS };

    /// Reads `SEQ:HASH`, as it stands in receipts and is printed by `tidegate ledger verify`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        Some(Self { seq: seq.parse().ok()?, hash: Hash::parse(hash)? })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}
