//! Fixed-point tensors times float scales (fixed-point §2).

use super::{FixedError, FixedPoint, Padding, PerChannel, Result, Stride, frac_bits_for};
use crate::tensor::round::{half_even_f32, power_of_two_f32};

/// `values · 2^-frac_bits · scales`.
#[derive(Clone, Debug, PartialEq)]
pub struct QFloat {
    pub(super) fixed: FixedPoint,
    pub(super) scales: PerChannel<f32>,
}

/// What quantized layers read and give.
#[derive(Clone, Debug, PartialEq)]
pub enum QTensor {
    Fixed(FixedPoint),
    Float(QFloat),
}

impl QTensor {
    pub fn fixed(&self) -> &FixedPoint {
        match self {
            QTensor::Fixed(fixed) => fixed,
            QTensor::Float(float) => &float.fixed,
        }
    }

    /// The reals, each step rounded to f32.
    pub fn to_float(&self) -> Vec<f32> {
        match self {
            QTensor::Fixed(fixed) => fixed.to_float(),
            QTensor::Float(float) => float.to_float(),
        }
    }
}

impl From<FixedPoint> for QTensor {
    fn from(fixed: FixedPoint) -> Self {
        QTensor::Fixed(fixed)
    }
}

impl From<QFloat> for QTensor {
    fn from(float: QFloat) -> Self {
        QTensor::Float(float)
    }
}

/// The scales with which ranges fill the value bits: `ranges / (2^value_bits - 1)`.
pub fn optimal_scales(ranges: &PerChannel<f32>, value_bits: u32) -> PerChannel<f32> {
    let most = ((1i128 << value_bits.min(100)) - 1) as f32;
    ranges.map(|range| range / most)
}

/// Scales as integers of `bits` bits whose leading bit is set. A scale that is a power of two is one more than fits,
/// and saturates.
///
/// # Errors
/// A scale of 0.
pub fn quantize_scales(scales: &PerChannel<f32>, bits: u32) -> Result<FixedPoint> {
    let frac = scales
        .map(|scale| {
            let range = || FixedError::Range { range: scale.to_string() };
            frac_bits_for(bits, scale, false).ok_or_else(range)
        })
        .transposed()?;
    let values = scales.zip(&frac, |scale, frac| half_even_f32(scale * power_of_two_f32(frac)) as i64);
    let values = values.map_or(Vec::new(), |values| values.entries);
    // As a tensor, scales are what they are multiplied with: one number, or the last axis.
    let sizes: &[usize] = if scales.axis.is_some() { &[values.len()] } else { &[] };
    let frac = PerChannel { axis: scales.axis.map(|_| 1), entries: frac.entries };
    FixedPoint::new(sizes, values, bits, frac)
}

impl<T> PerChannel<Result<T>> {
    pub(super) fn transposed(self) -> Result<PerChannel<T>> {
        let entries = self.entries.into_iter().collect::<Result<_>>()?;
        Ok(PerChannel { entries, axis: self.axis })
    }
}

impl QFloat {
    /// # Errors
    /// Scales that do not go with the sizes.
    pub fn new(fixed: FixedPoint, scales: PerChannel<f32>) -> Result<Self> {
        scales.check(fixed.sizes())?;
        Ok(Self { fixed, scales })
    }

    /// `half_even(x / scales · 2^frac_bits)`, saturated.
    ///
    /// # Errors
    /// Entries that do not go with the sizes.
    pub fn quantize(
        sizes: &[usize],
        x: &[f32],
        value_bits: u32,
        scales: PerChannel<f32>,
        frac_bits: PerChannel<i32>,
    ) -> Result<Self> {
        scales.check(sizes)?;
        let scale = scales.of_elements(sizes);
        let x: Vec<f32> = x.iter().enumerate().map(|(at, x)| x / scale(at)).collect();
        Self::new(FixedPoint::quantize(sizes, &x, value_bits, Some(frac_bits))?, scales.clone())
    }

    pub fn fixed(&self) -> &FixedPoint {
        &self.fixed
    }

    pub fn scales(&self) -> &PerChannel<f32> {
        &self.scales
    }

