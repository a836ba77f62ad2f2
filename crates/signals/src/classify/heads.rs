//! `heads.json` of a classifier: read, checked and evaluated. Its format and what is computed are described in
//! `training/README.md`.
//!
//! Knows nothing of texts and tokens: its input are the features of a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Values in the vector of a request.
pub const VECTOR_DIMENSIONS: usize = 384;
/// Hand features.
pub const HAND_FEATURES: usize = 16;
/// Features of a request: its vector, then the hand features.
pub const FEATURES: usize = VECTOR_DIMENSIONS + HAND_FEATURES;
/// The only format of `heads.json` that is read.
pub const HEADS_FORMAT: u32 = 1;
/// Largest `heads.json`, in bytes.
pub const HEADS_BYTES_MAX: usize = 8 << 20;
/// Largest rank of the projection, most components, task labels and targets.
const LIST_MAX: usize = 256;
/// Largest absolute number accepted: anything beyond is a broken file.
const NUMBER_MAX: f32 = 1e9;

/// Why a `heads.json` is not used.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError {
    /// Not JSON of this shape.
    #[error("heads.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A value that cannot be: the field and what is wrong with it.
    #[error("heads.json: {field}: {problem}")]
    Invalid {
        /// The field at fault.
        field: String,
        /// What is wrong and what is expected.
        problem: String,
    },
}

/// All heads of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heads {
    /// [`HEADS_FORMAT`].
    pub format: u32,
    /// Name and version of the classifier.
    pub name: String,
    /// The profile of the encoder: `static` or `layers2`.
    pub encoder: String,
    /// How features are scaled.
    pub features: Scaling,
    /// How well targets answer.
    pub quality: Quality,
    /// Kind of task.
    pub task: TaskHead,
    /// Attempts to subvert the model.
    pub injection: InjectionHead,
    /// How far a request is from the training data.
    pub out_of_distribution: Distribution,
}

/// Mean and scale of each of the [`FEATURES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Names of the hand features, in order.
    pub hand: Vec<String>,
    /// Subtracted.
    pub mean: Vec<f32>,
    /// Divided by.
    pub scale: Vec<f32>,
}

/// The quality heads, which share one projection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Rows of [`FEATURES`] numbers.
    pub projection: Vec<Vec<f32>>,
    /// Heads of models that were measured, by the name of the model.
    pub targets: BTreeMap<String, QualityHead>,
    /// Heads of models that were not, by size class.
    pub size_classes: BTreeMap<String, QualityHead>,
}

/// How likely one model answers well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityHead {
    /// Size class of the model: tiny, small, medium, large or frontier.
    pub size_class: String,
    /// Labels it was fitted to.
    pub rows: u64,
    /// Weights of the projected features.
    pub vector: Vec<f32>,
    /// Added.
    pub bias: f32,
    /// Weights of the features themselves, where enough labels of the target's own were there.
    pub weights: Option<Vec<f32>>,
    /// From the sum to a probability.
    pub calibration: Calibration,
    /// Covariance of bias and vector, in this order.
    pub covariance: Vec<Vec<f32>>,
}

/// A logistic calibration (Platt): `sigmoid(slope * z + intercept)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Multiplies.
    pub slope: f32,
    /// Added.
    pub intercept: f32,
}

/// The head that tells kinds of tasks apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskHead {
    /// The kinds.
    pub labels: Vec<String>,
    /// For each kind a row of [`FEATURES`] numbers.
    pub weights: Vec<Vec<f32>>,
    /// For each kind.
    pub bias: Vec<f32>,
    /// Divides before the softmax.
    pub temperature: f32,
}

/// The head that looks for attempts to subvert the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectionHead {
    /// One for each of the [`FEATURES`].
    pub weights: Vec<f32>,
    /// Added.
    pub bias: f32,
    /// From the sum to a probability.
    pub calibration: Calibration,
    /// The probability from which on its author would call it an attempt; advice, nothing acts on it.
    pub threshold: f32,
}

/// The training data as a Gaussian in a few directions and a sphere in the others (probabilistic PCA, Tipping and Bishop
/// 1999).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Mean of the vectors.
    pub mean: Vec<f32>,
    /// Orthonormal directions of [`VECTOR_DIMENSIONS`] numbers.
    pub components: Vec<Vec<f32>>,
    /// Variance in each direction.
    pub variance: Vec<f32>,
    /// Variance in every other direction.
    pub residual_variance: f32,
    /// A distance above it is unlike the training data.
    pub threshold: f32,
    /// Added to the threshold, divided by the tokens of the turn.
    pub per_token: f32,
    /// The largest share of characters outside ASCII.
    pub wide_share_max: f32,
    /// The languages of the training data, ISO 639-1.
    pub languages: Vec<String>,
}

