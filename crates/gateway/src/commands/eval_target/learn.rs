//! What the answers of a set are worth, kept as labels to learn from: features of the prompts, no text.

use std::collections::HashMap;

use account::labels::{AnswerRecord, LabelStore, OutcomeRecord, OutcomeSource};
use anyhow::Context;
use artifacts::Home;
use policy::TargetId;

use super::dataset::Row;
use super::labels::Label;
use crate::gateway::Gateway;
use crate::learning::labels_path;
use crate::unix_time::now_s;

/// Rows handed to the store before it is waited for; less than it queues.
const FLUSH_EVERY: usize = 256;

/// Writes the labels of `rows` to the label store of this user, those that were there before again.
///
/// # Errors
/// Without a classifier; when the store cannot be used.
pub(super) async fn learn(
    gateway: &Gateway,
    target: &TargetId,
    rows: &[Row],
    labels: &[Label],
) -> anyhow::Result<String> {
    if let Some(reason) = gateway.signals.missing() {
        anyhow::bail!("nothing is learnt without a classifier: {reason}");
    }
    let config = &gateway.config;
    let model = config.targets.iter().find(|known| known.id() == target).map(|known| known.classified_as.model.clone());
    let store = LabelStore::open(&labels_path(Home::from_env()?.path()), config.learning.limits)
        .context("nothing is learnt")?;
    let labels: HashMap<&str, &Label> = labels.iter().map(|label| (label.id.as_str(), label)).collect();
    let (mut kept, mut without) = (0_usize, 0_usize);
    for row in rows {
        let Some(label) = labels.get(row.id.as_str()) else { continue };
        let signalled = gateway.signals.read(&row.request, &gateway.metrics, false).await;
        let Some((classifier, features)) = signalled.features else {
            without += 1;
            continue;
        };
        let (request_id, at_s) = (format!("eval:{target}:{}", row.id), now_s());
        store.answered(AnswerRecord {
            request_id: request_id.clone(),
            at_s,
            target: target.as_str().to_owned(),
            model: model.clone().unwrap_or_default(),
            privacy: config.privacy,
            task: signalled.facts.task,
            features: Some((classifier, features as Box<[f32]>)),
        });
        let (source, score) = (OutcomeSource::Evaluation, label.score);
        store.outcome(OutcomeRecord { request_id, at_s, source, score, weight: 1.0 });
        kept += 1;
        if kept % FLUSH_EVERY == 0 {
            store.flush();
        }
    }
    store.flush();
    let counts = store.counts();
    anyhow::ensure!(
        counts.failed + counts.overflowed == 0,
        "{} labels could not be written",
        counts.failed + counts.overflowed
    );
    Ok(format!("{kept} labels kept to learn from, {without} prompts without features"))
}
