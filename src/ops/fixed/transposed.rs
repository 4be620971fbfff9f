//! Transposed convolutions (layers-core §2).

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example, pads};
use super::{Context, Floats, LAST, LayerError, Layered, Parameter, Result, Work, buffer, fixed_only};
use crate::ir::Attrs;
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OnnxAttr, OpError, Schema};
use crate::tensor::fixed::{Padding, QFloat, QTensor, WeightAxis};

/// How a transposed convolution goes over its output.
#[derive(Clone, Copy, Debug)]
pub struct Transposed {
    pub strides: [usize; 2],
    pub padding: Padding,
    pub output_padding: Option<[usize; 2]>,
}

impl Transposed {
    /// The size of the output along an axis (layers-core §2).
    fn size(&self, axis: usize, input: usize, kernel: usize) -> Option<usize> {
        let stride = self.strides[axis];
        let whole = input.checked_mul(stride)?;
        let reach = input.saturating_sub(1).checked_mul(stride)?.checked_add(kernel)?;
        match (self.output_padding, self.padding) {
            (None, Padding::Valid) => whole.checked_add(kernel.saturating_sub(stride)),
            (None, Padding::Same) => Some(whole),
            (Some(more), Padding::Valid) => reach.checked_add(more[axis]),
            (Some(more), Padding::Same) => reach.checked_add(more[axis])?.checked_sub(kernel / 2 * 2),
            (more, Padding::Explicit(pads)) => {
                let more = more.map_or(0, |more| more[axis]);
                let [before, after] = pads[axis];
                reach.checked_add(more)?.checked_sub(before.checked_add(after)?)
            }
        }
    }
}

impl Transposed {
    /// Rows and columns of the output of a map.
    pub(super) fn of_map(&self, layer: &'static str, x: &QTensor, kernel: &[usize]) -> Result<[usize; 2]> {
        let x = x.fixed().sizes();
        let fail =
            || LayerError::Config { layer, what: format!("no output for {x:?} and a kernel of {kernel:?}") };
        let (&[h, w, ..], &[_, rows, columns, _]) = (kernel, x) else { return Err(fail()) };
        let size = self.size(0, rows, h).zip(self.size(1, columns, w));
        size.map(|(rows, columns)| [rows, columns]).ok_or_else(fail)
    }
}

/// A kernel `[h, w, filters, channels]` as `[h, w, channels, filters]`.
fn filters_last(kernel: Floats) -> Option<([usize; 4], Vec<f32>)> {
    let &[h, w, filters, channels] = kernel.sizes else { return None };
    let mut turned = Vec::with_capacity(kernel.values.len());
    for at in 0..h * w {
        let place = |channel: usize, filter: usize| (at * filters + filter) * channels + channel;
        let each = (0..channels).flat_map(|c| (0..filters).map(move |f| (c, f)));
        turned.extend(each.map(|(c, f)| kernel.values[place(c, f)]));
    }
    Some(([h, w, channels, filters], turned))
}

/// `kernel` is `[h, w, filters, channels]`, or, if it is quantized already, `[h, w, channels, filters]`.
///
/// # Errors
/// An input with scales.
pub fn conv2d_transpose(
    x: &QTensor,
    kernel: Parameter,
    bias: Option<Parameter>,
    conv: &Transposed,
    context: &Context,
) -> Result<Layered> {
    const LAYER: &str = "QuantizedConv2DTranspose";
    fixed_only(LAYER, x)?;
    let mut work = Work::new(context);
    let x = work.prepared(x, buffer(context, context.release.convolution_buffer))?;
    let turned;
    let kernel = match kernel {
        Parameter::Float(floats) => {
            turned = filters_last(floats);
            let (sizes, values) = turned.as_ref().map_or((&[][..], &[][..]), |(s, v)| (&s[..], &v[..]));
            Floats { sizes, values }.into()
        }
        given => given,
    };
    let weights = work.weights("weights", context.config.weight_quantizer.as_ref(), LAST, kernel)?;
    let size = conv.of_map(LAYER, &x, weights.fixed().sizes())?;
    let sum = QFloat::transposed_convolution(x.fixed(), &weights, conv.strides, conv.padding, size)?;
    work.finish_weighted(sum, bias)
}

