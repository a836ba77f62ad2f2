//! The owner task with scripted children and a paused clock: no process, no real second passes.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::effects::EVENTS_MAX;
use crate::handle::Worker;
use crate::machine::{End, ProbeOutcome, Signal};
use crate::status::Endpoint;

/// What the scripted child does. Outcomes are taken one per probe; when there are none, it is healthy.
#[derive(Default)]
struct Script {
    outcomes: VecDeque<ProbeOutcome>,
    /// Generations up to this one end at once.
    ends_at_start_until: u64,
    ignores_terminate: bool,
}

/// What was asked of the effects, with the second in which it was.
type Journal = Arc<Mutex<Vec<(u64, String)>>>;

struct Scripted {
    script: Arc<Mutex<Script>>,
    journal: Journal,
    events: mpsc::Sender<Event>,
    began: Instant,
}

struct Bench {
    worker: Worker,
    script: Arc<Mutex<Script>>,
    journal: Journal,
    events: mpsc::Sender<Event>,
}

fn exited(status: &str) -> End {
    End::Exited { status: status.into(), hint: None, permanent: false, last_lines: vec!["bad tensor".into()].into() }
}

impl Scripted {
    fn note(&self, text: String) {
        self.journal.lock().unwrap().push((self.began.elapsed().as_millis() as u64, text));
    }

    fn send(&self, event: Event) {
        self.events.try_send(event).unwrap();
    }
}

impl Effects for Scripted {
    fn spawn(&mut self, generation: u64) {
        self.note(format!("spawn {generation}"));
        self.send(Event::Spawned { generation, pid: 100, endpoint: endpoint(generation) });
        if generation <= self.script.lock().unwrap().ends_at_start_until {
            self.send(Event::Ended { generation, end: exited("exit status: 1") });
        }
    }

    fn signal(&mut self, generation: u64, signal: Signal) {
        self.note(format!("{signal:?} {generation}"));
        if signal == Signal::Kill || !self.script.lock().unwrap().ignores_terminate {
            self.send(Event::Ended { generation, end: exited("signal") });
        }
    }

    fn probe(&mut self, generation: u64, number: u64, _: &Endpoint, timeout: Duration) {
        let outcome = self.script.lock().unwrap().outcomes.pop_front().unwrap_or(ProbeOutcome::Healthy);
        let events = self.events.clone();
        tokio::spawn(async move {
            if outcome == ProbeOutcome::Silent {
                tokio::time::sleep(timeout).await;
            }
            let _ = events.send(Event::Probed { generation, number, outcome }).await;
        });
    }

    fn serving_begins(&mut self, _: u64) {}
}

fn endpoint(generation: u64) -> Endpoint {
    Endpoint::Unix(format!("/run/w-{generation}.sock").into())
}

fn config() -> WorkerConfig {
    WorkerConfig::new("w", "/e", "/m", "/r", "/l")
}

fn bench(config: &WorkerConfig, script: Script) -> Bench {
    let script = Arc::new(Mutex::new(script));
    let journal = Journal::default();
    let (events, received) = mpsc::channel(EVENTS_MAX);
    let effects = Scripted {
        script: Arc::clone(&script),
        journal: Arc::clone(&journal),
        events: events.clone(),
        began: Instant::now(),
    };
    Bench { worker: Worker::start_with(config, effects, received), script, journal, events }
}

impl Bench {
    fn journal(&self) -> Vec<(u64, String)> {
        self.journal.lock().unwrap().clone()
    }

    fn asked(&self) -> Vec<String> {
        self.journal().into_iter().map(|(_, text)| text).collect()
    }

    async fn crash(&self, generation: u64) {
        self.events.send(Event::Ended { generation, end: exited("signal: 9") }).await.unwrap();
    }

