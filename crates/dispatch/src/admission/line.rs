//! Who may use a worker's slots, and who waits for one in which order. Values only: no clocks, no wakers; `admission`
//! waits.
//!
//! - A worker never has more requests than slots.
//! - Prompts are read one after the other, or together where they fit in one batch: llama-server fills its batch with the first
//!   slot's prompt, and a prompt that waits inside it for another notices only afterwards that its caller has left.
//! - Those that wait take turns: by caller, and for each caller by conversation. Nobody is passed over, so that a request that
//!   needs all slots gets them.

use std::collections::VecDeque;

use crate::forecast::{Before, Cached, Caches, EngineSpeed, Prefixes};

/// By whom a request is asked, for fairness: the caller, and its conversation. Hashes; two that collide share their turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The caller, as far as it can be told from others.
    pub caller: u64,
    /// The conversation of that caller.
    pub conversation: u64,
}

/// What one request needs of the worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Need {
    pub(crate) flow: Flow,
    /// Slots: 1, or all for a request with several choices, whose slots the worker picks itself.
    pub(crate) slots: usize,
    /// Tokens of its prompt, estimated.
    pub(crate) prompt: f64,
    /// Of these, those that had to be read by what was cached when it came.
    pub(crate) unread: f64,
    /// Tokens of the answer to expect.
    pub(crate) output: f64,
    /// What of it may be in a cache; nothing for one that must not be read from there.
    pub(crate) prefixes: Prefixes,
}

impl Need {
    /// Tokens of its prompt that are not cached where this much is, estimated.
    pub(crate) fn uncached(&self, cached: Cached) -> f64 {
        self.prompt * (1.0 - cached.share)
    }

    /// As who comes later sees it.
    pub(crate) fn before(&self) -> Before {
        Before { unread: self.unread, output: self.output }
    }
}

/// Names one request in the line; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

/// A request that may go to the worker now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Granted {
    pub(crate) ticket: Ticket,
    /// Tokens of its prompt that are not cached, estimated.
    pub(crate) uncached: f64,
    /// The slot that it has to use; `None` for one that has all.
    pub(crate) slot: Option<usize>,
}

/// A request that is with the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    ticket: Ticket,
    slot: Option<usize>,
    /// Tokens of the prompt still to be read.
    pub(crate) unread: f64,
    /// Tokens of the answer still to be expected.
    pub(crate) output: f64,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    need: Need,
}

/// The requests of one caller that wait, by conversation. Neither list is ever empty.
#[derive(Debug)]
struct Caller {
    key: u64,
    conversations: VecDeque<(u64, VecDeque<Waiting>)>,
}

/// The line in front of one worker.
#[derive(Debug)]
pub(crate) struct Line {
    slots: usize,
    /// Tokens of prompts that may be read at the same time, beside a single prompt that is longer.
    batch_tokens: f64,
    running: Vec<Running>,
    callers: VecDeque<Caller>,
    /// Slots in the order of their last use, the longest unused first.
    unused: VecDeque<usize>,
    waiting: usize,
    next_ticket: u64,
}

impl Line {
    /// A line in front of so many slots, all free.
    pub(crate) fn new(slots: usize, batch_tokens: u64) -> Self {
        Self {
            slots,
            batch_tokens: batch_tokens as f64,
            running: Vec::new(),
            callers: VecDeque::new(),
            unused: (0..slots).collect(),
            waiting: 0,
            next_ticket: 0,
        }
    }

