//! The labelled set, read whole before anything is asked: every line that is wrong is reported, with its place.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use policy::TargetId;
use serde_json::json;
use signals::learn::{LABELLED_LINE_BYTES_MAX, LabelledRow, Scorer};
use wire::ChatRequest;

/// Wrong lines told at most.
const PROBLEMS_SHOWN_MAX: usize = 20;
/// Seed of every request, for targets that take one.
const SEED: u64 = 0;

/// A prompt as it is asked.
pub(super) struct Row {
    pub id: String,
    pub task: String,
    pub scorer: Scorer,
    pub request: ChatRequest,
}

/// A set, without what comes after the limit.
pub(super) struct Dataset {
    pub rows: Vec<Row>,
    pub ids: HashSet<String>,
    pub count: usize,
}

impl Dataset {
    /// Reads the first `limit` rows of a file. Empty lines are passed over.
    ///
    /// # Errors
    /// A file that cannot be read; all lines that are wrong.
    pub(super) fn load(path: &Path, target: &TargetId, limit: Option<usize>, max_tokens: u64) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let (mut rows, mut ids, mut problems) = (Vec::new(), HashSet::new(), Vec::new());
        let mut reader = BufReader::new(file);
        for number in 1_usize.. {
            if limit.is_some_and(|limit| ids.len() >= limit) {
                break;
            }
            let mut line = Vec::new();
            let read = reader.by_ref().take(LABELLED_LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
            if read.with_context(|| format!("{} cannot be read", path.display()))? == 0 {
                break;
            }
            if line.len() > LABELLED_LINE_BYTES_MAX {
                bail!("{}:{number}: is longer than {LABELLED_LINE_BYTES_MAX} bytes", path.display());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match row(&line, target, max_tokens) {
                Ok(row) if !ids.insert(row.id.clone()) => {
                    problems.push((number, format!("id {:?} is used above", row.id)))
                }
                Ok(row) => rows.push(row),
                Err(problem) => problems.push((number, problem)),
            }
        }
        if problems.is_empty() {
            return Ok(Self { count: rows.len(), rows, ids });
        }
        let shown = problems.iter().take(PROBLEMS_SHOWN_MAX);
        let mut lines: Vec<_> =
            shown.map(|(number, problem)| format!("{}:{number}: {problem}", path.display())).collect();
        if problems.len() > PROBLEMS_SHOWN_MAX {
            lines.push(format!("and {} more", problems.len() - PROBLEMS_SHOWN_MAX));
        }
        bail!("{}", lines.join("\n"))
    }
}

fn row(line: &[u8], target: &TargetId, max_tokens: u64) -> Result<Row, String> {
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    let LabelledRow { id, messages, scorer, max_tokens: own, task } =
        LabelledRow::parse(line).map_err(|error| error.to_string())?;
    let body = json!({
        "model": target.as_str(),
        "messages": messages,
        "temperature": 0,
        "seed": SEED,
        "max_tokens": own.unwrap_or(max_tokens),
        "stream": true,
    });
    let request = ChatRequest::parse(body.to_string().into()).map_err(|error| error.to_string())?;
    Ok(Row { id, task, scorer, request })
}
