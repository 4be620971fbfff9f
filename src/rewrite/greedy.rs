//! The directed driver: each rule wherever it matches, in file order, until none does.
//!
//! Rule by rule, and for each rule along the canonical order, so that an earlier rule takes
//! precedence over a later one everywhere. Operators over constants are evaluated first, as in
//! the e-graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Options;
use super::constant::Constant;
use super::expr::Fact;
use super::log::{Applied, Limit, Log, Refused};
use super::matcher::{Hint, Make, Match, Unbuilt, View, build, explain, is_entry, matches};
use super::names::{operand_names, result_values};
use super::record::{Application, NodeRef, Run};
use super::report;
use super::rule::{Rule, Ruleset};
use crate::diag::{Loc, Span};
use crate::ir::{Attrs, Graph, Kind, NodeId, Value, ValueId};
use crate::ops::Registry;
use crate::tensor::{Tensor, TensorType};

/// Where a node goes in the canonical order: to the node of this creation number (`true`), or just
/// before it.
type Key = (u64, bool);

/// Applications that a run may take, whatever the size of the graph, and for each node of it. Rules
/// that end take a few for each node; those that do not end make the graph larger each time.
const LEAST_LIMIT: usize = 1_000;
const LIMIT_PER_NODE: usize = 64;

/// Runs the rules of `sets` on the graph. `until` follows its value.
pub fn run(
    graph: &mut Graph,
    registry: &Registry,
    sets: &[&Ruleset],
    options: &Options,
    until: &mut Option<ValueId>,
    log: &mut Log,
) {
    let uses = graph
        .values()
        .map(|value| {
            let count = graph.use_count(value) + usize::from(*until == Some(value));
            ((graph.node(value.node).serial, value.result), count)
        })
        .collect();
    let graph_len = graph.len();
    let trail = options.record.then(|| Trail::new(graph));
    let mut greedy = Greedy {
        graph,
        registry,
        options,
        until: *until,
        uses,
        keys: BTreeMap::new(),
        pending: Vec::new(),
        applications: 0,
        work: BTreeMap::new(),
        limit: options.applications.min(LEAST_LIMIT + LIMIT_PER_NODE * graph_len),
        trail,
        no_attrs: Attrs::new(),
    };
    while greedy.pass(sets, log) {}
    *until = greedy.until;
    let Greedy { graph, keys, trail, .. } = greedy;
    graph.remove_dead();
    let own: BTreeMap<NodeId, Key> = graph
        .order()
        .into_iter()
        .map(|node| {
            let serial = graph.node(node).serial;
            (node, keys.get(&serial).copied().unwrap_or((serial, true)))
        })
        .collect();
    graph.renumber(|node| own.get(&node).copied());
    log.record.runs.extend(trail.map(|trail| trail.run(graph)));
}

/// A value of the graph, or one that the right side under construction makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Val {
    Old(ValueId),
    New(usize, u32),
}

/// A node that a right side asks for; it comes into being only if the whole right side fits.
#[derive(Clone)]
struct Pending {
    /// Empty for a tensor.
    op: Arc<str>,
    attrs: Attrs,
    operands: Vec<Option<Val>>,
    hint: Hint,
    types: Vec<TensorType>,
    /// As many as `types`, or none.
    constants: Vec<Constant>,
}

struct Greedy<'a> {
    graph: &'a mut Graph,
    registry: &'a Registry,
    options: &'a Options<'a>,
    until: Option<ValueId>,
    /// Uses of every value as the stage began, by creation number of its node and result.
    uses: BTreeMap<(u64, u32), usize>,
    /// Of new nodes, by their creation number.
    keys: BTreeMap<u64, Key>,
    pending: Vec<Pending>,
    applications: usize,
    limit: usize,
    /// If a record is kept.
    trail: Option<Trail>,
    /// Applications of each rule, by its set and place.
    work: BTreeMap<(usize, u32), (Arc<str>, Span, usize)>,
    no_attrs: Attrs,
}

