//! All equal forms of a graph at once. The only file that knows egg.
//!
//! A graph goes in and a graph comes out: the cheapest that the rules can reach, changed in place
//! where it differs. Nothing here depends on time, threads or the order of a hash map. A value is
//! a class of nodes that make it; the facts of a class are its types, its constant where it has
//! one, and the values of the graph that it stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egg::{Analysis, DidMerge, EGraph, Id, Language};
use indexmap::IndexSet;

use super::Options;
use super::constant::Constant;
use super::expr::Fact;
use super::forms::{Application, Class, Classes, Form, Maker, Origin};
use super::log::{Limit, Log, Refused};
use super::matcher::{ENTRY, Hint, Make, Match, Unbuilt, View, build, explain, matches};
use super::news;
use super::news::{FACTS, Fresh, MERGED, News, RESULT, bit};
use super::report;
use super::rule::{Rule, Ruleset};
use crate::diag::Loc;
use crate::ir::{Attrs, ConstId, Constants, Graph, Kind, NodeId, ValueId};
use crate::ops::Registry;
use crate::tensor::{Tensor, TensorType};

/// A node of the e-graph. Nodes are equal when operator, attributes, result types and operand
/// classes are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ENode {
    /// [`LEAF`], [`PROJ`], or an operator of [`Facts::ops`] behind these two.
    op: usize,
    /// Position in [`Facts::heads`].
    head: usize,
    children: Box<[Id]>,
}

const LEAF: usize = 0;
const PROJ: usize = 1;
const FIRST_OP: usize = 2;

impl Language for ENode {
    type Discriminant = usize;

    fn discriminant(&self) -> usize {
        self.op
    }

    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// All of a node but its operands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Head {
    Absent,
    Input(ValueId, TensorType),
    /// The readers' side of a value that must stay: no rule looks behind it.
    Behind(ValueId, TensorType),
    Const(Pool, ConstId, TensorType),
    Proj(usize),
    Op {
        op: Arc<str>,
        attrs: Attrs,
        types: Vec<TensorType>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pool {
    Graph,
    Scratch,
}

// Types are left out of the hash: they follow from the rest but for grids that nodes declare.
impl std::hash::Hash for Head {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Head::Absent => 0.hash(state),
            Head::Input(value, _) | Head::Behind(value, _) => value.hash(state),
            Head::Const(pool, id, _) => (pool, id).hash(state),
            Head::Proj(result) => result.hash(state),
            Head::Op { op, attrs, .. } => (op, attrs).hash(state),
        }
    }
}

/// What the e-graph knows.
struct Facts<'a> {
    registry: &'a Registry,
    heads: IndexSet<Head>,
    ops: IndexSet<Arc<str>>,
    /// The constants of the graph.
    graph: &'a Constants,
    /// Small and computed constants.
    scratch: Constants,
    /// Classes that are new, were merged, or of which more is known, since the last rebuild.
    touched: Vec<Id>,
    /// Number of nodes as of the last rebuild: nodes from here on are new.
    known: usize,
}

/// What is known of a class.
#[derive(Clone, Debug, Default)]
struct Data {
    types: Vec<TensorType>,
    /// As many as `types`, or none.
    constants: Vec<Constant>,
    /// Whether a node of the class is the constant itself.
    literal: bool,
    /// See [`Fact`].
    entry: bool,
    /// The values of the graph that it stands for, as positions in [`Region::values`], ascending.
    values: Vec<usize>,
    /// Creation numbers of its nodes, ascending; as of the last rebuild, of equal nodes the first.
    forms: Vec<usize>,
    /// Operators of its nodes, as bits.
    ops: u64,
    /// What those who read the class as of the last rebuild did not see in it then, as bits.
    gained: u64,
}

/// Constants of up to so many elements are interned by content, wherever they come from.
const SMALL: usize = 1024;

