//! The transition table, cell by cell: what is not listed here must change nothing.

use super::*;

const STATES: [&str; 9] = [
    "stopped",
    "starting",
    "ready",
    "checking",
    "draining stop",
    "draining timed out",
    "draining unresponsive",
    "restarting",
    "given up",
];

const EVENTS: [&str; 18] = [
    "boot",
    "needed",
    "stop",
    "lost",
    "lost other",
    "spawned",
    "healthy",
    "unready",
    "refused",
    "stale healthy",
    "ended",
    "ended other",
    "start limit",
    "stop limit",
    "probe due",
    "restart",
    "cool down",
    "stable",
];

/// (state, event, state after, effects). Generation 1 unless told; limits as in `config`.
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("stopped", "needed", "starting", "disarm, spawn 1, arm StartLimit 120s"),
    ("starting", "stop", "draining", "disarm, Terminate 1, arm StopLimit 5s, answer Stopped"),
    ("starting", "spawned", "starting", "probe 1 for 1s"),
    ("starting", "healthy", "ready", "disarm, serving 1, arm ProbeDue 10s, arm Stable 60s, answer ready 1"),
    ("starting", "unready", "starting", "arm ProbeDue 25ms"),
    ("starting", "refused", "starting", "arm ProbeDue 25ms"),
    ("starting", "ended", "failed", "disarm, arm Restart 250ms"),
    ("starting", "start limit", "draining", "disarm, Kill 1"),
    ("starting", "probe due", "starting", "probe 1 for 1s"),
    ("ready", "needed", "ready", "answer ready 1"),
    ("ready", "stop", "draining", "disarm, Terminate 1, arm StopLimit 5s, answer Stopped"),
    ("ready", "lost", "ready", "probe 1 for 1s"),
    ("ready", "healthy", "ready", "arm ProbeDue 10s"),
    ("ready", "unready", "ready", "arm ProbeDue 10s"),
    ("ready", "refused", "ready", "arm ProbeDue 10s"),
    ("ready", "ended", "starting", "disarm, spawn 2, arm StartLimit 120s"),
    ("ready", "probe due", "ready", "probe 1 for 5s"),
    ("checking", "stop", "draining", "disarm, Terminate 1, arm StopLimit 5s, answer Stopped"),
    ("checking", "healthy", "ready", "arm ProbeDue 10s, answer ready 1"),
    ("checking", "unready", "ready", "arm ProbeDue 250ms"),
    ("checking", "refused", "draining", "disarm, Kill 1"),
    ("checking", "ended", "starting", "disarm, spawn 2, arm StartLimit 120s"),
    ("checking", "probe due", "ready", "probe 1 for 1s"),
    ("draining stop", "needed", "draining", "answer Stopped"),
    ("draining stop", "ended", "stopped", "disarm"),
    ("draining stop", "stop limit", "draining", "Kill 1"),
    ("draining timed out", "stop", "draining", "answer Stopped"),
    ("draining timed out", "ended", "failed", "disarm, arm Restart 250ms"),
    ("draining timed out", "stop limit", "draining", "Kill 1"),
    ("draining unresponsive", "stop", "draining", "answer Stopped"),
    ("draining unresponsive", "ended", "starting", "disarm, spawn 2, arm StartLimit 120s"),
    ("draining unresponsive", "stop limit", "draining", "Kill 1"),
    ("restarting", "stop", "stopped", "disarm, answer Stopped"),
    ("restarting", "restart", "starting", "disarm, spawn 2, arm StartLimit 120s"),
    ("given up", "needed", "failed", "answer Misconfigured"),
    ("given up", "stop", "stopped", "disarm, answer Stopped"),
    ("given up", "cool down", "stopped", ""),
];

fn config() -> WorkerConfig {
    WorkerConfig::new("w", "/e", "/m", "/r", "/l")
}

fn endpoint() -> Endpoint {
    Endpoint::Unix("/r/w.sock".into())
}

fn exited() -> End {
    End::Exited { status: "exit status: 1".into(), hint: None, permanent: false, last_lines: vec!["x".into()].into() }
}

fn spawned(generation: u64) -> Event {
    Event::Spawned { generation, pid: 77, endpoint: endpoint() }
}

fn probed(machine: &Machine, outcome: ProbeOutcome) -> Event {
    Event::Probed { generation: machine.generation, number: machine.probe_number, outcome }
}

fn bring_up(machine: &mut Machine) {
    machine.on(Event::Needed);
    machine.on(spawned(machine.generation));
    machine.on(probed(machine, ProbeOutcome::Healthy));
    assert_eq!(machine.state_name(), StateName::Ready);
}

