//! QuantizeML's layers on integers (`spec/layers-core.md`, `spec/layers-transformer.md`): what each makes of quantized tensors, and the constants that
//! it takes for it.
//!
//! Layout is `[N, H, W, C]`, kernels are `[h, w, in, out]`, as in the package.

mod activation;
mod attention;
mod body;
pub mod config;
mod conv;
mod convert;
mod dense;
mod merge;
mod normalize;
mod numbers;
mod operator;
mod place;
mod pool;
mod quantizer;
mod relu;
mod shape;
mod tokens;
mod transposed;
mod typed;

use std::collections::BTreeMap;

use thiserror::Error;

pub use activation::{Function, activation};
pub use attention::{attention, head_shift, quantized_shiftmax};
pub use config::{Bits, LayerConfig, OutputAxis, OutputConfig, ShiftmaxConfig};
pub use conv::{Conv2D, conv2d, depthwise_conv2d, separable_conv2d};
pub use convert::input_attrs;
pub use dense::dense;
pub use merge::{add, concatenate};
pub use normalize::{batch_normalization, layer_normalization};
pub use operator::{FixedCall, FixedForm, FixedOperand, FixedPointLayer, Placement};
pub use place::LayerNames;
pub use pool::{global_average_pooling2d, max_pool2d};
pub use quantizer::output_quantizer;
pub use relu::relu;
pub use shape::{flatten, permute, rescaling, reshape};
pub use tokens::{Token, add_position_embs, class_token, extract_token};
pub use transposed::{Transposed, conv2d_transpose, depthwise_conv2d_transpose};

use crate::tensor::fixed::{
    AlignedQuantizer, Arithmetic, FixedError, FixedPoint, OutputQuantizer, PerChannel, QFloat, QTensor,
    Ranges, Requantized, Requantizer, WeightAxis, WeightQuantizer,
};

/// The layers as operators, and the operations on numbers.
pub(super) fn operators() -> Vec<Box<dyn super::Operator>> {
    fn op<L: operator::Layer + Clone + 'static>(layer: L) -> Box<dyn super::Operator> {
        Box::new(operator::LayerOp(layer))
    }
    let mut all: Vec<Box<dyn super::Operator>> = vec![
        Box::new(convert::ToFixedPoint),
        Box::new(convert::ToFloat),
        op(activation::ActivationLayer),
        op(attention::AttentionLayer),
        op(attention::ShiftmaxLayer),
        op(conv::Conv2DLayer),
        op(conv::DepthwiseConv2DLayer),
        op(conv::SeparableConv2DLayer),
        op(dense::DenseLayer),
        op(merge::AddLayer),
        op(merge::ConcatenateLayer),
        op(normalize::BatchNormalizationLayer),
        op(normalize::LayerMadNormalizationLayer),
        op(normalize::LayerNormalizationLayer),
        op(pool::GlobalAveragePooling2DLayer),
        op(pool::MaxPool2DLayer),
        op(quantizer::OutputQuantizerLayer),
        op(relu::ReLULayer),
        op(shape::FlattenLayer),
        op(shape::RescalingLayer),
        op(tokens::AddPositionEmbsLayer),
        op(tokens::ClassTokenLayer),
        op(transposed::Conv2DTransposeLayer),
        op(transposed::DepthwiseConv2DTransposeLayer),
    ];
    all.extend(numbers::operators());
    all
}

/// Why a layer has no integers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayerError {
    #[error(transparent)]
    Fixed(#[from] FixedError),
    #[error("{layer} reads {wanted}, not {found}")]
    Operand { layer: &'static str, wanted: &'static str, found: &'static str },
    #[error("{layer}: {what}")]
    Config { layer: &'static str, what: String },
}

pub(crate) type Result<T> = std::result::Result<T, LayerError>;

/// What releases of the package do differently (layers-core §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub bias_ranges: Ranges,
    /// The most bits of the buffer of convolutions; that of dense layers never has more than 28.
    pub convolution_buffer: u32,
    /// Whether the product with the integer scales has value bits of its own, rather than those of the buffer.
    pub own_product_bits: bool,
    /// Whether a scaled input with several frac bits is brought to one, like an unscaled one.
    pub expands_scaled: bool,
    /// How the package's own arithmetic upscales; see [`Arithmetic::Binary32`].
    pub upscale_rounds: bool,
}

impl Release {
    pub const V0_7: Self = Self {
        bias_ranges: Ranges::One,
        convolution_buffer: u32::MAX,
        own_product_bits: false,
        expands_scaled: false,
        upscale_rounds: false,
    };
    pub const V0_8: Self = Self { own_product_bits: true, ..Self::V0_7 };
    pub const V1_2: Self = Self {
        bias_ranges: Ranges::EachChannel,
        convolution_buffer: 28,
        own_product_bits: true,
        expands_scaled: true,
        upscale_rounds: true,
    };

    /// The arithmetic of the package itself, in binary32.
    pub fn arithmetic(&self) -> Arithmetic {
        Arithmetic::Binary32 { upscale_rounds: self.upscale_rounds }
    }
}

impl Default for Release {
    /// The newest.
    fn default() -> Self {
        Self::V1_2
    }
}

/// Float parameters of a layer, in row-major order.
#[derive(Clone, Copy, Debug)]
pub struct Floats<'a> {
    pub sizes: &'a [usize],
    pub values: &'a [f32],
}

