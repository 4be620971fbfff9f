//! Normalization (layers-core §2, layers-transformer §4).

use std::sync::Arc;

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example};
use super::{Context, Floats, LayerConfig, Layered, Parameter, Result, Work, fixed_only};
use crate::ir::Attrs;
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OpError, Schema};
use crate::tensor::Tensor;
use crate::tensor::fixed::{PerChannel, QFloat, QTensor, WeightAxis};

/// `x · a + b`: a batch normalization with `a = gamma / sqrt(variance + epsilon)` and `b = beta - mean · a`. As `a`
/// has one axis, it has one scale.
///
/// # Errors
/// Scales for each channel of the input.
pub fn batch_normalization(x: &QTensor, a: Parameter, b: Parameter, context: &Context) -> Result<Layered> {
    let mut work = Work::new(context);
    let x = work.prepared(x, context.config.buffer().saturating_sub(1))?;
    let config = context.config;
    let a = work.weights("a", config.a_quantizer.as_ref(), WeightAxis::Tensor, a)?;
    let product = QFloat::multiplied(&x, &a)?;
    let bits = LayerConfig::bits(config.b_quantizer.as_ref());
    let b = work.aligned(["b", "b_shift"], context.aligned(bits, true), b, &product)?;
    work.finish(product.add(&b)?)
}

/// `gamma · x / mean(|x|) + beta` along the last axis, by one integer division for each element. What is recorded of
/// gamma has the number of channels in it.
///
/// # Errors
/// An input with scales; a token that is all 0.
pub fn layer_normalization(
    x: &QTensor,
    gamma: Parameter,
    beta: Parameter,
    context: &Context,
) -> Result<Layered> {
    fixed_only("QuantizedLayerNormalization", x)?;
    let mut work = Work::new(context);
    let config = context.config;
    let bits = config.buffer().saturating_sub(1);
    let x = work.prepared(x, bits)?;
    let x = x.fixed();
    let channels = x.sizes().last().copied().unwrap_or(1) as f32;
    let sum = x.abs()?.reduce_sum(Some(-1), true)?;
    let times_channels: Vec<f32>;
    let gamma = match gamma {
        Parameter::Float(floats) => {
            times_channels = floats.values.iter().map(|gamma| gamma * channels).collect();
            Floats { values: &times_channels, ..floats }.into()
        }
        given => given,
    };
    let gamma = work.weights("gamma", config.gamma_quantizer.as_ref(), WeightAxis::Tensor, gamma)?;
    // Room that the output's scales need.
    let scale_bits = config.output_quantizer.as_ref().and_then(|output| output.scale_bits).unwrap_or(0);
    let room = bits.saturating_sub(scale_bits).saturating_sub(gamma.fixed().value_bits());
    let wide = gamma.fixed().clone().with(x.arithmetic());
    let (wide, _) = wide.upscale(&PerChannel::tensor(room as i32), Some(bits))?;
    let factors = wide.divide(&sum)?;
    let product = QFloat::new(x.multiply(&factors)?, gamma.scales().clone())?;
    let bits = LayerConfig::bits(config.beta_quantizer.as_ref());
    let beta = work.aligned(["beta", "beta_shift"], context.aligned(bits, true), beta, &product)?;
    work.finish(product.add(&beta)?)
}

#[derive(Clone)]
pub(super) struct BatchNormalizationLayer;

