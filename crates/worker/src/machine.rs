//! The life of a worker as a pure state machine: a state and an event give the next state and the effects to perform.
//! No clocks, no I/O, no async: time enters as timers that have run out, children as events.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Backoff, Liveness, WorkerConfig};
use crate::error::StartError;
use crate::status::{Endpoint, Ready, StateName};

/// What happened. Events of children carry their generation; those of another than the current one are ignored, and so
/// is a probe that is not the latest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The worker was made.
    Boot,
    /// A caller needs a ready child.
    Needed,
    /// Somebody wants the child to end.
    StopRequested,
    /// A caller could not reach the child.
    Lost { generation: u64 },
    /// The process exists.
    Spawned { generation: u64, pid: u32, endpoint: Endpoint },
    /// A health probe has ended.
    Probed { generation: u64, number: u64, outcome: ProbeOutcome },
    /// The process is gone, or could not be started.
    Ended { generation: u64, end: End },
    /// A timer has run out.
    TimedOut(Timer),
}

/// What a health probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    /// `/health` answered 200.
    Healthy,
    /// It answered something else: the model is still being loaded.
    Unready,
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Silent,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// There was no process: the configuration cannot work.
    NotStarted { reason: String },
    /// The process ended.
    Exited { status: String, hint: Option<&'static str>, permanent: bool, last_lines: Arc<[String]> },
}

/// The timers; each kind runs at most once at a time, and arming it again replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A start has taken too long.
    StartLimit,
    /// A stop has taken too long.
    StopLimit,
    /// Time for a health probe.
    ProbeDue,
    /// Time to restart.
    Restart,
    /// A worker that gave up may be tried again.
    CoolDown,
    /// The child was ready for long enough to forget earlier failures.
    Stable,
}

/// Signals to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Start a child.
    Spawn { generation: u64 },
    /// Send it a signal.
    Signal { generation: u64, signal: Signal },
    /// Ask it for its health.
    Probe { generation: u64, number: u64, endpoint: Endpoint, timeout: Duration },
    /// The child will see prompts from now on.
    ServingBegins { generation: u64 },
    /// Start a timer.
    Arm(Timer, Duration),
    /// Forget all timers.
    DisarmAll,
    /// Answer everybody who waits for a ready child.
    Answer(Result<Ready, StartError>),
}

/// What `Machine` is in; the public names are in [`StateName`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Stopped,
    /// `child` is unknown until the process exists.
    Starting {
        child: Option<Child>,
        next_probe: Duration,
    },
    /// `checking` after a caller reported the child lost: nobody is given it until a probe has succeeded.
    Ready {
        child: Child,
        checking: bool,
        misses: u32,
    },
    Draining {
        pid: Option<u32>,
        then: Then,
    },
    Failed(Outlook),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Child {
    pid: u32,
    endpoint: Endpoint,
}

/// Why a child is made to end, and so what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Stop,
    StartTimedOut,
    Unresponsive,
}

/// What a failed worker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlook {
    Restarting,
    GivenUp,
}

/// The state machine of one worker.
///
/// # Transitions
///
/// `-` leaves everything as it is. *failed start*: counts one; `failed (given up)` when it is permanent or the
/// `start_attempts_max`-th in a row (answers everybody with the error, arms `CoolDown`), else `failed (restarting)`
/// after `backoff.delay`. *crash*: the first restart is at once (`starting`), later ones after `backoff.delay`
/// (`failed (restarting)`), whether or not the worker is `eager`: a child that was needed a moment ago is likely to be
/// needed again, and the caller of the next request shall not notice. A worker that crashes after each time it was
/// ready never gives up; it is restarted every `backoff.max`.
///
/// | event | stopped | starting | ready | draining (stop) | draining (else) | failed (restarting) | failed (given up) |
/// |---|---|---|---|---|---|---|---|
/// | `Boot` | starting if eager | - | - | - | - | - | - |
/// | `Needed` | starting: spawn, arm `StartLimit` | - (waits) | answer; waits while checking | answer `Stopped` | - (waits) | - (waits) | answer the error |
/// | `StopRequested` | - | draining (stop): SIGTERM, arm `StopLimit`, answer `Stopped` | the same | - | draining (stop), answer `Stopped` | stopped, answer `Stopped` | stopped |
/// | `Lost` | - | - | ready, checking: probe now | - | - | - | - |
/// | `Spawned` | - | note the process, probe | - | note the process | note the process | - | - |
/// | `Probed` healthy | - | ready: answer, arm `ProbeDue`, `Stable` | forget misses, answer if checking, arm `ProbeDue` | - | - | - | - |
/// | `Probed` else | - | arm `ProbeDue`, twice as late | count a miss, arm `ProbeDue`; at `failures_max`, or refused while checking: draining (unresponsive), SIGKILL | - | - | - | - |
/// | `Ended` | - | failed start | crash | stopped | timed out: failed start; unresponsive: crash | - | - |
/// | `StartLimit` | - | draining (timed out), SIGKILL | - | - | - | - | - |
/// | `StopLimit` | - | - | - | SIGKILL | - | - | - |
/// | `ProbeDue` | - | probe | probe | - | - | - | - |
/// | `Restart` | - | - | - | - | - | starting | - |
/// | `CoolDown` | - | - | - | - | - | - | forget failures; starting if eager, else stopped |
/// | `Stable` | - | - | forget failures | - | - | - | - |
#[derive(Debug)]
pub(crate) struct Machine {
    limits: Limits,
    state: State,
    generation: u64,
    probe_number: u64,
    /// Unwanted ends in a row, for the pauses; forgotten when a child was ready for `reset_after_ready`.
    failures: u32,
    /// Starts in a row that did not lead to a ready child, for giving up.
    failed_starts: u32,
    restarts_total: u64,
    last_failure: Option<StartError>,
}

