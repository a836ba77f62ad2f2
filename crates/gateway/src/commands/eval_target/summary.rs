//! What is shown while a set runs, and the account of it at the end.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use signals::learn::{mean, mean_interval};

use super::labels::Label;

/// How often a line is shown on a terminal, and elsewhere.
const SHOW_EVERY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Failures told one by one; the others are counted.
const FAILURES_SHOWN_MAX: usize = 10;

/// A run on its way, shown on standard error.
pub(super) struct Progress {
    rows: usize,
    begun: Instant,
    shown: Instant,
    terminal: bool,
    labelled: usize,
    failed: usize,
    sum: f64,
    tokens: u64,
}

impl Progress {
    pub(super) fn new(rows: usize, now: Instant) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { rows, begun: now, shown: now, terminal, labelled: 0, failed: 0, sum: 0.0, tokens: 0 }
    }

    pub(super) fn labelled(&mut self, label: &Label) {
        self.labelled += 1;
        self.sum += label.score;
        self.tokens += label.completion_tokens.unwrap_or(0);
        self.show();
    }

    /// A prompt without an answer. The reason may quote the target; it goes to the person who runs this and to no log.
    pub(super) fn failed(&mut self, id: &str, reason: &str) {
        self.failed += 1;
        if self.failed <= FAILURES_SHOWN_MAX {
            self.line(&format!("{id}: no answer: {reason}\n"));
        }
        self.show();
    }

    /// The account of this run.
    pub(super) fn finish(self) -> String {
        let took = self.begun.elapsed();
        self.line("");
        let again = if self.failed > 0 { "; run it again to ask those once more" } else { "" };
        format!(
            "{} answered, {} failed{again}; {} tokens in {} ({:.1} tokens/s)",
            self.labelled,
            self.failed,
            self.tokens,
            minutes(took),
            self.tokens as f64 / took.as_secs_f64().max(0.001)
        )
    }

    fn show(&mut self) {
        let every = if self.terminal { SHOW_EVERY.0 } else { SHOW_EVERY.1 };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let (done, took) = (self.labelled + self.failed, self.begun.elapsed());
        let left = took.mul_f64(self.rows.saturating_sub(done) as f64 / done.max(1) as f64);
        let score = self.sum / self.labelled.max(1) as f64;
        let (rows, failed, left) = (self.rows, self.failed, minutes(left));
        let end = if self.terminal { "" } else { "\n" };
        self.line(&format!("{done}/{rows}  mean score {score:.3}  failed {failed}  {left} left{end}"));
    }

    fn line(&self, text: &str) {
        let begin = if self.terminal { "\r\x1b[K" } else { "" };
        // Nothing can be done about a closed standard error.
        let _ = write!(std::io::stderr(), "{begin}{text}").and_then(|()| std::io::stderr().flush());
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

/// What the labels of a set say, for each task and in all.
pub(super) struct Summary {
    rows: Vec<TaskSummary>,
}

struct TaskSummary {
    task: String,
    scores: Vec<f64>,
    cut: usize,
    completion_tokens: u64,
}

impl Summary {
    /// Of the labels whose rows are in the set.
    pub(super) fn of(labels: &[Label], ids: &HashSet<String>) -> Self {
        let mut tasks: BTreeMap<&str, TaskSummary> = BTreeMap::new();
        let labels: Vec<_> = labels.iter().filter(|label| ids.contains(&label.id)).collect();
        for label in &labels {
            tasks.entry(&label.task).or_insert_with(|| TaskSummary::new(&label.task)).add(label);
        }
        let mut all = TaskSummary::new("in all");
        labels.iter().for_each(|label| all.add(label));
        let mut rows: Vec<_> = tasks.into_values().collect();
        if rows.len() != 1 {
            rows.push(all);
        }
        Self { rows }
    }
}

impl TaskSummary {
    fn new(task: &str) -> Self {
        Self { task: task.to_owned(), scores: Vec::new(), cut: 0, completion_tokens: 0 }
    }

    fn add(&mut self, label: &Label) {
        self.scores.push(label.score);
        self.cut += usize::from(label.finish_reason.as_deref() == Some("length"));
        self.completion_tokens += label.completion_tokens.unwrap_or(0);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.task.len()).max().unwrap_or(0).max(4);
        writeln!(f, "{:width$}  {:>6}  {:>6}  95 % interval   cut off  tokens", "task", "rows", "score")?;
        for (n, row) in self.rows.iter().enumerate() {
            let (interval, count) = (mean_interval(&row.scores), row.scores.len());
            let score = if count == 0 { 0.0 } else { mean(&row.scores) };
            let interval = if count == 0 { "-".into() } else { format!("{:.3} to {:.3}", interval.low, interval.high) };
            let end = if n + 1 < self.rows.len() { "\n" } else { "" };
            write!(
                f,
                "{:width$}  {count:>6}  {score:>6.3}  {interval:14}  {:>7}  {}{end}",
                row.task, row.cut, row.completion_tokens
            )?;
        }
        Ok(())
    }
}
