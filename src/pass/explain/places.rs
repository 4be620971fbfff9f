//! Places in words.

use std::collections::BTreeMap;

use crate::diag::{Loc, Place, Sources, Span, printable};

/// So many places are listed.
const SHOWN: usize = 6;

/// `file:line:column`.
pub fn at(span: Span, sources: &Sources) -> String {
    let (line, column) = sources.line_column(span);
    format!("{}:{line}:{column}", printable(sources.name(span.source)))
}

/// Lines of a text, or else nodes of a model: `net.qir:12, 14` or `net.onnx node /0/Conv`.
pub fn of(loc: &Loc, sources: &Sources) -> String {
    let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for place in loc.places() {
        if let Place::Text(span) = place {
            lines.entry(sources.name(span.source)).or_default().push(sources.line_column(*span).0);
        }
    }
    if !lines.is_empty() {
        let text = lines.into_iter().map(|(file, mut lines)| {
            lines.sort_unstable();
            lines.dedup();
            format!("{}:{}", printable(file), shown(lines.iter().map(usize::to_string).collect()))
        });
        return text.collect::<Vec<_>>().join(", ");
    }
    let mut nodes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, node) in loc.nodes() {
        nodes.entry(file).or_default().push(clipped(node));
    }
    let text = nodes.into_iter().map(|(file, nodes)| {
        let word = if nodes.len() == 1 { "node" } else { "nodes" };
        format!("{} {word} {}", printable(file), shown(nodes))
    });
    text.collect::<Vec<_>>().join(", ")
}

/// `, net.qir:12`, to be put behind the name of a node; of a model's node of that name only the file.
pub fn beside(loc: &Loc, name: &str, sources: &Sources) -> String {
    let mut places = loc.places();
    let at = match (places.next(), places.next()) {
        (None, _) => return String::new(),
        (Some(Place::Node { file, node }), None) if **node == *name => printable(file).into_owned(),
        _ => of(loc, sources),
    };
    format!(", {at}")
}

/// The same without the file of a model, where there is only one.
pub fn short(loc: &Loc, sources: &Sources) -> String {
    if loc.places().any(|place| matches!(place, Place::Text(_))) {
        return of(loc, sources);
    }
    shown(loc.nodes().map(|(_, node)| clipped(node)).collect())
}

/// Longer names are cut where they are only pointed at.
const LONGEST: usize = 64;

fn clipped(name: &str) -> String {
    let name = printable(name);
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.into_owned(),
    }
}

fn shown(mut words: Vec<String>) -> String {
    if words.len() > SHOWN + 1 {
        let more = words.len() - SHOWN;
        words.truncate(SHOWN);
        words.push(format!("{more} more"));
    }
    words.join(", ")
}
