//! Fixed-point tensors: how they come about, and how they change their grid.

use ndarray::IxDyn;

use super::{FixedError, MOST_VALUE_BITS, PerChannel, Result};
use crate::tensor::round::{self, half_even_f32, half_up_shift, power_of_two_f32, rn24};
use crate::tensor::{Array, Tensor};

/// What an operation computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Integers.
    #[default]
    Exact,
    /// Integers in binary32: each step is rounded to 24 significant bits, ties to even (fixed-point §3).
    Binary32 {
        /// Whether `upscale` adds one half and rounds down again, which moves an odd integer beyond 2^23 that is
        /// not shifted: so from release 1 on, not in 0.7.
        upscale_rounds: bool,
    },
}

impl Arithmetic {
    /// The integer that a result becomes before it saturates.
    pub(super) fn keep(self, value: i128) -> i128 {
        match self {
            Arithmetic::Exact => value,
            Arithmetic::Binary32 { .. } => rn24(value),
        }
    }

    /// `value` within `[-2^bits, 2^bits - 1]`; in binary32 the upper bound is rounded, too.
    pub(super) fn saturate(self, value: i128, bits: u32) -> i64 {
        let most = self.keep((1 << bits) - 1);
        value.clamp(-(1 << bits), most) as i64
    }

    /// `value · 2^shift`, rounded half up.
    fn rescale(self, value: i64, shift: i32) -> i128 {
        let value = i128::from(value);
        match (self, shift) {
            // Values have at most 62 bits, with sign: further shifts leave nothing.
            (Arithmetic::Exact, ..0) => half_up_shift(value, shift.unsigned_abs().min(100)),
            (Arithmetic::Exact, 0..) => value << shift.min(62),
            (Arithmetic::Binary32 { .. }, ..0) => {
                let right = shift.unsigned_abs().min(100);
                rn24(value + (1 << (right - 1))) >> right
            }
            (Arithmetic::Binary32 { .. }, 0..) => rn24((value << (shift.min(62) + 1)) + 1) >> 1,
        }
    }
}

/// Integers that stand for `values · 2^-frac_bits`, each between `-2^value_bits` and `2^value_bits - 1`. The sign is
/// not counted: 8 bits with sign have 7 value bits.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPoint {
    pub(super) values: Array<i64>,
    pub(super) value_bits: u32,
    pub(super) frac_bits: PerChannel<i32>,
    pub(super) arithmetic: Arithmetic,
}

/// The most frac bits with which a range fits: `value_bits - ceil(log2(range))`, clamped to `value_bits` unless told
/// otherwise (fixed-point §1.2). `None` for a range of 0 that is not clamped, which any number of bits fits.
pub fn frac_bits_for(value_bits: u32, range: f32, clamp: bool) -> Option<i32> {
    let most = value_bits as i32;
    let fits = round::binary32_ceil_log2(range).map(|log| most.saturating_sub(log));
    if clamp { Some(fits.map_or(most, |fits| fits.min(most))) } else { fits }
}

impl FixedPoint {
    /// A tensor of `sizes` from integers in row-major order, which saturate.
    ///
    /// # Errors
    /// More or fewer elements than the sizes ask for, entries that do not go with them, too many value bits.
    pub fn new(
        sizes: &[usize],
        values: impl IntoIterator<Item = i64>,
        value_bits: u32,
        frac_bits: PerChannel<i32>,
    ) -> Result<Self> {
        Self::new_in(Arithmetic::Exact, sizes, values, value_bits, frac_bits)
    }

    /// [`FixedPoint::new`], to be computed with in an arithmetic, whose bounds hold.
    ///
    /// # Errors
    /// As for `new`.
    pub fn new_in(
        arithmetic: Arithmetic,
        sizes: &[usize],
        values: impl IntoIterator<Item = i64>,
        value_bits: u32,
        frac_bits: PerChannel<i32>,
    ) -> Result<Self> {
        let values = values.into_iter().map(|value| arithmetic.keep(value.into()));
        Self::saturated(sizes, values, value_bits, frac_bits, arithmetic)
    }

