//! `tidegate artifacts`: list, install, verify, remove.

use anyhow::bail;
use artifacts::{Check, Role, State, engine_version, progress_for_stderr};

use crate::cli::ArtifactsAction;
use crate::compose;
use crate::config::{Config, LogConfig, LogFormat};
use crate::logging;

/// Runs one action on the artifacts of this machine.
pub(crate) async fn artifacts(action: ArtifactsAction) -> anyhow::Result<()> {
    logging::init(&LogConfig { format: LogFormat::Human, level: "info".to_owned() });
    let store = compose::store(&Config::load(None)?)?;
    match action {
        ArtifactsAction::List => list(&store).await,
        ArtifactsAction::Install { name } => install(&store, name.as_deref()).await,
        ArtifactsAction::Verify => verify(&store).await,
        ArtifactsAction::Remove { name } => {
            store.remove(&name)?;
            say!("{name}: removed");
            Ok(())
        }
    }
}

async fn list(store: &artifacts::Store) -> anyhow::Result<()> {
    let all = store.list().await;
    let width = all.iter().map(|listed| listed.name.len()).max().unwrap_or(0);
    for listed in all {
        let version = listed.found_version.as_deref().unwrap_or(&listed.version);
        say!("{:width$}  {:11}  {:13}  {version}", listed.name, listed.role, word(listed.state));
        say!("{:width$}  {} ({})", "", listed.about, listed.licence);
        match (&listed.path, listed.origin, listed.size_bytes, listed.fetch_bytes) {
            (Some(path), Some(origin), Some(size), _) => {
                say!("{:width$}  {} ({}, {})", "", path.display(), megabytes(size), word(origin));
            }
            (Some(path), Some(origin), None, _) => say!("{:width$}  {} ({})", "", path.display(), word(origin)),
            (_, _, _, Some(fetch)) => {
                let by_name = if listed.is_optional { "; only when asked for by name" } else { "" };
                say!("{:width$}  installing fetches {}{by_name}", "", megabytes(fetch));
            }
            _ => {}
        }
    }
    say!("\nkept under {}", store.home().path().display());
    Ok(())
}

/// A variant's name as people write it.
fn word(variant: impl std::fmt::Debug) -> String {
    format!("{variant:?}").to_lowercase()
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

async fn install(store: &artifacts::Store, name: Option<&str>) -> anyhow::Result<()> {
    let names = names(store, name);
    let progress = progress_for_stderr();
    let mut failures = Vec::new();
    for name in names {
        match store.install(&name, progress.as_ref()).await {
            Ok(found) => say!("{name}: {} ({})", found.path.display(), word(found.origin)),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    report(&failures)
}

async fn verify(store: &artifacts::Store) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for listed in store.list().await {
        if matches!(listed.state, State::Missing | State::Unsupported) {
            say!("{}: not installed", listed.name);
            continue;
        }
        match store.verify(&listed.name).await {
            Ok(verified) if verified.check == Check::Matches => {
                say!("{}: ok, sha256 {}", listed.name, verified.sha256);
            }
            Ok(verified) => {
                say!("{}: from elsewhere, sha256 {} ({})", listed.name, verified.sha256, verified.path.display());
            }
            Err(error) => failures.push(format!("{}: {error}", listed.name)),
        }
        if let (Role::Engine, Some(path)) = (listed.role, &listed.path) {
            match engine_version(path).await {
                Ok(version) => say!("{}: runs, version {version}", listed.name),
                Err(error) => failures.push(format!("{}: {error}", listed.name)),
            }
        }
    }
    report(&failures)
}

fn names(store: &artifacts::Store, name: Option<&str>) -> Vec<String> {
    match name {
        Some(name) => vec![name.to_owned()],
        None => {
            let wanted = store.manifest().artifacts().filter(|artifact| !artifact.is_optional());
            wanted.map(|artifact| artifact.name().to_owned()).collect()
        }
    }
}

fn report(failures: &[String]) -> anyhow::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("\n"))
}
