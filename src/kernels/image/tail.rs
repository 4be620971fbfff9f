//! What follows a sum.

use super::lanes::PARAMETERS;
use super::{OFFSET, SLACK};
use crate::tensor::round;

/// What follows the sums of a layer, in this order: ReLU, or a function by its table; sum over the map;
/// rescaling to int8. Lists have one entry for each filter.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    pub relu: bool,
    /// Largest value.
    pub ceiling: Option<Vec<i32>>,
    pub table: Option<Table>,
    /// Sum over the map.
    pub global: bool,
    /// Without, the 32-bit integers are the result.
    pub rescale: Option<Vec<Scale>>,
}

/// A rescale by `multiplier / 2^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    pub multiplier: u8,
    pub exponent: i32,
}

/// A function by the table of its values.
#[derive(Clone, Debug)]
pub struct Table {
    /// What brings a sum to an index.
    pub index: Vec<Scale>,
    /// An entry for each index of [`round::TABLE_BITS`] bits; those of negative ones at the end.
    pub entries: Vec<i32>,
}

impl Scale {
    fn apply(self, x: i32, bits: u32) -> i32 {
        round::rescale_exact(x.into(), self.multiplier, self.exponent, bits)
    }

    /// The rescale in 32 bits, of sums within `bound`.
    fn in_32_bits(self, bound: u64) -> Option<InVectors> {
        /// With larger shifts the product at which bytes saturate does not fit 32 bits.
        const LARGEST_SHIFT: i32 = 22;
        let Self { multiplier, exponent } = self;
        if exponent.abs() > LARGEST_SHIFT {
            return None;
        }
        let factor = i32::from(multiplier) << (-exponent).max(0);
        let shift = exponent.max(0);
        let half = if shift > 0 { 1 << (shift - 1) } else { 0 };
        let add = half + (i32::from(OFFSET) << shift);
        // At these bounds, and beyond, the byte is saturated: 2^31 is more than 256 times 2^shift by more than
        // twice the factor.
        let high = (i32::MAX - add).checked_div(factor).unwrap_or(i32::MAX);
        let low = -i32::MAX.checked_div(factor).unwrap_or(i32::MAX);
        let overflows = bound > u64::from(high.unsigned_abs()) || bound > u64::from(low.unsigned_abs());
        Some(InVectors { factor, add, shift, low, high, overflows, bytes: (0, u8::MAX) })
    }
}

/// How vectors follow the sums of a filter: the byte `(min(max(x, low), high) * factor + add) >> shift`, saturated to
/// 0 to 255 and then to `bytes`.
#[derive(Clone, Copy, Debug)]
pub(super) struct InVectors {
    pub factor: i32,
    pub add: i32,
    pub shift: i32,
    pub low: i32,
    pub high: i32,
    /// Some sum is not between `low` and `high`.
    pub overflows: bool,
    pub bytes: (u8, u8),
}

impl Tail {
    /// The bounds of activations on the sums of a filter.
    fn bounds(&self, filter: usize) -> (i32, i32) {
        let low = if self.relu { 0 } else { i32::MIN };
        (low, self.ceiling.as_ref().and_then(|ceiling| ceiling.get(filter).copied()).unwrap_or(i32::MAX))
    }

    /// How vectors follow the sums of each filter; `None` if some filter needs more than they can do.
    fn in_vectors(&self, bounds: &[u64]) -> Option<Vec<InVectors>> {
        if self.table.is_some() || self.global {
            return None;
        }
        let scales = self.rescale.as_ref()?;
        let filter = |(filter, &bound): (usize, &u64)| {
            let (low, high) = self.bounds(filter);
            // The larger of two sums has the larger byte, so bounds on sums are bounds on bytes.
            let bytes = (
                if low == i32::MIN { 0 } else { self.byte(low, filter) },
                if high == i32::MAX { u8::MAX } else { self.byte(high, filter) },
            );
            Some(InVectors { bytes, ..scales.get(filter)?.in_32_bits(bound)? })
        };
        bounds.iter().enumerate().map(filter).collect()
    }

    /// Whether lists have as many entries as there are filters, the table one for each index, and only ReLU has
    /// a ceiling.
    pub(super) fn fits(&self, filters: usize) -> bool {
        self.ceiling.as_ref().is_none_or(|ceiling| self.relu && ceiling.len() == filters)
            && self.rescale.as_ref().is_none_or(|scales| scales.len() == filters)
            && (self.table.as_ref())
                .is_none_or(|table| table.index.len() == filters && table.entries.len() == round::TABLE)
    }

