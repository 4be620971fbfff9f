//! Shiftmax and attention (layers-transformer §1 to §3).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::body::{FixedBody, Integers, Interval};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, bits, example};
use super::{Context, LayerConfig, LayerError, Layered, Result, ShiftmaxConfig, Work, fixed_only};
use crate::ir::{AttrKind, Attrs};
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OnnxAttr, OpError, Schema};
use crate::tensor::fixed::{FixedPoint, PerChannel, QTensor};
use crate::tensor::round::{half_even, nearest_binary_order, power_of_two};
use crate::tensor::{DType, Dim, Tensor};

/// Shiftmax along an axis, in integers: results have `E + 1` value bits and `E` frac bits. Axes below 0 count from the
/// end.
///
/// # Errors
/// An input with scales; a buffer of not more than `2 E` value bits; no such axis.
pub fn quantized_shiftmax(x: &QTensor, axis: isize, config: ShiftmaxConfig) -> Result<FixedPoint> {
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
    let below = wide.sub(&wide.reduce_max(Some(axis), true)?)?;
    // 2^(y + E) with y = below + E, where that is at least 2^0.
    let power = |below: i64| if below >= -2 * i64::from(exp) { 1 << (below + 2 * i64::from(exp)) } else { 0 };
    let powers = below.elements().iter().map(|&below| power(below));
    let powers =
        FixedPoint::new(below.sizes(), powers, bits, PerChannel::tensor(0))?.with(fixed.arithmetic());
    let sums = powers.reduce_sum(Some(axis), true)?;
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
    let mask = quantized_shiftmax(&scores.into(), -1, context.config.softmax.unwrap_or_default())?;
    let mask = mask.promote(bits)?;
    let sum = mask.matmul(&value, false, false)?;
    let merged = sum.transpose(&[0, 2, 1, 3])?.reshape(&[batch, tokens, hidden])?;
    Ok((work.finish(merged)?, mask))
}

fn bits_or(call: &Call, name: &str, default: u32) -> std::result::Result<u32, OpError> {
    Ok(bits(call, name)?.unwrap_or(default))
}

/// [`quantized_shiftmax`] along an axis of so many elements, in standard operators.
fn emit_shiftmax(
    at: &mut FixedBody,
    x: Integers,
    axis: usize,
    count: i128,
    exp: u32,
    bits: u32,
) -> std::result::Result<Integers, OpError> {
    let power = at.number(power_of_two(-x.frac_bits[0]));
    let scaled = at.op("Mul", &[&x.name, &power]);
    let whole = at.op("Floor", &[&scaled]);
    let axes = at.body.vector(vec![axis as i64]);
    let most = at.op("ReduceMax", &[&whole, &axes]);
    let below = at.op("Sub", &[&whole, &most]);
    // 2^(below + 2 exp), and 0 where that is less than 1: a table from the end.
    let last = 2 * exp + 1;
    let end = at.number(f64::from(last));
    let index = at.op("Add", &[&below, &end]);
    let zero = at.number(0.0);
    let index = at.op("Max", &[&index, &zero]);
    let index = at.body.cast(&index, DType::I64);
    let table = (0..=last).map(|at| if at == 0 { 0.0 } else { power_of_two(at as i32 - 1) }).collect();
    let table = at.body.vector(table);
    let name = at.op("Gather", &[&table, &index]);
    let bound = Interval { low: 0, high: 1 << (2 * exp) };
    let powers = Integers { name, bound, value_bits: bits, frac_bits: vec![0], axis: None, ..x };
    let sums = at.summed(&powers, vec![axis as i64], count, bits)?;
    // The order of a sum is the number of bounds that it reaches, and one less is that of 1.
    let orders = (1..=bits + 1).map(|order| least_of_order(order) as f64).collect();
    let orders = at.body.vector(orders);
    let behind = at.body.vector(vec![-1i64]);
    let each = at.op("Unsqueeze", &[&sums.name, &behind]);
    let reached = at.op("GreaterOrEqual", &[&each, &orders]);
    let reached = at.body.cast(&reached, DType::I64);
    let order = at.body.op_with("ReduceSum", &[&reached, &behind], vec![("keepdims", OnnxAttr::Int(0))]);
    let factors = (0..=bits as i32 + 1).map(|order| power_of_two(exp as i32 - order)).collect();
    let factors = at.body.vector(factors);
    let factor = at.op("Gather", &[&factors, &order]);
    let shifted = at.op("Mul", &[&powers.name, &factor]);
    let floor = at.op("Floor", &[&shifted]);
    // The largest power is at most its sum times the square root of 2.
    let bound = Interval { low: 0, high: 1 << (exp + 1) };
    let (name, bound) = at.saturated(floor, bound, exp + 1)?;
    Ok(Integers { name, bound, value_bits: exp + 1, frac_bits: vec![exp as i32], ..powers })
}

/// The smallest integer whose nearest binary order is that, from 1 on.
fn least_of_order(order: u32) -> u64 {
    let (mut low, mut high) = (1u64 << (order - 1), 1u64 << order);
    // The order of `low` is less, that of `high` is not.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if nearest_binary_order(middle) < order { low = middle } else { high = middle }
    }
    high
}

