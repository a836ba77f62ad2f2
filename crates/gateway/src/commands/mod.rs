//! The commands of the binary, one function each.

mod artifacts;
mod asking;
mod bench;
mod check;
mod eval_target;
mod explain;
mod labels;
mod ledger;
mod outbox;
mod replay;
mod status;
mod train;
mod up;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};

use crate::config::DEFAULT_YAML;

pub(crate) use artifacts::artifacts;
pub(crate) use bench::bench;
pub(crate) use check::check;
pub(crate) use eval_target::eval_target;
pub(crate) use explain::explain;
pub(crate) use labels::labels;
pub(crate) use ledger::ledger;
pub(crate) use outbox::outbox;
pub(crate) use replay::replay;
pub(crate) use status::status;
pub(crate) use train::train;
pub(crate) use up::up;

/// A command line that cannot be carried out as it stands.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(String);

/// Writes the built-in configuration to `file`.
pub(crate) fn init(file: &Path, force: bool) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if !force {
        options.create_new(true);
    }
    let mut opened = match options.open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} is there already; --force overwrites it", file.display())
        }
        Err(error) => return Err(error).with_context(|| format!("{} cannot be written", file.display())),
    };
    opened.write_all(DEFAULT_YAML.as_bytes()).with_context(|| format!("{} cannot be written", file.display()))?;
    say!("wrote {0}; start with: tidegate up --config {0}", file.display());
    Ok(())
}
