//! The file of the label store: its tables, its version, how it is opened.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::LabelError;
use crate::sqlite;

/// Counts up with every change of the tables; in the file as `user_version`.
pub(super) const SCHEMA_VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    at_s INTEGER NOT NULL,
    target TEXT NOT NULL,
    model TEXT NOT NULL,
    privacy TEXT NOT NULL,
    task TEXT,
    classifier TEXT,
    features BLOB
) STRICT;
CREATE INDEX answers_by_time ON answers (at_s);
CREATE TABLE outcomes (
    answer INTEGER NOT NULL REFERENCES answers (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    at_s INTEGER NOT NULL,
    score REAL NOT NULL CHECK (score BETWEEN 0 AND 1),
    weight REAL NOT NULL CHECK (weight > 0),
    PRIMARY KEY (answer, source)
) STRICT, WITHOUT ROWID;
";

/// Opens the file for writing and makes it and its folder where they are not there, for their owner alone.
pub(super) fn open(path: &Path) -> Result<Connection, LabelError> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    sqlite::make(path)?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")?;
    match sqlite::create(&mut connection, TABLES, &[], SCHEMA_VERSION)? {
        SCHEMA_VERSION => Ok(connection),
        found => Err(LabelError::Newer { found, known: SCHEMA_VERSION }),
    }
}

/// Opens a file that is there for reading.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, LabelError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
    match sqlite::version(&connection)? {
        SCHEMA_VERSION => Ok(connection),
        found => Err(LabelError::Newer { found, known: SCHEMA_VERSION }),
    }
}
