//! Operators that look for the first in an order along an axis: `arg_max`, `arg_min`, `top_k`.
//!
//! NaN is beyond every number, at the end that is looked for: where there is one, it is found.

use std::cmp::Ordering;

use super::number::{NUMBERS, Number, for_number};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{DType, Dim, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Extreme::Max), Box::new(Extreme::Min), Box::new(TopK)]
}

const NO_LAYER: Quantize = Quantize::No("the device does not look for the place of a value");

/// What comes first of two elements.
fn before<T: Number>(a: T, b: T, largest: bool) -> Ordering {
    let order = a.partial_cmp(&b).map(|order| if largest { order.reverse() } else { order });
    // Only NaN has no order, not even with itself.
    let is_nan = |v: T| v.partial_cmp(&v).is_none();
    order.unwrap_or_else(|| is_nan(b).cmp(&is_nan(a)))
}

/// The runs of elements along an axis: where each starts, the step in it, and its length.
fn runs(sizes: &[usize], axis: usize) -> (Vec<usize>, usize, usize) {
    let (size, step) = (sizes[axis], sizes[axis + 1..].iter().product::<usize>());
    let outer = sizes[..axis].iter().product::<usize>();
    ((0..outer).flat_map(|o| (0..step).map(move |i| o * size * step + i)).collect(), step, size)
}

/// One operator each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extreme {
    Max,
    Min,
}

impl Extreme {
    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Extreme::Max => (
                "arg_max",
                "ArgMax",
                "`y = i` with `x[…, i, …]` the largest along `axis`, NaN if there is one: the first index, or with \
                 `last` the last one. y keeps the axis with size 1 if `keepdims` and lacks it otherwise.\n\n\
                 * C1: x is plain, a float or an integer.\n\
                 * C2: 0 <= axis < rank of x.\n\
                 * C3: x has an element on the axis.",
            ),
            Extreme::Min => (
                "arg_min",
                "ArgMin",
                "`y = i` with `x[…, i, …]` the smallest along `axis`, NaN if there is one: the first index, or with \
                 `last` the last one. y keeps the axis with size 1 if `keepdims` and lacks it otherwise.\n\n\
                 * C1: x is plain, a float or an integer.\n\
                 * C2: 0 <= axis < rank of x.\n\
                 * C3: x has an element on the axis.",
            ),
        }
    }

    fn typed(call: &Call) -> Result<(usize, TensorType), OpError> {
        call.same_plain("C1", &NUMBERS)?;
        let x = &call.ty(0)?.shape;
        let axis = call.axis("C2", "axis", x.rank())?;
        call.require("C3", x[axis] != Dim::Fixed(0), || format!("axis {axis} of {x} has an element"))?;
        call.flag("last")?;
        let mut dims = x.to_vec();
        if call.flag("keepdims")? {
            dims[axis] = Dim::Fixed(1);
        } else {
            dims.remove(axis);
        }
        Ok((axis, TensorType::new(DType::I64, dims)))
    }
}

impl Operator for Extreme {
    fn schema(&self) -> Schema {
        let (name, _, doc) = self.row();
        Schema::new(name, doc)
            .operand("x")
            .required_attr("axis", AttrKind::Int)
            .attr("keepdims", true)
            .attr("last", false)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![Self::typed(call)?.1])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Number>(inputs: &Inputs, largest: bool) -> Result<Vec<Tensor>, OpError> {
            let (axis, ty) = Extreme::typed(&inputs.call)?;
            let last = inputs.call.flag("last")?;
            let x = inputs.elements::<T>(0)?;
            let (starts, step, size) = runs(inputs.get(0)?.sizes(), axis);
            let found = starts.into_iter().map(|start| {
                let mut best = 0;
                for i in 1..size {
                    let order = before(x[start + i * step], x[start + best * step], largest);
                    if order == Ordering::Less || last && order == Ordering::Equal {
                        best = i;
                    }
                }
                best as i64
            });
            inputs.call.result(&ty.shape.sizes().unwrap_or_default(), found.collect())
        }
        let largest = *self == Extreme::Max;
        for_number!(inputs.call, inputs.get(0)?.dtype(), T => go::<T>(inputs, largest))
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let node = cx.node(self.row().1, cx.operand_names.to_vec());
        let flag = |name| Ok(OnnxAttr::Int(cx.call.flag(name)?.into()));
        let node = node.attr("axis", OnnxAttr::Int(cx.call.int("axis")?));
        Ok(Lowered::Nodes(vec![
            node.attr("keepdims", flag("keepdims")?).attr("select_last_index", flag("last")?),
        ]))
    }

    fn lifts(&self) -> Vec<Lift> {
        let (name, onnx, _) = self.row();
        let versions = [
            Version::new(1, 1, &["axis", "keepdims"]),
            Version::new(12, 1, &["axis", "keepdims", "select_last_index"]),
        ];
        vec![Lift::standard(onnx, versions, move |cx| {
            let x = cx.operand(0)?;
            let rank = cx.ty(0)?.shape.rank();
            let attrs = Attrs::new()
                .with("axis", cx.axis(cx.int("axis", 0)?, rank, rank)?)
                .with("keepdims", cx.int("keepdims", 1)? != 0)
                .with("last", cx.int("select_last_index", 0)? != 0);
            Ok(vec![cx.op(name, attrs, &[x])?])
        })]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3], vec![1.0f32, 5.0, 5.0, -2.0, -7.0, -7.0]);
        let last = Attrs::new().with("axis", 1).with("keepdims", false).with("last", true);
        vec![
            Example { attrs: Attrs::new().with("axis", 1), operands: vec![x.clone()] },
            Example { attrs: last, operands: vec![x] },
        ]
    }
}

