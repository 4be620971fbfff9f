//! Images with zeros between their pixels, as transposed convolutions read them.

use super::{Buffers, Image};
use crate::kernels::Error;

/// `x` with its rows and columns so far apart, and zeros between them.
///
/// # Errors
/// Sizes that memory does not hold.
pub fn stretch(x: &Image, [down, across]: [usize; 2], buffers: &mut Buffers) -> Result<Image, Error> {
    let apart = |size: usize, stride: usize| -> Result<usize, Error> {
        let last = size.saturating_sub(1).checked_mul(stride).ok_or(Error::Geometry)?;
        Ok(if size == 0 { 0 } else { last + 1 })
    };
    let (height, width) = (apart(x.height, down)?, apart(x.width, across)?);
    let mut out = buffers.image([x.batch, x.channels, height, width], x.offset)?;
    let (stride, offset) = (x.stride(), x.offset);
    if x.batch * x.channels * x.height * x.width == 0 {
        return Ok(out);
    }
    let rows = out.bytes_mut().chunks_exact_mut(width * stride).take(x.batch * height).enumerate();
    for (row, to) in rows {
        to.fill(offset);
        let (image, y) = (row / height, row % height);
        if y % down == 0 {
            let from = &x.bytes()[(image * x.height + y / down) * x.width * stride..][..x.width * stride];
            let pixels = to.chunks_mut(across * stride).zip(from.chunks_exact(stride));
            pixels.for_each(|(to, pixel)| to[..stride].copy_from_slice(pixel));
        }
    }
    Ok(out)
}
