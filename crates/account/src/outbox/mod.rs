//! Requests that are answered later: what was asked, in which state it is, and the answer once there is one.
//!
//! What is kept is opaque here: bytes with an envelope that its writer understands. When to send and to whom is not decided
//! here either. Prompts and answers are text at rest, so folder and file are readable by their owner alone, what is removed
//! is overwritten, and a request is removed as soon as it is finished.
//!
//! SQLite with a rollback journal, synced at every commit: a change that was reported as done survives a kill and a loss of
//! power, and none is ever half done. One process at a time sends; others may look and delete.

mod entry;
mod lock;
mod schema;
mod store;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use entry::{Begun, Entry, EntryId, EntryState, InvalidEntryId, KeptRequest, NewEntry, Page, Waiting, WithAnswer};
pub use store::{Expired, OutboxStats, OutboxStore};

/// Why something cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A limit is reached.
    #[error("the outbox holds {held} {what}, and its limit is {limit}")]
    Full {
        /// `entries` or `bytes`.
        what: &'static str,
        /// What it holds, or would hold with the new entry.
        held: u64,
        /// The limit.
        limit: u64,
    },
    /// Another process sends what is in the folder.
    #[error("the outbox is used by another gateway: {0} is locked")]
    Locked(String),
    /// Written by a newer version.
    #[error("the outbox has schema version {found}, and this version of Tidegate knows {known}")]
    Newer {
        /// What the file says.
        found: i64,
        /// What is known.
        known: i64,
    },
    /// SQLite's own words; a full disk is one of them.
    #[error("the outbox: {0}")]
    Sql(#[from] rusqlite::Error),
    /// Folder or file cannot be made.
    #[error("the outbox: {0}")]
    Io(#[from] std::io::Error),
    /// The system has no random numbers to give.
    #[error("the outbox: no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Entries in all states.
    pub entries_max: u64,
    /// Bytes of requests and answers, as they count when an entry is taken in.
    pub bytes_max: u64,
    /// How long a request waits.
    pub age_max: Duration,
    /// How long an answer, or the news that there is none, is kept.
    pub keep: Duration,
}

impl Default for OutboxLimits {
    /// 1000 entries, 256 MiB, a day, a day.
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Self { entries_max: 1000, bytes_max: 256 << 20, age_max: day, keep: day }
    }
}
