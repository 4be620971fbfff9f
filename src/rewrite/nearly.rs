//! Why a pattern did not fire: how far the rules fit at a node of a graph, and what is in the way.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::Options;
use super::expr::{Expr, Scope};
use super::matcher::{Binding, Bound, Match, Miss, Partial, Unbuilt, View, build, furthest};
use super::rule::{AttrPattern, Condition, Guard, OperandPattern, Right, Rule, Ruleset, Slot, Step};
use super::sketch::{Sketch, Val};
use super::words::{Words, found_attr};
use crate::diag::{Sources, Span};
use crate::ir::{Attrs, Graph, Kind, NodeId, Use, ValueId};
use crate::ops::Registry;

/// How a rule fares at some nodes of a graph.
#[derive(Clone, Debug)]
pub struct Near<'a> {
    pub set: &'a Ruleset,
    pub rule: &'a Rule,
    /// The nodes that fit, outermost first.
    pub fits: Vec<NodeId>,
    pub verdict: Verdict,
    /// How many things are known to be in the way, and the first of them.
    missing: usize,
    miss: Option<Miss>,
}

#[derive(Clone, Debug)]
pub enum Verdict {
    /// Both sides fit.
    Fits,
    /// The left side fits, but the right side cannot be made, for this reason.
    Unmade(String),
    Misses(Fault),
}

/// The first thing that does not fit.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Where the rule says what it wants.
    pub span: Span,
    pub wants: String,
    /// What there is instead.
    pub has: String,
    /// The node at fault; `None`: an input or a constant.
    pub node: Option<NodeId>,
}

impl Near<'_> {
    /// Whether both sides fit.
    pub fn whole(&self) -> bool {
        matches!(self.verdict, Verdict::Fits)
    }

    /// Whether all operators of the left side are there, so that only a condition, an attribute or an
    /// operand is in the way.
    pub fn all_operators(&self) -> bool {
        !matches!(self.miss, Some(Miss::Op)) && self.missing <= 1
    }

    /// Whether the left side fits.
    pub fn matches(&self) -> bool {
        !matches!(self.verdict, Verdict::Misses(_))
    }

    /// How near it is: the more nodes fit and the fewer things are in the way, the nearer; then, the
    /// later the kind of the first of them is looked at; then, the less the rule wants in all.
    pub fn progress(&self) -> impl Ord + use<> {
        let kind = self.miss.map(|miss| match miss {
            Miss::Op => 0,
            Miss::Results | Miss::Operands | Miss::Operand(_) => 1,
            Miss::Attr(_) => 2,
            Miss::Guard(_) => 3,
        });
        let wanted = self.rule.steps.len() + self.rule.guards.len();
        let fits = (self.fits.len(), Reverse(self.missing), kind);
        (self.whole(), self.matches(), fits, Reverse(wanted))
    }
}

/// What the rules are tried on: a graph as it enters a stage.
pub struct Nearly<'a> {
    graph: &'a Graph,
    registry: &'a Registry,
    sources: &'a Sources,
    until: Option<ValueId>,
    options: &'a Options<'a>,
}

impl<'a> Nearly<'a> {
    pub fn new(
        graph: &'a Graph,
        registry: &'a Registry,
        sources: &'a Sources,
        options: &'a Options<'a>,
    ) -> Self {
        let until = options.until.and_then(|name| graph.find(name));
        Self { graph, registry, sources, until, options }
    }

