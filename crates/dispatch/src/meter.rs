//! What the dispatcher measures for whoever keeps the metrics.

use std::time::Duration;

use policy::TargetId;

/// In which situation a time to first token was predicted: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Situation {
    /// The worker had to be started or was starting.
    Cold,
    /// The request had to wait for a slot.
    Queued,
    /// A slot was free and at least half of the prompt was in a cache.
    Cached,
    /// A slot was free.
    Warm,
    /// A target of which only the answers are seen.
    Remote,
}

impl Situation {
    /// Every situation.
    pub const ALL: [Self; 5] = [Self::Cold, Self::Queued, Self::Cached, Self::Warm, Self::Remote];

    /// The label value in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Queued => "queued",
            Self::Cached => "cached",
            Self::Warm => "warm",
            Self::Remote => "remote",
        }
    }
}

/// Hears measurements as they are made. Must not wait.
pub trait Meter: Send + Sync {
    /// A slot of a worker was free this long after its caller was seen gone.
    fn slot_freed(&self, target: &TargetId, after: Duration);

    /// A request got a slot this long after it had asked for one, the time included in which the worker was made ready.
    fn seated(&self, target: &TargetId, waited: Duration);

    /// A slot was not seen free within its limit and is given on all the same.
    fn slot_not_freed(&self, target: &TargetId);

    /// A first token came after `actual_ms` when `predicted_ms` were expected.
    fn first_token(&self, target: &TargetId, situation: Situation, predicted_ms: f64, actual_ms: f64);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn slot_freed(&self, _: &TargetId, _: Duration) {}
    fn seated(&self, _: &TargetId, _: Duration) {}
    fn slot_not_freed(&self, _: &TargetId) {}
    fn first_token(&self, _: &TargetId, _: Situation, _: f64, _: f64) {}
}
