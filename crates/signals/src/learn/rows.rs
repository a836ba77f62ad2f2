//! Labelled requests, as heads are fitted to them: features and outcomes, no text.

use crate::classify::heads::FEATURES;

/// Of a hundred hashes so many are held out.
const HELD_OUT_OF_HUNDRED: u64 = 25;
/// Parts that the others are cross-validated in.
pub(super) const FOLDS: usize = 3;

/// One request with how well one target answered it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The scaled features, as the classifier gives them.
    pub features: Box<[f32; FEATURES]>,
    /// How well the target answered, 0 to 1.
    pub label: f32,
    /// How much the label counts; 1 for one that was said or measured.
    pub weight: f32,
    /// How well the other target answered the same request, where that is known.
    pub other: Option<f32>,
}

/// Which part a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    HeldOut,
    Fold(usize),
}

impl Row {
    /// The part, by a hash of the features: the same request is always in the same part, however often it came and
    /// whatever else was collected since. So nothing that a head was fitted to is ever held out against it.
    pub(super) fn part(&self) -> Part {
        // FNV-1a.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.features.iter().flat_map(|feature| feature.to_bits().to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        // Its low bits are its weakest.
        let hash = hash ^ (hash >> 32);
        match hash % 100 {
            held if held < HELD_OUT_OF_HUNDRED => Part::HeldOut,
            rest => Part::Fold(rest as usize % FOLDS),
        }
    }
}

/// Labels, weights and a row of numbers for each of some rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Design {
    numbers: Vec<f32>,
    pub(super) columns: usize,
    pub(super) labels: Vec<f64>,
    pub(super) weights: Vec<f64>,
}

impl Design {
    /// An empty one with rows of so many numbers, at least one.
    pub(super) fn new(columns: usize) -> Self {
        Self { columns: columns.max(1), ..Self::default() }
    }

    /// Adds a row; what is missing in `numbers` is 0.
    pub(super) fn push(&mut self, numbers: impl IntoIterator<Item = f32>, label: f32, weight: f32) {
        self.numbers.extend(numbers.into_iter().take(self.columns));
        self.labels.push(label.into());
        self.weights.push(weight.into());
        self.numbers.resize(self.labels.len() * self.columns, 0.0);
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.columns)
    }

    /// The sum of every row with these weights.
    pub(super) fn sums<'a>(&'a self, weights: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        self.rows().map(|row| dot(row, weights))
    }

    /// The rows for which `keep` holds, by their number.
    pub(super) fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut kept = Self::new(self.columns);
        for (index, row) in self.rows().enumerate().filter(|(index, _)| keep(*index)) {
            kept.numbers.extend_from_slice(row);
            kept.labels.extend(self.labels.get(index));
            kept.weights.extend(self.weights.get(index));
        }
        kept
    }
}

pub(super) fn dot(row: &[f32], weights: &[f64]) -> f64 {
    // Sums side by side, which the compiler keeps in one register.
    let mut sums = [0.0_f64; 8];
    let (rows, others) = (row.chunks_exact(8), weights.chunks_exact(8));
    let rest: f64 = rows.remainder().iter().zip(others.remainder()).map(|(a, b)| f64::from(*a) * b).sum();
    for (a, b) in rows.zip(others) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(*a) * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_held_out_and_a_request_stays_in_its_part() {
        let row =
            |n: u16| Row { features: Box::new([f32::from(n) * 0.01; FEATURES]), label: 1.0, weight: 1.0, other: None };
        let parts: Vec<_> = (0..4000).map(|n| row(n).part()).collect();
        let held = parts.iter().filter(|part| **part == Part::HeldOut).count();
        assert!((900..1100).contains(&held), "{held}");
        for fold in 0..FOLDS {
            let of_fold = parts.iter().filter(|part| **part == Part::Fold(fold)).count();
            assert!((900..1100).contains(&of_fold), "{of_fold}");
        }
        assert_eq!(row(7).part(), Row { label: 0.0, ..row(7) }.part());
    }

    #[test]
    fn a_design_multiplies_and_selects_rows() {
        let mut design = Design::new(10);
        design.push((0..10).map(|n| n as f32), 1.0, 1.0);
        design.push([1.0], 0.0, 0.5);
        let ones = [1.0; 10];
        assert_eq!(design.sums(&ones).collect::<Vec<_>>(), [45.0, 1.0]);
        let only = design.only(|index| index == 1);
        assert_eq!((only.labels, only.weights, only.numbers.len()), (vec![0.0], vec![0.5], 10));
    }
}
