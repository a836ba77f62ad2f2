//! `tidegate train`: heads fitted anew to what was learnt, put in force where they are better, and taken back.

mod report;
mod rows;

use std::path::Path;

use account::labels::LabelReader;
use anyhow::{Context, ensure};
use artifacts::Home;
use signals::classify::heads::Heads;
use signals::learn::{Decision, Trained, train as fit};

use crate::cli::TrainArgs;
use crate::config::{Config, TargetConfig};
use crate::learning::labels_path;
use crate::learning::versions::{AboutTarget, Versions};
use crate::unix_time::now_s;
use crate::{classifier, compose};
use report::Report;
use rows::Labels;

/// Runs the command.
///
/// # Errors
/// Everything wrong with the configuration; without labels or a classifier; when versions cannot be read or written.
pub(crate) fn train(args: &TrainArgs) -> anyhow::Result<()> {
    let home = Home::from_env()?;
    let versions = Versions::below(home.path());
    if args.rollback {
        let _held = versions.lock()?;
        let (from, to) = versions.roll_back()?;
        say!(
            "{from} is no longer active; {} in force, {TAKEN_UP}",
            to.as_deref().map_or_else(of_classifier, is_in_force)
        );
        return Ok(());
    }
    let config = Config::load(args.config.as_deref())?;
    let named = |target: &&TargetConfig| args.target.as_deref().is_none_or(|id| target.id().as_str() == id);
    let targets: Vec<_> = config.targets.iter().filter(named).collect();
    ensure!(!targets.is_empty(), "there is no target {:?}", args.target.as_deref().unwrap_or_default());
    let labels = labels(home.path())?;
    let _held = versions.lock()?;
    let shipped_json = classifier::files(&config, &compose::source(&config)?)?.heads;
    let shipped = Heads::parse(&shipped_json).context("the classifier's own heads")?;
    let learnt = versions.in_force(&shipped_json).context("the active version; tidegate train --rollback leaves it")?;
    let mut heads = match &learnt {
        Some(learnt) => Heads::parse(&learnt.heads).with_context(|| learnt.version.clone())?,
        None => shipped.clone(),
    };
    let mut better = Vec::new();
    for target in targets {
        let (model, size_class) = (target.classified_as.model.clone(), target.classified_as.size_class);
        let rows = labels.of(target.id(), &model, &shipped.name);
        if rows.is_empty() && args.target.is_none() {
            continue;
        }
        let before = (shipped.quality_head(Some(&model), size_class), heads.quality_head(Some(&model), size_class));
        let (Some(prior), Some(current)) = before else {
            say!(
                "{}: the classifier knows neither {model} nor its size; say size_class in the configuration",
                target.id()
            );
            continue;
        };
        match fit(&heads, prior, current, &rows) {
            Err(too_few) => say!("{}: {too_few}", target.id()),
            Ok(trained) => {
                say!("{}", Report { target: target.id(), model: &model, trained: &trained });
                if trained.decision == Decision::Activate {
                    better.push(about(target, &model, &trained));
                    heads.quality.targets.insert(model, trained.head);
                }
            }
        }
    }
    if better.is_empty() || args.dry_run {
        let why = if better.is_empty() { "no head is better than the one before" } else { "only tried" };
        say!("nothing is activated: {why}");
        return Ok(());
    }
    let json = serde_json::to_vec(&heads)?;
    // What would not be read must not be written.
    Heads::parse(&json)?;
    let version = versions.add(&shipped_json, &json, now_s(), better)?;
    versions.activate(Some(&version))?;
    say!("{version} is active, {TAKEN_UP}; tidegate train --rollback goes back");
    Ok(())
}

/// When a running gateway sees it.
const TAKEN_UP: &str = "from the next start or reload (SIGHUP, POST /admin/reload) of the gateway on";

fn of_classifier() -> String {
    "the heads that came with the classifier are".to_owned()
}

fn is_in_force(version: &str) -> String {
    format!("{version} is")
}

fn labels(home: &Path) -> anyhow::Result<Labels> {
    let path = labels_path(home);
    ensure!(
        path.is_file(),
        "there are no labels yet: {} is made when a gateway runs with learning: {{enabled: true}}",
        path.display()
    );
    Ok(Labels::new(LabelReader::open(&path)?.training(None)?))
}

fn about(target: &TargetConfig, model: &str, trained: &Trained) -> AboutTarget {
    let (log_loss, apgr) = (trained.log_loss_difference, trained.apgr_difference);
    AboutTarget {
        target: target.id().as_str().to_owned(),
        model: model.to_owned(),
        refit: trained.refit.to_string(),
        training: trained.training,
        held_out: trained.held_out,
        log_loss_difference: [log_loss.low, log_loss.high],
        apgr_difference: [apgr.low, apgr.high],
    }
}