impl Greedy<'_> {
    /// Every rule once along the graph; whether another pass may find more.
    fn pass(&mut self, sets: &[&Ruleset], log: &mut Log) -> bool {
        let mut changed = self.fold();
        // Nodes may go, and others take their ids: a creation number tells them apart.
        let mut by_op: BTreeMap<Arc<str>, Vec<(NodeId, u64)>> = BTreeMap::new();
        for id in self.graph.order() {
            let node = self.graph.node(id);
            if let Kind::Op { op, .. } = &node.kind {
                by_op.entry(op.clone()).or_default().push((id, node.serial));
            }
        }
        for (at, set) in sets.iter().enumerate() {
            // The right sides of one custom pattern are tried at a node before the next node is.
            for rules in set.rules.chunk_by(|_, next| next.arm > 0) {
                let Some((rule, step)) = rules.first().and_then(|rule| Some((rule, rule.steps.first()?)))
                else {
                    continue;
                };
                for &(id, serial) in by_op.get(&step.op).into_iter().flatten() {
                    if !self.graph.contains(id) || self.graph.node(id).serial != serial {
                        continue;
                    }
                    if self.applications == self.limit {
                        let limit = Limit::Applications(self.applications);
                        let work = self.work.values().cloned();
                        log.limit(limit, &report::names(sets), work, "replacements");
                        return false;
                    }
                    let mut failed = Vec::new();
                    if rules.iter().any(|rule| self.at(set, rule, id, &mut failed, log)) {
                        self.applications += 1;
                        let key = (at, rule.span.start);
                        self.work.entry(key).or_insert_with(|| (rule.name.clone(), rule.span, 0)).2 += 1;
                        changed = true;
                    } else if rule.custom && !failed.is_empty() {
                        let name = || self.graph.node(id).name.clone();
                        report::unmade(log, rule, &failed, self.loc(id), name);
                    }
                }
            }
        }
        changed
    }

    /// Evaluates operators all of whose operands are constants; whether there was one.
    fn fold(&mut self) -> bool {
        let mut changed = false;
        for id in self.graph.order() {
            let node = self.graph.node(id);
            let Kind::Op { op, attrs } = &node.kind else { continue };
            let facts: Vec<Option<Fact>> =
                node.operands.iter().map(|value| value.map(|value| self.fact(Val::Old(value)))).collect();
            let types: Vec<TensorType> = node.results.iter().map(|value| value.ty.clone()).collect();
            let Some(constants) = computed(self.registry, op, attrs, &facts, &types) else { continue };
            let Some(tensors) =
                constants.iter().map(|c| c.tensor(self.registry).ok()).collect::<Option<Vec<_>>>()
            else {
                continue;
            };
            let (serial, loc) = (node.serial, node.loc.clone());
            for (result, tensor) in (0..).zip(tensors) {
                let old = ValueId { node: id, result };
                let name = self.graph.value(old).name.clone();
                let new = self.graph.add_const(&name, tensor, loc.clone());
                self.keys.insert(self.graph.node(new.node).serial, self.key(serial));
                self.replace(old, new);
                self.graph.take_name(new, &name);
            }
            self.graph.prune(id);
            changed = true;
        }
        changed
    }

    fn key(&self, serial: u64) -> Key {
        self.keys.get(&serial).copied().unwrap_or((serial, true))
    }

    fn replace(&mut self, old: ValueId, new: ValueId) {
        self.graph.replace_uses(old, new);
        if self.until == Some(old) {
            self.until = Some(new);
        }
    }

    /// Applies a rule at a node, if it matches there and its right side fits.
    /// Where it matches and does not fit, the reason goes to `failed`.
    fn at(
        &mut self,
        set: &Ruleset,
        rule: &Rule,
        root: NodeId,
        failed: &mut Vec<String>,
        log: &mut Log,
    ) -> bool {
        log.tried += 1;
        let (found, missed) = matches(self, rule, root);
        for miss in missed {
            let why = explain(self, rule, &miss);
            let name = || self.graph.node(root).name.clone();
            report::near_miss(log, rule, miss.guard, why, self.loc(root), name);
        }
        if let Some(refused) = self.refused(set, rule, root).filter(|_| !found.is_empty()) {
            failed.push(refused.why.clone());
            return false;
        }
        let results = &self.graph.node(root).results;
        let spared =
            |result: &Value| self.options.spared.is_some_and(|spared| spared.holds(set, &result.name));
        if results.iter().any(spared) {
            return false;
        }
        for found in found {
            self.pending.clear();
            match build(self, rule, &found) {
                Ok(new) if self.allowed(root, &new) => {
                    let applied = self.account(set, rule, &found);
                    let matched: Vec<u64> =
                        found.nodes.iter().map(|&node| self.graph.node(node).serial).collect();
                    if let Some(made) = self.commit(root, &new) {
                        if let Some(trail) = &mut self.trail {
                            trail.applied(set, rule, &matched, made);
                        }
                        log.applied.push(applied);
                        return true;
                    }
                }
                Ok(_) => failed.push("its result has no calibrated range".to_owned()),
                Err(Unbuilt::Quiet) => failed.push("an expression of its right side has no value".to_owned()),
                Err(Unbuilt::Broken(broken)) => {
                    failed.push(broken.to_string());
                    let name = || self.graph.node(root).name.clone();
                    report::broken(log, rule, &broken, self.loc(root), name);
                }
            }
        }
        false
    }

    fn refused(&self, set: &Ruleset, rule: &Rule, root: NodeId) -> Option<&Refused> {
        let results = &self.graph.node(root).results;
        let here = |refused: &&Refused| results.iter().any(|result| result.name == refused.value);
        self.options.refused.iter().filter(|refused| refused.concerns(set, rule)).find(here)
    }

    fn account(&self, set: &Ruleset, rule: &Rule, found: &Match<Self>) -> Applied {
        let nodes = found.nodes.iter().map(|&node| self.graph.node(node));
        let locs: Vec<Loc> = nodes.clone().map(|node| node.loc.clone()).collect();
        let root = nodes.clone().next();
        Applied {
            ruleset: set.name.clone(),
            rule: rule.name.clone(),
            arm: rule.arm,
            matched: nodes.map(|node| node.name.clone()).collect(),
            replaced: root.into_iter().flat_map(|n| &n.results).map(|value| value.name.clone()).collect(),
            loc: Loc::merged(&locs),
        }
    }

    /// Whether every new layer has a range, where that is demanded: only the values that are
    /// replaced have one.
    fn allowed(&self, root: NodeId, new: &[Val]) -> bool {
        !self.options.demand_ranges
            || self.pending.iter().enumerate().all(|(at, pending)| {
                let layer = self.registry.find(&pending.op).is_some_and(|entry| entry.schema.layer);
                let results = self.graph.node(root).results.iter().zip(new);
                !layer
                    || results
                        .filter(|(_, new)| matches!(new, Val::New(node, _) if *node == at))
                        .any(|(old, _)| old.range.is_some())
            })
    }

    /// Puts the built values in place of the results of `root`; gives the creation numbers of the new
    /// operators, with their position among those that were asked for, or `None` where nothing changed.
    fn commit(&mut self, root: NodeId, new: &[Val]) -> Option<Vec<(u64, usize)>> {
        let node = self.graph.node(root);
        let names: Vec<Arc<str>> = node.results.iter().map(|value| value.name.clone()).collect();
        let base = names.first().cloned().unwrap_or_default();
        let key = self.key(node.serial);
        let mut made = Made { key, values: BTreeMap::new(), names: Vec::new() };
        let mut changed = false;
        for ((result, name), &new) in (0..).zip(&names).zip(new) {
            let old = ValueId { node: root, result };
            let value = self.realize(new, &base, &mut made);
            if value == old {
                continue;
            }
            changed = true;
            let fresh = matches!(new, Val::New(..));
            if fresh {
                self.keys.insert(self.graph.node(value.node).serial, key);
            }
            let outside = |value| self.graph.is_output(value) || self.until == Some(value);
            let maker = &self.graph.node(value.node).kind;
            let takes = fresh || (outside(old) && !outside(value) && matches!(maker, Kind::Op { .. }));
            if self.graph.value(value).range.is_none() {
                let range = self.graph.value(old).range.clone();
                self.graph.set_range(value, range);
            }
            self.replace(old, value);
            if takes {
                self.graph.take_name(value, name);
            }
        }
        for (node, name) in made.names {
            self.graph.set_node_name(node, name);
        }
        self.graph.prune(root);
        let asked = |at: usize| self.pending.iter().take(at).filter(|node| !node.op.is_empty()).count();
        let operators = made.values.iter().filter(|(_, value)| self.graph.node(value.node).op().is_some());
        let new = operators.map(|(&(at, _), value)| (self.graph.node(value.node).serial, asked(at)));
        changed.then(|| new.collect())
    }

    /// The value in the graph, called `name` if it is new and its name is free; recursion is as deep
    /// as a right side.
    fn realize(&mut self, value: Val, name: &str, made: &mut Made) -> ValueId {
        let (at, result) = match value {
            Val::Old(value) => return value,
            Val::New(at, result) => (at, result),
        };
        if let Some(&value) = made.values.get(&(at, result)) {
            return value;
        }
        // A `Val::New` is the position of a pending node and one of its results.
        let pending = self.pending[at].clone();
        let constant = pending.constants.get(result as usize);
        if let Some(tensor) = constant.and_then(|constant| constant.tensor(self.registry).ok()) {
            let value = self.graph.add_const(name, tensor, Loc::unknown());
            let serial = self.graph.node(value.node).serial;
            self.keys.insert(serial, (made.key.0, false));
            made.values.insert((at, result), value);
            return value;
        }
        let called = pending.hint.name.filter(|name| !name.is_empty());
        let base = called.as_deref().unwrap_or(name);
        let operands = pending.operands.iter().enumerate();
        let names = operand_names(self.registry, &pending.op, base, pending.operands.len());
        let operands = operands.zip(names);
        let operands: Vec<Option<ValueId>> = operands
            .map(|((_, operand), name)| operand.map(|operand| self.realize(operand, &name, made)))
            .collect();
        let results = result_values(self.registry, &pending.op, name, &pending.types);
        let node = self.graph.add_op(&pending.op, pending.attrs, operands, results, pending.hint.loc);
        self.keys.insert(self.graph.node(node).serial, (made.key.0, false));
        made.names.extend(called.map(|name| (node, name)));
        let count = self.graph.node(node).results.len() as u32;
        made.values.extend((0..count).map(|result| ((at, result), ValueId { node, result })));
        ValueId { node, result }
    }
}

