//! Poolings: `max_pool2d`, `avg_pool2d`, `global_avg_pool2d`.

use super::body::Body;
use super::window::{self, Spatial};
use super::windows;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OnnxNode, OpError,
    Operator, Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::kernels::{self, Ordered};
use crate::tensor::{DType, Dim, Element, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(MaxPool2d), Box::new(AvgPool2d), Box::new(GlobalAvgPool2d)]
}

/// What the kernel is asked to do, the batch aside, and the size of the result.
fn geometry(call: &Call) -> Result<(kernels::Pool2d, [usize; 2]), OpError> {
    let x = &call.ty(0)?.shape;
    let [_, channels, height, width] = &**x else {
        return Err(call.broken("C2", format!("x has 4 axes, found {x}")));
    };
    let pool = kernels::Pool2d {
        batch: 1,
        channels: call.known(channels)?,
        height: call.known(height)?,
        width: call.known(width)?,
        kernel: call.sizes("kernel_shape", 1)?,
        strides: call.sizes("strides", 1)?,
        dilations: [1, 1],
        pads: call.sizes("pads", 0)?,
        ceil_mode: false,
    };
    let inside = (0..4).all(|side| pool.pads[side] < pool.kernel[side % 2]);
    call.require("C3", inside, || format!("pads {:?} are smaller than kernel {:?}", pool.pads, pool.kernel))?;
    let out = pool.out_size();
    let out = out
        .ok_or_else(|| call.broken("C4", format!("the kernel {:?} fits into the padded {x}", pool.kernel)))?;
    Ok((pool, out))
}

fn infer_windows(call: &Call, allowed: &[DType]) -> Result<Vec<TensorType>, OpError> {
    let storage = call.same_plain("C1", allowed)?;
    let (_, [rows, columns]) = geometry(call)?;
    let x = &call.ty(0)?.shape;
    // The geometry has seen four axes.
    Ok(vec![TensorType::new(storage, vec![x[0].clone(), x[1].clone(), rows.into(), columns.into()])])
}

fn eval_windows<T: Element>(
    inputs: &Inputs,
    kernel: impl Fn(&kernels::Pool2d, &[T]) -> Result<Vec<T>, kernels::Error>,
) -> Result<Vec<Tensor>, OpError> {
    let (mut pool, [rows, columns]) = geometry(&inputs.call)?;
    pool.batch = inputs.get(0)?.sizes().first().copied().unwrap_or_default();
    let y = inputs.call.kernel(kernel(&pool, inputs.elements::<T>(0)?))?;
    inputs.call.result(&[pool.batch, pool.channels, rows, columns], y)
}

fn window_attrs(cx: &LowerCx) -> Result<Vec<(&'static str, OnnxAttr)>, OpError> {
    let ints = |attr| Ok((attr, OnnxAttr::Ints(cx.call.ints(attr)?.to_vec())));
    ["kernel_shape", "strides", "pads"].into_iter().map(ints).collect()
}

fn with_attrs(node: OnnxNode, attrs: Vec<(&str, OnnxAttr)>) -> OnnxNode {
    attrs.into_iter().fold(node, |node, (name, value)| node.attr(name, value))
}

/// What both poolings have in common in ONNX.
struct Lifted {
    attrs: Attrs,
    /// Whether the node states padding.
    padded: bool,
    /// Whether windows reach past that padding.
    past: bool,
    /// Spatial axes that the node has.
    axes: usize,
}

/// Whether the windows are over one or two axes, without dilations, and have padding that is smaller than they are.
fn is_plain(cx: &LiftCx) -> Result<bool, OpError> {
    let dense = cx.opt_ints("dilations")?.is_none_or(|dilations| dilations.iter().all(|&size| size == 1));
    let kernel = cx.opt_ints("kernel_shape")?.unwrap_or_default();
    let pads = cx.opt_ints("pads")?.unwrap_or_default();
    let inside = pads.iter().zip(kernel.iter().cycle()).all(|(pad, size)| pad < size);
    let storage = cx.ty(0)?.storage();
    let known = storage.is_float() || matches!(storage, DType::I8 | DType::U8 | DType::I32);
    Ok(dense && inside && known && matches!(cx.ty(0)?.shape.rank(), 3 | 4))
}

