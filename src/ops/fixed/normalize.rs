//! Normalization (layers-core §2, layers-transformer §4).

use super::{Context, Floats, LayerConfig, LayerError, Layered, Parameter, Result, Work, fixed_only};
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

/// [`layer_normalization`] in float: `gamma · x / mean(|x|) + beta`.
///
/// # Errors
/// Parameters of another size than the last axis.
pub fn layer_mad_normalization(sizes: &[usize], x: &[f32], gamma: &[f32], beta: &[f32]) -> Result<Vec<f32>> {
    let channels = sizes.last().copied().unwrap_or(1);
    if gamma.len() != channels || beta.len() != channels {
        let what = format!("{} and {} parameters for {channels} channels", gamma.len(), beta.len());
        return Err(LayerError::Config { layer: "LayerMadNormalization", what });
    }
    let tokens = x.chunks(channels.max(1)).flat_map(|token| {
        let sum = token.iter().fold(0.0, |sum: f32, x| sum + x.abs());
        let mean = sum / channels as f32;
        token.iter().zip(gamma.iter().zip(beta)).map(move |(x, (gamma, beta))| gamma * x / mean + beta)
    });
    Ok(tokens.collect())
}