    /// The construction that every operation ends with.
    pub(super) fn saturated(
        sizes: &[usize],
        values: impl IntoIterator<Item = i128>,
        value_bits: u32,
        frac_bits: PerChannel<i32>,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        if value_bits > MOST_VALUE_BITS {
            return Err(FixedError::ValueBits { bits: value_bits });
        }
        frac_bits.check(sizes)?;
        let values: Vec<i64> = values.into_iter().map(|v| arithmetic.saturate(v, value_bits)).collect();
        let count = values.len();
        let values = Array::from_shape_vec(IxDyn(sizes), values).map_err(|_| FixedError::Shapes {
            operation: "fixed point",
            left: sizes.to_vec(),
            right: vec![count],
        })?;
        Ok(Self { values, value_bits, frac_bits, arithmetic })
    }

    /// `half_even(x · 2^frac_bits)`, saturated (fixed-point §1.3). Without frac bits: none if every element is an
    /// integer, or else as many as the largest magnitude leaves.
    ///
    /// # Errors
    /// As for [`FixedPoint::new`].
    pub fn quantize(
        sizes: &[usize],
        x: &[f32],
        value_bits: u32,
        frac_bits: Option<PerChannel<i32>>,
    ) -> Result<Self> {
        let frac_bits = frac_bits.unwrap_or_else(|| {
            let bits = if x.iter().all(|x| x.fract() == 0.0) {
                Some(0)
            } else {
                frac_bits_for(value_bits, x.iter().fold(0.0, |most: f32, x| most.max(x.abs())), true)
            };
            PerChannel::tensor(bits.unwrap_or(0))
        });
        frac_bits.check(sizes)?;
        let bits = frac_bits.of_elements(sizes);
        let values = x.iter().enumerate().map(|(at, x)| {
            // Floats become integers by saturation, far beyond the value bits; NaN becomes 0.
            i128::from(half_even_f32(x * power_of_two_f32(bits(at))) as i64)
        });
        Self::saturated(sizes, values, value_bits, frac_bits.clone(), Arithmetic::Exact)
    }

    /// The same numbers, computed with in another way from here on.
    #[must_use]
    pub fn with(mut self, arithmetic: Arithmetic) -> Self {
        let bits = self.value_bits;
        self.values.mapv_inplace(|value| arithmetic.saturate(arithmetic.keep(value.into()), bits));
        self.arithmetic = arithmetic;
        self
    }

    pub fn sizes(&self) -> &[usize] {
        self.values.shape()
    }

    /// The integers in row-major order.
    pub fn elements(&self) -> &[i64] {
        // Every construction goes through a vector in this order.
        self.values.as_slice().unwrap_or_default()
    }

    pub fn value_bits(&self) -> u32 {
        self.value_bits
    }

    pub fn frac_bits(&self) -> &PerChannel<i32> {
        &self.frac_bits
    }

    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    pub fn is_per_tensor(&self) -> bool {
        self.frac_bits.is_per_tensor()
    }

    /// An error where the frac bits differ along an axis.
    pub(super) fn per_tensor(&self, operation: &'static str) -> Result<()> {
        if self.is_per_tensor() {
            return Ok(());
        }
        let (axis, entries) = (self.frac_bits.axis.unwrap_or(1), self.frac_bits.entries.len());
        Err(FixedError::PerAxis { operation, axis, entries })
    }

    /// The reals, each rounded to f32.
    pub fn to_float(&self) -> Vec<f32> {
        let bits = self.frac_bits.of_elements(self.sizes());
        let each = self.elements().iter().enumerate();
        // An integer of 24 bits times a power of two: one rounding at most, at the ends of the range.
        each.map(|(at, &v)| (f64::from(v as f32) * round::power_of_two(-bits(at))) as f32).collect()
    }