/// A probability with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// From 0 to 1.
    pub probability: f32,
    /// Standard deviation of the probability, from what the head was fitted to.
    pub standard_error: f32,
}

impl Heads {
    /// Reads and checks `heads.json`.
    ///
    /// # Errors
    /// [`HeadsError`], naming the field at fault.
    pub fn parse(json: &[u8]) -> Result<Self, HeadsError> {
        if json.len() > HEADS_BYTES_MAX {
            return Err(invalid("", format!("is {} bytes long, at most {HEADS_BYTES_MAX} are read", json.len())));
        }
        let heads: Self = serde_json::from_slice(json)?;
        heads.check()?;
        Ok(heads)
    }

    /// Scales raw features in place: each minus its mean, divided by its scale.
    pub fn scale(&self, features: &mut [f32; FEATURES]) {
        let scaling = self.features.mean.iter().zip(&self.features.scale);
        for (feature, (mean, scale)) in features.iter_mut().zip(scaling) {
            *feature = (*feature - mean) / scale;
        }
    }

    /// The head of a model: its own, else that of its size class.
    #[must_use]
    pub fn quality_head(&self, model: Option<&str>, size_class: Option<&str>) -> Option<&QualityHead> {
        let own = model.and_then(|model| self.quality.targets.get(model));
        own.or_else(|| size_class.and_then(|class| self.quality.size_classes.get(class)))
    }

    /// The projection that all quality heads share, of scaled features.
    #[must_use]
    pub fn project(&self, features: &[f32; FEATURES]) -> Vec<f32> {
        self.quality.projection.iter().map(|row| dot(row, features)).collect()
    }

    /// The probabilities of the kinds of tasks, in the order of their labels.
    #[must_use]
    pub fn tasks(&self, features: &[f32; FEATURES]) -> Vec<f32> {
        let task = &self.task;
        let sums =
            task.weights.iter().zip(&task.bias).map(|(row, bias)| (dot(row, features) + bias) / task.temperature);
        softmax(sums.collect())
    }

    /// How likely the request tries to subvert the model.
    #[must_use]
    pub fn injection(&self, features: &[f32; FEATURES]) -> f32 {
        self.injection.calibration.apply(dot(&self.injection.weights, features) + self.injection.bias)
    }

    fn check(&self) -> Result<(), HeadsError> {
        if self.format != HEADS_FORMAT {
            return Err(invalid("format", format!("is {}, {HEADS_FORMAT} is read", self.format)));
        }
        if self.features.hand != super::hand::NAMES {
            return Err(invalid("features.hand", "are not the hand features of this version".to_owned()));
        }
        row("features.mean", &self.features.mean, FEATURES)?;
        row("features.scale", &self.features.scale, FEATURES)?;
        positive("features.scale", &self.features.scale)?;
        rows("quality.projection", &self.quality.projection, FEATURES)?;
        let classes = self.quality.size_classes.iter().map(|(name, head)| ("quality.size_classes", name, head));
        let targets = self.quality.targets.iter().map(|(name, head)| ("quality.targets", name, head));
        for (list, name, head) in classes.chain(targets) {
            head.check(&format!("{list}.{name}"), self.quality.projection.len())?;
        }
        let task = &self.task;
        rows("task.weights", &task.weights, FEATURES)?;
        row("task.bias", &task.bias, task.weights.len())?;
        positive("task.temperature", &[task.temperature])?;
        if task.labels.len() != task.weights.len() || task.labels.is_empty() {
            return Err(invalid("task.labels", format!("must be {} words, one for each row", task.weights.len())));
        }
        row("injection.weights", &self.injection.weights, FEATURES)?;
        row("injection", &[self.injection.bias, self.injection.threshold], 2)?;
        self.injection.calibration.check("injection.calibration")?;
        self.out_of_distribution.check()
    }
}

impl QualityHead {
    /// The probability that the model answers well, from the scaled features and their projection.
    #[must_use]
    pub fn estimate(&self, features: &[f32; FEATURES], projected: &[f32]) -> Estimate {
        let own = self.weights.as_ref().map_or(0.0, |weights| dot(weights, features));
        let probability = self.calibration.apply(self.bias + dot(&self.vector, projected) + own);
        let variance = self.variance(projected).max(0.0);
        let standard_error = probability * (1.0 - probability) * self.calibration.slope.abs() * variance.sqrt();
        Estimate { probability, standard_error }
    }

