//! Convolutions.

use super::activation::fused;
use super::window::{Map, map, windows};
use crate::ir::{Attrs, ValueId};
use crate::keras::cx::{Cx, Made};
use crate::keras::values::At;
use crate::tensor::Tensor;

pub fn bias(cx: &mut Cx, number: usize) -> Made<Option<ValueId>> {
    if !cx.flag("use_bias", true)? {
        return Ok(None);
    }
    let bias = cx.weight(&["bias"], number)?;
    Ok(Some(cx.constant("bias", bias)))
}

/// Adds a convolution. `kernel` is as the operator takes it.
fn convolve(
    cx: &mut Cx,
    map: &Map,
    kernel: Tensor,
    bias: Option<ValueId>,
    group: i64,
    pads: Option<Vec<i64>>,
    suffix: &str,
) -> Made<ValueId> {
    let windows = windows(cx, map, &kernel.sizes()[2..])?;
    let pads = match pads {
        Some(pads) => pads,
        None => windows.pads(cx, map, cx.text("padding", "valid")?)?,
    };
    let attrs = Attrs::new()
        .with("strides", windows.strides)
        .with("dilations", windows.dilations)
        .with("pads", pads)
        .with("group", group);
    let kernel = cx.constant(suffix, kernel);
    let operands: Vec<ValueId> = [Some(map.value), Some(kernel), bias].into_iter().flatten().collect();
    let op = if map.spatial == 3 { "conv3d" } else { "conv2d" };
    cx.op("conv", op, attrs, &operands)
}

pub fn conv(cx: &mut Cx, spatial: usize) -> Made<At> {
    let map = map(cx, spatial)?;
    let y = conv_over(cx, &map, None)?;
    let y = map.result(cx, y)?;
    fused(cx, y)
}

/// The convolution itself, with pads in place of those that `padding` says.
pub fn conv_over(cx: &mut Cx, map: &Map, pads: Option<Vec<i64>>) -> Made<ValueId> {
    let spatial = map.spatial;
    let kernel = cx.turned(&["kernel"], 0, &map.weight_axes([spatial + 1, spatial]))?;
    let kernel = cx.reshaped("kernel", &kernel, &map.weight_sizes(kernel.sizes()))?;
    let bias = bias(cx, 1)?;
    let group = cx.int("groups", 1)?;
    convolve(cx, map, kernel, bias, group, pads, "kernel")
}

/// The kernel of a depthwise convolution, `[…, C, M]`, as `[C * M, 1, …]`, and C.
pub fn depthwise_kernel(cx: &Cx, map: &Map) -> Made<(Tensor, i64)> {
    let spatial = map.spatial;
    let kernel = cx.turned(&["depthwise_kernel", "kernel"], 0, &map.weight_axes([spatial, spatial + 1]))?;
    let mut sizes = map.weight_sizes(kernel.sizes());
    let channels = sizes[0] as i64;
    (sizes[0], sizes[1]) = (sizes[0] * sizes[1], 1);
    Ok((cx.reshaped("depthwise_kernel", &kernel, &sizes)?, channels))
}

pub fn depthwise(cx: &mut Cx, spatial: usize) -> Made<At> {
    let map = map(cx, spatial)?;
    let (kernel, channels) = depthwise_kernel(cx, &map)?;
    let bias = bias(cx, 1)?;
    let y = convolve(cx, &map, kernel, bias, channels, None, "depthwise_kernel")?;
    let y = map.result(cx, y)?;
    fused(cx, y)
}

