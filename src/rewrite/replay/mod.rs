//! What rules did to a network, done again from the record alone.
//!
//! No engine takes part: the network is put into a congruence closure, and each recorded application
//! is made there, after the left side was found to match where the record has it. Then the network at
//! the end of the run is put beside it, and each of its outputs has to be equal to the one of that
//! name: by the applications, by congruence, and by evaluating operators over constants, nothing else.

mod closure;

use thiserror::Error;

use self::closure::{Closure, Guided};
use super::matcher::{Match, Unbuilt, View, build, matches};
use super::record::{Application, NodeRef, Record, Run};
use super::rule::{Rule, Ruleset};
use crate::diag::{Diagnostics, Report, WithPlaces};
use crate::ir::{Graph, NodeId, ValueId};
use crate::ops::Registry;

/// Where a record does not hold. Runs and applications count from 1.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ReplayError {
    #[error("run {run} of the record is not of the network that was there")]
    Begin { run: usize },
    #[error("there is no rule `{rule}` in `{set}`, which the record has")]
    Unknown { set: String, rule: String, run: usize, at: usize },
    #[error("rule `{rule}` does not match where the record has it")]
    Match { rule: String, run: usize, at: usize },
    #[error("rule `{rule}` cannot be applied where the record has it: {why}")]
    Unmade { rule: String, why: String, run: usize, at: usize },
    #[error("`{name}` does not follow from the record")]
    Output { name: String, run: usize },
}

impl Report for ReplayError {
    fn code(&self) -> &'static str {
        match self {
            ReplayError::Begin { .. } => "Q0550",
            ReplayError::Unknown { .. } => "Q0551",
            ReplayError::Match { .. } => "Q0552",
            ReplayError::Unmade { .. } => "Q0553",
            ReplayError::Output { .. } => "Q0554",
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ReplayError::Begin { .. } => Vec::new(),
            ReplayError::Unknown { run, at, .. }
            | ReplayError::Match { run, at, .. }
            | ReplayError::Unmade { run, at, .. } => vec![format!("application {at} of run {run}")],
            ReplayError::Output { run, .. } => {
                vec![format!("an output, or the number of them, in run {run}")]
            }
        }
    }
}

/// Makes the runs of a record anew on the network that they began with; gives the network that came of
/// them. `rulesets` are those that were run, and those that only guided the choice.
///
/// How often the values are read that rules made is not checked; equality does not rest on it.
///
/// # Errors
/// The first place where the record does not hold.
pub fn replay(
    before: &Graph,
    record: &Record,
    rulesets: &[&Ruleset],
    registry: &Registry,
) -> Result<Graph, Diagnostics> {
    let mut last = before;
    for (run, number) in record.runs.iter().zip(1..) {
        if !run.before.same_as(last) {
            return Err(WithPlaces::new(ReplayError::Begin { run: number }).into());
        }
        again(number, run, rulesets, registry)?;
        last = &run.after;
    }
    Ok(last.clone())
}

/// A match that was found again, and the application that tells it.
type Found<'a> = (&'a Rule, &'a Application, Match<Closure<'a>>);

