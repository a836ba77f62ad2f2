//! The comparison sample: now and then a request whose answer a verifier judges is answered by another target too, so that the
//! device learns what both can do with it.
//!
//! Off unless the operator sets a budget. It goes only where the request itself might have gone: its plan is made by the same policy from the
//! same facts with the other target named, and passes placement and egress as any other; a request that named its target is not compared, as it might
//! have gone nowhere else. The caller neither waits for it nor sees it; one runs at a time, and what comes meanwhile, or beyond the budget of the day, is not compared.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use account::{ComparisonResult, Decided, ExchangeKind, RequestOutcome};
use dispatch::{Asking, Content, StreamEnd};
use policy::{Facts, ModelAsked, TargetFacts, TargetId, decide};
use tokio::sync::Semaphore;
use tracing::{info, warn};
use wire::{ChatRequest, Usage};

use super::{Asked, Learning};
use crate::config::ComparisonConfig;
use crate::facts::Gathered;
use crate::gateway::Gateway;
use crate::recording::Recording;
use crate::request_id;
use crate::settle::Settling;
use crate::unix_time::now_s;

/// Longest time for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(300);
const DAY_S: u64 = 86_400;

/// Which requests are compared, and what that has cost today.
pub(super) struct Comparing {
    config: ComparisonConfig,
    spent: Mutex<Spent>,
    permits: Arc<Semaphore>,
}

/// What was spent in one day of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spent {
    day: u64,
    requests: u64,
    usd: f64,
}

/// A request that is to be answered by another target too.
pub(crate) struct Comparison {
    target: TargetId,
    facts: Facts,
    targets: Arc<Vec<TargetFacts>>,
    asking: Asking,
    request: ChatRequest,
    asked: Asked,
}

impl Comparing {
    pub(super) fn new(config: ComparisonConfig) -> Self {
        Self { config, spent: Mutex::default(), permits: Arc::new(Semaphore::new(1)) }
    }

    /// Takes into account what was spent today before this process began.
    fn resume(&self, count: u64, usd: f64, now_s: u64) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = Spent { day: now_s / DAY_S, requests: count, usd };
    }

    /// Whether this request is of the sample, and with whom `answered` is compared.
    fn other(&self, answered: &TargetId) -> Option<TargetId> {
        if !self.config.targets.contains(answered) || fastrand::f64() >= self.config.share {
            return None;
        }
        let others: Vec<_> = self.config.targets.iter().filter(|target| *target != answered).collect();
        others.get(fastrand::usize(..others.len().max(1))).map(|target| (*target).clone())
    }

    /// Takes one request of so many dollars from the budget of the day, which it gives; `None` where it does not fit. A price that is not known does
    /// not fit a budget of money.
    fn reserve(&self, usd: Option<f64>, now_s: u64) -> Option<u64> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.day != now_s / DAY_S {
            *spent = Spent { day: now_s / DAY_S, ..Spent::default() };
        }
        let fits = match (usd, self.config.usd_per_day) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(usd), Some(most)) => spent.usd + usd <= most,
        };
        if !fits || spent.requests >= self.config.requests_per_day {
            return None;
        }
        spent.requests += 1;
        spent.usd += usd.unwrap_or_default();
        Some(spent.day)
    }

    /// Replaces what was expected of one request, which was taken from the budget of `day`, by what it cost. A day that is over gives nothing
    /// to the next.
    fn settle(&self, day: u64, expected: Option<f64>, cost: Option<f64>) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(expected), Some(cost)) = (expected, cost)
            && spent.day == day
        {
            spent.usd = (spent.usd + cost - expected).max(0.0);
        }
    }
}

impl Learning {
    /// Takes into account what comparisons cost today before this process began, as the ledger knows it: a restart begins no new
    /// budget. Blocks.
    pub(crate) fn resume_comparisons(&self, recording: &Recording) {
        let Some(comparing) = &self.comparing else { return };
        let now_s = now_s();
        match recording.spent(ExchangeKind::Comparison.as_str(), now_s / DAY_S * DAY_S * 1000) {
            Ok(spent) => comparing.resume(spent.count, spent.usd, now_s),
            Err(error) => warn!(error = %error, "what comparisons cost today before is not known"),
        }
    }

