//! QuantizeML's number system: tensors of integers that stand for reals by powers of two and scales.
//!
//! [`FixedPoint`] is `values · 2^-frac_bits`, [`QFloat`] the same times float scales. Every operation ends by
//! saturating on the value bits of its result; nothing wraps. Integers are exact by default; as the Python package
//! keeps them in binary32, [`Arithmetic::Binary32`] rounds each step to 24 significant bits like it
//! (`spec/fixed-point.md`).
//!
//! ```
//! use qirc::tensor::fixed::{FixedPoint, PerChannel};
//!
//! let x = FixedPoint::quantize(&[2, 2], &[0.5, -1.25, 3.0, 0.1], 7, None)?;
//! assert_eq!((x.value_bits(), x.frac_bits().entries()), (7, &[5][..]));
//! assert_eq!(x.elements(), [16, -40, 96, 3]);
//! // Another grid: 3 / 2 is rounded up.
//! let (y, shift) = x.rescale(&PerChannel::tensor(4), None)?;
//! assert_eq!((y.elements(), shift.entries()), (&[8, -20, 48, 2][..], &[-1][..]));
//! # Ok::<(), qirc::tensor::fixed::FixedError>(())
//! ```

mod arithmetic;
mod grid;
#[cfg(test)]
mod laws;
mod moves;
mod product;
mod qfloat;
mod quantizers;
#[cfg(test)]
mod tests;
mod window;

use thiserror::Error;

pub use grid::{Arithmetic, FixedPoint, frac_bits_for};
pub use qfloat::{QFloat, QTensor, optimal_scales, quantize_scales};
pub use quantizers::{
    Aligned, AlignedQuantizer, Extreme, InputGrid, InputQuantizer, Observer, OutputQuantizer, Ranges,
    Requantized, Requantizer, WeightAxis, WeightQuantizer,
};
pub use window::{Padding, Stride};

/// Value bits that a tensor may have: the bounds of more do not fit an `i64` with room to add.
pub const MOST_VALUE_BITS: u32 = 61;

