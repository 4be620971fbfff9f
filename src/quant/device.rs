//! Whether the device's tools take a quantized network (hardware-ops §8): what is said before they would.
//!
//! Layers know their own limits ([`Limit`](crate::ops::layer::Limit)); those of the network as a whole are here.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::diag::{Diagnostic, Diagnostics, Loc, Report};
use crate::ir::{Graph, Kind, NodeId, ValueId};
use crate::ops::{Lowered, Registry, lower_node};

/// A limit of the device that the network breaks.
#[derive(Clone, Debug, Error)]
pub enum NetworkLimit {
    #[error("inputs and outputs of the network: {inputs} and {outputs}, on the device one of each")]
    Ends { inputs: usize, outputs: usize },
    #[error("{found} values leave the device ({values}), one can")]
    Leaves { found: usize, values: String },
    #[error("{found} layers read the quantized input ({readers}), on the device one does")]
    InputReaders { found: usize, readers: String },
    #[error("`{node}` ({op}) stays float before the end of the device's part")]
    FloatBefore { node: String, op: String },
    #[error("computed in front of the device: {nodes}")]
    FloatInFront { nodes: String, value: String, shape: String },
    #[error("input `{input}` has shape {shape}, the device needs every size but the first")]
    OpenSize { input: String, shape: String },
}

impl Report for NetworkLimit {
    fn code(&self) -> &'static str {
        match self {
            NetworkLimit::Ends { .. } => "Q0660",
            NetworkLimit::Leaves { .. } => "Q0661",
            NetworkLimit::InputReaders { .. } => "Q0662",
            NetworkLimit::FloatBefore { .. } => "Q0663",
            NetworkLimit::OpenSize { .. } => "Q0664",
            NetworkLimit::FloatInFront { .. } => "Q0665",
        }
    }

    fn hints(&self) -> Vec<String> {
        let way_out = match self {
            NetworkLimit::FloatInFront { value, shape, .. } => {
                return vec![format!(
                    "for the device, let the network begin behind it: with %{value} of shape {shape}"
                )];
            }
            NetworkLimit::Ends { .. } => "compile a network of its own for each output, or join them",
            NetworkLimit::Leaves { .. } => {
                "end the device's part where one value leaves it (--quantize-until), or replace what stays float"
            }
            NetworkLimit::InputReaders { .. } => {
                "let one convolution read the input, and the others its result"
            }
            NetworkLimit::FloatBefore { .. } => "let what stays float read what the device computes",
            NetworkLimit::OpenSize { .. } => "give every size: --input-shape NAME=1,3,224,224",
        };
        vec![way_out.to_owned()]
    }
}

/// A warning for each limit of the device that a quantized network breaks. None where it is not for this device:
/// it has layers that a rule file declares.
pub fn device_limits(graph: &Graph, registry: &Registry) -> Diagnostics {
    let order = graph.order();
    let mut found = Diagnostics::default();
    let declared = |id: &NodeId| {
        let entry = graph.node(*id).op().and_then(|op| registry.find(op));
        entry.is_some_and(|entry| entry.schema.declared_in.is_some())
    };
    // Fixed-point numbers are not for the device either.
    let fixed_point = |id: &NodeId| graph.node(*id).op() == Some("to_fixed_point");
    if order.iter().any(|id| declared(id) || fixed_point(id)) {
        return found;
    }
    network_limits(graph, registry, &order, &mut found);
    for id in order {
        let node = graph.node(id);
        // What cannot be written at all is said where it is written.
        if on_device(graph, registry, id)
            && let Ok((Lowered::Layer { node: onnx, limits, .. }, _)) =
                lower_node(graph, registry, id, &node.name)
        {
            found.extend(limits.iter().map(|limit| {
                let message = format!("`{}` ({}): {limit}", node.name, onnx.op_type);
                finding(limit, message, &node.loc)
            }));
        }
    }
    found
}

