//! A graph to try rules on without changing it.

use std::sync::Arc;

use super::constant::Constant;
use super::expr::Fact;
use super::matcher::{Hint, Make, View, is_entry};
use crate::diag::Loc;
use crate::ir::{Attrs, Graph, Kind, NodeId, ValueId};
use crate::ops::Registry;
use crate::tensor::{Tensor, TensorType};

/// A value of the graph, or one that the right side that is tried would make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Val {
    Old(ValueId),
    /// Position in [`Sketch::made`], and result.
    New(usize, u32),
}

/// What a right side would make.
pub struct Made {
    /// Empty for a constant.
    pub op: Arc<str>,
    types: Vec<TensorType>,
    /// As many as `types`, or none.
    constants: Vec<Constant>,
}

pub struct Sketch<'a> {
    pub graph: &'a Graph,
    pub registry: &'a Registry,
    /// No pattern looks behind this value.
    pub until: Option<ValueId>,
    /// No pattern looks behind a value that has several readers.
    pub once: bool,
    /// What the right side that was tried last would make.
    pub made: Vec<Made>,
    no_attrs: Attrs,
}

impl<'a> Sketch<'a> {
    pub fn new(graph: &'a Graph, registry: &'a Registry, until: Option<ValueId>, once: bool) -> Self {
        Self { graph, registry, until, once, made: Vec::new(), no_attrs: Attrs::new() }
    }
}

impl View for Sketch<'_> {
    type Value = Val;
    type Node = NodeId;

    fn makers(&self, value: Val, op: &str) -> Vec<NodeId> {
        let Val::Old(old) = value else { return Vec::new() };
        let node = self.graph.node(old.node);
        let seen = self.until != Some(old) && (!self.once || self.single_use(value));
        if node.op() == Some(op) && seen { vec![old.node] } else { Vec::new() }
    }

    fn results(&self, node: NodeId) -> Vec<Val> {
        let count = self.graph.node(node).results.len() as u32;
        (0..count).map(|result| Val::Old(ValueId { node, result })).collect()
    }

    fn operands(&self, node: NodeId) -> Vec<Option<Val>> {
        self.graph.node(node).operands.iter().map(|value| value.map(Val::Old)).collect()
    }

    fn attrs(&self, node: NodeId) -> &Attrs {
        match &self.graph.node(node).kind {
            Kind::Op { attrs, .. } => attrs,
            Kind::Input | Kind::Const(_) => &self.no_attrs,
        }
    }

    fn fact(&self, value: Val) -> Fact {
        match value {
            Val::Old(value) => Fact {
                ty: self.graph.ty(value).clone(),
                constant: self.graph.constant(value).map(|tensor| Constant::given(tensor.clone())),
                entry: is_entry(self.graph, value),
            },
            Val::New(at, result) => {
                // `make` and `tensor` give positions of what they push.
                let made = &self.made[at];
                let result = result as usize;
                let constant = made.constants.get(result).cloned();
                Fact { ty: made.types[result].clone(), constant, entry: false }
            }
        }
    }

    fn single_use(&self, value: Val) -> bool {
        let Val::Old(value) = value else { return false };
        self.graph.use_count(value) + usize::from(self.until == Some(value)) == 1
    }

    fn circular(&self) -> bool {
        false
    }

    fn registry(&self) -> &Registry {
        self.registry
    }
}

impl Make for Sketch<'_> {
    fn make(
        &mut self,
        op: &Arc<str>,
        attrs: Attrs,
        operands: Vec<Option<Val>>,
        types: Vec<TensorType>,
        _: Hint,
    ) -> Vec<Val> {
        let facts: Vec<Option<Fact>> =
            operands.iter().map(|value| value.map(|value| self.fact(value))).collect();
        let known = !facts.is_empty() && facts.iter().flatten().all(|fact| fact.constant.is_some());
        let constants = known.then(|| {
            let given: Vec<_> = facts.iter().map(|fact| fact.as_ref()?.constant.as_ref()).collect();
            let operand_types: Vec<_> = facts.iter().map(|fact| Some(fact.as_ref()?.ty.clone())).collect();
            Constant::computed(self.registry, op, &attrs, &given, &operand_types, &types)
        });
        let (at, count) = (self.made.len(), types.len() as u32);
        self.made.push(Made { op: op.clone(), types, constants: constants.flatten().unwrap_or_default() });
        (0..count).map(|result| Val::New(at, result)).collect()
    }

    fn tensor(&mut self, tensor: Arc<Tensor>) -> Val {
        let (types, constants) = (vec![tensor.tensor_type()], vec![Constant::given(tensor)]);
        self.made.push(Made { op: Arc::default(), types, constants });
        Val::New(self.made.len() - 1, 0)
    }

    fn node_name(&self, node: NodeId) -> Arc<str> {
        self.graph.node(node).name.clone()
    }

    fn loc(&self, node: NodeId) -> Loc {
        self.graph.node(node).loc.clone()
    }

    fn op(&self, node: NodeId) -> Arc<str> {
        self.graph.node(node).op().unwrap_or_default().into()
    }
}
