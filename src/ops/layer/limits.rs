//! What of a layer the device's tools do not take (hardware-ops §8), as observed of `cnn2snn` and `akida` 2.19.3.
//!
//! Every layer says for itself where it is beyond what its counterpart there can be; here are the words for it,
//! and what several layers share.

use thiserror::Error;

use super::op_type::Pool;
use crate::diag::Report;

/// Rows and columns, printed as `3x3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub [usize; 2]);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.0[0], self.0[1])
    }
}

/// A limit of the device that a layer breaks.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Limit {
    #[error("its {what} is {found}, the device has square ones")]
    Square { what: &'static str, found: Size },
    #[error("its kernel is {found}, sizes on the device are odd")]
    EvenKernel { found: Size },
    #[error(
        "it strides by {stride} with a kernel of {kernel}, the device by 1, or by 2 with kernels of {kernels}"
    )]
    Stride { stride: usize, kernel: Size, kernels: &'static str },
    #[error(
        "its pads are {found:?}; for its kernel of {kernel}, stride {stride} and map of {map} the device has {allowed}"
    )]
    Pads { found: [usize; 4], kernel: Size, stride: usize, map: Size, allowed: String },
    #[error(
        "its pool_pads are {found:?}; for its window of {window}, stride {stride} and map of {map} the device has {expected:?}"
    )]
    PoolPads { found: [usize; 4], window: Size, stride: usize, map: Size, expected: [usize; 4] },
    #[error(
        "its MaxPool is behind a convolution with pads {found:?}, the device pools behind pads {expected:?} alone"
    )]
    PoolBehindPads { found: [usize; 4], expected: [usize; 4] },
    #[error("its pool strides by {stride}, further than its window of {window}")]
    PoolStride { stride: usize, window: Size },
    #[error("it reads {found} channels of uint8, the device's first convolution reads 1 or 3")]
    InputChannels { found: usize },
    #[error("its GlobalAvgPool is in the first convolution, which has none on the device")]
    InputPool,
    #[error("it pads channel {channel} with {value}, on the device pads are from 0 to 255")]
    PaddingValue { channel: usize, value: i32 },
    #[error("its strides are {found}, those of transposed convolutions on the device are 2x2")]
    TransposeStride { found: Size },
    #[error("its pads are {found:?}; for its kernel of {kernel} the device has {expected:?}")]
    TransposePads { found: [usize; 4], kernel: Size, expected: [usize; 4] },
    #[error("it sees {found} frames, layers of the device 2 to 10")]
    Frames { found: usize },
    #[error("it permutes axes by {found:?}, the device at most moves the last axis to the channels")]
    Permutation { found: Vec<i64> },
    #[error("its input has {found} axes, on the device at most 4")]
    InputRank { found: usize },
    #[error("both its operands are `{operand}`, layers of the device join different values")]
    SameOperand { operand: String },
    #[error("the device's tools leave out its {}", .pool.name())]
    LeftOut { pool: Pool },
    #[error(
        "its bias of channel {channel} is {value}; the device's tools keep 8 bits with sign, shifted by at most {MOST_BIAS_SHIFT}"
    )]
    Bias { channel: usize, value: i32 },
    #[error("its ceiling of channel {channel} is {value}, of which the device's tools keep 8 bits")]
    Ceiling { channel: usize, value: i32 },
    #[error("it divides channel {channel} by {value:e}, the device's tools by 2^-31 to 2^31")]
    Divisor { channel: usize, value: f32 },
}