/// What operations on these numbers refuse.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FixedError {
    #[error("{bits} value bits, of at most {MOST_VALUE_BITS}")]
    ValueBits { bits: u32 },
    #[error("{entries} entries for an axis of {size} in a tensor of shape {sizes:?}")]
    Entries { entries: usize, size: usize, sizes: Vec<usize> },
    #[error("a left shift by {shift} saturates {bits} value bits")]
    Saturates { shift: i64, bits: u32 },
    #[error("{to} value bits hold less than the {from} of the operand")]
    Narrower { from: u32, to: u32 },
    #[error("{to} value bits are not fewer than the {from} of the input: there is nothing to quantize")]
    Pointless { from: u32, to: u32 },
    #[error("frac bits {to} are fewer than {from}: this would round")]
    Rounds { from: i32, to: i32 },
    #[error("frac bits {to} are more than {from}")]
    Refines { from: i32, to: i32 },
    #[error("a shift by {shift} is negative")]
    NegativeShift { shift: i32 },
    #[error("`{operation}` takes operands of the same frac bits, these have {left:?} and {right:?}")]
    FracBits { operation: &'static str, left: Vec<i32>, right: Vec<i32> },
    #[error("`{operation}` takes operands of the same scales")]
    Scales { operation: &'static str },
    #[error("`{operation}` takes a per-tensor operand, this one has {entries} entries along axis -{axis}")]
    PerAxis { operation: &'static str, axis: usize, entries: usize },
    #[error("a divisor is 0")]
    ZeroDivisor,
    #[error("`{operation}` does not take shapes {left:?} and {right:?}")]
    Shapes { operation: &'static str, left: Vec<usize>, right: Vec<usize> },
    #[error("`{operation}` has no {what} for a tensor of shape {sizes:?}")]
    Argument { operation: &'static str, what: String, sizes: Vec<usize> },
    #[error("the range {range} has no grid")]
    Range { range: String },
    #[error("a power of a fixed-point tensor is 0 or 1, not {exponent}")]
    Power { exponent: u32 },
    #[error("a bitwidth of {bitwidth} is too small: at least {least}")]
    Bitwidth { bitwidth: u32, least: u32 },
    #[error("the output of scaled values needs scale bits")]
    NoScaleBits,
}

type Result<T> = std::result::Result<T, FixedError>;

/// One entry, or one for each index of an axis. Axes count from the end: 1 is the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct PerChannel<T> {
    entries: Vec<T>,
    axis: Option<usize>,
}

impl<T: Copy> PerChannel<T> {
    pub fn tensor(entry: T) -> Self {
        Self { entries: vec![entry], axis: None }
    }

    /// One entry for each index of the last axis.
    pub fn last(entries: Vec<T>) -> Self {
        Self::along(1, entries)
    }

    /// One entry for each index of the axis that is `axis` from the end, or one for all of them.
    pub fn along(axis: usize, entries: Vec<T>) -> Self {
        Self { entries, axis: Some(axis) }
    }

    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    /// The axis, from the end; `None` where there is one entry for the tensor.
    pub fn axis(&self) -> Option<usize> {
        self.axis
    }

    /// Whether one entry holds for every element.
    pub fn is_per_tensor(&self) -> bool {
        self.entries.len() == 1
    }

    pub fn map<U>(&self, f: impl FnMut(T) -> U) -> PerChannel<U> {
        PerChannel { entries: self.entries.iter().copied().map(f).collect(), axis: self.axis }
    }

    /// Entry by entry, a single one being stretched; `None` where both have several that do not go together.
    pub fn zip<U: Copy, V>(
        &self,
        other: &PerChannel<U>,
        mut f: impl FnMut(T, U) -> V,
    ) -> Option<PerChannel<V>> {
        let axis = match (self.axis, other.axis) {
            (Some(a), Some(b)) if a != b => match (self.is_per_tensor(), other.is_per_tensor()) {
                (_, true) => Some(a),
                (true, false) => Some(b),
                (false, false) => return None,
            },
            (a, b) => a.or(b),
        };
        let entries = match (&self.entries[..], &other.entries[..]) {
            (left, right) if left.len() == right.len() => {
                left.iter().zip(right).map(|(&a, &b)| f(a, b)).collect()
            }
            (left, &[b]) => left.iter().map(|&a| f(a, b)).collect(),
            (&[a], right) => right.iter().map(|&b| f(a, b)).collect(),
            _ => return None,
        };
        Some(PerChannel { entries, axis })
    }

    /// The entry of each element of a tensor, by its position in row-major order.
    fn of_elements<'a>(&'a self, sizes: &[usize]) -> impl Fn(usize) -> T + use<'a, T> {
        let inner: usize = sizes.iter().rev().take(self.axis.unwrap_or(1) - 1).product();
        move |at| match &self.entries[..] {
            [entry] => *entry,
            entries => entries[at / inner.max(1) % entries.len()],
        }
    }

    /// That the entries go with the sizes.
    fn check(&self, sizes: &[usize]) -> Result<()> {
        let entries = self.entries.len();
        let size = self.axis.map_or(Some(1), |axis| sizes.len().checked_sub(axis).map(|at| sizes[at]));
        match size {
            _ if entries == 1 => Ok(()),
            Some(size) if size == entries => Ok(()),
            _ => Err(FixedError::Entries { entries, size: size.unwrap_or(0), sizes: sizes.to_vec() }),
        }
    }
}

impl<T: Copy + PartialEq> PerChannel<T> {
    /// Whether every element has the same entry in both.
    fn agrees(&self, other: &Self) -> bool {
        self.zip(other, |a, b| a == b).is_some_and(|equal| equal.entries.iter().all(|&equal| equal))
    }
}
