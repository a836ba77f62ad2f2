//! Runs the attempts of a plan until one answers, two at once where a hedge is due.

use std::sync::Arc;
use std::time::Duration;

use policy::{Outcome, Plan, Step, TargetFacts, TargetId, TargetProfile, TargetState, Walk};
use tokio::time::{Instant, sleep};
use wire::{ChatRequest, EngineCounts, StreamForm};

use crate::attempt::{Begun, Order, Purpose};
use crate::hedge::{HedgeLimits, Hedging};
use crate::journal::Journal;
use crate::output::Output;
use crate::{
    Answer, Asking, Content, Failure, HealthStatus, Load, Network, Observation, Provider, Relay, TargetFailure,
    TargetHealth, Timeouts,
};

/// One configured target.
pub struct Target {
    /// Its name, where it runs and what else is fixed of it.
    pub profile: Arc<TargetProfile>,
    /// How it is reached.
    pub provider: Box<dyn Provider>,
    /// Its limits in time.
    pub timeouts: Timeouts,
    /// How it has fared of late.
    pub health: TargetHealth,
}

impl Target {
    /// Tells everybody who keeps count of this target how a try went.
    pub(crate) fn observe(&self, observation: &Observation) {
        self.provider.observe(observation);
    }
}

/// Every configured target, in the operator's order.
pub struct Dispatcher {
    targets: Vec<Target>,
    pub(crate) hedging: Hedging,
    network: Arc<Network>,
}

impl Dispatcher {
    /// Takes the targets; their ids are unique.
    #[must_use]
    pub fn new(targets: Vec<Target>, hedging: HedgeLimits, network: Arc<Network>) -> Self {
        Self { targets, hedging: Hedging::new(hedging), network }
    }

    /// What is known of every target now; with `asking` also how fast each is expected to answer that request.
    #[must_use]
    pub fn facts(&self, asking: Option<&Asking>) -> Vec<TargetFacts> {
        let facts = |target: &Target| TargetFacts {
            queue_depth: target.provider.load().map(|load| load.queued as u64),
            latency: asking.and_then(|asking| target.provider.latency(asking)),
            ..TargetFacts::new(Arc::clone(&target.profile), target.health.state(target.provider.state()))
        };
        self.targets.iter().map(facts).collect()
    }

    /// How every target has fared of late, in the operator's order.
    pub fn health(&self) -> impl Iterator<Item = (&TargetId, HealthStatus)> {
        self.targets.iter().map(|target| (&target.profile.id, target.health.status()))
    }

    /// The network that cloud targets are reached by.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// How busy every target is that has slots.
    pub fn loads(&self) -> impl Iterator<Item = (&TargetId, Load)> {
        self.targets.iter().filter_map(|target| Some((&target.profile.id, target.provider.load()?)))
    }

    /// What the engine of each target counts that has one and runs it. Takes a moment.
    pub async fn engine_counts(&self) -> Vec<(&TargetId, EngineCounts)> {
        let asked = self.targets.iter().map(async |target| {
            let counts = target.provider.engine_counts().await?;
            Some((&target.profile.id, counts))
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Makes a target ready.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn prepare(&self, id: &TargetId) -> Result<(), String> {
        let target = self.target(id).ok_or_else(|| format!("{id} is not configured"))?;
        target.provider.prepare().await.map_err(|failure| failure.detail)
    }

    /// What a target could do now as far as it tells itself; `None` for one that is not configured.
    #[must_use]
    pub fn state(&self, id: &TargetId) -> Option<TargetState> {
        self.target(id).map(|target| target.provider.state())
    }

    /// The configured ids, in the operator's order.
    pub fn ids(&self) -> impl Iterator<Item = &TargetId> {
        self.targets.iter().map(|target| &target.profile.id)
    }

    pub(crate) fn target(&self, id: &TargetId) -> Option<&Target> {
        self.targets.iter().find(|target| target.profile.id == *id)
    }

    /// Tries the attempts of `plan` until one answers, at most until `due`. Every try is in `journal` from its beginning; one
    /// that is cut short because this future is dropped is there as left by the caller, and its connection is closed.
    ///
    /// # Errors
    /// [`Failure`] when no attempt answered; nothing was sent to the caller then.
    pub async fn execute<'a>(
        &'a self,
        plan: &'a Plan,
        request: &'a ChatRequest,
        asking: &'a Asking,
        journal: &'a Journal,
        due: Instant,
    ) -> Result<Answer<'a>, Failure> {
        if let Some(target) = plan.warm_up().and_then(|id| self.target(id)) {
            target.provider.warm();
        }
        if plan.hedge_after().is_some() {
            self.hedging.saw_request();
        }
        let order = Order { dispatcher: self, plan, request, asking, journal, due };
        Execution { order, walk: Walk::new(plan) }.answer().await
    }
}

/// The execution of one plan, as far as it has come.
pub(crate) struct Execution<'a> {
    pub(crate) order: Order<'a>,
    walk: Walk,
}

/// A try with what it came to.
struct Tried<'a> {
    step: Step<'a>,
    result: Result<Begun<'a>, TargetFailure>,
}