impl Layer for BatchNormalizationLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::map("x"),
            Operand::parameter("a", "a", Layout::Same),
            Operand::parameter("b", "b", Layout::Same),
        ];
        Facts {
            name: "BatchNormalization",
            doc: "`y[n, c, i, j] = x[n, c, i, j] * a[c] + b[c]`, for x `[N, C, H, W]`, a and b `[C]`: a batch normalization with \
                  `a = gamma / sqrt(var + epsilon)` and `b = beta - mean * a`.",
            constraints: "",
            operands: OPERANDS,
            result: Layout::Map,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, _: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let planes = || Attrs::new().with("axes", vec![1i64, 2]);
        Ok(vec![
            Step::new("unsqueeze", planes(), &[Source::Operand(1)]),
            Step::new("unsqueeze", planes(), &[Source::Operand(2)]),
            Step::new("mul", Attrs::new(), &[Source::Operand(0), Source::Step(0)]),
            Step::new("add", Attrs::new(), &[Source::Previous, Source::Step(1)]),
        ])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(batch_normalization(at.value(0)?, at.parameter(1)?, at.parameter(2)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(u32::MAX)?;
        let x = at.operand(0)?;
        let x = at.prepared(x, bits)?;
        let a = at.operand(1)?;
        let product = at.multiplied(&x, &a, bits)?;
        at.biased_and_finished(Integers { scaled: true, ..product }, 2)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let operands = vec![example(&[1, 2, 2, 2]), example(&[2]), example(&[2])];
        vec![Example { attrs: Attrs::new(), operands }]
    }
}

#[derive(Clone)]
pub(super) struct LayerMadNormalizationLayer;

impl Layer for LayerMadNormalizationLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::value("x"),
            Operand::parameter("gamma", "gamma", Layout::Same),
            Operand::parameter("beta", "beta", Layout::Same),
        ];
        Facts {
            name: "LayerMadNormalization",
            doc: "`gamma * x / mean(abs(x)) + beta` with the mean along the last axis, for x `[N, …, C]`, gamma and beta `[C]`.",
            constraints: "",
            operands: OPERANDS,
            result: Layout::Same,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let last = call.ty(0)?.shape.rank().saturating_sub(1) as i64;
        let mean = Attrs::new().with("axes", vec![last]).with("keepdims", true);
        Ok(vec![
            Step::new("abs", Attrs::new(), &[Source::Operand(0)]),
            Step::new("reduce_mean", mean, &[Source::Previous]),
            Step::new("mul", Attrs::new(), &[Source::Operand(1), Source::Operand(0)]),
            Step::new("div", Attrs::new(), &[Source::Previous, Source::Step(1)]),
            Step::new("add", Attrs::new(), &[Source::Previous, Source::Operand(2)]),
        ])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(layer_normalization(at.value(0)?, at.parameter(1)?, at.parameter(2)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(u32::MAX)?;
        let x = at.operand(0)?;
        let x = at.prepared(x, bits)?;
        let last = x.rank.saturating_sub(1);
        let channels = at.size(0, last)?;
        let magnitudes = at.absolute(&x);
        let sum = at.summed(&magnitudes, vec![last as i64], channels, bits)?;
        let gamma = at.operand(1)?;
        let scale_bits = if at.has(3) { at.operand(3)?.value_bits } else { 0 };
        let room = bits.saturating_sub(scale_bits).saturating_sub(gamma.value_bits) as i32;
        let wide = at.rescaled(&gamma, &[gamma.frac_bits[0] + room], bits)?;
        let factors = at.quotient(&wide, &sum);
        let product = at.multiplied(&x, &factors, bits)?;
        let product = Integers { frac_bits: wide.frac_bits, axis: None, scaled: true, ..product };
        at.biased_and_finished(product, 2)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example {
            attrs: Attrs::new(),
            operands: vec![example(&[1, 2, 3]), example(&[3]), example(&[3])],
        }]
    }
}

#[derive(Clone)]
pub(super) struct LayerNormalizationLayer;

impl LayerNormalizationLayer {
    fn no_integers(call: &Call) -> OpError {
        OpError::Unsupported {
            op: call.op(),
            what: "the integer form".to_owned(),
            way_out: Some(
                "take a LayerMadNormalization in its place: the pass `mad-normalization`".to_owned(),
            ),
        }
    }
}

impl Layer for LayerNormalizationLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::value("x"),
            Operand::parameter("gamma", "gamma", Layout::Same),
            Operand::parameter("beta", "beta", Layout::Same),
        ];
        Facts {
            name: "LayerNormalization",
            doc: "`gamma * (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) + beta` along the last axis, for x `[N, …, C]`, \
                  gamma and beta `[C]`. It has no integers: the pass `mad-normalization` puts a `LayerMadNormalization` in its \
                  place.",
            constraints: "",
            operands: OPERANDS,
            result: Layout::Same,
            buffer: false,
            placement: Placement { aligned: false, output: false, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema.attr("epsilon", 1e-5f32)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let last = call.ty(0)?.shape.rank().saturating_sub(1) as i64;
        let mean = || Attrs::new().with("axes", vec![last]).with("keepdims", true);
        let plain = |op: &'static str, operands: &[Source]| Step::new(op, Attrs::new(), operands);
        let epsilon = Tensor::scalar(call.float("epsilon")?).cast(call.ty(0)?.storage());
        Ok(vec![
            Step::new("reduce_mean", mean(), &[Source::Operand(0)]),
            plain("sub", &[Source::Operand(0), Source::Previous]),
            plain("mul", &[Source::Step(1), Source::Step(1)]),
            Step::new("reduce_mean", mean(), &[Source::Previous]),
            plain("add", &[Source::Previous, Source::Constant(Arc::new(epsilon))]),
            Step::plain("sqrt"),
            Step::plain("reciprocal"),
            plain("mul", &[Source::Step(1), Source::Previous]),
            plain("mul", &[Source::Previous, Source::Operand(1)]),
            plain("add", &[Source::Previous, Source::Operand(2)]),
        ])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        Err(Self::no_integers(at.call))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        Err(Self::no_integers(at.call))
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example {
            attrs: Attrs::new(),
            operands: vec![example(&[1, 2, 3]), example(&[3]), example(&[3])],
        }]
    }
}
