//! Rows of weights as the inner loops read them.

use super::simd::pair;

/// Rows of cells, one cell for each `k`.
pub trait Rows<E>: Sync {
    /// The cells from row `first` on, at least `count` rows, and how far apart the rows lie. They
    /// may be made in `scratch`.
    fn cells<'a>(&'a self, first: usize, count: usize, scratch: &'a mut Vec<E>) -> (&'a [E], usize);
}

/// Weights that are cells as they stand, `[rows, length]`.
#[derive(Clone, Copy)]
pub struct Plain<'a, E> {
    pub weights: &'a [E],
    pub length: usize,
}

impl<E: Sync> Rows<E> for Plain<'_, E> {
    fn cells<'a>(&'a self, first: usize, _: usize, _: &'a mut Vec<E>) -> (&'a [E], usize) {
        (&self.weights[first * self.length..], self.length)
    }
}

/// 8-bit weights `[rows, channels, taps]`, of which some channels take part, two to a cell: a row
/// becomes `[pairs of channels, taps]`.
pub struct Pairs<'a> {
    pub weights: &'a [i8],
    pub channels: usize,
    pub taps: usize,
    /// The first starts a pair.
    pub taking_part: std::ops::Range<usize>,
}

impl Rows<i32> for Pairs<'_> {
    fn cells<'a>(&'a self, first: usize, count: usize, scratch: &'a mut Vec<i32>) -> (&'a [i32], usize) {
        let pairs = self.taking_part.len().div_ceil(2) * self.taps;
        // An odd number of cache lines from row to row keeps the rows in different cache sets.
        const LINE: usize = 64 / size_of::<i32>();
        let stride = (pairs.div_ceil(LINE) | 1) * LINE;
        scratch.resize(count * stride, 0);
        let rows = self.weights.chunks_exact(self.channels * self.taps).skip(first);
        for (cells, row) in scratch.chunks_exact_mut(stride).zip(rows) {
            let row = &row[self.taking_part.start * self.taps..self.taking_part.end * self.taps];
            fill_pairs(row, self.taps, &mut cells[..pairs]);
        }
        (scratch, stride)
    }
}

fn fill_pairs(row: &[i8], taps: usize, cells: &mut [i32]) {
    if taps == 1 {
        let mut pairs = row.chunks_exact(2);
        cells.iter_mut().zip(&mut pairs).for_each(|(cell, two)| *cell = pair(two[0].into(), two[1].into()));
        if let ([.., cell], [one]) = (cells, pairs.remainder()) {
            *cell = pair((*one).into(), 0);
        }
        return;
    }
    for (cells, two) in cells.chunks_exact_mut(taps).zip(row.chunks(2 * taps)) {
        let (low, high) = two.split_at(taps);
        if high.is_empty() {
            cells.iter_mut().zip(low).for_each(|(cell, &a)| *cell = pair(a.into(), 0));
        } else {
            let both = low.iter().zip(high);
            cells.iter_mut().zip(both).for_each(|(cell, (&a, &b))| *cell = pair(a.into(), b.into()));
        }
    }
}
