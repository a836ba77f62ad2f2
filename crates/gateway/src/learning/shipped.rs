//! What the classifier came with: the heads that learning starts from, and which of them speaks for a target.

use std::path::Path;

use anyhow::bail;

use crate::config::{Config, TargetConfig};

/// `heads.json` as it came.
///
/// # Errors
/// When there is no classifier.
pub(crate) fn heads(_config: &Config, home: &Path) -> anyhow::Result<Vec<u8>> {
    let path = home.join("classifier").join("heads.json");
    match std::fs::read(&path) {
        Ok(bytes) => Ok(bytes),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

/// The model behind a target and its size class, as the classifier knows them.
pub(crate) fn classified_as(target: &TargetConfig) -> (String, Option<&'static str>) {
    let id = target.id().as_str();
    (id.split_once('/').map_or(id, |(_, model)| model).to_owned(), Some("tiny"))
}
