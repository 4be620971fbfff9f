//! Changing a graph into the chosen forms, in place: what is chosen as it was is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::RewriteError;
use super::forms::{Class, Classes, Form, Maker, Origin};
use super::log::Applied;
use super::names::{operand_names, result_values};
use super::rule::Ruleset;
use crate::diag::{Diagnostics, Loc, WithPlaces};
use crate::ir::{Graph, Kind, NodeId, Use, ValueId};
use crate::ops::Registry;

/// A class, as seen from within the left side of an application whose right side is not wanted
/// (operators nested there are then the matched ones), or from nowhere in particular.
type Place = (usize, Option<usize>);

/// Where a node goes in the canonical order: to the node of this creation number (`true`), or just
/// before it.
type Key = (u64, bool);

/// What is to become of a saturated graph.
pub struct Plan<'a> {
    pub classes: &'a Classes,
    /// The chosen form of each class.
    pub chosen: Vec<Option<Form>>,
    pub sets: &'a [&'a Ruleset],
    /// What the sets from this position on made is not emitted, but what it was made from.
    pub guides: usize,
    pub until: Option<ValueId>,
}

impl Plan<'_> {
    /// Makes `graph` what was planned; gives the applications that this rests on.
    pub fn emit(&self, graph: &mut Graph, registry: &Registry) -> Result<Vec<Applied>, Diagnostics> {
        let mut emitter = Emitter {
            plan: self,
            graph,
            registry,
            done: BTreeMap::new(),
            nodes: BTreeMap::new(),
            reused: BTreeSet::new(),
            keys: BTreeMap::new(),
            new: Vec::new(),
            hints: Vec::new(),
            emitted: BTreeSet::new(),
        };
        emitter.outputs()?;
        let applied = emitter.applied();
        emitter.tidy();
        Ok(applied)
    }

    /// The form to emit at a place: the matched one within an application, else the chosen one;
    /// for what a guide made, the form that the guide matched, and the application.
    fn resolve(&self, (class, within): Place) -> Option<(&Form, Option<usize>)> {
        let classes = self.classes;
        let (mut form, mut within) = match within.and_then(|at| self.nested(at, class)) {
            Some(form) => (form, within),
            None => (self.chosen.get(class)?.as_ref()?, None),
        };
        while let Some(Origin::Rule(at, ..)) = classes.origins.get(&form.number) {
            let application = classes.applications.get(*at)?;
            if application.rule.0 < self.guides {
                break;
            }
            form = &classes.matched.get(application.matched.first()?)?.1;
            within = Some(*at);
        }
        Some((form, within))
    }

    /// The form that an application matched below its root for a class.
    fn nested(&self, application: usize, class: usize) -> Option<&Form> {
        let below = self.classes.applications.get(application)?.matched.iter().skip(1);
        below
            .filter_map(|number| self.classes.matched.get(number))
            .find(|(at, _)| *at == class)
            .map(|(_, form)| form)
    }
}

struct Emitter<'a> {
    plan: &'a Plan<'a>,
    graph: &'a mut Graph,
    registry: &'a Registry,
    /// `None` while under way.
    done: BTreeMap<Place, Option<ValueId>>,
    /// Nodes by number of the form and operands.
    nodes: BTreeMap<(usize, Vec<Option<ValueId>>), NodeId>,
    /// Nodes of the graph that stay.
    reused: BTreeSet<NodeId>,
    keys: BTreeMap<NodeId, Key>,
    /// New values that stand for values of the graph, with the name they are to have.
    new: Vec<(ValueId, Arc<str>)>,
    /// Names of new nodes.
    hints: Vec<(NodeId, Arc<str>)>,
    /// Numbers of the emitted forms.
    emitted: BTreeSet<usize>,
}

/// A place with what its readers hand down to values that the graph does not have.
struct Task {
    place: Place,
    key: Key,
    name: Arc<str>,
}

