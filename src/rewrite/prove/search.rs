//! Finding instances of a left side: operands and attributes are drawn, the operators' inference and
//! the rule's conditions say at once what fits, and what fitted is drawn more often.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::expr::{Data, Expr};
use super::super::matcher::{Binding, Bound};
use super::super::rule::{OperandPattern, Slot, Step};
use super::choices::Choices;
use super::draft::{Draft, Seen};
use super::instance::{Instance, Made, Origin};
use super::numbers::tensor;
use super::plan::{Conjunct, Plan};
use crate::ir::{Attr, Attrs};
use crate::ops::{Registry, Schema};
use crate::tensor::{DType, Shape, TensorType};

/// How often a node is drawn before what was drawn earlier is given up.
const NODE: usize = 40;

/// How often its attributes are drawn before its operands are given up.
const ATTRS: usize = 6;

pub struct Search<'a> {
    pub plan: &'a Plan<'a>,
    pub registry: &'a Registry,
    pub choices: &'a mut Choices,
    /// The storages that most operands have, one an instance.
    pub storages: &'a [DType],
    /// Whether constants and inputs may have infinities and the like.
    pub corners: bool,
    /// Every operand that is no constant has these sizes.
    pub wide: Option<Vec<usize>>,
}

impl<'a> Search<'a> {
    /// An instance that satisfies the left side, unless the search was given up: from the tape if
    /// there is one.
    pub fn instance(&mut self, replay: Option<Vec<u32>>) -> Option<Instance> {
        self.choices.begin(replay);
        self.begun()
    }

    /// The instance of choices that have begun.
    pub fn begun(&mut self) -> Option<Instance> {
        let at = self.choices.pick((0, "storage", usize::MAX), self.storages.len().max(1));
        let mut draft = Draft {
            instance: Instance::default(),
            bindings: vec![None; self.plan.rule.slots.len()],
            held: vec![false; self.plan.conjuncts.len()],
            storage: self.storages.get(at).copied().unwrap_or(DType::F32),
            present: BTreeSet::new(),
            unusual: BTreeSet::new(),
            alike: false,
        };
        // Decided here: what is easier to find would be found only.
        for (at, step) in self.plan.rule.steps.iter().enumerate() {
            for operand in &step.operands {
                if let OperandPattern::Optional(slot) = operand
                    && self.choices.any(2) == 1
                {
                    draft.present.insert(*slot);
                }
            }
            let schema =
                self.registry.find(&step.op).filter(|_| step.rest.is_some()).map(|entry| &entry.schema);
            for (position, spec) in schema.into_iter().flat_map(|schema| &schema.attrs).enumerate() {
                if !step.attrs.iter().any(|(name, _)| **name == *spec.name) && self.choices.any(4) == 1 {
                    draft.unusual.insert((at, position));
                }
            }
        }
        for &step in &self.plan.order {
            draft = self.step(&draft, step)?;
        }
        Some(draft.instance)
    }

    fn step(&mut self, before: &Draft, at: usize) -> Option<Draft> {
        let step = self.plan.rule.steps.get(at)?;
        let entry = self.registry.find(&step.op)?;
        let examples: Vec<Attrs> =
            entry.operator.examples().into_iter().map(|example| example.attrs).collect();
        for _ in 0..self.choices.tries(NODE) {
            if self.choices.refused.nodes >= self.choices.refused.most {
                return None;
            }
            let mark = self.choices.mark();
            let mut draft = before.clone();
            if self.node(&mut draft, at, step, &entry.schema, &examples).is_some() {
                self.choices.keep(mark);
                return Some(draft);
            }
            self.choices.undo(mark);
        }
        None
    }

    fn node(
        &mut self,
        draft: &mut Draft,
        at: usize,
        step: &Step,
        schema: &Schema,
        examples: &[Attrs],
    ) -> Option<()> {
        self.choices.refused.nodes += 1;
        // Positions are few; those that are not would only share what they learn.
        let unusual = draft.unusual.range((at, 0)..(at + 1, 0)).map(|(_, position)| position % 32);
        self.choices.context = unusual.fold(0, |bits, bit| bits | 1 << bit);
        let mut operands: Vec<Option<usize>> = Vec::new();
        for pattern in &step.operands {
            operands.push(match pattern {
                OperandPattern::Value(slot) | OperandPattern::Optional(slot) => {
                    match draft.bindings.get(*slot) {
                        Some(Some(Binding::Value(value))) => Some(*value),
                        _ => None,
                    }
                }
                _ => None,
            });
        }
        draft.alike = operands.len() > 3 && self.choices.pick((at, "alike", 0), 2) == 1;
        let mut later: Vec<(usize, Slot)> = Vec::new();
        for (position, pattern) in step.operands.iter().enumerate() {
            let value = match pattern {
                OperandPattern::Absent => continue,
                OperandPattern::Value(slot) | OperandPattern::Optional(slot) if draft.bound(*slot) => {
                    match draft.bindings.get(*slot) {
                        Some(Some(Binding::Value(value))) => *value,
                        _ => continue,
                    }
                }
                OperandPattern::Optional(slot) if !draft.present.contains(slot) => {
                    draft.bind(*slot, Binding::Absent);
                    self.check(draft)?;
                    continue;
                }
                // Whether the node fits without it says half of whether it fits with it.
                OperandPattern::Optional(slot) => {
                    later.push((position, *slot));
                    continue;
                }
                OperandPattern::Value(slot) => self.operand(draft, at, position, Some(*slot), &operands)?,
                OperandPattern::Numbers(numbers) => {
                    let ty = self.ty(draft, (at, position), None, &operands, false)?;
                    let sizes = [numbers.len()];
                    let ty = ty.with_shape(Shape::fixed(&sizes));
                    let number = |at: usize| numbers.get(at).copied().unwrap_or(0.0);
                    let tensor = tensor(ty.storage(), &sizes, number)?;
                    draft.add("numbers", ty, Origin::Constant(Arc::new(tensor)))
                }
                OperandPattern::Number(number) => {
                    let ty = self.ty(draft, (at, position), None, &operands, false)?;
                    let sizes = ty.shape.sizes()?;
                    let tensor = tensor(ty.storage(), &sizes, |_| *number)?;
                    draft.add("number", ty, Origin::Constant(Arc::new(tensor)))
                }
            };
            *operands.get_mut(position)? = Some(value);
        }
        if let Some(slot) = step.more {
            let count = self.choices.pick((at, "more", 0), 3);
            let mut more = Vec::new();
            for position in 0..count {
                let value = self.operand(draft, at, step.operands.len() + position, None, &operands)?;
                operands.push(Some(value));
                more.push(Some(value));
            }
            draft.bind(slot, Binding::More(more));
        }
        let (attrs, mut types) = self.fitting(draft, at, step, schema, &operands, examples)?;
        for (position, slot) in later {
            types = self.optional(draft, (at, position), slot, &attrs, &mut operands)?;
        }
        while operands.last() == Some(&None) {
            operands.pop();
        }
        if types.len() != step.results.len() {
            return None;
        }
        let mut results = Vec::new();
        for (&slot, ty) in step.results.iter().zip(types) {
            // More than this is nothing that a small case would not show.
            ty.shape.elements().filter(|&count| count <= 1 << 17)?;
            let name = self.plan.rule.slots.get(slot).filter(|name| !name.is_empty());
            let value = draft.add(name.map_or(&*step.op, |name| name), ty, Origin::Result);
            draft.bind(slot, Binding::Value(value));
            results.push(value);
        }
        draft.instance.nodes.push(Made { op: step.op.clone(), attrs, operands, results, step: Some(at) });
        self.check(draft)
    }

