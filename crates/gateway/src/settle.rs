//! Settles an exchange exactly once: when this guard is dropped, whatever the way out was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use account::{AttemptMade, Metrics, RequestOutcome, Settlement};
use dispatch::{AttemptRecord, Journal, Relay};
use policy::{Locality, TargetId};
use tracing::info;
use wire::Usage;

/// The record of one exchange while it runs.
pub(crate) struct Settling<'a> {
    metrics: &'a Metrics,
    request_id: String,
    begun: Instant,
    journal: Arc<Journal>,
    settlement: Settlement,
}

impl<'a> Settling<'a> {
    /// Begins; the request counts as in flight until this is dropped.
    pub(crate) fn begin(metrics: &'a Metrics, request_id: &str) -> Self {
        metrics.enter();
        Self {
            metrics,
            request_id: request_id.to_owned(),
            begun: Instant::now(),
            journal: Arc::default(),
            settlement: Settlement {
                target: None,
                // Stays only when the exchange panics.
                outcome: RequestOutcome::GatewayFailed,
                stream: false,
                duration: Duration::ZERO,
                route_time: None,
                time_to_first_token: None,
                input_tokens: None,
                output_tokens: None,
                is_usage_estimated: false,
                attempts: Vec::new(),
            },
        }
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(crate) fn stream(&mut self, stream: bool) {
        self.settlement.stream = stream;
    }

    pub(crate) fn routed(&mut self, took: Duration) {
        self.settlement.route_time = Some(took);
    }

    /// When the request began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// The tries made so far; the dispatcher adds to them.
    pub(crate) fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    pub(crate) fn answering(&mut self, target: &TargetId, locality: Locality) {
        self.settlement.target = Some((target.clone(), locality));
    }

    pub(crate) fn usage(&mut self, usage: Option<Usage>, is_estimated: bool) {
        self.settlement.input_tokens = usage.map(|usage| usage.prompt_tokens);
        self.settlement.output_tokens = usage.map(|usage| usage.completion_tokens);
        self.settlement.is_usage_estimated = is_estimated;
    }

    /// Takes over what a stream brought, and who ended it.
    pub(crate) fn streamed(&mut self, relay: &Relay<'_>) {
        let (target, locality) = relay.target();
        self.answering(target, *locality);
        self.usage(relay.usage(), relay.is_usage_estimated());
        self.settlement.time_to_first_token = relay.first_content_at().map(|at| at.duration_since(self.begun));
    }

    pub(crate) fn end(&mut self, outcome: RequestOutcome) {
        self.settlement.outcome = outcome;
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        let settlement = &mut self.settlement;
        settlement.duration = self.begun.elapsed();
        let made = |record: AttemptRecord| AttemptMade {
            target: record.target,
            outcome: record.outcome,
            skipped_events: record.skipped_events,
            is_hedge: record.is_hedge,
        };
        settlement.attempts = self.journal.records().into_iter().map(made).collect();
        self.metrics.settle(settlement);
        info!(
            request_id = self.request_id,
            target_id = settlement.target.as_ref().map(|(target, _)| target.as_str()),
            outcome = settlement.outcome.as_str(),
            attempts = settlement.attempts.len(),
            stream = settlement.stream,
            duration_ms = u64::try_from(settlement.duration.as_millis()).unwrap_or(u64::MAX),
            output_tokens = settlement.output_tokens,
            "request finished"
        );
        // Last, as a gateway that stops waits for this.
        self.metrics.leave();
    }
}
