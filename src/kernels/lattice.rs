//! Padded input planes laid out so that every tap of a convolution is a constant offset.
//!
//! Along each axis the padded coordinates are split by their remainder modulo the stride (the
//! phase). Within a phase, one step to the next output is one step to the next cell; so the taps of
//! an output lie at offsets that are the same for every output, and outputs that are neighbours
//! read neighbouring cells.

use super::geometry::Axis;
use super::product::Grid;
use super::team;

/// Fewer cells are not worth handing to another thread.
const PARALLEL_CELLS: usize = 1 << 14;

/// The layout of one plane: `[row phases, column phases, rows, columns]` cells.
pub struct Lattice {
    axes: [Split; 2],
    /// Cells of one plane.
    pub plane: usize,
}

/// One axis split by phase.
struct Split {
    axis: Axis,
    /// The remainders that some tap has, ascending.
    phases: Vec<usize>,
    /// Cells of one phase.
    length: usize,
}

impl Split {
    fn new(axis: Axis) -> Self {
        let mut phases: Vec<_> = (0..axis.kernel).map(|t| t * axis.dilation % axis.stride).collect();
        phases.sort_unstable();
        phases.dedup();
        Self { axis, phases, length: axis.out + (axis.kernel - 1) * axis.dilation / axis.stride }
    }

    /// Which phase tap `t` reads, and at which cell for the first output.
    fn tap(&self, t: usize) -> (usize, usize) {
        let at = t * self.axis.dilation;
        let phase = at % self.axis.stride;
        (self.phases.partition_point(|&p| p < phase), at / self.axis.stride)
    }

    /// The cells of a phase that lie inside the input: the first, the end, and the coordinate of
    /// the first.
    fn inside(&self, phase: usize) -> (usize, usize, usize) {
        let Axis { size, stride, pads: [before, _], .. } = self.axis;
        let end = (size + before).saturating_sub(phase).div_ceil(stride).min(self.length);
        let first = before.saturating_sub(phase).div_ceil(stride).min(end);
        (first, end, (first * stride + phase).saturating_sub(before))
    }
}

impl Lattice {
    /// `None` if `planes` planes have more than `limit` cells: strides and padding can be such that
    /// nearly all cells are padding.
    pub fn new(axes: [Axis; 2], planes: usize, limit: usize) -> Option<Self> {
        let axes = axes.map(Split::new);
        let plane = axes
            .iter()
            .flat_map(|split| [split.phases.len(), split.length])
            .try_fold(1usize, |cells, n| cells.checked_mul(n))?;
        (plane.checked_mul(planes)? <= limit).then_some(Self { axes, plane })
    }

    pub fn grid(&self) -> Grid {
        let [rows, columns] = &self.axes;
        Grid { rows: rows.axis.out, columns: columns.axis.out, pitch: columns.length }
    }

    /// Where the first output finds each `k`: plane, then kernel row, then kernel column.
    pub fn offsets(&self, planes: usize) -> Vec<usize> {
        let [rows, columns] = &self.axes;
        let mut offsets = Vec::with_capacity(planes * rows.axis.kernel * columns.axis.kernel);
        for plane in 0..planes {
            for (row_phase, row) in (0..rows.axis.kernel).map(|t| rows.tap(t)) {
                for (column_phase, column) in (0..columns.axis.kernel).map(|t| columns.tap(t)) {
                    let phase = row_phase * columns.phases.len() + column_phase;
                    let row = phase * rows.length + row;
                    offsets.push(plane * self.plane + row * columns.length + column);
                }
            }
        }
        offsets
    }

    /// Fills the planes that `cells` consists of, in parallel. `fill(plane, from, stride, run)`
    /// writes a run of cells from the positions `from`, `from + stride`, … of an input plane.
    /// Cells in the padding are left alone.
    pub fn fill<E: Send>(&self, cells: &mut [E], fill: impl Fn(usize, usize, usize, &mut [E]) + Sync) {
        let [rows, columns] = &self.axes;
        let fill_plane = |plane: usize, cells: &mut [E]| {
            for (row_phase, &phase) in rows.phases.iter().enumerate() {
                let (first, end, y) = rows.inside(phase);
                for (i, row) in (first..end).enumerate() {
                    let y = y + i * rows.axis.stride;
                    for (column_phase, &phase) in columns.phases.iter().enumerate() {
                        let (first, end, x) = columns.inside(phase);
                        if first == end {
                            continue;
                        }
                        let phase = row_phase * columns.phases.len() + column_phase;
                        let start = (phase * rows.length + row) * columns.length;
                        let run = &mut cells[start + first..start + end];
                        fill(plane, y * columns.axis.size + x, columns.axis.stride, run);
                    }
                }
            }
        };
        team::for_each_chunk(cells, self.plane, PARALLEL_CELLS.div_ceil(self.plane), fill_plane);
    }
}
