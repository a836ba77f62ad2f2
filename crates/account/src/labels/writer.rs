//! The thread that writes, and the handle by which it is told what.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tracing::{info, warn};

use super::{AnswerRecord, LabelError, LabelLimits, OutcomeRecord, schema};

/// Records that wait to be written at most; more are lost and counted.
pub const QUEUE_MAX: usize = 1024;
/// Records written in one transaction at most.
const BATCH_MAX: usize = 128;
/// After so many answers what is over its limits is removed.
const PURGE_EVERY: u64 = 256;

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is written.
    Written,
    /// No answer with this id is kept.
    Unknown,
}

/// Told what became of an outcome.
type Reply = Box<dyn FnOnce(Result<Recorded, LabelError>) + Send>;

enum Command {
    Answer(AnswerRecord),
    Outcome(OutcomeRecord, Option<Reply>),
    Flush(SyncSender<()>),
}

/// What was written and what was not, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelCounts {
    /// Answers and outcomes written.
    pub written: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Lost because they could not be written.
    pub failed: u64,
}

#[derive(Default)]
struct Counters {
    written: AtomicU64,
    overflowed: AtomicU64,
    failed: AtomicU64,
}

/// The label store of this process. Dropping it writes what is queued.
pub struct LabelStore {
    sender: Option<SyncSender<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counters: Arc<Counters>,
}

impl LabelStore {
    /// Opens the file, or makes it, and starts the thread.
    ///
    /// # Errors
    /// [`LabelError`] for a file that cannot be opened or is of a newer version.
    pub fn open(path: &Path, limits: LabelLimits) -> Result<Self, LabelError> {
        let connection = schema::open(path)?;
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let counters = Arc::new(Counters::default());
        let mut writer = Writer { connection, limits, counters: Arc::clone(&counters), answers: 0, is_failing: false };
        let thread = std::thread::Builder::new().name("labels".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Self { sender: Some(sender), thread: Mutex::new(Some(thread)), counters })
    }

    /// Hands an answer over without waiting; lost and counted where the queue is full.
    pub fn answered(&self, answer: AnswerRecord) {
        self.send(Command::Answer(answer));
    }

    /// Hands an outcome over without waiting; lost and counted where the queue is full, without effect where the answer is
    /// not known.
    pub fn outcome(&self, outcome: OutcomeRecord) {
        self.send(Command::Outcome(outcome, None));
    }

    /// The same for a caller who wants to know; `reply` is called on the writing thread, or here where the queue is full.
    pub fn outcome_then(
        &self,
        outcome: OutcomeRecord,
        reply: impl FnOnce(Result<Recorded, LabelError>) + Send + 'static,
    ) {
        self.send(Command::Outcome(outcome, Some(Box::new(reply))));
    }

    /// Waits until what was handed over before is written.
    pub fn flush(&self) {
        let (sender, done) = sync_channel(1);
        let sent = self.sender.as_ref().is_some_and(|queue| queue.send(Command::Flush(sender)).is_ok());
        if sent {
            // Fails only when the thread has ended.
            let _ = done.recv();
        }
    }

    /// What was written so far.
    #[must_use]
    pub fn counts(&self) -> LabelCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { written, overflowed, failed } = &*self.counters;
        LabelCounts { written: of(written), overflowed: of(overflowed), failed: of(failed) }
    }

    fn send(&self, command: Command) {
        let Some(Err(refused)) = self.sender.as_ref().map(|sender| sender.try_send(command).map_err(Box::new)) else {
            return;
        };
        self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
        let (TrySendError::Full(command) | TrySendError::Disconnected(command)) = *refused;
        if let Command::Outcome(_, Some(reply)) = command {
            reply(Err(LabelError::Busy));
        }
    }
}

