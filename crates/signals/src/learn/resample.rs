//! Bootstrap intervals, seeded.

/// Resamples of one interval.
pub const BOOTSTRAP_RESAMPLES: usize = 1000;
/// Seed of every bootstrap: the same values give the same interval.
const SEED: u64 = 0x7469_6465;
/// Share of the resamples left out at each end.
const TAIL: f64 = 0.025;

/// The middle 95 % of what resampling gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// 2.5 % lie below.
    pub low: f64,
    /// 2.5 % lie above.
    pub high: f64,
}

impl Interval {
    /// Of these values, in any order; NaN without any.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = values.len().saturating_sub(1);
            values.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
        };
        Self { low: at(TAIL), high: at(1.0 - TAIL) }
    }
}

/// The mean; NaN of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The bootstrap interval of the mean.
#[must_use]
pub fn mean_interval(values: &[f64]) -> Interval {
    let mean = |rows: &[usize]| rows.iter().filter_map(|row| values.get(*row)).sum::<f64>() / rows.len() as f64;
    Interval::of(resamples(values.len(), BOOTSTRAP_RESAMPLES, mean))
}

/// A statistic of each resample of `rows` rows. What is not a number (a resample of one class only) is left out.
pub(super) fn resamples(rows: usize, count: usize, mut statistic: impl FnMut(&[usize]) -> f64) -> Vec<f64> {
    if rows == 0 {
        return Vec::new();
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut drawn = vec![0; rows];
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        drawn.iter_mut().for_each(|row| *row = random.usize(0..rows));
        values.push(statistic(&drawn));
    }
    values.retain(|value| value.is_finite());
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_the_mean_and_is_as_wide_as_theory_says() {
        // 100 values, half of them 1: the standard error is 0.05.
        let values: Vec<f64> = (0..100).map(|n| f64::from(n % 2)).collect();
        let interval = mean_interval(&values);
        assert!((interval.high - interval.low - 2.0 * 1.96 * 0.05).abs() < 0.03, "{interval:?}");
        assert!(interval.low < 0.5 && interval.high > 0.5);
        assert_eq!(interval, mean_interval(&values), "seeded");
    }

    #[test]
    fn nothing_has_no_interval_and_one_value_is_its_own() {
        assert!(mean_interval(&[]).low.is_nan() && mean(&[]).is_nan());
        assert_eq!(mean_interval(&[0.25]), Interval { low: 0.25, high: 0.25 });
    }
}
