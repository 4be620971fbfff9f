//! The integer form of a layer as a node of a graph.

use super::operator::{FixedForm, FixedOperand};
use crate::diag::Loc;
use crate::ir::{Graph, Value, ValueId};
use crate::tensor::{Grid, Shape, TensorType};

/// What the node of a layer is called, and its result.
#[derive(Clone, Copy, Debug)]
pub struct LayerNames<'a> {
    pub node: &'a str,
    pub result: &'a str,
}

impl FixedForm {
    /// Adds the node and its constants. `kept` gives the value of each operand that is kept, `shape` is that of the float
    /// form's result.
    pub fn add(
        self,
        graph: &mut Graph,
        op: &str,
        shape: Shape,
        names: LayerNames,
        loc: &Loc,
        kept: impl Fn(usize) -> Option<ValueId>,
    ) -> ValueId {
        let mut operands = Vec::new();
        for slot in self.operands {
            operands.push(match slot {
                FixedOperand::Absent => None,
                FixedOperand::Keep(position) => kept(position),
                FixedOperand::Constant { suffix, tensor, grid } => {
                    let shape = tensor.tensor_type().shape;
                    let value = graph.add_const(&format!("{}_{suffix}", names.node), tensor, loc.clone());
                    graph.set_type(value, TensorType { shape, grid: Grid::Fixed(grid) });
                    Some(value)
                }
            });
        }
        let value = Value::new(names.result, TensorType { shape, grid: Grid::Fixed(self.grid) });
        let node = graph.add_op(op, self.attrs, operands, vec![value], loc.clone());
        graph.set_node_name(node, names.node);
        ValueId { node, result: 0 }
    }
}
