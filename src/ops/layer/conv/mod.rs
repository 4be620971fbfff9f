//! Convolutions on the device: `QuantizedConv2D`, `QuantizedDepthwise2D`.

mod device;
mod onnx;
mod parameters;
mod prepared;

use super::chain::{self, Source, Step};
use super::following::{self, Following, Labels};
use super::integer::{self, Sum, Tail};
use super::op_type::{NONE, Pool};
use super::{Form, pool};
use crate::ir::Attrs;
use crate::kernels::{self, Byte, Conv2d, Pool2d};
use crate::ops::bound;
use crate::ops::{
    Arithmetic, Bound, Call, Default, DeviceLayer, Example, Inputs, LayerCall, Lift, LowerCx, Lowered,
    OpError, Operator, Prepared, Quantize, QuantizedLayer, Schema,
};
use crate::tensor::{DType, Element, Tensor, TensorType};

/// Operands by position.
const X: usize = 0;
const W: usize = 1;
const B: usize = 2;
/// `padding_value` in the float form, `x_pad` in the integer form.
const PADDING: usize = 3;
const FOLLOWING: Following = Following::from(4);
const LABELS: Labels = Labels { max_value: "C7", rescale: "C8", table: "C11" };

#[derive(Clone, Copy)]
pub struct QuantizedConv {
    pub depthwise: bool,
}

impl QuantizedConv {
    fn name(&self) -> &'static str {
        if self.depthwise { "QuantizedDepthwise2D" } else { "QuantizedConv2D" }
    }

    fn infer_integer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let steps = chain(call, self.depthwise)?;
        let types = chain::types(&steps, &integer::as_floats(call, 4))?;
        let storage = call.ty(X)?.storage();
        let byte = storage == DType::I8 || (storage == DType::U8 && !self.depthwise);
        call.require("C1", byte, || format!("x is not stored as {storage}"))?;
        let channels = call.known(&call.ty(X)?.shape[1])?;
        let w = call.ty(W)?;
        // The convolution of the chain checked the ranks.
        let (sizes, filters) = (w.shape.sizes().unwrap_or_default(), call.known(&w.shape[0])?);
        integer::expect(call, "C5", W, DType::I8, &[&sizes])?;
        if call.opt_ty(B).is_some() || storage == DType::U8 {
            integer::expect(call, "C5", B, DType::I32, &[&[filters]])?;
        }
        if storage == DType::U8 {
            integer::expect(call, "C6", PADDING, DType::I32, &[&[channels]])?;
        } else {
            integer::expect_absent(call, "C6", PADDING, "where x is stored as i8")?;
        }
        FOLLOWING.expect(call, filters, &LABELS)?;
        let shape = types.last().map(|ty| ty.shape.clone()).unwrap_or_default();
        Ok(vec![TensorType::new(DType::I8, shape)])
    }

    fn eval_integer<A: Byte + Element>(
        &self,
        inputs: &Inputs,
        arithmetic: Arithmetic,
    ) -> Result<Vec<Tensor>, OpError> {
        let call = &inputs.call;
        let (x_pad, bias) = (inputs.opt_elements::<i32>(PADDING)?, inputs.opt_elements::<i32>(B)?);
        let bound = proof(call, self.depthwise, inputs.elements(W)?, bias, x_pad)?;
        let largest = bound.accumulator.max(bound.pooled);
        if bound::fits_i32(largest) {
            self.sum::<A, i32>(inputs, arithmetic)
        } else if largest <= i64::MAX as u128 {
            self.sum::<A, i64>(inputs, arithmetic)
        } else {
            Err(call.unsupported("an accumulator beyond 64 bits"))
        }
    }

    fn sum<A: Byte + Element, S: Sum>(
        &self,
        inputs: &Inputs,
        arithmetic: Arithmetic,
    ) -> Result<Vec<Tensor>, OpError> {
        let call = &inputs.call;
        let (x, w) = (inputs.get(X)?, inputs.get(W)?);
        let (&[batch, channels, height, width], &[filters, _, rows, columns]) = (x.sizes(), w.sizes()) else {
            return Err(call.unsupported("another rank than 4"));
        };
        let conv = Conv2d {
            batch,
            channels,
            height,
            width,
            filters,
            kernel: [rows, columns],
            strides: call.sizes("strides", 1)?,
            dilations: [1, 1],
            pads: call.sizes("pads", 0)?,
            group: if self.depthwise { channels } else { 1 },
        };
        let bias: Option<Vec<S>> =
            inputs.opt_elements::<i32>(B)?.map(|bias| bias.iter().map(|&b| S::wrap(b.into())).collect());
        let x_pad = inputs.opt_elements::<i32>(PADDING)?;
        let acc = kernels::conv2d_integer::<A, S>(
            &conv,
            inputs.elements(X)?,
            inputs.elements(W)?,
            bias.as_deref(),
            x_pad,
        );
        let acc = call.kernel(acc)?;
        // The kernel ran, so there is a size.
        let [rows, columns] = conv.out_size().unwrap_or_default();
        let pool = pool(call)?;
        let window = Pool2d {
            batch,
            channels: filters,
            height: rows,
            width: columns,
            kernel: call.sizes("pool_size", 1)?,
            strides: call.sizes("pool_strides", 1)?,
            dilations: [1, 1],
            pads: call.sizes("pool_pads", 0)?,
            ceil_mode: false,
        };
        let tail = FOLLOWING.tail(inputs, "C9", pool, arithmetic)?;
        let tail = Tail { max_pool: (pool == Pool::Max).then_some(window), ..tail };
        integer::finish(call, acc, vec![batch, filters, rows, columns], &tail)
    }
}

