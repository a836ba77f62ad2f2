//! What the commands read of the label store, also while a gateway writes to it.

use std::path::Path;

use policy::Privacy;
use rusqlite::{Connection, Row, params};

use super::{LabelError, OutcomeSource, schema};

/// The outcome that holds for an answer: of the most trusted source.
const BEST_OUTCOME: &str = "JOIN outcomes o ON o.answer = a.id AND o.source = (
    SELECT source FROM outcomes WHERE answer = a.id ORDER BY CASE source
        WHEN 'feedback' THEN 0 WHEN 'evaluation' THEN 1 WHEN 'verifier' THEN 2 ELSE 3 END LIMIT 1)";

/// An open store.
pub struct LabelReader {
    connection: Connection,
}

/// How many answers and labels there are of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetLabels {
    /// The target.
    pub target: String,
    /// Answers kept.
    pub answers: u64,
    /// Of them with an outcome.
    pub labelled: u64,
    /// Of them with features, so that a head can be fitted to them.
    pub usable: u64,
    /// Outcomes of each source, in the order of [`OutcomeSource::ALL`].
    pub by_source: [u64; 4],
    /// Mean score of those with an outcome.
    pub mean_score: Option<f64>,
    /// When the oldest and the newest were answered, Unix time in seconds.
    pub between_s: (i64, i64),
}

/// An answer with its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedAnswer {
    /// Its request id.
    pub request_id: String,
    /// When it was answered, Unix time in seconds.
    pub at_s: i64,
    /// The target.
    pub target: String,
    /// The class of its request.
    pub privacy: Privacy,
    /// The kind of task.
    pub task: Option<String>,
    /// Source, score and weight of the outcome that holds.
    pub outcome: Option<(OutcomeSource, f64, f64)>,
}

/// A label as heads are fitted to it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingRow {
    /// The answer it is of.
    pub listed: ListedAnswer,
    /// The model behind the target when it answered.
    pub model: String,
    /// The classifier that the features are of.
    pub classifier: String,
    /// The scaled features.
    pub features: Vec<f32>,
}

impl LabelReader {
    /// Opens a store that is there.
    ///
    /// # Errors
    /// [`LabelError`] for a file that is none.
    pub fn open(path: &Path) -> Result<Self, LabelError> {
        Ok(Self { connection: schema::open_to_read(path)? })
    }

    /// How much there is of each target, by its id.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn targets(&self) -> Result<Vec<TargetLabels>, LabelError> {
        let sql = format!(
            "SELECT a.target, COUNT(*), COUNT(best.score), COUNT(CASE WHEN best.score IS NOT NULL THEN a.features END),
                 AVG(best.score), MIN(a.at_s), MAX(a.at_s)
             FROM answers a LEFT JOIN (SELECT a.id, o.score FROM answers a {BEST_OUTCOME}) best ON best.id = a.id
             GROUP BY a.target ORDER BY a.target"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let read = |row: &Row<'_>| {
            Ok(TargetLabels {
                target: row.get(0)?,
                answers: row.get::<_, i64>(1)?.unsigned_abs(),
                labelled: row.get::<_, i64>(2)?.unsigned_abs(),
                usable: row.get::<_, i64>(3)?.unsigned_abs(),
                by_source: [0; 4],
                mean_score: row.get(4)?,
                between_s: (row.get(5)?, row.get(6)?),
            })
        };
        let mut targets = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let sql =
            "SELECT COUNT(*) FROM outcomes o JOIN answers a ON a.id = o.answer WHERE a.target = ?1 AND o.source = ?2";
        let mut count = self.connection.prepare(sql)?;
        for target in &mut targets {
            for (source, counted) in OutcomeSource::ALL.iter().zip(&mut target.by_source) {
                let found: i64 = count.query_row(params![target.target, source.as_str()], |row| row.get(0))?;
                *counted = found.unsigned_abs();
            }
        }
        Ok(targets)
    }

    /// The newest answers, of one target or of all.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn newest(&self, target: Option<&str>, count: u32) -> Result<Vec<ListedAnswer>, LabelError> {
        let outer = BEST_OUTCOME.replacen("JOIN", "LEFT JOIN", 1);
        let sql = format!(
            "SELECT a.request_id, a.at_s, a.target, a.privacy, a.task, o.source, o.score, o.weight
             FROM answers a {outer} WHERE ?1 IS NULL OR a.target = ?1 ORDER BY a.at_s DESC, a.id DESC LIMIT ?2"
        );
        let mut statement = self.connection.prepare(&sql)?;
        Ok(statement.query_map(params![target, count], listed)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Every label that has features, oldest first, of one target or of all.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn training(&self, target: Option<&str>) -> Result<Vec<TrainingRow>, LabelError> {
        let sql = format!(
            "SELECT a.request_id, a.at_s, a.target, a.privacy, a.task, o.source, o.score, o.weight,
                 a.model, a.classifier, a.features
             FROM answers a {BEST_OUTCOME}
             WHERE a.features IS NOT NULL AND (?1 IS NULL OR a.target = ?1) ORDER BY a.at_s, a.id"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let read = |row: &Row<'_>| {
            let bytes: Vec<u8> = row.get(10)?;
            let number = |bytes: &[u8]| bytes.try_into().map_or(f32::NAN, f32::from_le_bytes);
            let features = bytes.chunks(4).map(number).collect();
            Ok(TrainingRow { listed: listed(row)?, model: row.get(8)?, classifier: row.get(9)?, features })
        };
        Ok(statement.query_map([target], read)?.collect::<rusqlite::Result<_>>()?)
    }
}

fn listed(row: &Row<'_>) -> rusqlite::Result<ListedAnswer> {
    let privacy: String = row.get(3)?;
    let source: Option<String> = row.get(5)?;
    let outcome = match source.as_deref().and_then(OutcomeSource::parse) {
        Some(source) => Some((source, row.get(6)?, row.get(7)?)),
        None => None,
    };
    Ok(ListedAnswer {
        request_id: row.get(0)?,
        at_s: row.get(1)?,
        target: row.get(2)?,
        // A word that is not known is taken for the strictest.
        privacy: Privacy::parse(&privacy).unwrap_or(Privacy::Restricted),
        task: row.get(4)?,
        outcome,
    })
}
