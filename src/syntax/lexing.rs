//! What all lexers share.

use std::borrow::Cow;
use std::ops::Range;

use logos::{Lexer, Logos};

use super::error::SyntaxError;
use super::findings::keep;
use super::text::unescaped;

/// A token with the bytes where it begins and ends.
pub type Spanned<T> = (usize, T, usize);

/// What a lexer found wrong at a place of the text.
pub type Problem = (Range<usize>, SyntaxError);

/// Places of escapes that mean nothing, collected while a lexer runs.
pub type BadEscapes = Vec<Range<usize>>;

/// The unescaped text of the token at hand, between its first `skip` bytes and its closing quote.
pub fn inside<'a, T: Logos<'a, Source = str, Extras = BadEscapes>>(
    lexer: &mut Lexer<'a, T>,
    skip: usize,
) -> Cow<'a, str> {
    let slice = lexer.slice();
    let (text, bad) = unescaped(&slice[skip..slice.len() - 1]);
    let start = lexer.span().start + skip;
    lexer.extras.extend(bad.into_iter().map(|at| start + at.start..start + at.end));
    text
}

/// All tokens of a text, and what is none: quotes that their line does not close (which
/// `unterminated` recognizes) and stray characters, a run of which is one finding.
pub fn lex<'a, T: Logos<'a, Source = str, Extras = BadEscapes, Error = ()>>(
    text: &'a str,
    unterminated: impl Fn(&T) -> bool,
) -> (Vec<Spanned<T>>, Vec<Problem>) {
    let mut tokens = Vec::new();
    let mut problems: Vec<Problem> = Vec::new();
    let mut lexer = T::lexer(text);
    while let Some(token) = lexer.next() {
        let at = lexer.span();
        match token {
            Ok(token) if unterminated(&token) => keep(&mut problems, (at, SyntaxError::Unterminated)),
            Ok(token) => tokens.push((at.start, token, at.end)),
            Err(()) => match problems.last_mut() {
                Some((run, SyntaxError::Stray { text })) if run.end == at.start => {
                    run.end = at.end;
                    text.push_str(lexer.slice());
                }
                _ => keep(&mut problems, (at, SyntaxError::Stray { text: lexer.slice().to_owned() })),
            },
        }
    }
    for at in std::mem::take(&mut lexer.extras) {
        let escape = text[at.clone()].to_owned();
        keep(&mut problems, (at, SyntaxError::Escape { escape }));
    }
    (tokens, problems)
}
