//! The ledger: what became of every exchange, kept on this machine.
//!
//! One SQLite file (WAL), readable by its owner alone. A [`Record`] is canonical JSON of names and numbers, without any text of a prompt or
//! an answer. Its BLAKE3 hash is of the hash of the record before and of its text: a chain, so that [`LedgerReader::verify`] finds a record
//! that was edited, removed or moved. Records that were settled together are a block, one row, compressed; what blocks are searched by beside
//! the records (the times and the ids of requests) is compared by `verify`, and all else is read from the records, so that there is one truth.
//! What many records have in common is kept once beside them.
//!
//! The record is made by whoever settles an exchange, where all of it is at hand and in the processor's cache, and its text is copied to
//! the others that wait.
//! One thread writes, behind a bounded queue, several records in a transaction. Whoever settles an exchange hands it over and
//! neither waits nor fails; what does not fit is counted and lost. A process that is killed loses what was settled within the
//! last [`LedgerLimits::flush_every`], and with power what the system had not written out yet (all of that with
//! [`LedgerLimits::is_synced`] is on the disk); the file is whole either way. Several processes may write to one file.

mod block;
mod chain;
mod facts;
mod figures;
mod profiles;
mod queue;
mod reader;
mod record;
mod retention;
mod schema;
mod shared;
mod summary;
mod text;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use chain::{Hash, Head};
pub use facts::RecordedFacts;
pub use profiles::RecordedProfile;
pub use reader::{Filter, LedgerReader, Receipt, Row};
pub use record::{Record, RecordedAttempt, RecordedDecision, RecordedReference, RecordedTarget, RecordedTokens};
pub use summary::{Spent, Summary, TargetSummary};
pub use verify::{Fault, FaultKind, Verified};
pub use writer::{Ledger, LedgerCounts, LedgerHealth};

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite's own words.
    #[error("the ledger: {0}")]
    Sql(rusqlite::Error),
    /// The folder or file cannot be made.
    #[error("the ledger: {0}")]
    Io(std::io::Error),
    /// A record cannot be read.
    #[error("the ledger: record {seq} cannot be read: {reason}")]
    Record {
        /// Its place.
        seq: u64,
        /// What serde says of it.
        reason: String,
    },
    /// Of an older version, and another process has it open, which may be one that writes as that version did.
    #[error(
        "the ledger has schema version {found}, and another process uses it; when that has ended, a gateway or a command of this version \
         brings it up to {known}"
    )]
    Older {
        /// What the file says.
        found: i64,
        /// What is known.
        known: i64,
    },
    /// Written by a newer version.
    #[error("the ledger has schema version {found}, and this version of Tidegate knows {known}")]
    Newer {
        /// What the file says.
        found: i64,
        /// What is known.
        known: i64,
    },
}

// By hand, as what is said above says all of it: a source would be told once more.
impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<std::io::Error> for LedgerError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// How much is kept, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLimits {
    /// Records that wait to be written at most; more are lost and counted.
    pub queue_max: usize,
    /// How long a record waits for others to be written with it: what a killed process loses at most.
    pub flush_every: Duration,
    /// How long a record is kept.
    pub keep: Duration,
    /// Bytes of the file at most, its log and a little slack left aside. The oldest go first.
    pub bytes_max: u64,
    /// Whether every transaction is on the disk before it counts as written, so that a loss of power takes nothing of it.
    pub is_synced: bool,
}

impl Default for LedgerLimits {
    /// 16 384 records, 200 ms, 90 days, 1 GiB, not synced.
    fn default() -> Self {
        Self {
            queue_max: 16_384,
            flush_every: Duration::from_millis(200),
            keep: Duration::from_secs(90 * 86_400),
            bytes_max: 1 << 30,
            is_synced: false,
        }
    }
}
