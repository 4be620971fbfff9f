//! Transposed convolution: one convolution for each phase of the output.
//!
//! Along an axis of stride `s`, the outputs `o` of one remainder modulo `s` all have the same taps: every
//! `s / gcd(s, d)`th one for dilation `d`. Tap by tap, in the order of the sum, they read inputs that
//! lie `d / gcd(s, d)` apart, towards the front. So a phase is a convolution of stride 1 of the reversed
//! input, whose outputs come in reverse.

use super::geometry::{TransposeAxis, TransposePlan};
use super::isa::Isa;
use super::{
    Accumulator, Byte, Conv2d, ConvTranspose2d, Error, Float, buffer, check_length, check_optional, conv,
};

/// Float transposed convolution `[batch, filters, oh, ow]`, in the one summation order.
///
/// The taps of an output are those that the strides bring to it; of these, the ones that read past the
/// input take part as `+0`.
pub fn conv_transpose2d<T: Float>(
    conv: &ConvTranspose2d,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    conv_transpose2d_on(Isa::best(), conv, input, weights, bias)
}

pub(super) fn conv_transpose2d_on<T: Float>(
    isa: Isa,
    conv: &ConvTranspose2d,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    check_optional("bias", conv.filters, bias)?;
    let without_taps =
        |filter: usize| bias.map_or(T::default(), |bias| T::default() + bias[filter]).canonical();
    by_phases(conv, input, weights, without_taps, |phase, input, weights| {
        conv::conv2d_on(isa, phase, input, weights, bias)
    })
}

/// Integer transposed convolution `[batch, filters, oh, ow]`.
pub fn conv_transpose2d_integer<A: Byte, S: Accumulator>(
    conv: &ConvTranspose2d,
    input: &[A],
    weights: &[i8],
    bias: Option<&[S]>,
) -> Result<Vec<S>, Error> {
    conv_transpose2d_integer_on(Isa::best(), conv, input, weights, bias)
}

pub(super) fn conv_transpose2d_integer_on<A: Byte, S: Accumulator>(
    isa: Isa,
    conv: &ConvTranspose2d,
    input: &[A],
    weights: &[i8],
    bias: Option<&[S]>,
) -> Result<Vec<S>, Error> {
    check_optional("bias", conv.filters, bias)?;
    let without_taps = |filter: usize| bias.map_or(S::default(), |bias| bias[filter]);
    by_phases(conv, input, weights, without_taps, |phase, input, weights| {
        conv::conv2d_integer_on(isa, phase, input, weights, bias, None)
    })
}

/// The outputs of one remainder along an axis.
struct Phase {
    /// The first one; the others follow at the stride.
    first: usize,
    count: usize,
    /// The taps of all of them: the first one, how far apart, how many.
    tap: usize,
    tap_step: usize,
    taps: usize,
    /// As a convolution of the reversed input: of its outputs, as many come before the last one here.
    pads: [usize; 2],
    dilation: usize,
    skipped: usize,
}

impl Phase {
    fn new(axis: &TransposeAxis, first: usize) -> Self {
        let count = (axis.out - first).div_ceil(axis.stride);
        let common = gcd(axis.stride, axis.dilation);
        let (tap_step, dilation) = (axis.stride / common, axis.dilation / common);
        let at = first + axis.cut;
        let tap =
            (0..axis.kernel.min(tap_step)).find(|t| at % axis.stride == t * axis.dilation % axis.stride);
        let Some(tap) = tap else {
            return Self { first, count, tap: 0, tap_step, taps: 0, pads: [0; 2], dilation, skipped: 0 };
        };
        let taps = (axis.kernel - 1 - tap) / tap_step + 1;
        // Output `m` of the phase reads input `front + m - t * dilation` with its tap `t`; reversed, the
        // last output begins at `start` and the first one ends before `end`. The plan has seen to it
        // that these fit.
        let front = (at as isize - (tap * axis.dilation) as isize) / axis.stride as isize;
        let start = axis.size as isize - count as isize - front;
        let end = start + (count + (taps - 1) * dilation) as isize;
        let past = |distance: isize| distance.max(0).unsigned_abs();
        let pads = [past(-start), past(end - axis.size as isize)];
        Self { first, count, tap, tap_step, taps, pads, dilation, skipped: past(start) }
    }

