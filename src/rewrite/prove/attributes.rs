//! The attributes of a node under a pattern.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::expr::{Data, Expr};
use super::super::matcher::Binding;
use super::super::rule::{AttrPattern, Slot, Step};
use super::candidates::{self, Context};
use super::draft::Draft;
use super::plan::Part;
use super::search::Search;
use crate::ir::{Attr, Attrs};
use crate::ops::{Default, Schema};

/// How often an attribute is drawn before the node is given up.
const ATTR: usize = 10;

/// Entries that a list may have.
const LONGEST: usize = 64;

impl Search<'_> {
    pub fn attrs(
        &mut self,
        draft: &mut Draft,
        at: usize,
        step: &Step,
        schema: &Schema,
        operands: &[Option<usize>],
        examples: &[Attrs],
    ) -> Option<Attrs> {
        let known: Vec<Vec<usize>> = operands.iter().filter_map(|&value| draft.sizes(value)).collect();
        let plan = self.plan;
        let mut lengths: Vec<usize> = Vec::new();
        let mut attrs = Attrs::new();
        // Attributes that only make sense together: all from one example.
        let together = match step.attrs.len() {
            0 | 1 => None,
            _ => {
                let shown = self.choices.pick((at, "together", 0), 3) == 2;
                let which = self.choices.any(examples.len().max(1));
                examples.get(which).filter(|_| shown)
            }
        };
        for (position, (name, pattern)) in step.attrs.iter().enumerate() {
            let spec = schema.attr_spec(name)?;
            let cx = Context { literals: &plan.literals, known: &known, examples, lengths: &lengths };
            let mut done = None;
            for _ in 0..self.choices.tries(ATTR) {
                let mark = self.choices.mark();
                let mut next = draft.clone();
                let len = match pattern {
                    AttrPattern::List(items) => Some(items.len()),
                    AttrPattern::Bind(slot) => self.length(&next, *slot),
                    _ => None,
                };
                let shown =
                    together.and_then(|example| example.get(name)).and_then(|attr| shortened(attr, len));
                let drawn = match pattern {
                    AttrPattern::Equals(_) => None,
                    _ if shown.is_some() => shown,
                    _ => Some(candidates::value(self.choices, (at, "attr", position), spec, len, &cx)),
                };
                let attr = self.settle(&mut next, (at, position), pattern, drawn);
                if let Some(attr) = attr
                    && self.check(&mut next).is_some()
                {
                    done = Some((next, attr));
                    break;
                }
                self.choices.undo(mark);
            }
            let (next, attr) = done?;
            *draft = next;
            if let Some(attr) = attr {
                if let Attr::Ints(list) = &attr {
                    lengths.push(list.len());
                }
                attrs.set(name, attr);
            }
        }
        if let Some(slot) = step.rest {
            let cx = Context { literals: &plan.literals, known: &known, examples, lengths: &lengths };
            self.rest(draft, at, slot, step, schema, &cx, &mut attrs)?;
        }
        Some(attrs)
    }

    #[expect(clippy::too_many_arguments)]
    fn rest(
        &mut self,
        draft: &mut Draft,
        at: usize,
        slot: Slot,
        step: &Step,
        schema: &Schema,
        cx: &Context,
        attrs: &mut Attrs,
    ) -> Option<()> {
        if let Some(Some(Binding::Rest(rest))) = draft.bindings.get(slot) {
            rest.iter().for_each(|(name, attr)| attrs.set(name, attr.clone()));
            return Some(());
        }
        let mut rest: BTreeMap<Arc<str>, Attr> = BTreeMap::new();
        for (position, spec) in schema.attrs.iter().enumerate() {
            if step.attrs.iter().any(|(name, _)| **name == *spec.name) {
                continue;
            }
            let usual = match &spec.default {
                Default::Required => None,
                Default::Absent => Some(None),
                Default::Value(attr) => Some(Some(attr.clone())),
            };
            let attr = match usual {
                Some(usual) if !draft.unusual.contains(&(at, position)) => usual,
                usual => {
                    let drawn = candidates::value(self.choices, (at, "rest", position), spec, None, cx);
                    Some(drawn).filter(|drawn| usual != Some(Some(drawn.clone()))).map(Some)?
                }
            };
            if let Some(attr) = attr {
                attrs.set(&spec.name, attr.clone());
                rest.insert(Arc::from(&*spec.name), attr);
            }
        }
        draft.bind(slot, Binding::Rest(rest.into_iter().collect()));
        Some(())
    }

    /// What becomes of a drawn attribute under a pattern: what is bound or stated stays so, what an
    /// equation says is solved for. `Some(None)` for an attribute that is to be absent.
    fn settle(
        &mut self,
        draft: &mut Draft,
        (at, position): (usize, usize),
        pattern: &AttrPattern,
        drawn: Option<Attr>,
    ) -> Option<Option<Attr>> {
        match pattern {
            AttrPattern::Any => drawn.map(Some),
            AttrPattern::Equals(attr) => Some(attr.clone()),
            AttrPattern::Bind(slot) => {
                if let Some(Some(Binding::Data(Data::Attr(attr)))) = draft.bindings.get(*slot) {
                    return Some(Some(attr.clone()));
                }
                let attr = match (self.solved(draft, *slot), &drawn) {
                    // A whole number in a condition is a float where one is compared with it.
                    (Some(Attr::Int(v)), Some(Attr::Float(_))) => Attr::Float(v as f32),
                    (Some(Attr::Ints(v)), Some(Attr::Floats(_))) => {
                        Attr::Floats(v.iter().map(|&v| v as f32).collect())
                    }
                    (solved, _) => solved.or(drawn)?,
                };
                let attr = match attr {
                    Attr::Ints(list) => self.entries(draft, *slot, list.to_vec())?.into(),
                    other => other,
                };
                draft.bind(*slot, Binding::Data(Data::Attr(attr.clone())));
                Some(Some(attr))
            }
            AttrPattern::List(items) => {
                let Some(Attr::Ints(drawn)) = drawn else { return None };
                let mut list = Vec::with_capacity(items.len());
                for (item, &drawn) in items.iter().zip(drawn.iter()) {
                    match self.settle(draft, (at, position), item, Some(Attr::Int(drawn)))? {
                        Some(Attr::Int(v)) => list.push(v),
                        _ => return None,
                    }
                }
                Some(Some(list.into()))
            }
        }
    }

    fn solved(&self, draft: &Draft, slot: Slot) -> Option<Attr> {
        let value = |expr: &Expr| match self.eval(draft, expr)? {
            Data::Attr(attr) => Some(attr),
            _ => None,
        };
        let whole = self.plan.equations(slot).filter(|(part, _)| matches!(part, Part::Whole));
        whole.map(|(_, is)| is).find_map(value)
    }

    fn int(&self, draft: &Draft, expr: &Expr) -> Option<i64> {
        match self.eval(draft, expr)? {
            Data::Attr(Attr::Int(v)) => Some(v),
            _ => None,
        }
    }

    /// The length that equations say a list has.
    fn length(&self, draft: &Draft, slot: Slot) -> Option<usize> {
        let lengths = self.plan.equations(slot).filter(|(part, _)| matches!(part, Part::Length));
        let length = lengths.map(|(_, is)| is).find_map(|is| self.int(draft, is))?;
        usize::try_from(length).ok().filter(|&length| length <= LONGEST)
    }

    /// A list with the entries that equations say; `None` where it has not so many.
    fn entries(&self, draft: &Draft, slot: Slot, mut list: Vec<i64>) -> Option<Vec<i64>> {
        let mut stated = vec![false; list.len()];
        for (part, is) in self.plan.equations(slot) {
            let Part::Entry(at) = part else { continue };
            let (Some(at), Some(entry)) = (self.int(draft, at), self.int(draft, is)) else { continue };
            let at = if at < 0 { at.checked_add(list.len() as i64)? } else { at };
            let at = usize::try_from(at).ok().filter(|&at| at < list.len())?;
            // An order of axes stays one where what was there changes places.
            let other = (0..list.len()).find(|&other| list[other] == entry && !stated[other]);
            match other {
                Some(other) if list[at] != entry => list.swap(at, other),
                _ => list[at] = entry,
            }
            stated[at] = true;
        }
        Some(list)
    }
}

/// An attribute, of a list its first `len` entries; `None` if there are fewer.
fn shortened(attr: &Attr, len: Option<usize>) -> Option<Attr> {
    match (attr, len) {
        (Attr::Ints(list), Some(len)) => Some(list.get(..len)?.to_vec().into()),
        _ => Some(attr.clone()),
    }
}
