//! Matrix products.

use super::conv::accumulate;
use super::isa::Isa;
use super::product::{Grid, Product, slack};
use super::reference::{self, checked_product};
use super::rows::{Pairs, Plain};
use super::simd::pair;
use super::{Accumulator, Byte, Error, Float, buffer, check_optional};

/// `out[m, n] = sum_k a[m, k] * b[k, n]`, in the one summation order.
pub fn matmul<T: Float>(m: usize, k: usize, n: usize, a: &[T], b: &[T]) -> Result<Vec<T>, Error> {
    matmul_on(Isa::best(), m, k, n, a, b)
}

pub(super) fn matmul_on<T: Float>(
    isa: Isa,
    m: usize,
    k: usize,
    n: usize,
    a: &[T],
    b: &[T],
) -> Result<Vec<T>, Error> {
    let outputs = checked_product(m, k, n, ("a", a.len()), ("b", b.len()))?;
    if outputs == 0 || k == 0 {
        return reference::matmul(m, k, n, a, b);
    }
    let mut output = buffer(outputs)?;
    let mut copy;
    let cells = if n < slack::<T>(isa) {
        copy = buffer(b.len() + slack::<T>(isa))?;
        copy[..b.len()].copy_from_slice(b);
        &copy
    } else {
        b
    };
    Product {
        weights: Plain { weights: a, length: k },
        groups: 1,
        rows: m,
        bias: None,
        cells,
        panels: 1,
        panel_cells: b.len(),
        offsets: &(0..k).map(|k| k * n).collect::<Vec<_>>(),
        grid: Grid { rows: 1, columns: n, pitch: n },
    }
    .compute(isa, |_, sums, out| out.copy_from_slice(sums), &mut output);
    Ok(output)
}

/// `out[m, n] = sum_k input[m, k] * weights[n, k] + bias[n]`, in the one summation order.
pub fn dense<T: Float>(
    m: usize,
    k: usize,
    n: usize,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    dense_on(Isa::best(), m, k, n, input, weights, bias)
}

pub(super) fn dense_on<T: Float>(
    isa: Isa,
    m: usize,
    k: usize,
    n: usize,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    let outputs = checked_product(m, k, n, ("input", input.len()), ("weights", weights.len()))?;
    check_optional("bias", n, bias)?;
    if outputs == 0 || k == 0 {
        return reference::dense(m, k, n, input, weights, bias);
    }
    let mut cells = buffer(k * m + slack::<T>(isa))?;
    for (i, row) in input.chunks_exact(k).enumerate() {
        cells[i..].iter_mut().step_by(m).zip(row).for_each(|(cell, &value)| *cell = value);
    }
    let mut output = buffer(outputs)?;
    Product {
        weights: Plain { weights, length: k },
        groups: 1,
        rows: n,
        bias,
        cells: &cells,
        panels: 1,
        panel_cells: k * m,
        offsets: &(0..k).map(|k| k * m).collect::<Vec<_>>(),
        grid: Grid { rows: 1, columns: m, pitch: m },
    }
    .compute(isa, |_, sums, out| out.copy_from_slice(sums), &mut output);
    transposed(n, m, output)
}

/// `out[m, n] = sum_k input[m, k] * weights[n, k] + bias[n]`.
pub fn dense_integer<A: Byte, S: Accumulator>(
    m: usize,
    k: usize,
    n: usize,
    input: &[A],
    weights: &[i8],
    bias: Option<&[S]>,
) -> Result<Vec<S>, Error> {
    dense_integer_on(Isa::best(), m, k, n, input, weights, bias)
}

pub(super) fn dense_integer_on<A: Byte, S: Accumulator>(
    isa: Isa,
    m: usize,
    k: usize,
    n: usize,
    input: &[A],
    weights: &[i8],
    bias: Option<&[S]>,
) -> Result<Vec<S>, Error> {
    let outputs = checked_product(m, k, n, ("input", input.len()), ("weights", weights.len()))?;
    check_optional("bias", n, bias)?;
    if outputs == 0 || k == 0 {
        return reference::dense_integer(m, k, n, input, weights, bias);
    }
    let pairs = k.div_ceil(2);
    let mut cells = buffer(pairs * m + slack::<i32>(isa))?;
    for (i, row) in input.chunks_exact(k).enumerate() {
        for (cell, two) in cells[i..].iter_mut().step_by(m).zip(row.chunks(2)) {
            let high = two.get(1).map_or(0, |&value| value.into());
            *cell = pair(two[0].into(), high);
        }
    }
    let offsets: Vec<_> = (0..pairs).map(|k| k * m).collect();
    let mut output = buffer(outputs)?;
    let pairs_each = (S::TERMS / 2).min(pairs);
    for first in (0..pairs).step_by(pairs_each) {
        let end = (first + pairs_each).min(pairs);
        Product {
            weights: Pairs { weights, channels: k, taps: 1, taking_part: first * 2..(end * 2).min(k) },
            groups: 1,
            rows: n,
            bias: None,
            cells: &cells,
            panels: 1,
            panel_cells: pairs * m,
            offsets: &offsets[first..end],
            grid: Grid { rows: 1, columns: m, pitch: m },
        }
        .compute(
            isa,
            |row, sums, out| accumulate(bias.map(|bias| bias[row]), first == 0, sums, out),
            &mut output,
        );
    }
    transposed(n, m, output)
}

/// `[rows, columns]` to `[columns, rows]`.
fn transposed<T: Copy + Default>(rows: usize, columns: usize, matrix: Vec<T>) -> Result<Vec<T>, Error> {
    if rows == 1 || columns == 1 {
        return Ok(matrix);
    }
    let mut out = buffer(matrix.len())?;
    for (i, row) in matrix.chunks_exact(columns).enumerate() {
        out[i..].iter_mut().step_by(rows).zip(row).for_each(|(out, &value)| *out = value);
    }
    Ok(out)
}