/// The part of the configuration that decides transitions.
#[derive(Debug, Clone)]
struct Limits {
    eager: bool,
    start_timeout: Duration,
    stop_timeout: Duration,
    health_interval: Duration,
    health_interval_max: Duration,
    health_timeout: Duration,
    liveness: Liveness,
    backoff: Backoff,
    start_attempts_max: u32,
    cool_down: Duration,
}

impl Machine {
    /// A stopped worker.
    pub(crate) fn new(config: &WorkerConfig) -> Self {
        Self {
            limits: Limits {
                eager: config.eager,
                start_timeout: config.start_timeout,
                stop_timeout: config.stop_timeout,
                health_interval: config.health_interval,
                health_interval_max: config.health_interval_max,
                health_timeout: config.health_timeout,
                liveness: config.liveness,
                backoff: config.backoff,
                start_attempts_max: config.start_attempts_max,
                cool_down: config.cool_down,
            },
            state: State::Stopped,
            generation: 0,
            probe_number: 0,
            failures: 0,
            failed_starts: 0,
            restarts_total: 0,
            last_failure: None,
        }
    }

    /// Takes one event; returns what is to be done, in order.
    pub(crate) fn on(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Boot if self.limits.eager && self.state == State::Stopped => self.start(),
            Event::Boot => Vec::new(),
            Event::Needed => self.on_needed(),
            Event::StopRequested => self.on_stop_requested(),
            Event::Lost { generation } if generation == self.generation => self.on_lost(),
            Event::Spawned { generation, pid, endpoint } if generation == self.generation => {
                self.on_spawned(Child { pid, endpoint })
            }
            Event::Probed { generation, number, outcome }
                if generation == self.generation && number == self.probe_number =>
            {
                self.on_probed(outcome)
            }
            Event::Ended { generation, end } if generation == self.generation => self.on_ended(end),
            Event::Lost { .. } | Event::Spawned { .. } | Event::Probed { .. } | Event::Ended { .. } => Vec::new(),
            Event::TimedOut(timer) => self.on_timed_out(timer),
        }
    }

    /// The state by its public name.
    pub(crate) fn state_name(&self) -> StateName {
        match self.state {
            State::Stopped => StateName::Stopped,
            State::Starting { .. } => StateName::Starting,
            State::Ready { .. } => StateName::Ready,
            State::Draining { .. } => StateName::Draining,
            State::Failed(_) => StateName::Failed,
        }
    }

    /// The child that callers may use now.
    pub(crate) fn ready(&self) -> Option<Ready> {
        match &self.state {
            State::Ready { child, checking: false, .. } => {
                Some(Ready { endpoint: child.endpoint.clone(), generation: self.generation })
            }
            State::Ready { .. }
            | State::Stopped
            | State::Starting { .. }
            | State::Draining { .. }
            | State::Failed(_) => None,
        }
    }

    /// The process id of the child, while there is one and it is known.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Starting { child, .. } => child.as_ref().map(|child| child.pid),
            State::Ready { child, .. } => Some(child.pid),
            State::Draining { pid, .. } => *pid,
            State::Stopped | State::Failed(_) => None,
        }
    }

    /// The generation of the current or last child.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Starts that followed an unwanted end.
    pub(crate) fn restarts_total(&self) -> u64 {
        self.restarts_total
    }

    /// Why the last child ended unwanted, until one is ready again.
    pub(crate) fn last_failure(&self) -> Option<&StartError> {
        self.last_failure.as_ref()
    }

    /// Whether the worker waits for its cool-down.
    pub(crate) fn has_given_up(&self) -> bool {
        self.state == State::Failed(Outlook::GivenUp)
    }
}

mod transitions;

#[cfg(test)]
mod tests;
