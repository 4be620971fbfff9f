//! Two-dimensional convolution: `conv2d`.

use super::body::Body;
use super::conv3d;
use super::number::Real;
use super::product::{self, Product};
use super::quantized;
use super::window::{self, Spatial};
use super::{
    Arithmetic, Call, Example, Held, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Prepared, Quantize, Schema, Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::kernels::image::Buffers;
use crate::kernels::{self, Accumulator, Byte};
use crate::tensor::{DType, Dim, Element, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Conv2d)]
}

pub struct Conv2d;

impl Conv2d {
    /// What the kernel is asked to do, the batch aside, and the size of the result.
    fn geometry(call: &Call) -> Result<(kernels::Conv2d, [usize; 2]), OpError> {
        let (x, w) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        let four = |shape: &Shape| <[Dim; 4]>::try_from(shape.to_vec()).ok();
        let (Some([_, channels, height, width]), Some([filters, taken, rows, columns])) = (four(x), four(w))
        else {
            return Err(call.broken("C2", format!("x and w have 4 axes, found {x} and {w}")));
        };
        let group = usize::try_from(call.int("group")?).unwrap_or_default();
        call.require("C3", group >= 1, || format!("group is at least 1, found {group}"))?;
        let conv = kernels::Conv2d {
            batch: 1,
            channels: call.known(&channels)?,
            height: call.known(&height)?,
            width: call.known(&width)?,
            filters: call.known(&filters)?,
            kernel: [call.known(&rows)?, call.known(&columns)?],
            strides: call.sizes("strides", 1)?,
            dilations: call.sizes("dilations", 1)?,
            pads: call.sizes("pads", 0)?,
            group,
        };
        call.require(
            "C4",
            conv.channels.is_multiple_of(group) && conv.filters.is_multiple_of(group),
            || format!("group {group} divides {} channels and {} filters", conv.channels, conv.filters),
        )?;
        let taken = call.known(&taken)?;
        call.require("C5", taken == conv.channels / group, || {
            format!("w takes {} channels, found {taken}", conv.channels / group)
        })?;
        let out = conv.out_size();
        let out =
            out.ok_or_else(|| call.broken("C6", format!("the kernel of {w} fits into the padded {x}")))?;
        Ok((conv, out))
    }

    /// What the kernel is asked to do with operands in memory, and the sizes of the result.
    fn task(inputs: &Inputs) -> Result<(kernels::Conv2d, [usize; 4]), OpError> {
        let (mut conv, [rows, columns]) = Self::geometry(&inputs.call)?;
        conv.batch = inputs.get(0)?.sizes().first().copied().unwrap_or_default();
        let sizes = [conv.batch, conv.filters, rows, columns];
        Ok((conv, sizes))
    }

    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (conv, sizes) = Self::task(inputs)?;
        let y = kernels::conv2d(
            &conv,
            inputs.elements::<T>(0)?,
            inputs.elements::<T>(1)?,
            inputs.opt_elements::<T>(2)?,
        );
        inputs.call.result(&sizes, inputs.call.kernel(y)?)
    }

    /// The attributes that Conv and ConvInteger share.
    fn lower_attrs(cx: &LowerCx) -> Result<Vec<(&'static str, OnnxAttr)>, OpError> {
        let (conv, _) = Self::geometry(&cx.call)?;
        let mut attrs = Vec::new();
        for attr in ["strides", "dilations", "pads"] {
            attrs.push((attr, OnnxAttr::Ints(cx.call.ints(attr)?.to_vec())));
        }
        // Kernel sizes are sizes in memory.
        attrs.push(("kernel_shape", OnnxAttr::Ints(conv.kernel.map(|size| size as i64).to_vec())));
        attrs.push(("group", OnnxAttr::Int(cx.call.int("group")?)));
        Ok(attrs)
    }

    /// The attributes, and how many spatial axes there are; the weights are the operand at position `w`.
    fn lift_attrs(cx: &LiftCx, w: usize) -> Result<(Attrs, usize), OpError> {
        let spatial = Spatial::of_conv(cx, w)?;
        let pads = window::pads(cx, &window::spatial_size(cx, 0)?, &spatial)?;
        let attrs = Attrs::new()
            .with("strides", spatial.strides.to_vec())
            .with("dilations", spatial.dilations.to_vec())
            .with("pads", pads.to_vec())
            .with("group", cx.int("group", 1)?);
        Ok((attrs, spatial.axes))
    }
}

