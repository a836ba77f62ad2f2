//! The file of the outbox: its tables, its version, how it is opened.

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::OutboxError;
use crate::sqlite;

/// Counts up with every change of the tables; in the file as `user_version`.
pub(super) const SCHEMA_VERSION: i64 = 1;

/// `size` counts what `bytes_max` limits. `expires_ms` is when a waiting entry expires and a finished one is removed. `totals` is
/// kept up by triggers, so that a change costs the same however many entries there are, whoever makes it.
const TABLES: &str = "
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'completed', 'failed', 'expired')),
    caller TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    finished_ms INTEGER,
    sends INTEGER NOT NULL DEFAULT 0,
    interrupted INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    envelope TEXT NOT NULL,
    body BLOB NOT NULL,
    answer BLOB
) STRICT;
CREATE INDEX entries_by_age ON entries (state, created_ms);
CREATE INDEX entries_by_end ON entries (state, expires_ms);
CREATE TABLE totals (state TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO totals VALUES ('queued', 0, 0), ('sending', 0, 0), ('completed', 0, 0), ('failed', 0, 0), ('expired', 0, 0);
CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + NEW.size WHERE state = NEW.state;
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - OLD.size WHERE state = OLD.state;
END;
CREATE TRIGGER entry_changed AFTER UPDATE OF state, size ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - OLD.size WHERE state = OLD.state;
    UPDATE totals SET entries = entries + 1, bytes = bytes + NEW.size WHERE state = NEW.state;
END;
";

/// What is removed is given back to the disk. Chosen before there is a table; on a file with tables this would be a write.
const PRAGMA_NEW: &str = "PRAGMA auto_vacuum = FULL;";
/// What is removed is overwritten.
const PRAGMAS: &str = "
PRAGMA journal_mode = DELETE;
PRAGMA synchronous = EXTRA;
PRAGMA secure_delete = ON;
PRAGMA temp_store = MEMORY;
";

/// Opens the file for writing and makes it and its folder where they are not there, for their owner alone.
pub(super) fn open(folder: &Path, file: &Path) -> Result<Connection, OutboxError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // One that was there already may be open to others; this fails for one that is somebody else's.
    set_permissions(folder, Permissions::from_mode(0o700))?;
    sqlite::make(file)?;
    let mut connection = connect(file)?;
    if std::fs::metadata(file)?.len() == 0 {
        connection.execute_batch(PRAGMA_NEW)?;
    }
    match sqlite::create(&mut connection, TABLES, &[], SCHEMA_VERSION)? {
        SCHEMA_VERSION => {}
        found => return Err(OutboxError::Newer { found, known: SCHEMA_VERSION }),
    }
    // The file's own entry in its folder has to be on the disk too before anything is said to be kept.
    std::fs::File::open(folder)?.sync_all()?;
    Ok(connection)
}

/// Opens a file that is there.
pub(super) fn attach(file: &Path) -> Result<Connection, OutboxError> {
    let connection = connect(file)?;
    match sqlite::version(&connection)? {
        SCHEMA_VERSION => Ok(connection),
        found => Err(OutboxError::Newer { found, known: SCHEMA_VERSION }),
    }
}

fn connect(file: &Path) -> Result<Connection, OutboxError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
    connection.execute_batch(PRAGMAS)?;
    Ok(connection)
}
