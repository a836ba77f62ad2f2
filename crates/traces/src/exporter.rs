//! The task that exports, and the handle by which it is told what.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use policy::TargetId;
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::TracedExchange;
use crate::collector::{Collector, Refused};
use crate::queue::Queue;
use crate::spans::{Described, Resource, Writer};

/// How long a batch waits that was not taken; doubled each time.
const TRY_AGAIN_MIN: Duration = Duration::from_secs(1);
/// At most so long.
const TRY_AGAIN_MAX: Duration = Duration::from_secs(8);
/// A batch that was not taken for so long is lost.
const TRY_FOR: Duration = Duration::from_secs(30);
/// How long a gateway that stops waits for what is not exported yet.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// One exchange in so many that are lost is told of in the log.
const TELL_LOST_EVERY: u64 = 10_000;

/// How much waits, and how it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// Exchanges that wait to be exported at most; more are lost and counted.
    pub queue_max: usize,
    /// Exchanges that are sent together at most.
    pub batch_max: usize,
    /// How long an exchange waits for others to be sent with it.
    pub flush_every: Duration,
    /// How long the collector may take for one message.
    pub timeout: Duration,
}

impl Default for TraceLimits {
    /// 2048 and 128 exchanges, 1 s, 10 s.
    fn default() -> Self {
        Self { queue_max: 2048, batch_max: 128, flush_every: Duration::from_secs(1), timeout: Duration::from_secs(10) }
    }
}

/// What was exported and what was not, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Exchanges that the collector has taken.
    pub exported: u64,
    /// Exchanges lost because the queue was full.
    pub overflowed: u64,
    /// Exchanges lost because the collector did not take them.
    pub failed: u64,
    /// Spans of exported ones that the collector says it did not take.
    pub rejected_spans: u64,
}

/// How the export fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceHealth {
    /// Settled and not exported yet.
    pub waiting: u64,
    /// Why the collector took nothing when it was last asked; `None` where it did.
    pub failure: Option<String>,
    /// What was exported.
    pub counts: TraceCounts,
}

#[derive(Default)]
struct Counters {
    taken: AtomicU64,
    exported: AtomicU64,
    overflowed: AtomicU64,
    failed: AtomicU64,
    rejected_spans: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// Exports what is settled, beside everything else. To be closed, else what is queued is lost.
pub struct Exporter {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    closing: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Exporter {
    /// Starts the task, on the runtime that this is called on. Nothing is connected to before there is something to send.
    #[must_use]
    pub fn start(
        collector: Collector,
        limits: TraceLimits,
        resource: &Resource,
        targets: HashMap<TargetId, Described>,
    ) -> Self {
        let queue = Arc::new(Queue::new(limits.queue_max, limits.batch_max));
        let (counters, closing) = (Arc::new(Counters::default()), watch::Sender::new(false));
        let task = Task {
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            closing: closing.subscribe(),
            collector,
            writer: Arc::new(Writer::new(resource, targets)),
            flush_every: limits.flush_every,
            not_before: Instant::now(),
            pause: TRY_AGAIN_MIN,
        };
        let task = Mutex::new(Some(tokio::spawn(task.run())));
        Self { queue, counters, closing, task }
    }

    /// Hands a settled exchange over without waiting; lost and counted where the queue is full.
    pub fn settled(&self, exchange: TracedExchange) {
        if self.queue.push(exchange) {
            self.counters.taken.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
        if lost.is_multiple_of(TELL_LOST_EVERY) {
            warn!(lost = lost + 1, "traces are not exported as fast as requests come; some are lost");
        }
    }

    /// How it fares.
    #[must_use]
    pub fn health(&self) -> TraceHealth {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { taken, exported, overflowed, failed, rejected_spans, failure } = &*self.counters;
        let counts = TraceCounts {
            exported: of(exported),
            overflowed: of(overflowed),
            failed: of(failed),
            rejected_spans: of(rejected_spans),
        };
        let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        TraceHealth { waiting: of(taken).saturating_sub(counts.exported + counts.failed), failure, counts }
    }

    /// Exports what is queued, each batch tried once, within five seconds; what is left is lost and counted. What is handed over
    /// after that is lost, too.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        self.queue.close();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if timeout(CLOSE_MAX, &mut task).await.is_err() {
            task.abort();
        }
        let lost = self.health().waiting;
        if lost > 0 {
            self.counters.failed.fetch_add(lost, Ordering::Relaxed);
            warn!(lost, "the collector did not take all traces in time; some are lost");
        }
    }
}

struct Task {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    closing: watch::Receiver<bool>,
    collector: Collector,
    writer: Arc<Writer>,
    flush_every: Duration,
    /// Nothing is sent before then.
    not_before: Instant,
    /// How long the next failure is rested for.
    pause: Duration,
}

impl Task {
    async fn run(mut self) {
        while let Some(batch) = self.queue.take(self.flush_every).await {
            let (count, writer) = (batch.len() as u64, Arc::clone(&self.writer));
            // Some milliseconds of work for a full batch: not on a thread that serves.
            let message = tokio::task::spawn_blocking(move || writer.message(&batch).encode_to_vec());
            let is_taken = match message.await {
                Ok(message) => self.export(message.into()).await,
                // A panic, which was told.
                Err(_) => false,
            };
            let counter = if is_taken { &self.counters.exported } else { &self.counters.failed };
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Sends a message, again and again for a while; whether it was taken.
    async fn export(&mut self, message: Bytes) -> bool {
        let give_up_at = Instant::now() + TRY_FOR;
        loop {
            self.rest().await;
            let Refused { reason, may_pass, retry_after } = match self.collector.post(message.clone()).await {
                Ok(rejected) => {
                    self.taken(rejected);
                    return true;
                }
                Err(refused) => refused,
            };
            let told = self.set_failure(Some(reason.clone()));
            if told.is_none() {
                warn!(reason, may_pass, "traces cannot be exported; some will be lost");
            }
            let pause = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            self.not_before = Instant::now() + retry_after.unwrap_or(pause);
            self.pause = (self.pause * 2).min(TRY_AGAIN_MAX);
            if !may_pass || self.not_before > give_up_at || self.queue.is_closed() {
                return false;
            }
        }
    }

    fn taken(&mut self, rejected: u64) {
        self.counters.rejected_spans.fetch_add(rejected, Ordering::Relaxed);
        if rejected > 0 {
            warn!(rejected, "the collector did not take all spans");
        }
        self.pause = TRY_AGAIN_MIN;
        if self.set_failure(None).is_some() {
            info!("traces are exported again");
        }
    }

    /// Shows why nothing is taken; gives what was shown before.
    fn set_failure(&self, failure: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.counters.failure.lock().unwrap_or_else(PoisonError::into_inner), failure)
    }

    /// Leaves a collector alone that took nothing, unless the gateway stops.
    async fn rest(&mut self) {
        let stops = self.closing.wait_for(|closing| *closing);
        // Fails when the handle is gone: then nobody waits for this.
        let _ = timeout_at(self.not_before, stops).await;
    }
}

#[cfg(test)]
mod tests;
