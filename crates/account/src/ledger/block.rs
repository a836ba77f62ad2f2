//! Records as they lie in the file: those that were settled together, compressed together.
//!
//! Records repeat each other's words, so that some dozens take a tenth of their bytes together, and one row of them costs little more than one
//! of a single record. Each keeps its own hash. What is beside the records, to find them by, is computed from them, and
//! [`LedgerReader::verify`](super::LedgerReader::verify) compares it.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use lz4_flex::block::{compress_prepend_size, decompress_size_prepended, uncompressed_size};
use rusqlite::{Row, Statement};
use serde::Deserialize;

use super::chain::Hash;
use super::retention::signed;

/// Records in a block at most.
pub(super) const RECORDS_MAX: usize = 64;
/// Bytes of their texts at which a block is full.
const BYTES_FULL: usize = 1 << 20;
/// Milliseconds between records of a block at most, as it is removed for its age as a whole.
const SPAN_MS: u64 = 10_000;
/// Bytes of texts that are read of a block: a single record may be larger than a block is full with, but none is so large.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of a [`Key`].
const KEY_BYTES: usize = 4;
/// Between records, in which it cannot stand.
const BETWEEN: u8 = b'\n';

/// How a block is inserted; see [`Block::insert`].
pub(super) const INSERT: &str =
    "INSERT INTO blocks (seq, min_ms, max_ms, keys, hashes, records) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
/// The columns that [`Block::read`] wants.
pub(super) const COLUMNS: &str = "seq, hashes, records";

/// What blocks are searched by for the id of a request: the begin of its hash.
pub(super) type Key = [u8; KEY_BYTES];

/// The key of a request's id.
pub(super) fn key(request_id: &str) -> Key {
    let hash = blake3::hash(request_id.as_bytes());
    let [first, second, third, fourth, ..] = *hash.as_bytes();
    [first, second, third, fourth]
}

/// Whether one of these keys is this one.
pub(super) fn has(keys: &[u8], key: Key) -> bool {
    keys.chunks_exact(KEY_BYTES).any(|one| one == key)
}

/// The key of the `n`th record.
pub(super) fn nth(keys: &[u8], n: usize) -> Option<Key> {
    keys.chunks(KEY_BYTES).nth(n)?.try_into().ok()
}

/// What a record is found by, as it stands in it.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    at_ms: u64,
}

/// The key and the time of a record; `None` where it is none any more.
pub(super) fn found_by(text: &[u8]) -> Option<(Key, u64)> {
    let found: Found<'_> = serde_json::from_slice(text).ok()?;
    Some((key(&found.request_id), found.at_ms))
}

/// A block that is being filled.
#[derive(Default)]
pub(super) struct Filling {
    keys: Vec<u8>,
    hashes: Vec<u8>,
    texts: Vec<u8>,
    times: Option<(u64, u64)>,
}

impl Filling {
    /// Adds a record, with what it is found by.
    pub(super) fn push(&mut self, text: &[u8], hash: Hash, found_by: Option<(Key, u64)>) {
        if !self.hashes.is_empty() {
            self.texts.push(BETWEEN);
        }
        self.texts.extend_from_slice(text);
        self.hashes.extend_from_slice(hash.bytes());
        self.keys.extend_from_slice(&found_by.map_or([0; KEY_BYTES], |(key, _)| key));
        if let Some((_, at_ms)) = found_by {
            let (first, last) = self.times.unwrap_or((at_ms, at_ms));
            self.times = Some((first.min(at_ms), last.max(at_ms)));
        }
    }

    /// Whether it has room for one more, which is found by this.
    pub(super) fn takes(&self, found_by: Option<(Key, u64)>) -> bool {
        let is_near = match (self.times, found_by) {
            (Some((first, last)), Some((_, at_ms))) => at_ms.max(last) - at_ms.min(first) <= SPAN_MS,
            _ => true,
        };
        is_near && self.hashes.len() < RECORDS_MAX * Hash::BYTES && self.texts.len() < BYTES_FULL
    }

    /// The first and the last time of its records, as it is found by; zeros where no record has one.
    pub(super) fn times(&self) -> (i64, i64) {
        let (first, last) = self.times.unwrap_or_default();
        (signed(first), signed(last))
    }

    /// Inserts it with [`INSERT`], unless it is empty; the place of its last record is `seq`. It is empty after that.
    pub(super) fn insert(&mut self, insert: &mut Statement<'_>, seq: i64) -> rusqlite::Result<()> {
        if !self.hashes.is_empty() {
            let (first, last) = self.times();
            let texts = compress_prepend_size(&self.texts);
            insert.execute((seq, first, last, &self.keys, &self.hashes, texts))?;
        }
        self.keys.clear();
        self.hashes.clear();
        self.texts.clear();
        self.times = None;
        Ok(())
    }
}

/// A block that was read.
pub(super) struct Block {
    /// The place of its last record. Not what the chain allows where somebody has changed it.
    last: i64,
    hashes: Vec<u8>,
    texts: Vec<u8>,
}

/// A record of a block.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    /// Its place.
    pub(super) place: i64,
    /// `None` where it is not of the length of one.
    pub(super) hash: Option<Hash>,
    /// Empty where the block cannot be read.
    pub(super) text: &'a [u8],
}

impl Block {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let packed = row.get_ref(2)?.as_bytes().unwrap_or_default();
        let is_sane = uncompressed_size(packed).is_ok_and(|(bytes, _)| bytes <= BYTES_MAX);
        let texts = if is_sane { decompress_size_prepended(packed).unwrap_or_default() } else { Vec::new() };
        let hashes = row.get_ref(1)?.as_bytes().unwrap_or_default().to_vec();
        Ok(Self { last: row.get(0)?, hashes, texts })
    }

    /// The places of its records.
    pub(super) fn places(&self) -> RangeInclusive<i64> {
        self.last.saturating_add(1).saturating_sub_unsigned(self.count() as u64)..=self.last
    }

    /// Its records, in their order.
    pub(super) fn records(&self) -> impl DoubleEndedIterator<Item = Stored<'_>> {
        let texts: Vec<_> = self.texts.split(|byte| *byte == BETWEEN).collect();
        let is_whole = texts.len() == self.count();
        let hashes = self.hashes.chunks(Hash::BYTES).map(Hash::of_bytes).collect::<Vec<_>>();
        let placed = self.places().zip(hashes).enumerate().collect::<Vec<_>>();
        placed.into_iter().map(move |(n, (place, hash))| {
            let text = texts.get(n).filter(|_| is_whole).copied().unwrap_or_default();
            Stored { place, hash, text }
        })
    }

    fn count(&self) -> usize {
        self.hashes.len().div_ceil(Hash::BYTES)
    }
}
