//! What the search for instances reads off a rule once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::expr::{Binary, Expr};
use super::super::rule::{AttrPattern, Condition, OperandPattern, Right, Rule, Slot, Template};
use crate::diag::Span;
use crate::ir::Attr;
use crate::ops::Registry;
use crate::tensor::{DType, Tensor, TensorType};

/// One condition that must hold on its own.
pub enum Conjunct<'r> {
    Holds(&'r Expr),
    Let(Slot, &'r Expr),
}

/// What an equation among the conditions is about, of one variable.
pub enum Part<'r> {
    Whole,
    /// An entry of a list.
    Entry(&'r Expr),
    /// The number of entries of a list.
    Length,
    Type,
    Storage,
    Rank,
    Shape,
    /// The size of an axis.
    Size(&'r Expr),
    /// The elements of a constant.
    Elements,
}

/// A part of a variable, and what it has to be.
pub struct Equation<'r> {
    slot: Slot,
    part: Part<'r>,
    is: &'r Expr,
    /// The position of the condition.
    at: usize,
}

/// The numbers and words that a rule speaks of.
#[derive(Default)]
pub struct Literals {
    pub ints: Vec<i64>,
    pub floats: Vec<f32>,
    pub lists: Vec<Arc<[i64]>>,
    pub words: Vec<Arc<str>>,
    pub dtypes: Vec<DType>,
}

pub struct Plan<'r> {
    pub rule: &'r Rule,
    /// Steps, each after those whose results it reads.
    pub order: Vec<usize>,
    pub conjuncts: Vec<(Conjunct<'r>, BTreeSet<Slot>)>,
    /// Where each of them is written.
    pub spans: Vec<Span>,
    equations: Vec<Equation<'r>>,
    /// What the operands of each step may be stored as.
    storages: Vec<Vec<Vec<DType>>>,
    pub literals: Literals,
    /// Values that a condition wants to be constants, and inputs.
    pub constants: BTreeSet<Slot>,
    pub entries: BTreeSet<Slot>,
    /// Values that a condition wants not to be constants.
    pub variables: BTreeSet<Slot>,
    /// Whether what is read belongs to the right side.
    right: bool,
}

impl<'r> Plan<'r> {
    pub fn new(rule: &'r Rule, registry: &Registry) -> Self {
        let mut plan = Self {
            rule,
            order: order(rule),
            conjuncts: Vec::new(),
            spans: Vec::new(),
            equations: Vec::new(),
            storages: rule.steps.iter().map(|step| storages(&step.op, registry)).collect(),
            literals: Literals::default(),
            constants: BTreeSet::new(),
            entries: BTreeSet::new(),
            variables: BTreeSet::new(),
            right: false,
        };
        for guard in &rule.guards {
            match &guard.condition {
                Condition::Holds(expr) => plan.conjunct(expr),
                Condition::Let(slot, expr) => plan.add(Conjunct::Let(*slot, expr), expr),
                // Up to the readers, not to the left side.
                Condition::SingleUse(_) => {}
            }
            plan.spans.resize(plan.conjuncts.len(), guard.span);
        }
        plan.equations = equations(&plan.conjuncts);
        for step in &rule.steps {
            for operand in &step.operands {
                match operand {
                    OperandPattern::Number(number) => plan.literals.floats.push(*number as f32),
                    OperandPattern::Numbers(numbers) => {
                        plan.literals.floats.extend(numbers.iter().map(|&number| number as f32));
                    }
                    OperandPattern::Value(_) | OperandPattern::Optional(_) | OperandPattern::Absent => {}
                }
            }
            step.attrs.iter().for_each(|(_, pattern)| plan.pattern(pattern));
        }
        plan.right = true;
        match &rule.right {
            Right::Node(node) => plan.template(&Template::Op(node.clone())),
            Right::Values(values) => values.iter().for_each(|value| plan.template(value)),
        }
        rule.shared.iter().for_each(|(_, template)| plan.template(template));
        let literals = &mut plan.literals;
        literals.floats.extend(literals.ints.clone().into_iter().map(|v| v as f32));
        literals.ints.sort();
        literals.ints.dedup();
        literals.floats.sort_by(f32::total_cmp);
        literals.floats.dedup();
        literals.lists.sort();
        literals.lists.dedup();
        literals.words.sort();
        literals.words.dedup();
        literals.dtypes.sort();
        literals.dtypes.dedup();
        plan
    }

    fn conjunct(&mut self, expr: &'r Expr) {
        if let Expr::Binary(Binary::And, a, b) = expr {
            self.conjunct(a);
            return self.conjunct(b);
        }
        let about = |expr: &Expr, helper: &str| match expr {
            Expr::Call(called, args) if called.name == helper => match args.first() {
                Some(Expr::Slot(slot)) => Some(*slot),
                _ => None,
            },
            _ => None,
        };
        self.constants.extend(about(expr, "is_constant"));
        self.entries.extend(about(expr, "is_entry"));
        if let Expr::Not(inner) = expr {
            self.variables.extend(about(inner, "is_constant"));
        }
        self.add(Conjunct::Holds(expr), expr);
    }

    fn add(&mut self, conjunct: Conjunct<'r>, expr: &'r Expr) {
        let mut slots = BTreeSet::new();
        let mut read = Vec::new();
        expr.slots(&mut |slot| read.push(slot));
        while let Some(slot) = read.pop() {
            // A value of the right side is known when what it is computed from is.
            match self.rule.shared.iter().find(|(shared, _)| *shared == slot) {
                Some((_, template)) => template.slots(&mut |slot| read.push(slot)),
                None => {
                    slots.insert(slot);
                }
            }
        }
        self.expr(expr);
        self.conjuncts.push((conjunct, slots));
    }

    /// What the operand at a position of a step may be stored as; nothing where that is not known.
    pub fn storages(&self, at: usize, position: usize) -> &[DType] {
        let operands = self.storages.get(at).map(Vec::as_slice).unwrap_or_default();
        operands.get(position).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether something that nothing of the left side makes may be stored so.
    pub fn takes(&self, dtype: DType) -> bool {
        let made: BTreeSet<Slot> =
            self.rule.steps.iter().flat_map(|step| step.results.iter().copied()).collect();
        self.rule.steps.iter().enumerate().any(|(at, step)| {
            step.operands.iter().enumerate().any(|(position, operand)| {
                let accepted = self.storages(at, position);
                matches!(operand, OperandPattern::Value(slot) if !made.contains(slot))
                    && (accepted.is_empty() || accepted.contains(&dtype))
            })
        })
    }

    /// What equations say of a variable.
    pub fn equations(&self, slot: Slot) -> impl Iterator<Item = (&Part<'r>, &'r Expr)> + '_ {
        self.placed(slot).map(|(part, is, _)| (part, is))
    }

    /// The same, each with the position of its condition.
    pub fn placed(&self, slot: Slot) -> impl Iterator<Item = (&Part<'r>, &'r Expr, usize)> + '_ {
        let about = move |equation: &&Equation| equation.slot == slot;
        self.equations.iter().filter(about).map(|equation| (&equation.part, equation.is, equation.at))
    }

    fn pattern(&mut self, pattern: &AttrPattern) {
        match pattern {
            AttrPattern::Any | AttrPattern::Bind(_) | AttrPattern::Equals(None) => {}
            AttrPattern::Equals(Some(attr)) => self.literal(attr),
            AttrPattern::List(items) => items.iter().for_each(|item| self.pattern(item)),
        }
    }

    fn template(&mut self, template: &Template) {
        match template {
            Template::Slot(_) | Template::Absent | Template::More(_) => {}
            Template::Tensor(expr) => self.expr(expr),
            Template::Op(node) => {
                node.operands.iter().for_each(|operand| self.template(operand));
                node.attrs.iter().for_each(|(_, expr)| self.expr(expr));
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(attr) => self.literal(attr),
            Expr::Slot(_) => {}
            Expr::List(parts) => {
                let ints = parts.iter().map(|part| match part {
                    Expr::Literal(Attr::Int(v)) => Some(*v),
                    _ => None,
                });
                // Where the lists of the right side are those of the left, most rules hold.
                if !self.right {
                    self.literals.lists.extend(ints.collect::<Option<Vec<_>>>().map(Arc::from));
                }
                parts.iter().for_each(|part| self.expr(part));
            }
            Expr::Call(_, parts) => parts.iter().for_each(|part| self.expr(part)),
            Expr::Not(part) | Expr::Negate(part) => self.expr(part),
            Expr::Index(a, b) | Expr::Binary(_, a, b) => {
                self.expr(a);
                self.expr(b);
            }
        }
    }

    fn literal(&mut self, attr: &Attr) {
        let literals = &mut self.literals;
        match attr {
            Attr::Int(v) => literals.ints.push(*v),
            Attr::Float(v) => literals.floats.push(*v),
            Attr::Str(v) => literals.words.push(v.clone()),
            Attr::DType(v) => literals.dtypes.push(*v),
            Attr::Ints(_) if self.right => {}
            Attr::Ints(v) => literals.lists.push(v.clone()),
            Attr::Floats(v) => literals.floats.extend(v.iter()),
            Attr::Bool(_) => {}
        }
    }

    /// Whether some number of the rule is the result of float arithmetic, or needs most of the bits
    /// of an f32: equality can then be expected up to the rounding of f32 only.
    pub fn rounds(&self) -> bool {
        fn arithmetic(expr: &Expr) -> bool {
            match expr {
                Expr::Literal(Attr::Float(v)) => v.is_finite() && v.to_bits() & 0xfff != 0,
                Expr::Literal(_) | Expr::Slot(_) => false,
                Expr::List(parts) | Expr::Call(_, parts) => parts.iter().any(arithmetic),
                Expr::Not(part) | Expr::Negate(part) => arithmetic(part),
                Expr::Binary(Binary::Div, ..) => true,
                Expr::Index(a, b) | Expr::Binary(_, a, b) => arithmetic(a) || arithmetic(b),
            }
        }
        fn template(node: &Template) -> bool {
            match node {
                Template::Slot(_) | Template::Absent | Template::More(_) => false,
                Template::Tensor(expr) => arithmetic(expr),
                Template::Op(node) => {
                    node.operands.iter().any(template) || node.attrs.iter().any(|(_, expr)| arithmetic(expr))
                }
            }
        }
        let right = match &self.rule.right {
            Right::Node(node) => template(&Template::Op(node.clone())),
            Right::Values(values) => values.iter().any(template),
        };
        right
            || self.literals.floats.iter().any(|v| v.is_finite() && v.to_bits() & 0xfff != 0)
            || self.rule.shared.iter().any(|(_, value)| template(value))
            || self.conjuncts.iter().any(|(conjunct, _)| match conjunct {
                Conjunct::Let(_, expr) => arithmetic(expr),
                Conjunct::Holds(_) => false,
            })
    }
}

/// What each operand of an operator may be stored as: what its inference takes in place of the operands
/// of the applications that document it.
fn storages(op: &str, registry: &Registry) -> Vec<Vec<DType>> {
    let Some(entry) = registry.find(op) else { return Vec::new() };
    let examples = entry.operator.examples();
    let most = examples.iter().map(|example| example.operands.len()).max().unwrap_or(0);
    let mut all: Vec<BTreeSet<DType>> = vec![BTreeSet::new(); most];
    for example in examples {
        let ty = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::tensor_type);
        let types: Vec<Option<TensorType>> = example.operands.iter().map(ty).collect();
        let Ok(attrs) = registry.complete(op, example.attrs) else { continue };
        for dtype in DType::ALL {
            let stored =
                |ty: &Option<TensorType>| ty.as_ref().map(|ty| TensorType::new(dtype, ty.shape.clone()));
            let together: Vec<_> = types.iter().map(stored).collect();
            let together = registry.infer(op, &attrs, &together).is_ok();
            for (position, accepted) in all.iter_mut().enumerate() {
                let mut alone = types.clone();
                let Some(place) = alone.get_mut(position) else { continue };
                *place = stored(place);
                if place.is_some() && (together || registry.infer(op, &attrs, &alone).is_ok()) {
                    accepted.insert(dtype);
                }
            }
        }
    }
    all.into_iter().map(|accepted| accepted.into_iter().collect()).collect()
}

