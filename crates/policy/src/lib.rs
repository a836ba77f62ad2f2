//! The vocabulary of a decision (facts, target, plan, attempt, outcome), the language of policies, and the decision itself.
//!
//! Two steps: [`Placement`] says where a request may go and is hard; the routes of a [`Policy`] say where it is best
//! served within that. [`decide`] takes both. [`Walk`] and [`next_step`] say what follows a failed try. Everything here is a pure
//! function of values: no async, I/O, clocks, randomness or globals, and no knowledge of any wire format.

mod breaker;
mod compile;
mod condition;
mod connectivity;
mod decide;
mod document;
mod drop_reason;
mod estimate;
mod expectation;
mod facts;
mod health;
mod hedge;
mod lint;
mod next_step;
mod objective;
mod outcome;
mod overrides;
mod placement;
mod plan;
mod problem;
mod route;
mod sticky;
mod tag;
mod target;
mod walk;

pub use breaker::{
    Admission, Breaker, BreakerCause, BreakerChange, BreakerLimits, BreakerState, MISCONFIGURED_FOR, Ticket,
};
pub use compile::{
    CACHE_TTL_MAX_S, CANDIDATES_MAX, POLICY_VERSION, Policy, REGEXES_MAX, RULE_ID_BYTES_MAX, RULES_MAX, TESTS_MAX,
};
pub use condition::*;
pub use connectivity::{ConnectivityLimits, Evidence, NetworkMachine};
pub use decide::{Refusal, decide};
pub use document::{
    AllowDocument, CacheDocument, ExpectDocument, FactValue, LimitsDocument, PlacementDocument, PolicyDocument,
    RouteDocument, StickinessDocument, SwitchCostDocument, TestDocument, TestTargetDocument, WhenNoneDocument,
};
pub use drop_reason::{DropReason, Limit, OFFLINE_RETRY_AFTER};
pub use estimate::{Estimate, OUTPUT_RESERVE_TOKENS, OUTPUT_TOKENS_DEFAULT};
pub use expectation::{Difference, TestCase};
pub use facts::{
    AUTO_MODEL, Api, BudgetFacts, CallerFacts, Connectivity, ConversationFacts, Facts, HistoryFacts, Mode, ModelAsked,
    MomentFacts, Privacy, QualitySignal, RequestFacts, SignalFacts, UnknownWord,
};
pub use health::{HealthSignal, ReachSignal};
pub use hedge::hedge_is_due;
pub use next_step::{Allowance, BACKOFF, FailedTry, NextStep, RETRY_AFTER_WAIT_MAX, TRIES_PER_TARGET_MAX, next_step};
pub use objective::Objective;
pub use outcome::Outcome;
pub use placement::{Contradiction, MatchedRule, Placement, PlacementCause};
pub use plan::{Attempt, Dropped, PassedOver, Plan, Rule, Stay};
pub use problem::{Problem, Severity};
pub use route::{CacheRule, MAX_ATTEMPTS_DEFAULT, MAX_ATTEMPTS_MAX, Selector};
pub use sticky::{Stickiness, StickyBy};
pub use tag::{TAG_BYTES_MAX, TAG_FORM, is_tag};
pub use target::{
    Capabilities, InvalidTargetId, Latency, Locality, Prediction, Price, TARGET_ID_BYTES_MAX, TargetFacts, TargetId,
    TargetProfile, TargetState,
};
pub use walk::{Step, Walk};

#[cfg(test)]
mod tests;
