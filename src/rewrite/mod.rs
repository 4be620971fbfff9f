//! Rewrite rules: the language's meaning, the checker, and the engines that apply rules.
//!
//! Guarantees: both engines match and build by the same code, so they agree on what a rule says;
//! a value is replaced only by one of the same type; names of outputs, locations and ranges
//! survive; results depend on nothing but graph, rules and options; a run ends by its limits in
//! rounds, nodes and applications, never by time.

mod check;
mod constant;
mod cost;
mod declared;
mod egraph;
mod emit;
mod error;
mod expr;
mod extract;
mod forms;
mod greedy;
mod helpers;
mod load;
mod log;
mod matcher;
mod names;
mod nearly;
mod news;
mod prove;
mod record;
mod replay;
mod report;
mod rule;
mod sketch;
mod words;

pub use error::RewriteError;
pub use helpers::table as helper_table;
pub use load::{BUILT_IN, Loaded, built_in, load};
pub use log::{Applied, Limit, Log, Refused, Spared};
pub use nearly::{Fault, Near, Nearly, Verdict};
pub use prove::{CheckError, Checks, Finding, LayerReport, RuleReport, check as check_rules, check_layers};
pub use record::{Application, NodeRef, Record, Run};
pub use replay::{ReplayError, replay};
pub use rule::{Contract, Driver, Rule, Ruleset};

use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Graph, ValueId};
use crate::ops::Registry;

/// How rules are run.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Instead of the sets' own drivers.
    pub driver: Option<Driver>,
    /// Limit on the rounds of one saturation.
    pub iterations: usize,
    /// Limit on the nodes of one e-graph, which also has one by the size of the graph.
    pub nodes: usize,
    /// Limit on the applications of one greedy run, which also has one by the size of the graph.
    pub applications: usize,
    /// Make no layer whose result has no calibrated range.
    pub demand_ranges: bool,
    /// Name of a value that must stay, and that no pattern looks behind.
    pub until: Option<&'a str>,
    /// Compute nothing twice: no pattern looks behind a value that has several readers, a graph
    /// output counting as one.
    pub once: bool,
    /// Rules that only guide the choice: among equal forms, those are taken from which these
    /// rules reach the cheapest graph, but what they make is not emitted.
    pub toward: &'a [Ruleset],
    /// Applications that are left out.
    pub refused: &'a [Refused],
    /// Where rules of some sets are not applied.
    pub spared: Option<&'a Spared>,
    /// Keep in the log what it takes to do the same again.
    pub record: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            driver: None,
            iterations: 64,
            nodes: usize::MAX,
            applications: usize::MAX,
            demand_ranges: false,
            until: None,
            once: false,
            toward: &[],
            refused: &[],
            spared: None,
            record: false,
        }
    }
}

/// Applies the sets in order; neighbours that are saturated share one run.
///
/// # Errors
/// A lossy set under [`Driver::Saturate`], an unknown `until`, rules that make a value depend on
/// itself, a constant that cannot be computed.
pub fn apply(
    mut graph: Graph,
    registry: &Registry,
    sets: &[Ruleset],
    options: &Options,
) -> Result<(Graph, Log), Diagnostics> {
    let mut log = Log::default();
    let mut until = match options.until {
        Some(name) => Some(
            graph
                .find(name)
                .ok_or_else(|| WithPlaces::new(RewriteError::NoUntil { name: name.to_owned() }))?,
        ),
        None => None,
    };
    let driver = |set: &Ruleset| options.driver.unwrap_or(set.driver);
    for group in sets.chunk_by(|a, b| driver(a) == driver(b)) {
        match driver(&group[0]) {
            Driver::Greedy => {
                let group: Vec<&Ruleset> = group.iter().collect();
                greedy::run(&mut graph, registry, &group, options, &mut until, &mut log);
            }
            Driver::Saturate => saturate(&mut graph, registry, group, options, until, &mut log)?,
        }
        // Values may have come to be made by other nodes, but their names stay.
        until = options.until.and_then(|name| graph.find(name));
    }
    Ok((graph, log))
}

fn saturate(
    graph: &mut Graph,
    registry: &Registry,
    group: &[Ruleset],
    options: &Options,
    until: Option<ValueId>,
    log: &mut Log,
) -> Result<(), Diagnostics> {
    if let Some(set) = group.iter().find(|set| set.contract == Contract::Lossy) {
        return Err(WithPlaces::new(RewriteError::LossySaturated { name: set.name.to_string() }).into());
    }
    let sets: Vec<&Ruleset> = group.iter().chain(options.toward).collect();
    let classes = egraph::saturate(graph, registry, &sets, options, until, log);
    let outputs = graph.outputs().iter().map(|output| output.value);
    let roots: Vec<usize> =
        until.into_iter().chain(outputs).filter_map(|value| classes.class_of.get(&value).copied()).collect();
    let chosen = classes.choose(graph, registry, options.demand_ranges, &roots, log);
    let plan = emit::Plan { classes: &classes, chosen, sets: &sets, guides: group.len(), until };
    let before = options.record.then(|| graph.clone());
    log.applied.extend(plan.emit(graph, registry)?);
    log.record.runs.extend(before.map(|before| {
        let rounds = record::rounds(&classes, &before, &sets);
        Run { before, after: graph.clone(), rounds }
    }));
    Ok(())
}
#[cfg(test)]
mod tests;
