//! A scripted OpenAI-compatible upstream that misbehaves on purpose and logs every attempt it saw.
//!
//! It speaks HTTP/1.1 by hand over plain sockets, so that each byte, each pause and each way of closing
//! is its own choice. It does not check requests (a test does that from the log), needs no key, and
//! never waits for time to pass: whatever stands still does so until released or until the peer leaves.

mod behaviour;
mod link;
mod log;
mod outage;
mod play;
mod request;
mod steps;

pub use behaviour::{Behaviour, DEFAULT_TEXT, Usage, text_pieces};
pub use log::{Attempt, Ended, Ending, Log};

use crate::PATIENCE;
use link::{Link, Socket};
use log::Kind;
use serde_json::json;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// A server on loopback whose answers are scripted. Dropping it closes the listener and all connections.
///
/// It runs on the runtime that started it, so a test must not block that thread while it waits.
#[derive(Debug)]
pub struct ScriptedUpstream {
    addr: Option<SocketAddr>,
    shared: Arc<Shared>,
    /// Keeps the port while nobody listens on it.
    _reserved: Option<TcpSocket>,
    /// Holds the accepting task, which holds the tasks of all connections; none during an outage.
    accepting: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What the connections of one upstream share.
#[derive(Debug)]
struct Shared {
    log: watch::Sender<Log>,
    releases: Semaphore,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    next: VecDeque<Behaviour>,
    default: Behaviour,
    probe: Option<Behaviour>,
    text: String,
    usage: Usage,
}

impl ScriptedUpstream {
    /// Starts on a free port of 127.0.0.1. Until scripted it answers each request with [`DEFAULT_TEXT`].
    pub async fn start() -> Self {
        let upstream = Self::start_down().await;
        upstream.come_back().await;
        upstream
    }

    /// Starts on a Unix socket at `path`, which must not exist. Resets become plain closes there.
    pub async fn start_unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a Unix socket at this path");
        let upstream = Self::idle(None, None);
        upstream.accept(Listener::Unix(listener));
        upstream
    }

    /// The address it listens on.
    ///
    /// # Panics
    /// On a Unix socket.
    pub fn addr(&self) -> SocketAddr {
        self.addr.expect("an upstream on a Unix socket has no address")
    }

    /// What a client is configured with: `http://127.0.0.1:PORT/v1`, or `http://localhost/v1` on a Unix
    /// socket.
    pub fn base_url(&self) -> String {
        self.addr.map_or_else(|| "http://localhost/v1".to_owned(), |addr| format!("http://{addr}/v1"))
    }

    /// Appends behaviours for the next requests, in order. Probes (`GET`, `HEAD`) take none.
    pub fn script(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.locked(|script| script.next.extend(behaviours));
    }

    /// Drops what is left of the script and sets what happens to every request from now on.
    pub fn set_default(&self, behaviour: Behaviour) {
        self.shared.locked(|script| {
            script.next.clear();
            script.default = behaviour;
        });
    }

    /// Sets what happens to probes; `None` gives them a healthy answer (a model list on `…/models`,
    /// `{"status":"ok"}` elsewhere).
    pub fn set_probe(&self, behaviour: Option<Behaviour>) {
        self.shared.locked(|script| script.probe = behaviour);
    }

    /// Sets the text and counts of behaviours that bring none.
    pub fn set_text(&self, text: impl Into<String>, usage: Usage) {
        let text = text.into();
        self.shared.locked(|script| {
            script.text = text;
            script.usage = usage;
        });
    }

    /// Lets one exchange that stands still go on: the one held longest, or else the next to be held. A
    /// test that means a certain one waits with [`Self::wait_held`] first.
    pub fn release(&self) {
        self.shared.releases.add_permits(1);
    }

