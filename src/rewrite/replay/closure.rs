//! Equal values of graphs, closed under congruence: a graph for the matcher and the builder that
//! shares nothing with the engines but the rules' meaning.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::diag::Loc;
use crate::ir::{Attrs, ConstId, Constants, Graph, Kind, NodeId, ValueId};
use crate::ops::Registry;
use crate::rewrite::constant::Constant;
use crate::rewrite::expr::Fact;
use crate::rewrite::matcher::{ENTRY, Hint, Make, View};
use crate::tensor::{Tensor, TensorType};

/// What a node is but for its operands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Head {
    /// By position among the inputs of the graph.
    Input(usize),
    Const(ConstId),
    Op(Arc<str>, Attrs),
}

/// Nodes of the same key make equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    head: Head,
    types: Vec<TensorType>,
    operands: Vec<Option<usize>>,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Types follow from the rest but for grids that nodes declare.
        (&self.head, &self.operands).hash(state);
    }
}

struct Node {
    head: Head,
    types: Vec<TensorType>,
    operands: Vec<Option<usize>>,
    results: Vec<usize>,
}

/// What is known of equal values.
#[derive(Default)]
struct Class {
    /// The nodes that read one of them.
    readers: Vec<usize>,
    constant: Option<Constant>,
    /// Whether the constant itself is among them.
    literal: bool,
    entry: bool,
}

/// Values are numbers; so are nodes.
pub struct Closure<'a> {
    registry: &'a Registry,
    constants: Constants,
    nodes: Vec<Node>,
    known: HashMap<Key, usize>,
    /// Of values.
    types: Vec<TensorType>,
    /// Union-find of values.
    parent: Vec<usize>,
    /// Of values that stand for all that are equal to them.
    classes: Vec<Class>,
    /// Nodes of whose operands more is known than they were looked at with.
    pending: Vec<usize>,
    /// The nodes asked for since this was last emptied.
    pub made: Vec<usize>,
    no_attrs: Attrs,
}

impl<'a> Closure<'a> {
    pub fn new(registry: &'a Registry) -> Self {
        Self {
            registry,
            constants: Constants::default(),
            nodes: Vec::new(),
            known: HashMap::new(),
            types: Vec::new(),
            parent: Vec::new(),
            classes: Vec::new(),
            pending: Vec::new(),
            made: Vec::new(),
            no_attrs: Attrs::new(),
        }
    }

    /// Adds a graph; gives the node of each of its nodes.
    pub fn add_graph(&mut self, graph: &Graph) -> BTreeMap<NodeId, usize> {
        let inputs: BTreeMap<NodeId, usize> = graph.inputs().map(|value| value.node).zip(0..).collect();
        let mut nodes: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in graph.order() {
            let node = graph.node(id);
            let types = node.results.iter().map(|value| value.ty.clone()).collect();
            let head = match &node.kind {
                Kind::Input => Head::Input(inputs.get(&id).copied().unwrap_or_default()),
                Kind::Const(constant) => {
                    Head::Const(self.constants.intern("", (**graph.constants.tensor(*constant)).clone()))
                }
                Kind::Op { op, attrs } => Head::Op(op.clone(), attrs.clone()),
            };
            let operands = node.operands.iter().map(|value| self.value_of(&nodes, (*value)?)).collect();
            let node = self.add(head, types, operands);
            nodes.insert(id, node);
        }
        self.close();
        nodes
    }

    /// The value of a graph that was added.
    pub fn value_of(&self, nodes: &BTreeMap<NodeId, usize>, value: ValueId) -> Option<usize> {
        let node = self.nodes.get(*nodes.get(&value.node)?)?;
        Some(self.find(*node.results.get(value.result as usize)?))
    }

    fn find(&self, mut value: usize) -> usize {
        while self.parent[value] != value {
            value = self.parent[value];
        }
        value
    }

    fn key(&self, node: &Node) -> Key {
        let operands = node.operands.iter().map(|value| value.map(|value| self.find(value))).collect();
        Key { head: node.head.clone(), types: node.types.clone(), operands }
    }

