//! What is proven of the size of integer sums.

use crate::tensor::DType;

/// `max over filters of sum |w| * |x| + |b|`: a bound for every partial sum of the accumulator, in
/// any order. `largest_input(i)` bounds the input that element `i` of a filter meets.
pub fn accumulator_bound(
    weights: &[i8],
    filters: usize,
    bias: Option<&[i32]>,
    largest_input: impl Fn(usize) -> u128,
) -> u128 {
    let taps = weights.len().checked_div(filters).unwrap_or_default();
    (0..filters)
        .map(|f| {
            let filter = weights.iter().skip(f * taps).take(taps).enumerate();
            let sum: u128 = filter.map(|(i, &w)| u128::from(w.unsigned_abs()) * largest_input(i)).sum();
            sum + u128::from(bias.and_then(|bias| bias.get(f)).map_or(0, |b| b.unsigned_abs()))
        })
        .max()
        .unwrap_or_default()
}

/// Whether sums within `bound` fit 32 bits.
pub fn fits_i32(bound: u128) -> bool {
    bound <= i32::MAX as u128
}

/// The largest magnitude of an integer type's values.
pub fn largest_magnitude(storage: DType) -> u128 {
    storage.integer_range().map_or(0, |(low, high)| low.unsigned_abs().max(high.unsigned_abs()))
}