#[derive(Clone)]
pub(super) struct ShiftmaxLayer;

impl Layer for ShiftmaxLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "Shiftmax",
            doc: "`2^(y - round(log2(sum of 2^y)))` with `y = floor(x) - max(floor(x))` along `axis`, ties to even: every \
                  result is a power of two. Integers of x become results of `exp_bitwidth` frac bits.",
            constraints: "* C3: 0 <= axis < rank of x.",
            operands: const { &[Operand::value("x")] },
            result: Layout::Same,
            buffer: true,
            placement: Placement { aligned: true, output: false, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema.required_attr("axis", AttrKind::Int).attr("exp_bitwidth", 10i64)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let x = call.ty(0)?;
        let axis = call.axis("C3", "axis", x.shape.rank())?;
        let number = |value: f64| {
            let number = Tensor::scalar(value).cast(x.storage());
            Source::Constant(Arc::new(number))
        };
        let along = || Attrs::new().with("axes", vec![axis as i64]).with("keepdims", true);
        let plain = |op: &'static str, operands: &[Source]| Step::new(op, Attrs::new(), operands);
        Ok(vec![
            plain("floor", &[Source::Operand(0)]),
            Step::new("reduce_max", along(), &[Source::Previous]),
            plain("sub", &[Source::Step(0), Source::Previous]),
            plain("pow", &[number(2.0), Source::Previous]),
            Step::new("reduce_sum", along(), &[Source::Previous]),
            plain("log", &[Source::Previous]),
            plain("mul", &[Source::Previous, number(std::f64::consts::LOG2_E)]),
            plain("round", &[Source::Previous]),
            plain("sub", &[Source::Step(2), Source::Previous]),
            plain("pow", &[number(2.0), Source::Previous]),
        ])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let config = ShiftmaxConfig {
            exp_bitwidth: at.context.config.exp_bitwidth,
            buffer_bitwidth: at.context.config.buffer_bitwidth,
        };
        let axis = at.call.axis("C3", "axis", at.call.ty(0)?.shape.rank())?;
        let found = quantized_shiftmax(at.value(0)?, axis as isize, config);
        at.done(found.map(|output| Layered { output: output.into(), recorded: BTreeMap::new() }))
    }

    fn own_bits(&self, config: &LayerConfig) -> Vec<(&'static str, u32)> {
        vec![("exp_bitwidth", config.exp_bitwidth.unwrap_or(10))]
    }

    fn configure(&self, call: &Call, config: LayerConfig) -> std::result::Result<LayerConfig, OpError> {
        Ok(LayerConfig { exp_bitwidth: bits(call, "exp_bitwidth")?, ..config })
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(u32::MAX)?;
        let exp = bits_or(at.call, "exp_bitwidth", 10)?;
        let x = at.operand(0)?;
        let axis = at.call.axis("C3", "axis", x.rank)?;
        let count = at.size(0, axis)?;
        emit_shiftmax(at, x, axis, count, exp, bits)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new().with("axis", 1i64), operands: vec![example(&[1, 3])] }]
    }
}

#[derive(Clone)]
pub(super) struct AttentionLayer;