    fn add(&mut self, head: Head, types: Vec<TensorType>, operands: Vec<Option<usize>>) -> usize {
        let mut node = Node { head, types, operands, results: Vec::new() };
        let key = self.key(&node);
        if let Some(&equal) = self.known.get(&key) {
            return equal;
        }
        let at = self.nodes.len();
        self.known.insert(key, at);
        for ty in &node.types {
            let value = self.types.len();
            self.types.push(ty.clone());
            self.parent.push(value);
            self.classes.push(Class::default());
            node.results.push(value);
        }
        for &value in node.operands.iter().flatten() {
            let class = self.find(value);
            self.classes[class].readers.push(at);
        }
        self.nodes.push(node);
        self.learn(at);
        at
    }

    /// Notes what follows for the results of a node from what is known of its operands.
    fn learn(&mut self, at: usize) {
        let node = &self.nodes[at];
        let fact = |value: &Option<usize>| value.map(|value| self.fact(value));
        let (constants, literal, entry) = match &node.head {
            Head::Input(_) => (None, false, true),
            Head::Const(id) => (Some(vec![Constant::given(self.constants.tensor(*id).clone())]), true, false),
            Head::Op(op, attrs) => {
                let operands: Vec<Option<Fact>> = node.operands.iter().map(fact).collect();
                let constant = |fact: &Option<Fact>| fact.as_ref().is_none_or(|fact| fact.constant.is_some());
                let known = !operands.is_empty() && operands.iter().all(constant);
                let given: Vec<_> = operands
                    .iter()
                    .map(|fact| fact.as_ref().and_then(|fact| fact.constant.as_ref()))
                    .collect();
                let types: Vec<_> =
                    operands.iter().map(|fact| fact.as_ref().map(|fact| fact.ty.clone())).collect();
                let constants = known
                    .then(|| Constant::computed(self.registry, op, attrs, &given, &types, &node.types))
                    .flatten();
                let first = operands.first().and_then(Option::as_ref);
                let entry = ENTRY.contains(&&**op) && first.is_some_and(|fact| fact.entry);
                (constants, false, entry)
            }
        };
        let results = node.results.clone();
        for (at, value) in results.into_iter().enumerate() {
            let constant = constants.as_ref().and_then(|constants| constants.get(at)).cloned();
            let class = self.find(value);
            let known = &mut self.classes[class];
            let news = (constant.is_some() && known.constant.is_none()) || (entry && !known.entry);
            if constant.is_some() && (known.constant.is_none() || (literal && !known.literal)) {
                known.constant = constant;
            }
            known.literal |= literal;
            known.entry |= entry;
            if news {
                self.pending.extend(known.readers.clone());
                self.evaluate(class);
            }
        }
    }

    /// A constant equals the tensor that it evaluates to.
    fn evaluate(&mut self, class: usize) {
        let known = &self.classes[class];
        let Some(constant) = known.constant.clone().filter(|_| !known.literal) else { return };
        if let Ok(tensor) = constant.tensor(self.registry) {
            let value = self.tensor(tensor);
            self.union(class, value);
        }
    }

    /// Makes two values one. What follows from it is known once the closure is [closed](Self::close).
    pub fn union(&mut self, a: usize, b: usize) {
        let (mut to, mut from) = (self.find(a), self.find(b));
        if to == from {
            return;
        }
        if self.classes[to].readers.len() < self.classes[from].readers.len() {
            std::mem::swap(&mut to, &mut from);
        }
        self.parent[from] = to;
        let gone = std::mem::take(&mut self.classes[from]);
        // The keys of those who read the value that is no more change.
        self.pending.extend(&gone.readers);
        let known = &mut self.classes[to];
        let news = (gone.constant.is_some() && known.constant.is_none()) || (gone.entry && !known.entry);
        if news {
            self.pending.extend(&known.readers);
        }
        if gone.constant.is_some() && (known.constant.is_none() || (gone.literal && !known.literal)) {
            known.constant = gone.constant;
        }
        known.literal |= gone.literal;
        known.entry |= gone.entry;
        known.readers.extend(gone.readers);
    }

    /// Makes equal what follows from what is equal.
    pub fn close(&mut self) {
        while let Some(at) = self.pending.pop() {
            let key = self.key(&self.nodes[at]);
            let other = *self.known.entry(key).or_insert(at);
            let pairs = self.nodes[at].results.iter().zip(&self.nodes[other].results);
            for (a, b) in pairs.map(|(&a, &b)| (a, b)).collect::<Vec<_>>() {
                self.union(a, b);
            }
            self.learn(at);
        }
    }
}

