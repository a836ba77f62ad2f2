//! What requests that ended teach about those to come: how long the answers of a route are.

use std::sync::{Arc, Mutex, PoisonError};

use policy::HistoryFacts;

/// Weight of the newest answer in the running mean.
const WEIGHT: f64 = 0.05;
/// Routes remembered at most; those of replaced policies leave with the process.
const ROUTES_MAX: usize = 1024;

/// Running means by route.
#[derive(Default)]
pub(crate) struct History {
    facts: Mutex<HistoryFacts>,
}

impl History {
    /// What is known now.
    pub(crate) fn facts(&self) -> HistoryFacts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in an answer of a route.
    pub(crate) fn answered(&self, route: &str, output_tokens: u64) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = output_tokens as f64;
        let mut means: Vec<(Arc<str>, f64)> = facts.output_tokens.to_vec();
        match means.iter().position(|(known, _)| **known == *route) {
            Some(at) => means[at].1 += WEIGHT * (tokens - means[at].1),
            None if means.len() < ROUTES_MAX => means.push((route.into(), tokens)),
            None => return,
        }
        facts.output_tokens = means.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_the_answers_of_its_route() {
        let history = History::default();
        history.answered("a", 100);
        history.answered("b", 10);
        for _ in 0..200 {
            history.answered("a", 300);
        }
        let facts = history.facts();
        let mean = |route: &str| facts.output_tokens.iter().find(|(id, _)| **id == *route).map(|(_, mean)| *mean);
        assert!(mean("a").is_some_and(|mean| (299.0..=300.0).contains(&mean)), "{facts:?}");
        assert_eq!(mean("b"), Some(10.0));
    }
}
