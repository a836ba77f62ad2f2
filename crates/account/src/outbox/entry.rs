//! What an entry is: its name, its states, what is told of it.

use std::fmt;

/// What every id begins with.
const ID_PREFIX: &str = "outbox_";
/// Random bytes of an id: nobody guesses one.
const ID_BYTES: usize = 16;

/// The name of an entry: `outbox_` and 32 hexadecimal digits, 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId([u8; ID_BYTES]);

/// A text that is no [`EntryId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of the outbox is {ID_PREFIX} and 32 hexadecimal digits in lower case")]
pub struct InvalidEntryId;

impl EntryId {
    /// A new one, from the system's random numbers.
    ///
    /// # Errors
    /// When it has none.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads exactly what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`InvalidEntryId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidEntryId> {
        let digits = text.strip_prefix(ID_PREFIX).ok_or(InvalidEntryId)?.as_bytes();
        if digits.len() != 2 * ID_BYTES {
            return Err(InvalidEntryId);
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(InvalidEntryId),
        };
        let mut bytes = [0; ID_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ID_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// In which state an entry is. A closed list: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryState {
    /// It waits for a target that may and can answer.
    Queued,
    /// It is being sent.
    Sending,
    /// Its answer is there.
    Completed,
    /// There will be no answer; what is kept says why.
    Failed,
    /// It waited for as long as it may.
    Expired,
}

impl EntryState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Sending, Self::Completed, Self::Failed, Self::Expired];

    /// The word in the file, in `status` and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired)
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What is to be kept of a request.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// Whose it is; empty for callers without a name. Nobody else sees it.
    pub caller: &'a str,
    /// The id of the request that it came with.
    pub request_id: &'a str,
    /// What its writer has to know beside the body.
    pub envelope: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Why it is not answered now, in the words of its writer.
    pub outcome: &'a str,
    /// When it is sent at the earliest, Unix time in milliseconds.
    pub due_ms: i64,
}

/// A request as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRequest {
    /// The id of the request that it came with.
    pub request_id: String,
    /// See [`NewEntry::envelope`].
    pub envelope: String,
    /// The body.
    pub body: Vec<u8>,
    /// How often a target was reached and failed.
    pub failures: u32,
    /// What was said last of why there is no answer.
    pub outcome: String,
}

/// Whether an entry may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is marked as being sent.
    Yes,
    /// It is finished or removed.
    Gone,
    /// Answers use up what may be held; its own could not be kept within the limit.
    NoRoom,
}

/// An entry that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Counts up with every entry taken in.
    pub seq: i64,
    /// Its name.
    pub id: EntryId,
    /// When it is sent at the earliest, Unix time in milliseconds.
    pub due_ms: i64,
}

/// What is told of an entry. Times are Unix times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts up with every entry taken in.
    pub seq: i64,
    /// Its name.
    pub id: EntryId,
    /// In which state it is.
    pub state: EntryState,
    /// The id of the request that it came with.
    pub request_id: String,
    /// When it was taken in.
    pub created_ms: i64,
    /// When it stops waiting, or, once it is finished, is removed.
    pub expires_ms: i64,
    /// When it was finished.
    pub finished_ms: Option<i64>,
    /// How often sending it was begun.
    pub sends: u32,
    /// How many of these the end of the process cut off: a target may have seen the request without its answer being kept.
    pub interrupted: u32,
    /// What its writer says of the answer, or of why there is none yet.
    pub outcome: String,
}

/// An entry with its answer, where it has one.
pub type WithAnswer = (Entry, Option<Vec<u8>>);

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Whether there are older ones.
    pub has_more: bool,
}
