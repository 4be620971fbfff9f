//! Element-wise operators of two operands: `add`, `sub`, `mul`, `div`, `min`, `max`.

use super::number::{NUMBERS, Number, for_number};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OpError, Operator, Quantize, Schema,
    Version,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{Element, Rows, Shape, Tensor, TensorType, broadcast};

pub fn operators() -> Vec<Box<dyn Operator>> {
    [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max]
        .into_iter()
        .map(|op| Box::new(op) as Box<dyn Operator>)
        .collect()
}

/// One operator each.
#[derive(Clone, Copy)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
}

/// What all six have in common.
macro_rules! doc {
    ($formula:literal) => {
        concat!(
            $formula,
            "\n\nShapes broadcast as in ONNX: axes are aligned at the end, and a size of 1 stretches.\n\n\
             * C1: a and b are plain and stored alike, as floats or integers.\n\
             * C2: on every axis, sizes (or names of unknown sizes) are equal or one of them is 1."
        )
    };
}

impl Binary {
    fn onnx(self) -> &'static str {
        match self {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Min => "Min",
            Binary::Max => "Max",
        }
    }

    fn apply<T: Number>(self, inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (inputs.array::<T>(0)?, inputs.array::<T>(1)?);
        match self {
            Binary::Add => zip(inputs, T::add),
            Binary::Sub => zip(inputs, T::sub),
            Binary::Mul => zip(inputs, T::mul),
            Binary::Min => zip(inputs, T::min),
            Binary::Max => zip(inputs, T::max),
            Binary::Div => {
                let defined = a.is_empty() || b.iter().all(|&divisor| T::default().div(divisor).is_some());
                inputs.call.require("C3", defined, || "b has an integer element 0".to_owned())?;
                zip(inputs, |x: T, y| x.div(y).unwrap_or_default())
            }
        }
    }
}

/// Combines the elements of both operands, broadcast.
pub fn zip<T: Element, U: Element>(inputs: &Inputs, f: impl Fn(T, T) -> U) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (inputs.elements::<T>(0)?, inputs.elements::<T>(1)?);
    let operands = [inputs.get(0)?.sizes(), inputs.get(1)?.sizes()];
    let broken = || inputs.call.broken("C2", "the shapes broadcast");
    let sizes = broadcast(&Shape::fixed(operands[0]), &Shape::fixed(operands[1]))
        .and_then(|shape| shape.sizes())
        .ok_or_else(broken)?;
    let rows = Rows::new(&sizes, operands).ok_or_else(broken)?;
    let mut y = inputs.call.room(&sizes)?;
    let n = rows.length;
    rows.each(&mut |[i, j]| match rows.steps {
        [0, 0] => y.extend((0..n).map(|_| f(a[i], b[j]))),
        [0, _] => y.extend(b[j..j + n].iter().map(|&b| f(a[i], b))),
        [_, 0] => y.extend(a[i..i + n].iter().map(|&a| f(a, b[j]))),
        _ => y.extend(a[i..i + n].iter().zip(&b[j..j + n]).map(|(&a, &b)| f(a, b))),
    });
    inputs.call.result(&sizes, y)
}

/// The shape of two operands, broadcast.
pub fn result_shape(call: &Call) -> Result<Shape, OpError> {
    let (a, b) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
    broadcast(a, b).ok_or_else(|| call.broken("C2", format!("the shapes broadcast, found {a} and {b}")))
}