impl Report for Limit {
    fn code(&self) -> &'static str {
        match self {
            Limit::Square { .. } => "Q0640",
            Limit::EvenKernel { .. } => "Q0641",
            Limit::Stride { .. } => "Q0642",
            Limit::Pads { .. } => "Q0643",
            Limit::PoolPads { .. } => "Q0644",
            Limit::PoolBehindPads { .. } => "Q0645",
            Limit::PoolStride { .. } => "Q0646",
            Limit::InputChannels { .. } => "Q0647",
            Limit::InputPool => "Q0648",
            Limit::PaddingValue { .. } => "Q0649",
            Limit::TransposeStride { .. } => "Q0650",
            Limit::TransposePads { .. } => "Q0651",
            Limit::Frames { .. } => "Q0652",
            Limit::Permutation { .. } => "Q0653",
            Limit::InputRank { .. } => "Q0654",
            Limit::SameOperand { .. } => "Q0655",
            Limit::LeftOut { .. } => "Q0670",
            Limit::Bias { .. } => "Q0671",
            Limit::Ceiling { .. } => "Q0672",
            Limit::Divisor { .. } => "Q0673",
        }
    }

    fn hints(&self) -> Vec<String> {
        let way_out = match self {
            Limit::Square { what: "kernel", .. } => "extend the kernel by zeros, and the pads with it",
            Limit::Square { .. } => "stride or pool by as many rows as columns",
            Limit::EvenKernel { .. } => {
                "extend the kernel by a row and a column of zeros, and the pads with it"
            }
            Limit::Stride { stride: 2, .. } => {
                "stride by 1, with a 1x1 convolution of stride 2 behind that picks the positions"
            }
            Limit::Stride { .. } => "stride by 1 or 2",
            Limit::Pads { .. } => "pad like this, or extend the kernel by zeros until its pads are like this",
            Limit::PoolPads { .. } => "pad the pool like this, or pool by another window",
            Limit::PoolBehindPads { .. } => {
                "pad the convolution like this, or put a 1x1 convolution by the identity before the pool"
            }
            Limit::PoolStride { .. } => "stride by at most the size of the window",
            Limit::InputChannels { .. } | Limit::InputPool => {
                "quantize the input as int8 (--input-dtype int8), or let another convolution be the first"
            }
            Limit::PaddingValue { .. } => "pad with a value that the samples have, or not at all",
            Limit::TransposeStride { .. } => "upsample by 2",
            Limit::TransposePads { .. } => "pad like this",
            Limit::Frames { .. } => "convolve over 2 to 10 frames",
            Limit::Permutation { .. } => "give the input with its channels first or last",
            Limit::InputRank { .. } => "give the input as batch, channels, rows and columns",
            Limit::SameOperand { .. } => "put a 1x1 convolution by the identity before one of them",
            Limit::LeftOut { .. } => "put a 1x1 convolution by the identity before the pool",
            Limit::Bias { .. } => "bring the bias nearer to the weights in magnitude",
            Limit::Ceiling { .. } => "round the ceiling to 8 bits",
            Limit::Divisor { .. } => {
                "see whether the range of the result and the weights of that channel are right"
            }
        };
        vec![way_out.to_owned()]
    }
}

/// The largest shift of a bias that the simulator follows: one bit more, and it computes with another number.
const MOST_BIAS_SHIFT: u32 = 17;

/// The shift of a number that is an integer of so many bits besides its sign, shifted left.
fn shift_of(value: i32, bits: u32) -> u32 {
    // Of negative ones, two's complement has one more: -128 is of 7 bits.
    let magnitude = if value < 0 { !value } else { value };
    (i32::BITS - magnitude.leading_zeros()).saturating_sub(bits)
}

/// Whether bits are lost where only the first `bits` are kept.
fn is_finer_than(value: i32, bits: u32) -> bool {
    value.unsigned_abs().trailing_zeros() < shift_of(value, bits)
}

/// The first bias of a convolution that the simulator does not follow.
pub fn bias(bias: Option<&[i32]>) -> Option<Limit> {
    let lost = |value: i32| shift_of(value, 7) > MOST_BIAS_SHIFT || is_finer_than(value, 7);
    first(bias, lost, |channel, value| Limit::Bias { channel, value })
}

