//! What every SQLite file of this crate has in common: the version of its tables in `user_version`, and how long another process
//! is waited for.
//!
//! Journal modes and file modes are each store's own.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

/// How long another process's write is waited for.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the tables of an empty file, whose version is then `known`. Gives the version of the file, which is left as it is if that
/// is another one.
pub(crate) fn create(connection: &mut Connection, tables: &str, known: i64) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version(&transaction)? == 0 {
        transaction.execute_batch(tables)?;
        transaction.pragma_update(None, "user_version", known)?;
    }
    let found = version(&transaction)?;
    transaction.commit()?;
    Ok(found)
}

/// The version of the tables; 0 of a file that has none.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}
