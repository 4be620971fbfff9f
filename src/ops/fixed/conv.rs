//! Convolutions: the product in a buffer, the bias, and the output quantizer (layers-core §1.3).

use super::body::{FixedBody, Integers};
use super::operator::{
    Application, Facts, Layer, Layout, Operand, Placement, Role, as_floats, example, pads, shape_of,
};
use super::{
    Context, Floats, LAST, LayerConfig, LayerError, Layered, Parameter, Result, Work, buffer, fixed_only,
    promoted,
};
use crate::ir::Attrs;
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OnnxAttr, OpError, Presence, Schema};
use crate::tensor::fixed::{FixedPoint, Padding, QFloat, QTensor, Stride, WeightAxis};
use crate::tensor::{Dim, Shape};

/// How a convolution goes over its input.
#[derive(Clone, Copy, Debug)]
pub struct Conv2D<'a> {
    pub stride: Stride,
    pub padding: Padding,
    /// What is around the map in place of 0: one number, or one for each channel. The padding is then
    /// [`Padding::Same`] without dilations, unless it is explicit.
    pub padding_value: Option<Parameter<'a>>,
}

/// # Errors
/// Scales for each channel of the input; padding values of a fixed-point input, or not as many as there are channels.
pub fn conv2d(
    x: &QTensor,
    kernel: Parameter,
    bias: Option<Parameter>,
    conv: &Conv2D,
    context: &Context,
) -> Result<Layered> {
    let mut work = Work::new(context);
    let mut x = work.prepared(x, buffer(context, context.release.convolution_buffer))?;
    let weights = work.weights("weights", context.config.weight_quantizer.as_ref(), LAST, kernel)?;
    let mut padding = conv.padding;
    if let Some(value) = conv.padding_value {
        x = padded(&mut work, &x, value, kernel.sizes(), conv)?;
        padding = Padding::Valid;
    }
    let sum = QFloat::convolution(&x, &weights, conv.stride, padding)?;
    work.finish_weighted(sum, bias)
}

/// The input with numbers around it.
fn padded(
    work: &mut Work,
    x: &QTensor,
    value: Parameter,
    kernel: &[usize],
    conv: &Conv2D,
) -> Result<QTensor> {
    const LAYER: &str = "QuantizedConv2D";
    let QTensor::Float(float) = x else {
        let (wanted, found) = ("an input with scales where it pads by a value", "a fixed-point tensor");
        return Err(LayerError::Operand { layer: LAYER, wanted, found });
    };
    let (&[_, h, w, channels], &[kh, kw, ..]) = (float.fixed().sizes(), kernel) else {
        let what = format!("an input of shape {:?} is no map", float.fixed().sizes());
        return Err(LayerError::Config { layer: LAYER, what });
    };
    let around = |size: usize, kernel: usize, stride: usize| {
        let out = size.div_ceil(stride.max(1));
        let total = (out.saturating_sub(1) * stride + kernel).saturating_sub(size);
        (total / 2, total - total / 2)
    };
    let [down, across] = conv.stride.strides;
    let (rows, columns) = match conv.padding {
        Padding::Explicit([[top, bottom], [left, right]]) => ((top, bottom), (left, right)),
        Padding::Valid | Padding::Same => (around(h, kh, down), around(w, kw, across)),
    };
    let pads = [(0, 0), rows, columns, (0, 0)];
    let bits = LayerConfig::bits(work.context.config.weight_quantizer.as_ref());
    let count: usize = value.sizes().iter().product();
    if count != 1 && count != channels {
        let what = format!("{count} padding values for {channels} channels");
        return Err(LayerError::Config { layer: LAYER, what });
    }
    // One number stands for itself, whatever shape it is given in.
    let value = match value {
        Parameter::Float(floats) if count == 1 => Floats { sizes: &[], ..floats }.into(),
        other => other,
    };
    let quantizer = work.context.aligned(bits, true);
    let around = work.aligned(["padding", "padding_shift"], quantizer, value, float)?;
    let (fixed, scales, around) = (float.fixed(), float.scales().clone(), around.fixed());
    let result = if around.elements().len() == 1 {
        fixed.pad(&pads, around)?
    } else {
        let zero = FixedPoint::new(&[], [0], fixed.value_bits(), fixed.frac_bits().clone())?;
        fixed.sub(around)?.pad(&pads, &zero)?.add(around)?
    };
    Ok(QFloat::new(result, scales)?.into())
}

