//! Attributes that a node may have. What of it fits, inference says.

use std::sync::Arc;

use super::choices::{Choices, Site};
use super::plan::Literals;
use crate::ir::{Attr, AttrKind, Attrs};
use crate::ops::{AttrSpec, Default};
use crate::tensor::DType;

/// What an attribute may be drawn from.
pub struct Context<'a> {
    pub literals: &'a Literals,
    /// Shapes of the operands that are there.
    pub known: &'a [Vec<usize>],
    /// Attributes of applications that document the operator.
    pub examples: &'a [Attrs],
    /// The lengths of lists that the node has already.
    pub lengths: &'a [usize],
}

/// A value for an attribute; `len` is the length that the pattern wants of a list.
pub fn value(choices: &mut Choices, site: Site, spec: &AttrSpec, len: Option<usize>, cx: &Context) -> Attr {
    let mark = choices.mark();
    let attr = one_of_kind(choices, site, spec, len, cx);
    choices.pad(mark, if spec.kind == AttrKind::Ints { LIST } else { NUMBER });
    attr
}

/// Choices that an attribute takes at most, but for long lists.
const NUMBER: usize = 2;
const LIST: usize = 8;

fn one_of_kind(choices: &mut Choices, site: Site, spec: &AttrSpec, len: Option<usize>, cx: &Context) -> Attr {
    let default = match &spec.default {
        Default::Value(attr) => Some(attr.clone()),
        Default::Required | Default::Absent => None,
    };
    let shown: Vec<&Attr> = cx.examples.iter().filter_map(|attrs| attrs.get(&spec.name)).collect();
    let literals = cx.literals;
    let example = |choices: &mut Choices| one(choices, &shown).copied().cloned();
    match spec.kind {
        AttrKind::Bool => Attr::Bool(choices.pick(site, 2) == 1),
        AttrKind::Int => {
            let x = cx.known.first().map(Vec::as_slice).unwrap_or_default();
            let dim = |shape: Option<&Vec<usize>>, axis: usize| {
                Attr::Int(shape.and_then(|shape| shape.get(axis)).map_or(1, |&size| size as i64))
            };
            match choices.pick(site, 9) {
                0 => default.unwrap_or(Attr::Int(0)),
                1 => Attr::Int(one(choices, &literals.ints).copied().unwrap_or(1)),
                2 => dim(cx.known.first(), 1),
                3 => Attr::Int(choices.any(5) as i64),
                4 => Attr::Int(choices.any(x.len().max(1)) as i64),
                5 => Attr::Int(-1),
                6 => dim(cx.known.get(1), 0),
                // As often as the axis of the one fits into that of the other: groups.
                7 => {
                    let size = |at: usize| cx.known.get(at).and_then(|shape| shape.get(1)).copied();
                    let times = size(1).zip(size(0)).and_then(|(part, whole)| whole.checked_div(part));
                    Attr::Int(times.unwrap_or(1) as i64)
                }
                _ => example(choices).unwrap_or(Attr::Int(1)),
            }
        }
        AttrKind::Float => match choices.pick(site, 9) {
            0 => default.unwrap_or(Attr::Float(0.0)),
            1 => Attr::Float(one(choices, &literals.floats).copied().unwrap_or(1.0)),
            2 => Attr::Float(0.0),
            3 => Attr::Float([1.0, 0.5, 2.0, 6.0, 0.25, 3.0][choices.any(6)]),
            4 => Attr::Float([-1.0, -0.5, -2.0, -6.0, -0.25, -3.0][choices.any(6)]),
            5 => Attr::Float(f32::INFINITY),
            6 => Attr::Float(f32::NEG_INFINITY),
            7 => Attr::Float(-one(choices, &literals.floats).copied().unwrap_or(1.0)),
            _ => example(choices).unwrap_or(Attr::Float(1.0)),
        },
        AttrKind::Str => {
            let words = literals.words.iter().cloned().map(Attr::Str);
            let all: Vec<Attr> = default.into_iter().chain(shown.into_iter().cloned()).chain(words).collect();
            all.get(choices.pick(site, all.len().max(1))).cloned().unwrap_or(Attr::Str("".into()))
        }
        AttrKind::DType => {
            let all: Vec<DType> = literals.dtypes.iter().copied().chain(DType::ALL).collect();
            Attr::DType(all.get(choices.pick(site, all.len())).copied().unwrap_or(DType::F32))
        }
        AttrKind::Ints => ints(choices, site, default, &shown, len, cx).into(),
        AttrKind::Floats => {
            let shown = example(choices);
            default.or(shown).unwrap_or_else(|| Attr::Floats(Arc::from([])))
        }
    }
}

