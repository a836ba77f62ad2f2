//! The answers on disk: one SQLite file that is read once, when it is opened, and written by one thread behind a bounded queue.
//!
//! Not the answers of a moment before a crash, but every one that was written, whole. What makes room in memory stays here until it is
//! too old or this is too much as well.

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use policy::TargetId;
use rusqlite::{Connection, Row, params};
use tracing::{info, warn};

use super::{ResponseError, ResponseForm, ResponseKey, ResponseLimits, StoredResponse};
use crate::sqlite;

/// Answers that wait to be written at most; more are lost and counted.
pub const QUEUE_MAX: usize = 64;
/// Answers written in one transaction at most.
const BATCH_MAX: usize = 32;
/// Answers removed at a time to make room.
const REMOVED_AT_ONCE: i64 = 16;
/// Counts up with every change of the tables; in the file as `user_version`.
const SCHEMA_VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE responses (
    key BLOB PRIMARY KEY CHECK (length(key) = 32),
    is_stream INTEGER NOT NULL,
    target TEXT NOT NULL,
    target_version BLOB NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    stored_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL,
    digest BLOB NOT NULL
) STRICT;
CREATE INDEX responses_by_age ON responses (stored_ms, size);
CREATE INDEX responses_by_end ON responses (expires_ms);
";

/// Version 1 had no digests; its answers are given up.
const FROM_1: &str = "DROP TABLE responses;";

/// What is removed is overwritten and given back.
const PRAGMAS: &str = "
PRAGMA auto_vacuum = FULL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA secure_delete = ON;
";

enum Command {
    Write(ResponseKey, Arc<StoredResponse>),
    Flush(SyncSender<()>),
}

#[derive(Default)]
struct Counters {
    written: AtomicU64,
    overflowed: AtomicU64,
    failed: AtomicU64,
}

/// The handle of the thread. Dropping it writes what is queued.
pub(super) struct Disk {
    sender: Option<SyncSender<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counters: Arc<Counters>,
}

impl Disk {
    /// Opens the file, gives everything in it that is not too old to `found`, oldest first, and starts the thread.
    pub(super) fn open(
        path: &Path,
        limits: ResponseLimits,
        now_ms: i64,
        mut found: impl FnMut(ResponseKey, Arc<StoredResponse>),
    ) -> Result<Self, ResponseError> {
        let mut connection = connect(path)?;
        trim(&connection, &limits, now_ms)?;
        read(&mut connection, &limits, &mut found)?;
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let counters = Arc::new(Counters::default());
        let mut writer = Writer { connection, limits, counters: Arc::clone(&counters), is_failing: false };
        let thread = std::thread::Builder::new().name("responses".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Self { sender: Some(sender), thread: Mutex::new(Some(thread)), counters })
    }

    /// Hands an answer over without waiting; lost and counted where the queue is full.
    pub(super) fn write(&self, key: ResponseKey, response: Arc<StoredResponse>) {
        let refused = self.sender.as_ref().is_some_and(|queue| queue.try_send(Command::Write(key, response)).is_err());
        if refused {
            self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn flush(&self) {
        let (sender, done) = sync_channel(1);
        if self.sender.as_ref().is_some_and(|queue| queue.send(Command::Flush(sender)).is_ok()) {
            // Fails only when the thread has ended.
            let _ = done.recv();
        }
    }

    /// Written, overflowed, failed.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&self.counters.written), of(&self.counters.overflowed), of(&self.counters.failed))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Fails only when the thread panicked.
            let _ = thread.join();
        }
    }
}

struct Writer {
    connection: Connection,
    limits: ResponseLimits,
    counters: Arc<Counters>,
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Command>) {
        while let Ok(first) = queue.recv() {
            let (mut batch, mut waiting) = (Vec::new(), Vec::new());
            for command in std::iter::once(first).chain(queue.try_iter().take(BATCH_MAX - 1)) {
                match command {
                    Command::Write(key, response) => batch.push((key, response)),
                    Command::Flush(done) => waiting.push(done),
                }
            }
            self.write(&batch);
            for done in waiting {
                // Fails only when nobody waits any more.
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, batch: &[(ResponseKey, Arc<StoredResponse>)]) {
        let Some(newest_ms) = batch.iter().map(|(_, response)| response.stored_ms).max() else { return };
        let count = batch.len() as u64;
        match self.commit(batch, newest_ms) {
            Ok(()) => {
                self.counters.written.fetch_add(count, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    info!("answers are kept on disk again");
                }
            }
            Err(error) => {
                self.counters.failed.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(error = %error, "answers cannot be kept on disk");
                }
            }
        }
    }

    fn commit(&mut self, batch: &[(ResponseKey, Arc<StoredResponse>)], now_ms: i64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let sql =
                "INSERT OR REPLACE INTO responses (key, is_stream, target, target_version, input_tokens, output_tokens,
                           stored_ms, expires_ms, size, body, digest)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
            let mut insert = transaction.prepare(sql)?;
            for (key, response) in batch {
                insert.execute(params![
                    key,
                    response.form == ResponseForm::Stream,
                    response.target.as_str(),
                    response.target_version,
                    signed(response.input_tokens),
                    signed(response.output_tokens),
                    response.stored_ms,
                    response.expires_ms,
                    signed(response.weight()),
                    &response.body[..],
                    digest(key, response),
                ])?;
            }
        }
        trim(&transaction, &self.limits, now_ms)?;
        transaction.commit()
    }
}