impl Analysis<ENode> for Facts<'_> {
    type Data = Data;

    fn make(egraph: &mut EGraph<ENode, Self>, node: &ENode, id: Id) -> Data {
        let ops = match node.op {
            PROJ => RESULT,
            op => op.checked_sub(FIRST_OP).map_or(0, bit),
        };
        Data { forms: vec![usize::from(id)], ops, ..Self::remake(egraph, node, id) }
    }

    fn remake(egraph: &mut EGraph<ENode, Self>, node: &ENode, _: Id) -> Data {
        let facts = &egraph.analysis;
        match &facts.heads[node.head] {
            Head::Absent => Data::default(),
            Head::Input(_, ty) => Data { types: vec![ty.clone()], entry: true, ..Data::default() },
            Head::Behind(_, ty) => Data { types: vec![ty.clone()], ..Data::default() },
            Head::Const(pool, id, ty) => {
                let tensor = match pool {
                    Pool::Graph => facts.graph.tensor(*id),
                    Pool::Scratch => facts.scratch.tensor(*id),
                };
                let constants = vec![Constant::given(tensor.clone())];
                Data { types: vec![ty.clone()], constants, literal: true, ..Data::default() }
            }
            Head::Proj(result) => {
                let tuple = &egraph[node.children[0]].data;
                Data {
                    types: tuple.types.get(*result).cloned().into_iter().collect(),
                    constants: tuple.constants.get(*result).cloned().into_iter().collect(),
                    ..Data::default()
                }
            }
            Head::Op { op, attrs, types } => {
                let operands: Vec<&Data> = node.children.iter().map(|&child| &egraph[child].data).collect();
                let known = !operands.is_empty()
                    && operands.iter().all(|data| data.types.is_empty() || !data.constants.is_empty());
                let constants = if known {
                    let given: Vec<_> = operands.iter().map(|data| data.constants.first()).collect();
                    let operand_types: Vec<_> =
                        operands.iter().map(|data| data.types.first().cloned()).collect();
                    Constant::computed(facts.registry, op, attrs, &given, &operand_types, types)
                } else {
                    None
                };
                let entry = ENTRY.contains(&&**op) && operands.first().is_some_and(|data| data.entry);
                let constants = constants.unwrap_or_default();
                Data { types: types.clone(), constants, entry, ..Data::default() }
            }
        }
    }

    fn merge(&mut self, a: &mut Data, b: Data) -> DidMerge {
        let before = (a.constants.is_empty(), a.entry);
        let other = (b.constants.is_empty(), b.entry);
        // New classes have new readers only.
        let old = |data: &Data| data.forms.first().is_some_and(|&first| first < self.known);
        let (a_old, b_old) = (old(a), old(&b));
        a.gained |= b.gained;
        a.gained |= if a_old { b.ops } else { 0 } | if b_old { a.ops } else { 0 };
        if a_old && b_old {
            // Two constants may differ in their last bits.
            let constants = !before.0 && !other.0;
            a.gained |= MERGED | if constants { FACTS } else { 0 };
        }
        a.ops |= b.ops;
        if !b.constants.is_empty() && (a.constants.is_empty() || (b.literal && !a.literal)) {
            a.constants = b.constants;
        }
        a.literal |= b.literal;
        a.entry |= b.entry;
        join(&mut a.values, b.values);
        join(&mut a.forms, b.forms);
        // Only whether the class is constant, or an input, concerns its readers.
        let after = (a.constants.is_empty(), a.entry);
        if (a_old && after != before) || (b_old && after != other) {
            a.gained |= FACTS;
        }
        DidMerge(after != before, after != other)
    }

    fn modify(egraph: &mut EGraph<ENode, Self>, id: Id) {
        egraph.analysis.touched.push(id);
        let data = &egraph[id].data;
        let [constant] = data.constants.as_slice() else { return };
        if data.literal || !constant.is_given() {
            return;
        }
        if let Ok(tensor) = constant.tensor(egraph.analysis.registry) {
            let literal = egraph.analysis.literal(&tensor, tensor.tensor_type());
            let other = egraph.add(literal);
            egraph.union(id, other);
        }
    }
}

/// Adds ascending numbers to ascending numbers.
fn join(a: &mut Vec<usize>, b: Vec<usize>) {
    if !b.is_empty() {
        a.extend(b);
        a.sort_unstable();
        a.dedup();
    }
}

