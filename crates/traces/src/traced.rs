//! One settled exchange with its places in traces: what spans are made of.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use account::{Decided, Settlement};
use policy::TargetFacts;
use wire::{SpanId, TraceContext};

/// A settled exchange.
#[derive(Clone, Debug)]
pub struct TracedExchange {
    /// What became of it.
    pub settlement: Settlement,
    /// Its own span.
    pub context: TraceContext,
    /// The span of its caller.
    pub parent: Option<SpanId>,
    /// The status that its caller got, where it got one.
    pub status: Option<u16>,
    /// From its begin to the moment at which it was known whether an answer given before would do.
    pub recalled_after: Option<Duration>,
    /// The exchange for which the answer was made that this one shared.
    pub shared: Option<TraceContext>,
    /// Its attempts, in the order of [`Settlement::attempts`]; `None` for one that is not recorded.
    pub attempts: Vec<Option<TracedAttempt>>,
}

/// One attempt of it.
#[derive(Clone, Debug)]
pub struct TracedAttempt {
    /// The exchange that it was made for: another one than that which accounts for it, where an answer is shared.
    pub parent: TraceContext,
    /// Its own span.
    pub id: SpanId,
    /// How long before the exchange that accounts for it this one began; zero where it began after it.
    pub begun_before: Duration,
    /// From its begin to the moment at which a worker took it.
    pub led_after: Option<Duration>,
    /// The model that the target says has answered.
    pub model: Option<Box<str>>,
    /// How each choice ended, by its number.
    pub finish_reasons: Vec<(u64, &'static str)>,
}

impl TracedExchange {
    /// Of a settlement; it is copied, but for what is known of the targets, of which there may be many and no span tells.
    #[must_use]
    pub fn new(settlement: &Settlement, context: TraceContext, parent: Option<SpanId>) -> Self {
        let decided = settlement.decided.as_ref().map(|decided| Decided {
            plan: Arc::clone(&decided.plan),
            facts: Arc::clone(&decided.facts),
            targets: no_targets(),
            policy_hash: Arc::clone(&decided.policy_hash),
        });
        let settlement = Settlement {
            decided,
            request_id: settlement.request_id.clone(),
            target: settlement.target.clone(),
            attempts: settlement.attempts.clone(),
            reference: settlement.reference.clone(),
            ..*settlement
        };
        let (status, recalled_after, shared) = (None, None, None);
        Self { settlement, context, parent, status, recalled_after, shared, attempts: Vec::new() }
    }
}

fn no_targets() -> Arc<Vec<TargetFacts>> {
    static NONE: LazyLock<Arc<Vec<TargetFacts>>> = LazyLock::new(Arc::default);
    Arc::clone(&NONE)
}
