//! How good an order and its probabilities are: AUC, APGR, CPT, ECE, log loss.
//!
//! With c the share of requests that go to the strong target and those first that the weak one is least likely to answer
//! well, PGR(c) = (quality(c) - weak) / (strong - weak), APGR is its mean over c from 0 to 1, and CPT(x) the smallest c with
//! PGR(c) >= x (RouteLLM, arXiv 2406.18665). Where it is not known how the strong target answered, it is taken to answer
//! well. Requests with the same probability are taken to come in every order.

use super::resample::Interval;

/// Bins of the calibration error, all as wide.
const BINS: usize = 10;
/// Furthest that a probability counts from 0 and 1, so that one certain mistake is not all that counts.
const PROBABILITY_LEAST: f64 = 1e-6;

/// One held-out request as one predictor sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Predicted {
    pub(super) probability: f64,
    /// How well the weak target answered.
    pub(super) weak: f64,
    pub(super) strong: f64,
    pub(super) weight: f64,
}

/// Held-out requests in the order of their probability, so that a resample is counted and not sorted anew.
pub(super) struct Ranked {
    /// With the number of the row.
    sorted: Vec<(usize, Predicted)>,
}

/// What a predictor is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Area under the ROC curve; labels from 0.5 on are positive.
    pub auc: f64,
    /// Mean share of the gap between weak and strong that is recovered.
    pub apgr: f64,
    /// Smallest share of strong calls that recovers half of the gap.
    pub cpt50: f64,
    /// Smallest share of strong calls that recovers 80 % of the gap.
    pub cpt80: f64,
    /// Expected calibration error.
    pub ece: f64,
    /// Mean cross entropy.
    pub log_loss: f64,
}

impl Scores {
    /// The names of the scores, in order.
    pub const NAMES: [&str; 6] = ["AUC", "APGR", "CPT(50)", "CPT(80)", "ECE", "log loss"];

    /// In the order of [`Self::NAMES`].
    #[must_use]
    pub fn values(&self) -> [f64; 6] {
        [self.auc, self.apgr, self.cpt50, self.cpt80, self.ece, self.log_loss]
    }

    /// The interval of each score over resamples; what could not be computed in one is left out.
    pub(super) fn intervals(sampled: &[Self]) -> [Interval; 6] {
        let values: Vec<[f64; 6]> = sampled.iter().map(Self::values).collect();
        let mut number = 0..;
        [(); 6].map(|()| {
            let at: usize = number.next().unwrap_or_default();
            let of_score = values.iter().filter_map(|values| values.get(at).copied());
            Interval::of(of_score.filter(|value| value.is_finite()).collect())
        })
    }
}

impl Ranked {
    pub(super) fn new(rows: &[Predicted]) -> Self {
        let mut sorted: Vec<_> = rows.iter().copied().enumerate().collect();
        sorted.sort_by(|a, b| a.1.probability.total_cmp(&b.1.probability));
        Self { sorted }
    }

    /// The scores where row `n` stands `counts[n]` times. What cannot be computed (one class only, no gap) is NaN.
    pub(super) fn scores(&self, counts: &[f64]) -> Scores {
        let rows = || {
            let counted = |(row, predicted): &(usize, Predicted)| {
                let count = counts.get(*row).copied().unwrap_or(0.0) * predicted.weight;
                (*predicted, count)
            };
            self.sorted.iter().map(counted).filter(|(_, count)| *count > 0.0)
        };
        let (apgr, cpt50, cpt80) =
            recovered(rows().map(|(row, count)| (row.probability, row.strong - row.weak, count)));
        Scores {
            auc: auc(rows().map(|(row, count)| (row.probability, row.weak >= 0.5, count))),
            apgr,
            cpt50,
            cpt80,
            ece: ece(rows().map(|(row, count)| (row.probability, row.weak, count))),
            log_loss: log_loss(rows().map(|(row, count)| (row.probability, row.weak, count))),
        }
    }
}

/// Of rows by ascending probability.
fn auc(rows: impl Iterator<Item = (f64, bool, f64)>) -> f64 {
    let (mut below, mut wins, mut positives) = (0.0, 0.0, 0.0);
    let (mut tied_negatives, mut tied_positives, mut at) = (0.0, 0.0, f64::NEG_INFINITY);
    let mut close = |positive: &mut f64, negative: &mut f64| {
        wins += *positive * (below + 0.5 * *negative);
        below += *negative;
        positives += *positive;
        (*positive, *negative) = (0.0, 0.0);
    };
    for (probability, is_positive, count) in rows {
        if probability > at {
            close(&mut tied_positives, &mut tied_negatives);
            at = probability;
        }
        *(if is_positive { &mut tied_positives } else { &mut tied_negatives }) += count;
    }
    close(&mut tied_positives, &mut tied_negatives);
    wins / (positives * below)
}

