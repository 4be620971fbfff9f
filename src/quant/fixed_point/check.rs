//! What can be said of a network of fixed-point numbers without running it (quantizers §7).

use crate::diag::{Diagnostic, Diagnostics};
use crate::ir::{Graph, Kind, NodeId};
use crate::ops::Registry;
use crate::tensor::round::power_of_two;
use crate::tensor::{DType, FixedGrid, Tensor};

/// Findings where the accumulator of a layer with weights can leave its buffer, or the product with the scales its own:
/// there results saturate; and where integer scales are far from those that they stand for.
pub fn check_fixed_point(graph: &Graph, registry: &Registry) -> Diagnostics {
    let mut found = Diagnostics::default();
    for id in graph.order() {
        if let Some((channel, bound, bits)) = reach(graph, id) {
            let node = graph.node(id);
            let most = 1i128 << bits;
            if bound >= most {
                let message = format!(
                    "the accumulator of `{}` can reach {bound} in channel {channel}, its buffer holds {most}: it saturates",
                    node.name
                );
                let warning = Diagnostic::warning("Q0631", message).at_loc(&node.loc, "");
                found.push(warning.note("take fewer bits of weights or of its input, or a larger buffer"));
            }
        }
        for (code, message, way_out) in scales_of(graph, registry, id).iter().flat_map(Scales::faults) {
            found.push(Diagnostic::warning(code, message).at_loc(&graph.node(id).loc, "").note(way_out));
        }
    }
    found
}

/// An output quantizer whose sum has scales, by channels.
struct Scales {
    name: String,
    /// Those of the sum.
    reals: Vec<f64>,
    /// The integers that stand for them, with their frac bits.
    integers: Vec<(i64, i32)>,
    /// Value bits that those have.
    bits: u32,
    /// By how many bits each product is shifted right to become the output.
    shifts: Vec<i64>,
    value_bits: u32,
    product_bits: i64,
}

/// The relative error of a scale that is told.
const COARSE: f64 = 0.05;

impl Scales {
    fn faults(&self) -> Vec<(&'static str, String, &'static str)> {
        let (name, mut found) = (&self.name, Vec::new());
        let channel = |at: usize| match self.reals.len() {
            1 => String::new(),
            _ => format!(" of channel {at}"),
        };
        // Half a unit of the integer, and all of it where that is 0.
        let coarse = |&(integer, _): &(i64, i32)| 0.5 / (integer.unsigned_abs() as f64).max(0.5);
        let worst = |of: &dyn Fn(usize) -> f64| {
            (0..self.reals.len())
                .map(|at| (at, of(at)))
                .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
        };
        if let Some((at, error)) =
            worst(&|at| coarse(&self.integers[at])).filter(|(_, error)| *error > COARSE)
        {
            let (integer, bits) = (self.integers[at].0, self.bits);
            let message = format!(
                "the scale{} of `{name}` is {integer}, of {bits} bits: it is off by up to {:.1} %",
                channel(at),
                error * 100.0
            );
            let way_out = "take more bits of scales: --scale-bits, or `scale_bits` of the layer in --config";
            found.push(("Q0632", message, way_out));
        }
        let real = |at: usize| self.integers[at].0 as f64 * power_of_two(-self.integers[at].1);
        // Equalization multiplies a scale by 1 at most, and by one half of the largest output at least.
        let least = 0.5 - 0.5 * power_of_two(-(self.value_bits as i32));
        let apart = |at: usize| {
            let ratio = real(at) / self.reals[at];
            (ratio - 1.0).max(least / ratio - 1.0).max(0.0) - coarse(&self.integers[at])
        };
        if let Some((at, _)) = worst(&apart).filter(|(_, apart)| *apart > COARSE) {
            let (found_scale, wanted) = (real(at) as f32, self.reals[at] as f32);
            let message = format!(
                "the integer scale{} of `{name}` stands for {found_scale}, and the sum has {wanted}",
                channel(at)
            );
            found.push((
                "Q0632",
                message,
                "quantize the network anew: weights and scales are of different runs",
            ));
        }
        let needs = |at: usize| i64::from(self.value_bits) + self.shifts[at];
        let most = (0..self.reals.len()).max_by_key(|&at| (needs(at), std::cmp::Reverse(at)));
        if let Some(at) = most.filter(|&at| needs(at) > self.product_bits) {
            let message = format!(
                "the product with the scale{} of `{name}` has {} value bits, its output is all of {}: it saturates",
                channel(at),
                self.product_bits,
                needs(at)
            );
            found.push(("Q0633", message, "take fewer bits of weights or of scales, or a larger buffer"));
        }
        found
    }
}

