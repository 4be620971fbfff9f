//! Reductions over axes: `reduce_mean`, `reduce_sum`, `reduce_prod`, `reduce_max`, `reduce_min`.

use super::number::{NUMBERS, Number, Real, for_number};
use super::product::narrowed;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::kernels::Float;
use crate::tensor::{DType, Dim, Element, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    Reduce::ALL.into_iter().map(|op| Box::new(op) as Box<dyn Operator>).collect()
}

/// One operator each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    Mean,
    Sum,
    Prod,
    Max,
    Min,
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

/// Combines the elements of x over `axes` in row-major order, from `initial`.
fn combined<T: Element, S: Copy>(
    inputs: &Inputs,
    axes: &[usize],
    initial: S,
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
    sums.resize(count, initial);
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

/// The attributes of a reduction whose axes became an operand with opset `since`.
pub fn lifted_axes(cx: &LiftCx, since: i64) -> Result<Attrs, OpError> {
    let rank = cx.ty(0)?.shape.rank();
    let axes = match cx.ints_either("axes", 1, since)? {
        Some(axes) if !axes.is_empty() => cx.axes(&axes, rank)?,
        _ if cx.int("noop_with_empty_axes", 0)? != 0 => Vec::new(),
        // Ranks are small: they count the entries of a list in memory.
        _ => (0..rank as i64).collect(),
    };
    Ok(Attrs::new().with("axes", axes).with("keepdims", cx.int("keepdims", 1)? != 0))
}

/// The versions of a reduction whose axes became an operand with opset `since`.
pub const fn versions(since: i64) -> [Version; 2] {
    [Version::new(1, 1, &["axes", "keepdims"]), Version::new(since, 2, &["keepdims", "noop_with_empty_axes"])]
}

/// The sums and products of integers: 2^64 elements would be needed for a sum to pass 128 bits, and
/// a product that does stays too large, or becomes zero.
fn exact<T: Element + Into<i128> + TryFrom<i128>>(
    inputs: &Inputs,
    axes: &[usize],
    sizes: &[usize],
    initial: i128,
    combine: fn(i128, i128) -> i128,
) -> Result<Vec<Tensor>, OpError> {
    let wide = combined::<T, i128>(inputs, axes, initial, |sum, v| combine(sum, v.into()))?;
    narrowed::<i128, T>(&inputs.call, "C3", sizes, wide)
}

impl Reduce {
    const ALL: [Self; 5] = [Reduce::Mean, Reduce::Sum, Reduce::Prod, Reduce::Max, Reduce::Min];

    fn name(self) -> &'static str {
        match self {
            Reduce::Mean => "reduce_mean",
            Reduce::Sum => "reduce_sum",
            Reduce::Prod => "reduce_prod",
            Reduce::Max => "reduce_max",
            Reduce::Min => "reduce_min",
        }
    }

    fn onnx(self) -> &'static str {
        match self {
            Reduce::Mean => "ReduceMean",
            Reduce::Sum => "ReduceSum",
            Reduce::Prod => "ReduceProd",
            Reduce::Max => "ReduceMax",
            Reduce::Min => "ReduceMin",
        }
    }

    fn allowed(self) -> &'static [DType] {
        match self {
            Reduce::Mean => FLOATS,
            Reduce::Sum | Reduce::Prod => &[DType::F32, DType::F64, DType::I32, DType::I64],
            Reduce::Max | Reduce::Min => &NUMBERS,
        }
    }

    /// Of floats, in row-major order of x.
    fn real<T: Real + Number>(
        self,
        inputs: &Inputs,
        axes: &[usize],
        sizes: &[usize],
    ) -> Result<Vec<Tensor>, OpError> {
        let y = match self {
            Reduce::Mean => {
                let x = inputs.get(0)?.sizes();
                let divisor = axes.iter().map(|&axis| x[axis]).product();
                let sums = combined::<T, T>(inputs, axes, T::default(), |sum, v| sum + v)?;
                sums.into_iter().map(|sum| T::mean(sum, divisor)).collect()
            }
            Reduce::Sum => combined::<T, T>(inputs, axes, T::default(), |sum, v| sum + v)?,
            Reduce::Prod => combined::<T, T>(inputs, axes, T::from(1.0), |product, v| product * v)?,
            Reduce::Max | Reduce::Min => return self.extreme::<T>(inputs, axes, sizes),
        };
        inputs.call.result(sizes, y.into_iter().map(Float::canonical).collect())
    }

    fn extreme<T: Number>(
        self,
        inputs: &Inputs,
        axes: &[usize],
        sizes: &[usize],
    ) -> Result<Vec<Tensor>, OpError> {
        let y = match self {
            Reduce::Min => combined::<T, T>(inputs, axes, T::GREATEST, Number::min)?,
            _ => combined::<T, T>(inputs, axes, T::LEAST, Number::max)?,
        };
        inputs.call.result(sizes, y)
    }
}

