//! What the callers of one answer have in common: its pieces as far as they are held, how it ended, who waits.
//!
//! Knows neither who drives the work nor what it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use dispatch::{Failure, StreamEnd};
use policy::{Locality, TargetId};
use wire::{UpstreamError, Usage};

#[derive(Default)]
pub(super) struct State {
    /// What kind of answer it is, once that is known.
    pub(super) head: Option<Head>,
    pub(super) pieces: VecDeque<Bytes>,
    /// The number of the first piece that is held.
    pub(super) first: usize,
    pub(super) bytes: usize,
    pub(super) keep_bytes_max: usize,
    pub(super) lag_bytes_max: usize,
    pub(super) end: Option<End>,
    /// As many pieces have been asked for.
    pub(super) wanted: usize,
    /// Who waits, by its place in the row; the waker of who waits just now.
    pub(super) seats: BTreeMap<u64, Option<Waker>>,
    pub(super) next_seat: u64,
    /// Who accounts for what was tried.
    pub(super) payer: Option<u64>,
    /// Somebody wanted to drive the work while another one did.
    pub(super) missed: bool,
    pub(super) target: Option<(TargetId, Locality)>,
    pub(super) first_content_at: Option<Instant>,
    pub(super) is_kept: bool,
    /// Counts what was added.
    pub(super) changes: u64,
}

/// What kind of answer it is.
#[derive(Clone)]
pub(in crate::recall) enum Head {
    /// In one piece.
    Whole { body: Bytes, usage: Usage, is_usage_estimated: bool },
    /// A stream, whose first piece has come.
    Stream,
    /// The target refused the request itself.
    Rejected { status: u16, error: UpstreamError },
    /// Nobody answered.
    Failed(Arc<Failure>),
}

/// How a stream ended, and what it brought.
#[derive(Clone)]
pub(in crate::recall) struct End {
    pub how: StreamEnd,
    pub usage: Option<Usage>,
    pub is_usage_estimated: bool,
}

impl End {
    /// Token counts, where the target counted.
    pub(in crate::recall) fn counted(&self) -> Option<Usage> {
        self.usage.filter(|_| !self.is_usage_estimated)
    }
}

/// What comes next.
pub(in crate::recall) enum Next {
    /// Whole events, up to the piece of this number; its end where they are the last of a whole stream.
    Pieces { events: Bytes, at: usize, end: Option<End> },
    /// Nothing any more.
    End(End),
    /// What should have come is no longer held.
    Lagged,
}

impl State {
    pub(super) fn is_over(&self) -> bool {
        match &self.head {
            None => false,
            Some(Head::Stream) => self.end.is_some(),
            Some(_) => true,
        }
    }

    pub(super) fn next(&mut self, at: usize) -> Option<Next> {
        let held = self.first + self.pieces.len();
        if at < self.first {
            return Some(Next::Lagged);
        }
        if at < held {
            let mut pieces = self.pieces.iter().skip(at - self.first);
            let events = match (pieces.next(), held - at) {
                (Some(only), 1) => only.clone(),
                (first, _) => first.into_iter().chain(pieces).flat_map(|piece| piece.iter().copied()).collect(),
            };
            let end = self.end.clone().filter(|end| end.how == StreamEnd::Complete);
            return Some(Next::Pieces { events, at: held, end });
        }
        if let Some(end) = &self.end {
            return Some(Next::End(end.clone()));
        }
        self.wanted = self.wanted.max(at + 1);
        None
    }

    /// The work has ended without a word: a defect.
    pub(super) fn give_up(&mut self) {
        let how = StreamEnd::Interrupted { detail: "the gateway lost the stream".to_owned(), stalled: false };
        self.end.get_or_insert(End { how, usage: None, is_usage_estimated: false });
        self.head.get_or_insert_with(|| Head::Failed(Arc::new(Failure::Exhausted)));
    }

    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        self.seats.values_mut().filter_map(Option::take).collect()
    }
}
