//! Images of floats.

use super::{Buffers, Image, OFFSET};
use crate::kernels::Error;
use crate::kernels::isa::{Isa, in_vectors};
use crate::tensor::round::quantize_linear_to_byte;

/// ONNX QuantizeLinear of `[batch, channels, height, width]` to int8 or uint8, with a scale and a zero point for each
/// channel.
///
/// # Errors
/// As for [`Image::from_planes`], or parameters of another number.
pub fn quantize(
    buffers: &mut Buffers,
    sizes: [usize; 4],
    is_int8: bool,
    elements: &[f32],
    parameters: &[(f32, i32)],
) -> Result<Image, Error> {
    crate::kernels::check_length("parameters", sizes[1], parameters.len())?;
    let isa = Isa::best();
    let (offset, range) = if is_int8 { (OFFSET, (-128, 127)) } else { (0, (0, 255)) };
    Image::from_planes(buffers, sizes, offset, elements, |channel, from, to| {
        let (scale, zero) = parameters[channel];
        line(isa, from, to, &Line { scale, zero, range, offset: offset.into() });
    })
}

struct Line {
    scale: f32,
    zero: i32,
    range: (i32, i32),
    offset: i32,
}

fn line(isa: Isa, from: &[f32], to: &mut [u8], line: &Line) {
    in_vectors!(
        isa,
        fn each(from: &[f32], to: &mut [u8], line: &Line) {
            let &Line { scale, zero, range, offset } = line;
            for (to, &x) in to.iter_mut().zip(from) {
                // From 0 to 255.
                *to = (quantize_linear_to_byte(x, scale, zero, range) + offset) as u8;
            }
        }
    )
}
