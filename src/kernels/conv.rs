//! Convolution: laying out the input so that it is one blocked product.

use super::geometry::ConvPlan;
use super::isa::Isa;
use super::lattice::Lattice;
use super::product::{Grid, Product, slack};
use super::rows::{Pairs, Plain};
use super::simd::{Cell, pair};
use super::team;
use super::{Accumulator, Byte, Conv2d, Error, Float, buffer, check_length, check_optional, reference};

/// Float convolution `[batch, filters, oh, ow]`, in the one summation order.
pub fn conv2d<T: Float>(
    conv: &Conv2d,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    conv2d_on(Isa::best(), conv, input, weights, bias)
}

pub(super) fn conv2d_on<T: Float>(
    isa: Isa,
    conv: &Conv2d,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    let plan = conv.plan()?;
    check_length("input", plan.input, input.len())?;
    check_length("weights", plan.weights, weights.len())?;
    check_optional("bias", plan.bias, bias)?;
    if plan.output == 0 || plan.weights == 0 {
        return reference::conv2d(conv, input, weights, bias);
    }
    let mut output = buffer(plan.output)?;
    let put = |_, sums: &[T], out: &mut [T]| out.copy_from_slice(sums);
    let mut product = Product {
        weights: Plain { weights, length: plan.group_channels * plan.taps },
        groups: plan.group,
        rows: plan.group_filters,
        bias,
        cells: input,
        panels: conv.batch * plan.group,
        panel_cells: plan.group_channels * plan.input_plane,
        offsets: &[],
        grid: Grid { rows: 1, columns: plan.output_plane, pitch: plan.output_plane },
    };
    let is_plain = plan.taps == 1 && conv.strides == [1, 1] && conv.pads == [0; 4];
    if is_plain && input.len() >= product.panel_cells + slack::<T>(isa) {
        // Pixels are cells as they stand.
        let offsets: Vec<_> = (0..plan.group_channels).map(|c| c * plan.input_plane).collect();
        product.offsets = &offsets;
        product.compute(isa, put, &mut output);
        return Ok(output);
    }
    let Some(lattice) = Lattice::new(plan.axes, conv.channels, reasonable_cells(&plan)) else {
        return reference::conv2d(conv, input, weights, bias);
    };
    let fill = |image: usize, plane: usize, from: usize, stride: usize, run: &mut [T]| {
        let plane = &input[(image * conv.channels + plane) * plan.input_plane..][from..plan.input_plane];
        if stride == 1 {
            run.copy_from_slice(&plane[..run.len()]);
        } else {
            run.iter_mut().zip(plane.iter().step_by(stride)).for_each(|(cell, &value)| *cell = value);
        }
    };
    let offsets = lattice.offsets(plan.group_channels);
    product.offsets = &offsets;
    product.panel_cells = plan.group_channels * lattice.plane;
    product.grid = lattice.grid();
    in_blocks(isa, conv, &plan, &lattice, conv.channels, fill, &mut output, |images, cells, output| {
        let product = Product { cells, panels: images * plan.group, ..product };
        product.compute(isa, put, output);
    })?;
    Ok(output)
}

/// Integer convolution `[batch, filters, oh, ow]`.
///
/// A position in the padding reads `pad_value[channel]` (0 without), which need not be a value of
/// `A`.
pub fn conv2d_integer<A: Byte, S: Accumulator>(
    conv: &Conv2d,
    input: &[A],
    weights: &[i8],
    bias: Option<&[S]>,
    pad_value: Option<&[i32]>,
) -> Result<Vec<S>, Error> {
    conv2d_integer_on(Isa::best(), conv, input, weights, bias, pad_value)
}

pub(super) fn conv2d_integer_on<A: Byte, S: Accumulator>(
    isa: Isa,
    conv: &Conv2d,
    input: &[A],
    weights: &[i8],
    bias: Option<&[S]>,
    pad_value: Option<&[i32]>,
) -> Result<Vec<S>, Error> {
    let plan = conv.plan()?;
    check_length("input", plan.input, input.len())?;
    check_length("weights", plan.weights, weights.len())?;
    check_optional("bias", plan.bias, bias)?;
    check_optional("pad value", conv.channels, pad_value)?;
    let plain = || reference::conv2d_integer(conv, input, weights, bias, pad_value);
    if plan.output == 0 || plan.weights == 0 || plan.taps > S::TERMS / 2 {
        return plain();
    }
    let group_pairs = plan.group_channels.div_ceil(2);
    let Some(planes) = group_pairs.checked_mul(plan.group) else { return plain() };
    let Some(lattice) = Lattice::new(plan.axes, planes, reasonable_cells(&plan)) else { return plain() };
    let mut output = buffer(plan.output)?;
    let fill = |image: usize, plane: usize, from: usize, stride: usize, run: &mut [i32]| {
        let (group, channel) = (plane / group_pairs, plane % group_pairs * 2);
        let plane = |channel| {
            let plane = (image * plan.group + group) * plan.group_channels + channel;
            input[plane * plan.input_plane..][from..plan.input_plane].iter().step_by(stride)
        };
        if channel + 1 < plan.group_channels {
            let both = plane(channel).zip(plane(channel + 1));
            run.iter_mut().zip(both).for_each(|(cell, (&a, &b))| *cell = pair(a.into(), b.into()));
        } else {
            run.iter_mut().zip(plane(channel)).for_each(|(cell, &a)| *cell = pair(a.into(), 0));
        }
    };
    let offsets = lattice.offsets(group_pairs);
    // As many channels at a time as a 32-bit sum of products surely holds.
    let pairs_each = (S::TERMS / 2 / plan.taps).min(group_pairs);
    in_blocks(isa, conv, &plan, &lattice, planes, fill, &mut output, |images, cells, output| {
        for first in (0..group_pairs).step_by(pairs_each) {
            let pairs = first..(first + pairs_each).min(group_pairs);
            let product = Product {
                weights: Pairs {
                    weights,
                    channels: plan.group_channels,
                    taps: plan.taps,
                    taking_part: pairs.start * 2..(pairs.end * 2).min(plan.group_channels),
                },
                groups: plan.group,
                rows: plan.group_filters,
                bias: None,
                cells,
                panels: images * plan.group,
                panel_cells: group_pairs * lattice.plane,
                offsets: &offsets[pairs.start * plan.taps..pairs.end * plan.taps],
                grid: lattice.grid(),
            };
            let put = |filter: usize, sums: &[i32], out: &mut [S]| {
                accumulate(bias.map(|bias| bias[filter]), first == 0, sums, out);
            };
            product.compute(isa, put, output);
        }
    })?;
    if let Some(pad_value) = pad_value {
        add_padding(conv, &plan, weights, pad_value, &mut output);
    }
    Ok(output)
}