/// Twice the map, with a kernel `[h, w, channels, 1]` that has one scale.
///
/// # Errors
/// An input with scales; other strides than 2, other padding than [`Padding::Same`].
pub fn depthwise_conv2d_transpose(
    x: &QTensor,
    kernel: Parameter,
    bias: Option<Parameter>,
    conv: &Transposed,
    context: &Context,
) -> Result<Layered> {
    const LAYER: &str = "QuantizedDepthwiseConv2DTranspose";
    fixed_only(LAYER, x)?;
    let explicit = matches!(conv.padding, Padding::Explicit(_));
    if !explicit && (conv.strides != [2, 2] || conv.padding != Padding::Same || conv.output_padding.is_some())
    {
        let what = "strides are 2 and the padding is `same`".to_owned();
        return Err(LayerError::Config { layer: LAYER, what });
    }
    let mut work = Work::new(context);
    let x = work.prepared(x, buffer(context, context.release.convolution_buffer))?;
    let weights =
        work.weights("weights", context.config.weight_quantizer.as_ref(), WeightAxis::Tensor, kernel)?;
    let size = conv.of_map(LAYER, &x, weights.fixed().sizes())?;
    let sum =
        x.fixed().depthwise_transposed_convolution(weights.fixed(), conv.strides, conv.padding, size)?;
    let sum = QFloat::new(sum, weights.scales().clone())?;
    work.finish_weighted(sum, bias)
}

/// Attributes of a transposed convolution.
pub(super) fn transposed_attrs(schema: Schema) -> Schema {
    schema
        .attr("strides", vec![1i64, 1])
        .attr("pads", vec![0i64, 0, 0, 0])
        .attr("output_padding", vec![0i64, 0])
}

fn float_attrs(call: &Call) -> Attrs {
    let names = ["strides", "pads", "output_padding"];
    let given = names.into_iter().filter_map(|name| Some((name, call.attrs.get(name)?.clone())));
    given.fold(Attrs::new(), |attrs, (name, value)| attrs.with(name, value))
}

pub(super) fn transposed(call: &Call) -> std::result::Result<Transposed, OpError> {
    Ok(Transposed {
        strides: call.sizes("strides", 1)?,
        padding: pads(call)?,
        output_padding: Some(call.sizes("output_padding", 0)?),
    })
}

/// Products of a kernel with every position of x.
pub(super) fn products(call: &Call) -> u64 {
    let product = |position: usize, axes: std::ops::Range<usize>| {
        let shape = call.opt_ty(position).map(|ty| &ty.shape);
        let sizes = axes.filter_map(|axis| shape?.get(axis)?.fixed());
        sizes.fold(1u64, |product, size| product.saturating_mul(size as u64))
    };
    product(0, 2..4).saturating_mul(product(1, 0..4))
}

fn emitted(at: &mut FixedBody, depthwise: bool) -> std::result::Result<Integers, OpError> {
    let bits = at.buffer(28)?;
    let x = at.operand(0)?;
    let x = at.prepared(x, bits)?;
    let kernel = at.operand(1)?;
    let sum = scattered(at, x, kernel, bits, depthwise)?;
    at.biased_and_finished(sum, 2)
}

/// A convolution of a map with zeros between its positions, by the kernel turned round.
pub(super) fn scattered(
    at: &mut FixedBody,
    x: Integers,
    kernel: Integers,
    bits: u32,
    depthwise: bool,
) -> std::result::Result<Integers, OpError> {
    let conv = transposed(at.call)?;
    let [sh, sw] = conv.strides;
    let (rows, columns) = (at.size(0, 2)?, at.size(0, 3)?);
    let mut map = x.name.clone();
    if (sh, sw) != (1, 1) {
        let between = at.body.vector(vec![3i64, 5]);
        map = at.op("Unsqueeze", &[&map, &between]);
        map = at.padded(&map, &[0; 6], &[0, 0, 0, sh as i64 - 1, 0, sw as i64 - 1]);
        // The first two sizes are those that there are.
        let sizes = at.body.vector(vec![0, 0, rows as i64 * sh as i64, columns as i64 * sw as i64]);
        map = at.op("Reshape", &[&map, &sizes]);
    }
    let y = match depthwise {
        true => DepthwiseConv2DTransposeLayer.shape(at.call)?,
        false => Conv2DTransposeLayer.shape(at.call)?,
    };
    let [top, left, ..] = at.call.sizes::<4>("pads", 0)?;
    let side = |axis: usize, input: i128, stride: usize, kernel: i128, before: usize| {
        let out = at.call.known(&y[axis])? as i128;
        let begin = kernel - 1 - before as i128;
        Ok((begin as i64, (out - input * stride as i128 - begin + kernel - 1) as i64))
    };
    let (kh, kw) = (at.size(1, 2)?, at.size(1, 3)?);
    let (above, below) = side(2, rows, sh, kh, top)?;
    let (before, after) = side(3, columns, sw, kw, left)?;
    let map = at.padded(&map, &[0, 0, above, before], &[0, 0, below, after]);
    let mut turned = kernel.name.clone();
    if !depthwise {
        let perm = vec![("perm", OnnxAttr::Ints(vec![1, 0, 2, 3]))];
        turned = at.body.op_with("Transpose", &[&turned], perm);
    }
    let (starts, ends) = (at.body.vector(vec![-1i64, -1]), at.body.vector(vec![i64::MIN, i64::MIN]));
    let (axes, steps) = (at.body.vector(vec![2i64, 3]), at.body.vector(vec![-1i64, -1]));
    turned = at.op("Slice", &[&turned, &starts, &ends, &axes, &steps]);
    let (x, kernel) = (Integers { name: map, ..x }, Integers { name: turned, ..kernel });
    let (attrs, depth) = match depthwise {
        true => (vec![("group", OnnxAttr::Int(at.size(1, 0)? as i64))], 1),
        false => (Vec::new(), at.size(1, 0)?),
    };
    at.convolution(&x, &kernel, depth * kh * kw, &attrs, bits)
}