/// A convolution that gives each channel of f32 as it is, but for the bias: what stands for an operator that needs a
/// convolution before it.
struct Identity {
    bias: Option<Vec<f32>>,
}

impl Identity {
    fn of(constants: &Inputs) -> Option<Identity> {
        let call = &constants.call;
        let Ok(Tensor::F32(w)) = constants.get(1) else { return None };
        let &[filters, channels, 1, 1] = w.shape() else { return None };
        let attrs = (call.sizes("strides", 1), call.sizes("pads", 0), call.int("group"));
        let is_plain = attrs == (Ok([1, 1]), Ok([0; 4]), Ok(1)) && filters == channels;
        let diagonal = |i: usize| if i / channels == i % channels { 1.0 } else { 0.0 };
        if !is_plain || !w.iter().enumerate().all(|(i, &w)| w == diagonal(i)) {
            return None;
        }
        Some(Identity { bias: constants.opt_elements::<f32>(2).ok()?.map(<[f32]>::to_vec) })
    }
}

impl Prepared for Identity {
    fn run(&self, operands: &[Option<&Held>], _: &mut Buffers) -> Option<Vec<Held>> {
        let x = operands.first().copied().flatten()?.tensor()?;
        let sizes = x.sizes();
        let &[_, _, height, width] = sizes else { return None };
        let x = x.elements::<f32>()?;
        // Zero times what is not finite is NaN.
        let (low, high) = kernels::extremes(x, x.len()).first().copied()?;
        if !low.is_finite() || !high.is_finite() || x.iter().any(|x| x.is_nan()) {
            return None;
        }
        // The sum begins with +0.
        let y = match &self.bias {
            None => x.iter().map(|&x| x + 0.0).collect(),
            Some(bias) => {
                let planes = x.chunks_exact(height * width).zip(bias.iter().cycle());
                planes.flat_map(|(plane, &bias)| plane.iter().map(move |&x| (x + 0.0) + bias)).collect()
            }
        };
        Some(vec![Held::Tensor(Tensor::new::<f32>(sizes, y)?)])
    }

    fn size(&self) -> usize {
        self.bias.as_ref().map_or(0, |bias| size_of_val(&**bias))
    }
}

impl Product for Conv2d {
    fn sums<A: Byte + Element, S: Accumulator + Element>(
        &self,
        inputs: &Inputs,
        bias: Option<&[S]>,
    ) -> Result<Vec<S>, OpError> {
        let (conv, _) = Self::task(inputs)?;
        let (x, w) = (inputs.elements::<A>(0)?, inputs.elements::<i8>(1)?);
        inputs.call.kernel(kernels::conv2d_integer(&conv, x, w, bias, None))
    }
}

