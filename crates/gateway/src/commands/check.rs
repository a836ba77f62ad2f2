//! `tidegate check`: configuration and policies, with the policies' own tests.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::Config;
use crate::policies::{Context, LoadedPolicy, PolicyErrors, load_file, with_stack};

/// Validates the configuration, then the policies that it names or the given ones. Says what was found in all of them.
///
/// # Errors
/// Everything wrong with the configuration, or with the policies.
pub(crate) fn check(file: Option<&Path>, policies: &[PathBuf]) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let name = file.map_or("built-in default".into(), Path::to_string_lossy);
    say!("{name}: ok, {} targets", config.targets.len());
    for target in &config.targets {
        say!("  {}", target.id());
    }
    for (id, variable) in &config.disabled {
        say!("  {id} (off: {variable} is not set)");
    }
    let context = Context::of(&config);
    let mut found = PolicyErrors::default();
    for path in files(&config, policies)? {
        match with_stack(|| load_file(path.as_deref(), &context)) {
            Ok(loaded) => report(&loaded),
            Err(errors) => found.extend(errors),
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found.into()) }
}

fn report(loaded: &LoadedPolicy) {
    let (rules, routes) = (loaded.policy.placement_ids().count(), loaded.policy.route_ids().count());
    let tests = loaded.tests;
    say!("{}: ok, {rules} placement rules, {routes} routes, {tests} tests passed", loaded.name);
    for warning in &loaded.warnings {
        say!("{warning}");
    }
}

/// The policies to check; `None` is the built-in default. A folder stands for every `.yaml` in it, by name.
fn files(config: &Config, given: &[PathBuf]) -> anyhow::Result<Vec<Option<PathBuf>>> {
    if given.is_empty() {
        let named = [Some(config.policy.file.clone()), config.policy.shadow.clone().map(Some)];
        return Ok(named.into_iter().flatten().collect());
    }
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(Some(path.clone()));
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inside.retain(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
        inside.sort();
        anyhow::ensure!(!inside.is_empty(), "{} holds no .yaml file", path.display());
        files.extend(inside.into_iter().map(Some));
    }
    Ok(files)
}
