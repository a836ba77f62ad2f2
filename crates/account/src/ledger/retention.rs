//! What is too old or too much: the oldest records go, and the chain goes on from the last one removed.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::LedgerLimits;
use super::chain::{Hash, Head};

/// Records removed in one transaction at most; more than are written in one.
const CHUNK: u64 = 2000;

/// Removes some of the records that are over a limit; whether there may be more.
pub(super) fn purge(transaction: &Transaction<'_>, limits: &LedgerLimits, now_ms: u64) -> rusqlite::Result<bool> {
    let oldest = "SELECT seq, at_ms FROM exchanges ORDER BY seq LIMIT ?1";
    let mut first = transaction.prepare("SELECT at_ms FROM exchanges ORDER BY seq LIMIT 1")?;
    let Some(first_ms) = first.query_row([], |row| row.get::<_, i64>(0)).optional()? else { return Ok(false) };
    let kept_from = now_ms.saturating_sub(u64::try_from(limits.keep.as_millis()).unwrap_or(u64::MAX));
    let last: Option<i64> = if first_ms < signed(kept_from) {
        let too_old = format!("SELECT max(seq) FROM ({oldest}) WHERE at_ms < ?2");
        transaction.query_row(&too_old, (signed(CHUNK), signed(kept_from)), |row| row.get(0))?
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
    Ok(Hash::of_bytes(&hash).map(|hash| Head { seq: u64::try_from(seq).unwrap_or_default(), hash }))
}

/// SQLite's integers are signed.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
