//! Products with a matrix.

use super::activation::fused;
use super::conv::bias;
use crate::ir::{Attrs, ValueId};
use crate::keras::cx::{Cx, Made};
use crate::keras::values::{At, Layout};

pub fn dense(cx: &mut Cx) -> Made<At> {
    let x = cx.only()?;
    let rank = cx.rank(x);
    let y = match (rank, cx.held(x)) {
        (2, (value, _)) => {
            let kernel = cx.turned(&["kernel"], 0, &[1, 0])?;
            let kernel = cx.constant("kernel", kernel);
            let operands: Vec<ValueId> =
                [Some(value), Some(kernel), bias(cx, 1)?].into_iter().flatten().collect();
            let y = cx.op("dense", "dense", Attrs::new(), &operands)?;
            cx.made(Layout::Last, y)
        }
        // Over the channels of a map it is a convolution by 1×1.
        (4, (value, Layout::First)) => {
            let kernel = cx.turned(&["kernel"], 0, &[1, 0])?;
            let sizes = [kernel.sizes(), &[1, 1]].concat();
            let kernel = cx.reshaped("kernel", &kernel, &sizes)?;
            let kernel = cx.constant("kernel", kernel);
            let operands: Vec<ValueId> =
                [Some(value), Some(kernel), bias(cx, 1)?].into_iter().flatten().collect();
            let y = cx.op("dense", "conv2d", Attrs::new(), &operands)?;
            cx.made(Layout::First, y)
        }
        _ => {
            let value = cx.get(x, Layout::Last)?;
            let kernel = cx.weight(&["kernel"], 0)?;
            let kernel = cx.constant("kernel", kernel);
            let mut y = cx.op("dense", "matmul", Attrs::new(), &[value, kernel])?;
            cx.main = Some(y);
            if let Some(bias) = bias(cx, 1)? {
                y = cx.op("add", "add", Attrs::new(), &[y, bias])?;
            }
            cx.made(Layout::Last, y)
        }
    };
    fused(cx, y)
}
