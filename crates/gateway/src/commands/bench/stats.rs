//! Median and spread of a few numbers.

use serde::Serialize;

/// Median, the quartiles around it (between them lies half of the values: the interquartile range), and the ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub median: f64,
    pub p25: f64,
    pub p75: f64,
    pub min: f64,
    pub max: f64,
    pub count: usize,
}

impl Spread {
    /// Of finite numbers; `None` without any. Between two values the quantile is interpolated.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { median: at(0.5), p25: at(0.25), p75: at(0.75), min, max, count: sorted.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated_and_what_is_no_number_does_not_count() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[f64::NAN, f64::INFINITY]), None);
        let one = Spread { median: 7.0, p25: 7.0, p75: 7.0, min: 7.0, max: 7.0, count: 1 };
        assert_eq!(of(&[7.0]), Some(one));
        let five = Spread { median: 3.0, p25: 2.0, p75: 4.0, min: 1.0, max: 5.0, count: 5 };
        assert_eq!(of(&[5.0, 1.0, 4.0, f64::NAN, 2.0, 3.0]), Some(five));
        let four = of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((four.p25, four.median, four.p75), (1.75, 2.5, 3.25));
    }
}
