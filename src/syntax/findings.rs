//! What was found wrong with one text.

use super::lexing::Problem;
use crate::diag::{Diagnostic, Diagnostics, Place, SourceId, Span, WithPlaces};

/// More findings than this help nobody, and a hostile text could ask for millions.
const MAX: usize = 100;

/// The first findings of each stage that reads a text.
#[derive(Debug, Default)]
pub struct Findings {
    found: Diagnostics,
    dropped: bool,
}

impl Findings {
    pub fn push(&mut self, finding: impl Into<Diagnostic>) {
        if self.is_full() {
            self.dropped = true;
        } else {
            self.found.push(finding);
        }
    }

    /// What a lexer found.
    pub fn extend(&mut self, problems: Vec<Problem>, source: SourceId) {
        for (at, error) in problems {
            self.push(WithPlaces::new(error).at(Span::new(source, at), ""));
        }
    }

    pub fn is_full(&self) -> bool {
        self.found.0.len() >= MAX
    }

    /// The findings in the order of the text.
    pub fn finish(mut self) -> Diagnostics {
        self.found.0.sort_by_key(|finding| {
            finding.labels.first().map(|label| match &label.place {
                Place::Text(span) => (span.start, span.end),
                Place::Node { .. } => (0, 0),
            })
        });
        if let (true, Some(last)) = (self.dropped, self.found.0.last_mut()) {
            last.notes.push(format!("there are more findings than these {MAX}"));
        }
        self.found
    }

    /// `value`, if nothing was found.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Diagnostics> {
        match value {
            Some(value) if self.found.0.is_empty() => Ok(value),
            _ => Err(self.finish()),
        }
    }
}

/// Adds a recovered error, of which a parser may see as many as there are tokens.
pub fn keep<T>(errors: &mut Vec<T>, error: T) {
    if errors.len() <= MAX {
        errors.push(error);
    }
}
