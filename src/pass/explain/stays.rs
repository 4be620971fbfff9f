//! Why operators stay float.

use std::fmt::Write as _;

use super::{Explain, PassTrace, maker, places, value_name};
use crate::diag::printable;
use crate::ir::{Graph, NodeId};
use crate::quant::{StayCause, StayNote};
use crate::rewrite::{Applied, Driver, Near, Nearly, Ruleset, Verdict};

/// So many patterns are shown for one operator.
const PATTERNS: usize = 3;

impl Explain<'_> {
    pub(super) fn stays(&self, out: &mut String) {
        let follows = |stay: &&StayNote| matches!(stay.cause, StayCause::Operand(_));
        let (behind, first): (Vec<&StayNote>, Vec<&StayNote>) = self.trace.stays.iter().partition(follows);
        let parts = [(first, "stay float:"), (behind, "are layers, but stay float behind those:")];
        for (stays, title) in parts.iter().filter(|(stays, _)| !stays.is_empty()) {
            if !out.is_empty() {
                let _ = writeln!(out);
            }
            let _ = writeln!(out, "{title}");
            // Operators of one chain have one thing in the way.
            let mut said: Vec<(String, String)> = Vec::new();
            for stay in stays {
                let (head, why) = self.stay(stay);
                match said.iter_mut().find(|(_, other)| *other == why) {
                    Some((heads, _)) => heads.push_str(&head),
                    None => said.push((head, why)),
                }
            }
            for (heads, why) in said {
                let _ = write!(out, "\n{heads}{why}");
            }
        }
    }

    /// The graph that was to be quantized.
    pub(super) fn fused(&self) -> Option<&Graph> {
        self.trace.fused.as_ref()
    }

    /// One operator: its name and places, and why it stays float.
    pub(super) fn stay(&self, stay: &StayNote) -> (String, String) {
        let at = places::beside(&stay.loc, &stay.node, self.sources);
        let head = format!("{} ({}){at}\n", printable(&stay.node), stay.op);
        let mut why = String::new();
        if let Some(graph) = self.fused() {
            self.reason(graph, stay, &mut why);
        }
        (head, why)
    }

    fn reason(&self, graph: &Graph, stay: &StayNote, out: &mut String) {
        let by = self.fused_by(graph, stay.at).map_or(String::new(), |rule| format!("fused by {rule}, but "));
        let _ = match stay.cause {
            StayCause::NoLayer => return self.nearest(graph, stay, out),
            StayCause::Refused => writeln!(out, "  {by}has no integers: {}", printable(&stay.reason)),
            StayCause::InFront | StayCause::Ended | StayCause::NonFinite => {
                writeln!(out, "  {by}{}", printable(&stay.reason))
            }
            StayCause::Operand(value) => {
                let operand = graph.node(value.node);
                let op = maker(graph, value.node);
                writeln!(out, "  {by}reads {} ({op}), which stays float", printable(&operand.name))
            }
        };
    }

    /// The patterns that are nearest to an operator, and what is in the way of each.
    fn nearest(&self, graph: &Graph, stay: &StayNote, out: &mut String) {
        let name = value_name(graph, stay.at);
        let Some(run) = self.fusions().last() else {
            let _ = writeln!(out, "  {}", printable(&stay.reason));
            return;
        };
        let Some(node) = run.before.find(name).map(|value| value.node) else {
            let _ = writeln!(out, "  {}", printable(&stay.reason));
            return;
        };
        let options = self.options(run);
        let nearly = Nearly::new(&run.before, self.registry, self.sources, &options);
        let mut layers: Vec<Ruleset> = self.fusions().flat_map(|run| run.sets.iter().cloned()).collect();
        layers.iter_mut().for_each(|set| set.rules.retain(|rule| rule.makes_layer(self.registry)));
        let near = nearly.at(&layers, node);
        if !near.is_empty() {
            return self.patterns(&run.before, &near, "nearest pattern", out);
        }
        let _ = writeln!(out, "  no layer pattern has `{}`: {}", stay.op, printable(&stay.reason));
        // What would have taken the operator away, before layers were made.
        let fuses = |pass: &PassTrace| pass.rules.iter().any(|run| run.demand_ranges);
        let last = self.trace.passes.iter().rposition(fuses).unwrap_or_default();
        let mut others: Vec<Ruleset> = Vec::new();
        let runs = self.trace.passes.iter().take(last).flat_map(|pass| &pass.rules);
        for set in runs.flat_map(|run| &run.sets) {
            // Greedy ones only bring operators into an order.
            let tidies = set.driver == Driver::Greedy;
            if !tidies && !others.iter().any(|other| other.name == set.name) {
                others.push(set.clone());
            }
        }
        let mut near = nearly.at(&others, node);
        // A rule on another chain of operators says nothing about this one.
        near.retain(|near| near.all_operators() && !near.fits.is_empty());
        self.patterns(&run.before, &near, "nearest rule", out);
    }

    pub(super) fn patterns(&self, graph: &Graph, near: &[Near], title: &str, out: &mut String) {
        let mut said: Vec<String> = Vec::new();
        for near in near {
            // Others say something new where they are about the same chain of operators.
            let enough = said.len() == PATTERNS || near.matches();
            if !said.is_empty() && (enough || !near.all_operators()) {
                continue;
            }
            let (wants, has) = self.verdict(graph, near);
            if said.contains(&has) {
                continue;
            }
            let fits: Vec<String> = near.fits.iter().map(|&id| node_words(graph, id)).collect();
            let fits = if fits.is_empty() { String::new() } else { format!(", fits {}", fits.join(", ")) };
            let title = if said.is_empty() { title } else { "or" };
            let at = places::at(near.rule.span, self.sources);
            let _ = writeln!(out, "  {title} {}, {at}{fits}", near.rule.name);
            if !wants.is_empty() {
                let _ = writeln!(out, "    wants {wants}");
            }
            let _ = writeln!(out, "    {has}");
            said.push(has);
            if near.matches() {
                return;
            }
        }
    }

    /// What a rule wants, with its place, and what there is.
    pub(super) fn verdict(&self, graph: &Graph, near: &Near) -> (String, String) {
        match &near.verdict {
            Verdict::Fits => {
                let why = near.rule.custom.then(|| self.taken_first(graph, near)).flatten();
                let why = why.unwrap_or_else(|| "another form costs less".to_owned());
                (String::new(), format!("fits, but {why}"))
            }
            Verdict::Unmade(why) => (String::new(), format!("fits, but {}", printable(why))),
            Verdict::Misses(fault) => {
                let loc = fault.node.map(|id| places::of(&graph.node(id).loc, self.sources));
                let loc =
                    loc.filter(|loc| !loc.is_empty()).map_or(String::new(), |loc| format!("  at {loc}"));
                let wants =
                    format!("{}  at {}", printable(&fault.wants), places::at(fault.span, self.sources));
                (wants, format!("has   {}{loc}", printable(&fault.has)))
            }
        }
    }

    /// The rule that has one of the operators that a custom pattern fits: they are tried in order, and the
    /// first takes what it matches.
    fn taken_first(&self, graph: &Graph, near: &Near) -> Option<String> {
        let has = |applied: &Applied| {
            let name = |id: &NodeId| graph.node(*id).name.clone();
            near.fits.iter().map(name).find(|name| applied.matched.contains(name))
        };
        self.fusions()
            .flat_map(|run| &run.applied)
            .filter(|applied| applied.rule != near.rule.name)
            .find_map(|applied| Some(format!("`{}` took {} first", applied.rule, printable(&has(applied)?))))
    }

    /// The rule that made a layer.
    fn fused_by(&self, graph: &Graph, id: NodeId) -> Option<String> {
        let name = value_name(graph, id);
        self.fusions().find_map(|run| {
            let by =
                run.applied.iter().rev().find(|applied| applied.replaced.iter().any(|r| **r == *name))?;
            let at = self.rule_at(&run.sets, &by.ruleset, &by.rule);
            Some(format!("{}, {at}", by.rule))
        })
    }
}

/// `conv2d /0/Conv`.
fn node_words(graph: &Graph, id: NodeId) -> String {
    format!("{} {}", maker(graph, id), printable(&graph.node(id).name))
}
