//! Every kernel in its plainest form: the definition that the fast forms are held to.

use super::geometry::{Axis, TransposePlan, product};
use super::{
    Accumulator, Byte, Conv2d, ConvTranspose2d, Error, Float, Ordered, Pool2d, buffer, check_length,
    check_optional,
};

/// Float convolution `[batch, filters, oh, ow]`, in the one summation order.
pub fn conv2d<T: Float>(
    conv: &Conv2d,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    let plan = conv.plan()?;
    check_length("input", plan.input, input.len())?;
    check_length("weights", plan.weights, weights.len())?;
    check_optional("bias", plan.bias, bias)?;
    let mut output = buffer(plan.output)?;
    for_each_output(conv, plan.axes, &mut output, |filter, window, out: &mut T| {
        let mut acc = T::default();
        window.for_each(|k, _, position| {
            let value = position.map_or(T::default(), |at| input[at]);
            acc = T::fma(value, weights[k], acc);
        });
        *out = bias.map_or(acc, |bias| acc + bias[filter]).canonical();
    });
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
    let plan = conv.plan()?;
    check_length("input", plan.input, input.len())?;
    check_length("weights", plan.weights, weights.len())?;
    check_optional("bias", plan.bias, bias)?;
    check_optional("pad value", conv.channels, pad_value)?;
    let mut output = buffer(plan.output)?;
    for_each_output(conv, plan.axes, &mut output, |filter, window, out: &mut S| {
        let mut acc = bias.map_or(S::default(), |bias| bias[filter]);
        window.for_each(|k, channel, position| {
            let value = match position {
                Some(at) => i64::from(input[at].into()),
                None => pad_value.map_or(0, |pad| i64::from(pad[channel])),
            };
            acc = acc.plus(S::wrap(value * i64::from(weights[k])));
        });
        *out = acc;
    });
    Ok(output)
}

/// What one output of a convolution reads.
struct Window<'a> {
    conv: &'a Conv2d,
    axes: [Axis; 2],
    image: usize,
    filter: usize,
    at: [usize; 2],
}

impl Window<'_> {
    /// Calls `visit` with the index into the weights, the channel, and the index into the input
    /// (`None` in the padding), `k` ascending.
    fn for_each(&self, mut visit: impl FnMut(usize, usize, Option<usize>)) {
        let Self { conv, axes: [rows, columns], .. } = self;
        let channels = conv.channels / conv.group;
        let first = self.filter / (conv.filters / conv.group) * channels;
        let mut k = self.filter * channels * rows.kernel * columns.kernel;
        for channel in first..first + channels {
            for ky in 0..rows.kernel {
                for kx in 0..columns.kernel {
                    let y = rows.coordinate(self.at[0], ky);
                    let x = columns.coordinate(self.at[1], kx);
                    let plane = self.image * conv.channels + channel;
                    let position = y.zip(x).map(|(y, x)| (plane * conv.height + y) * conv.width + x);
                    visit(k, channel, position);
                    k += 1;
                }
            }
        }
    }
}

/// Calls `compute` for every output in order, with its filter and its window.
fn for_each_output<T>(
    conv: &Conv2d,
    axes: [Axis; 2],
    output: &mut [T],
    mut compute: impl FnMut(usize, Window, &mut T),
) {
    let [rows, columns] = axes.map(|axis| axis.out);
    for (index, out) in output.iter_mut().enumerate() {
        let at = [index / columns % rows, index % columns];
        let filter = index / columns / rows % conv.filters;
        let image = index / columns / rows / conv.filters;
        compute(filter, Window { conv, axes, image, filter, at }, out);
    }
}

/// Float transposed convolution `[batch, filters, oh, ow]`, in the one summation order.
pub fn conv_transpose2d<T: Float>(
    conv: &ConvTranspose2d,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    let plan = conv.plan()?;
    check_length("input", plan.input, input.len())?;
    check_length("weights", plan.weights, weights.len())?;
    check_optional("bias", conv.filters, bias)?;
    let mut output = buffer(plan.output)?;
    for_each_transposed(conv, &plan, &mut output, |filter, taps, out: &mut T| {
        let acc = taps.fold(T::default(), |acc, (k, position)| {
            T::fma(position.map_or(T::default(), |at| input[at]), weights[k], acc)
        });
        *out = bias.map_or(acc, |bias| acc + bias[filter]).canonical();
    });
    Ok(output)
}