pub fn separable(cx: &mut Cx, spatial: usize) -> Made<At> {
    let map = map(cx, spatial)?;
    let (kernel, channels) = depthwise_kernel(cx, &map)?;
    let multiplier = kernel.sizes()[0] as i64 / channels.max(1);
    let pointwise = cx.turned(&["pointwise_kernel"], 1, &map.weight_axes([spatial + 1, spatial]))?;
    let pointwise = cx.reshaped("pointwise_kernel", &pointwise, &map.weight_sizes(pointwise.sizes()))?;
    let bias = bias(cx, 2)?;
    let y = if spatial == 2 && multiplier == 1 {
        // QuantizeML quantizes it as one layer.
        let windows = windows(cx, &map, &kernel.sizes()[2..])?;
        let pads = windows.pads(cx, &map, cx.text("padding", "valid")?)?;
        let attrs = Attrs::new()
            .with("strides", windows.strides)
            .with("dilations", windows.dilations)
            .with("pads", pads);
        let kernels = [("depthwise_kernel", kernel), ("pointwise_kernel", pointwise)]
            .map(|(name, kernel)| cx.constant(name, kernel));
        let [depthwise, pointwise] = kernels;
        let operands = [Some(map.value), Some(depthwise), Some(pointwise), bias];
        let operands: Vec<ValueId> = operands.into_iter().flatten().collect();
        cx.op("conv", "SeparableConv2D", attrs, &operands)?
    } else {
        let between = convolve(cx, &map, kernel, None, channels, None, "depthwise_kernel")?;
        let pointwise = cx.constant("pointwise_kernel", pointwise);
        let operands: Vec<ValueId> = [Some(between), Some(pointwise), bias].into_iter().flatten().collect();
        cx.op("pointwise", "conv2d", Attrs::new(), &operands)?
    };
    let y = map.result(cx, y)?;
    fused(cx, y)
}

pub fn transposed(cx: &mut Cx) -> Made<At> {
    let map = map(cx, 2)?;
    if cx.int("groups", 1)? != 1 {
        return Err(cx.bad_setting("groups", "is not 1, which TensorFlow does not compute either"));
    }
    // From [H, W, F, C].
    let kernel = cx.turned(&["kernel"], 0, &[3, 2, 0, 1])?;
    let y = transpose_over(cx, &map, kernel, 1)?;
    let y = map.result(cx, y)?;
    fused(cx, y)
}

/// The attributes of a transposed convolution. It is the gradient of a convolution of the result, whose padding
/// it cuts off; where that convolution would not reach the end, zeros are added there.
pub fn transposed_geometry(cx: &Cx, map: &Map, kernel: &Tensor) -> Made<Attrs> {
    let windows = windows(cx, map, &kernel.sizes()[2..])?;
    let padding = cx.text("padding", "valid")?;
    let wished = cx.sizes_from("output_padding", map.spatial, 0)?;
    let (mut pads, mut more) = (vec![0; 4], vec![0; 2]);
    for axis in 0..2 {
        let stride = windows.strides[axis];
        let covered = (windows.kernel[axis] - 1) * windows.dilations[axis] + 1;
        // Sizes of the result beyond `(L - 1) * stride`, whole and as Keras says.
        let beyond = match (&wished, padding) {
            (None, "same") => stride,
            (None, "valid") => stride + (covered - stride).max(0),
            (Some(wished), "same") => covered - 2 * (covered / 2) + wished[axis],
            (Some(wished), "valid") => covered + wished[axis],
            (_, other) => return Err(cx.bad_setting("padding", format!("is `{other}`"))),
        };
        let before = if padding == "same" { (covered - beyond).max(0) / 2 } else { 0 };
        let behind = covered - before - beyond;
        (pads[axis], pads[axis + 2], more[axis]) = (before, behind.max(0), (-behind).max(0));
    }
    Ok(Attrs::new()
        .with("strides", windows.strides)
        .with("dilations", windows.dilations)
        .with("pads", pads)
        .with("output_padding", more))
}

/// The transposed convolution itself.
pub fn transpose_over(cx: &mut Cx, map: &Map, kernel: Tensor, group: i64) -> Made<ValueId> {
    let attrs = transposed_geometry(cx, map, &kernel)?.with("group", group);
    let kernel = cx.constant("kernel", kernel);
    let bias = bias(cx, 1)?;
    let operands: Vec<ValueId> = [Some(map.value), Some(kernel), bias].into_iter().flatten().collect();
    cx.op("conv", "conv_transpose2d", attrs, &operands)
}
