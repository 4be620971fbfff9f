//! What the search for instances reads off a rule once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::expr::{Binary, Expr};
use super::super::rule::{AttrPattern, Condition, OperandPattern, Right, Rule, Slot, Template};
use crate::ir::Attr;
use crate::tensor::DType;

/// One condition that must hold on its own.
pub enum Conjunct<'r> {
    Holds(&'r Expr),
    Let(Slot, &'r Expr),
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
    pub literals: Literals,
    /// Values that a condition wants to be constants, and inputs.
    pub constants: BTreeSet<Slot>,
    pub entries: BTreeSet<Slot>,
    /// Values that a condition wants not to be constants.
    pub variables: BTreeSet<Slot>,
}

impl<'r> Plan<'r> {
    pub fn new(rule: &'r Rule) -> Self {
        let mut plan = Self {
            rule,
            order: order(rule),
            conjuncts: Vec::new(),
            literals: Literals::default(),
            constants: BTreeSet::new(),
            entries: BTreeSet::new(),
            variables: BTreeSet::new(),
        };
        for guard in &rule.guards {
            match &guard.condition {
                Condition::Holds(expr) => plan.conjunct(expr),
                Condition::Let(slot, expr) => plan.add(Conjunct::Let(*slot, expr), expr),
                // Up to the readers, not to the left side.
                Condition::SingleUse(_) => {}
            }
        }
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

    /// What an equation says that a variable is.
    pub fn equals(&self, slot: Slot) -> impl Iterator<Item = &'r Expr> + '_ {
        self.conjuncts.iter().filter_map(move |(conjunct, _)| match conjunct {
            Conjunct::Holds(Expr::Binary(Binary::Equal, a, b)) => match (&**a, &**b) {
                (Expr::Slot(other), expr) | (expr, Expr::Slot(other)) if *other == slot => Some(expr),
                _ => None,
            },
            _ => None,
        })
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
                self.literals.lists.extend(ints.collect::<Option<Vec<_>>>().map(Arc::from));
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
