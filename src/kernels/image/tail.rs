//! What follows a sum.

use super::OFFSET;
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

    /// Low, high, factor, add and shift so that the byte `(min(max(x, low), high) * factor + add) >> shift`, saturated,
    /// is the int8 of `x` plus [`OFFSET`], without overflow; the given bounds apply to `x` before.
    fn in_32_bits(self, low: i32, high: i32) -> Option<[i32; 5]> {
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
        // Beyond these bounds the byte is saturated: at them it is, as 2^31 is more than 256 times 2^shift by
        // more than twice the factor.
        let largest = (i32::MAX - add).checked_div(factor).unwrap_or(i32::MAX);
        let least = i32::MAX.checked_div(factor).map_or(i32::MIN, |bound| -bound);
        Some([low.clamp(least, largest), high.clamp(least, largest), factor, add, shift])
    }
}

impl Tail {
    /// The bounds of activations on the sums of a filter.
    fn bounds(&self, filter: usize) -> (i32, i32) {
        let low = if self.relu { 0 } else { i32::MIN };
        let ceiling = self.ceiling.as_ref().filter(|_| self.relu);
        (low, ceiling.and_then(|ceiling| ceiling.get(filter).copied()).unwrap_or(i32::MAX))
    }

    /// The parameters of [`super::lanes::Lanes::rescale`], one after the other for each filter; `None` if some
    /// filter needs more than they can do.
    pub(super) fn in_32_bits(&self, filters: usize) -> Option<Vec<[i32; 5]>> {
        if self.table.is_some() || self.global {
            return None;
        }
        let scales = self.rescale.as_ref()?;
        (0..filters)
            .map(|filter| {
                let (low, high) = self.bounds(filter);
                scales.get(filter)?.in_32_bits(low, high)
            })
            .collect()
    }

    /// Whether lists have as many entries as there are filters, and the table one for each index.
    pub(super) fn fits(&self, filters: usize) -> bool {
        self.ceiling.as_ref().is_none_or(|ceiling| ceiling.len() == filters)
            && self.rescale.as_ref().is_none_or(|scales| scales.len() == filters)
            && (self.table.as_ref())
                .is_none_or(|table| table.index.len() == filters && table.entries.len() == round::TABLE)
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
