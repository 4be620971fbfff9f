//! Operands that nothing of the left side makes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::expr::{Data, Expr};
use super::super::matcher::Binding;
use super::super::rule::Slot;
use super::draft::Draft;
use super::instance::{Held, Made, Origin};
use super::numbers::{Flavour, drawn, tensor};
use super::plan::Part;
use super::search::Search;
use super::shapes;
use crate::ir::{Attr, Attrs};
use crate::tensor::{DType, Grid, Shape, TensorType};

/// How often an operand is drawn before the node is given up.
const OPERAND: usize = 12;

/// Options for the storage that most operands have, beside one for each that is accepted.
const USUAL: usize = 4;

/// Choices that the sizes of an operand take, most of the time.
const SIZES: usize = 10;

/// Elements of an operand. More show nothing that a small case would not.
const LARGEST: usize = 1 << 18;

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
        let mut ty = self.ty(draft, (at, position), slot, operands, !constant)?;
        let mut sizes = ty.shape.sizes()?;
        let elements = slot.filter(|_| constant).and_then(|slot| self.elements(draft, slot));
        if let Some(elements) = &elements
            && sizes.iter().product::<usize>() != elements.len()
        {
            // A constant that is a number has one element, of any number of axes.
            sizes = vec![elements.len()];
            ty = ty.with_shape(Shape::fixed(&sizes));
        }
        let literals: Vec<f64> = self.plan.literals.floats.iter().map(|&v| f64::from(v)).collect();
        let flavours = Flavour::constants(self.corners);
        let flavour = match constant {
            // A row is filled later.
            false if self.wide.is_some() => Flavour::Zeros,
            true => *flavours.get(self.choices.pick((at, "numbers", position), flavours.len()))?,
            false => Flavour::Small,
        };
        let mut rng = self.choices.numbers();
        let tensor = Arc::new(match elements {
            Some(elements) => {
                let number = |at: usize| elements.get(at).copied().unwrap_or(0.0);
                tensor(ty.storage(), &sizes, number)?
            }
            None => drawn(ty.storage(), &sizes, flavour, &literals, &mut rng)?,
        });
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

    /// What equations say that the elements of a constant are.
    fn elements(&self, draft: &Draft, slot: Slot) -> Option<Vec<f64>> {
        self.plan.equations(slot).filter(|(part, _)| matches!(part, Part::Elements)).find_map(|(_, is)| {
            match self.eval(draft, is)? {
                Data::Attr(Attr::Float(v)) => Some(vec![v.into()]),
                Data::Attr(Attr::Int(v)) => Some(vec![v as f64]),
                Data::Attr(Attr::Floats(all)) => Some(all.iter().map(|&v| v.into()).collect()),
                Data::Attr(Attr::Ints(all)) => Some(all.iter().map(|&v| v as f64).collect()),
                _ => None,
            }
        })
    }

    /// Sizes with what equations say of them; `None` where they do not fit.
    fn sized(&mut self, draft: &Draft, slot: Slot, mut sizes: Vec<usize>) -> Option<Vec<usize>> {
        let plan = self.plan;
        let int = |search: &Self, is: &Expr| match search.eval(draft, is) {
            Some(Data::Attr(Attr::Int(v))) => Some(v),
            _ => None,
        };
        for (part, is) in plan.equations(slot) {
            match part {
                Part::Rank => {
                    if let Some(rank) = int(self, is) {
                        let rank = usize::try_from(rank).ok().filter(|&rank| rank <= 8)?;
                        sizes.resize_with(rank, || 1 + self.choices.any(3));
                    }
                }
                Part::Shape => {
                    if let Some(Data::Attr(Attr::Ints(all))) = self.eval(draft, is) {
                        sizes = all.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?;
                    }
                }
                _ => {}
            }
        }
        for (part, is, at) in plan.placed(slot) {
            if let Part::Size(axis) = part
                && let (Some(axis), Some(size)) = (int(self, axis), int(self, is))
            {
                let rank = sizes.len() as i64;
                let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
                let place = usize::try_from(axis).ok().and_then(|axis| sizes.get_mut(axis));
                let Some((place, size)) = place.zip(usize::try_from(size).ok()) else {
                    self.choices.refused.condition(at);
                    return None;
                };
                *place = size;
            }
        }
        Some(sizes)
    }

    /// A type for the operand at `position`; `variable`: it is no constant.
    pub fn ty(
        &mut self,
        draft: &Draft,
        (at, position): (usize, usize),
        slot: Option<Slot>,
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
        let accepted = self.plan.storages(at, position);
        let accepted = if accepted.is_empty() { &DType::ALL } else { accepted };
        // What most operands are stored as, or else what the one before is.
        let before = before.and_then(|before| draft.instance.values.get(before));
        let mut usual = [Some(draft.storage), before.map(|held| held.ty.storage())].into_iter().flatten();
        let usual = usual.find(|storage| accepted.contains(storage)).or(accepted.first().copied())?;
        let mut storage = match self.choices.pick((at, "storage", position), USUAL + accepted.len()) {
            other @ USUAL.. => *accepted.get(other - USUAL)?,
            _ => usual,
        };
        for (part, is) in slot.into_iter().flat_map(|slot| self.plan.equations(slot)) {
            match (part, self.eval(draft, is)) {
                (Part::Type, Some(Data::Type(ty))) if ty.grid.is_plain() => {
                    return Some(ty);
                }
                (Part::Storage, Some(Data::Attr(Attr::DType(dtype)))) => storage = dtype,
                _ => {}
            }
        }
        let known: Vec<Vec<usize>> = operands.iter().filter_map(|&value| draft.sizes(value)).collect();
        let mark = self.choices.mark();
        let sizes = match &self.wide {
            Some(wide) if variable => wide.clone(),
            _ => {
                let others: Vec<Vec<usize>> =
                    (0..draft.instance.values.len()).filter_map(|value| draft.sizes(Some(value))).collect();
                shapes::sizes(self.choices, (at, "sizes", position), &known, &others, &self.plan.literals)
            }
        };
        let sizes = match slot {
            Some(slot) if !(variable && self.wide.is_some()) => self.sized(draft, slot, sizes)?,
            _ => sizes,
        };
        self.choices.pad(mark, SIZES);
        sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).filter(|&n| n <= LARGEST)?;
        Some(TensorType { grid: Grid::Plain(storage), shape: Shape::fixed(&sizes) })
    }
}