impl Operator for Conv2d {
    fn schema(&self) -> Schema {
        Schema::new(
            "conv2d",
            "`y[n, f, i, j] = sum over c, r, s of x[n, g * C/group + c, i * strides[0] + r * dilations[0] - \
             pads[0], j * strides[1] + s * dilations[1] - pads[1]] * w[f, c, r, s] + b[f]` with \
             `g = f / (F/group)`, x being 0 outside; for x `[N, C, H, W]`, w `[F, C/group, R, S]`, b `[F]` and y \
             `[N, F, (H + pads[0] + pads[2] - (R-1) * dilations[0] - 1) / strides[0] + 1, …]`. `pads` is \
             top, left, bottom, right. `group = C` makes it depthwise. Of floats the sum is `fma` in the order \
             c, r, s from 0, then b is added; of integers it is exact.\n\n\
             * C0: `strides` and `dilations` are 2 sizes from 1, `pads` 4 from 0.\n\
             * C1: x, w and b are plain and stored alike, as f32 or f64; or x is i8 or u8, w i8, b i32 and y i32.\n\
             * C2: x and w have 4 axes.\n\
             * C3: group is at least 1.\n\
             * C4: group divides C and F.\n\
             * C5: w takes C/group channels.\n\
             * C6: y has at least one row and column, and the sizes do not overflow.\n\
             * C7: b has the one axis F.\n\
             * C8 (when it runs): the elements of an integer y fit i32.",
        )
        .operand("x")
        .operand("w")
        .optional("b")
        .attr("strides", vec![1, 1])
        .attr("dilations", vec![1, 1])
        .attr("pads", vec![0, 0, 0, 0])
        .attr("group", 1i64)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = product::storage(call, "C1")?;
        let (conv, [rows, columns]) = Self::geometry(call)?;
        if let Some(b) = call.opt_ty(2) {
            call.require("C7", b.shape.sizes() == Some(vec![conv.filters]), || {
                format!("b has shape [{}], found {}", conv.filters, b.shape)
            })?;
        }
        let batch = call.ty(0)?.shape[0].clone();
        let shape = vec![batch, conv.filters.into(), rows.into(), columns.into()];
        Ok(vec![TensorType::new(storage, shape)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        if product::is_integer(&inputs.call)? {
            let bound = product::bound(inputs.get(0)?.dtype(), inputs.get(1)?, inputs.opt(2));
            let (_, sizes) = Self::task(inputs)?;
            return product::eval(self, inputs, "C8", &sizes, bound);
        }
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn prepare(&self, constants: &Inputs, _: Arithmetic) -> Option<Box<dyn Prepared>> {
        Identity::of(constants).map(|identity| Box::new(identity) as _)
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a convolution runs on the device as a layer: it was not fused into one")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let attrs = Self::lower_attrs(cx)?;
        if !product::is_integer(&cx.call)? {
            let node = cx.node("Conv", cx.operand_names.to_vec());
            let node = attrs.into_iter().fold(node, |node, (name, value)| node.attr(name, value));
            return Ok(Lowered::Nodes(vec![node]));
        }
        product::expect_i32(cx)?;
        let mut body = Body::of_node(cx);
        let [x, w, b] = [0, 1, 2].map(|at| cx.operand_names.get(at).cloned().unwrap_or_default());
        let [x, x_zero] = product::lower_operand(&mut body, &x, cx.call.ty(0)?.storage());
        let [w, w_zero] = product::lower_operand(&mut body, &w, DType::I8);
        // Padding is with the zero point.
        let y = body.op_with("ConvInteger", &[&x, &w, &x_zero, &w_zero], attrs);
        if !b.is_empty() {
            let axes = body.vector(vec![1i64, 2]);
            let b = body.op("Unsqueeze", &[&b, &axes]);
            body.op("Add", &[&y, &b]);
        }
        Ok(body.nodes_of(cx))
    }

    fn lifts(&self) -> Vec<Lift> {
        const ATTRS: &[&str] = &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            product::expect_floats(cx)?;
            if cx.ty(0)?.shape.rank() == 5 {
                return conv3d::lift(cx);
            }
            let (x, w, (attrs, axes)) = (cx.operand(0)?, cx.operand(1)?, Conv2d::lift_attrs(cx, 1)?);
            let mut operands = vec![window::as_rows(cx, "row", x)?, window::as_rows(cx, "w_row", w)?];
            operands.extend(cx.opt_operand(2));
            Ok(vec![window::op_on_rows(cx, axes, "conv2d", attrs, &operands)?])
        }
        fn lift_integer(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (attrs, axes) = Conv2d::lift_attrs(cx, 1)?;
            if let Ok(x) = product::lift_operand(cx, "x", 0, 2)
                && let Ok(w) = product::lift_operand(cx, "w", 1, 3)
                && cx.builder.graph.ty(w).storage() == DType::I8
            {
                let operands = [window::as_rows(cx, "x_row", x)?, window::as_rows(cx, "w_row", w)?];
                return Ok(vec![window::op_on_rows(cx, axes, "conv2d", attrs, &operands)?]);
            }
            let sum = wide_sum(cx, attrs, axes, [0, 2], [1, 3], None)?;
            Ok(vec![quantized::as_i32(cx, sum)?])
        }
        fn lift_quantized(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (attrs, axes) = Conv2d::lift_attrs(cx, 3)?;
            let sum = wide_sum(cx, attrs, axes, [0, 2], [3, 5], cx.opt_operand(8))?;
            Ok(vec![quantized::requantized(cx, sum, [(1, 0), (4, axes), (6, 0)], 7)?])
        }
        vec![
            Lift::standard("Conv", [Version::new(1, 3, ATTRS)], lift),
            Lift::standard("ConvInteger", [Version::new(10, 4, ATTRS)], lift_integer),
            Lift::standard("QLinearConv", [Version::new(10, 9, ATTRS)], lift_quantized),
        ]
    }

    fn macs(&self, call: &Call) -> u64 {
        Self::geometry(call).map_or(0, |(conv, out)| {
            let taps = [conv.channels / conv.group, conv.kernel[0], conv.kernel[1]];
            let product = [conv.filters, out[0], out[1]].into_iter().chain(taps);
            product.fold(1u64, |macs, size| macs.saturating_mul(size as u64))
        })
    }

    fn examples(&self) -> Vec<Example> {
        let ramp = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i % 7) as f32 - 2.5).collect())
        };
        let strided = Attrs::new().with("strides", vec![2, 1]).with("pads", vec![1, 0, 1, 2]);
        let depthwise = Attrs::new().with("group", 2).with("dilations", vec![2, 1]);
        vec![
            Example { attrs: strided, operands: vec![ramp(&[1, 2, 5, 4]), ramp(&[3, 2, 3, 3]), ramp(&[3])] },
            Example { attrs: depthwise, operands: vec![ramp(&[2, 2, 5, 4]), ramp(&[2, 1, 2, 2])] },
            Example {
                attrs: Attrs::new().with("pads", vec![1, 0, 0, 1]),
                operands: vec![
                    Tensor::new(&[1, 1, 2, 3], vec![-128i8, 127, 3, -4, 50, 0]),
                    Tensor::new(&[2, 1, 2, 2], vec![127i8, -128, 1, 0, 5, -6, 7, 100]),
                    Tensor::new(&[2], vec![1000i32, -1000]),
                ],
            },
        ]
    }
}