fn in_state(state: &str) -> Machine {
    let mut machine = Machine::new(&config());
    let generation = 1;
    match state {
        "stopped" => {}
        "starting" => {
            machine.on(Event::Needed);
            machine.on(spawned(1));
        }
        "given up" => {
            machine.on(Event::Needed);
            machine.on(Event::Ended { generation, end: End::NotStarted { reason: "no file".into() } });
        }
        "restarting" => {
            machine.on(Event::Needed);
            machine.on(Event::Ended { generation, end: exited() });
        }
        "draining timed out" => {
            machine.on(Event::Needed);
            machine.on(spawned(1));
            machine.on(Event::TimedOut(Timer::StartLimit));
        }
        "ready" | "checking" | "draining stop" | "draining unresponsive" => {
            bring_up(&mut machine);
            // As if the first liveness probe were under way.
            machine.on(Event::TimedOut(Timer::ProbeDue));
            match state {
                "checking" => drop(machine.on(Event::Lost { generation })),
                "draining stop" => drop(machine.on(Event::StopRequested)),
                "draining unresponsive" => {
                    machine.on(Event::Lost { generation });
                    machine.on(probed(&machine, ProbeOutcome::Refused));
                }
                _ => {}
            }
        }
        other => panic!("no such state: {other}"),
    }
    machine
}

fn event(name: &str, machine: &Machine) -> Event {
    let generation = 1;
    match name {
        "boot" => Event::Boot,
        "needed" => Event::Needed,
        "stop" => Event::StopRequested,
        "lost" => Event::Lost { generation },
        "lost other" => Event::Lost { generation: 9 },
        "spawned" => spawned(1),
        "healthy" => probed(machine, ProbeOutcome::Healthy),
        "unready" => probed(machine, ProbeOutcome::Unready),
        "refused" => probed(machine, ProbeOutcome::Refused),
        "stale healthy" => {
            Event::Probed { generation, number: machine.probe_number.wrapping_sub(1), outcome: ProbeOutcome::Healthy }
        }
        "ended" => Event::Ended { generation, end: exited() },
        "ended other" => Event::Ended { generation: 9, end: exited() },
        "start limit" => Event::TimedOut(Timer::StartLimit),
        "stop limit" => Event::TimedOut(Timer::StopLimit),
        "probe due" => Event::TimedOut(Timer::ProbeDue),
        "restart" => Event::TimedOut(Timer::Restart),
        "cool down" => Event::TimedOut(Timer::CoolDown),
        "stable" => Event::TimedOut(Timer::Stable),
        other => panic!("no such event: {other}"),
    }
}

fn describe(effects: &[Effect]) -> String {
    let words: Vec<String> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Spawn { generation } => format!("spawn {generation}"),
            Effect::Signal { generation, signal } => format!("{signal:?} {generation}"),
            Effect::Probe { generation, timeout, .. } => format!("probe {generation} for {timeout:?}"),
            Effect::ServingBegins { generation } => format!("serving {generation}"),
            Effect::Arm(timer, pause) => format!("arm {timer:?} {pause:?}"),
            Effect::DisarmAll => "disarm".to_owned(),
            Effect::Answer(Ok(ready)) => format!("answer ready {}", ready.generation),
            Effect::Answer(Err(StartError::Misconfigured { .. })) => "answer Misconfigured".to_owned(),
            Effect::Answer(Err(StartError::Exited { .. })) => "answer Exited".to_owned(),
            Effect::Answer(Err(StartError::TimedOut { .. })) => "answer TimedOut".to_owned(),
            Effect::Answer(Err(error)) => format!("answer {error:?}"),
        })
        .collect();
    words.join(", ")
}

#[test]
fn every_cell_of_the_table() {
    for state in STATES {
        for name in EVENTS {
            let mut machine = in_state(state);
            let before = machine.state.clone();
            let effects = machine.on(event(name, &machine));
            match TABLE.iter().find(|row| (row.0, row.1) == (state, name)) {
                Some((_, _, after, expected)) => {
                    assert_eq!(describe(&effects), *expected, "{state} + {name}");
                    assert_eq!(machine.state_name().as_str(), *after, "{state} + {name}");
                }
                // A late note of the process id is not worth a row.
                None if name == "spawned" && state.starts_with("draining") => assert!(effects.is_empty()),
                None => {
                    assert_eq!(describe(&effects), "", "{state} + {name}");
                    assert_eq!(machine.state, before, "{state} + {name}");
                }
            }
        }
    }
    assert!(TABLE.iter().all(|row| STATES.contains(&row.0) && EVENTS.contains(&row.1)));
}

