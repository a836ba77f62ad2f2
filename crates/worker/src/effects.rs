//! What the supervisor needs done outside itself. No decisions: `machine` asks, an implementation performs.

use std::time::Duration;

use crate::machine::Signal;
use crate::status::Endpoint;

/// Events on their way from children and probes to the owner task.
pub(crate) const EVENTS_MAX: usize = 64;

/// Effects on child processes. Every call returns without waiting; what comes of it arrives as an
/// [`Event`](crate::machine::Event) on the channel that the implementation was made with.
pub(crate) trait Effects: Send + 'static {
    /// Starts a child: `Spawned`, later `Ended`; or `Ended` alone when it could not be started.
    fn spawn(&mut self, generation: u64);

    /// Sends a signal to the child of that generation; nothing when it has ended.
    fn signal(&mut self, generation: u64, signal: Signal);

    /// Asks the child at `endpoint` for its health: one `Probed` with that number, after `timeout` at the latest.
    fn probe(&mut self, generation: u64, number: u64, endpoint: &Endpoint, timeout: Duration);

    /// From here on the child sees prompts: its log is filtered before anything is kept.
    fn serving_begins(&mut self, generation: u64);
}
