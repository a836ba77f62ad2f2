//! A head fitted anew to a target's own labels, with the shipped one as prior.
//!
//! Three sizes of model, of which cross-validation on the training part chooses: the calibration alone; bias and vector of
//! the projection that all targets share; these and a weight for each feature. The prior is a Gaussian around the shipped
//! weights, brought to the scale of logits by a calibration: a shipped head that says nothing of this target shrinks, and
//! does not hold back what is to be learnt. `precision` is the number of rows that the prior counts for.

use super::linear;
use super::logistic::{Logistic, cross_entropy, sigmoid};
use super::rows::{Design, FOLDS, Part, Row};
use crate::classify::heads::{Calibration, FEATURES, Heads, QualityHead};

/// With fewer labels in the training part only the calibration is fitted: that many repair a calibration, and more of
/// them are needed to say something new of single features.
pub const HEAD_ROWS_LEAST: usize = 300;
/// How firmly slope and intercept of a calibration keep to what was shipped, in rows.
const CALIBRATION_PRECISION: f64 = 4.0;
/// How firmly weights keep to what was shipped, in rows: these are tried.
const PRECISIONS: [f64; 3] = [10.0, 100.0, 1000.0];
/// The calibration of sums that are logits already.
const LOGITS: (f64, f64) = (1.0, 0.0);
/// A bias has next to no prior: how often a target answers well differs most between users.
const BIAS_PRECISION: f64 = 0.1;
/// Least slope: below it, the head would rank backwards.
const SLOPE_LEAST: f64 = 0.01;

/// How much of a head was fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refit {
    /// Slope and intercept.
    Calibration,
    /// Bias and vector too.
    Vector {
        /// Rows that the prior counts for.
        precision: f64,
    },
    /// A weight for each feature too.
    Weights {
        /// Rows that the prior counts for.
        precision: f64,
    },
}

impl Refit {
    /// All that are tried with so many rows.
    fn candidates(rows: usize) -> Vec<Self> {
        let mut all = vec![Self::Calibration];
        if rows >= HEAD_ROWS_LEAST {
            all.extend(PRECISIONS.map(|precision| Self::Vector { precision }));
            all.extend(PRECISIONS.map(|precision| Self::Weights { precision }));
        }
        all
    }
}

impl std::fmt::Display for Refit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Calibration => f.write_str("calibration"),
            Self::Vector { precision } => write!(f, "calibration and vector, prior of {precision} rows"),
            Self::Weights { precision } => {
                write!(f, "calibration, vector and feature weights, prior of {precision} rows")
            }
        }
    }
}

/// The training part as bias, projection and features of each row.
pub(super) struct Training<'a> {
    heads: &'a Heads,
    shipped: &'a QualityHead,
    /// Columns: 1, the projected features, the features.
    design: Design,
    folds: Vec<usize>,
    rank: usize,
}

/// A head as the numbers that are fitted.
#[derive(Clone)]
struct Fitted {
    weights: Vec<f64>,
    calibration: (f64, f64),
}

impl<'a> Training<'a> {
    /// Takes the rows that are not held out.
    pub(super) fn new(heads: &'a Heads, shipped: &'a QualityHead, rows: &[Row]) -> Self {
        let rank = heads.quality.projection.len();
        let mut design = Design::new(1 + rank + FEATURES);
        let mut folds = Vec::new();
        for row in rows {
            let Part::Fold(fold) = row.part() else { continue };
            let projected = heads.project(&row.features);
            let numbers = std::iter::once(1.0).chain(projected).chain(row.features.iter().copied());
            design.push(numbers, row.label, row.weight);
            folds.push(fold);
        }
        Self { heads, shipped, design, folds, rank }
    }

    pub(super) fn rows(&self) -> usize {
        self.folds.len()
    }

    /// The best head that cross-validation finds, and how much of it was fitted.
    pub(super) fn refit(&self) -> (QualityHead, Refit) {
        let candidates = Refit::candidates(self.rows());
        let validated = candidates.into_iter().map(|refit| {
            let sums = self.cross_validated(refit);
            (self.loss(refit, &sums), refit, sums)
        });
        let best = validated.min_by(|a, b| a.0.total_cmp(&b.0));
        let (refit, sums) = best.map_or((Refit::Calibration, None), |(_, refit, sums)| (refit, Some(sums)));
        let mut fitted = self.fit(refit, &self.design);
        if let Some(sums) = sums.filter(|_| refit != Refit::Calibration) {
            // Calibrated on what was predicted for rows that it had not seen: on its own rows a head is too sure.
            fitted.calibration = self.calibrate(&sums, &self.design, fitted.calibration);
        }
        (self.head(refit, &fitted), refit)
    }

    /// For each row the sum of a head that was fitted without it.
    fn cross_validated(&self, refit: Refit) -> Vec<f64> {
        let mut sums = vec![0.0; self.rows()];
        for fold in 0..FOLDS {
            let is_in = |index: usize| self.folds.get(index) == Some(&fold);
            let fitted = self.fit(refit, &self.design.only(|index| !is_in(index)));
            for (index, (sum, found)) in sums.iter_mut().zip(self.design.sums(&fitted.weights)).enumerate() {
                if is_in(index) {
                    *sum = found;
                }
            }
        }
        sums
    }

