//! Tokens: what is put before, added to, or taken out of a sequence (layers-transformer §5 to §7).

use super::{Context, LayerConfig, LayerError, Layered, Parameter, Result, Work, fixed_only};
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