impl Facts<'_> {
    fn head(&mut self, head: Head) -> usize {
        self.heads.insert_full(head).0
    }

    fn leaf(&mut self, head: Head) -> ENode {
        ENode { op: LEAF, head: self.head(head), children: Box::default() }
    }

    /// The node of a constant that the graph does not have, or that is small.
    fn literal(&mut self, tensor: &Arc<Tensor>, ty: TensorType) -> ENode {
        let id = self.scratch.intern("", tensor.clone());
        self.leaf(Head::Const(Pool::Scratch, id, ty))
    }

    fn op(&mut self, op: &Arc<str>, attrs: Attrs, types: Vec<TensorType>, children: Box<[Id]>) -> ENode {
        let index = self.ops.insert_full(op.clone()).0 + FIRST_OP;
        ENode { op: index, head: self.head(Head::Op { op: op.clone(), attrs, types }), children }
    }
}

/// A graph as classes.
struct Region<'a> {
    egraph: EGraph<ENode, Facts<'a>>,
    graph: &'a Graph,
    /// The values of the graph, in canonical order.
    values: Vec<ValueId>,
    class_of: BTreeMap<ValueId, Id>,
    /// By creation number of the node; leaves and projections have none.
    origins: BTreeMap<usize, Origin>,
    absent: Id,
    /// By operator, where the next search looks.
    fresh: Vec<Vec<Fresh>>,
    /// How far above a class that changed some rule may match because of it.
    reach: usize,
    applications: Vec<Application>,
    /// How many applications there were after each round.
    rounds: Vec<usize>,
    /// Operators that the application under way asked for.
    asked: usize,
    /// Creation numbers of nodes that were rewritten to something that is not worse.
    superseded: BTreeSet<usize>,
    no_attrs: Attrs,
}

impl<'a> Region<'a> {
    fn new(
        graph: &'a Graph,
        registry: &'a Registry,
        until: Option<ValueId>,
        once: bool,
        reach: usize,
    ) -> Self {
        let facts = Facts {
            registry,
            heads: IndexSet::new(),
            ops: IndexSet::new(),
            graph: &graph.constants,
            scratch: Constants::default(),
            touched: Vec::new(),
            known: 0,
        };
        let mut egraph = EGraph::new(facts);
        let absent = egraph.analysis.leaf(Head::Absent);
        let absent = egraph.add(absent);
        let mut region = Self {
            egraph,
            graph,
            values: Vec::new(),
            class_of: BTreeMap::new(),
            origins: BTreeMap::new(),
            absent,
            fresh: Vec::new(),
            reach,
            applications: Vec::new(),
            rounds: Vec::new(),
            asked: 0,
            superseded: BTreeSet::new(),
            no_attrs: Attrs::new(),
        };
        // What readers of a value see; differs from its own class where no pattern looks behind it.
        let mut seen: BTreeMap<ValueId, Id> = BTreeMap::new();
        for id in graph.order() {
            let results = region.add(id, &seen);
            for (result, class) in (0..).zip(results) {
                let value = ValueId { node: id, result };
                let at = region.values.len();
                region.values.push(value);
                region.class_of.insert(value, class);
                let class = region.egraph.find(class);
                region.egraph[class].data.values.push(at);
                let shared = once && graph.node(id).op().is_some() && graph.use_count(value) > 1;
                let constant = !region.egraph[class].data.constants.is_empty();
                let read = if Some(value) == until || (shared && !constant) {
                    let ty = graph.ty(value).clone();
                    let leaf = region.egraph.analysis.leaf(Head::Behind(value, ty));
                    region.egraph.add(leaf)
                } else {
                    class
                };
                seen.insert(value, read);
            }
        }
        region.rebuild();
        region
    }

    /// Adds a node of the graph; gives the class of each result.
    fn add(&mut self, id: NodeId, seen: &BTreeMap<ValueId, Id>) -> Vec<Id> {
        let node = self.graph.node(id);
        let types: Vec<TensorType> = node.results.iter().map(|value| value.ty.clone()).collect();
        match &node.kind {
            Kind::Input => {
                let value = ValueId { node: id, result: 0 };
                let leaf = self.egraph.analysis.leaf(Head::Input(value, self.graph.ty(value).clone()));
                vec![self.egraph.add(leaf)]
            }
            Kind::Const(constant) => {
                let tensor = self.graph.constants.tensor(*constant);
                let ty = self.graph.ty(ValueId { node: id, result: 0 }).clone();
                let leaf = if tensor.len() <= SMALL {
                    self.egraph.analysis.literal(tensor, ty)
                } else {
                    self.egraph.analysis.leaf(Head::Const(Pool::Graph, *constant, ty))
                };
                vec![self.egraph.add(leaf)]
            }
            Kind::Op { op, attrs } => {
                let children = node
                    .operands
                    .iter()
                    // Operands come before their readers in canonical order.
                    .map(|operand| operand.and_then(|value| seen.get(&value).copied()).unwrap_or(self.absent))
                    .collect();
                let (op, attrs) = (op.clone(), attrs.clone());
                self.insert(&op, attrs, types, children, Origin::Graph(id))
            }
        }
    }