impl Operator for Reduce {
    fn schema(&self) -> Schema {
        let schema = match self {
            Reduce::Mean => Schema::new(
                self.name(),
                "`y[k…] = (sum over the indices of axes of x[k…]) / (their number)`: the mean over the axes \
                 `axes`, which y keeps with size 1 if `keepdims` and lacks otherwise. The sum goes in row-major \
                 order of x from 0, then it is divided.\n\n\
                 * C1: x is plain f32 or f64.\n\
                 * C2: 0 <= axis < rank of x for each of `axes`, which ascend.",
            ),
            Reduce::Sum => Schema::new(
                self.name(),
                "`y[k…] = sum over the indices of axes of x[k…]`: the sum over the axes `axes`, which y keeps with \
                 size 1 if `keepdims` and lacks otherwise. Of floats the sum goes in row-major order of x from 0; of \
                 integers it is exact.\n\n\
                 * C1: x is plain f32, f64, i32 or i64.\n\
                 * C2: 0 <= axis < rank of x for each of `axes`, which ascend.\n\
                 * C3 (when it runs): the elements of an integer y fit the storage of x; a cast of x to i64 makes room.",
            ),
            Reduce::Prod => Schema::new(
                self.name(),
                "`y[k…] = product over the indices of axes of x[k…]`: the product over the axes `axes`, which y keeps \
                 with size 1 if `keepdims` and lacks otherwise. Of floats it goes in row-major order of x from 1; of \
                 integers it is exact.\n\n\
                 * C1: x is plain f32, f64, i32 or i64.\n\
                 * C2: 0 <= axis < rank of x for each of `axes`, which ascend.\n\
                 * C3 (when it runs): the elements of an integer y fit the storage of x; a cast of x to i64 makes room.",
            ),
            Reduce::Max => Schema::new(
                self.name(),
                "`y[k…] = max over the indices of axes of x[k…]`: the largest element over the axes `axes`, which y \
                 keeps with size 1 if `keepdims` and lacks otherwise; NaN if there is one. Of no elements it is \
                 -infinity, or the smallest value of the storage.\n\n\
                 * C1: x is plain, a float or an integer.\n\
                 * C2: 0 <= axis < rank of x for each of `axes`, which ascend.",
            ),
            Reduce::Min => Schema::new(
                self.name(),
                "`y[k…] = min over the indices of axes of x[k…]`: the smallest element over the axes `axes`, which y \
                 keeps with size 1 if `keepdims` and lacks otherwise; NaN if there is one. Of no elements it is \
                 infinity, or the largest value of the storage.\n\n\
                 * C1: x is plain, a float or an integer.\n\
                 * C2: 0 <= axis < rank of x for each of `axes`, which ascend.",
            ),
        };
        let schema = schema.operand("x").required_attr("axes", AttrKind::Ints).attr("keepdims", true);
        if matches!(self, Reduce::Max | Reduce::Min) { schema } else { schema.rounding() }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![reduced(call, self.allowed())?.1])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let (axes, ty) = reduced(&inputs.call, self.allowed())?;
        let sizes = ty.shape.sizes().unwrap_or_default();
        let sum = (0, i128::saturating_add as fn(i128, i128) -> i128);
        let product = (1, i128::saturating_mul as fn(i128, i128) -> i128);
        let (initial, combine) = if *self == Reduce::Prod { product } else { sum };
        match (ty.storage(), self) {
            (storage, Reduce::Max | Reduce::Min) => {
                for_number!(inputs.call, storage, T => self.extreme::<T>(inputs, &axes, &sizes))
            }
            (DType::I32, _) => exact::<i32>(inputs, &axes, &sizes, initial, combine),
            (DType::I64, _) => exact::<i64>(inputs, &axes, &sizes, initial, combine),
            (other, _) => for_float!(inputs.call, other, T => self.real::<T>(inputs, &axes, &sizes)),
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No(match self {
            Reduce::Mean => {
                "a mean runs on the device only over both spatial axes, as part of a convolution layer"
            }
            Reduce::Sum => "a sum over axes runs on the device only inside a layer",
            Reduce::Prod => "the device has no product of values",
            Reduce::Max | Reduce::Min => "an extreme over axes runs on the device only as a max-pool",
        })
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_axes(cx, self.onnx())
    }

