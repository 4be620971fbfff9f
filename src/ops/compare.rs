//! Comparisons and logic, element by element: `equal`, `less`, …, `and`, `or`, `xor`, `not`, `select`.

use super::arithmetic::{result_shape, zip};
use super::elementwise::{map, same};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OpError, Operator, Quantize, Schema,
    Version,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{Array, DType, Element, Grid, Rows, Shape, Tensor, TensorType, broadcast, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    let comparisons = Compare::ALL.into_iter().map(|op| Box::new(op) as Box<dyn Operator>);
    let logic = Logic::ALL.into_iter().map(|op| Box::new(op) as Box<dyn Operator>);
    let others: [Box<dyn Operator>; 2] = [Box::new(Not), Box::new(Select)];
    comparisons.chain(logic).chain(others).collect()
}

const NO_LAYER: Quantize = Quantize::No("the device does not compare values, nor choose between them");

/// One operator each.
#[derive(Clone, Copy)]
pub enum Compare {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// What all comparisons have in common.
macro_rules! comparison {
    ($formula:literal, $storages:literal) => {
        concat!(
            $formula,
            " for each element, as a bool; a comparison with NaN is false.\n\nShapes broadcast as in ONNX: axes are \
             aligned at the end, and a size of 1 stretches.\n\n* C1: a and b are plain and stored alike",
            $storages,
            ".\n* C2: on every axis, sizes (or names of unknown sizes) are equal or one of them is 1."
        )
    };
}

impl Compare {
    const ALL: [Self; 5] =
        [Compare::Equal, Compare::Greater, Compare::GreaterOrEqual, Compare::Less, Compare::LessOrEqual];

    /// Name, ONNX name, documentation, and the oldest opset with a version that broadcasts.
    fn row(self) -> (&'static str, &'static str, &'static str, i64) {
        match self {
            Compare::Equal => ("equal", "Equal", comparison!("`y = (a == b)`", ""), 7),
            Compare::Greater => ("greater", "Greater", comparison!("`y = (a > b)`", ", and not as bool"), 7),
            Compare::GreaterOrEqual => {
                ("greater_or_equal", "GreaterOrEqual", comparison!("`y = (a >= b)`", ", and not as bool"), 12)
            }
            Compare::Less => ("less", "Less", comparison!("`y = (a < b)`", ", and not as bool"), 7),
            Compare::LessOrEqual => {
                ("less_or_equal", "LessOrEqual", comparison!("`y = (a <= b)`", ", and not as bool"), 12)
            }
        }
    }

