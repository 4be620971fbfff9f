//! The float form as a left side: what `chain(…)` stands for over a declared layer.

use std::sync::Arc;

use super::{Clause, Declared, Given, Term};
use crate::diag::Span;
use crate::ir::{Attr, AttrKind};
use crate::ops::layer::standard;
use crate::ops::{AttrSpec, Default};
use crate::rewrite::expr::Expr;
use crate::rewrite::helpers;
use crate::rewrite::rule::{
    AttrPattern, Condition, Guard, OpTemplate, OperandPattern, Right, Rule, Slot, Step, StepSpans, Template,
};

/// The rule that makes the layer of its float form; `None` unless that is a chain: operators each of
/// which reads the one before, the layer's operands and numbers, with attributes that are the layer's
/// own or literals.
pub fn fusion(declared: &Declared, span: Span) -> Option<Rule> {
    let section = &declared.float.section;
    let mut chain = Chain { declared, span, slots: section.slots, steps: Vec::new(), bound: Vec::new() };
    let mut next = Some((None, &declared.float.result));
    while let Some((slot, template)) = next {
        next = chain.step(slot, template)?;
    }
    let last = chain.steps.len().checked_sub(1)?;
    let guard = |condition| Guard { condition, after: last, span, warn: false };
    let mut guards = Vec::new();
    let is_constant = helpers::named("is_constant").into_iter().next()?;
    for (at, given) in section.given.iter().enumerate() {
        if matches!(given, Given::Operand(position) if *position >= declared.inputs.len()) {
            guards.push(guard(Condition::Holds(Expr::Call(is_constant, vec![Expr::Slot(at)]))));
        }
    }
    for clause in &section.clauses {
        match clause {
            Clause::Holds(condition, _) => guards.push(guard(Condition::Holds(condition.clone()))),
            Clause::Let(slot, Term::Data(expr)) => guards.push(guard(Condition::Let(*slot, expr.clone()))),
            // A step, if it is one.
            Clause::Let(slot, Term::Made(_)) if chain.bound.contains(slot) => {}
            Clause::Let(_, Term::Made(_)) => return None,
        }
    }
    let mut operands = Vec::new();
    let mut attrs = Vec::new();
    let mut defaults = Vec::new();
    for (at, given) in section.given.iter().enumerate() {
        match given {
            Given::Operand(_) if chain.bound.contains(&at) => operands.push(Template::Slot(at)),
            Given::Attr(name) if chain.bound.contains(&at) => attrs.push((name.clone(), Expr::Slot(at))),
            // The chain says nothing about it, so it has its default.
            Given::Attr(name) => {
                let spec = declared.attrs.iter().find(|spec| *spec.name == **name)?;
                let Default::Value(value) = &spec.default else { return None };
                defaults.push(guard(Condition::Let(at, Expr::Literal(value.clone()))));
                attrs.push((name.clone(), Expr::Slot(at)));
            }
            Given::Operand(_) | Given::Range | Given::FeedsAdd => return None,
        }
    }
    let right = OpTemplate { op: declared.name.clone(), operands, attrs, rest: None };
    Some(Rule {
        name: declared.name.clone(),
        doc: String::new(),
        span,
        custom: false,
        arm: 0,
        expand: false,
        slots: vec![Arc::from(""); chain.slots],
        steps: chain.steps,
        // Conditions may read them.
        guards: defaults.into_iter().chain(guards).collect(),
        shared: Vec::new(),
        right: Right::Values(vec![Template::Op(right)]),
    })
}

/// An operator to come: the variable of its result, if it has one.
type Link<'a> = (Option<Slot>, &'a Template);

struct Chain<'a> {
    declared: &'a Declared,
    /// Where the chain is written.
    span: Span,
    /// Variables so far: those of the section, and results without a name.
    slots: usize,
    steps: Vec<Step>,
    /// Variables that the left side binds.
    bound: Vec<Slot>,
}