    /// Adds a node unless an equal one is there; gives the class of each result.
    fn insert(
        &mut self,
        op: &Arc<str>,
        attrs: Attrs,
        types: Vec<TensorType>,
        children: Box<[Id]>,
        origin: Origin,
    ) -> Vec<Id> {
        let count = types.len();
        let node = self.egraph.analysis.op(op, attrs, types, children);
        let number = self.egraph.nodes().len();
        let class = self.egraph.add(node);
        if self.egraph.nodes().len() > number {
            self.origins.insert(number, origin);
        }
        if count == 1 { vec![class] } else { (0..count).map(|result| self.project(class, result)).collect() }
    }

    fn project(&mut self, tuple: Id, result: usize) -> Id {
        let head = self.egraph.analysis.head(Head::Proj(result));
        self.egraph.add(ENode { op: PROJ, head, children: Box::new([tuple]) })
    }

    /// Restores the e-graph's invariants, and finds out where the next search has to look.
    fn rebuild(&mut self) {
        self.egraph.rebuild();
        let count = self.egraph.nodes().len();
        let known = std::mem::replace(&mut self.egraph.analysis.known, count);
        let mut touched = std::mem::take(&mut self.egraph.analysis.touched);
        touched.iter_mut().for_each(|id| *id = self.egraph.find(*id));
        touched.sort_unstable();
        touched.dedup();
        let mut news = News::new(count, self.reach);
        for &class in &touched {
            let gained = std::mem::take(&mut self.egraph[class].data.gained);
            news.add(0, class.into(), gained);
            // What is matched is the node of several results, not one of them.
            let nodes = self.egraph[class].nodes.iter().filter(|node| node.op == PROJ && gained != 0);
            for &tuple in nodes.flat_map(|node| &node.children) {
                news.add(0, self.egraph.find(tuple).into(), FACTS);
            }
            // Nodes become equal where their operands do.
            self.drop_equal(class);
            let above: BTreeSet<Id> =
                self.egraph[class].parents().map(|number| self.egraph.find(number)).collect();
            above.into_iter().for_each(|class| self.drop_equal(class));
        }
        news.spread(|class, above| {
            above.extend(self.egraph[Id::from(class)].parents().map(|id| usize::from(self.egraph.find(id))));
        });
        let mut fresh: Vec<Vec<Fresh>> = self.egraph.analysis.ops.iter().map(|_| Vec::new()).collect();
        for class in news.reached(touched.into_iter().map(usize::from)) {
            let data = &self.egraph[Id::from(class)].data;
            // Classes that are constant are evaluated, not rewritten.
            if !data.constants.is_empty() {
                continue;
            }
            for &number in &data.forms {
                let node = self.enode(number);
                let below = || node.children.iter().map(|&child| usize::from(self.egraph.find(child)));
                let same = node.op.checked_sub(FIRST_OP).and_then(|op| fresh.get_mut(op));
                same.into_iter().for_each(|same| same.extend(news.of(number, number >= known, class, below)));
            }
        }
        self.fresh = fresh;
    }

    /// Keeps the first of equal nodes of a class.
    fn drop_equal(&mut self, class: Id) {
        if self.forms(class).len() == 1 {
            return;
        }
        let canonical = |number: usize| {
            let node = self.enode(number).clone();
            (node.map_children(|child| self.egraph.find(child)), number)
        };
        let mut forms: Vec<_> =
            self.egraph[class].data.forms.iter().map(|&number| canonical(number)).collect();
        forms.sort_unstable();
        forms.dedup_by(|later, first| later.0 == first.0);
        let mut numbers: Vec<usize> = forms.into_iter().map(|(_, number)| number).collect();
        numbers.sort_unstable();
        self.egraph[class].data.forms = numbers;
    }

