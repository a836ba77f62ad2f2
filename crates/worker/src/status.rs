//! What others may see of a worker: its state, and where a ready child listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A child that answered its health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Which child: counted up by one with each start, never used twice by one worker. Hand it to
    /// [`Worker::report_lost`](crate::Worker::report_lost) when a connection fails.
    pub generation: u64,
}

/// Where a child listens. A Unix socket path is new with each generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix stream socket in a folder only this user can enter.
    Unix(PathBuf),
    /// A loopback TCP address.
    Tcp(SocketAddr),
}

/// The states of a worker, as an operator knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateName {
    /// No child; the next need starts one.
    Stopped,
    /// A child was started and does not answer its health check yet.
    Starting,
    /// The child answers its health check.
    Ready,
    /// The child was told to end and has not ended yet.
    Draining,
    /// No child because the last one ended unwanted; waits for the next restart, or has given up until a cool-down.
    Failed,
}

/// A worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its state.
    pub state: StateName,
    /// In [`StateName::Failed`]: no restart is planned until the cool-down has passed. Otherwise a restart is coming.
    pub has_given_up: bool,
    /// Why the last child ended unwanted, in one line; kept until a child has become ready again. Holds the last
    /// lines of the child's filtered log, so no prompt text.
    pub reason: Option<String>,
    /// Process id of the child, while there is one.
    pub pid: Option<u32>,
    /// The generation of the current or last child; 0 before the first.
    pub generation: u64,
    /// Children started because the one before ended unwanted, since this worker was made.
    pub restarts_total: u64,
    /// Since when the worker is in `state`.
    pub since: Instant,
    /// How long the last start that succeeded took, from starting the child until it was ready.
    pub load_time: Option<Duration>,
    /// The child, when it may be used; `None` also while a ready child is checked after `report_lost`.
    pub ready: Option<Ready>,
}

impl StateName {
    /// Every state, in the order of a life.
    pub const ALL: [StateName; 5] = [Self::Stopped, Self::Starting, Self::Ready, Self::Draining, Self::Failed];

    /// The lower-case name, as in logs, metric labels and the status page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}