impl Operator for Binary {
    fn schema(&self) -> Schema {
        let float_or_integer = |name, doc| Schema::new(name, doc).operand("a").operand("b").uniform();
        match self {
            Binary::Add => float_or_integer(
                "add",
                doc!("`y = a + b` for each element. Floats are rounded once, integers wrap."),
            )
            .rounding(),
            Binary::Sub => float_or_integer(
                "sub",
                doc!("`y = a - b` for each element. Floats are rounded once, integers wrap."),
            )
            .rounding(),
            Binary::Mul => float_or_integer(
                "mul",
                doc!("`y = a * b` for each element. Floats are rounded once, integers wrap."),
            )
            .rounding(),
            Binary::Div => float_or_integer(
                "div",
                concat!(
                    doc!(
                        "`y = a / b` for each element. Floats are rounded once; integers are truncated \
                         toward zero, and the one quotient that does not fit wraps."
                    ),
                    "\n* C3 (when it runs): an integer b has no element 0."
                ),
            )
            .rounding(),
            Binary::Min => {
                float_or_integer("min", doc!("`y = b < a ? b : a` for each element; NaN if either is NaN."))
            }
            Binary::Max => {
                float_or_integer("max", doc!("`y = b > a ? b : a` for each element; NaN if either is NaN."))
            }
        }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", &NUMBERS)?;
        Ok(vec![TensorType::new(storage, result_shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_number!(inputs.call, inputs.get(0)?.dtype(), T => self.apply::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No(match self {
            Binary::Add => "an add runs on the device as QuantizedAdd, of two values that are not constant",
            Binary::Sub => "the device subtracts nothing but constants, folded into the bias of a layer",
            Binary::Mul | Binary::Div => {
                "the device has no product of two values; with a constant, it is folded into the weights of a layer"
            }
            Binary::Min | Binary::Max => "runs on the device only as part of a layer: as its clipping",
        })
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node(self.onnx(), cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        const TWO: [Version; 1] = [Version::new(7, 2, &[])];
        const MANY: [Version; 2] = [Version::new(6, Version::ANY, &[]), Version::new(8, Version::ANY, &[])];
        match self {
            // Before opset 7 the broadcast was an attribute.
            Binary::Add => vec![
                Lift::standard("Add", TWO, lift_two),
                Lift::standard("Sum", MANY, lift_many),
                Lift::standard("Mean", MANY, lift_mean),
            ],
            Binary::Min | Binary::Max => vec![Lift::standard(self.onnx(), MANY, lift_many)],
            Binary::Sub | Binary::Mul | Binary::Div => vec![Lift::standard(self.onnx(), TWO, lift_two)],
        }
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let a = Tensor::new(&[2, 3], vec![1.5f32, -2.0, 3.0, 0.0, 7.0, -6.5]);
        let b = Tensor::new(&[3], vec![2.0f32, -0.5, 4.0]);
        let (column, row) = (Tensor::new(&[2, 1], vec![-7i32, i32::MAX]), Tensor::new(&[2], vec![2i32, -3]));
        vec![
            Example { attrs: Attrs::new(), operands: vec![a, b] },
            Example { attrs: Attrs::new(), operands: vec![column, row] },
        ]
    }
}

fn name_of(op_type: &str) -> String {
    if op_type == "Sum" { "add".to_owned() } else { op_type.to_lowercase() }
}

fn lift_two(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (a, b) = (cx.operand(0)?, cx.operand(1)?);
    Ok(vec![cx.op(&name_of(&cx.node.op_type), Attrs::new(), &[a, b])?])
}

/// `f(x0, x1, …, xn) = f(f(f(x0, x1), …), xn)`.
fn lift_many(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let op = name_of(&cx.node.op_type);
    Ok(vec![nested(cx, None, &op)?])
}

/// The sum of all operands, divided by their number.
fn lift_mean(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let sum = nested(cx, Some("sum"), "add")?;
    // As many as operands are in memory.
    let count = cx.number_like(0, "count", cx.node.inputs.len() as f32)?;
    Ok(vec![cx.op("div", Attrs::new(), &[sum, count])?])
}

fn nested(cx: &mut LiftCx, suffix: Option<&str>, op: &str) -> Result<ValueId, OpError> {
    let count = cx.node.inputs.len();
    if cx.opset < 8 {
        for position in 1..count {
            if cx.ty(position)?.shape != cx.ty(0)?.shape {
                return Err(cx.invalid("has operands of several shapes, which broadcast from opset 8 on"));
            }
        }
    }
    let mut y = cx.operand(0)?;
    if count == 1 {
        return cx.step_or_op(suffix, "identity", Attrs::new(), &[y]);
    }
    for position in 1..count - 1 {
        let x = cx.operand(position)?;
        y = cx.step(&position.to_string(), op, Attrs::new(), &[y, x])?;
    }
    let last = cx.operand(count - 1)?;
    cx.step_or_op(suffix, op, Attrs::new(), &[y, last])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn none() -> Attrs {
        Attrs::new()
    }

    #[test]
    fn constraints() {
        for op in ["add", "sub", "mul", "div", "min", "max"] {
            check_labels(
                op,
                &[
                    ("C1", none(), &["f32[2]", "f64[2]"]),
                    ("C1", none(), &["bool[2]", "bool[2]"]),
                    ("C2", none(), &["f32[2, 3]", "f32[2]"]),
                    ("C2", none(), &["f32[N, 3]", "f32[4, 3]"]),
                ],
            );
            assert_eq!(shape(op, none(), &["f32[N, 3, 4]", "f32[3, 1]"]), "f32[N, 3, 4]");
        }
        assert_eq!(broken(infer("add", none(), &[quantized("i32[2]", 1), ty("i32[2]")])), "C1");
    }

    #[test]
    fn sizes_of_one_stretch() {
        let (column, row) = (tensor(&[2, 1], [10.0f32, 20.0]), tensor(&[3], [1.0f32, 2.0, 3.0]));
        let y = eval("add", none(), &[column.clone(), row.clone()]);
        assert_eq!(y, Ok(tensor(&[2, 3], [11.0f32, 12.0, 13.0, 21.0, 22.0, 23.0])));
        let y = eval("sub", none(), &[row, column]);
        assert_eq!(y, Ok(tensor(&[2, 3], [-9.0f32, -8.0, -7.0, -19.0, -18.0, -17.0])));
        let empty = eval("mul", none(), &[tensor::<f32>(&[0, 3], []), tensor(&[3], [1.0f32; 3])]);
        assert_eq!(empty, Ok(tensor::<f32>(&[0, 3], [])));
    }

    #[test]
    fn integers_wrap_and_truncate() {
        let pair = |op, a: i32, b: i32| eval(op, none(), &[Tensor::scalar(a), Tensor::scalar(b)]);
        assert_eq!(pair("add", i32::MAX, 1), Ok(Tensor::scalar(i32::MIN)));
        assert_eq!(pair("sub", i32::MIN, 1), Ok(Tensor::scalar(i32::MAX)));
        assert_eq!(pair("mul", 1 << 30, 4), Ok(Tensor::scalar(0)));
        assert_eq!(pair("div", -7, 2), Ok(Tensor::scalar(-3)));
        assert_eq!(pair("div", i32::MIN, -1), Ok(Tensor::scalar(i32::MIN)));
        assert_eq!(broken(pair("div", 1, 0)), "C3");
    }

    #[test]
    fn floats_follow_ieee() {
        let pair = |op, a: f32, b: f32| {
            let y = eval(op, none(), &[Tensor::scalar(a), Tensor::scalar(b)]).unwrap();
            y.elements::<f32>().unwrap()[0]
        };
        assert_eq!(pair("div", 1.0, 0.0), f32::INFINITY);
        // Whatever sign a CPU gives to the NaN of an invalid operation.
        assert_eq!(pair("div", 0.0, 0.0).to_bits(), f32::NAN.to_bits());
        assert_eq!(pair("sub", f32::INFINITY, f32::INFINITY).to_bits(), f32::NAN.to_bits());
        for op in ["min", "max"] {
            assert!(pair(op, f32::NAN, 1.0).is_nan() && pair(op, 1.0, f32::NAN).is_nan());
        }
        assert_eq!((pair("min", 1.0, 2.0), pair("max", 1.0, 2.0)), (1.0, 2.0));
    }

    #[test]
    fn many_operands_nest_from_the_left() {
        let x = |v: f32| Operand::Input(Tensor::scalar(v));
        let (graph, y) = lift(&onnx("Sum", &[]), 13, &[x(1.0), x(2.0), x(3.0)]).unwrap();
        let last = graph.node(y.node);
        let inner = graph.node(last.operand(0).unwrap().node);
        assert_eq!((last.op(), inner.op()), (Some("add"), Some("add")));
        assert_eq!(
            lift_and_eval(&onnx("Sum", &[]), 13, &[x(1.0), x(2.0), x(3.0)]),
            Ok(Tensor::scalar(6.0f32))
        );
        assert_eq!(lift_and_eval(&onnx("Sum", &[]), 13, &[x(1.0)]), Ok(Tensor::scalar(1.0f32)));
        assert_eq!(
            lift_and_eval(&onnx("Max", &[]), 13, &[x(1.0), x(5.0), x(3.0)]),
            Ok(Tensor::scalar(5.0f32))
        );
        assert!(lift(&onnx("Min", &[]), 13, &[]).is_err());
    }

    proptest! {
        /// Element by element, an operand that is broadcast is read at the index taken modulo its
        /// sizes, the indices being aligned at the end.
        #[test]
        fn broadcasting_repeats(
            sizes in prop::collection::vec(1usize..4, 1..4),
            stretched in prop::collection::vec(any::<bool>(), 3),
            missing in 0usize..3,
            seed in any::<u32>(),
        ) {
            let mut other: Vec<usize> =
                sizes.iter().zip(&stretched).map(|(&size, &one)| if one { 1 } else { size }).collect();
            other.drain(..missing.min(other.len()));
            let fill = |sizes: &[usize], salt: u32| -> Vec<i32> {
                (0..sizes.iter().product::<usize>() as u32).map(|i| (i.wrapping_mul(seed) ^ salt) as i32).collect()
            };
            let (a, b) = (fill(&sizes, 1), fill(&other, 2));
            let y = eval("sub", none(), &[tensor(&sizes, a.clone()), tensor(&other, b.clone())]).unwrap();
            for (at, &found) in y.elements::<i32>().unwrap().iter().enumerate() {
                let (mut rest, mut from, mut step) = (at, 0, 1);
                for (&size, &own) in sizes.iter().rev().zip(other.iter().rev()) {
                    from += rest % size % own * step;
                    rest /= size;
                    step *= own;
                }
                prop_assert_eq!(found, a[at].wrapping_sub(b[from]));
            }
        }
    }
}
