//! What the upstream saw and did, as values that a test reads or waits for.
//!
//! The log is written by the connections and never by tests. All moments are taken when the event was
//! seen, so that differences between them measure the system under test and not the test.

use super::Behaviour;
use super::link::Progress;
use bytes::Bytes;
use serde_json::Value;
use std::time::Instant;
use tokio::sync::watch;

/// How an exchange with the upstream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All was sent as the behaviour says and the connection stayed usable.
    Completed,
    /// The upstream closed the connection, as the behaviour says (FIN).
    Closed,
    /// The upstream reset the connection, as the behaviour says (RST).
    Reset,
    /// The peer closed or reset the connection before the behaviour was through. A peer that only
    /// half-closes counts as one that left.
    PeerClosed,
}

/// The end of an attempt and when the upstream saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What happened.
    pub how: Ending,
    /// The moment it was seen.
    pub at: Instant,
}

/// One request as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Number of the connection it came on, from 0 in the order of accepting.
    pub connection: usize,
    /// Request method; empty for [`Behaviour::ResetOnAccept`], where nothing was read.
    pub method: String,
    /// Request target as sent, query included; empty for [`Behaviour::ResetOnAccept`].
    pub path: String,
    /// Header lines in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The decoded request body.
    pub body: Bytes,
    /// What was played.
    pub behaviour: Behaviour,
    /// When the whole request had been read.
    pub arrived_at: Instant,
    /// Bytes handed to the socket so far, head included.
    pub bytes_sent: u64,
    /// Whether the exchange stands still until it is released.
    pub is_held: bool,
    /// Whether the socket takes no more bytes until the peer reads some. While a peer reads slowly this
    /// comes and goes; with a peer that reads nothing it stays.
    pub is_blocked: bool,
    /// Set once the exchange is over.
    pub ended: Option<Ended>,
}

impl Attempt {
    /// The value of the first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the request body is JSON")
    }

    /// Whether the exchange ended in this way.
    pub fn ended_as(&self, how: Ending) -> bool {
        self.ended.is_some_and(|ended| ended.how == how)
    }
}

/// Everything one upstream saw.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Requests that took a behaviour from the script, in order of arrival: all but the probes.
    pub attempts: Vec<Attempt>,
    /// `GET` and `HEAD` requests: health checks and model lists, which take nothing from the script.
    pub probes: Vec<Attempt>,
    /// Connections accepted.
    pub connections_total: usize,
    /// Connections open now.
    pub connections_open: usize,
}

/// Which list an attempt stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Scripted,
    Probe,
}

/// Writes to the log on behalf of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    log: watch::Sender<Log>,
    kind: Kind,
    index: usize,
}

impl Recorder {
    pub(super) fn begin(log: &watch::Sender<Log>, kind: Kind, attempt: Attempt) -> Self {
        let mut index = 0;
        log.send_modify(|log| {
            let list = list(log, kind);
            index = list.len();
            list.push(attempt);
        });
        Self { log: log.clone(), kind, index }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn progress(&self, progress: Progress) {
        self.update(|attempt| match progress {
            Progress::Sent(bytes) => {
                attempt.bytes_sent += bytes as u64;
                attempt.is_blocked = false;
            }
            Progress::Blocked => attempt.is_blocked = true,
        });
    }

    pub(super) fn held(&self, is_held: bool) {
        self.update(|attempt| attempt.is_held = is_held);
    }

    pub(super) fn ended(&self, how: Ending) {
        let at = Instant::now();
        self.update(|attempt| {
            attempt.is_held = false;
            attempt.is_blocked = false;
            attempt.ended = Some(Ended { how, at });
        });
    }

    fn update(&self, change: impl FnOnce(&mut Attempt)) {
        self.log.send_modify(|log| change(&mut list(log, self.kind)[self.index]));
    }
}

fn list(log: &mut Log, kind: Kind) -> &mut Vec<Attempt> {
    match kind {
        Kind::Scripted => &mut log.attempts,
        Kind::Probe => &mut log.probes,
    }
}