    fn lifts(&self) -> Vec<Lift> {
        let (op, since) = (*self, if *self == Reduce::Sum { 13 } else { 18 });
        let mut lifts = vec![Lift::standard(op.onnx(), versions(since), move |cx| {
            let (x, attrs) = (cx.operand(0)?, lifted_axes(cx, since)?);
            if cx.ty(0)?.storage() != DType::Bool {
                return Ok(vec![cx.op(op.name(), attrs, &[x])?]);
            }
            let bytes = cx.step("bytes", "cast", Attrs::new().with("to", DType::U8), &[x])?;
            let y = cx.step("extreme", op.name(), attrs, &[bytes])?;
            Ok(vec![cx.op("cast", Attrs::new().with("to", DType::Bool), &[y])?])
        })];
        match self {
            Reduce::Sum => lifts.extend([
                Lift::standard("ReduceL1", versions(18), lift_l1),
                Lift::standard("ReduceL2", versions(18), lift_l2),
                Lift::standard("ReduceSumSquare", versions(18), lift_sum_square),
                Lift::standard("ReduceLogSum", versions(18), lift_log_sum),
                Lift::standard("ReduceLogSumExp", versions(18), lift_log_sum_exp),
            ]),
            Reduce::Max => {
                lifts.push(Lift::standard("GlobalMaxPool", [Version::new(1, 1, &[])], lift_global_max))
            }
            Reduce::Mean | Reduce::Prod | Reduce::Min => {}
        }
        lifts
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3, 2, 3], (0..36u8).map(|i| f32::from(i * 5 % 11) - 4.0).collect());
        let spatial = Example { attrs: Attrs::new().with("axes", vec![2, 3]), operands: vec![x.clone()] };
        if *self == Reduce::Mean {
            let lacking = Attrs::new().with("axes", vec![0, 2]).with("keepdims", false);
            return vec![spatial, Example { attrs: lacking, operands: vec![x] }];
        }
        let integers = Tensor::new(&[2, 3, 2], vec![1i32, 2, -3, 4, 50_000, 6, -7, 8, 9, 10, 11, 12]);
        let lacking = Attrs::new().with("axes", vec![2]).with("keepdims", false);
        vec![spatial, Example { attrs: lacking, operands: vec![integers] }]
    }
}

/// `sum of |x|`.
fn lift_l1(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, attrs) = (cx.operand(0)?, lifted_axes(cx, 18)?);
    let magnitudes = cx.step("abs", "abs", Attrs::new(), &[x])?;
    Ok(vec![cx.op("reduce_sum", attrs, &[magnitudes])?])
}

/// `sqrt(sum of x * x)`.
fn lift_l2(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, attrs) = (cx.operand(0)?, lifted_axes(cx, 18)?);
    let squares = cx.step("squares", "mul", Attrs::new(), &[x, x])?;
    let sum = cx.step("sum", "reduce_sum", attrs, &[squares])?;
    Ok(vec![cx.op("sqrt", Attrs::new(), &[sum])?])
}

fn lift_sum_square(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, attrs) = (cx.operand(0)?, lifted_axes(cx, 18)?);
    let squares = cx.step("squares", "mul", Attrs::new(), &[x, x])?;
    Ok(vec![cx.op("reduce_sum", attrs, &[squares])?])
}

fn lift_log_sum(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, attrs) = (cx.operand(0)?, lifted_axes(cx, 18)?);
    let sum = cx.step("sum", "reduce_sum", attrs, &[x])?;
    Ok(vec![cx.op("log", Attrs::new(), &[sum])?])
}