/// What the conditions say with `==`, of either of its sides.
fn equations<'r>(conjuncts: &[(Conjunct<'r>, BTreeSet<Slot>)]) -> Vec<Equation<'r>> {
    let mut all = Vec::new();
    for (at, (conjunct, _)) in conjuncts.iter().enumerate() {
        if let Conjunct::Holds(Expr::Binary(Binary::Equal, a, b)) = conjunct {
            for (about, is) in [(&**a, &**b), (&**b, &**a)] {
                all.extend(part(about, conjuncts).map(|(slot, part)| Equation { slot, part, is, at }));
            }
        }
    }
    all
}

/// The part of a variable that an expression is.
fn part<'r>(expr: &'r Expr, conjuncts: &[(Conjunct<'r>, BTreeSet<Slot>)]) -> Option<(Slot, Part<'r>)> {
    // What `where let` gave a name is what it stands for.
    let named = |slot: Slot| {
        conjuncts.iter().find_map(|(conjunct, _)| match conjunct {
            Conjunct::Let(to, expr) if *to == slot => Some(*expr),
            _ => None,
        })
    };
    let through = |mut expr: &'r Expr| {
        // Each stands for what was bound before it.
        while let Expr::Slot(slot) = expr
            && let Some(of) = named(*slot)
        {
            expr = of;
        }
        expr
    };
    let slot = |expr: &'r Expr| match through(expr) {
        Expr::Slot(slot) => Some(*slot),
        Expr::Call(helper, args) if helper.name == "type" => match args.first().map(through) {
            Some(Expr::Slot(slot)) => Some(*slot),
            _ => None,
        },
        _ => None,
    };
    let shape_of = |expr: &'r Expr| match through(expr) {
        Expr::Call(helper, args) if helper.name == "shape" => args.first().and_then(slot),
        _ => None,
    };
    match through(expr) {
        Expr::Slot(slot) => Some((*slot, Part::Whole)),
        Expr::Index(list, at) => match shape_of(list) {
            Some(value) => Some((value, Part::Size(at))),
            None => Some((slot(list)?, Part::Entry(at))),
        },
        Expr::Call(helper, args) => {
            let first = args.first()?;
            match (helper.name, args.get(1)) {
                ("type", None) => Some((slot(first)?, Part::Type)),
                ("dtype", None) => Some((slot(first)?, Part::Storage)),
                ("rank", None) => Some((slot(first)?, Part::Rank)),
                ("shape", None) => Some((slot(first)?, Part::Shape)),
                ("dim", Some(at)) => Some((slot(first)?, Part::Size(at))),
                ("len", None) => match shape_of(first) {
                    Some(value) => Some((value, Part::Rank)),
                    None => Some((slot(first)?, Part::Length)),
                },
                ("ints" | "floats" | "number", None) => Some((slot(first)?, Part::Elements)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Innermost first.
fn order(rule: &Rule) -> Vec<usize> {
    let reads = |step: usize, slot: &Slot| {
        rule.steps.get(step).is_some_and(|step| {
            step.operands.iter().any(|operand| {
                matches!(operand, OperandPattern::Value(other) | OperandPattern::Optional(other) if other == slot)
            })
        })
    };
    let mut left: Vec<usize> = (0..rule.steps.len()).rev().collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let made: Vec<Slot> =
            left.iter().filter_map(|&at| rule.steps.get(at)).flat_map(|step| step.results.clone()).collect();
        let ready = left.iter().position(|&at| !made.iter().any(|slot| reads(at, slot)));
        // A pattern whose values depend on each other fits nothing; any order will do.
        order.push(left.remove(ready.unwrap_or(0)));
    }
    order
}
