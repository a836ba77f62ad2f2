//! The thread that writes, and the handle by which it is told what.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, ffi};
use tracing::{info, warn};

use super::block::{self, FoundBy};
use super::chain::Head;
use super::queue::{Batch, Next, Queue};
use super::retention::{head, purge, signed};
use super::shared::Shared;
use super::{LedgerError, LedgerLimits, schema, text};
use crate::Settlement;

/// How long a batch waits that could not be written.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// After so many records it is looked for what is over its limits.
const PURGE_EVERY: usize = 512;
/// When no record came for so long, what is in the log is brought into the file: work that can wait until nobody waits for a processor.
const QUIET: Duration = Duration::from_secs(1);
/// Records in the log at which it is brought into the file whatever goes on: some tens of megabytes.
const LOG_RECORDS_MAX: usize = 32 << 10;
/// Bytes of memory that a thread keeps to make its next record in; most take less than two thousand.
const TEXT_BYTES_KEPT: usize = 16 << 10;
/// How long whoever wants everything written waits at most.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// One record in so many that are lost is told of in the log.
const TELL_LOST_EVERY: u64 = 10_000;

/// Why nothing is written where the file is another one.
const MOVED: &str =
    "its file was removed, or another one is in its place: a gateway that is started anew begins a new one";

thread_local! {
    /// Memory in which the thread makes its records, one after the other.
    static TEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What was written and what was not, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Records written.
    pub written: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Lost because they could not be written when the process ended.
    pub failed: u64,
}

/// How the ledger fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerHealth {
    /// Settled and not written yet.
    pub waiting: u64,
    /// How long the oldest of them waits.
    pub lag: Duration,
    /// Why nothing can be written; `None` while it can.
    pub failure: Option<String>,
    /// What was written.
    pub counts: LedgerCounts,
}

#[derive(Default)]
struct Counters {
    written: AtomicU64,
    overflowed: AtomicU64,
    failed: AtomicU64,
}

