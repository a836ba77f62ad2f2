//! The table of metric names and the only place that writes them.
//!
//! Label values come from closed lists and from configured target ids, so every label set is bounded.

use std::time::Duration;

use policy::TargetId;
use prometheus::{
    CounterVec, Encoder, Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::labels::LabelCounts;
use crate::{ExchangeKind, Settlement};

/// Why metrics could not be registered or rendered; a defect, not an operational state.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// The `state` label values of `tidegate_worker_state`.
pub const WORKER_STATES: [&str; 5] = ["stopped", "starting", "ready", "draining", "failed"];

const NO_TARGET: &str = "none";
const TTFT_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
const DURATION_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const CANCELLATION_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0];
const ERROR_BUCKETS: &[f64] = &[0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0];
const SIGNALS_BUCKETS: &[f64] = &[5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];
const ROUTE_BUCKETS: &[f64] = &[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 0.025];

/// Every metric of the process, in a registry of its own. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    attempts: IntCounterVec,
    hedges: IntCounterVec,
    skipped_events: IntCounterVec,
    duration: HistogramVec,
    time_to_first_token: HistogramVec,
    route_duration: HistogramVec,
    input_tokens: IntCounterVec,
    output_tokens: IntCounterVec,
    in_flight: IntGauge,
    worker_state: IntGaugeVec,
    worker_restarts: IntGaugeVec,
    worker_slots_busy: IntGaugeVec,
    worker_queue_depth: IntGaugeVec,
    cancellation_duration: HistogramVec,
    slots_not_freed: IntCounterVec,
    prediction_error: HistogramVec,
    pub(crate) policy_reloads: IntCounterVec,
    pub(crate) policy_generation: IntGauge,
    pub(crate) policy_info: IntGaugeVec,
    pub(crate) shadow_decisions: IntCounterVec,
    pub(crate) shadow_differences: IntCounterVec,
    pub(crate) shadow_cost: CounterVec,
    pub(crate) signals: IntCounterVec,
    pub(crate) signals_duration: HistogramVec,
    pub(crate) scan_findings: IntCounterVec,
    pub(crate) classifier_up: IntGauge,
    pub(crate) learning_records: IntGaugeVec,
    pub(crate) outbox_entries: IntGaugeVec,
    pub(crate) outbox_bytes: IntGauge,
    pub(crate) outbox_oldest_age: Gauge,
    pub(crate) outbox_results: IntCounterVec,
    pub(crate) breaker_state: IntGaugeVec,
    pub(crate) breaker_opened: IntCounterVec,
    pub(crate) breaker_probes: IntCounterVec,
    pub(crate) rate_limited: IntGaugeVec,
    pub(crate) connectivity_state: IntGaugeVec,
    pub(crate) network_metered: IntGaugeVec,
    pub(crate) network_probes: IntCounterVec,
}