/// The first bias that loses bits, of a layer that follows those of any magnitude.
pub fn bias_of_any_shift(bias: Option<&[i32]>) -> Option<Limit> {
    first(bias, |value| is_finer_than(value, 7), |channel, value| Limit::Bias { channel, value })
}

/// The first ceiling of a clipped relu that loses bits.
pub fn ceiling(ceiling: Option<&[i32]>) -> Option<Limit> {
    first(ceiling, |value| is_finer_than(value, 8), |channel, value| Limit::Ceiling { channel, value })
}

/// The first divisor that the simulator does not divide by: below it takes another one, and above it ends itself.
pub fn divisor(divisors: Option<&[f32]>) -> Option<Limit> {
    let held = 2f32.powi(-31)..=2f32.powi(31);
    first(divisors, |value| !held.contains(&value), |channel, value| Limit::Divisor { channel, value })
}

fn first<T: Copy>(
    values: Option<&[T]>,
    broken: impl Fn(T) -> bool,
    limit: impl Fn(usize, T) -> Limit,
) -> Option<Limit> {
    let (channel, value) = values?.iter().copied().enumerate().find(|&(_, value)| broken(value))?;
    Some(limit(channel, value))
}

/// `Some` if the sizes differ.
pub fn square(what: &'static str, found: [usize; 2]) -> Option<Limit> {
    (found[0] != found[1]).then_some(Limit::Square { what, found: Size(found) })
}

/// `Some` if both names are one.
pub fn same_operand(names: &[String]) -> Option<Limit> {
    match names {
        [a, b, ..] if a == b => Some(Limit::SameOperand { operand: a.clone() }),
        _ => None,
    }
}

/// The pads (top, left, bottom, right) by which windows leave `ceil(size / stride)` of a map, an odd one at the end.
pub fn same_pads(map: [usize; 2], window: [usize; 2], stride: usize) -> [usize; 4] {
    let total = |axis: usize| {
        let over = match map[axis] % stride {
            0 => stride,
            over => over,
        };
        window[axis].saturating_sub(over)
    };
    let (rows, columns) = (total(0), total(1));
    [rows / 2, columns / 2, rows - rows / 2, columns - columns / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_keep_the_size_and_put_the_odd_one_at_the_end() {
        assert_eq!(same_pads([8, 9], [3, 3], 1), [1, 1, 1, 1]);
        assert_eq!(same_pads([8, 9], [3, 3], 2), [0, 1, 1, 1]);
        assert_eq!(same_pads([8, 9], [2, 2], 2), [0, 0, 0, 1]);
        assert_eq!(same_pads([224, 224], [7, 7], 2), [2, 2, 3, 3]);
        assert_eq!(same_pads([7, 7], [1, 1], 2), [0, 0, 0, 0]);
    }

    #[test]
    fn biases_have_8_bits_and_a_shift() {
        let broken = |value: i32| bias(Some(&[0, value])).is_some();
        for value in [0, 1, -1, 127, -128, 254, 127 << 17, -(64 << 18), (1 << 24) - (1 << 17)] {
            assert!(!broken(value), "{value}");
        }
        for value in [129, 255, 1 << 24, 66 << 18, i32::MIN, i32::MAX] {
            assert!(broken(value), "{value}");
        }
        assert_eq!(bias_of_any_shift(Some(&[66 << 18, -(1 << 30)])), None);
        assert_eq!(bias_of_any_shift(Some(&[66, 257])), Some(Limit::Bias { channel: 1, value: 257 }));
    }

    #[test]
    fn ceilings_have_8_bits_and_divisors_6() {
        assert_eq!(ceiling(Some(&[255 << 20, 256])), None);
        assert_eq!(ceiling(Some(&[257])), Some(Limit::Ceiling { channel: 0, value: 257 }));
        assert_eq!(divisor(Some(&[2f32.powi(31), 2f32.powi(-31)])), None);
        assert!(divisor(Some(&[1.0, 2f32.powi(32)])).is_some());
        assert!(divisor(Some(&[2f32.powi(-32)])).is_some());
    }
}
