//! The file of the ledger: its tables, its version, how it is opened.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::LedgerError;
use crate::sqlite;

/// Counts up with every change of the tables; in the file as `user_version`.
pub(super) const SCHEMA_VERSION: i64 = 3;

/// Bytes of a page of a new file: some seven records, so that writing them takes few system calls.
const PAGE_BYTES: u32 = 8192;

/// Only what is looked up by a single value has an index: each costs time with every record. `anchor` is the last record that was removed
/// for its age or the size of the file: the chain goes on from it. `turns` are the records before whose time the clock had been: as long as
/// there is one, records do not stand in the order of their times.
const TABLES: &str = "
CREATE TABLE records (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, hash BLOB NOT NULL, request_id TEXT) STRICT;
CREATE INDEX records_by_request ON records (request_id);
CREATE TABLE shared (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE anchor (id INTEGER PRIMARY KEY CHECK (id = 0), seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE turns (seq INTEGER PRIMARY KEY) STRICT;
";

/// What is searched for in records, computed when they are read. Generated columns would be computed as well with each that is written, which
/// costs as much as all else of it. Of each connection and not in the file, where somebody could change what it says while every record stays
/// as it is. A record that is no JSON any more has none of it: it must not keep others from being read, or from being removed.
const VIEW: &str = "
CREATE TEMP VIEW exchanges AS SELECT seq, hash, record, request_id, content,
    CAST(content ->> '$.at_ms' AS INTEGER) AS at_ms,
    content ->> '$.kind' AS kind,
    content ->> '$.outcome' AS outcome,
    content ->> '$.target' AS target,
    content ->> '$.locality' AS locality,
    content ->> '$.route' AS route,
    content ->> '$.cost_usd' AS cost_usd
FROM (SELECT seq, hash, record, request_id, iif(json_valid(record), record, '{}') AS content FROM main.records);
";

/// From version 1, which had generated columns and knew profiles only.
const FROM_1: &str = "
DROP INDEX records_by_request;
ALTER TABLE records DROP COLUMN request_id;
ALTER TABLE records DROP COLUMN at_ms;
ALTER TABLE records DROP COLUMN kind;
ALTER TABLE records DROP COLUMN outcome;
ALTER TABLE records DROP COLUMN target;
ALTER TABLE records DROP COLUMN locality;
ALTER TABLE records DROP COLUMN route;
ALTER TABLE records DROP COLUMN cost_usd;
ALTER TABLE records ADD COLUMN request_id TEXT;
UPDATE records SET request_id = record ->> '$.request_id';
CREATE INDEX records_by_request ON records (request_id);
ALTER TABLE profiles RENAME TO shared;
ALTER TABLE shared RENAME COLUMN profile TO value;
";

/// From version 2, which did not know when the clock was set back, and had the view in the file.
const FROM_2: &str = "
DROP VIEW IF EXISTS exchanges;
CREATE TABLE turns (seq INTEGER PRIMARY KEY) STRICT;
INSERT INTO turns SELECT seq FROM (
    SELECT seq, at_ms, lag(at_ms) OVER (ORDER BY seq) AS before_ms
    FROM (SELECT seq, iif(json_valid(record), record, '{}') ->> '$.at_ms' AS at_ms FROM records)
) WHERE at_ms < before_ms - 60000;
";

/// Opens the file for writing and makes it and its folder where they are not there, for their owner alone.
pub(super) fn open(path: &Path, is_synced: bool) -> Result<Connection, LedgerError> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // SQLite would make it readable for others, and gives its log the mode of the file.
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let mut connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
    // The first holds only before the second.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA temp_store = MEMORY;")?;
    // The writer chooses the moment.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "synchronous", if is_synced { "FULL" } else { "NORMAL" })?;
    match sqlite::create(&mut connection, TABLES, &[FROM_1, FROM_2], SCHEMA_VERSION)? {
        SCHEMA_VERSION => connection.execute_batch(VIEW)?,
        found => return Err(LedgerError::Newer { found, known: SCHEMA_VERSION }),
    }
    Ok(connection)
}

/// Opens a file that is there for reading; one of an older version is brought up to this one first.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, LedgerError> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
    match sqlite::version(&connection)? {
        SCHEMA_VERSION => {
            connection.execute_batch(VIEW)?;
            Ok(connection)
        }
        1..SCHEMA_VERSION => {
            drop(connection);
            drop(open(path, false)?);
            open_to_read(path)
        }
        found => Err(LedgerError::Newer { found, known: SCHEMA_VERSION }),
    }
}

/// A connection is used by one thread at a time.
fn flags(access: OpenFlags) -> OpenFlags {
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}
