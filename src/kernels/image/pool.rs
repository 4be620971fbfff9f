//! Maximum of windows.

use super::{Buffers, Image, for_each_task};
use crate::kernels::geometry::Axis;
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
    let stride = x.stride();
    let output = Shared::new(out.bytes_mut());
    let work = x.batch * rows.out * columns.out * stride * pool.kernel[0] * pool.kernel[1] / 8;
    for_each_task(x.batch * rows.out, work, |task| {
        let (image, row) = (task / rows.out, task % rows.out);
        // SAFETY: no other task has this row.
        let to = unsafe { output.slice(task * columns.out * stride, columns.out * stride) };
        for (column, to) in to.chunks_exact_mut(stride).enumerate() {
            to.fill(0);
            for tap_row in rows.inside(row) {
                let y = row * rows.stride + tap_row * rows.dilation - rows.pads[0];
                for tap_column in columns.inside(column) {
                    let at = column * columns.stride + tap_column * columns.dilation - columns.pads[0];
                    let from = ((image * x.height + y) * x.width + at) * stride;
                    let from = &x.bytes()[from..from + stride];
                    to.iter_mut().zip(from).for_each(|(to, &byte)| *to = byte.max(*to));
                }
            }
        }
    });
    Ok(out)
}
