//! A report for a terminal: what it ran on, a table, and bars.

use std::fmt::Write;

use super::report::{CaseReport, Report, TargetReport};
use super::stats::Spread;

/// Columns of the longest bar.
const BAR_WIDTH: usize = 30;
/// Eighths of a column.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// Beyond this load average it is said.
const BUSY_LOAD: f64 = 0.5;

/// What a chart shows of a case.
pub(super) type Figure = (&'static str, fn(&CaseReport) -> Option<Spread>);

/// The charts, with what they are of.
pub(super) const FIGURES: [Figure; 3] = [
    ("time to first token, ms (less is better)", |case| case.ttft_ms),
    ("prompt tokens/s (more is better)", |case| case.prefill_tokens_per_s.as_ref().map(|rate| rate.spread)),
    ("answer tokens/s of one request (more is better)", |case| {
        case.decode_tokens_per_s.as_ref().map(|rate| rate.spread)
    }),
];

/// The whole report as text.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    for line in machine_lines(report) {
        let _ = writeln!(out, "{line}");
    }
    for target in &report.targets {
        let _ = writeln!(out, "\n{}  ({})", target.id, about(target));
        table(&mut out, target);
    }
    for figure in FIGURES {
        bars(&mut out, report, figure);
    }
    let _ = write!(
        out,
        "\nMedians, in parentheses the range of the middle half (quartiles). Up to {} tokens an answer; not counted before each\n\
         case: {}; no prompt begins as another. First token: from handing the prompt over, decision included. Prompt\n\
         tokens/s: by llama-server's own clock; with * over the time to first token seen from here, which is less than the\n\
         truth. Answer tokens/s: after the first token, seen from here; `all` is of all requests at once together.",
        report.max_tokens, report.warm_up
    );
    out
}

/// What it ran on, a line each.
pub(super) fn machine_lines(report: &Report) -> Vec<String> {
    let machine = &report.machine;
    let memory = machine.memory_bytes.map(|bytes| format!(", {:.1} GB", bytes as f64 / 1e9)).unwrap_or_default();
    let plural = if machine.cores == 1 { "" } else { "s" };
    let cpu = machine.cpu.as_deref().unwrap_or("processor unknown");
    let mut versions = format!("tidegate {}", report.tidegate.version);
    if report.tidegate.build != "release" {
        let _ = write!(versions, " ({} build)", report.tidegate.build);
    }
    if let Some(engine) = &report.llama_server {
        let _ = write!(versions, ", llama-server {engine}");
    }
    let mut lines = vec![
        format!("{cpu}, {} core{plural}{memory}, {}", machine.cores, machine.arch),
        format!("{}; {versions}; {}", machine.os, report.ended_at),
    ];
    if let Some(load) = machine.load_average.filter(|load| *load > BUSY_LOAD) {
        lines.push(format!("load average in the minute before: {load:.1}; something else may have been running"));
    }
    if report.interrupted {
        lines.push("interrupted: not everything was measured".to_owned());
    }
    lines
}

/// Where it runs and what it is.
pub(super) fn about(target: &TargetReport) -> String {
    let mut words = vec![target.locality.to_owned(), target.model_words()];
    if let Some(local) = &target.local {
        words.push(format!("{} slots", local.slots));
        let set = [("threads", local.threads), ("batch", local.batch_tokens), ("GPU layers", local.gpu_layers)];
        words.extend(set.iter().filter_map(|(name, count)| count.map(|count| format!("{name} {count}"))));
        words.extend(local.load_ms.map(|ms| format!("loaded in {:.1} s", ms / 1000.0)));
    }
    if let Some(cost) = target.cost_usd.filter(|cost| *cost > 0.0) {
        words.push(format!("cost ${cost:.4}, warm-up not counted"));
    }
    words.retain(|word| !word.is_empty());
    words.join(", ")
}

