//! Layers that join two tensors (layers-core §2).

use super::{Context, Layered, Result, Work, fixed_only};
use crate::tensor::fixed::{FixedError, PerChannel, QTensor};

/// The sum, or the average, on the finer grid of both for each channel.
///
/// # Errors
/// Operands with scales; a channel that is shifted out of the buffer.
pub fn add(a: &QTensor, b: &QTensor, average: bool, context: &Context) -> Result<Layered> {
    const LAYER: &str = "QuantizedAdd";
    let (a, b) = (fixed_only(LAYER, a)?, fixed_only(LAYER, b)?);
    let mut work = Work::new(context);
    let bits = context.config.buffer().saturating_sub(1);
    let finer = a.frac_bits().zip(b.frac_bits(), i32::max).ok_or_else(|| FixedError::FracBits {
        operation: "add",
        left: a.frac_bits().entries().to_vec(),
        right: b.frac_bits().entries().to_vec(),
    })?;
    let (a, a_shift) = a.upscale(&finer, Some(bits))?;
    let (b, b_shift) = b.upscale(&finer, Some(bits))?;
    work.shift("a_shift", a_shift);
    work.shift("b_shift", b_shift);
    let mut sum = a.add(&b)?;
    if average {
        sum = sum.divided_by_power(&PerChannel::tensor(1))?;
    }
    work.finish(sum)
}

/// Both behind each other.
///
/// # Errors
/// Operands with scales; other frac bits along another axis than the last.
pub fn concatenate(a: &QTensor, b: &QTensor, axis: isize, context: &Context) -> Result<Layered> {
    const LAYER: &str = "QuantizedConcatenate";
    let joined = fixed_only(LAYER, a)?.concat(fixed_only(LAYER, b)?, axis)?;
    let work = Work::new(context);
    Ok(Layered { output: joined.into(), recorded: work.recorded })
}
