//! What is too old or too much: the oldest blocks go, and the chain goes on from the last record removed.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::LedgerLimits;
use super::chain::{Hash, Head};

/// Blocks removed for their age in one transaction at most; more than are written until it is looked again.
const OLD_MAX: u64 = 1024;
/// Records removed for the size of the file in one transaction at most; more than are written until it is looked again.
const OVER_MAX: u64 = 4096;

/// Times before this are of a clock that was not set yet: 2025 began then. How old a record of such a time is, is not known.
const CLOCK_SET_MS: u64 = 1_735_689_600_000;
/// The last of the oldest blocks that is too old. A record is at least as old as those after it, whatever the clock said when it was written:
/// where that was wrong, in the past or in the future of now, the block goes with the next one that is too old, and never takes along one
/// before it that is to be kept.
const TOO_OLD: &str = "
WITH oldest AS (SELECT seq, max_ms FROM blocks ORDER BY seq LIMIT ?1)
SELECT max(seq) FROM oldest WHERE max_ms >= ?4 AND max_ms < ?2
    AND seq < ifnull((SELECT min(seq) FROM oldest WHERE max_ms BETWEEN ?2 AND ?3), 9223372036854775807)";

/// The block with the record at a place, or the last one before the newest.
const OVER: &str = "
WITH old AS (SELECT max(seq) AS last FROM blocks WHERE seq < (SELECT max(seq) FROM blocks))
SELECT min(last, ifnull((SELECT min(seq) FROM blocks WHERE seq >= ?1), last)) FROM old";

/// Removes some of the blocks that are over a limit; whether there may be more.
pub(super) fn purge(transaction: &Transaction<'_>, limits: &LedgerLimits, now_ms: u64) -> rusqlite::Result<bool> {
    let mut first = transaction.prepare("SELECT max_ms FROM blocks ORDER BY seq LIMIT 1")?;
    let Some(first_ms) = first.query_row([], |row| row.get::<_, i64>(0)).optional()? else { return Ok(false) };
    let kept_from = now_ms.saturating_sub(u64::try_from(limits.keep.as_millis()).unwrap_or(u64::MAX));
    let too_old: Option<i64> = if (signed(kept_from)..=signed(now_ms)).contains(&first_ms) {
        None
    } else {
        let times = (signed(OLD_MAX), signed(kept_from), signed(now_ms), signed(CLOCK_SET_MS));
        transaction.query_row(TOO_OLD, times, |row| row.get(0))?
    };
    let last: Option<i64> = if too_old.is_some() {
        too_old
    } else if let Some(over) = bytes(transaction)?.checked_sub(limits.bytes_max).filter(|over| *over > 0) {
        let (first, last) = (anchor(transaction)?.seq, head(transaction)?.seq);
        let (count, size) = (last.saturating_sub(first), over + limits.bytes_max);
        // As many as take what is too much, and a few so that not every look finds some. Never the newest.
        let least = over.saturating_mul(count) / size.max(1) + count / 20 + 1;
        let enough = signed(first.saturating_add(least.min(OVER_MAX)));
        transaction.query_row(OVER, [enough], |row| row.get(0))?
    } else {
        None
    };
    let Some(last) = last else { return Ok(false) };
    let Some(Head { seq, hash }) = newest(transaction, last)? else { return Ok(false) };
    let remember = "INSERT OR REPLACE INTO anchor (id, seq, hash) VALUES (0, ?1, ?2)";
    transaction.execute(remember, (signed(seq), hash.bytes()))?;
    let removed = transaction.execute("DELETE FROM blocks WHERE seq <= ?1", [last])?;
    Ok(removed > 0)
}

/// Bytes in use.
pub(super) fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let pages = number("page_count")? - number("freelist_count")?;
    Ok(u64::try_from(pages * number("page_size")?).unwrap_or_default())
}

/// The last record that was removed; the place before the first where none was.
pub(super) fn anchor(connection: &Connection) -> rusqlite::Result<Head> {
    let mut find = connection.prepare("SELECT seq, hash FROM anchor")?;
    Ok(find.query_row([], head_of).optional()?.unwrap_or(Head::GENESIS))
}

/// The newest record; the anchor where there is none.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    newest(connection, i64::MAX)?.map_or_else(|| anchor(connection), Ok)
}

/// The last record of the newest block up to this one.
fn newest(connection: &Connection, seq: i64) -> rusqlite::Result<Option<Head>> {
    let last = "SELECT seq, hash FROM blocks WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
    connection.query_row(last, [seq], head_of).optional()
}

fn head_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    // A hash that is none any more is told of by `verify`, and what is written then follows the first of all.
    let hash = row.get_ref(1)?.as_bytes().ok().and_then(Hash::of_bytes).unwrap_or(Hash::GENESIS);
    Ok(Head { seq: unsigned(row.get(0)?), hash })
}

/// SQLite's integers are signed.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// SQLite's integers are signed; none of ours is below zero.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
