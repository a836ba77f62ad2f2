//! What commands and receipts read of the ledger, also while a gateway writes to it.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use policy::{TargetFacts, TargetProfile};
use rusqlite::{Connection, OptionalExtension};

use super::block::{self, Block, Stored};
use super::chain::Head;
use super::facts::RecordedFacts;
use super::figures::Figures;
use super::profiles::RecordedProfile;
use super::record::{Record, RecordedDecision, RecordedTarget};
use super::retention::{anchor, bytes, head, signed, unsigned};
use super::summary::{Spent, Summary};
use super::{LedgerError, schema, shared};

/// Blocks that are read at a time. Nothing of the file is held while they are looked at: whoever takes long over it does not keep the
/// log from being brought into the file, which would grow for as long.
const READ_AT_ONCE: u32 = 8;
/// Exchanges with the same id that a receipt tells of at most.
const SAME_ID_MAX: u32 = 16;
/// Blocks in which a receipt is looked for at most, the newest of those that have the key of its id.
const LOOKED_MAX: usize = 256;

/// An open ledger.
pub struct LedgerReader {
    pub(super) connection: Connection,
    /// Profiles that were read before, by their names.
    profiles: RefCell<HashMap<String, Option<Arc<TargetProfile>>>>,
    /// And bases of facts.
    bases: RefCell<HashMap<String, Option<Arc<Facts>>>>,
}

/// Facts as they are written.
type Facts = BTreeMap<String, serde_json::Value>;

/// Which records are wanted; everything given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Settled at this Unix time in milliseconds, or later.
    pub since_ms: Option<u64>,
    /// Settled before this time.
    pub until_ms: Option<u64>,
    /// Answered by this target, or `none`.
    pub target: Option<String>,
    /// Decided by this route.
    pub route: Option<String>,
    /// Ended so.
    pub outcome: Option<String>,
    /// Made for this.
    pub kind: Option<String>,
    /// After this place in the chain.
    pub after_seq: Option<u64>,
    /// At most so many; the newest of them.
    pub newest: Option<u64>,
}

/// One record with its place in the chain.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where it stands: its place, and the hash of those that were written with it.
    pub head: Head,
    /// Its text, as the hash is made of it.
    pub json: String,
    /// What it says.
    pub record: Record,
}

/// What the caller of a request is told: the newest exchange with its id, and earlier ones with the same.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The newest.
    pub newest: Row,
    /// The others, newest first, at most [`Receipt::EARLIER_MAX`].
    pub earlier: Vec<Row>,
    /// Where the gateway has sent the request as well, to learn from the answer; newest first, as many.
    pub comparisons: Vec<Row>,
}

impl Receipt {
    /// How many exchanges besides the newest it holds at most.
    pub const EARLIER_MAX: u32 = SAME_ID_MAX - 1;
}