/// Integer transposed convolution `[batch, filters, oh, ow]`.
pub fn conv_transpose2d_integer<A: Byte, S: Accumulator>(
    conv: &ConvTranspose2d,
    input: &[A],
    weights: &[i8],
    bias: Option<&[S]>,
) -> Result<Vec<S>, Error> {
    let plan = conv.plan()?;
    check_length("input", plan.input, input.len())?;
    check_length("weights", plan.weights, weights.len())?;
    check_optional("bias", conv.filters, bias)?;
    let mut output = buffer(plan.output)?;
    for_each_transposed(conv, &plan, &mut output, |filter, taps, out: &mut S| {
        let start = bias.map_or(S::default(), |bias| bias[filter]);
        *out = taps.fold(start, |acc, (k, position)| {
            let value: i16 = position.map_or(0, |at| input[at].into());
            acc.plus(S::wrap(i64::from(value) * i64::from(weights[k])))
        });
    });
    Ok(output)
}

/// Calls `compute` for every output in order, with its filter and the taps that take part in it, in
/// the order of the sum: index into the weights, and into the input (`None` outside of it).
fn for_each_transposed<T>(
    conv: &ConvTranspose2d,
    plan: &TransposePlan,
    output: &mut [T],
    mut compute: impl FnMut(usize, &mut dyn Iterator<Item = (usize, Option<usize>)>, &mut T),
) {
    let [rows, columns] = plan.axes;
    for (index, out) in output.iter_mut().enumerate() {
        let (oy, ox) = (index / columns.out % rows.out, index % columns.out);
        let filter = index / columns.out / rows.out % conv.filters;
        let image = index / columns.out / rows.out / conv.filters;
        let first = filter / plan.group_filters * plan.group_channels;
        let taps = (first..first + plan.group_channels)
            .flat_map(|channel| (0..plan.taps).map(move |tap| (channel, tap)));
        let mut taps = taps.filter_map(|(channel, tap)| {
            let y = rows.coordinate(oy, tap / columns.kernel)?;
            let x = columns.coordinate(ox, tap % columns.kernel)?;
            let plane = image * conv.channels + channel;
            let position = y.zip(x).map(|(y, x)| (plane * rows.size + y) * columns.size + x);
            Some(((channel * plan.group_filters + filter % plan.group_filters) * plan.taps + tap, position))
        });
        compute(filter, &mut taps, out);
    }
}

/// `out[m, n] = sum_k a[m, k] * b[k, n]`, in the one summation order.
pub fn matmul<T: Float>(m: usize, k: usize, n: usize, a: &[T], b: &[T]) -> Result<Vec<T>, Error> {
    let output = checked_product(m, k, n, ("a", a.len()), ("b", b.len()))?;
    let mut output = buffer(output)?;
    for (index, out) in output.iter_mut().enumerate() {
        let (row, column) = (index / n, index % n);
        let sum = (0..k).fold(T::default(), |acc, i| T::fma(a[row * k + i], b[i * n + column], acc));
        *out = sum.canonical();
    }
    Ok(output)
}

/// `out[m, n] = sum_k input[m, k] * weights[n, k] + bias[n]`, in the one summation order.
pub fn dense<T: Float>(
    m: usize,
    k: usize,
    n: usize,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    let output = checked_product(m, k, n, ("input", input.len()), ("weights", weights.len()))?;
    check_optional("bias", n, bias)?;
    let mut output = buffer(output)?;
    for (index, out) in output.iter_mut().enumerate() {
        let (row, column) = (index / n, index % n);
        let sum =
            (0..k).fold(T::default(), |acc, i| T::fma(input[row * k + i], weights[column * k + i], acc));
        *out = bias.map_or(sum, |bias| sum + bias[column]).canonical();
    }
    Ok(output)
}

/// `out[m, n] = sum_k input[m, k] * weights[n, k] + bias[n]`.
pub fn dense_integer<A: Byte, S: Accumulator>(
    m: usize,
    k: usize,
    n: usize,
    input: &[A],
    weights: &[i8],
    bias: Option<&[S]>,
) -> Result<Vec<S>, Error> {
    let output = checked_product(m, k, n, ("input", input.len()), ("weights", weights.len()))?;
    check_optional("bias", n, bias)?;
    let mut output = buffer(output)?;
    for (index, out) in output.iter_mut().enumerate() {
        let (row, column) = (index / n, index % n);
        let start = bias.map_or(S::default(), |bias| bias[column]);
        *out = (0..k).fold(start, |acc, i| {
            let value: i16 = input[row * k + i].into();
            acc.plus(S::wrap(i64::from(value) * i64::from(weights[column * k + i])))
        });
    }
    Ok(output)
}

