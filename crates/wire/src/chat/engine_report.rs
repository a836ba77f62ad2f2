//! What llama-server says of its own work in a stream: how far the prompt is read, and what the answer took.
//!
//! Extensions of its dialect. A field that is missing or odd counts as not told; nothing is decided by it but predictions.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// `prompt_progress`, sent with each batch of the prompt to who asked with `return_progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptProgress {
    /// Tokens of the prompt.
    pub total: u64,
    /// Of them, those that were in the slot's cache.
    pub cache: u64,
    /// Tokens read so far, cached ones included.
    pub processed: u64,
    /// Milliseconds since the reading began.
    pub time_ms: u64,
}

/// `timings`, in the last chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Tokens of the prompt that were in the slot's cache.
    pub cache_n: u64,
    /// Tokens of the prompt that were read, cached ones not included.
    pub prompt_n: u64,
    /// Milliseconds that the reading took.
    pub prompt_ms: f64,
    /// Tokens of the answer.
    pub predicted_n: u64,
    /// Milliseconds from the end of the prompt to the last token.
    pub predicted_ms: f64,
}

#[derive(Deserialize)]
struct Slot {
    id: usize,
    is_processing: bool,
}

/// What llama-server counts since its start, of what it answers to `GET /metrics`, with what its slots hold. What it does not say stays at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineCounts {
    /// Tokens of prompts that were read, cached ones not included.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were in a slot's cache.
    pub cached_tokens: u64,
    /// Seconds spent reading prompts.
    pub prompt_seconds: f64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Seconds spent writing answers.
    pub output_seconds: f64,
    /// Batches that were computed.
    pub decode_calls: u64,
    /// Slots that were busy in a batch, on average.
    pub busy_slots_per_decode: f64,
    /// Tokens that the contexts of all slots hold.
    pub context_used: u64,
    /// Tokens that they have room for.
    pub context_size: u64,
}

impl EngineCounts {
    /// Reads the texts of `/metrics` and `/slots`; `None` when the first holds nothing known.
    #[must_use]
    pub fn read(metrics: &str, slots: &[u8]) -> Option<Self> {
        let mut counts = Self::default();
        let mut is_known = false;
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.strip_prefix("llamacpp:").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            let value = value.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
            let Some(value) = value else { continue };
            is_known = true;
            match name {
                "prompt_tokens_total" => counts.prompt_tokens = value as u64,
                "prompt_tokens_cached_total" => counts.cached_tokens = value as u64,
                "prompt_seconds_total" => counts.prompt_seconds = value,
                "tokens_predicted_total" => counts.output_tokens = value as u64,
                "tokens_predicted_seconds_total" => counts.output_seconds = value,
                "n_decode_total" => counts.decode_calls = value as u64,
                "n_busy_slots_per_decode" => counts.busy_slots_per_decode = value,
                _ => {}
            }
        }
        let slots: Vec<SlotContext> = serde_json::from_slice(slots).unwrap_or_default();
        counts.context_used = slots.iter().map(|slot| slot.n_prompt_tokens).sum();
        counts.context_size = slots.iter().map(|slot| slot.n_ctx).sum();
        is_known.then_some(counts)
    }
}

#[derive(Deserialize)]
struct SlotContext {
    #[serde(default)]
    n_ctx: u64,
    #[serde(default)]
    n_prompt_tokens: u64,
}

