//! What commands and receipts read of the ledger, also while a gateway writes to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use policy::{TargetFacts, TargetProfile};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params_from_iter};

use super::chain::{Hash, Head};
use super::facts::RecordedFacts;
use super::profiles::RecordedProfile;
use super::record::{Record, RecordedDecision, RecordedTarget};
use super::retention::{anchor, bytes, head, signed, unsigned};
use super::{LedgerError, schema, shared};

/// Records are written in the order of their time, but for threads that overtake each other and clocks that are set; so much
/// earlier it is begun to look.
const DISORDER_MS: u64 = 300_000;
/// Records that are read at a time. Nothing of the file is held while they are looked at: whoever takes long over it does not keep the
/// log from being brought into the file, which would grow for as long.
const READ_AT_ONCE: u64 = 512;
/// Exchanges with the same id that a receipt tells of at most.
const SAME_ID_MAX: u32 = 16;

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
    /// Where it stands.
    pub head: Head,
    /// Its text, over which the hash is.
    pub json: String,
    /// What it says.
    pub record: Record<'static>,
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

/// What a time has brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Exchanges that a caller waited for, or that were sent for one later; no comparisons.
    pub requests: u64,
    /// Of them, answered.
    pub answered: u64,
    /// Of them, answered on the device or without asking anybody.
    pub stayed: u64,
    /// By how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// What they cost, as far as that is known.
    pub cost_usd: f64,
    /// Answered, but at an unknown cost.
    pub cost_unknown: u64,
    /// What they would have cost at the references, less what they cost, as far as that is known.
    pub cost_avoided_usd: f64,
    /// Answered with what they avoided known.
    pub cost_avoided_known: u64,
    /// What hedges that lost are estimated to have cost.
    pub lost_hedges_usd: f64,
    /// Comparisons, and what they cost.
    pub comparisons: (u64, f64),
    /// By the target that answered, by its id.
    pub targets: BTreeMap<String, TargetSummary>,
    /// Records that are none any more, and are in none of these numbers.
    pub unreadable: u64,
    /// Settled first and last, Unix time in milliseconds.
    pub between_ms: Option<(u64, u64)>,
}

/// What one target did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetSummary {
    /// Requests that it answered, or was last answering.
    pub requests: u64,
    /// Of them, whole.
    pub answered: u64,
    /// Tokens of prompts and answers.
    pub tokens: (u64, u64),
    /// As far as known.
    pub cost_usd: f64,
    /// Milliseconds to the first content of each stream, in order of size.
    pub ttft_ms: Vec<f64>,
    /// Milliseconds of each whole answer, in order of size.
    pub duration_ms: Vec<f64>,
}

