//! The vocabulary of a decision (facts, target, plan, attempt, outcome) and the decision itself.
//!
//! Two steps: [`Placement`] says where a request may go and is hard; [`decide`] says where it is best
//! served within that. [`next_step`] says what follows a failed attempt. Everything here is a pure function
//! of values: no async, I/O, clocks, randomness or globals, and no knowledge of any wire format.

mod decide;
mod facts;
mod outcome;
mod placement;
mod plan;
mod target;

pub use decide::{Refusal, decide};
pub use facts::{
    AUTO_MODEL, Api, BudgetFacts, CallerFacts, Connectivity, ConversationFacts, Facts, Mode, ModelAsked, MomentFacts,
    Privacy, RequestFacts, SignalFacts, UnknownWord,
};
pub use outcome::{NextStep, Outcome, TRIES_PER_TARGET_MAX, next_step};
pub use placement::{Contradiction, Placement, PlacementCause};
pub use plan::{Attempt, Candidate, DropReason, Dropped, Plan, Rule};
pub use target::{
    Capabilities, InvalidTargetId, Latency, Locality, Prediction, Price, TARGET_ID_BYTES_MAX, TargetFacts, TargetId,
    TargetProfile, TargetState,
};

#[cfg(test)]
mod tests;
