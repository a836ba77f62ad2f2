//! What the engines of local workers count themselves, from their own start.

use policy::TargetId;

use super::family::{CatchUp, Counts, FloatGauges, Gauges, Registering, Sums};
use super::labels::TARGET;
use super::row::{Area, Kind, Row, Unit};
use super::{Metrics, signed};

static PROMPT_TOKENS: Row = Row {
    name: "tidegate_engine_prompt_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Tokens,
    labels: &[TARGET],
    help: "Tokens of prompts that the engine of a local worker has read, cached ones not included.",
};
static CACHED_TOKENS: Row = Row {
    name: "tidegate_engine_cached_prompt_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Tokens,
    labels: &[TARGET],
    help: "Tokens of prompts that the engine of a local worker did not have to read again.",
};
static PROMPT_SECONDS: Row = Row {
    name: "tidegate_engine_prompt_seconds_total",
    kind: Kind::Counter,
    unit: Unit::Seconds,
    labels: &[TARGET],
    help: "Time that the engine of a local worker has spent on reading prompts.",
};
static OUTPUT_TOKENS: Row = Row {
    name: "tidegate_engine_output_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Tokens,
    labels: &[TARGET],
    help: "Tokens of answers that the engine of a local worker has written.",
};
static OUTPUT_SECONDS: Row = Row {
    name: "tidegate_engine_output_seconds_total",
    kind: Kind::Counter,
    unit: Unit::Seconds,
    labels: &[TARGET],
    help: "Time that the engine of a local worker has spent on writing answers, of each answer by itself.",
};
static DECODE_CALLS: Row = Row {
    name: "tidegate_engine_decode_calls_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Batches that the engine of a local worker has computed.",
};
static BUSY_SLOTS: Row = Row {
    name: "tidegate_engine_busy_slots_per_decode",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[TARGET],
    help: "Slots that were busy in a batch of the engine of a local worker, on average since its start.",
};
static CONTEXT_USED: Row = Row {
    name: "tidegate_engine_context_used_tokens",
    kind: Kind::Gauge,
    unit: Unit::Tokens,
    labels: &[TARGET],
    help: "Tokens that the contexts (KV caches) of all slots of a local worker hold.",
};
static CONTEXT_SIZE: Row = Row {
    name: "tidegate_engine_context_size_tokens",
    kind: Kind::Gauge,
    unit: Unit::Tokens,
    labels: &[TARGET],
    help: "Tokens that the contexts (KV caches) of all slots of a local worker have room for.",
};

pub(super) const AREA: Area = Area {
    title: "Engines of the workers",
    rows: &[
        &PROMPT_TOKENS,
        &CACHED_TOKENS,
        &PROMPT_SECONDS,
        &OUTPUT_TOKENS,
        &OUTPUT_SECONDS,
        &DECODE_CALLS,
        &BUSY_SLOTS,
        &CONTEXT_USED,
        &CONTEXT_SIZE,
    ],
};

pub(super) struct Families {
    prompt_tokens: Counts,
    cached_tokens: Counts,
    prompt_seconds: Sums,
    output_tokens: Counts,
    output_seconds: Sums,
    decode_calls: Counts,
    busy_slots: FloatGauges,
    context_used: Gauges,
    context_size: Gauges,
}

/// What an engine counts since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShownEngine {
    /// Tokens of prompts that were read.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were cached.
    pub cached_tokens: u64,
    /// Seconds spent reading prompts.
    pub prompt_seconds: f64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Seconds spent writing answers.
    pub output_seconds: f64,
    /// Batches.
    pub decode_calls: u64,
    /// Slots busy in a batch, on average.
    pub busy_slots_per_decode: f64,
    /// Tokens that all contexts hold.
    pub context_used: u64,
    /// Tokens that they have room for.
    pub context_size: u64,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            prompt_tokens: of.family(&PROMPT_TOKENS)?,
            cached_tokens: of.family(&CACHED_TOKENS)?,
            prompt_seconds: of.family(&PROMPT_SECONDS)?,
            output_tokens: of.family(&OUTPUT_TOKENS)?,
            output_seconds: of.family(&OUTPUT_SECONDS)?,
            decode_calls: of.family(&DECODE_CALLS)?,
            busy_slots: of.family(&BUSY_SLOTS)?,
            context_used: of.family(&CONTEXT_USED)?,
            context_size: of.family(&CONTEXT_SIZE)?,
        })
    }
}

impl Metrics {
    /// Shows what the engine of a local worker counts.
    pub fn show_engine(&self, target: &TargetId, shown: &ShownEngine) {
        let (engine, target) = (&self.0.engine, self.target(target));
        engine.prompt_tokens.of([target]).catch_up(shown.prompt_tokens);
        engine.cached_tokens.of([target]).catch_up(shown.cached_tokens);
        engine.prompt_seconds.of([target]).catch_up(shown.prompt_seconds);
        engine.output_tokens.of([target]).catch_up(shown.output_tokens);
        engine.output_seconds.of([target]).catch_up(shown.output_seconds);
        engine.decode_calls.of([target]).catch_up(shown.decode_calls);
        engine.busy_slots.of([target]).set(shown.busy_slots_per_decode);
        engine.context_used.of([target]).set(signed(shown.context_used));
        engine.context_size.of([target]).set(signed(shown.context_size));
    }
}