/// `kernel` is `[h, w, channels, 1]`. Channels of the input may have frac bits of their own.
///
/// # Errors
/// An input with scales.
pub fn depthwise_conv2d(
    x: &QTensor,
    kernel: Parameter,
    bias: Option<Parameter>,
    stride: Stride,
    padding: Padding,
    context: &Context,
) -> Result<Layered> {
    fixed_only("QuantizedDepthwiseConv2D", x)?;
    let mut work = Work::new(context);
    let x = promoted(x, buffer(context, context.release.convolution_buffer))?;
    let weights =
        work.weights("weights", context.config.weight_quantizer.as_ref(), WeightAxis::Axis(-2), kernel)?;
    let sum = QFloat::depthwise_convolution(x.fixed(), &weights, stride, padding)?;
    work.finish_weighted(sum, bias)
}

/// A depthwise convolution whose kernel has one scale, and a 1×1 convolution of its sums, which are not rounded between.
///
/// # Errors
/// An input with scales.
pub fn separable_conv2d(
    x: &QTensor,
    depthwise: Parameter,
    pointwise: Parameter,
    bias: Option<Parameter>,
    stride: Stride,
    padding: Padding,
    context: &Context,
) -> Result<Layered> {
    fixed_only("QuantizedSeparableConv2D", x)?;
    let mut work = Work::new(context);
    let x = work.prepared(x, buffer(context, u32::MAX))?;
    let config = context.config;
    let depthwise =
        work.weights("dw_weights", config.dw_weight_quantizer.as_ref(), WeightAxis::Tensor, depthwise)?;
    let pointwise = work.weights("pw_weights", config.pw_weight_quantizer.as_ref(), LAST, pointwise)?;
    let each = QFloat::depthwise_convolution(x.fixed(), &depthwise, stride, padding)?;
    let one = Stride { strides: [1, 1], dilations: [1, 1] };
    let sum = QFloat::convolution(&each.into(), &pointwise, one, Padding::Valid)?;
    work.finish_weighted(sum, bias)
}

/// Attributes of a convolution.
pub(super) fn convolution_attrs(schema: Schema) -> Schema {
    schema.attr("strides", vec![1i64, 1]).attr("dilations", vec![1i64, 1]).attr("pads", vec![0i64, 0, 0, 0])
}

pub(super) fn stride(call: &Call) -> std::result::Result<Stride, OpError> {
    Ok(Stride { strides: call.sizes("strides", 1)?, dilations: call.sizes("dilations", 1)? })
}

/// The attributes of the convolution that the float form has.
fn float_attrs(call: &Call, names: &[&str]) -> Attrs {
    let given = names.iter().filter_map(|&name| Some((name, call.attrs.get(name)?.clone())));
    given.fold(Attrs::new(), |attrs, (name, value)| attrs.with(name, value))
}

const GEOMETRY: [&str; 3] = ["strides", "dilations", "pads"];

/// Products of a kernel with the windows of a map.
pub(super) fn products(call: &Call, kernel: usize, pads: [usize; 4]) -> u64 {
    let size = |position: usize, axis: usize| {
        call.opt_ty(position).and_then(|ty| ty.shape.get(axis)?.fixed()).unwrap_or(1) as u64
    };
    let Ok(Stride { strides, dilations }) = stride(call) else { return 0 };
    let out = |i: usize| {
        let room = size(0, 2 + i) + (pads[i] + pads[2 + i]) as u64;
        let spread = (size(kernel, 2 + i) - 1) * dilations[i] as u64;
        room.saturating_sub(spread + 1) / strides[i] as u64 + 1
    };
    let taps: u64 = (0..4).map(|axis| size(kernel, axis)).product();
    taps.saturating_mul(out(0)).saturating_mul(out(1))
}

/// The attributes of an ONNX convolution.
pub(super) fn geometry(call: &Call) -> std::result::Result<Vec<(&'static str, OnnxAttr)>, OpError> {
    GEOMETRY.into_iter().map(|name| Ok((name, OnnxAttr::Ints(call.ints(name)?.to_vec())))).collect()
}

