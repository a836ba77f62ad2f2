//! What a replay found, for people and as JSON.

use serde_json::{Value, json};

use super::Replayed;
use crate::span::shown;

const LOCALITIES: [(&str, &str); 4] =
    [("device", "the device"), ("network", "the network"), ("cloud", "the cloud"), ("none", "nobody")];

pub(super) fn print(replayed: &Replayed, policy: &str) -> anyhow::Result<()> {
    let Replayed { requests, difference, .. } = replayed;
    if *requests == 0 {
        say!("no request to decide again");
        for note in left_aside(replayed) {
            say!("{note}");
        }
        return Ok(());
    }
    let share = |count: u64| 100.0 * count as f64 / *requests as f64;
    let (from, until) = replayed.between_ms;
    say!("{requests} requests from {} to {}, decided again by {policy}", shown(from), shown(until));
    say!("{}\n", headline(replayed));
    say!("may go elsewhere       {:>8}  {:5.1} %", difference.placement, share(difference.placement));
    say!("tried elsewhere first  {:>8}  {:5.1} %", difference.first_target, share(difference.first_target));
    for ((then, now), count) in difference.moved.iter().filter(|((then, now), _)| then != now) {
        say!("  from {then} to {now}: {count}");
    }
    let (then, now) = difference.cost_usd;
    let days = replayed.days();
    match replayed.weeks() {
        Some(week) => {
            say!("cost a week            ${:.4} -> ${:.4} ({:+.4})", then * week, now * week, (now - then) * week);
            say!("  from {days:.2} days of requests");
        }
        None => {
            say!("cost                   ${then:.4} -> ${now:.4} ({:+.4})", now - then);
            say!("  of {:.1} hours; less than a day says nothing of a week", days * 24.0);
        }
    }
    if difference.cost_unknown > 0 {
        say!("  without {} requests of unknown cost", difference.cost_unknown);
    }
    let (missed, expected) = (difference.slo_missed, difference.slo_misses);
    say!(
        "late first tokens      {:.1} -> {:.1} expected, of {} -> {} with a limit; {missed} were",
        expected.0,
        expected.1,
        difference.with_slo.0,
        difference.with_slo.1
    );
    let width = difference.targets.keys().map(String::len).max().unwrap_or(0).max(12);
    say!("\n{:width$}  {:>8}  {:>8}", "tried first", "then", "now");
    for (target, (then, now)) in &difference.targets {
        say!("{target:width$}  {then:>8}  {now:>8}");
    }
    say!("");
    for note in left_aside(replayed) {
        say!("{note}");
    }
    if !difference.changed.is_empty() {
        say!("\nchanged (the first {}):", difference.changed.len());
    }
    for changed in &difference.changed {
        let ((then, now), (route, other)) = (&changed.target, &changed.route);
        say!("{}  {then} -> {now}  (rule {route} -> {other})", changed.request_id);
    }
    Ok(())
}

/// Such as "moves 4.1 % of requests to the cloud, +$12.30 a week".
fn headline(replayed: &Replayed) -> String {
    let difference = &replayed.difference;
    let moves = LOCALITIES.into_iter().filter_map(|(word, name)| {
        let net = difference.net_to(word);
        (net > 0).then(|| format!("moves {:.1} % of requests to {name}", 100.0 * net as f64 / replayed.requests as f64))
    });
    let mut parts: Vec<_> = moves.collect();
    if parts.is_empty() {
        parts.push("moves no requests between the device and elsewhere on balance".to_owned());
    }
    let usd = difference.cost_usd.1 - difference.cost_usd.0;
    let sign = if usd < 0.0 { '-' } else { '+' };
    parts.push(match replayed.weeks() {
        Some(week) => format!("{sign}${:.2} a week", (usd * week).abs()),
        None => format!("{sign}${:.4} in {:.1} hours", usd.abs(), replayed.days() * 24.0),
    });
    parts.join(", ")
}

/// What could not be decided again, or only in part.
fn left_aside(replayed: &Replayed) -> Vec<String> {
    let notes = [
        (replayed.undecided, "had no decision: they were refused before one"),
        (replayed.unreadable, "had targets or facts that this version cannot read"),
        (replayed.unknown_facts, "had facts that this version does not know, and were decided without them"),
        (replayed.older, "are older than facts that the policy reads, and were decided with their defaults"),
    ];
    let notes = notes.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let before = |(target, count)| format!("{count} came before {target} was configured, and were decided without it");
    notes.chain(replayed.before_target.iter().map(before)).collect()
}

pub(super) fn json(replayed: &Replayed, policy: &str) -> anyhow::Result<()> {
    let difference = &replayed.difference;
    let week = replayed.weeks();
    let moved = difference.moved.iter().filter(|((then, now), _)| then != now);
    let moved: Vec<_> = moved.map(|((then, now), count)| json!({"from": then, "to": now, "requests": count})).collect();
    let targets: Vec<_> = difference
        .targets
        .iter()
        .map(|(target, (then, now))| json!({"target": target, "then": then, "now": now}))
        .collect();
    let changed: Vec<_> = difference
        .changed
        .iter()
        .map(|changed| {
            json!({
                "request_id": changed.request_id, "target": [changed.target.0, changed.target.1],
                "rule": [changed.route.0, changed.route.1],
            })
        })
        .collect();
    let report: Value = json!({
        "policy": policy,
        "requests": replayed.requests,
        "from_ms": replayed.between_ms.0,
        "until_ms": replayed.between_ms.1,
        "undecided": replayed.undecided,
        "unreadable": replayed.unreadable,
        "with_unknown_facts": replayed.unknown_facts,
        "unknown_facts": replayed.unknown_names,
        "older_than_vocabulary": replayed.older,
        "placement_changed": difference.placement,
        "first_target_changed": difference.first_target,
        "moved": moved,
        "targets": targets,
        "before_target": replayed.before_target,
        "cost_usd": {"then": difference.cost_usd.0, "now": difference.cost_usd.1},
        "cost_usd_a_week": week.map(|week| json!({"then": difference.cost_usd.0 * week, "now": difference.cost_usd.1 * week})),
        "cost_unknown": difference.cost_unknown,
        "slo": {
            "with_limit": {"then": difference.with_slo.0, "now": difference.with_slo.1},
            "expected_misses": {"then": difference.slo_misses.0, "now": difference.slo_misses.1},
            "missed": difference.slo_missed,
        },
        "changed": changed,
    });
    say!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
