//! Layers of several operands.

use super::quantizeml;
use crate::ir::{Attrs, ValueId};
use crate::keras::cx::{Cx, Made};
use crate::keras::values::{At, Layout};
use crate::tensor::Tensor;

/// The operands in one layout. They have the same number of axes.
fn operands(cx: &mut Cx) -> Made<(Vec<ValueId>, Layout, usize)> {
    let values = cx.values();
    let Some(&first) = values.first() else { return Err(cx.bad_call("gives it no value")) };
    let rank = cx.rank(first);
    if values.iter().any(|&at| cx.rank(at) != rank) {
        return Err(cx.bad_call("gives it values of different numbers of axes"));
    }
    let (operands, layout) = cx.common(&values)?;
    Ok((operands, layout, rank))
}

pub fn elementwise(cx: &mut Cx) -> Made<At> {
    let (op, step) = match cx.layer.class.as_str() {
        "Subtract" => ("sub", "sub"),
        "Multiply" => ("mul", "mul"),
        "Maximum" => ("max", "max"),
        "Minimum" => ("min", "min"),
        _ => ("add", "add"),
    };
    let (operands, layout, _) = operands(cx)?;
    if operands.len() < 2 || op == "sub" && operands.len() > 2 {
        return Err(cx.bad_call(format!("gives it {} values; two are read", operands.len())));
    }
    let mut y = operands[0];
    for &operand in &operands[1..] {
        y = cx.op(step, op, Attrs::new(), &[y, operand])?;
    }
    if cx.layer.class == "Average" || quantizeml::averages(cx)? {
        // A product with what is exact for a power of two; else a quotient, as Keras has it.
        let count = operands.len() as f32;
        let (op, by) = if operands.len().is_power_of_two() { ("mul", 1.0 / count) } else { ("div", count) };
        let by = cx.constant("count", Tensor::scalar(by));
        y = cx.op("average", op, Attrs::new(), &[y, by])?;
    }
    Ok(cx.made(layout, y))
}

pub fn concatenate(cx: &mut Cx) -> Made<At> {
    let (operands, layout, rank) = operands(cx)?;
    let axis = cx.axis("axis", cx.int("axis", -1)?, rank)?;
    let attrs = Attrs::new().with("axis", layout.axis(axis, rank) as i64);
    let y = cx.op("concat", "concat", attrs, &operands)?;
    Ok(cx.made(layout, y))
}
