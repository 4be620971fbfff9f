//! The rectifier (layers-core §2).

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example};
use super::{Context, LayerConfig, Layered, Parameter, Result, Work, promoted};
use crate::ir::Attrs;
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OpError, Schema};
use crate::tensor::fixed::{PerChannel, QFloat, QTensor};
use crate::tensor::{Shape, Tensor};

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

#[derive(Clone)]
pub(super) struct ReLULayer;

impl Layer for ReLULayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "ReLU",
            doc: "`relu`, and the `min` with max_value if there is one.",
            constraints: "* C3: max_value is one number, or in the integer form one for each channel.",
            operands: const { &[Operand::channels("x"), Operand::optional("max_value", "max_value")] },
            result: Layout::Channels,
            buffer: true,
            placement: Placement { aligned: false, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let mut steps = vec![Step::new("relu", Attrs::new(), &[Source::Operand(0)])];
        if call.opt_ty(1).is_some() {
            steps.push(Step::new("min", Attrs::new(), &[Source::Previous, Source::Operand(1)]));
        }
        Ok(steps)
    }

    fn shape(&self, call: &Call) -> std::result::Result<Shape, OpError> {
        let x = call.ty(0)?;
        if let Some(most) = call.opt_ty(1) {
            let number = most.shape.rank() == 0;
            let channels = x.grid.fixed().is_some() && most.shape.rank() == 1;
            call.require("C3", number || channels, || format!("max_value has shape {}", most.shape))?;
        }
        Ok(x.shape.clone())
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(relu(at.value(0)?, at.optional(1), &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let value_bits = at.buffer(u32::MAX)? + 1;
        let x = at.operand(0)?;
        let mut x = at.at_least_0(&x);
        if at.has(1) {
            let most = at.operand(1)?;
            x = at.at_most(&x, &most);
        }
        at.finished(Integers { value_bits, scaled: true, ..x })
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![example(&[1, 3]), Some(Tensor::scalar(0.25f32))] }]
    }
}
