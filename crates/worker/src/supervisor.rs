//! The owner task of one worker, the only writer of its state: feeds the machine, performs its effects, publishes.
//! Decides nothing itself; see `machine` for what follows what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::config::WorkerConfig;
use crate::effects::Effects;
use crate::error::StartError;
use crate::machine::{Effect, Event, Machine, Timer};
use crate::status::{Ready, StateName, Status};

/// The value of `suspected` when no child is; generations begin at 1.
pub(crate) const NONE_SUSPECTED: u64 = 0;

/// Callers that wait for one worker at the same time.
pub(crate) const WAITERS_MAX: usize = 4096;

type Answer = Result<Ready, StartError>;

/// What handles send.
#[derive(Debug)]
pub(crate) enum Message {
    /// A caller waits for a ready child.
    Needed(oneshot::Sender<Answer>),
    /// A caller stored a generation in `suspected`.
    Lost,
    /// A caller waits for the child's end.
    Stop(oneshot::Sender<()>),
}

/// The owner task's data.
pub(crate) struct Supervisor<E> {
    name: String,
    machine: Machine,
    effects: E,
    events: mpsc::Receiver<Event>,
    inbox: mpsc::Receiver<Message>,
    suspected: Arc<AtomicU64>,
    timers: Vec<(Instant, Timer)>,
    waiters: Vec<oneshot::Sender<Answer>>,
    stoppers: Vec<oneshot::Sender<()>>,
    status: watch::Sender<Status>,
}

enum Turn {
    Event(Event),
    Message(Message),
    HandlesGone,
    TimerDue,
}

impl<E: Effects> Supervisor<E> {
    /// A supervisor of a stopped worker, and where it publishes.
    pub(crate) fn new(
        config: &WorkerConfig,
        effects: E,
        events: mpsc::Receiver<Event>,
        inbox: mpsc::Receiver<Message>,
        suspected: Arc<AtomicU64>,
    ) -> (Self, watch::Receiver<Status>) {
        let machine = Machine::new(config);
        let (status, published) = watch::channel(Status {
            state: machine.state_name(),
            has_given_up: false,
            reason: None,
            pid: None,
            generation: 0,
            restarts_total: 0,
            load_time: None,
            since: Instant::now().into_std(),
            ready: None,
        });
        let supervisor = Self {
            name: config.name.clone(),
            machine,
            effects,
            events,
            inbox,
            suspected,
            timers: Vec::new(),
            waiters: Vec::new(),
            stoppers: Vec::new(),
            status,
        };
        (supervisor, published)
    }

    /// Runs until every handle is gone and the child has ended.
    pub(crate) async fn run(mut self) {
        self.take(Event::Boot);
        let mut handles_gone = false;
        while !(handles_gone && self.machine.state_name() == StateName::Stopped) {
            match self.next_turn(handles_gone).await {
                Turn::Event(event) => self.take(event),
                Turn::Message(message) => self.hear(message),
                Turn::TimerDue => self.take_due_timers(),
                Turn::HandlesGone => {
                    handles_gone = true;
                    self.take(Event::StopRequested);
                }
            }
        }
    }