/// The chain `channel_pad? → conv2d → max_pool2d? → activation? → global_avg_pool2d?`.
fn chain(call: &Call, depthwise: bool) -> Result<Vec<Step>, OpError> {
    let group = match call.ty(W)?.shape.first() {
        Some(filters) if depthwise => call.known(filters)? as i64,
        _ => 1,
    };
    let ints = |name: &str| Ok(call.ints(name)?.to_vec());
    let attrs = Attrs::new().with("strides", ints("strides")?).with("group", group);
    let [x, w, b, padding] = [X, W, B, PADDING].map(Source::Operand);
    let mut steps = match call.opt_ty(PADDING) {
        None => vec![Step::new("conv2d", attrs.with("pads", ints("pads")?), &[x, w, b])],
        Some(_) => vec![
            Step::new("channel_pad", Attrs::new().with("pads", ints("pads")?), &[x, padding]),
            Step::new("conv2d", attrs, &[Source::Previous, w, b]),
        ],
    };
    let pool = pool(call)?;
    if pool == Pool::Max {
        let window = Attrs::new()
            .with("kernel_shape", ints("pool_size")?)
            .with("strides", ints("pool_strides")?)
            .with("pads", ints("pool_pads")?);
        steps.push(Step::new("max_pool2d", window, &[Source::Previous]));
    }
    steps.extend(Following::steps(call, pool)?);
    Ok(steps)
}

/// Rows and columns of the convolution's own result.
fn conv_size(call: &Call, depthwise: bool) -> Result<[usize; 2], OpError> {
    let steps = chain(call, depthwise)?;
    let types = chain::types(&steps, &integer::as_floats(call, 4))?;
    let conv = steps.iter().zip(&types).find(|(step, _)| step.op == "conv2d");
    match conv.map(|(_, ty)| &*ty.shape) {
        Some([_, _, rows, columns]) => Ok([call.known(rows)?, call.known(columns)?]),
        _ => Err(call.unsupported("another rank than 4")),
    }
}

/// What is proven of the sums of one layer.
fn proof(
    call: &Call,
    depthwise: bool,
    weights: &[i8],
    bias: Option<&[i32]>,
    x_pad: Option<&[i32]>,
) -> Result<Bound, OpError> {
    let x_pad = x_pad.filter(|_| call.ints("pads").is_ok_and(|pads| pads.iter().any(|&pad| pad != 0)));
    let byte = bound::largest_magnitude(call.ty(X)?.storage());
    let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
    let taps = sizes.iter().skip(2).product::<usize>().max(1);
    let padding = |i: usize| x_pad.and_then(|pad| pad.get(i / taps)).map_or(0, |pad| pad.unsigned_abs());
    let filters = sizes.first().copied().unwrap_or_default();
    let accumulator = bound::accumulator_bound(weights, filters, bias, |i| byte.max(u128::from(padding(i))));
    let pooled = if pool(call)? == Pool::GlobalAverage {
        let [rows, columns] = conv_size(call, depthwise)?;
        // Sizes in memory.
        following::pooled_bound(call, accumulator, rows.saturating_mul(columns))?
    } else {
        0
    };
    let foreign_padding = x_pad.is_some_and(|pad| pad.iter().any(|pad| !(0..=255).contains(pad)));
    Ok(Bound { accumulator, pooled, foreign_padding, ..Bound::default() })
}

impl DeviceLayer for QuantizedConv {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError> {
        chain(call, self.depthwise)
    }

    fn quantize(&self, layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
        parameters::quantize(layer, self.depthwise)
    }
}

