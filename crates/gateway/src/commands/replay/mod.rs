//! `tidegate replay`: what would another policy have done with the requests that were recorded?
//!
//! Each is decided again from the facts it had and the targets as they were. What a conversation would have become under the other policy
//! is not followed: its facts stay those that were recorded.

mod difference;
mod report;

use std::collections::BTreeMap;

use account::ledger::{Filter, LedgerReader, Record};
use policy::{FACTS, Policy, TargetId, decide};

use crate::cli::ledger::ReplayArgs;
use crate::config::Config;
use crate::policies::{Context, load_file, with_stack};
use difference::{Case, Difference};

const DAY_MS: f64 = 86_400_000.0;

pub(crate) fn replay(args: &ReplayArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref())?;
    let loaded = with_stack(|| load_file(Some(&args.policy), &Context::of(&config)))?;
    let reader = super::ledger::open()?;
    let now_ms = crate::unix_time::now_ms();
    let since_ms = args.since.at_ms(now_ms);
    let configured: Vec<_> = config.targets.iter().map(|target| target.id().clone()).collect();
    let replayed = Replayed::of(&reader, &loaded.policy, &configured, (since_ms, now_ms), args.list)?;
    let name = args.policy.display().to_string();
    if args.json { report::json(&replayed, &name) } else { report::print(&replayed, &name) }
}

/// What came of deciding again.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Replayed {
    /// Requests that were decided again.
    pub requests: u64,
    /// From when on, and until when; Unix time in milliseconds.
    pub between_ms: (u64, u64),
    /// Requests without a decision in their record, which were not.
    pub undecided: u64,
    /// Requests of which a target or the facts as they were cannot be read any more, which were not.
    pub unreadable: u64,
    /// Requests with facts that this version does not know: decided without them.
    pub unknown_facts: u64,
    /// Their names.
    pub unknown_names: BTreeMap<String, u64>,
    /// Requests that are older than a fact which the policy reads and which is never absent: decided with its default.
    pub older: u64,
    /// Requests that came before a target was configured that is now: decided without it.
    pub before_target: BTreeMap<String, u64>,
    /// What differs.
    pub difference: Difference,
}

impl Replayed {
    fn of(
        reader: &LedgerReader,
        policy: &Policy,
        configured: &[TargetId],
        (since_ms, now_ms): (u64, u64),
        list_max: usize,
    ) -> anyhow::Result<Self> {
        let filter = Filter { since_ms: Some(since_ms), kind: Some("request".to_owned()), ..Filter::default() };
        let never_absent = |fact: &&policy::Fact| fact.when_absent.is_empty() && !fact.is_of_target();
        let needed: Vec<_> = FACTS.iter().filter(never_absent).filter(|fact| policy.reads(fact.name)).collect();
        let mut replayed = Self { between_ms: (now_ms, now_ms), ..Self::default() };
        let mut failed = None;
        reader.each(&filter, |row| {
            replayed.between_ms.0 = replayed.between_ms.0.min(row.record.at_ms);
            failed = replayed.decide_again(reader, policy, configured, &needed, &row.record, list_max).err();
            failed.is_none()
        })?;
        failed.map_or(Ok(replayed), |error| Err(error.into()))
    }

    fn decide_again(
        &mut self,
        reader: &LedgerReader,
        policy: &Policy,
        configured: &[TargetId],
        needed: &[&policy::Fact],
        record: &Record,
        list_max: usize,
    ) -> Result<(), account::ledger::LedgerError> {
        let Some(decision) = &record.decision else {
            self.undecided += 1;
            return Ok(());
        };
        let (targets, unread) = reader.targets(&decision.targets)?;
        let Some(recorded) = reader.facts(decision)?.filter(|_| unread == 0) else {
            self.unreadable += 1;
            return Ok(());
        };
        let (facts, unknown) = recorded.facts();
        self.unknown_facts += u64::from(!unknown.is_empty());
        for name in unknown {
            *self.unknown_names.entry(name).or_default() += 1;
        }
        self.older += u64::from(needed.iter().any(|fact| !recorded.is_recorded(fact.name)));
        for id in configured.iter().filter(|id| !targets.iter().any(|target| target.id() == *id)) {
            *self.before_target.entry(id.as_str().to_owned()).or_default() += 1;
        }
        self.requests += 1;
        let decided = decide(policy, &facts, &targets);
        self.difference.add(&Case { record, decision, facts: &facts, targets: &targets, decided: &decided }, list_max);
        Ok(())
    }

    /// How many days were seen.
    pub(crate) fn days(&self) -> f64 {
        let (from, until) = self.between_ms;
        until.saturating_sub(from) as f64 / DAY_MS
    }

    /// How many times what was seen goes into a week; `None` for less than a day, which says nothing of a week: it has hours of work or
    /// of rest.
    pub(crate) fn weeks(&self) -> Option<f64> {
        Some(self.days()).filter(|days| *days >= 1.0).map(|days| 7.0 / days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_less_than_a_day_nothing_is_said_of_a_week() {
        let weeks = |from: u64, until: u64| Replayed { between_ms: (from, until), ..Replayed::default() }.weeks();
        let day = 86_400_000;
        assert_eq!((weeks(5, 5), weeks(0, day - 1), weeks(9, 3)), (None, None, None));
        assert_eq!((weeks(0, day), weeks(day, 15 * day)), (Some(7.0), Some(0.5)));
    }
}
