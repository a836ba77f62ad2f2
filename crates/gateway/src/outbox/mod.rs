//! Answers later: a request that cannot be answered now is kept on this device and sent when a target may and can answer.
//!
//! It is sent by the way of every other request: read, looked into, decided by the policy in force at that moment, executed.
//! What held for it when it came holds until it is finished. Each is sent at least once and its answer kept once; only after a
//! crash in the middle of sending may a target see it twice.

mod envelope;
mod http;
mod prefer;
mod queue;
mod sender;
mod sending;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::http::HeaderMap;
use account::outbox::{Entry, EntryId, EntryState, NewEntry, OutboxError, OutboxStats, OutboxStore};
use account::{Metrics, OutboxResult, RequestOutcome};
use bytes::Bytes;
use dispatch::AttemptRecord;
use pingora_core::protocols::http::ServerSession;
use policy::{Plan, TargetId};
use tokio::sync::{Notify, Semaphore, oneshot};
use tracing::error;
use wire::{ApiError, ChatRequest};

use crate::config::OutboxConfig;
use crate::decision::Decision;
use crate::gateway::Gateway;
use crate::settle::Settling;
use crate::unix_time::signed_now_ms as now_ms;
use crate::{exchange, reply};
use envelope::{Envelope, Told};
use prefer::wants_async;
use queue::{Hangs, Queue};

pub(crate) use self::http::{answer, is_below, shown, why_not};
pub(crate) use prefer::RESPOND_ASYNC;
pub(crate) use sender::run;
pub(crate) use sending::may_pass;

/// The folder of the outbox, in the data folder.
const FOLDER: &str = "outbox";
/// Answers that are read at the same time; each may take a few times its length in memory.
const READS_MAX: usize = 8;
/// Callers have no keys yet: all are this one.
const ANONYMOUS: &str = "";

/// Where the outbox is, below the data folder.
pub(crate) fn folder(home: &Path) -> PathBuf {
    home.join(FOLDER)
}

/// The outbox of a running gateway.
pub(crate) struct Outbox {
    store: Arc<OutboxStore>,
    config: OutboxConfig,
    queue: Mutex<Queue>,
    /// What is being sent. Dropping a sender ends the sending.
    running: Mutex<HashMap<EntryId, oneshot::Sender<()>>>,
    /// For reading entries with their answers.
    reads: Semaphore,
    /// Whether the queue spares a target, so that answers of others are worth telling it.
    spares: AtomicBool,
    /// Something is to be done.
    changed: Notify,
}

/// The outbox at one moment.
pub(crate) struct OutboxHealth {
    pub stats: OutboxStats,
    /// Nothing more is taken in, as a limit is reached.
    pub is_full: bool,
    /// Why it could not be written last.
    pub failure: Option<String>,
}

/// A request that is to be kept.
struct Deferring<'a> {
    request: &'a ChatRequest,
    headers: &'a HeaderMap,
    request_id: &'a str,
    decision: &'a Decision,
    /// What was tried already.
    records: &'a [AttemptRecord],
    /// The reply that its caller would get otherwise.
    error: &'a ApiError,
}

