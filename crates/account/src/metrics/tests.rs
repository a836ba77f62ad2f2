//! What a settlement does to the rendered metrics, that the table is what is registered, and that nobody can add series.

use std::time::Duration;

use ::policy::{BreakerCause, BreakerState, Connectivity, Locality, Outcome, TargetId};

use super::*;
use crate::responses::ResponseStats;
use crate::tests::{attempt, settled};
use crate::{AttemptMade, CacheUse, Decided, ExchangeKind, RequestOutcome, Settlement, StageTimes, Tokens};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

fn metrics() -> Metrics {
    let metrics = Metrics::new("1.2.3").unwrap();
    metrics.declare(Source::Targets, ["local/small", "cloud/a"]);
    metrics
}

fn worker(state: &str, restarts_total: u64) -> ShownWorker<'_> {
    ShownWorker { state, restarts_total, starts_total: restarts_total + 1, load_time: None, pid: None }
}

/// A plan of no policy over no targets.
fn decided_by_default() -> Decided {
    let (policy, facts) = (::policy::Policy::default(), ::policy::Facts::default());
    let plan = ::policy::decide(&policy, &facts, &[]).unwrap();
    Decided { plan: Arc::new(plan), facts: Arc::new(facts), targets: Arc::default(), policy_hash: "0".into() }
}

