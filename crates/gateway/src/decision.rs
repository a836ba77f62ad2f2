//! From a request to a plan, and from its answer to what is remembered of it: what does not depend on who waits for the answer.
//!
//! Runs nothing and writes to no caller: that is `exchange`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use account::Decided;
use http::HeaderMap;
use policy::{
    BudgetFacts, Connectivity, Facts, Locality, MomentFacts, Plan, Rule, TargetFacts, TargetId, TargetState, decide,
};
use wire::{ApiError, ChatRequest, Usage};

use crate::classifier::ENTITIES;
use crate::facts::{self, Floor, Gathered};
use crate::gateway::Gateway;
use crate::learning::{Asked, Comparison, Features, Learning, Reading};
use crate::policies::InForce;
use crate::recall::Asker;
use crate::{policies, rescue};

/// A request that was decided.
pub(crate) struct Decision {
    /// What to try.
    pub plan: Arc<Plan>,
    /// How long it took to look into the request.
    pub signals_took: Duration,
    /// How long the decision took after that.
    pub took: Duration,
    gathered: Gathered,
    features: Option<Features>,
    in_force: Arc<InForce>,
}

/// A request that is about to be answered, as far as something is learnt from it.
#[derive(Clone)]
pub(crate) struct Asking<'a>(Option<(&'a Learning, Asked)>);

impl Decision {
    /// Looks into a request and decides it by the policy in force. Its class holds for the conversation from here on, even if
    /// the request comes to nothing. `floor` is what held for one that was kept and is decided anew.
    ///
    /// # Errors
    /// The reply to a request that says something invalid of itself or cannot be planned.
    pub(crate) async fn of(
        gateway: &Gateway,
        headers: &HeaderMap,
        request: &ChatRequest,
        floor: Option<&Floor>,
    ) -> Result<Self, Box<ApiError>> {
        // enrich
        let (in_force, looking) = (gateway.policies.in_force(), Instant::now());
        let mut signalled = gateway.signals.read(request, &gateway.metrics, in_force.reads(ENTITIES)).await;
        let features = signalled.features.take();
        let deciding = Instant::now();
        let stickiness = in_force.policy().stickiness();
        let mut gathered = facts::gather(gateway, stickiness, headers, request, signalled, floor)?;
        gateway.token_counts.count(request, gathered.targets_mut()).await;
        // decide
        if gathered.class() > gateway.config.privacy {
            gateway.conversations.remember(&gathered.thread, gathered.class(), None, stickiness.ttl, deciding);
        }
        let decided = decide(in_force.policy(), &gathered.facts, &gathered.targets);
        if floor.is_none() {
            // One that was kept has been compared when it came.
            policies::compare(&in_force, &gathered.facts, &gathered.targets, &decided, &gateway.metrics);
        }
        let plan = Arc::new(rescue::refused(decided, &gathered.targets)?);
        let signals_took = deciding.duration_since(looking);
        Ok(Self { plan, signals_took, took: deciding.elapsed(), gathered, features, in_force })
    }

    /// What was decided by what, for the record.
    pub(crate) fn decided(&self) -> Decided {
        Decided {
            plan: Arc::clone(&self.plan),
            facts: Arc::clone(&self.gathered.facts),
            targets: Arc::clone(&self.gathered.targets),
            policy_hash: Arc::clone(&self.in_force.active.hash),
        }
    }

    /// The generation of the policy that decided.
    pub(crate) fn generation(&self) -> u64 {
        self.in_force.generation
    }

    /// By which a worker serves it.
    pub(crate) fn asking_worker(&self) -> &dispatch::Asking {
        &self.gathered.asking
    }

    /// Who asks, as far as answers are kept apart by it.
    pub(crate) fn asker(&self) -> Asker {
        let facts = &self.gathered.facts;
        Asker { tenant: facts.caller.key_id.clone(), class: self.gathered.class(), mode: facts.request.mode }
    }

    /// Where a target runs that was decided about.
    pub(crate) fn locality(&self, target: &TargetId) -> Option<Locality> {
        self.gathered.targets.iter().find(|known| known.id() == target).map(TargetFacts::locality)
    }

    /// The target that is wanted most: the first that is tried, unless it stands in for another one that is away.
    pub(crate) fn first_choice(&self) -> Option<TargetId> {
        let is_away = |id: &TargetId| {
            self.gathered.targets.iter().any(|target| target.id() == id && target.state == TargetState::Unreachable)
        };
        let attempts = self.plan.attempts();
        let stands_in = self.plan.substituted().is_some() || attempts.iter().any(|attempt| is_away(attempt.target()));
        attempts.first().filter(|_| !stands_in).map(|attempt| attempt.target().clone())
    }