    /// Whether one scale, which belongs to no axis, and one number of frac bits hold for every element.
    pub fn is_per_tensor(&self) -> bool {
        self.fixed.is_per_tensor() && self.scales.axis.is_none()
    }

    pub(super) fn per_tensor(&self, operation: &'static str) -> Result<()> {
        if self.is_per_tensor() {
            return Ok(());
        }
        self.fixed.per_tensor(operation)?;
        let (axis, entries) = (self.scales.axis.unwrap_or(1), self.scales.entries.len());
        Err(FixedError::PerAxis { operation, axis, entries })
    }

    /// `f32(f32(v / 2^f) · scales)`.
    pub fn to_float(&self) -> Vec<f32> {
        let scale = self.scales.of_elements(self.fixed.sizes());
        self.fixed.to_float().into_iter().enumerate().map(|(at, x)| x * scale(at)).collect()
    }

    /// The scales multiplied into the integers, as integers of `scale_bits` bits.
    ///
    /// # Errors
    /// A scale of 0.
    pub fn to_fixed_point(&self, scale_bits: u32) -> Result<FixedPoint> {
        let scales = quantize_scales(&self.scales, scale_bits)?;
        let Some(axis) = self.scales.axis else { return self.fixed.multiply(&scales) };
        // Along their axis, behind which every size is 1.
        let mut sizes = vec![1; axis];
        sizes[0] = self.scales.entries.len();
        let frac_bits = PerChannel::along(axis, scales.frac_bits.entries.clone());
        let values = scales.elements().iter().copied();
        self.fixed.multiply(&FixedPoint::new_in(
            self.fixed.arithmetic,
            &sizes,
            values,
            scale_bits,
            frac_bits,
        )?)
    }

    /// The axis that scales are put behind each other along, or picked from; from the end.
    fn channels(&self) -> usize {
        self.scales.axis.or(self.fixed.frac_bits.axis).unwrap_or(1)
    }

    /// Whether an axis, which may count from the end, is that of the channels.
    fn is_channels(&self, axis: isize) -> bool {
        let rank = self.fixed.sizes().len();
        let at = if axis < 0 { rank.checked_add_signed(axis) } else { Some(axis as usize) };
        at.is_some() && at == rank.checked_sub(self.channels())
    }

    fn like(&self, fixed: FixedPoint) -> Result<Self> {
        Self::new(fixed, self.scales.clone())
    }

    /// What an operation makes of the fixed-point part; scales stay.
    ///
    /// # Errors
    /// Those of the operation; scales that do not go with the result.
    pub fn map(&self, operation: impl FnOnce(&FixedPoint) -> Result<FixedPoint>) -> Result<Self> {
        self.like(operation(&self.fixed)?)
    }

    fn same_scales(&self, other: &Self, operation: &'static str) -> Result<()> {
        if self.scales.agrees(&other.scales) { Ok(()) } else { Err(FixedError::Scales { operation }) }
    }

    /// # Errors
    /// Other scales or frac bits.
    pub fn add(&self, other: &Self) -> Result<Self> {
        self.same_scales(other, "add")?;
        self.map(|fixed| fixed.add(&other.fixed))
    }

