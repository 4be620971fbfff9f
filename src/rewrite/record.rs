//! What the engines did, so that it can be done again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::forms::{Classes, Origin};
use super::rule::{Rule, Ruleset};
use crate::diag::Span;
use crate::ir::{Graph, NodeId};

/// The runs of the engines, in order; each begins with the graph that the one before ended with.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub runs: Vec<Run>,
}

/// What one run did, also what its result does not rest on.
#[derive(Clone, Debug)]
pub struct Run {
    pub before: Graph,
    pub after: Graph,
    /// The applications of one round were all found before any of them was made.
    pub rounds: Vec<Vec<Application>>,
}

/// A rule at a place of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    pub ruleset: Arc<str>,
    pub rule: Arc<str>,
    pub span: Span,
    /// As [`Rule::arm`].
    pub arm: usize,
    /// Outermost first.
    pub matched: Vec<NodeRef>,
    /// Whether it made nodes, but not all of its right side: it equated nothing.
    pub failed: bool,
}

/// A node of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRef {
    /// By position in the canonical order of the graph before.
    Given(usize),
    /// The operator at this position among those that an application asked for, in the order of
    /// building. Applications count from the start of the run.
    Made { application: usize, at: usize },
}

impl Application {
    pub(super) fn new(set: &Ruleset, rule: &Rule, matched: Vec<NodeRef>, failed: bool) -> Self {
        let (ruleset, name) = (set.name.clone(), rule.name.clone());
        Self { ruleset, rule: name, span: rule.span, arm: rule.arm, matched, failed }
    }
}

/// The rounds of a saturation of `graph`.
pub(super) fn rounds(classes: &Classes, graph: &Graph, sets: &[&Ruleset]) -> Vec<Vec<Application>> {
    let place: BTreeMap<NodeId, usize> = graph.order().into_iter().zip(0..).collect();
    let node = |number: &usize| match classes.origins.get(number)? {
        Origin::Graph(node) => Some(NodeRef::Given(*place.get(node)?)),
        &Origin::Rule(application, at, _) => Some(NodeRef::Made { application, at }),
    };
    let application = |application: &super::forms::Application| {
        let set = sets.get(application.rule.0)?;
        let rule = set.rules.get(application.rule.1)?;
        let matched = application.matched.iter().map(node).collect::<Option<_>>()?;
        Some(Application::new(set, rule, matched, application.failed))
    };
    let mut done = 0;
    let mut rounds = Vec::with_capacity(classes.rounds.len());
    for &end in &classes.rounds {
        let round = classes.applications.get(done..end).unwrap_or_default();
        // Rules, and the nodes that they match, have a place in what was saturated.
        rounds.push(round.iter().filter_map(application).collect());
        done = end;
    }
    rounds
}