/// Lays out and convolves as many images at a time as fit in a few megabytes.
#[expect(clippy::too_many_arguments)]
fn in_blocks<E: Cell, O>(
    isa: Isa,
    conv: &Conv2d,
    plan: &ConvPlan,
    lattice: &Lattice,
    planes: usize,
    fill: impl Fn(usize, usize, usize, usize, &mut [E]) + Sync,
    output: &mut [O],
    mut convolve: impl FnMut(usize, &[E], &mut [O]),
) -> Result<(), Error> {
    const CELLS: usize = 1 << 20;
    let image_cells = planes * lattice.plane;
    let image_outputs = conv.filters * plan.output_plane;
    let images_each = (CELLS / image_cells).clamp(1, conv.batch);
    let mut cells = buffer(images_each * image_cells + slack::<E>(isa))?;
    for (block, output) in output.chunks_mut(images_each * image_outputs).enumerate() {
        let images = output.len() / image_outputs;
        lattice.fill(&mut cells[..images * image_cells], |plane, from, stride, run| {
            fill(block * images_each + plane / planes, plane % planes, from, stride, run);
        });
        convolve(images, &cells, output);
    }
    Ok(())
}

/// How many cells one image may be laid out in: in proportion to what the caller holds already.
fn reasonable_cells(plan: &ConvPlan) -> usize {
    (plan.input + plan.output).saturating_add(plan.weights).saturating_mul(16)
}

/// Adds sums to what earlier channels gave, or to the bias.
pub(super) fn accumulate<S: Accumulator>(bias: Option<S>, is_first: bool, sums: &[i32], out: &mut [S]) {
    if is_first {
        out.fill(bias.unwrap_or_default());
    }
    out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = out.plus(S::wrap(sum.into())));
}

/// Adds what the padding contributes to an output computed with padding of zero. Every channel of
/// a padding position is in the padding, so one sum over the channels for each tap will do.
fn add_padding<S: Accumulator>(
    conv: &Conv2d,
    plan: &ConvPlan,
    weights: &[i8],
    pad_value: &[i32],
    output: &mut [S],
) {
    let [rows, columns] = plan.axes;
    let row = plan.group_channels * plan.taps;
    let mut tap_sums = vec![S::default(); plan.bias * plan.taps];
    for (filter, (sums, weights)) in
        tap_sums.chunks_exact_mut(plan.taps).zip(weights.chunks_exact(row)).enumerate()
    {
        let first = filter / plan.group_filters * plan.group_channels;
        for (weights, &value) in weights.chunks_exact(plan.taps).zip(&pad_value[first..]) {
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = sum.plus(S::wrap(i64::from(value) * i64::from(weight)));
            }
        }
    }
    let at_sides: Vec<_> = (0..columns.out)
        .map(|x| (x, columns.inside(x)))
        .filter(|(_, inside)| inside.len() < columns.kernel)
        .collect();
    let everywhere: Vec<_> = (0..columns.out).map(|x| (x, columns.inside(x))).collect();
    team::for_each_chunk(output, plan.output_plane, 1, |plane, output| {
        let taps = &tap_sums[plane % conv.filters * plan.taps..][..plan.taps];
        for (y, output) in output.chunks_exact_mut(columns.out).enumerate() {
            let inside_rows = rows.inside(y);
            let border = if inside_rows.len() < rows.kernel { &everywhere } else { &at_sides };
            for (x, inside_columns) in border {
                for (ky, taps) in taps.chunks_exact(columns.kernel).enumerate() {
                    for (kx, &sum) in taps.iter().enumerate() {
                        if !(inside_rows.contains(&ky) && inside_columns.contains(&kx)) {
                            output[*x] = output[*x].plus(sum);
                        }
                    }
                }
            }
        }
    });
}
