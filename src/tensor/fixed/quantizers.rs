//! The quantizers that layers are made of (quantizers §1).

use super::{FixedError, FixedPoint, PerChannel, QFloat, QTensor, Result, frac_bits_for, quantize_scales};

/// Value bits of so many bits; with sign, one of them is it.
fn value_bits(bitwidth: u32, signed: bool) -> Result<u32> {
    let least = if signed { 2 } else { 1 };
    if bitwidth < least {
        return Err(FixedError::Bitwidth { bitwidth, least });
    }
    Ok(bitwidth - u32::from(signed))
}

/// Largest magnitudes of what each entry is for.
fn magnitudes(x: &[f32], entries: usize, inner: usize) -> Vec<f32> {
    let mut most = vec![0f32; entries];
    for (at, x) in x.iter().enumerate() {
        let entry = &mut most[at / inner % entries];
        *entry = entry.max(x.abs());
    }
    most
}

/// Which weights have a scale in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightAxis {
    Tensor,
    /// Each index of an axis has its own; counted from the end where it is negative.
    Axis(isize),
}

/// Weights as integers whose scales fill the bits, or on a grid of powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightQuantizer {
    pub bitwidth: u32,
    pub signed: bool,
    pub axis: WeightAxis,
}

impl WeightQuantizer {
    /// The smallest scale: that of weights that are all 0.
    const LEAST: f32 = 1e-6;

    fn ranges(&self, sizes: &[usize], weights: &[f32]) -> Result<PerChannel<f32>> {
        let rank = sizes.len();
        let axis = match self.axis {
            WeightAxis::Axis(axis) if rank > 1 => axis,
            _ => return Ok(PerChannel::tensor(magnitudes(weights, 1, 1)[0])),
        };
        let from_end = if axis < 0 { axis.unsigned_abs() } else { rank.saturating_sub(axis as usize) };
        // One entry for each channel of a depthwise kernel, whose last axis is 1.
        let depthwise = from_end == 2 && rank > 2 && sizes[rank - 1] == 1;
        if from_end != 1 && !depthwise {
            let what = format!("scales along axis {axis}");
            return Err(FixedError::Argument { operation: "weight quantizer", what, sizes: sizes.to_vec() });
        }
        let entries = sizes[rank - from_end];
        Ok(PerChannel::along(from_end, magnitudes(weights, entries, 1)))
    }

    /// `half_even(w / scale)` with `scale = max(range / (2^n - 1), 1e-6)` and no frac bits.
    ///
    /// # Errors
    /// Too few bits; an axis that scales do not go along.
    pub fn quantize(&self, sizes: &[usize], weights: &[f32]) -> Result<QFloat> {
        let bits = value_bits(self.bitwidth, self.signed)?;
        let scales = super::optimal_scales(&self.ranges(sizes, weights)?, bits);
        let scales = scales.map(|scale| scale.max(Self::LEAST));
        QFloat::quantize(sizes, weights, bits, scales, PerChannel::tensor(0))
    }

    /// On the grid that the ranges allow.
    ///
    /// # Errors
    /// As for [`WeightQuantizer::quantize`].
    pub fn quantize_fixed(&self, sizes: &[usize], weights: &[f32]) -> Result<FixedPoint> {
        let bits = value_bits(self.bitwidth, self.signed)?;
        let ranges = self.ranges(sizes, weights)?;
        // Clamped, every range has frac bits.
        let frac = ranges.map(|range| frac_bits_for(bits, range, true).unwrap_or(0));
        FixedPoint::quantize(sizes, weights, bits, Some(frac))
    }
}

/// How many numbers of what is aligned share a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// All: release 0.7.
    One,
    /// Those of an index of the last axis, if the bitwidth is above 4: from release 1 on.
    EachChannel,
}

/// What is added to, or compared with, a scaled tensor: biases, values of padding, bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignedQuantizer {
    pub bitwidth: u32,
    pub signed: bool,
    pub ranges: Ranges,
}

/// What was aligned, and by how much its integers were shifted to the left for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Aligned {
    pub values: QFloat,
    pub shift: PerChannel<i32>,
}

