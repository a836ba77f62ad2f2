//! `tidegate ledger`: what became of requests. Works beside a running gateway and without one.

mod list;
mod summary;

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use account::ledger::{Filter, Head, LedgerReader};
use anyhow::Context;
use artifacts::Home;

use crate::cli::ledger::{FilterArgs, Format, LedgerAction};
use crate::output;
use crate::recording::ledger_path;
use crate::unix_time::now_ms;

/// How often `tail --follow` looks for what is new.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn ledger(action: &LedgerAction) -> anyhow::Result<()> {
    let reader = open()?;
    match action {
        LedgerAction::Tail { count, follow } => tail(&reader, *count, *follow),
        LedgerAction::Query { filter, limit, format } => {
            let rows = reader.rows(&Filter { newest: Some(*limit), ..filter.filter() })?;
            match format {
                Format::Table => list::table(&rows),
                Format::Csv => list::csv(&rows),
                Format::Json => list::json(&reader, rows)?,
            }
            Ok(())
        }
        LedgerAction::Summary { filter, json } => summary::print(&reader.summary(&filter.filter())?, *json),
        LedgerAction::Export { out, filter } => export(&reader, out, &filter.filter()),
        LedgerAction::Verify { known } => verify(&reader, known),
    }
}

/// Opens the ledger of this user.
pub(super) fn open() -> anyhow::Result<LedgerReader> {
    let path = ledger_path(Home::from_env()?.path());
    if !path.exists() {
        anyhow::bail!("{} is not there: no gateway has recorded anything yet", path.display());
    }
    Ok(LedgerReader::open(&path)?)
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        let Self { since, until, target, route, outcome, kind } = self;
        let now_ms = now_ms();
        Filter {
            since_ms: since.map(|since| since.at_ms(now_ms)),
            until_ms: until.map(|until| until.at_ms(now_ms)),
            target: target.clone(),
            route: route.clone(),
            outcome: outcome.clone(),
            kind: kind.clone(),
            ..Filter::default()
        }
    }
}

fn tail(reader: &LedgerReader, count: u64, follow: bool) -> anyhow::Result<()> {
    // Before that, so that nothing is passed over that comes between.
    let head = reader.head()?;
    let rows = reader.rows(&Filter { newest: Some(count), ..Filter::default() })?;
    list::table(&rows);
    let mut seen = rows.last().map_or(head, |row| row.head).seq;
    if !follow {
        return Ok(());
    }
    while !output::is_unread() {
        std::thread::sleep(LOOK);
        let rows = reader.rows(&Filter { after_seq: Some(seen), ..Filter::default() })?;
        for row in &rows {
            list::line(row);
        }
        seen = rows.last().map_or(seen, |row| row.head.seq);
    }
    Ok(())
}

fn export(reader: &LedgerReader, out: &Path, filter: &Filter) -> anyhow::Result<()> {
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let mut file = BufWriter::new(options.with_context(|| format!("{} cannot be made", out.display()))?);
    let (mut count, mut failed) = (0, None);
    // What records call by a name stands before them, so that the file tells all.
    for (name, value) in reader.all_shared()? {
        writeln!(file, r#"{{"shared":"{name}","value":{value}}}"#)?;
    }
    reader.each(filter, |row| {
        // The record stands there as its hash was made, so that whoever has the file can verify it.
        let (seq, hash) = (row.head.seq, row.head.hash);
        let written = writeln!(file, r#"{{"seq":{seq},"hash":"{hash}","record":{}}}"#, row.json);
        count += 1;
        failed = written.err();
        failed.is_none()
    })?;
    let done = failed.map_or_else(|| file.flush(), Err);
    done.with_context(|| format!("{} cannot be written", out.display()))?;
    say!("{count} records written to {}", out.display());
    Ok(())
}

fn verify(reader: &LedgerReader, known: &[Head]) -> anyhow::Result<()> {
    let verified = reader.verify(known)?;
    let (count, bytes) = reader.size()?;
    for fault in &verified.faults {
        say!("{fault}");
    }
    if verified.anchor.seq > 0 {
        say!("records up to {} were removed for their age or the size of the file", verified.anchor.seq);
    }
    let size_mb = bytes as f64 / 1e6;
    say!("{} records looked at, {count} kept in {size_mb:.1} MB; the newest is {}", verified.records, verified.head);
    if known.is_empty() {
        say!("give an earlier one with --known to see as well that nothing was cut off or written anew since");
    }
    match verified.faults.len() {
        0 => Ok(()),
        1 => anyhow::bail!("the ledger is not whole: 1 fault"),
        faults => anyhow::bail!("the ledger is not whole: {faults} faults"),
    }
}