/// APGR, CPT(50) and CPT(80) of rows by ascending probability, each with what the strong target gains.
fn recovered(rows: impl Iterator<Item = (f64, f64, f64)>) -> (f64, f64, f64) {
    // Groups of the same probability: a straight line each, as the mean over their orders is.
    let mut groups: Vec<(f64, f64, f64)> = Vec::new();
    for (probability, gain, count) in rows {
        match groups.last_mut() {
            Some((last, gained, counted)) if *last == probability => {
                *gained += gain * count;
                *counted += count;
            }
            _ => groups.push((probability, gain * count, count)),
        }
    }
    let (gap, total) = groups.iter().fold((0.0, 0.0), |(gap, total), (_, gain, count)| (gap + gain, total + count));
    if gap <= 0.0 {
        return (f64::NAN, f64::NAN, f64::NAN);
    }
    let (mut share, mut recovered, mut area) = (0.0, 0.0, 0.0);
    let mut reached = [(0.5, f64::NAN), (0.8, f64::NAN)];
    for (_, gain, count) in groups {
        let (step, rise) = (count / total, gain / gap);
        for (level, at) in &mut reached {
            if at.is_nan() && recovered + rise >= *level - 1e-12 {
                *at = if rise > 0.0 { share + step * ((*level - recovered) / rise).clamp(0.0, 1.0) } else { share };
            }
        }
        area += step * (recovered + rise / 2.0);
        share += step;
        recovered += rise;
    }
    let [(_, half), (_, most)] = reached;
    (area, half, most)
}

fn ece(rows: impl Iterator<Item = (f64, f64, f64)>) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    let mut total = 0.0;
    for (probability, label, count) in rows {
        let bin = ((probability * BINS as f64) as usize).min(BINS - 1);
        if let Some((predicted, seen)) = bins.get_mut(bin) {
            *predicted += probability * count;
            *seen += label * count;
        }
        total += count;
    }
    bins.iter().map(|(predicted, seen)| (predicted - seen).abs()).sum::<f64>() / total
}

fn log_loss(rows: impl Iterator<Item = (f64, f64, f64)>) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (probability, label, count) in rows {
        let probability = probability.clamp(PROBABILITY_LEAST, 1.0 - PROBABILITY_LEAST);
        sum -= count * (label * probability.ln() + (1.0 - label) * (1.0 - probability).ln());
        total += count;
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (probability, weak answered well), the strong target answering all well.
    fn scores(rows: &[(f64, f64)]) -> Scores {
        let row = |(probability, weak): &(f64, f64)| Predicted {
            probability: *probability,
            weak: *weak,
            strong: 1.0,
            weight: 1.0,
        };
        Ranked::new(&rows.iter().map(row).collect::<Vec<_>>()).scores(&vec![1.0; rows.len()])
    }

    fn near(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-9
    }

    #[test]
    fn a_perfect_order_recovers_the_gap_with_the_share_that_fails() {
        let scores = scores(&[(0.9, 1.0), (0.1, 0.0), (0.8, 1.0), (0.2, 0.0)]);
        assert!(near(scores.auc, 1.0) && near(scores.cpt50, 0.25) && near(scores.cpt80, 0.4), "{scores:?}");
        // Straight to 1 at half of the calls, then flat: 0.25 + 0.5.
        assert!(near(scores.apgr, 0.75), "{scores:?}");
        assert!(near(scores.ece, 0.15), "{scores:?}");
    }

    #[test]
    fn no_order_is_a_straight_line_and_the_wrong_one_is_below() {
        let level = scores(&[(0.5, 1.0), (0.5, 0.0), (0.5, 1.0), (0.5, 0.0)]);
        assert!(near(level.auc, 0.5) && near(level.apgr, 0.5) && near(level.cpt50, 0.5), "{level:?}");
        assert!(near(level.log_loss, std::f64::consts::LN_2) && near(level.ece, 0.0), "{level:?}");
        let wrong = scores(&[(0.1, 1.0), (0.9, 0.0)]);
        assert!(near(wrong.auc, 0.0) && near(wrong.apgr, 0.25) && near(wrong.cpt50, 0.75), "{wrong:?}");
    }

    #[test]
    fn counts_stand_for_copies_and_one_class_has_no_area() {
        let rows = [(0.2, 0.0), (0.4, 1.0), (0.6, 0.0), (0.8, 1.0)];
        let copied = [(0.2, 0.0), (0.4, 1.0), (0.4, 1.0), (0.8, 1.0)];
        let row = |(probability, weak): (f64, f64)| Predicted { probability, weak, strong: 1.0, weight: 1.0 };
        let counted = Ranked::new(&rows.map(row)).scores(&[1.0, 2.0, 0.0, 1.0]);
        assert_eq!(counted, scores(&copied));
        let all_good = scores(&[(0.3, 1.0), (0.6, 1.0)]);
        assert!(all_good.auc.is_nan() && all_good.apgr.is_nan() && all_good.log_loss > 0.0);
    }
}
