//! An output quantizer that is a layer of its own (quantizers §1.3).

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example};
use super::{Context, Layered, Result, Work};
use crate::ir::Attrs;
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OpError, Schema};
use crate::tensor::fixed::QTensor;

/// What the quantizer of the configuration makes of a tensor.
///
/// # Errors
/// No more value bits than the quantizer gives; scales without scale bits.
pub fn output_quantizer(x: &QTensor, context: &Context) -> Result<Layered> {
    Work::new(context).finish(x.clone())
}

#[derive(Clone)]
pub(super) struct OutputQuantizerLayer;

impl Layer for OutputQuantizerLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "OutputQuantizer",
            doc: "`identity` of x.",
            constraints: "",
            operands: const { &[Operand::channels("x")] },
            result: Layout::Channels,
            buffer: false,
            placement: Placement { aligned: false, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, _: &Call) -> std::result::Result<Vec<Step>, OpError> {
        Ok(vec![Step::new("identity", Attrs::new(), &[Source::Operand(0)])])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(output_quantizer(at.value(0)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let x = at.operand(0)?;
        at.finished(x)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![example(&[1, 3])] }]
    }
}