    async fn wait_for(&self, state: StateName, generation: u64) -> Status {
        let mut watch = self.worker.watch();
        watch.wait_for(|status| (status.state, status.generation) == (state, generation)).await.unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_start_one_child() {
    let bench = bench(&config(), Script { outcomes: [ProbeOutcome::Unready; 5].into(), ..Script::default() });
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let worker = bench.worker.clone();
            tokio::spawn(async move { worker.ensure_ready().await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(Ready { endpoint: endpoint(1), generation: 1 }));
    }
    assert_eq!(bench.asked(), ["spawn 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_end_the_start() {
    let bench = bench(&config(), Script { outcomes: [ProbeOutcome::Unready; 5].into(), ..Script::default() });
    let waited = tokio::time::timeout(Duration::from_millis(30), bench.worker.ensure_ready()).await;
    assert!(waited.is_err());
    assert_eq!(bench.worker.ensure_ready().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn starts_nothing_before_it_is_needed_unless_eager() {
    let lazy = bench(&config(), Script::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(lazy.asked().is_empty());
    let eager = bench(&WorkerConfig { eager: true, ..config() }, Script::default());
    eager.wait_for(StateName::Ready, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_cannot_succeed_is_reported_and_tried_again_after_the_cool_down() {
    let bench = bench(&config(), Script { ends_at_start_until: 3, ..Script::default() });
    let error = bench.worker.ensure_ready().await.unwrap_err();
    assert_eq!(error.last_lines(), ["bad tensor"]);
    assert_eq!(bench.journal(), [(0, "spawn 1".into()), (250, "spawn 2".into()), (750, "spawn 3".into())]);
    let before = Instant::now();
    assert_eq!(bench.worker.ensure_ready().await, Err(error.clone()));
    assert_eq!(before.elapsed(), Duration::ZERO, "it answers at once");
    assert_eq!(bench.worker.status().reason, Some(error.to_string()));
    bench.wait_for(StateName::Stopped, 3).await;
    assert_eq!(before.elapsed(), config().cool_down);
    assert_eq!(bench.worker.ensure_ready().await.unwrap().generation, 4);
    assert_eq!(bench.worker.status().reason, None);
}

#[tokio::test(start_paused = true)]
async fn restarts_at_once_and_then_with_growing_pauses() {
    let bench = bench(&config(), Script::default());
    bench.worker.ensure_ready().await.unwrap();
    for generation in 1..=4 {
        bench.crash(generation).await;
        bench.wait_for(StateName::Ready, generation + 1).await;
    }
    let spawns: Vec<u64> = bench.journal().iter().map(|(at, _)| *at).collect();
    assert_eq!(spawns, [0, 0, 250, 750, 1750]);
    assert_eq!(bench.worker.status().restarts_total, 4);
}

#[tokio::test(start_paused = true)]
async fn waits_through_a_pause_between_restarts() {
    let bench = bench(&config(), Script::default());
    bench.worker.ensure_ready().await.unwrap();
    bench.crash(1).await;
    bench.wait_for(StateName::Ready, 2).await;
    bench.crash(2).await;
    bench.wait_for(StateName::Failed, 2).await;
    assert_eq!(bench.worker.ensure_ready().await.unwrap().generation, 3);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_never_gets_ready_is_killed() {
    let config = WorkerConfig { start_attempts_max: 1, ..config() };
    let bench = bench(&config, Script { outcomes: [ProbeOutcome::Unready; 1000].into(), ..Script::default() });
    let before = Instant::now();
    let error = bench.worker.ensure_ready().await.unwrap_err();
    assert!(matches!(error, StartError::TimedOut { .. }), "{error:?}");
    assert_eq!(before.elapsed(), config.start_timeout);
    assert_eq!(bench.asked(), ["spawn 1", "Kill 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_hangs_is_killed_and_replaced() {
    let bench = bench(&config(), Script::default());
    bench.worker.ensure_ready().await.unwrap();
    bench.script.lock().unwrap().outcomes = [ProbeOutcome::Silent; 3].into();
    bench.wait_for(StateName::Ready, 2).await;
    // Three times a pause of 10 s and 5 s without an answer.
    assert_eq!(bench.journal()[1..], [(45_000, "Kill 1".into()), (45_000, "spawn 2".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_child_is_not_handed_out_again() {
    let bench = bench(&config(), Script::default());
    let first = bench.worker.ensure_ready().await.unwrap();
    bench.script.lock().unwrap().outcomes = [ProbeOutcome::Refused].into();
    bench.worker.report_lost(first.generation);
    assert_eq!(bench.worker.ensure_ready().await.unwrap().generation, 2);
    assert_eq!(bench.asked(), ["spawn 1", "Kill 1", "spawn 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_wrongly_reported_lost_stays() {
    let bench = bench(&config(), Script::default());
    let first = bench.worker.ensure_ready().await.unwrap();
    bench.worker.report_lost(first.generation);
    bench.worker.report_lost(first.generation + 5);
    assert_eq!(bench.worker.ensure_ready().await, Ok(first));
    assert_eq!(bench.asked(), ["spawn 1"]);
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_the_end_and_uses_force_at_last() {
    let bench = bench(&config(), Script { ignores_terminate: true, ..Script::default() });
    bench.worker.ensure_ready().await.unwrap();
    let before = Instant::now();
    tokio::join!(bench.worker.stop(), bench.worker.stop());
    assert_eq!(before.elapsed(), config().stop_timeout);
    assert_eq!(bench.asked(), ["spawn 1", "Terminate 1", "Kill 1"]);
    assert_eq!(bench.worker.status().state, StateName::Stopped);
    assert_eq!(bench.worker.ensure_ready().await.unwrap().generation, 2, "it stays usable");
}

#[tokio::test(start_paused = true)]
async fn stop_answers_those_who_wait_for_a_start() {
    let bench = bench(&config(), Script { outcomes: [ProbeOutcome::Unready; 100].into(), ..Script::default() });
    let (answer, ()) = tokio::join!(bench.worker.ensure_ready(), bench.worker.stop());
    assert_eq!(answer, Err(StartError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_stops_the_child() {
    let bench = bench(&config(), Script::default());
    bench.worker.ensure_ready().await.unwrap();
    let mut watch = bench.worker.watch();
    drop(bench.worker.clone());
    drop(bench.worker);
    watch.wait_for(|status| status.state == StateName::Stopped).await.unwrap();
    assert!(watch.changed().await.is_err(), "the owner task has ended");
    assert_eq!(bench.journal.lock().unwrap().last().unwrap().1, "Terminate 1");
}

#[tokio::test(start_paused = true)]
async fn more_waiters_than_the_limit_are_refused() {
    let bench = bench(&config(), Script { outcomes: [ProbeOutcome::Unready; 100].into(), ..Script::default() });
    let callers: Vec<_> = (0..WAITERS_MAX + 1)
        .map(|_| {
            let worker = bench.worker.clone();
            tokio::spawn(async move { worker.ensure_ready().await })
        })
        .collect();
    let mut refused = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, StartError::TooManyWaiters { limit: WAITERS_MAX });
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1);
}
