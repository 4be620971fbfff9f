//! Operands that nothing of the left side makes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::matcher::Binding;
use super::super::rule::Slot;
use super::draft::Draft;
use super::instance::{Held, Made, Origin};
use super::numbers::{Flavour, drawn};
use super::search::Search;
use super::shapes;
use crate::ir::Attrs;
use crate::tensor::{DType, Grid, Shape, TensorType};

/// How often an operand is drawn before the node is given up.
const OPERAND: usize = 12;

impl Search<'_> {
    /// An operand that nothing of the left side makes.
    pub fn operand(
        &mut self,
        draft: &mut Draft,
        at: usize,
        position: usize,
        slot: Option<Slot>,
        operands: &[Option<usize>],
    ) -> Option<usize> {
        for _ in 0..self.choices.tries(OPERAND) {
            let mark = self.choices.mark();
            let mut next = draft.clone();
            if let Some(value) = self.leaf(&mut next, at, position, slot, operands)
                && self.check(&mut next).is_some()
            {
                *draft = next;
                return Some(value);
            }
            self.choices.undo(mark);
        }
        None
    }

    fn leaf(
        &mut self,
        draft: &mut Draft,
        at: usize,
        position: usize,
        slot: Option<Slot>,
        operands: &[Option<usize>],
    ) -> Option<usize> {
        #[derive(Clone, Copy, PartialEq)]
        enum Way {
            Input,
            Constant,
            Inner,
            Same,
        }
        let asked = |slots: &BTreeSet<Slot>| slot.is_some_and(|slot| slots.contains(&slot));
        let ways: &[Way] = if asked(&self.plan.constants) {
            &[Way::Constant]
        } else if asked(&self.plan.entries) {
            &[Way::Input, Way::Same]
        } else if asked(&self.plan.variables) {
            &[Way::Input, Way::Input, Way::Inner, Way::Same]
        } else {
            &[Way::Input, Way::Input, Way::Constant, Way::Inner, Way::Same]
        };
        let mut way = *ways.get(self.choices.pick((at, "way", position), ways.len()))?;
        if way == Way::Same {
            let fits = |held: &Held| matches!(held.origin, Origin::Input(_));
            let all: Vec<usize> = draft
                .instance
                .inputs()
                .filter(|&at| draft.instance.values.get(at).is_some_and(fits))
                .collect();
            match all.get(self.choices.any(all.len().max(1))) {
                Some(&value) => {
                    if let Some(slot) = slot {
                        draft.bind(slot, Binding::Value(value));
                    }
                    return Some(value);
                }
                None => way = Way::Input,
            }
        }
        let constant = way == Way::Constant;
        let ty = self.ty(draft, at, position, operands, !constant)?;
        let sizes = ty.shape.sizes()?;
        let literals: Vec<f64> = self.plan.literals.floats.iter().map(|&v| f64::from(v)).collect();
        let flavours = Flavour::constants(self.corners);
        let flavour = match constant {
            // A row is filled later.
            false if self.wide.is_some() => Flavour::Zeros,
            true => *flavours.get(self.choices.pick((at, "numbers", position), flavours.len()))?,
            false => Flavour::Small,
        };
        let tensor = Arc::new(drawn(ty.storage(), &sizes, flavour, &literals, &mut self.choices.numbers())?);
        let name = slot.and_then(|slot| self.plan.rule.slots.get(slot)).filter(|name| !name.is_empty());
        let name = name.map_or("x", |name| name);
        let mut value = match constant {
            true => draft.add(name, ty, Origin::Constant(tensor)),
            false => draft.add(name, ty.clone(), Origin::Input(tensor)),
        };
        if way == Way::Inner {
            // No input of the graph, but the same numbers.
            let input = value;
            let ty = draft.instance.values.get(input)?.ty.clone();
            value = draft.add(name, ty, Origin::Result);
            draft.instance.nodes.push(Made {
                op: "identity".into(),
                attrs: Attrs::new(),
                operands: vec![Some(input)],
                results: vec![value],
                step: None,
            });
        }
        if let Some(slot) = slot {
            draft.bind(slot, Binding::Value(value));
        }
        Some(value)
    }

    /// A type for the operand at `position`; `variable`: it is no constant.
    pub fn ty(
        &mut self,
        draft: &Draft,
        at: usize,
        position: usize,
        operands: &[Option<usize>],
        variable: bool,
    ) -> Option<TensorType> {
        let before = position.checked_sub(1).and_then(|before| operands.get(before).copied().flatten());
        if let Some(held) = before.and_then(|before| draft.instance.values.get(before))
            && draft.alike
            && position > 1
        {
            return Some(held.ty.clone());
        }
        const OTHER: [DType; 5] = [DType::F32, DType::I8, DType::U8, DType::I32, DType::I64];
        let named = self.plan.literals.dtypes.iter().filter(|dtype| !OTHER.contains(dtype));
        let other: Vec<DType> = OTHER.iter().chain(named).copied().collect();
        let storage = match self.choices.pick((at, "storage", position), 1 + other.len()) {
            0 => draft.storage,
            at => *other.get(at - 1)?,
        };
        let known: Vec<Vec<usize>> = operands.iter().filter_map(|&value| draft.sizes(value)).collect();
        let sizes = match &self.wide {
            Some(wide) if variable => wide.clone(),
            _ => {
                let others: Vec<Vec<usize>> =
                    (0..draft.instance.values.len()).filter_map(|value| draft.sizes(Some(value))).collect();
                shapes::sizes(self.choices, (at, "sizes", position), &known, &others, &self.plan.literals)
            }
        };
        sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).filter(|&n| n <= 1 << 17)?;
        Some(TensorType { grid: Grid::Plain(storage), shape: Shape::fixed(&sizes) })
    }
}
