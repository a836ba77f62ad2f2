//! How fast a local worker is, as measured, and what follows for a request that comes now: how long it waits for a slot and how
//! long its prompt is read. Pure.

use policy::{Latency, Prediction};

use super::fit::{Fit, Mean};

/// Assumed until measured: a prompt of no length, a token of one answer, in milliseconds.
const READ_ASSUMED_MS: f64 = 20.0;
const STEP_ASSUMED_MS: f64 = 20.0;
/// Tokens that a chat template adds to a turn, assumed until measured.
const TEMPLATE_ASSUMED_TOKENS: f64 = 16.0;
/// Tokens of an answer, assumed until measured.
const OUTPUT_ASSUMED_TOKENS: f64 = 256.0;
/// Weight of the newest value in running means.
const WEIGHT: f64 = 0.1;
/// Milliseconds for which a slot is busy with a request, assumed until measured.
const SERVICE_ASSUMED_MS: f64 = 5000.0;
/// Loading is rare and hardly varies.
const LOAD_WEIGHT: f64 = 0.3;
/// Share of the expectation that is still expected of what took longer than expected.
const OVERDUE: f64 = 0.25;
/// Spread of a wait for others, relative to it: how long their answers become is hardly known.
const WAIT_SPREAD: f64 = 0.4;

/// One request that stands before the next: in a slot, or in the queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Before {
    /// Tokens of its prompt still to be read.
    pub(crate) unread: f64,
    /// Tokens of its answer still to be written.
    pub(crate) output: f64,
}

/// The measurements of one worker. They outlive its restarts.
#[derive(Clone, Debug)]
pub(crate) struct EngineSpeed {
    /// Tokens that the engine reads at once.
    batch_tokens: f64,
    /// Tokens that the engine reads of a prompt, by the estimate of what is not cached: what the estimate is off, and what the chat
    /// template adds to each turn.
    unread: Fit,
    /// From sending to the first token, in milliseconds, by the tokens that are computed until then.
    first_token: Fit,
    /// A token of an answer, in milliseconds, by the answers that are written at the same time.
    step: Fit,
    /// From starting to readiness, in milliseconds.
    load: Mean,
    output_tokens: Mean,
    service: Mean,
}

impl EngineSpeed {
    /// Nothing measured; loading is assumed to take `load_ms`.
    pub(crate) fn new(batch_tokens: u64, load_ms: f64) -> Self {
        Self {
            batch_tokens: batch_tokens.max(1) as f64,
            unread: Fit::new(TEMPLATE_ASSUMED_TOKENS),
            first_token: Fit::new(READ_ASSUMED_MS),
            step: Fit::new(STEP_ASSUMED_MS),
            load: Mean::new(load_ms, LOAD_WEIGHT),
            output_tokens: Mean::new(OUTPUT_ASSUMED_TOKENS, WEIGHT),
            service: Mean::new(SERVICE_ASSUMED_MS, WEIGHT),
        }
    }

    /// The engine has `read` tokens of a prompt of which `estimated` were estimated not to be cached.
    pub(crate) fn prompt_counted(&mut self, estimated: f64, read: u64) {
        self.unread.measure(estimated, read as f64);
    }

    /// The first token came `ms` after the request was sent; `read` tokens of the prompt were not cached, and `beside` others
    /// were being answered.
    pub(crate) fn first_token(&mut self, read: u64, beside: usize, ms: f64) {
        self.first_token.measure(self.work(read as f64, beside), ms);
    }

    /// An answer of `tokens` tokens took `ms` from the first to the last, among `at_once` at the same time.
    pub(crate) fn answered(&mut self, tokens: u64, ms: f64, at_once: usize) {
        if tokens > 1 {
            self.step.measure(at_once.max(1) as f64, ms / (tokens - 1) as f64);
        }
        self.output_tokens.measure(tokens as f64);
    }

    /// A slot was used for `ms`.
    pub(crate) fn served(&mut self, ms: f64) {
        self.service.measure(ms);
    }

    /// A start took `ms` until the worker was ready.
    pub(crate) fn loaded(&mut self, ms: f64) {
        self.load.measure(ms);
    }

    /// Tokens to be read of a prompt of which `estimated` are estimated not to be cached; at least one.
    pub(crate) fn unread(&self, estimated: f64) -> f64 {
        self.unread.at(estimated).unwrap_or(estimated).max(1.0)
    }