/// How often something was done, and what that cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// How often.
    pub count: u64,
    /// US dollars, as far as known.
    pub usd: f64,
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
        if let Some(newest) = filter.newest {
            for row in self.read(filter, "DESC", newest)?.into_iter().rev() {
                if !each(row?) {
                    break;
                }
            }
            return Ok(());
        }
        let mut filter = filter.clone();
        loop {
            let some = self.read(&filter, "ASC", READ_AT_ONCE)?;
            if some.is_empty() {
                return Ok(());
            }
            for row in some {
                let row = row?;
                filter.after_seq = Some(row.head.seq);
                if !each(row) {
                    return Ok(());
                }
            }
        }
    }

    /// At most so many of the records that are wanted, in this order.
    fn read(&self, filter: &Filter, order: &str, limit: u64) -> Result<Vec<Result<Row, LedgerError>>, LedgerError> {
        let (condition, mut values) = self.condition(filter)?;
        values.push(Value::Integer(signed(limit)));
        let sql = format!("SELECT seq, hash, record FROM exchanges WHERE {condition} ORDER BY seq {order} LIMIT ?");
        let mut select = self.connection.prepare(&sql)?;
        let mut rows = select.query(params_from_iter(values))?;
        let mut found = Vec::new();
        while let Some(next) = rows.next()? {
            found.push(row(next));
        }
        Ok(found)
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
        let newest = |is_comparison: bool| -> Result<Vec<Row>, LedgerError> {
            let sql = "SELECT seq, hash, record FROM exchanges WHERE request_id = ?1 AND (kind = 'comparison') = ?2
                       ORDER BY seq DESC LIMIT ?3";
            let mut select = self.connection.prepare(sql)?;
            let (mut found, mut rows) = (select.query((request_id, is_comparison, SAME_ID_MAX))?, Vec::new());
            while let Some(next) = found.next()? {
                rows.push(row(next)?);
            }
            Ok(rows)
        };
        let mut rows = newest(false)?.into_iter();
        let Some(first) = rows.next() else { return Ok(None) };
        Ok(Some(Receipt { newest: first, earlier: rows.collect(), comparisons: newest(true)? }))
    }

    /// The targets of a decision as they were, and how many of them this version cannot read.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn targets(&self, recorded: &[RecordedTarget<'_>]) -> Result<(Vec<TargetFacts>, usize), LedgerError> {
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
    pub fn facts<'a>(&self, decision: &RecordedDecision<'a>) -> Result<Option<RecordedFacts<'a>>, LedgerError> {
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
        let (condition, values) = self.condition(&filter)?;
        let sql = format!("SELECT count(*), total(cost_usd) FROM exchanges WHERE {condition}");
        let read = |row: &SqlRow<'_>| Ok(Spent { count: unsigned(row.get(0)?), usd: row.get(1)? });
        Ok(self.connection.query_row(&sql, params_from_iter(values), read)?)
    }

    /// What the records that are wanted come to.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn summary(&self, filter: &Filter) -> Result<Summary, LedgerError> {
        let (condition, values) = self.condition(filter)?;
        let lost = "(SELECT total(value ->> '$.cost_usd') FROM json_each(content, '$.attempts')
                     WHERE value ->> '$.outcome' = 'hedge_lost')";
        let sql = format!(
            "SELECT kind, outcome, target, locality, at_ms, cost_usd, content ->> '$.cost_avoided_usd',
                    CAST(content ->> '$.tokens.input' AS INTEGER), CAST(content ->> '$.tokens.output' AS INTEGER),
                    content ->> '$.ttft_ms',
                    content ->> '$.duration_ms', content ->> '$.cache',
                    CASE WHEN instr(content, '\"hedge_lost\"') THEN {lost} ELSE 0.0 END
             FROM exchanges WHERE {condition} ORDER BY seq"
        );
        let mut select = self.connection.prepare(&sql)?;
        let mut rows = select.query(params_from_iter(values))?;
        let mut summary = Summary::default();
        while let Some(row) = rows.next()? {
            summary.add(row)?;
        }
        for target in summary.targets.values_mut() {
            target.ttft_ms.sort_by(f64::total_cmp);
            target.duration_ms.sort_by(f64::total_cmp);
        }
        Ok(summary)
    }

    /// The condition of a filter, with the values for its question marks.
    fn condition(&self, filter: &Filter) -> Result<(String, Vec<Value>), LedgerError> {
        let mut after = filter.after_seq.unwrap_or_default();
        if let Some(since) = filter.since_ms {
            after = after.max(self.before(since.saturating_sub(DISORDER_MS))?);
        }
        let number = |value: Option<u64>| value.map(|value| Value::Integer(signed(value)));
        let text = |value: &Option<String>| value.clone().map(Value::Text);
        let conditions = [
            ("seq > ?", number(Some(after))),
            ("at_ms >= ?", number(filter.since_ms)),
            ("at_ms < ?", number(filter.until_ms)),
            ("ifnull(target, 'none') = ?", text(&filter.target)),
            ("route = ?", text(&filter.route)),
            ("outcome = ?", text(&filter.outcome)),
            ("kind = ?", text(&filter.kind)),
        ];
        let (texts, values): (Vec<_>, Vec<_>) =
            conditions.into_iter().filter_map(|(text, value)| Some((text, value?))).unzip();
        Ok((texts.join(" AND "), values))
    }

    /// The last place before the records of a time, found by halving; the begin where the clock was set back, so that they may be anywhere.
    fn before(&self, at_ms: u64) -> Result<u64, LedgerError> {
        let (mut low, mut high) = (anchor(&self.connection)?.seq, head(&self.connection)?.seq);
        if self.connection.query_row("SELECT EXISTS (SELECT 1 FROM turns)", [], |row| row.get(0))? {
            return Ok(low);
        }
        let mut find = self.connection.prepare("SELECT at_ms FROM exchanges WHERE seq = ?1")?;
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let at: Option<Option<i64>> = find.query_row([signed(middle)], |row| row.get(0)).optional()?;
            // One that was removed is looked past, towards the older ones.
            if at.flatten().is_some_and(|at| at < signed(at_ms)) { low = middle } else { high = middle - 1 }
        }
        Ok(low)
    }
}

