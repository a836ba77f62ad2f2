//! What requests that ended teach about those to come: how long the answers of a route are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use policy::{HistoryFacts, OUTPUT_TOKENS_DEFAULT};

/// Weight of the newest answer in the running mean.
const WEIGHT: f64 = 0.05;
/// The longest answer that counts; what a target reports beyond it is taken for this.
const ANSWER_TOKENS_MAX: u64 = 32_768;
/// Half of what a mean is off the default is forgotten in this time, so that a route which refuses everything for an
/// expected cost finds back by itself.
const HALF_LIFE: Duration = Duration::from_secs(300);
/// How often means are let fade.
const FADE_EVERY: Duration = Duration::from_secs(1);
/// Routes remembered at most; those of replaced policies leave with the process.
const ROUTES_MAX: usize = 1024;

/// Running means by route.
pub(crate) struct History {
    known: Mutex<Known>,
}

struct Known {
    facts: HistoryFacts,
    faded: Instant,
}

impl History {
    /// Nothing known yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { known: Mutex::new(Known { facts: HistoryFacts::default(), faded: now }) }
    }

    /// What is known now.
    pub(crate) fn facts(&self, now: Instant) -> HistoryFacts {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(known.faded);
        if age >= FADE_EVERY && !known.facts.output_tokens.is_empty() {
            let kept = 0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64());
            let default = OUTPUT_TOKENS_DEFAULT as f64;
            let fade = |(route, mean): &(Arc<str>, f64)| (Arc::clone(route), default + (mean - default) * kept);
            known.facts.output_tokens = known.facts.output_tokens.iter().map(fade).collect();
            known.faded = now;
        }
        known.facts.clone()
    }

    /// Takes in an answer of a route. One as long as the caller allowed was cut off and says nothing about its length.
    pub(crate) fn answered(&self, route: &str, output_tokens: u64, max_tokens: Option<u64>) {
        if max_tokens.is_some_and(|most| output_tokens >= most) {
            return;
        }
        let tokens = output_tokens.min(ANSWER_TOKENS_MAX) as f64;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut means: Vec<(Arc<str>, f64)> = known.facts.output_tokens.to_vec();
        let at = means.iter().position(|(id, _)| **id == *route).unwrap_or_else(|| {
            means.push((route.into(), OUTPUT_TOKENS_DEFAULT as f64));
            means.len() - 1
        });
        if at >= ROUTES_MAX {
            return;
        }
        if let Some((_, mean)) = means.get_mut(at) {
            *mean += WEIGHT * (tokens - *mean);
        }
        known.facts.output_tokens = means.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(history: &History, route: &str, at: Instant) -> f64 {
        let facts = history.facts(at);
        facts.output_tokens.iter().find(|(id, _)| **id == *route).map_or(0.0, |(_, mean)| *mean)
    }

    #[test]
    fn the_mean_follows_the_answers_of_its_route() {
        let now = Instant::now();
        let history = History::new(now);
        for _ in 0..200 {
            history.answered("a", 1000, None);
        }
        assert!((990.0..=1000.0).contains(&mean(&history, "a", now)));
        assert_eq!(mean(&history, "b", now), 0.0);
    }

    #[test]
    fn no_answer_moves_it_far_and_time_brings_it_back() {
        let now = Instant::now();
        let history = History::new(now);
        history.answered("a", u64::MAX, None);
        assert!(mean(&history, "a", now) < 2000.0);
        let later = mean(&history, "a", now + 20 * HALF_LIFE);
        assert!((255.0..258.0).contains(&later), "{later}");
    }

    #[test]
    fn answers_that_were_cut_off_teach_nothing() {
        let now = Instant::now();
        let history = History::new(now);
        history.answered("a", 1, Some(1));
        assert_eq!(mean(&history, "a", now), 0.0);
    }
}
