//! What follows a failed try: a table, pure. Applies while nothing has been sent to the caller, and to the search for a
//! continuation after that.

use std::time::Duration;

use crate::{Locality, Outcome};

/// Tries on one target within one request, the first included.
pub const TRIES_PER_TARGET_MAX: u32 = 2;
/// Longest `Retry-After` that is waited for, where no other target is left.
pub const RETRY_AFTER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Mean pause before a target that failed is asked again within the same request, where it names none.
pub const BACKOFF: Duration = Duration::from_millis(200);

/// What to do after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Try the same target again after a pause.
    SameTarget(Duration),
    /// Go on with the next attempt of the plan.
    NextAttempt,
    /// Go on with the next attempt whose context window is known to be larger than that of this target.
    LargerWindow,
    /// Nothing more is tried.
    Stop,
}

/// One failed try.
#[derive(Clone, Copy, Debug)]
pub struct FailedTry {
    /// How it ended.
    pub outcome: Outcome,
    /// What the target said of when to come again.
    pub retry_after: Option<Duration>,
    /// Where the target runs.
    pub locality: Locality,
}

/// What may still be done for the request.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Tries on this target so far, at least 1.
    pub tries_on_target: u32,
    /// Tries that may still be made for this request, on any target.
    pub tries_left: u32,
    /// Attempts of the plan after this one.
    pub attempts_left: u32,
    /// Until the request has to be answered.
    pub time_left: Duration,
    /// Uniform in [0, 1): spreads the pauses of callers that failed at the same moment.
    pub jitter: f64,
}

/// Decides what follows.
///
/// | outcome | follows |
/// |---|---|
/// | answered, the caller's mistake, content filter, caller gone, interrupted, hedge lost | stop |
/// | does not fit the context window | a larger window, never the same request to the same target |
/// | connection lost; a worker that cannot be connected to | the same target at once, then the next: a worker has most likely crashed and is being restarted, a remote server may have closed an idle connection at the moment of its use |
/// | 500 | the same target after a pause, then the next |
/// | 429, 502, 503, 504, 529 | the next; where there is none, the same target after what `Retry-After` says if that is short, else after a pause |
/// | silence (first token, idle, total), 408, 401, 403, 404, no connection, no network, no worker, queue full, left alone, no answer, another answer than the one to continue | the next |
///
/// A target is tried again only if the tries that are left suffice for all other attempts of the plan as well, and a pause
/// only made if it ends before the request has to be answered.
#[must_use]
pub fn next_step(failed: FailedTry, allowance: Allowance) -> NextStep {
    use Outcome::*;
    if allowance.tries_left == 0 || allowance.time_left.is_zero() {
        return NextStep::Stop;
    }
    let again = |pause: Duration| {
        let may = allowance.tries_on_target < TRIES_PER_TARGET_MAX
            && allowance.tries_left > allowance.attempts_left
            && pause < allowance.time_left;
        if may { NextStep::SameTarget(pause) } else { NextStep::NextAttempt }
    };
    match failed.outcome {
        Answered | Rejected(_) | ContentFiltered(_) | Interrupted | CallerGone | HedgeLost => NextStep::Stop,
        ContextExceeded(_) => NextStep::LargerWindow,
        ConnectionLost => again(Duration::ZERO),
        ConnectFailed if failed.locality == Locality::Device => again(Duration::ZERO),
        Status(500) => again(backoff(allowance.jitter)),
        Status(429 | 502 | 503 | 504 | 529) if allowance.attempts_left == 0 => match failed.retry_after {
            Some(pause) if pause > RETRY_AFTER_WAIT_MAX => NextStep::NextAttempt,
            Some(pause) => again(pause),
            None => again(backoff(allowance.jitter)),
        },
        WorkerUnavailable | QueueFull | LeftAlone | ConnectFailed | NetworkGone | FirstTokenTimeout | IdleTimeout
        | TotalTimeout | Status(_) | InvalidAnswer | Unproven => NextStep::NextAttempt,
    }
}

