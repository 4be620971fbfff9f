//! Pooling (layers-core §2).

use super::{Context, LayerError, Layered, Result, Work};
use crate::tensor::fixed::{Padding, PerChannel, QFloat, QTensor};

/// The largest of each window; nothing else changes.
///
/// # Errors
/// No map.
pub fn max_pool2d(
    x: &QTensor,
    window: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
    context: &Context,
) -> Result<Layered> {
    let output = match x {
        QTensor::Fixed(fixed) => fixed.max_pool(window, strides, padding)?.into(),
        QTensor::Float(float) => float.map(|fixed| fixed.max_pool(window, strides, padding))?.into(),
    };
    Ok(Layered { output, recorded: Work::new(context).recorded })
}

/// The sum over the map, whose scale is divided by the number of positions.
///
/// # Errors
/// No map, or an empty one.
pub fn global_average_pooling2d(x: &QTensor, keep: bool, context: &Context) -> Result<Layered> {
    let mut work = Work::new(context);
    let x = work.prepared(x, context.config.buffer())?;
    let fixed = x.fixed();
    let &[n, h, w, channels] = fixed.sizes() else {
        let what = format!("an input of shape {:?} is no map", fixed.sizes());
        return Err(LayerError::Config { layer: "QuantizedGlobalAveragePooling2D", what });
    };
    let mut sum = fixed.reshape(&[n, h * w, channels])?.reduce_sum(Some(1), false)?;
    if keep {
        sum = sum.reshape(&[n, 1, 1, channels])?;
    }
    let count = (h * w) as f32;
    let scales = match &x {
        QTensor::Fixed(_) => PerChannel::tensor(1.0 / count),
        QTensor::Float(float) => float.scales().map(|scale| scale / count),
    };
    work.finish(QFloat::new(sum, scales)?)
}
