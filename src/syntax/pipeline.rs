//! Pipelines: the passes to run, in order, as text that prints back.
//!
//! `fold, calibrate{method=percentile, p=99.9}, saturate{rules="my rules", iters=8}`: names with
//! options. A value is a bare word or number, or anything in quotes; what it means, its pass says.
//! Line breaks and `//` comments may stand between any two tokens.

use std::borrow::Cow;
use std::fmt;

use logos::{Lexer, Logos};

use super::error::SyntaxError;
use super::findings::Findings;
use super::lexing::{self, BadEscapes, Spanned, inside};
use super::text::quoted;
use crate::diag::{Diagnostics, SourceId, Span, WithPlaces};

/// Passes in the order in which they run.
#[derive(Clone, Debug, Default)]
pub struct Pipeline(pub Vec<PassCall>);

#[derive(Clone, Debug)]
pub struct PassCall {
    pub name: String,
    pub options: Vec<PassOption>,
    /// The name and its options.
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct PassOption {
    pub name: String,
    /// Without quotes.
    pub value: String,
    /// The name and its value.
    pub span: Span,
}

#[derive(Logos, Clone, Debug, PartialEq)]
#[logos(extras = BadEscapes)]
#[logos(skip r"[ \t\r\n\f\u{feff}]+")]
#[logos(skip(r"//[^\n]*", allow_greedy = true))]
enum Token<'a> {
    #[regex(r"[A-Za-z0-9_.+\-]+")]
    Word(&'a str),
    #[regex(r#""(?:[^"\\\n]|\\[^\n])*""#, string)]
    Str(Cow<'a, str>),
    #[regex(r#""(?:[^"\\\n]|\\[^\n])*\\?"#)]
    Unterminated,
    #[token("{")]
    Open,
    #[token("}")]
    Close,
    #[token("=")]
    Equal,
    #[token(",")]
    Comma,
}

fn string<'a>(lexer: &mut Lexer<'a, Token<'a>>) -> Cow<'a, str> {
    inside(lexer, 1)
}

/// Reads a pipeline.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse(text: &str, source: SourceId) -> Result<Pipeline, Diagnostics> {
    let mut findings = Findings::default();
    let (tokens, problems) = lexing::lex(text, |token| matches!(token, Token::Unterminated));
    findings.extend(problems, source);
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), text, source, end: 0 };
    let mut calls = Vec::new();
    while parser.tokens.peek().is_some() {
        match parser.call() {
            Ok(call) => calls.push(call),
            Err(error) => {
                findings.push(*error);
                parser.skip_call();
            }
        }
    }
    findings.into_result(Some(Pipeline(calls)))
}

type Fault = Box<WithPlaces<SyntaxError>>;

struct Parser<'a, I: Iterator<Item = Spanned<Token<'a>>>> {
    tokens: std::iter::Peekable<I>,
    text: &'a str,
    source: SourceId,
    /// Where the last token ended.
    end: usize,
}

