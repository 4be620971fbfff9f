//! Reductions over axes: `reduce_mean`, `reduce_sum`.

use super::number::Real;
use super::product::narrowed;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::kernels::Float;
use crate::tensor::{DType, Dim, Element, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(ReduceMean), Box::new(ReduceSum)]
}

/// The reduced axes, and the type of the result.
fn reduced(call: &Call, allowed: &[DType]) -> Result<(Vec<usize>, TensorType), OpError> {
    let storage = call.same_plain("C1", allowed)?;
    let x = &call.ty(0)?.shape;
    let axes = call.axes("C2", "axes", x.rank())?;
    let keepdims = call.flag("keepdims")?;
    let dims = x.iter().enumerate().filter_map(|(at, dim)| match axes.contains(&at) {
        false => Some(dim.clone()),
        true => keepdims.then_some(Dim::Fixed(1)),
    });
    let ty = TensorType::new(storage, Shape::new(dims));
    Ok((axes, ty))
}

/// Combines the elements of x over `axes` in row-major order, from the default.
fn combined<T: Element, S: Copy + std::default::Default>(
    inputs: &Inputs,
    axes: &[usize],
    mut combine: impl FnMut(S, T) -> S,
) -> Result<Vec<S>, OpError> {
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
    let mut sums: Vec<S> = Vec::new();
    let room = sums.try_reserve_exact(count);
    room.map_err(|_| inputs.call.unsupported(format!("a result of {count} elements")))?;
    sums.resize(count, S::default());
    for (at, &v) in x.indexed_iter() {
        let index: usize = (0..x.ndim()).map(|axis| at[axis] * steps[axis]).sum();
        sums[index] = combine(sums[index], v);
    }
    Ok(sums)
}

fn lower_axes(cx: &mut LowerCx, op_type: &str) -> Result<Lowered, OpError> {
    let axes = cx.initializer("axes", Tensor::vector(cx.call.ints("axes")?.to_vec()));
    let mut inputs = cx.operand_names.to_vec();
    inputs.push(axes);
    let keepdims = OnnxAttr::Int(cx.call.flag("keepdims")?.into());
    // An empty list means no axis here, and would mean all of them.
    let node = cx.node(op_type, inputs).attr("keepdims", keepdims);
    Ok(Lowered::Nodes(vec![node.attr("noop_with_empty_axes", OnnxAttr::Int(1))]))
}

/// Reads a reduction whose axes became an operand with opset `since`.
fn lift_axes(cx: &mut LiftCx, op: &str, since: i64) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let rank = cx.ty(0)?.shape.rank();
    let axes = if cx.opset < since {
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
    Ok(vec![cx.op(op, attrs, &[x])?])
}

pub struct ReduceMean;