fn one<'a, T>(choices: &mut Choices, all: &'a [T]) -> Option<&'a T> {
    all.get(choices.any(all.len().max(1)))
}

/// Ways to come to a list of integers.
const LISTS: usize = 21;

fn ints(
    choices: &mut Choices,
    site: Site,
    default: Option<Attr>,
    shown: &[&Attr],
    len: Option<usize>,
    cx: &Context,
) -> Vec<i64> {
    let list = |attr: &Attr| match attr {
        Attr::Ints(v) => Some(v.to_vec()),
        _ => None,
    };
    let x: Vec<i64> =
        cx.known.first().map(|x| x.iter().map(|&size| size as i64).collect()).unwrap_or_default();
    let rank = x.len();
    let usual = default.as_ref().and_then(list);
    let common = usual.as_ref().map(Vec::len).filter(|&len| len > 0);
    let shown: Vec<Vec<i64>> = shown.iter().filter_map(|attr| list(attr)).collect();
    let length = |choices: &mut Choices| {
        len.or(common).unwrap_or_else(|| {
            let before = cx.lengths.last().copied().unwrap_or(rank);
            let all = [rank, 2 * rank, 2, 4, 1, before];
            all[choices.pick((site.0, "length", site.2), all.len())]
        })
    };
    let drawn = match choices.pick(site, LISTS) {
        0 => usual.unwrap_or_else(|| vec![0; length(choices)]),
        1 => one(choices, &cx.literals.lists).map(|list| list.to_vec()).unwrap_or_default(),
        2 => vec![0; length(choices)],
        3 => vec![1; length(choices)],
        4 => {
            let length = length(choices);
            (0..length).map(|_| choices.any(3) as i64).collect()
        }
        5 => {
            let length = length(choices);
            (0..length).map(|_| 1 + choices.any(3) as i64).collect()
        }
        6 => {
            let mut left: Vec<i64> = (0..rank as i64).collect();
            let mut order = Vec::with_capacity(rank);
            while !left.is_empty() {
                order.push(left.remove(choices.any(left.len())));
            }
            order
        }
        7 => (0..rank as i64).collect(),
        8 => x,
        9 => x.get(2..).unwrap_or_default().to_vec(),
        // Two neighbouring axes become one.
        10 => {
            let at = choices.any(rank.saturating_sub(1).max(1));
            let mut sizes = x;
            if at + 1 < sizes.len() {
                let next = sizes.remove(at + 1);
                sizes[at] = sizes[at].saturating_mul(next);
            }
            sizes
        }
        11 => x.into_iter().rev().collect(),
        // Some of the axes.
        12 => (0..rank as i64).filter(|_| choices.any(2) == 1).collect(),
        // What reshape takes: a size as it was, and what is left.
        13 => {
            let mut sizes = x;
            let (kept, open) = (choices.any(rank.max(1)), choices.any(rank.max(1)));
            if let Some(size) = sizes.get_mut(kept) {
                *size = 0;
            }
            if let Some(size) = sizes.get_mut(open) {
                *size = -1;
            }
            sizes
        }
        14 => vec![0, -1],
        15 => (0..).zip(&x).filter(|(_, size)| **size == 1).map(|(axis, _)| axis).collect(),
        16 => {
            let mut sizes = x;
            sizes.insert(choices.any(rank + 1), 1);
            sizes
        }
        // A matrix, as flatten makes it.
        17 => {
            let (rows, columns) = x.split_at(choices.any(rank + 1));
            let size = |sizes: &[i64]| sizes.iter().fold(1i64, |size, &next| size.saturating_mul(next));
            vec![size(rows), size(columns)]
        }
        // Of either sign.
        18 => {
            let length = length(choices);
            (0..length).map(|_| [-1, 1, 0, 2, -2, 3][choices.any(6)]).collect()
        }
        // The ends of axes.
        19 => {
            let length = length(choices);
            let end =
                |choices: &mut Choices| one(choices, &x).map_or(0, |size| size - 1 + choices.any(2) as i64);
            (0..length).map(|_| end(choices)).collect()
        }
        _ => one(choices, &shown).cloned().unwrap_or_default(),
    };
    match len {
        Some(len) if drawn.len() != len => {
            let mut drawn = drawn;
            drawn.resize(len, 0);
            drawn
        }
        _ => drawn,
    }
}
