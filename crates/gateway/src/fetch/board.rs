//! How far each fetch is, for `/readyz`; passed on to whoever shows it to a person.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifacts::{Progress, Stage, Unit};
use serde::{Deserialize, Serialize};

/// One stage of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// What is being done, such as `downloading smollm2-135m-instruct`.
    pub phase: String,
    /// `bytes` or `steps`.
    pub unit: String,
    pub done: u64,
    /// How much there is in all, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, unit, done, total } = self;
        match total {
            Some(total) => write!(f, "{phase}, {done} of {total} {unit}"),
            None => write!(f, "{phase}, {done} {unit}"),
        }
    }
}

/// The fetches that are running.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    next: u64,
    stages: BTreeMap<u64, Shown>,
}

/// Notes on a board what it passes on.
pub(crate) struct Watched {
    shown_by: Box<dyn Progress>,
    board: Arc<Board>,
    place: u64,
}

impl Board {
    /// All stages that are running, in the order in which their fetches began.
    pub(crate) fn stages(&self) -> Vec<Shown> {
        self.lock().stages.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    pub(crate) fn new(shown_by: Box<dyn Progress>, board: Arc<Board>) -> Self {
        let place = {
            let mut running = board.lock();
            running.next += 1;
            running.next
        };
        Self { shown_by, board, place }
    }
}

impl Progress for Watched {
    fn began(&self, stage: &Stage<'_>) {
        let unit = match stage.unit {
            Unit::Bytes => "bytes",
            Unit::Steps => "steps",
        };
        let shown = Shown {
            phase: stage.what.clone().into_owned(),
            unit: unit.to_owned(),
            done: stage.already,
            total: stage.total,
        };
        self.board.lock().stages.insert(self.place, shown);
        self.shown_by.began(stage);
    }

    fn advanced(&self, amount: u64) {
        if let Some(shown) = self.board.lock().stages.get_mut(&self.place) {
            shown.done = shown.done.saturating_add(amount);
        }
        self.shown_by.advanced(amount);
    }

    fn note(&self, line: &str) {
        self.shown_by.note(line);
    }

    fn finished(&self) {
        self.board.lock().stages.remove(&self.place);
        self.shown_by.finished();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.board.lock().stages.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use artifacts::SilentProgress;

    use super::*;

    #[test]
    fn shows_what_runs_and_nothing_that_is_over() {
        let board = Arc::new(Board::default());
        let watched = || Watched::new(Box::new(SilentProgress), Arc::clone(&board));
        let (first, second) = (watched(), watched());
        let stage = |what: &'static str| Stage { what: what.into(), unit: Unit::Bytes, total: Some(10), already: 2 };
        second.began(&stage("downloading b"));
        first.began(&stage("downloading a"));
        first.advanced(3);
        let shown =
            |phase: &str, done| Shown { phase: phase.to_owned(), unit: "bytes".to_owned(), done, total: Some(10) };
        assert_eq!(board.stages(), [shown("downloading a", 5), shown("downloading b", 2)]);
        first.finished();
        first.advanced(1);
        assert_eq!(board.stages(), [shown("downloading b", 2)]);
        drop(second);
        assert_eq!(board.stages(), []);
    }
}
