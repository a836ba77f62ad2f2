//! What every SQLite file of this crate has in common: the version of its tables in `user_version`, and how long another process
//! is waited for; and how a file is made.
//!
//! Journal modes and the folders are each store's own.

use std::fs::{OpenOptions, Permissions, metadata, set_permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// How long another process's write is waited for.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Its owner reads and writes it, and nobody else.
const MODE: u32 = 0o600;

/// Makes a file where there is none, for its owner alone, before SQLite opens it: that would let others read it, and gives its log the mode
/// of the file.
///
/// One that is there is not opened: with whatever descriptor a process closes a file, all locks are gone that it has on it, SQLite's too. The
/// next process that closes the file would then take itself for the last one and remove the log, which this one goes on writing to.
///
/// # Errors
/// Where it cannot be made, or is somebody else's.
pub(crate) fn make(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        // Closed at once, before SQLite has a lock.
        Ok(_) => {}
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Err(_) if metadata(path)?.is_file() => {}
        Err(_) => return Err(std::io::Error::other(format!("{} is no file", path.display()))),
    }
    set_permissions(path, Permissions::from_mode(MODE))
}

/// Brings the tables of one version up to the next.
pub(crate) type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// Makes the tables of an empty file, and brings one of an older version up to `known`, in one transaction; `steps[n]` leads from version
/// `n + 1` to the next. Gives the version of the file, which is left as it is where no steps lead on from that.
pub(crate) fn create(connection: &mut Connection, tables: &str, steps: &[Step], known: i64) -> rusqlite::Result<i64> {
    // Looked at within, as another process may be at it.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    match usize::try_from(found) {
        Ok(0) => transaction.execute_batch(tables)?,
        Ok(at @ 1..) if at <= steps.len() => {
            tracing::info!(from = found, to = known, "bringing the tables of a file up to this version");
            for step in &steps[at - 1..] {
                step(&transaction)?;
            }
        }
        _ => return Ok(found),
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(known)
}

/// The version of the tables; 0 of a file that has none.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}
