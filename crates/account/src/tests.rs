//! What a settlement does to the rendered metrics.

use std::time::Duration;

use policy::{BreakerCause, BreakerState, Connectivity, Locality, Outcome, Price, TargetId};

use crate::*;

fn settled(outcome: RequestOutcome) -> Settlement {
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

fn attempt(target: &str, outcome: Outcome) -> AttemptMade {
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
fn a_comparison_is_no_request_but_its_attempts_count() {
    let metrics = Metrics::new("0").unwrap();
    metrics.settle(&Settlement { kind: ExchangeKind::Comparison, ..settled(RequestOutcome::Answered) });
    let text = rendered(&metrics);
    assert!(!text.contains("\ntidegate_requests_total{"), "{text}");
    assert!(text.contains(r#"tidegate_attempts_total{outcome="answered",target="local/small"} 1"#));
}

fn rendered(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

#[test]
fn a_settlement_moves_every_metric_it_carries() {
    let metrics = Metrics::new("1.2.3").unwrap();
    metrics.settle(&settled(RequestOutcome::Answered));
    let text = rendered(&metrics);
    for line in [
        r#"tidegate_requests_total{locality="device",outcome="answered",target="local/small"} 1"#,
        r#"tidegate_attempts_total{outcome="connection_lost",target="local/small"} 1"#,
        r#"tidegate_attempts_total{outcome="answered",target="local/small"} 1"#,
        r#"tidegate_hedges_total{outcome="answered",target="local/small"} 1"#,
        r#"tidegate_stream_events_skipped_total{target="local/small"} 2"#,
        r#"tidegate_output_tokens_total{locality="device",target="local/small"} 21"#,
        r#"tidegate_input_tokens_total{locality="device",target="local/small"} 7"#,
        r#"tidegate_time_to_first_token_seconds_bucket{locality="device",target="local/small",le="0.05"} 1"#,
        r#"tidegate_request_duration_seconds_sum{locality="device",stream="true",target="local/small"} 1.5"#,
        r#"tidegate_route_duration_seconds_bucket{le="0.000005"} 1"#,
        r#"tidegate_build_info{version="1.2.3"} 1"#,
    ] {
        assert!(text.contains(line), "missing {line} in\n{text}");
    }
}

#[test]
fn a_request_nobody_answered_is_counted_under_none() {
    let metrics = Metrics::new("0").unwrap();
    metrics.settle(&Settlement { target: None, attempts: vec![], ..settled(RequestOutcome::Invalid) });
    let line = r#"tidegate_requests_total{locality="none",outcome="invalid",target="none"} 1"#;
    assert!(rendered(&metrics).contains(line));
}

#[test]
fn a_worker_is_in_one_state_at_a_time() {
    let metrics = Metrics::new("0").unwrap();
    let target = TargetId::new("local/small").unwrap();
    metrics.show_worker(&target, "starting", 0);
    metrics.show_worker(&target, "ready", 2);
    let text = rendered(&metrics);
    assert!(text.contains(r#"tidegate_worker_state{state="ready",target="local/small"} 1"#));
    assert!(text.contains(r#"tidegate_worker_state{state="starting",target="local/small"} 0"#));
    assert!(text.contains(r#"tidegate_worker_restarts{target="local/small"} 2"#));
}

#[test]
fn outcome_labels_are_distinct() {
    let mut words: Vec<_> = RequestOutcome::ALL.iter().map(|o| o.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), RequestOutcome::ALL.len());
}

#[test]
fn health_and_network_are_shown_one_state_at_a_time() {
    let metrics = Metrics::new("1").unwrap();
    let target = TargetId::new("cloud/a").unwrap();
    let open = BreakerState::Open { cause: BreakerCause::Failing, probe_in: Duration::from_secs(1) };
    let mut health = ShownHealth { breaker: open, opened_total: [3, 1], probes_total: 4, is_rate_limited: true };
    metrics.show_health(&target, &health);
    let mut network = ShownNetwork {
        connectivity: Some(Connectivity::Offline),
        metered: Some(true),
        rounds_reached_total: 1,
        rounds_failed_total: 2,
    };
    metrics.show_network(&network);
    // Shown again, what was counted is not counted twice.
    (health.breaker, health.opened_total) = (BreakerState::Closed, [4, 1]);
    (network.connectivity, network.metered) = (Some(Connectivity::Online), None);
    metrics.show_health(&target, &health);
    metrics.show_network(&network);
    let text = rendered(&metrics);
    for line in [
        r#"tidegate_breaker_state{state="closed",target="cloud/a"} 1"#,
        r#"tidegate_breaker_state{state="open",target="cloud/a"} 0"#,
        r#"tidegate_breaker_state{state="half_open",target="cloud/a"} 0"#,
        r#"tidegate_breaker_opened_total{cause="failing",target="cloud/a"} 4"#,
        r#"tidegate_breaker_opened_total{cause="misconfigured",target="cloud/a"} 1"#,
        r#"tidegate_breaker_probes_total{target="cloud/a"} 4"#,
        r#"tidegate_target_rate_limited{target="cloud/a"} 1"#,
        r#"tidegate_connectivity_state{state="online"} 1"#,
        r#"tidegate_connectivity_state{state="offline"} 0"#,
        r#"tidegate_network_probe_rounds_total{result="failed"} 2"#,
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
    }
    assert!(!text.contains("\ntidegate_network_metered "), "what is not known is not shown");
}
