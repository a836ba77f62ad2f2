//! Records as they lie in the file: those that were settled together, one behind the other, compressed together under one hash.
//!
//! Records repeat each other's words, so that some dozens take a tenth of their bytes together, and one row of them costs little more than one
//! of a single record, as does the hash. What is beside the records, to find them by, is computed from them, and
//! [`LedgerReader::verify`](super::LedgerReader::verify) compares it.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use lz4_flex::block::{compress_prepend_size, decompress_size_prepended, uncompressed_size};
use rusqlite::{Row, Statement};
use serde::Deserialize;

use super::chain::Hash;
use super::retention::signed;

/// Records in a block at most.
pub(super) const RECORDS_MAX: usize = 128;
/// Bytes of their texts at which a block is full.
const BYTES_FULL: usize = 1 << 20;
/// Milliseconds between records of a block at most, as it is removed for its age as a whole.
const SPAN_MS: u64 = 10_000;
/// Bytes of texts that are read of a block: a single record may be larger than a block is full with, but none is so large.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of a [`Key`].
const KEY_BYTES: usize = 4;
/// Between records, in which it cannot stand.
pub(super) const BETWEEN: u8 = b'\n';

/// How a block is inserted; see [`insert`].
pub(super) const INSERT: &str =
    "INSERT INTO blocks (seq, min_ms, max_ms, keys, hash, records) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
/// The columns that [`Block::read`] wants.
pub(super) const COLUMNS: &str = "seq, hash, keys, records";

/// What blocks are searched by for the id of a request: the begin of its hash.
pub(super) type Key = [u8; KEY_BYTES];

/// What a record is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundBy {
    /// Of the id of its request.
    pub(super) key: Key,
    /// When it was settled, Unix time in milliseconds.
    pub(super) at_ms: u64,
}

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

/// The same as it stands in a record.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    at_ms: u64,
}

impl FoundBy {
    /// What is found in a record; `None` where it is none any more.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let found: Found<'_> = serde_json::from_slice(text).ok()?;
        Some(Self { key: key(&found.request_id), at_ms: found.at_ms })
    }
}

/// How many of these records, each with its bytes, are the next block: one at least.
pub(super) fn next(records: impl Iterator<Item = (FoundBy, usize)>) -> usize {
    let (mut times, mut bytes) = (None, 0);
    let fits = |(found_by, length): &(FoundBy, usize)| {
        let is_one = times.is_none();
        let (first, last) = widened(times, *found_by);
        (times, bytes) = (Some((first, last)), bytes + length);
        is_one || bytes <= BYTES_FULL && last - first <= SPAN_MS
    };
    records.take(RECORDS_MAX).take_while(fits).count()
}

/// The first and the last time of some records, as it is written; zeros where none has one.
pub(super) fn times(found_by: impl Iterator<Item = FoundBy>) -> (i64, i64) {
    let times = found_by.fold(None, |times, found_by| Some(widened(times, found_by)));
    let (first, last) = times.unwrap_or_default();
    (signed(first), signed(last))
}

/// The first and the last time with one more.
fn widened(times: Option<(u64, u64)>, FoundBy { at_ms, .. }: FoundBy) -> (u64, u64) {
    let (first, last) = times.unwrap_or((at_ms, at_ms));
    (first.min(at_ms), last.max(at_ms))
}

/// Inserts a block with [`INSERT`]; the place of its last record is `seq`.
pub(super) fn insert(
    insert: &mut Statement<'_>,
    seq: i64,
    hash: Hash,
    texts: &[u8],
    found_by: impl Iterator<Item = Option<FoundBy>> + Clone,
) -> rusqlite::Result<()> {
    let keys = found_by.clone().flat_map(|found_by| found_by.map_or([0; KEY_BYTES], |found_by| found_by.key));
    let (first, last) = times(found_by.clone().flatten());
    let keys: Vec<u8> = keys.collect();
    insert.execute((seq, first, last, keys, hash.bytes(), compress_prepend_size(texts)))?;
    Ok(())
}

/// A block that was read.
pub(super) struct Block {
    /// The place of its last record. Not what the chain allows where somebody has changed it.
    pub(super) last: i64,
    /// `None` where it is not of the length of one.
    pub(super) hash: Option<Hash>,
    /// Of its records, one behind the other; empty where it cannot be read.
    pub(super) texts: Vec<u8>,
    /// How many records it has, by their keys; others than its texts say only where one of them was changed.
    pub(super) count: usize,
}

/// A record of a block.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    /// Its place.
    pub(super) place: i64,
    /// That of the block.
    pub(super) hash: Option<Hash>,
    /// Empty where the block cannot be read.
    pub(super) text: &'a [u8],
}

impl Block {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let bytes = |column| row.get_ref(column).map(|value| value.as_bytes().unwrap_or_default());
        let packed = bytes(3)?;
        let is_sane = uncompressed_size(packed).is_ok_and(|(bytes, _)| bytes <= BYTES_MAX);
        let texts = if is_sane { decompress_size_prepended(packed).unwrap_or_default() } else { Vec::new() };
        Ok(Self { last: row.get(0)?, hash: Hash::of_bytes(bytes(1)?), texts, count: bytes(2)?.len() / KEY_BYTES })
    }

    /// The places of its records.
    pub(super) fn places(&self) -> RangeInclusive<i64> {
        self.last.saturating_add(1).saturating_sub_unsigned(self.count as u64)..=self.last
    }

    /// Its records, in their order.
    pub(super) fn records(&self) -> impl DoubleEndedIterator<Item = Stored<'_>> {
        let texts = self.texts.split(|byte| *byte == BETWEEN).chain(std::iter::repeat(&[][..]));
        let placed: Vec<_> = self.places().zip(texts).collect();
        placed.into_iter().map(|(place, text)| Stored { place, hash: self.hash, text })
    }
}
