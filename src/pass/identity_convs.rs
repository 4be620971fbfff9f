//! `identity-convs`: 1×1 convolutions by the identity matrix where the device cannot do without.
//!
//! The device chains layers through convolutions: sums and concatenations have no activation or
//! pooling of their own, an operand cannot be read twice by one layer, and a value has at most
//! two readers (spec `hardware-ops.md` §6.2, step 23). Depthwise convolutions and some others do not
//! pool, either (§8). In float nothing changes.

use std::sync::Arc;

use crate::diag::{Diagnostic, Diagnostics, WithPlaces};
use crate::ir::{Attrs, Graph, Kind, NodeId, Use, ValueId};
use crate::ops::layer::same_pads;
use crate::ops::{Builder, OpError, Registry, is_activation};
use crate::tensor::{DType, Tensor};

use super::{Context, Pass, Stage};

/// Larger identity matrices are not worth it: such sums stay without.
const MAX_CHANNELS: usize = 2048;

/// Elements of all identity matrices together: more would cost memory that no device has.
const MAX_ELEMENTS: usize = 1 << 26;

pub struct IdentityConvs;

impl Pass for IdentityConvs {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let mut budget = Budget { left: MAX_ELEMENTS, without: Vec::new() };
        let unsigned = cx.akida.input_dtype == DType::U8;
        insert(graph, cx.registry, &mut budget, unsigned).map_err(WithPlaces::new)?;
        cx.warnings.extend(budget.warning());
        Ok(())
    }
}

/// What identity matrices may still hold.
struct Budget {
    left: usize,
    /// Names of the values that went without.
    without: Vec<Arc<str>>,
}

impl Budget {
    /// Takes a matrix of `n` channels, if there is room for it.
    fn take(&mut self, n: usize, name: &Arc<str>) -> bool {
        // Channels are at most `MAX_CHANNELS`.
        let left = self.left.checked_sub(n * n);
        match left {
            Some(left) => self.left = left,
            None => self.without.push(name.clone()),
        }
        left.is_some()
    }

    fn warning(&self) -> Option<Diagnostic> {
        const SHOWN: usize = 5;
        let shown: Vec<String> = self.without.iter().take(SHOWN).map(|name| format!("%{name}")).collect();
        let more = self.without.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!(
            "identity convolutions of this network would hold more than {MAX_ELEMENTS} weights: {}{more} stay without",
            shown.join(", ")
        );
        (!shown.is_empty()).then(|| Diagnostic::warning("Q0624", message))
    }
}

fn insert(
    graph: &mut Graph,
    registry: &Registry,
    budget: &mut Budget,
    unsigned: bool,
) -> Result<(), OpError> {
    for id in graph.order() {
        let Some(value) = graph.node(id).operand(0) else { continue };
        if pools_elsewhere(graph, id, unsigned) == Some(true) {
            behind(graph, registry, budget, value, &[Use { node: id, position: 0 }], false)?;
        }
    }
    let joins: Vec<NodeId> = graph.order().into_iter().filter(|&id| joins_values(graph, id)).collect();
    for id in joins {
        let value = ValueId { node: id, result: 0 };
        if channels(graph, value).is_some() {
            let readers = graph.uses(value);
            let part_of_conv: Vec<Use> =
                readers.iter().copied().filter(|at| goes_into_conv(graph, at.node)).collect();
            let product = |op: &str| matches!(op, "conv2d" | "conv_transpose2d");
            if !readers.iter().any(|at| graph.node(at.node).op().is_some_and(product)) {
                behind(graph, registry, budget, value, &readers, true)?;
            } else if !part_of_conv.is_empty() {
                behind(graph, registry, budget, value, &part_of_conv, false)?;
            }
        }
        let operands: Vec<ValueId> = graph.node(id).operands.iter().copied().flatten().collect();
        if let [a, b] = operands[..]
            && a == b
            && channels(graph, a).is_some()
        {
            behind(graph, registry, budget, a, &[Use { node: id, position: 1 }], false)?;
        }
    }
    if let Some(value) = first_block(graph)
        && channels(graph, value).is_some()
        && graph.use_count(value) > 1
    {
        let readers = graph.uses(value);
        behind(graph, registry, budget, value, &readers, false)?;
    }
    // Each round leaves a value with two readers and gives the rest to a new one, which is
    // looked at in turn.
    let mut values: Vec<ValueId> = graph
        .order()
        .into_iter()
        .filter(|&id| graph.node(id).op().is_some())
        .map(|node| ValueId { node, result: 0 })
        .collect();
    values.reverse();
    while let Some(value) = values.pop() {
        let readers = graph.uses(value);
        if channels(graph, value).is_some() && readers.len() > 2 {
            values.extend(behind(graph, registry, budget, value, &readers[1..], false)?);
        }
    }
    Ok(())
}

