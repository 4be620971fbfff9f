//! What can be said of a network of fixed-point numbers without running it (quantizers §7).

use crate::diag::{Diagnostic, Diagnostics};
use crate::ir::{Graph, NodeId};
use crate::tensor::{FixedGrid, Tensor};

/// Findings where the accumulator of a layer with weights can leave its buffer, or the product with the scales its own:
/// there results saturate.
pub fn check_fixed_point(graph: &Graph) -> Diagnostics {
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
    }
    found
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
