//! The blocked product behind every convolution and matrix product.

use std::ops::Range;

use super::isa::Isa;
use super::rows::Rows;
use super::shared::Shared;
use super::simd::{Cell, Offsets, Operands, Tiles};
use super::team;

/// Panels of sums of products: for panel `p`, row `r` and output position `(i, j)` of the grid
///
/// `sum_k weights[p % groups][r][k] * cells[p * panel_cells + offsets[k] + i * pitch + j]`
///
/// plus the row's bias. `k` counts cells, of which integers pack two to one.
pub struct Product<'a, R, E> {
    /// `[groups, rows]`.
    pub weights: R,
    pub groups: usize,
    pub rows: usize,
    /// `[groups, rows]`.
    pub bias: Option<&'a [E]>,
    /// At least [`slack`] cells more than the greatest offset.
    pub cells: &'a [E],
    pub panels: usize,
    pub panel_cells: usize,
    pub offsets: &'a [usize],
    pub grid: Grid,
}

/// The positions of an output plane, and how far apart its rows lie in the cells.
#[derive(Clone, Copy)]
pub struct Grid {
    pub rows: usize,
    pub columns: usize,
    /// At least `columns`.
    pub pitch: usize,
}

/// Fewer multiplications of cells are not worth handing to another thread.
const PARALLEL_PRODUCTS: usize = 1 << 18;

/// Part of a grid that one tile computes: the cells from `start`, of which the first `cells` hold
/// outputs (and what lies between two rows of them).
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    cells: usize,
    vectors: usize,
}

/// Cells that a tile may read past its last column.
pub fn slack<E: Cell>(isa: Isa) -> usize {
    E::tiles(isa).widest(1) * E::tiles(isa).lanes
}

impl<R: Rows<E>, E: Cell> Product<'_, R, E> {
    /// Computes all sums. `put` takes a run of finished sums, with the row of `[groups, rows]` that it belongs to, into `output`,
    /// which is `[panels, rows, grid.rows, grid.columns]`.
    pub fn compute<O: Send>(&self, isa: Isa, put: impl Fn(usize, &[E], &mut [O]) + Sync, output: &mut [O]) {
        let outputs = self.panels * self.rows * self.grid.rows * self.grid.columns;
        assert_eq!(outputs, output.len());
        if outputs == 0 {
            return;
        }
        let tiles = E::tiles(isa);
        let spans = self.grid.spans(tiles, self.rows);
        let work = self.divide(tiles, &spans);
        let output = Shared::new(output);
        let run = |scratch: &mut Scratch<E>, task: usize| {
            let (panel, spans, rows) = work.task(task, &spans);
            self.run(tiles, panel, spans, rows, scratch, &put, &output);
        };
        let is_small = outputs.saturating_mul(self.offsets.len()) < PARALLEL_PRODUCTS;
        if is_small {
            let mut scratch = self.scratch(tiles);
            (0..work.tasks()).for_each(|task| run(&mut scratch, task));
        } else {
            team::for_each(work.tasks(), |task| run(&mut self.scratch(tiles), task));
        }
    }

    /// How much one task does: few enough spans that their cells stay in cache while all rows of
    /// weights pass over them, and fewer rows where that leaves threads idle.
    fn divide(&self, tiles: &Tiles<E>, spans: &[Span]) -> Work {
        const CACHED_BYTES: usize = 256 << 10;
        let bytes = spans.first().map_or(0, |span| span.vectors) * tiles.lanes * size_of::<E>();
        let spans_each = (CACHED_BYTES / (bytes * self.offsets.len()).max(1)).max(4);
        let span_tasks = self.panels * spans.len().div_ceil(spans_each);
        let blocks = self.rows.div_ceil(tiles.rows);
        let wanted = match rayon::current_num_threads() {
            1 => 1,
            threads => 2 * threads,
        };
        let blocks_each = blocks.div_ceil(wanted.div_ceil(span_tasks)).max(1);
        Work {
            rows: self.rows,
            rows_each: blocks_each * tiles.rows,
            spans: spans.len(),
            spans_each,
            panels: self.panels,
        }
    }

    fn scratch(&self, tiles: &Tiles<E>) -> Scratch<E> {
        let rows = if self.rows < tiles.rows { 1 } else { tiles.rows };
        let sums_stride = tiles.widest(1) * tiles.lanes;
        Scratch { weights: Vec::new(), sums_stride, sums: vec![E::default(); rows * sums_stride] }
    }

    #[expect(clippy::too_many_arguments)]
    fn run<O>(
        &self,
        tiles: &Tiles<E>,
        panel: usize,
        spans: &[Span],
        rows: Range<usize>,
        scratch: &mut Scratch<E>,
        put: &impl Fn(usize, &[E], &mut [O]),
        output: &Shared<O>,
    ) {
        let offsets = Offsets::new(self.offsets);
        let first_weights_row = panel % self.groups * self.rows;
        let mut row = rows.start;
        while row < rows.end {
            let count = if rows.end - row < tiles.rows { 1 } else { tiles.rows };
            let weights_row = first_weights_row + row;
            let (weights, weights_stride) = self.weights.cells(weights_row, count, &mut scratch.weights);
            for span in spans {
                // A tile at the very end of the cells is moved to end with them.
                let at = panel * self.panel_cells + span.start;
                let end = at + offsets.reach(span.vectors * tiles.lanes);
                let shift = end.saturating_sub(self.cells.len());
                tiles.run(
                    count,
                    span.vectors,
                    &mut Operands {
                        weights,
                        weights_stride,
                        cells: &self.cells[at - shift..],
                        offsets,
                        bias: self.bias.map(|bias| &bias[weights_row..weights_row + count]),
                        sums: &mut scratch.sums,
                        sums_stride: scratch.sums_stride,
                    },
                );
                for (column, cell, length) in self.grid.runs(span) {
                    for r in 0..count {
                        let plane = panel * self.rows + row + r;
                        let out = plane * self.grid.rows * self.grid.columns + column;
                        let sums = &scratch.sums[r * scratch.sums_stride + shift + cell..][..length];
                        // SAFETY: the rows and spans of different tasks do not overlap, nor do the
                        // runs of one task, and this one ends before the next is taken.
                        put(weights_row + r, sums, unsafe { output.slice(out, length) });
                    }
                }
            }
            row += count;
        }
    }
}

