//! What can be said of a quantized graph without running it.

use std::fmt::Write as _;

use crate::diag::{Diagnostic, Diagnostics, WithPlaces, printable};
use crate::ir::{Graph, NodeId};
use crate::ops::{Bound, Lowered, Registry, lower_node};
use crate::tensor::{DType, Grid, Tensor};

/// A device layer and the bounds of the integers inside it.
#[derive(Clone, Debug)]
pub struct LayerBounds {
    pub node: String,
    /// The op_type of the file format.
    pub op_type: String,
    pub bound: Bound,
    /// Smallest and largest multiplier of the output rescale; `None` where there is none. Below
    /// 128, the scale of a channel keeps fewer than 8 bits.
    pub multipliers: Option<(u8, u8)>,
}

/// Bounds of every layer, in canonical order; findings where an accumulator can leave int32.
pub fn check_layers(graph: &Graph, registry: &Registry) -> (Vec<LayerBounds>, Diagnostics) {
    let mut layers = Vec::new();
    let mut found = Diagnostics::default();
    for id in graph.order() {
        let node = graph.node(id);
        let layer = node.op().and_then(|op| registry.find(op)).is_some_and(|entry| entry.schema.layer);
        let float =
            |value| graph.ty(value).grid == Grid::F32 || graph.ty(value).grid == Grid::Plain(DType::F64);
        // A layer in float form has no integers that could overflow.
        if !layer || node.operand(0).is_some_and(float) {
            continue;
        }
        match lower_node(graph, registry, id, &node.name) {
            Err(error) => found.push(WithPlaces::new(error).at_loc(&node.loc, "")),
            Ok((Lowered::Nodes(_), _)) => {}
            Ok((Lowered::Layer { node: onnx, bound, .. }, _)) => {
                if bound.accumulator > i32::MAX as u128 {
                    let bits = u128::BITS - bound.accumulator.leading_zeros() + 1;
                    let message =
                        format!("the accumulator of `{}` can need {bits} bits, the device has 32", node.name);
                    found.push(Diagnostic::error("Q0630", message).at_loc(&node.loc, ""));
                }
                let multipliers = multipliers(graph, registry, id);
                layers.push(LayerBounds {
                    node: node.name.to_string(),
                    op_type: onnx.op_type,
                    bound,
                    multipliers,
                });
            }
        }
    }
    (layers, found)
}

fn multipliers(graph: &Graph, registry: &Registry, id: NodeId) -> Option<(u8, u8)> {
    let node = graph.node(id);
    let schema = &registry.find(node.op()?)?.schema;
    let position = schema.operands.iter().position(|spec| spec.name == "m")?;
    let tensor: &Tensor = graph.constant(node.operand(position)?)?;
    let elements = tensor.elements::<u8>()?;
    Some((*elements.iter().min()?, *elements.iter().max()?))
}

/// The layers as a table.
pub fn bounds_table(layers: &[LayerBounds]) -> String {
    let mut out = String::new();
    let names: Vec<_> = layers.iter().map(|layer| printable(&layer.node)).collect();
    let name = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("layer".len());
    let op = layers.iter().map(|layer| layer.op_type.len()).max().unwrap_or(0).max("op_type".len());
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "{:name$}  {:op$}  {:>12}  {:>9}  multipliers",
        "layer", "op_type", "|acc| up to", "of int32"
    );
    for (layer, node) in layers.iter().zip(&names) {
        let bound = layer.bound.accumulator.max(layer.bound.pooled);
        let share = bound as f64 / f64::from(i32::MAX) * 100.0;
        let multipliers = layer.multipliers.map_or("-".to_owned(), |(low, high)| format!("{low}..{high}"));
        let _ =
            writeln!(out, "{node:name$}  {:op$}  {bound:>12}  {share:>8.3}%  {multipliers}", layer.op_type);
    }
    out
}
