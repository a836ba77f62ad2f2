//! `tidegate eval-target`: what can this target do? Runs a labelled set through it and writes what each answer is worth.
//!
//! The same configuration, workers, policy and dispatcher as `tidegate up`, without listeners: a prompt goes nowhere that
//! it could not go there. An interrupted run goes on where it was.

mod dataset;
mod labels;
mod learn;
mod summary;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{bail, ensure};
use futures_util::StreamExt;
use policy::TargetId;

use super::asking::{self, Answered, CONCURRENCY_MAX, Unanswered, ask};
use crate::cli::EvalTargetArgs;
use crate::compose;
use crate::config::{Config, LogConfig, LogFormat, TargetConfig};
use crate::gateway::Gateway;
use crate::logging;
use dataset::{Dataset, Row};
use labels::{Label, LabelFile};
use summary::{Progress, Summary};

/// Prompts asked at the same time, where nothing is said and the target is no local one.
const CONCURRENCY_DEFAULT: usize = 4;
/// The run is given up after so many prompts in a row without an answer: the target is not there.
const FAILURES_IN_A_ROW_MAX: usize = 20;

/// Runs the command.
///
/// # Errors
/// Everything wrong with configuration or dataset; an unknown target; a target that does not answer any more.
pub(crate) async fn eval_target(args: &EvalTargetArgs) -> anyhow::Result<()> {
    let mut config = Config::load(args.config.as_deref())?;
    logging::init(&LogConfig { format: LogFormat::Auto, level: "warn".to_owned() });
    let target = asking::known_target(&config, &args.target)?;
    let (id, concurrency) = (target.id().clone(), concurrency(args, target)?);
    let dataset = Dataset::load(&args.dataset, &id, args.limit, args.max_tokens)?;
    let out = args.out.clone().unwrap_or_else(|| out_beside(&args.dataset, &id));
    let mut labels = LabelFile::open(&out, &id)?;
    let rows: Vec<&Row> = dataset.rows.iter().filter(|row| !labels.has(&row.id)).collect();
    say!("{} rows, {} of them labelled in {} already", dataset.count, dataset.count - rows.len(), out.display());
    if !rows.is_empty() || args.learn {
        asking::prepare(&mut config);
        let gateway = compose::compose(config).await?.complete().await;
        let ran = match rows.is_empty() {
            true => Ok(String::new()),
            false => run(&gateway, &id, rows, concurrency, args, &mut labels).await,
        };
        for (_, worker) in gateway.workers.all() {
            worker.stop().await;
        }
        say!("{}", ran?);
        if args.learn {
            say!("{}", learn::learn(&gateway, &id, &dataset.rows, labels.labels()).await?);
        }
    }
    say!("{}", Summary::of(labels.labels(), &dataset.ids));
    say!("labels: {}", out.display());
    Ok(())
}

/// Asks every row and writes down what it is worth. Gives an account of this run.
async fn run(
    gateway: &Gateway,
    target: &TargetId,
    rows: Vec<&Row>,
    concurrency: usize,
    args: &EvalTargetArgs,
    labels: &mut LabelFile,
) -> anyhow::Result<String> {
    // So that the first answer's time is not that of loading the model.
    gateway.dispatcher.prepare(target).await.map_err(|reason| anyhow::anyhow!("the target cannot answer: {reason}"))?;
    let mut progress = Progress::new(rows.len(), Instant::now());
    let mut in_a_row = 0;
    let asked = rows.into_iter().map(|row| async move {
        let answered = ask(gateway, &row.request).await;
        (row, answered)
    });
    let mut asked = futures_util::stream::iter(asked).buffer_unordered(concurrency);
    while let Some((row, answered)) = asked.next().await {
        match answered {
            Ok(answered) => {
                in_a_row = 0;
                let label = label(row, target, &answered, args.answers);
                progress.labelled(&label);
                labels.add(label)?;
            }
            Err(Unanswered::Refused(reason)) => progress.failed(&row.id, &reason),
            Err(Unanswered::Failed(reason)) => {
                in_a_row += 1;
                progress.failed(&row.id, &reason);
                if in_a_row >= FAILURES_IN_A_ROW_MAX {
                    let kept = "what is labelled is kept: run it again when the target answers";
                    bail!("{target} did not answer {in_a_row} prompts in a row; {kept}. The last: {reason}");
                }
            }
        }
    }
    Ok(progress.finish())
}

fn label(row: &Row, target: &TargetId, answered: &Answered, keep_answer: bool) -> Label {
    Label {
        id: row.id.clone(),
        task: row.task.clone(),
        score: row.scorer.score(&answered.text),
        metric: row.scorer.metric().as_str().to_owned(),
        target: target.as_str().to_owned(),
        model: answered.model.clone(),
        finish_reason: answered.finish_reason.clone(),
        prompt_tokens: answered.usage.map(|usage| usage.prompt_tokens),
        completion_tokens: answered.usage.map(|usage| usage.completion_tokens),
        ttft_ms: answered.ttft.map(|ttft| ttft.as_secs_f64() * 1000.0),
        duration_ms: answered.duration.as_secs_f64() * 1000.0,
        answer: keep_answer.then(|| answered.text.clone()),
    }
}

/// As many as the target's slots, unless said otherwise.
fn concurrency(args: &EvalTargetArgs, target: &TargetConfig) -> anyhow::Result<usize> {
    let concurrency = args.concurrency.or(asking::slots(target)).unwrap_or(CONCURRENCY_DEFAULT);
    ensure!((1..=CONCURRENCY_MAX).contains(&concurrency), "--concurrency is 1 to {CONCURRENCY_MAX}");
    Ok(concurrency)
}

/// `set.jsonl` and `local/model`: `set.local_model.labels.jsonl` beside the set.
fn out_beside(dataset: &Path, id: &TargetId) -> PathBuf {
    let target: String = id
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
        .collect();
    dataset.with_extension(format!("{target}.labels.jsonl"))
}