impl<'a, I: Iterator<Item = Spanned<Token<'a>>>> Parser<'a, I> {
    fn call(&mut self) -> Result<PassCall, Fault> {
        let (name, start) = self.word("the name of a pass")?;
        let mut options = Vec::new();
        if self.take(&Token::Open) && !self.take(&Token::Close) {
            loop {
                let (name, start) = self.word("the name of an option")?;
                self.expect(&Token::Equal, "`=`")?;
                let value = match self.tokens.peek() {
                    Some((_, Token::Str(_) | Token::Word(_), _)) => match self.next() {
                        Some(Token::Str(text)) => text.into_owned(),
                        Some(Token::Word(text)) => text.to_owned(),
                        // Only these two were seen.
                        _ => String::new(),
                    },
                    _ => return Err(self.unexpected("a word, a number or a quoted text")),
                };
                options.push(PassOption { name, value, span: Span::new(self.source, start..self.end) });
                if !self.take(&Token::Comma) {
                    break;
                }
            }
            self.expect(&Token::Close, "`,` or `}`")?;
        }
        let span = Span::new(self.source, start..self.end);
        if self.tokens.peek().is_some() {
            self.expect(&Token::Comma, "`,`")?;
        }
        Ok(PassCall { name, options, span })
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let (_, token, end) = self.tokens.next()?;
        self.end = end;
        Some(token)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.tokens.peek().is_some_and(|(_, next, _)| next == token);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, token: &Token, words: &str) -> Result<(), Fault> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(words)) }
    }

    /// A name and where it begins.
    fn word(&mut self, words: &str) -> Result<(String, usize), Fault> {
        match self.tokens.peek() {
            Some((start, Token::Word(word), _)) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let found = ((*word).to_owned(), *start);
                self.next();
                Ok(found)
            }
            _ => Err(self.unexpected(words)),
        }
    }

    fn unexpected(&mut self, expected: &str) -> Fault {
        let (found, at) = match self.tokens.peek() {
            Some((start, _, end)) => (format!("`{}`", &self.text[*start..*end]), *start..*end),
            None => ("the end".to_owned(), self.end..self.end),
        };
        let error = SyntaxError::Unexpected { found, expected: expected.to_owned(), hint: None };
        let at = Span::new(self.source, at);
        Box::new(WithPlaces::new(error).at(at, format!("expected {expected}")))
    }

    /// Goes to the next pass, so that its errors are found too.
    fn skip_call(&mut self) {
        let mut inside = false;
        while let Some(token) = self.next() {
            match token {
                Token::Open => inside = true,
                Token::Close => inside = false,
                Token::Comma if !inside && !self.follows_option() => return,
                _ => {}
            }
        }
    }

    /// Whether the comma just taken stood between options: a pass has no `=` behind its name.
    fn follows_option(&mut self) -> bool {
        let Some((_, Token::Word(_), end)) = self.tokens.peek() else { return false };
        self.text[*end..].trim_start().starts_with('=')
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, call) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            call.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for PassCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let options: Vec<String> = self
            .options
            .iter()
            .map(|option| {
                let bare = !option.value.is_empty()
                    && option.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.+-".contains(&b));
                let value = if bare { option.value.clone() } else { quoted(&option.value) };
                format!("{}={value}", option.name)
            })
            .collect();
        if options.is_empty() { Ok(()) } else { write!(f, "{{{}}}", options.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Sources;

    fn read(text: &str) -> Result<Pipeline, Diagnostics> {
        parse(text, Sources::default().add("pipeline", text).unwrap())
    }

    #[test]
    fn a_pipeline_prints_back() {
        let text =
            "import, fold, calibrate{method=percentile, p=99.9}, run{a=\"x, \\\"y\\\"\", b=\"\"}, lower-int";
        assert_eq!(read(text).unwrap().to_string(), text);
        let spread = "// what the device takes\nimport,\n  fold{}, // all\n calibrate { p = -1e-5 , } ";
        assert!(read(spread).is_err());
        let spread = "// what the device takes\nimport,\n  fold{}, // all\n calibrate { p = -1e-5 },";
        assert_eq!(read(spread).unwrap().to_string(), "import, fold, calibrate{p=-1e-5}");
        assert_eq!(read("").unwrap().0.len(), 0);
    }

    #[test]
    fn every_error_is_found() {
        let found = read("fold fold, 1x, a{b}, c{d=, e=1}, f{g=h, i{, € j{\"").unwrap_err();
        let messages: Vec<_> = found.0.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "found `fold` where `,` should be",
                "found `1x` where the name of a pass should be",
                "found `}` where `=` should be",
                "found `,` where a word, a number or a quoted text should be",
                "found `{` where `=` should be",
                "`€` means nothing here",
                "a quoted text is not closed on its line",
            ]
        );
    }
}
