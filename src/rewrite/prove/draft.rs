//! An instance under construction, as the conditions of a rule see it.

use std::collections::BTreeSet;

use super::super::constant::Constant;
use super::super::expr::Fact;
use super::super::matcher::{Binding, ENTRY, View};
use super::super::rule::Slot;
use super::instance::{Held, Instance, Origin};
use crate::ir::Attrs;
use crate::ops::Registry;
use crate::tensor::{DType, TensorType};

/// An instance under construction.
#[derive(Clone)]
pub struct Draft {
    pub instance: Instance,
    pub bindings: Vec<Option<Binding<usize>>>,
    /// Conditions that hold.
    pub held: Vec<bool>,
    pub storage: DType,
    /// Optional operands that are there.
    pub present: BTreeSet<Slot>,
    /// Attributes of `..rest`, by step and position in the schema, that do not have their default.
    pub unusual: BTreeSet<(usize, usize)>,
    /// The operands of the node from the third on are as the one before, as far as they are drawn.
    pub alike: bool,
}

/// A draft as the conditions see a graph.
pub struct Seen<'a> {
    pub draft: &'a Draft,
    pub registry: &'a Registry,
}

impl View for Seen<'_> {
    type Value = usize;
    type Node = usize;

    fn makers(&self, value: usize, op: &str) -> Vec<usize> {
        let nodes = self.draft.instance.nodes.iter().enumerate();
        let makers = nodes.filter(|(_, node)| *node.op == *op && node.results.contains(&value));
        makers.map(|(at, _)| at).collect()
    }

    fn results(&self, node: usize) -> Vec<usize> {
        self.draft.instance.nodes.get(node).map(|node| node.results.clone()).unwrap_or_default()
    }

    fn operands(&self, node: usize) -> Vec<Option<usize>> {
        self.draft.instance.nodes.get(node).map(|node| node.operands.clone()).unwrap_or_default()
    }

    fn attrs(&self, node: usize) -> &Attrs {
        // Nodes are positions that this view gave.
        &self.draft.instance.nodes[node].attrs
    }

    fn fact(&self, value: usize) -> Fact {
        self.draft.fact(value)
    }

    fn single_use(&self, value: usize) -> bool {
        let operands = self.draft.instance.nodes.iter().flat_map(|node| &node.operands);
        operands.filter(|operand| **operand == Some(value)).count() == 1
    }

    fn circular(&self) -> bool {
        false
    }

    fn registry(&self) -> &Registry {
        self.registry
    }
}

impl Draft {
    fn fact(&self, value: usize) -> Fact {
        // Values are positions of the instance that the bindings hold.
        let held = &self.instance.values[value];
        let constant = match &held.origin {
            Origin::Constant(tensor) => Some(Constant::given(tensor.clone())),
            Origin::Input(_) | Origin::Result => None,
        };
        Fact { ty: held.ty.clone(), constant, entry: self.entry(value) }
    }

    fn entry(&self, value: usize) -> bool {
        match self.instance.values.get(value).map(|held| &held.origin) {
            Some(Origin::Input(_)) => true,
            Some(Origin::Constant(_)) | None => false,
            Some(Origin::Result) => {
                let maker = self.instance.nodes.iter().find(|node| node.results.contains(&value));
                // Operands come before their readers.
                maker.is_some_and(|node| {
                    ENTRY.contains(&&*node.op)
                        && node.operands.first().copied().flatten().is_some_and(|value| self.entry(value))
                })
            }
        }
    }

    pub fn bound(&self, slot: Slot) -> bool {
        self.bindings.get(slot).is_some_and(Option::is_some)
    }

    pub fn bind(&mut self, slot: Slot, binding: Binding<usize>) {
        if let Some(place) = self.bindings.get_mut(slot) {
            *place = Some(binding);
        }
    }

    pub fn sizes(&self, value: Option<usize>) -> Option<Vec<usize>> {
        self.instance.values.get(value?)?.ty.shape.sizes()
    }

    pub fn add(&mut self, name: &str, ty: TensorType, origin: Origin) -> usize {
        self.instance.values.push(Held { name: name.into(), ty, origin });
        self.instance.values.len() - 1
    }
}