    /// Requests seen so far, probes left out.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.log.borrow().attempts.clone()
    }

    /// Everything seen so far.
    pub fn log(&self) -> Log {
        self.shared.log.borrow().clone()
    }

    /// Connections accepted so far.
    pub fn connections_total(&self) -> usize {
        self.shared.log.borrow().connections_total
    }

    /// Connections open now.
    pub fn connections_open(&self) -> usize {
        self.shared.log.borrow().connections_open
    }

    /// Waits until `condition` holds for the log and returns the moment that was seen. For the moment of
    /// an ending itself see [`Ended::at`].
    ///
    /// # Panics
    /// When it does not hold within [`PATIENCE`]; the message shows the log.
    pub async fn wait_for(&self, condition: impl FnMut(&Log) -> bool) -> Instant {
        let mut changes = self.shared.log.subscribe();
        let outcome = tokio::time::timeout(PATIENCE, changes.wait_for(condition)).await.is_ok();
        assert!(outcome, "the upstream never saw what the test waits for: {:#?}", self.log());
        Instant::now()
    }

    /// Waits until attempt `index` is over.
    pub async fn wait_ended(&self, index: usize) -> Ended {
        self.wait_for(|log| log.attempts.get(index).is_some_and(|attempt| attempt.ended.is_some())).await;
        self.shared.log.borrow().attempts[index].ended.expect("it was seen to have ended")
    }

    /// Waits until attempt `index` stands still.
    pub async fn wait_held(&self, index: usize) -> Instant {
        self.wait_for(|log| log.attempts.get(index).is_some_and(|attempt| attempt.is_held)).await
    }

    /// Waits until the socket of attempt `index` takes no more, for the peer does not read.
    pub async fn wait_blocked(&self, index: usize) -> Instant {
        self.wait_for(|log| log.attempts.get(index).is_some_and(|attempt| attempt.is_blocked)).await
    }

    /// Waits until `count` requests have arrived (read completely).
    pub async fn wait_attempts(&self, count: usize) -> Instant {
        self.wait_for(|log| log.attempts.len() >= count).await
    }

    /// Not listening yet.
    fn idle(addr: Option<SocketAddr>, reserved: Option<TcpSocket>) -> Self {
        let script = Script {
            next: VecDeque::new(),
            default: Behaviour::answer(DEFAULT_TEXT),
            probe: None,
            text: DEFAULT_TEXT.to_owned(),
            usage: Usage::default(),
        };
        let shared = Arc::new(Shared {
            log: watch::Sender::new(Log::default()),
            releases: Semaphore::new(0),
            script: Mutex::new(script),
        });
        Self { addr, shared, _reserved: reserved, accepting: Mutex::default() }
    }

    fn accept(&self, listener: Listener) {
        let mut accepting = self.accepting.lock().expect("no holder of the tasks panics");
        accepting.spawn(accept_all(listener, Arc::clone(&self.shared)));
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }
}

impl Shared {
    fn locked<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().expect("no holder of the script panics"))
    }

    /// The behaviour for a request of this kind.
    fn take(&self, kind: Kind, path: &str) -> Behaviour {
        self.locked(|script| match kind {
            Kind::Scripted => script.next.pop_front().unwrap_or_else(|| script.default.clone()),
            Kind::Probe => script.probe.clone().unwrap_or_else(|| healthy(path)),
        })
    }

    /// Takes the next behaviour if it acts on a connection before there is a request.
    fn take_reset_on_accept(&self) -> Option<Behaviour> {
        self.locked(|script| match script.next.front() {
            Some(Behaviour::ResetOnAccept) => script.next.pop_front(),
            None if script.default == Behaviour::ResetOnAccept => Some(Behaviour::ResetOnAccept),
            _ => None,
        })
    }

    fn defaults(&self, index: usize) -> steps::Defaults {
        self.locked(|script| steps::Defaults { text: script.text.clone(), usage: script.usage, index })
    }
}

async fn accept_all(listener: Listener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok(socket) = listener.accept().await {
        let mut number = 0;
        shared.log.send_modify(|log| {
            number = log.connections_total;
            log.connections_total += 1;
            log.connections_open += 1;
        });
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let log = shared.log.clone();
            play::serve(Link::new(socket), number, shared).await;
            log.send_modify(|log| log.connections_open = log.connections_open.saturating_sub(1));
        });
        while connections.try_join_next().is_some() {}
    }
}

fn healthy(path: &str) -> Behaviour {
    if path.ends_with("/models") {
        let model = json!({ "id": "scripted", "object": "model", "created": 0, "owned_by": "testkit" });
        Behaviour::json(&json!({ "object": "list", "data": [model] }))
    } else {
        Behaviour::json(&json!({ "status": "ok" }))
    }
}