    /// # Errors
    /// Other scales or frac bits.
    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.same_scales(other, "sub")?;
        self.map(|fixed| fixed.sub(&other.fixed))
    }

    /// # Errors
    /// Other scales or frac bits.
    pub fn maximum(&self, other: &Self) -> Result<Self> {
        self.same_scales(other, "maximum")?;
        self.map(|fixed| fixed.maximum(&other.fixed))
    }

    /// # Errors
    /// Other scales or frac bits.
    pub fn clip(&self, low: &Self, high: &Self) -> Result<Self> {
        self.same_scales(low, "clip")?;
        self.same_scales(high, "clip")?;
        self.map(|fixed| fixed.clip(&low.fixed, &high.fixed))
    }

    /// Scales divided by a number; integers stay.
    #[must_use]
    pub fn divide_scales(&self, divisor: f32) -> Self {
        Self { fixed: self.fixed.clone(), scales: self.scales.map(|scale| scale / divisor) }
    }

    /// # Errors
    /// A per-axis divisor; a divisor of 0.
    pub fn divide(&self, other: &FixedPoint) -> Result<Self> {
        other.per_tensor("divide")?;
        self.map(|fixed| fixed.divide(other))
    }

    /// The product with a per-tensor left side.
    ///
    /// # Errors
    /// A per-axis left side.
    pub fn multiplied(left: &QTensor, right: &Self) -> Result<Self> {
        left.fixed().per_tensor("multiply")?;
        Self::product(left, right, "multiply", |x, y| x.multiply(y))
    }

    /// # Errors
    /// As for [`FixedPoint::matmul`]; a left side with scales of an axis.
    pub fn matmul(left: &QTensor, right: &Self, transpose_left: bool, transpose_right: bool) -> Result<Self> {
        let product = |x: &FixedPoint, y: &FixedPoint| x.matmul(y, transpose_left, transpose_right);
        Self::product(left, right, "matmul", product)
    }

    /// # Errors
    /// As for [`FixedPoint::convolution`]; an input with scales of an axis.
    pub fn convolution(left: &QTensor, kernel: &Self, stride: Stride, padding: Padding) -> Result<Self> {
        Self::product(left, kernel, "convolution", |x, k| x.convolution(k, stride, padding))
    }

    /// # Errors
    /// As for [`FixedPoint::depthwise_convolution`].
    pub fn depthwise_convolution(
        x: &FixedPoint,
        kernel: &Self,
        stride: Stride,
        padding: Padding,
    ) -> Result<Self> {
        Self::new(x.depthwise_convolution(&kernel.fixed, stride, padding)?, kernel.scales.squeezed())
    }

    /// # Errors
    /// As for [`FixedPoint::transposed_convolution`].
    pub fn transposed_convolution(
        x: &FixedPoint,
        kernel: &Self,
        strides: [usize; 2],
        padding: Padding,
        size: [usize; 2],
    ) -> Result<Self> {
        Self::new(x.transposed_convolution(&kernel.fixed, strides, padding, size)?, kernel.scales.clone())
    }

    fn product(
        left: &QTensor,
        right: &Self,
        operation: &'static str,
        f: impl FnOnce(&FixedPoint, &FixedPoint) -> Result<FixedPoint>,
    ) -> Result<Self> {
        let scales = match left {
            QTensor::Fixed(_) => right.scales.clone(),
            QTensor::Float(x) => {
                x.per_tensor(operation)?;
                // Per tensor, there is one entry on the left.
                right.scales.map(|scale| x.scales.entries[0] * scale)
            }
        };
        Self::new(f(left.fixed(), &right.fixed)?, scales)
    }

    /// Both behind each other. Along the channels, scales are put behind each other, too.
    ///
    /// # Errors
    /// As for [`FixedPoint::concat`]; other scales, where the channels are another axis.
    pub fn concat(&self, other: &Self, axis: isize) -> Result<Self> {
        let fixed = self.fixed.concat(&other.fixed, axis)?;
        if !self.is_channels(axis) {
            self.same_scales(other, "concat")?;
            return Self::new(fixed, self.scales.clone());
        }
        let channels = self.channels();
        let stretched = |x: &Self| -> Vec<f32> {
            let size = x.fixed.sizes().iter().rev().nth(channels - 1).copied().unwrap_or(0);
            match &x.scales.entries[..] {
                &[scale] => vec![scale; size],
                scales => scales.to_vec(),
            }
        };
        Self::new(fixed, PerChannel::along(channels, [stretched(self), stretched(other)].concat()))
    }

    /// One index of an axis, which goes.
    ///
    /// # Errors
    /// No such axis or index.
    pub fn gather(&self, index: isize, axis: isize) -> Result<Self> {
        let fixed = self.fixed.gather(index, axis)?;
        let entries = &self.scales.entries;
        let at = if index < 0 { entries.len().checked_add_signed(index) } else { Some(index as usize) };
        let scale = at.and_then(|at| entries.get(at)).filter(|_| self.is_channels(axis) && entries.len() > 1);
        Self::new(fixed, scale.map_or_else(|| self.scales.clone(), |&scale| PerChannel::tensor(scale)))
    }
}
