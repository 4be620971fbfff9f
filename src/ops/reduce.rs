//! Reductions over axes: `reduce_mean`.

use super::number::Real;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Dim, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(ReduceMean)]
}

pub struct ReduceMean;

impl ReduceMean {
    /// Sums in row-major order of x from `+0`, then divides.
    fn eval_as<T: Real>(inputs: &Inputs, axes: &[usize], sizes: &[usize]) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.array::<T>(0)?;
        // Elements of the result, and for each axis of x the step in it (0 where it is reduced).
        let mut steps = vec![0; x.ndim()];
        let mut count = 1usize;
        for axis in (0..x.ndim()).rev() {
            if !axes.contains(&axis) {
                steps[axis] = count;
                // At most as many as x has, unless a reduced axis is empty.
                count = count.saturating_mul(x.shape()[axis]);
            }
        }
        let mut sums = inputs.call.filled(&[count], T::default())?.into_raw_vec_and_offset().0;
        for (at, &v) in x.indexed_iter() {
            let index: usize = (0..x.ndim()).map(|axis| at[axis] * steps[axis]).sum();
            sums[index] = sums[index] + v;
        }
        let divisor = axes.iter().map(|&axis| x.shape()[axis]).product();
        let y = sums.into_iter().map(|sum| T::mean(sum, divisor).canonical()).collect();
        inputs.call.result(sizes, y)
    }
}

