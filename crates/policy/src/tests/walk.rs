//! The way through a plan whose targets have windows of different sizes.

use std::time::Duration;

use super::*;

/// Targets with windows of so many tokens, in this order.
fn plan(windows: &[u64]) -> Plan {
    let targets = windows.iter().zip('a'..).map(|(window, name)| {
        let id = TargetId::new(&format!("cloud/{name}")).unwrap();
        let profile = TargetProfile { context_tokens: Some(*window), ..TargetProfile::new(id, Locality::Cloud) };
        TargetFacts::new(Arc::new(profile), TargetState::Ready)
    });
    let yaml = "{version: 1, routes: [{id: all, objective: in_order, candidates: ['*'], limits: {max_attempts: 5}}]}";
    decide(&policy(yaml), &Facts::default(), &targets.collect::<Vec<_>>()).unwrap()
}

fn next(walk: &mut Walk, plan: &Plan, place: usize, outcome: Outcome) -> Option<(usize, Duration)> {
    let retry_after = Some(Duration::from_secs(1));
    let step = walk.after(plan, place, outcome, retry_after, Duration::from_secs(60), 0.5)?;
    Some((step.place, step.pause))
}

#[test]
fn what_did_not_fit_beside_another_try_is_sent_to_no_smaller_window() {
    let plan = plan(&[8000, 4000, 6000, 16000]);
    let mut walk = Walk::new(&plan);
    let (first, beside) = (walk.advance(&plan).unwrap().place, walk.advance(&plan).unwrap().place);
    walk.note(&plan, first, Outcome::ContextExceeded(400));
    // Neither again to the one that ran beside it, nor to the next.
    assert_eq!(next(&mut walk, &plan, beside, Outcome::Status(500)), Some((3, Duration::ZERO)));
}

#[test]
fn attempts_that_would_not_fit_are_nobody_to_go_on_with() {
    let plan = plan(&[8000, 16000, 4000]);
    let mut walk = Walk::new(&plan);
    let first = walk.advance(&plan).unwrap().place;
    assert_eq!(next(&mut walk, &plan, first, Outcome::ContextExceeded(400)), Some((1, Duration::ZERO)));
    assert_eq!(next(&mut walk, &plan, 1, Outcome::Status(429)), Some((1, Duration::from_secs(1))));
}
