//! Images of floats.

use super::{Buffers, Image, OFFSET};
use crate::kernels::Error;
use crate::kernels::isa::Isa;
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
    #[inline(always)]
    fn each(from: &[f32], to: &mut [u8], &Line { scale, zero, range, offset }: &Line) {
        for (to, &x) in to.iter_mut().zip(from) {
            // From 0 to 255.
            *to = (quantize_linear_to_byte(x, scale, zero, range) + offset) as u8;
        }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn avx2(from: &[f32], to: &mut [u8], line: &Line) {
        each(from, to, line);
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn avx512(from: &[f32], to: &mut [u8], line: &Line) {
        each(from, to, line);
    }
    match isa {
        Isa::Portable => each(from, to, line),
        // SAFETY: this processor has the instruction set.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => unsafe { avx2(from, to, line) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Vnni => unsafe { avx512(from, to, line) },
    }
}
