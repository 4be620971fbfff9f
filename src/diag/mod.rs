//! Places, codes and the one renderer.
//!
//! Every room has its own error type. An error says *what* fact was violated
//! ([`Report`]: a stable code, a message, hints); [`WithPlaces`] adds *where*; [`Diagnostic`] is
//! the flat form of both, and [`render`] the only function that turns one into text.

mod excerpt;
mod nearest;
mod place;
mod printable;
mod render;

pub use nearest::nearest;
pub use place::{Loc, Place, SourceId, Sources, Span};
pub use printable::printable;
pub use render::render;

use std::fmt;

/// How bad it is: only [`Severity::Error`] makes a command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Note,
    Warning,
    Error,
}

/// What an error of any room tells the user. Implemented by each room's error enum.
pub trait Report: fmt::Display {
    /// Stable code (`Q0312`), listed in `docs/errors.md`.
    fn code(&self) -> &'static str;

    /// The way out, one sentence per entry.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An error and the places it is about; the first place is the main one.
#[derive(Clone, Debug)]
pub struct WithPlaces<E> {
    pub error: E,
    pub places: Vec<(Place, String)>,
}

impl<E> WithPlaces<E> {
    pub fn new(error: E) -> Self {
        Self { error, places: Vec::new() }
    }

    /// Adds a place with the words printed at it (empty: only the mark).
    pub fn at(mut self, place: impl Into<Place>, text: impl Into<String>) -> Self {
        self.places.push((place.into(), text.into()));
        self
    }

    /// Adds every place of a location.
    pub fn at_loc(mut self, loc: &Loc, text: impl Into<String>) -> Self {
        let text = text.into();
        self.places.extend(loc.places().map(|place| (place.clone(), text.clone())));
        self
    }
}

impl<E: Report> From<WithPlaces<E>> for Diagnostic {
    fn from(from: WithPlaces<E>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code: from.error.code(),
            message: from.error.to_string(),
            labels: from.places.into_iter().map(|(place, text)| Label { place, text }).collect(),
            notes: from.error.hints(),
        }
    }
}

/// A place with what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub place: Place,
    pub text: String,
}

/// One finding, ready to be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: &'static str,
    pub message: String,
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    pub fn at(mut self, place: impl Into<Place>, text: impl Into<String>) -> Self {
        self.labels.push(Label { place: place.into(), text: text.into() });
        self
    }

    pub fn at_loc(mut self, loc: &Loc, text: impl Into<String>) -> Self {
        let text = text.into();
        self.labels.extend(loc.places().map(|place| Label { place: place.clone(), text: text.clone() }));
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// The findings of one stage: never empty where it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn push(&mut self, diagnostic: impl Into<Diagnostic>) {
        self.0.push(diagnostic.into());
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// The same findings, each an error.
    pub fn as_errors(mut self) -> Self {
        self.0.iter_mut().for_each(|found| found.severity = Severity::Error);
        self
    }

    /// `Err(self)` when any finding is an error.
    pub fn into_result(self) -> Result<Self, Self> {
        if self.has_errors() { Err(self) } else { Ok(self) }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl<E: Report> From<WithPlaces<E>> for Diagnostics {
    fn from(error: WithPlaces<E>) -> Self {
        Self(vec![error.into()])
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<T: IntoIterator<Item = Diagnostic>>(&mut self, iter: T) {
        self.0.extend(iter);
    }
}
