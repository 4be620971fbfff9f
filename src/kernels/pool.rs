//! Pooling, a row of outputs at a time.

use std::ops::Range;

use super::geometry::{Axis, PoolPlan, product};
use super::team;
use super::{Error, Float, Ordered, Pool2d, buffer, check_length};

/// The maximum of every window.
///
/// The first element of the window that is not padding is replaced by each later one that compares
/// greater, in row-major order; so a NaN stays if it comes first and is passed over if not. A window
/// of padding only gives [`Ordered::LEAST`].
pub fn max_pool<T: Ordered>(pool: &Pool2d, input: &[T]) -> Result<Vec<T>, Error> {
    let plan = pool.plan()?;
    check_length("input", plan.input, input.len())?;
    if plan.output == 0 {
        return buffer(0);
    }
    let taps = taps(&plan);
    let [rows, columns] = plan.axes;
    for_each_row(&plan, input, |y, input, output| {
        output.fill(T::LEAST);
        for (i, ky) in rows.inside(y).enumerate() {
            let row = input_row(&plan, input, y, ky);
            let mut seen = columns.out;
            for (kx, outputs) in &taps {
                // In the first row of the window, outputs before those of the last tap have seen
                // no element yet: each tap reaches further to the left, and less far to the right.
                let first = if i == 0 { outputs.start..seen.min(outputs.end) } else { 0..0 };
                let later = first.end.max(outputs.start)..outputs.end;
                seen = outputs.start;
                each(columns, row, *kx, first, output, |best, value| *best = value);
                each(columns, row, *kx, later, output, |best, value| {
                    *best = if value > *best { value } else { *best };
                });
            }
        }
    })
}

/// The mean of every window: the sum in row-major order from `+0`, then one division by the number
/// of positions: those of the input, and with `count_include_pad` those of the padding too, but
/// never those past the padding that `ceil_mode` can reach. A window of padding only gives `+0`.
pub fn avg_pool<T: Float>(pool: &Pool2d, count_include_pad: bool, input: &[T]) -> Result<Vec<T>, Error> {
    let plan = pool.plan()?;
    check_length("input", plan.input, input.len())?;
    if plan.output == 0 {
        return buffer(0);
    }
    let taps = taps(&plan);
    let [rows, columns] = plan.axes;
    let count = |axis: Axis, o| if count_include_pad { axis.within_padding(o) } else { axis.inside(o).len() };
    let counts: Vec<_> =
        (0..columns.out).map(|x| if columns.inside(x).is_empty() { 0 } else { count(columns, x) }).collect();
    for_each_row(&plan, input, |y, input, output| {
        let inside = rows.inside(y);
        if inside.is_empty() {
            return;
        }
        for ky in inside {
            let row = input_row(&plan, input, y, ky);
            for (kx, outputs) in &taps {
                each(columns, row, *kx, outputs.clone(), output, |sum, value| *sum = *sum + value);
            }
        }
        let row_count = count(rows, y);
        for (out, &count) in output.iter_mut().zip(&counts) {
            *out = if count == 0 { T::default() } else { T::mean(*out, row_count * count).canonical() };
        }
    })
}

