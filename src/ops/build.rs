//! Adding well-typed nodes to a graph.

use super::{OpError, Registry};
use crate::diag::Loc;
use crate::ir::{Attrs, Graph, NodeId, Value, ValueId};

/// Adds operator nodes, filling defaults and inferring types. All get the same location.
pub struct Builder<'a> {
    pub graph: &'a mut Graph,
    pub registry: &'a Registry,
    pub loc: Loc,
}

impl Builder<'_> {
    /// Adds a node whose results are called `name` (made unique; with several results,
    /// `name_<result>`).
    pub fn node(
        &mut self,
        op: &str,
        attrs: Attrs,
        operands: Vec<Option<ValueId>>,
        name: &str,
    ) -> Result<NodeId, OpError> {
        let attrs = self.registry.complete(op, attrs)?;
        let operand_types: Vec<_> =
            operands.iter().map(|operand| operand.map(|value| self.graph.ty(value).clone())).collect();
        let types = self.registry.infer(op, &attrs, &operand_types)?;
        let schema = &self.registry.get(op)?.schema;
        let count = types.len();
        let results = types
            .into_iter()
            .enumerate()
            .map(|(at, ty)| Value::new(schema.result_name(name, at, count), ty))
            .collect();
        Ok(self.graph.add_op(op, attrs, operands, results, self.loc.clone()))
    }

    /// Adds a node with one result and only present operands.
    pub fn op(
        &mut self,
        op: &str,
        attrs: Attrs,
        operands: &[ValueId],
        name: &str,
    ) -> Result<ValueId, OpError> {
        let operands = operands.iter().copied().map(Some).collect();
        Ok(ValueId { node: self.node(op, attrs, operands, name)?, result: 0 })
    }
}
