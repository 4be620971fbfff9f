//! The one layout of `.qir`: a function of the tokens, their comments and the empty lines between
//! them. Applied to its own result it changes nothing.

use super::lex::{Spanned, Token};
use crate::syntax::layout::{Cell, Comment, Row, Stop, above, rows};

/// A longer signature has one line for each parameter.
const WIDTH: usize = 100;
/// A longer list of data elements is filled into lines.
const LIST: usize = 76;

/// `=` behind the names, `:` behind the rest.
const STATEMENT: [Stop; 2] = [Stop { limit: 18, wraps: false }, Stop { limit: 58, wraps: true }];
const DATA: [Stop; 2] = [Stop { limit: 34, wraps: false }, Stop { limit: 58, wraps: false }];
const ALIAS: [Stop; 1] = [Stop { limit: 24, wraps: false }];

/// A token and where it stands.
#[derive(Clone, Copy)]
struct Tok<'t, 'a> {
    token: &'t Token<'a>,
    text: &'a str,
    /// Line breaks before it.
    breaks: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Header,
    Alias,
    Data,
    Graph,
    Statement,
    Close,
}

struct Segment<'t, 'a> {
    part: Part,
    gap: bool,
    above: Vec<Comment>,
    tokens: Vec<Tok<'t, 'a>>,
    behind: Option<String>,
}

/// Lays out a text from all its tokens and from those that `structure` made of them.
pub fn layout<'a>(text: &'a str, tokens: &[Spanned<'a>], structured: &[Spanned<'a>]) -> String {
    let (segments, end) = segments(text, tokens, structured);
    let mut out = String::new();
    let mut run: Vec<Row> = Vec::new();
    let mut run_part = Part::Header;
    for segment in segments {
        // An item of another kind, and every graph, stands apart.
        let apart = match segment.part {
            Part::Statement | Part::Close => run_part == Part::Close,
            Part::Graph => true,
            part => part != run_part,
        };
        let first_in_body = segment.part == Part::Statement && run_part == Part::Graph;
        if segment.part != run_part || segment.part == Part::Graph {
            flush(&mut run, run_part, &mut out);
            run_part = segment.part;
        }
        run.push(segment.row(apart, first_in_body));
    }
    flush(&mut run, run_part, &mut out);
    above(&end, 0, &mut out);
    out
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

/// Cuts the tokens at the marks, and gives each comment to what it stands behind or above; the
/// comments at the end of the file belong to nothing.
fn segments<'t, 'a>(
    text: &'a str,
    tokens: &'t [Spanned<'a>],
    structured: &'t [Spanned<'a>],
) -> (Vec<Segment<'t, 'a>>, Vec<Comment>) {
    let mut comments = tokens.iter().filter(|(_, token, _)| matches!(token, Token::Comment(_))).peekable();
    let mut segments: Vec<Segment> = Vec::new();
    let mut pending: Vec<Comment> = Vec::new();
    let mut cut = true;
    let mut end_before = 0;
    let breaks = |from: usize, to: usize| text.get(from..to).map_or(0, |t| t.matches('\n').count());
    for (i, (start, token, end)) in structured.iter().enumerate() {
        if matches!(token, Token::Item | Token::Statement) {
            cut = true;
            continue;
        }
        cut |= *token == Token::CloseBody;
        while let Some((at, comment, comment_end)) = comments.next_if(|(at, ..)| at < start) {
            let broken = breaks(end_before, *at);
            end_before = *comment_end;
            place(&mut segments, &mut pending, cut, comment, text[*at..*comment_end].trim_end(), broken);
        }
        let breaks = breaks(end_before, *start);
        end_before = *end;
        let tok = Tok { token, text: &text[*start..*end], breaks };
        if cut {
            cut = false;
            let part = match token {
                Token::CloseBody => Part::Close,
                Token::Type if marked(structured, i) => Part::Alias,
                Token::DataKey if marked(structured, i) => Part::Data,
                Token::Graph if marked(structured, i) => Part::Graph,
                _ if marked(structured, i) => Part::Statement,
                _ => Part::Header,
            };
            let above = std::mem::take(&mut pending);
            segments.push(Segment { part, gap: breaks > 1, above, tokens: vec![tok], behind: None });
        } else if let Some(last) = segments.last_mut() {
            last.tokens.push(tok);
        }
        // What follows the brace that opens a body, or the one that closes it, begins anew.
        cut |= matches!(token, Token::OpenBody | Token::CloseBody);
    }
    cut = true;
    for (at, comment, comment_end) in comments {
        let broken = breaks(end_before, *at);
        end_before = *comment_end;
        place(&mut segments, &mut pending, cut, comment, text[*at..*comment_end].trim_end(), broken);
    }
    (segments, pending)
}

/// Whether the token at `i` is the first of an item or a statement.
fn marked(structured: &[Spanned], i: usize) -> bool {
    let before = i.checked_sub(1).and_then(|before| structured.get(before));
    matches!(before, Some((_, Token::Item | Token::Statement, _)))
}

fn place<'t, 'a>(
    segments: &mut [Segment<'t, 'a>],
    pending: &mut Vec<Comment>,
    cut: bool,
    token: &'t Token<'a>,
    text: &'a str,
    breaks: usize,
) {
    match segments.last_mut() {
        Some(last) if !cut => last.tokens.push(Tok { token, text, breaks }),
        Some(last) if breaks == 0 && last.behind.is_none() && pending.is_empty() => {
            last.behind = Some(text.to_owned());
        }
        _ => pending.push(Comment { text: text.to_owned(), gap: breaks > 1 }),
    }
}

