//! Maxima and means: `max_pool2d`, `avg_pool2d`, `global_avg_pool2d`, `reduce_mean`.

use super::number::Real;
use super::window::{self, Spatial};
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OnnxNode, OpError,
    Operator, Quantize, Schema, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::kernels::{self, Ordered};
use crate::tensor::{DType, Dim, Element, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(MaxPool2d), Box::new(AvgPool2d), Box::new(GlobalAvgPool2d), Box::new(ReduceMean)]
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
        kernel: call.sizes("kernel", 1)?,
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

fn infer(call: &Call, allowed: &[DType]) -> Result<Vec<TensorType>, OpError> {
    let storage = call.same_plain("C1", allowed)?;
    let (_, [rows, columns]) = geometry(call)?;
    let x = &call.ty(0)?.shape;
    // The geometry has seen four axes.
    Ok(vec![TensorType::new(storage, vec![x[0].clone(), x[1].clone(), rows.into(), columns.into()])])
}

fn eval<T: Element>(
    inputs: &Inputs,
    kernel: impl Fn(&kernels::Pool2d, &[T]) -> Result<Vec<T>, kernels::Error>,
) -> Result<Vec<Tensor>, OpError> {
    let (mut pool, [rows, columns]) = geometry(&inputs.call)?;
    pool.batch = inputs.get(0)?.sizes().first().copied().unwrap_or_default();
    let y = inputs.call.kernel(kernel(&pool, inputs.elements::<T>(0)?))?;
    inputs.call.result(&[pool.batch, pool.channels, rows, columns], y)
}

fn lower(cx: &LowerCx, op_type: &str) -> Result<OnnxNode, OpError> {
    let mut node = cx.node(op_type, cx.operand_names.to_vec());
    for (attr, name) in [("kernel", "kernel_shape"), ("strides", "strides"), ("pads", "pads")] {
        node = node.attr(name, OnnxAttr::Ints(cx.call.ints(attr)?.to_vec()));
    }
    Ok(node)
}

/// What both poolings have in common in ONNX.
struct Lifted {
    attrs: Attrs,
    /// Whether the node states padding.
    padded: bool,
    /// Whether windows reach past that padding.
    past: bool,
}

/// `ceil_mode` becomes padding at the end: as much as the last window reads.
fn lift(cx: &LiftCx) -> Result<Lifted, OpError> {
    let spatial = Spatial::of_pool(cx)?;
    if spatial.dilations != [1, 1] {
        return Err(cx.unsupported("a pooling with dilations"));
    }
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
        .with("kernel", spatial.kernel.to_vec())
        .with("strides", spatial.strides.to_vec())
        .with("pads", pads.to_vec());
    Ok(Lifted { attrs, padded, past })
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
             inside x, for r and s below `kernel`; for x `[N, C, H, W]` and y \
             `[N, C, (H + pads[0] + pads[2] - kernel[0]) / strides[0] + 1, …]`. `pads` is top, left, bottom, \
             right. Of a window with NaN, the result is that NaN if it comes first, else the largest other.\n\n\
             * C0: `kernel` and `strides` are 2 sizes from 1, `pads` 4 from 0.\n\
             * C1: x is plain f32, f64, i8 or u8.\n\
             * C2: x has 4 axes.\n\
             * C3: pads are smaller than the kernel.\n\
             * C4: y has at least one row and column, and the sizes do not overflow.",
        )
        .operand("x")
        .required_attr("kernel", AttrKind::Ints)
        .attr("strides", vec![1, 1])
        .attr("pads", vec![0, 0, 0, 0])
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        infer(call, &[DType::F32, DType::F64, DType::I8, DType::U8])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn max<T: Element + Ordered>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
            eval::<T>(inputs, kernels::max_pool)
        }
        match inputs.get(0)?.dtype() {
            DType::I8 => max::<i8>(inputs),
            DType::U8 => max::<u8>(inputs),
            other => for_float!(inputs.call, other, T => max::<T>(inputs)),
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a pooling runs on the device only as part of a convolution layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![lower(cx, "MaxPool")?]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift_max(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            if cx.node.outputs.iter().skip(1).any(|name| !name.is_empty()) {
                return Err(cx.unsupported("the positions of the maxima"));
            }
            let attrs = lift(cx)?.attrs;
            Ok(vec![cx.op("max_pool2d", attrs, &[x])?])
        }
        vec![Lift { domain: "", op_type: "MaxPool".into(), since: 1, lift: lift_max }]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let attrs = Attrs::new()
            .with("kernel", vec![3, 2])
            .with("strides", vec![2, 2])
            .with("pads", vec![1, 0, 1, 0]);
        vec![
            Example { attrs, operands: vec![ramp(&[1, 2, 5, 4])] },
            Example {
                attrs: Attrs::new().with("kernel", vec![2, 2]),
                operands: vec![Tensor::new(&[1, 1, 2, 3], vec![-3i8, -2, -128, 5, 4, 6])],
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
             for r and s below `kernel`: of the positions inside x, or with `count_include_pad` of all, x being \
             0 outside; for x `[N, C, H, W]` and y \
             `[N, C, (H + pads[0] + pads[2] - kernel[0]) / strides[0] + 1, …]`. `pads` is top, left, bottom, \
             right. The sum goes in the order of r, s from 0, then it is divided.\n\n\
             * C0: `kernel` and `strides` are 2 sizes from 1, `pads` 4 from 0.\n\
             * C1: x is plain f32 or f64.\n\
             * C2: x has 4 axes.\n\
             * C3: pads are smaller than the kernel.\n\
             * C4: y has at least one row and column, and the sizes do not overflow.",
        )
        .operand("x")
        .required_attr("kernel", AttrKind::Ints)
        .attr("strides", vec![1, 1])
        .attr("pads", vec![0, 0, 0, 0])
        .attr("count_include_pad", false)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.flag("count_include_pad")?;
        infer(call, FLOATS)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let all = inputs.call.flag("count_include_pad")?;
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => {
            eval::<T>(inputs, |pool, x| kernels::avg_pool(pool, all, x))
        })
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("an average runs on the device only as part of a convolution layer, over the whole map")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let all = i64::from(cx.call.flag("count_include_pad")?);
        Ok(Lowered::Nodes(vec![lower(cx, "AveragePool")?.attr("count_include_pad", OnnxAttr::Int(all))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift_avg(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let Lifted { attrs, padded, past } = lift(cx)?;
            // Without padding the flag says nothing: what lies past it is never counted.
            let all = cx.int("count_include_pad", 0)? != 0 && padded;
            if all && past {
                return Err(cx.unsupported(
                    "an average with ceil_mode and count_include_pad whose windows reach past the padding",
                ));
            }
            Ok(vec![cx.op("avg_pool2d", attrs.with("count_include_pad", all), &[x])?])
        }
        vec![Lift { domain: "", op_type: "AveragePool".into(), since: 1, lift: lift_avg }]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let attrs = Attrs::new()
            .with("kernel", vec![3, 2])
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
            Ok(vec![cx.op("global_avg_pool2d", Attrs::new(), &[x])?])
        }
        vec![Lift { domain: "", op_type: "GlobalAveragePool".into(), since: 1, lift }]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![ramp(&[2, 3, 2, 3])] }]
    }
}