    fn all(axis: &TransposeAxis) -> Vec<Self> {
        (0..axis.stride.min(axis.out)).map(|first| Self::new(axis, first)).collect()
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Computes each phase with `convolve`, given its geometry, the reversed input and the weights of its
/// taps, and puts its outputs where they belong; `without_taps` is an output that nothing reaches.
fn by_phases<A: Copy + Default, W: Copy + Default, S: Copy + Default>(
    conv: &ConvTranspose2d,
    input: &[A],
    weights: &[W],
    without_taps: impl Fn(usize) -> S,
    convolve: impl Fn(&Conv2d, &[A], &[W]) -> Result<Vec<S>, Error>,
) -> Result<Vec<S>, Error> {
    let plan = conv.plan()?;
    check_length("input", plan.input, input.len())?;
    check_length("weights", plan.weights, weights.len())?;
    let mut output = buffer(plan.output)?;
    let [rows, columns] = plan.axes;
    let plane = rows.out * columns.out;
    if output.is_empty() {
        return Ok(output);
    }
    for (index, plane) in output.chunks_exact_mut(plane).enumerate() {
        plane.fill(without_taps(index % conv.filters));
    }
    if weights.is_empty() {
        return Ok(output);
    }
    let mut reversed = buffer(input.len())?;
    let planes = reversed.chunks_exact_mut(rows.size * columns.size);
    for (to, from) in planes.zip(input.chunks_exact(rows.size * columns.size)) {
        to.iter_mut().zip(from.iter().rev()).for_each(|(to, &from)| *to = from);
    }
    let across = Phase::all(&columns);
    for down in Phase::all(&rows).iter().filter(|down| down.taps > 0) {
        for across in across.iter().filter(|across| across.taps > 0) {
            let phase = Conv2d {
                batch: conv.batch,
                channels: conv.channels,
                height: conv.height,
                width: conv.width,
                filters: conv.filters,
                kernel: [down.taps, across.taps],
                strides: [1, 1],
                dilations: [down.dilation, across.dilation],
                pads: [down.pads[0], across.pads[0], down.pads[1], across.pads[1]],
                group: conv.group,
            };
            let taken = phase_weights(conv, &plan, down, across, weights)?;
            let sums = convolve(&phase, &reversed, &taken)?;
            // The plan of the convolution gave the length of `sums`.
            let Some([height, width]) = phase.out_size() else { return Err(Error::Geometry) };
            for (sums, output) in sums.chunks_exact(height * width).zip(output.chunks_exact_mut(plane)) {
                for m in 0..down.count {
                    let sums = &sums[(down.skipped + down.count - 1 - m) * width + across.skipped..];
                    let row = &mut output[(down.first + m * rows.stride) * columns.out + across.first..];
                    let row = row[..columns.out - across.first].iter_mut().step_by(columns.stride);
                    row.zip(sums[..across.count].iter().rev()).for_each(|(out, &sum)| *out = sum);
                }
            }
        }
    }
    Ok(output)
}

/// The weights of the taps of a phase, laid out as those of a convolution.
fn phase_weights<W: Copy + Default>(
    conv: &ConvTranspose2d,
    plan: &TransposePlan,
    down: &Phase,
    across: &Phase,
    weights: &[W],
) -> Result<Vec<W>, Error> {
    let mut taken = buffer(conv.filters * plan.group_channels * down.taps * across.taps)?;
    let kernels = taken.chunks_exact_mut(down.taps * across.taps);
    for (index, to) in kernels.enumerate() {
        let (filter, channel) = (index / plan.group_channels, index % plan.group_channels);
        let channel = filter / plan.group_filters * plan.group_channels + channel;
        let from = (channel * plan.group_filters + filter % plan.group_filters) * plan.taps;
        for (t, to) in to.iter_mut().enumerate() {
            let row = down.tap + t / across.taps * down.tap_step;
            let column = across.tap + t % across.taps * across.tap_step;
            *to = weights[from + row * conv.kernel[1] + column];
        }
    }
    Ok(taken)
}