    /// How each rule with the node's operator in its left side fares there, the nearest first, of
    /// equals the first in the file.
    pub fn at<'s>(&self, sets: &'s [Ruleset], node: NodeId) -> Vec<Near<'s>> {
        let Some(op) = self.graph.node(node).op() else { return Vec::new() };
        let mut found: Vec<Near<'s>> = Vec::new();
        let results = &self.graph.node(node).results;
        let spared = |set: &Ruleset| {
            self.options
                .spared
                .is_some_and(|spared| results.iter().any(|result| spared.holds(set, &result.name)))
        };
        let sets = sets.iter().filter(|set| !spared(set));
        for (set, rule) in sets.flat_map(|set| set.rules.iter().map(move |rule| (set, rule))) {
            let steps = rule.steps.iter().enumerate().filter(|(_, step)| *step.op == *op);
            let tries = steps.flat_map(|(at, _)| self.aligned(set, rule, node, at));
            // The first of equals.
            found.extend(tries.rev().max_by_key(Near::progress));
        }
        found.sort_by_key(|near| Reverse(near.progress()));
        found
    }

    /// How a rule fares with `root`, a node of its outermost operator, as the outermost.
    pub fn rooted<'s>(&self, set: &'s Ruleset, rule: &'s Rule, root: NodeId) -> Near<'s> {
        let mut sketch = Sketch::new(self.graph, self.registry, self.until, self.options.once);
        let near = |fits, verdict, miss: Option<Miss>| {
            let missing = usize::from(miss.is_some());
            Near { set, rule, fits, verdict, missing, miss }
        };
        match furthest(&sketch, rule, root) {
            Ok(found) => {
                let why = self.unmade(&mut sketch, rule, &found);
                near(found.nodes, why.map_or(Verdict::Fits, Verdict::Unmade), None)
            }
            Err(partial) => {
                let fault = self.fault(&sketch, rule, &partial);
                let mut fits = partial.found.nodes;
                if !matches!(partial.miss, Miss::Guard(_)) {
                    fits.truncate(partial.step);
                }
                near(fits, Verdict::Misses(fault), Some(partial.miss))
            }
        }
    }

    /// Tries a rule with `node` in the place of step `at`: with every outermost node that the readers of
    /// the node lead to; where the readers are others than the rule wants, with the part of the rule below.
    fn aligned<'s>(
        &self,
        set: &'s Ruleset,
        rule: &'s Rule,
        node: NodeId,
        at: usize,
    ) -> std::vec::IntoIter<Near<'s>> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![(node, at)];
        while let Some((node, at)) = open.pop() {
            if !seen.insert((node, at)) {
                continue;
            }
            if at == 0 {
                found.push(self.rooted(set, rule, node));
                continue;
            }
            let Some((above, position, result)) = reader(rule, at) else { continue };
            let value = ValueId { node, result };
            if self.graph.node(node).results.get(result as usize).is_none() {
                continue;
            }
            let fits = |at: &Use| {
                let reader = self.graph.node(at.node);
                reader.op() == rule.steps.get(above).map(|step| &*step.op) && at.position == position
            };
            let readers: Vec<Use> = self.graph.uses(value).into_iter().filter(fits).collect();
            if readers.is_empty() {
                found.extend(self.headless(set, rule, value, at, above));
            }
            open.extend(readers.iter().take(MOST_READERS).map(|at| (at.node, above)));
        }
        found.into_iter()
    }

    /// How the part of a rule from step `at` on fares at the node of a value whose reader is not what step
    /// `above` wants.
    fn headless<'s>(
        &self,
        set: &'s Ruleset,
        rule: &'s Rule,
        value: ValueId,
        at: usize,
        above: usize,
    ) -> Option<Near<'s>> {
        let part = part(rule, at);
        let near = self.rooted(set, &part, value.node);
        let (fits, missing) = (near.fits, near.missing + 1);
        let verdict = match near.verdict {
            Verdict::Misses(fault) => Verdict::Misses(fault),
            Verdict::Fits | Verdict::Unmade(_) => {
                let step = rule.steps.get(above)?;
                let name = &self.graph.value(value).name;
                Verdict::Misses(Fault {
                    span: step.spans.op,
                    wants: format!("`{}` to read it", step.op),
                    has: format!("%{name} {}", self.readers(value)),
                    node: Some(value.node),
                })
            }
        };
        Some(Near { set, rule, fits, verdict, missing, miss: near.miss.or(Some(Miss::Op)) })
    }

    /// Who reads a value.
    fn readers(&self, value: ValueId) -> String {
        let readers: Vec<&str> =
            self.graph.uses(value).iter().filter_map(|at| self.graph.node(at.node).op()).collect();
        let output = self.graph.is_output(value);
        match (readers.as_slice(), output) {
            ([], true) => "is an output of the network".to_owned(),
            ([], false) => "is not read".to_owned(),
            ([one], false) => format!("is read by `{one}`"),
            (all, false) => format!("is read by {}", list(all)),
            (all, true) => format!("is an output, and read by {}", list(all)),
        }
    }

    /// Why nothing can be made of a match, if so.
    fn unmade(&self, sketch: &mut Sketch, rule: &Rule, found: &Match<Sketch>) -> Option<String> {
        let found = Match { bindings: found.bindings.clone(), nodes: found.nodes.clone() };
        match build(sketch, rule, &found) {
            Err(Unbuilt::Broken(broken)) => Some(broken.to_string()),
            Err(Unbuilt::Quiet) => Some("an expression of its right side has no value".to_owned()),
            Ok(new) if self.options.demand_ranges => {
                let root = found.nodes.first().map(|&root| self.graph.node(root))?;
                let ranged = |at: usize| {
                    let pairs = root.results.iter().zip(&new);
                    let own = |new: &Val| matches!(new, Val::New(made, _) if *made == at);
                    pairs.filter(|(_, new)| own(new)).any(|(old, _)| old.range.is_some())
                };
                let layer = |op: &str| self.registry.find(op).is_some_and(|entry| entry.schema.layer);
                let made = sketch.made.iter().enumerate();
                let mut bare = made.filter(|(at, made)| layer(&made.op) && !ranged(*at));
                bare.next().map(|(_, made)| format!("the result of `{}` has no calibrated range", made.op))
            }
            Ok(_) => None,
        }
    }

    /// What is in the way of a match, in words.
    fn fault(&self, sketch: &Sketch, rule: &Rule, partial: &Partial<Sketch>) -> Fault {
        let bindings = &partial.found.bindings;
        let scope = Bound { view: sketch, rule, bindings };
        let words = Words { scope: &scope, registry: self.registry, slots: &rule.slots };
        // A partial match is of a step that there is.
        let step = &rule.steps[partial.step.min(rule.steps.len() - 1)];
        let node = partial.found.nodes.get(partial.step).copied();
        let named = |slot: Slot| match bindings.get(slot) {
            Some(Some(Binding::Value(Val::Old(value)))) => Some(*value),
            _ => None,
        };
        let fault = |span: Span, wants: String, has: String| Fault { span, wants, has, node };
        let whole = |at: NodeId| self.node_words(at);
        match partial.miss {
            Miss::Op => {
                let value = step.results.iter().find_map(|&slot| named(slot));
                let (has, node) = value.map_or((String::new(), node), |value| self.maker(value));
                Fault { span: step.spans.op, wants: format!("`{}`", step.op), has, node }
            }
            Miss::Results => {
                let wants = format!("{} results of `{}`", step.results.len(), step.op);
                let found = node.map_or(0, |node| self.graph.node(node).results.len());
                fault(step.spans.op, wants, format!("{found} results"))
            }
            Miss::Operands => {
                let wants = format!("{} operands of `{}`", step.operands.len(), step.op);
                let found = node.map_or(0, |node| self.graph.node(node).operands.len());
                fault(step.spans.op, wants, format!("{found} operands"))
            }
            Miss::Operand(position) => {
                let span = step.spans.operands.get(position).copied().unwrap_or(step.spans.op);
                let operand = node.and_then(|node| self.graph.node(node).operand(position));
                let schema = self.registry.find(&step.op).map(|entry| &entry.schema);
                let name = schema.map_or(String::new(), |schema| schema.operand_name(position));
                let has = match operand {
                    None => "absent".to_owned(),
                    Some(value) => self.value_words(value),
                };
                let wants = match step.operands.get(position) {
                    Some(OperandPattern::Value(slot) | OperandPattern::Optional(slot)) => {
                        match (rule.slots.get(*slot), named(*slot)) {
                            (Some(variable), Some(before)) if !variable.is_empty() => {
                                format!(
                                    "operand `{name}` to be {variable}, which is {}",
                                    self.value_words(before)
                                )
                            }
                            _ => format!("an operand `{name}`"),
                        }
                    }
                    Some(OperandPattern::Number(number)) => format!("operand `{name}` to be {number}"),
                    Some(OperandPattern::Numbers(numbers)) => format!("operand `{name}` to be {numbers:?}"),
                    Some(OperandPattern::Absent) | None => format!("no operand `{name}`"),
                };
                fault(
                    span,
                    wants,
                    format!("{has}{}", node.map_or(String::new(), |at| format!(" in {}", whole(at)))),
                )
            }
            Miss::Attr(at) => {
                let span = step.spans.attrs.get(at).copied().unwrap_or(step.spans.op);
                let Some((name, pattern)) = step.attrs.get(at) else {
                    return fault(span, "other attributes".to_owned(), String::new());
                };
                let attrs = node.map(|node| sketch.attrs(node));
                let has = found_attr(attrs.and_then(|attrs: &Attrs| attrs.get(name)));
                let default = if span == step.spans.op && matches!(pattern, AttrPattern::Equals(_)) {
                    " (the default: the pattern names no other)"
                } else {
                    ""
                };
                let wants = format!("`{name}` of `{}` to be {}{default}", step.op, words.attr(pattern));
                fault(span, wants, format!("{name} = {has}"))
            }
            Miss::Guard(at) => {
                let Some(guard) = rule.guards.get(at) else {
                    return fault(rule.span, "a condition".to_owned(), String::new());
                };
                let node = self.culprit(rule, guard, &partial.found).or(node);
                let (wants, has) = self.guard_words(guard, &words, &named);
                Fault { span: guard.span, wants, has, node }
            }
        }
    }

    fn guard_words<S: Scope>(
        &self,
        guard: &Guard,
        words: &Words<S>,
        named: &dyn Fn(Slot) -> Option<ValueId>,
    ) -> (String, String) {
        let text = self.text(guard.span);
        match &guard.condition {
            // `x: constant`
            Condition::Holds(expr @ Expr::Call(_, args)) if !text.contains('(') => {
                let subject = args.first().map_or(String::new(), |arg| words.text(arg));
                let value = match args.first() {
                    Some(Expr::Slot(slot)) => named(*slot),
                    _ => None,
                };
                let has = match value {
                    Some(value) => format!("{subject} is {}", self.value_words(value)),
                    None => words.why(expr),
                };
                (format!("{subject}: {text}"), has)
            }
            Condition::Holds(expr) => (format!("where {text}"), words.why(expr)),
            Condition::Let(_, expr) => {
                let mut has = Vec::new();
                words.value(expr, &mut has);
                (format!("where let {text}"), has.join(", "))
            }
            Condition::SingleUse(slot) => match named(*slot) {
                Some(value) => {
                    let name = &self.graph.value(value).name;
                    (format!("%{name} to be read once"), format!("%{name} {}", self.readers(value)))
                }
                None => ("a value that is read once".to_owned(), String::new()),
            },
        }
    }

    /// The matched node that a condition is about: the innermost one that binds what it reads.
    fn culprit(&self, rule: &Rule, guard: &Guard, found: &Match<Sketch>) -> Option<NodeId> {
        let mut slots = BTreeSet::new();
        match &guard.condition {
            Condition::Holds(expr) | Condition::Let(_, expr) => expr.slots(&mut |slot| slots.extend([slot])),
            Condition::SingleUse(slot) => slots.extend([*slot]),
        }
        let binds = |step: &Step| step_slots(step).iter().any(|slot| slots.contains(slot));
        let at = rule.steps.iter().rposition(binds)?;
        found.nodes.get(at).copied()
    }

    /// The text of the rule file, on one line and without comments.
    fn text(&self, span: Span) -> String {
        let text = self.sources.text(span.source).get(span.range()).unwrap_or_default();
        let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    /// What makes a value, and the node if it is an operator.
    fn maker(&self, value: ValueId) -> (String, Option<NodeId>) {
        let node = self.graph.node(value.node);
        let name = &self.graph.value(value).name;
        match &node.kind {
            Kind::Input => (format!("%{name}, an input of the network"), None),
            Kind::Const(_) => (format!("%{name}, a constant"), None),
            Kind::Op { op, .. } => {
                let has = if self.until == Some(value) {
                    format!("%{name}, where quantization is to end")
                } else if self.options.once && self.graph.use_count(value) != 1 {
                    format!("%{name} of `{op}`, which {}", self.readers(value))
                } else {
                    format!("%{name} of `{op}`")
                };
                (has, Some(value.node))
            }
        }
    }

    fn value_words(&self, value: ValueId) -> String {
        let ty = super::words::type_words(self.graph.ty(value));
        format!("{}, {ty}", self.maker(value).0)
    }

    fn node_words(&self, node: NodeId) -> String {
        let node = self.graph.node(node);
        format!("`{}` {}", node.op().unwrap_or_default(), node.name)
    }
}