impl Operator for QuantizedConv {
    fn schema(&self) -> Schema {
        let doc = if self.depthwise { DEPTHWISE_DOC } else { CONV_DOC };
        let schema =
            Schema::new(self.name(), doc).operand("x").operand("w").optional("b").optional("padding");
        Following::of_schema(schema)
            .attr("strides", vec![1, 1])
            .attr("pads", vec![0, 0, 0, 0])
            .attr("pool", NONE)
            .attr("pool_size", vec![1, 1])
            .attr("pool_strides", vec![1, 1])
            .attr("pool_pads", vec![0, 0, 0, 0])
            .rounding()
            .layer()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.require("C2", pool(call).is_ok(), || "`pool` is none, MaxPool or GlobalAvgPool".to_owned())?;
        FOLLOWING.check_attrs(call, "C2", "C3")?;
        if pool(call)? != Pool::Max {
            let window = ["pool_size", "pool_strides", "pool_pads"];
            let unused = window.iter().all(|name| {
                call.schema.attr_spec(name).is_some_and(|spec| match &spec.default {
                    Default::Value(default) => call.attrs.get(name) == Some(default),
                    _ => false,
                })
            });
            call.require("C3", unused, || "the window of a pool is given for MaxPool only".to_owned())?;
        }
        if self.depthwise {
            let (x, w) = (&call.ty(X)?.shape, &call.ty(W)?.shape);
            let own = w.first() == x.get(1) && w.get(1).is_some_and(|depth| depth.fixed() == Some(1));
            call.require("C10", own, || {
                format!("w has one filter of depth 1 per channel of {x}, found {w}")
            })?;
        }
        match Form::of(call)? {
            Form::Float => {
                FOLLOWING.expect_absent(call, "C4")?;
                let types = chain::types(&chain(call, self.depthwise)?, call.operands)?;
                Ok(types.into_iter().next_back().into_iter().collect())
            }
            Form::Integer => self.infer_integer(call),
        }
    }

    fn eval(&self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        match inputs.get(X)?.dtype() {
            DType::I8 => self.eval_integer::<i8>(inputs, arithmetic),
            DType::U8 => self.eval_integer::<u8>(inputs, arithmetic),
            _ => chain::eval(&chain(&inputs.call, self.depthwise)?, inputs),
        }
    }

    fn prepare(&self, constants: &Inputs, arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
        prepared::prepare(constants, self.depthwise, arithmetic)
    }

    fn quantize(&self) -> Quantize {
        Quantize::Layer(Box::new(*self))
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        onnx::lower(cx, self.depthwise)
    }

    fn lifts(&self) -> Vec<Lift> {
        onnx::lifts(self.depthwise)
    }

    fn macs(&self, call: &Call) -> u64 {
        let size = conv_size(call, self.depthwise).ok();
        let weights = call.opt_ty(W).and_then(|w| w.shape.elements());
        size.zip(weights).map_or(0, |([rows, columns], weights)| {
            [rows, columns, weights].iter().fold(1u64, |macs, &n| macs.saturating_mul(n as u64))
        })
    }

    fn examples(&self) -> Vec<Example> {
        let map = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i * 37 % 19) as f32 * 0.25 - 2.0).collect())
        };
        let bytes = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i * 89 % 256) as u8 as i8).collect())
        };
        let depth = if self.depthwise { 1 } else { 2 };
        let padded = Attrs::new().with("pads", vec![1, 1, 0, 0]);
        let pooled = padded
            .clone()
            .with("pool", "MaxPool")
            .with("pool_size", vec![2, 2])
            .with("pool_strides", vec![2, 2]);
        let clipped = pooled.clone().with("activation", "ReLUClipped");
        let averaged = Attrs::new().with("pool", "GlobalAvgPool").with("activation", "ReLU");
        let float = Example {
            attrs: clipped.clone().with("max_value", 1.5),
            operands: vec![map(&[1, 2, 4, 4]), map(&[2, depth, 3, 3]), map(&[2])],
        };
        let multipliers = Tensor::new(&[1, 2, 1, 1], vec![131u8, 200]);
        let divisors = Tensor::new(&[1, 2, 1, 1], vec![32_768f32, 65_536.0]);
        let integer = Example {
            attrs: clipped,
            operands: vec![
                bytes(&[1, 2, 4, 4]),
                bytes(&[2, depth, 3, 3]),
                Tensor::new(&[2], vec![1000i32, -70]),
                None,
                Tensor::new(&[1, 2, 1, 1], vec![12_000i32, 9_000]),
                multipliers.clone(),
                divisors.clone(),
            ],
        };
        let summed = Example {
            attrs: averaged,
            operands: vec![
                bytes(&[2, 2, 3, 3]),
                bytes(&[2, depth, 1, 2]),
                None,
                None,
                None,
                multipliers.clone(),
                divisors.clone(),
            ],
        };
        let activated = Example {
            attrs: padded.clone().with("pool", "GlobalAvgPool").with("activation", "HardSwish"),
            operands: vec![map(&[1, 2, 3, 3]), map(&[2, depth, 2, 2])],
        };
        let looked_up = Example {
            attrs: padded.clone().with("activation", "LUT"),
            operands: vec![
                bytes(&[1, 2, 3, 3]),
                bytes(&[2, depth, 2, 2]),
                None,
                None,
                None,
                multipliers.clone(),
                divisors.clone(),
                multipliers.clone(),
                Tensor::new(&[1, 2, 1, 1], vec![8192f32, 4096.0]),
                Tensor::new(&[2048], (0..2048).map(|i| (i * 37 % 16_384) - 8192).collect::<Vec<i32>>()),
            ],
        };
        let mut examples = vec![float, integer, summed, activated, looked_up];
        if !self.depthwise {
            examples.push(Example {
                attrs: padded.clone(),
                operands: vec![map(&[1, 2, 3, 3]), map(&[2, 2, 2, 2]), None, map(&[2])],
            });
            examples.push(Example {
                attrs: padded,
                operands: vec![
                    Tensor::new(&[1, 2, 3, 3], (0..18).map(|i| i * 13).collect::<Vec<u8>>()),
                    bytes(&[2, 2, 2, 2]),
                    Tensor::new(&[2], vec![-3000i32, 12_345]),
                    Tensor::new(&[2], vec![128i32, 117]),
                    None,
                    multipliers,
                    divisors,
                ],
            });
        }
        examples
    }
}