impl View for Closure<'_> {
    type Value = usize;
    type Node = usize;

    /// What is matched is told by the record: see [`Guided`].
    fn makers(&self, _: usize, _: &str) -> Vec<usize> {
        Vec::new()
    }

    fn results(&self, node: usize) -> Vec<usize> {
        self.nodes[node].results.iter().map(|&value| self.find(value)).collect()
    }

    fn operands(&self, node: usize) -> Vec<Option<usize>> {
        self.nodes[node].operands.iter().map(|value| value.map(|value| self.find(value))).collect()
    }

    fn attrs(&self, node: usize) -> &Attrs {
        match &self.nodes[node].head {
            Head::Op(_, attrs) => attrs,
            Head::Input(_) | Head::Const(_) => &self.no_attrs,
        }
    }

    fn fact(&self, value: usize) -> Fact {
        let class = &self.classes[self.find(value)];
        Fact { ty: self.types[value].clone(), constant: class.constant.clone(), entry: class.entry }
    }

    fn single_use(&self, _: usize) -> bool {
        false
    }

    fn circular(&self) -> bool {
        false
    }

    fn registry(&self) -> &Registry {
        self.registry
    }
}

impl Make for Closure<'_> {
    fn make(
        &mut self,
        op: &Arc<str>,
        attrs: Attrs,
        operands: Vec<Option<usize>>,
        types: Vec<TensorType>,
        _: Hint,
    ) -> Vec<usize> {
        let node = self.add(Head::Op(op.clone(), attrs), types, operands);
        self.made.push(node);
        self.results(node)
    }

    fn tensor(&mut self, tensor: Arc<Tensor>) -> usize {
        let id = self.constants.intern("", (*tensor).clone());
        let literal = self.add(Head::Const(id), vec![tensor.tensor_type()], Vec::new());
        // A constant has one result.
        self.find(self.nodes[literal].results[0])
    }

    fn node_name(&self, _: usize) -> Arc<str> {
        Arc::default()
    }

    fn loc(&self, _: usize) -> Loc {
        Loc::unknown()
    }

    fn op(&self, node: usize) -> Arc<str> {
        match &self.nodes[node].head {
            Head::Op(op, _) => op.clone(),
            Head::Input(_) | Head::Const(_) => Arc::default(),
        }
    }
}

/// A closure in which nothing is to be matched but certain nodes.
pub struct Guided<'c, 'a> {
    pub closure: &'c Closure<'a>,
    /// Outermost first.
    pub nodes: &'c [usize],
    /// For each node, whether each of its results was read once when the run began, if it was there then.
    pub single: Vec<Option<Vec<bool>>>,
}

impl View for Guided<'_, '_> {
    type Value = usize;
    type Node = usize;

    fn makers(&self, value: usize, op: &str) -> Vec<usize> {
        let makes = |node: &usize| *self.closure.op(*node) == *op && self.results(*node).contains(&value);
        self.nodes.iter().copied().filter(makes).collect()
    }

    fn results(&self, node: usize) -> Vec<usize> {
        self.closure.results(node)
    }

    fn operands(&self, node: usize) -> Vec<Option<usize>> {
        self.closure.operands(node)
    }

    fn attrs(&self, node: usize) -> &Attrs {
        self.closure.attrs(node)
    }

    fn fact(&self, value: usize) -> Fact {
        self.closure.fact(value)
    }

    fn single_use(&self, value: usize) -> bool {
        // Of a value that rules made only the run itself knew the readers: equality does not rest on them.
        let of = |(&node, single): (&usize, &Option<Vec<bool>>)| {
            let at = self.results(node).iter().position(|&result| result == value)?;
            Some(single.as_ref().is_none_or(|single| single.get(at).copied().unwrap_or(false)))
        };
        let mut known = self.nodes.iter().zip(&self.single).filter_map(of).peekable();
        known.peek().is_none() || known.any(|single| single)
    }

    /// Old forms are here beside the new, and what they were matched with may be their equal by now.
    fn circular(&self) -> bool {
        true
    }

    fn registry(&self) -> &Registry {
        self.closure.registry
    }
}