impl ReduceMean {
    /// Sums in row-major order of x from `+0`, then divides.
    fn eval_as<T: Real>(inputs: &Inputs, axes: &[usize], sizes: &[usize]) -> Result<Vec<Tensor>, OpError> {
        let sums = combined::<T, T>(inputs, axes, |sum, v| sum + v)?;
        let x = inputs.get(0)?.sizes();
        let divisor = axes.iter().map(|&axis| x[axis]).product();
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
        Ok(vec![reduced(call, FLOATS)?.1])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let (axes, ty) = reduced(&inputs.call, FLOATS)?;
        let sizes = ty.shape.sizes().unwrap_or_default();
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs, &axes, &sizes))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a mean runs on the device only over both spatial axes, as part of a convolution layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_axes(cx, "ReduceMean")
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard(
            "ReduceMean",
            [
                Version::new(1, 1, &["axes", "keepdims"]),
                Version::new(18, 2, &["keepdims", "noop_with_empty_axes"]),
            ],
            |cx| lift_axes(cx, "reduce_mean", 18),
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

pub struct ReduceSum;

/// What can be summed.
const SUMMED: &[DType] = &[DType::F32, DType::F64, DType::I32, DType::I64];

impl ReduceSum {
    /// The sums of integers: 2^64 elements would be needed to pass 128 bits.
    fn eval_exact<T: Element + Into<i128> + TryFrom<i128>>(
        inputs: &Inputs,
        axes: &[usize],
        sizes: &[usize],
    ) -> Result<Vec<Tensor>, OpError> {
        let sums = combined::<T, i128>(inputs, axes, |sum, v| sum + v.into())?;
        narrowed::<i128, T>(&inputs.call, "C3", sizes, sums)
    }
}

impl Operator for ReduceSum {
    fn schema(&self) -> Schema {
        Schema::new(
            "reduce_sum",
            "`y[k…] = sum over the indices of axes of x[k…]`: the sum over the axes `axes`, which y keeps with \
             size 1 if `keepdims` and lacks otherwise. Of floats the sum goes in row-major order of x from 0; of \
             integers it is exact.\n\n\
             * C1: x is plain f32, f64, i32 or i64.\n\
             * C2: 0 <= axis < rank of x for each of `axes`, which ascend.\n\
             * C3 (when it runs): the elements of an integer y fit the storage of x; a cast of x to i64 makes room.",
        )
        .operand("x")
        .required_attr("axes", AttrKind::Ints)
        .attr("keepdims", true)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![reduced(call, SUMMED)?.1])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let (axes, ty) = reduced(&inputs.call, SUMMED)?;
        let sizes = ty.shape.sizes().unwrap_or_default();
        match ty.storage() {
            DType::I32 => Self::eval_exact::<i32>(inputs, &axes, &sizes),
            DType::I64 => Self::eval_exact::<i64>(inputs, &axes, &sizes),
            other => for_float!(inputs.call, other, T => {
                let sums = combined::<T, T>(inputs, &axes, |sum, v| sum + v)?;
                inputs.call.result(&sizes, sums.into_iter().map(Float::canonical).collect())
            }),
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a sum over axes runs on the device only inside a layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_axes(cx, "ReduceSum")
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard(
            "ReduceSum",
            [
                Version::new(1, 1, &["axes", "keepdims"]),
                Version::new(13, 2, &["keepdims", "noop_with_empty_axes"]),
            ],
            |cx| lift_axes(cx, "reduce_sum", 13),
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3, 2], vec![1i32, 2, -3, 4, 500_000_000, 6, -7, 8, 9, 10, 11, 12]);
        let floats = Tensor::new(&[2, 2], vec![1.5f32, -2.0, 0.25, 8.0]);
        vec![
            Example { attrs: Attrs::new().with("axes", vec![2]), operands: vec![x] },
            Example {
                attrs: Attrs::new().with("axes", vec![0, 1]).with("keepdims", false),
                operands: vec![floats],
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
        check_labels(
            "reduce_sum",
            &[
                ("C1", axes(vec![0]), &["i8[2]"]),
                ("C2", axes(vec![1]), &["i32[2]"]),
                ("C2", axes(vec![1, 0]), &["f32[2, 2]"]),
            ],
        );
        assert_eq!(shape("reduce_sum", axes(vec![2, 3]), &["i64[N, 3, 4, 4]"]), "i64[N, 3, 1, 1]");
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

    #[test]
    fn sums_of_integers_fit_or_are_named() {
        let rows = || Attrs::new().with("axes", vec![1]);
        let x = tensor(&[2, 3], [i32::MAX, i32::MAX, -i32::MAX, 1, 2, 3]);
        assert_eq!(eval("reduce_sum", rows(), std::slice::from_ref(&x)), Ok(tensor(&[2, 1], [i32::MAX, 6])));
        assert_eq!(read_back("reduce_sum", rows(), &[x]), tensor(&[2, 1], [i32::MAX, 6]));
        let columns = Attrs::new().with("axes", vec![0]).with("keepdims", false);
        let x = tensor(&[2, 2], [1, i32::MIN, 1, -1]);
        let error = eval("reduce_sum", columns.clone(), std::slice::from_ref(&x)).unwrap_err();
        assert!(error.to_string().ends_with("C3: y[1] is -2147483649, which does not fit i32"), "{error}");
        let wide = eval("reduce_sum", columns.clone(), &[x.cast(DType::I64)]);
        assert_eq!(wide, Ok(tensor(&[2], [2i64, -2147483649])));
        assert_eq!(broken(eval("reduce_sum", columns, &[tensor(&[2], [i64::MAX, 1])])), "C3");
        let floats = eval("reduce_sum", rows(), &[tensor(&[1, 3], [0.1f32, 0.2, 0.3])]);
        assert_eq!(floats, Ok(tensor(&[1, 1], [0.1f32 + 0.2 + 0.3])));
        assert_eq!(eval("reduce_sum", rows(), &[tensor::<i32>(&[2, 0], [])]), Ok(tensor(&[2, 1], [0i32, 0])));
    }
}
