//! Looks the chain over, from the oldest record that is kept to the newest.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use serde::Deserialize;

use super::LedgerError;
use super::block::{self, Block, FoundBy, Stored};
use super::chain::{Hash, Head};
use super::reader::LedgerReader;
use super::retention::{anchor, head, signed, unsigned};
use super::shared::name_of;

/// Faults that are told at most.
const FAULTS_MAX: u32 = 100;
/// Faults of which it is looked for where the record stood before, at most.
const SOUGHT_MAX: usize = 8;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The place in the chain.
    pub seq: u64,
    /// What is wrong there.
    pub kind: FaultKind,
}

/// What can be wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Its content or its hash was changed, or that of one of those up to this place, which were written together.
    Edited {
        /// The last of them.
        until: u64,
    },
    /// It stands at a place before the one with which the ledger begins, where there can be none, or which another one has.
    Inserted {
        /// Its place, which may be none that the chain knows.
        place: i64,
    },
    /// It and those that were written with it are whole, but stood behind the record that is now at this place.
    Moved {
        /// The last of them.
        until: u64,
        /// Where the record is that it followed.
        follows: u64,
    },
    /// It and those up to this place are missing.
    Removed {
        /// The last that is missing.
        until: u64,
    },
    /// The ledger ends before this place, which it is known to have had.
    Cut,
    /// It is known to have had another hash: everything from there on was written anew.
    Rewritten,
    /// It is looked for under the id of another request.
    Misnamed,
    /// It and those up to this place are looked for at times that are not theirs.
    Misdated {
        /// The last of them.
        until: u64,
    },
    /// The file is damaged, in SQLite's words: blocks are not found by what they say.
    Damaged(String),
    /// What records share under this name was changed.
    Shared(String),
    /// What this record shares with others, under this name, is missing.
    Unshared(String),
}

/// What was looked over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The last record that was removed for its age or the size of the file, with which the chain begins.
    pub anchor: Head,
    /// The newest.
    pub head: Head,
    /// Records looked at.
    pub records: u64,
    /// Everything wrong, at most the first hundred.
    pub faults: Vec<Fault>,
}

impl LedgerReader {
    /// Computes every hash anew. `known` are places that are known from elsewhere, from receipts or from an earlier run; without them
    /// it cannot be seen that the newest records were cut off, nor that all hashes were computed anew.
    ///
    /// # Errors
    /// What SQLite says; faults of the chain are no errors.
    pub fn verify(&self, known: &[Head]) -> Result<Verified, LedgerError> {
        // One moment of a ledger that is being written to.
        let transaction = self.connection.unchecked_transaction()?;
        let (anchor, newest) = (anchor(&transaction)?, head(&transaction)?);
        let mut looked = Verified { anchor, head: newest, records: 0, faults: Vec::new() };
        let (mut before, mut named) = (anchor, BTreeMap::new());
        {
            let columns = format!("SELECT {}, min_ms, max_ms FROM blocks ORDER BY seq", block::COLUMNS);
            let mut select = transaction.prepare(&columns)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let block = Block::read(row)?;
                looked.records += block.count as u64;
                before = self.follow(&mut looked, before, &block)?;
                block.records().for_each(|stored| note_names(&mut named, stored));
                let keys = row.get_ref(2)?.as_bytes().unwrap_or_default();
                looked.compare_found_by(&block, keys, (row.get(4)?, row.get(5)?));
            }
        }
        for place in known {
            looked.compare(&transaction, *place)?;
        }
        looked.shared(&transaction, named)?;
        looked.compare_index(&transaction)?;
        looked.faults.sort_by_key(|fault| fault.seq);
        Ok(looked)
    }

    /// Looks whether a block follows the one before, and gives what the next has to follow.
    fn follow(&self, looked: &mut Verified, before: Head, block: &Block) -> Result<Head, LedgerError> {
        let place = *block.places().start();
        let Some(first) = u64::try_from(place).ok().filter(|first| *first > before.seq) else {
            looked.fault(0, FaultKind::Inserted { place });
            return Ok(before);
        };
        if first != before.seq + 1 {
            looked.fault(before.seq + 1, FaultKind::Removed { until: first - 1 });
        }
        // Behind a gap it is not known what it followed.
        if block.hash.is_none() || first == before.seq + 1 && block.hash != Some(before.hash.then(&block.texts)) {
            let kind = self.what_became_of(looked, block)?;
            looked.fault(first, kind);
        }
        // As the writer goes on behind one whose hash is none any more.
        Ok(Head { seq: unsigned(block.last), hash: block.hash.unwrap_or(Hash::GENESIS) })
    }

    /// Whether a block that does not follow the one before it follows another.
    fn what_became_of(&self, looked: &Verified, block: &Block) -> Result<FaultKind, LedgerError> {
        let until = unsigned(block.last);
        let edited = FaultKind::Edited { until };
        let Some(hash) = block.hash.filter(|_| looked.faults.len() < SOUGHT_MAX) else { return Ok(edited) };
        if looked.anchor.hash.then(&block.texts) == hash {
            return Ok(FaultKind::Moved { until, follows: looked.anchor.seq });
        }
        let mut select = self.connection.prepare("SELECT seq, hash FROM blocks ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let before = Hash::of_bytes(row.get_ref(1)?.as_bytes().unwrap_or_default());
            if before.is_some_and(|before| before.then(&block.texts) == hash) {
                return Ok(FaultKind::Moved { until, follows: unsigned(row.get(0)?) });
            }
        }
        Ok(edited)
    }
}

