//! One child process and the thread that spawned it and waits for it. Knows processes; decides nothing.
//!
//! The thread that forks lives as long as the child, because the kernel's parent-death signal is sent when that
//! *thread* ends. Signals cannot hit a stranger that got the child's number after its end: the thread notices the end
//! without reaping, marks it under the lock that every signal is sent under, and reaps only then.

use std::io::{ErrorKind, PipeWriter};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::mpsc;

use crate::config::WorkerConfig;
use crate::diagnose::diagnose;
use crate::launch::{self, Launch};
use crate::log::ChildLog;
use crate::machine::{End, Event, Signal};
use crate::status::Endpoint;

/// How long the end of the child's output is waited for after its end; a grandchild may hold the pipe for ever.
const OUTPUT_END_MAX: Duration = Duration::from_millis(500);

/// A child, from before it exists until after it has ended. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    life: Arc<Mutex<Life>>,
}

#[derive(Debug)]
enum Life {
    /// Not spawned yet; a signal sent meanwhile is kept for it.
    Unborn { pending: Option<Signal> },
    /// It exists, perhaps as a zombie: its number is its own.
    Alive(Pid),
    /// It may be gone: its number may be another's.
    Over,
}

impl ChildProcess {
    /// Starts the thread, which prepares, spawns and waits. What becomes of it comes as `Spawned` and `Ended`.
    pub(crate) fn start(
        config: Arc<WorkerConfig>,
        generation: u64,
        log: Arc<ChildLog>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let life = Arc::new(Mutex::new(Life::Unborn { pending: None }));
        let keeper = Keeper { config, generation, log, life: Arc::clone(&life), events: events.clone() };
        let spawned = std::thread::Builder::new().name("worker-child".to_owned()).spawn(move || keeper.keep());
        if let Err(error) = spawned {
            let end = failed_to_spawn(format!("cannot start a thread for the child: {error}"));
            // Room is certain enough: a start that failed at once is the first event of its generation.
            let _ = events.try_send(Event::Ended { generation, end });
        }
        Self { life }
    }

    /// Sends a signal; nothing when the child has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        match &mut *lock(&self.life) {
            Life::Unborn { pending } => *pending = Some(signal),
            Life::Alive(pid) => deliver(*pid, signal),
            Life::Over => {}
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
    }
}

/// What the thread owns.
struct Keeper {
    config: Arc<WorkerConfig>,
    generation: u64,
    log: Arc<ChildLog>,
    life: Arc<Mutex<Life>>,
    events: mpsc::Sender<Event>,
}

impl Keeper {
    fn keep(self) {
        let end = match launch::prepare(&self.config, self.generation) {
            Ok(launch) => self.run(launch),
            Err(reason) => End::NotStarted { reason },
        };
        *lock(&self.life) = Life::Over;
        self.report(Event::Ended { generation: self.generation, end });
    }

    fn run(&self, launch: Launch) -> End {
        let Launch { command, endpoint } = launch;
        let (input, output_ended) = match self.read_output() {
            Ok(reading) => reading,
            Err(error) => return failed_to_spawn(format!("cannot read the child's log: {error}")),
        };
        let mut child = match spawn(command, input) {
            Ok(child) => child,
            Err(error) => {
                let reason = format!("cannot run {}: {error}", self.config.executable.display());
                return match error.kind() {
                    // Too many processes, or too little memory, at this moment.
                    ErrorKind::WouldBlock | ErrorKind::OutOfMemory => failed_to_spawn(reason),
                    _ => End::NotStarted { reason },
                };
            }
        };
        let pid = Pid::from_child(&child);
        self.log.note(&format!("child {} of generation {} started", child.id(), self.generation));
        self.come_alive(pid);
        self.report(Event::Spawned { generation: self.generation, pid: child.id(), endpoint: endpoint.clone() });

        wait_without_reaping(pid);
        let reaped = {
            let mut life = lock(&self.life);
            *life = Life::Over;
            child.wait()
        };
        // Either the output has ended, or a grandchild holds it and there is nothing to wait for.
        let _ = output_ended.recv_timeout(OUTPUT_END_MAX);
        if let Endpoint::Unix(path) = &endpoint {
            // The child may have removed it, or never made it.
            let _ = std::fs::remove_file(path);
        }
        let last_lines: Arc<[String]> = self.log.tail().into();
        match reaped {
            Ok(status) => {
                self.log.note(&format!("child of generation {} ended: {status}", self.generation));
                let diagnosis = diagnose(status, &last_lines);
                End::Exited {
                    status: status.to_string(),
                    hint: diagnosis.hint,
                    permanent: diagnosis.permanent,
                    last_lines,
                }
            }
            Err(error) => End::Exited { status: error.to_string(), hint: None, permanent: false, last_lines },
        }
    }

    fn come_alive(&self, pid: Pid) {
        let mut life = lock(&self.life);
        if let Life::Unborn { pending: Some(signal) } = *life {
            deliver(pid, signal);
        }
        *life = Life::Alive(pid);
    }

    /// Makes the pipe for the child's output and a thread that reads it. The receiver is disconnected when the output
    /// has ended, which is when every copy of the writing end is closed.
    fn read_output(&self) -> std::io::Result<(PipeWriter, std::sync::mpsc::Receiver<()>)> {
        let (output, input) = std::io::pipe()?;
        self.log.attach(output);
        let (ended, receiver) = std::sync::mpsc::channel();
        let log = Arc::clone(&self.log);
        std::thread::Builder::new().name("worker-log".to_owned()).spawn(move || {
            log.read();
            drop(ended);
        })?;
        Ok((input, receiver))
    }

    fn report(&self, event: Event) {
        // Fails only when the owner task is gone; then nobody is left to tell.
        let _ = self.events.blocking_send(event);
    }
}

fn lock(life: &Mutex<Life>) -> MutexGuard<'_, Life> {
    life.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a signal to a process that cannot have been reaped: the caller holds the lock.
fn deliver(pid: Pid, signal: Signal) {
    let signal = match signal {
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    };
    if let Err(error) = kill_process(pid, signal) {
        tracing::warn!(pid = pid.as_raw_nonzero(), ?signal, %error, "worker child cannot be signalled");
    }
}

fn wait_without_reaping(pid: Pid) {
    while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
}

fn failed_to_spawn(status: String) -> End {
    End::Exited { status, hint: None, permanent: false, last_lines: Vec::new().into() }
}

/// Spawns with stdout and stderr in one pipe, in a process group of its own (a Ctrl-C in the terminal is the parent's
/// to handle: it drains first), and tied to the life of this thread where the kernel can do that.
fn spawn(mut command: Command, input: PipeWriter) -> std::io::Result<std::process::Child> {
    command.stdout(input.try_clone()?).stderr(input).process_group(0);
    #[cfg(target_os = "linux")]
    die_with_parent(&mut command);
    // The command, and with it our copies of the pipe's end, are dropped on return: else the output would never end.
    command.spawn()
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = Pid::from_raw(std::process::id().cast_signed());
    let tie = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // The parent may have died before that call; then nobody would send the signal.
        if rustix::process::getppid() == parent { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    #[expect(unsafe_code, reason = "the parent-death signal can only be set between fork and exec")]
    // SAFETY: the closure runs in the forked child and makes two system calls; it allocates nothing, takes no lock
    // and touches no memory but its own copy of `parent`.
    unsafe {
        command.pre_exec(tie);
    }
}
