//! Logistic regression with a Gaussian prior of its own for each weight, fitted by L-BFGS.
//!
//! The crate `lbfgs` gives the directions; the line search is here. What is minimised is convex and, with the prior, strictly
//! so: halving the step until it gains enough (Armijo) is then enough to converge, and pairs without curvature are left out
//! by the crate.

use lbfgs::Lbfgs;

use super::rows::{Design, dot};

/// Steps at most; fits of heads take 20 to 60.
const STEPS_MAX: usize = 200;
/// Pairs of steps that the curvature is known from.
const MEMORY: usize = 8;
/// Halvings of a step at most.
const HALVINGS_MAX: usize = 30;
/// Share of the expected gain that a step has to bring.
const GAIN_LEAST: f64 = 1e-4;
/// Ends where a step gains less than this share.
const TOLERANCE: f64 = 1e-6;

/// What is fitted: weights of the columns of a design, near a prior.
pub(super) struct Logistic<'a> {
    pub(super) design: &'a Design,
    /// Slope and intercept between the sum and the logit.
    pub(super) calibration: (f64, f64),
    /// What the weights are without any row.
    pub(super) prior: &'a [f64],
    /// How firmly, in rows: the inverse variance of each weight.
    pub(super) precision: &'a [f64],
}

impl Logistic<'_> {
    /// The weights that explain the rows best.
    pub(super) fn fit(&self) -> Vec<f64> {
        let mut at = self.prior.to_vec();
        let mut memory = Lbfgs::<f64>::new(at.len().max(1), MEMORY);
        let (mut loss, mut gradient) = self.loss(&at);
        for _ in 0..STEPS_MAX {
            memory.update_hessian(&gradient, &at);
            let mut step = gradient.clone();
            memory.apply_hessian(&mut step);
            let mut expected: f64 = -inner(&gradient, &step);
            if expected >= 0.0 || !expected.is_finite() {
                memory.reset();
                step.clone_from(&gradient);
                expected = -inner(&gradient, &step);
            }
            if expected > -f64::MIN_POSITIVE {
                break;
            }
            let Some((next, next_loss, next_gradient)) = self.search(&at, loss, &step, expected) else { break };
            let gained = loss - next_loss;
            (at, loss, gradient) = (next, next_loss, next_gradient);
            if gained <= TOLERANCE * loss.abs().max(1.0) {
                break;
            }
        }
        at
    }

    /// The longest of the halved steps that gains enough.
    fn search(&self, at: &[f64], loss: f64, step: &[f64], expected: f64) -> Option<(Vec<f64>, f64, Vec<f64>)> {
        let mut length = 1.0_f64.min(at.len() as f64 / inner(step, step).sqrt().max(f64::MIN_POSITIVE));
        for _ in 0..HALVINGS_MAX {
            let next: Vec<f64> = at.iter().zip(step).map(|(at, step)| at - length * step).collect();
            let (next_loss, gradient) = self.loss(&next);
            if next_loss <= loss + GAIN_LEAST * length * expected {
                return Some((next, next_loss, gradient));
            }
            length /= 2.0;
        }
        None
    }

    /// Cross entropy of all rows and distance from the prior, with the gradient.
    fn loss(&self, at: &[f64]) -> (f64, Vec<f64>) {
        let (slope, intercept) = self.calibration;
        let mut gradient = vec![0.0; at.len()];
        let mut loss = 0.0;
        let outcomes = self.design.labels.iter().zip(&self.design.weights);
        for (row, (label, weight)) in self.design.rows().zip(outcomes) {
            let logit = slope * dot(row, at) + intercept;
            loss += weight * cross_entropy(logit, *label);
            let pull = weight * slope * (sigmoid(logit) - label);
            for (sum, value) in gradient.iter_mut().zip(row) {
                *sum += pull * f64::from(*value);
            }
        }
        for (index, sum) in gradient.iter_mut().enumerate() {
            let of = |values: &[f64]| values.get(index).copied().unwrap_or(0.0);
            let (precision, distance) = (of(self.precision), of(at) - of(self.prior));
            loss += 0.5 * precision * distance * distance;
            *sum += precision * distance;
        }
        (loss, gradient)
    }
}

pub(super) fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `-(y ln p + (1 - y) ln(1 - p))` from the logit, without overflow.
pub(super) fn cross_entropy(logit: f64, label: f64) -> f64 {
    logit.max(0.0) + (-logit.abs()).exp().ln_1p() - label * logit
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `(1, x, y)` whose labels follow `sigmoid(0.5 + 2 x - y)`.
    fn design(rows: usize) -> Design {
        let mut random = fastrand::Rng::with_seed(1);
        let mut design = Design::new(3);
        for _ in 0..rows {
            let (x, y) = (random.f64() * 4.0 - 2.0, random.f64() * 4.0 - 2.0);
            let label = random.f64() < sigmoid(0.5 + 2.0 * x - y);
            design.push([1.0, x as f32, y as f32], f32::from(u8::from(label)), 1.0);
        }
        design
    }

    #[test]
    fn the_weights_behind_the_labels_are_found_and_the_gradient_vanishes() {
        let design = design(5000);
        let logistic = Logistic { design: &design, calibration: (1.0, 0.0), prior: &[0.0; 3], precision: &[1e-3; 3] };
        let found = logistic.fit();
        for (found, wanted) in found.iter().zip([0.5, 2.0, -1.0]) {
            assert!((found - wanted).abs() < 0.15, "{found} instead of {wanted}");
        }
        let (_, gradient) = logistic.loss(&found);
        assert!(gradient.iter().all(|value| value.abs() < 0.5), "{gradient:?}");
    }

    #[test]
    fn a_firm_prior_holds_and_separable_rows_have_an_end() {
        let design = design(50);
        let fit = |precision: f64| {
            let (prior, precision) = ([1.0, 0.0, 0.5], [precision; 3]);
            Logistic { design: &design, calibration: (1.0, 0.0), prior: &prior, precision: &precision }.fit()
        };
        assert!(fit(1e6).iter().zip([1.0, 0.0, 0.5]).all(|(found, prior)| (found - prior).abs() < 1e-3));
        let mut separable = Design::new(1);
        (0..10).for_each(|n| separable.push([if n < 5 { -1.0 } else { 1.0 }], if n < 5 { 0.0 } else { 1.0 }, 1.0));
        let found = Logistic { design: &separable, calibration: (1.0, 0.0), prior: &[0.0], precision: &[0.1] }.fit();
        assert!(found[0] > 2.0 && found[0] < 10.0, "{found:?}");
    }

    #[test]
    fn cross_entropy_does_not_overflow() {
        assert!((cross_entropy(0.0, 1.0) - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((cross_entropy(-800.0, 1.0) - 800.0).abs() < 1e-9);
        assert!(cross_entropy(800.0, 1.0).abs() < 1e-9);
    }
}