    fn enode(&self, number: usize) -> &ENode {
        &self.egraph.nodes()[number]
    }

    fn head(&self, number: usize) -> &Head {
        &self.egraph.analysis.heads[self.enode(number).head]
    }

    fn class(&self, number: usize) -> Id {
        self.egraph.find(Id::from(number))
    }

    /// Numbers of the nodes of a class, ascending.
    fn forms(&self, class: Id) -> &[usize] {
        &self.egraph[class].data.forms
    }

    /// The matches of a rule that the changes before the last rebuild made possible (others may be
    /// among them), or if there are more than `most` the first of them, and more than that.
    fn search(&self, rule: &Rule, most: usize, log: &mut Log) -> Vec<Match<Self>> {
        let op = |op: &str| self.egraph.analysis.ops.get_index_of(op);
        let root = rule.steps.first().and_then(|step| op(&step.op));
        let wanted = news::wanted(rule, op);
        let mut found = Vec::new();
        for fresh in root.and_then(|op| self.fresh.get(op)).into_iter().flatten() {
            if !fresh.concerns(&wanted) {
                continue;
            }
            let number = fresh.number;
            log.tried += 1;
            let (full, missed) = matches(self, rule, number);
            for miss in missed {
                let why = explain(self, rule, &miss);
                report::near_miss(log, rule, miss.guard, why, self.loc(number), || self.name_of(number));
            }
            found.extend(full);
            if found.len() > most {
                return found;
            }
        }
        found
    }

    /// Whether a match is rooted at a value whose name is unwanted.
    fn rooted_at(&self, found: &Match<Self>, unwanted: impl Fn(&Arc<str>) -> bool) -> bool {
        let results = found.nodes.first().into_iter().flat_map(|&root| View::results(self, root));
        let mut values = results.flat_map(|class| self.egraph[class].data.values.iter());
        values.any(|&at| unwanted(&self.graph.value(self.values[at]).name))
    }

    /// Name of the graph's value that a node makes, if there is one.
    fn name_of(&self, number: usize) -> Arc<str> {
        let class = View::results(self, number).first().copied();
        let value = class.and_then(|class| self.egraph[class].data.values.first().copied());
        value.map_or_else(|| self.node_name(number), |at| self.graph.value(self.values[at]).name.clone())
    }
}

impl View for Region<'_> {
    type Value = Id;
    /// Creation number.
    type Node = usize;

    fn makers(&self, value: Id, op: &str) -> Vec<usize> {
        let Some(op) = self.egraph.analysis.ops.get_index_of(op).map(|op| op + FIRST_OP) else {
            return Vec::new();
        };
        let mut makers = Vec::new();
        for &number in self.forms(self.egraph.find(value)) {
            let node = self.enode(number);
            if node.op == op {
                makers.push(number);
            } else if node.op == PROJ {
                // One of several results: made by what makes all of them.
                let tuples = node.children.iter().flat_map(|&tuple| self.forms(self.egraph.find(tuple)));
                makers.extend(tuples.copied().filter(|&number| self.enode(number).op == op));
            }
        }
        makers.sort_unstable();
        makers.dedup();
        makers
    }

    fn results(&self, node: usize) -> Vec<Id> {
        let class = self.class(node);
        match self.head(node) {
            Head::Op { types, .. } if types.len() != 1 => (0..types.len())
                .filter_map(|result| {
                    let head = self.egraph.analysis.heads.get_index_of(&Head::Proj(result))?;
                    let node = ENode { op: PROJ, head, children: Box::new([class]) };
                    self.egraph.lookup(node).map(|id| self.egraph.find(id))
                })
                .collect(),
            _ => vec![class],
        }
    }

    fn operands(&self, node: usize) -> Vec<Option<Id>> {
        let absent = self.egraph.find(self.absent);
        let children = self.enode(node).children.iter().map(|&child| self.egraph.find(child));
        children.map(|child| (child != absent).then_some(child)).collect()
    }

    fn attrs(&self, node: usize) -> &Attrs {
        match self.head(node) {
            Head::Op { attrs, .. } => attrs,
            _ => &self.no_attrs,
        }
    }

    fn fact(&self, value: Id) -> Fact {
        let data = &self.egraph[self.egraph.find(value)].data;
        Fact {
            // A value's class has one type: only those of tuples and of absence have another count.
            ty: data.types[0].clone(),
            constant: data.constants.first().cloned(),
            entry: data.entry,
        }
    }

    fn single_use(&self, _: Id) -> bool {
        // The checker refuses use counts under saturation: classes have readers that no graph has.
        false
    }

    fn circular(&self) -> bool {
        false
    }

    fn registry(&self) -> &Registry {
        self.egraph.analysis.registry
    }
}

