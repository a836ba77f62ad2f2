//! The transitions of the table at [`Machine`], one function per event. Pure, as all of `machine`.

use std::time::Duration;

use super::{Child, Effect, End, Machine, Outlook, ProbeOutcome, Signal, State, Then, Timer};
use crate::error::StartError;

impl Machine {
    pub(super) fn on_needed(&mut self) -> Vec<Effect> {
        match &self.state {
            State::Stopped => self.start(),
            State::Ready { checking: false, .. } => self.answer_ready(),
            State::Draining { then: Then::Stop, .. } => vec![Effect::Answer(Err(StartError::Stopped))],
            State::Failed(Outlook::GivenUp) => {
                vec![Effect::Answer(Err(self.last_failure.clone().unwrap_or(StartError::Gone)))]
            }
            State::Starting { .. }
            | State::Ready { checking: true, .. }
            | State::Draining { then: Then::StartTimedOut | Then::Unresponsive, .. }
            | State::Failed(Outlook::Restarting) => Vec::new(),
        }
    }

    pub(super) fn on_stop_requested(&mut self) -> Vec<Effect> {
        let refusal = Effect::Answer(Err(StartError::Stopped));
        match &mut self.state {
            State::Stopped | State::Draining { then: Then::Stop, .. } => Vec::new(),
            State::Draining { then, .. } => {
                // SIGKILL is on its way already.
                *then = Then::Stop;
                vec![refusal]
            }
            State::Failed(_) => {
                self.state = State::Stopped;
                self.forget_failures();
                vec![Effect::DisarmAll, refusal]
            }
            State::Starting { .. } | State::Ready { .. } => {
                self.state = State::Draining { pid: self.pid(), then: Then::Stop };
                vec![
                    Effect::DisarmAll,
                    Effect::Signal { generation: self.generation, signal: Signal::Terminate },
                    Effect::Arm(Timer::StopLimit, self.limits.stop_timeout),
                    refusal,
                ]
            }
        }
    }

    pub(super) fn on_lost(&mut self) -> Vec<Effect> {
        match &mut self.state {
            State::Ready { checking, .. } if !*checking => {
                *checking = true;
                self.probe(self.limits.health_timeout)
            }
            State::Ready { .. }
            | State::Stopped
            | State::Starting { .. }
            | State::Draining { .. }
            | State::Failed(_) => Vec::new(),
        }
    }

    pub(super) fn on_spawned(&mut self, spawned: Child) -> Vec<Effect> {
        match &mut self.state {
            State::Starting { child, .. } => {
                *child = Some(spawned);
                self.probe(self.limits.health_timeout)
            }
            State::Draining { pid, .. } => {
                *pid = Some(spawned.pid);
                Vec::new()
            }
            State::Stopped | State::Ready { .. } | State::Failed(_) => Vec::new(),
        }
    }

    pub(super) fn on_probed(&mut self, outcome: ProbeOutcome) -> Vec<Effect> {
        match &mut self.state {
            State::Starting { child: Some(child), .. } if outcome == ProbeOutcome::Healthy => {
                let child = child.clone();
                self.become_ready(child)
            }
            State::Starting { next_probe, .. } => {
                let pause = *next_probe;
                *next_probe = pause.saturating_mul(2).min(self.limits.health_interval_max);
                vec![Effect::Arm(Timer::ProbeDue, pause)]
            }
            State::Ready { checking, misses, .. } if outcome == ProbeOutcome::Healthy => {
                *misses = 0;
                let was_checking = std::mem::take(checking);
                let mut effects = vec![Effect::Arm(Timer::ProbeDue, self.limits.liveness.interval)];
                if was_checking {
                    effects.extend(self.answer_ready());
                }
                effects
            }
            State::Ready { checking, misses, .. } => {
                *misses = misses.saturating_add(1);
                let refused = *checking && outcome == ProbeOutcome::Refused;
                if refused || *misses >= self.limits.liveness.failures_max {
                    return self.kill_then(Then::Unresponsive);
                }
                let pause = if *checking { self.limits.health_interval_max } else { self.limits.liveness.interval };
                vec![Effect::Arm(Timer::ProbeDue, pause)]
            }
            State::Stopped | State::Draining { .. } | State::Failed(_) => Vec::new(),
        }
    }

    pub(super) fn on_ended(&mut self, end: End) -> Vec<Effect> {
        match self.state {
            State::Starting { .. } => self.fail_start(start_error(end)),
            State::Ready { .. } => self.crash(start_error(end)),
            State::Draining { then: Then::Stop, .. } => {
                self.state = State::Stopped;
                self.forget_failures();
                vec![Effect::DisarmAll]
            }
            State::Draining { then: Then::StartTimedOut, .. } => {
                let after = self.limits.start_timeout;
                let last_lines = match end {
                    End::Exited { last_lines, .. } => last_lines,
                    End::NotStarted { .. } => Vec::new().into(),
                };
                self.fail_start(StartError::TimedOut { after, last_lines })
            }
            State::Draining { then: Then::Unresponsive, .. } => self.crash(unresponsive(end)),
            State::Stopped | State::Failed(_) => Vec::new(),
        }
    }

