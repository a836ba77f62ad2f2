//! The changes that entries go through, each one transaction.
//!
//! Every method blocks, most for a few milliseconds: they are not for threads that serve. Times are arguments.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::lock::Lock;
use super::{
    Begun, Entry, EntryId, EntryState, KeptRequest, NewEntry, OutboxError, OutboxLimits, Page, Waiting, WithAnswer,
    schema,
};

/// What an entry takes beside its texts, in bytes, as it counts for [`OutboxLimits::bytes_max`].
const ENTRY_OVERHEAD_BYTES: u64 = 512;
const FILE: &str = "outbox.sqlite3";
const LOCK_FILE: &str = "lock";
/// The columns of [`entry`].
const ENTRY: &str = "seq, id, state, request_id, created_ms, expires_ms, finished_ms, sends, interrupted, outcome";

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Entries in each state, in the order of [`EntryState::ALL`].
    pub entries: [u64; 5],
    /// Bytes, as they count for [`OutboxLimits::bytes_max`].
    pub bytes: u64,
    /// When the oldest that is not finished was taken in, Unix time in milliseconds.
    pub oldest_ms: Option<i64>,
    /// When the next one that is not being sent expires or is removed, Unix time in milliseconds.
    pub next_ms: Option<i64>,
}

/// What the passing of time did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// They waited too long.
    pub expired: Vec<EntryId>,
    /// They were finished long enough.
    pub removed: u64,
}

/// An open outbox.
pub struct OutboxStore {
    connection: Mutex<Connection>,
    limits: OutboxLimits,
    stats: Mutex<OutboxStats>,
    /// Which version of the file, as far as others change it, was seen last.
    seen: AtomicI64,
    /// Why the last change could not be written.
    failure: Mutex<Option<String>>,
    _lock: Option<Lock>,
}

impl OutboxStore {
    /// Opens the outbox in `folder` to send what is in it, or makes one. What was being sent when the last process ended
    /// waits again.
    ///
    /// # Errors
    /// [`OutboxError::Locked`] where another process has it open so; [`OutboxError`] for a folder or file that cannot be used.
    pub fn open(folder: &Path, limits: OutboxLimits) -> Result<Self, OutboxError> {
        let connection = schema::open(folder, &file(folder))?;
        let lock = Lock::take(&folder.join(LOCK_FILE))?;
        connection.execute(
            "UPDATE entries SET state = 'queued', interrupted = interrupted + 1 WHERE state = 'sending'",
            [],
        )?;
        Self::of(connection, limits, Some(lock))
    }

    /// Opens an outbox that is there to look at it and to delete from it, also while a gateway sends what is in it.
    ///
    /// # Errors
    /// [`OutboxError`] for a file that cannot be used.
    pub fn attach(folder: &Path) -> Result<Self, OutboxError> {
        Self::of(schema::attach(&file(folder))?, OutboxLimits::default(), None)
    }

