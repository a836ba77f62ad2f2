//! How one try on one target went, for whoever keeps count of the target: its breaker, its predictions, its worker.

use std::time::Duration;

use policy::Outcome;
use wire::Usage;

/// One try, finished. Told exactly once for each try, also for one that was dropped in the middle.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The run of the worker that the try was sent to ([`crate::Lead::generation`]); 0 where it was not sent or there are none.
    pub generation: u64,
    /// How it ended. A stream that was handed over is observed when it ends, not before.
    pub outcome: Outcome,
    /// When the target wants to be asked again, from now.
    pub retry_after: Option<Duration>,
    /// Tokens of the prompt, estimated by [`wire::ChatRequest::prompt_tokens_estimate`].
    pub prompt_tokens: u64,
    /// From the begin of the try to its first content; `None` where none came or the answer came in one piece.
    pub time_to_first_token: Option<Duration>,
    /// From the begin of the try to its end.
    pub duration: Duration,
    /// What the target counted.
    pub usage: Option<Usage>,
}