impl Drop for LabelStore {
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
    limits: LabelLimits,
    counters: Arc<Counters>,
    /// Answers since the last purge.
    answers: u64,
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Command>) {
        while let Ok(first) = queue.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX {
                match queue.try_recv() {
                    Ok(command) => batch.push(command),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            self.write(batch);
        }
    }

    fn write(&mut self, batch: Vec<Command>) {
        let (records, flushes): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|command| !matches!(command, Command::Flush(_)));
        let count = records.len() as u64;
        match self.commit(records) {
            Ok(replies) => {
                self.counters.written.fetch_add(count, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    info!("labels are written again");
                }
                for (reply, recorded) in replies {
                    reply(Ok(recorded));
                }
            }
            // The replies are gone with the batch; whoever waits for one learns that none comes.
            Err(error) => {
                self.counters.failed.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(error = %error, "labels cannot be written");
                }
            }
        }
        for flush in flushes {
            if let Command::Flush(done) = flush {
                // Fails only when nobody waits any more.
                let _ = done.send(());
            }
        }
    }

    fn commit(&mut self, records: Vec<Command>) -> rusqlite::Result<Vec<(Reply, Recorded)>> {
        let mut replies = Vec::new();
        let transaction = self.connection.transaction()?;
        let mut newest_s = 0;
        for record in records {
            match record {
                Command::Answer(answer) => {
                    newest_s = newest_s.max(answer.at_s);
                    self.answers += 1;
                    insert(&transaction, &answer)?;
                }
                Command::Outcome(outcome, reply) => {
                    let recorded = record_outcome(&transaction, &outcome)?;
                    replies.extend(reply.map(|reply| (reply, recorded)));
                }
                Command::Flush(_) => {}
            }
        }
        if self.answers >= PURGE_EVERY {
            purge(&transaction, &self.limits, newest_s)?;
            self.answers = 0;
        }
        transaction.commit()?;
        Ok(replies)
    }
}

fn insert(transaction: &Transaction<'_>, answer: &AnswerRecord) -> rusqlite::Result<()> {
    let (classifier, features) = match &answer.features {
        Some((name, features)) => {
            let bytes: Vec<u8> = features.iter().flat_map(|feature| feature.to_le_bytes()).collect();
            (Some(name), Some(bytes))
        }
        None => (None, None),
    };
    let sql = "INSERT OR REPLACE INTO answers (request_id, at_s, target, model, privacy, task, classifier, features)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let privacy = answer.privacy.as_str();
    transaction.prepare(sql)?.execute(params![
        answer.request_id,
        seconds(answer.at_s),
        answer.target,
        answer.model,
        privacy,
        answer.task,
        classifier,
        features
    ])?;
    Ok(())
}

fn record_outcome(transaction: &Transaction<'_>, outcome: &OutcomeRecord) -> rusqlite::Result<Recorded> {
    let mut find = transaction.prepare("SELECT id FROM answers WHERE request_id = ?1")?;
    let Some(answer) = find.query_row([&outcome.request_id], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(Recorded::Unknown);
    };
    let sql = "INSERT OR REPLACE INTO outcomes (answer, source, at_s, score, weight) VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.prepare(sql)?.execute(params![
        answer,
        outcome.source.as_str(),
        seconds(outcome.at_s),
        outcome.score.clamp(0.0, 1.0),
        outcome.weight.max(f64::MIN_POSITIVE)
    ])?;
    Ok(Recorded::Written)
}

/// Removes what is older than its limit, then what is too many: answers without an outcome before others, oldest first.
fn purge(transaction: &Transaction<'_>, limits: &LabelLimits, now_s: u64) -> rusqlite::Result<()> {
    let before = |age: std::time::Duration| seconds(now_s.saturating_sub(age.as_secs()));
    transaction.execute("DELETE FROM answers WHERE at_s < ?1", [before(limits.age_max)])?;
    transaction.execute(
        "DELETE FROM answers WHERE at_s < ?1 AND id NOT IN (SELECT answer FROM outcomes)",
        [before(limits.wait_max)],
    )?;
    transaction.execute(
        "DELETE FROM answers WHERE id IN (
             SELECT id FROM answers ORDER BY id IN (SELECT answer FROM outcomes) DESC, at_s DESC, id DESC
             LIMIT -1 OFFSET ?1)",
        [seconds(limits.rows_max)],
    )?;
    Ok(())
}

/// SQLite's integers are signed.
fn seconds(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
