//! Whether a second attempt should be started beside the first. Pure.

use std::time::Duration;

use crate::{Attempt, Plan};

/// Above this probability of missing the objective a hedge is wanted.
const MISS_PROBABLE: f64 = 0.5;

/// Whether `first`, which has brought no token for `waited`, will probably miss the time to first token that its route wants.
///
/// The time is taken as normal with the predicted mean and spread, given that it is longer than `waited` already. Without an
/// objective, or without a prediction, having waited for as long as the route says is reason enough.
#[must_use]
pub fn hedge_is_due(plan: &Plan, first: &Attempt, waited: Duration) -> bool {
    let Some(slo) = plan.ttft_slo() else { return true };
    let Some(predicted) = first.estimate().ttft else { return true };
    let (slo_ms, waited_ms) = (slo.as_secs_f64() * 1e3, waited.as_secs_f64() * 1e3);
    if waited_ms >= slo_ms {
        return true;
    }
    let still_running = survival(predicted.mean, predicted.spread, waited_ms);
    // It should have answered long ago: nothing is known of when it will.
    if still_running < 1e-6 {
        return true;
    }
    survival(predicted.mean, predicted.spread, slo_ms) / still_running > MISS_PROBABLE
}

/// The probability that a normal variable is larger than `x`.
fn survival(mean: f64, spread: f64, x: f64) -> f64 {
    if spread <= 0.0 {
        return if x < mean { 1.0 } else { 0.0 };
    }
    let z = (x - mean) / (spread * std::f64::consts::SQRT_2);
    0.5 * erfc(z)
}

/// The complementary error function, to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
fn erfc(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * z.abs());
    let series =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = series * (-z * z).exp();
    if z >= 0.0 { tail } else { 2.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_the_normal_distribution() {
        for (x, expected) in [(0.0, 0.5), (1.0, 0.158_655), (-1.0, 0.841_345), (3.0, 0.001_350)] {
            assert!((survival(0.0, 1.0, x) - expected).abs() < 1e-5, "{x}");
        }
        assert_eq!((survival(5.0, 0.0, 4.0), survival(5.0, 0.0, 5.0)), (1.0, 0.0));
    }
}