pub struct TopK;

impl TopK {
    fn typed(call: &Call) -> Result<(usize, usize, Vec<TensorType>), OpError> {
        let storage = call.same_plain("C1", &NUMBERS)?;
        let x = &call.ty(0)?.shape;
        let axis = call.axis("C2", "axis", x.rank())?;
        call.flag("largest")?;
        let (k, size) = (call.int("k")?, call.known(&x[axis])?);
        let taken = usize::try_from(k).ok().filter(|&k| k <= size);
        let taken = taken.ok_or_else(|| call.broken("C3", format!("0 <= k <= {size}, found {k}")))?;
        let mut dims = x.to_vec();
        dims[axis] = Dim::Fixed(taken);
        let types = [storage, DType::I64].map(|storage| TensorType::new(storage, dims.clone()));
        Ok((axis, taken, types.to_vec()))
    }
}

impl Operator for TopK {
    fn schema(&self) -> Schema {
        let schema = Schema::new(
            "top_k",
            "The `k` largest elements of x along `axis`, the largest first, or with `largest` false the smallest, \
             the smallest first: `values[…, j, …] = x[…, indices[…, j, …], …]`. Of equal elements, the one with the \
             lower index comes first; NaN comes before all numbers.\n\n\
             * C1: x is plain, a float or an integer.\n\
             * C2: 0 <= axis < rank of x.\n\
             * C3: 0 <= k <= size of x on the axis.",
        )
        .operand("x")
        .required_attr("k", AttrKind::Int)
        .required_attr("axis", AttrKind::Int)
        .attr("largest", true);
        Schema { results: vec!["values".into(), "indices".into()], ..schema }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Ok(Self::typed(call)?.2)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Number>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
            let (axis, k, types) = TopK::typed(&inputs.call)?;
            let largest = inputs.call.flag("largest")?;
            let x = inputs.elements::<T>(0)?;
            let (starts, step, size) = runs(inputs.get(0)?.sizes(), axis);
            let sizes = types[0].shape.sizes().unwrap_or_default();
            let count = sizes.iter().product::<usize>();
            let (mut values, mut indices) = (vec![T::default(); count], vec![0i64; count]);
            for start in starts {
                let mut order: Vec<usize> = (0..size).collect();
                // Stable: of equal elements the first stays first.
                order.sort_by(|&a, &b| before(x[start + a * step], x[start + b * step], largest));
                // Runs of the results start where k elements of each run before them end.
                let (outer, inner) = (start / (size * step).max(1), start % (size * step).max(1));
                for (j, &at) in order.iter().take(k).enumerate() {
                    let to = outer * k * step + j * step + inner;
                    (values[to], indices[to]) = (x[start + at * step], at as i64);
                }
            }
            let values = inputs.call.result(&sizes, values)?;
            Ok(values.into_iter().chain(inputs.call.result(&sizes, indices)?).collect())
        }
        for_number!(inputs.call, inputs.get(0)?.dtype(), T => go::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let k = cx.initializer("k", Tensor::vector(vec![cx.call.int("k")?]));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(k);
        let node = cx.node("TopK", inputs).attr("axis", OnnxAttr::Int(cx.call.int("axis")?));
        Ok(Lowered::Nodes(vec![node.attr("largest", OnnxAttr::Int(cx.call.flag("largest")?.into()))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let rank = cx.ty(0)?.shape.rank();
            let axis = cx.axis(cx.int("axis", -1)?, rank, rank)?;
            let k = if cx.opset < 10 {
                cx.opt_int("k")?
            } else {
                cx.constant_ints(1, "K")?.and_then(|k| k.first().copied())
            };
            let k = k.ok_or_else(|| cx.invalid("needs K"))?;
            let attrs =
                Attrs::new().with("k", k).with("axis", axis).with("largest", cx.int("largest", 1)? != 0);
            // Any order is as good as another where it need not be sorted.
            let name = cx.result_name();
            let node = cx.builder.node("top_k", attrs, vec![Some(x)], &name)?;
            Ok([0, 1].map(|result| ValueId { node, result }).to_vec())
        }
        vec![Lift::standard(
            "TopK",
            [
                Version::new(1, 1, &["axis", "k"]),
                Version::new(10, 2, &["axis"]),
                Version::new(11, 2, &["axis", "largest", "sorted"]),
            ],
            lift,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 4], vec![1.0f32, 5.0, 3.0, 5.0, -2.0, -7.0, 0.0, 4.0]);
        let attrs = || Attrs::new().with("k", 2).with("axis", 1);
        vec![
            Example { attrs: attrs(), operands: vec![x.clone()] },
            Example { attrs: attrs().with("largest", false), operands: vec![x] },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Arithmetic, Registry};
    use super::*;

    fn axis(axis: i64) -> Attrs {
        Attrs::new().with("axis", axis)
    }

    #[test]
    fn constraints() {
        for op in ["arg_max", "arg_min"] {
            check_labels(
                op,
                &[
                    ("C1", axis(0), &["bool[2]"]),
                    ("C2", axis(1), &["f32[2]"]),
                    ("C3", axis(1), &["f32[2, 0]"]),
                ],
            );
            assert_eq!(shape(op, axis(1), &["f32[N, 3]"]), "i64[N, 1]");
            assert_eq!(shape(op, axis(1).with("keepdims", false), &["u8[N, 3]"]), "i64[N]");
        }
        check_labels(
            "top_k",
            &[
                ("C1", axis(0).with("k", 1), &["bool[2]"]),
                ("C2", axis(1).with("k", 1), &["f32[2]"]),
                ("C3", axis(0).with("k", 3), &["f32[2]"]),
                ("C3", axis(0).with("k", -1), &["f32[2]"]),
            ],
        );
    }

    #[test]
    fn places_of_extremes() {
        let x = tensor(&[2, 3], [2.0f32, 7.0, 7.0, f32::NAN, 9.0, f32::NAN]);
        let at = |op: &str, attrs: Attrs| {
            let y = eval(op, attrs.clone(), std::slice::from_ref(&x)).unwrap();
            assert_eq!(read_back(op, attrs, std::slice::from_ref(&x)), y);
            y.elements::<i64>().unwrap().to_vec()
        };
        assert_eq!(at("arg_max", axis(1)), [1, 0]);
        assert_eq!(at("arg_max", axis(1).with("last", true)), [2, 2]);
        assert_eq!(at("arg_min", axis(1)), [0, 0]);
        assert_eq!(at("arg_max", axis(0).with("keepdims", false)), [1, 1, 1]);
        assert_eq!(at("arg_min", axis(0)), [1, 0, 1]);
    }

    #[test]
    fn the_first_k_of_an_order() {
        let top = |attrs: Attrs, x: Tensor| {
            let registry = Registry::built_in();
            let attrs = registry.complete("top_k", attrs).unwrap();
            let results = registry.eval("top_k", &attrs, &[Some(x)], Arithmetic::Exact).unwrap();
            (results[0].clone(), results[1].clone())
        };
        let x = || tensor(&[2, 3], [3i32, 5, 5, 1, -4, 0]);
        let first = top(axis(1).with("k", 2), x());
        assert_eq!(first, (tensor(&[2, 2], [5i32, 5, 1, 0]), tensor(&[2, 2], [1i64, 2, 0, 2])));
        let smallest = top(axis(1).with("k", 1).with("largest", false), x());
        assert_eq!(smallest, (tensor(&[2, 1], [3i32, -4]), tensor(&[2, 1], [0i64, 1])));
        let columns = top(axis(0).with("k", 1), x());
        assert_eq!(columns, (tensor(&[1, 3], [3i32, 5, 5]), tensor(&[1, 3], [0i64, 0, 0])));
        let (values, indices) = top(axis(0).with("k", 2), tensor(&[3], [1.0f32, f32::NAN, 2.0]));
        assert_eq!(indices, tensor(&[2], [1i64, 2]));
        assert!(values.elements::<f32>().unwrap()[0].is_nan());
        let none = top(axis(1).with("k", 0), x());
        assert_eq!(none, (tensor::<i32>(&[2, 0], []), tensor::<i64>(&[2, 0], [])));
    }
}
