//! What records come to, for people and as JSON.

use account::ledger::Summary;
use serde_json::{Value, json};

use crate::span::shown;

pub(super) fn print(summary: &Summary, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        say!("{}", serde_json::to_string_pretty(&to_json(summary))?);
        return Ok(());
    }
    if summary.unreadable > 0 {
        say!("{} records cannot be read and are left out; `tidegate ledger verify` says more", summary.unreadable);
    }
    let Some((first, last)) = summary.between_ms else {
        say!("no requests");
        return Ok(());
    };
    say!("{} requests from {} to {}", summary.requests, shown(first), shown(last));
    let outcomes: Vec<_> = summary.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    say!("outcomes        {}", outcomes.join(", "));
    let share = summary.stayed_share().map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    say!(
        "stayed          {} of {} answers ({share}): nothing of their requests left the device",
        summary.stayed,
        summary.answered
    );
    let unknown = match summary.cost_unknown {
        0 => String::new(),
        count => format!(", and {count} answers of unknown cost"),
    };
    say!("cost            ${:.6}{unknown}", summary.cost_usd);
    match summary.cost_avoided_known {
        0 => say!("cost avoided    not known: no `reference` with a known price in the policy"),
        known => {
            let sign = if summary.cost_avoided_usd < 0.0 { "-" } else { "" };
            say!("cost avoided    {sign}${:.6}, of {known} answers", summary.cost_avoided_usd.abs());
        }
    }
    if summary.lost_hedges_usd > 0.0 {
        say!("lost hedges     ${:.6}, estimated", summary.lost_hedges_usd);
    }
    if summary.comparisons.0 > 0 {
        say!("comparisons     {}, ${:.6}", summary.comparisons.0, summary.comparisons.1);
    }
    let width = summary.targets.keys().map(String::len).max().unwrap_or(0).max(6);
    let ttft = "ttft p50, p95 ms";
    let header = format!(
        "{:width$}  {:>8}  {:>8}  {:>8}  {:>10}  {:>10}",
        "target", "requests", "answered", "again", "in", "out"
    );
    say!("\n{header}  {:>10}  {ttft:>18}  {:>20}", "cost $", "duration p50, p95 ms");
    for (target, of) in &summary.targets {
        let both = |values: &[f64]| match (quantile(values, 0.5), quantile(values, 0.95)) {
            (Some(half), Some(most)) => format!("{half:.1}, {most:.1}"),
            _ => "-".to_owned(),
        };
        let (input, output) = of.tokens;
        let counts = format!("{:>8}  {:>8}  {:>8}  {input:>10}  {output:>10}", of.requests, of.answered, of.again);
        let (ttft, duration) = (both(&of.ttft_ms), both(&of.duration_ms));
        say!("{target:width$}  {counts}  {:>10.6}  {ttft:>18}  {duration:>20}", of.cost_usd);
    }
    if summary.targets.values().any(|of| of.again > 0) {
        say!("again: answers given before, or to another caller; in none of the columns behind");
    }
    Ok(())
}

fn to_json(summary: &Summary) -> Value {
    let targets = summary.targets.iter().map(|(target, of)| {
        let of = json!({
            "requests": of.requests, "answered": of.answered, "given_again": of.again, "input_tokens": of.tokens.0, "output_tokens": of.tokens.1,
            "cost_usd": of.cost_usd,
            "ttft_ms": {"p50": quantile(&of.ttft_ms, 0.5), "p95": quantile(&of.ttft_ms, 0.95)},
            "duration_ms": {"p50": quantile(&of.duration_ms, 0.5), "p95": quantile(&of.duration_ms, 0.95)},
        });
        (target.clone(), of)
    });
    json!({
        "requests": summary.requests,
        "answered": summary.answered,
        "stayed_on_device": summary.stayed,
        "stayed_share": summary.stayed_share(),
        "outcomes": summary.outcomes,
        "cost_usd": summary.cost_usd,
        "answers_of_unknown_cost": summary.cost_unknown,
        "cost_avoided_usd": (summary.cost_avoided_known > 0).then_some(summary.cost_avoided_usd),
        "answers_with_cost_avoided": summary.cost_avoided_known,
        "lost_hedges_usd": summary.lost_hedges_usd,
        "comparisons": {"count": summary.comparisons.0, "cost_usd": summary.comparisons.1},
        "unreadable": summary.unreadable,
        "first_ms": summary.between_ms.map(|(first, _)| first),
        "last_ms": summary.between_ms.map(|(_, last)| last),
        "targets": targets.collect::<serde_json::Map<_, _>>(),
    })
}

/// The smallest value that so large a share is not above; the values are in order.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.95)), (Some(50.0), Some(95.0)));
        assert_eq!((quantile(&[7.0], 0.95), quantile(&[], 0.5)), (Some(7.0), None));
    }
}
