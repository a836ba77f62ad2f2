//! How fast a target of which only the answers are seen has answered of late: running quantiles by the size of the prompt.
//! Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use policy::Prediction;

/// Upper bounds of the size classes of prompts, in tokens; the last class has none.
const CLASSES: [u64; 4] = [256, 1024, 4096, 16_384];
/// Answers remembered of each class.
const ANSWERS_MAX: usize = 64;
/// An answer older than this says nothing any more.
const OLDEST: Duration = Duration::from_secs(1800);

/// Milliseconds to the first token, of the newest whole answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quantiles {
    classes: [VecDeque<(Instant, f64)>; CLASSES.len() + 1],
}

impl Quantiles {
    /// Takes in an answer. Only of whole answers: a fast failure says nothing about speed.
    pub(crate) fn measure(&mut self, prompt_tokens: u64, ms: f64, now: Instant) {
        if !ms.is_finite() || ms < 0.0 {
            return;
        }
        if let Some(answers) = self.classes.get_mut(class(prompt_tokens)) {
            if answers.len() == ANSWERS_MAX {
                answers.pop_front();
            }
            answers.push_back((now, ms));
        }
    }

    /// The median, and how far the 84th percentile lies above it, for a prompt of this size: of its class, else of the
    /// nearest that has answers; `None` where none has.
    pub(crate) fn predict(&self, prompt_tokens: u64, now: Instant) -> Option<Prediction> {
        let own = class(prompt_tokens);
        let mut nearest: Vec<_> = self.classes.iter().enumerate().collect();
        nearest.sort_by_key(|(class, _)| class.abs_diff(own));
        nearest.into_iter().find_map(|(_, answers)| {
            let recent = answers.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= OLDEST);
            let mut times: Vec<_> = recent.map(|(_, ms)| *ms).collect();
            times.sort_by(f64::total_cmp);
            let median = quantile(&times, 0.5)?;
            Some(Prediction { mean: median, spread: (quantile(&times, 0.84)? - median).max(0.1 * median) })
        })
    }
}

fn class(prompt_tokens: u64) -> usize {
    CLASSES.iter().position(|bound| prompt_tokens < *bound).unwrap_or(CLASSES.len())
}

/// Of sorted values, the nearest rank.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a short list's length")]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicts_by_the_size_of_the_prompt() {
        let now = Instant::now();
        let mut known = Quantiles::default();
        assert_eq!(known.predict(10, now), None);
        (0..11).for_each(|n| known.measure(100, f64::from(100 + n * 10), now));
        known.measure(20_000, 5000.0, now);
        assert_eq!(known.predict(10, now), Some(Prediction { mean: 150.0, spread: 30.0 }));
        assert_eq!(known.predict(900, now).map(|p| p.mean), Some(150.0), "the nearest class");
        assert_eq!(known.predict(1 << 40, now).map(|p| p.mean), Some(5000.0));
    }

    #[test]
    fn forgets_what_is_old_and_keeps_a_bounded_number() {
        let begun = Instant::now();
        let mut known = Quantiles::default();
        (0..10 * ANSWERS_MAX).for_each(|_| known.measure(1, 500.0, begun));
        assert_eq!(known.classes[0].len(), ANSWERS_MAX);
        let later = begun + OLDEST + Duration::from_secs(1);
        assert_eq!(known.predict(1, later), None);
        known.measure(1, 50.0, later);
        assert_eq!(known.predict(1, later).map(|p| p.mean), Some(50.0));
        known.measure(1, f64::NAN, later);
        assert_eq!(known.classes[0].len(), ANSWERS_MAX);
    }
}
