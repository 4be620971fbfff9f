//! The one layout of `.qir`: a function of the tokens, their comments and the empty lines between
//! them. Applied to its own result it changes nothing.

use super::lex::{Spanned, Token};
use crate::syntax::layout::{self, Cell, Cut, Gap, Row, Stop, above, rows};

/// A longer signature has one line for each parameter.
const WIDTH: usize = 100;
/// A longer list of data elements is filled into lines.
const LIST: usize = 76;

/// `=` behind the names, `:` behind the rest.
const STATEMENT: [Stop; 2] = [Stop { limit: 18, wraps: false }, Stop { limit: 58, wraps: true }];
const DATA: [Stop; 2] = [Stop { limit: 34, wraps: false }, Stop { limit: 58, wraps: false }];
const ALIAS: [Stop; 1] = [Stop { limit: 24, wraps: false }];

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Header,
    Alias,
    Data,
    Graph,
    Statement,
    Close,
}

type Tok<'t, 'a> = layout::Tok<'t, 'a, Token<'a>>;
type Segment<'t, 'a> = layout::Segment<'t, 'a, Token<'a>, Part>;

/// Lays out a text from all its tokens and from those that `structure` made of them.
pub fn layout<'a>(text: &'a str, tokens: &[Spanned<'a>], structured: &[Spanned<'a>]) -> String {
    let comments = tokens.iter().filter(|(_, token, _)| matches!(token, Token::Comment(_)));
    let comments = comments.map(|(start, _, end)| (*start, *end));
    let (segments, end) = layout::segments(text, comments, structured, |i| cut(structured, i));
    let mut out = String::new();
    let mut run: Vec<Row> = Vec::new();
    let mut run_part = Part::Header;
    for mut segment in segments {
        match segment.part {
            Part::Statement | Part::Close if run_part == Part::Graph => segment.set_gap(false),
            Part::Statement | Part::Close => {}
            // An item of another kind, and every graph, stands apart.
            part if part != run_part || part == Part::Graph => segment.set_gap(true),
            _ => {}
        }
        if segment.part != run_part || segment.part == Part::Graph {
            flush(&mut run, run_part, &mut out);
            run_part = segment.part;
        }
        run.push(row(segment));
    }
    flush(&mut run, run_part, &mut out);
    above(&end, 0, &mut out);
    out
}

fn cut(structured: &[Spanned], i: usize) -> Cut<Part> {
    let kind = |i: usize| structured.get(i).map(|(_, token, _)| token);
    let before = i.checked_sub(1).and_then(kind);
    match (before, kind(i)) {
        (_, Some(Token::Item | Token::Statement)) => Cut::Skip,
        (_, Some(Token::CloseBody)) => Cut::Begin(Part::Close),
        (Some(Token::Item), Some(Token::Type)) => Cut::Begin(Part::Alias),
        (Some(Token::Item), Some(Token::DataKey)) => Cut::Begin(Part::Data),
        (Some(Token::Item), _) => Cut::Begin(Part::Graph),
        (Some(Token::Statement), _) => Cut::Begin(Part::Statement),
        (None | Some(Token::OpenBody | Token::CloseBody), _) => Cut::Begin(Part::Header),
        _ => Cut::Continue,
    }
}

fn flush(run: &mut Vec<Row>, part: Part, out: &mut String) {
    let (stops, indent): (&[Stop], usize) = match part {
        Part::Statement => (&STATEMENT, 2),
        Part::Data => (&DATA, 0),
        Part::Alias => (&ALIAS, 0),
        Part::Header | Part::Graph => (&[], 0),
        Part::Close => {
            // Comments before the brace belong to the body.
            for row in run.drain(..) {
                above(&row.above, 2, out);
                rows(&[Row { above: Vec::new(), gap: false, ..row }], &[], 0, out);
            }
            return;
        }
    };
    rows(run, stops, indent, out);
    run.clear();
}

fn row(segment: Segment) -> Row {
    let cells = match segment.part {
        Part::Graph => vec![signature(&segment.tokens)],
        part => cells(part, &segment.tokens),
    };
    Row { gap: segment.gap, above: segment.above, cells, behind: segment.behind }
}

/// The tokens in columns.
fn cells(part: Part, tokens: &[Tok]) -> Vec<Cell> {
    let separators: &[Token] = match part {
        Part::Statement => &[Token::Equal, Token::Colon],
        Part::Data => &[Token::Colon, Token::Equal],
        Part::Alias => &[Token::Equal],
        Part::Header | Part::Graph | Part::Close => &[],
    };
    let mut cells = Vec::new();
    let mut rest = tokens;
    for separator in separators {
        let mut depth = Depth::default();
        let at = rest.iter().position(|tok| {
            depth.step(tok.token);
            depth.outside() && tok.token == Some(separator)
        });
        let Some(at) = at else { break };
        let (cell, later) = rest.split_at(at);
        cells.push(join(cell, Breaks::None));
        rest = later;
    }
    let list = part == Part::Data && cells.len() == separators.len();
    cells.push(if list { elements(rest) } else { join(rest, Breaks::None) });
    cells
}