/// What a record calls by a name that it shares with others.
#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow)]
    decision: Option<DecisionNames<'a>>,
}

#[derive(Deserialize)]
struct DecisionNames<'a> {
    base: Option<String>,
    #[serde(borrow)]
    targets: Vec<TargetName<'a>>,
}

#[derive(Deserialize)]
struct TargetName<'a> {
    #[serde(borrow)]
    profile: Cow<'a, str>,
}

/// Notes the names of a record, each with the first that has it. What is no record any more was told of before.
fn note_names(named: &mut BTreeMap<String, i64>, stored: Stored<'_>) {
    let Ok(Names { decision: Some(decision) }) = serde_json::from_slice(stored.text) else { return };
    for name in decision.base.iter().map(String::as_str).chain(decision.targets.iter().map(|target| &*target.profile)) {
        if !named.contains_key(name) {
            named.insert(name.to_owned(), stored.place);
        }
    }
}

impl Verified {
    fn fault(&mut self, seq: u64, kind: FaultKind) {
        if self.faults.len() < FAULTS_MAX as usize {
            self.faults.push(Fault { seq, kind });
        }
    }

    fn compare(&mut self, connection: &Connection, known: Head) -> Result<(), LedgerError> {
        let find = format!("SELECT {} FROM blocks WHERE seq >= ?1 ORDER BY seq LIMIT 1", block::COLUMNS);
        let found = connection.query_row(&find, [signed(known.seq)], Block::read).optional()?;
        let is_same = match found.filter(|block| block.places().contains(&signed(known.seq))) {
            Some(block) => block.hash == Some(known.hash),
            None => known.seq != self.anchor.seq || self.anchor.hash == known.hash,
        };
        if known.seq > self.head.seq {
            self.fault(self.head.seq + 1, FaultKind::Cut);
        } else if !is_same {
            self.fault(known.seq, FaultKind::Rewritten);
        }
        Ok(())
    }

    /// What a block is searched by is computed from its records. What is no record was told of before.
    fn compare_found_by(&mut self, block: &Block, keys: &[u8], times: (i64, i64)) {
        let mut readable = Vec::new();
        for (n, stored) in block.records().enumerate() {
            let Some(found_by) = FoundBy::read(stored.text) else { continue };
            if block::nth(keys, n) != Some(found_by.key) {
                self.fault(unsigned(stored.place), FaultKind::Misnamed);
            }
            readable.push(found_by);
        }
        if block::times(readable.into_iter()) != times {
            let (first, last) = block.places().into_inner();
            self.fault(unsigned(first), FaultKind::Misdated { until: unsigned(last) });
        }
    }

    /// Blocks are found by an index, which has to have what they have.
    fn compare_index(&mut self, connection: &Connection) -> Result<(), LedgerError> {
        let found: String = connection.query_row("PRAGMA integrity_check('blocks')", [], |row| row.get(0))?;
        if found != "ok" {
            self.fault(0, FaultKind::Damaged(found.replace('\n', " ")));
        }
        Ok(())
    }

    /// What records share is under the hash of its text, and all that they name is there.
    fn shared(&mut self, connection: &Connection, mut named: BTreeMap<String, i64>) -> Result<(), LedgerError> {
        let mut select = connection.prepare("SELECT name, value FROM shared")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (name, value): (String, String) = (row.get(0)?, row.get(1)?);
            named.remove(&name);
            if name_of(&value) != name {
                self.fault(0, FaultKind::Shared(name));
            }
        }
        for (name, first) in named {
            self.fault(unsigned(first), FaultKind::Unshared(name));
        }
        Ok(())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seq, kind } = self;
        let up_to = |until: &u64| match until {
            until if until <= seq => format!("record {seq} was"),
            until => format!("records {seq} to {until} were"),
        };
        match kind {
            FaultKind::Inserted { place } => {
                write!(
                    f,
                    "record {place} was inserted: it stands before the begin of the ledger, or where another one does"
                )
            }
            FaultKind::Edited { until } => write!(f, "{} edited", up_to(until)),
            FaultKind::Moved { until, follows } => {
                write!(f, "{} moved: before was what is now record {follows}", up_to(until))
            }
            FaultKind::Removed { until } => write!(f, "{} removed", up_to(until)),
            FaultKind::Cut => write!(f, "the records from {seq} on were cut off"),
            FaultKind::Rewritten => {
                write!(f, "record {seq} is another one than it was: it or one before was written anew")
            }
            FaultKind::Misnamed => write!(f, "record {seq} is kept under the id of another request"),
            FaultKind::Misdated { until } => write!(f, "{} put under times that are not theirs", up_to(until)),
            FaultKind::Damaged(found) => write!(f, "the file is damaged: {found}"),
            FaultKind::Shared(name) => write!(f, "what records share under the name {name} was edited"),
            FaultKind::Unshared(name) => {
                write!(f, "what record {seq} shares with others under the name {name} was removed")
            }
        }
    }
}
