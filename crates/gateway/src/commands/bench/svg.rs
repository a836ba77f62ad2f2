//! A report as a picture: three charts side by side, a row for each case of each target. Written by hand; needs no font that is not everywhere.

use std::fmt::Write;

use super::report::{CaseReport, Report};
use super::stats::Spread;
use super::table::{FIGURES, about, machine_lines, number};

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 28.0;
/// Where the charts begin, and how wide each is with the number behind its longest bar.
const CHARTS_X: f64 = 240.0;
const CHART_WIDTH: f64 = 248.0;
/// The longest bar or whisker.
const BAR_WIDTH: f64 = 168.0;
const ROW: f64 = 24.0;
const BAR: f64 = 14.0;
const TARGET_HEAD: f64 = 40.0;
const HEAD: f64 = 112.0;
/// Of each chart.
const COLOURS: [&str; 3] = ["#2f6fb0", "#2a9d8f", "#d9772b"];
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Helvetica, Arial, sans-serif";
/// Longest text of a line, in characters.
const LINE_CHARS_MAX: usize = 150;

/// The picture.
pub(super) fn render(report: &Report) -> String {
    let rows: usize = report.targets.iter().map(|target| target.cases.len().max(1)).sum();
    let body = rows as f64 * ROW + report.targets.len() as f64 * TARGET_HEAD;
    let lines = machine_lines(report);
    let height = HEAD + body + 34.0 + 17.0 * (lines.len() + 1) as f64 + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"{FONT}\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#fff\"/>\n"
    );
    text(&mut out, MARGIN, 42.0, "font-size=\"20\" font-weight=\"600\"", "How fast does it answer?");
    text(&mut out, MARGIN, 63.0, "fill=\"#666\"", "median; the thin line spans the middle half of the requests");
    for (chart, (what, _)) in FIGURES.iter().enumerate() {
        let (title, better) = what.split_once(" (").unwrap_or((what, ""));
        let x = chart_x(chart);
        text(&mut out, x, HEAD - 16.0, &format!("font-weight=\"600\" fill=\"{}\"", COLOURS[chart]), title);
        text(&mut out, x, HEAD, "font-size=\"11\" fill=\"#666\"", better.trim_end_matches(')'));
    }
    let mut y = HEAD;
    for target in &report.targets {
        y += TARGET_HEAD;
        let _ = writeln!(out, "<path d=\"M{MARGIN} {} H{}\" stroke=\"#ddd\"/>", y - 30.0, WIDTH - MARGIN);
        let id = format!("<tspan font-weight=\"600\">{}</tspan>", escape(&target.id));
        let _ = writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"{}\">{id} <tspan fill=\"#666\">{}</tspan></text>",
            y - 10.0,
            escape(&cut(&about(target)))
        );
        if target.cases.is_empty() {
            text(&mut out, MARGIN, y + 12.0, "fill=\"#a33\"", "not measured");
            y += ROW;
        }
        for case in &target.cases {
            row(&mut out, report, case, y);
            y += ROW;
        }
    }
    y += 34.0;
    for line in lines {
        text(&mut out, MARGIN, y, "font-size=\"12\" fill=\"#666\"", &cut(&line));
        y += 17.0;
    }
    let sources = "prompt tokens/s by llama-server's own clock, with * over the time to first token seen from the gateway; the rest seen from the gateway";
    text(&mut out, MARGIN, y, "font-size=\"12\" fill=\"#666\"", sources);
    out.push_str("</svg>\n");
    out
}

/// The bars of one case; `y` is the top of its row.
fn row(out: &mut String, report: &Report, case: &CaseReport, y: f64) {
    let failed = case.answered < case.requests;
    let answered = if failed { format!(" ({}/{})", case.answered, case.requests) } else { String::new() };
    let label = format!("{} prompt, {} at once{answered}", case.prompt, case.at_once);
    text(out, MARGIN, y + 12.0, if failed { "fill=\"#a33\"" } else { "" }, &label);
    for (chart, (_, of)) in FIGURES.iter().enumerate() {
        let x = chart_x(chart);
        let Some(spread) = of(case) else {
            text(out, x, y + 12.0, "fill=\"#999\"", "–");
            continue;
        };
        let longest = report.targets.iter().flat_map(|target| &target.cases).filter_map(of).map(|spread| spread.p75);
        let scale = BAR_WIDTH / longest.fold(f64::MIN_POSITIVE, f64::max);
        let is_client = chart == 1 && case.prefill_tokens_per_s.as_ref().is_some_and(|rate| rate.source != "engine");
        bar(out, x, y, spread, scale, COLOURS[chart], is_client);
    }
}

fn bar(out: &mut String, x: f64, y: f64, spread: Spread, scale: f64, colour: &str, is_client: bool) {
    let (low, middle, high) = (spread.p25 * scale, spread.median * scale, spread.p75 * scale);
    let _ = writeln!(
        out,
        "<rect x=\"{x}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\" fill-opacity=\".8\"/>\
         <path d=\"M{:.1} {:.1} H{:.1}\" stroke=\"#222\" stroke-width=\"1.2\"/>",
        y + 1.0,
        middle.max(1.0),
        x + low,
        y + 1.0 + BAR / 2.0,
        x + high.max(low + 0.5)
    );
    let star = if is_client { "*" } else { "" };
    text(out, x + high.max(middle) + 6.0, y + 12.0, "", &format!("{}{star}", number(spread.median)));
}

fn chart_x(chart: usize) -> f64 {
    CHARTS_X + chart as f64 * CHART_WIDTH
}

fn text(out: &mut String, x: f64, y: f64, attributes: &str, words: &str) {
    let space = if attributes.is_empty() { "" } else { " " };
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\"{space}{attributes}>{}</text>", escape(words));
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// As text of XML; what XML 1.0 cannot hold is left out.
fn escape(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for character in words.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn every_case_is_drawn_and_what_others_wrote_is_escaped() {
        let report = report();
        let picture = render(&report);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        for part in [
            "local/smol",
            "big &amp; bold",
            "A &lt;fast&gt; CPU",
            "short prompt, 4 at once",
            "(4/5)",
            ">–<",
            "*</text>",
        ] {
            assert!(picture.contains(part), "{part} in {picture}");
        }
        // A bar and a whisker for each figure there is: three cases with three each.
        assert_eq!((picture.matches("fill-opacity").count(), picture.matches("stroke-width=\"1.2\"").count()), (9, 9));
        let ends = |name: &str| {
            (picture.matches(&format!("<{name} ")).count(), picture.matches(&format!("</{name}>")).count())
        };
        assert_eq!(ends("text").0, ends("text").1);
        assert_eq!(ends("tspan").0, ends("tspan").1);
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }

    #[test]
    fn an_empty_report_is_a_picture_too() {
        let mut report = report();
        report.targets[0].cases.clear();
        report.targets.truncate(1);
        let picture = render(&report);
        assert!(picture.contains("not measured") && !picture.contains("NaN"));
        report.targets.clear();
        assert!(render(&report).ends_with("</svg>\n"));
    }

    #[test]
    fn no_character_is_written_that_xml_cannot_hold() {
        assert_eq!(escape("a\u{0}\u{1b}[1m<&\">é"), "a[1m&lt;&amp;&quot;&gt;é");
        assert_eq!(cut(&"é".repeat(200)).chars().count(), LINE_CHARS_MAX + 1);
    }
}