impl<'a> Chain<'a> {
    /// Adds the operator of a template, whose result is the variable `slot`, and gives the operator
    /// before it.
    fn step(&mut self, slot: Option<Slot>, template: &'a Template) -> Option<Option<Link<'a>>> {
        let (slot, node) = match template {
            Template::Op(node) => (slot, node),
            Template::Slot(of) => match self.made(*of)? {
                Template::Op(node) => (slot.or(Some(*of)), node),
                _ => return None,
            },
            Template::Absent | Template::Tensor(_) | Template::More(_) => return None,
        };
        let result = slot.unwrap_or_else(|| self.fresh());
        // Read twice, it is no chain.
        if self.bound.contains(&result) || node.rest.is_some() {
            return None;
        }
        self.bound.push(result);
        let mut before = None;
        let mut operands = Vec::with_capacity(node.operands.len());
        for operand in &node.operands {
            operands.push(match operand {
                Template::Absent => OperandPattern::Absent,
                Template::Tensor(expr) => OperandPattern::Number(number(expr)?),
                Template::More(_) => return None,
                Template::Slot(slot) if self.operand(*slot).is_some() => {
                    self.bound.push(*slot);
                    match self.operand(*slot)? {
                        true => OperandPattern::Optional(*slot),
                        false => OperandPattern::Value(*slot),
                    }
                }
                Template::Slot(_) | Template::Op(_) if before.is_some() => return None,
                Template::Slot(slot) => {
                    before = Some((Some(*slot), operand));
                    OperandPattern::Value(*slot)
                }
                Template::Op(_) => {
                    let slot = self.fresh();
                    before = Some((Some(slot), operand));
                    OperandPattern::Value(slot)
                }
            });
        }
        let schema = &standard().find(&node.op)?.schema;
        let attrs = schema.attrs.iter().map(|spec| self.attr(node, spec)).collect::<Option<Vec<_>>>()?;
        let op = node.op.clone();
        let span = self.span;
        let spans =
            StepSpans { op: span, operands: vec![span; operands.len()], attrs: vec![span; attrs.len()] };
        self.steps.push(Step { op, results: vec![result], operands, more: None, attrs, rest: None, spans });
        Some(before)
    }

    fn attr(&mut self, node: &OpTemplate, spec: &AttrSpec) -> Option<(Arc<str>, AttrPattern)> {
        let given = node.attrs.iter().find(|(name, _)| **name == *spec.name).map(|(_, expr)| expr);
        let pattern = match (given, &spec.default) {
            (Some(Expr::Slot(slot)), _) => {
                self.bound.push(*slot);
                AttrPattern::Bind(*slot)
            }
            (Some(Expr::Literal(Attr::Int(v))), _) if spec.kind == AttrKind::Float => {
                AttrPattern::Equals(Some(Attr::Float(*v as f32)))
            }
            (Some(Expr::Literal(value)), _) => AttrPattern::Equals(Some(value.clone())),
            (Some(_), _) | (None, Default::Required) => return None,
            (None, Default::Value(value)) => AttrPattern::Equals(Some(value.clone())),
            (None, Default::Absent) => AttrPattern::Equals(None),
        };
        Some((spec.name.as_ref().into(), pattern))
    }

    /// Whether the operand that a variable stands for may be absent; `None` if it is none.
    fn operand(&self, slot: Slot) -> Option<bool> {
        let Given::Operand(position) = self.declared.float.section.given.get(slot)? else { return None };
        let constant = position.checked_sub(self.declared.inputs.len());
        let optional = constant.and_then(|at| self.declared.constants.get(at)).is_some_and(|(_, it)| *it);
        Some(optional)
    }

    /// What a `let` says that the variable is.
    fn made(&self, slot: Slot) -> Option<&'a Template> {
        self.declared.float.section.clauses.iter().find_map(|clause| match clause {
            Clause::Let(of, Term::Made(template)) if *of == slot => Some(template),
            _ => None,
        })
    }

    fn fresh(&mut self) -> Slot {
        self.slots += 1;
        self.slots - 1
    }
}

/// A number of the declaration, stored like what it meets or not.
fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(Attr::Float(v)) => Some(f64::from(*v)),
        Expr::Literal(Attr::Int(v)) => Some(*v as f64),
        Expr::Negate(of) => number(of).map(|v| -v),
        Expr::Call(helper, args) if helper.name == "scalar" => number(args.first()?),
        _ => None,
    }
}