/// Whether each slot is busy, by its id, of what llama-server answers to `GET /slots`; `None` when it is something else.
#[must_use]
pub fn busy_slots(json: &[u8]) -> Option<Vec<bool>> {
    let slots: Vec<Slot> = serde_json::from_slice(json).ok()?;
    let mut busy = vec![false; slots.len()];
    for slot in slots {
        *busy.get_mut(slot.id)? = slot.is_processing;
    }
    Some(busy)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawProgress {
    #[serde(deserialize_with = "number")]
    total: f64,
    #[serde(deserialize_with = "number")]
    cache: f64,
    #[serde(deserialize_with = "number")]
    processed: f64,
    #[serde(deserialize_with = "number")]
    time_ms: f64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawTimings {
    #[serde(deserialize_with = "number")]
    cache_n: f64,
    #[serde(deserialize_with = "number")]
    prompt_n: f64,
    #[serde(deserialize_with = "number")]
    prompt_ms: f64,
    #[serde(deserialize_with = "number")]
    predicted_n: f64,
    #[serde(deserialize_with = "number")]
    predicted_ms: f64,
}

impl PromptProgress {
    /// Reads the object; `None` when it is none or tells no total.
    pub(super) fn parse(json: &str) -> Option<Self> {
        let raw: RawProgress = serde_json::from_str(json).ok()?;
        let (total, cache, processed) = (count(raw.total), count(raw.cache), count(raw.processed));
        (total > 0).then_some(Self {
            total,
            cache: cache.min(total),
            processed: processed.min(total),
            time_ms: count(raw.time_ms),
        })
    }
}

impl Timings {
    /// Reads the object; `None` when it is none or tells of no work.
    pub(super) fn parse(json: &str) -> Option<Self> {
        let raw: RawTimings = serde_json::from_str(json).ok()?;
        let timings = Self {
            cache_n: count(raw.cache_n),
            prompt_n: count(raw.prompt_n),
            prompt_ms: raw.prompt_ms,
            predicted_n: count(raw.predicted_n),
            predicted_ms: raw.predicted_ms,
        };
        (timings.prompt_n + timings.predicted_n > 0).then_some(timings)
    }
}

/// The largest count that is believed: beyond the window of any model.
const COUNT_MAX: f64 = 1e12;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and COUNT_MAX")]
fn count(number: f64) -> u64 {
    number.clamp(0.0, COUNT_MAX) as u64
}

/// A finite number from 0 on; anything else is 0.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    let number = raw.get().parse::<f64>().unwrap_or_default();
    Ok(if number.is_finite() { number.max(0.0) } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_progress() {
        let check = |json: &str, expected| assert_eq!(PromptProgress::parse(json), expected, "{json}");
        let told = PromptProgress { total: 32, cache: 31, processed: 32, time_ms: 29 };
        check(r#"{"total":32,"cache":31,"processed":32,"time_ms":29}"#, Some(told));
        check(
            r#"{"total":32,"cache":99,"processed":99,"time_ms":29,"x":{}}"#,
            Some(PromptProgress { cache: 32, ..told }),
        );
        let odd = PromptProgress { total: 5, ..Default::default() };
        check(r#"{"total":5.0,"cache":-1,"processed":"a","time_ms":null}"#, Some(odd));
        check(r#"{"cache":1}"#, None);
        check("null", None);
        check("[]", None);
    }

    #[test]
    fn reads_slots() {
        let check = |json: &str, expected: Option<&[bool]>| {
            assert_eq!(busy_slots(json.as_bytes()).as_deref(), expected, "{json}");
        };
        check(
            r#"[{"id":1,"n_ctx":64,"is_processing":true,"params":{}},{"id":0,"is_processing":false}]"#,
            Some(&[false, true]),
        );
        check("[]", Some(&[]));
        check(r#"[{"id":2,"is_processing":true}]"#, None);
        check(r#"{"error":{}}"#, None);
    }

    #[test]
    fn reads_timings() {
        let check = |json: &str, expected| assert_eq!(Timings::parse(json), expected, "{json}");
        let told = Timings { cache_n: 3, prompt_n: 29, prompt_ms: 12.5, predicted_n: 8, predicted_ms: 80.25 };
        check(
            r#"{"cache_n":3,"prompt_n":29,"prompt_ms":12.5,"prompt_per_second":1.0,"predicted_n":8,"predicted_ms":80.25}"#,
            Some(told),
        );
        check(r#"{"prompt_n":1,"prompt_ms":1e999}"#, Some(Timings { prompt_n: 1, ..Default::default() }));
        check("{}", None);
        check("3", None);
    }

    #[test]
    fn counts_are_read_as_far_as_they_are_known() {
        let metrics = "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed\n\
            # TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 21\n\
            llamacpp:prompt_tokens_cached_total 5\nllamacpp:prompt_seconds_total 1.5\n\
            llamacpp:tokens_predicted_total 8\nllamacpp:tokens_predicted_seconds_total 2\n\
            llamacpp:n_decode_total 9\nllamacpp:n_busy_slots_per_decode 1.25\n\
            llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position=\"0\"} 3\nllamacpp:n_new_total nan\n";
        let slots = br#"[{"id":0,"n_ctx":256,"is_processing":false},{"id":1,"n_ctx":256,"n_prompt_tokens":29}]"#;
        let expected = EngineCounts {
            prompt_tokens: 21,
            cached_tokens: 5,
            prompt_seconds: 1.5,
            output_tokens: 8,
            output_seconds: 2.0,
            decode_calls: 9,
            busy_slots_per_decode: 1.25,
            context_used: 29,
            context_size: 512,
        };
        assert_eq!(EngineCounts::read(metrics, slots), Some(expected));
        let without_slots = EngineCounts { context_used: 0, context_size: 0, ..expected };
        assert_eq!(EngineCounts::read(metrics, b"{}"), Some(without_slots));
        assert_eq!(EngineCounts::read("{\"error\": 404}", slots), None);
    }
}
