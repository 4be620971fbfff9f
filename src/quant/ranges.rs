//! Ranges as JSON: `{"value": {"lowest": [..], "highest": [..]}}`, one entry or one per channel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::QuantError;
use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Graph, Kind, Range};

#[derive(Serialize, Deserialize)]
struct Entry {
    lowest: Vec<f32>,
    highest: Vec<f32>,
}

/// Parses a ranges file; `file` is its name in errors.
pub fn read_ranges(text: &str, file: &str) -> Result<BTreeMap<String, Range>, Diagnostics> {
    let fail = |error: String| {
        Diagnostics::from(WithPlaces::new(QuantError::Ranges { file: file.to_owned(), error }))
    };
    let entries: BTreeMap<String, Entry> =
        serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
    entries
        .into_iter()
        .map(|(name, Entry { lowest, highest })| {
            if lowest.is_empty() || lowest.len() != highest.len() {
                let (l, h) = (lowest.len(), highest.len());
                return Err(fail(format!("`{name}` has {l} lowest and {h} highest entries")));
            }
            let ordered = |(l, h): (&f32, &f32)| l.is_finite() && h.is_finite() && l <= h;
            if !lowest.iter().zip(&highest).all(ordered) {
                return Err(fail(format!(
                    "`{name}` has a lowest entry above its highest, or one that is not finite"
                )));
            }
            Ok((name, Range { lowest: lowest.into(), highest: highest.into() }))
        })
        .collect()
}

/// The ranges of a graph, as text. Sorted by name.
pub fn write_ranges(ranges: &BTreeMap<String, Range>) -> String {
    let entries: BTreeMap<&String, Entry> = ranges
        .iter()
        .map(|(name, range)| (name, Entry { lowest: range.lowest.to_vec(), highest: range.highest.to_vec() }))
        .collect();
    // A map of strings to lists of finite floats always has a JSON form.
    serde_json::to_string_pretty(&entries).unwrap_or_default() + "\n"
}

/// The ranges that the values of a graph have.
pub fn ranges_of(graph: &Graph) -> BTreeMap<String, Range> {
    graph
        .values()
        .filter_map(|id| {
            let value = graph.value(id);
            Some((value.name.to_string(), value.range.clone()?))
        })
        .collect()
}

/// Gives every value that `ranges` names its range.
///
/// # Errors
/// No name matches, or an entry has neither one element nor one per channel of its value.
pub fn apply_ranges(
    graph: &mut Graph,
    ranges: &BTreeMap<String, Range>,
    file: &str,
) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::default();
    let mut matched = false;
    for (name, range) in ranges {
        let Some(id) = graph.find(name) else { continue };
        if matches!(graph.node(id.node).kind, Kind::Const(_)) {
            continue;
        }
        matched = true;
        let entries = range.lowest.len();
        let channels = graph.ty(id).shape.get(1).and_then(|dim| dim.fixed());
        if entries != 1 && Some(entries) != channels {
            let error = format!("`{name}` has {entries} entries, its value has shape {}", graph.ty(id).shape);
            let error = QuantError::Ranges { file: file.to_owned(), error };
            found.push(WithPlaces::new(error).at_loc(&graph.node(id.node).loc, ""));
        }
        graph.set_range(id, Some(range.clone()));
    }
    if !matched {
        found.push(WithPlaces::new(QuantError::ForeignRanges { file: file.to_owned() }));
    }
    if found.has_errors() { Err(found) } else { Ok(()) }
}
