//! Normalization (layers-core §2, layers-transformer §4).

use super::{Context, Floats, LayerConfig, Layered, Result, Work};
use crate::tensor::fixed::{QFloat, QTensor, WeightAxis, WeightQuantizer};

/// `x · a + b`: a batch normalization with `a = gamma / sqrt(variance + epsilon)` and `b = beta - mean · a`. As `a`
/// has one axis, it has one scale.
///
/// # Errors
/// Scales for each channel of the input.
pub fn batch_normalization(x: &QTensor, a: Floats, b: Floats, context: &Context) -> Result<Layered> {
    let mut work = Work::new(context);
    let x = work.prepared(x, context.config.buffer().saturating_sub(1))?;
    let config = context.config;
    let quantizer = WeightQuantizer {
        bitwidth: LayerConfig::bits(config.a_quantizer.as_ref()),
        signed: true,
        axis: WeightAxis::Tensor,
    };
    let a = quantizer.quantize(a.sizes, a.values)?;
    let product = QFloat::multiplied(&x, &a)?;
    work.tensor("a", a);
    let bits = LayerConfig::bits(config.b_quantizer.as_ref());
    let b = context.aligned(bits, true).quantize(b.sizes, b.values, &product)?.values;
    let sum = product.add(&b)?;
    work.tensor("b", b);
    work.finish(sum)
}
