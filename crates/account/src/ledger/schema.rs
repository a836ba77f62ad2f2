//! The file of the ledger: its tables, its version, how it is opened.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};

use super::LedgerError;
use super::block::{self, FoundBy};
use super::chain::Hash;
use crate::sqlite;

/// Counts up with every change of the tables; in the file as `user_version`.
pub(super) const SCHEMA_VERSION: i64 = 4;

/// Bytes of a page of a new file: about a block, so that writing one takes few system calls.
const PAGE_BYTES: u32 = 8192;

/// `seq` is the place of a block's last record. The index has all that blocks are searched by beside that: time and the keys of requests.
const BLOCKS: &str = "
CREATE TABLE blocks (
    seq INTEGER PRIMARY KEY,
    min_ms INTEGER NOT NULL,
    max_ms INTEGER NOT NULL,
    keys BLOB NOT NULL,
    hash BLOB NOT NULL,
    records BLOB NOT NULL
) STRICT;
CREATE INDEX blocks_by_time ON blocks (max_ms, min_ms, keys);
";
/// `anchor` is the last record that was removed for its age or the size of the file: the chain goes on from it.
const OTHERS: &str = "
CREATE TABLE shared (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE anchor (id INTEGER PRIMARY KEY CHECK (id = 0), seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
";
/// From version 1, which knew profiles only.
const FROM_1: &str = "ALTER TABLE profiles RENAME TO shared; ALTER TABLE shared RENAME COLUMN profile TO value;";

/// From version 2, which had a view in the file.
const FROM_2: &str = "DROP VIEW IF EXISTS exchanges;";

/// Records that are brought over before they are removed.
const BROUGHT_AT_ONCE: u32 = 200;
/// How long it is waited for another process that brings the file up: a gigabyte takes seconds, more on a slow disk.
const BRING_UP_MAX: Duration = Duration::from_secs(120);
/// How long whoever wants to read a file of an older version waits for those that have it open.
const ALONE_MAX: Duration = Duration::from_millis(500);

/// What leads on from each version.
const STEPS: [sqlite::Step; 3] = [|made| made.execute_batch(FROM_1), |made| made.execute_batch(FROM_2), from_3];

/// From version 3, which had a row and a hash for each record: each is a block of its own, whose hash is the same. What was brought over is
/// removed at once, as its pages hold what comes next: the file is not to be twice as large from then on.
pub(super) fn from_3(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch("DROP INDEX IF EXISTS records_by_request;")?;
    transaction.execute_batch(BLOCKS)?;
    {
        let mut insert = transaction.prepare(block::INSERT)?;
        let select = format!("SELECT seq, hash, record FROM records ORDER BY seq LIMIT {BROUGHT_AT_ONCE}");
        let mut select = transaction.prepare(&select)?;
        let mut remove = transaction.prepare("DELETE FROM records WHERE seq <= ?1")?;
        loop {
            let (mut rows, mut last) = (select.query([])?, None);
            while let Some(row) = rows.next()? {
                let bytes = |column| row.get_ref(column).map(|value| value.as_bytes().unwrap_or_default());
                let (hash, text) = (Hash::of_bytes(bytes(1)?).unwrap_or(Hash::GENESIS), bytes(2)?);
                let seq: i64 = row.get(0)?;
                block::insert(&mut insert, seq, hash, text, std::iter::once(FoundBy::read(text)))?;
                last = Some(seq);
            }
            drop(rows);
            let Some(last) = last else { break };
            remove.execute([last])?;
        }
    }
    transaction.execute_batch("DROP TABLE records; DROP TABLE IF EXISTS turns;")
}

/// Opens the file for writing and makes it and its folder where they are not there, for their owner alone.
pub(super) fn open(path: &Path, is_synced: bool) -> Result<Connection, LedgerError> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    sqlite::make(path)?;
    let mut connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
    // The first holds only before the second.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA temp_store = MEMORY;")?;
    // The writer chooses the moment.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "synchronous", if is_synced { "FULL" } else { "NORMAL" })?;
    let is_older = (1..SCHEMA_VERSION).contains(&sqlite::version(&connection)?);
    if is_older {
        connection.busy_timeout(BRING_UP_MAX)?;
    }
    let found = sqlite::create(&mut connection, &[BLOCKS, OTHERS].concat(), &STEPS, SCHEMA_VERSION)?;
    if found != SCHEMA_VERSION {
        return Err(LedgerError::Newer { found, known: SCHEMA_VERSION });
    }
    if is_older {
        connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
        // As large as the file, and it would stay so. Whoever reads meanwhile keeps it from that.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(connection)
}

/// Opens a file that is there for reading; one of an older version is brought up to this one first, unless another process has it open.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, LedgerError> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
    match sqlite::version(&connection)? {
        SCHEMA_VERSION => Ok(connection),
        found @ 1..SCHEMA_VERSION => {
            drop(connection);
            if !is_alone(path)? {
                return Err(LedgerError::Older { found, known: SCHEMA_VERSION });
            }
            drop(open(path, false)?);
            open_to_read(path)
        }
        found => Err(LedgerError::Newer { found, known: SCHEMA_VERSION }),
    }
}

/// Whether nobody else has the file open: a gateway of an older version would find its tables gone and lose what it records.
fn is_alone(path: &Path) -> rusqlite::Result<bool> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    connection.busy_timeout(ALONE_MAX)?;
    // Before the file is looked at, so that with the first look the whole of it is locked.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    match sqlite::version(&connection) {
        Ok(_) => Ok(true),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A connection is used by one thread at a time.
fn flags(access: OpenFlags) -> OpenFlags {
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}
