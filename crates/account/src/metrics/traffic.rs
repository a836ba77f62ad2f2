//! Requests and what was tried for them: counted once, when an exchange is settled.

use policy::{Locality, Outcome, TargetId};

use super::family::{Counts, Gauges, Histograms, Registering, Sums, Value};
use super::labels::{LOCALITY, OUTCOME, REQUEST_OUTCOME, STREAM, TARGET, closed};
use super::row::{Area, Kind, Label, NONE, Row, Source, Unit};
use super::{Metrics, buckets};
use crate::{AttemptMade, ExchangeKind, Settlement};

/// What an attempt was paid for: its answer, losing against another one, a kept request, a comparison.
const PURPOSE: Label = closed!("purpose": "answer", "hedge_lost", "outbox", "comparison");
/// Whether the target counted the tokens itself.
const COUNTED: Label = closed!("counted": "reported", "estimated");

static REQUESTS: Row = Row {
    name: "tidegate_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET, LOCALITY, REQUEST_OUTCOME],
    help: "Chat completions finished, by the target that answered (none: nobody did).",
};
static STAYED: Row = Row {
    name: "tidegate_stayed_answers_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Requests answered of which nothing was sent off this device: by a target on it, or with an answer given before; not where a caller shared the answer to another one's request, which was.",
};
static IN_FLIGHT: Row = Row {
    name: "tidegate_in_flight_requests",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Requests being handled now.",
};
static DURATION: Row = Row {
    name: "tidegate_request_duration_seconds",
    kind: Kind::Histogram(buckets::DURATIONS),
    unit: Unit::Seconds,
    labels: &[TARGET, LOCALITY, STREAM],
    help: "From the start of the request to the end of the answer; without answers that are given again or shared.",
};
static TIME_TO_FIRST_TOKEN: Row = Row {
    name: "tidegate_time_to_first_token_seconds",
    kind: Kind::Histogram(buckets::WAITS),
    unit: Unit::Seconds,
    labels: &[TARGET, LOCALITY],
    help: "From the start of the request to the first content of a stream; without answers that are given again or shared.",
};
static TIME_PER_OUTPUT_TOKEN: Row = Row {
    name: "tidegate_time_per_output_token_seconds",
    kind: Kind::Histogram(buckets::STEPS),
    unit: Unit::Seconds,
    labels: &[TARGET, LOCALITY],
    help: "Of a whole streamed answer, from its first content to its end by the tokens that follow the first; without answers that are given again or shared.",
};
static ATTEMPTS: Row = Row {
    name: "tidegate_attempts_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET, OUTCOME],
    help: "Attempts on targets, by how each ended.",
};
static FAILOVERS: Row = Row {
    name: "tidegate_failovers_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET, OUTCOME],
    help: "Attempts that failed and were followed by one on another target, by the target that failed and how.",
};
static HEDGES: Row = Row {
    name: "tidegate_hedges_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET, OUTCOME],
    help: "Attempts started beside one that had brought no token, by how each ended (answered: won, hedge_lost: lost).",
};
static SKIPPED_EVENTS: Row = Row {
    name: "tidegate_stream_events_skipped_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Events in the streams of targets that were no piece of an answer and were skipped.",
};
static INPUT_TOKENS: Row = Row {
    name: "tidegate_input_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Tokens,
    labels: &[TARGET, LOCALITY, COUNTED],
    help: "Tokens of prompts of all attempts that used any, by the target that was asked and by whether it counted them or they are estimated.",
};
static CACHED_TOKENS: Row = Row {
    name: "tidegate_cached_input_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Tokens,
    labels: &[TARGET, LOCALITY],
    help: "Tokens of prompts that targets said they had cached; they are part of the input tokens.",
};
static COST: Row = Row {
    name: "tidegate_cost_usd_total",
    kind: Kind::Counter,
    unit: Unit::UsDollars,
    labels: &[TARGET, PURPOSE],
    help: "Cost of attempts whose price and tokens are known, by the target that charges and what for.",
};
static UNPRICED: Row = Row {
    name: "tidegate_unpriced_attempts_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Attempts off the device that used tokens and whose price is not known, so that they are missing from the cost.",
};
static AVOIDED: Row = Row {
    name: "tidegate_cost_avoided_usd_total",
    kind: Kind::Counter,
    unit: Unit::UsDollars,
    labels: &[TARGET],
    help: "What the policy's reference target would have charged for answers, less what they cost, where they cost less; by the target that answered.",
};
static EXCEEDED: Row = Row {
    name: "tidegate_cost_excess_usd_total",
    kind: Kind::Counter,
    unit: Unit::UsDollars,
    labels: &[TARGET],
    help: "What answers cost, less what the policy's reference target would have charged, where they cost more; by the target that answered.",
};
static OUTPUT_TOKENS: Row = Row {
    name: "tidegate_output_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Tokens,
    labels: &[TARGET, LOCALITY, COUNTED],
    help: "Tokens of answers of all attempts that used any, by the target that was asked and by whether it counted them or they are estimated.",
};