    /// Adds to `totals` what comes before the sum over the map, for filters from `first` on, which the tail fits.
    pub(super) fn accumulate(&self, totals: &mut [i32], sums: &[i32], first: usize) {
        // Bounded as sums are.
        let pairs = totals.iter_mut().zip(sums);
        match (&self.table, &self.ceiling) {
            (None, None) => {
                let low = if self.relu { 0 } else { i32::MIN };
                pairs.for_each(|(total, &x)| *total = total.wrapping_add(x.max(low)));
            }
            (None, Some(ceiling)) => pairs.zip(&ceiling[first..]).for_each(|((total, &x), &ceiling)| {
                *total = total.wrapping_add(x.max(0).min(ceiling));
            }),
            (Some(_), _) => pairs.enumerate().for_each(|(at, (total, &x))| {
                *total = total.wrapping_add(self.activate(x, first + at));
            }),
        }
    }

    /// What of the tail is before the sum over the map. The filter is one that the tail fits.
    pub(super) fn activate(&self, x: i32, filter: usize) -> i32 {
        if let Some(table) = &self.table {
            let index = table.index[filter].apply(x, round::TABLE_BITS);
            return table.entries[index.rem_euclid(round::TABLE as i32) as usize];
        }
        let (low, high) = self.bounds(filter);
        x.max(low).min(high)
    }

    /// The byte that stands for a result. The filter is one that the tail fits, with a rescale.
    pub(super) fn byte(&self, x: i32, filter: usize) -> u8 {
        match &self.rescale {
            Some(scales) => scales[filter].apply(x, 8) as i8 as u8 ^ OFFSET,
            None => 0,
        }
    }
}

/// The bias of each filter less what `offset` adds to its sums, and the largest magnitude of the sums.
pub(super) fn sums_of<W: Copy + Into<i32>>(
    weights: &[W],
    taps: usize,
    offset: u8,
    bias: Option<&[i32]>,
) -> (Vec<i32>, Vec<u64>) {
    let largest = if offset == OFFSET { 128 } else { 255 };
    let filter = |(filter, weights): (usize, &[W])| {
        let bias = bias.and_then(|bias| bias.get(filter)).copied().unwrap_or(0);
        let sum = weights.iter().fold(0i32, |sum, &w| sum.wrapping_add(w.into()));
        let magnitude: u64 = weights.iter().map(|&w| u64::from(w.into().unsigned_abs())).sum();
        let corrected = bias.wrapping_sub(i32::from(offset).wrapping_mul(sum));
        (corrected, magnitude * largest + u64::from(bias.unsigned_abs()))
    };
    weights.chunks_exact(taps).enumerate().map(filter).unzip()
}

/// What follows the sums of layers, laid out for vectors.
pub(super) struct Parameters {
    /// For each vector: [`PARAMETERS`] vectors.
    pub vectors: Vec<i32>,
    /// Bounds of bytes, in the order of filters.
    pub low: Vec<u8>,
    pub high: Vec<u8>,
    /// Vectors do all that the tail says.
    pub complete: bool,
    /// Some sum has to be clamped.
    pub clamped: bool,
}

impl Parameters {
    /// `order` has the filter of each lane of all vectors, which may be one that there is not.
    pub fn new(tail: &Tail, bias: &[i32], bounds: &[u64], order: &[usize], lanes: usize) -> Self {
        let scales = tail.in_vectors(bounds);
        let (complete, scales) = (scales.is_some(), scales.unwrap_or_default());
        let mut vectors = Vec::with_capacity(order.len() * PARAMETERS);
        for filters in order.chunks_exact(lanes) {
            vectors.extend(filters.iter().map(|&filter| bias.get(filter).copied().unwrap_or(0)));
            let fields: [fn(&InVectors) -> i32; PARAMETERS - 1] =
                [|s| s.factor, |s| s.add, |s| s.shift, |s| s.low, |s| s.high];
            for field in fields {
                vectors.extend(filters.iter().map(|&filter| scales.get(filter).map_or(0, field)));
            }
        }
        let behind = std::iter::repeat_n(0, bias.len() - scales.len() + order.len() + SLACK);
        let low = scales.iter().map(|scale| scale.bytes.0).chain(behind.clone()).collect();
        let high = scales.iter().map(|scale| scale.bytes.1).chain(behind).collect();
        let clamped = scales.iter().any(|scale| scale.overflows);
        Self { vectors, low, high, complete, clamped }
    }

    /// Bytes that they take.
    pub fn size(&self) -> usize {
        size_of_val(&*self.vectors) + self.low.len() + self.high.len()
    }
}