impl AlignedQuantizer {
    /// Integers of `bitwidth` bits with the scales of `other`, shifted to its frac bits (quantizers §1.2).
    ///
    /// # Errors
    /// Too few bits; a shift that saturates the value bits of `other`; shapes that do not go together.
    pub fn quantize(&self, sizes: &[usize], x: &[f32], other: &QFloat) -> Result<Aligned> {
        let bits = value_bits(self.bitwidth, self.signed)?;
        let ranges = match (self.ranges, sizes.last()) {
            (Ranges::EachChannel, Some(&channels)) if self.bitwidth > 4 => {
                PerChannel::last(magnitudes(x, channels, 1))
            }
            _ => PerChannel::tensor(magnitudes(x, 1, 1)[0]),
        };
        let fixed = &other.fixed;
        let unlike = || FixedError::Shapes {
            operation: "aligned quantizer",
            left: sizes.to_vec(),
            right: fixed.sizes().to_vec(),
        };
        let frac = ranges.zip(&other.scales, |range, scale| frac_bits_for(bits, range / scale, true));
        let frac = frac.ok_or_else(unlike)?.map(|frac| frac.unwrap_or(0));
        let frac = frac.zip(&fixed.frac_bits, i32::min).ok_or_else(unlike)?;
        let (sizes, x) = stretched(sizes, x, frac.entries.len().max(other.scales.entries.len()));
        let own = QFloat::quantize(&sizes, &x, bits, other.scales.clone(), frac)?;
        let (values, shift) =
            own.fixed.with(fixed.arithmetic).upscale(&fixed.frac_bits, Some(fixed.value_bits))?;
        Ok(Aligned { values: QFloat::new(values, own.scales)?, shift })
    }
}

/// One number for all channels, once for each where they differ.
fn stretched(sizes: &[usize], x: &[f32], channels: usize) -> (Vec<usize>, Vec<f32>) {
    match x {
        [x] if channels > 1 => {
            let mut sizes = sizes.to_vec();
            sizes.pop();
            sizes.push(channels);
            (sizes, vec![*x; channels])
        }
        _ => (sizes.to_vec(), x.to_vec()),
    }
}

/// Integers of few bits from a buffer of many, on a given grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requantizer {
    pub bitwidth: u32,
    pub signed: bool,
    /// Value bits of the product with the scales: those of the input in release 0.7, 32 from then on.
    pub buffer_bits: Option<u32>,
}

impl Requantizer {
    /// The value bits of the result: fewer than those of `x`.
    fn value_bits(&self, x: &QTensor) -> Result<u32> {
        let (from, to) = (x.fixed().value_bits, value_bits(self.bitwidth, self.signed)?);
        if from > to { Ok(to) } else { Err(FixedError::Pointless { from, to }) }
    }

    /// The product with the integers that stand for the scales, rescaled to `frac_bits`. A tensor without scales is
    /// only rescaled.
    ///
    /// # Errors
    /// Too few bits, or no fewer than the input has; scales without integers for them; shapes that do not go together.
    pub fn requantize(
        &self,
        x: &QTensor,
        qscales: Option<&FixedPoint>,
        frac_bits: &PerChannel<i32>,
    ) -> Result<Requantized> {
        let bits = self.value_bits(x)?;
        let (product, scales) = match x {
            QTensor::Fixed(fixed) => (fixed.clone(), None),
            QTensor::Float(float) => {
                let scales = qscales.ok_or(FixedError::NoScaleBits)?;
                let fixed = float.fixed.promote(self.buffer_bits.unwrap_or(float.fixed.value_bits))?;
                (fixed.multiply(scales)?, Some(scales.clone()))
            }
        };
        let (output, shift) = product.rescale(frac_bits, Some(bits))?;
        Ok(Requantized { output, scales, shift })
    }
}

/// A [`Requantizer`] whose grid is the one that a calibrated range allows (quantizers §1.3).
#[derive(Clone, Debug, PartialEq)]
pub struct OutputQuantizer {
    pub requantizer: Requantizer,
    /// Bits of the integers that scales are multiplied by; none where there are no scales.
    pub scale_bits: Option<u32>,
    /// Largest magnitudes seen, one or one for each channel.
    pub range_max: PerChannel<f32>,
    /// What equalization multiplied the ranges by.
    pub rescaling_rate: PerChannel<f32>,
}

/// What a [`Requantizer`] gives, with the constants that it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantized {
    pub output: FixedPoint,
    /// The scales as integers, where the input had some.
    pub scales: Option<FixedPoint>,
    /// Bits by which products are shifted to the left, mostly negative.
    pub shift: PerChannel<i32>,
}

impl OutputQuantizer {
    /// # Errors
    /// Those of [`Requantizer::requantize`]; scales without scale bits.
    pub fn quantize(&self, x: &QTensor) -> Result<Requantized> {
        let bits = self.requantizer.value_bits(x)?;
        let frac = self.range_max.map(|range| frac_bits_for(bits, range, true).unwrap_or(0));
        let qscales = match x {
            QTensor::Fixed(_) => None,
            QTensor::Float(float) => {
                let scale_bits = self.scale_bits.ok_or(FixedError::NoScaleBits)?;
                let scales = float.scales.zip(&self.rescaling_rate, |scale, rate| scale * rate);
                let scales = scales.ok_or(FixedError::Scales { operation: "output quantizer" })?;
                Some(quantize_scales(&scales, scale_bits)?)
            }
        };
        self.requantizer.requantize(x, qscales.as_ref(), &frac)
    }
}