    /// A tensor on another grid, from a new integer for each.
    pub(super) fn map(
        &self,
        value_bits: u32,
        frac_bits: PerChannel<i32>,
        f: impl Fn(usize, i64) -> i128,
    ) -> Result<Self> {
        let values = self.elements().iter().enumerate().map(|(at, &value)| f(at, value));
        Self::saturated(self.sizes(), values, value_bits, frac_bits, self.arithmetic)
    }

    /// The same integers with more value bits.
    ///
    /// # Errors
    /// Fewer value bits than there are.
    pub fn promote(&self, value_bits: u32) -> Result<Self> {
        if value_bits < self.value_bits {
            return Err(FixedError::Narrower { from: self.value_bits, to: value_bits });
        }
        self.map(value_bits, self.frac_bits.clone(), |_, value| value.into())
    }

    /// Other frac bits: `floor(v · 2^s + 1/2)` with the shift `s = frac_bits - self.frac_bits`, which is returned,
    /// too.
    ///
    /// # Errors
    /// A left shift of as many bits as the result has, or more, even of 0.
    pub fn rescale(
        &self,
        frac_bits: &PerChannel<i32>,
        value_bits: Option<u32>,
    ) -> Result<(Self, PerChannel<i32>)> {
        self.rescale_by(frac_bits, value_bits, self.arithmetic)
    }

    fn rescale_by(
        &self,
        frac_bits: &PerChannel<i32>,
        value_bits: Option<u32>,
        arithmetic: Arithmetic,
    ) -> Result<(Self, PerChannel<i32>)> {
        let value_bits = value_bits.unwrap_or(self.value_bits);
        let shift = self.towards("rescale", frac_bits, |from, to| {
            let shift = i64::from(to) - i64::from(from);
            // A left shift is checked against the value bits before; a right one leaves nothing anyway.
            (shift < value_bits.into())
                .then_some(shift.max(-1000) as i32)
                .ok_or(FixedError::Saturates { shift, bits: value_bits })
        })?;
        let shifts = shift.of_elements(self.sizes());
        let result =
            self.map(value_bits, frac_bits.clone(), |at, value| arithmetic.rescale(value, shifts(at)))?;
        Ok((result, shift.clone()))
    }

    /// What the frac bits and those that they go to give, entry by entry.
    fn towards<V: Copy>(
        &self,
        operation: &'static str,
        frac_bits: &PerChannel<i32>,
        f: impl Fn(i32, i32) -> Result<V>,
    ) -> Result<PerChannel<V>> {
        let mismatch = || FixedError::FracBits {
            operation,
            left: self.frac_bits.entries.clone(),
            right: frac_bits.entries.clone(),
        };
        let results = self.frac_bits.zip(frac_bits, f).ok_or_else(mismatch)?;
        let entries = results.entries.into_iter().collect::<Result<Vec<V>>>()?;
        Ok(PerChannel { entries, axis: results.axis })
    }

    /// [`FixedPoint::rescale`] that never rounds.
    ///
    /// # Errors
    /// Also fewer frac bits than there are.
    pub fn upscale(
        &self,
        frac_bits: &PerChannel<i32>,
        value_bits: Option<u32>,
    ) -> Result<(Self, PerChannel<i32>)> {
        self.towards("upscale", frac_bits, |from, to| {
            (to >= from).then_some(()).ok_or(FixedError::Rounds { from, to })
        })?;
        let plain = Arithmetic::Binary32 { upscale_rounds: false };
        let arithmetic = if self.arithmetic == plain { Arithmetic::Exact } else { self.arithmetic };
        self.rescale_by(frac_bits, value_bits, arithmetic)
    }

    /// [`FixedPoint::rescale`] to fewer frac bits.
    ///
    /// # Errors
    /// More frac bits than there are.
    pub fn downscale(&self, frac_bits: &PerChannel<i32>) -> Result<(Self, PerChannel<i32>)> {
        self.towards("downscale", frac_bits, |from, to| {
            (to <= from).then_some(()).ok_or(FixedError::Refines { from, to })
        })?;
        self.rescale(frac_bits, None)
    }

