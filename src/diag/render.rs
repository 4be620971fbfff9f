//! Diagnostics as text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use ariadne::{CharSet, Config, IndexType, Label as Mark, Report, ReportKind};

use super::excerpt::Excerpt;
use super::{Diagnostic, Place, Severity, SourceId, Sources, Span, printable};

/// Renders one diagnostic; `colour` only where a person looks at a terminal.
///
/// Places in texts are underlined; places in imported models, which have no text, become notes. What
/// is said has no control characters, whatever the names in it.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    let message = printable(&diagnostic.message);
    let mut notes = Vec::new();
    let mut marks: Vec<(Span, Cow<str>)> = Vec::new();
    for label in &diagnostic.labels {
        match &label.place {
            Place::Text(span) => marks.push((*span, printable(&label.text))),
            Place::Node { file, node } if label.text.is_empty() => {
                notes.push(format!("at node `{node}` of {file}"));
            }
            Place::Node { file, node } => notes.push(format!("{} (node `{node}` of {file})", label.text)),
        }
    }
    notes.extend(diagnostic.notes.iter().cloned());
    let notes: Vec<Cow<str>> = notes.iter().map(|note| printable(note)).collect();

    let shown = Shown::new(sources, marks.iter().map(|(span, _)| *span));
    let Some(&(main, _)) = marks.first() else {
        return plain(diagnostic.severity, diagnostic.code, &message, &notes);
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
    let mut report = Report::build(kind, shown.span(main))
        .with_config(config)
        .with_code(diagnostic.code)
        .with_message(&message);
    for (span, text) in &marks {
        let text = if text.is_empty() { "here" } else { text };
        report = report.with_label(Mark::new(shown.span(*span)).with_message(text));
    }
    for note in &notes {
        report = report.with_note(note);
    }
    let mut out = Vec::new();
    match report.finish().write(Cache::new(&shown), &mut out) {
        Ok(()) => shown.with_places(&String::from_utf8_lossy(&out)),
        // Writing to memory does not fail; if the renderer gives up, the facts still come out.
        Err(_) => plain(diagnostic.severity, diagnostic.code, &message, &[]),
    }
}

fn plain(severity: Severity, code: &str, message: &str, notes: &[Cow<str>]) -> String {
    let word = match severity {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
        Severity::Note => "Note",
    };
    let mut out = format!("[{code}] {word}: {message}\n");
    for note in notes {
        // Writing to a String does not fail.
        let _ = writeln!(out, "  note: {note}");
    }
    out
}

/// Begins and ends what stands for the place of a source. Nothing else that is printed holds it.
const STAND_IN: char = '\0';

/// The marked sources as they are shown.
struct Shown {
    /// The excerpt, and the name with line and column of the first mark, in the whole text.
    sources: BTreeMap<SourceId, (Excerpt, String)>,
}

impl Shown {
    fn new(sources: &Sources, marks: impl Iterator<Item = Span>) -> Self {
        let mut of: BTreeMap<SourceId, Vec<Span>> = BTreeMap::new();
        for span in marks {
            of.entry(span.source).or_default().push(span);
        }
        let shown = |(id, spans): (SourceId, Vec<Span>)| {
            // The last character of a mark is shown, too.
            let places = spans.iter().flat_map(|span| {
                let range = span.range();
                [range.start, range.end.saturating_sub(1).max(range.start), range.end]
            });
            let excerpt = Excerpt::new(sources.text(id), places);
            let (line, column) = sources.line_column(spans[0]);
            (id, (excerpt, format!("{}:{line}:{column}", printable(sources.name(id)))))
        };
        Self { sources: of.into_iter().map(shown).collect() }
    }

    fn span(&self, span: Span) -> Span {
        let at = |place: u32| match self.sources.get(&span.source) {
            Some((excerpt, _)) => excerpt.offset(place as usize),
            None => place as usize,
        };
        Span::new(span.source, at(span.start)..at(span.end))
    }

    /// The renderer knows lines and columns of excerpts; the true ones take their place.
    fn with_places(&self, rendered: &str) -> String {
        let mut parts = rendered.split(STAND_IN);
        let mut out = parts.next().unwrap_or_default().to_owned();
        while let (Some(index), Some(rest)) = (parts.next(), parts.next()) {
            let place = index.parse().ok().and_then(|index| self.sources.values().nth(index));
            out.push_str(place.map_or("", |(_, place)| place));
            out.push_str(rest.trim_start_matches(|c: char| c == ':' || c == '?' || c.is_ascii_digit()));
        }
        out
    }
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
    shown: &'a Shown,
    parsed: BTreeMap<SourceId, ariadne::Source<&'a str>>,
}

impl<'a> Cache<'a> {
    fn new(shown: &'a Shown) -> Self {
        Self { shown, parsed: BTreeMap::new() }
    }
}

impl<'a> ariadne::Cache<SourceId> for Cache<'a> {
    type Storage = &'a str;

    fn fetch(&mut self, id: &SourceId) -> Result<&ariadne::Source<&'a str>, impl std::fmt::Debug> {
        let shown = self.shown;
        let text = || shown.sources.get(id).map_or("", |(excerpt, _)| &excerpt.text);
        Ok::<_, std::fmt::Error>(self.parsed.entry(*id).or_insert_with(|| ariadne::Source::from(text())))
    }

    fn display<'b>(&self, id: &'b SourceId) -> Option<impl std::fmt::Display + 'b> {
        let index = self.shown.sources.keys().position(|other| other == id)?;
        Some(format!("{STAND_IN}{index}{STAND_IN}"))
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

    #[test]
    fn long_lines_are_cut_but_columns_are_those_of_the_text() {
        let mut sources = Sources::default();
        let text = format!("qir 1\n{}bad{}\n", "a, ".repeat(5000), ", b".repeat(5000));
        let at = text.find("bad").unwrap();
        let id = sources.add("long.qir", text).unwrap();
        let d = Diagnostic::error("Q0000", "unknown").at(Span::new(id, at..at + 3), "this");
        let text = render(&d, &sources, false);
        assert!(text.contains("long.qir:2:15001 ]") && text.contains("bad"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
    }

    #[test]
    fn nothing_that_is_said_acts_on_the_terminal() {
        let mut sources = Sources::default();
        let id = sources.add("\u{1b}.qir", "first // \u{1b}[2J\rgone\u{85}\nsecond\n").unwrap();
        let node = Place::Node { file: "m\n.onnx".into(), node: "\u{1b}[31m".into() };
        let d = Diagnostic::error("Q0000", "no `\u{1b}[2J\n`")
            .at(Span::new(id, 0..5), "\u{9b}")
            .at(node, "")
            .note("\u{7}");
        for labels in [&d.labels[..], &d.labels[1..]] {
            let text = render(&Diagnostic { labels: labels.to_vec(), ..d.clone() }, &sources, false);
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
            assert!(text.starts_with("[Q0000] Error: no `\\u{1b}[2J\\n`\n"), "{text:?}");
        }
    }

    #[test]
    fn every_source_is_shown_with_its_own_place() {
        let mut sources = Sources::default();
        let first = sources.add("a.qir", "ééé one\n").unwrap();
        let second = sources.add("b.qir", "ééé\nééé two\n").unwrap();
        let d = Diagnostic::error("Q0000", "both")
            .at(Span::new(second, 14..17), "this")
            .at(Span::new(first, 7..10), "that");
        let text = render(&d, &sources, false);
        assert!(text.contains("b.qir:2:5 ]") && text.contains("a.qir:1:5 ]"), "{text}");
    }
}
