//! Two-dimensional convolution: `conv2d`.

use super::number::Real;
use super::window::{self, Spatial};
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::kernels;
use crate::tensor::{Dim, Shape, Tensor, TensorType};

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
        call.require("C4", conv.channels % group == 0 && conv.filters % group == 0, || {
            format!("group {group} divides {} channels and {} filters", conv.channels, conv.filters)
        })?;
        let taken = call.known(&taken)?;
        call.require("C5", taken == conv.channels / group, || {
            format!("w takes {} channels, found {taken}", conv.channels / group)
        })?;
        let out = conv.out_size();
        let out =
            out.ok_or_else(|| call.broken("C6", format!("the kernel of {w} fits into the padded {x}")))?;
        Ok((conv, out))
    }

    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (mut conv, [rows, columns]) = Self::geometry(&inputs.call)?;
        conv.batch = inputs.get(0)?.sizes().first().copied().unwrap_or_default();
        let sizes = [conv.batch, conv.filters, rows, columns];
        let y = kernels::conv2d(
            &conv,
            inputs.elements::<T>(0)?,
            inputs.elements::<T>(1)?,
            inputs.opt_elements::<T>(2)?,
        );
        inputs.call.result(&sizes, inputs.call.kernel(y)?)
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
             top, left, bottom, right. `group = C` makes it depthwise. The sum is `fma` in the order c, r, s \
             from 0, then b is added.\n\n\
             * C0: `strides` and `dilations` are 2 sizes from 1, `pads` 4 from 0.\n\
             * C1: x, w and b are plain and stored alike, as f32 or f64.\n\
             * C2: x and w have 4 axes.\n\
             * C3: group is at least 1.\n\
             * C4: group divides C and F.\n\
             * C5: w takes C/group channels.\n\
             * C6: y has at least one row and column, and the sizes do not overflow.\n\
             * C7: b has the one axis F.",
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
        let storage = call.same_plain("C1", FLOATS)?;
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
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a convolution runs on the device as a layer: it was not fused into one")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let (conv, _) = Self::geometry(&cx.call)?;
        let mut node = cx.node("Conv", cx.operand_names.to_vec());
        for attr in ["strides", "dilations", "pads"] {
            node = node.attr(attr, OnnxAttr::Ints(cx.call.ints(attr)?.to_vec()));
        }
        // Kernel sizes are sizes in memory.
        let kernel = conv.kernel.map(|size| size as i64).to_vec();
        let node = node.attr("kernel_shape", OnnxAttr::Ints(kernel));
        Ok(Lowered::Nodes(vec![node.attr("group", OnnxAttr::Int(cx.call.int("group")?))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, w) = (cx.operand(0)?, cx.operand(1)?);
            let spatial = Spatial::of_conv(cx)?;
            let pads = window::pads(cx, &window::spatial_size(cx, 0)?, &spatial)?;
            let attrs = Attrs::new()
                .with("strides", spatial.strides.to_vec())
                .with("dilations", spatial.dilations.to_vec())
                .with("pads", pads.to_vec())
                .with("group", cx.int("group", 1)?);
            Ok(vec![cx.op_with("conv2d", attrs, vec![Some(x), Some(w), cx.opt_operand(2)])?])
        }
        vec![Lift { domain: "", op_type: "Conv".into(), since: 1, lift }]
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
        ]
    }
}