impl Emitter<'_> {
    fn outputs(&mut self) -> Result<(), Diagnostics> {
        let outputs: Vec<ValueId> = self.graph.outputs().iter().map(|output| output.value).collect();
        for old in self.plan.until.into_iter().chain(outputs.iter().copied()) {
            if let Some(&class) = self.plan.classes.class_of.get(&old) {
                self.class(class)?;
            }
        }
        for (index, old) in outputs.into_iter().enumerate() {
            let class = self.plan.classes.class_of.get(&old);
            if let Some(&Some(new)) = class.and_then(|&class| self.done.get(&(class, None))) {
                self.graph.set_output(index, new);
            }
        }
        Ok(())
    }

    /// Emits a class and all below it. Not recursive: networks are deep.
    fn class(&mut self, root: usize) -> Result<(), Diagnostics> {
        let plan = self.plan;
        let mut stack = vec![Task { place: (root, None), key: (u64::MAX, false), name: "value".into() }];
        while let Some(Task { place, key, name }) = stack.pop() {
            if matches!(self.done.get(&place), Some(Some(_))) {
                continue;
            }
            let Some(class) = plan.classes.classes.get(place.0) else { continue };
            let (key, name) = match class.values.first() {
                Some(value) => ((self.graph.node(value.node).serial, true), self.name(class)),
                None => ((key.0, false), name),
            };
            if class.constant.is_some() {
                let value = self.constant(class, key, &name)?;
                self.done.insert(place, Some(value));
                continue;
            }
            let Some((form, within)) = plan.resolve(place) else { return Err(self.circular(class)) };
            let children: Vec<Option<Place>> = form
                .children
                .iter()
                .map(|child| {
                    child.map(|child| {
                        (child, within.filter(|&application| plan.nested(application, child).is_some()))
                    })
                })
                .collect();
            let operands: Vec<Option<Option<ValueId>>> = children
                .iter()
                .map(|child| child.map(|child| self.done.get(&child).copied().flatten()))
                .collect();
            if operands.contains(&Some(None)) {
                if self.done.insert(place, None).is_some() {
                    return Err(self.circular(class));
                }
                let names = self.names_below(form, &name);
                stack.push(Task { place, key, name });
                // The first operand is emitted first.
                let below = children.into_iter().zip(names).rev();
                stack.extend(below.filter_map(|(place, name)| Some(Task { place: place?, key, name })));
                continue;
            }
            let operands = operands.into_iter().map(Option::flatten).collect();
            let Some(value) = self.form(class, form, operands, key, &name) else {
                return Err(self.circular(class));
            };
            self.emitted.insert(form.number);
            self.done.insert(place, Some(value));
        }
        Ok(())
    }

    /// Names for what a form reads, where that has none.
    fn names_below(&self, form: &Form, name: &Arc<str>) -> Vec<Arc<str>> {
        let count = form.children.len();
        let Maker::Op { op, .. } = &form.maker else { return vec![name.clone(); count] };
        let called = match self.plan.classes.origins.get(&form.number) {
            Some(Origin::Graph(node)) => Some(&self.graph.node(*node).name),
            Some(Origin::Rule(.., hint)) => hint.name.as_ref().filter(|name| !name.is_empty()),
            None => None,
        };
        operand_names(self.registry, op, called.unwrap_or(name), count)
    }

    /// Whether the name of a value of the graph must survive.
    fn known_outside(&self, value: ValueId) -> bool {
        self.graph.is_output(value) || self.plan.until == Some(value)
    }

    /// What the value of a class that stands for values of the graph is called: as the first of
    /// them that is known outside, or as the first.
    fn name(&self, class: &Class) -> Arc<str> {
        let output = class.values.iter().find(|&&value| self.known_outside(value));
        output.or(class.values.first()).map(|&value| self.graph.value(value).name.clone()).unwrap_or_default()
    }

    fn constant(&mut self, class: &Class, key: Key, name: &Arc<str>) -> Result<ValueId, Diagnostics> {
        let given = |value: &&ValueId| matches!(self.graph.node(value.node).kind, Kind::Const(_));
        if let Some(&value) = class.values.iter().find(given) {
            return Ok(value);
        }
        let Some(constant) = &class.constant else { return Err(self.circular(class)) };
        let tensor = constant
            .tensor(self.registry)
            .map_err(|error| WithPlaces::new(RewriteError::Constant(error)).at_loc(&self.loc(class), ""))?;
        let value = self.graph.add_const(name, tensor, self.loc(class));
        self.keys.insert(value.node, key);
        if !class.values.is_empty() {
            self.new.push((value, name.clone()));
        }
        Ok(value)
    }

    /// Emits one form over emitted operands.
    fn form(
        &mut self,
        class: &Class,
        form: &Form,
        operands: Vec<Option<ValueId>>,
        key: Key,
        name: &Arc<str>,
    ) -> Option<ValueId> {
        match &form.maker {
            Maker::Constant => None,
            Maker::Value(value) => Some(operands.first().copied().flatten().unwrap_or(*value)),
            Maker::Result(result) => {
                let tuple = operands.first().copied().flatten()?;
                let value = ValueId { node: tuple.node, result: u32::try_from(*result).ok()? };
                self.stand_for(class, value, name);
                Some(value)
            }
            Maker::Op { op, attrs, types } => {
                let memo = (form.number, operands.clone());
                if let Some(&node) = self.nodes.get(&memo) {
                    return Some(ValueId { node, result: 0 });
                }
                let origin = self.plan.classes.origins.get(&form.number);
                let node = match origin {
                    Some(&Origin::Graph(node)) if self.reused.insert(node) => {
                        self.rewire(node, &form.children, &operands);
                        node
                    }
                    _ => {
                        let results = result_values(self.registry, op, name, types);
                        let (loc, called) = match origin {
                            Some(Origin::Rule(.., hint)) => (hint.loc.clone(), hint.name.clone()),
                            _ => (self.loc(class), None),
                        };
                        let node = self.graph.add_op(op, attrs.clone(), operands, results, loc);
                        self.keys.insert(node, key);
                        self.hints.extend(called.map(|called| (node, called)));
                        node
                    }
                };
                self.nodes.insert(memo, node);
                let value = ValueId { node, result: 0 };
                if types.len() == 1 {
                    self.stand_for(class, value, name);
                }
                Some(value)
            }
        }
    }

    /// Gives an emitted value the name and range of the values of the graph that it stands for.
    fn stand_for(&mut self, class: &Class, value: ValueId, name: &Arc<str>) {
        let old = class.values.contains(&value);
        if class.values.is_empty() || (old && class.values.len() == 1) {
            return;
        }
        let range = class.values.iter().find_map(|&value| self.graph.value(value).range.clone());
        self.graph.set_range(value, range);
        if !old || class.values.iter().any(|&value| self.known_outside(value)) {
            self.new.push((value, name.clone()));
        }
    }

    /// Makes a node of the graph read the emitted operands. A constant that it reads stays: equal
    /// constants may go by different names.
    fn rewire(&mut self, node: NodeId, children: &[Option<usize>], operands: &[Option<ValueId>]) {
        let classes = &self.plan.classes.classes;
        for (position, (child, new)) in children.iter().zip(operands).enumerate() {
            let (Some(new), Some(old)) = (*new, self.graph.node(node).operand(position)) else { continue };
            let constant = child.and_then(|child| classes.get(child)).is_some_and(|c| c.constant.is_some());
            let kept = constant && matches!(self.graph.node(old.node).kind, Kind::Const(_));
            if new != old && !kept {
                self.graph.set_operand(Use { node, position }, new);
            }
        }
    }

    fn loc(&self, class: &Class) -> Loc {
        Loc::merged(class.values.iter().map(|value| &self.graph.node(value.node).loc))
    }

    fn circular(&self, class: &Class) -> Diagnostics {
        WithPlaces::new(RewriteError::Circular).at_loc(&self.loc(class), "of this").into()
    }

    /// The applications that the emitted forms rest on, in order.
    fn applied(&self) -> Vec<Applied> {
        let classes = self.plan.classes;
        let mut used: BTreeSet<usize> = BTreeSet::new();
        let mut stack: Vec<usize> = self.emitted.iter().copied().collect();
        // A rule that only equated two values counts where one was taken for the other.
        for (at, application) in classes.applications.iter().enumerate().filter(|(_, a)| !a.made) {
            let root = application.matched.first().and_then(|root| classes.matched.get(root));
            let Some((class, form)) = root else { continue };
            if self.done.contains_key(&(*class, None)) && !self.emitted.contains(&form.number) {
                stack.push(form.number);
                used.insert(at);
            }
        }
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        let mut pending: Vec<usize> = used.iter().copied().collect();
        loop {
            while let Some(number) = stack.pop() {
                if seen.insert(number)
                    && let Some(Origin::Rule(at, ..)) = classes.origins.get(&number)
                    && used.insert(*at)
                {
                    pending.push(*at);
                }
            }
            let Some(at) = pending.pop() else { break };
            stack.extend(classes.applications.get(at).iter().flat_map(|application| &application.matched));
        }
        used.into_iter().filter_map(|at| self.account(at)).collect()
    }

    fn account(&self, at: usize) -> Option<Applied> {
        let classes = self.plan.classes;
        let application = classes.applications.get(at)?;
        let set = self.plan.sets.get(application.rule.0)?;
        let rule = set.rules.get(application.rule.1)?;
        let origin = |number: &usize| classes.origins.get(number);
        let (root, _) = classes.matched.get(application.matched.first()?)?;
        let values = &classes.classes.get(*root)?.values;
        let locs: Vec<Loc> = application.matched.iter().map(|number| self.form_loc(*number)).collect();
        Some(Applied {
            ruleset: set.name.clone(),
            rule: rule.name.clone(),
            arm: rule.arm,
            matched: application
                .matched
                .iter()
                .map(|number| match origin(number) {
                    Some(Origin::Graph(node)) => self.graph.node(*node).name.clone(),
                    Some(Origin::Rule(.., hint)) => hint.name.clone().unwrap_or_default(),
                    None => Arc::default(),
                })
                .collect(),
            replaced: values.iter().map(|&value| self.graph.value(value).name.clone()).collect(),
            loc: Loc::merged(&locs),
        })
    }

    fn form_loc(&self, number: usize) -> Loc {
        match self.plan.classes.origins.get(&number) {
            Some(Origin::Graph(node)) => self.graph.node(*node).loc.clone(),
            Some(Origin::Rule(.., hint)) => hint.loc.clone(),
            None => Loc::unknown(),
        }
    }

    /// Drops what is no longer read, then gives names and places.
    fn tidy(self) {
        let Self { graph, keys, new, hints, .. } = self;
        graph.remove_dead();
        let mut named: BTreeSet<Arc<str>> = BTreeSet::new();
        for (value, name) in new {
            // A class may be emitted twice; the first is called as the value of the graph.
            if graph.contains(value.node) && named.insert(name.clone()) {
                graph.take_name(value, &name);
            }
        }
        for (node, name) in hints {
            if graph.contains(node) && !name.is_empty() {
                graph.set_node_name(node, name);
            }
        }
        let serial: BTreeMap<NodeId, u64> =
            graph.order().into_iter().map(|node| (node, graph.node(node).serial)).collect();
        graph.renumber(|node| {
            let own = (serial.get(&node).copied().unwrap_or(u64::MAX), true);
            keys.get(&node).copied().unwrap_or(own)
        });
    }
}