/// What is kept for the record.
struct Trail {
    before: Graph,
    applications: Vec<Application>,
    /// By creation number.
    refs: BTreeMap<u64, NodeRef>,
}

impl Trail {
    fn new(graph: &Graph) -> Self {
        let order = graph.order().into_iter().enumerate();
        let refs = order.map(|(at, node)| (graph.node(node).serial, NodeRef::Given(at))).collect();
        Self { before: graph.clone(), applications: Vec::new(), refs }
    }

    /// `made` are the new operators, with their position among those that the rule asked for.
    fn applied(&mut self, set: &Ruleset, rule: &Rule, matched: &[u64], made: Vec<(u64, usize)>) {
        // Every node was there, or was made by an application.
        let refs = matched.iter().filter_map(|node| self.refs.get(node).copied()).collect();
        let application = self.applications.len();
        self.applications.push(Application::new(set, rule, refs, false));
        self.refs.extend(made.into_iter().map(|(node, at)| (node, NodeRef::Made { application, at })));
    }

    fn run(self, after: &Graph) -> Run {
        let rounds = self.applications.into_iter().map(|application| vec![application]).collect();
        Run { before: self.before, after: after.clone(), rounds }
    }
}

/// What one right side has put into the graph so far.
struct Made {
    key: Key,
    values: BTreeMap<(usize, u32), ValueId>,
    names: Vec<(NodeId, Arc<str>)>,
}