#[derive(Clone)]
pub(super) struct Conv2DTransposeLayer;

impl Layer for Conv2DTransposeLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::map("x"),
            Operand::parameter("kernel", "weights", Layout::Transposed),
            Operand::optional("bias", "bias"),
        ];
        Facts {
            name: "Conv2DTranspose",
            doc: "`conv_transpose2d` of one group, for x `[N, C, H, W]`, kernel `[C, F, R, S]` and bias `[F]`, with \
                  `strides`, `pads` and `output_padding`.",
            constraints: "* C0: sizes are as the float operator wants them.",
            operands: OPERANDS,
            result: Layout::Map,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: Some(0) },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        transposed_attrs(schema)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        Ok(vec![Step::new("conv_transpose2d", float_attrs(call), &[0, 1, 2].map(Source::Operand))])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let (x, kernel) = (at.value(0)?, at.parameter(1)?);
        at.done(conv2d_transpose(x, kernel, at.optional(2), &transposed(at.call)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        emitted(at, false)
    }

    fn macs(&self, call: &Call) -> u64 {
        products(call)
    }

    fn examples(&self) -> Vec<Example> {
        let operands = vec![example(&[1, 2, 2, 2]), example(&[2, 3, 3, 3]), example(&[3])];
        let attrs = Attrs::new().with("strides", vec![2i64, 2]).with("pads", vec![0i64, 0, 1, 1]);
        vec![Example { attrs, operands }]
    }
}

#[derive(Clone)]
pub(super) struct DepthwiseConv2DTransposeLayer;

impl Layer for DepthwiseConv2DTransposeLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::map("x"),
            Operand::parameter("kernel", "weights", Layout::Depthwise),
            Operand::optional("bias", "bias"),
        ];
        Facts {
            name: "DepthwiseConv2DTranspose",
            doc: "`conv_transpose2d` with a group for each channel, for x `[N, C, H, W]`, kernel `[C, 1, R, S]` and \
                  bias `[C]`, with `strides`, `pads` and `output_padding`.",
            constraints: "* C0: sizes are as the float operator wants them.",
            operands: OPERANDS,
            result: Layout::Map,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: Some(0) },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        transposed_attrs(schema)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let channels = call.ty(1)?.shape.first().ok_or_else(|| call.broken("C2", "a kernel without axes"))?;
        let attrs = float_attrs(call).with("group", call.known(channels)? as i64);
        Ok(vec![Step::new("conv_transpose2d", attrs, &[0, 1, 2].map(Source::Operand))])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let (x, kernel) = (at.value(0)?, at.parameter(1)?);
        at.done(depthwise_conv2d_transpose(x, kernel, at.optional(2), &transposed(at.call)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        emitted(at, true)
    }

    fn macs(&self, call: &Call) -> u64 {
        products(call)
    }

    fn examples(&self) -> Vec<Example> {
        let operands = vec![example(&[1, 2, 2, 2]), example(&[2, 1, 3, 3])];
        let attrs = Attrs::new().with("strides", vec![2i64, 2]).with("pads", vec![0i64, 0, 1, 1]);
        vec![Example { attrs, operands }]
    }
}
