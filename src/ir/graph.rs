//! The graph. The only file that knows petgraph.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

use super::names::Suffixes;
use super::{Attrs, ConstId, Constants};
use crate::diag::Loc;
use crate::tensor::{Tensor, TensorType};

/// A node of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NodeIndex);

/// A result of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId {
    pub node: NodeId,
    pub result: u32,
}

/// Calibrated extremes: one entry for the tensor, or one per index of axis 1.
#[derive(Clone, Debug)]
pub struct Range {
    pub lowest: Arc<[f32]>,
    pub highest: Arc<[f32]>,
}

// By bits: two ranges are equal when they print the same.
impl PartialEq for Range {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &[f32], b: &[f32]| a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()));
        same(&self.lowest, &other.lowest) && same(&self.highest, &other.highest)
    }
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Unique in the graph.
    pub name: Arc<str>,
    pub ty: TensorType,
    pub range: Option<Range>,
}

impl Value {
    pub fn new(name: impl Into<Arc<str>>, ty: TensorType) -> Self {
        Self { name: name.into(), ty, range: None }
    }
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// An input of the graph.
    Input,
    Const(ConstId),
    /// An operator of the registry, by its name there.
    Op {
        op: Arc<str>,
        attrs: Attrs,
    },
}

#[derive(Clone, Debug)]
pub struct Node {
    /// What the node is called in model files: the name of its first result unless it was given
    /// another. Need not be unique.
    pub name: Arc<str>,
    pub kind: Kind,
    /// By position of the operator's schema; `None` where an optional operand is absent. No
    /// trailing `None`.
    pub operands: Vec<Option<ValueId>>,
    pub results: Vec<Value>,
    pub loc: Loc,
    /// Creation number: ties of the topological order are broken by it.
    pub serial: u64,
}

impl Node {
    /// The operator's name; `None` for inputs and constants.
    pub fn op(&self) -> Option<&str> {
        match &self.kind {
            Kind::Op { op, .. } => Some(op),
            Kind::Input | Kind::Const(_) => None,
        }
    }

    /// The operand at `position`, if present.
    pub fn operand(&self, position: usize) -> Option<ValueId> {
        self.operands.get(position).copied().flatten()
    }
}

/// One reading of a value: operand `position` of `node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    pub node: NodeId,
    pub position: usize,
}

/// A result of the graph: the name it is known by outside, and the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub name: Arc<str>,
    pub value: ValueId,
}

/// A network.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub name: String,
    inner: StableDiGraph<Node, (u32, u32)>,
    inputs: Vec<NodeId>,
    outputs: Vec<Output>,
    /// Positions in `outputs` of each value there.
    read_outside: BTreeMap<ValueId, BTreeSet<usize>>,
    pub constants: Constants,
    names: BTreeMap<Arc<str>, ValueId>,
    suffixes: Suffixes,
    next_serial: u64,
}

impl Graph {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    // ---- building

    /// Adds a graph input. The name is made unique.
    pub fn add_input(&mut self, name: &str, ty: TensorType, loc: Loc) -> ValueId {
        let id = self.insert(Kind::Input, Vec::new(), vec![Value::new(name, ty)], loc);
        self.inputs.push(id);
        ValueId { node: id, result: 0 }
    }

    /// Adds a constant node over an interned tensor. Value and data get `name`, made unique.
    pub fn add_const(&mut self, name: &str, tensor: impl Into<Arc<Tensor>>, loc: Loc) -> ValueId {
        let id = self.constants.intern(name, tensor);
        self.add_const_ref(name, id, loc)
    }

    /// Adds a constant node over a tensor that the pool has.
    pub fn add_const_ref(&mut self, name: &str, id: ConstId, loc: Loc) -> ValueId {
        let ty = self.constants.tensor(id).tensor_type();
        let node = self.insert(Kind::Const(id), Vec::new(), vec![Value::new(name, ty)], loc);
        ValueId { node, result: 0 }
    }

    /// Adds an operator node, called as its first result. Names of `results` are made unique;
    /// trailing absent operands are dropped. Types are the caller's: `verify` checks them.
    pub fn add_op(
        &mut self,
        op: &str,
        attrs: Attrs,
        mut operands: Vec<Option<ValueId>>,
        results: Vec<Value>,
        loc: Loc,
    ) -> NodeId {
        while operands.last() == Some(&None) {
            operands.pop();
        }
        self.insert(Kind::Op { op: op.into(), attrs }, operands, results, loc)
    }