/// The scales of an output quantizer; none where there is none, or the sum has no scales.
fn scales_of(graph: &Graph, registry: &Registry, id: NodeId) -> Option<Scales> {
    let node = graph.node(id);
    let Kind::Op { op, attrs } = &node.kind else { return None };
    let schema = &registry.find(op)?.schema;
    let position = schema.operands.iter().position(|operand| operand.name == "qscales")?;
    let qscales = node.operand(position)?;
    let grid = graph.ty(qscales).grid.fixed()?;
    let integers = graph.constant(qscales)?.cast(DType::I64);
    let integers = integers.elements::<i64>()?;
    let (value_bits, frac) = (attrs.get_int("value_bits")?, attrs.get_ints("frac_bits")?);
    // The layer without its output quantizer gives the sum.
    let mut bare = attrs.clone();
    bare.remove("value_bits");
    bare.remove("frac_bits");
    let operands =
        node.operands.iter().take(position).map(|value| value.map(|value| graph.ty(value).clone()));
    let operands: Vec<_> = operands.collect();
    let sum = registry.infer(op, &bare, &operands).ok()?.into_iter().next()?;
    let sum = sum.grid.fixed()?;
    let scales = sum.scales.as_ref()?;
    let lengths = [scales.len(), integers.len(), grid.frac_bits.len(), sum.frac_bits.len(), frac.len()];
    let channels = lengths.into_iter().max()?;
    if lengths.iter().any(|&length| length != 1 && length != channels) {
        return None;
    }
    fn of<T: Copy>(list: &[T], at: usize) -> T {
        if list.len() == 1 { list[0] } else { list[at] }
    }
    let shift =
        |at: usize| i64::from(of(&sum.frac_bits, at)) + i64::from(of(&grid.frac_bits, at)) - of(frac, at);
    Some(Scales {
        name: node.name.to_string(),
        reals: (0..channels).map(|at| f64::from(of(scales, at))).collect(),
        integers: (0..channels).map(|at| (of(integers, at), of(&grid.frac_bits, at))).collect(),
        bits: grid.value_bits,
        shifts: (0..channels).map(shift).collect(),
        value_bits: u32::try_from(value_bits).ok()?,
        product_bits: attrs.get_int("product_bits")?,
    })
}

/// The channel whose accumulator can be the largest, how large, and the value bits of the buffer.
fn reach(graph: &Graph, id: NodeId) -> Option<(usize, i128, u32)> {
    let node = graph.node(id);
    let most = match node.op()? {
        "Conv2D" | "DepthwiseConv2D" | "Dense" => 28,
        _ => return None,
    };
    let grid = |position: usize| graph.ty(node.operand(position)?).grid.fixed();
    let buffer = match &node.kind {
        crate::ir::Kind::Op { attrs, .. } => attrs.get_int("buffer_bitwidth")?,
        _ => return None,
    };
    let bits = u32::try_from(buffer).ok()?.min(most).checked_sub(1)?;
    let x: &FixedGrid = grid(0)?;
    let kernel = graph.constant(node.operand(1)?)?;
    let bias = node.operand(2).and_then(|bias| graph.constant(bias));
    let bias = bias.map(|bias| bias.cast(crate::tensor::DType::I64));
    // Channels on coarser grids are shifted to the finest.
    let widest = x.frac_bits.iter().max()? - x.frac_bits.iter().min()?;
    let depthwise = node.op() == Some("DepthwiseConv2D");
    let shift = if depthwise { 0 } else { u32::try_from(widest).ok()? };
    let input = 1i128.checked_shl(x.value_bits + shift)?;
    let sums = magnitudes(kernel, node.op()?)?;
    let bounds = sums.iter().enumerate().map(|(channel, &sum)| {
        let bias = bias.as_ref().and_then(|bias| bias.elements::<i64>()?.get(channel).copied()).unwrap_or(0);
        (channel, input.saturating_mul(sum).saturating_add(i128::from(bias.unsigned_abs())))
    });
    let (channel, bound) = bounds.max_by_key(|&(channel, bound)| (bound, std::cmp::Reverse(channel)))?;
    Some((channel, bound, bits))
}

/// For each output channel, the sum of the magnitudes of its weights.
fn magnitudes(kernel: &Tensor, op: &str) -> Option<Vec<i128>> {
    let wide = kernel.cast(crate::tensor::DType::I64);
    let weights = wide.elements::<i64>()?;
    let (first, last) = (*kernel.sizes().first()?, *kernel.sizes().last()?);
    let count = if op == "Dense" { last } else { first };
    let mut sums = vec![0i128; count];
    let inner = weights.len() / count.max(1);
    for (at, &weight) in weights.iter().enumerate() {
        let channel = if op == "Dense" { at % count } else { at / inner.max(1) };
        sums[channel] += i128::from(weight.unsigned_abs());
    }
    Some(sums)
}
