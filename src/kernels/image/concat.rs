//! Concatenation of channels.

use super::{Buffers, Image};
use crate::kernels::Error;

/// The channels of `a` and then those of `b`.
///
/// # Errors
/// Images of other sizes or offsets.
pub fn concat(a: &Image, b: &Image, buffers: &mut Buffers) -> Result<Image, Error> {
    let sizes = |image: &Image| (image.batch, image.height, image.width, image.offset);
    if sizes(a) != sizes(b) {
        return Err(Error::Geometry);
    }
    let channels = a.channels.checked_add(b.channels).ok_or(Error::Geometry)?;
    let mut out = buffers.image([a.batch, channels, a.height, a.width], a.offset)?;
    let (stride, pixels) = (out.stride(), a.batch * a.height * a.width);
    if stride == 0 {
        return Ok(out);
    }
    for (pixel, to) in out.bytes_mut().chunks_exact_mut(stride).take(pixels).enumerate() {
        let (first, second) = to.split_at_mut(a.channels);
        first.copy_from_slice(&a.bytes()[pixel * a.stride()..][..a.channels]);
        second[..b.channels].copy_from_slice(&b.bytes()[pixel * b.stride()..][..b.channels]);
    }
    Ok(out)
}