    /// The comparison of a request that `answered` is about to answer, where it is of the sample.
    pub(crate) fn comparison(
        &self,
        asked: &Asked,
        request: &ChatRequest,
        gathered: &Gathered,
        answered: &TargetId,
    ) -> Option<Comparison> {
        asked.verifier?;
        if gathered.facts.request.model != ModelAsked::Auto {
            return None;
        }
        let target = self.comparing.as_ref()?.other(answered)?;
        let mut facts = Facts::clone(&gathered.facts);
        facts.request.model = ModelAsked::Target(target.clone());
        let asked = Asked { question: None, ..asked.clone() };
        let (targets, asking) = (Arc::clone(&gathered.targets), gathered.asking.clone());
        Some(Comparison { target, facts, targets, asking, request: request.clone(), asked })
    }
}

impl Comparison {
    /// Has the other target answer, beside everything else, once the request with this id was answered whole.
    pub(crate) fn begin(self, gateway: &Arc<Gateway>, request_id: &str) {
        let comparing = gateway.learning.as_ref().and_then(|learning| learning.comparing.as_ref());
        let permit = comparing.and_then(|comparing| Arc::clone(&comparing.permits).try_acquire_owned().ok());
        let Some(permit) = permit.filter(|_| !gateway.is_draining()) else { return };
        // An id of its own, which no caller knows and could rate.
        let (gateway, compared, request_id) =
            (Arc::clone(gateway), request_id.to_owned(), request_id::request_id(None));
        let served = gateway.serving();
        tokio::spawn(async move {
            let _served = served;
            let target = self.target.clone();
            let answer = tokio::time::timeout(ANSWER_TIME_MAX, self.answer(&gateway, &compared, &request_id));
            // A gateway that stops does not wait for it.
            let answered = tokio::select! {
                answered = answer => answered.unwrap_or(Err("it took too long")),
                () = gateway.drains() => Ok(None),
            };
            match &answered {
                Ok(Some(ComparisonResult::Answered)) => {
                    info!(target_id = %target, request_id, compared, "answered for comparison");
                }
                Ok(_) => {}
                Err(reason) => warn!(target_id = %target, compared, reason, "not compared"),
            }
            if let Some(result) = answered.unwrap_or(Some(ComparisonResult::Failed)) {
                gateway.metrics.compared(&target, result);
            }
            drop(permit);
        });
    }

