//! Parameter computation shared by layers (hardware-ops §5): ranges and float weights in, integers
//! and scales out, bit for bit those of the reference. A *scale* is integers per real.

use rayon::prelude::*;

use crate::ir::Range;
use crate::ops::{Call, LayerCall, LayerOperand, OpError, Why};
use crate::tensor::round::{self, FixedFormat, LogRounded};
use crate::tensor::{AffineGrid, Element, Tensor};

/// A quantized operand's scale at index `i` of axis 1.
pub fn scale_at(grid: &AffineGrid, i: usize) -> Option<f64> {
    per_index(&grid.factors, i)
}

/// Its zero point there.
pub fn zero_at(grid: &AffineGrid, i: usize) -> Option<i64> {
    per_index(&grid.zeros, i)
}

/// The entry for index `i`, where one entry stands for all.
pub fn per_index<T: Copy>(entries: &[T], i: usize) -> Option<T> {
    match entries {
        [entry] => Some(*entry),
        _ => entries.get(i).copied(),
    }
}

impl<'a> LayerCall<'a> {
    /// The grid of an operand that must be quantized.
    pub(super) fn grid(&self, position: usize) -> Result<&'a AffineGrid, OpError> {
        self.grids.get(position).copied().flatten().ok_or_else(|| {
            let operand = self.call.schema.operand_name(position);
            self.call.unsupported(format!("operand `{operand}` that is not quantized"))
        })
    }

    /// The elements of an operand that must be an f32 constant; `None` if it is absent.
    pub(super) fn constant(&self, position: usize) -> Result<Option<&'a [f32]>, OpError> {
        if self.call.opt_ty(position).is_none() {
            return Ok(None);
        }
        let tensor = self.constants.get(position).copied().flatten();
        match tensor.and_then(Tensor::elements::<f32>) {
            Some(elements) => Ok(Some(elements)),
            None => {
                let operand = self.call.schema.operand_name(position);
                Err(self.call.unsupported(format!("operand `{operand}` that is not an f32 constant")))
            }
        }
    }

    /// `max(|lowest|, |highest|)` of the result, one entry or one per channel.
    pub(super) fn largest(&self) -> Result<Vec<f32>, OpError> {
        match self.range {
            Some(range) => Ok(largest(range)),
            None => Err(self.call.unsupported("a result without a calibrated range")),
        }
    }
}

/// `max(|lowest|, |highest|)`, entry by entry.
pub fn largest(range: &Range) -> Vec<f32> {
    range.lowest.iter().zip(range.highest.iter()).map(|(l, h)| l.abs().max(h.abs())).collect()
}

/// A kernel as integers, with the scale of each filter's accumulator.
pub struct Kernel {
    pub integers: Vec<i8>,
    pub scales: Vec<f64>,
    pub why: Vec<Why>,
}

/// The scales of the input that the elements of a filter meet.
pub enum Met {
    /// Those of each channel, for so many taps each.
    Channels { taps: usize },
    /// That of the filter's own channel.
    Own,
}

/// §5.2: the kernel divided by the scale of the input it meets, each filter then symmetric int8.
pub fn kernel(
    call: &Call,
    weights: &[f32],
    filters: usize,
    grid: &AffineGrid,
    met: Met,
) -> Result<Kernel, OpError> {
    let taps = weights.len().checked_div(filters).unwrap_or_default();
    let unknown = || call.unsupported("an input grid of another number of channels");
    let channels: Vec<f64> = match met {
        Met::Own => Vec::new(),
        Met::Channels { taps: each } => {
            let scale = |channel| Some(std::iter::repeat_n(scale_at(grid, channel)?, each));
            let scales: Option<Vec<_>> = (0..taps.checked_div(each).unwrap_or_default()).map(scale).collect();
            scales.ok_or_else(unknown)?.into_iter().flatten().collect()
        }
    };
    // What a filter comes to depends on no other.
    let quantized: Vec<(Vec<i8>, f64, f64)> = (0..filters)
        .into_par_iter()
        .map(|f| {
            let filter = weights[f * taps..(f + 1) * taps].iter().map(|&w| f64::from(w));
            let scaled: Vec<f64> = match met {
                Met::Own => {
                    let scale = scale_at(grid, f).ok_or_else(unknown)?;
                    filter.map(|w| w / scale).collect()
                }
                Met::Channels { .. } if channels.len() == taps => {
                    filter.zip(&channels).map(|(w, scale)| w / scale).collect()
                }
                Met::Channels { .. } => return Err(unknown()),
            };
            let (integers, scale) =
                round::qfloat(&scaled).ok_or_else(|| call.unsupported("a kernel that is not finite"))?;
            Ok((integers, scale, scaled.iter().fold(0.0f64, |largest, w| largest.max(w.abs()))))
        })
        .collect::<Result<_, OpError>>()?;
    let mut kernel =
        Kernel { integers: Vec::with_capacity(weights.len()), scales: Vec::new(), why: Vec::new() };
    let mut largest = Vec::with_capacity(filters);
    for (integers, scale, most) in quantized {
        kernel.integers.extend(integers);
        kernel.scales.push(scale);
        largest.push(most);
    }
    kernel.why = vec![
        Why::new("accumulator", "127 / largest |w / scale(x)|")
            .term("largest |w / scale(x)|", &largest)
            .value(&kernel.scales),
        Why::new("Wi", "round(w / scale(x) * accumulator)"),
    ];
    Ok(kernel)
}