/// Sums of each channel by itself.
pub(super) fn depthwise(
    at: &mut FixedBody,
    x: &Integers,
    kernel: &Integers,
    bits: u32,
) -> std::result::Result<Integers, OpError> {
    let mut attrs = geometry(at.call)?;
    attrs.push(("group", OnnxAttr::Int(channels(at.call, 1)?)));
    let taps = at.size(1, 2)? * at.size(1, 3)?;
    at.convolution(x, kernel, taps, &attrs, bits)
}

#[derive(Clone)]
pub(super) struct Conv2DLayer;

impl Layer for Conv2DLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::map("x"),
            Operand::parameter("kernel", "weights", Layout::Kernel),
            Operand::optional("bias", "bias"),
            Operand::optional("padding_value", "padding"),
        ];
        Facts {
            name: "Conv2D",
            doc: "`conv2d` of one group, for x `[N, C, H, W]`, kernel `[F, C, R, S]` and bias `[F]`, with `strides`, `dilations` and `pads` (top, left, bottom, right). With \
                  padding_value `[C]`, that is what is around x in place of 0: `channel_pad` first.",
            constraints: "* C0: sizes are as the float operator wants them.\n\
                          * C3: padding_value has the one axis C, or in the integer form may be one number.",
            operands: OPERANDS,
            result: Layout::Map,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: Some(1) },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        convolution_attrs(schema)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let operands = |x| [x, Source::Operand(1), Source::Operand(2)];
        if call.opt_ty(3).is_none() {
            let attrs = float_attrs(call, &GEOMETRY);
            return Ok(vec![Step::new("conv2d", attrs, &operands(Source::Operand(0)))]);
        }
        let pad = float_attrs(call, &["pads"]);
        Ok(vec![
            Step::new("channel_pad", pad, &[Source::Operand(0), Source::Operand(3)]),
            Step::new("conv2d", float_attrs(call, &GEOMETRY[..2]), &operands(Source::Previous)),
        ])
    }

    fn shape(&self, call: &Call) -> std::result::Result<Shape, OpError> {
        if let Some(value) = call.opt_ty(3) {
            let channels = call.ty(0)?.shape.get(1).cloned();
            let number = call.ty(0)?.grid.fixed().is_some() && value.shape.rank() == 0;
            let each = value.shape.rank() == 1 && value.shape.first() == channels.as_ref();
            call.require("C3", number || each, || format!("padding_value has shape {}", value.shape))?;
        }
        // Numbers around the map do not change the shape that zeros give.
        let operands = as_floats(call.operands.get(..3).unwrap_or(call.operands));
        shape_of(&self.chain(&Call { operands: &operands, ..*call })?, &operands)
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let conv =
            Conv2D { stride: stride(at.call)?, padding: pads(at.call)?, padding_value: at.optional(3) };
        at.done(conv2d(at.value(0)?, at.parameter(1)?, at.optional(2), &conv, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(28)?;
        let x = at.operand(0)?;
        let mut x = at.prepared(x, bits)?;
        let kernel = at.operand(1)?;
        let mut attrs = geometry(at.call)?;
        if at.has(3) {
            let value = at.operand(3)?;
            x = at.padded_by(&x, &value, at.call.sizes("pads", 0)?)?;
            attrs.retain(|(name, _)| *name != "pads");
        }
        let taps = at.size(1, 1)? * at.size(1, 2)? * at.size(1, 3)?;
        let sum = at.convolution(&x, &kernel, taps, &attrs, bits)?;
        at.biased_and_finished(sum, 2)
    }

    fn macs(&self, call: &Call) -> u64 {
        products(call, 1, call.sizes("pads", 0).unwrap_or_default())
    }

    fn examples(&self) -> Vec<Example> {
        let operands = vec![example(&[1, 2, 3, 3]), example(&[3, 2, 2, 2]), example(&[3])];
        vec![Example { attrs: Attrs::new().with("strides", vec![2i64, 1]), operands }]
    }
}

#[derive(Clone)]
pub(super) struct DepthwiseConv2DLayer;

impl Layer for DepthwiseConv2DLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::map("x"),
            Operand::parameter("kernel", "weights", Layout::Depthwise),
            Operand::optional("bias", "bias"),
        ];
        Facts {
            name: "DepthwiseConv2D",
            doc: "`conv2d` with a group for each channel, for x `[N, C, H, W]`, kernel `[C, 1, R, S]` and bias `[C]`, \
                  with `strides`, `dilations` and `pads`.",
            constraints: "* C0: sizes are as the float operator wants them.",
            operands: OPERANDS,
            result: Layout::Map,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: Some(0) },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        convolution_attrs(schema)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let attrs = float_attrs(call, &GEOMETRY).with("group", channels(call, 1)?);
        Ok(vec![Step::new("conv2d", attrs, &[0, 1, 2].map(Source::Operand))])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let (stride, padding) = (stride(at.call)?, pads(at.call)?);
        let (x, kernel) = (at.value(0)?, at.parameter(1)?);
        at.done(depthwise_conv2d(x, kernel, at.optional(2), stride, padding, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(28)?;
        let (x, kernel) = (at.operand(0)?, at.operand(1)?);
        let sum = depthwise(at, &x, &kernel, bits)?;
        at.biased_and_finished(sum, 2)
    }

    fn macs(&self, call: &Call) -> u64 {
        products(call, 1, call.sizes("pads", 0).unwrap_or_default())
    }

    fn examples(&self) -> Vec<Example> {
        let operands = vec![example(&[1, 2, 3, 3]), example(&[2, 1, 3, 3]), example(&[2])];
        vec![Example { attrs: Attrs::new().with("pads", vec![1i64, 1, 1, 1]), operands }]
    }
}

