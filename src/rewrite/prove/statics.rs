//! What is wrong with a rule whatever its sides compute: conditions that no case satisfies, earlier
//! rules that take every case, and rules that never come to an end.

use std::collections::BTreeMap;

use super::super::expr::{Binary, Expr};
use super::super::helpers;
use super::super::rule::{AttrPattern, Condition, OperandPattern, Rule, Ruleset, Slot, Step};
use super::super::{Options, apply};
use super::instance::{Before, Instance};
use super::sheet::{Sheet, Tried};
use crate::diag::{Label, Span};
use crate::ir::{Attr, Graph, NodeId};
use crate::ops::Registry;

/// Two conditions that exclude each other.
pub struct Contradiction {
    pub first: Span,
    pub second: Span,
}

/// What conditions have said of an expression so far.
#[derive(Clone, Copy)]
struct Known {
    lowest: f64,
    highest: f64,
    span: Span,
}

/// The first two conditions that exclude each other for every case.
pub fn contradiction(rule: &Rule) -> Option<Contradiction> {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for guard in &rule.guards {
        let Condition::Holds(expr) = &guard.condition else { continue };
        let mut parts = vec![expr];
        while let Some(part) = parts.pop() {
            if let Expr::Binary(Binary::And, a, b) = part {
                parts.extend([&**b, &**a]);
                continue;
            }
            let stated = interval(part).map(|(subject, lowest, highest)| (subject.clone(), lowest, highest));
            let mut all: Vec<(Expr, f64, f64)> = stated.into_iter().collect();
            axes(part, &mut |value, rank| {
                all.push((Expr::Call(&helpers::RANK, vec![value.clone()]), rank, f64::INFINITY));
            });
            for (subject, lowest, highest) in all {
                let whole = Known { lowest: f64::NEG_INFINITY, highest: f64::INFINITY, span: guard.span };
                // Expressions are told apart by their whole structure.
                let entry = known.entry(format!("{subject:?}")).or_insert(whole);
                let (lowest, highest) = (entry.lowest.max(lowest), entry.highest.min(highest));
                if lowest > highest {
                    return Some(Contradiction { first: entry.span, second: guard.span });
                }
                *entry = Known { lowest, highest, span: guard.span };
            }
        }
    }
    None
}

/// The values of which a condition asks the size of an axis, and how many axes they have at least for
/// it to hold.
fn axes<'e>(condition: &'e Expr, rank: &mut dyn FnMut(&'e Expr, f64)) {
    match condition {
        Expr::Call(helper, args) => match (helper.name, &args[..]) {
            ("dim", [value, Expr::Literal(Attr::Int(axis))]) => rank(value, *axis as f64 + 1.0),
            _ => args.iter().for_each(|arg| axes(arg, rank)),
        },
        // Of these, one part may do.
        Expr::Binary(Binary::Or, ..) | Expr::Not(_) => {}
        Expr::Binary(_, a, b) | Expr::Index(a, b) => [a, b].into_iter().for_each(|part| axes(part, rank)),
        Expr::List(items) => items.iter().for_each(|item| axes(item, rank)),
        Expr::Negate(inner) => axes(inner, rank),
        Expr::Literal(_) | Expr::Slot(_) => {}
    }
}