    /// [`FixedPoint::upscale`] to the larger frac bits of both.
    ///
    /// # Errors
    /// As for `upscale`.
    pub fn align(&self, other: &Self, value_bits: Option<u32>) -> Result<(Self, PerChannel<i32>)> {
        let most = self.towards("align", &other.frac_bits, |a, b| Ok(a.max(b)))?;
        self.upscale(&most, value_bits)
    }

    /// One grid for all channels: the largest frac bits.
    ///
    /// # Errors
    /// Fewer value bits than there are, or a channel that would saturate.
    pub fn expand(&self, value_bits: u32) -> Result<(Self, PerChannel<i32>)> {
        if value_bits < self.value_bits {
            return Err(FixedError::Narrower { from: self.value_bits, to: value_bits });
        }
        let most = self.frac_bits.entries.iter().copied().max().unwrap_or(0);
        self.upscale(&PerChannel::tensor(most), Some(value_bits))
    }

    /// `v · 2^s`, rounded down, on the same grid; shifts are broadcast to the elements.
    ///
    /// # Errors
    /// Shifts of a shape that does not stretch to the tensor's.
    pub fn shift(&self, sizes: &[usize], shifts: &[i32]) -> Result<Self> {
        let shifts = Tensor::new(sizes, shifts.to_vec()).and_then(|shifts| shifts.stretched(self.sizes()));
        let shifts = shifts.as_ref().and_then(|shifts| shifts.elements::<i32>());
        let shifts = shifts.ok_or_else(|| FixedError::Shapes {
            operation: "shift",
            left: self.sizes().to_vec(),
            right: sizes.to_vec(),
        })?;
        self.shifted(|at| shifts[at])
    }

    fn shifted(&self, shift: impl Fn(usize) -> i32) -> Result<Self> {
        self.map(self.value_bits, self.frac_bits.clone(), |at, value| {
            let (value, shift) = (i128::from(value), shift(at));
            match shift {
                ..0 => value >> shift.unsigned_abs().min(100),
                0.. => self.arithmetic.keep(value << shift.min(62)),
            }
        })
    }

    /// `>>`: the same integers stand for numbers that are `2^s` times smaller.
    ///
    /// # Errors
    /// A negative shift; shifts of an axis, where frac bits are of none.
    pub fn divided_by_power(&self, shift: &PerChannel<i32>) -> Result<Self> {
        non_negative(shift)?;
        if let (Some(axis), None) = (shift.axis, self.frac_bits.axis) {
            let (operation, entries) = ("shift right", shift.entries.len());
            return Err(FixedError::PerAxis { operation, axis, entries });
        }
        let frac_bits = self.towards("shift right", shift, |bits, shift| Ok(bits.saturating_add(shift)))?;
        self.map(self.value_bits, frac_bits, |_, value| value.into())
    }

    /// `<<`: integers that are `2^s` times larger, on the same grid.
    ///
    /// # Errors
    /// A negative shift, or shifts that do not go with the channels.
    pub fn times_power(&self, shift: &PerChannel<i32>) -> Result<Self> {
        non_negative(shift)?;
        shift.check(self.sizes())?;
        self.shifted(shift.of_elements(self.sizes()))
    }

    /// The integer part, rounded down, and the frac bits that went as its shift.
    ///
    /// # Errors
    /// None that a valid tensor gives.
    pub fn floor(&self) -> Result<(Self, PerChannel<i32>)> {
        let bits = self.frac_bits.of_elements(self.sizes());
        let whole = self.shifted(|at| bits(at).saturating_neg())?;
        let shift = self.frac_bits.clone();
        Ok((Self { frac_bits: PerChannel::tensor(0), ..whole }, shift))
    }
}

fn non_negative(shift: &PerChannel<i32>) -> Result<()> {
    match shift.entries.iter().find(|&&shift| shift < 0) {
        Some(&shift) => Err(FixedError::NegativeShift { shift }),
        None => Ok(()),
    }
}
