//! Settles an exchange exactly once: when this guard is dropped, whatever the way out was.

use std::time::{Duration, Instant};

use account::{AttemptMade, Metrics, RequestOutcome, Settlement};
use dispatch::{AttemptRecord, Relay};
use policy::{Locality, Outcome, Plan, TargetId};
use tracing::info;
use wire::Usage;

/// The record of one exchange while it runs.
pub(crate) struct Settling<'a> {
    metrics: &'a Metrics,
    request_id: String,
    begun: Instant,
    records: Vec<AttemptRecord>,
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
            records: Vec::new(),
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

    /// The attempts made so far; the dispatcher adds to them.
    pub(crate) fn records(&mut self) -> &mut Vec<AttemptRecord> {
        &mut self.records
    }

    pub(crate) fn answering(&mut self, target: &TargetId, locality: Locality) {
        self.settlement.target = Some((target.clone(), locality));
    }

    pub(crate) fn usage(&mut self, usage: Option<Usage>) {
        self.settlement.input_tokens = usage.map(|usage| usage.prompt_tokens);
        self.settlement.output_tokens = usage.map(|usage| usage.completion_tokens);
    }

    /// Takes over what a stream brought, and corrects the record of its attempt when it did not end well.
    pub(crate) fn streamed(&mut self, relay: &Relay, outcome: RequestOutcome) {
        self.usage(relay.usage());
        self.settlement.time_to_first_token = relay.first_content_at().map(|at| at.duration_since(self.begun));
        let corrected = match outcome {
            RequestOutcome::Interrupted => Outcome::Interrupted,
            RequestOutcome::CallerGone => Outcome::CallerGone,
            _ => return,
        };
        if let Some(last) = self.records.last_mut() {
            last.outcome = corrected;
        }
    }

    /// The caller left while an attempt was running: the attempt that was cut short is counted too.
    pub(crate) fn caller_gone(&mut self, plan: &Plan) {
        let tried = self.records.last().map(|last| &last.target);
        let position = plan.attempts().iter().position(|attempt| Some(attempt.target()) == tried);
        let running = plan.attempts().get(position.map_or(0, |index| index + 1));
        if let Some(attempt) = running.or(plan.attempts().last()) {
            let (target, outcome) = (attempt.target().clone(), Outcome::CallerGone);
            self.settlement.attempts.push(AttemptMade { target, outcome });
        }
        self.end(RequestOutcome::CallerGone);
    }

    pub(crate) fn end(&mut self, outcome: RequestOutcome) {
        self.settlement.outcome = outcome;
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        let settlement = &mut self.settlement;
        settlement.duration = self.begun.elapsed();
        let made = |record: &AttemptRecord| AttemptMade { target: record.target.clone(), outcome: record.outcome };
        let mut attempts: Vec<_> = self.records.iter().map(made).collect();
        attempts.append(&mut settlement.attempts);
        settlement.attempts = attempts;
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
