//! Operators that pass elements on, or put them elsewhere: `identity`, `dropout`, `transpose`,
//! `concat`. Any grid passes through.

use ndarray::{Axis, IxDyn};

use super::shape::move_axis;
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Array, Dim, Element, Shape, Tensor, TensorType, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Identity), Box::new(Dropout), Box::new(Transpose), Box::new(Concat)]
}

const STAYS: Quantize = Quantize::No("the device has no layer that only moves elements");

fn unchanged(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
    Ok(vec![inputs.get(0)?.clone()])
}

pub struct Identity;

impl Operator for Identity {
    fn schema(&self) -> Schema {
        Schema::new("identity", "`y = x`.").operand("x")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![call.ty(0)?.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        unchanged(inputs)
    }

    fn quantize(&self) -> Quantize {
        STAYS
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("Identity", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            Ok(vec![cx.op("identity", Attrs::new(), &[x])?])
        }
        vec![Lift::standard("Identity", [Version::new(1, 1, &[])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![Tensor::new(&[2], vec![1i64, -2])] }]
    }
}

pub struct Dropout;

impl Operator for Dropout {
    fn schema(&self) -> Schema {
        Schema::new(
            "dropout",
            "`y = x`: a dropout does nothing outside of training. `ratio` is what it was trained with.",
        )
        .operand("x")
        .attr("ratio", 0.5f32)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.float("ratio")?;
        Ok(vec![call.ty(0)?.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        unchanged(inputs)
    }

    fn quantize(&self) -> Quantize {
        STAYS
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let ratio = cx.initializer("ratio", Tensor::scalar(cx.call.float("ratio")?));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(ratio);
        Ok(Lowered::Nodes(vec![cx.node("Dropout", inputs)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            // Opset 12 made the ratio an operand, and training a further one.
            let ratio = match cx.opset {
                ..12 => cx.float("ratio", 0.5)?,
                _ => cx.constant_float(1, "ratio")?.unwrap_or(0.5),
            };
            if cx.opt_operand(2).is_some() {
                let flag = cx.constant(2).and_then(|flag| flag.elements::<bool>().map(<[bool]>::to_vec));
                if flag.as_deref() != Some(&[false]) {
                    return Err(cx.unsupported("a dropout in training mode"));
                }
            }
            let mut results = vec![cx.op("dropout", Attrs::new().with("ratio", ratio), &[x])?];
            if cx.node.outputs.iter().skip(1).any(|name| !name.is_empty()) {
                // Nothing is dropped.
                let Some(sizes) = cx.ty(0)?.shape.sizes() else {
                    return Err(cx.unsupported("the mask of a dropout of unknown size"));
                };
                let count = sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
                let mask = count.filter(|&count| count <= 1 << 28).map(|count| vec![true; count]);
                let mask = mask.and_then(|mask| Tensor::new(&sizes, mask));
                let mask = mask.ok_or_else(|| cx.unsupported("the mask of a dropout of this size"))?;
                results.push(cx.add_const("mask", mask));
            }
            Ok(results)
        }
        // Before opset 7 an attribute said whether it was training.
        vec![Lift::standard(
            "Dropout",
            [Version::new(7, 1, &["ratio"]), Version::new(12, 3, &["seed"])],
            lift,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![Tensor::new(&[2], vec![1.0f32, -2.0])] }]
    }
}

pub struct Transpose;

impl Transpose {
    fn perm(call: &Call, rank: usize) -> Result<Vec<usize>, OpError> {
        let ints = call.ints("perm")?;
        let perm: Vec<usize> = ints.iter().filter_map(|&axis| usize::try_from(axis).ok()).collect();
        let is_permutation = ints.len() == rank && (0..rank).all(|axis| perm.contains(&axis));
        call.require("C1", is_permutation, || format!("`perm` orders the {rank} axes of x, found {ints:?}"))?;
        Ok(perm)
    }
}

impl Operator for Transpose {
    fn schema(&self) -> Schema {
        Schema::new(
            "transpose",
            "Axis k of y is axis `perm[k]` of x: `y[i(perm[0]), i(perm[1]), …] = x[i0, i1, …]`.\n\n\
             * C1: `perm` has every axis of x once.",
        )
        .operand("x")
        .required_attr("perm", AttrKind::Ints)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let perm = Self::perm(call, x.shape.rank())?;
        let mut ty = x.with_shape(Shape::new(perm.iter().map(|&axis| x.shape[axis].clone())));
        move_axis(&mut ty, |axis| perm.iter().position(|&from| from == axis));
        Ok(vec![ty])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(x: &Array<T>, perm: &[usize]) -> Tensor {
            T::wrap(x.clone().permuted_axes(IxDyn(perm)))
        }
        let x = inputs.get(0)?;
        // A permutation of the axes of x, which is what `permuted_axes` needs.
        let perm = Self::perm(&inputs.call, x.sizes().len())?;
        Ok(vec![dispatch!(x, array => go(array, &perm))])
    }

    fn quantize(&self) -> Quantize {
        STAYS
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let perm = OnnxAttr::Ints(cx.call.ints("perm")?.to_vec());
        Ok(Lowered::Nodes(vec![cx.node("Transpose", cx.operand_names.to_vec()).attr("perm", perm)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let perm = match cx.opt_ints("perm")? {
                Some(perm) => perm.to_vec(),
                // Ranks are small: they count the entries of a list in memory.
                None => (0..cx.ty(0)?.shape.rank() as i64).rev().collect(),
            };
            Ok(vec![cx.op("transpose", Attrs::new().with("perm", perm), &[x])?])
        }
        vec![Lift::standard("Transpose", [Version::new(1, 1, &["perm"])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 2, 3], (0..12u8).collect());
        vec![Example { attrs: Attrs::new().with("perm", vec![0, 3, 1, 2]), operands: vec![x] }]
    }
}

pub struct Concat;

impl Operator for Concat {
    fn schema(&self) -> Schema {
        Schema::new(
            "concat",
            "The operands x[0], x[1], … one after the other along `axis`: y has the sum of their sizes there \
             and their common size elsewhere; `y[…, o(m) + i, …] = x[m][…, i, …]` with \
             `o(m) = size(x[0]) + … + size(x[m-1])`.\n\n\
             * C1: 0 <= axis < rank of x[0].\n\
             * C2: all operands are on one grid, which does not belong to `axis`.\n\
             * C3: all operands have the same sizes but on `axis`.\n\
             * C4: the sum of sizes does not overflow.",
        )
        .variadic("x")
        .required_attr("axis", AttrKind::Int)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let first = call.ty(0)?;
        let axis = call.axis("C1", "axis", first.shape.rank())?;
        let grid_axis = first.grid.axis();
        call.require("C2", grid_axis != Some(axis), || format!("the grid of x[0] belongs to axis {axis}"))?;
        let mut sum = first.shape[axis].clone();
        for position in 1..call.operands.len() {
            let ty = call.ty(position)?;
            call.require("C2", ty.grid == first.grid, || {
                format!("x[{position}] is on the grid of x[0] ({}), found {}", first.storage(), ty.storage())
            })?;
            let (a, b) = (&first.shape, &ty.shape);
            let alike = a.rank() == b.rank() && (0..a.rank()).all(|at| at == axis || a[at] == b[at]);
            call.require("C3", alike, || format!("all sizes but axis {axis} are equal, found {a} and {b}"))?;
            let size = call.known(&sum)?.checked_add(call.known(&b[axis])?);
            sum = Dim::Fixed(size.ok_or_else(|| call.broken("C4", "the sum of sizes does not overflow"))?);
        }
        let mut dims = first.shape.to_vec();
        dims[axis] = sum;
        Ok(vec![first.with_shape(dims)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(inputs: &Inputs, first: &Array<T>, axis: usize) -> Result<Vec<Tensor>, OpError> {
            let mut views = vec![first.view()];
            for position in 1..inputs.tensors.len() {
                views.push(inputs.array::<T>(position)?.view());
            }
            let y = ndarray::concatenate(Axis(axis), &views);
            let y = y.map_err(|error| inputs.call.broken("C3", error.to_string()))?;
            Ok(vec![T::wrap(y.into_shared())])
        }
        let x = inputs.get(0)?;
        let axis = inputs.call.axis("C1", "axis", x.sizes().len())?;
        dispatch!(x, array => go(inputs, array, axis))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No(
            "a concatenation runs on the device as QuantizedConcat, of two values that are not constant, along the channels",
        )
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let axis = OnnxAttr::Int(cx.call.int("axis")?);
        Ok(Lowered::Nodes(vec![cx.node("Concat", cx.operand_names.to_vec()).attr("axis", axis)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let operands: Vec<ValueId> =
                (0..cx.operands.len()).map(|position| cx.operand(position)).collect::<Result<_, _>>()?;
            let Some(axis) = cx.opt_int("axis")? else {
                return Err(cx.invalid("needs axis"));
            };
            let rank = cx.ty(0)?.shape.rank();
            let attrs = Attrs::new().with("axis", cx.axis(axis, rank, rank)?);
            Ok(vec![cx.op("concat", attrs, &operands)?])
        }
        // Before opset 4 the axis had a default.
        vec![Lift::standard("Concat", [Version::new(4, Version::ANY, &["axis"])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let (a, b) =
            (Tensor::new(&[2, 1, 2], vec![1i8, 2, 3, 4]), Tensor::new(&[2, 2, 2], (10..18i8).collect()));
        vec![Example { attrs: Attrs::new().with("axis", 1), operands: vec![a.clone(), b, a] }]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn perm(perm: &[i64]) -> Attrs {
        Attrs::new().with("perm", perm.to_vec())
    }

    fn axis(axis: i64) -> Attrs {
        Attrs::new().with("axis", axis)
    }

    #[test]
    fn constraints() {
        check_labels("identity", &[]);
        check_labels("dropout", &[]);
        check_labels(
            "transpose",
            &[
                ("C1", perm(&[0]), &["f32[2, 3]"]),
                ("C1", perm(&[0, 0]), &["f32[2, 3]"]),
                ("C1", perm(&[0, -1]), &["f32[2, 3]"]),
            ],
        );
        check_labels(
            "concat",
            &[
                ("C1", axis(2), &["f32[2, 3]"]),
                ("C2", axis(0), &["f32[2, 3]", "f64[2, 3]"]),
                ("C3", axis(0), &["f32[2, 3]", "f32[2, 4]"]),
                ("C3", axis(0), &["f32[2, 3]", "f32[2, 3, 1]"]),
                ("C4", axis(0), &["f32[18446744073709551615]", "f32[1]"]),
            ],
        );
        assert_eq!(shape("transpose", perm(&[0, 2, 1]), &["i64[N, 3, 4]"]), "i64[N, 4, 3]");
        assert_eq!(shape("concat", axis(1), &["f32[N, 3]", "f32[N, 4]", "f32[N, 1]"]), "f32[N, 8]");
        assert_eq!(shape("concat", axis(0), &["f32[N, 3]"]), "f32[N, 3]");
        assert_unknown_size(infer("concat", axis(0), &[ty("f32[N, 3]"), ty("f32[1, 3]")]));
    }

    #[test]
    fn grids_pass_through() {
        let x = || quantized("i8[N, 3, 4]", 3);
        assert_eq!(infer("identity", Attrs::new(), &[x()]), Ok(vec![x()]));
        let moved = infer("transpose", perm(&[0, 2, 1]), &[x()]).unwrap();
        assert_eq!(moved[0].grid.affine().unwrap().axis, Some(2));
        assert_eq!(infer("concat", axis(2), &[x(), x()]).unwrap()[0].grid, x().grid);
        assert_eq!(broken(infer("concat", axis(1), &[x(), x()])), "C2");
        assert_eq!(broken(infer("concat", axis(2), &[x(), quantized("i8[N, 3, 4]", 1)])), "C2");
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[2, 3], [1u8, 2, 3, 4, 5, 6]);
        let y = eval("transpose", perm(&[1, 0]), std::slice::from_ref(&x));
        assert_eq!(y, Ok(tensor(&[3, 2], [1u8, 4, 2, 5, 3, 6])));
        let y = eval("concat", axis(1), &[x.clone(), tensor(&[2, 1], [7u8, 8])]);
        assert_eq!(y, Ok(tensor(&[2, 4], [1u8, 2, 3, 7, 4, 5, 6, 8])));
        assert_eq!(eval("dropout", Attrs::new(), std::slice::from_ref(&x)), Ok(x));
    }

    #[test]
    fn dropout_is_lifted_where_it_does_nothing() {
        let x = || Operand::Input(tensor(&[2], [1.0f32, 2.0]));
        let ratio = || Operand::Constant(Tensor::scalar(0.25f32));
        let flag = |on: bool| Operand::Constant(Tensor::scalar(on));
        let node = onnx("Dropout", &[]);
        let same = Ok(tensor(&[2], [1.0f32, 2.0]));
        assert_eq!(lift_and_eval(&onnx("Dropout", &[("ratio", OnnxAttr::Float(0.9))]), 11, &[x()]), same);
        assert_eq!(lift_and_eval(&node, 13, &[x(), ratio(), flag(false)]), same);
        for training in [flag(true), Operand::Typed(ty("bool[]"))] {
            assert!(matches!(lift(&node, 13, &[x(), ratio(), training]), Err(OpError::Unsupported { .. })));
        }
        let mut mask = node;
        mask.outputs.push("mask".to_owned());
        assert!(lift(&mask, 13, &[x()]).is_ok());
        assert!(matches!(lift(&mask, 13, &[Operand::Typed(ty("f32[N]"))]), Err(OpError::Unsupported { .. })));
    }

    proptest! {
        /// A permutation and then its inverse change nothing.
        #[test]
        fn transposing_back_is_identity(
            sizes in prop::collection::vec(0usize..4, 4),
            order in Just(vec![0i64, 1, 2, 3]).prop_shuffle(),
        ) {
            let x = tensor(&sizes, (0..sizes.iter().product::<usize>() as i32).collect::<Vec<_>>());
            let mut inverse = vec![0; 4];
            for (at, &from) in order.iter().enumerate() {
                inverse[from as usize] = at as i64;
            }
            let y = eval("transpose", perm(&order), std::slice::from_ref(&x)).unwrap();
            prop_assert_eq!(eval("transpose", perm(&inverse), &[y]), Ok(x));
        }
    }
}
