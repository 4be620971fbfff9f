//! Dense layers (layers-core §2).

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example};
use super::{Context, LAST, Layered, Parameter, Result, Work, buffer};
use crate::ir::Attrs;
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OpError, Schema};
use crate::tensor::Dim;
use crate::tensor::fixed::{QFloat, QTensor};

/// The product over the last axis, with a kernel `[in, units]`.
///
/// # Errors
/// Scales for each channel of the input.
pub fn dense(x: &QTensor, kernel: Parameter, bias: Option<Parameter>, context: &Context) -> Result<Layered> {
    let mut work = Work::new(context);
    let x = work.prepared(x, buffer(context, 28))?;
    let weights = work.weights("weights", context.config.weight_quantizer.as_ref(), LAST, kernel)?;
    let sum = QFloat::matmul(&x, &weights, false, false)?;
    work.finish_weighted(sum, bias)
}

#[derive(Clone)]
pub(super) struct DenseLayer;

impl Layer for DenseLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[
            Operand::value("x"),
            Operand::parameter("kernel", "weights", Layout::Same),
            Operand::optional("bias", "bias"),
        ];
        Facts {
            name: "Dense",
            doc: "`matmul` and `add` along the last axis, for x `[N, …, I]`, kernel `[I, F]` and bias `[F]`.",
            constraints: "",
            operands: OPERANDS,
            result: Layout::Same,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: Some(0) },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let mut steps = vec![Step::new("matmul", Attrs::new(), &[0, 1].map(Source::Operand))];
        if call.opt_ty(2).is_some() {
            steps.push(Step::new("add", Attrs::new(), &[Source::Previous, Source::Operand(2)]));
        }
        Ok(steps)
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(dense(at.value(0)?, at.parameter(1)?, at.optional(2), &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(28)?;
        let x = at.operand(0)?;
        let x = at.prepared(x, bits)?;
        let kernel = at.operand(1)?;
        let inner = at.size(1, 0)?;
        let sum = at.product(&x, &kernel, inner, bits)?;
        at.biased_and_finished(Integers { scaled: true, ..sum }, 2)
    }

    fn macs(&self, call: &Call) -> u64 {
        let sizes = |position: usize, skip: usize| {
            let dims = call.opt_ty(position).into_iter().flat_map(|ty| ty.shape.iter().skip(skip));
            dims.filter_map(Dim::fixed).fold(1u64, |product, size| product.saturating_mul(size as u64))
        };
        let inner = call.opt_ty(1).and_then(|ty| ty.shape.first()?.fixed()).unwrap_or(1).max(1) as u64;
        sizes(0, 1).saturating_mul(sizes(1, 0)) / inner
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example {
            attrs: Attrs::new(),
            operands: vec![example(&[2, 3]), example(&[3, 2]), example(&[2])],
        }]
    }
}