/// Whether a node is a pool that the device does not have in the layer of the convolution before it; `None`
/// where it is no such pool.
fn pools_elsewhere(graph: &Graph, id: NodeId, unsigned: bool) -> Option<bool> {
    let op = graph.node(id).op().filter(|op| matches!(*op, "max_pool2d" | "global_avg_pool2d"))?;
    let mut value = graph.node(id).operand(0)?;
    while graph.node(value.node).op().is_some_and(is_activation) {
        value = graph.node(value.node).operand(0)?;
    }
    let conv = graph.node(value.node);
    let Kind::Op { attrs, .. } = &conv.kind else { return None };
    if conv.op() != Some("conv2d") {
        return None;
    }
    let (mut x, w) = (conv.operand(0)?, graph.ty(conv.operand(1)?).shape.sizes()?);
    let &[_, depth, rows, columns] = &w[..] else { return None };
    let depthwise = attrs.get_int("group")? > 1 && depth == 1;
    if op == "global_avg_pool2d" {
        // Of other channels than these the device has no first convolution at all.
        return Some(depthwise || unsigned && matches!(depth, 1 | 3) && is_entry(graph, x));
    }
    // A pool that the device has nowhere stays float behind a depthwise convolution.
    let has_pool = has_pool(graph, id)?;
    if depthwise {
        return Some(has_pool);
    }
    let mut pads = attrs.get_ints("pads")?.to_vec();
    if let Some("channel_pad") = graph.node(x.node).op()
        && let Kind::Op { attrs, .. } = &graph.node(x.node).kind
    {
        pads = attrs.get_ints("pads")?.to_vec();
        x = graph.node(x.node).operand(0)?;
    }
    let [_, _, height, width] = &graph.ty(x).shape[..] else { return None };
    let &[stride, other] = attrs.get_ints("strides")? else { return None };
    let stride = usize::try_from(stride).ok().filter(|&stride| stride > 0)?;
    let expected = same_pads([height.fixed()?, width.fixed()?], [rows, columns], stride);
    let fits = pads.iter().zip(expected).all(|(&pad, expected)| usize::try_from(pad) == Ok(expected));
    // What is not square is beyond the device with or without a pool.
    Some(!fits && rows == columns && usize::try_from(other) == Ok(stride) && has_pool)
}

/// Whether the device has a max-pool, or what `passes/device.qrules` makes of it.
fn has_pool(graph: &Graph, id: NodeId) -> Option<bool> {
    let Kind::Op { attrs, .. } = &graph.node(id).kind else { return None };
    let sizes = |name: &str| -> Option<Vec<usize>> {
        attrs.get_ints(name)?.iter().map(|&size| usize::try_from(size).ok()).collect()
    };
    let map = |value: ValueId| match &graph.ty(value).shape[..] {
        [_, _, rows, columns] => Some([rows.fixed()?, columns.fixed()?]),
        _ => None,
    };
    let (from, to) = (map(graph.node(id).operand(0)?)?, map(ValueId { node: id, result: 0 })?);
    let (window, strides) = (sizes("kernel_shape")?, sizes("strides")?);
    let (&[rows, columns], &[stride, other]) = (&window[..], &strides[..]) else { return None };
    if rows != columns || stride != other || stride > rows {
        return Some(false);
    }
    let halved = stride == 2 && from.iter().zip(to).all(|(from, to)| from.div_ceil(2) == to);
    let cut = stride == 2 && from.iter().zip(to).all(|(from, to)| from.saturating_sub(1) / 2 == to);
    Some(sizes("pads")? == same_pads(from, [rows, columns], stride) || halved || cut)
}

/// Whether a value is an input, at most cast, transposed and padded.
fn is_entry(graph: &Graph, mut value: ValueId) -> bool {
    while let Some("cast" | "transpose" | "channel_pad") = graph.node(value.node).op() {
        let Some(operand) = graph.node(value.node).operand(0) else { return false };
        value = operand;
    }
    graph.inputs().any(|input| input == value)
}