    /// Tokens of an answer, where the caller allows at most `max`.
    pub(crate) fn output_tokens(&self, max: Option<u64>) -> f64 {
        let expected = self.output_tokens.get().mean;
        max.map_or(expected, |max| if self.output_tokens.is_measured() { expected.min(max as f64) } else { max as f64 })
    }

    /// Tokens still to be expected of an answer of which `written` are there and `expected` were expected.
    pub(crate) fn output_left(&self, expected: f64, written: f64) -> f64 {
        (expected - written).max(OVERDUE * expected)
    }

    /// For how long a slot is used, in milliseconds.
    pub(crate) fn service_ms(&self) -> f64 {
        self.service.get().mean
    }

    /// How long loading takes that began `elapsed_ms` ago.
    pub(crate) fn load_left(&self, elapsed_ms: f64) -> Prediction {
        let Prediction { mean, spread } = self.load.get();
        Prediction { mean: (mean - elapsed_ms).max(OVERDUE * mean), spread }
    }

    /// The speed for a request of which `unread` tokens are not cached, that comes when `running` are with the worker and
    /// `queued` are served before it, and that can begin in `load`. `None` before anything was measured.
    pub(crate) fn predict(
        &self,
        unread: f64,
        slots: usize,
        running: &[Before],
        queued: &[Before],
        load: Option<Prediction>,
    ) -> Option<Latency> {
        let wait_ms = self.wait_ms(unread, slots, running, queued);
        let beside = if wait_ms > 0.0 { slots.saturating_sub(1) } else { running.len() };
        let read = self.first_token.predict(self.work(unread, beside))?;
        let load = load.unwrap_or(Prediction { mean: 0.0, spread: 0.0 });
        let spreads = [read.spread, WAIT_SPREAD * wait_ms, load.spread];
        let ttft_ms = Prediction {
            mean: read.mean + wait_ms + load.mean,
            spread: spreads.iter().map(|spread| spread * spread).sum::<f64>().sqrt(),
        };
        let step = self.step.predict((beside + 1) as f64);
        let step = step.filter(|step| step.mean > 0.0).unwrap_or(Prediction { mean: STEP_ASSUMED_MS, spread: 10.0 });
        let rate = 1000.0 / step.mean;
        let tokens_per_s = Prediction { mean: rate, spread: rate * (step.spread / step.mean).min(1.0) };
        Some(Latency { ttft_ms, tokens_per_s })
    }

    /// Tokens computed until a prompt is read: it, and one of each other answer for each batch, of which it has what they leave.
    fn work(&self, unread: f64, beside: usize) -> f64 {
        let (unread, beside) = (unread.max(1.0), beside as f64);
        unread + beside * (unread / (self.batch_tokens - beside).max(1.0)).ceil()
    }

