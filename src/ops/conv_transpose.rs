//! Two-dimensional transposed convolution: `conv_transpose2d`.

use super::number::Real;
use super::product;
use super::window;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::kernels;
use crate::tensor::{Dim, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(ConvTranspose2d)]
}

pub struct ConvTranspose2d;

impl ConvTranspose2d {
    /// What the kernel is asked to do, the batch aside, and the size of the result.
    fn geometry(call: &Call) -> Result<(kernels::ConvTranspose2d, [usize; 2]), OpError> {
        let (x, w) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        let four = |shape: &Shape| <[Dim; 4]>::try_from(shape.to_vec()).ok();
        let (Some([_, channels, height, width]), Some([taken, each, rows, columns])) = (four(x), four(w))
        else {
            return Err(call.broken("C2", format!("x and w have 4 axes, found {x} and {w}")));
        };
        let group = usize::try_from(call.int("group")?).unwrap_or_default();
        call.require("C3", group >= 1, || format!("group is at least 1, found {group}"))?;
        let (channels, each) = (call.known(&channels)?, call.known(&each)?);
        call.require("C4", channels.is_multiple_of(group), || {
            format!("group {group} divides {channels} channels")
        })?;
        let taken = call.known(&taken)?;
        call.require("C5", taken == channels, || format!("w takes {channels} channels, found {taken}"))?;
        let too_large = || call.broken("C7", format!("{group} groups of {each} filters"));
        let conv = kernels::ConvTranspose2d {
            batch: 1,
            channels,
            height: call.known(&height)?,
            width: call.known(&width)?,
            filters: each.checked_mul(group).ok_or_else(too_large)?,
            kernel: [call.known(&rows)?, call.known(&columns)?],
            strides: call.sizes("strides", 1)?,
            dilations: call.sizes("dilations", 1)?,
            pads: call.sizes("pads", 0)?,
            output_padding: call.sizes("output_padding", 0)?,
            group,
        };
        let longest = [0, 1].map(|axis| conv.strides[axis].max(conv.dilations[axis]));
        let added = conv.output_padding;
        call.require("C6", added[0] < longest[0] && added[1] < longest[1], || {
            format!("`output_padding` is less than the stride or dilation, {longest:?}, found {added:?}")
        })?;
        let out = conv.out_size();
        let out = out.ok_or_else(|| {
            call.broken("C7", format!("the pads {:?} leave something of what {w} makes of {x}", conv.pads))
        })?;
        Ok((conv, out))
    }

    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (mut conv, [rows, columns]) = Self::geometry(&inputs.call)?;
        conv.batch = inputs.get(0)?.sizes().first().copied().unwrap_or_default();
        let y = kernels::conv_transpose2d(
            &conv,
            inputs.elements::<T>(0)?,
            inputs.elements::<T>(1)?,
            inputs.opt_elements::<T>(2)?,
        );
        inputs.call.result(&[conv.batch, conv.filters, rows, columns], inputs.call.kernel(y)?)
    }
}

