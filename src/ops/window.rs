//! What ONNX convolutions and poolings say of their sliding windows.

use super::{LiftCx, OpError};
use crate::ir::{Attrs, ValueId};
use crate::tensor::Dim;

/// Kernel size, strides and dilations: rows, columns. Where a node has one spatial axis, there is one row.
pub struct Spatial {
    /// Spatial axes that the node has: 1 or 2.
    pub axes: usize,
    pub kernel: [i64; 2],
    pub strides: [i64; 2],
    pub dilations: [i64; 2],
}

/// The upper end keeps products of these far from overflow.
const SIZES: std::ops::RangeInclusive<i64> = 1..=1 << 24;

impl Spatial {
    /// Of a convolution, whose kernel has the size of its weights, the operand at position `w`.
    pub fn of_conv(cx: &LiftCx, w: usize) -> Result<Self, OpError> {
        let [rows, columns] = spatial_size(cx, w)?;
        // Sizes that do not fit are refused below.
        let size = |dim: &Dim| Ok(i64::try_from(cx.known(dim)?).unwrap_or(i64::MAX));
        let kernel = [size(&rows)?, size(&columns)?];
        let axes = spatial_axes(cx)?;
        let stated = pair(cx, "kernel_shape", axes, kernel)?;
        if stated != kernel || cx.ty(w)?.shape.rank() != axes + 2 {
            return Err(cx.invalid(format!("kernel_shape is {stated:?}, the weights have {kernel:?}")));
        }
        Self::with_kernel(cx, axes, kernel)
    }

    /// Of a pooling.
    pub fn of_pool(cx: &LiftCx) -> Result<Self, OpError> {
        if cx.opt_ints("kernel_shape")?.is_none() {
            return Err(cx.invalid("needs kernel_shape"));
        }
        let axes = spatial_axes(cx)?;
        Self::with_kernel(cx, axes, pair(cx, "kernel_shape", axes, [1, 1])?)
    }

    fn with_kernel(cx: &LiftCx, axes: usize, kernel: [i64; 2]) -> Result<Self, OpError> {
        let (strides, dilations) = (pair(cx, "strides", axes, [1, 1])?, pair(cx, "dilations", axes, [1, 1])?);
        let spatial = Self { axes, kernel, strides, dilations };
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

/// A list with an entry for each of the spatial axes; `default` says what a missing list or axis has.
pub fn pair(cx: &LiftCx, name: &str, axes: usize, default: [i64; 2]) -> Result<[i64; 2], OpError> {
    match (cx.opt_ints(name)?, axes) {
        (None, _) => Ok(default),
        (Some(&[columns]), 1) => Ok([default[0], columns]),
        (Some(&[rows, columns]), 2) => Ok([rows, columns]),
        (Some(other), _) => {
            Err(cx.invalid(format!("`{name}` has an entry for each of {axes} axes, found {other:?}")))
        }
    }
}

/// How many spatial axes the first operand has.
fn spatial_axes(cx: &LiftCx) -> Result<usize, OpError> {
    spatial_size(cx, 0)?;
    Ok(cx.ty(0)?.shape.rank() - 2)
}

/// The sizes of an operand behind the first two, one row where there are no rows.
pub fn spatial_size(cx: &LiftCx, position: usize) -> Result<[Dim; 2], OpError> {
    match &*cx.ty(position)?.shape {
        [_, _, columns] => Ok([Dim::Fixed(1), columns.clone()]),
        [_, _, rows, columns] => Ok([rows.clone(), columns.clone()]),
        other => Err(cx.unsupported(format!("an operand of {} axes (3 or 4 are needed)", other.len()))),
    }
}

/// An operand as one with rows and columns: where it has no rows, with one.
pub fn as_rows(cx: &mut LiftCx, suffix: &str, value: ValueId) -> Result<ValueId, OpError> {
    if cx.builder.graph.ty(value).shape.rank() != 3 {
        return Ok(value);
    }
    cx.step(suffix, "unsqueeze", Attrs::new().with("axes", vec![2]), &[value])
}

/// An operator of rows and columns on such operands, whose one row is taken away again.
pub fn op_on_rows(
    cx: &mut LiftCx,
    axes: usize,
    op: &str,
    attrs: Attrs,
    operands: &[ValueId],
) -> Result<ValueId, OpError> {
    if axes == 2 {
        return cx.op(op, attrs, operands);
    }
    let y = cx.step("y_row", op, attrs, operands)?;
    cx.op("squeeze", Attrs::new().with("axes", vec![2]), &[y])
}

/// The padding (top, left, bottom, right), however the node states it.
pub fn pads(cx: &LiftCx, size: &[Dim; 2], spatial: &Spatial) -> Result<[i64; 4], OpError> {
    let stated = match cx.opt_ints("pads")? {
        None => [0; 4],
        Some(stated) => {
            let pads = match (stated, spatial.axes) {
                (&[left, right], 1) => Some([0, left, 0, right]),
                (&[top, left, bottom, right], 2) => Some([top, left, bottom, right]),
                _ => None,
            };
            let pads = pads.filter(|pads| pads.iter().all(|pad| *pad == 0 || SIZES.contains(pad)));
            let count = 2 * spatial.axes;
            pads.ok_or_else(|| {
                cx.invalid(format!("`pads` is {count} integers from 0 to 2^24, found {stated:?}"))
            })?
        }
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
