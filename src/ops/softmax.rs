//! `softmax`.

use super::number::Real;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Dim, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Softmax)]
}

pub struct Softmax;

impl Softmax {
    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (x, sizes) = (inputs.elements::<T>(0)?, inputs.get(0)?.sizes());
        let axis = inputs.call.axis("C2", "axis", sizes.len())?;
        let (size, step) = (sizes[axis], sizes[axis + 1..].iter().product::<usize>());
        let mut y = x.to_vec();
        // A run starts at each index of the axes before, and of those after. Where a size is 0
        // there is no element, and no run.
        let starts = (0..x.len()).step_by((size * step).max(1)).flat_map(|outer| outer..outer + step);
        for start in starts {
            let run = || (0..size).map(|i| start + i * step);
            let largest = run().fold(T::LEAST, |best, at| if x[at] > best { x[at] } else { best });
            let mut sum = T::default();
            for at in run() {
                y[at] = Real::exp(x[at] - largest);
                sum = sum + y[at];
            }
            for at in run() {
                y[at] = (y[at] / sum).canonical();
            }
        }
        inputs.call.result(sizes, y)
    }
}

impl Operator for Softmax {
    fn schema(&self) -> Schema {
        Schema::new(
            "softmax",
            "`y[i] = exp(x[i] - m) / (sum over k of exp(x[k] - m))` along `axis`, with m the largest x there. Every \
             step is rounded to the storage type, and the sum goes in the order of k from 0.\n\n\
             * C1: x is plain f32 or f64.\n\
             * C2: 0 <= axis < rank of x.",
        )
        .operand("x")
        .required_attr("axis", AttrKind::Int)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.same_plain("C1", FLOATS)?;
        let x = call.ty(0)?;
        call.axis("C2", "axis", x.shape.rank())?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device has no softmax")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let axis = OnnxAttr::Int(cx.call.int("axis")?);
        Ok(Lowered::Nodes(vec![cx.node("Softmax", cx.operand_names.to_vec()).attr("axis", axis)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        let softmax: Along =
            |cx, suffix, x, axis| cx.step_or_op(suffix, "softmax", Attrs::new().with("axis", axis), &[x]);
        [("Softmax", softmax), ("LogSoftmax", log_softmax), ("Hardmax", hardmax)]
            .into_iter()
            .map(|(onnx, along)| {
                Lift::standard(onnx, [Version::new(1, 1, &["axis"])], move |cx| lift_along(cx, along))
            })
            .collect()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(
            &[2, 3, 2],
            vec![1.0f32, -2.0, 0.5, 30.0, 0.0, 2.5, -1.0, 1.0, 1.0, 1.0, 88.0, -90.0],
        );
        vec![Example { attrs: Attrs::new().with("axis", 1), operands: vec![x] }]
    }
}

/// What an operator of this family does along one axis of a value; with a suffix as a step on the way.
type Along = fn(&mut LiftCx, Option<&str>, ValueId, i64) -> Result<ValueId, OpError>;

fn lift_along(cx: &mut LiftCx, along: Along) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let shape = cx.ty(0)?.shape.clone();
    let rank = shape.rank();
    let default = if cx.opset < 13 { 1 } else { -1 };
    let axis = cx.axis(cx.int("axis", default)?, rank, rank)?;
    // `axis` is below the rank. Up to opset 12 the sum went over all axes from it on, which
    // is that axis alone where the others have size 1.
    let after = &shape[axis as usize + 1..];
    if cx.opset >= 13 || after.iter().all(|dim| *dim == Dim::Fixed(1)) {
        return Ok(vec![along(cx, None, x, axis)?]);
    }
    let original = lifted_shape(cx, &shape)?;
    let allowzero = original.contains(&0);
    let matrix = cx.step("matrix", "flatten", Attrs::new().with("axis", axis), &[x])?;
    let y = along(cx, Some("softmax"), matrix, 1)?;
    Ok(vec![cx.op("reshape", Attrs::new().with("shape", original).with("allowzero", allowzero), &[y])?])
}

/// `(x - m) - log(sum of exp(x - m))` with m the largest x.
fn log_softmax(cx: &mut LiftCx, suffix: Option<&str>, x: ValueId, axis: i64) -> Result<ValueId, OpError> {
    let none = Attrs::new;
    let axes = || none().with("axes", vec![axis]);
    let largest = cx.step("largest", "reduce_max", axes(), &[x])?;
    let shifted = cx.step("shifted", "sub", none(), &[x, largest])?;
    let powers = cx.step("exp", "exp", none(), &[shifted])?;
    let sum = cx.step("sum", "reduce_sum", axes(), &[powers])?;
    let log = cx.step("log", "log", none(), &[sum])?;
    cx.step_or_op(suffix, "sub", none(), &[shifted, log])
}

/// 1 at the first of the largest elements, and 0 elsewhere.
fn hardmax(cx: &mut LiftCx, suffix: Option<&str>, x: ValueId, axis: i64) -> Result<ValueId, OpError> {
    let ty = cx.builder.graph.ty(x).clone();
    let rank = ty.shape.rank();
    // `axis` is below the rank.
    let size = cx.known(&ty.shape[axis as usize])?;
    let mut sizes = vec![1; rank];
    sizes[axis as usize] = size;
    let indices = Tensor::new(&sizes, (0..size as i64).collect());
    let indices = indices.ok_or_else(|| cx.unsupported("an axis of this size"))?;
    let indices = cx.add_const("indices", indices);
    let largest = cx.step("largest", "arg_max", Attrs::new().with("axis", axis), &[x])?;
    let first = cx.step("first", "equal", Attrs::new(), &[indices, largest])?;
    cx.step_or_op(suffix, "cast", Attrs::new().with("to", ty.storage()), &[first])
}

/// The entries of a reshape to `shape`: an unknown size is what is left over.
pub(super) fn lifted_shape(cx: &LiftCx, shape: &[Dim]) -> Result<Vec<i64>, OpError> {
    let mut free = 1;
    let mut entries = Vec::new();
    for dim in shape {
        entries.push(match dim.fixed().and_then(|size| i64::try_from(size).ok()) {
            Some(size) => size,
            None if free > 0 => {
                free -= 1;
                -1
            }
            None => i64::try_from(cx.known(dim)?).unwrap_or(i64::MAX),
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn axis(axis: i64) -> Attrs {
        Attrs::new().with("axis", axis)
    }

    #[test]
    fn constraints() {
        check_labels("softmax", &[("C1", axis(0), &["i32[2]"]), ("C2", axis(1), &["f32[2]"])]);
        assert_eq!(shape("softmax", axis(1), &["f64[N, 3]"]), "f64[N, 3]");
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[2, 2], [0.0f64, 1000.0, 0.0, 1000.0]);
        assert_eq!(eval("softmax", axis(0), std::slice::from_ref(&x)), Ok(tensor(&[2, 2], [0.5f64; 4])));
        assert_eq!(eval("softmax", axis(1), &[x]), Ok(tensor(&[2, 2], [0.0f64, 1.0, 0.0, 1.0])));
        let x = tensor(&[1, 2, 1], [0.0f32, 3f32.ln()]);
        let y = eval("softmax", axis(1), &[x]).unwrap();
        let y = y.elements::<f32>().unwrap();
        assert!((y[0] - 0.25).abs() < 1e-7 && (y[1] - 0.75).abs() < 1e-7);
        let empty = eval("softmax", axis(1), &[tensor::<f32>(&[0, 3], [])]);
        assert_eq!(empty, Ok(tensor::<f32>(&[0, 3], [])));
        let invalid = eval("softmax", axis(0), &[tensor(&[2], [f32::NAN, 1.0])]).unwrap();
        assert!(invalid.elements::<f32>().unwrap().iter().all(|v| v.to_bits() == f32::NAN.to_bits()));
    }

    #[test]
    fn relatives_are_read_as_several_operators() {
        let x = || Operand::Input(tensor(&[1, 2, 2], [0.0f32, 3.0, 3.0, -1000.0]));
        let hard = lift_and_eval(&onnx("Hardmax", &[]), 13, &[x()]);
        assert_eq!(hard, Ok(tensor(&[1, 2, 2], [0.0f32, 1.0, 1.0, 0.0])));
        let hard = lift_and_eval(&onnx("Hardmax", &[]), 11, &[x()]);
        assert_eq!(hard, Ok(tensor(&[1, 2, 2], [0.0f32, 1.0, 0.0, 0.0])));
        let y = lift_and_eval(&onnx("LogSoftmax", &[]), 13, &[x()]).unwrap();
        let y = y.elements::<f32>().unwrap();
        // Of f64, -3.0485873515737420, -0.0485873515737420, 0 and -1003.
        let expected = [-3.048_587_3, -0.048_587_35, 0.0, -1003.0];
        assert!(y.iter().zip(expected).all(|(y, expected)| (y - expected).abs() < 1e-7), "{y:?}");
    }

    #[test]
    fn old_versions_sum_over_all_later_axes() {
        let x = || Operand::Input(tensor(&[1, 2, 2], [0.0f32; 4]));
        let node = onnx("Softmax", &[]);
        assert_eq!(lift_and_eval(&node, 11, &[x()]), Ok(tensor(&[1, 2, 2], [0.25f32; 4])));
        assert_eq!(lift_and_eval(&node, 13, &[x()]), Ok(tensor(&[1, 2, 2], [0.5f32; 4])));
        let (graph, y) = lift(&node, 11, &[Operand::Typed(ty("f32[N, 2, 2]"))]).unwrap();
        assert_eq!(graph.ty(y).shape.to_string(), "[N, 2, 2]");
        // One axis is enough where the others have size 1.
        let (graph, y) = lift(&node, 11, &[Operand::Typed(ty("f32[N, 2, 1]"))]).unwrap();
        assert_eq!(graph.node(y.node).op(), Some("softmax"));
        assert_unknown_size(lift(&node, 11, &[Operand::Typed(ty("f32[N, 2, M]"))]));
    }
}
