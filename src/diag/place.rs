//! Where something comes from: bytes of a text file, or a node of an imported model.

use std::ops::Range;
use std::sync::Arc;

/// A text registered with [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

/// A byte range of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub source: SourceId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        // Sources::add refuses texts of 4 GiB and more, so offsets fit.
        Self { source, start: range.start as u32, end: range.end as u32 }
    }

    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The smallest span that covers both; both are of one text.
    pub fn to(self, other: Self) -> Self {
        Self { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// One origin of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In a text of this run.
    Text(Span),
    /// A named node of a model file: printed as `loc("file", "node")`.
    Node { file: Arc<str>, node: Arc<str> },
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Place::Text(span)
    }
}

/// Places of each kind in a [`Loc`]. A chain that folds into one node merges without end, and nobody
/// reads so many.
const MOST_PLACES: usize = 64;

/// The sorted set of places that a node stands for; a rewrite merges the sets it replaces. Of very
/// many, the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loc(Arc<[Place]>);

impl Loc {
    pub fn unknown() -> Self {
        Self::default()
    }

    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.iter()
    }

    /// The places in imported models, which is what the text form prints.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|place| match place {
            Place::Node { file, node } => Some((&**file, &**node)),
            Place::Text(_) => None,
        })
    }

    pub fn merged<'a>(locs: impl IntoIterator<Item = &'a Loc>) -> Self {
        let mut places: Vec<Place> = locs.into_iter().flat_map(|loc| loc.0.iter().cloned()).collect();
        places.sort();
        places.dedup();
        // Texts sort before nodes.
        let texts = places.partition_point(|place| matches!(place, Place::Text(_)));
        places.truncate(texts + MOST_PLACES);
        places.drain(texts.min(MOST_PLACES)..texts);
        Self(places.into())
    }
}

impl<P: Into<Place>> From<P> for Loc {
    fn from(place: P) -> Self {
        Self(Arc::new([place.into()]))
    }
}

/// The texts of one run, so that a span can be shown.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<(String, String)>,
}

impl Sources {
    /// Registers a text under the name that reports show. `None` if it is 4 GiB or more.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> Option<SourceId> {
        let text = text.into();
        u32::try_from(text.len()).ok()?;
        let id = u32::try_from(self.files.len()).ok()?;
        self.files.push((name.into(), text));
        Some(SourceId(id))
    }

    pub fn name(&self, id: SourceId) -> &str {
        &self.files[id.0 as usize].0
    }

    pub fn text(&self, id: SourceId) -> &str {
        &self.files[id.0 as usize].1
    }

    /// One-based line and column (in characters) of a span's start.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let before = &self.text(span.source)[..span.start as usize];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_do_not_grow_without_end() {
        let text = Place::Text(Span { source: SourceId(0), start: 0, end: 1 });
        let nodes = (0..1000).map(|at| Place::Node { file: "net".into(), node: format!("n{at:04}").into() });
        let all = nodes.fold(Loc::from(text.clone()), |all, node| Loc::merged([&all, &node.into()]));
        assert_eq!(all.places().next(), Some(&text));
        assert_eq!(all.nodes().count(), MOST_PLACES);
        assert_eq!(all.nodes().last(), Some(("net", "n0063")));
    }
}