pub struct ReduceMean;

impl ReduceMean {
    /// Sums in row-major order of x from `+0`, then divides.
    fn eval_as<T: Real>(inputs: &Inputs, axes: &[usize], sizes: &[usize]) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.array::<T>(0)?;
        // Elements of the result, and for each axis of x the step in it (0 where it is reduced).
        let mut steps = vec![0; x.ndim()];
        let mut count = 1usize;
        for axis in (0..x.ndim()).rev() {
            if !axes.contains(&axis) {
                steps[axis] = count;
                // At most as many as x has, unless a reduced axis is empty.
                count = count.saturating_mul(x.shape()[axis]);
            }
        }
        let mut sums = inputs.call.filled(&[count], T::default())?.into_raw_vec_and_offset().0;
        for (at, &v) in x.indexed_iter() {
            let index: usize = (0..x.ndim()).map(|axis| at[axis] * steps[axis]).sum();
            sums[index] = sums[index] + v;
        }
        let divisor = axes.iter().map(|&axis| x.shape()[axis]).product();
        let y = sums.into_iter().map(|sum| T::mean(sum, divisor).canonical()).collect();
        inputs.call.result(sizes, y)
    }
}

impl Operator for ReduceMean {
    fn schema(&self) -> Schema {
        Schema::new(
            "reduce_mean",
            "`y[k…] = (sum over the indices of axes of x[k…]) / (their number)`: the mean over the axes \
             `axes`, which y keeps with size 1 if `keepdims` and lacks otherwise. The sum goes in row-major \
             order of x from 0, then it is divided.\n\n\
             * C1: x is plain f32 or f64.\n\
             * C2: 0 <= axis < rank of x for each of `axes`, which ascend.",
        )
        .operand("x")
        .required_attr("axes", AttrKind::Ints)
        .attr("keepdims", true)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        let x = &call.ty(0)?.shape;
        let axes = call.axes("C2", "axes", x.rank())?;
        let keepdims = call.flag("keepdims")?;
        let dims = x.iter().enumerate().filter_map(|(at, dim)| match axes.contains(&at) {
            false => Some(dim.clone()),
            true => keepdims.then_some(Dim::Fixed(1)),
        });
        Ok(vec![TensorType::new(storage, Shape::new(dims))])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let types = self.infer(&inputs.call)?;
        let sizes = types.first().and_then(|ty| ty.shape.sizes()).unwrap_or_default();
        let axes = inputs.call.axes("C2", "axes", inputs.get(0)?.sizes().len())?;
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs, &axes, &sizes))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a mean runs on the device only over both spatial axes, as part of a convolution layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let axes = cx.initializer("axes", Tensor::vector(cx.call.ints("axes")?.to_vec()));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(axes);
        let keepdims = OnnxAttr::Int(cx.call.flag("keepdims")?.into());
        // An empty list means no axis here, and would mean all of them.
        let node = cx.node("ReduceMean", inputs).attr("keepdims", keepdims);
        Ok(Lowered::Nodes(vec![node.attr("noop_with_empty_axes", OnnxAttr::Int(1))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let rank = cx.ty(0)?.shape.rank();
            let axes = if cx.opset < 18 {
                cx.opt_ints("axes")?.map(<[i64]>::to_vec)
            } else {
                cx.constant_ints(1, "axes")?
            };
            let axes = match axes {
                Some(axes) if !axes.is_empty() => cx.axes(&axes, rank)?,
                _ if cx.int("noop_with_empty_axes", 0)? != 0 => Vec::new(),
                // Ranks are small: they count the entries of a list in memory.
                _ => (0..rank as i64).collect(),
            };
            let attrs = Attrs::new().with("axes", axes).with("keepdims", cx.int("keepdims", 1)? != 0);
            Ok(vec![cx.op("reduce_mean", attrs, &[x])?])
        }
        vec![Lift { domain: "", op_type: "ReduceMean".into(), since: 1, lift }]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = ramp(&[2, 3, 2, 3]);
        vec![
            Example { attrs: Attrs::new().with("axes", vec![2, 3]), operands: vec![x.clone()] },
            Example {
                attrs: Attrs::new().with("axes", vec![0, 2]).with("keepdims", false),
                operands: vec![x],
            },
        ]
    }
}