    pub fn add_output(&mut self, name: impl Into<Arc<str>>, value: ValueId) {
        self.read_outside.entry(value).or_default().insert(self.outputs.len());
        self.outputs.push(Output { name: name.into(), value });
    }

    fn insert(
        &mut self,
        kind: Kind,
        operands: Vec<Option<ValueId>>,
        mut results: Vec<Value>,
        loc: Loc,
    ) -> NodeId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let mut names: Vec<Arc<str>> = Vec::new();
        for value in &mut results {
            value.name = self
                .suffixes
                .unique(&value.name, |name| {
                    self.names.contains_key(name) || names.iter().any(|taken| &**taken == name)
                })
                .into();
            names.push(value.name.clone());
        }
        let name = results.first().map(|value| value.name.clone()).unwrap_or_default();
        let edges: Vec<Option<ValueId>> = operands.clone();
        let id = NodeId(self.inner.add_node(Node { name, kind, operands, results, loc, serial }));
        for (result, name) in (0..).zip(names) {
            self.names.insert(name, ValueId { node: id, result });
        }
        for (position, value) in edges.into_iter().enumerate() {
            self.link(id, position, value);
        }
        id
    }

    fn link(&mut self, node: NodeId, position: usize, value: Option<ValueId>) {
        if let Some(value) = value {
            // The weight is (operand position, result index); operand lists are short.
            self.inner.add_edge(value.node.0, node.0, (position as u32, value.result));
        }
    }

    // ---- reading

    pub fn node(&self, id: NodeId) -> &Node {
        &self.inner[id.0]
    }

    pub fn value(&self, id: ValueId) -> &Value {
        &self.node(id.node).results[id.result as usize]
    }

    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.value(id).ty
    }

    pub fn contains(&self, id: NodeId) -> bool {
        self.inner.contains_node(id.0)
    }

    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of each graph input, in order.
    pub fn inputs(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().map(|&node| ValueId { node, result: 0 })
    }

    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    pub fn is_output(&self, value: ValueId) -> bool {
        self.read_outside.contains_key(&value)
    }

    /// The tensor of a value that a constant node makes.
    pub fn constant(&self, id: ValueId) -> Option<&Arc<Tensor>> {
        match self.node(id.node).kind {
            Kind::Const(constant) => Some(self.constants.tensor(constant)),
            _ => None,
        }
    }

    /// The value of that name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }

    /// Who reads the value, ordered by creation and position. Graph outputs are not in it.
    pub fn uses(&self, value: ValueId) -> Vec<Use> {
        let mut uses: Vec<Use> = self
            .inner
            .edges_directed(value.node.0, Direction::Outgoing)
            .filter(|edge| edge.weight().1 == value.result)
            .map(|edge| Use { node: NodeId(edge.target()), position: edge.weight().0 as usize })
            .collect();
        uses.sort_by_key(|at| (self.node(at.node).serial, at.position));
        uses
    }

    /// Number of readings, each graph output counting as one.
    pub fn use_count(&self, value: ValueId) -> usize {
        let edges = self.inner.edges_directed(value.node.0, Direction::Outgoing);
        let inside = edges.filter(|edge| edge.weight().1 == value.result).count();
        inside + self.read_outside.get(&value).map_or(0, BTreeSet::len)
    }

    pub fn values(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inner.node_indices().flat_map(move |index| {
            (0..self.inner[index].results.len() as u32)
                .map(move |result| ValueId { node: NodeId(index), result })
        })
    }

    /// All nodes in the canonical topological order: the inputs as they are listed, then of the
    /// nodes whose operands are done, the one created first comes next. Nodes on a cycle are left
    /// out (`verify` reports them).
    pub fn order(&self) -> Vec<NodeId> {
        self.order_by(|id| self.node(id).serial)
    }

    /// As [`Graph::order`], with the least key in place of the first created.
    fn order_by<K: Ord>(&self, key: impl Fn(NodeId) -> K) -> Vec<NodeId> {
        let listed: BTreeMap<NodeId, u64> = self.inputs.iter().copied().zip(0..).collect();
        // `Some` sorts after `None`: inputs before all else.
        let key = |id: NodeId| match listed.get(&id) {
            Some(&position) => Reverse((None, position, id)),
            None => Reverse((Some(key(id)), self.node(id).serial, id)),
        };
        let mut waiting: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut ready = BinaryHeap::new();
        for index in self.inner.node_indices() {
            let id = NodeId(index);
            match self.inner.edges_directed(index, Direction::Incoming).count() {
                0 => ready.push(key(id)),
                pending => {
                    waiting.insert(id, pending);
                }
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse((_, _, id))) = ready.pop() {
            order.push(id);
            for edge in self.inner.edges_directed(id.0, Direction::Outgoing) {
                let target = NodeId(edge.target());
                if let Some(pending) = waiting.get_mut(&target) {
                    *pending -= 1;
                    if *pending == 0 {
                        waiting.remove(&target);
                        ready.push(key(target));
                    }
                }
            }
        }
        order
    }

    /// Whether edges and operand lists agree: an invariant of this type, checked by `verify`.
    pub fn edges_mirror_operands(&self) -> bool {
        self.inner.node_indices().all(|index| {
            let mut edges: Vec<_> = self
                .inner
                .edges_directed(index, Direction::Incoming)
                .map(|edge| (edge.weight().0 as usize, NodeId(edge.source()), edge.weight().1))
                .collect();
            edges.sort();
            let operands = self.inner[index].operands.iter().enumerate();
            edges.into_iter().eq(operands.filter_map(|(at, v)| v.map(|v| (at, v.node, v.result))))
        })
    }

    // ---- changing

    /// Gives operand `position` of `node` another value.
    pub fn set_operand(&mut self, at: Use, value: ValueId) {
        self.inner[at.node.0].operands[at.position] = Some(value);
        let old = self
            .inner
            .edges_directed(at.node.0, Direction::Incoming)
            .find(|edge| edge.weight().0 as usize == at.position)
            .map(|edge| edge.id());
        if let Some(edge) = old {
            self.inner.remove_edge(edge);
        }
        self.link(at.node, at.position, Some(value));
    }

    /// Makes every reader of `old`, graph outputs included, read `new`.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for at in self.uses(old) {
            self.set_operand(at, new);
        }
        for index in self.read_outside.get(&old).cloned().into_iter().flatten() {
            self.set_output(index, new);
        }
    }

    /// Makes graph output `index` another value.
    pub fn set_output(&mut self, index: usize, value: ValueId) {
        let old = std::mem::replace(&mut self.outputs[index].value, value);
        if let Some(positions) = self.read_outside.get_mut(&old) {
            positions.remove(&index);
            if positions.is_empty() {
                self.read_outside.remove(&old);
            }
        }
        self.read_outside.entry(value).or_default().insert(index);
    }

    pub fn rename_output(&mut self, index: usize, name: impl Into<Arc<str>>) {
        self.outputs[index].name = name.into();
    }

    pub fn set_type(&mut self, id: ValueId, ty: TensorType) {
        self.inner[id.node.0].results[id.result as usize].ty = ty;
    }

    pub fn set_range(&mut self, id: ValueId, range: Option<Range>) {
        self.inner[id.node.0].results[id.result as usize].range = range;
    }

    pub fn set_loc(&mut self, id: NodeId, loc: Loc) {
        self.inner[id.0].loc = loc;
    }

    /// Sets one attribute of an operator node.
    pub fn set_attr(&mut self, id: NodeId, name: &str, value: impl Into<super::Attr>) {
        if let Kind::Op { attrs, .. } = &mut self.inner[id.0].kind {
            attrs.set(name, value);
        }
    }

    /// What the node is called in model files.
    pub fn set_node_name(&mut self, id: NodeId, name: impl Into<Arc<str>>) {
        self.inner[id.0].name = name.into();
    }

    /// Gives the value the name, taking it from the value that has it (which gets another). A
    /// node that was called as its first result still is.
    pub fn take_name(&mut self, id: ValueId, name: &str) {
        if &*self.value(id).name == name {
            return;
        }
        if let Some(holder) = self.find(name) {
            let other = self.suffixes.unique(name, |candidate| self.names.contains_key(candidate)).into();
            self.rename(holder, other);
        }
        self.rename(id, name.into());
    }

    fn rename(&mut self, id: ValueId, name: Arc<str>) {
        let node = &mut self.inner[id.node.0];
        let old = std::mem::replace(&mut node.results[id.result as usize].name, name.clone());
        if id.result == 0 && node.name == old {
            node.name = name.clone();
        }
        if self.names.get(&old) == Some(&id) {
            self.names.remove(&old);
        }
        self.names.insert(name, id);
    }

    /// Numbers the nodes anew, as if they had been created in the topological order in which of
    /// the nodes whose operands are done the one with the least key comes next: a rewrite gives
    /// new nodes the place of those they replace. The graph has no cycles.
    pub fn renumber<K: Ord>(&mut self, key: impl Fn(NodeId) -> K) {
        let order = self.order_by(key);
        self.next_serial = order.len() as u64;
        for (serial, id) in (0..).zip(order) {
            self.inner[id.0].serial = serial;
        }
    }

    /// Removes the operator or constant if nothing reads its results, then whatever is no longer
    /// read because of that.
    pub fn prune(&mut self, id: NodeId) {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            let used = !self.contains(id)
                || self.node(id).kind == Kind::Input
                || self.inner.edges_directed(id.0, Direction::Outgoing).next().is_some()
                || (0..self.node(id).results.len() as u32)
                    .any(|result| self.is_output(ValueId { node: id, result }));
            if used {
                continue;
            }
            if let Some(node) = self.inner.remove_node(id.0) {
                for (result, value) in (0..).zip(&node.results) {
                    if self.names.get(&value.name) == Some(&ValueId { node: id, result }) {
                        self.names.remove(&value.name);
                    }
                }
                stack.extend(node.operands.iter().flatten().map(|value| value.node));
            }
        }
    }

    /// Removes every operator and constant from which no output can be reached. Inputs stay.
    pub fn remove_dead(&mut self) {
        let mut live: BTreeSet<NodeId> = self.inputs.iter().copied().collect();
        let mut stack: Vec<NodeId> = self.outputs.iter().map(|output| output.value.node).collect();
        while let Some(id) = stack.pop() {
            if live.insert(id) {
                stack.extend(self.node(id).operands.iter().flatten().map(|value| value.node));
            }
        }
        for value in self.values().filter(|v| !live.contains(&v.node)).collect::<Vec<_>>() {
            let name = self.value(value).name.clone();
            self.names.remove(&name);
        }
        self.inner.retain_nodes(|_, index| live.contains(&NodeId(index)));
    }

    /// Whether both graphs print the same: names, kinds, attributes, wiring, types, ranges,
    /// imported locations and constant contents.
    pub fn same_as(&self, other: &Graph) -> bool {
        let (mine, theirs) = (self.order(), other.order());
        let place = |order: &[NodeId]| -> BTreeMap<NodeId, usize> {
            order.iter().enumerate().map(|(at, &id)| (id, at)).collect()
        };
        let (my_place, their_place) = (place(&mine), place(&theirs));
        let same_value = |a: ValueId, b: ValueId| {
            let places = my_place.get(&a.node).zip(their_place.get(&b.node));
            places.is_some_and(|(a, b)| a == b) && a.result == b.result
        };
        let same_node = |a: &Node, b: &Node| {
            let kind = match (&a.kind, &b.kind) {
                (Kind::Const(x), Kind::Const(y)) => {
                    self.constants.content(*x) == other.constants.content(*y)
                        && self.constants.name(*x) == other.constants.name(*y)
                }
                (x, y) => x == y,
            };
            kind && a.name == b.name
                && a.results == b.results
                && a.loc.nodes().eq(b.loc.nodes())
                && a.operands.len() == b.operands.len()
                && a.operands.iter().zip(&b.operands).all(|(x, y)| match (x, y) {
                    (Some(x), Some(y)) => same_value(*x, *y),
                    (None, None) => true,
                    _ => false,
                })
        };
        self.name == other.name
            && mine.len() == theirs.len()
            && mine.iter().zip(&theirs).all(|(&a, &b)| same_node(self.node(a), other.node(b)))
            && self.inputs().count() == other.inputs().count()
            && self.inputs().zip(other.inputs()).all(|(a, b)| same_value(a, b))
            && self.outputs.len() == other.outputs.len()
            && self
                .outputs
                .iter()
                .zip(&other.outputs)
                .all(|(a, b)| a.name == b.name && same_value(a.value, b.value))
    }
}