impl Operator for ConvTranspose2d {
    fn schema(&self) -> Schema {
        Schema::new(
            "conv_transpose2d",
            "`y[n, f, i, j] = sum over c, r, s of x[n, g * C/group + c, (i + pads[0] - r * dilations[0]) / \
             strides[0], (j + pads[1] - s * dilations[1]) / strides[1]] * w[g * C/group + c, f - g * F/group, r, s] \
             + b[f]` with `g = f / (F/group)`, over those r and s for which the strides divide, x being 0 outside; for \
             x `[N, C, H, W]`, w `[C, F/group, R, S]`, b `[F]` and y `[N, F, (H-1) * strides[0] + (R-1) * \
             dilations[0] + 1 + output_padding[0] - pads[0] - pads[2], …]`. `pads`, cut off from y, is top, left, \
             bottom, right; `output_padding` is added to its bottom and right. `group = C = F` makes it depthwise. \
             The sum is `fma` in the order c, r, s from 0, then b is added.\n\n\
             * C0: `strides` and `dilations` are 2 sizes from 1, `pads` 4 and `output_padding` 2 from 0.\n\
             * C1: x, w and b are plain and stored alike, as f32 or f64.\n\
             * C2: x and w have 4 axes.\n\
             * C3: group is at least 1.\n\
             * C4: group divides C.\n\
             * C5: w takes C channels.\n\
             * C6: `output_padding` is less than the stride or the dilation of its axis.\n\
             * C7: y has at least one row and column, and the sizes do not overflow.\n\
             * C8: b has the one axis F.",
        )
        .operand("x")
        .operand("w")
        .optional("b")
        .attr("strides", vec![1, 1])
        .attr("dilations", vec![1, 1])
        .attr("pads", vec![0, 0, 0, 0])
        .attr("output_padding", vec![0, 0])
        .attr("group", 1i64)
        .uniform()
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        let (conv, [rows, columns]) = Self::geometry(call)?;
        if let Some(b) = call.opt_ty(2) {
            call.require("C8", b.shape.sizes() == Some(vec![conv.filters]), || {
                format!("b has shape [{}], found {}", conv.filters, b.shape)
            })?;
        }
        let batch = call.ty(0)?.shape[0].clone();
        let shape = vec![batch, conv.filters.into(), rows.into(), columns.into()];
        Ok(vec![TensorType::new(storage, shape)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a transposed convolution runs on the device as a layer: it was not fused into one")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let (conv, _) = Self::geometry(&cx.call)?;
        let mut node = cx.node("ConvTranspose", cx.operand_names.to_vec());
        for attr in ["strides", "dilations", "pads", "output_padding"] {
            node = node.attr(attr, OnnxAttr::Ints(cx.call.ints(attr)?.to_vec()));
        }
        // Kernel sizes are sizes in memory.
        let kernel = conv.kernel.map(|size| size as i64).to_vec();
        let node = node.attr("kernel_shape", OnnxAttr::Ints(kernel));
        Ok(Lowered::Nodes(vec![node.attr("group", OnnxAttr::Int(cx.call.int("group")?))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        const ATTRS: &[&str] = &[
            "auto_pad",
            "dilations",
            "group",
            "kernel_shape",
            "output_padding",
            "output_shape",
            "pads",
            "strides",
        ];
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            product::expect_floats(cx)?;
            let (x, w) = (cx.operand(0)?, cx.operand(1)?);
            let axes = match [cx.ty(0)?.shape.rank(), cx.ty(1)?.shape.rank()] {
                [3, 3] => 1,
                [4, 4] => 2,
                [x, w] => {
                    return Err(cx.unsupported(format!("operands of {x} and {w} axes (3 or 4 are needed)")));
                }
            };
            let attrs = Stated::of(cx, axes)?.attrs(cx, axes)?;
            let mut operands = vec![window::as_rows(cx, "row", x)?, window::as_rows(cx, "w_row", w)?];
            operands.extend(cx.opt_operand(2));
            Ok(vec![window::op_on_rows(cx, axes, "conv_transpose2d", attrs, &operands)?])
        }
        vec![Lift::standard("ConvTranspose", [Version::new(1, 3, ATTRS)], lift)]
    }

    fn macs(&self, call: &Call) -> u64 {
        Self::geometry(call).map_or(0, |(conv, _)| {
            let factors = [conv.channels, conv.height, conv.width, conv.filters / conv.group];
            let factors = factors.into_iter().chain(conv.kernel);
            factors.fold(1u64, |macs, size| macs.saturating_mul(size as u64))
        })
    }

    fn examples(&self) -> Vec<Example> {
        let ramp = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i % 7) as f32 - 2.5).collect())
        };
        let doubled = Attrs::new().with("strides", vec![2, 2]).with("pads", vec![0, 0, 1, 1]);
        let depthwise =
            Attrs::new().with("group", 2).with("dilations", vec![2, 1]).with("strides", vec![1, 3]);
        vec![
            Example { attrs: doubled, operands: vec![ramp(&[1, 2, 3, 4]), ramp(&[2, 3, 3, 3]), ramp(&[3])] },
            Example {
                attrs: depthwise.with("output_padding", vec![1, 2]),
                operands: vec![ramp(&[2, 2, 2, 3]), ramp(&[2, 1, 2, 2])],
            },
        ]
    }
}