/// Each result of an operator over constants.
fn computed(
    registry: &Registry,
    op: &Arc<str>,
    attrs: &Attrs,
    operands: &[Option<Fact>],
    types: &[TensorType],
) -> Option<Vec<Constant>> {
    if operands.is_empty() || operands.iter().flatten().any(|fact| fact.constant.is_none()) {
        return None;
    }
    let given: Vec<Option<&Constant>> =
        operands.iter().map(|fact| fact.as_ref().and_then(|fact| fact.constant.as_ref())).collect();
    let operand_types: Vec<_> = operands.iter().map(|fact| fact.as_ref().map(|f| f.ty.clone())).collect();
    Constant::computed(registry, op, attrs, &given, &operand_types, types)
}

impl View for Greedy<'_> {
    type Value = Val;
    type Node = NodeId;

    fn makers(&self, value: Val, op: &str) -> Vec<NodeId> {
        let Val::Old(value) = value else { return Vec::new() };
        let node = self.graph.node(value.node);
        // No pattern looks behind the value that quantization stops at.
        let seen = self.until != Some(value) && (!self.options.once || self.single_use(Val::Old(value)));
        let fits = node.op() == Some(op) && seen;
        if fits { vec![value.node] } else { Vec::new() }
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
                // See `realize`.
                let pending = &self.pending[at];
                let result = result as usize;
                let constant = pending.constants.get(result).cloned();
                Fact { ty: pending.types[result].clone(), constant, entry: false }
            }
        }
    }

    fn single_use(&self, value: Val) -> bool {
        let Val::Old(value) = value else { return false };
        let serial = self.graph.node(value.node).serial;
        let now = || self.graph.use_count(value) + usize::from(self.until == Some(value));
        self.uses.get(&(serial, value.result)).copied().unwrap_or_else(now) == 1
    }

    fn circular(&self) -> bool {
        false
    }

    fn registry(&self) -> &Registry {
        self.registry
    }
}

