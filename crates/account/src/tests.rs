//! What a settlement adds up to. What it does to the metrics is tested beside them.

use std::time::Duration;

use policy::{Locality, Outcome, Price, TargetId};

use crate::*;

pub(crate) fn settled(outcome: RequestOutcome) -> Settlement {
    let target = TargetId::new("local/small").unwrap();
    Settlement {
        target: Some((target.clone(), Locality::Device)),
        outcome,
        stream: true,
        duration: Duration::from_millis(1500),
        stages: StageTimes { decide: Some(Duration::from_micros(3)), ..StageTimes::default() },
        time_to_first_token: Some(Duration::from_millis(40)),
        tokens: Some(Tokens { input: 7, output: 21, ..Tokens::default() }),
        attempts: vec![
            attempt("local/small", Outcome::ConnectionLost),
            AttemptMade { skipped_events: 2, is_hedge: true, ..attempt("local/small", Outcome::Answered) },
        ],
        ..Settlement::begun(ExchangeKind::Request, "req_1".to_owned(), 1_700_000_000_000)
    }
}

pub(crate) fn attempt(target: &str, outcome: Outcome) -> AttemptMade {
    AttemptMade {
        target: TargetId::new(target).unwrap(),
        locality: if target.starts_with("local/") { Locality::Device } else { Locality::Cloud },
        outcome,
        begun_after: Duration::from_millis(1),
        duration: Duration::from_millis(1400),
        time_to_first_token: None,
        tokens: None,
        price: None,
        cost_usd: None,
        sent_bytes: 100,
        skipped_events: 0,
        is_hedge: false,
    }
}

#[test]
fn what_is_unknown_is_not_added_up_and_what_lost_is_kept_apart() {
    let costing = |outcome, cost_usd| AttemptMade { cost_usd, ..attempt("cloud/a", outcome) };
    let price = Price { input_usd_per_mtok: 1e6, cached_input_usd_per_mtok: 1e5, output_usd_per_mtok: 2e6 };
    let reference = Some((TargetId::new("cloud/r").unwrap(), price));
    let check = |attempts: Vec<AttemptMade>, outcome, cache, expected: [Option<f64>; 3]| {
        let tokens = Some(Tokens { input: 10, cached: 5, output: 1, is_estimated: false });
        let (reference, of) = (reference.clone(), settled(outcome));
        let mut settlement = Settlement { attempts, tokens, reference, cache, ..of };
        settlement.add_up();
        let found = [settlement.cost_usd, settlement.cost_avoided_usd, settlement.lost_hedges_usd()];
        assert_eq!(found, expected);
    };
    let (answered, gone) = (RequestOutcome::Answered, RequestOutcome::CallerGone);
    // 5 at 1, 5 at 0.1, 1 at 2: the reference charges 7.5.
    let one = || costing(Outcome::Answered, Some(2.0));
    check(vec![one()], answered, CacheUse::None, [Some(2.0), Some(5.5), None]);
    check(vec![one()], gone, CacheUse::None, [Some(2.0), None, None]);
    check(vec![costing(Outcome::Answered, None)], answered, CacheUse::None, [None, None, None]);
    let failed = costing(Outcome::ConnectionLost, None);
    check(vec![failed, one()], answered, CacheUse::None, [Some(2.0), Some(5.5), None]);
    let lost = costing(Outcome::HedgeLost, Some(1.0));
    check(vec![lost, one()], answered, CacheUse::None, [Some(2.0), Some(5.5), Some(1.0)]);
    let broken = costing(Outcome::Interrupted, Some(1.0));
    check(vec![broken, one()], answered, CacheUse::None, [Some(3.0), Some(4.5), None]);
    check(vec![], answered, CacheUse::Hit, [Some(0.0), Some(7.5), None]);
    check(vec![], RequestOutcome::NoTarget, CacheUse::None, [None, None, None]);
}

#[test]
fn outcome_labels_are_distinct() {
    let mut words: Vec<_> = RequestOutcome::ALL.iter().map(|o| o.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), RequestOutcome::ALL.len());
}