    fn holds<T: Element>(self) -> fn(T, T) -> bool {
        match self {
            Compare::Equal => |a, b| a == b,
            Compare::Greater => |a, b| a > b,
            Compare::GreaterOrEqual => |a, b| a >= b,
            Compare::Less => |a, b| a < b,
            Compare::LessOrEqual => |a, b| a <= b,
        }
    }
}

/// An operator of two operands, read from ONNX as it is.
fn lift_two(name: &'static str, onnx: &'static str, since: i64) -> Vec<Lift> {
    vec![Lift::standard(onnx, [Version::new(since, 2, &[])], move |cx| {
        let (a, b) = (cx.operand(0)?, cx.operand(1)?);
        Ok(vec![cx.op(name, Attrs::new(), &[a, b])?])
    })]
}

fn lower_plain(cx: &LowerCx, onnx: &str) -> Result<Lowered, OpError> {
    Ok(Lowered::Nodes(vec![cx.node(onnx, cx.operand_names.to_vec())]))
}

impl Operator for Compare {
    fn schema(&self) -> Schema {
        let (name, _, doc, _) = self.row();
        Schema::new(name, doc).operand("a").operand("b")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let numbers: Vec<DType> = DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool).collect();
        let allowed = if matches!(self, Compare::Equal) { DType::ALL.to_vec() } else { numbers };
        call.same_plain("C1", &allowed)?;
        Ok(vec![TensorType::new(DType::Bool, result_shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(_: &Array<T>, inputs: &Inputs, op: Compare) -> Result<Vec<Tensor>, OpError> {
            zip::<T, bool>(inputs, op.holds())
        }
        dispatch!(inputs.get(0)?, array => go(array, inputs, *self))
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_plain(cx, self.row().1)
    }

    fn lifts(&self) -> Vec<Lift> {
        let (name, onnx, _, since) = self.row();
        let mut lifts = lift_two(name, onnx, since);
        if matches!(self, Compare::Equal) {
            lifts.push(Lift::standard("IsNaN", [Version::new(9, 1, &[])], lift_is_nan));
            let attrs = &["detect_negative", "detect_positive"];
            lifts.push(Lift::standard("IsInf", [Version::new(10, 1, attrs)], lift_is_inf));
        }
        lifts
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let a = Tensor::new(&[2, 3], vec![1.5f32, -2.0, 3.0, 0.0, 7.0, -6.5]);
        let b = Tensor::new(&[3], vec![1.5f32, -0.5, 3.0]);
        vec![Example { attrs: Attrs::new(), operands: vec![a, b] }]
    }
}

/// One operator each.
#[derive(Clone, Copy)]
pub enum Logic {
    And,
    Or,
    Xor,
}

/// What all three have in common.
macro_rules! logic {
    ($formula:literal) => {
        concat!(
            $formula,
            " for each element.\n\nShapes broadcast as in ONNX: axes are aligned at the end, and a size of 1 \
             stretches.\n\n\
             * C1: a and b are plain bool.\n\
             * C2: on every axis, sizes (or names of unknown sizes) are equal or one of them is 1."
        )
    };
}

impl Logic {
    const ALL: [Self; 3] = [Logic::And, Logic::Or, Logic::Xor];

    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Logic::And => ("and", "And", logic!("`y = a and b`")),
            Logic::Or => ("or", "Or", logic!("`y = a or b`")),
            Logic::Xor => ("xor", "Xor", logic!("`y = (a != b)`")),
        }
    }
}

impl Operator for Logic {
    fn schema(&self) -> Schema {
        let (name, _, doc) = self.row();
        Schema::new(name, doc).operand("a").operand("b")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.same_plain("C1", &[DType::Bool])?;
        Ok(vec![TensorType::new(DType::Bool, result_shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        zip::<bool, bool>(
            inputs,
            match self {
                Logic::And => |a, b| a && b,
                Logic::Or => |a, b| a || b,
                Logic::Xor => |a, b| a != b,
            },
        )
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_plain(cx, self.row().1)
    }

    fn lifts(&self) -> Vec<Lift> {
        let (name, onnx, _) = self.row();
        // Before opset 7 the broadcast was an attribute.
        lift_two(name, onnx, 7)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let (a, b) =
            (Tensor::new(&[2, 2], vec![true, true, false, false]), Tensor::new(&[2], vec![true, false]));
        vec![Example { attrs: Attrs::new(), operands: vec![a, b] }]
    }
}

pub struct Not;

impl Operator for Not {
    fn schema(&self) -> Schema {
        Schema::new("not", "`y = not x` for each element.\n\n* C1: x is plain bool.").operand("x")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        same(call, &[DType::Bool])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        map::<bool>(inputs, |v| !v)
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_plain(cx, "Not")
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard("Not", [Version::new(1, 1, &[])], |cx| {
            let x = cx.operand(0)?;
            Ok(vec![cx.op("not", Attrs::new(), &[x])?])
        })]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![Tensor::new(&[2], vec![true, false])] }]
    }
}

pub struct Select;

impl Select {
    fn shape(call: &Call) -> Result<Shape, OpError> {
        let [c, a, b] = [&call.ty(0)?.shape, &call.ty(1)?.shape, &call.ty(2)?.shape];
        let shape = broadcast(a, b).and_then(|shape| broadcast(c, &shape));
        shape.ok_or_else(|| call.broken("C3", format!("the shapes broadcast, found {c}, {a} and {b}")))
    }
}

impl Operator for Select {
    fn schema(&self) -> Schema {
        Schema::new(
            "select",
            "`y = c ? a : b` for each element.\n\nShapes broadcast as in ONNX: axes are aligned at the end, and a \
             size of 1 stretches.\n\n\
             * C1: c is plain bool.\n\
             * C2: a and b are on one grid, which belongs to no axis.\n\
             * C3: on every axis, sizes (or names of unknown sizes) are equal or 1.",
        )
        .operand("c")
        .operand("a")
        .operand("b")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (c, a, b) = (call.ty(0)?, call.ty(1)?, call.ty(2)?);
        call.require("C1", c.grid == Grid::Plain(DType::Bool), || {
            format!("c is plain bool, found {}", c.storage())
        })?;
        let whole = a.grid.axis().is_none();
        call.require("C2", a.grid == b.grid && whole, || {
            format!("a and b are on one grid, found {} and {}", a.storage(), b.storage())
        })?;
        Ok(vec![a.with_shape(Self::shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(a: &Array<T>, inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
            let a = a.as_slice().unwrap_or_default();
            let (c, b) = (inputs.elements::<bool>(0)?, inputs.elements::<T>(2)?);
            let sizes = Select::shape(&inputs.call)?.sizes().unwrap_or_default();
            let operands = [inputs.get(0)?.sizes(), inputs.get(1)?.sizes(), inputs.get(2)?.sizes()];
            let rows = Rows::new(&sizes, operands);
            let rows = rows.ok_or_else(|| inputs.call.broken("C3", "the shapes broadcast"))?;
            let mut y = inputs.call.room(&sizes)?;
            rows.each(&mut |at| {
                let place = |operand: usize, k| at[operand] + k * rows.steps[operand];
                y.extend(
                    (0..rows.length).map(|k| if c[place(0, k)] { a[place(1, k)] } else { b[place(2, k)] }),
                );
            });
            inputs.call.result(&sizes, y)
        }
        dispatch!(inputs.get(1)?, array => go(array, inputs))
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_plain(cx, "Where")
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (c, a, b) = (cx.operand(0)?, cx.operand(1)?, cx.operand(2)?);
            Ok(vec![cx.op("select", Attrs::new(), &[c, a, b])?])
        }
        vec![
            Lift::standard("Where", [Version::new(9, 3, &[])], lift),
            Lift::standard("Shrink", [Version::new(9, 1, &["bias", "lambd"])], lift_shrink),
            Lift::standard("Trilu", [Version::new(14, 2, &["upper"])], lift_trilu),
            Lift::standard("OneHot", [Version::new(9, 3, &["axis"])], lift_one_hot),
        ]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let c = Tensor::new(&[2, 1], vec![true, false]);
        let (a, b) = (Tensor::new(&[3], vec![1.0f32, 2.0, 3.0]), Tensor::scalar(-1.0f32));
        vec![Example { attrs: Attrs::new(), operands: vec![c, a, Some(b)] }]
    }
}

/// What is not even equal to itself.
fn lift_is_nan(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let same = cx.step("number", "equal", Attrs::new(), &[x, x])?;
    Ok(vec![cx.op("not", Attrs::new(), &[same])?])
}

fn lift_is_inf(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let (negative, positive) = (cx.int("detect_negative", 1)? != 0, cx.int("detect_positive", 1)? != 0);
    if !negative && !positive {
        return Ok(vec![cx.op("less", Attrs::new(), &[x, x])?]);
    }
    let infinity = if positive { f32::INFINITY } else { f32::NEG_INFINITY };
    let infinity = cx.number_like(0, "infinity", infinity)?;
    let x = if negative && positive { cx.step("abs", "abs", Attrs::new(), &[x])? } else { x };
    Ok(vec![cx.op("equal", Attrs::new(), &[x, infinity])?])
}

/// `x + bias` below `-lambd`, `x - bias` above `lambd`, and 0 between.
fn lift_shrink(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let (bias, limit) = (cx.float("bias", 0.0)?, cx.float("lambd", 0.5)?);
    let none = Attrs::new;
    let (zero, bias) = (cx.number_like(0, "zero", 0.0)?, cx.number_like(0, "bias", bias)?);
    let (low, high) = (cx.number_like(0, "low", -limit)?, cx.number_like(0, "high", limit)?);
    let below = cx.step("below", "less", none(), &[x, low])?;
    let above = cx.step("above", "greater", none(), &[x, high])?;
    let (raised, lowered) =
        (cx.step("raised", "add", none(), &[x, bias])?, cx.step("lowered", "sub", none(), &[x, bias])?);
    let positive = cx.step("positive", "select", none(), &[above, lowered, zero])?;
    Ok(vec![cx.op("select", none(), &[below, raised, positive])?])
}

/// The part of every matrix on and above diagonal k, or on and below it; 0 elsewhere.
fn lift_trilu(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let shape = cx.ty(0)?.shape.clone();
    let [.., rows, columns] = &*shape else {
        return Err(cx.invalid("is about matrices"));
    };
    let (rows, columns) = (cx.known(rows)?, cx.known(columns)?);
    let upper = cx.int("upper", 1)? != 0;
    let k = match cx.constant_ints(1, "k")?.as_deref() {
        None => 0,
        Some(&[k]) => i128::from(k),
        Some(_) => return Err(cx.invalid("`k` is one number")),
    };
    let kept = |at: usize| {
        let above = (at % columns) as i128 - (at / columns) as i128;
        if upper { above >= k } else { above <= k }
    };
    let count = rows.checked_mul(columns).filter(|&count| count <= 1 << 28);
    let count =
        count.ok_or_else(|| cx.unsupported(format!("matrices of {rows} rows and {columns} columns")))?;
    let mask = Tensor::new(&[rows, columns], (0..count).map(kept).collect());
    let mask = mask.ok_or_else(|| cx.unsupported("matrices of this size"))?;
    let mask = cx.add_const("mask", mask);
    let zero = cx.number_like(0, "zero", 0.0)?;
    Ok(vec![cx.op("select", Attrs::new(), &[mask, x, zero])?])
}

/// Along a new axis of size depth, the second of two values at the index, and the first elsewhere.
fn lift_one_hot(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, values) = (cx.operand(0)?, cx.operand(2)?);
    cx.operand(1)?;
    let rank = cx.ty(0)?.shape.rank() + 1;
    let axis = cx.axis(cx.int("axis", -1)?, rank, rank)?;
    let depth = cx.constant(1).filter(|depth| depth.len() == 1);
    let depth = depth.ok_or_else(|| cx.not_constant("`depth` that is not a constant".to_owned()))?;
    let depth = depth.cast(DType::I64).elements::<i64>().and_then(|depth| depth.first().copied());
    let Some(depth) = depth.filter(|depth| (0..=1 << 24).contains(depth)) else {
        return Err(cx.unsupported("a depth that is not from 0 to 2^24"));
    };
    let none = Attrs::new;
    let wide = cx.step("wide", "cast", none().with("to", DType::I64), &[x])?;
    let (zero, size) =
        (cx.add_const("zero", Tensor::scalar(0i64)), cx.add_const("depth", Tensor::scalar(depth)));
    let negative = cx.step("negative", "less", none(), &[wide, zero])?;
    let raised = cx.step("raised", "add", none(), &[wide, size])?;
    let index = cx.step("index", "select", none(), &[negative, raised, wide])?;
    let index = cx.step("along", "unsqueeze", none().with("axes", vec![axis]), &[index])?;
    // `axis` is below the rank, and the depth is small.
    let mut sizes = vec![1; rank];
    sizes[axis as usize] = depth as usize;
    let places = Tensor::new(&sizes, (0..depth).collect());
    let places = places.ok_or_else(|| cx.unsupported("a depth of this size"))?;
    let places = cx.add_const("places", places);
    let on = cx.step("on", "equal", none(), &[index, places])?;
    let value = |cx: &mut LiftCx, suffix: &str, at: i64| {
        let at = cx.add_const(&format!("{suffix}_at"), Tensor::scalar(at));
        cx.step(suffix, "gather", none().with("axis", 0), &[values, at])
    };
    let (off_value, on_value) = (value(cx, "off_value", 0)?, value(cx, "on_value", 1)?);
    Ok(vec![cx.op("select", none(), &[on, on_value, off_value])?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn none() -> Attrs {
        Attrs::new()
    }

    #[test]
    fn constraints() {
        for op in ["greater", "greater_or_equal", "less", "less_or_equal"] {
            check_labels(op, &[("C1", none(), &["bool[2]", "bool[2]"]), ("C2", none(), &["i8[2]", "i8[3]"])]);
        }
        let unlike: &[&str] = &["f32[2]", "f64[2]"];
        check_labels("equal", &[("C1", none(), unlike), ("C2", none(), &["bool[2]", "bool[3]"])]);
        for op in ["and", "or", "xor"] {
            check_labels(op, &[("C1", none(), &["i8[2]", "i8[2]"]), ("C2", none(), &["bool[2]", "bool[3]"])]);
        }
        check_labels("not", &[("C1", none(), &["u8[2]"])]);
        check_labels(
            "select",
            &[
                ("C1", none(), &["u8[2]", "f32[2]", "f32[2]"]),
                ("C2", none(), &["bool[2]", "f32[2]", "f64[2]"]),
                ("C3", none(), &["bool[2]", "f32[3]", "f32[3]"]),
            ],
        );
        assert_eq!(shape("select", none(), &["bool[N, 1]", "i8[]", "i8[4]"]), "i8[N, 4]");
        assert_eq!(shape("less", none(), &["f32[N, 1]", "f32[4]"]), "bool[N, 4]");
    }

    #[test]
    fn by_hand() {
        let (a, b) = (tensor(&[3], [1.0f32, f32::NAN, 3.0]), tensor(&[3], [1.0f32, 2.0, 2.0]));
        let pair = |op: &str| eval(op, none(), &[a.clone(), b.clone()]);
        assert_eq!(pair("equal"), Ok(tensor(&[3], [true, false, false])));
        assert_eq!(pair("greater"), Ok(tensor(&[3], [false, false, true])));
        assert_eq!(pair("greater_or_equal"), Ok(tensor(&[3], [true, false, true])));
        assert_eq!(pair("less"), Ok(tensor(&[3], [false; 3])));
        assert_eq!(pair("less_or_equal"), Ok(tensor(&[3], [true, false, false])));
        let (a, b) = (tensor(&[2, 1], [true, false]), tensor(&[2], [true, false]));
        let pair = |op: &str| eval(op, none(), &[a.clone(), b.clone()]);
        assert_eq!(pair("and"), Ok(tensor(&[2, 2], [true, false, false, false])));
        assert_eq!(pair("or"), Ok(tensor(&[2, 2], [true, true, true, false])));
        assert_eq!(pair("xor"), Ok(tensor(&[2, 2], [false, true, true, false])));
        let y = eval("select", none(), &[a, tensor(&[2], [1i64, 2]), Tensor::scalar(7i64)]);
        assert_eq!(y, Ok(tensor(&[2, 2], [1i64, 2, 7, 7])));
    }
}
