//! What became of one value, and where its scale comes from.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Explain, PassError, maker, places, value_name};
use crate::diag::{Diagnostics, Loc, Place, WithPlaces, nearest, printable};
use crate::ir::{Graph, Kind, NodeId, Range, ValueId};
use crate::ops::Why;
use crate::pass::{PassTrace, RangeSource};
use crate::rewrite::Applied;
use crate::tensor::TensorType;

/// So many operands are listed.
const OPERANDS: usize = 8;

impl Explain<'_> {
    /// A value from the source through every pass that touched it to the node of the result that makes
    /// it, and the numbers of its grid.
    ///
    /// # Errors
    /// Neither the network nor what it becomes has a value or node of that name.
    pub fn value(&self, name: &str) -> Result<String, Diagnostics> {
        let mut out = String::new();
        let (graph, node) = self.find(name)?;
        let origin = self.origin(graph, node, name, &mut out);
        let made = self.emitted(graph, node, name, &origin);
        let from = made.map(|(result, id)| result.node(id).loc.clone()).unwrap_or_default();
        let from = Loc::merged([&origin, &from]);
        self.history(name, &from, made, &mut out);
        match made {
            Some((result, id)) => self.becomes(result, id, name, &mut out),
            None => self.unmade(name, &origin, &mut out),
        }
        Ok(out)
    }

    /// The graph that was read.
    fn source(&self) -> Option<&Graph> {
        self.trace.passes.first().map(|pass| &pass.before)
    }

    /// All graphs: the source, the result, and those in between.
    fn graphs(&self) -> impl Iterator<Item = &Graph> {
        let result = self.outcome.map(|outcome| &outcome.graph);
        self.source().into_iter().chain(result).chain(self.trace.passes.iter().map(|pass| &pass.after))
    }

    /// The first graph that has a value, an output or a node of that name, and the node.
    fn find(&self, name: &str) -> Result<(&Graph, NodeId), Diagnostics> {
        let value = |graph: &Graph| {
            let output = || graph.outputs().iter().find(|output| *output.name == *name);
            graph.find(name).or_else(|| output().map(|output| output.value)).map(|value| value.node)
        };
        let node = |graph: &Graph| graph.order().into_iter().find(|&id| *graph.node(id).name == *name);
        let values = self.graphs().find_map(|graph| Some((graph, value(graph)?)));
        values.or_else(|| self.graphs().find_map(|graph| Some((graph, node(graph)?)))).ok_or_else(|| {
            let names: BTreeSet<&str> = self
                .graphs()
                .take(2)
                .flat_map(|graph| graph.values().map(|value| &*graph.value(value).name))
                .collect();
            let similar = nearest(name, names).map(str::to_owned);
            WithPlaces::new(PassError::UnknownValue { name: name.to_owned(), similar }).into()
        })
    }

    /// Says where a value comes from; gives the places.
    fn origin(&self, graph: &Graph, id: NodeId, name: &str, out: &mut String) -> Loc {
        let node = graph.node(id);
        let ty = node.results.first().map(|value| type_words(&value.ty)).unwrap_or_default();
        let in_source = self.source().is_some_and(|source| std::ptr::eq(source, graph));
        let at = places::of(&node.loc, self.sources);
        let at = if at.is_empty() { at } else { format!(", {at}") };
        if !in_source {
            let _ = writeln!(out, "%{}, {ty}", printable(name));
            let _ = writeln!(out, "  is not in the network: the compiler made it{at}");
            return node.loc.clone();
        }
        let _ = writeln!(out, "%{}, {ty}", printable(value_name(graph, id)));
        let _ = match &node.kind {
            Kind::Input | Kind::Const(_) => writeln!(out, "  is {}{at}", maker(graph, id)),
            Kind::Op { op, .. } => {
                let operands = node.operands.iter();
                let operands = operands.map(|value| match value {
                    Some(value) => format!("%{}", printable(&graph.value(*value).name)),
                    None => "_".to_owned(),
                });
                let operands: Vec<String> = operands.take(OPERANDS).collect();
                writeln!(out, "  = {op} {}{at}", operands.join(", "))
            }
        };
        if matches!(node.kind, Kind::Const(_)) {
            // What becomes of a constant is what becomes of its readers.
            let value = ValueId { node: id, result: 0 };
            let readers = graph.uses(value).into_iter().map(|at| graph.node(at.node).loc.clone());
            return Loc::merged(&readers.collect::<Vec<_>>());
        }
        node.loc.clone()
    }

    /// The node of the result that makes the value, or that it went into.
    fn emitted(&self, graph: &Graph, id: NodeId, name: &str, origin: &Loc) -> Option<(&Graph, NodeId)> {
        let result = &self.outcome?.graph;
        let value = result.find(name).or_else(|| result.find(value_name(graph, id)));
        let operator = |id: &NodeId| result.node(*id).op().is_some();
        // What becomes of an input or a constant is what its first reader makes of it.
        let reader = |value: ValueId| match operator(&value.node) {
            true => Some(value.node),
            false => result.uses(value).first().map(|at| at.node),
        };
        if let Some(id) = value.and_then(reader) {
            return Some((result, id));
        }
        let places: BTreeSet<&Place> = origin.places().collect();
        let within = |id: &NodeId| result.node(*id).loc.places().any(|place| places.contains(place));
        // A value that is not there any more went into the first node that stands for its place.
        result.order().into_iter().filter(operator).find(within).map(|id| (result, id))
    }

    /// The passes and rules that touched what the value comes from.
    fn history(&self, name: &str, from: &Loc, made: Option<(&Graph, NodeId)>, out: &mut String) {
        let places: BTreeSet<&Place> = from.places().collect();
        // By the names of nodes and values that the network has at these places.
        let mut nodes: BTreeSet<&str> = BTreeSet::new();
        if let Some(source) = self.source() {
            let within = |id: &NodeId| source.node(*id).loc.places().any(|place| places.contains(place));
            for id in source.order().into_iter().filter(within) {
                nodes.extend([value_name(source, id), &*source.node(id).name]);
            }
        }
        if let Some((result, id)) = made {
            nodes.insert(&result.node(id).name);
        }
        let touches = |applied: &&Applied| {
            applied.matched.iter().chain(&applied.replaced).any(|other| nodes.contains(&**other))
        };
        for (at, pass) in self.trace.passes.iter().enumerate() {
            let mut said: Vec<String> = Vec::new();
            for run in &pass.rules {
                for applied in run.applied.iter().filter(touches) {
                    let rule = self.rule_at(&run.sets, &applied.ruleset, &applied.rule);
                    let line = format!("{}, {rule}: {}", applied.rule, matched(applied));
                    if !said.contains(&line) {
                        said.push(line);
                    }
                }
            }
            said.extend(changes(pass, name));
            if !said.is_empty() {
                let _ = writeln!(out);
                let call = pass.call.split('{').next().unwrap_or_default();
                let _ = writeln!(out, "pass {}, {call}", at + 1);
            }
            for line in said {
                let _ = writeln!(out, "  {line}");
            }
        }
    }

    fn becomes(&self, result: &Graph, id: NodeId, name: &str, out: &mut String) {
        let node = result.node(id);
        let own = node.results.iter().any(|value| *value.name == *name);
        let word = if own { "becomes" } else { "becomes part of" };
        let operands: Vec<String> = node
            .operands
            .iter()
            .flatten()
            .take(OPERANDS)
            .map(|value| format!("%{}", printable(&result.value(*value).name)))
            .collect();
        let ty = node.results.first().map(|value| type_words(&value.ty)).unwrap_or_default();
        let op = self.op_type(result, id);
        let value = value_name(result, id);
        let called = match &*node.name {
            name if name == value => String::new(),
            name => format!(", node {}", printable(name)),
        };
        let operands = operands.join(", ");
        let _ = writeln!(out, "\n{word} %{} = {op}({operands}), {ty}{called}", printable(value));
        let stays = self.trace.stays.iter().find(|stay| {
            let places: BTreeSet<&Place> = stay.loc.places().collect();
            node.loc.places().any(|place| places.contains(place))
        });
        let on_grid = node.results.first().is_some_and(|value| !value.ty.grid.is_plain());
        match stays {
            Some(stay) if !on_grid && node.op() != Some("Dequantizer") => {
                let _ = writeln!(out, "\nstays float:\n");
                let (head, why) = self.stay(stay);
                let _ = write!(out, "{head}{why}");
            }
            _ => self.scale(value_name(result, id), out),
        }
    }

    /// A value of a run that failed.
    fn unmade(&self, name: &str, origin: &Loc, out: &mut String) {
        let places: BTreeSet<&Place> = origin.places().collect();
        let stays = self.trace.stays.iter();
        let mut stays = stays.filter(|stay| stay.loc.places().any(|place| places.contains(place))).peekable();
        if stays.peek().is_none() {
            let _ = writeln!(out, "%{} is not in the result", printable(name));
            return;
        }
        let _ = writeln!(out, "\nstays float:\n");
        for (head, why) in stays.map(|stay| self.stay(stay)) {
            let _ = write!(out, "{head}{why}");
        }
    }

    /// The numbers of a quantized value.
    fn scale(&self, name: &str, out: &mut String) {
        let Some(outcome) = self.outcome else { return };
        let Some(note) = outcome.report.as_ref().and_then(|report| report.why.get(name)) else { return };
        let (why, of) = (&note.why, &*note.of);
        let entries = why.iter().map(|why| why.value.len()).max().unwrap_or(0);
        // The entries that are shown: those with the coarsest and the finest grid.
        let ranked = why.iter().find(|why| why.what == "scale" && why.value.len() == entries);
        let ranked = ranked.or_else(|| why.iter().find(|why| why.value.len() == entries));
        let Some(ranked) = ranked.filter(|_| entries > 0) else { return };
        let by = |at: &usize| ranked.value.get(*at).copied().unwrap_or_default();
        let coarsest = (0..entries).min_by(|a, b| by(a).total_cmp(&by(b))).unwrap_or(0);
        let finest = (0..entries).rev().max_by(|a, b| by(a).total_cmp(&by(b))).unwrap_or(0);
        let same = by(&coarsest) == by(&finest);
        let range = self.range(of);
        let (name, unit) = (printable(name), "scales are integers per real, samples count from 0");
        if entries == 1 {
            let _ = writeln!(out, "\nnumbers of %{name} ({unit})");
            self.numbers(of, why, range, 0, out);
            return;
        }
        let shown = if same {
            vec![(0, "as coarse as any")]
        } else {
            vec![(coarsest, "the coarsest"), (finest, "the finest")]
        };
        for (at, (channel, word)) in shown.into_iter().enumerate() {
            let unit = if at == 0 { format!(" ({unit})") } else { String::new() };
            let _ = writeln!(out, "\nnumbers of %{name}, channel {channel} of {entries}, {word}{unit}");
            self.numbers(of, why, range, channel, out);
        }
    }

    fn range(&self, name: &str) -> Option<&Range> {
        let graph = self.fused()?;
        let value = graph.find(name);
        value.and_then(|value| graph.value(value).range.as_ref())
    }

    fn numbers(&self, name: &str, why: &[Why], range: Option<&Range>, channel: usize, out: &mut String) {
        let mut rows: Vec<[String; 3]> = Vec::new();
        if let Some(range) = range {
            let (l, h) = (entry(&range.lowest, channel), entry(&range.highest, channel));
            let span = format!(
                "{} to {}",
                l.map_or_else(String::new, |l| number(l.into())),
                h.map_or_else(String::new, |h| number(h.into()))
            );
            rows.push(["range".to_owned(), span, self.seen(name, channel)]);
        }
        for why in why {
            let terms: Vec<String> = why
                .terms
                .iter()
                .filter_map(|(name, entries)| Some(format!("{name} = {}", number(entry(entries, channel)?))))
                .collect();
            let value = entry(&why.value, channel).map(number).unwrap_or_default();
            let formula = if terms.is_empty() {
                why.formula.to_string()
            } else {
                format!("{}; {}", why.formula, terms.join(", "))
            };
            rows.push([why.what.to_string(), value, formula]);
        }
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let (what, value) = (width(0), width(1));
        for row in &rows {
            let line = format!("  {:what$}  {:value$}  {}", row[0], row[1], row[2]);
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }

    /// Which samples gave the ends of a range.
    fn seen(&self, name: &str, channel: usize) -> String {
        match &self.trace.ranges {
            RangeSource::Network => "from the network's text".to_owned(),
            RangeSource::File(file) => format!("from {}", printable(file)),
            RangeSource::Samples { seen, batch } => {
                let Some(seen) = seen.get(name) else { return "observed".to_owned() };
                let sample = |at: &[usize]| match (entry(at, channel), batch) {
                    (Some(at), 1) => format!("sample {at}"),
                    (Some(at), batch) => format!("samples {at} to {}", at + batch - 1),
                    (None, _) => "no sample".to_owned(),
                };
                let (lowest, highest) = (sample(&seen.lowest), sample(&seen.highest));
                if lowest == highest {
                    format!("both in {lowest}")
                } else {
                    format!("lowest in {lowest}, highest in {highest}")
                }
            }
        }
    }
}