impl Metrics {
    /// Registers the table.
    ///
    /// # Errors
    /// When two metrics share a name.
    pub fn new(version: &str) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let vec = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let in_flight = IntGauge::new("tidegate_in_flight_requests", "Requests being handled now.")?;
        registry.register(Box::new(in_flight.clone()))?;
        let policy_generation =
            IntGauge::new("tidegate_policy_generation", "Counts up from 1 with every policy that comes into force.")?;
        registry.register(Box::new(policy_generation.clone()))?;
        let classifier_up = IntGauge::new("tidegate_classifier_up", "1 while requests are classified, else 0.")?;
        registry.register(Box::new(classifier_up.clone()))?;
        let outbox_bytes = IntGauge::new("tidegate_outbox_bytes", "Bytes of requests and answers in the outbox.")?;
        registry.register(Box::new(outbox_bytes.clone()))?;
        let outbox_oldest_age = Gauge::new(
            "tidegate_outbox_oldest_age_seconds",
            "Age of the oldest request in the outbox that is not finished; 0 without one.",
        )?;
        registry.register(Box::new(outbox_oldest_age.clone()))?;
        gauge("tidegate_build_info", "Always 1; the version is the label.", &["version"])?
            .with_label_values(&[version])
            .set(1);
        Ok(Self {
            requests: counter(
                "tidegate_requests_total",
                "Chat completions finished, by the target that answered (none: nobody did).",
                &["target", "locality", "outcome"],
            )?,
            attempts: counter(
                "tidegate_attempts_total",
                "Attempts on targets, by how each ended.",
                &["target", "outcome"],
            )?,
            hedges: counter(
                "tidegate_hedges_total",
                "Attempts started beside one that had brought no token, by how each ended (answered: it won).",
                &["target", "outcome"],
            )?,
            skipped_events: counter(
                "tidegate_stream_events_skipped_total",
                "Events in the streams of targets that were no piece of an answer and were skipped.",
                &["target"],
            )?,
            duration: histogram(
                "tidegate_request_duration_seconds",
                "From the start of the request to the end of the answer.",
                &["target", "locality", "stream"],
                DURATION_BUCKETS,
            )?,
            time_to_first_token: histogram(
                "tidegate_time_to_first_token_seconds",
                "From the start of the request to the first content of a stream.",
                &["target", "locality"],
                TTFT_BUCKETS,
            )?,
            route_duration: histogram(
                "tidegate_route_duration_seconds",
                "Time taken to decide where a request goes.",
                &[],
                ROUTE_BUCKETS,
            )?,
            input_tokens: counter(
                "tidegate_input_tokens_total",
                "Prompt tokens as reported by the target.",
                &["target", "locality"],
            )?,
            output_tokens: counter(
                "tidegate_output_tokens_total",
                "Answer tokens as reported by the target.",
                &["target", "locality"],
            )?,
            worker_state: gauge(
                "tidegate_worker_state",
                "1 for the state that a local worker is in, 0 for the others.",
                &["target", "state"],
            )?,
            worker_restarts: gauge(
                "tidegate_worker_restarts",
                "Restarts of a local worker since the gateway started.",
                &["target"],
            )?,
            worker_slots_busy: gauge(
                "tidegate_worker_slots_busy",
                "Slots of a local worker in use, those included that are being freed.",
                &["target"],
            )?,
            worker_queue_depth: gauge(
                "tidegate_worker_queue_depth",
                "Requests that wait for a slot of a local worker, or for the worker to be ready.",
                &["target"],
            )?,
            cancellation_duration: histogram(
                "tidegate_cancellation_duration_seconds",
                "From seeing that a caller has left until the worker's slot was free.",
                &["target"],
                CANCELLATION_BUCKETS,
            )?,
            slots_not_freed: counter(
                "tidegate_worker_slots_not_freed_total",
                "Slots that were not seen free in time after their caller had left.",
                &["target"],
            )?,
            prediction_error: histogram(
                "tidegate_ttft_prediction_error_ratio",
                "How far the predicted time to first token was off, as a share of the real one.",
                &["target", "situation"],
                ERROR_BUCKETS,
            )?,
            policy_reloads: counter(
                "tidegate_policy_reload_total",
                "Reloads of the policy, by whether the new one is in force (ok) or the last good one stays (failed).",
                &["result"],
            )?,
            policy_info: gauge(
                "tidegate_policy_info",
                "Always 1; the hash of the policy in force is the label.",
                &["hash"],
            )?,
            shadow_decisions: counter(
                "tidegate_policy_shadow_decisions_total",
                "Requests that the shadow policy was asked about as well.",
                &[],
            )?,
            shadow_differences: counter(
                "tidegate_policy_shadow_differences_total",
                "Requests that the shadow policy would have decided differently, by what differs.",
                &["difference"],
            )?,
            shadow_cost: {
                let opts = Opts::new(
                    "tidegate_policy_shadow_estimated_cost_usd_total",
                    "Estimated cost of the first attempts of requests that both policies know the cost of.",
                );
                let vec = CounterVec::new(opts, &["policy"])?;
                registry.register(Box::new(vec.clone()))?;
                vec
            },
            signals: counter(
                "tidegate_signals_total",
                "Requests looked into before they were decided, by whether that gave something.",
                &["signal", "outcome"],
            )?,
            signals_duration: histogram(
                "tidegate_signals_duration_seconds",
                "Time taken to scan and classify a request, waiting for a processor included.",
                &[],
                SIGNALS_BUCKETS,
            )?,
            scan_findings: counter(
                "tidegate_scan_findings_total",
                "Personal data and secrets found in requests, by kind.",
                &["kind"],
            )?,
            classifier_up,
            learning_records: gauge(
                "tidegate_learning_records",
                "Answers and outcomes since the start, by what became of them: written, overflowed (the queue was full), failed.",
                &["result"],
            )?,
            outbox_entries: gauge("tidegate_outbox_entries", "Entries of the outbox, by their state.", &["state"])?,
            outbox_results: counter(
                "tidegate_outbox_results_total",
                "What became of requests for the outbox: accepted, refused (no room), completed, failed, expired, deleted (before they were finished).",
                &["result"],
            )?,
            outbox_bytes,
            outbox_oldest_age,
            breaker_state: gauge(
                "tidegate_breaker_state",
                "1 for the state that the breaker of a target is in, 0 for the others.",
                &["target", "state"],
            )?,
            breaker_opened: counter(
                "tidegate_breaker_opened_total",
                "How often the breaker of a target opened, by why.",
                &["target", "cause"],
            )?,
            breaker_probes: counter(
                "tidegate_breaker_probes_total",
                "Requests let through an open breaker to find out whether the target answers again.",
                &["target"],
            )?,
            rate_limited: gauge(
                "tidegate_target_rate_limited",
                "1 while a target is left alone because it said that it takes no more requests for a while.",
                &["target"],
            )?,
            connectivity_state: gauge(
                "tidegate_connectivity_state",
                "1 for the state of the network as far as cloud targets are concerned, 0 for the others.",
                &["state"],
            )?,
            network_metered: gauge(
                "tidegate_network_metered",
                "1 where the network is said to be paid by volume, 0 where it is said not to be.",
                &[],
            )?,
            network_probes: counter(
                "tidegate_network_probe_rounds_total",
                "Rounds of probes for the network, by whether any address was reached.",
                &["result"],
            )?,
            policy_generation,
            in_flight,
            registry,
        })
    }

    /// Counts one finished exchange.
    pub fn settle(&self, settlement: &Settlement) {
        let (target, locality) = match &settlement.target {
            Some((target, locality)) => (target.as_str(), locality.as_str()),
            None => (NO_TARGET, NO_TARGET),
        };
        let stream = if settlement.stream { "true" } else { "false" };
        // Nobody asked for a comparison, but what it used is used.
        if settlement.kind != ExchangeKind::Comparison {
            self.requests.with_label_values(&[target, locality, settlement.outcome.as_str()]).inc();
            self.duration.with_label_values(&[target, locality, stream]).observe(settlement.duration.as_secs_f64());
        }
        for attempt in &settlement.attempts {
            let labels = [attempt.target.as_str(), attempt.outcome.as_str()];
            self.attempts.with_label_values(&labels).inc();
            if attempt.is_hedge {
                self.hedges.with_label_values(&labels).inc();
            }
            if attempt.skipped_events > 0 {
                let skipped = self.skipped_events.with_label_values(&[attempt.target.as_str()]);
                skipped.inc_by(attempt.skipped_events.into());
            }
        }
        if let Some(time) = settlement.time_to_first_token {
            self.time_to_first_token.with_label_values(&[target, locality]).observe(time.as_secs_f64());
        }
        if let Some(time) = settlement.stages.decide {
            self.route_duration.with_label_values::<&str>(&[]).observe(time.as_secs_f64());
        }
        if let Some(tokens) = settlement.tokens {
            self.input_tokens.with_label_values(&[target, locality]).inc_by(tokens.input);
            self.output_tokens.with_label_values(&[target, locality]).inc_by(tokens.output);
        }
    }

    /// One more request is being handled.
    pub fn enter(&self) {
        self.in_flight.inc();
    }

    /// One request less is being handled.
    pub fn leave(&self) {
        self.in_flight.dec();
    }

    /// Requests being handled now.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Shows the state of a local worker; `state` is one of [`WORKER_STATES`].
    pub fn show_worker(&self, target: &TargetId, state: &str, restarts: u64) {
        for known in WORKER_STATES {
            self.worker_state.with_label_values(&[target.as_str(), known]).set(i64::from(known == state));
        }
        self.worker_restarts.with_label_values(&[target.as_str()]).set(i64::try_from(restarts).unwrap_or(i64::MAX));
    }

    /// Shows how busy a local worker is.
    pub fn show_load(&self, target: &TargetId, busy: usize, queued: usize) {
        let gauges = [(&self.worker_slots_busy, busy), (&self.worker_queue_depth, queued)];
        for (gauge, value) in gauges {
            gauge.with_label_values(&[target.as_str()]).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// A slot of a worker was free this long after its caller was seen gone.
    pub fn slot_freed(&self, target: &TargetId, after: Duration) {
        self.cancellation_duration.with_label_values(&[target.as_str()]).observe(after.as_secs_f64());
    }

    /// A slot of a worker was not seen free in time.
    pub fn slot_not_freed(&self, target: &TargetId) {
        self.slots_not_freed.with_label_values(&[target.as_str()]).inc();
    }

    /// A first token came after `actual_ms` when `predicted_ms` were expected; `situation` is a word of a closed list.
    pub fn first_token_predicted(&self, target: &TargetId, situation: &str, predicted_ms: f64, actual_ms: f64) {
        let error = (predicted_ms - actual_ms).abs() / actual_ms.max(1.0);
        self.prediction_error.with_label_values(&[target.as_str(), situation]).observe(error);
    }

    /// Shows what the label store has written so far.
    pub fn show_labels(&self, counts: LabelCounts) {
        let results = [("written", counts.written), ("overflowed", counts.overflowed), ("failed", counts.failed)];
        for (result, count) in results {
            self.learning_records.with_label_values(&[result]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