fn rendered(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

#[test]
fn a_settlement_moves_every_metric_it_carries() {
    let metrics = metrics();
    let mut settlement = settled(RequestOutcome::Answered);
    let tokens = Tokens { input: 7, cached: 3, output: 21, is_estimated: false };
    settlement.attempts[1].tokens = Some(tokens);
    settlement.stages = StageTimes { parse: Some(Duration::from_micros(200)), ..settlement.stages };
    metrics.settle(&settlement);
    let text = rendered(&metrics);
    for line in [
        r#"tidegate_requests_total{locality="device",outcome="answered",target="local/small"} 1"#,
        r#"tidegate_attempts_total{outcome="connection_lost",target="local/small"} 1"#,
        r#"tidegate_attempts_total{outcome="answered",target="local/small"} 1"#,
        r#"tidegate_hedges_total{outcome="answered",target="local/small"} 1"#,
        r#"tidegate_stream_events_skipped_total{target="local/small"} 2"#,
        r#"tidegate_output_tokens_total{counted="reported",locality="device",target="local/small"} 21"#,
        r#"tidegate_input_tokens_total{counted="reported",locality="device",target="local/small"} 7"#,
        r#"tidegate_cached_input_tokens_total{locality="device",target="local/small"} 3"#,
        r#"tidegate_route_duration_seconds_bucket{stage="parse",le="0.000244140625"} 1"#,
        r#"tidegate_time_to_first_token_seconds_bucket{locality="device",target="local/small",le="0.0625"} 1"#,
        r#"tidegate_time_per_output_token_seconds_sum{locality="device",target="local/small"} 0.073"#,
        r#"tidegate_request_duration_seconds_sum{locality="device",stream="true",target="local/small"} 1.5"#,
        r#"tidegate_route_duration_seconds_bucket{stage="decide",le="0.000003814697265625"} 1"#,
        r#"tidegate_build_info{version="1.2.3"} 1"#,
    ] {
        assert!(text.contains(line), "missing {line} in\n{text}");
    }
}

#[test]
fn a_request_nobody_answered_is_counted_under_none() {
    let metrics = metrics();
    metrics.settle(&Settlement { target: None, attempts: vec![], ..settled(RequestOutcome::Invalid) });
    let line = r#"tidegate_requests_total{locality="none",outcome="invalid",target="none"} 1"#;
    assert!(rendered(&metrics).contains(line));
}

#[test]
fn a_worker_is_in_one_state_at_a_time() {
    let metrics = metrics();
    let target = TargetId::new("local/small").unwrap();
    metrics.show_worker(&target, &worker("starting", 0));
    metrics.show_worker(&target, &worker("ready", 2));
    let text = rendered(&metrics);
    assert!(text.contains(r#"tidegate_worker_state{state="ready",target="local/small"} 1"#));
    assert!(text.contains(r#"tidegate_worker_state{state="starting",target="local/small"} 0"#));
    assert!(text.contains(r#"tidegate_worker_restarts_total{target="local/small"} 2"#));
}

#[test]
fn health_and_network_are_shown_one_state_at_a_time() {
    let metrics = metrics();
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

/// Money goes to the target that charges it, by what for, and what a reference would have charged to the one that answered.
#[test]
fn tokens_and_money_are_those_of_each_attempt() {
    let metrics = metrics();
    let tokens = |is_estimated| Some(Tokens { input: 10, cached: 4, output: 5, is_estimated });
    let used = |target, outcome, is_estimated, cost_usd| AttemptMade {
        tokens: tokens(is_estimated),
        cost_usd,
        ..attempt(target, outcome)
    };
    let attempts = vec![
        attempt("cloud/a", Outcome::Status(500)),
        used("cloud/a", Outcome::HedgeLost, true, Some(0.25)),
        used("cloud/b", Outcome::Answered, false, Some(0.5)),
    ];
    let answered = Settlement { attempts, ..settled(RequestOutcome::Answered) };
    let of = |cost_avoided_usd| Settlement { cost_avoided_usd, ..answered.clone() };
    metrics.declare(Source::Targets, ["cloud/b"]);
    metrics.settle(&of(Some(2.0)));
    metrics.settle(&of(Some(-0.5)));
    let kind = ExchangeKind::Comparison;
    let compared =
        vec![used("cloud/b", Outcome::Answered, false, Some(4.0)), used("cloud/b", Outcome::Answered, false, None)];
    metrics.settle(&Settlement { kind, attempts: compared, ..of(Some(8.0)) });
    let text = rendered(&metrics);
    for line in [
        r#"tidegate_cost_usd_total{purpose="answer",target="cloud/b"} 1"#,
        r#"tidegate_cost_usd_total{purpose="comparison",target="cloud/b"} 4"#,
        r#"tidegate_cost_usd_total{purpose="hedge_lost",target="cloud/a"} 0.5"#,
        r#"tidegate_unpriced_attempts_total{target="cloud/b"} 1"#,
        r#"tidegate_cost_avoided_usd_total{target="local/small"} 2"#,
        r#"tidegate_cost_excess_usd_total{target="local/small"} 0.5"#,
        r#"tidegate_input_tokens_total{counted="estimated",locality="cloud",target="cloud/a"} 20"#,
        r#"tidegate_input_tokens_total{counted="reported",locality="cloud",target="cloud/b"} 40"#,
        r#"tidegate_requests_total{locality="device",outcome="answered",target="local/small"} 2"#,
    ] {
        assert!(text.contains(&format!("{line}\n")), "missing {line} in\n{text}");
    }
}

/// By the stricter class of request and conversation; an attempt that sent nothing is none.
#[test]
fn what_was_decided_and_what_left_is_counted_by_class() {
    let metrics = metrics();
    let decided = decided_by_default();
    let cloud = |sent_bytes| AttemptMade { sent_bytes, ..attempt("cloud/a", Outcome::Answered) };
    let with = |attempts| Settlement { attempts, decided: Some(decided.clone()), ..settled(RequestOutcome::Answered) };
    metrics.declare(Source::Rules, ["no_route"]);
    metrics.settle(&with(vec![cloud(100), cloud(20), attempt("local/small", Outcome::Answered)]));
    metrics.settle(&with(vec![cloud(0)]));
    metrics.settle(&Settlement { kind: ExchangeKind::Comparison, ..with(vec![cloud(7)]) });
    let text = rendered(&metrics);
    for line in [
        r#"tidegate_left_device_bytes_total{locality="cloud",privacy="internal"} 127"#,
        r#"tidegate_left_device_requests_total{locality="cloud",privacy="internal"} 2"#,
        r#"tidegate_placements_total{allowed="device+network+cloud",privacy="internal"} 2"#,
        r#"tidegate_rule_matches_total{kind="route",rule="no_route"} 2"#,
    ] {
        assert!(text.contains(&format!("{line}\n")), "missing {line} in\n{text}");
    }
}

/// Of a request that was answered on the device after it had been sent elsewhere, or whose text left for another caller, something left.
#[test]
fn what_stayed_is_what_nothing_of_left() {
    let metrics = metrics();
    let of = |attempts, left_with_another, outcome| {
        metrics.settle(&Settlement { attempts, left_with_another, ..settled(outcome) });
    };
    let (cloud, local) = (attempt("cloud/a", Outcome::Status(500)), attempt("local/small", Outcome::Answered));
    let sent = |sent_bytes| AttemptMade { sent_bytes, ..cloud.clone() };
    of(vec![local.clone()], false, RequestOutcome::Answered);
    of(vec![sent(0), local.clone()], false, RequestOutcome::Answered);
    of(vec![sent(9), local.clone()], false, RequestOutcome::Answered);
    of(vec![], true, RequestOutcome::Answered);
    of(vec![local], false, RequestOutcome::CallerGone);
    assert!(rendered(&metrics).contains("tidegate_stayed_answers_total 2\n"));
}

#[test]
fn a_comparison_is_no_request_but_its_attempts_count() {
    let metrics = metrics();
    metrics.settle(&Settlement { kind: ExchangeKind::Comparison, ..settled(RequestOutcome::Answered) });
    let text = rendered(&metrics);
    assert!(!text.contains("\ntidegate_requests_total{"), "{text}");
    assert!(text.contains(r#"tidegate_attempts_total{outcome="answered",target="local/small"} 1"#));
}

#[test]
fn what_was_tried_next_elsewhere_is_a_failover() {
    let metrics = metrics();
    let tried = |target, outcome, is_hedge| AttemptMade { is_hedge, ..attempt(target, outcome) };
    let attempts = vec![
        tried("local/small", Outcome::Status(500), false),
        tried("local/small", Outcome::ConnectionLost, false),
        tried("cloud/a", Outcome::HedgeLost, false),
        tried("local/small", Outcome::Answered, true),
    ];
    metrics.settle(&Settlement { attempts, ..settled(RequestOutcome::Answered) });
    let text = rendered(&metrics);
    let failovers: Vec<_> = text.lines().filter(|line| line.starts_with("tidegate_failovers_total{")).collect();
    assert_eq!(failovers, [r#"tidegate_failovers_total{outcome="connection_lost",target="local/small"} 1"#]);
}

#[test]
fn what_the_cache_had_to_do_with_it_is_counted_and_a_hit_says_nothing_of_its_target() {
    let metrics = metrics();
    for cache in CacheUse::ALL {
        metrics.settle(&Settlement { cache, attempts: Vec::new(), ..settled(RequestOutcome::Answered) });
    }
    metrics.show_responses(&ResponseStats {
        entries: 3,
        bytes: 99,
        evicted: 2,
        expired: 1,
        written: 5,
        overflowed: 6,
        failed: 7,
    });
    metrics.show_sharing(4);
    let text = rendered(&metrics);
    for line in [
        r#"tidegate_cache_requests_total{result="hit"} 1"#,
        r#"tidegate_cache_requests_total{result="coalesced"} 1"#,
        r#"tidegate_cache_requests_total{result="miss"} 2"#,
        r#"tidegate_cache_requests_total{result="bypass"} 1"#,
        "tidegate_cache_stored_total 1",
        "tidegate_cache_entries 3",
        "tidegate_cache_bytes 99",
        r#"tidegate_cache_evictions_total{reason="size"} 2"#,
        r#"tidegate_cache_evictions_total{reason="age"} 1"#,
        r#"tidegate_cache_disk_writes_total{result="failed"} 7"#,
        "tidegate_cache_sharing_callers 4",
        r#"tidegate_requests_total{locality="device",outcome="answered",target="local/small"} 6"#,
        r#"tidegate_request_duration_seconds_count{locality="device",stream="true",target="local/small"} 4"#,
        r#"tidegate_time_to_first_token_seconds_count{locality="device",target="local/small"} 4"#,
        "tidegate_stayed_answers_total 6",
    ] {
        assert!(text.contains(line), "missing {line} in\n{text}");
    }
}

#[test]
fn what_counts_elsewhere_may_begin_anew() {
    let metrics = metrics();
    let target = TargetId::new("local/small").unwrap();
    for restarts in [3, 5, 2] {
        metrics.show_worker(&target, &worker("ready", restarts));
    }
    assert!(rendered(&metrics).contains(r#"tidegate_worker_restarts_total{target="local/small"} 2"#));
}

/// Every row, and every name only once.
#[test]
fn what_is_registered_is_the_table() {
    let metrics = metrics();
    let mut names: Vec<_> = TABLE.iter().flat_map(|area| area.rows).map(|row| row.name).collect();
    let mut registered = metrics.0.names.clone();
    names.sort_unstable();
    registered.sort_unstable();
    assert_eq!(names, registered);
}

#[test]
fn names_and_buckets_follow_the_conventions() {
    for row in TABLE.iter().flat_map(|area| area.rows) {
        let Row { name, kind, unit, labels, help } = row;
        let base = name.strip_suffix("_total").unwrap_or(name);
        let is_ours = name.starts_with("tidegate_") || name.starts_with("process_");
        assert!(is_ours && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        let suffix = match unit {
            Unit::Seconds | Unit::UnixTime => "_seconds",
            Unit::Bytes => "_bytes",
            Unit::Tokens => "_tokens",
            Unit::UsDollars => "_usd",
            Unit::Ratio => "_ratio",
            Unit::Info => "_info",
            Unit::Count | Unit::YesNo => "",
        };
        assert!(base.ends_with(suffix), "{name} is in {unit:?}");
        assert!(
            help.ends_with('.') && help.starts_with(|c: char| c.is_ascii_uppercase() || c == '1'),
            "{name}: {help}"
        );
        for (place, label) in labels.iter().enumerate() {
            assert!(!["le", "quantile", "job", "instance"].contains(&label.name), "{name}");
            if let Values::Configured(_) = label.values {
                assert_eq!(place, 0, "{name}: room is made by the first label");
            }
            if let Values::Closed(list) = label.values {
                let mut values = list();
                values.push(OTHER);
                values.sort_unstable();
                assert!(values.windows(2).all(|two| two[0] != two[1]), "{name}: {values:?}");
            }
        }
        if let Kind::Histogram(bounds) = kind {
            assert!(bounds.windows(2).all(|two| two[0] < two[1]) && bounds.len() < 20, "{name}");
        }
    }
}

#[test]
fn the_reference_is_that_of_the_table() {
    let text = reference();
    if std::env::var_os("TIDEGATE_WRITE_METRICS").is_some() {
        std::fs::write(DOCUMENT, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(checked_in == text, "docs/metrics.md is stale: TIDEGATE_WRITE_METRICS=1 cargo test -p account reference");
}

fn series(metrics: &Metrics) -> usize {
    rendered(metrics).lines().filter(|line| !line.starts_with('#')).count()
}

/// A million names of models, kinds and errors that nobody configured, and states that there are not.
#[test]
fn nobody_can_add_series() {
    let metrics = metrics();
    metrics.declare(Source::Kinds, ["email"]);
    let strange = |n: u32| {
        let target = TargetId::new(&format!("cloud/model-{n}")).unwrap();
        let attempts = vec![
            AttemptMade { skipped_events: 1, is_hedge: true, ..attempt(target.as_str(), Outcome::Status(500)) },
            AttemptMade {
                cost_usd: Some(0.5),
                tokens: Some(Tokens::default()),
                ..attempt(target.as_str(), Outcome::Answered)
            },
        ];
        metrics.settle(&Settlement {
            target: Some((target.clone(), Locality::Cloud)),
            attempts,
            ..settled(RequestOutcome::Answered)
        });
        let word = format!("word {n} \u{1F30A}");
        metrics.scan_found([(word.as_str(), 1)].into_iter());
        metrics.first_token_predicted(&target, &word, 1.0, 2.0);
        if n.is_multiple_of(1000) {
            metrics.show_policy(n.into(), &word);
        }
    };
    strange(0);
    let before = series(&metrics);
    for n in 1..=1_000_000 {
        strange(n);
    }
    assert_eq!(series(&metrics), before);
    let text = rendered(&metrics);
    assert!(text.contains(r#"tidegate_requests_total{locality="cloud",outcome="answered",target="other"} 1000001"#));
    assert!(text.contains(r#"tidegate_scan_findings_total{kind="other"} 1000001"#));
}

/// What is configured is bounded too, as it can be changed at run time.
#[test]
fn no_more_is_declared_than_there_is_room_for() {
    let metrics = metrics();
    for n in 0..2 * Source::Kinds.values_max() {
        metrics.declare(Source::Kinds, [format!("kind-{n}").as_str()]);
        metrics.scan_found([(format!("kind-{n}").as_str(), 1)].into_iter());
    }
    let text = rendered(&metrics);
    let kinds = text.lines().filter(|line| line.starts_with("tidegate_scan_findings_total{")).count();
    assert_eq!(kinds, Source::Kinds.values_max() + 1);
}
