//! The one layout of `.qrules`: a function of the tokens, their comments and the empty lines
//! between them. Line breaks inside a pattern, a clause or a replacement stay, and so does a rule
//! that is written on one line. Applied to its own result it changes nothing.

use super::lex::{Spanned, Token};
use crate::syntax::layout::{self, Cell, Cut, Gap, Row, Stop, above, gap, rows};

/// A longer rule has several lines.
const WIDTH: usize = 100;

const SETTING: [Stop; 1] = [Stop { limit: 16, wraps: false }];

#[derive(Clone, Copy, PartialEq)]
enum Part {
    FileDoc,
    Use,
    Ruleset,
    Setting,
    /// A custom pattern in its chain form, or a rule on one line.
    Line,
    Rule,
    /// A clause of a layer.
    Statement,
    Pattern,
    Clause,
    Replacement,
    CloseRule,
    CloseRuleset,
}

impl Part {
    fn indent(self) -> usize {
        match self {
            Part::FileDoc | Part::Use | Part::Ruleset | Part::CloseRuleset => 0,
            Part::Setting | Part::Line | Part::Rule | Part::CloseRule => 2,
            Part::Pattern | Part::Statement | Part::Replacement => 4,
            Part::Clause => 6,
        }
    }

    /// Whether it stands apart from what precedes it in the same body.
    fn stands_apart(self, before: Part) -> bool {
        match self {
            Part::Use => before == Part::FileDoc,
            Part::Ruleset => before != Part::FileDoc,
            Part::Setting => before != Part::Setting,
            Part::Line => before != Part::Line,
            Part::Rule => true,
            _ => false,
        }
    }
}

type Tok<'t, 'a> = layout::Tok<'t, 'a, Token<'a>>;
type Segment<'t, 'a> = layout::Segment<'t, 'a, Token<'a>, Part>;

/// Lays out a text from all its tokens and from those that `structure` made of them.
pub fn layout<'a>(text: &'a str, tokens: &[Spanned<'a>], structured: &[Spanned<'a>]) -> String {
    let comments = tokens.iter().filter(|(_, token, _)| matches!(token, Token::Comment(_)));
    let comments = comments.map(|(start, _, end)| (*start, *end));
    let mut cutter = Cutter::default();
    let (segments, end) = layout::segments(text, comments, structured, |i| cutter.cut(structured, i));
    let mut out = String::new();
    let mut before: Option<Part> = None;
    // Settings wait for each other, to be aligned.
    let mut settings: Vec<Row> = Vec::new();
    for mut segment in behind_pattern(on_one_line(segments)) {
        let part = segment.part;
        match before {
            Some(Part::Ruleset | Part::Rule) | None => segment.set_gap(false),
            Some(before) if part.stands_apart(before) => segment.set_gap(true),
            // A rule has no empty lines.
            _ if part.indent() > 2 || matches!(part, Part::CloseRule | Part::CloseRuleset) => {
                segment.gap = false;
            }
            _ => {}
        }
        before = Some(part);
        let cells = match part {
            Part::Setting => {
                let (key, value) = segment.tokens.split_at(1);
                vec![join(key, part), join(value, part)]
            }
            part => vec![join(&segment.tokens, part)],
        };
        let row = Row { gap: segment.gap, above: segment.above, cells, behind: segment.behind };
        if part == Part::Setting {
            settings.push(row);
            continue;
        }
        rows(&settings, &SETTING, Part::Setting.indent(), &mut out);
        settings.clear();
        // Comments before a brace belong to what it closes.
        let inside = if part.indent() > 2 || part == Part::Rule { 0 } else { 2 };
        let closes = matches!(part, Part::CloseRule | Part::CloseRuleset);
        above(&row.above, part.indent() + if closes { inside } else { 0 }, &mut out);
        if row.gap {
            gap(&mut out);
        }
        rows(&[Row { above: Vec::new(), gap: false, ..row }], &[], part.indent(), &mut out);
    }
    rows(&settings, &SETTING, Part::Setting.indent(), &mut out);
    above(&end, 0, &mut out);
    out
}