/// §5.3: integers of a limited mantissa on the grid of each filter's accumulator.
pub fn coarse(
    call: &Call,
    what: &str,
    reals: impl Iterator<Item = f64>,
    scales: &[f64],
    signed: bool,
) -> Result<Vec<i32>, OpError> {
    reals
        .zip(scales)
        .map(|(real, &scale)| {
            round::coarse(real, scale, signed).ok_or_else(|| {
                call.unsupported(format!(
                    "{what} {real}: on a grid of {scale} per unit it does not fit 32 bits"
                ))
            })
        })
        .collect()
}

/// Multiplier and divisor that bring an accumulator to its output grid, and the scale of that.
pub struct Rescaling {
    pub multipliers: Vec<u8>,
    pub divisors: Vec<f32>,
    /// One entry or one per channel.
    pub scales: Vec<f64>,
    pub why: Vec<Why>,
}

/// Integers per real of what is rescaled, and in which type the reference computes with them.
#[derive(Clone, Copy)]
pub enum Accumulator<'a> {
    /// Of the accumulators of filters, or of all of them.
    Filters(&'a [f64]),
    /// Of the entries of a table.
    Table(f32),
}

impl Accumulator<'_> {
    fn len(&self) -> usize {
        match self {
            Accumulator::Filters(scales) => scales.len(),
            Accumulator::Table(_) => 1,
        }
    }

    fn at(&self, i: usize) -> Option<f64> {
        match self {
            Accumulator::Filters(scales) => per_index(scales, i),
            Accumulator::Table(scale) => Some(f64::from(*scale)),
        }
    }

    /// Multiplier and exponent for a `numerator`, which is an f32 number, over the scale at `i`.
    fn fixed(&self, call: &Call, numerator: f64, i: usize, shift6: bool) -> Result<round::Fixed, OpError> {
        match self {
            // Exact: see above.
            Accumulator::Table(scale) => fixed(call, numerator as f32 / scale, shift6),
            // One entry, or as many as there are channels.
            Accumulator::Filters(scales) => {
                fixed(call, numerator / per_index(scales, i).unwrap_or(1.0), shift6)
            }
        }
    }
}

/// §5.5: how accumulators of the given scales become int8. Entries as many as there are scales or entries of
/// the range.
pub fn rescaling(layer: &LayerCall, from: Accumulator) -> Result<Rescaling, OpError> {
    let largest = layer.largest()?;
    let entries = largest.len().max(from.len());
    if [largest.len(), from.len()].iter().any(|&len| len != 1 && len != entries) {
        let found = largest.len();
        return Err(layer
            .call
            .unsupported(format!("a range of {found} entries for {} channels", from.len())));
    }
    let scales: Vec<f64> = if layer.feeds_add {
        largest.iter().map(|&largest| shift_only_scale(&layer.call, largest)).collect::<Result<_, _>>()?
    } else {
        largest.iter().map(|&largest| f64::from(127.0 / largest.max(1e-7))).collect()
    };
    let mut rescaling = Rescaling { multipliers: Vec::new(), divisors: Vec::new(), scales, why: Vec::new() };
    for f in 0..entries {
        // One entry or as many as there are channels.
        let to = per_index(&rescaling.scales, f).unwrap_or(1.0);
        let (multiplier, divisor) = if layer.feeds_add {
            let fixed = from.fixed(&layer.call, 1.0, f, false)?;
            (fixed.mantissa, shift_only_divisor(&layer.call, round::power_of_two(fixed.frac), to)?)
        } else {
            let fixed = from.fixed(&layer.call, to, f, true)?;
            (fixed.mantissa, round::power_of_two(fixed.frac) as f32)
        };
        // An unsigned mantissa of 8 bits.
        rescaling.multipliers.push(multiplier as u8);
        rescaling.divisors.push(divisor);
    }
    let (multiplier, divisor) = if layer.feeds_add {
        ("round(2^k / accumulator), k such that it has 8 bits", "2^k / scale")
    } else {
        ("round(S_out * scale / accumulator)", "the power of two with which M has 8 bits")
    };
    let accumulator: Vec<f64> = (0..from.len()).filter_map(|i| from.at(i)).collect();
    rescaling.why = vec![
        scale_why(layer, &largest, &rescaling.scales),
        Why::new("S_out", divisor).value(&rescaling.divisors),
        Why::new("M", multiplier)
            .term("scale", &rescaling.scales)
            .term("accumulator", &accumulator)
            .term("S_out", &rescaling.divisors)
            .value(&rescaling.multipliers),
    ];
    Ok(rescaling)
}

