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
