//! Diagnostics as text.

use std::fmt::Write as _;

use ariadne::{CharSet, Config, IndexType, Label as Mark, Report, ReportKind};

use super::{Diagnostic, Place, Severity, SourceId, Sources, Span};

/// Renders one diagnostic; `colour` only where a person looks at a terminal.
///
/// Places in texts are underlined; places in imported models, which have no text, become notes.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    let mut notes = Vec::new();
    let mut marks: Vec<(Span, &str)> = Vec::new();
    for label in &diagnostic.labels {
        match &label.place {
            Place::Text(span) => marks.push((*span, &label.text)),
            Place::Node { file, node } if label.text.is_empty() => {
                notes.push(format!("at node `{node}` of {file}"));
            }
            Place::Node { file, node } => notes.push(format!("{} (node `{node}` of {file})", label.text)),
        }
    }
    notes.extend(diagnostic.notes.iter().cloned());

    let Some(&(main, _)) = marks.first() else {
        return plain(diagnostic, &notes);
    };
    let kind = match diagnostic.severity {
        Severity::Error => ReportKind::Error,
        Severity::Warning => ReportKind::Warning,
        Severity::Note => ReportKind::Advice,
    };
    // Offsets are bytes: ariadne would count characters.
    let config = Config::default()
        .with_index_type(IndexType::Byte)
        .with_color(colour)
        .with_char_set(if colour { CharSet::Unicode } else { CharSet::Ascii });
    let mut report = Report::build(kind, main)
        .with_config(config)
        .with_code(diagnostic.code)
        .with_message(&diagnostic.message);
    for (span, text) in marks {
        let text = if text.is_empty() { "here" } else { text };
        report = report.with_label(Mark::new(span).with_message(text));
    }
    for note in notes {
        report = report.with_note(note);
    }
    let mut out = Vec::new();
    match report.finish().write(Cache::new(sources), &mut out) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        // Writing to memory does not fail; if the renderer gives up, the facts still come out.
        Err(_) => plain(diagnostic, &[]),
    }
}

fn plain(diagnostic: &Diagnostic, notes: &[String]) -> String {
    let word = match diagnostic.severity {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
        Severity::Note => "Note",
    };
    let mut out = format!("[{}] {word}: {}\n", diagnostic.code, diagnostic.message);
    for note in notes {
        // Writing to a String does not fail.
        let _ = writeln!(out, "  note: {note}");
    }
    out
}

impl ariadne::Span for Span {
    type SourceId = SourceId;

    fn source(&self) -> &SourceId {
        &self.source
    }

    fn start(&self) -> usize {
        self.start as usize
    }

    fn end(&self) -> usize {
        self.end as usize
    }
}

struct Cache<'a> {
    sources: &'a Sources,
    parsed: std::collections::BTreeMap<SourceId, ariadne::Source<&'a str>>,
}

impl<'a> Cache<'a> {
    fn new(sources: &'a Sources) -> Self {
        Self { sources, parsed: std::collections::BTreeMap::new() }
    }
}

impl<'a> ariadne::Cache<SourceId> for Cache<'a> {
    type Storage = &'a str;

    fn fetch(&mut self, id: &SourceId) -> Result<&ariadne::Source<&'a str>, impl std::fmt::Debug> {
        let sources = self.sources;
        Ok::<_, std::fmt::Error>(
            self.parsed.entry(*id).or_insert_with(|| ariadne::Source::from(sources.text(*id))),
        )
    }

    fn display<'b>(&self, id: &'b SourceId) -> Option<impl std::fmt::Display + 'b> {
        Some(self.sources.name(*id).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_offsets_point_right_in_non_ascii_text() {
        let mut sources = Sources::default();
        let id = sources.add("é.qir", "// größe\nconv2d\n").unwrap();
        let at = "// größe\n".len();
        let d = Diagnostic::error("Q0000", "unknown").at(Span::new(id, at..at + 6), "this");
        let text = render(&d, &sources, false);
        assert!(text.contains("2:1"), "{text}");
        assert!(text.contains("conv2d"), "{text}");
    }
}