impl LedgerReader {
    /// Opens a ledger that is there.
    ///
    /// # Errors
    /// [`LedgerError`] for a file that is none.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { connection: schema::open_to_read(path)?, profiles: RefCell::default(), bases: RefCell::default() })
    }

    /// The newest record's place.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn head(&self) -> Result<Head, LedgerError> {
        Ok(head(&self.connection)?)
    }

    /// How many records there are, and how many bytes they take.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn size(&self) -> Result<(u64, u64), LedgerError> {
        let count = head(&self.connection)?.seq.saturating_sub(anchor(&self.connection)?.seq);
        Ok((count, bytes(&self.connection)?))
    }

    /// Gives the records that are wanted to `each`, oldest first, until it says false.
    ///
    /// # Errors
    /// What SQLite says, and for a record that cannot be read.
    pub fn each(&self, filter: &Filter, mut each: impl FnMut(Row) -> bool) -> Result<(), LedgerError> {
        let mut failed = None;
        let mut give = |stored: Stored<'_>| match row(stored) {
            Ok(row) => each(row),
            Err(error) => {
                failed = Some(error);
                false
            }
        };
        match filter.newest {
            Some(newest) => self.newest(filter, newest, &mut give)?,
            None => self.find(filter, |stored, _| give(stored))?,
        }
        failed.map_or(Ok(()), Err)
    }

    /// Gives the records that are wanted to `each`, oldest first, until it says false, each with what it says where it can be read.
    fn find(
        &self,
        filter: &Filter,
        mut each: impl FnMut(Stored<'_>, Option<Figures<'_>>) -> bool,
    ) -> Result<(), LedgerError> {
        let mut after = self.begin(filter)?;
        loop {
            let blocks = self.blocks(filter, after..i64::MAX, "ASC")?;
            let Some(last) = blocks.last() else { return Ok(()) };
            after = last.last;
            for stored in blocks.iter().flat_map(Block::records) {
                let figures = Figures::read(stored.text);
                if filter.wants(stored.place, figures.as_ref()) && !each(stored, figures) {
                    return Ok(());
                }
            }
        }
    }

    /// Gives the newest of the records that are wanted, oldest first.
    fn newest(
        &self,
        filter: &Filter,
        count: u64,
        give: &mut impl FnMut(Stored<'_>) -> bool,
    ) -> Result<(), LedgerError> {
        let (after, mut until, mut found) = (self.begin(filter)?, i64::MAX, VecDeque::new());
        'look: while after < until {
            let blocks = self.blocks(filter, after..until, "DESC")?;
            let Some(last) = blocks.last() else { break };
            until = last.last.saturating_sub(1);
            for stored in blocks.iter().flat_map(|block| block.records().rev()) {
                if found.len() as u64 >= count {
                    break 'look;
                }
                if filter.wants(stored.place, Figures::read(stored.text).as_ref()) {
                    found.push_front((stored.place, stored.hash, stored.text.to_vec()));
                }
            }
        }
        found.iter().all(|(place, hash, text)| give(Stored { place: *place, hash: *hash, text }));
        Ok(())
    }

    /// The place behind which there may be records that are wanted.
    fn begin(&self, filter: &Filter) -> Result<i64, LedgerError> {
        let after = signed(filter.after_seq.unwrap_or_default());
        let Some(since) = filter.since_ms else { return Ok(after) };
        // The sign keeps SQLite from reading every block from the oldest on until it meets the first: all of this is in the index.
        let first = "SELECT min(+seq) FROM blocks WHERE max_ms >= ?1";
        let first: Option<i64> = self.connection.query_row(first, [signed(since)], |row| row.get(0))?;
        Ok(first.map_or(i64::MAX, |first| after.max(first - 1)))
    }

    /// Some of the blocks whose last record is behind the first and not behind the second of these places, and whose times are wanted.
    fn blocks(&self, filter: &Filter, places: Range<i64>, order: &str) -> Result<Vec<Block>, LedgerError> {
        let sql = format!(
            "SELECT {} FROM blocks WHERE seq > ?1 AND seq <= ?2 AND max_ms >= ?3 AND min_ms <= ?4
             ORDER BY seq {order} LIMIT {READ_AT_ONCE}",
            block::COLUMNS
        );
        let (since, until) = (filter.since_ms.map_or(i64::MIN, signed), filter.until_ms.map_or(i64::MAX, signed));
        let mut select = self.connection.prepare(&sql)?;
        let blocks = select.query_map((places.start, places.end, since, until), Block::read)?;
        Ok(blocks.collect::<Result<_, _>>()?)
    }

    /// The records that are wanted, oldest first.
    ///
    /// # Errors
    /// As [`Self::each`].
    pub fn rows(&self, filter: &Filter) -> Result<Vec<Row>, LedgerError> {
        let mut rows = Vec::new();
        self.each(filter, |row| {
            rows.push(row);
            true
        })?;
        Ok(rows)
    }

    /// What is told of the request with this id; `None` where nothing is known.
    ///
    /// # Errors
    /// As [`Self::each`].
    pub fn receipt(&self, request_id: &str) -> Result<Option<Receipt>, LedgerError> {
        let (mut rows, mut comparisons) = (Vec::new(), Vec::new());
        let select = format!("SELECT {} FROM blocks WHERE seq = ?1", block::COLUMNS);
        let mut select = self.connection.prepare(&select)?;
        for seq in self.blocks_with(request_id)? {
            // What was removed for its age meanwhile is none any more.
            let Some(block) = select.query_row([seq], Block::read).optional()? else { continue };
            for stored in block.records().rev() {
                let Some(figures) = Figures::read(stored.text).filter(|figures| figures.request_id == request_id)
                else {
                    continue;
                };
                let of_kind = if figures.kind == "comparison" { &mut comparisons } else { &mut rows };
                if of_kind.len() < SAME_ID_MAX as usize {
                    of_kind.push(row(stored)?);
                }
            }
            if rows.len().min(comparisons.len()) == SAME_ID_MAX as usize {
                break;
            }
        }
        let mut rows = rows.into_iter();
        Ok(rows.next().map(|newest| Receipt { newest, earlier: rows.collect(), comparisons }))
    }

    /// The blocks that may have the request with this id, newest first.
    fn blocks_with(&self, request_id: &str) -> Result<Vec<i64>, LedgerError> {
        let key = block::key(request_id);
        // All of it is in the index.
        let mut select = self.connection.prepare("SELECT seq, keys FROM blocks ORDER BY max_ms DESC")?;
        let (mut rows, mut found) = (select.query([])?, Vec::new());
        while let Some(row) = rows.next()? {
            if block::has(row.get_ref(1)?.as_bytes().unwrap_or_default(), key) {
                found.push(row.get(0)?);
            }
            if found.len() == LOOKED_MAX {
                break;
            }
        }
        found.sort_unstable_by_key(|seq: &i64| Reverse(*seq));
        Ok(found)
    }

    /// The targets of a decision as they were, and how many of them this version cannot read.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn targets(&self, recorded: &[RecordedTarget]) -> Result<(Vec<TargetFacts>, usize), LedgerError> {
        let mut targets = Vec::with_capacity(recorded.len());
        for target in recorded {
            targets.extend(self.profile(&target.profile)?.and_then(|profile| target.facts(profile)));
        }
        let unread = recorded.len() - targets.len();
        Ok((targets, unread))
    }

    /// All facts of a decision, with those that its record does not repeat; `None` where these are not there any more.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn facts(&self, decision: &RecordedDecision) -> Result<Option<RecordedFacts>, LedgerError> {
        let base = match &decision.base {
            None => Some(Arc::default()),
            Some(name) => self.shared(&self.bases, name, |json| serde_json::from_str(json).ok())?,
        };
        Ok(base.map(|base| decision.facts.upon(&base)))
    }

    fn profile(&self, name: &str) -> Result<Option<Arc<TargetProfile>>, LedgerError> {
        self.shared(&self.profiles, name, |json| serde_json::from_str::<RecordedProfile>(json).ok()?.profile())
    }

    /// What records call by this name, read once.
    fn shared<T>(
        &self,
        known: &RefCell<HashMap<String, Option<Arc<T>>>>,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<Arc<T>>, LedgerError> {
        if let Some(known) = known.borrow().get(name) {
            return Ok(known.clone());
        }
        let found = shared::read(&self.connection, name)?.and_then(|json| read(&json)).map(Arc::new);
        known.borrow_mut().insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// What records share, by name: each with its JSON.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn all_shared(&self) -> Result<Vec<(String, String)>, LedgerError> {
        let mut select = self.connection.prepare("SELECT name, value FROM shared ORDER BY name")?;
        Ok(select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
    }

    /// What exchanges of this kind since a time came to.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn spent(&self, kind: &str, since_ms: u64) -> Result<Spent, LedgerError> {
        let filter = Filter { since_ms: Some(since_ms), kind: Some(kind.to_owned()), ..Filter::default() };
        let mut spent = Spent::default();
        self.find(&filter, |_, figures| {
            spent.count += 1;
            spent.usd += figures.and_then(|figures| figures.cost_usd).unwrap_or_default();
            true
        })?;
        Ok(spent)
    }

    /// What the records that are wanted come to.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn summary(&self, filter: &Filter) -> Result<Summary, LedgerError> {
        let mut summary = Summary::default();
        self.find(filter, |_, figures| {
            summary.add(figures);
            true
        })?;
        summary.sort();
        Ok(summary)
    }
}