impl Make for Region<'_> {
    fn make(
        &mut self,
        op: &Arc<str>,
        attrs: Attrs,
        operands: Vec<Option<Id>>,
        types: Vec<TensorType>,
        hint: Hint,
    ) -> Vec<Id> {
        let children = operands.into_iter().map(|operand| operand.unwrap_or(self.absent)).collect();
        // The application under way is the next to be recorded.
        let origin = Origin::Rule(self.applications.len(), self.asked, hint);
        self.asked += 1;
        self.insert(op, attrs, types, children, origin)
    }

    fn tensor(&mut self, tensor: Arc<Tensor>) -> Id {
        let literal = self.egraph.analysis.literal(&tensor, tensor.tensor_type());
        self.egraph.add(literal)
    }

    fn node_name(&self, node: usize) -> Arc<str> {
        match self.origins.get(&node) {
            Some(Origin::Graph(id)) => self.graph.node(*id).name.clone(),
            Some(Origin::Rule(.., Hint { name: Some(name), .. })) => name.clone(),
            _ => Arc::default(),
        }
    }

    fn loc(&self, node: usize) -> Loc {
        match self.origins.get(&node) {
            Some(Origin::Graph(id)) => self.graph.node(*id).loc.clone(),
            Some(Origin::Rule(.., hint)) => hint.loc.clone(),
            None => Loc::unknown(),
        }
    }

    fn op(&self, node: usize) -> Arc<str> {
        match self.head(node) {
            Head::Op { op, .. } => op.clone(),
            _ => Arc::default(),
        }
    }
}

/// Nodes that an e-graph may have, whatever the size of the graph, and for each node of it. Sound rule
/// sets take a few for each node; those that find ever new forms take all.
const LEAST_NODES: usize = 50_000;
const NODES_PER_NODE: usize = 200;

/// Applies all rules of `sets` and, to see where they lead, of `toward`, until nothing is new or a
/// limit is reached.
pub fn saturate(
    graph: &Graph,
    registry: &Registry,
    sets: &[&Ruleset],
    options: &Options,
    until: Option<ValueId>,
    log: &mut Log,
) -> Classes {
    let rules: Vec<((usize, usize), &Rule)> = sets
        .iter()
        .enumerate()
        .flat_map(|(set, ruleset)| ruleset.rules.iter().enumerate().map(move |(at, rule)| ((set, at), rule)))
        .collect();
    let reach = rules.iter().map(|(_, rule)| rule.depth()).max().unwrap_or(0);
    let mut region = Region::new(graph, registry, until, options.once, reach);
    let nodes = options.nodes.min(LEAST_NODES + NODES_PER_NODE * graph.len());
    // E-nodes that each rule made, and values that it equated.
    let mut work = vec![0; rules.len()];
    let mut limit = None;
    for round in 0.. {
        if round == options.iterations {
            limit = Some(Limit::Iterations(options.iterations));
            break;
        }
        log.iterations += 1;
        let mut found = Vec::new();
        for (at, (_, rule)) in rules.iter().enumerate() {
            // More matches than nodes are as bad, and are not kept.
            let Some(left) = nodes.checked_sub(found.len()) else { break };
            let set = sets[rules[at].0.0];
            let refused: Vec<&Refused> =
                options.refused.iter().filter(|refused| refused.concerns(set, rule)).collect();
            let mut matches = region.search(rule, left, log);
            if !refused.is_empty() {
                matches.retain(|found| {
                    !region.rooted_at(found, |name| refused.iter().any(|refused| refused.value == *name))
                });
            }
            if let Some(spared) = options.spared {
                matches.retain(|found| !region.rooted_at(found, |name| spared.holds(set, name)));
            }
            found.extend(matches.into_iter().map(|found| (at, found)));
        }
        let too_many = found.len() > nodes;
        let mut changed = false;
        for (at, found) in found {
            let (key, rule) = rules[at];
            let before = region.egraph.nodes().len();
            if region.apply(key, rule, &found, log) {
                changed = true;
                work[at] += 1 + region.egraph.nodes().len() - before;
            }
            if region.egraph.total_size() > nodes {
                limit = Some(Limit::Nodes(nodes));
                break;
            }
        }
        region.rounds.push(region.applications.len());
        region.rebuild();
        if too_many {
            limit = Some(Limit::Nodes(nodes));
        }
        if !changed || limit.is_some() {
            break;
        }
    }
    log.nodes = log.nodes.max(region.egraph.total_size());
    if let Some(limit) = limit {
        let work = rules.iter().zip(&work).map(|((_, rule), &count)| (rule.name.clone(), rule.span, count));
        log.limit(limit, &report::names(sets), work, "new forms");
    }
    region.classes()
}

