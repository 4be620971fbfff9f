//! The text form of graphs.

pub mod ast;
mod data;
mod fmt;
mod lex;
mod lower;
mod print;
mod types;

pub use data::{Load, read_safetensors};
pub use print::{Text, attr as attr_text, print, print_whole};

use lalrpop_util::lalrpop_mod;

use crate::diag::{Diagnostics, SourceId, Span};
use crate::ir::Graph;
use crate::ops::Registry;
use crate::syntax::findings::Findings;
use crate::syntax::recover::{self, Words};
use lex::Token;

lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused)]
    grammar,
    "/qir.rs"
);

/// How the grammar's terminals are called in messages.
const WORDS: Words = Words {
    named: &[
        ("value", &["a value like `%x`"]),
        ("datum", &["a name like `@x`"]),
        ("alias", &["a type name like `!x`"]),
        ("string", &["a quoted text"]),
        ("int", &["a number"]),
        ("float", &["a number"]),
        ("word", &["a word"]),
        ("open body", &["`{`"]),
        ("close body", &["`}`"]),
        ("item", &["`type`", "`graph`", "`data`"]),
        ("statement", &["a statement"]),
    ],
    keywords: &[
        "qir", "type", "graph", "data", "file", "sha256", "const", "return", "in", "name", "loc", "q",
    ],
};

/// Reads a graph. `load` gives the bytes of the data files that the text names, by their path
/// relative to the text.
///
/// # Errors
/// Everything that is wrong with the text, in its order. What operators and types ask of each
/// other is not checked here but by `verify`.
pub fn parse(
    text: &str,
    source: SourceId,
    registry: &Registry,
    load: &mut Load,
) -> Result<Graph, Diagnostics> {
    parse_with(text, source, registry, load, &|_, _| Ok(()))
}

/// Reads a graph and checks it: [`parse`] that also says what `verify` finds in the part of the graph
/// that could be read.
///
/// # Errors
/// Everything that is wrong with the text and its graph, in the order of the text.
pub fn parse_with(
    text: &str,
    source: SourceId,
    registry: &Registry,
    load: &mut Load,
    verify: &dyn Fn(&Graph, &Registry) -> Result<(), Diagnostics>,
) -> Result<Graph, Diagnostics> {
    let mut problems = Findings::default();
    let file = parse_tree(text, source, &mut problems);
    let graph = file.as_ref().and_then(|file| {
        let mut files = data::Files::new(load);
        lower::lower(file, registry, &mut files, &mut problems, Span::new(source, 0..0))
    });
    if let Some(graph) = &graph
        && let Err(found) = verify(graph, registry)
    {
        found.0.into_iter().for_each(|finding| problems.push(finding));
    }
    problems.into_result(graph)
}

/// The text laid out as the printer does it; comments and empty lines stay.
///
/// # Errors
/// A text that does not parse stays as it is.
pub fn format(text: &str, source: SourceId) -> Result<String, Diagnostics> {
    let mut problems = Findings::default();
    let tree = parse_tree(text, source, &mut problems).map(drop);
    problems.into_result(tree)?;
    Ok(lay_out(text))
}

/// The layout of any text whose tokens are known to be good.
fn lay_out(text: &str) -> String {
    let (tokens, _) = lex::lex(text);
    fmt::layout(text, &tokens, &lex::structure(&tokens, text))
}

/// Reads a text into its syntax tree. What could not be read is in `problems`, and is `Broken` or
/// absent in the tree; `None` if nothing could be made of it.
pub fn parse_tree<'a>(text: &'a str, source: SourceId, problems: &mut Findings) -> Option<ast::File<'a>> {
    let (tokens, stray) = lex::lex(text);
    problems.extend(stray, source);
    let tokens = lex::structure(&tokens, text);
    let mut errors = Vec::new();
    let parsed = grammar::FileParser::new().parse(source, &mut errors, tokens);
    let begins = |token: &Token| match token {
        Token::Item => Some("the next item"),
        Token::Statement => Some("the next statement"),
        _ => None,
    };
    let mut report = |error| problems.push(recover::report(error, text, source, &WORDS, begins, |_| None));
    errors.into_iter().for_each(|recovery| report(recovery.error));
    parsed.map_err(report).ok()
}

#[cfg(test)]
mod tests;
