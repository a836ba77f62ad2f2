//! The inverse of a symmetric positive matrix, by Cholesky's decomposition.

/// The inverse of a symmetric positive matrix of `size` rows, row by row; `None` when it is not positive.
pub(super) fn inverse(matrix: &[f64], size: usize) -> Option<Vec<f64>> {
    let at = |values: &[f64], row: usize, column: usize| values.get(row * size + column).copied().unwrap_or(0.0);
    let mut lower = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| at(&lower, row, k) * at(&lower, column, k)).sum();
            let rest = at(matrix, row, column) - known;
            let value = if row == column { rest.sqrt() } else { rest / at(&lower, column, column) };
            // The root of a negative number is NaN, which is not greater either.
            if row == column && (value.is_nan() || value <= 0.0) {
                return None;
            }
            *lower.get_mut(row * size + column)? = value;
        }
    }
    // The inverse of the triangle, then its transpose times itself.
    let mut triangle = vec![0.0; size * size];
    for column in 0..size {
        for row in column..size {
            let unit = if row == column { 1.0 } else { 0.0 };
            let known: f64 = (column..row).map(|k| at(&lower, row, k) * at(&triangle, k, column)).sum();
            *triangle.get_mut(row * size + column)? = (unit - known) / at(&lower, row, row);
        }
    }
    let cell = |row: usize, column: usize| {
        (row.max(column)..size).map(|k| at(&triangle, k, row) * at(&triangle, k, column)).sum::<f64>()
    };
    Some((0..size * size).map(|index| cell(index / size, index % size)).collect())
}

#[cfg(test)]
mod tests {
    use super::inverse;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let matrix = [4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 2.0];
        let inverse = inverse(&matrix, 3).unwrap();
        for row in 0..3 {
            for column in 0..3 {
                let product: f64 = (0..3).map(|k| matrix[row * 3 + k] * inverse[k * 3 + column]).sum();
                assert!((product - if row == column { 1.0 } else { 0.0 }).abs() < 1e-12, "{row} {column} {product}");
            }
        }
    }

    #[test]
    fn what_is_not_positive_has_none() {
        assert!(inverse(&[1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(inverse(&[0.0], 1).is_none() && inverse(&[f64::NAN], 1).is_none());
    }
}