    async fn next_turn(&mut self, handles_gone: bool) -> Turn {
        let due = self.timers.iter().map(|(due, _)| *due).min();
        let timer = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // `effects` holds a sender, so this never ends.
            Some(event) = self.events.recv() => Turn::Event(event),
            message = self.inbox.recv(), if !handles_gone => message.map_or(Turn::HandlesGone, Turn::Message),
            () = timer => Turn::TimerDue,
        }
    }

    fn hear(&mut self, message: Message) {
        // Before anything else: who reported a child lost must not be handed it again.
        let generation = self.machine.generation();
        if self.suspected.load(Ordering::SeqCst) == generation {
            self.take(Event::Lost { generation });
            // Only now: until the state says so, `suspected` is what keeps the child from being handed out. A later
            // value stays.
            let _ = self.suspected.compare_exchange(generation, NONE_SUSPECTED, Ordering::SeqCst, Ordering::SeqCst);
        }
        match message {
            Message::Lost => {}
            Message::Needed(waiter) => self.admit(waiter),
            Message::Stop(stopper) => {
                self.stoppers.push(stopper);
                self.take(Event::StopRequested);
            }
        }
    }

    fn admit(&mut self, waiter: oneshot::Sender<Answer>) {
        if self.waiters.len() >= WAITERS_MAX {
            self.waiters.retain(|waiter| !waiter.is_closed());
        }
        if self.waiters.len() >= WAITERS_MAX {
            // A caller that left does not need the answer.
            let _ = waiter.send(Err(StartError::TooManyWaiters { limit: WAITERS_MAX }));
            return;
        }
        self.waiters.push(waiter);
        self.take(Event::Needed);
    }

    fn take_due_timers(&mut self) {
        let now = Instant::now();
        while let Some(index) = self.timers.iter().position(|(due, _)| *due <= now) {
            let (_, timer) = self.timers.swap_remove(index);
            self.take(Event::TimedOut(timer));
        }
    }

    /// One event through the machine: effects, then the new state, then answers, so that nobody who got an answer
    /// sees an older state.
    fn take(&mut self, event: Event) {
        let mut answers = Vec::new();
        for effect in self.machine.on(event) {
            match effect {
                Effect::Spawn { generation } => self.effects.spawn(generation),
                Effect::Signal { generation, signal } => self.effects.signal(generation, signal),
                Effect::Probe { generation, number, endpoint, timeout } => {
                    self.effects.probe(generation, number, &endpoint, timeout);
                }
                Effect::ServingBegins { generation } => self.effects.serving_begins(generation),
                Effect::Arm(timer, pause) => self.arm(timer, pause),
                Effect::DisarmAll => self.timers.clear(),
                Effect::Answer(answer) => answers.push(answer),
            }
        }
        self.publish();
        for answer in answers {
            for waiter in self.waiters.drain(..) {
                // A waiter that left does not need it.
                let _ = waiter.send(answer.clone());
            }
        }
        if self.machine.state_name() == StateName::Stopped {
            for stopper in self.stoppers.drain(..) {
                let _ = stopper.send(());
            }
        }
    }

    fn arm(&mut self, timer: Timer, pause: Duration) {
        self.timers.retain(|(_, armed)| *armed != timer);
        let now = Instant::now();
        // A pause too long to be told in this clock never ends.
        if let Some(due) = now.checked_add(pause) {
            self.timers.push((due, timer));
        }
    }

    fn publish(&self) {
        let machine = &self.machine;
        let mut changed = false;
        self.status.send_if_modified(|status| {
            let state = machine.state_name();
            changed = status.state != state || status.generation != machine.generation();
            let has_loaded = (status.state, state) == (StateName::Starting, StateName::Ready);
            let now = Instant::now().into_std();
            let next = Status {
                state,
                has_given_up: machine.has_given_up(),
                reason: machine.last_failure().map(ToString::to_string),
                pid: machine.pid(),
                generation: machine.generation(),
                restarts_total: machine.restarts_total(),
                since: if changed { now } else { status.since },
                load_time: if has_loaded { now.checked_duration_since(status.since) } else { status.load_time },
                ready: machine.ready(),
            };
            let is_new = *status != next;
            *status = next;
            is_new
        });
        if changed {
            self.log_state();
        }
    }

    fn log_state(&self) {
        let (worker, generation) = (self.name.as_str(), self.machine.generation());
        let reason = self.machine.last_failure().map(ToString::to_string);
        match self.machine.state_name() {
            StateName::Failed if self.machine.has_given_up() => {
                error!(worker, generation, reason, "worker given up until its cool-down");
            }
            StateName::Failed => warn!(worker, generation, reason, "worker failed and will be restarted"),
            StateName::Starting if reason.is_some() => {
                warn!(worker, generation, reason, "worker is being restarted");
            }
            state => info!(worker, generation, pid = self.machine.pid(), state = state.as_str(), "worker state"),
        }
    }
}

impl<E> Drop for Supervisor<E> {
    /// The runtime may be shut down in any state; the child goes with the effects, and nobody shall be told otherwise.
    fn drop(&mut self) {
        self.status.send_modify(|status| {
            if status.state != StateName::Stopped {
                status.state = StateName::Stopped;
                status.since = Instant::now().into_std();
            }
            status.pid = None;
            status.ready = None;
        });
    }
}

#[cfg(test)]
mod tests;