    /// Attributes with which the operands fit, and the types of the results.
    fn fitting(
        &mut self,
        draft: &mut Draft,
        at: usize,
        step: &Step,
        schema: &Schema,
        operands: &[Option<usize>],
        examples: &[Attrs],
    ) -> Option<(Attrs, Vec<TensorType>)> {
        let tries = if step.attrs.is_empty() && step.rest.is_none() { 1 } else { ATTRS };
        for _ in 0..self.choices.tries(tries) {
            let mark = self.choices.mark();
            let mut next = draft.clone();
            let attrs = self.attrs(&mut next, at, step, schema, operands, examples);
            let attrs = attrs.and_then(|attrs| self.registry.complete(&step.op, attrs).ok());
            if let Some(attrs) = attrs
                && let Some(types) = self.infer(&next, at, &step.op, &attrs, operands)
            {
                *draft = next;
                return Some((attrs, types));
            }
            self.choices.undo(mark);
        }
        None
    }

    fn infer(
        &mut self,
        draft: &Draft,
        step: usize,
        op: &str,
        attrs: &Attrs,
        operands: &[Option<usize>],
    ) -> Option<Vec<TensorType>> {
        let ty = |value: &usize| draft.instance.values.get(*value).map(|held| held.ty.clone());
        let types: Vec<Option<TensorType>> =
            operands.iter().map(|value| value.as_ref().and_then(ty)).collect();
        let inferred = self.registry.infer(op, attrs, &types);
        inferred.inspect_err(|error| self.choices.refused.operator(step, error)).ok()
    }

    /// Draws an optional operand of a node that fits without it; the types of the node's results.
    fn optional(
        &mut self,
        draft: &mut Draft,
        (at, position): (usize, usize),
        slot: Slot,
        attrs: &Attrs,
        operands: &mut [Option<usize>],
    ) -> Option<Vec<TensorType>> {
        let op = &self.plan.rule.steps.get(at)?.op;
        for _ in 0..self.choices.tries(NODE) {
            let mark = self.choices.mark();
            let mut next = draft.clone();
            let value = self.operand(&mut next, at, position, Some(slot), operands)?;
            *operands.get_mut(position)? = Some(value);
            if let Some(types) = self.infer(&next, at, op, attrs, operands) {
                *draft = next;
                return Some(types);
            }
            *operands.get_mut(position)? = None;
            self.choices.undo(mark);
        }
        None
    }

    pub fn eval(&self, draft: &Draft, expr: &Expr) -> Option<Data> {
        let view = Seen { draft, registry: self.registry };
        let bound = Bound { view: &view, rule: self.plan.rule, bindings: &draft.bindings };
        expr.eval(&bound, self.registry)
    }

    /// Whether every condition that can be decided holds; `where let` binds on the way.
    pub fn check(&mut self, draft: &mut Draft) -> Option<()> {
        let plan = self.plan;
        loop {
            let mut bound = false;
            for (at, (conjunct, slots)) in plan.conjuncts.iter().enumerate() {
                if draft.held.get(at) != Some(&false) || !slots.iter().all(|&slot| draft.bound(slot)) {
                    continue;
                }
                match conjunct {
                    Conjunct::Holds(expr) => {
                        let Some(Data::Attr(Attr::Bool(true))) = self.eval(draft, expr) else {
                            self.choices.refused.condition(at);
                            return None;
                        };
                    }
                    Conjunct::Let(slot, expr) => {
                        let Some(data) = self.eval(draft, expr) else {
                            self.choices.refused.condition(at);
                            return None;
                        };
                        draft.bind(*slot, Binding::Data(data));
                        bound = true;
                    }
                }
                *draft.held.get_mut(at)? = true;
            }
            if !bound {
                return Some(());
            }
        }
    }
}
