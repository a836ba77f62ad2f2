//! What is too old or too much: the oldest records go, and the chain goes on from the last one removed.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::LedgerLimits;
use super::chain::{Hash, Head};

/// Records removed in one transaction at most; more than are written in one.
const CHUNK: u64 = 2000;

/// Times before this are of a clock that was not set yet: 2025 began then. How old a record of such a time is, is not known.
const CLOCK_SET_MS: u64 = 1_735_689_600_000;
/// The last of the oldest records that is too old. A record is at least as old as those after it, whatever the clock said when it was written:
/// where that was wrong, in the past or in the future of now, the record goes with the next one that is too old, and never takes along one
/// before it that is to be kept.
const TOO_OLD: &str = "
WITH oldest AS (SELECT seq, at_ms FROM exchanges ORDER BY seq LIMIT ?1)
SELECT max(seq) FROM oldest WHERE at_ms >= ?4 AND at_ms < ?2
    AND seq < ifnull((SELECT min(seq) FROM oldest WHERE at_ms BETWEEN ?2 AND ?3), 9223372036854775807)";

/// Removes some of the records that are over a limit; whether there may be more.
pub(super) fn purge(transaction: &Transaction<'_>, limits: &LedgerLimits, now_ms: u64) -> rusqlite::Result<bool> {
    let mut first = transaction.prepare("SELECT at_ms FROM exchanges ORDER BY seq LIMIT 1")?;
    let Some(first_ms) = first.query_row([], |row| row.get::<_, Option<i64>>(0)).optional()? else { return Ok(false) };
    let kept_from = now_ms.saturating_sub(u64::try_from(limits.keep.as_millis()).unwrap_or(u64::MAX));
    let is_young = first_ms.is_some_and(|ms| (signed(kept_from)..=signed(now_ms)).contains(&ms));
    let too_old: Option<i64> = if is_young {
        None
    } else {
        let times = (signed(CHUNK), signed(kept_from), signed(now_ms), signed(CLOCK_SET_MS));
        transaction.query_row(TOO_OLD, times, |row| row.get(0))?
    };
    let last: Option<i64> = if too_old.is_some() {
        too_old
    } else if let Some(over) = bytes(transaction)?.checked_sub(limits.bytes_max).filter(|over| *over > 0) {
        let (first, last) = (anchor(transaction)?.seq, head(transaction)?.seq);
        let (count, size) = (last.saturating_sub(first), over + limits.bytes_max);
        // As many as take what is too much, and a few so that not every look finds some. Never the newest.
        let least = over.saturating_mul(count) / size.max(1) + count / 20 + 1;
        let removed = least.min(CHUNK).min(count.saturating_sub(1));
        (removed > 0).then(|| signed(first + removed))
    } else {
        None
    };
    let Some(last) = last else { return Ok(false) };
    let remember = "INSERT OR REPLACE INTO anchor (id, seq, hash) SELECT 0, seq, hash FROM records WHERE seq = ?1";
    transaction.execute(remember, [last])?;
    let removed = transaction.execute("DELETE FROM records WHERE seq <= ?1", [last])?;
    // Also of the one that is the first now: nothing stands before it.
    transaction.execute("DELETE FROM turns WHERE seq <= ?1 + 1", [last])?;
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
    Ok(find.query_row([], head_of).optional()?.flatten().unwrap_or(Head::GENESIS))
}

/// The newest record; the anchor where there is none.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    let mut find = connection.prepare("SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1")?;
    match find.query_row([], head_of).optional()?.flatten() {
        Some(head) => Ok(head),
        None => anchor(connection),
    }
}

fn head_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Head>> {
    let (seq, hash): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
    Ok(Hash::of_bytes(&hash).map(|hash| Head { seq: unsigned(seq), hash }))
}

/// SQLite's integers are signed.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// SQLite's integers are signed; none of ours is below zero.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