/// The ledger of this process. Dropping it writes what is queued.
pub struct Ledger {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    shared: Arc<RwLock<Shared>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// Opens the file, or makes it, and starts the thread.
    ///
    /// # Errors
    /// [`LedgerError`] for a file that cannot be opened or is of a newer version.
    pub fn open(path: &Path, limits: LedgerLimits) -> Result<Self, LedgerError> {
        let connection = schema::open(path, limits.is_synced)?;
        let file = (path.to_owned(), which(path)?);
        let (queue, counters) = (Arc::new(Queue::new(limits.queue_max)), Arc::new(Counters::default()));
        let shared = Arc::default();
        let mut writer = Writer {
            connection,
            file,
            limits,
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            shared: Arc::clone(&shared),
            since_purge: PURGE_EVERY,
            // Of what an earlier process left there it is not known how much it is.
            in_log: 1,
            is_failing: false,
        };
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || writer.run())?;
        Ok(Self { queue, counters, shared, thread: Mutex::new(Some(thread)) })
    }

    /// Makes the record of a settled exchange and hands it over without waiting; lost and counted where the queue is full.
    pub fn settled(&self, settlement: &Settlement) {
        let found_by = FoundBy { key: block::key(&settlement.request_id), at_ms: settlement.settled_ms() };
        let mut text = TEXT.take();
        self.write(&mut text, settlement);
        let is_taken = self.queue.push(&text, found_by);
        text.clear();
        text.shrink_to(TEXT_BYTES_KEPT);
        TEXT.set(text);
        if !is_taken {
            let lost = self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
            if lost.is_multiple_of(TELL_LOST_EVERY) {
                warn!(lost = lost + 1, "the ledger does not keep up; exchanges are not recorded");
            }
        }
    }

    /// Writes the text of a record, whose targets are met before it is in the file.
    fn write(&self, text: &mut Vec<u8>, settlement: &Settlement) {
        let targets = settlement.decided.as_ref().map_or(&[][..], |decided| &decided.targets);
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        if shared.knows(targets) {
            return text::write(text, settlement, &shared);
        }
        drop(shared);
        // Under one lock, as what was written may be forgotten.
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        shared.meet(targets);
        text::write(text, settlement, &shared);
    }

    /// Waits until what was handed over before is written; false where that cannot be now. Blocks.
    #[must_use]
    pub fn flush(&self) -> bool {
        self.queue.flush(FLUSH_MAX)
    }

    /// Whether an exchange that were settled now would be written as far as is known.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.queue.is_open()
    }

    /// How it fares.
    #[must_use]
    pub fn health(&self) -> LedgerHealth {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { written, overflowed, failed } = &*self.counters;
        let (waiting, lag, failure) = self.queue.waiting();
        let counts = LedgerCounts { written: of(written), overflowed: of(overflowed), failed: of(failed) };
        LedgerHealth { waiting, lag, failure, counts }
    }

    /// Writes what is queued and ends the thread. What is handed over after that is lost and counted. Blocks.
    pub fn close(&self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Fails only when the thread panicked, which was told.
            let _ = thread.join();
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

/// Which file a path leads to: its device and number.
fn which(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

struct Writer {
    connection: Connection,
    /// Where the file lies, and which one that is.
    file: (PathBuf, (u64, u64)),
    limits: LedgerLimits,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    shared: Arc<RwLock<Shared>>,
    since_purge: usize,
    /// Records written since the log was brought into the file.
    in_log: usize,
    is_failing: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Also in a panic: nobody is to wait for what is not written any more, nor to believe that it is.
        self.queue.close();
        self.queue.failed("the thread that writes it has ended".to_owned());
    }
}

impl Writer {
    fn run(&mut self) {
        let mut batch = Batch::default();
        loop {
            let quiet = (self.in_log > 0).then_some(QUIET);
            match self.queue.take(&mut batch, self.limits.flush_every, quiet) {
                Next::Closed => return,
                Next::Quiet => self.checkpoint(),
                Next::Batch => {
                    self.write(&batch);
                    self.queue.done(batch.len());
                    batch.clear();
                    if self.in_log >= LOG_RECORDS_MAX {
                        self.checkpoint();
                    }
                }
            }
        }
    }

    /// Brings what is in the log into the file, as far as nobody reads what is older.
    fn checkpoint(&mut self) {
        self.in_log = 0;
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            // What is in the log is safe there, and it is tried again with the next.
            if !self.is_failing {
                warn!(error = %error, "the log of the ledger cannot be brought into its file");
            }
        }
    }

    /// Whether the file that is open is still the one that others find: SQLite goes on writing to one that was removed, and nobody could read it.
    fn is_there(&self) -> rusqlite::Result<()> {
        let (path, opened) = &self.file;
        if which(path).is_ok_and(|found| found == *opened) {
            return Ok(());
        }
        let moved = ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED);
        Err(rusqlite::Error::SqliteFailure(moved, Some(MOVED.to_owned())))
    }

    /// Writes a batch, again and again until that succeeds, or once more when the process ends.
    fn write(&mut self, batch: &Batch) {
        let mut is_last = false;
        loop {
            let error = match self.commit(batch) {
                Ok(()) => {
                    self.counters.written.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    if std::mem::take(&mut self.is_failing) {
                        info!("the ledger is written again");
                    }
                    return;
                }
                Err(error) => error,
            };
            self.queue.failed(error.to_string());
            if !std::mem::replace(&mut self.is_failing, true) {
                warn!(error = %error, "the ledger cannot be written; it is tried again");
            }
            if is_last {
                self.counters.failed.fetch_add(batch.len() as u64, Ordering::Relaxed);
                warn!(lost = batch.len(), "the ledger cannot be written; exchanges are not recorded");
                return;
            }
            // On a full disk that makes room: the log can begin anew.
            self.checkpoint();
            is_last = !self.queue.pause(TRY_AGAIN);
        }
    }

    fn commit(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        self.is_there()?;
        // From the begin on, as another process may write to the file too.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Head { mut seq, mut hash } = head(&transaction)?;
        {
            let mut insert = transaction.prepare(block::INSERT)?;
            for (records, texts) in batch.blocks() {
                (seq, hash) = (seq + records.len() as u64, hash.then(texts));
                let found_by = records.iter().map(|record| record.found_by);
                block::insert(&mut insert, signed(seq), hash, texts, found_by.map(Some))?;
                // Where processors are short, those who answer requests go first: nobody waits for the next block.
                std::thread::yield_now();
            }
        }
        let shared = {
            let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
            shared.is_new().then(|| shared.write(&transaction)).transpose()?
        };
        self.since_purge += batch.len();
        if self.since_purge >= PURGE_EVERY {
            // The earliest of them, so that one of a clock that was ahead for a moment removes nothing.
            let is_more = purge(&transaction, &self.limits, batch.earliest_ms())?;
            self.since_purge = if is_more { PURGE_EVERY } else { 0 };
        }
        transaction.commit()?;
        if let Some(profiles) = shared {
            self.shared.write().unwrap_or_else(PoisonError::into_inner).written(profiles);
        }
        self.in_log += batch.len();
        Ok(())
    }
}
