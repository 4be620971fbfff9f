//! What ONNX convolutions and poolings say of their sliding windows.

use super::{LiftCx, OpError};
use crate::tensor::Dim;

/// Kernel size, strides and dilations: rows, columns.
pub struct Spatial {
    pub kernel: [i64; 2],
    pub strides: [i64; 2],
    pub dilations: [i64; 2],
}

/// The upper end keeps products of these far from overflow.
const SIZES: std::ops::RangeInclusive<i64> = 1..=1 << 24;

impl Spatial {
    /// Of a convolution, whose kernel has the size of its weights.
    pub fn of_conv(cx: &LiftCx) -> Result<Self, OpError> {
        let [rows, columns] = spatial_size(cx, 1)?;
        // Sizes that do not fit are refused below.
        let size = |dim: &Dim| Ok(i64::try_from(cx.known(dim)?).unwrap_or(i64::MAX));
        let kernel = [size(&rows)?, size(&columns)?];
        let stated = pair(cx, "kernel_shape", kernel)?;
        if stated != kernel {
            return Err(cx.invalid(format!("kernel_shape is {stated:?}, the weights have {kernel:?}")));
        }
        Self::with_kernel(cx, kernel)
    }

    /// Of a pooling.
    pub fn of_pool(cx: &LiftCx) -> Result<Self, OpError> {
        if cx.opt_ints("kernel_shape")?.is_none() {
            return Err(cx.invalid("needs kernel_shape"));
        }
        Self::with_kernel(cx, pair(cx, "kernel_shape", [1, 1])?)
    }

    fn with_kernel(cx: &LiftCx, kernel: [i64; 2]) -> Result<Self, OpError> {
        let spatial =
            Self { kernel, strides: pair(cx, "strides", [1, 1])?, dilations: pair(cx, "dilations", [1, 1])? };
        let all = [spatial.kernel, spatial.strides, spatial.dilations];
        if all.iter().flatten().all(|size| SIZES.contains(size)) {
            Ok(spatial)
        } else {
            Err(cx.invalid("kernel, strides and dilations are from 1 to 2^24"))
        }
    }

    /// What the window covers from its first to its last element.
    pub fn extent(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }
}

fn pair(cx: &LiftCx, name: &str, default: [i64; 2]) -> Result<[i64; 2], OpError> {
    match cx.opt_ints(name)? {
        None => Ok(default),
        Some(&[a, b]) => Ok([a, b]),
        Some(other) => Err(cx.invalid(format!("`{name}` has an entry for each of 2 axes, found {other:?}"))),
    }
}

/// The last two of the four sizes of an operand.
pub fn spatial_size(cx: &LiftCx, position: usize) -> Result<[Dim; 2], OpError> {
    match &*cx.ty(position)?.shape {
        [_, _, rows, columns] => Ok([rows.clone(), columns.clone()]),
        other => Err(cx.unsupported(format!("an operand of {} axes (4 are needed)", other.len()))),
    }
}

/// The padding (top, left, bottom, right), however the node states it.
pub fn pads(cx: &LiftCx, size: &[Dim; 2], spatial: &Spatial) -> Result<[i64; 4], OpError> {
    let stated = match cx.opt_ints("pads")? {
        None => [0; 4],
        Some(pads) => match <[i64; 4]>::try_from(pads) {
            Ok(pads) if pads.iter().all(|pad| *pad == 0 || SIZES.contains(pad)) => pads,
            _ => return Err(cx.invalid(format!("`pads` is 4 integers from 0 to 2^24, found {pads:?}"))),
        },
    };
    let odd_first = match cx.opt_text("auto_pad")? {
        None | Some("NOTSET" | "") => return Ok(stated),
        Some("VALID") => return Ok([0; 4]),
        Some("SAME_UPPER") => false,
        Some("SAME_LOWER") => true,
        Some(other) => return Err(cx.invalid(format!("auto_pad is `{other}`"))),
    };
    let mut pads = [0; 4];
    for axis in 0..2 {
        let size = known_size(cx, &size[axis])?;
        let stride = spatial.strides[axis];
        // As many outputs as strides fit; the last window then ends at `(out - 1) * stride + extent`.
        let out = (size + stride - 1) / stride;
        let total = ((out - 1) * stride + spatial.extent(axis) - size).max(0);
        let (less, more) = (total / 2, total - total / 2);
        (pads[axis], pads[axis + 2]) = if odd_first { (more, less) } else { (less, more) };
    }
    Ok(pads)
}

/// A size that is known, and small enough to compute with.
pub fn known_size(cx: &LiftCx, dim: &Dim) -> Result<i64, OpError> {
    let size = cx.known(dim)?;
    i64::try_from(size)
        .ok()
        .filter(|&size| size <= 1 << 40)
        .ok_or_else(|| cx.unsupported(format!("an axis of size {size}")))
}
