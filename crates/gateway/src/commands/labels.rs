//! `tidegate labels`: what was learnt of answers, as numbers, as a list, as a file.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use account::labels::{LabelReader, ListedAnswer, OutcomeSource, TrainingRow};
use anyhow::{Context, ensure};
use artifacts::Home;
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::cli::LabelsAction;
use crate::learning::labels_path;

/// Runs one action on the label store of this user.
///
/// # Errors
/// Where there is none, or it cannot be read; where the file to write is there already.
pub(crate) fn labels(action: &LabelsAction) -> anyhow::Result<()> {
    let path = labels_path(Home::from_env()?.path());
    ensure!(
        path.is_file(),
        "there is no label store: {} is made when a gateway runs with learning: {{enabled: true}}",
        path.display()
    );
    let reader = LabelReader::open(&path)?;
    match action {
        LabelsAction::Stats => stats(&reader, &path),
        LabelsAction::List { target, count } => list(&reader.newest(target.as_deref(), *count)?),
        LabelsAction::Export { target, out, confidential } => {
            export(reader.training(target.as_deref())?, out, *confidential)
        }
    }
}

fn stats(reader: &LabelReader, path: &Path) -> anyhow::Result<()> {
    let targets = reader.targets()?;
    let width = targets.iter().map(|target| target.target.len()).max().unwrap_or(0).max(6);
    let sources = OutcomeSource::ALL.map(|source| format!("{:>10}", source.as_str())).join("  ");
    say!("{:width$}  {:>8}  {:>8}  {:>8}  {:>6}  {sources}", "target", "answers", "labelled", "usable", "score");
    for target in &targets {
        let counts = target.by_source.map(|count| format!("{count:>10}")).join("  ");
        let score = target.mean_score.map_or_else(|| "-".to_owned(), |score| format!("{score:.3}"));
        let (answers, labelled, usable) = (target.answers, target.labelled, target.usable);
        say!("{:width$}  {answers:>8}  {labelled:>8}  {usable:>8}  {score:>6}  {counts}", target.target);
    }
    say!("\nkept in {}; usable labels have features, which tidegate train needs", path.display());
    Ok(())
}

fn list(answers: &[ListedAnswer]) -> anyhow::Result<()> {
    let width = answers.iter().map(|answer| answer.request_id.len()).max().unwrap_or(0).max(10);
    let target_width = answers.iter().map(|answer| answer.target.len()).max().unwrap_or(0).max(6);
    let header = format!("{:20}  {:width$}  {:target_width$}  {:12}", "answered", "request id", "target", "class");
    say!("{header}  {:13}  outcome", "task");
    for answer in answers {
        let outcome = answer.outcome.map_or_else(
            || "-".to_owned(),
            |(source, score, weight)| match weight {
                1.0 => format!("{score:.2} {}", source.as_str()),
                weight => format!("{score:.2} {} (weight {weight:.2})", source.as_str()),
            },
        );
        say!(
            "{:20}  {:width$}  {:target_width$}  {:12}  {:13}  {outcome}",
            time(answer.at_s),
            answer.request_id,
            answer.target,
            answer.privacy.as_str(),
            answer.task.as_deref().unwrap_or("-")
        );
    }
    Ok(())
}

fn time(unix_s: i64) -> String {
    let time: DateTime<Utc> = DateTime::from_timestamp(unix_s, 0).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// One JSON line for each label with features. An exported file may be taken elsewhere: labels of requests that stay on the
/// device are in it only when asked for.
fn export(rows: Vec<TrainingRow>, out: &Path, confidential: bool) -> anyhow::Result<()> {
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let mut file = BufWriter::new(options.with_context(|| format!("{} cannot be made", out.display()))?);
    let (mut written, mut left_out) = (0, 0);
    for TrainingRow { listed, model, classifier, features } in rows {
        if listed.privacy.stays_on_device() && !confidential {
            left_out += 1;
            continue;
        }
        let Some((source, score, weight)) = listed.outcome else { continue };
        let line = json!({
            "request_id": listed.request_id, "at_s": listed.at_s, "target": listed.target, "model": model,
            "privacy": listed.privacy.as_str(), "task": listed.task, "source": source.as_str(), "score": score,
            "weight": weight, "classifier": classifier, "features": features,
        });
        writeln!(file, "{line}").with_context(|| format!("{} cannot be written", out.display()))?;
        written += 1;
    }
    file.flush().with_context(|| format!("{} cannot be written", out.display()))?;
    let rest = match left_out {
        0 => String::new(),
        left_out => format!("; {left_out} of requests that stay on the device were left out (--confidential)"),
    };
    say!("{written} labels written to {}{rest}", out.display());
    Ok(())
}
