//! Lines of a text in columns, with the comments that belong to them: what both formatters share.

/// A comment on lines of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    pub text: String,
    /// Whether an empty line stands above it.
    pub gap: bool,
}

/// A part of a row, to be put at a column; it may have several lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    /// It ends in a comment, so nothing can follow on its last line.
    pub closed: bool,
}

/// What stands on one line, or begins there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub gap: bool,
    pub above: Vec<Comment>,
    pub cells: Vec<Cell>,
    /// A comment at the end.
    pub behind: Option<String>,
}

/// Where a cell goes.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Rows that are longer than this before the cell do not move the others.
    pub limit: usize,
    /// What such rows do: the cell goes to the next line, or follows after a space.
    pub wraps: bool,
}

/// Rows as text, indented by `indent`. Cell `i + 1` stands at the column that `stops[i]` asks for
/// within each run of rows without a gap.
pub fn rows(rows: &[Row], stops: &[Stop], indent: usize, out: &mut String) {
    let mut rest = rows;
    while !rest.is_empty() {
        let gap = |row: &Row| row.gap || row.above.iter().any(|comment| comment.gap);
        let end = rest.iter().skip(1).position(gap).map_or(rest.len(), |at| at + 1);
        let (run, later) = rest.split_at(end);
        align(run, stops, indent, out);
        rest = later;
    }
}

fn align(rows: &[Row], stops: &[Stop], indent: usize, out: &mut String) {
    let start = " ".repeat(indent);
    let mut lines: Vec<Cell> = rows
        .iter()
        .map(|row| {
            let first = row.cells.first().cloned().unwrap_or_default();
            Cell { text: format!("{start}{}", first.text), closed: first.closed }
        })
        .collect();
    for (i, stop) in stops.iter().enumerate() {
        let has = |row: &Row| row.cells.len() > i + 1;
        let fits = rows.iter().zip(&lines).filter(|(row, _)| has(row)).map(|(_, line)| width(line));
        let column = fits.filter(|&width| width <= stop.limit).max().unwrap_or(indent + 3) + 1;
        for (row, line) in rows.iter().zip(&mut lines) {
            let Some(cell) = row.cells.get(i + 1) else { continue };
            let width = width(line);
            if line.closed || (width >= column && stop.wraps) {
                line.text.push('\n');
                line.text.push_str(&" ".repeat(column));
            } else {
                line.text.push_str(&" ".repeat(column.saturating_sub(width).max(1)));
            }
            line.text.push_str(&cell.text);
            line.closed = cell.closed;
        }
    }
    for (row, line) in rows.iter().zip(lines) {
        above(&row.above, indent, out);
        if row.gap {
            gap(out);
        }
        out.push_str(&line.text);
        if let Some(comment) = &row.behind {
            out.push_str("  ");
            out.push_str(comment);
        }
        out.push('\n');
    }
}

/// Comments on lines of their own.
pub fn above(comments: &[Comment], indent: usize, out: &mut String) {
    for comment in comments {
        if comment.gap {
            gap(out);
        }
        out.push_str(&" ".repeat(indent));
        out.push_str(&comment.text);
        out.push('\n');
    }
}

/// An empty line, but not a second one, nor one at the start of the text.
pub fn gap(out: &mut String) {
    if !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
}

/// Of the last line, in characters.
fn width(cell: &Cell) -> usize {
    cell.text.rsplit('\n').next().unwrap_or_default().chars().count()
}

/// A token and where it stands.
#[derive(Debug)]
pub struct Tok<'t, 'a, T> {
    /// `None` for a comment.
    pub token: Option<&'t T>,
    pub text: &'a str,
    /// Line breaks before it.
    pub breaks: usize,
}

/// Tokens that are laid out together, and the comments that belong to them.
#[derive(Debug)]
pub struct Segment<'t, 'a, T, P> {
    pub part: P,
    pub gap: bool,
    pub above: Vec<Comment>,
    pub tokens: Vec<Tok<'t, 'a, T>>,
    pub behind: Option<String>,
}

/// What a token is to the segments of its text.
pub enum Cut<P> {
    /// A mark without text.
    Skip,
    /// Part of what stands above the next segment.
    Above,
    /// The first of a segment.
    Begin(P),
    /// One more of a segment.
    Continue,
}

