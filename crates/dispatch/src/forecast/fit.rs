//! A straight line through measured times, learnt one measurement after the other. Pure.

use policy::Prediction;

/// What remains of the weight of earlier measurements with each new one.
const KEPT: f64 = 0.92;
/// A measurement this many times off the expectation counts as this far off: a machine that was busy with something else
/// moves the line a little, and one that has really changed moves it with a few measurements.
const OUTLIER: f64 = 3.0;
/// Measurements from which on outliers are told.
const SETTLED: u32 = 3;
/// Weight of the assumption about the intercept in measurements, after the first one; then ever less.
const ASSUMED: f64 = 0.2;
/// Relative spread that is assumed before there are measurements.
const SPREAD_ASSUMED: f64 = 0.5;
/// Shortest time that is told apart from none, in milliseconds.
const SHORTEST_MS: f64 = 0.01;

/// `y = a + b * x`, by least squares of the relative errors, newer measurements weighing more. Neither `a` nor `b` is ever
/// negative: nothing takes less than no time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    intercept: f64,
    w: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    relative_spread: f64,
    measured: u32,
}

impl Fit {
    /// Nothing measured; `intercept` is what is assumed for `x` = 0, above 0.
    pub(crate) fn new(intercept: f64) -> Self {
        let (relative_spread, measured) = (SPREAD_ASSUMED, 0);
        Self { intercept, w: 0.0, x: 0.0, y: 0.0, xx: 0.0, xy: 0.0, relative_spread, measured }
    }

    /// Takes in that `x` took `y`.
    pub(crate) fn measure(&mut self, x: f64, y: f64) {
        if !(x.is_finite() && y.is_finite() && x >= 0.0 && y >= 0.0) {
            return;
        }
        let mut y = y.max(SHORTEST_MS);
        let expected = self.at(x).map(|expected| expected.max(SHORTEST_MS));
        if let Some(expected) = expected {
            if self.measured >= SETTLED {
                y = y.clamp(expected / OUTLIER, expected * OUTLIER);
            }
            let error = (y - expected).abs() / expected.max(y);
            self.relative_spread = KEPT * self.relative_spread + (1.0 - KEPT) * error;
        }
        // By the expectation: a weight by what was measured would favour what was fast.
        let weight = expected.unwrap_or(y).powi(2).recip();
        let sums = [&mut self.w, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy];
        for (sum, new) in sums.into_iter().zip([1.0, x, y, x * x, x * y]) {
            *sum = *sum * KEPT + new * weight;
        }
        self.measured = self.measured.saturating_add(1);
    }

    /// The expected time; `None` before the first measurement.
    pub(crate) fn at(&self, x: f64) -> Option<f64> {
        if self.measured == 0 {
            return None;
        }
        let assumed = ASSUMED / f64::from(self.measured) / (self.intercept * self.intercept);
        let (w, y) = (self.w + assumed, self.y + assumed * self.intercept);
        let determinant = w * self.xx - self.x * self.x;
        let slope = if determinant > f64::EPSILON * w * self.xx {
            ((w * self.xy - self.x * y) / determinant).max(0.0)
        } else {
            0.0
        };
        let intercept = (y - slope * self.x) / w;
        if intercept >= 0.0 {
            return Some(intercept + slope * x);
        }
        // Through the origin then.
        Some(if self.xx > 0.0 { self.xy / self.xx * x } else { 0.0 })
    }

    /// The expected time with its spread.
    pub(crate) fn predict(&self, x: f64) -> Option<Prediction> {
        self.at(x).map(|mean| Prediction { mean, spread: mean * self.relative_spread })
    }
}

/// A running mean with its mean deviation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    weight: f64,
    mean: f64,
    deviation: f64,
    measured: bool,
}

impl Mean {
    /// `assumed` until something is measured, with half of it as deviation. The newest value weighs `weight`, the first all.
    pub(crate) fn new(assumed: f64, weight: f64) -> Self {
        Self { weight, mean: assumed, deviation: assumed / 2.0, measured: false }
    }

    pub(crate) fn measure(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let error = (value - self.mean).abs();
        if self.measured {
            self.deviation += self.weight * (error - self.deviation);
            self.mean += self.weight * (value - self.mean);
        } else {
            (self.mean, self.deviation, self.measured) = (value, value.abs() / 4.0, true);
        }
    }

    pub(crate) fn get(&self) -> Prediction {
        Prediction { mean: self.mean, spread: self.deviation }
    }

    /// Whether anything was measured.
    pub(crate) fn is_measured(&self) -> bool {
        self.measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(points: &[(f64, f64)]) -> Fit {
        let mut fit = Fit::new(10.0);
        points.iter().for_each(|(x, y)| fit.measure(*x, *y));
        fit
    }

    #[test]
    fn finds_a_line_and_tells_how_well_it_fits() {
        let line = |x: f64| 20.0 + 1.5 * x;
        let points: Vec<_> = (0..40).map(|n| f64::from(n * 37 % 500)).map(|x| (x, line(x))).collect();
        let fit = learnt(&points);
        for x in [1.0, 50.0, 400.0, 2000.0] {
            let Prediction { mean, spread } = fit.predict(x).unwrap();
            assert!((mean / line(x) - 1.0).abs() < 0.06, "{x}: {mean}");
            assert!(spread < 0.1 * mean, "{spread}");
        }
    }

    #[test]
    fn one_measurement_is_enough_for_a_guess() {
        assert!(Fit::new(10.0).predict(5.0).is_none());
        let fit = learnt(&[(100.0, 210.0)]);
        let (short, long) = (fit.at(10.0).unwrap(), fit.at(1000.0).unwrap());
        assert!((5.0..60.0).contains(&short) && (1500.0..2500.0).contains(&long), "{short} {long}");
    }

    #[test]
    fn an_outlier_moves_little_and_a_change_is_followed() {
        let mut fit = learnt(&[(100.0, 100.0); 20]);
        fit.measure(100.0, 100_000.0);
        assert!(fit.at(100.0).unwrap() < 130.0);
        (0..20).for_each(|_| fit.measure(100.0, 400.0));
        let now = fit.at(100.0).unwrap();
        assert!((250.0..420.0).contains(&now), "{now}");
    }

    #[test]
    fn nothing_odd_comes_out() {
        let mut fit = learnt(&[(f64::NAN, 1.0), (1.0, f64::INFINITY), (-1.0, 2.0)]);
        assert!(fit.predict(1.0).is_none());
        // The longer the faster: no negative times for all that.
        for (x, y) in [(1.0, 500.0), (100.0, 50.0), (200.0, 5.0), (0.0, 0.0)] {
            fit.measure(x, y);
        }
        for x in [0.0, 1.0, 1e6] {
            assert!(fit.at(x).unwrap() >= 0.0 && fit.at(x).unwrap().is_finite());
        }
    }

    #[test]
    fn a_mean_begins_with_what_is_assumed() {
        let mut mean = Mean::new(100.0, 0.2);
        assert_eq!(mean.get(), Prediction { mean: 100.0, spread: 50.0 });
        (0..50).for_each(|_| mean.measure(10.0));
        let Prediction { mean, spread } = mean.get();
        assert!((mean - 10.0).abs() < 1e-9 && spread < 0.1, "{mean} {spread}");
    }
}