fn again(number: usize, run: &Run, rulesets: &[&Ruleset], registry: &Registry) -> Result<(), Diagnostics> {
    let mut closure = Closure::new(registry);
    let before = closure.add_graph(&run.before);
    let order = run.before.order();
    let given = |at: usize| order.get(at).and_then(|id| Some((*id, *before.get(id)?)));
    // Of each application.
    let mut made: Vec<Vec<usize>> = Vec::new();
    for round in &run.rounds {
        let mut found: Vec<Found> = Vec::with_capacity(round.len());
        for application in round {
            let at = made.len() + found.len() + 1;
            let name = || application.rule.to_string();
            let rule = rule_of(application, rulesets).ok_or_else(|| {
                let set = application.ruleset.to_string();
                WithPlaces::new(ReplayError::Unknown { set, rule: name(), run: number, at })
            })?;
            let node = |node: &NodeRef| match *node {
                NodeRef::Given(at) => given(at).map(|(id, node)| (node, Some(id))),
                NodeRef::Made { application, at } => Some((*made.get(application)?.get(at)?, None)),
            };
            let nodes: Option<Vec<_>> = application.matched.iter().map(node).collect();
            let matched = nodes.and_then(|nodes| fitting(&closure, &run.before, rule, &nodes));
            let matched = matched.ok_or_else(|| {
                let error = WithPlaces::new(ReplayError::Match { rule: name(), run: number, at });
                error.at(rule.span, "")
            })?;
            found.push((rule, application, matched));
        }
        for (rule, application, matched) in found {
            let roots = matched.nodes.first().map(|&root| closure.results(root)).unwrap_or_default();
            closure.made.clear();
            let new = build(&mut closure, rule, &matched);
            made.push(std::mem::take(&mut closure.made));
            match new {
                _ if application.failed => {}
                Ok(new) => roots.into_iter().zip(new).for_each(|(old, new)| closure.union(old, new)),
                Err(unbuilt) => {
                    let why = match unbuilt {
                        Unbuilt::Quiet => "an expression of its right side has no value".to_owned(),
                        Unbuilt::Broken(broken) => broken.to_string(),
                    };
                    let rule_name = rule.name.to_string();
                    let error = ReplayError::Unmade { rule: rule_name, why, run: number, at: made.len() };
                    return Err(WithPlaces::new(error).at(rule.span, "").into());
                }
            }
        }
        closure.close();
    }
    let after = closure.add_graph(&run.after);
    let output = |name: &str| WithPlaces::new(ReplayError::Output { name: name.to_owned(), run: number });
    let called = |graph: &Graph, value: ValueId| graph.value(value).name.clone();
    let inputs = |graph: &Graph| graph.inputs().map(|value| called(graph, value)).collect::<Vec<_>>();
    if inputs(&run.before) != inputs(&run.after) {
        return Err(WithPlaces::new(ReplayError::Begin { run: number }).into());
    }
    let (old, new) = (run.before.outputs(), run.after.outputs());
    for at in 0..old.len().max(new.len()) {
        match (old.get(at), new.get(at)) {
            (Some(old), Some(new)) if old.name == new.name => {
                let values = (closure.value_of(&before, old.value), closure.value_of(&after, new.value));
                if values.0.is_none() || values.0 != values.1 {
                    let loc = &run.before.node(old.value.node).loc;
                    return Err(output(&old.name).at_loc(loc, "of this").into());
                }
            }
            (Some(one), _) | (None, Some(one)) => return Err(output(&one.name).into()),
            (None, None) => {}
        }
    }
    Ok(())
}

fn rule_of<'a>(application: &Application, rulesets: &[&'a Ruleset]) -> Option<&'a Rule> {
    let same = |rule: &&Rule| {
        rule.name == application.rule && rule.span == application.span && rule.arm == application.arm
    };
    rulesets.iter().filter(|set| set.name == application.ruleset).flat_map(|set| &set.rules).find(same)
}

/// The match of a rule with exactly these nodes; each with what it is in the graph before, if it was
/// there.
fn fitting<'a>(
    closure: &Closure<'a>,
    before: &Graph,
    rule: &Rule,
    nodes: &[(usize, Option<NodeId>)],
) -> Option<Match<Closure<'a>>> {
    let single = |id: NodeId| {
        let results = (0..).zip(&before.node(id).results);
        results.map(|(result, _)| before.use_count(ValueId { node: id, result }) == 1).collect()
    };
    let single = nodes.iter().map(|(_, id)| id.map(single)).collect();
    let nodes: Vec<usize> = nodes.iter().map(|&(node, _)| node).collect();
    let root = *nodes.first()?;
    if rule.steps.first()?.op != super::matcher::Make::op(closure, root) {
        return None;
    }
    let view = Guided { closure, nodes: &nodes, single };
    let (found, _) = matches(&view, rule, root);
    let Match { bindings, nodes } = found.into_iter().find(|found| found.nodes == nodes)?;
    Some(Match { bindings, nodes })
}
