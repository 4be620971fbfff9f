//! Layers that join two tensors (layers-core §2).

use std::sync::Arc;

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example};
use super::{Context, Layered, Result, Work, fixed_only};
use crate::ir::{AttrKind, Attrs};
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OnnxAttr, OpError, Schema};
use crate::tensor::Tensor;
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

fn operands() -> [Source; 2] {
    [0, 1].map(Source::Operand)
}

#[derive(Clone)]
pub(super) struct AddLayer;

impl Layer for AddLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "Add",
            doc: "`add` of two tensors of one shape, divided by 2 with `average`.",
            constraints: "* C3: a and b have one shape.",
            operands: const { &[Operand::channels("a"), Operand::channels("b")] },
            result: Layout::Channels,
            buffer: true,
            placement: Placement { aligned: true, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema.attr("average", false)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let (a, b) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        call.require("C3", a == b, || format!("a has shape {a}, and b {b}"))?;
        let mut steps = vec![Step::new("add", Attrs::new(), &operands())];
        if call.flag("average")? {
            let half = Source::Constant(Arc::new(Tensor::scalar(0.5f32).cast(call.ty(0)?.storage())));
            steps.push(Step::new("mul", Attrs::new(), &[Source::Previous, half]));
        }
        Ok(steps)
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(add(at.value(0)?, at.value(1)?, at.call.flag("average")?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(u32::MAX)?;
        let (a, b) = (at.operand(0)?, at.operand(1)?);
        let entries = a.frac_bits.len().max(b.frac_bits.len());
        let entry = |list: &[i32], at: usize| if list.len() == 1 { list[0] } else { list[at] };
        let finer: Vec<i32> =
            (0..entries).map(|at| entry(&a.frac_bits, at).max(entry(&b.frac_bits, at))).collect();
        let (a, b) = (at.rescaled(&a, &finer, bits)?, at.rescaled(&b, &finer, bits)?);
        let mut sum = at.added(&a, &b)?;
        if at.call.flag("average")? {
            sum.frac_bits.iter_mut().for_each(|bits| *bits += 1);
        }
        at.finished(sum)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![example(&[1, 2, 2]), example(&[1, 2, 2])] }]
    }
}

#[derive(Clone)]
pub(super) struct ConcatenateLayer;

impl Layer for ConcatenateLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "Concatenate",
            doc: "`concat` of two tensors along `axis`.",
            constraints: "* C3: 0 <= axis < rank of a.",
            operands: const { &[Operand::channels("a"), Operand::channels("b")] },
            result: Layout::Channels,
            buffer: false,
            placement: Placement { aligned: true, output: false, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema.required_attr("axis", AttrKind::Int)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let axis = call.axis("C3", "axis", call.ty(0)?.shape.rank())?;
        Ok(vec![Step::new("concat", Attrs::new().with("axis", axis as i64), &operands())])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let axis = at.call.axis("C3", "axis", at.call.ty(0)?.shape.rank())?;
        // In a map the channels come last.
        let axis = match (at.call.ty(0)?.shape.rank(), axis) {
            (4, 1) => 3,
            (4, 2 | 3) => axis - 1,
            _ => axis,
        };
        at.done(concatenate(at.value(0)?, at.value(1)?, axis as isize, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let (a, b) = (at.operand(0)?, at.operand(1)?);
        let axis = at.call.axis("C3", "axis", a.rank)?;
        let attrs = vec![("axis", OnnxAttr::Int(axis as i64))];
        let name = at.body.op_with("Concat", &[&a.name, &b.name], attrs);
        let value_bits = a.value_bits.max(b.value_bits);
        // The type of the result says which channel has which frac bits.
        Ok(Integers { name, value_bits, ..a })
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let operands = vec![example(&[1, 2, 2]), example(&[1, 1, 2])];
        vec![Example { attrs: Attrs::new().with("axis", 1i64), operands }]
    }
}
