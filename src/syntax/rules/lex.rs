//! Tokens of `.qrules`.

use std::borrow::Cow;

use logos::{Lexer, Logos};

use super::MAX_DEPTH;
use crate::syntax::lexing::{self, BadEscapes, Problem, inside};

#[derive(Logos, Clone, Debug, PartialEq)]
#[logos(extras = BadEscapes)]
#[logos(skip r"[ \t\r\n\f\u{feff}]+")]
pub enum Token<'a> {
    #[regex(r"//[^\n]*", allow_greedy = true)]
    Comment(&'a str),
    /// Documents the file.
    #[regex(r"//![^\n]*", allow_greedy = true)]
    FileDoc(&'a str),
    /// Documents what follows.
    #[regex(r"///([^/\n][^\n]*)?", allow_greedy = true)]
    Doc(&'a str),

    #[regex(r#""(?:[^"\\\n]|\\[^\n])*""#, string)]
    Str(Cow<'a, str>),
    /// A quote that the line does not close.
    #[regex(r#""(?:[^"\\\n]|\\[^\n])*\\?"#)]
    Unterminated,
    #[regex(r"[0-9]+")]
    Int(&'a str),
    #[regex(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+\-]?[0-9]+)?", priority = 1)]
    #[token("inf")]
    Float(&'a str),
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*", priority = 1)]
    Word(&'a str),

    #[token("use")]
    Use,
    #[token("ruleset")]
    Ruleset,
    #[token("contract")]
    Contract,
    #[token("driver")]
    Driver,
    #[token("rule")]
    Rule,
    #[token("custom_pattern")]
    CustomPattern,
    #[token("chain")]
    Chain,
    #[token("layer")]
    Layer,
    #[token("where")]
    Where,
    #[token("let")]
    Let,
    #[token("as")]
    As,
    #[token("of")]
    Of,
    #[token("true")]
    True,
    #[token("false")]
    False,
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
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token("?")]
    Optional,
    #[token("@")]
    At,
    #[token("..")]
    Rest,
    #[token("=>")]
    Arrow,
    #[token("=")]
    Assign,
    #[token("==")]
    Equal,
    #[token("!=")]
    NotEqual,
    #[token("<")]
    Less,
    #[token("<=")]
    LessEqual,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterEqual,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("!")]
    Not,
    #[token("&&")]
    And,
    #[token("||")]
    Or,

    /// The braces of a ruleset and of a rule (made by `structure`, as the next two).
    OpenRuleset,
    CloseRuleset,
    OpenRule,
    CloseRule,
    /// What begins the members of a layer; elsewhere these are words.
    Onnx,
    Attr,
    Cost,
    FloatForm,
    Params,
    IntegerForm,
    /// A member of a layer begins.
    Section,
    /// An item of the file begins. Its span is the end of what precedes it.
    Item,
    /// A member of a ruleset begins.
    Member,
}

fn string<'a>(lexer: &mut Lexer<'a, Token<'a>>) -> Cow<'a, str> {
    inside(lexer, 1)
}

pub type Spanned<'a> = lexing::Spanned<Token<'a>>;

/// All tokens of a text, comments among them, and what is no token.
pub fn lex(text: &str) -> (Vec<Spanned<'_>>, Vec<Problem>) {
    lexing::lex(text, |token| matches!(token, Token::Unterminated))
}

/// The first token that would make the tree deeper than [`MAX_DEPTH`]: brackets nest, and so do
/// operators and calls that follow each other without a comma or a clause between them.
pub fn too_deep<'t, 'a>(tokens: &'t [Spanned<'a>]) -> Option<&'t Spanned<'a>> {
    // Levels that each open bracket has added, and the levels of the innermost.
    let mut outer: Vec<usize> = Vec::new();
    let mut inner = 0;
    let mut total = 0;
    for spanned in tokens {
        match &spanned.1 {
            Token::Open | Token::OpenList | Token::OpenBrace => {
                total += 1;
                outer.push(inner + 1);
                inner = 0;
            }
            Token::Close | Token::CloseList | Token::CloseBrace => {
                total -= inner;
                inner = outer.pop().unwrap_or(0);
            }
            Token::Comma | Token::Where | Token::Arrow | Token::Rule | Token::CustomPattern => {
                total -= inner;
                inner = 0;
            }
            Token::Plus | Token::Minus | Token::Star | Token::Slash | Token::Percent | Token::Not => {
                inner += 1;
                total += 1;
            }
            Token::And | Token::Or => {
                inner += 1;
                total += 1;
            }
            _ => {}
        }
        if total > MAX_DEPTH {
            return Some(spanned);
        }
    }
    None
}

/// What the grammar sees: comments left out, and marks where items and members begin, so that an
/// error in one of them leaves the others alone.
///
/// Both begin at their keyword, or at the documentation above; where others may stand, only if a
/// word or a string follows. What begins the members of a layer is a word everywhere else.
/// Braces are told apart here too: those of rulesets, of rules, and of attributes.
pub fn structure<'a>(tokens: &[Spanned<'a>]) -> Vec<Spanned<'a>> {
    let tokens: Vec<&Spanned<'a>> =
        tokens.iter().filter(|(_, token, _)| !matches!(token, Token::Comment(_))).collect();
    let kind = |i: usize| tokens.get(i).map(|(_, token, _)| token);
    // What begins at a token that so many braces enclose; inside of a layer, `section` is where its
    // last member began.
    let begins = |i: usize, depth: usize, section: Option<usize>| {
        let mark = match kind(i)? {
            Token::Word(word) => {
                let begins = section.is_some_and(|last| last + 1 != i) && depth == 1;
                let before = i.checked_sub(1).and_then(kind);
                let behind_operator = matches!(before, Some(Token::Colon | Token::Assign | Token::Comma));
                return (begins && !behind_operator && self::section(word).is_some())
                    .then_some(Token::Section);
            }
            Token::Use | Token::Ruleset | Token::Layer => Token::Item,
            Token::Contract | Token::Driver | Token::Rule | Token::CustomPattern => Token::Member,
            _ => return None,
        };
        let (before, next) = (i.checked_sub(1).and_then(kind), kind(i + 1));
        let followed = match (kind(i)?, next) {
            (Token::Use, Some(Token::Str(_))) => true,
            (Token::Use, _) => false,
            (Token::Layer, Some(next)) => is_word(next) && kind(i + 2) == Some(&Token::OpenBrace),
            (_, next) => next.is_some_and(is_word),
        };
        let begins = match before {
            // Behind these it is a name, whatever follows.
            Some(Token::Layer | Token::Where | Token::Let | Token::Colon | Token::Assign | Token::At) => {
                false
            }
            // Behind these too, unless the name is missing.
            Some(before) if before.takes_name() => followed,
            _ => followed || depth == usize::from(mark == Token::Member),
        };
        begins.then_some(mark)
    };
    let mut out: Vec<Spanned<'a>> = Vec::with_capacity(tokens.len() + tokens.len() / 4);
    let mut depth = 0usize;
    let mut after_docs = 0;
    let mut section: Option<usize> = None;
    for (i, (start, token, end)) in tokens.iter().map(|t| (*t).clone()).enumerate() {
        let mark = match token {
            Token::Doc(_) if i < after_docs => None,
            Token::Doc(_) => {
                after_docs = (i..).find(|&i| !matches!(kind(i), Some(Token::Doc(_)))).unwrap_or(i);
                begins(after_docs, depth, section)
            }
            _ if i == after_docs && i > 0 => None,
            _ => begins(i, depth, section),
        };
        let at = if after_docs > i { after_docs } else { i };
        match mark {
            Some(Token::Item) => {
                depth = 0;
                section = (kind(at) == Some(&Token::Layer)).then_some(at);
            }
            Some(Token::Section) => section = Some(at),
            Some(_) => depth = 1,
            None => {}
        }
        let previous_end = out.last().map_or(0, |(_, _, end)| *end);
        out.extend(mark.map(|mark| (previous_end, mark, previous_end)));
        let token = match token {
            Token::OpenBrace => {
                depth += 1;
                match depth {
                    1 => Token::OpenRuleset,
                    2 => Token::OpenRule,
                    _ => Token::OpenBrace,
                }
            }
            Token::CloseBrace => {
                let next = (i + 1..).find(|&i| !matches!(kind(i), Some(Token::Doc(_)))).unwrap_or(i);
                let last = kind(next).is_none() || begins(next, 0, None) == Some(Token::Item);
                let closed = match depth {
                    0 | 1 if last => Token::CloseRuleset,
                    2 => Token::CloseRule,
                    _ => Token::CloseBrace,
                };
                // A brace too many closes nothing.
                if depth > 1 || closed == Token::CloseRuleset {
                    depth = depth.saturating_sub(1);
                }
                closed
            }
            Token::Word(word) if section == Some(i) => self::section(word).unwrap_or(Token::Word(word)),
            token => token,
        };
        out.push((start, token, end));
    }
    out
}

/// The token that a word is where a member of a layer begins.
fn section(word: &str) -> Option<Token<'static>> {
    Some(match word {
        "onnx" => Token::Onnx,
        "attr" => Token::Attr,
        "cost" => Token::Cost,
        "float" => Token::FloatForm,
        "params" => Token::Params,
        "integer" => Token::IntegerForm,
        _ => return None,
    })
}

impl Token<'_> {
    /// Whether a word behind this token is a name.
    fn takes_name(&self) -> bool {
        let keyword = matches!(
            self,
            Token::Ruleset | Token::Contract | Token::Driver | Token::Rule | Token::CustomPattern
        );
        keyword || matches!(self, Token::Open | Token::Comma | Token::Arrow | Token::Rest)
    }
}

/// Whether a token can be a name.
pub fn is_word(token: &Token) -> bool {
    matches!(
        token,
        Token::Word(_)
            | Token::Use
            | Token::Ruleset
            | Token::Contract
            | Token::Driver
            | Token::Rule
            | Token::CustomPattern
            | Token::Chain
            | Token::Layer
            | Token::Where
            | Token::Let
            | Token::As
            | Token::Of
    )
}
