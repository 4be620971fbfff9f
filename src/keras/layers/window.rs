//! Windows over the axes between batch and channels, and how TensorFlow pads for them.

use crate::ir::{Attrs, ValueId};
use crate::keras::cx::{Cx, Made};
use crate::keras::values::{At, Layout};
use crate::tensor::Dim;

/// A value as operators over maps take it, and what its layer calls so.
pub struct Map {
    pub value: ValueId,
    /// How the layer's results lie.
    pub layout: Layout,
    /// The number of axes between batch and channels, in Keras.
    pub spatial: usize,
}

/// The only operand of a layer over `spatial` axes. One axis becomes a map of one row.
pub fn map(cx: &mut Cx, spatial: usize) -> Made<Map> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    if rank != spatial + 2 {
        return Err(cx.bad_call(format!("gives it a value of {rank} axes instead of {}", spatial + 2)));
    }
    let layout = if cx.channels_first()? { Layout::Last } else { Layout::First };
    let mut value = cx.get(at, layout)?;
    if spatial == 1 {
        value = cx.op("row", "unsqueeze", Attrs::new().with("axes", vec![2]), &[value])?;
    }
    Ok(Map { value, layout, spatial })
}

impl Map {
    /// The layer's result.
    pub fn result(&self, cx: &mut Cx, mut value: ValueId) -> Made<At> {
        if self.spatial == 1 {
            value = cx.op("line", "squeeze", Attrs::new().with("axes", vec![2]), &[value])?;
        }
        Ok(cx.made(self.layout, value))
    }

    /// The sizes between batch and channels.
    pub fn sizes<'a>(&self, cx: &'a Cx) -> &'a [Dim] {
        &cx.type_of(self.value).shape[2..]
    }

    /// A list of sizes for the axes of the operator.
    pub fn axes(&self, mut sizes: Vec<i64>, row: i64) -> Vec<i64> {
        if self.spatial == 1 {
            sizes.insert(0, row);
        }
        sizes
    }

    /// A weight's permutation: behind `front`, the spatial axes of the weight, which come first in it.
    pub fn weight_axes(&self, front: [usize; 2]) -> Vec<usize> {
        front.into_iter().chain(0..self.spatial).collect()
    }

    /// The sizes of a weight for the operator.
    pub fn weight_sizes(&self, turned: &[usize]) -> Vec<usize> {
        let mut sizes = turned.to_vec();
        if self.spatial == 1 && sizes.len() == 3 {
            sizes.insert(2, 1);
        }
        sizes
    }
}

/// The windows of a convolution, for the axes of the operator.
pub fn windows(cx: &Cx, map: &Map, kernel: &[usize]) -> Made<Windows> {
    let list = |name, row| -> Made<Vec<i64>> {
        let sizes = cx.sizes(name, map.spatial)?.unwrap_or_else(|| vec![1; map.spatial]);
        Ok(map.axes(sizes, row))
    };
    // Kernels are tensors, whose sizes fit.
    let kernel = kernel.iter().map(|&size| size as i64).collect();
    Ok(Windows { kernel, strides: list("strides", 1)?, dilations: list("dilation_rate", 1)? })
}

/// Windows of one layer: for each axis of the operator.
pub struct Windows {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
}

impl Windows {
    /// The padding before each axis, then that behind each.
    pub fn pads(&self, cx: &Cx, map: &Map, padding: &str) -> Made<Vec<i64>> {
        let mut pads = vec![0; 2 * self.kernel.len()];
        let count = self.kernel.len();
        for (axis, dim) in map.sizes(cx).iter().enumerate() {
            let covered = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            let (before, behind) = match padding {
                "valid" => (0, 0),
                "causal" => (covered - 1, 0),
                "same" => same(dim, covered, self.strides[axis])
                    .ok_or_else(|| cx.open_size("the sizes of its map for `padding='same'`"))?,
                other => return Err(cx.bad_setting("padding", format!("is `{other}`"))),
            };
            (pads[axis], pads[count + axis]) = (before, behind);
        }
        Ok(pads)
    }
}

/// TensorFlow's padding before and behind an axis for as many windows as strides begin in it, the odd
/// element behind. `None` if it depends on a size that is open.
pub fn same(dim: &Dim, covered: i64, stride: i64) -> Option<(i64, i64)> {
    let total = if stride == 1 {
        covered - 1
    } else {
        // Sizes of tensors fit.
        let size = dim.fixed()? as i64;
        ((size + stride - 1) / stride - 1) * stride + covered - size
    };
    let total = total.max(0);
    Some((total / 2, total - total / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_tensorflows() {
        for (size, covered, stride, pads) in [
            (8, 3, 1, (1, 1)),
            (8, 3, 2, (0, 1)),
            (7, 3, 2, (1, 1)),
            (8, 2, 2, (0, 0)),
            (224, 7, 2, (2, 3)),
            (5, 1, 3, (0, 0)),
        ] {
            assert_eq!(same(&Dim::Fixed(size), covered, stride), Some(pads));
        }
        assert_eq!(same(&Dim::Symbol("h".into()), 4, 1), Some((1, 2)));
        assert_eq!(same(&Dim::Symbol("h".into()), 3, 2), None);
    }
}
