//! Looks the chain over, from the oldest record that is kept to the newest.

use super::LedgerError;
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
    /// Its content or its hash was changed.
    Edited,
    /// It stands at a place before the one with which the ledger begins, where there can be none.
    Inserted {
        /// Its place, which may be none that the chain knows.
        place: i64,
    },
    /// It is whole, but stood behind the record that is now at this place.
    Moved {
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
    /// Its column of the request's id is not what the record says.
    Misnamed,
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
        let mut before = anchor;
        {
            let mut select = transaction.prepare("SELECT seq, hash, record FROM records ORDER BY seq")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let place: i64 = row.get(0)?;
                // Bytes, as what was changed may be no text any more.
                let (hash, record) = (bytes_of(row, 1)?, bytes_of(row, 2)?);
                looked.records += 1;
                let Some(seq) = u64::try_from(place).ok().filter(|seq| *seq > anchor.seq) else {
                    looked.fault(0, FaultKind::Inserted { place });
                    continue;
                };
                if seq != before.seq + 1 {
                    looked.fault(before.seq + 1, FaultKind::Removed { until: seq - 1 });
                }
                let stored = Hash::of_bytes(hash);
                // Behind a gap it is not known what it followed.
                if stored.is_none() || seq == before.seq + 1 && stored != Some(before.hash.then(record)) {
                    let kind = self.what_became_of(&looked, stored, record, anchor)?;
                    looked.fault(seq, kind);
                }
                before = Head { seq, hash: stored.unwrap_or(before.hash) };
            }
        }
        for place in known {
            looked.compare(&transaction, *place)?;
        }
        looked.columns(&transaction)?;
        looked.shared(&transaction)?;
        looked.faults.sort_by_key(|fault| fault.seq);
        Ok(looked)
    }

    /// Whether a record that does not follow the one before it follows another.
    fn what_became_of(
        &self,
        looked: &Verified,
        stored: Option<Hash>,
        record: &[u8],
        anchor: Head,
    ) -> Result<FaultKind, LedgerError> {
        let Some(stored) = stored.filter(|_| looked.faults.len() < SOUGHT_MAX) else { return Ok(FaultKind::Edited) };
        if anchor.hash.then(record) == stored {
            return Ok(FaultKind::Moved { follows: anchor.seq });
        }
        let mut select = self.connection.prepare("SELECT seq, hash FROM records ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, hash): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if Hash::of_bytes(&hash).is_some_and(|hash| hash.then(record) == stored) {
                return Ok(FaultKind::Moved { follows: unsigned(seq) });
            }
        }
        Ok(FaultKind::Edited)
    }
}

/// What stands in a column, whatever it is.
fn bytes_of<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(row.get_ref(column)?.as_bytes().unwrap_or_default())
}

impl Verified {
    fn fault(&mut self, seq: u64, kind: FaultKind) {
        if self.faults.len() < FAULTS_MAX as usize {
            self.faults.push(Fault { seq, kind });
        }
    }

    fn compare(&mut self, connection: &rusqlite::Connection, known: Head) -> Result<(), LedgerError> {
        let mut find = connection.prepare("SELECT hash FROM records WHERE seq = ?1")?;
        let mut rows = find.query([signed(known.seq)])?;
        let found: Option<Vec<u8>> = rows.next()?.map(|row| row.get(0)).transpose()?;
        let is_same = match found {
            Some(hash) => Hash::of_bytes(&hash) == Some(known.hash),
            None => known.seq != self.anchor.seq || self.anchor.hash == known.hash,
        };
        if known.seq > self.head.seq {
            self.fault(self.head.seq + 1, FaultKind::Cut);
        } else if !is_same {
            self.fault(known.seq, FaultKind::Rewritten);
        }
        Ok(())
    }

    /// The one column that is not computed from the record. What is no JSON was told of before.
    fn columns(&mut self, connection: &rusqlite::Connection) -> Result<(), LedgerError> {
        let sql = "SELECT seq FROM records
                   WHERE json_valid(record) AND request_id IS NOT record ->> '$.request_id' ORDER BY seq LIMIT ?1";
        let mut select = connection.prepare(sql)?;
        let mut rows = select.query([FAULTS_MAX])?;
        while let Some(row) = rows.next()? {
            self.fault(unsigned(row.get(0)?), FaultKind::Misnamed);
        }
        Ok(())
    }

    /// What records share is under the hash of its text, and all that they name is there.
    fn shared(&mut self, connection: &rusqlite::Connection) -> Result<(), LedgerError> {
        let mut select = connection.prepare("SELECT name, value FROM shared")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (name, value): (String, String) = (row.get(0)?, row.get(1)?);
            if name_of(&value) != name {
                self.fault(0, FaultKind::Shared(name));
            }
        }
        let named = "SELECT seq, record ->> '$.decision.base' AS name FROM records WHERE json_valid(record)
                     UNION ALL SELECT seq, target.value ->> '$.profile' FROM records,
                         json_each(iif(json_valid(record), record, '{}'), '$.decision.targets') AS target";
        let sql = format!(
            "SELECT min(seq), name FROM ({named}) WHERE name NOT IN (SELECT name FROM shared) GROUP BY name LIMIT ?1"
        );
        let mut select = connection.prepare(&sql)?;
        let mut rows = select.query([FAULTS_MAX])?;
        while let Some(row) = rows.next()? {
            let (seq, name): (i64, String) = (row.get(0)?, row.get(1)?);
            self.fault(unsigned(seq), FaultKind::Unshared(name));
        }
        Ok(())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seq, kind } = self;
        match kind {
            FaultKind::Inserted { place } => {
                write!(f, "record {place} was inserted: it stands before the one with which the ledger begins")
            }
            FaultKind::Edited => write!(f, "record {seq} was edited"),
            FaultKind::Moved { follows } => {
                write!(f, "record {seq} was moved: it followed what is now record {follows}")
            }
            FaultKind::Removed { until } if until == seq => write!(f, "record {seq} was removed"),
            FaultKind::Removed { until } => write!(f, "records {seq} to {until} were removed"),
            FaultKind::Cut => write!(f, "the records from {seq} on were cut off"),
            FaultKind::Rewritten => {
                write!(f, "record {seq} is another one than it was: it or one before was written anew")
            }
            FaultKind::Misnamed => write!(f, "record {seq} is kept under the id of another request"),
            FaultKind::Shared(name) => write!(f, "what records share under the name {name} was edited"),
            FaultKind::Unshared(name) => {
                write!(f, "what record {seq} shares with others under the name {name} was removed")
            }
        }
    }
}