    /// Puts a request at its end of the line. [`Self::grant`] says who may go.
    pub(crate) fn join(&mut self, need: Need) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting += 1;
        let Flow { caller, conversation } = need.flow;
        let waiting = Waiting { ticket, need };
        let Some(caller) = self.callers.iter_mut().find(|known| known.key == caller) else {
            let conversations = VecDeque::from([(conversation, VecDeque::from([waiting]))]);
            self.callers.push_back(Caller { key: caller, conversations });
            return ticket;
        };
        match caller.conversations.iter_mut().find(|(key, _)| *key == conversation) {
            Some((_, line)) => line.push_back(waiting),
            None => caller.conversations.push_back((conversation, VecDeque::from([waiting]))),
        }
        ticket
    }

    /// Takes a request out that still waits; false where it does not.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> bool {
        let before = self.waiting;
        for caller in &mut self.callers {
            for (_, line) in &mut caller.conversations {
                let found = line.iter().position(|waiting| waiting.ticket == ticket);
                self.waiting -= usize::from(found.and_then(|at| line.remove(at)).is_some());
            }
            caller.conversations.retain(|(_, line)| !line.is_empty());
        }
        self.callers.retain(|caller| !caller.conversations.is_empty());
        self.waiting < before
    }

    /// The next request that may go to the worker now, which counts as running from here on. To be called until there is
    /// none, after every change.
    pub(crate) fn grant(&mut self, caches: &Caches, speed: &EngineSpeed) -> Option<Granted> {
        let need = &self.callers.front()?.conversations.front()?.1.front()?.need;
        let cached = caches.cached(&need.prefixes, |slot| self.unused.contains(&slot));
        let uncached = need.uncached(cached);
        let unread = speed.unread(uncached);
        if !self.fits(need.slots, unread) {
            return None;
        }
        let Waiting { ticket, need } = self.take_first()?;
        let slot = if need.slots == 1 {
            self.pick(cached.slot)
        } else {
            self.unused.clear();
            None
        };
        self.running.push(Running { ticket, slot, unread, output: need.output });
        Some(Granted { ticket, uncached, slot })
    }

    /// Ends a running request; false where it is none.
    pub(crate) fn release(&mut self, ticket: Ticket) -> bool {
        let Some(at) = self.running.iter().position(|running| running.ticket == ticket) else { return false };
        let Running { slot, .. } = self.running.swap_remove(at);
        match slot {
            Some(slot) => self.unused.push_back(slot),
            None => self.unused = (0..self.slots).collect(),
        }
        true
    }

    /// The running request, to tell how far it is.
    pub(crate) fn running_mut(&mut self, ticket: Ticket) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.ticket == ticket)
    }

    /// Every running request.
    pub(crate) fn running(&self) -> &[Running] {
        &self.running
    }

    /// Slots that a new request could use.
    pub(crate) fn free_slots(&self) -> &VecDeque<usize> {
        &self.unused
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What those need that would be served before a request of `flow` that came now, in their order.
    pub(crate) fn ahead_of(&self, flow: Flow) -> Vec<&Need> {
        let lines = |caller: &Caller| caller.conversations.iter().map(|(_, line)| line.len()).sum::<usize>();
        let own = self.callers.iter().find(|caller| caller.key == flow.caller).map_or(0, lines);
        let mut turns: Vec<_> = self.callers.iter().map(|caller| (caller.key, in_turn(caller).into_iter())).collect();
        let mut ahead = Vec::new();
        // In each round every caller has one turn; the new request has its own behind all of its caller's.
        for round in 0..=own {
            for (key, line) in &mut turns {
                if round < own || *key != flow.caller {
                    ahead.extend(line.next());
                }
            }
        }
        ahead
    }

    fn fits(&self, slots: usize, unread: f64) -> bool {
        let reading: f64 = self.running.iter().map(|running| running.unread).sum();
        slots <= self.unused.len() && (reading <= 0.0 || reading + unread <= self.batch_tokens)
    }

    /// Takes the first request out; its conversation and its caller go to the end of theirs.
    fn take_first(&mut self) -> Option<Waiting> {
        let mut caller = self.callers.pop_front()?;
        let (conversation, mut line) = caller.conversations.pop_front()?;
        let first = line.pop_front()?;
        self.waiting -= 1;
        if !line.is_empty() {
            caller.conversations.push_back((conversation, line));
        }
        if !caller.conversations.is_empty() {
            self.callers.push_back(caller);
        }
        Some(first)
    }

    fn pick(&mut self, favourite: Option<usize>) -> Option<usize> {
        let at = favourite.and_then(|slot| self.unused.iter().position(|unused| *unused == slot));
        self.unused.remove(at.unwrap_or(0))
    }
}

/// The requests of one caller in the order of their turns.
fn in_turn(caller: &Caller) -> Vec<&Need> {
    let longest = caller.conversations.iter().map(|(_, line)| line.len()).max().unwrap_or(0);
    let round = |n: usize| caller.conversations.iter().filter_map(move |(_, line)| line.get(n));
    (0..longest).flat_map(round).map(|waiting| &waiting.need).collect()
}

#[cfg(test)]
mod tests;
