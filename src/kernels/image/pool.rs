//! Maximum of windows.

use std::ops::Range;

use super::{Buffers, Image, for_each_task};
use crate::kernels::geometry::Axis;
use crate::kernels::isa::{Isa, in_vectors};
use crate::kernels::shared::Shared;
use crate::kernels::{Error, Pool2d};

/// The maximum of every window, padding left out.
///
/// # Errors
/// An image of other sizes than the pool says, or a window that is all padding.
pub fn max_pool(pool: &Pool2d, x: &Image, buffers: &mut Buffers) -> Result<Image, Error> {
    let [rows, columns] = pool.plan()?.axes;
    let sizes = [pool.batch, pool.channels, pool.height, pool.width];
    let within = |axis: Axis| (0..axis.out).all(|o| !axis.inside(o).is_empty());
    if sizes != [x.batch, x.channels, x.height, x.width] || !within(rows) || !within(columns) {
        return Err(Error::Geometry);
    }
    let mut out = buffers.image([x.batch, x.channels, rows.out, columns.out], x.offset)?;
    let (stride, isa) = (x.stride(), Isa::best());
    if stride == 0 {
        return Ok(out);
    }
    // The taps of a row of the window, each with the outputs for which it is inside.
    let taps: Vec<(usize, Range<usize>)> = (0..columns.kernel)
        .filter_map(|tap| {
            let inside = |&column: &usize| columns.inside(column).contains(&tap);
            let first = (0..columns.out).find(inside)?;
            Some((tap, first..first + (first..columns.out).take_while(inside).count()))
        })
        .collect();
    let output = Shared::new(out.bytes_mut());
    let work = x.batch * rows.out * columns.out * stride * pool.kernel[0] * pool.kernel[1] / 8;
    for_each_task(x.batch * rows.out, work, |task| {
        let (image, row) = (task / rows.out, task % rows.out);
        // SAFETY: no other task has this row.
        let to = unsafe { output.slice(task * columns.out * stride, columns.out * stride) };
        to.fill(0);
        for tap_row in rows.inside(row) {
            let y = row * rows.stride + tap_row * rows.dilation - rows.pads[0];
            let from = &x.bytes()[(image * x.height + y) * x.width * stride..][..x.width * stride];
            for (tap, outputs) in &taps {
                let at = outputs.start * columns.stride + tap * columns.dilation - columns.pads[0];
                let to = &mut to[outputs.start * stride..outputs.end * stride];
                let from = &from[at * stride..];
                if columns.stride == 1 {
                    raise(isa, to, from);
                } else {
                    let pixels = from.chunks(columns.stride * stride);
                    to.chunks_exact_mut(stride).zip(pixels).for_each(|(to, from)| raise(isa, to, from));
                }
            }
        }
    });
    Ok(out)
}

/// Replaces each byte by one of `from` that is larger.
fn raise(isa: Isa, to: &mut [u8], from: &[u8]) {
    in_vectors!(
        isa,
        fn each(to: &mut [u8], from: &[u8]) {
            to.iter_mut().zip(from).for_each(|(to, &byte)| *to = byte.max(*to));
        }
    )
}