    /// Whether there is an outbox in `folder`.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        file(folder).is_file()
    }

    fn of(connection: Connection, limits: OutboxLimits, lock: Option<Lock>) -> Result<Self, OutboxError> {
        let (stats, seen) = (Mutex::new(stats(&connection)?), AtomicI64::new(version_elsewhere(&connection)?));
        Ok(Self { connection: Mutex::new(connection), limits, stats, seen, failure: Mutex::default(), _lock: lock })
    }

    /// Takes a request in. Once this returns, it survives whatever happens to the process and the machine.
    ///
    /// # Errors
    /// [`OutboxError::Full`] past a limit; [`OutboxError`] where it cannot be written. Nothing is kept then.
    pub fn insert(&self, new: &NewEntry<'_>, now_ms: i64) -> Result<Entry, OutboxError> {
        let id = EntryId::random()?;
        let texts = new.caller.len() + new.request_id.len() + new.envelope.len() + new.outcome.len() + new.body.len();
        let size = texts as u64 + ENTRY_OVERHEAD_BYTES;
        let expires_ms = now_ms.saturating_add(millis(self.limits.age_max));
        self.change(|transaction| {
            let held = stats(transaction)?;
            let entries = held.entries.iter().sum::<u64>() + 1;
            for (what, held, limit) in
                [("entries", entries, self.limits.entries_max), ("bytes", held.bytes + size, self.limits.bytes_max)]
            {
                if held > limit {
                    return Err(OutboxError::Full { what, held: if what == "entries" { limit } else { held }, limit });
                }
            }
            let sql =
                "INSERT INTO entries (id, state, caller, request_id, created_ms, expires_ms, due_ms, size, outcome,
                           envelope, body) VALUES (?1, 'queued', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            transaction.execute(
                sql,
                params![
                    id.to_string(),
                    new.caller,
                    new.request_id,
                    now_ms,
                    expires_ms,
                    new.due_ms,
                    signed(size),
                    new.outcome,
                    new.envelope,
                    new.body
                ],
            )?;
            Ok(Entry {
                seq: transaction.last_insert_rowid(),
                id,
                state: EntryState::Queued,
                request_id: new.request_id.to_owned(),
                created_ms: now_ms,
                expires_ms,
                finished_ms: None,
                sends: 0,
                interrupted: 0,
                outcome: new.outcome.to_owned(),
            })
        })
    }

    /// Everything that waits, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn waiting(&self) -> Result<Vec<Waiting>, OutboxError> {
        let connection = self.connection();
        let sql = "SELECT seq, id, due_ms FROM entries WHERE state = 'queued' ORDER BY seq";
        let mut statement = connection.prepare(sql)?;
        let read = |row: &Row<'_>| Ok(Waiting { seq: row.get(0)?, id: id(row, 1)?, due_ms: row.get(2)? });
        Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The request of an entry that is not finished.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn request(&self, id: EntryId) -> Result<Option<KeptRequest>, OutboxError> {
        let connection = self.connection();
        let sql = "SELECT request_id, envelope, body, failures, outcome FROM entries
                   WHERE id = ?1 AND state IN ('queued', 'sending')";
        let mut statement = connection.prepare(sql)?;
        let read = |row: &Row<'_>| {
            let (request_id, envelope) = (row.get(0)?, row.get(1)?);
            Ok(KeptRequest { request_id, envelope, body: row.get(2)?, failures: row.get(3)?, outcome: row.get(4)? })
        };
        Ok(statement.query_row([id.to_string()], read).optional()?)
    }

    /// Marks an entry as being sent. To be called before its request goes anywhere, for each entry by one at a time.
    ///
    /// # Errors
    /// What SQLite says; the request must not be sent then.
    pub fn begin(&self, id: EntryId) -> Result<Begun, OutboxError> {
        self.change(|transaction| {
            let sql = "SELECT size FROM entries WHERE id = ?1 AND state IN ('queued', 'sending')";
            let size: Option<i64> = transaction.query_row(sql, [id.to_string()], |row| row.get(0)).optional()?;
            let Some(size) = size else { return Ok(Begun::Gone) };
            // Its own request makes room for its answer.
            if stats(transaction)?.bytes.saturating_sub(size.unsigned_abs()) >= self.limits.bytes_max {
                return Ok(Begun::NoRoom);
            }
            transaction
                .execute("UPDATE entries SET state = 'sending', sends = sends + 1 WHERE id = ?1", [id.to_string()])?;
            Ok(Begun::Yes)
        })
    }

    /// The ids of all that is not finished.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn unfinished(&self) -> Result<HashSet<EntryId>, OutboxError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT id FROM entries WHERE state IN ('queued', 'sending')")?;
        Ok(statement.query_map([], |row| id(row, 0))?.collect::<rusqlite::Result<_>>()?)
    }

    /// Lets an entry wait again, until `due_ms` at least. `failed` says that a target was reached. `false` when the entry is
    /// gone.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn put_back(&self, id: EntryId, outcome: &str, due_ms: i64, failed: bool) -> Result<bool, OutboxError> {
        self.change(|transaction| {
            let sql = "UPDATE entries SET state = 'queued', due_ms = ?2, failures = failures + ?3,
                           size = size - octet_length(outcome) + octet_length(?4), outcome = ?4
                       WHERE id = ?1 AND state IN ('queued', 'sending')";
            Ok(transaction.execute(sql, params![id.to_string(), due_ms, failed, outcome])? == 1)
        })
    }

    /// Keeps the answer of an entry that is being sent, or that there will be none, and removes its request. `false` when it
    /// is not being sent any more: it was deleted meanwhile, and nothing is kept.
    ///
    /// # Errors
    /// What SQLite says; the entry is as it was then.
    pub fn finish(
        &self,
        id: EntryId,
        state: EntryState,
        outcome: &str,
        answer: Option<&[u8]>,
        now_ms: i64,
    ) -> Result<bool, OutboxError> {
        let size = (outcome.len() + answer.map_or(0, <[u8]>::len)) as u64 + ENTRY_OVERHEAD_BYTES;
        let removed_ms = now_ms.saturating_add(millis(self.limits.keep));
        self.change(|transaction| {
            let sql = "UPDATE entries SET state = ?2, outcome = ?3, answer = ?4, finished_ms = ?5, expires_ms = ?6,
                           size = ?7, envelope = '', body = x'' WHERE id = ?1 AND state = 'sending'";
            let values = params![id.to_string(), state.as_str(), outcome, answer, now_ms, removed_ms, signed(size)];
            Ok(transaction.execute(sql, values)? == 1)
        })
    }

    /// What is told of an entry; with its answer where it has one. `caller` is whose it has to be; `None` for anybody's.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn entry(&self, id: EntryId, caller: Option<&str>) -> Result<Option<WithAnswer>, OutboxError> {
        let connection = self.connection();
        let sql = format!("SELECT {ENTRY}, answer FROM entries WHERE id = ?1 AND (?2 IS NULL OR caller = ?2)");
        let mut statement = connection.prepare(&sql)?;
        let read = |row: &Row<'_>| Ok((entry(row)?, row.get(10)?));
        Ok(statement.query_row(params![id.to_string(), caller], read).optional()?)
    }

    /// Entries, newest first, those older than `after` where that is given. `None` when there is no entry `after`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn list(&self, caller: Option<&str>, after: Option<EntryId>, count: u32) -> Result<Option<Page>, OutboxError> {
        let connection = self.connection();
        let before = match after {
            None => i64::MAX,
            Some(id) => {
                let sql = "SELECT seq FROM entries WHERE id = ?1 AND (?2 IS NULL OR caller = ?2)";
                let mut statement = connection.prepare(sql)?;
                let found = statement.query_row(params![id.to_string(), caller], |row| row.get(0)).optional()?;
                let Some(seq) = found else { return Ok(None) };
                seq
            }
        };
        let sql = format!(
            "SELECT {ENTRY} FROM entries WHERE seq < ?1 AND (?2 IS NULL OR caller = ?2) ORDER BY seq DESC LIMIT ?3"
        );
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params![before, caller, i64::from(count) + 1], entry)?;
        let mut entries = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let has_more = entries.len() > count as usize;
        entries.truncate(count as usize);
        Ok(Some(Page { entries, has_more }))
    }

    /// Removes an entry with all that is kept of it; the state that it was in, `None` when there is none.
    ///
    /// # Errors
    /// What SQLite says; the entry is still there then.
    pub fn delete(&self, id: EntryId, caller: Option<&str>) -> Result<Option<EntryState>, OutboxError> {
        self.change(|transaction| {
            let sql = "DELETE FROM entries WHERE id = ?1 AND (?2 IS NULL OR caller = ?2) RETURNING state";
            let mut statement = transaction.prepare(sql)?;
            Ok(statement.query_row(params![id.to_string(), caller], |row| state(row, 0)).optional()?)
        })
    }

    /// Lets what has waited too long expire, and removes what has been finished long enough. What is being sent goes on.
    /// `outcome` is what is told of the expired.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn expire(&self, outcome: impl Fn(&str) -> String, now_ms: i64) -> Result<Expired, OutboxError> {
        let removed_ms = now_ms.saturating_add(millis(self.limits.keep));
        self.change(|transaction| {
            let sql = "SELECT id, outcome FROM entries WHERE state = 'queued' AND expires_ms <= ?1";
            let read = |row: &Row<'_>| Ok((id(row, 0)?, row.get::<_, String>(1)?));
            let over = transaction.prepare(sql)?.query_map([now_ms], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let sql =
                "UPDATE entries SET state = 'expired', outcome = ?2, finished_ms = ?3, expires_ms = ?4, size = ?5,
                           envelope = '', body = x'' WHERE id = ?1";
            for (id, last) in &over {
                let outcome = outcome(last);
                let size = signed(outcome.len() as u64 + ENTRY_OVERHEAD_BYTES);
                transaction.execute(sql, params![id.to_string(), outcome, now_ms, removed_ms, size])?;
            }
            let sql = "DELETE FROM entries WHERE state IN ('completed', 'failed', 'expired') AND expires_ms <= ?1";
            let removed = transaction.execute(sql, [now_ms])? as u64;
            Ok(Expired { expired: over.into_iter().map(|(id, _)| id).collect(), removed })
        })
    }

    /// How much is kept, as this process knows.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing more is taken in, as a limit is reached.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let OutboxStats { entries, bytes, .. } = self.stats();
        entries.iter().sum::<u64>() >= self.limits.entries_max || bytes >= self.limits.bytes_max
    }

    /// Why the last change could not be written, in SQLite's or the system's words; `None` where it could.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes something that changes nothing, to find out whether that can be done.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn check(&self) -> Result<(), OutboxError> {
        self.change(|transaction| {
            transaction.execute("DELETE FROM entries WHERE seq = 0", [])?;
            transaction.execute("UPDATE totals SET entries = entries", [])?;
            Ok(())
        })
    }

    /// Whether another process has changed something since this was asked last.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn changed_elsewhere(&self) -> Result<bool, OutboxError> {
        let connection = self.connection();
        let version = version_elsewhere(&connection)?;
        let has_changed = self.seen.swap(version, Ordering::Relaxed) != version;
        if has_changed {
            *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats(&connection)?;
        }
        Ok(has_changed)
    }

    fn change<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, OutboxError>) -> Result<T, OutboxError> {
        let changed = self.try_to_change(change);
        let failure = match &changed {
            Ok(_) => None,
            Err(error @ (OutboxError::Sql(_) | OutboxError::Io(_))) => Some(error.to_string()),
            // Says nothing of the disk.
            Err(_) => return changed,
        };
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        changed
    }

    fn try_to_change<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        let mut connection = self.connection();
        // Dropped without a commit, a transaction is rolled back.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        let after = stats(&transaction)?;
        transaction.commit()?;
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(done)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic leaves behind is rolled back as it is dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        work(&self.connection())
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Another number after every commit of another process.
fn version_elsewhere(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// From totals and indexes: takes the same time however much there is.
fn stats(connection: &Connection) -> rusqlite::Result<OutboxStats> {
    let mut stats = OutboxStats::default();
    let mut totals = connection.prepare("SELECT state, entries, bytes FROM totals")?;
    let mut rows = totals.query([])?;
    while let Some(row) = rows.next()? {
        let state = state(row, 0)?;
        for (known, count) in EntryState::ALL.iter().zip(&mut stats.entries) {
            if *known == state {
                *count = row.get::<_, i64>(1)?.unsigned_abs();
            }
        }
        stats.bytes += row.get::<_, i64>(2)?.unsigned_abs();
    }
    let mut oldest = connection.prepare("SELECT MIN(created_ms) FROM entries WHERE state = ?1")?;
    let mut next = connection.prepare("SELECT MIN(expires_ms) FROM entries WHERE state = ?1")?;
    for (state, _) in EntryState::ALL.iter().zip(stats.entries).filter(|(_, count)| *count > 0) {
        let earlier = |known: Option<i64>, time: Option<i64>| known.into_iter().chain(time).min();
        if !state.is_finished() {
            stats.oldest_ms = earlier(stats.oldest_ms, oldest.query_row([state.as_str()], |row| row.get(0))?);
        }
        if *state != EntryState::Sending {
            stats.next_ms = earlier(stats.next_ms, next.query_row([state.as_str()], |row| row.get(0))?);
        }
    }
    Ok(stats)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        seq: row.get(0)?,
        id: id(row, 1)?,
        state: state(row, 2)?,
        request_id: row.get(3)?,
        created_ms: row.get(4)?,
        expires_ms: row.get(5)?,
        finished_ms: row.get(6)?,
        sends: row.get(7)?,
        interrupted: row.get(8)?,
        outcome: row.get(9)?,
    })
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<EntryId> {
    let text: String = row.get(column)?;
    EntryId::parse(&text).map_err(|error| unreadable(column, error.into()))
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<EntryState> {
    let word: String = row.get(column)?;
    EntryState::parse(&word).ok_or_else(|| unreadable(column, "no state of an entry".into()))
}

fn unreadable(column: usize, error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
}

/// SQLite's integers are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