    /// What became of it; `None` where it may not go. Recorded under the id of the request that is `compared`, whose receipt tells of it.
    async fn answer(
        self,
        gateway: &Gateway,
        compared: &str,
        request_id: &str,
    ) -> Result<Option<ComparisonResult>, &'static str> {
        let Some(learning) = &gateway.learning else { return Ok(None) };
        let Some(comparing) = &learning.comparing else { return Ok(None) };
        let in_force = gateway.policies.in_force();
        let Ok(plan) = decide(in_force.policy(), &self.facts, &self.targets) else { return Ok(None) };
        let plan = Arc::new(plan);
        let Some(attempt) = plan.attempts().first() else { return Ok(None) };
        let (expected, price) = (attempt.estimate().cost_usd, attempt.profile().price);
        if gateway.forbids_unrecorded() {
            return Ok(None);
        }
        let Some(day) = comparing.reserve(expected, now_s()) else { return Ok(Some(ComparisonResult::OverBudget)) };
        let mut reading = learning.reading(&self.asked).ok_or("nothing judges it")?;
        // Nobody waits for it, but what it costs is known. Settled when it is dropped, also half way.
        let mut settling = Settling::begin(gateway, ExchangeKind::Comparison, compared, None);
        settling.parsed(&self.request);
        settling.decided_by(Decided {
            plan: Arc::clone(&plan),
            facts: Arc::new(self.facts),
            targets: Arc::clone(&self.targets),
            policy_hash: Arc::clone(&in_force.active.hash),
        });
        settling.end(RequestOutcome::CallerGone);
        let (journal, due) = (settling.journal(), Instant::now() + ANSWER_TIME_MAX);
        let answer = gateway.dispatcher.execute(&plan, &self.request, &self.asking, &journal, due.into()).await;
        let answer = answer.map_err(|_| {
            settling.end(RequestOutcome::TargetsFailed);
            "the target failed"
        })?;
        settling.answering(&answer.target, answer.locality);
        let cost =
            |usage: Usage| Some(price?.cost_usd(usage.prompt_tokens as f64, 0.0, usage.completion_tokens as f64));
        match answer.content {
            Content::Whole { body, usage, is_usage_estimated } => {
                settling.usage(Some(usage), is_usage_estimated);
                settling.end(RequestOutcome::Answered);
                comparing.settle(day, expected, cost(usage));
                learning.answered(self.asked, request_id, &self.target);
                reading.judge(body, request_id);
            }
            Content::Stream(mut relay) => {
                while let Some(bytes) = relay.next().await {
                    reading.see(&bytes);
                }
                comparing.settle(day, expected, relay.usage().and_then(cost));
                settling.streamed(&relay);
                if !matches!(relay.end(), Some(StreamEnd::Complete)) {
                    settling.end(RequestOutcome::Interrupted);
                    return Err("its answer broke off");
                }
                settling.end(RequestOutcome::Answered);
                learning.answered(self.asked, request_id, &self.target);
                reading.judge_stream(request_id);
            }
            Content::Rejected { .. } => {
                settling.end(RequestOutcome::RejectedByTarget);
                return Err("the target refused it");
            }
        }
        Ok(Some(ComparisonResult::Answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparing(share: f64, requests_per_day: u64, usd_per_day: Option<f64>) -> Comparing {
        let targets = ["local/a", "cloud/b"].map(|id| TargetId::new(id).unwrap()).to_vec();
        Comparing::new(ComparisonConfig { share, requests_per_day, usd_per_day, targets })
    }

    #[test]
    fn only_answers_of_the_listed_targets_are_compared_and_never_with_themselves() {
        let of = |share: f64, id: &str| comparing(share, 1, None).other(&TargetId::new(id).unwrap());
        assert_eq!(of(1.0, "local/a"), TargetId::new("cloud/b").ok());
        assert_eq!(of(1.0, "cloud/b"), TargetId::new("local/a").ok());
        assert_eq!(of(1.0, "cloud/c"), None);
        assert_eq!(of(0.0, "local/a"), None);
    }

    #[test]
    fn the_budget_of_a_day_is_kept_and_begins_anew() {
        let both = comparing(1.0, 3, Some(1.0));
        assert_eq!(both.reserve(Some(0.6), 10), Some(0));
        assert_eq!(both.reserve(Some(0.6), 10), None, "beyond the money");
        assert_eq!(both.reserve(None, 10), None, "an unknown price fits no budget of money");
        both.settle(0, Some(0.6), Some(0.1));
        assert!(both.reserve(Some(0.6), 10).is_some(), "it cost less than expected");
        assert!(both.reserve(Some(0.0), 10).is_some());
        assert_eq!(both.reserve(Some(0.0), 10), None, "beyond the number");
        assert_eq!(both.reserve(Some(0.6), DAY_S), Some(1), "the next day");
        both.settle(0, Some(0.6), Some(0.1));
        assert_eq!(both.reserve(Some(0.6), DAY_S), None, "what the day before did not need is not money of this one");
        let resumed = comparing(1.0, 3, Some(1.0));
        resumed.resume(2, 0.5, DAY_S + 5);
        assert_eq!(resumed.reserve(Some(0.6), DAY_S + 6), None, "what was spent before a restart counts");
        assert_eq!(resumed.reserve(Some(0.5), DAY_S + 7), Some(1));
        assert_eq!(resumed.reserve(Some(0.0), DAY_S + 8), None);
        let number = comparing(1.0, 1, None);
        assert!(number.reserve(None, 0).is_some() && number.reserve(None, 0).is_none());
    }
}
