//! The text form of rewrite rules.

pub mod ast;
mod fmt;
mod hints;
mod lex;
mod make;

use lalrpop_util::lalrpop_mod;

use crate::diag::{Diagnostics, SourceId, Span, WithPlaces};
use crate::syntax::error::SyntaxError;
use crate::syntax::findings::Findings;
use crate::syntax::recover::{self, Words};
use lex::Token;

lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused)]
    grammar,
    "/qrules.rs"
);

/// The depth of a tree: brackets, operators and calls inside of each other.
pub const MAX_DEPTH: usize = 200;

/// How the grammar's terminals are called in messages.
const WORDS: Words = Words {
    named: &[
        ("file doc", &["`//!`"]),
        ("doc", &["`///`"]),
        ("string", &["a quoted text"]),
        ("int", &["a number"]),
        ("float", &["a number"]),
        ("word", &["a word"]),
        ("open ruleset", &["`{`"]),
        ("close ruleset", &["`}`"]),
        ("open rule", &["`{`"]),
        ("close rule", &["`}`"]),
        ("item", &["`ruleset`", "`layer`", "`use`"]),
        ("member", &["`rule`", "`custom_pattern`", "`contract`", "`driver`"]),
        ("section", &["`onnx`", "`attr`", "`cost`", "`float`", "`params`", "`integer`"]),
        ("float form", &["`float`"]),
        ("integer form", &["`integer`"]),
    ],
    keywords: &[
        "use",
        "ruleset",
        "contract",
        "driver",
        "rule",
        "custom_pattern",
        "chain",
        "layer",
        "where",
        "let",
        "as",
        "of",
    ],
};

/// Reads a rule file.
///
/// # Errors
/// Everything that is wrong with the syntax, in the order of the text.
pub fn parse(text: &str, source: SourceId) -> Result<ast::File, Diagnostics> {
    let mut problems = Findings::default();
    let (tokens, stray) = lex::lex(text);
    problems.extend(stray, source);
    if let Some((start, _, end)) = lex::too_deep(&tokens) {
        let error = WithPlaces::new(SyntaxError::TooDeep { limit: MAX_DEPTH });
        problems.push(error.at(Span::new(source, *start..*end), ""));
        return Err(problems.finish());
    }
    let mut errors = Vec::new();
    let parsed = grammar::FileParser::new().parse(source, &mut errors, lex::structure(&tokens));
    // The keyword behind a mark says more than a mark.
    let begins = |_: &Token| None;
    let mut report = |error| problems.push(recover::report(error, text, source, &WORDS, begins, hints::hint));
    errors.into_iter().for_each(|recovery| report(recovery.error));
    let file = parsed.map_err(report).ok();
    problems.into_result(file)
}

/// The text in its one layout; comments stay, and so do single empty lines.
///
/// # Errors
/// A text that does not parse stays as it is.
pub fn format(text: &str, source: SourceId) -> Result<String, Diagnostics> {
    parse(text, source)?;
    let (tokens, _) = lex::lex(text);
    Ok(fmt::layout(text, &tokens, &lex::structure(&tokens)))
}

#[cfg(test)]
mod tests;