fn table(out: &mut String, target: &TargetReport) {
    let head = ["prompt", "at once", "answered", "first token ms", "prompt tok/s", "answer tok/s", "all tok/s"];
    let mut rows = vec![head.map(str::to_owned)];
    for case in &target.cases {
        let tokens = case.prompt_tokens.map_or_else(String::new, |tokens| format!(" ({:.0} tok)", tokens.median));
        let prefill = case.prefill_tokens_per_s.as_ref();
        let star = if prefill.is_some_and(|rate| rate.source != "engine") { "*" } else { "" };
        rows.push([
            format!("{}{tokens}", case.prompt),
            case.at_once.to_string(),
            format!("{}/{}", case.answered, case.requests),
            told(case.ttft_ms),
            format!("{}{star}", told(prefill.map(|rate| rate.spread))),
            told(case.decode_tokens_per_s.as_ref().map(|rate| rate.spread)),
            case.all_answer_tokens_per_s.map_or_else(|| "-".to_owned(), number),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<_> = cells
            .map(|(n, (cell, width))| if n == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") })
            .collect();
        let _ = writeln!(out, "  {}", cells.join("  ").trim_end());
    }
    for case in &target.cases {
        for failure in &case.failures {
            let (prompt, at_once) = (case.prompt, case.at_once);
            let _ = writeln!(out, "  {} of {prompt}, {at_once} at once, failed: {}", failure.count, failure.reason);
        }
    }
    if let Some(reason) = &target.given_up {
        let _ = writeln!(out, "  given up: {reason}");
    }
}

fn told(spread: Option<Spread>) -> String {
    let Some(spread) = spread else { return "-".to_owned() };
    let (median, p25, p75) = (number(spread.median), number(spread.p25), number(spread.p75));
    format!("{median} ({p25}-{p75})")
}

/// Three figures, or all before the point.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn bars(out: &mut String, report: &Report, (what, of): Figure) {
    let rows: Vec<_> = report
        .targets
        .iter()
        .flat_map(|target| target.cases.iter().filter_map(move |case| Some((label(target, case), of(case)?.median))))
        .collect();
    let Some(most) = rows.iter().map(|(_, value)| *value).max_by(f64::total_cmp).filter(|most| *most > 0.0) else {
        return;
    };
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let _ = writeln!(out, "\n{what}");
    for (label, value) in rows {
        let _ = writeln!(out, "  {label:width$}  {} {}", bar(value / most), number(value));
    }
}

fn label(target: &TargetReport, case: &CaseReport) -> String {
    format!("{}  {} x{}", target.id, case.prompt, case.at_once)
}

/// A bar of this share of the longest one.
fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (BAR_WIDTH * 8) as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn says_all_there_is_to_say() {
        let text = render(&report());
        for part in [
            "A <fast> CPU, 2 cores, 8.6 GB, x86_64",
            "Debian GNU/Linux 12; tidegate 0.1.0",
            "llama-server 10359 (abc)",
            "local/smol  (device, smol.gguf, Q4_1, 98 MB, 4 slots, loaded in 0.8 s)",
            "cloud/b  (cloud, big & bold, cost $0.0008, warm-up not counted)",
            "  prompt           at once  answered",
            "  short (100 tok)        1       5/5   300 (200-400)",
            "4/5",
            "1 of short, 1 at once, failed: status 503",
            "given up: status 503",
            "time to first token, ms (less is better)\n  local/smol  short x1  ██████████████████████████████ 300\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        let cloud = text.lines().find(|line| line.contains("4/5")).unwrap();
        assert!(cloud.contains(")*"), "by whose clock: {cloud}");
        assert!(text.lines().all(|line| line.chars().count() <= 125), "{text}");
    }

    #[test]
    fn numbers_have_three_figures_and_bars_their_share() {
        let check = |value, expected| assert_eq!(number(value), expected);
        check(0.123, "0.12");
        check(9.999, "10.0");
        check(12.34, "12.3");
        check(99.96, "100");
        check(1234.5, "1234");
        assert_eq!((bar(0.0), bar(1.0).chars().count(), bar(0.5).chars().count()), (String::new(), 30, 15));
        assert_eq!(bar(1.0 / 240.0), "▏");
    }
}
