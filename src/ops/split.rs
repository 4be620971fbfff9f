//! `split`: one value as several, along an axis. Any grid passes through.

use ndarray::{Axis, Slice};

use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Array, Dim, Element, Tensor, TensorType, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Split)]
}

pub struct Split;

impl Split {
    /// The axis, and the size of each part along it.
    fn parts(call: &Call) -> Result<(usize, Vec<usize>), OpError> {
        let x = call.ty(0)?;
        let axis = call.axis("C1", "axis", x.shape.rank())?;
        let size = call.known(&x.shape[axis])?;
        let ints = call.ints("sizes")?;
        let sizes: Vec<usize> = ints.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
        let sum = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        call.require("C2", !ints.is_empty() && sizes.len() == ints.len() && sum == Some(size), || {
            format!("`sizes` has entries from 0 with the sum {size}, found {ints:?}")
        })?;
        Ok((axis, sizes))
    }
}

impl Operator for Split {
    fn schema(&self) -> Schema {
        Schema::new(
            "split",
            "The parts of x along `axis`, as many as `sizes` has entries, each of that size: \
             `y[m][…, i, …] = x[…, o(m) + i, …]` with `o(m) = sizes[0] + … + sizes[m-1]`.\n\n\
             * C1: 0 <= axis < rank of x.\n\
             * C2: `sizes` has at least one entry, none is below 0, and their sum is the size of x on `axis`.\n\
             * C3: the grid of x does not belong to `axis`.",
        )
        .operand("x")
        .required_attr("axis", AttrKind::Int)
        .required_attr("sizes", AttrKind::Ints)
        .any_results()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let (axis, sizes) = Self::parts(call)?;
        let grid_axis = x.grid.axis();
        call.require("C3", grid_axis != Some(axis), || format!("the grid of x belongs to axis {axis}"))?;
        let part = |&size: &usize| {
            let mut dims = x.shape.to_vec();
            dims[axis] = Dim::Fixed(size);
            x.with_shape(dims)
        };
        Ok(sizes.iter().map(part).collect())
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        /// The parts fit: their sizes sum up to that of the axis.
        fn go<T: Element>(x: &Array<T>, axis: usize, sizes: &[usize]) -> Vec<Tensor> {
            let mut parts = Vec::with_capacity(sizes.len());
            let mut start = 0;
            for size in sizes {
                let part = x.slice_axis(Axis(axis), Slice::from(start..start + size));
                parts.push(T::wrap(part.as_standard_layout().into_owned().into_shared()));
                start += size;
            }
            parts
        }
        let (axis, sizes) = Self::parts(&inputs.call)?;
        Ok(dispatch!(inputs.get(0)?, array => go(array, axis, &sizes)))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not take a map apart")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let sizes = cx.initializer("sizes", Tensor::vector(cx.call.ints("sizes")?.to_vec()));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(sizes);
        let axis = OnnxAttr::Int(cx.call.int("axis")?);
        Ok(Lowered::Nodes(vec![cx.node("Split", inputs).attr("axis", axis)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard(
            "Split",
            [
                Version::new(2, 1, &["axis", "split"]),
                Version::new(13, 2, &["axis"]),
                Version::new(18, 2, &["axis", "num_outputs"]),
            ],
            lift,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let attrs = |axis: i64, sizes: Vec<i64>| Attrs::new().with("axis", axis).with("sizes", sizes);
        let x = || Tensor::new(&[1, 4, 1, 2], (0..8u8).map(f32::from).collect());
        vec![
            Example { attrs: attrs(1, vec![1, 3]), operands: vec![x()] },
            Example { attrs: attrs(3, vec![1, 1]), operands: vec![x()] },
        ]
    }
}

fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let rank = cx.ty(0)?.shape.rank();
    let axis = cx.axis(cx.int("axis", 0)?, rank, rank)?;
    let outputs = cx.node.outputs.len();
    let given = cx.ints_either("split", 1, 13)?;
    let stated = cx.opt_int("num_outputs")?;
    let sizes = match (given, stated) {
        (Some(_), Some(_)) => return Err(cx.invalid("has both `split` and `num_outputs`")),
        (Some(sizes), None) => sizes,
        (None, None) if cx.opset >= 18 => return Err(cx.invalid("needs `split` or `num_outputs`")),
        (None, stated) => {
            // An axis of x, and as many parts as outputs are in memory.
            let size = cx.known(&cx.ty(0)?.shape[axis as usize])? as i64;
            let count = stated.unwrap_or(outputs as i64);
            if count != outputs as i64 || count < 1 {
                return Err(cx.invalid(format!("gives {outputs} outputs, not {count}")));
            }
            let each = size.div_euclid(count) + i64::from(size % count != 0);
            if stated.is_none() && size % count != 0 {
                return Err(cx.invalid(format!("{size} on axis {axis} is not {count} equal parts")));
            }
            // Where `num_outputs` does not divide it, the last part is smaller.
            let mut sizes = vec![each; outputs];
            if let Some(last) = sizes.last_mut() {
                *last = size - each * (count - 1);
            }
            sizes
        }
    };
    if sizes.len() != outputs {
        return Err(cx.invalid(format!("gives {outputs} outputs, and the sizes of {}", sizes.len())));
    }
    let name = cx.result_name();
    let attrs = Attrs::new().with("axis", axis).with("sizes", sizes);
    let node = cx.builder.node("split", attrs, vec![Some(x)], &name)?;
    Ok((0..outputs as u32).map(|result| ValueId { node, result }).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, *};
    use super::*;
    use crate::ops::Registry;

    fn attrs(axis: i64, sizes: &[i64]) -> Attrs {
        Attrs::new().with("axis", axis).with("sizes", sizes.to_vec())
    }

    #[test]
    fn constraints() {
        check_labels_of(
            "split",
            &[
                ("C1", attrs(2, &[2]), ty("f32[2, 4]")),
                ("C1", attrs(-1, &[4]), ty("f32[2, 4]")),
                ("C2", attrs(1, &[2, 3]), ty("f32[2, 4]")),
                ("C2", attrs(1, &[5, -1]), ty("f32[2, 4]")),
                ("C2", attrs(1, &[]), ty("f32[2, 0]")),
                ("C2", attrs(1, &[i64::MAX, i64::MAX, 6]), ty("f32[2, 4]")),
                ("C3", attrs(1, &[2, 2]), quantized("i8[2, 4]", 4)),
            ],
        );
        let types = infer("split", attrs(1, &[1, 0, 3]), &[ty("i8[N, 4]")]).unwrap();
        assert_eq!(types, [ty("i8[N, 1]"), ty("i8[N, 0]"), ty("i8[N, 3]")]);
        assert_unknown_size(infer("split", attrs(0, &[1]), &[ty("i8[N, 4]")]));
        assert_eq!(infer("split", attrs(0, &[1, 1]), &[quantized("i8[2, 4]", 4)]).unwrap().len(), 2);
    }

    fn check_labels_of(op: &str, cases: &[(&str, Attrs, TensorType)]) {
        for (label, attrs, ty) in cases {
            assert_eq!(broken(infer(op, attrs.clone(), std::slice::from_ref(ty))), *label, "{attrs:?}");
        }
    }

    #[test]
    fn parts_joined_are_the_whole() {
        let x = tensor(&[2, 3, 2], (0..12i16).collect::<Vec<_>>());
        for (axis, sizes) in [(0, vec![1, 1]), (1, vec![2, 1]), (1, vec![0, 1, 2]), (2, vec![2])] {
            let registry = Registry::built_in();
            let parts =
                registry.eval("split", &attrs(axis, &sizes), &[Some(x.clone())], Arithmetic::Exact).unwrap();
            assert_eq!(parts.len(), sizes.len());
            let joined = eval("concat", Attrs::new().with("axis", axis), &parts);
            assert_eq!(joined, Ok(x.clone()));
        }
    }

    #[test]
    fn every_version_is_read() {
        let ints = |v: &[i64]| OnnxAttr::Ints(v.to_vec());
        let axis = ("axis", OnnxAttr::Int(-1));
        let sizes = |given: &[(&str, OnnxAttr)], opset: i64, outputs: usize, split: Option<&[i64]>| {
            let mut node = onnx("Split", given);
            node.outputs =
                (0..outputs).map(|i| if i == 0 { "y".to_owned() } else { format!("y{i}") }).collect();
            let mut operands = vec![Operand::Typed(ty("f32[2, 7]"))];
            operands.extend(split.map(|sizes| Operand::Constant(Tensor::vector(sizes.to_vec()))));
            let (graph, y) = testing::lift(&node, opset, &operands)?;
            assert_eq!(graph.node(y.node).results.len(), outputs);
            let crate::ir::Kind::Op { attrs, .. } = &graph.node(y.node).kind else { panic!("no operator") };
            assert_eq!(attrs.get_int("axis"), Some(1));
            Ok(attrs.get_ints("sizes").map(<[i64]>::to_vec).unwrap_or_default())
        };
        assert_eq!(sizes(&[axis.clone(), ("split", ints(&[3, 4]))], 11, 2, None), Ok(vec![3, 4]));
        assert_eq!(sizes(std::slice::from_ref(&axis), 11, 7, None), Ok(vec![1; 7]));
        assert_eq!(sizes(std::slice::from_ref(&axis), 13, 2, Some(&[5, 2])), Ok(vec![5, 2]));
        assert_eq!(sizes(std::slice::from_ref(&axis), 13, 1, None), Ok(vec![7]));
        let count = |n: i64| [axis.clone(), ("num_outputs", OnnxAttr::Int(n))];
        assert_eq!(sizes(&count(3), 18, 3, None), Ok(vec![3, 3, 1]));
        assert_eq!(sizes(&count(7), 21, 7, None), Ok(vec![1; 7]));
        assert_eq!(sizes(std::slice::from_ref(&axis), 21, 2, Some(&[0, 7])), Ok(vec![0, 7]));
        for (given, opset, outputs, split) in [
            (vec![axis.clone()], 13, 2, None),
            (vec![axis.clone()], 18, 7, None),
            (count(2).to_vec(), 18, 3, None),
            (count(2).to_vec(), 18, 2, Some(&[3i64, 4][..])),
            (vec![axis.clone()], 13, 3, Some(&[3, 4][..])),
        ] {
            let found: Result<Vec<i64>, OpError> = sizes(&given, opset, outputs, split);
            assert!(matches!(found, Err(OpError::Invalid { .. })), "{given:?} {found:?}");
        }
        // 7 by threes would leave less than nothing for the fifth.
        assert!(sizes(&count(5), 18, 5, None).is_err());
    }
}