impl Outbox {
    /// Opens the outbox below `home`. Blocks while it reads and, where another gateway is just ending, for a moment longer.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn open(config: OutboxConfig, home: &Path) -> Result<Self, OutboxError> {
        let store = OutboxStore::open(&folder(home), config.limits)?;
        let mut queue = Queue::default();
        let (now, now_ms) = (Instant::now(), now_ms());
        for waiting in store.waiting()? {
            queue.add(waiting.seq, waiting.id, now + until(waiting.due_ms, now_ms), Hangs::No);
        }
        Ok(Self {
            store: Arc::new(store),
            config,
            queue: Mutex::new(queue),
            running: Mutex::default(),
            reads: Semaphore::new(READS_MAX),
            spares: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Keeps a request. Once this returns, it survives whatever happens to the process.
    ///
    /// # Errors
    /// 507 where there is no room or the disk refuses; nothing is kept then.
    async fn defer(&self, deferring: Deferring<'_>) -> Result<Entry, Box<ApiError>> {
        let Deferring { request, headers, request_id, decision, records, error } = deferring;
        // A client that wants a stream gets a whole answer later.
        let body = match request.stream() {
            true => request.without_stream().into(),
            false => request.body().clone(),
        };
        let envelope = Envelope::of(headers, &decision.floor()).to_json();
        let (request_id, outcome) = (request_id.to_owned(), Told::not_yet(error).to_json());
        let now_ms = now_ms();
        let insert = move |store: &OutboxStore| {
            let (request_id, envelope, outcome) = (&request_id, &envelope, &outcome);
            let (caller, body): (_, &Bytes) = (ANONYMOUS, &body);
            store.insert(&NewEntry { caller, request_id, envelope, body, outcome, due_ms: now_ms }, now_ms)
        };
        let kept = self.blocking(insert).await.map_err(|failed| match failed {
            OutboxError::Full { .. } => Box::new(ApiError::outbox_full(&failed.to_string(), &error.message)),
            failed => {
                // The sender finds out when it can be written again.
                self.changed.notify_one();
                unusable(&failed)
            }
        })?;
        let now = Instant::now();
        {
            let mut queue = self.queue();
            for record in records.iter().filter(|record| may_pass(record.outcome)) {
                queue.failed_on(&record.profile.id, record.retry_after, now);
            }
            queue.add(kept.seq, kept.id, now, Hangs::on(decision.worth_waiting_for(), decision.generation(), now));
        }
        self.note_pauses();
        self.changed.notify_one();
        Ok(kept)
    }

    fn note_pauses(&self) {
        self.spares.store(self.queue().has_pauses(), Ordering::Relaxed);
    }

    /// A target has answered somebody: whoever waits for it may try at once.
    pub(crate) fn is_back(&self, target: &TargetId) {
        // Every live answer comes here.
        if self.spares.load(Ordering::Relaxed) {
            self.queue().is_back(target);
            self.note_pauses();
            self.changed.notify_one();
        }
    }

    /// Removes an entry and ends its sending; the state that it was in.
    async fn delete(&self, id: EntryId) -> Result<Option<EntryState>, OutboxError> {
        let state = self.blocking(move |store| store.delete(id, Some(ANONYMOUS))).await?;
        if state.is_some() {
            self.queue().retain(|other| other != id);
            // Only now: what is taken up for sending after this finds no entry.
            self.running().remove(&id);
            self.changed.notify_one();
        }
        Ok(state)
    }

    /// What is told of it.
    pub(crate) fn health(&self) -> OutboxHealth {
        let (stats, failure) = (self.store.stats(), self.store.failure());
        OutboxHealth { stats, is_full: self.store.is_full(), failure }
    }

    /// Shows what is kept in the metrics.
    pub(crate) fn show(&self, metrics: &Metrics) {
        metrics.show_outbox(&self.store.stats(), now_ms());
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OutboxStore) -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|error| OutboxError::Io(std::io::Error::other(error)))?
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change is made in one step; a panic leaves nothing half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<EntryId, oneshot::Sender<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outbox, where there is one and the caller or the route wants a request kept that cannot be answered now.
pub(crate) fn wanted<'a>(gateway: &'a Gateway, headers: &HeaderMap, plan: &Plan) -> Option<&'a Outbox> {
    let outbox = gateway.outbox.as_ref().ok()?;
    (plan.respond_async() || wants_async(headers)).then_some(outbox)
}

/// Keeps the request of `session` for later and says so; `error` is what its caller would be told otherwise.
pub(crate) async fn defer(
    gateway: &Gateway,
    outbox: &Outbox,
    session: &mut ServerSession,
    settling: &mut Settling<'_>,
    decision: &Decision,
    request: &ChatRequest,
    error: &ApiError,
) {
    let (headers, request_id) = (&session.req_header().headers, settling.request_id().to_owned());
    let preferred = wants_async(headers);
    let records = &settling.journal().records();
    let deferring = Deferring { request, headers, request_id: &request_id, decision, records, error };
    match outbox.defer(deferring).await {
        Ok(entry) => {
            gateway.metrics.outbox_result(OutboxResult::Accepted);
            let (location, reason, json) = (http::location(entry.id), decision.plan.reason(), http::entry_json(&entry));
            let told = reply::accepted(session, &request_id, &reason, &location, json, preferred).await;
            settling.end(if told { RequestOutcome::Deferred } else { RequestOutcome::CallerGone });
        }
        Err(error) => {
            gateway.metrics.outbox_result(OutboxResult::Refused);
            exchange::refuse(session, settling, *error).await;
        }
    }
}

/// The reply where the store failed; why stands in the log.
fn unusable(failed: &OutboxError) -> Box<ApiError> {
    error!(error = %failed, "the outbox cannot be used");
    Box::new(ApiError::outbox_failed())
}

/// How long until a time.
fn until(then_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(then_ms.saturating_sub(now_ms).max(0).unsigned_abs())
}
