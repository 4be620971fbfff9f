//! Layers that move elements, or change what they stand for.

use super::{Context, LayerError, Layered, Result, Work, fixed_only};
use crate::tensor::fixed::{PerChannel, QFloat, QTensor};

/// Rows; channels with several frac bits are brought to one within the value bits that they have.
///
/// # Errors
/// An input with scales; a channel that is shifted out.
pub fn flatten(x: &QTensor, context: &Context) -> Result<Layered> {
    let fixed = fixed_only("QuantizedFlatten", x)?;
    let mut work = Work::new(context);
    let x = work.prepared(x, fixed.value_bits())?;
    let sizes = x.fixed().sizes();
    let rows = sizes.first().copied().unwrap_or(1);
    let output = x.fixed().reshape(&[rows, sizes.iter().skip(1).product()])?;
    Ok(Layered { output: output.into(), recorded: work.recorded })
}

/// Other axes behind the batch: `dims` count from 1.
///
/// # Errors
/// An input with scales; one with several frac bits whose last axis moves.
pub fn permute(x: &QTensor, dims: &[usize], context: &Context) -> Result<Layered> {
    let fixed = fixed_only("QuantizedPermute", x)?;
    let perm: Vec<usize> = std::iter::once(0).chain(dims.iter().copied()).collect();
    let output = fixed.permute(&perm)?;
    Ok(Layered { output: output.into(), recorded: Work::new(context).recorded })
}

/// Other sizes behind the batch.
///
/// # Errors
/// Another number of elements; another last axis, where it has several frac bits.
pub fn reshape(x: &QTensor, sizes: &[usize], context: &Context) -> Result<Layered> {
    let batch = x.fixed().sizes().first().copied().unwrap_or(1);
    let sizes: Vec<usize> = std::iter::once(batch).chain(sizes.iter().copied()).collect();
    let output = match x {
        QTensor::Fixed(fixed) => fixed.reshape(&sizes)?.into(),
        QTensor::Float(float) => float.map(|fixed| fixed.reshape(&sizes))?.into(),
    };
    Ok(Layered { output, recorded: Work::new(context).recorded })
}

/// Whole numbers times a scale; the integers stay.
///
/// # Errors
/// None that a valid tensor gives.
pub fn rescaling(x: &QTensor, scale: f32, context: &Context) -> Result<Layered> {
    if !scale.is_finite() {
        let what = format!("the scale {scale} is no number");
        return Err(LayerError::Config { layer: "QuantizedRescaling", what });
    }
    let output = match x {
        QTensor::Fixed(fixed) => QFloat::new(fixed.clone(), PerChannel::tensor(scale))?,
        QTensor::Float(float) => QFloat::new(float.fixed().clone(), float.scales().map(|own| own * scale))?,
    };
    Ok(Layered { output: output.into(), recorded: Work::new(context).recorded })
}
