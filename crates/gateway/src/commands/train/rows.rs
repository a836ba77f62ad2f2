//! Labels out of the store as rows that heads are fitted to.

use std::collections::HashMap;

use account::labels::TrainingRow;
use policy::TargetId;
use signals::classify::heads::FEATURES;
use signals::learn::Row;

/// All labels, with what is known of the same request at several targets.
pub(super) struct Labels {
    rows: Vec<TrainingRow>,
    /// The scores of each request that more than one target answered, by its features.
    pairs: HashMap<Vec<u32>, Vec<(String, f64)>>,
}

impl Labels {
    pub(super) fn new(rows: Vec<TrainingRow>) -> Self {
        let mut pairs: HashMap<Vec<u32>, Vec<(String, f64)>> = HashMap::new();
        for row in &rows {
            if let Some((_, score, _)) = row.listed.outcome {
                pairs.entry(bits(&row.features)).or_default().push((row.listed.target.clone(), score));
            }
        }
        pairs.retain(|_, scores| {
            scores.iter().any(|(target, _)| Some(target) != scores.first().map(|(first, _)| first))
        });
        Self { rows, pairs }
    }

    /// The labels of a target, while this model was behind it, with the features of this classifier. Of the same request at
    /// other targets the best answer counts as that of the stronger one.
    pub(super) fn of(&self, target: &TargetId, model: &str, classifier: &str) -> Vec<Row> {
        let is_of = |row: &&TrainingRow| {
            row.listed.target == target.as_str() && row.model == model && row.classifier == classifier
        };
        let read = |row: &TrainingRow| {
            let (_, score, weight) = row.listed.outcome?;
            let features: Box<[f32; FEATURES]> = row.features.clone().try_into().ok()?;
            let is_number = features.iter().all(|feature| feature.is_finite());
            let others = self.pairs.get(&bits(&row.features)).map(Vec::as_slice).unwrap_or_default();
            let others = others.iter().filter(|(other, _)| other != target.as_str()).map(|(_, score)| *score as f32);
            let row = Row { features, label: score as f32, weight: weight as f32, other: others.reduce(f32::max) };
            is_number.then_some(row)
        };
        self.rows.iter().filter(is_of).filter_map(read).collect()
    }
}

fn bits(features: &[f32]) -> Vec<u32> {
    features.iter().map(|feature| feature.to_bits()).collect()
}