/// Half to one and a half times [`BACKOFF`].
fn backoff(jitter: f64) -> Duration {
    BACKOFF.mul_f64(0.5 + jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed(outcome: Outcome) -> FailedTry {
        FailedTry { outcome, retry_after: None, locality: Locality::Cloud }
    }

    /// The first try of four, two other attempts in the plan, a minute left.
    fn allowance() -> Allowance {
        Allowance { tries_on_target: 1, tries_left: 3, attempts_left: 2, time_left: 60 * SECOND, jitter: 0.5 }
    }

    #[test]
    fn the_table() {
        use NextStep::{LargerWindow, NextAttempt, SameTarget, Stop};
        let at_once = SameTarget(Duration::ZERO);
        // Outcome; with other targets left; with none left; at the second try on the target.
        let table = [
            (Outcome::Answered, Stop, Stop, Stop),
            (Outcome::Rejected(400), Stop, Stop, Stop),
            (Outcome::ContentFiltered(400), Stop, Stop, Stop),
            (Outcome::Interrupted, Stop, Stop, Stop),
            (Outcome::CallerGone, Stop, Stop, Stop),
            (Outcome::HedgeLost, Stop, Stop, Stop),
            (Outcome::ContextExceeded(400), LargerWindow, LargerWindow, LargerWindow),
            (Outcome::ConnectionLost, at_once, at_once, NextAttempt),
            (Outcome::ConnectFailed, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::Status(500), SameTarget(BACKOFF), SameTarget(BACKOFF), NextAttempt),
            (Outcome::Status(429), NextAttempt, SameTarget(BACKOFF), NextAttempt),
            (Outcome::Status(502), NextAttempt, SameTarget(BACKOFF), NextAttempt),
            (Outcome::Status(503), NextAttempt, SameTarget(BACKOFF), NextAttempt),
            (Outcome::Status(504), NextAttempt, SameTarget(BACKOFF), NextAttempt),
            (Outcome::Status(529), NextAttempt, SameTarget(BACKOFF), NextAttempt),
            (Outcome::Status(408), NextAttempt, NextAttempt, NextAttempt),
            (Outcome::Status(401), NextAttempt, NextAttempt, NextAttempt),
            (Outcome::Status(403), NextAttempt, NextAttempt, NextAttempt),
            (Outcome::Status(404), NextAttempt, NextAttempt, NextAttempt),
            (Outcome::Status(501), NextAttempt, NextAttempt, NextAttempt),
            (Outcome::FirstTokenTimeout, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::IdleTimeout, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::TotalTimeout, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::InvalidAnswer, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::Unproven, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::WorkerUnavailable, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::QueueFull, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::LeftAlone, NextAttempt, NextAttempt, NextAttempt),
            (Outcome::NetworkGone, NextAttempt, NextAttempt, NextAttempt),
        ];
        for (outcome, with_others, alone, second) in table {
            let check = |allowance, expected| {
                assert_eq!(next_step(failed(outcome), allowance), expected, "{outcome:?} {allowance:?}");
            };
            check(allowance(), with_others);
            let alone_allowance = Allowance { attempts_left: 0, ..allowance() };
            check(alone_allowance, alone);
            check(Allowance { tries_on_target: 2, ..alone_allowance }, second);
            check(Allowance { tries_left: 0, ..allowance() }, Stop);
            check(Allowance { time_left: Duration::ZERO, ..allowance() }, Stop);
        }
    }

    #[test]
    fn a_worker_that_cannot_be_connected_to_is_tried_again() {
        let worker = FailedTry { locality: Locality::Device, ..failed(Outcome::ConnectFailed) };
        assert_eq!(next_step(worker, allowance()), NextStep::SameTarget(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_waited_for_only_where_it_is_short_and_nothing_else_is_left() {
        let alone = Allowance { attempts_left: 0, ..allowance() };
        let said = |pause| FailedTry { retry_after: Some(pause), ..failed(Outcome::Status(429)) };
        assert_eq!(next_step(said(3 * SECOND), alone), NextStep::SameTarget(3 * SECOND));
        assert_eq!(next_step(said(3 * SECOND), allowance()), NextStep::NextAttempt);
        assert_eq!(next_step(said(11 * SECOND), alone), NextStep::NextAttempt);
        let hurried = Allowance { time_left: 2 * SECOND, ..alone };
        assert_eq!(next_step(said(3 * SECOND), hurried), NextStep::NextAttempt);
    }

    #[test]
    fn no_second_try_takes_the_place_of_another_attempt() {
        let scarce = Allowance { tries_left: 2, ..allowance() };
        assert_eq!(next_step(failed(Outcome::Status(500)), scarce), NextStep::NextAttempt);
        assert_eq!(next_step(failed(Outcome::ConnectionLost), scarce), NextStep::NextAttempt);
    }

    #[test]
    fn pauses_are_spread() {
        let pause = |jitter| match next_step(failed(Outcome::Status(500)), Allowance { jitter, ..allowance() }) {
            NextStep::SameTarget(pause) => pause,
            other => panic!("{other:?}"),
        };
        assert_eq!((pause(0.0), pause(1.0)), (BACKOFF / 2, BACKOFF * 3 / 2));
    }
}