/// Makes one segment of each rule that is written on one line, and short enough for it.
fn on_one_line<'t, 'a>(segments: Vec<Segment<'t, 'a>>) -> Vec<Segment<'t, 'a>> {
    let mut out = Vec::with_capacity(segments.len());
    let mut segments = segments.into_iter().peekable();
    while let Some(mut rule) = segments.next() {
        if rule.part != Part::Rule {
            out.push(rule);
            continue;
        }
        let mut parts = Vec::new();
        while let Some(part) = segments.next_if(|part| part.part.indent() > 2 || part.part == Part::CloseRule)
        {
            parts.push(part);
        }
        let line =
            parts.iter().flat_map(|part| &part.tokens).all(|tok| tok.breaks == 0 && tok.token.is_some());
        let comments = parts.iter().any(|part| !part.above.is_empty())
            || parts.iter().rev().skip(1).any(|part| part.behind.is_some());
        let width: usize = [&rule]
            .into_iter()
            .chain(&parts)
            .map(|part| join(&part.tokens, part.part).text.chars().count() + 1)
            .sum();
        let whole = parts.last().is_some_and(|part| part.part == Part::CloseRule) && rule.behind.is_none();
        if line && !comments && whole && width < WIDTH {
            rule.part = Part::Line;
            rule.behind = parts.last_mut().and_then(|close| close.behind.take());
            rule.tokens.extend(parts.into_iter().flat_map(|part| part.tokens));
            out.push(rule);
        } else {
            out.push(rule);
            out.extend(parts);
        }
    }
    out
}

/// Leaves a replacement on the line of its pattern, if it was written there and fits.
fn behind_pattern<'t, 'a>(segments: Vec<Segment<'t, 'a>>) -> Vec<Segment<'t, 'a>> {
    let mut out: Vec<Segment> = Vec::with_capacity(segments.len());
    for segment in segments {
        let written_there = segment.part == Part::Replacement
            && segment.above.is_empty()
            && segment.tokens.first().is_some_and(|tok| tok.breaks == 0);
        match out.last_mut() {
            Some(pattern) if written_there && pattern.part == Part::Pattern && pattern.behind.is_none() => {
                let (left, right) =
                    (join(&pattern.tokens, pattern.part), join(&segment.tokens, segment.part));
                let breaks = left.text.contains('\n') || right.text.contains('\n');
                if !breaks && left.text.chars().count() + right.text.chars().count() < WIDTH {
                    pattern.tokens.extend(segment.tokens);
                    pattern.behind = segment.behind;
                    continue;
                }
            }
            _ => {}
        }
        out.push(segment);
    }
    out
}

/// Finds where segments begin.
#[derive(Default)]
struct Cutter {
    /// Open brackets inside of the body of a rule; `None` outside of one.
    body: Option<usize>,
    /// The body is one of a layer.
    layer: bool,
}

impl Cutter {
    fn cut(&mut self, structured: &[Spanned], i: usize) -> Cut<Part> {
        let kind = |i: usize| structured.get(i).map(|(_, token, _)| token);
        let before = i.checked_sub(1).and_then(kind);
        let Some(token) = kind(i) else { return Cut::Skip };
        let brackets = self.body.unwrap_or(0);
        match token {
            Token::Item | Token::Member | Token::Section => return Cut::Skip,
            Token::FileDoc(_) => return Cut::Begin(Part::FileDoc),
            Token::Doc(_) => return Cut::Above,
            Token::CloseRuleset => return Cut::Begin(Part::CloseRuleset),
            Token::CloseRule => {
                self.body = None;
                return Cut::Begin(Part::CloseRule);
            }
            Token::OpenRule => {
                self.body = Some(0);
                return Cut::Continue;
            }
            Token::Open | Token::OpenList | Token::OpenBrace if self.body.is_some() => {
                self.body = Some(brackets + 1);
            }
            Token::Close | Token::CloseList | Token::CloseBrace if self.body.is_some() => {
                self.body = Some(brackets.saturating_sub(1));
            }
            _ => {}
        }
        match (before, token) {
            (Some(Token::Item | Token::Member | Token::Section | Token::Doc(_)), _) => {
                self.layer = matches!(token, Token::FloatForm | Token::Params | Token::IntegerForm);
                Cut::Begin(self.member(structured, i))
            }
            (_, Token::Arrow) if self.body == Some(0) => Cut::Begin(Part::Replacement),
            (Some(before), _) if self.layer && self.body == Some(0) => {
                let first = *before == Token::OpenRule;
                let statement = match token {
                    Token::Where | Token::Let => true,
                    _ => super::lex::is_word(token) && kind(i + 1) == Some(&Token::Colon),
                };
                match first || statement && ends_expression(before) {
                    true => Cut::Begin(Part::Statement),
                    false => Cut::Continue,
                }
            }
            (Some(Token::OpenRule), _) => Cut::Begin(Part::Pattern),
            (Some(before), Token::Where) if self.body == Some(0) && ends_expression(before) => {
                Cut::Begin(Part::Clause)
            }
            _ => Cut::Continue,
        }
    }