/// `ceil_mode` becomes padding at the end: as much as the last window reads.
fn lift_windows(cx: &LiftCx) -> Result<Lifted, OpError> {
    let spatial = Spatial::of_pool(cx)?;
    let size = window::spatial_size(cx, 0)?;
    let mut pads = window::pads(cx, &size, &spatial)?;
    let padded = pads != [0; 4];
    let mut past = false;
    if cx.int("ceil_mode", 0)? != 0 {
        for axis in 0..2 {
            let size = window::known_size(cx, &size[axis])?;
            let end = end_pad_of_ceil(
                size,
                [pads[axis], pads[axis + 2]],
                spatial.kernel[axis],
                spatial.strides[axis],
            );
            past |= end > pads[axis + 2];
            pads[axis + 2] = end;
        }
    }
    let attrs = Attrs::new()
        .with("kernel_shape", spatial.kernel.to_vec())
        .with("strides", spatial.strides.to_vec())
        .with("pads", pads.to_vec());
    Ok(Lifted { attrs, padded, past, axes: spatial.axes })
}

/// The padding at the end that gives, rounding sizes down, the windows that `pads` gives rounding
/// up: a last window that would start past the input and the padding before it is left out.
fn end_pad_of_ceil(size: i64, pads: [i64; 2], kernel: i64, stride: i64) -> i64 {
    let room = size + pads[0] + pads[1] - kernel;
    if room < 0 {
        // No window fits: what is inferred from these pads says so.
        return pads[1];
    }
    let mut last = (room + stride - 1) / stride * stride;
    if last >= size + pads[0] {
        last -= stride;
    }
    (last + kernel - size - pads[0]).max(0)
}

fn ramp(sizes: &[usize]) -> Option<Tensor> {
    let count = sizes.iter().product::<usize>();
    Tensor::new(sizes, (0..count).map(|i| (i * 5 % 11) as f32 - 4.0).collect())
}

pub struct MaxPool2d;

