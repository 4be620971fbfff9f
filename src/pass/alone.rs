//! What `fuse_alone.qrules` made layers of, where the device does not come to it.
//!
//! An activation gets a convolution by an identity so that the device computes it. Behind an operator that
//! stays float it stays float as well, and then it is what it was.

use std::collections::BTreeSet;

use crate::ir::{Graph, Kind, NodeId, ValueId};
use crate::ops::Registry;

/// Operators of one layer are fewer: a longer way back is none.
const DEEPEST: usize = 8;

/// Gives layers that do not hang on the input through layers, with weights that the network did not have,
/// the form back that they had in `before`. Behind `until` nothing is on the device.
pub(super) fn put_back(before: &Graph, graph: &mut Graph, registry: &Registry, until: Option<&str>) {
    let mut reached: BTreeSet<ValueId> = graph.inputs().collect();
    let mut stranded = Vec::new();
    for id in graph.order() {
        let node = graph.node(id);
        let Some(op) = node.op() else { continue };
        let hangs = node.operands.iter().flatten().all(|&value| {
            graph.constant(value).is_some()
                || reached.contains(&value) && until != Some(&*graph.value(value).name)
        });
        let layer = registry.find(op).is_some_and(|entry| entry.schema.layer);
        // The input's quantizer takes these over.
        let entry = matches!(op, "cast" | "transpose")
            && node.operand(0).is_some_and(|x| graph.node(x.node).op().is_none_or(|op| op == "cast"));
        if hangs && (layer || entry) {
            reached.extend((0..node.results.len() as u32).map(|result| ValueId { node: id, result }));
        } else if layer && has_new_weights(before, graph, id) {
            stranded.push(id);
        }
    }
    for id in stranded {
        let old = ValueId { node: id, result: 0 };
        let name = graph.value(old).name.clone();
        let Some(new) = before.find(&name).and_then(|value| copy(before, graph, value, DEEPEST)) else {
            continue;
        };
        graph.replace_uses(old, new);
        graph.prune(id);
        graph.take_name(new, &name);
        // The node is called as it was, too.
        if let Some(value) = before.find(&name) {
            graph.set_node_name(new.node, before.node(value.node).name.clone());
        }
    }
}

fn has_new_weights(before: &Graph, graph: &Graph, id: NodeId) -> bool {
    let weights = graph.node(id).operand(1).and_then(|value| graph.constant(value));
    weights.is_some_and(|weights| {
        let same = |value: ValueId| before.constant(value).is_some_and(|constant| constant == weights);
        !before.values().any(same)
    })
}

/// The operator of `before` that makes a value, once more, from what `graph` has.
fn copy(before: &Graph, graph: &mut Graph, value: ValueId, deepest: usize) -> Option<ValueId> {
    let node = before.node(value.node);
    let Kind::Op { op, attrs } = &node.kind else { return None };
    let deepest = deepest.checked_sub(1)?;
    let mut operands = Vec::new();
    for operand in &node.operands {
        operands.push(match *operand {
            None => None,
            Some(operand) => {
                let name = &before.value(operand).name;
                let found = graph.find(name).filter(|&found| {
                    graph.ty(found) == before.ty(operand)
                        && graph.constant(found).is_some() == before.constant(operand).is_some()
                });
                Some(match (found, before.constant(operand)) {
                    (_, Some(tensor)) => {
                        graph.add_const(name, (**tensor).clone(), before.node(operand.node).loc.clone())
                    }
                    (Some(found), None) => found,
                    (None, None) => copy(before, graph, operand, deepest)?,
                })
            }
        });
    }
    let copy = graph.add_op(op, attrs.clone(), operands, node.results.clone(), node.loc.clone());
    Some(ValueId { node: copy, result: value.result })
}