pub(super) const AREA: Area = Area {
    title: "Requests",
    rows: &[
        &REQUESTS,
        &STAYED,
        &IN_FLIGHT,
        &DURATION,
        &TIME_TO_FIRST_TOKEN,
        &TIME_PER_OUTPUT_TOKEN,
        &ATTEMPTS,
        &FAILOVERS,
        &HEDGES,
        &SKIPPED_EVENTS,
        &INPUT_TOKENS,
        &CACHED_TOKENS,
        &OUTPUT_TOKENS,
        &COST,
        &UNPRICED,
        &AVOIDED,
        &EXCEEDED,
    ],
};

pub(super) struct Families {
    requests: Counts,
    stayed: Counts,
    in_flight: Gauges,
    duration: Histograms,
    time_to_first_token: Histograms,
    time_per_output_token: Histograms,
    attempts: Counts,
    failovers: Counts,
    hedges: Counts,
    skipped_events: Counts,
    input_tokens: Counts,
    cached_tokens: Counts,
    output_tokens: Counts,
    cost: Sums,
    unpriced: Counts,
    avoided: Sums,
    exceeded: Sums,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            requests: of.family(&REQUESTS)?,
            stayed: of.family(&STAYED)?,
            in_flight: of.family(&IN_FLIGHT)?,
            duration: of.family(&DURATION)?,
            time_to_first_token: of.family(&TIME_TO_FIRST_TOKEN)?,
            time_per_output_token: of.family(&TIME_PER_OUTPUT_TOKEN)?,
            attempts: of.family(&ATTEMPTS)?,
            failovers: of.family(&FAILOVERS)?,
            hedges: of.family(&HEDGES)?,
            skipped_events: of.family(&SKIPPED_EVENTS)?,
            input_tokens: of.family(&INPUT_TOKENS)?,
            cached_tokens: of.family(&CACHED_TOKENS)?,
            output_tokens: of.family(&OUTPUT_TOKENS)?,
            cost: of.family(&COST)?,
            unpriced: of.family(&UNPRICED)?,
            avoided: of.family(&AVOIDED)?,
            exceeded: of.family(&EXCEEDED)?,
        })
    }
}

impl Metrics {
    /// Counts one finished exchange.
    pub fn settle(&self, settlement: &Settlement) {
        let (target, locality) = match &settlement.target {
            Some((target, locality)) => (self.target(target), Value::Word(locality.as_str())),
            None => (Value::Word(NONE), Value::Word(NONE)),
        };
        // Nobody asked for a comparison, but what it used is used.
        if settlement.kind != ExchangeKind::Comparison {
            self.answered(settlement, target, locality);
            self.decided(settlement);
        }
        self.left_device(settlement);
        for (place, attempt) in settlement.attempts.iter().enumerate() {
            let next = settlement.attempts.iter().skip(place + 1).find(|later| !later.is_hedge);
            self.attempted(attempt, next.is_some_and(|next| next.target != attempt.target));
            self.used(attempt, settlement.kind);
        }
    }

