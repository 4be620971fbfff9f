//! Shiftmax and attention (layers-transformer §1 to §3).

use super::{Context, LayerError, Layered, Result, ShiftmaxConfig, Work, fixed_only};
use crate::tensor::fixed::{FixedPoint, PerChannel, QTensor};
use crate::tensor::round::{half_even, nearest_binary_order, power_of_two};

/// What an axis of a float tensor looks like in memory: for each lane, where it begins and how far its elements are
/// apart.
struct Lanes {
    length: usize,
    step: usize,
    begins: Vec<usize>,
}

impl Lanes {
    fn new(sizes: &[usize], axis: usize) -> Option<Self> {
        let (&length, step) = (sizes.get(axis)?, sizes[axis + 1..].iter().product());
        let outer: usize = sizes[..axis].iter().product();
        let begins = (0..outer).flat_map(|o| (0..step).map(move |i| o * length * step + i));
        Some(Self { length, step, begins: begins.collect() })
    }
}

/// `2^(y - round(log2(sum of 2^y)))` with `y = floor(x) - max(floor(x))` along an axis: every result is a power of
/// two. Axes below 0 count from the end.
///
/// # Errors
/// No such axis, or an empty one.
pub fn shiftmax(sizes: &[usize], x: &[f32], axis: isize) -> Result<Vec<f32>> {
    let fail = |what: String| LayerError::Config { layer: "Shiftmax", what };
    let at = if axis < 0 { sizes.len().checked_add_signed(axis) } else { Some(axis as usize) };
    let lanes = at.and_then(|at| Lanes::new(sizes, at));
    let lanes = lanes.ok_or_else(|| fail(format!("no axis {axis} in a tensor of shape {sizes:?}")))?;
    if lanes.length == 0 {
        return Err(fail(format!("axis {axis} of a tensor of shape {sizes:?} is empty")));
    }
    let mut y = vec![0.0; x.len()];
    for begin in lanes.begins {
        let places = || (0..lanes.length).map(|i| begin + i * lanes.step);
        let most = places().map(|at| x[at].floor()).fold(f32::NEG_INFINITY, f32::max);
        let exponent = |at: usize| f64::from(x[at].floor() - most).max(-2000.0);
        let sum: f64 = places().map(|at| power_of_two(exponent(at) as i32)).sum();
        let order = half_even(libm::log2(sum));
        places().for_each(|at| y[at] = power_of_two((exponent(at) - order) as i32) as f32);
    }
    Ok(y)
}

/// Shiftmax along the last axis, in integers: results have `E + 1` value bits and `E` frac bits.
///
/// # Errors
/// An input with scales; a buffer of not more than `2 E` value bits.
pub fn quantized_shiftmax(x: &QTensor, config: ShiftmaxConfig) -> Result<FixedPoint> {
    const LAYER: &str = "QuantizedShiftmax";
    let fixed = fixed_only(LAYER, x)?;
    let (exp, bits) = (config.exp_bitwidth.unwrap_or(10), config.buffer_bitwidth.unwrap_or(32));
    let bits = bits.saturating_sub(1);
    if bits <= 2 * exp {
        let what = format!(
            "a buffer of {bits} value bits does not hold exponents of {exp} bits: more than {}",
            2 * exp
        );
        return Err(LayerError::Config { layer: LAYER, what });
    }
    let (whole, _) = fixed.floor()?;
    let wide = whole.promote(bits.max(whole.value_bits()))?;
    let below = wide.sub(&wide.reduce_max(Some(-1), true)?)?;
    // 2^(y + E) with y = below + E, where that is at least 2^0.
    let power = |below: i64| if below >= -2 * i64::from(exp) { 1 << (below + 2 * i64::from(exp)) } else { 0 };
    let powers = below.elements().iter().map(|&below| power(below));
    let powers =
        FixedPoint::new(below.sizes(), powers, bits, PerChannel::tensor(0))?.with(fixed.arithmetic());
    let sums = powers.reduce_sum(Some(-1), true)?;
    let shifts: Vec<i32> = sums
        .elements()
        .iter()
        .map(|&sum| exp as i32 - nearest_binary_order(sum.max(1).unsigned_abs()) as i32)
        .collect();
    let shifted = powers.shift(sums.sizes(), &shifts)?;
    let results = shifted.elements().iter().copied();
    let results = FixedPoint::new(shifted.sizes(), results, exp + 1, PerChannel::tensor(exp as i32))?;
    Ok(results.with(fixed.arithmetic()))
}

/// The shift that stands for the division by the square root of the size of a head: `round(log2(sqrt(size)))`, ties to
/// even.
pub fn head_shift(size: usize) -> i32 {
    half_even(libm::log2(size.max(1) as f64) / 2.0) as i32
}

/// How scores become a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softmax {
    Softmax,
    Shiftmax,
}