/// Whether a node is a layer of its own that joins values. An addition of a constant is none: it
/// can only become part of the layer before it or behind it.
fn joins_values(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let constant = |operand: &Option<ValueId>| operand.is_some_and(|v| graph.constant(v).is_some());
    match node.op() {
        Some("add") => !node.operands.iter().any(constant),
        Some("concat") => true,
        _ => false,
    }
}

/// Whether a node runs on the device only as part of a convolution before it.
fn goes_into_conv(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match node.op() {
        Some("relu" | "clip" | "max_pool2d" | "global_avg_pool2d" | "batch_norm") => true,
        Some("add" | "mul") => node.operands.iter().flatten().any(|&v| graph.constant(v).is_some()),
        _ => false,
    }
}

/// Channels of a value of rank 4, if it may get an identity convolution.
fn channels(graph: &Graph, value: ValueId) -> Option<usize> {
    let shape = &graph.ty(value).shape;
    let channels = shape.get(1)?.fixed()?;
    let image = shape.rank() == 4 && graph.constant(value).is_none();
    (image && channels <= MAX_CHANNELS).then_some(channels)
}

/// The end of the block of the first convolution, if it reads the input with 1 or 3 channels: the
/// convolution with the pool and activation that follow it alone.
fn first_block(graph: &Graph) -> Option<ValueId> {
    let conv = graph.order().into_iter().find(|&id| graph.node(id).op() == Some("conv2d"))?;
    let input_channels = graph.ty(graph.node(conv).operand(0)?).shape.get(1)?.fixed()?;
    if !matches!(input_channels, 1 | 3) {
        return None;
    }
    let mut value = ValueId { node: conv, result: 0 };
    loop {
        let readers = graph.uses(value);
        let [only] = readers[..] else { return Some(value) };
        let block = matches!(graph.node(only.node).op(), Some("relu" | "clip" | "max_pool2d"));
        if graph.is_output(value) || !block {
            return Some(value);
        }
        value = ValueId { node: only.node, result: 0 };
    }
}

/// Puts an identity convolution between `value` and `readers`. With `rename`, outputs move too and
/// the new value takes the name over, so that what the network calls its result stays the result.
fn behind(
    graph: &mut Graph,
    registry: &Registry,
    budget: &mut Budget,
    value: ValueId,
    readers: &[Use],
    rename: bool,
) -> Result<Option<ValueId>, OpError> {
    let Some(n) = channels(graph, value) else { return Ok(None) };
    let name = graph.value(value).name.clone();
    if !budget.take(n, &name) {
        return Ok(None);
    }
    let loc = graph.node(value.node).loc.clone();
    let mut identity = vec![0.0f32; n * n];
    identity.iter_mut().step_by(n + 1).for_each(|diagonal| *diagonal = 1.0);
    // n * n elements for n * n places.
    let weights = Tensor::new(&[n, n, 1, 1], identity).unwrap_or_else(|| Tensor::scalar(1.0f32));
    let weights = graph.add_const(&format!("{name}_identity_weights"), weights, loc.clone());
    let mut builder = Builder { graph, registry, loc };
    let conv = builder.op("conv2d", Attrs::new(), &[value, weights], &format!("{name}_identity_conv"))?;
    let node_name = graph.value(conv).name.clone();
    for &at in readers {
        graph.set_operand(at, conv);
    }
    if rename {
        for index in 0..graph.outputs().len() {
            if graph.outputs()[index].value == value {
                graph.set_output(index, conv);
            }
        }
        let range = graph.value(value).range.clone();
        graph.set_range(conv, range);
        let made_by = graph.node(value.node).name.clone();
        graph.take_name(conv, &name);
        // Only the tensor gives its name away, not the node.
        graph.set_node_name(value.node, made_by);
        graph.set_node_name(conv.node, node_name);
    }
    Ok(Some(conv))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_weights_have_a_budget() {
        let mut budget = Budget { left: 10, without: Vec::new() };
        let names: Vec<Arc<str>> = (0..8).map(|at| format!("v{at}").into()).collect();
        assert!(budget.take(3, &names[0]) && budget.warning().is_none());
        assert!(names[1..].iter().all(|name| !budget.take(2, name)));
        assert!(budget.take(1, &names[0]));
        let message = budget.warning().unwrap().message;
        assert!(message.ends_with("%v1, %v2, %v3, %v4, %v5 and 2 more stay without"), "{message}");
    }
}