impl Segment<'_, '_> {
    fn row(self, apart: bool, first_in_body: bool) -> Row {
        let cells = match self.part {
            Part::Graph => vec![self.signature()],
            _ => self.cells(),
        };
        let mut row = Row { gap: self.gap, above: self.above, cells, behind: self.behind };
        if first_in_body {
            row.first_gap(false);
        } else if apart && !row.gap && !row.above.iter().any(|comment| comment.gap) {
            row.first_gap(true);
        }
        row
    }

    /// The tokens in columns.
    fn cells(&self) -> Vec<Cell> {
        let separators: &[Token] = match self.part {
            Part::Statement => &[Token::Equal, Token::Colon],
            Part::Data => &[Token::Colon, Token::Equal],
            Part::Alias => &[Token::Equal],
            Part::Header | Part::Graph | Part::Close => &[],
        };
        let mut cells = Vec::new();
        let mut rest = &self.tokens[..];
        let mut depth = Depth::default();
        for separator in separators {
            let at = rest.iter().position(|tok| {
                depth.step(tok.token);
                depth.outside() && tok.token == separator
            });
            let Some(at) = at else { break };
            let (cell, later) = rest.split_at(at);
            cells.push(join(cell, Breaks::None));
            rest = later;
            depth = Depth::default();
        }
        let list = self.part == Part::Data && cells.len() == separators.len();
        cells.push(if list { elements(rest) } else { join(rest, Breaks::None) });
        cells
    }

    fn signature(&self) -> Cell {
        let line = join(&self.tokens, Breaks::None);
        if line.text.contains('\n') || line.text.chars().count() > WIDTH {
            join(&self.tokens, Breaks::Params)
        } else {
            line
        }
    }
}

impl Row {
    /// Puts an empty line above it and its comments, or takes it away.
    fn first_gap(&mut self, gap: bool) {
        match self.above.first_mut() {
            Some(first) => first.gap = gap,
            None => self.gap = gap,
        }
    }
}

/// `= [...]`: lines stay as they are written, one long line is filled into several.
fn elements(tokens: &[Tok]) -> Cell {
    let line = join(tokens, Breaks::Kept);
    let list = matches!(tokens.get(1), Some(Tok { token: Token::OpenList, .. }));
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
#[derive(Default)]
struct Depth {
    parens: usize,
    lists: usize,
    braces: usize,
    angles: usize,
}

impl Depth {
    fn step(&mut self, token: &Token) {
        match token {
            Token::Open => self.parens += 1,
            Token::Close => self.parens = self.parens.saturating_sub(1),
            Token::OpenList => self.lists += 1,
            Token::CloseList => self.lists = self.lists.saturating_sub(1),
            Token::OpenBrace => self.braces += 1,
            Token::CloseBrace => self.braces = self.braces.saturating_sub(1),
            Token::Less => self.angles += 1,
            Token::Greater => self.angles = self.angles.saturating_sub(1),
            _ => {}
        }
    }

    fn outside(&self) -> bool {
        self.parens + self.lists + self.braces + self.angles == 0
    }
}

/// Tokens with the spaces that belong between them.
fn join(tokens: &[Tok], breaks: Breaks) -> Cell {
    let mut cell = Cell::default();
    let mut depth = Depth::default();
    let mut before: Option<&Token> = None;
    for tok in tokens {
        let comment = matches!(tok.token, Token::Comment(_));
        let line = match (before, breaks) {
            (None, _) => false,
            _ if comment => tok.breaks > 0 && !cell.closed,
            _ if cell.closed => false,
            (_, Breaks::None) => false,
            (_, Breaks::Kept) => depth.lists > 0 && tok.breaks > 0,
            (Some(Token::OpenList), Breaks::Filled) => true,
            (Some(_), Breaks::Filled) => {
                let width = cell.text.rsplit('\n').next().unwrap_or_default().chars().count();
                let fits = width + 2 + tok.text.chars().count() <= WIDTH;
                *tok.token == Token::CloseList || (!fits && *tok.token != Token::Comma)
            }
            (Some(Token::Open), Breaks::Params) => depth.parens == 1 && *tok.token != Token::Close,
            (Some(Token::Comma), Breaks::Params) => depth.parens == 1 && depth.lists + depth.angles == 0,
            (Some(before), Breaks::Params) => {
                *tok.token == Token::Close && depth.parens == 1 && *before != Token::Open
            }
        };
        let closes = matches!(tok.token, Token::CloseList | Token::Close);
        let indent = match breaks {
            Breaks::None => 6,
            Breaks::Kept | Breaks::Filled if closes && depth.lists == 1 => 0,
            Breaks::Kept | Breaks::Filled => 2,
            Breaks::Params if closes && depth.parens == 1 || depth.parens == 0 => 0,
            Breaks::Params => 4,
        };
        if line || cell.closed {
            cell.text.push('\n');
            cell.text.push_str(&" ".repeat(indent));
        } else if let Some(before) = before {
            cell.text.push_str(space(before, tok.token, &depth));
        }
        cell.text.push_str(tok.text);
        cell.closed = comment;
        depth.step(tok.token);
        before = Some(tok.token);
    }
    cell
}

/// What stands between two tokens of a line; `depth` counts the brackets before the second.
fn space(before: &Token, token: &Token, depth: &Depth) -> &'static str {
    match (before, token) {
        (_, Token::Comment(_)) => "  ",
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