/// The closed interval that a condition confines an expression to. Of `<` the open end is left out
/// where it is an integer's.
fn interval(condition: &Expr) -> Option<(&Expr, f64, f64)> {
    let number = |expr: &Expr| match expr {
        Expr::Literal(Attr::Int(v)) => Some((*v as f64, 1.0)),
        Expr::Literal(Attr::Float(v)) => Some((f64::from(*v), 0.0)),
        Expr::Negate(inner) => match &**inner {
            Expr::Literal(Attr::Int(v)) => Some((-(*v as f64), 1.0)),
            Expr::Literal(Attr::Float(v)) => Some((-f64::from(*v), 0.0)),
            _ => None,
        },
        _ => None,
    };
    let truth = |holds: bool| f64::from(u8::from(holds));
    match condition {
        Expr::Literal(Attr::Bool(v)) => Some((condition, truth(true), truth(*v))),
        Expr::Not(inner) => Some((inner, truth(false), truth(false))),
        Expr::Slot(_) | Expr::Call(..) => Some((condition, truth(true), truth(true))),
        Expr::Binary(op, a, b) => {
            let (subject, (v, step), left) = match (number(a), number(b)) {
                (None, Some(v)) => (&**a, v, true),
                (Some(v), None) => (&**b, v, false),
                _ => return None,
            };
            match (op, left) {
                (Binary::Equal, _) => Some((subject, v, v)),
                (Binary::LessEqual, true) => Some((subject, f64::NEG_INFINITY, v)),
                (Binary::LessEqual, false) => Some((subject, v, f64::INFINITY)),
                (Binary::Less, true) => Some((subject, f64::NEG_INFINITY, v - step)),
                (Binary::Less, false) => Some((subject, v + step, f64::INFINITY)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// How a rule takes what another one, later in the same greedy set, would match.
pub enum Shadow {
    /// Its left side is more general, condition for condition.
    Covers,
    /// It took every instance of the later rule, and there were that many.
    Takes(usize),
}

/// Fewer instances of a rule say nothing of all.
const ENOUGH: usize = 8;

/// Whether `earlier` leaves nothing of `rule`, of which these are instances.
pub fn shadows(earlier: &Rule, rule: &Rule, instances: &[Instance], registry: &Registry) -> Option<Shadow> {
    // The engines offer a rule only nodes of its outermost operator.
    let op = |rule: &Rule| rule.steps.first().map(|step| step.op.clone());
    if op(earlier) != op(rule) {
        return None;
    }
    let takes = |graph: &Graph, root: NodeId| {
        matches!(Sheet::new(graph.clone(), registry).apply(earlier, root), Tried::Built(_))
    };
    let fits = |graph: &Graph, root: NodeId| {
        !matches!(Sheet::new(graph.clone(), registry).apply(rule, root), Tried::NoMatch)
    };
    for instance in instances {
        let Before { graph, root, inner, .. } = instance.graph()?;
        if !takes(&graph, root) {
            return None;
        }
        // A condition of the earlier rule may be that nothing else reads a value.
        let mut read = graph;
        for &value in &inner {
            let name = read.value(value).name.clone();
            read.add_output(name, value);
        }
        if !inner.is_empty() && fits(&read, root) && !takes(&read, root) {
            return None;
        }
    }
    if !instances.is_empty() && covers(earlier, rule) {
        return Some(Shadow::Covers);
    }
    (instances.len() >= ENOUGH).then_some(Shadow::Takes(instances.len()))
}

/// Whether all that `special` matches is matched by `general`, as their texts show it.
fn covers(general: &Rule, special: &Rule) -> bool {
    let (Some(root), Some(other)) = (general.steps.first(), special.steps.first()) else { return false };
    let mut cover = Cover { general, special, slots: BTreeMap::new() };
    cover.step(root, other) && cover.guards()
}

struct Cover<'a> {
    general: &'a Rule,
    special: &'a Rule,
    /// Variables of the special rule by those of the general one; `None` for what has no variable
    /// there.
    slots: BTreeMap<Slot, Option<Slot>>,
}

impl<'a> Cover<'a> {
    fn bind(&mut self, slot: Slot, to: Option<Slot>) -> bool {
        match self.slots.get(&slot) {
            Some(before) => to.is_some() && *before == to,
            None => {
                self.slots.insert(slot, to);
                true
            }
        }
    }

    fn step(&mut self, general: &'a Step, special: &'a Step) -> bool {
        if general.op != special.op || general.results.len() != special.results.len() {
            return false;
        }
        let results = general.results.iter().zip(&special.results);
        for (&slot, &to) in results {
            if !self.bind(slot, Some(to)) {
                return false;
            }
        }
        let counts = general.operands.len().cmp(&special.operands.len());
        if general.more.is_none() && (counts.is_ne() || special.more.is_some()) || counts.is_gt() {
            return false;
        }
        let operands = general.operands.iter().zip(&special.operands);
        operands.into_iter().all(|(general, special)| self.operand(general, special))
            && general.attrs.iter().all(|(name, pattern)| {
                let other = special.attrs.iter().find(|(other, _)| other == name);
                self.attr(pattern, other.map(|(_, pattern)| pattern))
            })
    }

    fn operand(&mut self, general: &OperandPattern, special: &OperandPattern) -> bool {
        use OperandPattern::{Absent, Number, Numbers, Optional, Value};
        match (general, special) {
            (Value(slot), Value(to)) => {
                let (general, special) = (self.general, self.special);
                let maker = |rule: &'a Rule, slot: &Slot| {
                    rule.steps.iter().skip(1).find(|step| step.results.contains(slot))
                };
                let fits = match (maker(general, slot), maker(special, to)) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    // Seen from another reader, too.
                    (Some(_), Some(_)) if self.slots.contains_key(slot) => true,
                    (Some(step), Some(other)) => self.step(step, other),
                };
                fits && (self.slots.get(slot) == Some(&Some(*to)) || self.bind(*slot, Some(*to)))
            }
            (Optional(slot), Value(to) | Optional(to)) => self.bind(*slot, Some(*to)),
            (Value(slot), Number(_) | Numbers(_)) | (Optional(slot), _) => self.bind(*slot, None),
            (Absent, Absent) => true,
            (Number(a), Number(b)) => a == b,
            (Numbers(a), Numbers(b)) => a == b,
            _ => false,
        }
    }

    /// `special` is `None` where the attribute is among the rest, and anything.
    fn attr(&mut self, general: &AttrPattern, special: Option<&AttrPattern>) -> bool {
        match (general, special) {
            (AttrPattern::Any, Some(AttrPattern::Equals(None)) | None) => false,
            (AttrPattern::Any, Some(_)) => true,
            (AttrPattern::Bind(slot), Some(AttrPattern::Bind(to))) => self.bind(*slot, Some(*to)),
            (AttrPattern::Bind(slot), Some(AttrPattern::Any | AttrPattern::Equals(Some(_)))) => {
                self.bind(*slot, None)
            }
            (AttrPattern::List(a), Some(AttrPattern::List(b))) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.attr(a, Some(b)))
            }
            (AttrPattern::Equals(a), Some(AttrPattern::Equals(b))) => a == b,
            _ => false,
        }
    }

    fn guards(&mut self) -> bool {
        self.general.guards.iter().all(|guard| {
            self.special.guards.iter().any(|other| match (&guard.condition, &other.condition) {
                (Condition::Holds(a), Condition::Holds(b)) => self.same(a, b),
                (Condition::Let(slot, a), Condition::Let(to, b)) => {
                    self.same(a, b) && self.bind(*slot, Some(*to))
                }
                (Condition::SingleUse(slot), Condition::SingleUse(to)) => {
                    self.slots.get(slot) == Some(&Some(*to))
                }
                _ => false,
            })
        })
    }

    fn same(&self, general: &Expr, special: &Expr) -> bool {
        let all =
            |a: &[Expr], b: &[Expr]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.same(a, b));
        match (general, special) {
            (Expr::Literal(a), Expr::Literal(b)) => a == b,
            (Expr::Slot(slot), Expr::Slot(to)) => self.slots.get(slot) == Some(&Some(*to)),
            (Expr::List(a), Expr::List(b)) => all(a, b),
            (Expr::Call(f, a), Expr::Call(g, b)) => f.name == g.name && all(a, b),
            (Expr::Not(a), Expr::Not(b)) | (Expr::Negate(a), Expr::Negate(b)) => self.same(a, b),
            (Expr::Index(a, i), Expr::Index(b, j)) => self.same(a, b) && self.same(i, j),
            (Expr::Binary(op, a, c), Expr::Binary(other, b, d)) => {
                op == other && self.same(a, b) && self.same(c, d)
            }
            _ => false,
        }
    }
}

/// Applications after which a set has not come to an end on a graph of few nodes.
const ENDLESS: usize = 200;

/// The first of the graphs on which a greedy set does not come to an end, and what each rule that
/// repeats did there.
pub fn endless(set: &Ruleset, graphs: Vec<Graph>, registry: &Registry) -> Option<(Graph, Vec<Label>)> {
    let options = Options { applications: ENDLESS, ..Options::default() };
    graphs.into_iter().find_map(|graph| {
        let (_, log) = apply(graph.clone(), registry, std::slice::from_ref(set), &options).ok()?;
        log.limit?;
        let warning = log.warnings.into_iter().find(|warning| warning.code == "Q0520");
        Some((graph, warning.map_or_else(Vec::new, |warning| warning.labels)))
    })
}