fn signature(tokens: &[Tok]) -> Cell {
    let line = join(tokens, Breaks::None);
    if line.text.contains('\n') || line.text.chars().count() > WIDTH {
        join(tokens, Breaks::Params)
    } else {
        line
    }
}

/// `= [...]`: lines stay as they are written, one long line is filled into several.
fn elements(tokens: &[Tok]) -> Cell {
    let line = join(tokens, Breaks::Kept);
    let list = tokens.get(1).is_some_and(|tok| tok.token == Some(&Token::OpenList));
    if !list || line.text.contains('\n') || line.text.chars().count() <= LIST {
        return line;
    }
    join(tokens, Breaks::Filled)
}

#[derive(Clone, Copy, PartialEq)]
enum Breaks {
    /// Only behind comments.
    None,
    /// Where they are written.
    Kept,
    /// Inside a list, where a line gets too long.
    Filled,
    /// Around each parameter of a signature.
    Params,
}

/// Open brackets of each kind.
#[derive(Clone, Default)]
struct Depth {
    parens: usize,
    lists: usize,
    braces: usize,
    angles: usize,
}

impl Depth {
    fn step(&mut self, token: Option<&Token>) {
        match token {
            Some(Token::Open) => self.parens += 1,
            Some(Token::Close) => self.parens = self.parens.saturating_sub(1),
            Some(Token::OpenList) => self.lists += 1,
            Some(Token::CloseList) => self.lists = self.lists.saturating_sub(1),
            Some(Token::OpenBrace) => self.braces += 1,
            Some(Token::CloseBrace) => self.braces = self.braces.saturating_sub(1),
            Some(Token::Less) => self.angles += 1,
            Some(Token::Greater) => self.angles = self.angles.saturating_sub(1),
            _ => {}
        }
    }

    fn outside(&self) -> bool {
        self.parens + self.lists + self.braces + self.angles == 0
    }
}

/// Tokens with the spaces and line breaks that belong between them.
fn join(tokens: &[Tok], breaks: Breaks) -> Cell {
    // Brackets before the token at hand, and the last token that is no comment.
    let mut depth = Depth::default();
    let mut before: Option<&Token> = None;
    layout::join(tokens, |tok, so_far| {
        let token = tok.token;
        let opened = before == Some(&Token::Open);
        let closes = matches!(token, Some(Token::CloseList | Token::Close));
        let line = match breaks {
            Breaks::None => false,
            Breaks::Kept => depth.lists > 0 && tok.breaks > 0,
            Breaks::Filled if depth.lists == 0 => false,
            Breaks::Filled => {
                let width = so_far.rsplit('\n').next().unwrap_or_default().chars().count();
                let fits = width + 2 + tok.text.chars().count() <= WIDTH;
                before == Some(&Token::OpenList) || closes || (!fits && token != Some(&Token::Comma))
            }
            Breaks::Params => {
                let separated = before == Some(&Token::Comma) && depth.lists + depth.angles == 0;
                let closed = token == Some(&Token::Close);
                depth.parens == 1 && ((opened && !closed) || separated || (closed && !opened))
            }
        };
        let indent = match breaks {
            Breaks::None => 6,
            Breaks::Kept | Breaks::Filled if closes && depth.lists == 1 => 0,
            Breaks::Kept | Breaks::Filled => 2,
            Breaks::Params if closes && depth.parens == 1 || depth.parens == 0 => 0,
            Breaks::Params => 4,
        };
        let space = match (before, token) {
            (Some(before), Some(token)) => space(before, token, &depth),
            _ => "",
        };
        depth.step(token);
        before = token.or(before);
        Gap { line, indent, space }
    })
}

/// What stands between two tokens of a line; `depth` counts the brackets before the second.
fn space(before: &Token, token: &Token, depth: &Depth) -> &'static str {
    match (before, token) {
        (Token::Open | Token::OpenList | Token::OpenBrace | Token::Less, _) => "",
        (_, Token::Comma | Token::Close | Token::CloseList | Token::CloseBrace | Token::Greater) => "",
        (_, Token::Less) => "",
        (Token::Data(_) | Token::Loc, Token::Open) => "",
        // Sizes follow their type; other lists are values.
        (Token::Word(_) | Token::Alias(_) | Token::Greater, Token::OpenList) if depth.angles == 0 => "",
        (Token::Value(_), Token::Colon) if depth.parens > 0 => "",
        (Token::Equal | Token::Comma, _) => " ",
        (_, Token::Loc | Token::Name) if depth.outside() => "  ",
        _ => " ",
    }
}