    fn member(&self, structured: &[Spanned], i: usize) -> Part {
        let kind = |i: usize| structured.get(i).map(|(_, token, _)| token);
        match kind(i) {
            Some(Token::Use) => Part::Use,
            Some(Token::Ruleset | Token::Layer) => Part::Ruleset,
            Some(Token::Onnx | Token::Attr | Token::Cost) => Part::Line,
            Some(Token::Contract | Token::Driver) => Part::Setting,
            Some(Token::CustomPattern) if kind(i + 2) == Some(&Token::Assign) => Part::Line,
            _ => Part::Rule,
        }
    }
}

/// Whether a clause can follow; the word `where` may also be the name of an operator.
fn ends_expression(token: &Token) -> bool {
    matches!(
        token,
        Token::Word(_)
            | Token::Int(_)
            | Token::Float(_)
            | Token::Str(_)
            | Token::True
            | Token::False
            | Token::Close
            | Token::CloseList
            | Token::CloseBrace
    )
}

/// Tokens with the spaces and line breaks that belong between them.
fn join(tokens: &[Tok], part: Part) -> Cell {
    let mut depth = 0usize;
    // The last token that is no comment, and how it takes what follows.
    let mut before: Option<&Token> = None;
    let mut role = Role::Keyword;
    layout::join(tokens, |tok, _| {
        let token = tok.token;
        let closes = matches!(token, Some(Token::Close | Token::CloseList | Token::CloseBrace));
        let inner = depth.saturating_sub(usize::from(closes));
        let indent = part.indent() + if depth == 0 { 4 } else { 2 * inner };
        let body = matches!(part, Part::Pattern | Part::Statement | Part::Clause | Part::Replacement);
        let line = (depth > 0 || body) && tok.breaks > 0;
        let space = match (before, token) {
            (Some(before), Some(token)) => space(before, role, token),
            _ => "",
        };
        match token {
            Some(Token::Open | Token::OpenList | Token::OpenBrace) => depth += 1,
            Some(_) if closes => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(token) = token {
            let first = before.is_none();
            role = match token {
                Token::Not | Token::Rest => Role::Prefix,
                Token::Minus if role != Role::Operand => Role::Prefix,
                Token::Where
                    if (first && matches!(part, Part::Clause | Part::Statement)) || role == Role::Operand =>
                {
                    Role::Keyword
                }
                Token::Let if before == Some(&Token::Where) || (first && part == Part::Statement) => {
                    Role::Keyword
                }
                Token::As if role == Role::Operand => Role::Keyword,
                token if ends_expression(token) || super::lex::is_word(token) => Role::Operand,
                _ => Role::Keyword,
            };
            before = Some(token);
        }
        Gap { line, indent, space }
    })
}

/// What a token is to the one behind it.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// An operator with one operand: nothing stands between them.
    Prefix,
    /// The end of an operand: it can be called or indexed.
    Operand,
    Keyword,
}

fn space(before: &Token, role: Role, token: &Token) -> &'static str {
    match (before, token) {
        _ if role == Role::Prefix => "",
        (Token::Open | Token::OpenList | Token::OpenBrace, _) => "",
        (_, Token::Comma | Token::Close | Token::CloseList | Token::CloseBrace) => "",
        (_, Token::Colon | Token::Optional) => "",
        (_, Token::Open | Token::OpenList) if role == Role::Operand => "",
        _ => " ",
    }
}