    /// Milliseconds until a slot is free and no other prompt is in the way: the queue played through, in its order.
    fn wait_ms(&self, unread: f64, slots: usize, running: &[Before], queued: &[Before]) -> f64 {
        let busy = running.len().min(slots.max(1));
        let at_once = if queued.is_empty() { busy } else { slots };
        let step_ms = self.step.at(at_once.max(1) as f64).unwrap_or(STEP_ASSUMED_MS);
        let read_ms = |tokens: f64, beside: usize| {
            if tokens < 1.0 { 0.0 } else { self.first_token.at(self.work(tokens, beside)).unwrap_or(READ_ASSUMED_MS) }
        };
        let mut reading_until: f64 = 0.0;
        let mut reading_tokens: f64 = 0.0;
        let mut free_at = vec![0.0_f64; slots.saturating_sub(busy)];
        for before in running {
            let read = read_ms(before.unread, busy.saturating_sub(1));
            reading_until = reading_until.max(read);
            reading_tokens += before.unread;
            free_at.push(read + before.output * step_ms);
        }
        let mut begin = |unread: f64, output: f64| {
            let Some(slot) = free_at.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(slot, _)| slot)
            else {
                return 0.0;
            };
            let free = free_at.get(slot).copied().unwrap_or_default();
            let fits = reading_until <= free || reading_tokens + unread <= self.batch_tokens;
            let begun = if fits { free } else { free.max(reading_until) };
            let read = begun + read_ms(unread, at_once.saturating_sub(1));
            reading_tokens = if begun >= reading_until { unread } else { reading_tokens + unread };
            reading_until = reading_until.max(read);
            if let Some(at) = free_at.get_mut(slot) {
                *at = read + output * step_ms;
            }
            begun
        };
        for before in queued {
            begin(before.unread, before.output);
        }
        begin(unread, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 ms and 1 ms a token read, 5 ms a token written and 1 ms more for each other answer; answers of 100 tokens.
    fn measured() -> EngineSpeed {
        let mut speed = EngineSpeed::new(32, 2000.0);
        for n in 0..60_u32 {
            let read = u64::from(n * 17 % 400) + 1;
            speed.first_token(read, 0, 10.0 + read as f64);
            let at_once = n as usize % 4 + 1;
            speed.answered(100, 99.0 * (4.0 + at_once as f64), at_once);
            speed.prompt_counted(read as f64, read * 2 + 16);
        }
        speed
    }

    fn ttft(speed: &EngineSpeed, unread: f64, running: &[Before], queued: &[Before]) -> f64 {
        speed.predict(unread, 2, running, queued, None).unwrap().ttft_ms.mean
    }

    #[track_caller]
    fn near(actual: f64, expected: f64) {
        assert!((actual / expected - 1.0).abs() < 0.1, "{actual} instead of {expected}");
    }

    #[test]
    fn a_free_worker_reads_the_prompt() {
        let speed = measured();
        near(ttft(&speed, 100.0, &[], &[]), 110.0);
        near(ttft(&speed, 1.0, &[], &[]), 11.0);
        let writing = Before { unread: 0.0, output: 50.0 };
        near(ttft(&speed, 96.0, &[writing], &[]), 109.0);
        near(speed.predict(1.0, 2, &[writing], &[], None).unwrap().tokens_per_s.mean, 1000.0 / 6.0);
    }

    #[test]
    fn a_prompt_waits_for_another_that_is_read() {
        let speed = measured();
        let reading = Before { unread: 200.0, output: 50.0 };
        near(ttft(&speed, 100.0, &[reading], &[]), 210.0 + 114.0);
        let ends = Before { unread: 10.0, output: 50.0 };
        near(ttft(&speed, 20.0, &[ends], &[]), 31.0);
    }

    #[test]
    fn who_is_queued_waits_for_slots() {
        let speed = measured();
        let writing = |output| Before { unread: 0.0, output };
        let busy = [writing(50.0), writing(100.0)];
        // 6 ms a token of two answers.
        near(ttft(&speed, 30.0, &busy, &[]), 300.0 + 41.0);
        let ahead = Before { unread: 20.0, output: 100.0 };
        near(ttft(&speed, 30.0, &busy, &[ahead]), 600.0 + 41.0);
        near(ttft(&speed, 30.0, &busy, &[ahead, ahead]), 300.0 + 31.0 + 600.0 + 41.0);
    }

    #[test]
    fn loading_comes_on_top_and_what_is_overdue_is_still_expected() {
        let mut speed = measured();
        let whole = |speed: &EngineSpeed, elapsed| {
            let load = Some(speed.load_left(elapsed));
            speed.predict(100.0, 2, &[], &[], load).unwrap().ttft_ms.mean
        };
        near(whole(&speed, 0.0), 2110.0);
        speed.loaded(1000.0);
        near(whole(&speed, 400.0), 710.0);
        near(whole(&speed, 9000.0), 360.0);
        assert_eq!(speed.output_left(100.0, 40.0), 60.0);
        assert_eq!(speed.output_left(100.0, 400.0), 25.0);
    }

    #[test]
    fn what_is_not_measured_is_not_predicted() {
        let speed = EngineSpeed::new(32, 1000.0);
        assert_eq!(speed.predict(10.0, 2, &[], &[], None), None);
        assert_eq!((speed.unread(10.0), speed.unread(0.0)), (10.0, 1.0));
        assert_eq!((speed.output_tokens(Some(400)), speed.output_tokens(None)), (400.0, OUTPUT_ASSUMED_TOKENS));
    }

    #[test]
    fn prompts_and_answers_are_as_long_as_they_were() {
        let speed = measured();
        near(speed.unread(100.0), 216.0);
        near(speed.unread(0.0), 16.0);
        near(speed.output_tokens(None), 100.0);
        near(speed.output_tokens(Some(40)), 40.0);
    }
}
