//! What the caches of a worker hold, as far as it follows from what was sent to it: of which conversation each slot has read how
//! much, and what left the slots lately, which llama-server keeps in memory and finds again. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use wire::{Prefix, PrefixName};

/// Conversations remembered that are no longer in a slot.
const DISPLACED_MAX: usize = 32;

/// What was read of one request.
#[derive(Clone, Debug)]
struct Contents {
    /// Its beginnings that were read, sorted by name.
    read: Vec<PrefixName>,
    /// The longest of them.
    longest: Option<PrefixName>,
    /// Whether the answer was written to its end as well, so that it is cached like the messages.
    answered: bool,
}

/// The caches of one run of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Caches {
    slots: Vec<Option<Contents>>,
    displaced: VecDeque<Contents>,
}

/// What is cached for a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cached {
    /// Share of its messages, from 0 to 1.
    pub(crate) share: f64,
    /// The slot that has it; `None` when it is in memory only, or nowhere.
    pub(crate) slot: Option<usize>,
}

impl Caches {
    /// Of a worker that was just started.
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots: vec![None; slots], displaced: VecDeque::new() }
    }

    /// Remembers that `slot` has read this `share` of a request's messages. `None` is all slots, of which nothing is known then.
    pub(crate) fn used(&mut self, slot: Option<usize>, prefixes: &[Prefix], share: f64, answered: bool) {
        let Some(slot) = slot else {
            self.slots.fill(None);
            return;
        };
        let all = prefixes.last().map_or(0, |prefix| prefix.bytes) as f64;
        let read = prefixes.iter().filter(|prefix| prefix.bytes as f64 <= share * all).map(|prefix| prefix.name);
        let mut read: Vec<_> = read.collect();
        let longest = read.last().copied();
        read.sort_unstable();
        let contents = Contents { read, longest, answered: answered && share >= 1.0 };
        let Some(place) = self.slots.get_mut(slot) else { return };
        let Some(before) = place.replace(contents) else { return };
        let continues = before.longest.is_none_or(|longest| prefixes.iter().any(|prefix| prefix.name == longest));
        if !continues {
            self.displaced.push_back(before);
            if self.displaced.len() > DISPLACED_MAX {
                self.displaced.pop_front();
            }
        }
    }

    /// How much of a request is cached where; of equal shares, that of a slot in `free`.
    pub(crate) fn cached(&self, prefixes: &[Prefix], free: impl Fn(usize) -> bool) -> Cached {
        let mut best = Cached { share: 0.0, slot: None };
        let in_slots = self.slots.iter().enumerate().filter_map(|(slot, contents)| Some((slot, contents.as_ref()?)));
        for (slot, contents) in in_slots.filter(|(slot, _)| free(*slot)) {
            let share = contents.share_of(prefixes);
            if share > best.share {
                best = Cached { share, slot: Some(slot) };
            }
        }
        let in_memory = self.displaced.iter().map(|contents| contents.share_of(prefixes)).fold(0.0, f64::max);
        if in_memory > best.share { Cached { share: in_memory, slot: None } } else { best }
    }
}

impl Contents {
    fn share_of(&self, prefixes: &[Prefix]) -> f64 {
        let Some(all) = prefixes.last().filter(|all| all.bytes > 0) else { return 0.0 };
        // A beginning is the hash of all that is in it: where it is known, the shorter ones are.
        let known = prefixes.partition_point(|prefix| self.read.binary_search(&prefix.name).is_ok());
        let Some(at) = known.checked_sub(1) else { return 0.0 };
        let is_whole = self.answered && prefixes.get(at).map(|prefix| prefix.name) == self.longest;
        // The answer to what was read stands behind it.
        let behind = if is_whole { prefixes.get(at + 1) } else { None };
        let bytes = behind.or(prefixes.get(at)).map_or(0, |prefix| prefix.bytes);
        bytes as f64 / all.bytes as f64
    }
}

/// The beginnings of a request, shared by who decides and who serves.
pub(crate) type Prefixes = Arc<[Prefix]>;

#[cfg(test)]
mod tests {
    use wire::ChatRequest;

    use super::*;

    /// One message for each word, all equally long.
    fn prefixes(words: &[&str]) -> Prefixes {
        let message = |word: &&str| format!(r#"{{"role":"user","content":"{word}"}}"#);
        let messages: Vec<_> = words.iter().map(message).collect();
        let body = format!(r#"{{"model":"auto","messages":[{}]}}"#, messages.join(","));
        ChatRequest::parse(body.into()).unwrap().prefixes()
    }

    fn anywhere(_: usize) -> bool {
        true
    }

    #[test]
    fn a_conversation_is_found_in_its_slot_with_its_answer() {
        let mut caches = Caches::new(2);
        caches.used(Some(1), &prefixes(&["a"]), 1.0, true);
        let next = prefixes(&["a", "x", "b", "c"]);
        assert_eq!(caches.cached(&next, anywhere), Cached { share: 0.5, slot: Some(1) });
        assert_eq!(caches.cached(&next, |slot| slot == 0), Cached { share: 0.0, slot: None }, "it is busy");
        assert_eq!(caches.cached(&prefixes(&["z"]), anywhere), Cached { share: 0.0, slot: None });
        assert_eq!(caches.cached(&prefixes(&["a"]), anywhere).share, 1.0, "the same again");
    }

    #[test]
    fn what_was_not_read_or_answered_is_not_cached() {
        let mut caches = Caches::new(1);
        caches.used(Some(0), &prefixes(&["a", "x", "b", "c"]), 0.5, false);
        assert_eq!(caches.cached(&prefixes(&["a", "x", "b", "c"]), anywhere).share, 0.5);
        caches.used(Some(0), &prefixes(&["q"]), 1.0, false);
        assert_eq!(caches.cached(&prefixes(&["q", "x"]), anywhere).share, 0.5, "the answer is another");
        caches.used(Some(0), &prefixes(&["r"]), 0.0, false);
        assert_eq!(caches.cached(&prefixes(&["r"]), anywhere).share, 0.0);
    }

    #[test]
    fn what_left_the_slots_is_in_memory_for_a_while() {
        let mut caches = Caches::new(1);
        caches.used(Some(0), &prefixes(&["a"]), 1.0, true);
        caches.used(Some(0), &prefixes(&["b"]), 1.0, true);
        assert_eq!(caches.cached(&prefixes(&["a", "x"]), anywhere), Cached { share: 1.0, slot: None });
        for n in 0..=DISPLACED_MAX {
            caches.used(Some(0), &prefixes(&[&n.to_string()]), 1.0, true);
        }
        assert_eq!(caches.cached(&prefixes(&["a", "x"]), anywhere).share, 0.0);
        assert_eq!(caches.displaced.len(), DISPLACED_MAX);
        caches.used(None, &prefixes(&["all"]), 1.0, true);
        assert!(caches.slots.iter().all(Option::is_none));
    }

    #[test]
    fn a_conversation_that_goes_on_displaces_nothing() {
        let mut caches = Caches::new(1);
        caches.used(Some(0), &prefixes(&["a"]), 1.0, true);
        caches.used(Some(0), &prefixes(&["a", "x", "b"]), 1.0, true);
        assert!(caches.displaced.is_empty());
    }

    #[test]
    fn a_request_without_messages_has_nothing_cached() {
        let mut caches = Caches::new(1);
        caches.used(Some(0), &[], 1.0, true);
        assert_eq!(caches.cached(&[], anywhere), Cached { share: 0.0, slot: None });
    }
}