/// The nodes that a rule matched.
fn matched(applied: &Applied) -> String {
    let names = applied.matched.iter().filter(|name| !name.is_empty()).map(|name| printable(name));
    names.collect::<Vec<_>>().join(", ")
}

/// What a pass that is no rule file did to a value.
fn changes(pass: &PassTrace, name: &str) -> Option<String> {
    let find = |graph: &Graph| graph.find(name);
    let (before, after) = (find(&pass.before), find(&pass.after));
    match (before, after) {
        (None, Some(after)) if pass.rules.is_empty() => Some(format!(
            "puts in {} {}",
            maker(&pass.after, after.node),
            printable(&pass.after.node(after.node).name)
        )),
        (Some(before), Some(after)) => {
            let (old, new) = (pass.before.value(before), pass.after.value(after));
            let op = (maker(&pass.before, before.node), maker(&pass.after, after.node));
            if old.ty.storage() != new.ty.storage() {
                Some(format!("{} becomes {}", type_words(&old.ty), type_words(&new.ty)))
            } else if old.ty.shape != new.ty.shape {
                Some(format!("shape {} becomes {}", old.ty.shape, new.ty.shape))
            } else if old.range.is_none() && new.range.is_some() {
                let range = new.range.as_ref()?;
                Some(format!("range {}", range_words(range)))
            } else if op.0 != op.1 && pass.rules.is_empty() {
                Some(format!("is made by {} instead of {}", op.1, op.0))
            } else {
                None
            }
        }
        _ => None,
    }
}

/// The span of all entries.
fn range_words(range: &Range) -> String {
    let lowest = range.lowest.iter().copied().fold(f32::INFINITY, f32::min);
    let highest = range.highest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let entries = range.lowest.len();
    let over = if entries == 1 { String::new() } else { format!(" over {entries} channels") };
    format!("{} to {}{over}", number(lowest.into()), number(highest.into()))
}

fn type_words(ty: &TensorType) -> String {
    format!("{}{}", ty.storage(), ty.shape)
}

/// The entry for a channel, where one entry stands for all.
fn entry<T: Copy>(entries: &[T], channel: usize) -> Option<T> {
    match entries {
        [one] => Some(*one),
        _ => entries.get(channel).copied(),
    }
}

/// Six significant digits.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() || (value.fract() == 0.0 && value.abs() < 1e15) {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{value:.5e}");
    }
    let digits = (5.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
