//! Explanations: where a value comes from and what became of it, why an operator stayed float, and
//! where rules fired or nearly did.

mod places;
mod rules;
mod stays;
mod value;

use std::fmt::Write as _;

use super::{Outcome, PassError, PassTrace, RulesTrace, Trace};
use crate::diag::{Sources, printable};
use crate::ir::{Graph, Kind, NodeId};
use crate::ops::{Lowered, Registry, lower_node};
use crate::quant::QuantizeReport;
use crate::rewrite::{Options, Ruleset};

pub use rules::explain_rules;

/// A run of the compiler to be explained.
pub struct Explain<'a> {
    pub trace: &'a Trace,
    /// The result; `None` where the run failed.
    pub outcome: Option<&'a Outcome>,
    pub registry: &'a Registry,
    pub sources: &'a Sources,
    /// Name of the value behind which nothing is quantized.
    pub until: Option<&'a str>,
}

impl Explain<'_> {
    /// One line for each operator of the result, and why each of those that stay float does.
    pub fn whole(&self) -> String {
        let report = self.outcome.and_then(|outcome| outcome.report.as_ref());
        let layers = report.map_or(0, |report| report.layers.len());
        let place = report.map_or("on the device", QuantizeReport::place);
        let mut out = format!("{layers} layers {place}, {} operators stay float\n", self.trace.stays.len());
        if let Some(outcome) = self.outcome {
            let _ = writeln!(out);
            self.nodes(&outcome.graph, &mut out);
        }
        self.stays(&mut out);
        out
    }

    fn nodes(&self, result: &Graph, out: &mut String) {
        let rows: Vec<[String; 3]> = result
            .order()
            .into_iter()
            .filter(|&id| result.node(id).op().is_some())
            .map(|id| {
                let node = result.node(id);
                let from = places::short(&node.loc, self.sources);
                [printable(&node.name).into_owned(), self.op_type(result, id), from]
            })
            .collect();
        // Some exporters' names are longer than any screen is wide.
        let widths = |at: usize| rows.iter().map(move |row| row[at].chars().count());
        let width = |at: usize| widths(at).filter(|&width| width <= WIDEST).max().unwrap_or(0);
        let (name, op) = (width(0), width(1));
        for row in &rows {
            let from = if row[2].is_empty() { String::new() } else { format!("from {}", row[2]) };
            let line = format!("{:name$}  {:op$}  {from}", row[0], row[1]);
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }

    /// What an operator of the result is called: a layer as in the file format.
    fn op_type(&self, graph: &Graph, id: NodeId) -> String {
        let node = graph.node(id);
        match lower_node(graph, self.registry, id, &node.name) {
            Ok((Lowered::Layer { node, .. }, _)) => node.op_type,
            _ => format!("float {}", node.op().unwrap_or_default()),
        }
    }

    /// The runs of rules that made the layers: those of the last pass that has some, as `quantize` may
    /// do the fusion again.
    fn fusions(&self) -> impl Iterator<Item = &RulesTrace> {
        let fuses = |pass: &&PassTrace| pass.rules.iter().any(|run| run.demand_ranges);
        self.trace.passes.iter().rev().find(fuses).into_iter().flat_map(|pass| &pass.rules)
    }

    /// How rules were run.
    fn options<'s>(&'s self, run: &'s RulesTrace) -> Options<'s> {
        Options {
            once: run.once,
            demand_ranges: run.demand_ranges,
            until: self.until,
            driver: run.driver,
            spared: run.spared.as_ref(),
            ..Options::default()
        }
    }

    /// Where a rule stands.
    fn rule_at(&self, sets: &[Ruleset], set: &str, rule: &str) -> String {
        let set = sets.iter().find(|other| *other.name == *set);
        let rule = set.and_then(|set| set.rules.iter().find(|other| *other.name == *rule));
        rule.map_or(String::new(), |rule| places::at(rule.span, self.sources))
    }
}

/// Wider columns are not padded.
const WIDEST: usize = 48;

/// The name of the first value that a node makes.
fn value_name(graph: &Graph, id: NodeId) -> &str {
    graph.node(id).results.first().map_or("", |value| &value.name)
}

/// `conv2d`, `an input`.
fn maker(graph: &Graph, id: NodeId) -> String {
    match &graph.node(id).kind {
        Kind::Input => "an input".to_owned(),
        Kind::Const(_) => "a constant".to_owned(),
        Kind::Op { op, .. } => op.to_string(),
    }
}