impl<'a> Execution<'a> {
    async fn answer(mut self) -> Result<Answer<'a>, Failure> {
        let mut step = self.walk.advance(self.order.plan);
        let mut refused = None;
        while let Some(next) = step {
            rest(next.pause).await;
            let Tried { step: tried, result } = self.race(next).await;
            match result {
                Ok(begun) => return Ok(self.answered(tried, begun)),
                Err(failure) => {
                    step = self.after(tried.place, &failure);
                    refused = failure.refusal.map(|refusal| (tried, refusal));
                }
            }
        }
        match refused {
            Some((tried, refusal)) => {
                let (status, error) = *refusal;
                Ok(answer(tried, Content::Rejected { status, error }))
            }
            None if self.order.journal.is_empty() => Err(Failure::NoAttempt),
            None => Err(Failure::Exhausted),
        }
    }

    /// What follows a failure, of a try or, after its beginning, of an answer.
    fn after(&mut self, place: usize, failure: &TargetFailure) -> Option<Step<'a>> {
        let time_left = self.order.due.saturating_duration_since(Instant::now());
        self.walk.after(self.order.plan, place, failure.outcome, failure.retry_after, time_left, fastrand::f64())
    }

    /// One try and, if it has brought nothing for as long as its route says, the next one beside it. The first with content
    /// wins, and the other is dropped at once; if both fail, the one that failed last counts. A refusal that would have been the
    /// answer without the second try is it with one, too.
    async fn race(&mut self, step: Step<'a>) -> Tried<'a> {
        let order = self.order;
        let attempt = |step: Step<'a>, is_last: bool, is_hedge: bool| async move {
            Tried { step, result: order.attempt(step.attempt, Purpose::Answer { is_last, is_hedge }).await }
        };
        let is_last = self.walk.peek(order.plan).is_none();
        let Some(after) = order.plan.hedge_after().filter(|_| !is_last) else {
            return attempt(step, is_last, false).await;
        };
        let slo = self.slo_unless_hedged(step, after);
        let place = order.journal.len();
        let mut first = Box::pin(attempt(step, slo.is_some(), false));
        tokio::select! {
            biased;
            tried = &mut first => return tried,
            () = sleep(after) => {}
        }
        let hedging = &order.dispatcher.hedging;
        let wanted = self.walk.peek(order.plan).filter(|second| hedging.take(order.plan, step.attempt, second, after));
        let Some(beside) = wanted.and_then(|_| self.walk.advance(order.plan)) else {
            let Some(slo) = slo else { return first.await };
            let late = sleep(slo.saturating_sub(after));
            tokio::select! {
                biased;
                tried = &mut first => return tried,
                () = late => {}
            }
            // Of an answer that goes out whole the first token is seen here alone.
            if order.journal.has_begun(place) {
                return first.await;
            }
            order.journal.dropping(Outcome::FirstTokenTimeout, first);
            let failure = TargetFailure::new(Outcome::FirstTokenTimeout, Outcome::FirstTokenTimeout.as_str());
            return Tried { step, result: Err(failure) };
        };
        let mut second = Box::pin(attempt(beside, self.walk.peek(order.plan).is_none(), true));
        let (tried, other) = tokio::select! {
            biased;
            tried = &mut first => (tried, second),
            tried = &mut second => (tried, first),
        };
        if let Err(TargetFailure { outcome, .. }) = &tried.result
            && !(tried.step.place == step.place && outcome.is_final())
        {
            self.walk.note(order.plan, tried.step.place, *outcome);
            return other.await;
        }
        order.journal.dropping(Outcome::HedgeLost, other);
        tried
    }

    /// The objective of a try of which it is not known yet whether it is the last one possible: the only other one runs beside it
    /// if there is a hedge, and then nothing follows. Counted here instead of in the try, from its begin. None where no first
    /// token will be seen.
    fn slo_unless_hedged(&self, step: Step<'a>, after: Duration) -> Option<Duration> {
        let slo = step.attempt.ttft_deadline().filter(|slo| *slo > after)?;
        let Order { request, dispatcher, .. } = self.order;
        let form = dispatcher.target(step.attempt.target())?.provider.form(request);
        if !request.stream() && form.stream != StreamForm::Always {
            return None;
        }
        let mut walk = self.walk.clone();
        walk.advance(self.order.plan)?;
        walk.peek(self.order.plan).is_none().then_some(slo)
    }

    fn answered(self, step: Step<'a>, begun: Begun<'a>) -> Answer<'a> {
        let content = match begun {
            Begun::Whole { body, usage, is_usage_estimated } => Content::Whole { body, usage, is_usage_estimated },
            Begun::Stream(opened) => Content::Stream(Box::new(Relay::new(self, step.place, *opened))),
        };
        answer(step, content)
    }

    /// Looks for a stream that goes on with an answer of which `so_far` reached the caller, after the attempt at `place` broke
    /// off. Gives its place as well.
    pub(crate) async fn continuation(
        &mut self,
        mut place: usize,
        mut failure: TargetFailure,
        so_far: &Output,
    ) -> Option<(usize, Begun<'a>)> {
        loop {
            let step = self.after(place, &failure)?;
            rest(step.pause).await;
            match self.order.attempt(step.attempt, Purpose::Continue(so_far)).await {
                Ok(begun) => return Some((step.place, begun)),
                Err(failed) => (place, failure) = (step.place, failed),
            }
        }
    }
}

fn answer<'a>(step: Step<'a>, content: Content<'a>) -> Answer<'a> {
    Answer { target: step.attempt.target().clone(), locality: step.attempt.locality(), content }
}

async fn rest(pause: Duration) {
    if !pause.is_zero() {
        sleep(pause).await;
    }
}
