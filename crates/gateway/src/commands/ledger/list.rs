//! Records as a table, as CSV and as JSON lines.

use account::ledger::{LedgerReader, Record, Row};

use crate::span::shown;

const COLUMNS: [&str; 18] = [
    "seq",
    "settled",
    "request_id",
    "kind",
    "outcome",
    "target",
    "locality",
    "route",
    "attempts",
    "duration_ms",
    "ttft_ms",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "tokens_estimated",
    "cost_usd",
    "cost_avoided_usd",
    "left_device_bytes",
];

/// For people: a header and a line for each.
pub(super) fn table(rows: &[Row]) {
    say!(
        "{:20}  {:36}  {:18}  {:28}  {:16}  {:>9}  {:>8}  {:>7}  {:>6}  {:>10}  {:>10}",
        "settled",
        "request id",
        "outcome",
        "target",
        "route",
        "ms",
        "ttft ms",
        "in",
        "out",
        "cost $",
        "avoided $"
    );
    for row in rows {
        line(row);
    }
}

/// One line of the table.
pub(super) fn line(row: &Row) {
    let record = &row.record;
    let tokens = record.tokens;
    say!(
        "{:20}  {:36}  {:18}  {:28}  {:16}  {:>9.1}  {:>8}  {:>7}  {:>6}  {:>10}  {:>10}",
        shown(record.at_ms),
        record.request_id,
        record.outcome,
        record.target.as_deref().unwrap_or("-"),
        record.route.as_deref().unwrap_or("-"),
        record.duration_ms,
        or_dash(record.ttft_ms.map(|ms| format!("{ms:.1}"))),
        or_dash(tokens.map(|tokens| tokens.input.to_string())),
        or_dash(tokens.map(|tokens| tokens.output.to_string())),
        or_dash(record.cost_usd.map(|usd| format!("{usd:.6}"))),
        or_dash(record.cost_avoided_usd.map(|usd| format!("{usd:.6}")))
    );
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// What is not known is an empty field.
pub(super) fn csv(rows: &[Row]) {
    say!("{}", COLUMNS.join(","));
    for row in rows {
        say!("{}", fields(row).join(","));
    }
}

fn fields(row: &Row) -> [String; COLUMNS.len()] {
    let Record { tokens, .. } = row.record;
    let record = &row.record;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    let count = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
    // None holds a comma or a quote: they are names of closed shapes.
    [
        row.head.seq.to_string(),
        shown(record.at_ms),
        record.request_id.to_string(),
        record.kind.to_string(),
        record.outcome.to_string(),
        text(record.target.as_deref()),
        text(record.locality.as_deref()),
        text(record.route.as_deref()),
        record.attempts.len().to_string(),
        record.duration_ms.to_string(),
        number(record.ttft_ms),
        count(tokens.map(|tokens| tokens.input)),
        count(tokens.map(|tokens| tokens.cached)),
        count(tokens.map(|tokens| tokens.output)),
        tokens.map(|tokens| tokens.estimated.to_string()).unwrap_or_default(),
        number(record.cost_usd),
        number(record.cost_avoided_usd),
        record.left_device().1.to_string(),
    ]
}

/// Whole records, with their places, and with the facts that they do not repeat.
pub(super) fn json(reader: &LedgerReader, rows: Vec<Row>) -> anyhow::Result<()> {
    for Row { head, mut record, .. } in rows {
        if let Some(decision) = &mut record.decision
            && let Some(facts) = reader.facts(decision)?
        {
            (decision.facts, decision.base) = (facts, None);
        }
        say!(r#"{{"seq":{},"hash":"{}","record":{}}}"#, head.seq, head.hash, serde_json::to_string(&record)?);
    }
    Ok(())
}
