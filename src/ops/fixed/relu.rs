//! The rectifier (layers-core §2).

use super::{Context, LayerConfig, Layered, Parameter, Result, Work, promoted};
use crate::tensor::fixed::{PerChannel, QFloat, QTensor};

/// `max(x, 0)`, and at most `max_value` if there is one. A tensor without scales gets the scale 1, which an output quantizer
/// of 8 scale bits makes 255/256.
///
/// # Errors
/// A largest value that is shifted out of the buffer.
pub fn relu(x: &QTensor, max_value: Option<Parameter>, context: &Context) -> Result<Layered> {
    let mut work = Work::new(context);
    let x = match promoted(x, context.config.buffer())? {
        QTensor::Fixed(fixed) => QFloat::new(fixed, PerChannel::tensor(1.0))?,
        QTensor::Float(float) => float,
    };
    let result = match max_value {
        None => x.map(|fixed| fixed.maximum(&fixed.zeros_like()?))?,
        Some(most) => {
            let bits = LayerConfig::bits(context.config.max_value_quantizer.as_ref());
            let quantizer = context.aligned(bits, false);
            let most = work.aligned(["max_value", "max_value_shift"], quantizer, most, &x)?;
            let least = most.map(|fixed| fixed.zeros_like())?;
            x.clip(&least, &most)?
        }
    };
    work.finish(result)
}
