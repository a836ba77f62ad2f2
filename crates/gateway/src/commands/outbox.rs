//! `tidegate outbox`: what is kept for later, read from the disk, whether or not a gateway runs.

use std::path::Path;

use account::outbox::{EntryId, OutboxStore};
use anyhow::{Context, ensure};
use artifacts::Home;
use chrono::{DateTime, Utc};

use crate::cli::OutboxAction;
use crate::outbox::{folder, shown, why_not};

/// Runs one action on the outbox of this user.
///
/// # Errors
/// Where there is none, it cannot be read, or there is no such entry.
pub(crate) fn outbox(action: &OutboxAction) -> anyhow::Result<()> {
    let folder = folder(Home::from_env()?.path());
    ensure!(
        OutboxStore::is_in(&folder),
        "there is no outbox in {}: it is made when a gateway runs that keeps requests",
        folder.display()
    );
    let store = OutboxStore::attach(&folder)?;
    match action {
        OutboxAction::List { count } => list(&store, *count, &folder),
        OutboxAction::Show { id } => {
            let id = EntryId::parse(id)?;
            let (entry, answer) = store.entry(id, None)?.with_context(|| format!("there is no entry {id}"))?;
            let json = shown(&entry, answer).context("its answer is not JSON")?;
            say!("{}", String::from_utf8_lossy(&json));
            Ok(())
        }
        OutboxAction::Delete { id } => {
            let id = EntryId::parse(id)?;
            let state = store.delete(id, None)?.with_context(|| format!("there is no entry {id}"))?;
            say!("deleted {id}, which was {}", state.as_str());
            Ok(())
        }
    }
}

fn list(store: &OutboxStore, count: u32, folder: &Path) -> anyhow::Result<()> {
    let page = store.list(None, None, count)?.context("without a place to begin at there is always a list")?;
    say!("{:39}  {:9}  {:20}  {:20}  attempts  why not", "id", "status", "created", "expires");
    for entry in &page.entries {
        let (created, expires) = (time(entry.created_ms), time(entry.expires_ms));
        let why_not = why_not(entry).unwrap_or_else(|| "-".to_owned());
        say!("{}  {:9}  {created:20}  {expires:20}  {:>8}  {why_not}", entry.id, entry.state.as_str(), entry.sends);
    }
    let more = if page.has_more { "; there are more (--count)" } else { "" };
    say!("\nkept in {}{more}", folder.display());
    Ok(())
}

fn time(unix_ms: i64) -> String {
    let time: DateTime<Utc> = DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
