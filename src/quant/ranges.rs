//! Ranges as JSON: `{"value": {"lowest": [..], "highest": [..]}}`, one entry or one per channel.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::QuantError;
use crate::diag::{Diagnostic, Diagnostics, WithPlaces, nearest};
use crate::ir::{Graph, Kind, Range};

#[derive(Serialize, Deserialize)]
struct Entry {
    lowest: Vec<f32>,
    highest: Vec<f32>,
}

/// The entries by value name. Of two with one name, neither is what was meant for sure.
struct Entries(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from value names to ranges")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, entry)) = map.next_entry::<String, Entry>()? {
                    match entries.entry(name) {
                        MapEntry::Vacant(place) => place.insert(entry),
                        MapEntry::Occupied(place) => {
                            return Err(A::Error::custom(format!("`{}` is given twice", place.key())));
                        }
                    };
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

/// Parses a ranges file; `file` is its name in errors.
pub fn read_ranges(text: &str, file: &str) -> Result<BTreeMap<String, Range>, Diagnostics> {
    let fail = |error: String| {
        Diagnostics::from(WithPlaces::new(QuantError::Ranges { file: file.to_owned(), error }))
    };
    let Entries(entries) = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
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

/// As many names a warning lists.
const SHOWN: usize = 5;

/// Gives every value that `ranges` names its range. `Ok` has a warning where some name no value.
///
/// # Errors
/// No name matches, or an entry has neither one element nor one per channel of its value.
pub fn apply_ranges(
    graph: &mut Graph,
    ranges: &BTreeMap<String, Range>,
    file: &str,
) -> Result<Diagnostics, Diagnostics> {
    let mut found = Diagnostics::default();
    let mut foreign = Vec::new();
    let mut matched = false;
    for (name, range) in ranges {
        let Some(id) = graph.find(name) else {
            foreign.push(name.as_str());
            continue;
        };
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
    if matched && !foreign.is_empty() {
        let names = || {
            let values = graph.values().filter(|id| !matches!(graph.node(id.node).kind, Kind::Const(_)));
            values.map(|id| &*graph.value(id).name)
        };
        let shown = foreign.iter().take(SHOWN).map(|name| match nearest(name, names()) {
            Some(meant) => format!("`{name}` (did you mean `{meant}`?)"),
            None => format!("`{name}`"),
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = foreign.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message =
            format!("{file} has ranges of values that the prepared network does not have: {shown}{more}");
        found.push(
            Diagnostic::warning("Q0623", message)
                .note("they are not used; `qirc calibrate` writes the names that are"),
        );
    }
    found.into_result()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Loc;
    use crate::tensor::{DType, Shape, TensorType};

    fn network() -> Graph {
        let mut graph = Graph::new("net");
        for name in ["image", "features"] {
            graph.add_input(name, TensorType::new(DType::F32, Shape::fixed(&[1, 2])), Loc::unknown());
        }
        graph
    }

    fn ranges(names: &[&str]) -> BTreeMap<String, Range> {
        let entries: Vec<String> =
            names.iter().map(|name| format!("\"{name}\": {{\"lowest\": [0], \"highest\": [1]}}")).collect();
        read_ranges(&format!("{{{}}}", entries.join(", ")), "r.json").unwrap()
    }

    #[test]
    fn names_of_no_value_give_one_warning() {
        let found = apply_ranges(&mut network(), &ranges(&["image", "features"]), "r.json").unwrap();
        assert_eq!(found.0, []);
        let found = apply_ranges(&mut network(), &ranges(&["image", "featurs"]), "r.json").unwrap();
        assert_eq!(
            found.0[0].message,
            "r.json has ranges of values that the prepared network does not have: \
             `featurs` (did you mean `features`?)"
        );
        let many = ["image", "w1", "w2", "w3", "w4", "w5", "w6", "w7"];
        let found = apply_ranges(&mut network(), &ranges(&many), "r.json").unwrap();
        assert_eq!(found.0.len(), 1);
        assert!(found.0[0].message.ends_with("`w4`, `w5` and 2 more"), "{:?}", found.0[0]);
        let found = apply_ranges(&mut network(), &ranges(&["imag"]), "r.json").unwrap_err();
        assert_eq!((found.0.len(), found.0[0].code), (1, "Q0609"));
    }

    #[test]
    fn names_come_once() {
        let entry = r#""a": {"lowest": [0], "highest": [1]}"#;
        let found = read_ranges(&format!("{{{entry}, {entry}}}"), "r.json").unwrap_err();
        assert!(found.0[0].message.contains("`a` is given twice"), "{found:?}");
        let twice = r#"{"a": {"lowest": [0], "lowest": [0], "highest": [1]}}"#;
        assert!(read_ranges(twice, "r.json").is_err());
    }
}
