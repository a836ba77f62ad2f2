//! What was learnt of answers: features of requests with how well they were answered. Kept on this machine only.
//!
//! No text of a prompt or answer is in it. Features are numbers that were computed from a prompt, of which some words could be
//! guessed; so the file is readable by its owner alone, the privacy class of each request stands beside them, and nothing here
//! sends anything anywhere.
//!
//! One thread owns the connection and writes; callers hand records over without waiting, and what does not fit the queue is
//! counted and lost. SQLite in WAL mode: after a crash the file is whole, less at most the last batch.

mod reader;
mod schema;
mod writer;

#[cfg(test)]
mod tests;

use std::time::Duration;

use policy::Privacy;

pub use reader::{LabelReader, ListedAnswer, TargetLabels, TrainingRow};
pub use writer::{LabelCounts, LabelStore, QUEUE_MAX, Recorded};

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// SQLite's own words.
    #[error("the label store: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The folder or file cannot be made.
    #[error("the label store: {0}")]
    Io(#[from] std::io::Error),
    /// Written by a newer version.
    #[error("the label store has schema version {found}, and this version of Tidegate knows {known}")]
    Newer {
        /// What the file says.
        found: i64,
        /// What is known.
        known: i64,
    },
    /// The queue is full or its thread has ended.
    #[error("the label store does not keep up")]
    Busy,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    /// Answers at most; each takes about 1.8 kB. Those without an outcome go first, then the oldest.
    pub rows_max: u64,
    /// How long an answer with an outcome is kept.
    pub age_max: Duration,
    /// How long an answer waits for an outcome.
    pub wait_max: Duration,
}

impl Default for LabelLimits {
    /// 50 000 answers, 180 days, 7 days.
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self { rows_max: 50_000, age_max: days(180), wait_max: days(7) }
    }
}

/// An answer that may get an outcome. A request id that comes again stands for its newest answer.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerRecord {
    /// By which its outcome is told.
    pub request_id: String,
    /// When it was answered, Unix time in seconds.
    pub at_s: u64,
    /// The target that answered.
    pub target: String,
    /// The model behind it, as the classifier knows it.
    pub model: String,
    /// The class that held for the request.
    pub privacy: Privacy,
    /// The kind of task, where it is known.
    pub task: Option<String>,
    /// The scaled features and the name of the classifier they are of.
    pub features: Option<(String, Box<[f32]>)>,
}

/// Who says how well an answer was, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutcomeSource {
    /// A person or program that called `POST /v1/feedback`.
    Feedback,
    /// A labelled set (`tidegate eval-target --learn`).
    Evaluation,
    /// A configured verifier.
    Verifier,
    /// The same question was asked again.
    Retry,
}

impl OutcomeSource {
    /// All of them, the most trusted first.
    pub const ALL: [Self; 4] = [Self::Feedback, Self::Evaluation, Self::Verifier, Self::Retry];

    /// The word in the file and in what is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Feedback => "feedback",
            Self::Evaluation => "evaluation",
            Self::Verifier => "verifier",
            Self::Retry => "retry",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

/// How well an answer was. Of the same source the last one holds; of several sources the most trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeRecord {
    /// Of which request.
    pub request_id: String,
    /// Unix time in seconds.
    pub at_s: u64,
    /// Who says it.
    pub source: OutcomeSource,
    /// 0 (bad) to 1 (good).
    pub score: f64,
    /// How much it counts, above 0; 1 for what was said or measured.
    pub weight: f64,
}