    pub(super) fn on_timed_out(&mut self, timer: Timer) -> Vec<Effect> {
        match (timer, &self.state) {
            (Timer::StartLimit, State::Starting { .. }) => self.kill_then(Then::StartTimedOut),
            (Timer::StopLimit, State::Draining { .. }) => {
                vec![Effect::Signal { generation: self.generation, signal: Signal::Kill }]
            }
            (Timer::ProbeDue, State::Starting { .. }) => self.probe(self.limits.health_timeout),
            (Timer::ProbeDue, State::Ready { checking: true, .. }) => self.probe(self.limits.health_timeout),
            (Timer::ProbeDue, State::Ready { .. }) => self.probe(self.limits.liveness.timeout),
            (Timer::Restart, State::Failed(Outlook::Restarting)) => self.restart(),
            (Timer::CoolDown, State::Failed(Outlook::GivenUp)) => {
                self.forget_failures();
                self.state = State::Stopped;
                if self.limits.eager { self.restart() } else { Vec::new() }
            }
            (Timer::Stable, State::Ready { .. }) => {
                self.forget_failures();
                Vec::new()
            }
            (
                Timer::StartLimit
                | Timer::StopLimit
                | Timer::ProbeDue
                | Timer::Restart
                | Timer::CoolDown
                | Timer::Stable,
                _,
            ) => Vec::new(),
        }
    }

    /// `starting`, with a new generation.
    pub(super) fn start(&mut self) -> Vec<Effect> {
        self.generation += 1;
        self.state = State::Starting { child: None, next_probe: self.limits.health_interval };
        vec![
            Effect::DisarmAll,
            Effect::Spawn { generation: self.generation },
            Effect::Arm(Timer::StartLimit, self.limits.start_timeout),
        ]
    }

    fn restart(&mut self) -> Vec<Effect> {
        self.restarts_total += 1;
        self.start()
    }

    fn become_ready(&mut self, child: Child) -> Vec<Effect> {
        self.state = State::Ready { child, checking: false, misses: 0 };
        self.failed_starts = 0;
        self.last_failure = None;
        let mut effects = vec![
            Effect::DisarmAll,
            Effect::ServingBegins { generation: self.generation },
            Effect::Arm(Timer::ProbeDue, self.limits.liveness.interval),
            Effect::Arm(Timer::Stable, self.limits.backoff.reset_after_ready),
        ];
        effects.extend(self.answer_ready());
        effects
    }

    fn fail_start(&mut self, error: StartError) -> Vec<Effect> {
        self.failed_starts = self.failed_starts.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(error.clone());
        if error.is_permanent() || self.failed_starts >= self.limits.start_attempts_max {
            self.state = State::Failed(Outlook::GivenUp);
            return vec![
                Effect::DisarmAll,
                Effect::Arm(Timer::CoolDown, self.limits.cool_down),
                Effect::Answer(Err(error)),
            ];
        }
        self.wait_for_restart(self.limits.backoff.delay(self.failures))
    }

    fn crash(&mut self, error: StartError) -> Vec<Effect> {
        let pause = self.limits.backoff.delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(error);
        if pause.is_zero() { self.restart() } else { self.wait_for_restart(pause) }
    }

    fn wait_for_restart(&mut self, pause: Duration) -> Vec<Effect> {
        self.state = State::Failed(Outlook::Restarting);
        vec![Effect::DisarmAll, Effect::Arm(Timer::Restart, pause)]
    }

    /// Ends the child without asking: one that hangs gets no grace.
    fn kill_then(&mut self, then: Then) -> Vec<Effect> {
        self.state = State::Draining { pid: self.pid(), then };
        vec![Effect::DisarmAll, Effect::Signal { generation: self.generation, signal: Signal::Kill }]
    }

    /// A new probe, if there is a process to ask; the answer of any earlier one no longer counts.
    fn probe(&mut self, timeout: Duration) -> Vec<Effect> {
        let endpoint = match &self.state {
            State::Starting { child: Some(child), .. } | State::Ready { child, .. } => child.endpoint.clone(),
            State::Starting { child: None, .. } | State::Stopped | State::Draining { .. } | State::Failed(_) => {
                return Vec::new();
            }
        };
        self.probe_number += 1;
        vec![Effect::Probe { generation: self.generation, number: self.probe_number, endpoint, timeout }]
    }

    fn answer_ready(&self) -> Vec<Effect> {
        self.ready().map(|ready| Effect::Answer(Ok(ready))).into_iter().collect()
    }

    fn forget_failures(&mut self) {
        self.failures = 0;
        self.failed_starts = 0;
    }
}

fn start_error(end: End) -> StartError {
    match end {
        End::NotStarted { reason } => StartError::Misconfigured { reason },
        End::Exited { status, hint, permanent, last_lines } => {
            StartError::Exited { status, hint, last_lines, permanent }
        }
    }
}

fn unresponsive(end: End) -> StartError {
    match start_error(end) {
        StartError::Exited { status, last_lines, .. } => StartError::Exited {
            status,
            hint: Some("it stopped answering its health check and was killed"),
            last_lines,
            permanent: false,
        },
        other => other,
    }
}
