//! What the generated parsers found wrong, in a user's words.

use lalrpop_util::ParseError;

use crate::diag::{SourceId, Span, WithPlaces};
use crate::syntax::error::SyntaxError;

/// How one grammar's terminals are called.
pub struct Words {
    /// Terminals with words of their own: name in the grammar, words for the user.
    pub named: &'static [(&'static str, &'static [&'static str])],
    /// Words that can be plain names too; left out where any word may stand.
    pub keywords: &'static [&'static str],
}

/// What stood where something else should.
pub struct Found<'a> {
    /// The word there; empty where there is none.
    pub word: &'a str,
    /// The text from there on.
    pub rest: &'a str,
    /// Terminals of the grammar.
    pub expected: &'a [String],
}

/// An error of a generated parser. `text` is the source, to show what was found; `hint` says what
/// was meant, if that can be told.
///
/// Marks that `structure` makes have no width: they stand at the end of what precedes, which is
/// where something is missing. Where another mark should be, the place is what begins there.
pub fn report<T>(
    error: ParseError<usize, T, ()>,
    text: &str,
    source: SourceId,
    words: &Words,
    begins: impl Fn(&T) -> Option<&'static str>,
    hint: impl Fn(&Found) -> Option<String>,
) -> WithPlaces<SyntaxError> {
    let (mut start, mut end, found, expected) = match error {
        ParseError::UnrecognizedToken { token: (start, token, end), expected } => {
            let found = match begins(&token) {
                Some(begins) => begins.to_owned(),
                None if start == end => begun(text, next(text, start)),
                None => format!("`{}`", &text[start..end]),
            };
            (start, end, found, expected)
        }
        ParseError::UnrecognizedEof { location, expected } => {
            (location, location, "the end of the file".to_owned(), expected)
        }
        ParseError::ExtraToken { token: (start, _, end) } => {
            (start, end, format!("`{}`", &text[start..end]), Vec::new())
        }
        // Neither exists: the lexer is not the generated one, and no action of a grammar fails.
        ParseError::InvalidToken { location } => (location, location, "nothing".to_owned(), Vec::new()),
        ParseError::User { error: () } => (0, 0, "nothing".to_owned(), Vec::new()),
    };
    let at = if start == end { next(text, start) } else { start };
    let what = Found { word: word(text, at), rest: &text[at..], expected: &expected };
    let marks = expected.iter().any(|name| MARKS.contains(&name.trim_matches('"')));
    if start == end && marks && !what.word.is_empty() {
        (start, end) = (at, at + what.word.len());
    }
    let hint = hint(&what);
    // A bracket that is open there is what a closing one is missed for.
    let open = open(text, start);
    let missed = open.filter(|&open| {
        let closing = match text.as_bytes().get(open) {
            Some(b'(') => ["\")\"", ""],
            Some(b'[') => ["\"]\"", ""],
            _ => ["\"}\"", "close "],
        };
        let closes = |name: &String| {
            *name == closing[0] || !closing[1].is_empty() && name.trim_matches('"').starts_with(closing[1])
        };
        hint.is_none() && !what.word.starts_with(',') && expected.iter().any(closes)
    });
    let expected = list(&expected, words);
    let mark = format!("expected {expected}");
    let error = WithPlaces::new(SyntaxError::Unexpected { found, expected, hint })
        .at(Span::new(source, start..end.max(start)), mark);
    match missed {
        Some(open) => error.at(Span::new(source, open..open + 1), "opened here"),
        None => error,
    }
}

/// Marks that items begin with.
const MARKS: [&str; 2] = ["item", "member"];

/// Where the next token begins.
fn next(text: &str, from: usize) -> usize {
    let mut at = from;
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start().len();
        if blank > 0 {
            at += blank;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            return at;
        }
    }
}

/// The word or sign that begins there, as messages say it.
fn begun(text: &str, at: usize) -> String {
    match (word(text, at), text[at..].chars().next()) {
        ("", Some(sign)) => format!("`{sign}`"),
        ("", None) => "the end of the file".to_owned(),
        (word, _) => format!("`{word}`"),
    }
}

/// The word that begins there.
fn word(text: &str, at: usize) -> &str {
    let rest = &text[at..];
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    &rest[..end]
}

/// The innermost bracket that is open at `end`.
fn open(text: &str, end: usize) -> Option<usize> {
    let mut open = Vec::new();
    let mut bytes = text.bytes().enumerate().take(end).peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'(' | b'[' | b'{' => open.push(at),
            b')' | b']' | b'}' => drop(open.pop()),
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes.peek().is_some_and(|(_, next)| *next != b'\n') {
                    bytes.next();
                }
            }
            b'"' => {
                while let Some((_, byte)) = bytes.next() {
                    match byte {
                        b'"' | b'\n' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    open.pop()
}

/// Operators between two expressions, which are named one by one only where they are few.
const BETWEEN: [&str; 13] = ["!=", "%", "&&", "*", "+", "-", "/", "<", "<=", "==", ">", ">=", "||"];

/// `expected` terminals as `a, b or c`.
fn list(expected: &[String], words: &Words) -> String {
    let mut names: Vec<&str> = expected.iter().map(|name| name.trim_matches('"')).collect();
    if names.contains(&"word") {
        names.retain(|name| !words.keywords.contains(name));
    }
    let operators = BETWEEN.iter().all(|operator| names.contains(operator));
    if operators {
        names.retain(|name| !BETWEEN.contains(name));
    }
    let mut names: Vec<String> = names
        .into_iter()
        .flat_map(|name| match words.named.iter().find(|(terminal, _)| *terminal == name) {
            Some((_, words)) => words.iter().map(|word| (*word).to_owned()).collect(),
            None => vec![format!("`{name}`")],
        })
        .collect();
    names.extend(operators.then(|| "an operator".to_owned()));
    names.sort();
    names.dedup();
    match names.split_last() {
        None => "the end of the file".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
