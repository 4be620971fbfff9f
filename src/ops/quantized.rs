//! ONNX's products of 8-bit integers with any zero points, read as products of f64: every sum of them is one.

use super::{LiftCx, OpError};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{DType, Tensor, broadcast};

/// The operand at `position` less its zero point at `zero`. A zero point for each index belongs to the axis that
/// is followed by `behind` others.
pub fn wide(
    cx: &mut LiftCx,
    suffix: &str,
    position: usize,
    zero: usize,
    behind: usize,
) -> Result<ValueId, OpError> {
    let value = cx.operand(position)?;
    let storage = cx.ty(position)?.storage();
    if !matches!(storage, DType::I8 | DType::U8) {
        return Err(cx.invalid(format!("operand {position} is stored as i8 or u8, found {storage}")));
    }
    let to = || Attrs::new().with("to", DType::F64);
    let value = cx.step(&format!("{suffix}_wide"), "cast", to(), &[value])?;
    let Some(zero) = cx.opt_operand(zero) else { return Ok(value) };
    let zero = cx.step(&format!("{suffix}_zero"), "cast", to(), &[zero])?;
    let zero = in_front_of(cx, &format!("{suffix}_zeros"), zero, behind)?;
    expect_parameter(cx, value, zero)?;
    cx.step(suffix, "sub", Attrs::new(), &[value, zero])
}

/// A parameter with an entry for each index of an axis, which is followed by `behind` others; one for all stays.
fn in_front_of(cx: &mut LiftCx, suffix: &str, value: ValueId, behind: usize) -> Result<ValueId, OpError> {
    let shape = &cx.builder.graph.ty(value).shape;
    if behind == 0 || shape.elements() == Some(1) || shape.rank() != 1 {
        return Ok(value);
    }
    // Ranks are small: they count the entries of a list in memory.
    let axes: Vec<i64> = (1..=behind as i64).collect();
    cx.step(suffix, "unsqueeze", Attrs::new().with("axes", axes), &[value])
}

/// Refuses a parameter that does not belong to an axis of the value.
fn expect_parameter(cx: &LiftCx, value: ValueId, parameter: ValueId) -> Result<(), OpError> {
    let [value, parameter] = [value, parameter].map(|value| &cx.builder.graph.ty(value).shape);
    if broadcast(value, parameter).as_ref() == Some(value) {
        return Ok(());
    }
    Err(cx.invalid(format!("a scale or zero point {parameter} does not belong to an axis of {value}")))
}

/// A sum as the storage of the result's zero point: `saturate(round(sum * (a_scale * b_scale / y_scale)) + y_zero)`,
/// in f32. `scales` are the positions of those of a, b and y, each with the number of axes behind it; `zero` that
/// of the zero point of y.
pub fn requantized(
    cx: &mut LiftCx,
    sum: ValueId,
    scales: [(usize, usize); 3],
    zero: usize,
) -> Result<ValueId, OpError> {
    let zero = cx.operand(zero)?;
    let none = Attrs::new;
    let mut each = Vec::new();
    for (at, (position, behind)) in scales.into_iter().enumerate() {
        let scale = cx.operand(position)?;
        if cx.ty(position)?.storage() != DType::F32 {
            return Err(cx.unsupported("a scale that is not stored as f32"));
        }
        each.push(in_front_of(cx, &format!("scale_{at}"), scale, behind)?);
    }
    let product = cx.step("scales", "mul", none(), &[each[0], each[1]])?;
    let scale = cx.step("scale", "div", none(), &[product, each[2]])?;
    expect_parameter(cx, sum, scale)?;
    let narrow = cx.step("sum", "cast", none().with("to", DType::F32), &[sum])?;
    let scaled = cx.step("scaled", "mul", none(), &[narrow, scale])?;
    let one = cx.add_const("one", Tensor::scalar(1.0f32));
    cx.op("quantize_linear", none(), &[scaled, one, zero])
}

/// A sum as i32, which ONNX's products of integers give.
pub fn as_i32(cx: &mut LiftCx, sum: ValueId) -> Result<ValueId, OpError> {
    cx.op("cast", Attrs::new().with("to", DType::I32), &[sum])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn sums_of_any_zero_points() {
        let input = |tensor: Tensor| Operand::Input(tensor);
        let a = || input(tensor(&[1, 2], [200u8, 3]));
        let b = || input(tensor(&[2, 2], [10u8, 20, 30, 40]));
        let (a_zero, b_zero) = (|| input(Tensor::scalar(5u8)), || input(tensor(&[2], [1u8, 2])));
        // 195 * 9 - 2 * 29, 195 * 18 - 2 * 38.
        let sums = lift_and_eval(&onnx("MatMulInteger", &[]), 10, &[a(), b(), a_zero(), b_zero()]);
        assert_eq!(sums, Ok(tensor(&[1, 2], [1697i32, 3434])));
        let scale = |v: f32| input(Tensor::scalar(v));
        let operands = [
            a(),
            scale(0.5),
            a_zero(),
            b(),
            scale(0.25),
            b_zero(),
            scale(2.0),
            input(Tensor::scalar(-100i8)),
        ];
        // 106.0625 and 214.625, less 100.
        let y = lift_and_eval(&onnx("QLinearMatMul", &[]), 21, &operands);
        assert_eq!(y, Ok(tensor(&[1, 2], [6i8, 115])));
        let x = input(tensor(&[1, 1, 1, 2], [7u8, 1]));
        let w = input(tensor(&[2, 1, 1, 1], [3u8, 9]));
        let operands = [x, w, a_zero(), b_zero()];
        let y = lift_and_eval(&onnx("ConvInteger", &[]), 10, &operands);
        assert_eq!(y, Ok(tensor(&[1, 2, 1, 2], [4i32, -8, 14, -28])));
    }
}
