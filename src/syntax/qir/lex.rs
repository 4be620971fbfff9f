//! Tokens of `.qir`.

use std::borrow::Cow;

use logos::{Lexer, Logos};

use crate::syntax::lexing::{self, BadEscapes, Problem, inside};

/// Names carry their text without sigil and quotes; numbers the text that is written, for only the
/// place where they stand says which type they are of.
#[derive(Logos, Clone, Debug, PartialEq)]
#[logos(extras = BadEscapes)]
#[logos(skip r"[ \t\r\n\f\u{feff}]+")]
pub enum Token<'a> {
    #[regex(r"//[^\n]*", allow_greedy = true)]
    Comment(&'a str),

    #[regex(r"%(?:/?[A-Za-z0-9_.$\-])+", bare)]
    #[regex(r#"%"(?:[^"\\\n]|\\[^\n])*""#, quoted_name)]
    Value(Cow<'a, str>),
    #[regex(r"@(?:/?[A-Za-z0-9_.$\-])+", bare)]
    #[regex(r#"@"(?:[^"\\\n]|\\[^\n])*""#, quoted_name)]
    Data(Cow<'a, str>),
    #[regex(r"!(?:/?[A-Za-z0-9_.$\-])+", bare)]
    #[regex(r#"!"(?:[^"\\\n]|\\[^\n])*""#, quoted_name)]
    Alias(Cow<'a, str>),
    #[regex(r#""(?:[^"\\\n]|\\[^\n])*""#, string)]
    Str(Cow<'a, str>),
    /// A quote that the line does not close.
    #[regex(r#"[%@!]?"(?:[^"\\\n]|\\[^\n])*\\?"#)]
    Unterminated,

    #[regex(r"-?[0-9]+")]
    Int(&'a str),
    #[regex(r"-?[0-9]+(?:\.[0-9]*)?(?:[eE][+\-]?[0-9]+)?", priority = 1)]
    #[regex(r"-inf|nan\(0x[0-9a-fA-F]*\)")]
    Float(&'a str),

    #[regex(r"[A-Za-z_][A-Za-z0-9_]*", priority = 1)]
    Word(&'a str),
    #[token("qir")]
    Qir,
    #[token("type")]
    Type,
    #[token("graph")]
    Graph,
    #[token("data")]
    DataKey,
    #[token("file")]
    File,
    #[token("sha256")]
    Sha256,
    #[token("const")]
    Const,
    #[token("return")]
    Return,
    #[token("in")]
    In,
    #[token("name")]
    Name,
    #[token("loc")]
    Loc,
    #[token("q")]
    Q,
    #[token("_")]
    Absent,

    #[token("(")]
    Open,
    #[token(")")]
    Close,
    #[token("[")]
    OpenList,
    #[token("]")]
    CloseList,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    #[token("<")]
    Less,
    #[token(">")]
    Greater,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token("=")]
    Equal,
    #[token("->")]
    Arrow,

    /// The brace that opens the body of a graph (made by `structure`, as the next three).
    OpenBody,
    CloseBody,
    /// An item of the file begins. Its span is the end of what precedes it.
    Item,
    /// A statement of a graph begins.
    Statement,
}

fn bare<'a>(lexer: &mut Lexer<'a, Token<'a>>) -> Cow<'a, str> {
    Cow::Borrowed(&lexer.slice()[1..])
}

fn quoted_name<'a>(lexer: &mut Lexer<'a, Token<'a>>) -> Cow<'a, str> {
    inside(lexer, 2)
}

fn string<'a>(lexer: &mut Lexer<'a, Token<'a>>) -> Cow<'a, str> {
    inside(lexer, 1)
}

pub type Spanned<'a> = lexing::Spanned<Token<'a>>;

/// All tokens of a text, comments among them, and what is no token.
pub fn lex(text: &str) -> (Vec<Spanned<'_>>, Vec<Problem>) {
    lexing::lex(text, |token| matches!(token, Token::Unterminated))
}

/// What the grammar sees: comments left out, and marks where items and statements begin, so that
/// an error in one of them leaves the others alone.
///
/// An item begins at `type`, `graph` or `data` with a name behind it, or at one of these words
/// first in its line outside of a body; a statement at names followed by `=`, or at `return` with
/// a value or a brace behind it. Braces are told apart here too: those of a body from those of
/// attributes, even where one is missing.
pub fn structure<'a>(tokens: &[Spanned<'a>], text: &str) -> Vec<Spanned<'a>> {
    let tokens: Vec<&Spanned<'a>> =
        tokens.iter().filter(|(_, token, _)| !matches!(token, Token::Comment(_))).collect();
    let kind = |i: usize| tokens.get(i).map(|(_, token, _)| token);
    let mut out: Vec<Spanned<'a>> = Vec::with_capacity(tokens.len() + tokens.len() / 4);
    let mut depth = 0usize;
    // Names before this index have been looked at: none of them begins a statement.
    let mut names_end = 0;
    for (i, (start, token, end)) in tokens.iter().map(|t| (*t).clone()).enumerate() {
        let previous = i.checked_sub(1).map(|i| &tokens[i]);
        let previous_end = previous.map_or(0, |(_, _, end)| *end);
        let first_in_line = previous.is_none() || text[previous_end..start].contains('\n');
        let mark = match &token {
            _ if starts_item(&token, kind(i + 1), depth == 0 && first_in_line) => {
                depth = 0;
                Some(Token::Item)
            }
            Token::Value(_) if i >= names_end => {
                let inside = matches!(previous, Some((_, Token::Word(_) | Token::Comma, _)));
                let begins = (first_in_line || !inside) && {
                    let (end, begins) = defined(&kind, i);
                    names_end = end;
                    begins
                };
                begins.then(|| {
                    depth = 1;
                    Token::Statement
                })
            }
            Token::Return
                if matches!(kind(i + 1), Some(Token::Value(_) | Token::CloseBrace))
                    && !matches!(previous, Some((_, Token::Equal | Token::Comma | Token::OpenList, _))) =>
            {
                depth = 1;
                Some(Token::Statement)
            }
            _ => None,
        };
        out.extend(mark.map(|mark| (previous_end, mark, previous_end)));
        let token = match token {
            Token::OpenBrace => {
                depth += 1;
                if depth == 1 { Token::OpenBody } else { Token::OpenBrace }
            }
            Token::CloseBrace => {
                let last = tokens.get(i + 1).is_none_or(|(next_start, next, _)| {
                    starts_item(next, kind(i + 2), text[end..*next_start].contains('\n'))
                });
                let closes_body = depth <= 1 && last;
                if depth > 1 {
                    depth -= 1;
                } else if closes_body {
                    depth = 0;
                }
                if closes_body { Token::CloseBody } else { Token::CloseBrace }
            }
            token => token,
        };
        out.push((start, token, end));
    }
    out
}

fn starts_item(token: &Token, next: Option<&Token>, outside: bool) -> bool {
    // A size or an element type may be called so too.
    let outside = outside && !matches!(next, Some(Token::Comma | Token::OpenList | Token::CloseList));
    match token {
        Token::Type => outside || matches!(next, Some(Token::Alias(_))),
        Token::Graph | Token::DataKey => outside || matches!(next, Some(Token::Data(_))),
        _ => false,
    }
}

/// Goes over the names from `i` on: where they end, and whether they end at `=`.
fn defined<'t, 'a: 't>(kind: &impl Fn(usize) -> Option<&'t Token<'a>>, mut i: usize) -> (usize, bool) {
    loop {
        match (kind(i), kind(i + 1)) {
            (Some(Token::Value(_)), Some(Token::Comma)) => i += 2,
            (Some(Token::Value(_)), Some(Token::Equal)) => return (i + 1, true),
            _ => return (i, false),
        }
    }
}
