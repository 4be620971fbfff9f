//! Products with a sum: saturated once, on the final sum (fixed-point §1.6).

use super::{FixedPoint, PerChannel, Result};
use crate::tensor::broadcast;

/// An integer that sums are collected in.
trait Sum: Copy {
    const ZERO: Self;
    #[must_use]
    fn plus(self, a: i64, b: i64) -> Self;
    fn value(self) -> i128;
}

impl Sum for i64 {
    const ZERO: Self = 0;
    fn plus(self, a: i64, b: i64) -> Self {
        self + a * b
    }
    fn value(self) -> i128 {
        self.into()
    }
}

impl Sum for i128 {
    const ZERO: Self = 0;
    fn plus(self, a: i64, b: i64) -> Self {
        self + i128::from(a) * i128::from(b)
    }
    fn value(self) -> i128 {
        self
    }
}

/// Whether a sum of so many products of these tensors' elements fits an `i64`.
pub(super) fn fits(a: &FixedPoint, b: &FixedPoint, terms: usize) -> bool {
    let most = |x: &FixedPoint| x.elements().iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
    let product = u128::from(most(a)) * u128::from(most(b));
    product.checked_mul(terms as u128).is_some_and(|sum| sum < 1 << 63)
}

impl FixedPoint {
    /// The matrix product over the last two axes, the others being broadcast; either side may be transposed.
    ///
    /// # Errors
    /// Shapes that do not go together; a per-axis left side, unless it is transposed, or right side, if it is.
    pub fn matmul(&self, other: &Self, transpose_left: bool, transpose_right: bool) -> Result<Self> {
        if !transpose_left {
            self.per_tensor("matmul")?;
        }
        if transpose_right {
            other.per_tensor("matmul")?;
        }
        let mismatch = || self.shapes("matmul", other);
        let split = |sizes: &[usize]| {
            let (batch, matrix) = sizes.split_at_checked(sizes.len().checked_sub(2)?)?;
            Some((batch.to_vec(), [matrix[0], matrix[1]]))
        };
        let (left_batch, mut left) = split(self.sizes()).ok_or_else(mismatch)?;
        let (right_batch, mut right) = split(other.sizes()).ok_or_else(mismatch)?;
        let steps = |matrix: [usize; 2], transposed| if transposed { [1, matrix[1]] } else { [matrix[1], 1] };
        let (left_steps, right_steps) = (steps(left, transpose_left), steps(right, transpose_right));
        if transpose_left {
            left.reverse();
        }
        if transpose_right {
            right.reverse();
        }
        let ([m, k], [k_right, n]) = (left, right);
        let fixed = |sizes: &[usize]| crate::tensor::Shape::fixed(sizes);
        let batch = broadcast(&fixed(&left_batch), &fixed(&right_batch)).and_then(|batch| batch.sizes());
        let batch = batch.filter(|_| k == k_right).ok_or_else(mismatch)?;
        let rows =
            crate::tensor::Rows::new(&batch, [&left_batch[..], &right_batch[..]]).ok_or_else(mismatch)?;
        let (a, b) = (self.elements(), other.elements());
        let mut values: Vec<i128> = Vec::new();
        let wide = !fits(self, other, k);
        rows.each(&mut |[left, right]| {
            for at in 0..rows.length {
                let left = (left + at * rows.steps[0]) * m * k;
                let right = (right + at * rows.steps[1]) * k * n;
                if !wide && !transpose_right {
                    // Rows of the right side lie together: all sums of a row of the result at once.
                    for i in 0..m {
                        let mut sums = vec![0i64; n];
                        for at in 0..k {
                            let a = a[left + i * left_steps[0] + at * left_steps[1]];
                            let row = &b[right + at * n..][..n];
                            sums.iter_mut().zip(row).for_each(|(sum, b)| *sum += a * b);
                        }
                        values.extend(sums.into_iter().map(i128::from));
                    }
                    continue;
                }
                let each = (0..m).flat_map(|i| (0..n).map(move |j| (i, j)));
                values.extend(each.map(|(i, j)| {
                    let pairs = (0..k).map(|at| {
                        let a = a[left + i * left_steps[0] + at * left_steps[1]];
                        (a, b[right + at * right_steps[0] + j * right_steps[1]])
                    });
                    sum_of_products(pairs, wide)
                }));
            }
        });
        let left_bits = if transpose_left && !self.is_per_tensor() {
            // The channels are rows of the result now, which only one entry fits.
            self.frac_bits.clone()
        } else {
            PerChannel::tensor(self.frac_bits.entries[0])
        };
        let frac_bits = left_bits.zip(&other.frac_bits, i32::saturating_add);
        let frac_bits = frac_bits.ok_or_else(|| self.unlike(other, "matmul"))?;
        let values = values.into_iter().map(|value| self.arithmetic.keep(value));
        Self::saturated(&[batch, vec![m, n]].concat(), values, self.value_bits, frac_bits, self.arithmetic)
    }
}

/// The sum of the products; `wide` where it might not fit an `i64`.
pub(super) fn sum_of_products(pairs: impl Iterator<Item = (i64, i64)>, wide: bool) -> i128 {
    fn sum<S: Sum>(pairs: impl Iterator<Item = (i64, i64)>) -> i128 {
        pairs.fold(S::ZERO, |sum, (a, b)| sum.plus(a, b)).value()
    }
    if wide { sum::<i128>(pairs) } else { sum::<i64>(pairs) }
}