/// The mean of each of `planes` runs of `size` elements: the sum in order from `+0`, then one
/// division. `size` must not be 0.
pub fn global_average<T: Float>(planes: usize, size: usize, input: &[T]) -> Result<Vec<T>, Error> {
    if size == 0 {
        return Err(Error::Geometry);
    }
    check_length("input", product(&[planes, size]).ok_or(Error::Geometry)?, input.len())?;
    // An addition waits for the one before it, so several sums run side by side.
    const TOGETHER: usize = 8;
    let mut output = buffer(planes)?;
    let average = |output: &mut [T], input: &[T]| {
        if let Ok(output) = <&mut [T; TOGETHER]>::try_from(&mut *output) {
            let runs: [&[T]; TOGETHER] = std::array::from_fn(|i| &input[i * size..(i + 1) * size]);
            let sums = (0..size).fold([T::default(); TOGETHER], |sums, i| {
                std::array::from_fn(|run| sums[run] + runs[run][i])
            });
            *output = sums.map(|sum| T::mean(sum, size).canonical());
        } else {
            for (out, run) in output.iter_mut().zip(input.chunks_exact(size)) {
                let sum = run.iter().fold(T::default(), |sum, &value| sum + value);
                *out = T::mean(sum, size).canonical();
            }
        }
    };
    let min_length = PARALLEL_ELEMENTS.div_ceil(size.saturating_mul(TOGETHER));
    team::for_each_chunk(&mut output, TOGETHER, min_length, |at, output| {
        average(output, &input[at * TOGETHER * size..]);
    });
    Ok(output)
}

/// Fewer elements are not worth handing to another thread.
const PARALLEL_ELEMENTS: usize = 1 << 15;

/// The taps of a row of the window that lie inside the input for some output, ascending, each with
/// these outputs. Windows may be far larger than the input: only such taps are gone through.
fn taps(plan: &PoolPlan) -> Vec<(usize, Range<usize>)> {
    let columns = plan.axes[1];
    let Axis { size, kernel, stride, dilation, pads: [before, _], out } = columns;
    let inside: Vec<usize> = if kernel <= size + out {
        (0..kernel).collect()
    } else {
        let mut inside: Vec<usize> = (0..out).flat_map(|x| columns.inside(x)).collect();
        inside.sort_unstable();
        inside.dedup();
        inside
    };
    let taps = inside.into_iter().map(|kx| {
        let start = before.saturating_sub(kx * dilation).div_ceil(stride);
        let end = (size + before).saturating_sub(kx * dilation).div_ceil(stride).min(out);
        (kx, start.min(end)..end)
    });
    taps.filter(|(_, outputs)| !outputs.is_empty()).collect()
}

/// Computes the output, `row(y, plane, out)` filling row `y` of an output plane.
fn for_each_row<T: Copy + Default + Send + Sync>(
    plan: &PoolPlan,
    input: &[T],
    row: impl Fn(usize, &[T], &mut [T]) + Sync,
) -> Result<Vec<T>, Error> {
    let [rows, columns] = plan.axes;
    let output_plane = rows.out * columns.out;
    let mut output = buffer(plan.output)?;
    let together = PARALLEL_ELEMENTS.div_ceil(output_plane.max(plan.input_plane));
    team::for_each_chunk(&mut output, output_plane, together, |plane, output| {
        let input = &input[plane * plan.input_plane..][..plan.input_plane];
        output.chunks_exact_mut(columns.out).enumerate().for_each(|(y, output)| row(y, input, output));
    });
    Ok(output)
}

/// The row of an input plane that tap row `ky`, inside for output row `y`, reads.
fn input_row<'a, T>(plan: &PoolPlan, input: &'a [T], y: usize, ky: usize) -> &'a [T] {
    let [rows, columns] = plan.axes;
    let at = y * rows.stride + ky * rows.dilation - rows.pads[0];
    &input[at * columns.size..][..columns.size]
}

/// Calls `step` for each of `outputs` with the element that it reads from `row` at tap `kx`.
#[inline(always)]
fn each<T: Copy>(
    columns: Axis,
    row: &[T],
    kx: usize,
    outputs: Range<usize>,
    output: &mut [T],
    step: impl Fn(&mut T, T),
) {
    if outputs.is_empty() {
        return;
    }
    let from = &row[outputs.start * columns.stride + kx * columns.dilation - columns.pads[0]..];
    let output = &mut output[outputs];
    if columns.stride == 1 {
        output.iter_mut().zip(from).for_each(|(out, &value)| step(out, value));
    } else {
        output.iter_mut().zip(from.iter().step_by(columns.stride)).for_each(|(out, &value)| step(out, value));
    }
}
