//! What waits, in its order, and which of it is worth a try now. Pure: time and the states of targets are arguments.
//!
//! Nothing here is durable; after a start everything is looked at anew, at the time that the store says.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use account::outbox::EntryId;
use policy::{TargetFacts, TargetId};

/// An entry that no target can answer is looked at again after this time, whatever has not changed: conditions may name the
/// time of day. Looking means to read and decide it anew.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How long nothing is sent to a target after it failed; doubled with each failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// At most so long, where the target does not name a time itself.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest time that a target may name itself.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What an entry waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hangs {
    /// Nothing: it was not looked at yet, or its time has come.
    No,
    /// One of these targets, or another policy than that of this generation, or time.
    On { targets: Vec<TargetId>, generation: u64, until: Instant },
}

#[derive(Debug)]
struct Waiting {
    id: EntryId,
    not_before: Instant,
    hangs: Hangs,
}

#[derive(Debug)]
struct Pause {
    failures: u32,
    until: Instant,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<i64, Waiting>,
    pauses: HashMap<TargetId, Pause>,
}

impl Queue {
    /// Takes an entry in, or back.
    pub(super) fn add(&mut self, seq: i64, id: EntryId, not_before: Instant, hangs: Hangs) {
        self.waiting.insert(seq, Waiting { id, not_before, hangs });
    }