    /// Cross entropy of sums under the calibration that suits them.
    fn loss(&self, refit: Refit, sums: &[f64]) -> f64 {
        let before = match refit {
            Refit::Calibration => self.shipped_numbers().calibration,
            Refit::Vector { .. } | Refit::Weights { .. } => LOGITS,
        };
        let (slope, intercept) = self.calibrate(sums, &self.design, before);
        let outcomes = self.design.labels.iter().zip(&self.design.weights);
        sums.iter()
            .zip(outcomes)
            .map(|(z, (label, weight))| weight * cross_entropy(slope * z + intercept, *label))
            .sum()
    }

    fn fit(&self, refit: Refit, design: &Design) -> Fitted {
        let shipped = self.shipped_numbers();
        let sums: Vec<f64> = design.sums(&shipped.weights).collect();
        let (slope, intercept) = self.calibrate(&sums, design, shipped.calibration);
        let (precision, columns) = match refit {
            Refit::Calibration => return Fitted { calibration: (slope, intercept), ..shipped },
            Refit::Vector { precision } => (precision, 1 + self.rank),
            Refit::Weights { precision } => (precision, 1 + self.rank + FEATURES),
        };
        let precisions: Vec<f64> = (0..shipped.weights.len())
            .map(|index| match index {
                0 => BIAS_PRECISION,
                index if index < columns => precision,
                // As good as fixed.
                _ => 1e12,
            })
            .collect();
        let mut prior: Vec<f64> = shipped.weights.iter().map(|weight| slope * weight).collect();
        prior.iter_mut().take(1).for_each(|bias| *bias += intercept);
        let weights = Logistic { design, calibration: LOGITS, prior: &prior, precision: &precisions }.fit();
        Fitted { weights, calibration: LOGITS }
    }

    fn shipped_numbers(&self) -> Fitted {
        let head = self.shipped;
        let own = head.weights.as_deref().unwrap_or(&[]);
        let mut weights: Vec<f64> = std::iter::once(head.bias)
            .chain(head.vector.iter().copied())
            .chain(own.iter().copied())
            .map(f64::from)
            .collect();
        weights.resize(self.design.columns, 0.0);
        Fitted { weights, calibration: (head.calibration.slope.into(), head.calibration.intercept.into()) }
    }

    /// Slope and intercept for these sums, near what held before.
    fn calibrate(&self, sums: &[f64], design: &Design, before: (f64, f64)) -> (f64, f64) {
        let mut pairs = Design::new(2);
        let outcomes = design.labels.iter().zip(&design.weights);
        for (sum, (label, weight)) in sums.iter().zip(outcomes) {
            pairs.push([*sum as f32, 1.0], *label as f32, *weight as f32);
        }
        let prior = [before.0, before.1];
        let precision = [CALIBRATION_PRECISION, BIAS_PRECISION];
        let found = Logistic { design: &pairs, calibration: (1.0, 0.0), prior: &prior, precision: &precision }.fit();
        (found.first().copied().unwrap_or(1.0).max(SLOPE_LEAST), found.get(1).copied().unwrap_or(0.0))
    }

    fn head(&self, refit: Refit, fitted: &Fitted) -> QualityHead {
        let of = |from: usize, count: usize| fitted.weights.iter().skip(from).take(count).map(|value| *value as f32);
        let (slope, intercept) = (fitted.calibration.0 as f32, fitted.calibration.1 as f32);
        let mut head = self.shipped.clone();
        head.rows = self.rows() as u64;
        head.calibration = Calibration { slope, intercept };
        if refit == Refit::Calibration {
            return head;
        }
        head.bias = of(0, 1).sum();
        head.vector = of(1, self.rank).collect();
        if matches!(refit, Refit::Weights { .. }) {
            head.weights = Some(of(1 + self.rank, FEATURES).collect());
        }
        if let Some(covariance) = self.covariance(refit, fitted) {
            head.covariance = covariance;
        }
        head
    }

    /// Laplace: the inverse of the curvature at the weights that were found, of bias and vector. What the weights of single
    /// features add is not in it.
    fn covariance(&self, refit: Refit, fitted: &Fitted) -> Option<Vec<Vec<f32>>> {
        let precision = match refit {
            Refit::Calibration => return None,
            Refit::Vector { precision } | Refit::Weights { precision } => precision,
        };
        let size = 1 + self.rank;
        let (slope, intercept) = fitted.calibration;
        let mut curvature = vec![0.0; size * size];
        let sums = self.design.sums(&fitted.weights);
        for ((row, weight), sum) in self.design.rows().zip(&self.design.weights).zip(sums) {
            let p = sigmoid(slope * sum + intercept);
            let scale = weight * slope * slope * p * (1.0 - p);
            for (i, a) in row.iter().take(size).enumerate() {
                for (cell, b) in curvature.iter_mut().skip(i * size).zip(row.iter().take(size)) {
                    *cell += scale * f64::from(*a) * f64::from(*b);
                }
            }
        }
        for i in 0..size {
            *curvature.get_mut(i * size + i)? += if i == 0 { BIAS_PRECISION } else { precision };
        }
        let inverse = linear::inverse(&curvature, size)?;
        debug_assert_eq!(self.heads.quality.projection.len(), self.rank);
        Some(inverse.chunks_exact(size).map(|row| row.iter().map(|value| *value as f32).collect()).collect())
    }
}
