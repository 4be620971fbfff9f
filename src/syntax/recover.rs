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

/// An error of a generated parser. `text` is the source, to show what was found.
///
/// Marks that `structure` makes have no width: they stand at the end of what precedes, which is
/// where something is missing.
pub fn report<T>(
    error: ParseError<usize, T, ()>,
    text: &str,
    source: SourceId,
    words: &Words,
    begins: impl Fn(&T) -> Option<&'static str>,
) -> WithPlaces<SyntaxError> {
    let (start, end, found, expected) = match error {
        ParseError::UnrecognizedToken { token: (start, token, end), expected } => {
            let found = match begins(&token) {
                Some(begins) => begins.to_owned(),
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
    let expected = list(&expected, words);
    let mark = format!("expected {expected}");
    WithPlaces::new(SyntaxError::Unexpected { found, expected })
        .at(Span::new(source, start..end.max(start)), mark)
}

/// `expected` terminals as `a, b or c`.
fn list(expected: &[String], words: &Words) -> String {
    let mut names: Vec<&str> = expected.iter().map(|name| name.trim_matches('"')).collect();
    if names.contains(&"word") {
        names.retain(|name| !words.keywords.contains(name));
    }
    let mut names: Vec<String> = names
        .into_iter()
        .flat_map(|name| match words.named.iter().find(|(terminal, _)| *terminal == name) {
            Some((_, words)) => words.iter().map(|word| (*word).to_owned()).collect(),
            None => vec![format!("`{name}`")],
        })
        .collect();
    names.sort();
    names.dedup();
    match names.split_last() {
        None => "the end of the file".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