macro_rules! conv_doc {
    ($what:literal, $weights:literal, $inputs:literal, $padding:literal, $more:literal) => {
        concat!(
            $what,
            " In the float form the chain `channel_pad? → conv2d → max_pool2d? → activation? → \
             global_avg_pool2d?` of x, w ",
            $weights,
            ", b `[F]` and the padding value padding `[C]` (0 where absent), with `strides`, `pads` (top, left, \
             bottom, right), the pool `pool` (none, MaxPool with the window `pool_size`, `pool_strides`, \
             `pool_pads`, or GlobalAvgPool), and the activation `activation`: none, ReLU, ReLUClipped with the ceiling \
             `max_value`, or a function that the operator `activation` has, with its `alpha`, `beta` and `gamma`; \
             `activation_max` is then the largest magnitude that calibration saw of what the function reads. In the \
             integer form, in exact integers: convolution, b added, max-pool; `max(acc, 0)` and \
             `min(acc, max_value[f])`, or with LUT `acc = lut[floor(acc * m_act[f] / s_act[f] + 1/2)]`, the index \
             saturated to 11 bits with sign and counted from the end where it is negative; sum over the map \
             (GlobalAvgPool), then `floor(acc * m[f] / s_out[f] + 1/2)` saturated to int8.\n\n\
             * C0: sizes of windows, strides and pads are as those of `conv2d` and `max_pool2d`.\n\
             * C1: x is plain f32 or f64 (float form), or stored as ",
            $inputs,
            " (integer form).\n\
             * C2: `activation` and `pool` have one of the values above; a function is named in the float form, and is \
             LUT in the integer form.\n\
             * C3: the attribute `max_value` is there exactly in the float form with ReLUClipped, parameters of a \
             function and `activation_max` are 0 where there is none that has them, and the window of the pool differs \
             from its default only with MaxPool.\n\
             * C4: max_value, m, s_out, m_act, s_act and lut are absent in the float form.\n\
             * C5: in the integer form w is i8 and b is i32.\n\
             * C6: in the integer form padding ",
            $padding,
            ".\n\
             * C7: in the integer form max_value, i32 `[1, F, 1, 1]` or `[1, 1, 1, 1]`, is there exactly with \
             ReLUClipped.\n\
             * C8: in the integer form m is u8 and s_out f32, both `[1, F, 1, 1]` or `[1, 1, 1, 1]`.\n\
             * C9: the elements of s_out and s_act are powers of two (checked when it runs).\n\
             * C11: in the integer form m_act, u8, and s_act, f32, both `[1, F, 1, 1]` or `[1, 1, 1, 1]`, and lut, \
             i32 `[2048]`, are there exactly with LUT.",
            $more,
            "\n\n\
             Shapes are as the operators of the chain want them."
        )
    };
}

const CONV_DOC: &str = conv_doc!(
    "A convolution with what runs after it.",
    "`[F, C, R, S]`",
    "i8 or u8",
    "is there exactly where x is stored as u8 (which needs b as well), as i32 `[C]`: what surrounds x, in \
     x's integers",
    ""
);
const DEPTHWISE_DOC: &str = conv_doc!(
    "A depthwise convolution, one filter for each channel (F = C), with what runs after it.",
    "`[C, 1, R, S]`",
    "i8",
    "is absent",
    "\n* C10: w has one filter of depth 1 for each channel of x."
);
