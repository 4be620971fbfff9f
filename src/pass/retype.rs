//! Giving the inputs of a graph other types, and all values the types that follow.

use std::collections::BTreeMap;

use crate::diag::WithPlaces;
use crate::ir::{Attr, Graph, Kind, ValueId};
use crate::ops::{OpError, Registry};
use crate::tensor::{Dim, TensorType};

/// Sets the types of the named inputs and infers all others anew. A `reshape` that spells out the
/// size of the first axis copies it instead where that size becomes another.
///
/// # Errors
/// An operator that the new types do not satisfy; the graph is then unchanged.
pub fn retype(
    graph: &mut Graph,
    registry: &Registry,
    inputs: &BTreeMap<ValueId, TensorType>,
) -> Result<(), WithPlaces<OpError>> {
    let mut new = graph.clone();
    for (&value, ty) in inputs {
        new.set_type(value, ty.clone());
    }
    for id in graph.order() {
        let node = graph.node(id);
        let Kind::Op { op, attrs } = &node.kind else { continue };
        let mut attrs = attrs.clone();
        if let (true, Some(operand), Some(shape)) =
            (&**op == "reshape", node.operand(0), attrs.get_ints("shape"))
        {
            let batch = graph.ty(operand).shape.first();
            let spelt = batch.and_then(Dim::fixed).is_some_and(|size| shape.first() == Some(&(size as i64)));
            if spelt && new.ty(operand).shape.first() != batch {
                let mut shape = shape.to_vec();
                shape[0] = 0;
                new.set_attr(id, "shape", shape.clone());
                attrs.set("shape", Attr::Ints(shape.into()));
            }
        }
        let operands: Vec<Option<TensorType>> =
            node.operands.iter().map(|operand| operand.map(|value| new.ty(value).clone())).collect();
        let types = registry
            .infer(op, &attrs, &operands)
            .map_err(|error| WithPlaces::new(error).at_loc(&node.loc, ""))?;
        for (result, ty) in (0..).zip(types) {
            // A grid that the operator does not infer stays the one that was chosen.
            let value = ValueId { node: id, result };
            let grid = graph.ty(value).grid.clone();
            let keep = grid.storage() == ty.storage();
            new.set_type(value, if keep { TensorType { shape: ty.shape, grid } } else { ty });
        }
    }
    *graph = new;
    Ok(())
}
