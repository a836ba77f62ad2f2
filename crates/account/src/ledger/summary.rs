//! What many records come to.

use std::collections::BTreeMap;

use super::figures::Figures;

/// What a time has brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Exchanges that a caller waited for, or that were sent for one later; no comparisons.
    pub requests: u64,
    /// Of them, answered.
    pub answered: u64,
    /// Of these, those of which nothing left the device: answered on it alone, or with an answer given before.
    pub stayed: u64,
    /// By how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// What they cost, as far as that is known.
    pub cost_usd: f64,
    /// Answered, but at an unknown cost.
    pub cost_unknown: u64,
    /// What they would have cost at the references, less what they cost, as far as that is known.
    pub cost_avoided_usd: f64,
    /// Answered with what they avoided known.
    pub cost_avoided_known: u64,
    /// What hedges that lost are estimated to have cost.
    pub lost_hedges_usd: f64,
    /// Comparisons, and what they cost.
    pub comparisons: (u64, f64),
    /// By the target that answered, by its id.
    pub targets: BTreeMap<String, TargetSummary>,
    /// Records that are none any more, and are in none of these numbers.
    pub unreadable: u64,
    /// Settled first and last, Unix time in milliseconds.
    pub between_ms: Option<(u64, u64)>,
}

/// What one target did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetSummary {
    /// Requests that it answered, or was last answering.
    pub requests: u64,
    /// Of them, whole.
    pub answered: u64,
    /// Of them, those with an answer that it gave before, or to another caller: they are in none of the numbers below.
    pub again: u64,
    /// Tokens of prompts and answers.
    pub tokens: (u64, u64),
    /// As far as known.
    pub cost_usd: f64,
    /// Milliseconds to the first content of each stream, in order of size.
    pub ttft_ms: Vec<f64>,
    /// Milliseconds of each whole answer, in order of size.
    pub duration_ms: Vec<f64>,
}

/// How often something was done, and what that cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// How often.
    pub count: u64,
    /// US dollars, as far as known.
    pub usd: f64,
}

impl Summary {
    /// Adds a record; `None` is one that cannot be read.
    pub(super) fn add(&mut self, figures: Option<Figures<'_>>) {
        let Some(figures) = figures else {
            self.unreadable += 1;
            return;
        };
        let Figures { at_ms, kind, outcome, cost_usd, cost_avoided_usd, .. } = &figures;
        let (first, last) = self.between_ms.unwrap_or((*at_ms, *at_ms));
        self.between_ms = Some((first.min(*at_ms), last.max(*at_ms)));
        let lost = figures.attempts.iter().filter(|attempt| attempt.outcome == "hedge_lost");
        self.lost_hedges_usd += lost.filter_map(|attempt| attempt.cost_usd).sum::<f64>();
        if kind == "comparison" {
            self.comparisons = (self.comparisons.0 + 1, self.comparisons.1 + cost_usd.unwrap_or_default());
            return;
        }
        let is_answered = outcome == "answered";
        let has_stayed = is_answered && !figures.has_left();
        self.requests += 1;
        self.answered += u64::from(is_answered);
        self.stayed += u64::from(has_stayed);
        self.cost_usd += cost_usd.unwrap_or_default();
        self.cost_unknown += u64::from(is_answered && cost_usd.is_none());
        self.cost_avoided_usd += cost_avoided_usd.unwrap_or_default();
        self.cost_avoided_known += u64::from(cost_avoided_usd.is_some());
        *self.outcomes.entry(outcome.clone().into_owned()).or_default() += 1;
        if let Some(target) = &figures.target {
            self.targets.entry(target.clone()).or_default().add(&figures, is_answered);
        }
    }

    /// Puts what was added in the order of its size.
    pub(super) fn sort(&mut self) {
        for target in self.targets.values_mut() {
            target.ttft_ms.sort_by(f64::total_cmp);
            target.duration_ms.sort_by(f64::total_cmp);
        }
    }

    /// The share of answers that stayed on the device, from 0 to 1; `None` without answers.
    #[must_use]
    pub fn stayed_share(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.stayed as f64 / self.answered as f64)
    }
}

impl TargetSummary {
    fn add(&mut self, figures: &Figures<'_>, is_answered: bool) {
        self.requests += 1;
        self.answered += u64::from(is_answered);
        if figures.is_given_again() {
            self.again += 1;
            return;
        }
        self.cost_usd += figures.cost_usd.unwrap_or_default();
        if let Some(tokens) = figures.tokens {
            let (input, output) = self.tokens;
            self.tokens = (input.saturating_add(tokens.input), output.saturating_add(tokens.output));
        }
        if is_answered {
            self.ttft_ms.extend(figures.ttft_ms);
            self.duration_ms.push(figures.duration_ms);
        }
    }
}