/// The spatial attributes of an ONNX node with 1 or 2 spatial axes, each as rows, columns; a missing
/// first axis has one row.
struct Stated {
    kernel: [i64; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    output_padding: [i64; 2],
}

impl Stated {
    fn of(cx: &LiftCx, axes: usize) -> Result<Self, OpError> {
        let mut kernel = [1, 1];
        for (at, dim) in cx.ty(1)?.shape.iter().skip(2).enumerate() {
            kernel[2 - axes + at] = window::known_size(cx, dim)?;
        }
        let stated = window::pair(cx, "kernel_shape", axes, kernel)?;
        if stated != kernel {
            return Err(cx.invalid(format!("kernel_shape is {stated:?}, the weights have {kernel:?}")));
        }
        let stated = Self {
            kernel,
            strides: window::pair(cx, "strides", axes, [1, 1])?,
            dilations: window::pair(cx, "dilations", axes, [1, 1])?,
            output_padding: window::pair(cx, "output_padding", axes, [0, 0])?,
        };
        let sizes = [stated.kernel, stated.strides, stated.dilations];
        let fit = |sizes: [i64; 2], least: i64| sizes.iter().all(|size| (least..=LARGEST).contains(size));
        if !sizes.iter().all(|&sizes| fit(sizes, 1)) || !fit(stated.output_padding, 0) {
            return Err(cx.invalid(
                "kernel, strides and dilations are from 1 to 2^24, output_padding is from 0 to 2^24",
            ));
        }
        Ok(stated)
    }