impl Layer for AttentionLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] =
            &[Operand::value("query"), Operand::value("key"), Operand::value("value")];
        Facts {
            name: "Attention",
            doc: "`softmax(query · keyᵀ / scale) · value` for each of `num_heads` parts of the last axis, for query, key and \
                  value `[N, T, C]`; `scale` is the power of two next to the square root of `C / num_heads`, and `softmax` may be \
                  `shiftmax`, which has `exp_bitwidth` frac bits in a buffer of `softmax_buffer_bitwidth` bits.",
            constraints: "* C3: query, key and value have one shape of 3 axes.\n\
                          * C4: `num_heads` divides C.\n\
                          * C5: `softmax` is softmax or shiftmax, in integers the latter.",
            operands: OPERANDS,
            result: Layout::Same,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        let schema = schema.required_attr("num_heads", AttrKind::Int).attr("softmax", "softmax");
        schema.attr("exp_bitwidth", 10i64).attr("softmax_buffer_bitwidth", 32i64)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let shape = &call.ty(0)?.shape;
        call.require("C3", shape.rank() == 3, || format!("query is [N, T, C], found {shape}"))?;
        let (tokens, hidden) = (call.known(&shape[1])? as i64, call.known(&shape[2])? as i64);
        let heads = call.int("num_heads")?;
        call.require("C4", heads > 0 && hidden % heads == 0, || {
            format!("{heads} heads do not divide {hidden} values")
        })?;
        for position in [1, 2] {
            let other = &call.ty(position)?.shape;
            call.require("C3", other == shape, || {
                format!("operands have one shape, found {shape} and {other}")
            })?;
        }
        let size = hidden / heads;
        let by_heads = Attrs::new().with("shape", vec![0, tokens, heads, size]);
        let mut steps = Vec::new();
        for position in 0..3 {
            steps.push(Step::new("reshape", by_heads.clone(), &[Source::Operand(position)]));
            // Keys lie as columns.
            let perm = if position == 1 { vec![0i64, 2, 3, 1] } else { vec![0i64, 2, 1, 3] };
            steps.push(Step::new("transpose", Attrs::new().with("perm", perm), &[Source::Previous]));
        }
        let [query, key, value] = [1, 3, 5].map(Source::Step);
        let scale =
            Tensor::scalar(power_of_two(-head_shift(size as usize)) as f32).cast(call.ty(0)?.storage());
        steps.push(Step::new("matmul", Attrs::new(), &[query, key]));
        steps.push(Step::new("mul", Attrs::new(), &[Source::Previous, Source::Constant(Arc::new(scale))]));
        steps.push(match call.text("softmax")? {
            "softmax" => Step::new("softmax", Attrs::new().with("axis", 3i64), &[Source::Previous]),
            "shiftmax" => Step::new("Shiftmax", Attrs::new().with("axis", 3i64), &[Source::Previous]),
            other => {
                return Err(call.broken("C5", format!("`softmax` is softmax or shiftmax, found `{other}`")));
            }
        });
        steps.push(Step::new("matmul", Attrs::new(), &[Source::Previous, value]));
        steps.push(Step::new(
            "transpose",
            Attrs::new().with("perm", vec![0i64, 2, 1, 3]),
            &[Source::Previous],
        ));
        let merged = Attrs::new().with("shape", vec![0, tokens, hidden]);
        steps.push(Step::new("reshape", merged, &[Source::Previous]));
        Ok(steps)
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let shiftmax = at.call.text("softmax")? == "shiftmax";
        at.call.require("C5", shiftmax, || "in integers `softmax` is shiftmax".to_owned())?;
        let heads = usize::try_from(at.call.int("num_heads")?).unwrap_or(0);
        let found = attention(at.value(0)?, at.value(1)?, at.value(2)?, heads, &at.context);
        at.done(found.map(|(layered, _)| layered))
    }

    fn own_bits(&self, config: &LayerConfig) -> Vec<(&'static str, u32)> {
        let softmax = config.softmax.unwrap_or_default();
        vec![
            ("exp_bitwidth", softmax.exp_bitwidth.unwrap_or(10)),
            ("softmax_buffer_bitwidth", softmax.buffer_bitwidth.unwrap_or(32)),
        ]
    }

    fn configure(&self, call: &Call, config: LayerConfig) -> std::result::Result<LayerConfig, OpError> {
        let softmax = ShiftmaxConfig {
            exp_bitwidth: bits(call, "exp_bitwidth")?,
            buffer_bitwidth: bits(call, "softmax_buffer_bitwidth")?,
        };
        Ok(LayerConfig { softmax: Some(softmax), ..config })
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(u32::MAX)?;
        let exp = bits_or(at.call, "exp_bitwidth", 10)?;
        let mask_bits = bits_or(at.call, "softmax_buffer_bitwidth", 32)?.saturating_sub(1);
        let (tokens, hidden) = (at.size(0, 1)?, at.size(0, 2)?);
        let heads = at.call.int("num_heads")?.max(1);
        let size = hidden / i128::from(heads);
        let value = at.operand(2)?;
        let value = at.prepared(value, bits)?;
        let operands = [at.operand(0)?, at.operand(1)?, value];
        let mut by_heads = Vec::new();
        for (x, perm) in operands.into_iter().zip([[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]]) {
            let sizes = at.body.vector(vec![0, tokens as i64, heads, size as i64]);
            let split = at.op("Reshape", &[&x.name, &sizes]);
            let attrs = vec![("perm", OnnxAttr::Ints(perm.to_vec()))];
            let name = at.body.op_with("Transpose", &[&split], attrs);
            by_heads.push(Integers { name, rank: 4, ..x });
        }
        let mut scores = at.product(&by_heads[0], &by_heads[1], size, bits)?;
        scores.frac_bits[0] += head_shift(size as usize);
        let mask = emit_shiftmax(at, scores, 3, tokens, exp, mask_bits)?;
        let sum = at.product(&mask, &by_heads[2], tokens, bits)?;
        let attrs = vec![("perm", OnnxAttr::Ints(vec![0, 2, 1, 3]))];
        let merged = at.body.op_with("Transpose", &[&sum.name], attrs);
        let sizes = at.body.vector(vec![0, tokens as i64, hidden as i64]);
        let name = at.op("Reshape", &[&merged, &sizes]);
        at.finished(Integers { name, rank: 3, ..sum })
    }

    fn macs(&self, call: &Call) -> u64 {
        let sizes =
            call.opt_ty(0).map(|ty| ty.shape.iter().skip(1).filter_map(Dim::fixed).collect::<Vec<_>>());
        match sizes.as_deref() {
            Some(&[tokens, hidden]) => {
                (tokens as u64).saturating_mul(tokens as u64).saturating_mul(2 * hidden as u64)
            }
            _ => 0,
        }
    }

    fn examples(&self) -> Vec<Example> {
        let operands = (0..3).map(|_| example(&[1, 2, 4])).collect();
        vec![Example { attrs: Attrs::new().with("num_heads", 2i64), operands }]
    }
}