impl Filter {
    /// Whether the record at this place is wanted; one that cannot be read where nothing is asked of its content.
    fn wants(&self, place: i64, figures: Option<&Figures<'_>>) -> bool {
        let Self { since_ms, until_ms, target, route, outcome, kind, after_seq, newest: _ } = self;
        if place <= signed(after_seq.unwrap_or_default()) {
            return false;
        }
        let Some(figures) = figures else {
            return since_ms.or(*until_ms).is_none()
                && [target, route, outcome, kind].iter().all(|text| text.is_none());
        };
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        since_ms.is_none_or(|since| figures.at_ms >= since)
            && until_ms.is_none_or(|until| figures.at_ms < until)
            && is(target, figures.target.as_deref().or(Some("none")))
            && is(route, figures.route.as_deref())
            && is(outcome, Some(&figures.outcome))
            && is(kind, Some(&figures.kind))
    }
}

fn row(stored: Stored<'_>) -> Result<Row, LedgerError> {
    let seq = unsigned(stored.place);
    let unread = |reason: String| LedgerError::Record { seq, reason };
    // What a disk has changed may be no text any more.
    let json = std::str::from_utf8(stored.text).map_err(|error| unread(error.to_string()))?.to_owned();
    let hash = stored.hash.ok_or_else(|| unread("its hash is not 32 bytes long".to_owned()))?;
    let record = serde_json::from_str(&json).map_err(|error| unread(error.to_string()))?;
    Ok(Row { head: Head { seq, hash }, json, record })
}