impl Operator for ReduceMean {
    fn schema(&self) -> Schema {
        Schema::new(
            "reduce_mean",
            "`y[k…] = (sum over the indices of axes of x[k…]) / (their number)`: the mean over the axes \
             `axes`, which y keeps with size 1 if `keepdims` and lacks otherwise. The sum goes in row-major \
             order of x from 0, then it is divided.\n\n\
             * C1: x is plain f32 or f64.\n\
             * C2: 0 <= axis < rank of x for each of `axes`, which ascend.",
        )
        .operand("x")
        .required_attr("axes", AttrKind::Ints)
        .attr("keepdims", true)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        let x = &call.ty(0)?.shape;
        let axes = call.axes("C2", "axes", x.rank())?;
        let keepdims = call.flag("keepdims")?;
        let dims = x.iter().enumerate().filter_map(|(at, dim)| match axes.contains(&at) {
            false => Some(dim.clone()),
            true => keepdims.then_some(Dim::Fixed(1)),
        });
        Ok(vec![TensorType::new(storage, Shape::new(dims))])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let types = self.infer(&inputs.call)?;
        let sizes = types.first().and_then(|ty| ty.shape.sizes()).unwrap_or_default();
        let axes = inputs.call.axes("C2", "axes", inputs.get(0)?.sizes().len())?;
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs, &axes, &sizes))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a mean runs on the device only over both spatial axes, as part of a convolution layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let axes = cx.initializer("axes", Tensor::vector(cx.call.ints("axes")?.to_vec()));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(axes);
        let keepdims = OnnxAttr::Int(cx.call.flag("keepdims")?.into());
        // An empty list means no axis here, and would mean all of them.
        let node = cx.node("ReduceMean", inputs).attr("keepdims", keepdims);
        Ok(Lowered::Nodes(vec![node.attr("noop_with_empty_axes", OnnxAttr::Int(1))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let rank = cx.ty(0)?.shape.rank();
            let axes = if cx.opset < 18 {
                cx.opt_ints("axes")?.map(<[i64]>::to_vec)
            } else {
                cx.constant_ints(1, "axes")?
            };
            let axes = match axes {
                Some(axes) if !axes.is_empty() => cx.axes(&axes, rank)?,
                _ if cx.int("noop_with_empty_axes", 0)? != 0 => Vec::new(),
                // Ranks are small: they count the entries of a list in memory.
                _ => (0..rank as i64).collect(),
            };
            let attrs = Attrs::new().with("axes", axes).with("keepdims", cx.int("keepdims", 1)? != 0);
            Ok(vec![cx.op("reduce_mean", attrs, &[x])?])
        }
        vec![Lift::standard(
            "ReduceMean",
            [
                Version::new(1, 1, &["axes", "keepdims"]),
                Version::new(18, 2, &["keepdims", "noop_with_empty_axes"]),
            ],
            lift,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3, 2, 3], (0..36u8).map(|i| f32::from(i * 5 % 11) - 4.0).collect());
        vec![
            Example { attrs: Attrs::new().with("axes", vec![2, 3]), operands: vec![x.clone()] },
            Example {
                attrs: Attrs::new().with("axes", vec![0, 2]).with("keepdims", false),
                operands: vec![x],
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let axes = |axes: Vec<i64>| Attrs::new().with("axes", axes);
        check_labels(
            "reduce_mean",
            &[
                ("C1", axes(vec![0]), &["i32[2]"]),
                ("C2", axes(vec![1]), &["f32[2]"]),
                ("C2", axes(vec![-1]), &["f32[2]"]),
                ("C2", axes(vec![1, 0]), &["f32[2, 2]"]),
                ("C2", axes(vec![1, 1]), &["f32[2, 2]"]),
            ],
        );
        assert_eq!(shape("reduce_mean", axes(vec![1, 2]), &["f32[N, C, H]"]), "f32[N, 1, 1]");
        let lacking = axes(vec![1, 2]).with("keepdims", false);
        assert_eq!(shape("reduce_mean", lacking, &["f32[N, C, H]"]), "f32[N]");
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[1, 1, 3, 3], [1.0f32, 2.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0, 9.0]);
        let rows = Attrs::new().with("axes", vec![0, 3]).with("keepdims", false);
        assert_eq!(
            eval("reduce_mean", rows, std::slice::from_ref(&x)),
            Ok(tensor(&[1, 3], [2.0f32, 5.0 / 3.0, 8.0]))
        );
        assert_eq!(
            eval("reduce_mean", Attrs::new().with("axes", Vec::<i64>::new()), std::slice::from_ref(&x)),
            Ok(x)
        );
    }

    #[test]
    fn of_nothing() {
        let x = || tensor::<f32>(&[0, 2, 4, 4], []);
        let spatial = Attrs::new().with("axes", vec![2, 3]);
        assert_eq!(eval("reduce_mean", spatial, &[x()]), Ok(tensor::<f32>(&[0, 2, 1, 1], [])));
        let y = eval("reduce_mean", Attrs::new().with("axes", vec![0, 2, 3]), &[x()]).unwrap();
        assert!(y.elements::<f32>().unwrap().iter().all(|mean| mean.is_nan()));
    }

    #[test]
    fn axes_come_from_attribute_or_operand() {
        let x = || Operand::Input(tensor(&[1, 2, 2], [1.0f32, 2.0, 3.0, 6.0]));
        let attrs = [("axes", OnnxAttr::Ints(vec![-1]))];
        let axes = Operand::Constant(Tensor::vector(vec![2i64]));
        let expected = Ok(tensor(&[1, 2, 1], [1.5f32, 4.5]));
        assert_eq!(lift_and_eval(&onnx("ReduceMean", &attrs), 13, &[x()]), expected);
        assert_eq!(lift_and_eval(&onnx("ReduceMean", &[]), 18, &[x(), axes]), expected);
        assert_eq!(lift_and_eval(&onnx("ReduceMean", &[]), 18, &[x()]), Ok(tensor(&[1, 1, 1], [3.0f32])));
        let keep = onnx("ReduceMean", &[("noop_with_empty_axes", OnnxAttr::Int(1))]);
        assert_eq!(lift_and_eval(&keep, 18, &[x()]), Ok(tensor(&[1, 2, 2], [1.0f32, 2.0, 3.0, 6.0])));
    }
}