    fn answered(&self, settlement: &Settlement, target: Value<'static>, locality: Value<'static>) {
        let traffic = &self.0.traffic;
        let stream = if settlement.stream { "true" } else { "false" };
        traffic.requests.of([target, locality, settlement.outcome.as_str().into()]).inc();
        if settlement.has_stayed() {
            traffic.stayed.of([]).inc();
        }
        self.cache_used(settlement.cache);
        // One that is given again says nothing of how fast its target is, nor does one that a caller came to when it had begun.
        if !settlement.cache.is_free() {
            traffic.duration.of([target, locality, stream.into()]).observe(settlement.duration.as_secs_f64());
            if let Some(time) = settlement.time_to_first_token {
                traffic.time_to_first_token.of([target, locality]).observe(time.as_secs_f64());
            }
            if let Some(step) = settlement.time_per_output_token() {
                traffic.time_per_output_token.of([target, locality]).observe(step.as_secs_f64());
            }
        }
        match settlement.cost_avoided_usd {
            Some(usd) if usd >= 0.0 => traffic.avoided.of([target]).inc_by(usd),
            Some(usd) => traffic.exceeded.of([target]).inc_by(-usd),
            None => {}
        }
    }

    fn attempted(&self, attempt: &AttemptMade, is_followed: bool) {
        let traffic = &self.0.traffic;
        let labels = [self.target(&attempt.target), attempt.outcome.as_str().into()];
        traffic.attempts.of(labels).inc();
        if attempt.is_hedge {
            traffic.hedges.of(labels).inc();
        }
        if is_followed && attempt.outcome.is_failure() {
            traffic.failovers.of(labels).inc();
        }
        if attempt.skipped_events > 0 {
            let [target, _] = labels;
            traffic.skipped_events.of([target]).inc_by(attempt.skipped_events.into());
        }
    }

    /// Tokens and money of one attempt: they are those of the target that was asked, whoever answered in the end.
    fn used(&self, attempt: &AttemptMade, kind: ExchangeKind) {
        let Some(tokens) = attempt.tokens else { return };
        let traffic = &self.0.traffic;
        let (target, locality) = (self.target(&attempt.target), Value::Word(attempt.locality.as_str()));
        let counted = Value::Word(if tokens.is_estimated { "estimated" } else { "reported" });
        traffic.input_tokens.of([target, locality, counted]).inc_by(tokens.input);
        traffic.cached_tokens.of([target, locality]).inc_by(tokens.cached);
        traffic.output_tokens.of([target, locality, counted]).inc_by(tokens.output);
        let purpose = match (kind, attempt.outcome) {
            (ExchangeKind::Comparison, _) => "comparison",
            (_, Outcome::HedgeLost) => "hedge_lost",
            (ExchangeKind::Outbox, _) => "outbox",
            (ExchangeKind::Request, _) => "answer",
        };
        match attempt.cost_usd {
            Some(usd) => traffic.cost.of([target, purpose.into()]).inc_by(usd.max(0.0)),
            None if attempt.locality != Locality::Device => traffic.unpriced.of([target]).inc(),
            None => {}
        }
    }

    /// The place of a target, so that it is looked up once.
    pub(super) fn target(&self, target: &TargetId) -> Value<'static> {
        Value::Place(self.0.known.place(Source::Targets, target.as_str()))
    }

    /// One more request is being handled.
    pub fn enter(&self) {
        self.0.traffic.in_flight.of([]).inc();
    }

    /// One request less is being handled.
    pub fn leave(&self) {
        self.0.traffic.in_flight.of([]).dec();
    }

    /// Requests being handled now.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.0.traffic.in_flight.of([]).get()
    }
}