/// How a bias became integers.
pub fn bias_why(reals: &[f64], integers: &[i32], zero_points: bool) -> Why {
    let formula = if zero_points {
        "round(b * accumulator) to 7 bits, b less the zero points times the kernel"
    } else {
        "round(b * accumulator) to 7 bits"
    };
    Why::new("B", formula).term("b", reals).value(integers)
}

/// How the scale of a result of 8 bits follows from its range.
pub fn scale_why(layer: &LayerCall, largest: &[f32], scales: &[f64]) -> Why {
    let formula = if layer.feeds_add {
        "the largest power of two below 128 / largest, at most 128, as an addition reads the result"
    } else {
        "127 / largest"
    };
    Why::new("scale", formula).term("largest", largest).value(scales)
}

/// The parameters of an activation by a table.
pub struct Table {
    pub multipliers: Vec<u8>,
    pub divisors: Vec<f32>,
    pub entries: Vec<i32>,
    /// Integers per real of the entries.
    pub scale: f32,
    pub why: Vec<Why>,
}

/// §5.4: the table of `function` for accumulators of the given scales, `largest` being the largest magnitude
/// that it is to be read at.
pub fn table(
    call: &Call,
    accumulator: &[f64],
    largest: f32,
    function: impl Fn(f32) -> f32,
) -> Result<Table, OpError> {
    let inputs = f64::from(1023.0 / largest.max(1e-7));
    let fixed: Vec<round::Fixed> =
        accumulator.iter().map(|from| fixed(call, inputs / from, true)).collect::<Result<_, _>>()?;
    let values: Vec<f32> = round::table_inputs(inputs).map(function).collect();
    let (entries, scale) = round::table_entries(&values)
        .ok_or_else(|| call.unsupported(format!("an activation that is not finite up to {largest}")))?;
    // Unsigned mantissas of 8 bits.
    let multipliers: Vec<u8> = fixed.iter().map(|fixed| fixed.mantissa as u8).collect();
    let divisors: Vec<f32> = fixed.iter().map(|fixed| round::power_of_two(fixed.frac) as f32).collect();
    let why = vec![
        Why::new("index", "1023 / largest").term("largest", &[largest]).value(&[inputs]),
        Why::new("S_act", "the power of two with which M_act has 8 bits").value(&divisors),
        Why::new("M_act", "round(S_act * index / accumulator)")
            .term("index", &[inputs])
            .term("accumulator", accumulator)
            .term("S_act", &divisors)
            .value(&multipliers),
        Why::new("entry", "8191 / largest |y|, y being the activation of i / index for every index i")
            .value(&[scale]),
        Why::new("LUT", "round(y * entry)"),
    ];
    Ok(Table { multipliers, divisors, entries, scale, why })
}

fn fixed<T: LogRounded>(call: &Call, value: T, shift6: bool) -> Result<round::Fixed, OpError> {
    let format = FixedFormat { bits: 8, signed: false, clamp: false, shift6 };
    round::fixed(value, format).ok_or_else(|| call.unsupported("a scale that is not finite"))
}

/// §5.5, the scale of a result that an addition reads: the power of two of the largest magnitude.
pub fn shift_only_scale(call: &Call, largest: f32) -> Result<f64, OpError> {
    let format = FixedFormat { bits: 8, signed: true, clamp: true, shift6: true };
    let fixed =
        round::fixed(largest, format).ok_or_else(|| call.unsupported("a range that is not finite"))?;
    Ok(round::power_of_two(fixed.frac))
}

/// §5.5, the divisor from one power-of-two scale to another.
///
/// # Errors
/// The target is 2^8 times as fine or finer: 8 bits would saturate.
pub fn shift_only_divisor(call: &Call, from: f64, to: f64) -> Result<f32, OpError> {
    if to / from < 256.0 {
        // A quotient of powers of two within f32, or an infinity that the caller's file cannot hold.
        let divisor = (from / to) as f32;
        if divisor.is_finite() && divisor > 0.0 {
            return Ok(divisor);
        }
    }
    Err(call.unsupported(format!("rescaling by {} for an addition, which would saturate", to / from)))
}

/// A new constant operand. `sizes` hold as many elements as there are; where they did not the
/// operand would be absent, which the layer's `infer` refuses.
pub fn constant<T: Element>(suffix: &'static str, sizes: &[usize], elements: Vec<T>) -> LayerOperand {
    Tensor::new(sizes, elements)
        .map_or(LayerOperand::Absent, |tensor| LayerOperand::Constant { suffix: suffix.into(), tensor })
}
