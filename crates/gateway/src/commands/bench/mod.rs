//! `tidegate bench`: how fast does this target answer, on this machine? Time to first token, prompt and answer tokens per second, for short and
//! long prompts, one and several at once.
//!
//! Prompts go the way of all others (`asking`): by the policy, through the dispatcher. Nothing is sent to a target that may cost money before
//! somebody was told how much and said yes. Writes no log and no metric of what it measures; what it measures is a [`report::Report`].

mod consent;
mod gguf;
mod machine;
mod plan;
mod prompt;
mod report;
mod run;
mod stats;
mod svg;
mod table;

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, bail};

use super::asking;
use crate::cli::BenchArgs;
use crate::compose;
use crate::config::{Config, LogConfig, LogFormat};
use crate::logging;
use plan::Plan;
use report::Report;
use run::{Interrupt, Run};

/// Runs the command.
///
/// # Errors
/// A configuration, target or option that is wrong; no yes to what may cost money; a file that cannot be written; when it was interrupted, or nothing
/// at all was answered.
pub(crate) async fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let mut config = Config::load(args.config.as_deref())?;
    // A terminal shows a bar; elsewhere lines of the log say how far it is.
    let level = if std::io::stderr().is_terminal() { "error" } else { "info" };
    logging::init(&LogConfig { format: LogFormat::Auto, level: level.to_owned() });
    let plan = Plan::of(args, &config)?;
    consent::ask(&plan, args.yes)?;
    let mut interrupt = Interrupt::listen().context("signals cannot be received")?;
    let machine = machine::Machine::look();
    let engine = machine::engine_version(&config).await;
    asking::prepare(&mut config);
    let composed = async { anyhow::Ok(compose::compose(config).await?.complete().await) };
    let gateway = tokio::select! {
        gateway = composed => gateway?,
        () = interrupt.came() => bail!("interrupted before anything was asked"),
    };
    let mut run = Run::new(&gateway, &plan);
    let is_whole = run.all(&mut interrupt).await;
    let measured = run.finish();
    for (_, worker) in gateway.workers.all() {
        worker.stop().await;
    }
    let report = Report::new(machine, engine, &plan, measured, !is_whole);
    say!("{}", table::render(&report));
    if let Some(path) = &args.json {
        write(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(path) = &args.svg {
        write(path, &svg::render(&report))?;
    }
    if !is_whole {
        bail!("interrupted: what was measured until then is above");
    }
    if report.answered() == 0 {
        bail!("nothing was answered");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    say!("wrote {}", path.display());
    Ok(())
}
