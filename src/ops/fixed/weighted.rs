//! Layers with weights: the product in a buffer, the bias, and the output quantizer (layers-core §1.3).

use super::{
    Context, Floats, LayerConfig, LayerError, Layered, Parameter, Result, Work, fixed_only, promoted,
};
use crate::tensor::fixed::{FixedPoint, Padding, QFloat, QTensor, Stride, WeightAxis};

/// Value bits of the buffer of a layer with weights.
fn buffer(context: &Context, most: u32) -> u32 {
    context.config.buffer().min(most).saturating_sub(1)
}

const LAST: WeightAxis = WeightAxis::Axis(-1);

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
    let (&[h, w, ..], &[_, rows, columns, _]) = (kernel.sizes(), x.fixed().sizes()) else {
        let what = format!("no kernel of shape {:?} for {:?}", kernel.sizes(), x.fixed().sizes());
        return Err(LayerError::Config { layer: LAYER, what });
    };
    let weights = work.weights("weights", context.config.weight_quantizer.as_ref(), LAST, kernel)?;
    let size = conv.size(0, rows, h).zip(conv.size(1, columns, w));
    let (rows, columns) = size.ok_or_else(|| LayerError::Config {
        layer: LAYER,
        what: format!("no output for a map of {rows}×{columns} and a kernel of {h}×{w}"),
    })?;
    let sum =
        QFloat::transposed_convolution(x.fixed(), &weights, conv.strides, conv.padding, [rows, columns])?;
    work.finish_weighted(sum, bias)
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
    if conv.strides != [2, 2] || conv.padding != Padding::Same || conv.output_padding.is_some() {
        let what = "strides are 2 and the padding is `same`".to_owned();
        return Err(LayerError::Config { layer: LAYER, what });
    }
    let mut work = Work::new(context);
    let x = work.prepared(x, buffer(context, context.release.convolution_buffer))?;
    let weights =
        work.weights("weights", context.config.weight_quantizer.as_ref(), WeightAxis::Tensor, kernel)?;
    let sum = x.fixed().depthwise_transposed_convolution(weights.fixed(), conv.strides)?;
    let sum = QFloat::new(sum, weights.scales().clone())?;
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

/// The product over the last axis, with a kernel `[in, units]`.
///
/// # Errors
/// Scales for each channel of the input.
pub fn dense(x: &QTensor, kernel: Parameter, bias: Option<Parameter>, context: &Context) -> Result<Layered> {
    let mut work = Work::new(context);
    let x = work.prepared(x, buffer(context, 28))?;
    let weights = work.weights("weights", context.config.weight_quantizer.as_ref(), LAST, kernel)?;
    let sum = QFloat::matmul(&x, &weights, false, false)?;
    work.finish_weighted(sum, bias)
}
