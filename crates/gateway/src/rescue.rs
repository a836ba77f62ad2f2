//! Maps everything that can go wrong with a request to the reply its caller gets, and to the outcome it counts as.

use std::time::Duration;

use account::RequestOutcome;
use dispatch::{AttemptRecord, Failure};
use policy::{Contradiction, DropReason, Outcome, Plan, Refusal, TargetFacts};
use wire::{ApiError, Fault};

use crate::config::Claim;

/// The plan, or the reply to a request that cannot be planned.
pub(crate) fn refused(decided: Result<Plan, Refusal>, targets: &[TargetFacts]) -> Result<Plan, Box<ApiError>> {
    decided.map_err(|refused| refusal(&refused, targets))
}

fn refusal(refusal: &Refusal, targets: &[TargetFacts]) -> Box<ApiError> {
    Box::new(match refusal {
        Refusal::UnknownModel(model) => {
            ApiError::model_not_found(model.as_str(), targets.iter().map(|target| target.id().as_str()))
        }
        Refusal::Contradiction(contradiction) => {
            let place = match contradiction {
                Contradiction::Modes | Contradiction::RuleAndMode(_) => Claim::Mode.header(),
                Contradiction::PrivacyAndMode(_) | Contradiction::ConversationAndMode(_) => Claim::Privacy.header(),
                Contradiction::ModelAndPlacement { .. } => "model",
            };
            ApiError::contradiction(&contradiction.to_string(), place)
        }
    })
}

/// The reply when no attempt brought an answer: what was tried and how it failed, what was not and why.
pub(crate) fn failure(failure: &Failure, plan: &Plan, records: &[AttemptRecord]) -> ApiError {
    let tried = records.iter().map(|record| format!("{}: {}", record.profile.id, record.detail));
    let dropped = plan.dropped().iter().map(|dropped| format!("{}: {}", dropped.profile.id, dropped.reason.explain()));
    let refusal = plan.refusal().map(str::to_owned);
    let reasons: Vec<String> = refusal.into_iter().chain(tried).chain(dropped).collect();
    let Some(last) = records.last().filter(|_| matches!(failure, Failure::Exhausted)) else {
        return nobody(&reasons, plan, None);
    };
    // What was lost with the network was asked, but its caller is to come again as if it had not been.
    let was_asked = |record: &AttemptRecord| {
        !matches!(
            record.outcome,
            Outcome::WorkerUnavailable | Outcome::LeftAlone | Outcome::QueueFull | Outcome::NetworkGone
        )
    };
    if last.outcome == Outcome::QueueFull || !records.iter().any(was_asked) {
        let left_alone = records.iter().filter_map(|record| record.retry_after).min();
        return nobody(&reasons, plan, left_alone);
    }
    match last.outcome {
        Outcome::Status(429) => ApiError::upstream_rate_limited(&reasons, last.retry_after.map(whole_seconds)),
        Outcome::FirstTokenTimeout | Outcome::IdleTimeout | Outcome::TotalTimeout | Outcome::Status(408 | 504) => {
            ApiError::upstream_timeout(&reasons)
        }
        _ => ApiError::upstream_failed(&reasons),
    }
}

/// As `Retry-After` says it: never too early.
fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// The reply when nobody was asked: when to come again, where that is known. It is 429 where all that could be asked limit
/// their rate.
fn nobody(reasons: &[String], plan: &Plan, left_alone: Option<Duration>) -> ApiError {
    let wait = plan.retry_after().into_iter().chain(left_alone).min();
    let retry_after_s = wait.map(|wait| whole_seconds(wait).max(1));
    let mut passing =
        plan.dropped().iter().map(|dropped| &dropped.reason).filter(|reason| reason.is_passing()).peekable();
    let is_limited = left_alone.is_none()
        && passing.peek().is_some()
        && passing.all(|reason| matches!(reason, DropReason::RateLimited { .. }));
    match is_limited {
        true => ApiError::upstream_rate_limited(reasons, retry_after_s),
        false => ApiError { retry_after_s, ..ApiError::no_target_available(reasons) },
    }
}

/// The outcome that an error reply counts as.
pub(crate) fn outcome(error: &ApiError) -> RequestOutcome {
    match (error.status, error.fault) {
        (413 | 431, _) => RequestOutcome::OverLimit,
        (503, Fault::Gateway) if error.code == ApiError::TOO_MANY_IN_FLIGHT => RequestOutcome::OverLimit,
        (503, Fault::Gateway) if error.code == ApiError::LEDGER_UNAVAILABLE => RequestOutcome::GatewayFailed,
        (507, Fault::Gateway) if error.code == ApiError::OUTBOX_FULL => RequestOutcome::OverLimit,
        (503, Fault::Gateway) => RequestOutcome::NoTarget,
        (_, Fault::Caller) => RequestOutcome::Invalid,
        (_, Fault::Upstream) => RequestOutcome::TargetsFailed,
        (_, Fault::Gateway) => RequestOutcome::GatewayFailed,
    }
}
