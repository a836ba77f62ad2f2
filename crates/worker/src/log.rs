//! What a child says: into a bounded file, into a short memory for error reports, and, while it starts, into our log.
//!
//! Until the child is ready everything is kept: it has seen no prompt. From then on `llama-server` writes text that it
//! was sent (seen with b10359 at its default verbosity: a grammar that does not parse, with the whole grammar; the
//! parser's message about a malformed request; a failed tool call), so only lines whose whole shape is known to hold
//! nothing but numbers are kept (`log/shapes.rs`), and nothing goes into our log. The others are counted, and a note
//! with their number takes their place.

mod file;
mod output;
mod shapes;

pub(crate) use file::LogFile;

use std::collections::VecDeque;
use std::io::PipeReader;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::{info, warn};

use output::{Line, Output};

/// Lines kept for error reports.
const TAIL_LINES_MAX: usize = 40;

/// The output of one child.
#[derive(Debug)]
pub(crate) struct ChildLog {
    worker: String,
    file: Arc<LogFile>,
    output: OnceLock<Output>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    tail: VecDeque<String>,
    withheld: u64,
}

impl ChildLog {
    /// For a new child of that worker; `file` is shared by all its children.
    pub(crate) fn new(worker: String, file: Arc<LogFile>) -> Self {
        Self { worker, file, output: OnceLock::new(), kept: Mutex::default() }
    }

    /// Takes over the reading end of the child's output, before there is a child.
    pub(crate) fn attach(&self, output: PipeReader) {
        // A child has one output; a second one would be closed here.
        let _ = self.output.set(Output::new(output));
    }

    /// The child will see prompts: what it writes from here on is filtered. Called before it can get a request.
    pub(crate) fn serving_begins(&self) {
        if let Some(output) = self.output.get() {
            output.begin_private();
        }
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.kept().tail.iter().cloned().collect()
    }

    /// Writes a line of our own to the file.
    pub(crate) fn note(&self, text: &str) {
        self.file.append(&format!("-- tidegate: {text}"));
    }

    /// Reads until the output ends or fails.
    pub(crate) fn read(&self) {
        if let Some(output) = self.output.get() {
            output.read_lines(|line| self.take(line));
        }
        let mut kept = self.kept();
        self.tell_withheld(&mut kept);
    }

    fn take(&self, line: Line) {
        let mut kept = self.kept();
        if line.is_private {
            if !shapes::is_harmless(&line.text) {
                kept.withheld += 1;
                return;
            }
            self.tell_withheld(&mut kept);
        } else {
            self.forward(&line.text);
        }
        self.file.append(&line.text);
        if kept.tail.len() == TAIL_LINES_MAX {
            kept.tail.pop_front();
        }
        kept.tail.push_back(line.text);
    }

    fn tell_withheld(&self, kept: &mut Kept) {
        match std::mem::take(&mut kept.withheld) {
            0 => {}
            withheld => self.note(&format!("{withheld} lines withheld, which may hold text of a request")),
        }
    }

    /// To our log: what an operator wants of a start.
    fn forward(&self, line: &str) {
        let worker = self.worker.as_str();
        match shapes::importance(line) {
            shapes::Importance::Problem => warn!(worker, line, "llama-server says"),
            shapes::Importance::Milestone => info!(worker, line, "llama-server says"),
            shapes::Importance::Chatter => {}
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