/// [`attention`] in float, with either mask: queries, keys and values are `[batch, tokens, hidden]`. Scores are divided
/// by the power of two next to the square root of the size of a head, with either.
///
/// # Errors
/// Other shapes, or a hidden size that the heads do not divide.
pub fn float_attention(
    [batch, tokens, hidden]: [usize; 3],
    [query, key, value]: [&[f32]; 3],
    num_heads: usize,
    softmax: Softmax,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let fail = |what: String| LayerError::Config { layer: "Attention", what };
    if num_heads == 0 || !hidden.is_multiple_of(num_heads) {
        return Err(fail(format!("{num_heads} heads do not divide {hidden} values")));
    }
    let count = batch * tokens * hidden;
    if let Some(other) = [query, key, value].iter().find(|x| x.len() != count) {
        return Err(fail(format!(
            "{} elements where [{batch}, {tokens}, {hidden}] has {count}",
            other.len()
        )));
    }
    let size = hidden / num_heads;
    let scale = power_of_two(-head_shift(size)) as f32;
    let at = |sample: usize, token: usize, head: usize| (sample * tokens + token) * hidden + head * size;
    let mut scores = Vec::with_capacity(batch * num_heads * tokens * tokens);
    for (sample, head) in (0..batch).flat_map(|sample| (0..num_heads).map(move |head| (sample, head))) {
        for (from, to) in (0..tokens).flat_map(|from| (0..tokens).map(move |to| (from, to))) {
            let (q, k) = (at(sample, from, head), at(sample, to, head));
            let pairs = query[q..q + size].iter().zip(&key[k..k + size]);
            scores.push(pairs.fold(0.0, |sum: f32, (q, k)| q.mul_add(*k, sum)) * scale);
        }
    }
    let mask = match softmax {
        Softmax::Shiftmax => shiftmax(&[batch, num_heads, tokens, tokens], &scores, -1)?,
        Softmax::Softmax => scores.chunks(tokens.max(1)).flat_map(softmax_of).collect(),
    };
    let mut result = vec![0.0; count];
    for (sample, head) in (0..batch).flat_map(|sample| (0..num_heads).map(move |head| (sample, head))) {
        for (from, to) in (0..tokens).flat_map(|from| (0..tokens).map(move |to| (from, to))) {
            let weight = mask[((sample * num_heads + head) * tokens + from) * tokens + to];
            let (y, v) = (at(sample, from, head), at(sample, to, head));
            for i in 0..size {
                result[y + i] = weight.mul_add(value[v + i], result[y + i]);
            }
        }
    }
    Ok((result, mask))
}

fn softmax_of(scores: &[f32]) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| libm::expf(score - most)).collect();
    let sum = powers.iter().fold(0.0, |sum: f32, power| sum + power);
    powers.iter().map(|power| power / sum).collect()
}

/// Queries, keys or values `[batch, tokens, hidden]` by heads: `[batch, heads, tokens, hidden / heads]`.
fn heads(x: &FixedPoint, heads: usize) -> Result<FixedPoint> {
    let &[batch, tokens, hidden] = x.sizes() else { return Err(no_tokens(x)) };
    let split = x.reshape(&[batch, tokens, heads, hidden / heads.max(1)])?;
    Ok(split.transpose(&[0, 2, 1, 3])?)
}

fn no_tokens(x: &FixedPoint) -> LayerError {
    let what = format!("an input of shape {:?} is not [batch, tokens, hidden]", x.sizes());
    LayerError::Config { layer: "QuantizedAttention", what }
}

/// The attention, and the mask that it took, which has the value bits of the buffer.
///
/// # Errors
/// Inputs with scales; queries or keys with several frac bits; a hidden size that the heads do not divide.
pub fn attention(
    query: &QTensor,
    key: &QTensor,
    value: &QTensor,
    num_heads: usize,
    context: &Context,
) -> Result<(Layered, FixedPoint)> {
    const LAYER: &str = "QuantizedAttention";
    let (query, key) = (fixed_only(LAYER, query)?, fixed_only(LAYER, key)?);
    let &[batch, tokens, hidden] = query.sizes() else { return Err(no_tokens(query)) };
    if num_heads == 0 || !hidden.is_multiple_of(num_heads) {
        let what = format!("{num_heads} heads do not divide {hidden} values");
        return Err(LayerError::Config { layer: LAYER, what });
    }
    let mut work = Work::new(context);
    let bits = context.config.buffer().saturating_sub(1);
    for x in [query, key] {
        if !x.is_per_tensor() {
            let found = "one with frac bits for each channel";
            return Err(LayerError::Operand { layer: LAYER, wanted: "a per-tensor query and key", found });
        }
    }
    let (value, shift) = fixed_only(LAYER, value)?.expand(bits)?;
    work.shift("values_shift", shift);
    let [query, key, value] = [
        heads(&query.promote(bits.max(query.value_bits()))?, num_heads)?,
        heads(key, num_heads)?,
        heads(&value, num_heads)?,
    ];
    let scores = query.matmul(&key, false, true)?;
    let scores = scores.divided_by_power(&PerChannel::tensor(head_shift(hidden / num_heads)))?;
    let mask = quantized_shiftmax(&scores.into(), context.config.softmax.unwrap_or_default())?;
    let mask = mask.promote(bits)?;
    let sum = mask.matmul(&value, false, false)?;
    let merged = sum.transpose(&[0, 2, 1, 3])?.reshape(&[batch, tokens, hidden])?;
    Ok((work.finish(merged)?, mask))
}
