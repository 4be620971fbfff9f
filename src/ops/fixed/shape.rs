//! Layers that move elements, or change what they stand for.

use std::sync::Arc;

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example};
use super::{Context, LayerError, Layered, Result, Work, fixed_only};
use crate::ir::{AttrKind, Attrs};
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OpError, Schema};
use crate::tensor::fixed::{PerChannel, QFloat, QTensor};
use crate::tensor::{Shape, Tensor};

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

#[derive(Clone)]
pub(super) struct FlattenLayer;

impl Layer for FlattenLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "Flatten",
            doc: "`flatten` of all axes but the first. In integers, channels with frac bits of their own are brought to one \
                  grid of the same value bits, and may saturate.",
            constraints: "",
            operands: const { &[Operand::value("x")] },
            result: Layout::Same,
            buffer: false,
            placement: Placement { aligned: true, output: false, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, _: &Call) -> std::result::Result<Vec<Step>, OpError> {
        Ok(vec![Step::new("flatten", Attrs::new(), &[Source::Operand(0)])])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(flatten(at.value(0)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let x = at.operand(0)?;
        let bits = x.value_bits;
        let x = at.prepared(x, bits)?;
        let name = at.op("Flatten", &[&x.name]);
        Ok(Integers { name, ..x })
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![example(&[1, 2, 3])] }]
    }
}

#[derive(Clone)]
pub(super) struct RescalingLayer;

impl Layer for RescalingLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "Rescaling",
            doc: "`mul` by the number `scale`. In integers only the scale of the tensor changes.",
            constraints: "",
            operands: const { &[Operand::channels("x")] },
            result: Layout::Channels,
            buffer: false,
            placement: Placement { aligned: false, output: false, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema.required_attr("scale", AttrKind::Float)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let scale = Tensor::scalar(call.float("scale")?).cast(call.ty(0)?.storage());
        let operands = [Source::Operand(0), Source::Constant(Arc::new(scale))];
        Ok(vec![Step::new("mul", Attrs::new(), &operands)])
    }

    fn shape(&self, call: &Call) -> std::result::Result<Shape, OpError> {
        Ok(call.ty(0)?.shape.clone())
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(rescaling(at.value(0)?, at.call.float("scale")?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        at.operand(0)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new().with("scale", 0.5f32), operands: vec![example(&[1, 3])] }]
    }
}
