//! The way through the attempts of a plan: which target is tried next, after what pause. Pure; the pauses are made by
//! whoever runs the plan.

use std::time::Duration;

use crate::next_step::{Allowance, FailedTry, NextStep, next_step};
use crate::{Attempt, Outcome, Plan};

/// The next try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step<'p> {
    /// Its place in [`Plan::attempts`].
    pub place: usize,
    /// The attempt at that place.
    pub attempt: &'p Attempt,
    /// How long to wait before it.
    pub pause: Duration,
}

/// Where the execution of one plan stands. Gives at most [`Plan::tries_max`] tries, at most
/// [`crate::TRIES_PER_TARGET_MAX`] of them on one target, and never one that is not in the plan.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The first attempt that was not tried yet.
    next: usize,
    tries: Vec<u32>,
    tries_left: u32,
    /// Only targets with a window above this many tokens are tried.
    window_above: Option<u64>,
}

impl Walk {
    /// Stands before the first attempt of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { next: 0, tries: vec![0; plan.attempts().len()], tries_left: plan.tries_max(), window_above: None }
    }

    /// The next attempt that was not tried yet: the first one, one beside another (a hedge), or the next one.
    pub fn advance<'p>(&mut self, plan: &'p Plan) -> Option<Step<'p>> {
        let place = self.untried(plan)?;
        self.next = place + 1;
        self.take(plan, place, Duration::ZERO)
    }

    /// The attempt that [`Self::advance`] would give.
    #[must_use]
    pub fn peek<'p>(&self, plan: &'p Plan) -> Option<&'p Attempt> {
        let place = self.untried(plan).filter(|_| self.tries_left > 0)?;
        plan.attempts().get(place)
    }

    fn untried(&self, plan: &Plan) -> Option<usize> {
        (self.next..plan.attempts().len()).find(|place| plan.attempts().get(*place).is_some_and(|one| self.fits(one)))
    }

    fn fits(&self, attempt: &Attempt) -> bool {
        let Some(above) = self.window_above else { return true };
        attempt.profile().context_tokens.is_some_and(|window| window > above)
    }

    /// Takes note of how the try at `place` failed, where something else is waited for that runs already: what did not fit one
    /// window is sent only to larger ones from now on.
    pub fn note(&mut self, plan: &Plan, place: usize, outcome: Outcome) {
        if let (Outcome::ContextExceeded(_), Some(tried)) = (outcome, plan.attempts().get(place)) {
            let window = tried.profile().context_tokens.unwrap_or(0);
            self.window_above = Some(self.window_above.unwrap_or(0).max(window));
        }
    }

    /// What follows the failed try of the attempt at `place`; `None` when nothing does. `jitter` is uniform in [0, 1).
    pub fn after<'p>(
        &mut self,
        plan: &'p Plan,
        place: usize,
        outcome: Outcome,
        retry_after: Option<Duration>,
        time_left: Duration,
        jitter: f64,
    ) -> Option<Step<'p>> {
        let tried = plan.attempts().get(place)?;
        self.note(plan, place, outcome);
        let left = plan.attempts().iter().skip(self.next).filter(|attempt| self.fits(attempt)).count();
        let allowance = Allowance {
            tries_on_target: self.tries.get(place).copied().unwrap_or(u32::MAX),
            tries_left: self.tries_left,
            attempts_left: u32::try_from(left).unwrap_or(u32::MAX),
            time_left,
            jitter,
        };
        match next_step(FailedTry { outcome, retry_after, locality: tried.locality() }, allowance) {
            NextStep::SameTarget(pause) if self.fits(tried) => self.take(plan, place, pause),
            // `note` has seen to the window.
            NextStep::SameTarget(_) | NextStep::NextAttempt | NextStep::LargerWindow => self.advance(plan),
            NextStep::Stop => None,
        }
    }

    fn take<'p>(&mut self, plan: &'p Plan, place: usize, pause: Duration) -> Option<Step<'p>> {
        let attempt = plan.attempts().get(place)?;
        self.tries_left = self.tries_left.checked_sub(1)?;
        if let Some(tries) = self.tries.get_mut(place) {
            *tries += 1;
        }
        Some(Step { place, attempt, pause })
    }
}