    /// The attributes of `conv_transpose2d`, however the node states its padding.
    fn attrs(self, cx: &LiftCx, axes: usize) -> Result<Attrs, OpError> {
        let mut pads = [0; 4];
        let mut added = self.output_padding;
        let auto_pad = cx.opt_text("auto_pad")?.filter(|text| !text.is_empty()).unwrap_or("NOTSET");
        if !["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(&auto_pad) {
            return Err(cx.invalid(format!("auto_pad is `{auto_pad}`")));
        }
        let shape = match cx.opt_ints("output_shape")? {
            None => None,
            Some(_) => Some(window::pair(cx, "output_shape", axes, [1, 1])?),
        };
        if shape.is_some() || auto_pad.starts_with("SAME") {
            for (at, dim) in cx.ty(0)?.shape.iter().skip(2).enumerate() {
                let axis = 2 - axes + at;
                // Of each up to 2^40 and 2^24.
                let (size, stride) =
                    (i128::from(window::known_size(cx, dim)?), i128::from(self.strides[axis]));
                let extent = i128::from((self.kernel[axis] - 1) * self.dilations[axis] + 1);
                let whole = stride * (size - 1) + extent + i128::from(added[axis]);
                let out = shape.map_or(size * stride, |shape| i128::from(shape[axis]));
                let total = i64::try_from(whole - out).unwrap_or(i64::MAX);
                if total < 0 && shape.is_none() {
                    // Runtimes disagree on the size.
                    return Err(cx.unsupported(format!("auto_pad `{auto_pad}` of strides beyond the kernel")));
                }
                if total < 0 {
                    added[axis] -= total.max(-LARGEST);
                    let most = self.strides[axis].max(self.dilations[axis]);
                    if added[axis] >= most {
                        return Err(cx.invalid(format!(
                            "output_shape {out} on axis {} is beyond the {whole} that the input reaches",
                            axis + axes
                        )));
                    }
                    continue;
                }
                let (less, more) = (total / 2, total - total / 2);
                (pads[axis], pads[axis + 2]) =
                    if auto_pad == "SAME_UPPER" { (less, more) } else { (more, less) };
            }
        } else if auto_pad == "NOTSET" {
            pads = match (cx.opt_ints("pads")?, axes) {
                (None, _) => pads,
                (Some(&[left, right]), 1) => [0, left, 0, right],
                (Some(&[top, left, bottom, right]), 2) => [top, left, bottom, right],
                (Some(other), _) => {
                    return Err(cx.invalid(format!("`pads` has {} entries, found {other:?}", 2 * axes)));
                }
            };
        }
        Ok(Attrs::new()
            .with("strides", self.strides.to_vec())
            .with("dilations", self.dilations.to_vec())
            .with("pads", pads.to_vec())
            .with("output_padding", added.to_vec())
            .with("group", cx.int("group", 1)?))
    }
}

/// The largest size that is computed with here.
const LARGEST: i64 = 1 << 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let none = Attrs::new();
        let group = |group: i64| Attrs::new().with("group", group);
        let (x, w) = ("f32[1, 2, 3, 3]", "f32[2, 4, 1, 1]");
        check_labels(
            "conv_transpose2d",
            &[
                ("C0", Attrs::new().with("strides", vec![0, 1]), &[x, w]),
                ("C0", Attrs::new().with("output_padding", vec![0, -1]), &[x, w]),
                ("C1", none.clone(), &[x, "f64[2, 4, 1, 1]"]),
                ("C1", none.clone(), &["i8[1, 2, 3, 3]", "i8[2, 4, 1, 1]"]),
                ("C2", none.clone(), &["f32[1, 2, 3]", w]),
                ("C3", group(0), &[x, w]),
                ("C4", group(4), &[x, w]),
                ("C5", none.clone(), &[x, "f32[1, 4, 1, 1]"]),
                ("C6", Attrs::new().with("output_padding", vec![0, 1]), &[x, w]),
                ("C7", Attrs::new().with("pads", vec![0, 2, 0, 1]), &[x, w]),
                ("C7", none.clone(), &["f32[1, 2, 0, 3]", w]),
                ("C8", group(2), &[x, w, "f32[4]"]),
            ],
        );
        let attrs = Attrs::new().with("strides", vec![2, 3]).with("pads", vec![0, 1, 1, 0]).with("group", 2);
        let attrs = attrs.with("output_padding", vec![1, 2]).with("dilations", vec![1, 2]);
        let y = shape("conv_transpose2d", attrs, &["f32[N, 2, 5, 4]", "f32[2, 7, 3, 2]"]);
        assert_eq!(y, "f32[N, 14, 11, 13]");
        assert_unknown_size(infer("conv_transpose2d", none, &[ty("f32[N, 2, H, W]"), ty(w)]));
    }

    #[test]
    fn multiply_accumulates_leave_the_batch_out() {
        let registry = super::super::Registry::built_in();
        let entry = registry.get("conv_transpose2d").unwrap();
        let attrs = registry.complete("conv_transpose2d", Attrs::new().with("group", 2)).unwrap();
        let operands = [Some(ty("f32[N, 4, 5, 5]")), Some(ty("f32[4, 3, 3, 3]"))];
        let call = Call { schema: &entry.schema, attrs: &attrs, operands: &operands };
        assert_eq!(entry.operator.macs(&call), 25 * 4 * 3 * 9);
    }

    fn ints(name: &'static str, values: &[i64]) -> (&'static str, OnnxAttr) {
        (name, OnnxAttr::Ints(values.to_vec()))
    }

    fn auto(text: &str) -> (&'static str, OnnxAttr) {
        ("auto_pad", OnnxAttr::Str(text.to_owned()))
    }

    /// Padding however it is stated: 1, 2, 3 through a kernel of 1, 10, 100 with a stride of 2 is
    /// 1, 10, 102, 20, 203, 30, 300, of which this much is kept.
    #[test]
    fn forms_of_padding() {
        let (x, w) = (tensor(&[1, 1, 3], [1.0f32, 2.0, 3.0]), tensor(&[1, 1, 3], [1.0f32, 10.0, 100.0]));
        let run = |attrs: &[(&str, OnnxAttr)]| {
            let node = onnx("ConvTranspose", attrs).attr("strides", OnnxAttr::Ints(vec![2]));
            let operands = [Operand::Input(x.clone()), Operand::Constant(w.clone())];
            let y = lift_and_eval(&node, 11, &operands)?;
            assert_eq!(y.sizes()[..2], [1, 1]);
            Ok(y.elements::<f32>().unwrap().to_vec())
        };
        let whole = [1.0, 10.0, 102.0, 20.0, 203.0, 30.0, 300.0];
        let upper: Result<_, OpError> = Ok(whole[..6].to_vec());
        let lower: Result<_, OpError> = Ok(whole[1..].to_vec());
        assert_eq!(run(&[]), Ok(whole.to_vec()));
        assert_eq!(run(&[auto("VALID")]), Ok(whole.to_vec()));
        assert_eq!(run(&[auto("SAME_UPPER")]), upper);
        assert_eq!(run(&[auto("SAME_LOWER")]), lower);
        assert_eq!(run(&[ints("output_shape", &[6])]), lower);
        assert_eq!(run(&[ints("output_shape", &[6]), auto("SAME_UPPER")]), upper);
        assert_eq!(run(&[ints("output_shape", &[6]), ints("output_padding", &[1])]), lower);
        assert_eq!(run(&[ints("pads", &[1, 0])]), lower);
        assert_eq!(run(&[ints("output_shape", &[8])]), Ok([&whole[..], &[0.0]].concat()));
        assert_eq!(run(&[ints("pads", &[2, 3]), ints("output_padding", &[1])]), Ok(whole[2..5].to_vec()));
        assert!(matches!(run(&[ints("output_shape", &[9])]), Err(OpError::Invalid { .. })));
        assert!(matches!(run(&[ints("output_shape", &[1, 6])]), Err(OpError::Invalid { .. })));
        assert!(matches!(run(&[ints("pads", &[1])]), Err(OpError::Invalid { .. })));
        assert!(matches!(run(&[ints("kernel_shape", &[2])]), Err(OpError::Invalid { .. })));
        assert!(matches!(run(&[ints("output_padding", &[2])]), Err(OpError::Constraint { label: "C6", .. })));
        assert!(matches!(run(&[auto("AROUND")]), Err(OpError::Invalid { .. })));
    }

    #[test]
    fn strides_beyond_the_kernel_have_no_same_size() {
        let node = onnx("ConvTranspose", &[auto("SAME_UPPER"), ints("strides", &[1, 5])]);
        let x = tensor(&[1, 1, 1, 3], [1.0f32, 2.0, 3.0]);
        let operands = [Operand::Input(x), Operand::Constant(tensor(&[1, 1, 1, 3], [1.0f32; 3]))];
        assert!(matches!(lift_and_eval(&node, 11, &operands), Err(OpError::Unsupported { .. })));
        let volumes = [Operand::Typed(ty("f32[1, 1, 2, 2, 2]")), Operand::Typed(ty("f32[1, 1, 2, 2, 2]"))];
        assert!(matches!(lift(&onnx("ConvTranspose", &[]), 11, &volumes), Err(OpError::Unsupported { .. })));
    }

    proptest! {
        /// It is the adjoint of the convolution with the same attributes: `<conv(x), y> = <x, convT(y)>`; in
        /// small integers, which floats add exactly.
        #[test]
        fn adjoint_of_the_convolution(
            group in 1usize..3, channels in 1usize..3, filters in 1usize..3, size in 1usize..4, kernel in 1usize..4,
            stride in 1i64..4, dilation in 1i64..3, pad in 0i64..3, seed in 1u32..1000,
        ) {
            let fill = |sizes: &[usize], salt: u32| -> Tensor {
                let count = sizes.iter().product::<usize>() as u32;
                let value = |i: u32| ((i + salt).wrapping_mul(seed) % 17) as f32 - 8.0;
                tensor(sizes, (0..count).map(value).collect::<Vec<_>>())
            };
            let attrs = Attrs::new()
                .with("strides", vec![stride, 1])
                .with("dilations", vec![dilation, 2])
                .with("pads", vec![pad, 0, 0, pad])
                .with("group", group as i64);
            let y = fill(&[1, group * filters, size, 3], 1);
            let w = fill(&[group * filters, channels, kernel, 2], 2);
            let Ok(x_type) = infer("conv_transpose2d", attrs.clone(), &[y.tensor_type(), w.tensor_type()]) else {
                return Ok(());
            };
            let x = fill(&x_type[0].shape.sizes().unwrap(), 3);
            let back = eval("conv_transpose2d", attrs.clone(), &[y.clone(), w.clone()]).unwrap();
            let forth = eval("conv2d", attrs.clone(), &[x.clone(), w.clone()]).unwrap();
            let dot = |a: &Tensor, b: &Tensor| -> f32 {
                a.elements::<f32>().unwrap().iter().zip(b.elements::<f32>().unwrap()).map(|(a, b)| a * b).sum()
            };
            prop_assert_eq!(forth.sizes(), y.sizes());
            prop_assert_eq!(dot(&forth, &y), dot(&x, &back));
            prop_assert_eq!(read_back("conv_transpose2d", attrs, &[y, w]), back);
        }
    }
}