#[test]
fn pauses_between_crashes_grow_to_the_cap() {
    let mut config = config();
    config.backoff.max = Duration::from_secs(2);
    let mut machine = Machine::new(&config);
    bring_up(&mut machine);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let generation = machine.generation;
        let effects = machine.on(Event::Ended { generation, end: exited() });
        let pause = effects.iter().find_map(|effect| match effect {
            Effect::Arm(Timer::Restart, pause) => Some(*pause),
            _ => None,
        });
        pauses.push(pause.unwrap_or_default().as_millis());
        machine.on(Event::TimedOut(Timer::Restart));
        machine.on(spawned(machine.generation));
        machine.on(probed(&machine, ProbeOutcome::Healthy));
    }
    assert_eq!(pauses, [0, 250, 500, 1000, 2000, 2000, 2000]);
    assert_eq!(machine.restarts_total(), 7);
}

#[test]
fn a_child_that_stayed_ready_wipes_out_failures() {
    let mut machine = in_state("ready");
    machine.on(Event::Ended { generation: 1, end: exited() });
    machine.on(spawned(2));
    machine.on(probed(&machine, ProbeOutcome::Healthy));
    machine.on(Event::TimedOut(Timer::Stable));
    let effects = machine.on(Event::Ended { generation: 2, end: exited() });
    assert_eq!(describe(&effects), "disarm, spawn 3, arm StartLimit 120s");
}

#[test]
fn gives_up_after_the_last_attempt_and_says_why() {
    let mut machine = Machine::new(&config());
    machine.on(Event::Needed);
    for generation in 1..=2 {
        machine.on(spawned(generation));
        machine.on(Event::Ended { generation, end: exited() });
        assert!(!machine.has_given_up());
        machine.on(Event::TimedOut(Timer::Restart));
    }
    let effects = machine.on(Event::Ended { generation: 3, end: exited() });
    assert_eq!(describe(&effects), "disarm, arm CoolDown 10s, answer Exited");
    assert!(machine.last_failure().is_some_and(|error| error.last_lines() == ["x"]));
    machine.on(Event::TimedOut(Timer::CoolDown));
    assert_eq!(describe(&machine.on(Event::Needed)), "disarm, spawn 4, arm StartLimit 120s");
    machine.on(Event::Ended { generation: 4, end: exited() });
    assert!(!machine.has_given_up(), "attempts are counted anew");
}

#[test]
fn an_eager_worker_starts_at_boot_and_after_its_cool_down() {
    let mut config = config();
    config.eager = true;
    let mut machine = Machine::new(&config);
    assert_eq!(describe(&machine.on(Event::Boot)), "disarm, spawn 1, arm StartLimit 120s");
    machine.on(Event::Ended { generation: 1, end: End::NotStarted { reason: "no file".into() } });
    assert!(machine.has_given_up());
    let effects = machine.on(Event::TimedOut(Timer::CoolDown));
    assert_eq!(describe(&effects), "disarm, spawn 2, arm StartLimit 120s");
}

#[test]
fn pauses_between_health_probes_double_to_the_cap() {
    let mut machine = in_state("starting");
    let pauses: Vec<String> = (0..6).map(|_| describe(&machine.on(probed(&machine, ProbeOutcome::Unready)))).collect();
    let expected = ["25ms", "50ms", "100ms", "200ms", "250ms", "250ms"].map(|pause| format!("arm ProbeDue {pause}"));
    assert_eq!(pauses, expected);
}

#[test]
fn misses_in_a_row_end_a_ready_child() {
    let mut machine = in_state("ready");
    let mut miss = |outcome| {
        let effects = machine.on(probed(&machine, outcome));
        machine.on(Event::TimedOut(Timer::ProbeDue));
        describe(&effects)
    };
    for outcome in [ProbeOutcome::Silent, ProbeOutcome::Refused, ProbeOutcome::Healthy, ProbeOutcome::Silent] {
        assert_eq!(miss(outcome), "arm ProbeDue 10s");
    }
    assert_eq!(miss(ProbeOutcome::Silent), "arm ProbeDue 10s");
    assert_eq!(miss(ProbeOutcome::Silent), "disarm, Kill 1");
}

#[test]
fn a_timed_out_start_is_reported_with_the_last_lines() {
    let mut machine = in_state("draining timed out");
    machine.on(Event::Ended { generation: 1, end: exited() });
    let error = machine.last_failure().unwrap();
    assert!(matches!(error, StartError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.last_lines(), ["x"]);
}

#[test]
fn the_process_is_known_as_soon_as_it_exists() {
    let mut machine = Machine::new(&config());
    machine.on(Event::Needed);
    assert_eq!(machine.pid(), None);
    machine.on(Event::StopRequested);
    machine.on(spawned(1));
    assert_eq!((machine.pid(), machine.state_name()), (Some(77), StateName::Draining));
}