impl Grid {
    /// Spans that cover the grid: along the rows of outputs and what lies between them where that
    /// is little, else each row for itself, in tiles of about equal width.
    fn spans<E: Cell>(&self, tiles: &Tiles<E>, rows: usize) -> Vec<Span> {
        let vectors = |cells: usize| cells.div_ceil(tiles.lanes);
        let through = (self.rows - 1) * self.pitch + self.columns;
        let (runs, cells) = if vectors(through) <= self.rows * vectors(self.columns) {
            (1, through)
        } else {
            (self.rows, self.columns)
        };
        let widest = tiles.widest(rows);
        let count = vectors(cells).div_ceil(widest);
        let mut spans = Vec::with_capacity(runs * count);
        for run in 0..runs {
            let mut done = 0;
            for remaining in (1..=count).rev() {
                let vectors = vectors(cells - done).div_ceil(remaining);
                let here = (vectors * tiles.lanes).min(cells - done);
                spans.push(Span { start: run * self.pitch + done, cells: here, vectors });
                done += here;
            }
        }
        spans
    }

    /// The runs of outputs in a span: position in the output plane, cell in the span, length.
    fn runs(&self, span: &Span) -> impl Iterator<Item = (usize, usize, usize)> {
        let Self { columns, pitch, .. } = *self;
        let (mut row, mut column) = (span.start / pitch, span.start % pitch);
        let (mut cell, cells) = (0, span.cells);
        std::iter::from_fn(move || {
            if column >= columns {
                cell += pitch - column;
                (row, column) = (row + 1, 0);
            }
            let length = (columns - column).min(cells.saturating_sub(cell));
            let run = (row * columns + column, cell, length);
            cell += length;
            column += length;
            (length > 0).then_some(run)
        })
    }
}

/// Task numbers to panels, spans and rows.
struct Work {
    rows: usize,
    rows_each: usize,
    spans: usize,
    spans_each: usize,
    panels: usize,
}

impl Work {
    fn tasks(&self) -> usize {
        self.panels * self.spans.div_ceil(self.spans_each) * self.rows.div_ceil(self.rows_each)
    }

    fn task<'a>(&self, task: usize, spans: &'a [Span]) -> (usize, &'a [Span], Range<usize>) {
        let row_tasks = self.rows.div_ceil(self.rows_each);
        let span_tasks = self.spans.div_ceil(self.spans_each);
        let rows = task % row_tasks * self.rows_each;
        let span = task / row_tasks % span_tasks * self.spans_each;
        (
            task / row_tasks / span_tasks,
            &spans[span..(span + self.spans_each).min(self.spans)],
            rows..(rows + self.rows_each).min(self.rows),
        )
    }
}

/// What one thread writes to on the way.
struct Scratch<E> {
    weights: Vec<E>,
    sums: Vec<E>,
    sums_stride: usize,
}