    /// Variance of the sum before calibration.
    fn variance(&self, projected: &[f32]) -> f32 {
        let h = |index: usize| if index == 0 { 1.0 } else { projected.get(index - 1).copied().unwrap_or(0.0) };
        let row = |row: &Vec<f32>| row.iter().enumerate().map(|(column, value)| value * h(column)).sum::<f32>();
        self.covariance.iter().enumerate().map(|(index, values)| h(index) * row(values)).sum()
    }

    fn check(&self, field: &str, rank: usize) -> Result<(), HeadsError> {
        row(&format!("{field}.vector"), &self.vector, rank)?;
        row(&format!("{field}.bias"), &[self.bias], 1)?;
        if let Some(weights) = &self.weights {
            row(&format!("{field}.weights"), weights, FEATURES)?;
        }
        if self.covariance.len() != rank + 1 {
            return Err(invalid(&format!("{field}.covariance"), format!("must have {} rows", rank + 1)));
        }
        rows(&format!("{field}.covariance"), &self.covariance, rank + 1)?;
        self.calibration.check(&format!("{field}.calibration"))
    }
}

impl Calibration {
    fn apply(self, sum: f32) -> f32 {
        sigmoid(self.slope * sum + self.intercept)
    }

    fn check(self, field: &str) -> Result<(), HeadsError> {
        row(field, &[self.slope, self.intercept], 2)
    }
}

impl Distribution {
    /// How far a vector of a request lies from the training data: the squared Mahalanobis distance.
    #[must_use]
    pub fn distance(&self, vector: &[f32; VECTOR_DIMENSIONS]) -> f32 {
        let mut centred = *vector;
        centred.iter_mut().zip(&self.mean).for_each(|(value, mean)| *value -= mean);
        let mut rest = dot(&centred, &centred);
        let mut distance = 0.0;
        for (component, variance) in self.components.iter().zip(&self.variance) {
            let along = dot(component, &centred);
            distance += along * along / variance;
            rest -= along * along;
        }
        distance + rest.max(0.0) / self.residual_variance
    }

    /// Whether a request is unlike the training data: by the distance of its vector and the tokens, the share of characters
    /// outside ASCII and the language of its turn, where that is known.
    #[must_use]
    pub fn is_unlike(&self, distance: f32, tokens: usize, wide_share: f32, language: Option<&str>) -> bool {
        distance > self.threshold + self.per_token / tokens.max(1) as f32
            || wide_share > self.wide_share_max
            || language.is_some_and(|language| !self.languages.iter().any(|known| known == language))
    }

    fn check(&self) -> Result<(), HeadsError> {
        row("out_of_distribution.mean", &self.mean, VECTOR_DIMENSIONS)?;
        rows("out_of_distribution.components", &self.components, VECTOR_DIMENSIONS)?;
        row("out_of_distribution.variance", &self.variance, self.components.len())?;
        positive("out_of_distribution.variance", &self.variance)?;
        positive("out_of_distribution.residual_variance", &[self.residual_variance])?;
        row("out_of_distribution", &[self.threshold, self.per_token, self.wide_share_max], 3)
    }
}

fn invalid(field: &str, problem: String) -> HeadsError {
    HeadsError::Invalid { field: field.to_owned(), problem }
}

/// That a row has this length and holds only numbers that are numbers.
pub(super) fn row(field: &str, values: &[f32], length: usize) -> Result<(), HeadsError> {
    if values.len() != length {
        return Err(invalid(field, format!("has {} numbers instead of {length}", values.len())));
    }
    match values.iter().all(|value| value.abs() <= NUMBER_MAX) {
        true => Ok(()),
        false => Err(invalid(field, format!("holds a number beyond {NUMBER_MAX:e}"))),
    }
}

pub(super) fn rows(field: &str, values: &[Vec<f32>], length: usize) -> Result<(), HeadsError> {
    if values.is_empty() || values.len() > LIST_MAX {
        return Err(invalid(field, format!("has {} rows instead of 1 to {LIST_MAX}", values.len())));
    }
    values.iter().enumerate().try_for_each(|(index, values)| row(&format!("{field}[{index}]"), values, length))
}

fn positive(field: &str, values: &[f32]) -> Result<(), HeadsError> {
    match values.iter().all(|value| *value > 0.0 && *value <= NUMBER_MAX) {
        true => Ok(()),
        false => Err(invalid(field, "must be greater than 0".to_owned())),
    }
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums side by side, which the compiler keeps in one register.
    let mut sums = [0.0f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn softmax(mut values: Vec<f32>) -> Vec<f32> {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}