/// Cuts tokens into segments, and gives each comment (as its range) to what it stands behind, in
/// or above; those at the end of the text belong to nothing.
pub fn segments<'t, 'a, T, P>(
    text: &'a str,
    comments: impl Iterator<Item = (usize, usize)>,
    tokens: &'t [(usize, T, usize)],
    mut cut: impl FnMut(usize) -> Cut<P>,
) -> (Vec<Segment<'t, 'a, T, P>>, Vec<Comment>) {
    let mut comments = comments.peekable();
    let mut segments: Vec<Segment<T, P>> = Vec::new();
    let mut pending: Vec<Comment> = Vec::new();
    let mut done = 0;
    // Text from the end of the last token or comment, as the breaks that it has.
    let mut step = |start: usize, end: usize| {
        let breaks = text.get(done..start).map_or(0, |between| between.matches('\n').count());
        done = end;
        (text.get(start..end).unwrap_or_default().trim_end(), breaks)
    };
    fn place<'a, T, P>(
        segments: &mut [Segment<'_, 'a, T, P>],
        pending: &mut Vec<Comment>,
        inside: bool,
        (text, breaks): (&'a str, usize),
    ) {
        match segments.last_mut() {
            Some(last) if inside => last.tokens.push(Tok { token: None, text, breaks }),
            Some(last) if breaks == 0 && last.behind.is_none() && pending.is_empty() => {
                last.behind = Some(text.to_owned());
            }
            _ => pending.push(Comment { text: text.to_owned(), gap: breaks > 1 }),
        }
    }
    for (i, (start, token, end)) in tokens.iter().enumerate() {
        let cut = cut(i);
        if matches!(cut, Cut::Skip) {
            continue;
        }
        while let Some((from, to)) = comments.next_if(|(from, _)| from < start) {
            place(&mut segments, &mut pending, matches!(cut, Cut::Continue), step(from, to));
        }
        let (text, breaks) = step(*start, *end);
        let tok = Tok { token: Some(token), text, breaks };
        match (cut, segments.last_mut()) {
            (Cut::Begin(part), _) => {
                let above = std::mem::take(&mut pending);
                segments.push(Segment { part, gap: breaks > 1, above, tokens: vec![tok], behind: None });
            }
            (Cut::Continue, Some(last)) => last.tokens.push(tok),
            // A first token that begins nothing is kept like a comment.
            _ => pending.push(Comment { text: text.to_owned(), gap: breaks > 1 }),
        }
    }
    for (from, to) in comments {
        place(&mut segments, &mut pending, false, step(from, to));
    }
    (segments, pending)
}

impl<T, P> Segment<'_, '_, T, P> {
    /// Puts an empty line above it and its comments (unless there is one), or takes it away.
    pub fn set_gap(&mut self, gap: bool) {
        let has = self.gap || self.above.iter().any(|comment| comment.gap);
        if gap && has {
            return;
        }
        match self.above.first_mut() {
            Some(first) => first.gap = gap,
            None => self.gap = gap,
        }
    }
}

/// How a token stands to the one before it.
pub struct Gap {
    /// Whether it goes to a new line; behind a comment it does in any case.
    pub line: bool,
    /// The indent of that line.
    pub indent: usize,
    /// What stands between the two otherwise.
    pub space: &'static str,
}

/// Tokens as text. `gap` is asked for each, with the text so far; its answer counts for all but the
/// first token and comments.
pub fn join<'t, 'a, T>(tokens: &[Tok<'t, 'a, T>], mut gap: impl FnMut(&Tok<'t, 'a, T>, &str) -> Gap) -> Cell {
    let mut cell = Cell::default();
    for (i, tok) in tokens.iter().enumerate() {
        let Gap { line, indent, space } = gap(tok, &cell.text);
        let comment = tok.token.is_none();
        let line = if comment { tok.breaks > 0 } else { line };
        if i > 0 && (line || cell.closed) {
            cell.text.push('\n');
            cell.text.push_str(&" ".repeat(indent));
        } else if i > 0 {
            cell.text.push_str(if comment { "  " } else { space });
        }
        cell.text.push_str(tok.text);
        cell.closed = comment;
    }
    cell
}
