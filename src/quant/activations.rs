//! How far the tables of activations must reach: a layer hides what its activation reads, so the calibrated
//! range of that value goes along as an attribute.

use crate::ir::{Graph, Kind, NodeId, ValueId};
use crate::ops::layer::{ACTIVATION_MAX, Source, Step, function_name};
use crate::ops::{Call, Quantize, Registry};
use crate::tensor::TensorType;

/// Gives every layer of `after` with an activation by a table the largest magnitude of what that reads. The
/// value is looked for in `before`, which the layers were made from: it is what the operators of the layer's
/// float form give there for the operands of the layer, or what the function reads that makes its result there.
pub fn keep_activation_ranges(before: &Graph, after: &mut Graph, registry: &Registry) {
    for id in after.order() {
        if let Some(largest) = largest(before, after, registry, id) {
            after.set_attr(id, ACTIVATION_MAX, largest);
        }
    }
}

fn largest(before: &Graph, after: &Graph, registry: &Registry, id: NodeId) -> Option<f32> {
    let node = after.node(id);
    let Kind::Op { op, attrs } = &node.kind else { return None };
    let unknown = attrs.get_float(ACTIVATION_MAX) == Some(0.0);
    let entry = registry.find(op).filter(|_| unknown)?;
    let Quantize::Layer(layer) = entry.operator.quantize() else { return None };
    let types: Vec<Option<TensorType>> =
        node.operands.iter().map(|operand| operand.map(|value| after.ty(value).clone())).collect();
    let call = Call { schema: &entry.schema, attrs, operands: &types };
    let function = function_name(&call)?;
    let steps = layer.chain(&call).ok()?;
    let forwards = || {
        let mut results: Vec<ValueId> = Vec::new();
        for step in steps.iter().take_while(|step| step.op != function) {
            results.push(same_step(before, after, registry, step, &node.operands, &results)?);
        }
        results.last().copied()
    };
    // A layer whose weights the network did not have is found from its result.
    let backwards = || {
        let mut value = before.find(&node.results.first()?.name)?;
        for step in steps.iter().rev() {
            let maker = before.node(value.node);
            value = maker.operand(0).filter(|_| maker.op() == Some(&*step.op))?;
            if step.op == function {
                return Some(value);
            }
        }
        None
    };
    let range = before.value(forwards().or_else(backwards)?).range.as_ref()?;
    let ends = range.lowest.iter().chain(range.highest.iter());
    // The least that a table is made for (hardware-ops §5.4), so that 0 stands for not known.
    Some(ends.fold(1e-7f32, |largest, end| largest.max(end.abs())))
}

/// What `step` gives in `before`, for the operands of a layer in `after` and the results of the steps before.
fn same_step(
    before: &Graph,
    after: &Graph,
    registry: &Registry,
    step: &Step,
    operands: &[Option<ValueId>],
    results: &[ValueId],
) -> Option<ValueId> {
    let attrs = registry.complete(&step.op, step.attrs.clone()).ok()?;
    let named = |value: ValueId| before.find(&after.value(value).name);
    let reads = |source: &Source, found: Option<ValueId>| match source {
        Source::Operand(position) => match (operands.get(*position).copied().flatten(), found) {
            (None, None) => true,
            (Some(ours), Some(found)) => match (after.constant(ours), before.constant(found)) {
                (Some(ours), Some(found)) => ours == found,
                _ => named(ours) == Some(found),
            },
            _ => false,
        },
        Source::Previous => found.is_some() && found == results.last().copied(),
        Source::Step(at) => found.is_some() && found == results.get(*at).copied(),
        Source::Constant(tensor) => found.and_then(|found| before.constant(found)) == Some(tensor),
        Source::Absent => found.is_none(),
    };
    let first = match step.operands.first()? {
        Source::Operand(position) => named(operands.get(*position).copied().flatten()?)?,
        _ => *results.last()?,
    };
    before.uses(first).into_iter().map(|at| at.node).find_map(|id| {
        let node = before.node(id);
        let same = matches!(&node.kind, Kind::Op { op, attrs: found } if **op == *step.op && *found == attrs)
            && node.operands.len() <= step.operands.len()
            && step.operands.iter().enumerate().all(|(at, source)| reads(source, node.operand(at)));
        same.then_some(ValueId { node: id, result: 0 })
    })
}