/// The channels of a depthwise kernel.
fn channels(call: &Call, kernel: usize) -> std::result::Result<i64, OpError> {
    let shape = &call.ty(kernel)?.shape;
    let channels = shape.first().ok_or_else(|| call.broken("C2", "a kernel without axes"))?;
    Ok(call.known(channels)? as i64)
}

#[derive(Clone)]
pub(super) struct SeparableConv2DLayer;

impl Layer for SeparableConv2DLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::map("x"),
            Operand::parameter("depthwise_kernel", "dw_weights", Layout::Depthwise),
            Operand::parameter("pointwise_kernel", "pw_weights", Layout::Kernel),
            Operand { presence: Presence::Optional, role: Role::Parameter("bias"), ..Operand::value("bias") },
        ];
        Facts {
            name: "SeparableConv2D",
            doc: "`conv2d` with a group for each channel and then one of 1×1, for x `[N, C, H, W]`, depthwise_kernel \
                  `[C, 1, R, S]`, pointwise_kernel `[F, C, 1, 1]` and bias `[F]`; `strides`, `dilations` and `pads` are of the first. In integers nothing is rounded between.",
            constraints: "* C0: sizes are as the float operator wants them.",
            operands: OPERANDS,
            result: Layout::Map,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: Some(0) },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        convolution_attrs(schema)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let attrs = float_attrs(call, &GEOMETRY).with("group", channels(call, 1)?);
        Ok(vec![
            Step::new("conv2d", attrs, &[0, 1].map(Source::Operand)),
            Step::new("conv2d", Attrs::new(), &[Source::Previous, Source::Operand(2), Source::Operand(3)]),
        ])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let (stride, padding) = (stride(at.call)?, pads(at.call)?);
        let (x, depthwise, pointwise) = (at.value(0)?, at.parameter(1)?, at.parameter(2)?);
        at.done(separable_conv2d(x, depthwise, pointwise, at.optional(3), stride, padding, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(u32::MAX)?;
        let x = at.operand(0)?;
        let x = at.prepared(x, bits)?;
        let (kernel, pointwise) = (at.operand(1)?, at.operand(2)?);
        let each = depthwise(at, &x, &kernel, bits)?;
        let channels = at.size(2, 1)?;
        let sum = at.convolution(&each, &pointwise, channels, &[], bits)?;
        at.biased_and_finished(sum, 3)
    }

    fn macs(&self, call: &Call) -> u64 {
        let filters = call.opt_ty(2).and_then(|ty| ty.shape.first()?.fixed()).unwrap_or(1) as u64;
        let depthwise = products(call, 1, call.sizes("pads", 0).unwrap_or_default());
        let taps =
            call.opt_ty(1).map_or(1, |ty| ty.shape.iter().skip(2).filter_map(Dim::fixed).product::<usize>());
        depthwise.saturating_add((depthwise / taps.max(1) as u64).saturating_mul(filters))
    }

    fn examples(&self) -> Vec<Example> {
        let operands =
            vec![example(&[1, 2, 3, 3]), example(&[2, 1, 2, 2]), example(&[3, 2, 1, 1]), example(&[3])];
        vec![Example { attrs: Attrs::new(), operands }]
    }
}