/// Readers of one value that are looked at.
const MOST_READERS: usize = 8;

fn list(names: &[&str]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counted.iter_mut().find(|(other, _)| other == name) {
            Some((_, count)) => *count += 1,
            None => counted.push((name, 1)),
        }
    }
    let words = counted.iter().map(|(name, count)| match count {
        1 => format!("`{name}`"),
        _ => format!("{count} `{name}`"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The step that reads what step `at` makes, at which of its operands, and which result.
fn reader(rule: &Rule, at: usize) -> Option<(usize, usize, u32)> {
    let made = &rule.steps.get(at)?.results;
    let reads = |operand: &OperandPattern| match operand {
        OperandPattern::Value(slot) => {
            (0..).zip(made).find(|(_, made)| *made == slot).map(|(result, _)| result)
        }
        _ => None,
    };
    let step = |(above, step): (usize, &Step)| {
        let mut operands = step.operands.iter().enumerate();
        operands.find_map(|(position, operand)| Some((above, position, reads(operand)?)))
    };
    rule.steps.iter().enumerate().find_map(step)
}

/// The variables that a step binds.
fn step_slots(step: &Step) -> Vec<Slot> {
    fn attr(pattern: &AttrPattern, slots: &mut Vec<Slot>) {
        match pattern {
            AttrPattern::Bind(slot) => slots.push(*slot),
            AttrPattern::List(items) => items.iter().for_each(|item| attr(item, slots)),
            AttrPattern::Any | AttrPattern::Equals(_) => {}
        }
    }
    let mut slots = step.results.clone();
    slots.extend(step.operands.iter().filter_map(|operand| match operand {
        OperandPattern::Value(slot) | OperandPattern::Optional(slot) => Some(*slot),
        OperandPattern::Absent | OperandPattern::Number(_) | OperandPattern::Numbers(_) => None,
    }));
    slots.extend(step.more.into_iter().chain(step.rest));
    step.attrs.iter().for_each(|(_, pattern)| attr(pattern, &mut slots));
    slots
}

/// The pattern of one step and what is nested in it, with the conditions that read nothing else, and
/// a right side that makes nothing.
fn part(rule: &Rule, from: usize) -> Rule {
    let mut made: BTreeSet<Slot> = BTreeSet::new();
    let mut steps = Vec::new();
    // What is nested follows at once.
    for (at, step) in rule.steps.iter().enumerate().skip(from) {
        if at > from && !step.results.iter().any(|slot| made.contains(slot)) {
            break;
        }
        made.extend(step_slots(step));
        steps.push(step.clone());
    }
    let mut guards = Vec::new();
    for guard in &rule.guards {
        let mut known = true;
        match &guard.condition {
            Condition::Holds(expr) | Condition::Let(_, expr) => {
                expr.slots(&mut |slot| known &= made.contains(&slot));
            }
            Condition::SingleUse(slot) => known = made.contains(slot),
        }
        if !known {
            continue;
        }
        if let Condition::Let(slot, _) = guard.condition {
            made.insert(slot);
        }
        let after = guard.after.saturating_sub(from);
        guards.push(Guard { after, ..guard.clone() });
    }
    let result = steps.first().and_then(|step| step.results.first()).copied().unwrap_or_default();
    let right = Right::Values(vec![super::rule::Template::Slot(result)]);
    Rule { steps, guards, right, shared: Vec::new(), name: Arc::clone(&rule.name), ..rule.clone() }
}