/// Removes what is too old, then the oldest until the rest is not too much.
fn trim(connection: &Connection, limits: &ResponseLimits, now_ms: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM responses WHERE expires_ms <= ?1", [now_ms])?;
    loop {
        // What the rows say of their size is not relied on, and a sum of floats does not overflow.
        let held = "SELECT TOTAL(MAX(size, length(body))) FROM responses";
        let held: f64 = connection.query_row(held, [], |row| row.get(0))?;
        if held <= limits.bytes_max as f64 {
            return Ok(());
        }
        let sql = "DELETE FROM responses WHERE key IN (SELECT key FROM responses ORDER BY stored_ms LIMIT ?1)";
        connection.execute(sql, [REMOVED_AT_ONCE])?;
    }
}

/// A row that cannot be read, or is not as it was written, is passed over: what is not understood answers nobody.
fn read(
    connection: &mut Connection,
    limits: &ResponseLimits,
    found: &mut impl FnMut(ResponseKey, Arc<StoredResponse>),
) -> Result<(), ResponseError> {
    let sql = "SELECT key, is_stream, target, target_version, input_tokens, output_tokens, stored_ms, expires_ms, body,
                      digest
               FROM responses WHERE length(body) <= ?1 ORDER BY stored_ms";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([signed(limits.entry_bytes_max)])?;
    let mut passed_over = 0_u64;
    while let Some(row) = rows.next()? {
        match response(row) {
            Ok(Some((key, response))) => found(key, Arc::new(response)),
            Ok(None) | Err(_) => passed_over += 1,
        }
    }
    if passed_over > 0 {
        warn!(passed_over, "answers on disk are not as they were written and are given to nobody");
    }
    Ok(())
}

/// Over everything that is kept of an answer, and its name: a disk that changes a bit of it makes no other answer of it.
fn digest(key: &ResponseKey, response: &StoredResponse) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut put = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    };
    put(key);
    put(&[u8::from(response.form == ResponseForm::Stream)]);
    put(response.target.as_str().as_bytes());
    put(&response.target_version);
    for number in
        [signed(response.input_tokens), signed(response.output_tokens), response.stored_ms, response.expires_ms]
    {
        put(&number.to_le_bytes());
    }
    put(&response.body);
    *hasher.finalize().as_bytes()
}

fn response(row: &Row<'_>) -> rusqlite::Result<Option<(ResponseKey, StoredResponse)>> {
    let (target, tokens): (String, [i64; 2]) = (row.get(2)?, [row.get(4)?, row.get(5)?]);
    let (Ok(target), [Ok(input_tokens), Ok(output_tokens)]) = (TargetId::new(&target), tokens.map(u64::try_from))
    else {
        return Ok(None);
    };
    let response = StoredResponse {
        form: if row.get(1)? { ResponseForm::Stream } else { ResponseForm::Whole },
        target,
        target_version: row.get(3)?,
        input_tokens,
        output_tokens,
        stored_ms: row.get(6)?,
        expires_ms: row.get(7)?,
        body: row.get::<_, Vec<u8>>(8)?.into(),
    };
    let (key, written): (ResponseKey, [u8; 32]) = (row.get(0)?, row.get(9)?);
    Ok((digest(&key, &response) == written).then_some((key, response)))
}

/// Opens the file and makes it and its folder where they are not there, for their owner alone.
fn connect(path: &Path) -> Result<Connection, ResponseError> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // One that was there already may be open to others; this fails for one that is somebody else's.
        set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    sqlite::make(path)?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
    connection.execute_batch(PRAGMAS)?;
    let from_1: sqlite::Step = |transaction| transaction.execute_batch(&[FROM_1, TABLES].concat());
    match sqlite::create(&mut connection, TABLES, &[from_1], SCHEMA_VERSION)? {
        SCHEMA_VERSION => Ok(connection),
        found => Err(ResponseError::Newer { found, known: SCHEMA_VERSION }),
    }
}

/// SQLite's integers are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