    /// What has to hold for this request as long as it is kept.
    pub(crate) fn floor(&self) -> Floor {
        self.gathered.floor()
    }

    /// The targets that may be tried and can be expected to answer now.
    pub(crate) fn answering_now(&self) -> impl Iterator<Item = &TargetFacts> {
        let facts = |id: &TargetId| self.gathered.targets.iter().find(|target| target.id() == id);
        self.plan.attempts().iter().filter_map(move |attempt| facts(attempt.target())).filter(|t| t.state.can_answer())
    }

    /// The targets that a request waits for that nobody answers now.
    pub(crate) fn worth_waiting_for(&self) -> Vec<TargetId> {
        let mut ids = self.answering_later().unwrap_or_default();
        ids.extend(self.plan.attempts().iter().map(|attempt| attempt.target().clone()));
        ids
    }

    /// The error for a request that nobody is expected to answer now, with a reason for each target.
    pub(crate) fn nobody_now(&self) -> ApiError {
        let state =
            |id: &TargetId| self.gathered.targets.iter().find(|target| target.id() == id).map(|t| t.state.as_str());
        let tried = self
            .plan
            .attempts()
            .iter()
            .map(|attempt| format!("{}: {}", attempt.target(), state(attempt.target()).unwrap_or_default()));
        let dropped = self.plan.dropped().iter();
        let dropped = dropped.map(|dropped| format!("{}: {}", dropped.profile.id, dropped.reason.explain()));
        ApiError::no_target_available(&tried.chain(dropped).collect::<Vec<_>>())
    }

    /// The targets that could be tried by this policy if every one were reachable and the moment a good one; `None` when there
    /// never will be any, whatever time brings.
    pub(crate) fn answering_later(&self) -> Option<Vec<TargetId>> {
        let Gathered { facts, targets, .. } = &self.gathered;
        let moment = MomentFacts {
            connectivity: Some(Connectivity::Online),
            metered: Some(false),
            battery_percent: Some(100),
            ..facts.moment
        };
        let facts = Facts { moment, budget: BudgetFacts::default(), ..Facts::clone(facts) };
        let ready = |target: &TargetFacts| TargetFacts { state: TargetState::Ready, ..target.clone() };
        let targets: Vec<_> = targets.iter().map(ready).collect();
        let plan = decide(self.in_force.policy(), &facts, &targets).ok()?;
        let ids: Vec<_> = plan.attempts().iter().map(|attempt| attempt.target().clone()).collect();
        (!ids.is_empty() || plan.dropped().iter().any(|dropped| dropped.reason.may_pass())).then_some(ids)
    }

    /// Tells what learns that the request is about to be answered. To be called once.
    pub(crate) fn asking<'a>(&mut self, gateway: &'a Gateway, request: &ChatRequest) -> Asking<'a> {
        let learning = gateway.learning.as_ref();
        Asking(learning.map(|learning| (learning, learning.asked(request, &self.gathered, self.features.take()))))
    }

    /// The comparison of this request, which `answered` is about to answer, with another target, where it is of the sample.
    pub(crate) fn comparison(
        &self,
        asking: &Asking<'_>,
        request: &ChatRequest,
        answered: &TargetId,
    ) -> Option<Comparison> {
        let (learning, asked) = asking.0.as_ref()?;
        learning.comparison(asked, request, &self.gathered, answered)
    }

    /// Remembers a complete answer of `target`. To be called before the caller has its last byte: it may send its next turn
    /// at once.
    pub(crate) fn answered(
        &self,
        gateway: &Gateway,
        request: &ChatRequest,
        asking: Asking<'_>,
        request_id: &str,
        target: &TargetId,
        usage: Option<Usage>,
    ) {
        let gathered = &self.gathered;
        let read = usage.map_or(gathered.facts.request.prompt_tokens, |usage| usage.prompt_tokens);
        if let Some((learning, asked)) = asking.0 {
            learning.answered(asked, request_id, target);
        }
        let (answered, now) = (Some((target.clone(), read)), Instant::now());
        let kept_for = self.in_force.policy().stickiness().ttl;
        gateway.conversations.remember(&gathered.thread, gathered.class(), answered, kept_for, now);
        if let Ok(outbox) = &gateway.outbox {
            outbox.is_back(target);
        }
        if let (Rule::Route { id, .. }, Some(usage)) = (self.plan.rule(), usage) {
            gateway.history.answered(id, usage.completion_tokens, request.max_tokens());
        }
    }
}

impl Asking<'_> {
    /// Of a request from whose answer nothing is learnt.
    pub(crate) fn of_nobody() -> Self {
        Self(None)
    }

    /// What has to see the answer, if anything has to.
    pub(crate) fn reading(&self) -> Option<Reading> {
        self.0.as_ref().and_then(|(learning, asked)| learning.reading(asked))
    }
}