/// A convolution of 8-bit integers with any zero points as one of f64; x and w are positions of an operand and of
/// its zero point.
fn wide_sum(
    cx: &mut LiftCx,
    attrs: Attrs,
    axes: usize,
    x: [usize; 2],
    w: [usize; 2],
    bias: Option<ValueId>,
) -> Result<ValueId, OpError> {
    let x = quantized::wide(cx, "x", x[0], x[1], 0)?;
    let w = quantized::wide(cx, "w", w[0], w[1], axes + 1)?;
    let mut operands = vec![window::as_rows(cx, "x_row", x)?, window::as_rows(cx, "w_row", w)?];
    if let Some(bias) = bias {
        operands.push(cx.step("bias", "cast", Attrs::new().with("to", DType::F64), &[bias])?);
    }
    let sum = cx.step("products", "conv2d", attrs, &operands)?;
    if axes == 2 {
        return Ok(sum);
    }
    cx.step("products_row", "squeeze", Attrs::new().with("axes", vec![2]), &[sum])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Registry;
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let none = Attrs::new();
        let group = |group: i64| Attrs::new().with("group", group);
        check_labels(
            "conv2d",
            &[
                ("C0", Attrs::new().with("strides", vec![0, 1]), &["f32[1, 2, 3, 3]", "f32[4, 2, 1, 1]"]),
                ("C0", Attrs::new().with("pads", vec![1, 1]), &["f32[1, 2, 3, 3]", "f32[4, 2, 1, 1]"]),
                ("C1", none.clone(), &["f32[1, 2, 3, 3]", "f64[4, 2, 1, 1]"]),
                ("C1", none.clone(), &["i8[1, 2, 3, 3]", "u8[4, 2, 1, 1]"]),
                ("C1", none.clone(), &["u8[1, 2, 3, 3]", "i8[4, 2, 1, 1]", "i8[4]"]),
                ("C1", none.clone(), &["i32[1, 2, 3, 3]", "i32[4, 2, 1, 1]"]),
                ("C2", none.clone(), &["f32[1, 2, 3]", "f32[4, 2, 1, 1]"]),
                ("C3", group(0), &["f32[1, 2, 3, 3]", "f32[4, 2, 1, 1]"]),
                ("C4", group(3), &["f32[1, 2, 3, 3]", "f32[4, 2, 1, 1]"]),
                ("C5", group(2), &["f32[1, 2, 3, 3]", "f32[4, 2, 1, 1]"]),
                ("C6", none.clone(), &["f32[1, 2, 3, 3]", "f32[4, 2, 4, 1]"]),
                ("C6", none.clone(), &["f32[1, 2, 0, 3]", "f32[4, 2, 1, 1]"]),
                ("C7", none.clone(), &["f32[1, 2, 3, 3]", "f32[4, 2, 1, 1]", "f32[3]"]),
            ],
        );
        assert_eq!(shape("conv2d", none.clone(), &["f32[N, 2, 5, 4]", "f32[7, 2, 3, 2]"]), "f32[N, 7, 3, 3]");
        assert_unknown_size(infer("conv2d", none, &[ty("f32[N, 2, H, W]"), ty("f32[7, 2, 3, 2]")]));
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[1, 1, 3, 3], [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let w = tensor(&[1, 1, 2, 2], [1.0f32, -1.0, 0.5, 2.0]);
        let b = tensor(&[1], [100.0f32]);
        // 1 - 2 + 2 + 10 = 11, and so on.
        let y = eval("conv2d", Attrs::new(), &[x.clone(), w.clone(), b.clone()]);
        assert_eq!(y, Ok(tensor(&[1, 1, 2, 2], [111.0f32, 113.5, 118.5, 121.0])));
        // One row of padding above: only the second row of the kernel reads x.
        let attrs = Attrs::new().with("pads", vec![1, 0, 0, 0]).with("strides", vec![3, 2]);
        assert_eq!(eval("conv2d", attrs, &[x.clone(), w.clone()]), Ok(tensor(&[1, 1, 1, 1], [4.5f32])));
        let attrs = Attrs::new().with("dilations", vec![2, 2]);
        // 1 - 3 + 3.5 + 18.
        assert_eq!(eval("conv2d", attrs, &[x, w.clone()]), Ok(tensor(&[1, 1, 1, 1], [19.5f32])));
        let empty = eval("conv2d", Attrs::new(), &[tensor::<f32>(&[0, 1, 3, 3], []), w, b]);
        assert_eq!(empty, Ok(tensor::<f32>(&[0, 1, 2, 2], [])));
    }

    #[test]
    fn multiply_accumulates_leave_the_batch_out() {
        let registry = super::super::Registry::built_in();
        let entry = registry.get("conv2d").unwrap();
        let attrs = registry.complete("conv2d", Attrs::new().with("group", 2)).unwrap();
        let operands = [Some(ty("f32[N, 4, 5, 5]")), Some(ty("f32[6, 2, 3, 3]"))];
        let call = Call { schema: &entry.schema, attrs: &attrs, operands: &operands };
        assert_eq!(entry.operator.macs(&call), 6 * 2 * 9 * 9);
    }

    #[test]
    fn padding_that_keeps_the_size() {
        let pads = |attrs: &[(&str, OnnxAttr)], x: &str, w: &str| {
            let operands = [Operand::Typed(ty(x)), Operand::Typed(ty(w))];
            let (graph, y) = lift(&onnx("Conv", attrs), 11, &operands)?;
            match &graph.node(y.node).kind {
                crate::ir::Kind::Op { attrs, .. } => Ok(attrs.get_ints("pads").unwrap().to_vec()),
                other => panic!("{other:?}"),
            }
        };
        let auto = |text: &str| ("auto_pad", OnnxAttr::Str(text.to_owned()));
        let two = ("strides", OnnxAttr::Ints(vec![2, 2]));
        let (x, w) = ("f32[1, 3, 8, 7]", "f32[4, 3, 3, 4]");
        assert_eq!(pads(&[auto("SAME_UPPER")], x, w), Ok(vec![1, 1, 1, 2]));
        assert_eq!(pads(&[auto("SAME_LOWER")], x, w), Ok(vec![1, 2, 1, 1]));
        // Rows: 4 windows of 3 at stride 2 end at 9; columns: 4 of 4 end at 10.
        assert_eq!(pads(&[auto("SAME_UPPER"), two.clone()], x, w), Ok(vec![0, 1, 1, 2]));
        assert_eq!(pads(&[auto("SAME_LOWER"), two.clone()], x, w), Ok(vec![1, 2, 0, 1]));
        assert_eq!(pads(&[auto("VALID"), two], x, w), Ok(vec![0; 4]));
        assert_eq!(pads(&[("pads", OnnxAttr::Ints(vec![1, 2, 3, 4]))], x, w), Ok(vec![1, 2, 3, 4]));
        assert_unknown_size(pads(&[auto("SAME_UPPER")], "f32[1, 3, H, 7]", w));
        assert!(matches!(pads(&[auto("AROUND")], x, w), Err(OpError::Invalid { .. })));
        let kernel = ("kernel_shape", OnnxAttr::Ints(vec![3, 3]));
        assert!(matches!(pads(&[kernel], x, w), Err(OpError::Invalid { .. })));
        assert!(matches!(pads(&[], "f32[1, 3, 8]", "f32[4, 3, 3, 1]"), Err(OpError::Invalid { .. })));
    }

    #[test]
    fn one_spatial_axis_is_one_row() {
        let (x, w) = (tensor(&[1, 1, 4], [1.0f32, 2.0, 3.0, 4.0]), tensor(&[1, 1, 2], [1.0f32, 10.0]));
        let node =
            onnx("Conv", &[("pads", OnnxAttr::Ints(vec![1, 0])), ("strides", OnnxAttr::Ints(vec![2]))]);
        let y = lift_and_eval(&node, 13, &[Operand::Input(x), Operand::Input(w)]);
        assert_eq!(y, Ok(tensor(&[1, 1, 2], [10.0f32, 32.0])));
    }

    #[test]
    fn integers_are_summed_exactly_or_named() {
        let (x, w) = (tensor(&[1, 1, 1, 2], [255u8, 1]), tensor(&[1, 1, 1, 1], [127i8]));
        let conv = |b: i32| eval("conv2d", Attrs::new(), &[x.clone(), w.clone(), tensor(&[1], [b])]);
        assert_eq!(conv(i32::MAX - 32385), Ok(tensor(&[1, 1, 1, 2], [i32::MAX, i32::MAX - 32258])));
        let error = conv(i32::MAX - 200).unwrap_err();
        assert!(
            error.to_string().ends_with("C8: y[0, 0, 0, 0] is 2147515832, which does not fit i32"),
            "{error}"
        );
        let node = onnx("ConvInteger", &[]);
        let (x, w) = (tensor(&[1, 1, 1, 2], [130u8, 1]), tensor(&[1, 1, 1, 1], [130u8]));
        let zero = || Operand::Constant(Tensor::scalar(128u8));
        let operands = [Operand::Input(x), Operand::Constant(w), zero(), zero()];
        assert_eq!(lift_and_eval(&node, 13, &operands), Ok(tensor(&[1, 1, 1, 2], [4i32, -254])));
        let floats =
            [Operand::Input(tensor(&[1, 1, 1, 1], [1i8])), Operand::Input(tensor(&[1, 1, 1, 1], [1i8]))];
        assert!(matches!(lift_and_eval(&onnx("Conv", &[]), 13, &floats), Err(OpError::Unsupported { .. })));
    }

    proptest! {
        /// Integer convolutions are those of the reals, and so is what they are lowered to.
        #[test]
        fn integer_convolutions_are_exact(
            group in 1usize..3, each in 1usize..3, height in 2usize..5, width in 2usize..5, pad in 0i64..2,
            unsigned in any::<bool>(), seed in any::<u32>(),
        ) {
            let fill = |sizes: &[usize], salt: u32| -> Tensor {
                let count = sizes.iter().product::<usize>() as u32;
                tensor(sizes, (0..count).map(|i| ((i + salt).wrapping_mul(seed | 1) >> 7) as i8).collect::<Vec<_>>())
            };
            let x = fill(&[2, group * each, height, width], 1);
            let x = if unsigned { x.cast(DType::U8) } else { x };
            let (w, b) = (fill(&[group * 2, each, 2, 2], 2), fill(&[group * 2], 3).cast(DType::I32));
            let attrs = Attrs::new()
                .with("group", group as i64)
                .with("pads", vec![pad, 0, 0, 1])
                .with("strides", vec![1, 2]);
            let real = |tensor: &Tensor| tensor.cast(DType::F64);
            let y = eval("conv2d", attrs.clone(), &[x.clone(), w.clone(), b.clone()]).unwrap();
            prop_assert_eq!(real(&y), eval("conv2d", attrs.clone(), &[real(&x), real(&w), real(&b)]).unwrap());
            prop_assert_eq!(read_back("conv2d", attrs, &[x, w, b]), y);
        }

        /// A depthwise convolution treats each channel as a convolution of its own.
        #[test]
        fn depthwise_is_channel_by_channel(
            channels in 1usize..4, height in 2usize..5, width in 2usize..5, seed in 1u32..1000,
        ) {
            let fill = |count: usize, salt: u32| -> Vec<f32> {
                (0..count as u32).map(|i| ((i + salt).wrapping_mul(seed) % 17) as f32 / 4.0 - 2.0).collect()
            };
            let (plane, x, w) = (height * width, fill(channels * height * width, 3), fill(channels * 4, 5));
            let whole = eval(
                "conv2d",
                Attrs::new().with("group", channels as i64),
                &[tensor(&[1, channels, height, width], x.clone()), tensor(&[channels, 1, 2, 2], w.clone())],
            ).unwrap();
            let mut parts = Vec::new();
            for c in 0..channels {
                let x = tensor(&[1, 1, height, width], &x[c * plane..(c + 1) * plane]);
                let w = tensor(&[1, 1, 2, 2], &w[c * 4..(c + 1) * 4]);
                parts.extend_from_slice(eval("conv2d", Attrs::new(), &[x, w]).unwrap().elements::<f32>().unwrap());
            }
            prop_assert_eq!(whole.elements::<f32>().unwrap(), parts.as_slice());
        }
    }

    /// The result made ready, if it can be, and that of the evaluation.
    fn both(x: Vec<f32>, w: Vec<f32>, bias: Option<Vec<f32>>) -> (Option<Tensor>, Tensor) {
        let registry = Registry::built_in();
        let entry = registry.get("conv2d").unwrap();
        let attrs = registry.complete("conv2d", Attrs::new()).unwrap();
        let operands = vec![
            Some(tensor(&[1, 2, 1, 3], x)),
            Some(tensor(&[2, 2, 1, 1], w)),
            bias.map(|bias| tensor(&[2], bias)),
        ];
        let types: Vec<Option<TensorType>> =
            operands.iter().map(|operand| operand.as_ref().map(Tensor::tensor_type)).collect();
        let constants = [&[None], &operands[1..]].concat();
        let call = Call { schema: &entry.schema, attrs: &attrs, operands: &types };
        let held = Held::Tensor(operands[0].clone().unwrap());
        let found = Identity::of(&Inputs { call, tensors: &constants })
            .and_then(|identity| identity.run(&[Some(&held)], &mut Buffers::default()))
            .map(|held| held[0].tensor().unwrap().into_owned());
        (found, registry.eval("conv2d", &attrs, &operands, Arithmetic::Exact).unwrap().remove(0))
    }

    #[test]
    fn an_identity_passes_bits_on_and_leaves_what_is_not_finite() {
        let x = vec![-0.0f32, 1e-45, -3.0e38, 0.0, -1e-40, 1.5];
        let bits = |tensor: Tensor| tensor.to_le_bytes().into_owned();
        for bias in [None, Some(vec![-0.0, 3.5])] {
            let (found, expected) = both(x.clone(), vec![1.0, 0.0, 0.0, 1.0], bias);
            assert_eq!(found.map(bits), Some(bits(expected)));
        }
        for foreign in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let x = [&x[..5], &[foreign]].concat();
            assert_eq!(both(x, vec![1.0, 0.0, 0.0, 1.0], None).0, None);
        }
        assert_eq!(both(x.clone(), vec![1.0, 0.0, 0.0, 2.0], None).0, None);
        assert_eq!(both(x, vec![0.0, 1.0, 1.0, 0.0], None).0, None);
    }
}
