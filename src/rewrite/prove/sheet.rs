//! A graph under test: matched and built upon by the code of the engines, but nothing is replaced, so
//! that both sides are there at the end, and nothing is computed ahead, so that each side can be run
//! in the arithmetic of choice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::constant::Constant;
use super::super::cost::Cost;
use super::super::expr::Fact;
use super::super::matcher::{Broken, Hint, Make, Unbuilt, View, build, is_entry, matches};
use super::super::names::result_values;
use super::super::rule::Rule;
use crate::diag::Loc;
use crate::ir::{Attrs, Graph, Kind, NodeId, ValueId};
use crate::ops::Registry;
use crate::tensor::{Tensor, TensorType};

pub struct Sheet<'a> {
    pub graph: Graph,
    registry: &'a Registry,
    no_attrs: Attrs,
    /// Values that are constants by what they are computed from.
    computed: BTreeMap<ValueId, Constant>,
}

/// What came of a rule at a node.
pub enum Tried {
    NoMatch,
    /// Some expression of the right side has no value: the rule does not apply.
    Quiet,
    Broken(Broken),
    /// The values of the right side.
    Built(Vec<ValueId>),
}

impl<'a> Sheet<'a> {
    pub fn new(graph: Graph, registry: &'a Registry) -> Self {
        Self { graph, registry, no_attrs: Attrs::new(), computed: BTreeMap::new() }
    }

    /// Matches the rule at a node, and adds its right side to the graph.
    pub fn apply(&mut self, rule: &Rule, root: NodeId) -> Tried {
        let (found, _) = matches(self, rule, root);
        let Some(found) = found.into_iter().next() else { return Tried::NoMatch };
        match build(self, rule, &found) {
            Ok(values) => Tried::Built(values),
            Err(Unbuilt::Quiet) => Tried::Quiet,
            Err(Unbuilt::Broken(broken)) => Tried::Broken(*broken),
        }
    }

    fn constant(&self, value: ValueId) -> Option<Constant> {
        let given = self.graph.constant(value).map(|tensor| Constant::given(tensor.clone()));
        given.or_else(|| self.computed.get(&value).cloned())
    }

    /// What the operators cost that these values need; operators over constants cost nothing.
    pub fn cost(&self, values: &[ValueId]) -> Cost {
        let mut live: BTreeSet<NodeId> = BTreeSet::new();
        let mut left: Vec<NodeId> = values.iter().map(|value| value.node).collect();
        while let Some(node) = left.pop() {
            if live.insert(node) {
                left.extend(self.graph.node(node).operands.iter().flatten().map(|value| value.node));
            }
        }
        let cost = |id: NodeId| {
            let node = self.graph.node(id);
            let Kind::Op { op, attrs } = &node.kind else { return Cost::default() };
            let operands: Vec<Option<TensorType>> =
                node.operands.iter().map(|value| value.map(|value| self.graph.ty(value).clone())).collect();
            let constant = |at: usize| node.operand(at).is_some_and(|value| self.constant(value).is_some());
            if !operands.is_empty()
                && (0..operands.len()).all(|at| node.operand(at).is_none() || constant(at))
            {
                return Cost::default();
            }
            let results: Vec<TensorType> = node.results.iter().map(|value| value.ty.clone()).collect();
            Cost::of(self.registry, op, attrs, &operands, constant, &results)
        };
        live.into_iter().map(cost).fold(Cost::default(), |sum, cost| sum + cost)
    }
}

impl View for Sheet<'_> {
    type Value = ValueId;
    type Node = NodeId;

    fn makers(&self, value: ValueId, op: &str) -> Vec<NodeId> {
        let node = self.graph.node(value.node);
        if node.op() == Some(op) { vec![value.node] } else { Vec::new() }
    }

    fn results(&self, node: NodeId) -> Vec<ValueId> {
        let count = self.graph.node(node).results.len() as u32;
        (0..count).map(|result| ValueId { node, result }).collect()
    }

    fn operands(&self, node: NodeId) -> Vec<Option<ValueId>> {
        self.graph.node(node).operands.clone()
    }

    fn attrs(&self, node: NodeId) -> &Attrs {
        match &self.graph.node(node).kind {
            Kind::Op { attrs, .. } => attrs,
            Kind::Input | Kind::Const(_) => &self.no_attrs,
        }
    }

    fn fact(&self, value: ValueId) -> Fact {
        Fact {
            ty: self.graph.ty(value).clone(),
            constant: self.constant(value),
            entry: is_entry(&self.graph, value),
        }
    }

    fn single_use(&self, value: ValueId) -> bool {
        self.graph.use_count(value) == 1
    }

    fn circular(&self) -> bool {
        false
    }

    fn registry(&self) -> &Registry {
        self.registry
    }
}

impl Make for Sheet<'_> {
    fn make(
        &mut self,
        op: &Arc<str>,
        attrs: Attrs,
        operands: Vec<Option<ValueId>>,
        types: Vec<TensorType>,
        _: Hint,
    ) -> Vec<ValueId> {
        let known: Vec<Option<Constant>> =
            operands.iter().map(|value| value.and_then(|value| self.constant(value))).collect();
        let all = operands.iter().zip(&known).all(|(value, constant)| value.is_none() || constant.is_some());
        let constants = if all && operands.iter().any(Option::is_some) {
            let given: Vec<Option<&Constant>> = known.iter().map(Option::as_ref).collect();
            let of: Vec<Option<TensorType>> =
                operands.iter().map(|value| value.map(|value| self.graph.ty(value).clone())).collect();
            Constant::computed(self.registry, op, &attrs, &given, &of, &types)
        } else {
            None
        };
        let results = result_values(self.registry, op, op, &types);
        let node = self.graph.add_op(op, attrs, operands, results, Loc::unknown());
        let values: Vec<ValueId> = (0..types.len() as u32).map(|result| ValueId { node, result }).collect();
        self.computed.extend(values.iter().copied().zip(constants.into_iter().flatten()));
        values
    }

    fn tensor(&mut self, tensor: Arc<Tensor>) -> ValueId {
        self.graph.add_const("c", (*tensor).clone(), Loc::unknown())
    }

    fn node_name(&self, node: NodeId) -> Arc<str> {
        self.graph.node(node).name.clone()
    }

    fn loc(&self, node: NodeId) -> Loc {
        self.graph.node(node).loc.clone()
    }

    fn op(&self, node: NodeId) -> Arc<str> {
        self.graph.node(node).op().map_or_else(Arc::default, Arc::from)
    }
}