impl Summary {
    fn add(&mut self, row: &SqlRow<'_>) -> rusqlite::Result<()> {
        let (Some(kind), Some(outcome)): (Option<String>, Option<String>) = (row.get(0)?, row.get(1)?) else {
            self.unreadable += 1;
            return Ok(());
        };
        let (target, locality): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
        let cost: Option<f64> = row.get(5)?;
        let at_ms = unsigned(row.get(4)?);
        let (first, last) = self.between_ms.unwrap_or((at_ms, at_ms));
        self.between_ms = Some((first.min(at_ms), last.max(at_ms)));
        self.lost_hedges_usd += row.get::<_, f64>(12)?;
        if kind == "comparison" {
            self.comparisons = (self.comparisons.0 + 1, self.comparisons.1 + cost.unwrap_or_default());
            return Ok(());
        }
        let is_answered = outcome == "answered";
        let cache: String = row.get(11)?;
        let is_cached = matches!(cache.as_str(), "hit" | "coalesced");
        let has_stayed = is_answered && (is_cached || locality.as_deref() == Some("device"));
        self.requests += 1;
        self.answered += u64::from(is_answered);
        self.stayed += u64::from(has_stayed);
        self.cost_usd += cost.unwrap_or_default();
        self.cost_unknown += u64::from(is_answered && cost.is_none());
        let avoided: Option<f64> = row.get(6)?;
        self.cost_avoided_usd += avoided.unwrap_or_default();
        self.cost_avoided_known += u64::from(avoided.is_some());
        *self.outcomes.entry(outcome).or_default() += 1;
        let Some(target) = target else { return Ok(()) };
        let of = self.targets.entry(target).or_default();
        of.requests += 1;
        of.answered += u64::from(is_answered);
        of.cost_usd += cost.unwrap_or_default();
        let tokens = |column| row.get::<_, Option<i64>>(column).map(|tokens| tokens.map_or(0, unsigned));
        of.tokens = (of.tokens.0.saturating_add(tokens(7)?), of.tokens.1.saturating_add(tokens(8)?));
        if is_answered {
            of.ttft_ms.extend(row.get::<_, Option<f64>>(9)?);
            of.duration_ms.extend(row.get::<_, Option<f64>>(10)?);
        }
        Ok(())
    }

    /// The share of answers that stayed on the device, from 0 to 1; `None` without answers.
    #[must_use]
    pub fn stayed_share(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.stayed as f64 / self.answered as f64)
    }
}

fn row(row: &SqlRow<'_>) -> Result<Row, LedgerError> {
    let (seq, hash): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
    let seq = unsigned(seq);
    let unread = |reason: String| LedgerError::Record { seq, reason };
    // What a disk has changed may be no text any more.
    let json = row.get_ref(2)?.as_str().map_err(|error| unread(error.to_string()))?.to_owned();
    let hash = Hash::of_bytes(&hash).ok_or_else(|| unread("its hash is not 32 bytes long".to_owned()))?;
    let record = serde_json::from_str(&json).map_err(|error| unread(error.to_string()))?;
    Ok(Row { head: Head { seq, hash }, json, record })
}
