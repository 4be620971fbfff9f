//! Tokens: what is put before, added to, or taken out of a sequence (layers-transformer §5 to §7).

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example};
use super::{Context, LayerConfig, LayerError, Layered, Parameter, Result, Work, fixed_only};
use crate::ir::Attrs;
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OnnxAttr, OpError, Schema};
use crate::tensor::Dim;
use crate::tensor::fixed::{QFloat, QTensor};

fn scaled_only<'a>(layer: &'static str, x: &'a QTensor) -> Result<&'a QFloat> {
    match x {
        QTensor::Float(float) => Ok(float),
        QTensor::Fixed(_) => {
            let wanted = "a tensor with scales: the layer before without output quantizer";
            Err(LayerError::Operand { layer, wanted, found: "a fixed-point tensor" })
        }
    }
}

fn in_buffer(x: &QFloat, context: &Context) -> Result<QFloat> {
    let bits = context.config.buffer().saturating_sub(1);
    Ok(x.map(|fixed| fixed.promote(bits))?)
}

/// A token `[1, 1, hidden]` before those of each sequence `[batch, tokens, hidden]`.
///
/// # Errors
/// An input without scales; another hidden size.
pub fn class_token(x: &QTensor, token: Parameter, context: &Context) -> Result<Layered> {
    let x = in_buffer(scaled_only("QuantizedClassToken", x)?, context)?;
    let mut work = Work::new(context);
    let bits = LayerConfig::bits(context.config.cls_quantizer.as_ref());
    let token = work.aligned(["cls", "cls_shift"], context.aligned(bits, true), token, &x)?;
    let batch = x.fixed().sizes().first().copied().unwrap_or(1);
    let sizes: Vec<usize> =
        std::iter::once(batch).chain(token.fixed().sizes().iter().skip(1).copied()).collect();
    let tokens = token.map(|fixed| fixed.broadcast_to(&sizes))?;
    let output = tokens.concat(&x, 1)?.into();
    Ok(Layered { output, recorded: work.recorded })
}

/// A table `[1, tokens, hidden]` added to each sequence.
///
/// # Errors
/// An input without scales; other sizes.
pub fn add_position_embs(x: &QTensor, table: Parameter, context: &Context) -> Result<Layered> {
    let x = in_buffer(scaled_only("QuantizedAddPositionEmbs", x)?, context)?;
    let mut work = Work::new(context);
    let bits = LayerConfig::bits(context.config.pe_quantizer.as_ref());
    let table = work.aligned(["pe", "pe_shift"], context.aligned(bits, true), table, &x)?;
    work.finish(x.add(&table)?)
}

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// One, whose axis goes.
    One(isize),
    Some(Vec<isize>),
}

/// Tokens out of a sequence, along an axis.
///
/// # Errors
/// An input with scales; no such token.
pub fn extract_token(x: &QTensor, token: &Token, axis: isize, context: &Context) -> Result<Layered> {
    let fixed = fixed_only("QuantizedExtractToken", x)?;
    let output = match token {
        Token::One(token) => fixed.gather(*token, axis)?,
        Token::Some(tokens) => fixed.gather_all(tokens, axis)?,
    };
    Ok(Layered { output: output.into(), recorded: Work::new(context).recorded })
}

#[derive(Clone)]
pub(super) struct ClassTokenLayer;

impl Layer for ClassTokenLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[Operand::value("x"), Operand::parameter("cls", "cls", Layout::Same)];
        Facts {
            name: "ClassToken",
            doc: "The token cls `[1, 1, C]` before those of each sequence x `[N, T, C]`: `stretch` and `concat`.",
            constraints: "",
            operands: OPERANDS,
            result: Layout::Same,
            buffer: true,
            placement: Placement { aligned: false, output: false, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, _: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let batch = Attrs::new().with("axis", 0i64);
        Ok(vec![
            Step::new("stretch", batch, &[Source::Operand(1), Source::Operand(0)]),
            Step::new("concat", Attrs::new().with("axis", 1i64), &[Source::Previous, Source::Operand(0)]),
        ])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(class_token(at.value(0)?, at.parameter(1)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let value_bits = at.buffer(u32::MAX)?;
        let (x, token) = (at.operand(0)?, at.operand(1)?);
        let sizes = at.op("Shape", &[&x.name]);
        let first = at.body.vector(vec![0i64]);
        let batch = at.op("Gather", &[&sizes, &first]);
        let one = at.body.vector(vec![1i64, 1]);
        let attrs = || vec![("axis", OnnxAttr::Int(0))];
        let sizes = at.body.op_with("Concat", &[&batch, &one], attrs());
        let tokens = at.op("Expand", &[&token.name, &sizes]);
        let name = at.body.op_with("Concat", &[&tokens, &x.name], vec![("axis", OnnxAttr::Int(1))]);
        Ok(Integers { name, value_bits, ..x })
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![example(&[2, 2, 3]), example(&[1, 1, 3])] }]
    }
}

#[derive(Clone)]
pub(super) struct AddPositionEmbsLayer;

impl Layer for AddPositionEmbsLayer {
    fn facts(&self) -> Facts {
        const OPERANDS: &[Operand] = &[Operand::value("x"), Operand::parameter("pe", "pe", Layout::Same)];
        Facts {
            name: "AddPositionEmbs",
            doc: "`add` of the table pe `[1, T, C]` to each sequence x `[N, T, C]`.",
            constraints: "* C3: pe has as many axes as x, of the same sizes or of 1.",
            operands: OPERANDS,
            result: Layout::Same,
            buffer: true,
            placement: Placement { aligned: false, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let (x, pe) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        let fits =
            x.rank() == pe.rank() && x.iter().zip(pe.iter()).all(|(x, pe)| *pe == Dim::Fixed(1) || x == pe);
        call.require("C3", fits, || format!("pe has the sizes of x or 1, found {pe} for {x}"))?;
        Ok(vec![Step::new("add", Attrs::new(), &[0, 1].map(Source::Operand))])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(add_position_embs(at.value(0)?, at.parameter(1)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let value_bits = at.buffer(u32::MAX)?;
        let x = Integers { value_bits, ..at.operand(0)? };
        at.biased_and_finished(x, 1)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![example(&[2, 2, 3]), example(&[1, 2, 3])] }]
    }
}