/// Floats that enter a network, on the grid that their calibrated ranges allow (quantizers §1.6).
#[derive(Clone, Debug, PartialEq)]
pub struct InputQuantizer {
    pub bitwidth: u32,
    /// Without sign, the smallest number that was seen is brought to 0.
    pub signed: bool,
    /// Smallest and largest numbers seen, one or one for each channel.
    pub range_min: PerChannel<f32>,
    pub range_max: PerChannel<f32>,
}

/// The grid that an [`InputQuantizer`] brings its input to.
#[derive(Clone, Debug, PartialEq)]
pub struct InputGrid {
    pub value_bits: u32,
    pub frac_bits: PerChannel<i32>,
    /// Without sign, what is added to the integers, which have the scale 1 then.
    pub zero: Option<FixedPoint>,
}

impl InputQuantizer {
    /// # Errors
    /// Too few bits; without sign, a smallest number above 0; ranges that do not go together.
    pub fn grid(&self) -> Result<InputGrid> {
        let bits = value_bits(self.bitwidth, self.signed)?;
        let range = |low: f32, high: f32| match self.signed {
            true => high.abs().max(low.abs()),
            false => high - low,
        };
        let unlike = || FixedError::Scales { operation: "input quantizer" };
        let ranges = self.range_min.zip(&self.range_max, range).ok_or_else(unlike)?;
        let frac = ranges.map(|range| frac_bits_for(bits, range, true).unwrap_or(0));
        let mut zero = None;
        if !self.signed {
            if let Some(low) = self.range_min.entries.iter().find(|&&low| low > 0.0) {
                return Err(FixedError::Range { range: format!("from {low}") });
            }
            let zeros: Vec<f32> = self.range_min.entries.iter().map(|low| -low).collect();
            let sizes: &[usize] = if self.range_min.axis.is_some() { &[zeros.len()] } else { &[] };
            zero = Some(FixedPoint::quantize(sizes, &zeros, bits, Some(frac.clone()))?);
        }
        Ok(InputGrid { value_bits: bits, frac_bits: frac, zero })
    }

    /// # Errors
    /// Those of [`InputQuantizer::grid`]; shapes that do not go together.
    pub fn quantize(&self, sizes: &[usize], x: &[f32]) -> Result<QTensor> {
        let InputGrid { value_bits, frac_bits, zero } = self.grid()?;
        let fixed = FixedPoint::quantize(sizes, x, value_bits, Some(frac_bits))?;
        let Some(zero) = zero else { return Ok(fixed.into()) };
        let one = || PerChannel::tensor(1.0);
        Ok(QFloat::new(fixed, one())?.add(&QFloat::new(zero, one())?)?.into())
    }
}

/// What an [`Observer`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extreme {
    Magnitude,
    Highest,
    Lowest,
}

impl Extreme {
    fn of(self, a: f32, b: f32) -> f32 {
        match self {
            Extreme::Magnitude => a.max(b.abs()),
            Extreme::Highest => a.max(b),
            Extreme::Lowest => a.min(b),
        }
    }
}

/// A moving extreme over batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Observer {
    pub range: PerChannel<f32>,
    /// The share of the old extreme that a batch leaves.
    pub momentum: f64,
    pub extreme: Extreme,
}

impl Observer {
    /// All ones, which count as untouched.
    pub fn new(channels: Option<usize>, momentum: f64, extreme: Extreme) -> Self {
        let range = match channels {
            None => PerChannel::tensor(1.0),
            Some(channels) => PerChannel::last(vec![1.0; channels]),
        };
        Self { range, momentum, extreme }
    }

    /// Takes a batch, in which `inner` elements behind each other share a channel: the first sets the ranges, the next
    /// ones move them. An empty batch is none.
    pub fn observe(&mut self, batch: &[f32], inner: usize) {
        if batch.is_empty() {
            return;
        }
        let channels = self.range.entries.len();
        let mut seen: Vec<Option<f32>> = vec![None; channels];
        for (at, &x) in batch.iter().enumerate() {
            let entry = &mut seen[at / inner.max(1) % channels];
            let first = if self.extreme == Extreme::Magnitude { x.abs() } else { x };
            *entry = Some(entry.map_or(first, |entry| self.extreme.of(entry, x)));
        }
        let untouched = self.range.entries.iter().all(|&range| range == 1.0);
        let decay = (1.0 - self.momentum) as f32;
        for (old, new) in self.range.entries.iter_mut().zip(seen) {
            let new = new.unwrap_or(*old);
            *old = if untouched { new } else { *old - (*old - new) * decay };
        }
    }
}
