//! How fast a target answers of which only the answers are seen, for predictions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use policy::{Latency, Outcome, Prediction, TargetId};

use crate::forecast::{Mean, Quantiles};
use crate::{Meter, Observation, Situation};

/// Weight of the newest answer in the running rate.
const WEIGHT: f64 = 0.1;
/// Tokens of an answer from which on its rate is measured; a short one tells of the network only.
const TOKENS_MIN: u64 = 16;
/// Tokens per second that are assumed until measured.
const RATE_ASSUMED: f64 = 50.0;

/// The measurements of one remote target.
pub struct RemoteSpeed {
    target: TargetId,
    meter: Arc<dyn Meter>,
    measured: Mutex<Measured>,
}

struct Measured {
    first_token: Quantiles,
    tokens_per_s: Mean,
}

impl RemoteSpeed {
    /// Nothing measured; `meter` hears how good predictions were.
    #[must_use]
    pub fn new(target: TargetId, meter: Arc<dyn Meter>) -> Self {
        let tokens_per_s = Mean::new(RATE_ASSUMED, WEIGHT);
        Self { target, meter, measured: Mutex::new(Measured { first_token: Quantiles::default(), tokens_per_s }) }
    }

    /// Takes in a try. Only whole answers count: a fast failure says nothing about speed, and one that the caller left
    /// would count as fast.
    pub(crate) fn observe(&self, observation: &Observation) {
        let (Outcome::Answered, Some(first)) = (observation.outcome, observation.time_to_first_token) else { return };
        let (now, first_ms) = (Instant::now(), first.as_secs_f64() * 1000.0);
        let mut measured = self.lock();
        let predicted = measured.first_token.predict(observation.prompt_tokens, now);
        measured.first_token.measure(observation.prompt_tokens, first_ms, now);
        let rest = observation.duration.saturating_sub(first).as_secs_f64();
        if let Some(usage) = observation.usage.filter(|usage| usage.completion_tokens >= TOKENS_MIN && rest > 0.0) {
            measured.tokens_per_s.measure(usage.completion_tokens as f64 / rest);
        }
        drop(measured);
        if let Some(Prediction { mean, .. }) = predicted {
            self.meter.first_token(&self.target, Situation::Remote, mean, first_ms);
        }
    }

    /// What a prompt of this size has to expect; `None` before anything was measured.
    pub(crate) fn predict(&self, prompt_tokens: u64) -> Option<Latency> {
        let measured = self.lock();
        let ttft_ms = measured.first_token.predict(prompt_tokens, Instant::now())?;
        Some(Latency { ttft_ms, tokens_per_s: measured.tokens_per_s.get() })
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wire::Usage;

    use super::*;
    use crate::NoMeter;

    #[test]
    fn only_whole_answers_make_a_target_fast() {
        let speed = RemoteSpeed::new(TargetId::new("a/b").unwrap(), Arc::new(NoMeter));
        let observe = |outcome, first_ms: Option<u64>| {
            let usage = Usage { completion_tokens: 100, ..Usage::default() };
            speed.observe(&Observation {
                generation: 0,
                outcome,
                retry_after: None,
                prompt_tokens: 10,
                time_to_first_token: first_ms.map(Duration::from_millis),
                duration: Duration::from_millis(first_ms.unwrap_or(0) + 1000),
                usage: Some(usage),
            });
        };
        for outcome in [Outcome::Status(500), Outcome::CallerGone, Outcome::Interrupted, Outcome::ConnectFailed] {
            observe(outcome, Some(1));
        }
        observe(Outcome::Answered, None);
        assert_eq!(speed.predict(10), None);
        observe(Outcome::Answered, Some(400));
        observe(Outcome::Status(429), Some(1));
        let latency = speed.predict(10).unwrap();
        assert_eq!((latency.ttft_ms.mean, latency.tokens_per_s.mean), (400.0, 100.0));
    }
}