impl Region<'_> {
    /// Applies one match; whether anything is new.
    fn apply(&mut self, key: (usize, usize), rule: &Rule, found: &Match<Self>, log: &mut Log) -> bool {
        let Some(&root) = found.nodes.first() else { return false };
        let before = self.egraph.nodes().len();
        self.asked = 0;
        let new = match build(self, rule, found) {
            Ok(new) => new,
            Err(unbuilt) => {
                if self.egraph.nodes().len() > before {
                    // What it made is there, and may be made again by others.
                    let matched = found.nodes.clone();
                    self.applications.push(Application { rule: key, matched, made: true, failed: true });
                }
                let Unbuilt::Broken(broken) = unbuilt else { return false };
                report::broken(log, rule, &broken, self.loc(root), || self.name_of(root));
                return false;
            }
        };
        self.superseded.extend((!rule.expand).then_some(root));
        let made = self.egraph.nodes().len() > before;
        let mut merged = false;
        for (old, new) in self.results(root).into_iter().zip(new) {
            merged |= self.egraph.union(old, new);
        }
        if made || merged {
            self.applications.push(Application {
                rule: key,
                matched: found.nodes.clone(),
                made,
                failed: false,
            });
        }
        made || merged
    }

    /// The classes as plain data.
    fn classes(self) -> Classes {
        let absent = self.egraph.find(self.absent);
        let mut ids: Vec<Id> =
            self.egraph.classes().map(|class| class.id).filter(|&id| id != absent).collect();
        ids.sort_unstable();
        let mut position = vec![None; self.egraph.nodes().len()];
        for (at, &id) in ids.iter().enumerate() {
            position[usize::from(id)] = Some(at);
        }
        let child = |id: Id| position[usize::from(self.egraph.find(id))];
        let form = |number: usize| {
            let children = match self.head(number) {
                Head::Behind(value, _) => vec![self.class_of.get(value).and_then(|&id| child(id))],
                _ => self.enode(number).children.iter().map(|&id| child(id)).collect(),
            };
            let maker = match self.head(number) {
                Head::Input(value, _) | Head::Behind(value, _) => Maker::Value(*value),
                Head::Proj(result) => Maker::Result(*result),
                Head::Op { op, attrs, types } => {
                    Maker::Op { op: op.clone(), attrs: attrs.clone(), types: types.clone() }
                }
                // Classes with such a form are constant or absent.
                Head::Const(..) | Head::Absent => Maker::Constant,
            };
            Form { number, maker, children }
        };
        let classes = ids
            .iter()
            .map(|&id| {
                let data = &self.egraph[id].data;
                Class {
                    types: data.types.clone(),
                    // A tuple is no constant, its parts are.
                    constant: (data.types.len() == 1).then(|| data.constants.first().cloned()).flatten(),
                    values: data.values.iter().map(|&at| self.values[at]).collect(),
                    forms: self.forms(id).iter().copied().map(form).collect(),
                }
            })
            .collect();
        let class_of = self.class_of.iter().filter_map(|(&value, &id)| Some((value, child(id)?))).collect();
        let matched_forms = self
            .applications
            .iter()
            .flat_map(|application| &application.matched)
            .filter_map(|&number| Some((number, (child(Id::from(number))?, form(number)))))
            .collect();
        Classes {
            classes,
            class_of,
            origins: self.origins,
            applications: self.applications,
            rounds: self.rounds,
            superseded: self.superseded,
            matched: matched_forms,
        }
    }
}