/// `log(sum of exp(x - m)) + m` with m the largest x, or 0 where that is infinite.
fn lift_log_sum_exp(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, attrs) = (cx.operand(0)?, lifted_axes(cx, 18)?);
    let none = Attrs::new;
    let kept = attrs.clone().with("keepdims", true);
    let largest = cx.step("largest", "reduce_max", kept.clone(), &[x])?;
    let (zero, infinity) = (cx.number_like(0, "zero", 0.0)?, cx.number_like(0, "infinity", f32::INFINITY)?);
    let magnitude = cx.step("magnitude", "abs", none(), &[largest])?;
    let finite = cx.step("finite", "less", none(), &[magnitude, infinity])?;
    let shift = cx.step("shift", "select", none(), &[finite, largest, zero])?;
    let shifted = cx.step("shifted", "sub", none(), &[x, shift])?;
    let powers = cx.step("exp", "exp", none(), &[shifted])?;
    let sum = cx.step("sum", "reduce_sum", kept, &[powers])?;
    let log = cx.step("log", "log", none(), &[sum])?;
    if attrs.get_bool("keepdims") == Some(true) {
        return Ok(vec![cx.op("add", none(), &[log, shift])?]);
    }
    let y = cx.step("kept", "add", none(), &[log, shift])?;
    let axes = attrs.get_ints("axes").unwrap_or_default().to_vec();
    Ok(vec![cx.op("squeeze", none().with("axes", axes), &[y])?])
}

/// The largest element of each channel.
fn lift_global_max(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    // Ranks are small: they count the entries of a list in memory.
    let axes: Vec<i64> = (2..cx.ty(0)?.shape.rank() as i64).collect();
    Ok(vec![cx.op("reduce_max", Attrs::new().with("axes", axes), &[x])?])
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
        for op in ["reduce_max", "reduce_min"] {
            check_labels(op, &[("C1", axes(vec![0]), &["bool[2]"]), ("C2", axes(vec![1]), &["i32[2]"])]);
        }
        check_labels("reduce_prod", &[("C1", axes(vec![0]), &["i8[2]"]), ("C2", axes(vec![1]), &["i32[2]"])]);
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

    #[test]
    fn extremes_and_products() {
        let rows = || Attrs::new().with("axes", vec![1]).with("keepdims", false);
        let x = tensor(&[2, 3], [1.5f32, -2.0, 4.0, 0.5, f32::NAN, 2.0]);
        let nan_behind = |first: f32, y: Result<Tensor, OpError>| {
            let y = y.unwrap();
            let y = y.elements::<f32>().unwrap();
            assert!(y[0] == first && y[1].is_nan(), "{y:?}");
        };
        nan_behind(4.0, eval("reduce_max", rows(), std::slice::from_ref(&x)));
        nan_behind(-2.0, eval("reduce_min", rows(), std::slice::from_ref(&x)));
        nan_behind(-12.0, eval("reduce_prod", rows(), std::slice::from_ref(&x)));
        let bytes = tensor(&[1, 3], [3u8, 200, 7]);
        assert_eq!(eval("reduce_max", rows(), std::slice::from_ref(&bytes)), Ok(tensor(&[1], [200u8])));
        assert_eq!(eval("reduce_min", rows(), &[bytes]), Ok(tensor(&[1], [3u8])));
        let none = || tensor::<f32>(&[2, 0], []);
        assert_eq!(eval("reduce_max", rows(), &[none()]), Ok(tensor(&[2], [f32::NEG_INFINITY; 2])));
        assert_eq!(eval("reduce_min", rows(), &[none()]), Ok(tensor(&[2], [f32::INFINITY; 2])));
        assert_eq!(eval("reduce_prod", rows(), &[none()]), Ok(tensor(&[2], [1.0f32; 2])));
        let large = tensor(&[2, 3], [i64::MAX, i64::MAX, 0, 2, -3, 4]);
        assert_eq!(eval("reduce_prod", rows(), &[large]), Ok(tensor(&[2], [0i64, -24])));
        assert_eq!(broken(eval("reduce_prod", rows(), &[tensor(&[1, 2], [i32::MAX, 2])])), "C3");
    }
}