fn network_limits(graph: &Graph, registry: &Registry, order: &[NodeId], found: &mut Diagnostics) {
    let op = |id: NodeId| graph.node(id).op().unwrap_or_default();
    let mut say = |limit: NetworkLimit, loc: &Loc| {
        let message = limit.to_string();
        found.push(finding(&limit, message, loc));
    };
    let (inputs, outputs) = (graph.inputs().count(), graph.outputs().len());
    if (inputs, outputs) != (1, 1) {
        say(NetworkLimit::Ends { inputs, outputs }, &Loc::unknown());
    }
    for input in graph.inputs() {
        let (value, shape) = (graph.value(input), &graph.ty(input).shape);
        if shape.iter().skip(1).any(|dim| dim.fixed().is_none()) {
            let (input, shape) = (value.name.to_string(), shape.to_string());
            say(NetworkLimit::OpenSize { input, shape }, &Loc::unknown());
        }
    }
    let in_front = in_front(graph, order);
    let quantizer = order.iter().find(|&&id| op(id) == "InputQuantizer");
    if let Some(read) = quantizer.and_then(|&id| graph.node(id).operand(0)).filter(|_| !in_front.is_empty()) {
        let nodes = in_front.iter().map(|&id| format!("`{}` ({})", graph.node(id).name, op(id)));
        let nodes = nodes.collect::<Vec<_>>().join(", ");
        let (value, shape) = (graph.value(read).name.to_string(), graph.ty(read).shape.to_string());
        let locs = in_front.iter().map(|&id| &graph.node(id).loc);
        say(NetworkLimit::FloatInFront { nodes, value, shape }, &Loc::merged(locs));
    }
    // The device's tools read nodes in order, up to the first dequantizer.
    let end = order.iter().position(|&id| op(id) == "Dequantizer").unwrap_or(order.len());
    for &id in &order[..end] {
        let node = graph.node(id);
        match op(id) {
            "InputQuantizer" => {
                let readers = graph.uses(ValueId { node: id, result: 0 });
                if readers.len() != 1 {
                    let names: Vec<String> =
                        readers.iter().map(|at| format!("`{}`", graph.node(at.node).name)).collect();
                    let locs = readers.iter().map(|at| &graph.node(at.node).loc);
                    let (found, readers) = (readers.len(), names.join(", "));
                    say(NetworkLimit::InputReaders { found, readers }, &Loc::merged(locs));
                }
            }
            _ if matches!(node.kind, Kind::Op { .. })
                && !in_front.contains(&id)
                && !on_device(graph, registry, id) =>
            {
                let (node_name, op) = (node.name.to_string(), op(id).to_owned());
                say(NetworkLimit::FloatBefore { node: node_name, op }, &node.loc);
            }
            _ => {}
        }
    }
    if let Some(&id) = order.get(end) {
        let node = graph.node(id);
        let values: BTreeSet<_> = node.operands.iter().step_by(2).flatten().collect();
        if node.results.len() > 1 {
            let names: Vec<String> =
                values.iter().map(|&&value| format!("`{}`", graph.value(value).name)).collect();
            say(NetworkLimit::Leaves { found: node.results.len(), values: names.join(", ") }, &node.loc);
        }
    }
}

/// The operators that the quantized input is computed by.
fn in_front(graph: &Graph, order: &[NodeId]) -> Vec<NodeId> {
    let mut read = BTreeSet::new();
    let mut in_front: Vec<NodeId> = Vec::new();
    for &id in order.iter().rev() {
        let node = graph.node(id);
        let quantizer = node.op() == Some("InputQuantizer");
        if quantizer || read.contains(&id) {
            read.extend(node.operands.iter().flatten().map(|value| value.node));
            in_front.extend(Some(id).filter(|_| !quantizer && node.op().is_some()));
        }
    }
    in_front.reverse();
    in_front
}

/// Whether a node is a layer in integer form, or one of the ends of the device's part.
fn on_device(graph: &Graph, registry: &Registry, id: NodeId) -> bool {
    let node = graph.node(id);
    match node.op() {
        Some("InputQuantizer" | "Dequantizer") => true,
        Some(op) => {
            let layer = registry.find(op).is_some_and(|entry| entry.schema.layer);
            layer && !node.operand(0).is_some_and(|value| graph.ty(value).storage().is_float())
        }
        None => false,
    }
}

fn finding(limit: &dyn Report, message: String, loc: &Loc) -> Diagnostic {
    let warning = Diagnostic::warning(limit.code(), message).at_loc(loc, "");
    limit.hints().into_iter().fold(warning, Diagnostic::note)
}
