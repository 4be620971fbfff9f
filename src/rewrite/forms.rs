//! A saturated graph as plain data, and the choice among its forms.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::constant::Constant;
use super::cost::Cost;
use super::extract::{Candidate, extract};
use super::log::Log;
use super::matcher::Hint;
use crate::ir::{Attrs, Graph, NodeId, ValueId};
use crate::ops::Registry;
use crate::tensor::TensorType;

/// Where a form comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    Graph(NodeId),
    /// Made by the application at this position of [`Classes::applications`], as the operator at this
    /// position of those that it asked for.
    Rule(usize, usize, Hint),
}

/// One application of a rule that made something new.
#[derive(Clone, Debug)]
pub struct Application {
    /// Positions of set and rule.
    pub rule: (usize, usize),
    /// Numbers of the matched forms, outermost first.
    pub matched: Vec<usize>,
    /// Whether it made forms, not only equated two values.
    pub made: bool,
    /// Whether it made forms, and equated nothing: its right side could not be finished.
    pub failed: bool,
}

/// One way to make the value of a class.
#[derive(Clone, Debug)]
pub struct Form {
    /// In order of creation.
    pub number: usize,
    pub maker: Maker,
    /// Classes of the operands; `None` where one is absent.
    pub children: Vec<Option<usize>>,
}

#[derive(Clone, Debug)]
pub enum Maker {
    /// An input; with a child, a value of the graph that no pattern looks behind, which that child is.
    Value(ValueId),
    Constant,
    /// This result of the node of the one child.
    Result(usize),
    Op {
        op: Arc<str>,
        attrs: Attrs,
        types: Vec<TensorType>,
    },
}

/// Equal values.
#[derive(Clone, Debug)]
pub struct Class {
    /// One, or as many as a node with several results has.
    pub types: Vec<TensorType>,
    pub constant: Option<Constant>,
    /// The values of the graph that it stands for, in canonical order.
    pub values: Vec<ValueId>,
    pub forms: Vec<Form>,
}

pub struct Classes {
    pub classes: Vec<Class>,
    pub class_of: BTreeMap<ValueId, usize>,
    /// By number of the form.
    pub origins: BTreeMap<usize, Origin>,
    pub applications: Vec<Application>,
    /// How many applications there were after each round.
    pub rounds: Vec<usize>,
    /// Forms that were rewritten to something that is not worse.
    pub superseded: BTreeSet<usize>,
    /// Class and form of every matched number.
    pub matched: BTreeMap<usize, (usize, Form)>,
}

impl Classes {
    /// The cheapest form of every class, for the given roots; `None` where there is none.
    ///
    /// On equal cost a form that no rule rewrote comes first, then one of the graph, then the least
    /// operator name, attributes and number.
    pub fn choose(
        &self,
        graph: &Graph,
        registry: &Registry,
        demand_ranges: bool,
        roots: &[usize],
        log: &mut Log,
    ) -> Vec<Option<Form>> {
        let sorted: Vec<Vec<&Form>> = self
            .classes
            .iter()
            .map(|class| {
                let mut forms: Vec<&Form> = class
                    .forms
                    .iter()
                    .filter(|form| !demand_ranges || self.has_range(graph, registry, class, form))
                    .collect();
                forms.sort_by_cached_key(|form| self.preference(form));
                forms
            })
            .collect();
        let candidates: Vec<Vec<Candidate>> = self
            .classes
            .iter()
            .zip(&sorted)
            .map(|(class, forms)| match class.constant {
                Some(_) => vec![Candidate { children: Vec::new(), cost: Cost::default() }],
                None => forms.iter().map(|form| self.candidate(registry, form)).collect(),
            })
            .collect();
        let extracted = extract(&candidates, roots);
        log.steps += extracted.steps;
        extracted
            .chosen
            .into_iter()
            .zip(sorted)
            .map(|(at, forms)| at.and_then(|at| forms.get(at).map(|&form| form.clone())))
            .collect()
    }

    fn candidate(&self, registry: &Registry, form: &Form) -> Candidate {
        let cost = match &form.maker {
            Maker::Op { op, attrs, types } => {
                let operands: Vec<_> = form.children.iter().map(|child| self.ty(*child)).collect();
                let constant = |at: usize| {
                    let class = form.children.get(at).copied().flatten().and_then(|at| self.classes.get(at));
                    class.is_some_and(|class| class.constant.is_some())
                };
                Cost::of(registry, op, attrs, &operands, constant, types)
            }
            Maker::Value(_) | Maker::Constant | Maker::Result(_) => Cost::default(),
        };
        Candidate { children: form.children.iter().copied().flatten().collect(), cost }
    }

    fn ty(&self, class: Option<usize>) -> Option<TensorType> {
        self.classes.get(class?)?.types.first().cloned()
    }

    fn preference(&self, form: &Form) -> (bool, bool, Arc<str>, Attrs, usize) {
        let (op, attrs) = match &form.maker {
            Maker::Op { op, attrs, .. } => (op.clone(), attrs.clone()),
            // A result is preferred as its node is.
            Maker::Result(_) => {
                let tuple = form.children.first().copied().flatten().and_then(|at| self.classes.get(at));
                let made = tuple.into_iter().flat_map(|tuple| &tuple.forms);
                let made = made.filter(|form| matches!(form.maker, Maker::Op { .. }));
                return made.map(|form| self.preference(form)).min().unwrap_or_default();
            }
            Maker::Value(_) | Maker::Constant => (Arc::default(), Attrs::new()),
        };
        let new = !matches!(self.origins.get(&form.number), Some(Origin::Graph(_)) | None);
        (self.superseded.contains(&form.number), new, op, attrs, form.number)
    }

    /// Whether the form may be chosen where layers need a calibrated range of their result.
    fn has_range(&self, graph: &Graph, registry: &Registry, class: &Class, form: &Form) -> bool {
        let Maker::Op { op, .. } = &form.maker else { return true };
        let layer = registry.find(op).is_some_and(|entry| entry.schema.layer);
        let old = matches!(self.origins.get(&form.number), Some(Origin::Graph(_)));
        !layer || old || class.values.iter().any(|&value| graph.value(value).range.is_some())
    }
}