impl Operator for MaxPool2d {
    fn schema(&self) -> Schema {
        Schema::new(
            "max_pool2d",
            "`y[n, c, i, j]` is the largest `x[n, c, i * strides[0] + r - pads[0], j * strides[1] + s - pads[1]]` \
             inside x, for r and s below `kernel_shape`; for x `[N, C, H, W]` and y \
             `[N, C, (H + pads[0] + pads[2] - kernel_shape[0]) / strides[0] + 1, …]`. `pads` is top, left, bottom, \
             right. Of a window with NaN, the result is that NaN if it comes first, else the largest other.\n\n\
             * C0: `kernel_shape` and `strides` are 2 sizes from 1, `pads` 4 from 0.\n\
             * C1: x is plain f32, f64, i8, u8 or i32.\n\
             * C2: x has 4 axes.\n\
             * C3: pads are smaller than the kernel.\n\
             * C4: y has at least one row and column, and the sizes do not overflow.",
        )
        .operand("x")
        .required_attr("kernel_shape", AttrKind::Ints)
        .attr("strides", vec![1, 1])
        .attr("pads", vec![0, 0, 0, 0])
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        infer_windows(call, &[DType::F32, DType::F64, DType::I8, DType::U8, DType::I32])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn max<T: Element + Ordered>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
            eval_windows::<T>(inputs, kernels::max_pool)
        }
        match inputs.get(0)?.dtype() {
            DType::I8 => max::<i8>(inputs),
            DType::U8 => max::<u8>(inputs),
            DType::I32 => max::<i32>(inputs),
            other => for_float!(inputs.call, other, T => max::<T>(inputs)),
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a pooling runs on the device only as part of a convolution layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let attrs = window_attrs(cx)?;
        if cx.call.ty(0)?.storage() != DType::I32 {
            let node = cx.node("MaxPool", cx.operand_names.to_vec());
            return Ok(Lowered::Nodes(vec![with_attrs(node, attrs)]));
        }
        // ONNX has no max-pool of 32-bit integers; every one of them is a float64.
        let mut body = Body::of_node(cx);
        let x = cx.operand_names.first().cloned().unwrap_or_default();
        let x = body.cast(&x, DType::F64);
        let y = body.op_with("MaxPool", &[&x], attrs);
        body.cast(&y, DType::I32);
        Ok(body.nodes_of(cx))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift_max(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            if !is_plain(cx)? || cx.node.outputs.iter().skip(1).any(|name| !name.is_empty()) {
                return windows::lift_max(cx);
            }
            let Lifted { attrs, axes, .. } = lift_windows(cx)?;
            let x = window::as_rows(cx, "row", x)?;
            Ok(vec![window::op_on_rows(cx, axes, "max_pool2d", attrs, &[x])?])
        }
        vec![Lift::standard(
            "MaxPool",
            [
                Version::new(1, 1, &["auto_pad", "kernel_shape", "pads", "strides"]),
                Version::new(8, 1, &["auto_pad", "kernel_shape", "pads", "strides", "storage_order"]),
                Version::new(
                    10,
                    1,
                    &[
                        "auto_pad",
                        "kernel_shape",
                        "pads",
                        "strides",
                        "storage_order",
                        "ceil_mode",
                        "dilations",
                    ],
                ),
            ],
            lift_max,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let attrs = Attrs::new()
            .with("kernel_shape", vec![3, 2])
            .with("strides", vec![2, 2])
            .with("pads", vec![1, 0, 1, 0]);
        vec![
            Example { attrs, operands: vec![ramp(&[1, 2, 5, 4])] },
            Example {
                attrs: Attrs::new().with("kernel_shape", vec![2, 2]),
                operands: vec![Tensor::new(&[1, 1, 2, 3], vec![-3i8, -2, -128, 5, 4, 6])],
            },
            Example {
                attrs: Attrs::new().with("kernel_shape", vec![1, 2]).with("pads", vec![0, 1, 0, 0]),
                operands: vec![Tensor::new(&[1, 1, 2, 2], vec![i32::MIN, -2, i32::MAX, i32::MAX - 1])],
            },
        ]
    }
}

pub struct AvgPool2d;

impl Operator for AvgPool2d {
    fn schema(&self) -> Schema {
        Schema::new(
            "avg_pool2d",
            "`y[n, c, i, j]` is the mean of `x[n, c, i * strides[0] + r - pads[0], j * strides[1] + s - pads[1]]` \
             for r and s below `kernel_shape`: of the positions inside x, or with `count_include_pad` of all, x being \
             0 outside; for x `[N, C, H, W]` and y \
             `[N, C, (H + pads[0] + pads[2] - kernel_shape[0]) / strides[0] + 1, …]`. `pads` is top, left, bottom, \
             right. The sum goes in the order of r, s from 0, then it is divided.\n\n\
             * C0: `kernel_shape` and `strides` are 2 sizes from 1, `pads` 4 from 0.\n\
             * C1: x is plain f32 or f64.\n\
             * C2: x has 4 axes.\n\
             * C3: pads are smaller than the kernel.\n\
             * C4: y has at least one row and column, and the sizes do not overflow.",
        )
        .operand("x")
        .required_attr("kernel_shape", AttrKind::Ints)
        .attr("strides", vec![1, 1])
        .attr("pads", vec![0, 0, 0, 0])
        .attr("count_include_pad", false)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.flag("count_include_pad")?;
        infer_windows(call, FLOATS)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let all = inputs.call.flag("count_include_pad")?;
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => {
            eval_windows::<T>(inputs, |pool, x| kernels::avg_pool(pool, all, x))
        })
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("an average runs on the device only as part of a convolution layer, over the whole map")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let all = i64::from(cx.call.flag("count_include_pad")?);
        let node = with_attrs(cx.node("AveragePool", cx.operand_names.to_vec()), window_attrs(cx)?);
        Ok(Lowered::Nodes(vec![node.attr("count_include_pad", OnnxAttr::Int(all))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift_avg(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            if !is_plain(cx)? {
                return windows::lift_avg(cx);
            }
            let Lifted { attrs, padded, past, axes } = lift_windows(cx)?;
            // Without padding the flag says nothing: what lies past it is never counted.
            let all = cx.int("count_include_pad", 0)? != 0 && padded;
            if all && past {
                return windows::lift_avg(cx);
            }
            let x = window::as_rows(cx, "row", x)?;
            let attrs = attrs.with("count_include_pad", all);
            Ok(vec![window::op_on_rows(cx, axes, "avg_pool2d", attrs, &[x])?])
        }
        vec![Lift::standard(
            "AveragePool",
            [
                Version::new(1, 1, &["auto_pad", "kernel_shape", "pads", "strides"]),
                Version::new(7, 1, &["auto_pad", "kernel_shape", "pads", "strides", "count_include_pad"]),
                Version::new(
                    10,
                    1,
                    &["auto_pad", "kernel_shape", "pads", "strides", "count_include_pad", "ceil_mode"],
                ),
                Version::new(
                    19,
                    1,
                    &[
                        "auto_pad",
                        "kernel_shape",
                        "pads",
                        "strides",
                        "count_include_pad",
                        "ceil_mode",
                        "dilations",
                    ],
                ),
            ],
            lift_avg,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let attrs = Attrs::new()
            .with("kernel_shape", vec![3, 2])
            .with("strides", vec![2, 2])
            .with("pads", vec![1, 0, 1, 1]);
        vec![
            Example { attrs: attrs.clone(), operands: vec![ramp(&[1, 2, 5, 4])] },
            Example { attrs: attrs.with("count_include_pad", true), operands: vec![ramp(&[1, 2, 5, 4])] },
        ]
    }
}

pub struct GlobalAvgPool2d;

impl Operator for GlobalAvgPool2d {
    fn schema(&self) -> Schema {
        Schema::new(
            "global_avg_pool2d",
            "`y[n, c, 0, 0] = (sum over i, j of x[n, c, i, j]) / (H * W)` for x `[N, C, H, W]` and y \
             `[N, C, 1, 1]`. The sum goes in the order of i, j from 0, then it is divided.\n\n\
             * C1: x is plain f32 or f64.\n\
             * C2: x has 4 axes.\n\
             * C3: H and W are not 0.",
        )
        .operand("x")
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        let x = &call.ty(0)?.shape;
        let [batch, channels, height, width] = &**x else {
            return Err(call.broken("C2", format!("x has 4 axes, found {x}")));
        };
        let empty = *height == Dim::Fixed(0) || *width == Dim::Fixed(0);
        call.require("C3", !empty, || format!("H and W are not 0, found {x}"))?;
        Ok(vec![TensorType::new(storage, vec![batch.clone(), channels.clone(), 1.into(), 1.into()])])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let &[batch, channels, height, width] = inputs.get(0)?.sizes() else {
            return Err(inputs.call.broken("C2", "x has 4 axes"));
        };
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => {
            // Of a tensor in memory; one with an axis of size 0 may have others of any size.
            let planes = batch.saturating_mul(channels);
            let y = kernels::global_average(planes, height.saturating_mul(width), inputs.elements::<T>(0)?);
            inputs.call.result(&[batch, channels, 1, 1], inputs.call.kernel(y)?)
        })
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("an average runs on the device only as part of a convolution layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("GlobalAveragePool", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let rank = cx.ty(0)?.shape.rank();
            if rank == 4 {
                return Ok(vec![cx.op("global_avg_pool2d", Attrs::new(), &[x])?]);
            }
            // Ranks are small: they count the entries of a list in memory.
            let axes: Vec<i64> = (2..rank as i64).collect();
            Ok(vec![cx.op("reduce_mean", Attrs::new().with("axes", axes), &[x])?])
        }
        vec![Lift::standard("GlobalAveragePool", [Version::new(1, 1, &[])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![ramp(&[2, 3, 2, 3])] }]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn attrs(kernel: [i64; 2], strides: [i64; 2], pads: [i64; 4]) -> Attrs {
        Attrs::new()
            .with("kernel_shape", kernel.to_vec())
            .with("strides", strides.to_vec())
            .with("pads", pads.to_vec())
    }

    #[test]
    fn constraints() {
        let two = || attrs([2, 2], [1, 1], [0; 4]);
        for (op, wrong) in [("max_pool2d", "i64[1, 1, 2, 2]"), ("avg_pool2d", "i8[1, 1, 2, 2]")] {
            check_labels(
                op,
                &[
                    ("C0", attrs([2, 0], [1, 1], [0; 4]), &["f32[1, 1, 2, 2]"]),
                    ("C1", two(), &[wrong]),
                    ("C2", two(), &["f32[1, 2, 2]"]),
                    ("C3", attrs([2, 2], [1, 1], [0, 0, 0, 2]), &["f32[1, 1, 2, 2]"]),
                    ("C4", two(), &["f32[1, 1, 1, 2]"]),
                ],
            );
            assert_eq!(
                shape(op, attrs([3, 2], [2, 2], [1, 0, 1, 0]), &["f32[N, 3, 5, 6]"]),
                "f32[N, 3, 3, 3]"
            );
            assert_unknown_size(infer(op, two(), &[ty("f32[1, 1, H, 2]")]));
        }
        let none = Attrs::new();
        check_labels(
            "global_avg_pool2d",
            &[
                ("C1", none.clone(), &["i8[1, 1, 2, 2]"]),
                ("C2", none.clone(), &["f32[1, 1, 2]"]),
                ("C3", none.clone(), &["f32[1, 1, 0, 2]"]),
            ],
        );
        assert_eq!(shape("global_avg_pool2d", none, &["f32[N, C, H, W]"]), "f32[N, C, 1, 1]");
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[1, 1, 3, 3], [1.0f32, 2.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0, 9.0]);
        let corners = attrs([2, 2], [2, 2], [1, 1, 0, 0]);
        let y = eval("max_pool2d", corners.clone(), std::slice::from_ref(&x));
        assert_eq!(y, Ok(tensor(&[1, 1, 2, 2], [1.0f32, 3.0, 7.0, 9.0])));
        // One, two, two and four elements are inside.
        let y = eval("avg_pool2d", corners.clone(), std::slice::from_ref(&x));
        assert_eq!(y, Ok(tensor(&[1, 1, 2, 2], [1.0f32, 2.5, 5.5, 4.5])));
        let y = eval("avg_pool2d", corners.with("count_include_pad", true), std::slice::from_ref(&x));
        assert_eq!(y, Ok(tensor(&[1, 1, 2, 2], [0.25f32, 1.25, 2.75, 4.5])));
        let y = eval("global_avg_pool2d", Attrs::new(), std::slice::from_ref(&x));
        assert_eq!(y, Ok(tensor(&[1, 1, 1, 1], [35.0f32 / 9.0])));
        // Padding is below every value.
        let x = tensor(&[1, 1, 1, 1], [-128i8]);
        let y = eval("max_pool2d", attrs([2, 2], [1, 1], [1, 1, 0, 0]), &[x]);
        assert_eq!(y, Ok(tensor(&[1, 1, 1, 1], [-128i8])));
    }

    #[test]
    fn empty_batches_give_empty_results() {
        let x = || tensor::<f32>(&[0, 2, 4, 4], []);
        let two = attrs([2, 2], [2, 2], [0; 4]);
        assert_eq!(eval("max_pool2d", two.clone(), &[x()]), Ok(tensor::<f32>(&[0, 2, 2, 2], [])));
        assert_eq!(eval("avg_pool2d", two, &[x()]), Ok(tensor::<f32>(&[0, 2, 2, 2], [])));
        assert_eq!(eval("global_avg_pool2d", Attrs::new(), &[x()]), Ok(tensor::<f32>(&[0, 2, 1, 1], [])));
    }

    #[test]
    fn what_the_device_does_not_have_is_another_operator() {
        let ints = |v: &[i64]| OnnxAttr::Ints(v.to_vec());
        let x = || [Operand::Typed(ty("f32[1, 1, 5, 5]"))];
        let read = |node: &OnnxNode, x: &[Operand]| {
            let (graph, y) = lift(node, 13, x).unwrap();
            graph.node(y.node).op().unwrap().to_owned()
        };
        let kernel = ("kernel_shape", ints(&[3, 3]));
        let dilated = onnx("MaxPool", &[kernel.clone(), ("dilations", ints(&[2, 2]))]);
        assert_eq!(read(&dilated, &x()), "max_pool");
        assert_eq!(read(&onnx("MaxPool", std::slice::from_ref(&kernel)), &x()), "max_pool2d");
        let mut positions = onnx("MaxPool", std::slice::from_ref(&kernel));
        positions.outputs.push("positions".to_owned());
        assert_eq!(read(&positions, &x()), "max_pool");
        let cube = ("kernel_shape", ints(&[2, 2, 2]));
        assert_eq!(
            read(&onnx("AveragePool", &[cube]), &[Operand::Typed(ty("f32[1, 1, 5, 5, 5]"))]),
            "avg_pool"
        );
        assert!(matches!(lift(&onnx("MaxPool", &[]), 13, &x()), Err(OpError::Invalid { .. })));
        let past = [
            kernel,
            ("ceil_mode", OnnxAttr::Int(1)),
            ("strides", ints(&[2, 2])),
            ("pads", ints(&[1, 0, 0, 0])),
            ("count_include_pad", OnnxAttr::Int(1)),
        ];
        assert_eq!(read(&onnx("AveragePool", &past), &x()), "avg_pool");
    }

    #[test]
    fn wide_integers_pool_as_reals() {
        let attrs = Attrs::new().with("kernel_shape", vec![2, 2]).with("pads", vec![1, 0, 0, 0]);
        let x = tensor(&[1, 1, 2, 2], [i32::MIN, -7, i32::MAX, i32::MAX - 1]);
        let y = eval("max_pool2d", attrs.clone(), std::slice::from_ref(&x)).unwrap();
        assert_eq!(y, tensor(&[1, 1, 2, 1], [-7, i32::MAX]));
        assert_eq!(read_back("max_pool2d", attrs, &[x]), y);
    }

    proptest! {
        /// The windows of `ceil_mode`: as many as the size rounded up says, less a last one that
        /// would start in the padding behind; the padding found reaches to the end of the last.
        #[test]
        fn ceil_mode_is_padding(size in 1i64..20, before in 0i64..4, after in 0i64..4, kernel in 1i64..6, stride in 1i64..6) {
            let (before, after) = (before.min(kernel - 1), after.min(kernel - 1));
            prop_assume!(size + before + after >= kernel);
            let end = end_pad_of_ceil(size, [before, after], kernel, stride);
            prop_assert!((0..kernel).contains(&end));
            let rounded_up = (size + before + after - kernel + stride - 1) / stride + 1;
            let windows = (0..rounded_up).filter(|window| window * stride < size + before).count() as i64;
            prop_assert_eq!((size + before + end - kernel) / stride + 1, windows);
        }
    }
}