    /// Takes out what is not kept any more.
    pub(super) fn retain(&mut self, is_kept: impl Fn(EntryId) -> bool) {
        self.waiting.retain(|_, waiting| is_kept(waiting.id));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes out the first entry that is worth a try: its time has come, and it was not looked at yet, or what it hangs on has
    /// changed.
    pub(super) fn next(&mut self, now: Instant, targets: &[TargetFacts], generation: u64) -> Option<(i64, EntryId)> {
        let is_due = |waiting: &Waiting| match &waiting.hangs {
            _ if now < waiting.not_before => false,
            Hangs::No => true,
            Hangs::On { targets: on, generation: decided_by, until } => {
                let can_answer =
                    |id: &TargetId| targets.iter().any(|target| target.id() == id && self.is_up(target, now));
                now >= *until || *decided_by != generation || on.iter().any(can_answer)
            }
        };
        let seq = *self.waiting.iter().find(|(_, waiting)| is_due(waiting))?.0;
        self.waiting.remove(&seq).map(|waiting| (seq, waiting.id))
    }

    /// Whether something may be sent to this target now: it can answer, no live request waits in front of it, and it did not
    /// just fail.
    pub(super) fn is_up(&self, target: &TargetFacts, now: Instant) -> bool {
        let is_free = target.state.can_answer() && target.queue_depth.unwrap_or(0) == 0;
        is_free && self.pauses.get(target.id()).is_none_or(|pause| now >= pause.until)
    }

    /// A target failed: it is left alone for a while, at least for as long as it said.
    pub(super) fn failed_on(&mut self, target: &TargetId, retry_after: Option<Duration>, now: Instant) {
        let pause = self.pauses.entry(target.clone()).or_insert(Pause { failures: 0, until: now });
        if now >= pause.until {
            let doubled = PAUSE_MIN.saturating_mul(1 << pause.failures.min(16));
            pause.failures += 1;
            pause.until = now + doubled.min(PAUSE_MAX);
        }
        if let Some(said) = retry_after {
            pause.until = pause.until.max(now + said.min(RETRY_AFTER_MAX));
        }
    }

    /// A target answered somebody, or is known to be there again.
    pub(super) fn is_back(&mut self, target: &TargetId) {
        self.pauses.remove(target);
    }

    pub(super) fn has_pauses(&self) -> bool {
        !self.pauses.is_empty()
    }
}

impl Hangs {
    pub(super) fn on(targets: Vec<TargetId>, generation: u64, now: Instant) -> Self {
        Self::On { targets, generation, until: now + LOOK_AGAIN }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy::{Locality, TargetProfile, TargetState};

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn id(name: &str) -> TargetId {
        TargetId::new(name).unwrap()
    }

    fn target(name: &str, state: TargetState) -> TargetFacts {
        TargetFacts::new(Arc::new(TargetProfile::new(id(name), Locality::Cloud)), state)
    }

    fn entries<const N: usize>() -> [EntryId; N] {
        std::array::from_fn(|_| EntryId::random().unwrap())
    }

    #[test]
    fn the_oldest_whose_time_has_come_is_first() {
        let (mut queue, now, [a, b, c]) = (Queue::default(), Instant::now(), entries());
        queue.add(3, c, now, Hangs::No);
        queue.add(1, a, now + S, Hangs::No);
        queue.add(2, b, now, Hangs::No);
        assert_eq!(queue.next(now, &[], 1), Some((2, b)));
        assert_eq!(queue.next(now + S, &[], 1), Some((1, a)));
        assert_eq!(queue.next(now, &[], 1), Some((3, c)));
        assert_eq!((queue.next(now + S, &[], 1), queue.is_empty()), (None, true));
    }

    #[test]
    fn what_hangs_on_a_target_waits_for_that_target_or_another_policy_or_its_time() {
        let (mut queue, now, [a]) = (Queue::default(), Instant::now(), entries());
        let gone = [target("x/a", TargetState::Unreachable), target("x/b", TargetState::Ready)];
        let back = [target("x/a", TargetState::Ready), target("x/b", TargetState::Ready)];
        let hang = |queue: &mut Queue| queue.add(1, a, now, Hangs::on(vec![id("x/a")], 1, now));
        hang(&mut queue);
        assert_eq!(queue.next(now + LOOK_AGAIN - S, &gone, 1), None, "the other target is of no use");
        assert_eq!(queue.next(now, &back, 1), Some((1, a)));
        hang(&mut queue);
        assert_eq!(queue.next(now, &gone, 2), Some((1, a)), "another policy");
        hang(&mut queue);
        assert_eq!(queue.next(now + LOOK_AGAIN, &gone, 1), Some((1, a)));
    }

    #[test]
    fn a_target_that_fails_is_left_alone_ever_longer_until_it_answers() {
        let (mut queue, mut now, x) = (Queue::default(), Instant::now(), id("x/a"));
        let facts = target("x/a", TargetState::Ready);
        let mut waits = Vec::new();
        for _ in 0..8 {
            queue.failed_on(&x, None, now);
            // Of the same moment: several sends fail together.
            queue.failed_on(&x, None, now);
            let begun = now;
            while !queue.is_up(&facts, now) {
                now += S;
            }
            waits.push((now - begun).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        queue.failed_on(&x, Some(100 * S), now);
        assert!(!queue.is_up(&facts, now + 99 * S) && queue.is_up(&facts, now + 100 * S), "as long as it said");
        queue.failed_on(&x, Some(Duration::from_secs(1 << 40)), now);
        assert!(queue.is_up(&facts, now + RETRY_AFTER_MAX), "within reason");
        queue.is_back(&x);
        assert!(queue.is_up(&facts, now) && !queue.has_pauses());
    }

    #[test]
    fn what_hangs_on_a_target_that_failed_waits_for_the_end_of_its_pause() {
        let (mut queue, now, [a]) = (Queue::default(), Instant::now(), entries());
        let ready = [target("x/a", TargetState::Ready)];
        queue.failed_on(&id("x/a"), None, now);
        queue.add(1, a, now, Hangs::on(vec![id("x/a")], 1, now));
        assert_eq!(queue.next(now, &ready, 1), None);
        assert_eq!(queue.next(now + PAUSE_MIN, &ready, 1), Some((1, a)));
    }

    #[test]
    fn what_is_not_kept_any_more_is_forgotten() {
        let (mut queue, now, [a, b]) = (Queue::default(), Instant::now(), entries());
        queue.add(1, a, now, Hangs::No);
        queue.add(2, b, now, Hangs::No);
        queue.retain(|id| id == b);
        assert_eq!(queue.next(now, &[], 1), Some((2, b)));
        assert!(queue.is_empty());
    }
}