/// Checks the operands of an `m * k * n` product and returns the number of outputs.
pub(super) fn checked_product(
    m: usize,
    k: usize,
    n: usize,
    (left, left_length): (&'static str, usize),
    (right, right_length): (&'static str, usize),
) -> Result<usize, Error> {
    let count = |sizes: [usize; 2]| product(&sizes).ok_or(Error::Geometry);
    check_length(left, count([m, k])?, left_length)?;
    check_length(right, count([k, n])?, right_length)?;
    count([m, n])
}

/// The maximum of every window.
///
/// The first element of the window that is not padding is replaced by each later one that compares
/// greater, in row-major order; so a NaN stays if it comes first and is passed over if not. A window
/// of padding only gives [`Ordered::LEAST`].
pub fn max_pool<T: Ordered>(pool: &Pool2d, input: &[T]) -> Result<Vec<T>, Error> {
    for_each_window(pool, input, |elements, _| {
        elements
            .iter()
            .copied()
            .reduce(|best, value| if value > best { value } else { best })
            .unwrap_or(T::LEAST)
    })
}

/// The mean of every window: the sum in row-major order from `+0`, then one division by the number
/// of positions: those of the input, and with `count_include_pad` those of the padding too, but
/// never those past the padding that `ceil_mode` can reach. A window of padding only gives `+0`.
pub fn avg_pool<T: Float>(pool: &Pool2d, count_include_pad: bool, input: &[T]) -> Result<Vec<T>, Error> {
    for_each_window(pool, input, |elements, padded| {
        let sum = elements.iter().fold(T::default(), |sum, &value| sum + value);
        let count = if count_include_pad { padded } else { elements.len() };
        if elements.is_empty() { T::default() } else { T::mean(sum, count).canonical() }
    })
}

/// Computes each output from the elements of its window in row-major order and the number of
/// positions in the window that lie within the input and its padding.
fn for_each_window<T: Copy + Default>(
    pool: &Pool2d,
    input: &[T],
    mut compute: impl FnMut(&[T], usize) -> T,
) -> Result<Vec<T>, Error> {
    let plan = pool.plan()?;
    check_length("input", plan.input, input.len())?;
    let [rows, columns] = plan.axes;
    let mut output = buffer(plan.output)?;
    let mut elements = Vec::new();
    for (index, out) in output.iter_mut().enumerate() {
        let (oy, ox) = (index / columns.out % rows.out, index % columns.out);
        let plane = index / columns.out / rows.out * plan.input_plane;
        elements.clear();
        for ky in rows.inside(oy) {
            for kx in columns.inside(ox) {
                if let Some((y, x)) = rows.coordinate(oy, ky).zip(columns.coordinate(ox, kx)) {
                    elements.push(input[plane + y * columns.size + x]);
                }
            }
        }
        *out = compute(&elements, rows.within_padding(oy) * columns.within_padding(ox));
    }
    Ok(output)
}

/// The sum of each of `planes` runs of `size` elements, modulo the type's range.
pub fn global_sum<S: Accumulator>(planes: usize, size: usize, input: &[S]) -> Result<Vec<S>, Error> {
    check_length("input", product(&[planes, size]).ok_or(Error::Geometry)?, input.len())?;
    let mut output = buffer(planes)?;
    for (plane, out) in output.iter_mut().enumerate() {
        let run = &input[plane * size..(plane + 1) * size];
        *out = run.iter().fold(S::default(), |sum, &value| sum.plus(value));
    }
    Ok(output)
}

/// The mean of each of `planes` runs of `size` elements: the sum in order from `+0`, then one
/// division. `size` must not be 0.
pub fn global_average<T: Float>(planes: usize, size: usize, input: &[T]) -> Result<Vec<T>, Error> {
    if size == 0 {
        return Err(Error::Geometry);
    }
    check_length("input", product(&[planes, size]).ok_or(Error::Geometry)?, input.len())?;
    let mut output = buffer(planes)?;
    for (plane, out) in output.iter_mut().enumerate() {
        let run = &input[plane * size..(plane + 1) * size];
        let sum = run.iter().fold(T::default(), |sum, &value| sum + value);
        *out = T::mean(sum, size).canonical();
    }
    Ok(output)
}