impl Make for Greedy<'_> {
    fn make(
        &mut self,
        op: &Arc<str>,
        attrs: Attrs,
        operands: Vec<Option<Val>>,
        types: Vec<TensorType>,
        hint: Hint,
    ) -> Vec<Val> {
        let facts: Vec<_> = operands.iter().map(|value| value.map(|value| self.fact(value))).collect();
        let constants = computed(self.registry, op, &attrs, &facts, &types).unwrap_or_default();
        let at = self.pending.len();
        let count = types.len() as u32;
        self.pending.push(Pending { op: op.clone(), attrs, operands, hint, types, constants });
        (0..count).map(|result| Val::New(at, result)).collect()
    }

    fn tensor(&mut self, tensor: Arc<Tensor>) -> Val {
        let at = self.pending.len();
        self.pending.push(Pending {
            op: Arc::default(),
            attrs: Attrs::new(),
            operands: Vec::new(),
            hint: Hint { name: None, loc: Loc::unknown() },
            types: vec![tensor.tensor_type()],
            constants: vec![Constant::given(tensor)],
        });
        Val::New(at, 0)
    }

    fn node_name(&self, node: NodeId) -> Arc<str> {
        self.graph.node(node).name.clone()
    }

    fn loc(&self, node: NodeId) -> Loc {
        self.graph.node(node).loc.clone()
    }

    fn op(&self, node: NodeId) -> Arc<str> {
        match &self.graph.node(node).kind {
            Kind::Op { op, .. } => op.clone(),
            Kind::Input | Kind::Const(_) => Arc::default(),
        }
    }
}
