//! Answers that may be given again: in memory, weighed by their bytes, and where that is wanted on disk as well.
//!
//! An answer is bytes to it, and the name that it is kept under says all about who may have it: whoever makes that name puts tenant and
//! privacy class into it. How old an answer may be is for the reader to say, each time; times are arguments.

mod disk;
mod store;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use policy::TargetId;

pub use disk::QUEUE_MAX;
pub use store::Responses;

/// The name of an answer.
pub type ResponseKey = [u8; 32];

/// In which form an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseForm {
    /// In one piece.
    Whole,
    /// As the events of a stream.
    Stream,
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// The answer.
    pub body: Bytes,
    /// Its form.
    pub form: ResponseForm,
    /// The target that gave it.
    pub target: TargetId,
    /// What that target was then: a name for its configuration.
    pub target_version: [u8; 32],
    /// Tokens of the prompt, as the target counted.
    pub input_tokens: u64,
    /// Tokens of the answer, as the target counted.
    pub output_tokens: u64,
    /// When it was given, Unix time in milliseconds.
    pub stored_ms: i64,
    /// When nobody wants it any more, Unix time in milliseconds.
    pub expires_ms: i64,
}

impl StoredResponse {
    /// How old it is at `now_ms`; `None` for one of the future, of which the clock knows nothing.
    #[must_use]
    pub fn age_ms(&self, now_ms: i64) -> Option<u64> {
        u64::try_from(now_ms.saturating_sub(self.stored_ms)).ok()
    }

    /// What it counts for.
    fn weight(&self) -> u64 {
        (self.body.len() + self.target.as_str().len()) as u64 + ENTRY_OVERHEAD_BYTES
    }
}

/// What an entry takes beside its texts, in bytes, as it counts for [`ResponseLimits::bytes_max`].
pub const ENTRY_OVERHEAD_BYTES: u64 = 512;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseLimits {
    /// Bytes of all answers, in memory and again on disk; the one that was not used for longest goes first, on disk the oldest.
    pub bytes_max: u64,
    /// Bytes of one answer; a longer one is not kept.
    pub entry_bytes_max: u64,
}

impl Default for ResponseLimits {
    /// 64 MiB, 1 MiB.
    fn default() -> Self {
        Self { bytes_max: 64 << 20, entry_bytes_max: 1 << 20 }
    }
}

/// What is kept now and what happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseStats {
    /// Answers in memory.
    pub entries: u64,
    /// Their bytes, as they count for [`ResponseLimits::bytes_max`].
    pub bytes: u64,
    /// Answers that made room for others.
    pub evicted: u64,
    /// Answers that became too old.
    pub expired: u64,
    /// Answers written to disk.
    pub written: u64,
    /// Answers not written, because the queue was full.
    pub overflowed: u64,
    /// Answers not written, because the disk refused.
    pub failed: u64,
}

/// Why answers cannot be kept on disk.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The file system refuses.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// SQLite refuses.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A newer version of Tidegate has written the file.
    #[error("the file is of version {found}; this program knows {known}")]
    Newer {
        /// Version of its tables.
        found: i64,
        /// Version known here.
        known: i64,
    },
}