/// What a layer is given for a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Parameter<'a> {
    /// Floats, to be quantized as the configuration says.
    Float(Floats<'a>),
    /// The constant that they became, as [`Layered::recorded`] has it.
    Quantized(&'a QTensor),
}

impl<'a> Parameter<'a> {
    pub fn sizes(&self) -> &'a [usize] {
        match self {
            Parameter::Float(floats) => floats.sizes,
            Parameter::Quantized(tensor) => tensor.fixed().sizes(),
        }
    }
}

impl<'a> From<Floats<'a>> for Parameter<'a> {
    fn from(floats: Floats<'a>) -> Self {
        Parameter::Float(floats)
    }
}

impl<'a> From<&'a QTensor> for Parameter<'a> {
    fn from(tensor: &'a QTensor) -> Self {
        Parameter::Quantized(tensor)
    }
}

/// Where the grid comes from that the output quantizer brings the output to.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// From what was calibrated.
    Calibrated {
        /// Largest magnitudes of the output; 1 if none is given.
        range_max: Option<&'a PerChannel<f32>>,
        /// What equalization multiplied them by; ones if nothing is given.
        rescaling_rate: Option<&'a PerChannel<f32>>,
    },
    /// It is given, with the integers that stand for the scales, where the layer has some.
    Given { qscales: Option<&'a FixedPoint>, frac_bits: &'a PerChannel<i32> },
}

/// A constant that a layer takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Tensor(QTensor),
    Shift(PerChannel<i32>),
}

/// What a layer gives, and the constants that it took for it, by QuantizeML's names.
#[derive(Clone, Debug, PartialEq)]
pub struct Layered {
    pub output: QTensor,
    pub recorded: BTreeMap<&'static str, Constant>,
}

/// How a layer is quantized.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub config: &'a LayerConfig,
    pub output: Output<'a>,
    pub release: Release,
}

impl Context<'_> {
    /// The output, through the output quantizer, if there is one.
    fn requantized(&self, sum: &QTensor) -> Result<Option<Requantized>> {
        let Some(config) = &self.config.output_quantizer else { return Ok(None) };
        let buffer_bits = self.release.own_product_bits.then(|| config.buffer_bitwidth.unwrap_or(32));
        let requantizer = Requantizer { bitwidth: config.bitwidth, signed: config.signed, buffer_bits };
        Ok(Some(match self.output {
            Output::Calibrated { range_max, rescaling_rate } => {
                let range_max = range_max.cloned().unwrap_or_else(|| PerChannel::tensor(1.0));
                let rescaling_rate = rescaling_rate.cloned().unwrap_or_else(|| range_max.map(|_| 1.0));
                let quantizer =
                    OutputQuantizer { requantizer, scale_bits: config.scale_bits, range_max, rescaling_rate };
                quantizer.quantize(sum)?
            }
            Output::Given { qscales, frac_bits } => requantizer.requantize(sum, qscales, frac_bits)?,
        }))
    }

    fn aligned(&self, bitwidth: u32, signed: bool) -> AlignedQuantizer {
        AlignedQuantizer { bitwidth, signed, ranges: self.release.bias_ranges }
    }
}

/// A layer at work: its constants so far.
struct Work<'a> {
    context: &'a Context<'a>,
    recorded: BTreeMap<&'static str, Constant>,
}

