//! Where the rules of a file fired or nearly fired.

use std::fmt::Write as _;

use super::{Explain, places};
use crate::diag::printable;
use crate::ir::Graph;
use crate::pass::RulesTrace;
use crate::rewrite::{Applied, Near, Nearly, Rule, Ruleset, Verdict};

/// So many places where a rule nearly fired are shown.
const PLACES: usize = 8;

/// For each rule of the sets: where it fired, and where it nearly did.
pub fn explain_rules(explain: &Explain, sets: &[Ruleset]) -> String {
    let mut out = String::new();
    for set in sets {
        if !out.is_empty() {
            let _ = writeln!(out);
        }
        let mut said: Vec<String> = Vec::new();
        for (at, pass) in explain.trace.passes.iter().enumerate() {
            let has = |run: &&RulesTrace| run.sets.iter().any(|other| other.name == set.name);
            let Some(run) = pass.rules.iter().find(has) else { continue };
            let options = explain.options(run);
            let nearly = Nearly::new(&run.before, explain.registry, explain.sources, &options);
            let mut text = String::new();
            for arms in set.rules.chunk_by(|_, next| next.arm > 0) {
                pattern(explain, run, &nearly, set, arms, &mut text);
            }
            let call = pass.call.split('{').next().unwrap_or_default();
            let ranges = if run.demand_ranges { "; its layers need calibrated ranges" } else { "" };
            let again = if said.contains(&text) { ": as before" } else { "" };
            let gap = if said.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}ruleset {}, in pass {}, {call}{ranges}{again}", set.name, at + 1);
            if again.is_empty() {
                out.push_str(&text);
                said.push(text);
            }
        }
        if said.is_empty() {
            let _ = writeln!(out, "ruleset {}: this pipeline does not run it", set.name);
        }
    }
    out
}

/// One rule, or the right sides of one custom pattern.
fn pattern(
    explain: &Explain,
    run: &RulesTrace,
    nearly: &Nearly,
    set: &Ruleset,
    arms: &[Rule],
    out: &mut String,
) {
    let graph = &run.before;
    let Some((rule, step)) = arms.first().and_then(|rule| Some((rule, rule.steps.first()?))) else { return };
    let _ = writeln!(out, "\n{}, {}", rule.name, places::at(rule.span, explain.sources));
    let mut fired: Vec<&Applied> = run.applied.iter().collect();
    fired.retain(|applied| applied.ruleset == set.name && applied.rule == rule.name);
    let roots = graph.order().into_iter().filter(|&id| graph.node(id).op() == Some(&*step.op));
    // How each right side fares at each place.
    let all: Vec<Vec<Near>> =
        roots.map(|root| arms.iter().map(|arm| nearly.rooted(set, arm, root)).collect()).collect();
    for applied in &fired {
        let matched: Vec<_> = applied.matched.iter().map(|name| printable(name)).collect();
        let at = places::short(&applied.loc, explain.sources);
        let by = if arms.len() > 1 { format!(" by right side {}", applied.arm + 1) } else { String::new() };
        let _ = writeln!(out, "  fired at {}, from {at}{by}", matched.join(", "));
        for near in all.iter().filter(|near| near.iter().any(|near| same(graph, near, applied))) {
            unmade(near, out);
        }
    }
    let here = |near: &&Vec<Near>| {
        !near.iter().any(|near| near.matches() && fired.iter().any(|applied| same(graph, near, applied)))
    };
    // Of right sides that are equally near, the first.
    let mut nearest: Vec<(&Near, &Vec<Near>)> = all
        .iter()
        .filter(here)
        .filter_map(|arms| Some((arms.iter().rev().max_by_key(|near| near.progress())?, arms)))
        .collect();
    nearest.sort_by_key(|(near, _)| std::cmp::Reverse(near.progress()));
    if nearest.is_empty() && fired.is_empty() {
        let _ = writeln!(out, "  nowhere: the network has no `{}` there", step.op);
    }
    for (near, arms) in nearest.iter().take(PLACES) {
        // Of an outermost operator that does not fit itself, its own name.
        let own = match &near.verdict {
            Verdict::Misses(fault) if near.fits.is_empty() => fault.node,
            _ => None,
        };
        let fits = near.fits.iter().copied().chain(own).map(|id| printable(&graph.node(id).name));
        let _ = writeln!(out, "  nearly at {}", fits.collect::<Vec<_>>().join(", "));
        let (wants, has) = explain.verdict(graph, near);
        if near.matches() && arms.len() > 1 {
            unmade(arms, out);
            continue;
        }
        if !wants.is_empty() {
            let _ = writeln!(out, "    wants {wants}");
        }
        let _ = writeln!(out, "    {has}");
    }
    if nearest.len() > PLACES {
        let _ = writeln!(out, "  and {} more `{}` that it does not fit", nearest.len() - PLACES, step.op);
    }
}

/// The right sides that were tried and could not be made.
fn unmade(arms: &[Near], out: &mut String) {
    for near in arms {
        if let Verdict::Unmade(why) = &near.verdict {
            let _ = writeln!(out, "    right side {} cannot be made: {}", near.rule.arm + 1, printable(why));
        }
    }
}

/// Whether a match is what was applied.
fn same(graph: &Graph, near: &Near, applied: &Applied) -> bool {
    near.fits.iter().map(|&id| &graph.node(id).name).eq(&applied.matched)
}