impl<'a> Work<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        Self { context, recorded: BTreeMap::new() }
    }

    fn tensor(&mut self, name: &'static str, tensor: impl Into<QTensor>) {
        self.recorded.insert(name, Constant::Tensor(tensor.into()));
    }

    fn shift(&mut self, name: &'static str, shift: PerChannel<i32>) {
        self.recorded.insert(name, Constant::Shift(shift));
    }

    /// The input in a buffer of so many value bits: several frac bits become one (layers-core §1.2).
    fn prepared(&mut self, x: &QTensor, bits: u32) -> Result<QTensor> {
        let expands = match x {
            QTensor::Fixed(fixed) => fixed.frac_bits().axis().is_some(),
            QTensor::Float(float) => self.context.release.expands_scaled && !float.is_per_tensor(),
        };
        if !expands {
            return promoted(x, bits);
        }
        let (fixed, shift) = x.fixed().expand(bits)?;
        self.shift("input_shift", shift);
        Ok(match x {
            QTensor::Fixed(_) => fixed.into(),
            QTensor::Float(float) => QFloat::new(fixed, float.scales().clone())?.into(),
        })
    }

    /// Weights with scales, under `name` in the record.
    fn weights(
        &mut self,
        name: &'static str,
        config: Option<&Bits>,
        axis: WeightAxis,
        weights: Parameter,
    ) -> Result<QFloat> {
        let weights = match weights {
            Parameter::Float(Floats { sizes, values }) => {
                // Only where the layer has the usual axis can the configuration have another.
                let axis = match (axis, config.and_then(|config| config.axis)) {
                    (LAST, Some(None)) => WeightAxis::Tensor,
                    (LAST, Some(Some(axis))) => WeightAxis::Axis(isize::try_from(axis).unwrap_or(isize::MAX)),
                    (axis, _) => axis,
                };
                let quantizer = WeightQuantizer { bitwidth: LayerConfig::bits(config), signed: true, axis };
                quantizer.quantize(sizes, values)?
            }
            Parameter::Quantized(given) => scaled(name, given)?,
        };
        self.tensor(name, weights.clone());
        Ok(weights)
    }

    /// What is added to `other` or compared with it, under `name` in the record, its shift under `shift`.
    fn aligned(
        &mut self,
        [name, shift]: [&'static str; 2],
        quantizer: AlignedQuantizer,
        parameter: Parameter,
        other: &QFloat,
    ) -> Result<QFloat> {
        let values = match parameter {
            Parameter::Float(Floats { sizes, values }) => {
                let aligned = quantizer.quantize(sizes, values, other)?;
                self.shift(shift, aligned.shift);
                aligned.values
            }
            Parameter::Quantized(given) => scaled(name, given)?,
        };
        self.tensor(name, values.clone());
        Ok(values)
    }

    /// What was accumulated plus a bias.
    fn with_bias(&mut self, sum: QFloat, bias: Option<Parameter>) -> Result<QFloat> {
        let Some(bias) = bias else { return Ok(sum) };
        let bits = LayerConfig::bits(self.context.config.bias_quantizer.as_ref());
        let bias = self.aligned(["bias", "bias_shift"], self.context.aligned(bits, true), bias, &sum)?;
        Ok(sum.add(&bias)?)
    }

    /// The output of a layer with weights, from the product with them.
    fn finish_weighted(mut self, product: QFloat, bias: Option<Parameter>) -> Result<Layered> {
        let sum = self.with_bias(product, bias)?;
        self.finish(sum)
    }

    /// The output: through the output quantizer, if there is one.
    fn finish(mut self, sum: impl Into<QTensor>) -> Result<Layered> {
        let sum = sum.into();
        let output = match self.context.requantized(&sum)? {
            None => sum,
            Some(requantized) => {
                if let Some(scales) = requantized.scales {
                    self.tensor("qscales", scales);
                }
                self.shift("out_shift", requantized.shift);
                requantized.output.into()
            }
        };
        Ok(Layered { output, recorded: self.recorded })
    }
}

/// A parameter that has scales.
fn scaled(name: &'static str, given: &QTensor) -> Result<QFloat> {
    match given {
        QTensor::Float(float) => Ok(float.clone()),
        QTensor::Fixed(_) => {
            let (wanted, found) = ("a tensor with scales", "a fixed-point tensor");
            Err(LayerError::Operand { layer: name, wanted, found })
        }
    }
}

/// Value bits of the buffer of a layer with weights.
fn buffer(context: &Context, most: u32) -> u32 {
    context.config.buffer().min(most).saturating_sub(1)
}

const LAST: WeightAxis = WeightAxis::Axis(-1);

/// The same integers with more value bits.
fn promoted(x: &QTensor, bits: u32) -> Result<QTensor> {
    Ok(match x {
        QTensor::Fixed(fixed) => fixed.promote(bits)?.into(),
        QTensor::Float(float) => float.map(|fixed| fixed.promote(bits))?.into(),
    })
}

/// The operand of a layer that takes no scales.
fn fixed_only<'a>(layer: &'static str, x: &'a QTensor) -> Result<&'a FixedPoint> {
    match x {
        QTensor::Fixed(fixed) => Ok(fixed),
        QTensor::Float(_) => {
            Err(LayerError::Operand { layer, wanted: "a fixed-point tensor", found: "one with scales" })
        }
    }
}
