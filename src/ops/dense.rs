//! Products of matrices: `dense`, `matmul`.

use super::body::Body;
use super::bound::largest_magnitude;
use super::einsum;
use super::number::Real;
use super::product::{self, Product};
use super::quantized;
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::kernels::{self, Accumulator, Byte, Float};
use crate::tensor::{Array, DType, Dim, Element, Shape, Tensor, TensorType, broadcast, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Dense), Box::new(MatMul)]
}

pub struct Dense;

impl Dense {
    /// Features in, features out.
    fn features(call: &Call) -> Result<(usize, usize), OpError> {
        let (x, w) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        let ([_, taken], [filters, features]) = (&**x, &**w) else {
            return Err(call.broken("C2", format!("x and w have 2 axes, found {x} and {w}")));
        };
        let (taken, features) = (call.known(taken)?, call.known(features)?);
        call.require("C3", taken == features, || format!("w takes {taken} features, found {features}"))?;
        Ok((features, call.known(filters)?))
    }

    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (features, filters) = Self::features(&inputs.call)?;
        let rows = inputs.get(0)?.sizes().first().copied().unwrap_or_default();
        let (x, w, b) = (inputs.elements::<T>(0)?, inputs.elements::<T>(1)?, inputs.opt_elements::<T>(2)?);
        let y = kernels::dense(rows, features, filters, x, w, b);
        inputs.call.result(&[rows, filters], inputs.call.kernel(y)?)
    }
}

impl Product for Dense {
    fn sums<A: Byte + Element, S: Accumulator + Element>(
        &self,
        inputs: &Inputs,
        bias: Option<&[S]>,
    ) -> Result<Vec<S>, OpError> {
        let (features, filters) = Self::features(&inputs.call)?;
        let rows = inputs.get(0)?.sizes().first().copied().unwrap_or_default();
        let (x, w) = (inputs.elements::<A>(0)?, inputs.elements::<i8>(1)?);
        inputs.call.kernel(kernels::dense_integer(rows, features, filters, x, w, bias))
    }
}

impl Operator for Dense {
    fn schema(&self) -> Schema {
        Schema::new(
            "dense",
            "`y[n, f] = sum over i of x[n, i] * w[f, i] + b[f]` for x `[N, I]`, w `[F, I]`, b `[F]` and y `[N, F]`. \
             Of floats the sum is `fma` in the order of i from 0, then b is added; of integers it is exact.\n\n\
             * C1: x, w and b are plain and stored alike, as f32 or f64; or x is i8 or u8, w i8, b i32 and y i32.\n\
             * C2: x and w have 2 axes.\n\
             * C3: x and w have the same I.\n\
             * C4: b has the one axis F.\n\
             * C5 (when it runs): the elements of an integer y fit i32.",
        )
        .operand("x")
        .operand("w")
        .optional("b")
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = product::storage(call, "C1")?;
        let (_, filters) = Self::features(call)?;
        if let Some(b) = call.opt_ty(2) {
            call.require("C4", b.shape.sizes() == Some(vec![filters]), || {
                format!("b has shape [{filters}], found {}", b.shape)
            })?;
        }
        Ok(vec![TensorType::new(storage, vec![call.ty(0)?.shape[0].clone(), filters.into()])])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        if product::is_integer(&inputs.call)? {
            let (rows, (_, filters)) = (inputs.get(0)?.sizes()[0], Self::features(&inputs.call)?);
            let bound = product::bound(inputs.get(0)?.dtype(), inputs.get(1)?, inputs.opt(2));
            return product::eval(self, inputs, "C5", &[rows, filters], bound);
        }
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a dense product runs on the device as a layer: it was not fused into one")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        if !product::is_integer(&cx.call)? {
            let node = cx.node("Gemm", cx.operand_names.to_vec());
            return Ok(Lowered::Nodes(vec![node.attr("transB", OnnxAttr::Int(1))]));
        }
        product::expect_i32(cx)?;
        let mut body = Body::of_node(cx);
        let [x, w, b] = [0, 1, 2].map(|at| cx.operand_names.get(at).cloned().unwrap_or_default());
        let [x, x_zero] = product::lower_operand(&mut body, &x, cx.call.ty(0)?.storage());
        let [w, w_zero] = product::lower_operand(&mut body, &w, DType::I8);
        let w = body.op("Transpose", &[&w]);
        let y = body.op("MatMulInteger", &[&x, &w, &x_zero, &w_zero]);
        if !b.is_empty() {
            body.op("Add", &[&y, &b]);
        }
        Ok(body.nodes_of(cx))
    }

    fn lifts(&self) -> Vec<Lift> {
        // Before opset 7 the broadcast of C was an attribute.
        vec![Lift::standard("Gemm", [Version::new(7, 3, &["alpha", "beta", "transA", "transB"])], lift_gemm)]
    }

    fn macs(&self, call: &Call) -> u64 {
        Self::features(call).map_or(0, |(features, filters)| (features as u64).saturating_mul(filters as u64))
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3], vec![1.0f32, 2.0, 3.0, -1.0, 0.5, 0.0]);
        let w = Tensor::new(&[2, 3], vec![1.0f32, 0.0, -1.0, 2.0, 2.0, 0.25]);
        let b = Tensor::new(&[2], vec![0.5f32, -1.0]);
        vec![
            Example { attrs: Attrs::new(), operands: vec![x.clone(), w.clone(), b] },
            Example { attrs: Attrs::new(), operands: vec![x, w] },
            Example {
                attrs: Attrs::new(),
                operands: vec![
                    Tensor::new(&[2, 3], vec![127i8, -128, 5, 0, 64, -3]),
                    Tensor::new(&[2, 3], vec![3i8, -2, 127, -128, 1, 0]),
                    Tensor::new(&[2], vec![100i32, -50]),
                ],
            },
        ]
    }
}

/// `alpha * A' * B' + beta * C` as `dense`: the factors and the transposition go into operands,
/// computed now where those are constant.
fn lift_gemm(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    product::expect_floats(cx)?;
    let (mut a, mut b) = (cx.operand(0)?, cx.operand(1)?);
    for position in 0..2 {
        let rank = cx.ty(position)?.shape.rank();
        if rank != 2 {
            return Err(cx.invalid(format!("operand {position} has 2 axes, found {rank}")));
        }
    }
    if cx.int("transA", 0)? != 0 {
        a = transposed(cx, "a", a)?;
    }
    if cx.int("transB", 0)? == 0 {
        b = transposed(cx, "w", b)?;
    }
    let (alpha, beta) = (cx.float("alpha", 1.0)?, cx.float("beta", 1.0)?);
    b = scaled(cx, "w", b, alpha)?;
    let Some(c) = cx.opt_operand(2).filter(|_| beta != 0.0) else {
        return Ok(vec![cx.op("dense", Attrs::new(), &[a, b])?]);
    };
    let c = scaled(cx, "b", c, beta)?;
    if let Some(bias) = as_bias(cx, c, b) {
        return Ok(vec![cx.op("dense", Attrs::new(), &[a, b, bias])?]);
    }
    let product = cx.step("product", "dense", Attrs::new(), &[a, b])?;
    Ok(vec![cx.op("add", Attrs::new(), &[product, c])?])
}

/// The operand with its two axes exchanged.
fn transposed(cx: &mut LiftCx, suffix: &str, value: ValueId) -> Result<ValueId, OpError> {
    fn go<T: Element>(array: &Array<T>) -> Tensor {
        T::wrap(array.clone().reversed_axes())
    }
    match cx.builder.graph.constant(value).cloned() {
        Some(tensor) => Ok(cx.add_const(suffix, dispatch!(&*tensor, array => go(array)))),
        None => cx.step(suffix, "transpose", Attrs::new().with("perm", vec![1, 0]), &[value]),
    }
}

/// The operand times a factor.
fn scaled(cx: &mut LiftCx, suffix: &str, value: ValueId, factor: f32) -> Result<ValueId, OpError> {
    if factor == 1.0 {
        return Ok(value);
    }
    let constant = match cx.builder.graph.constant(value).map(|tensor| &**tensor) {
        Some(Tensor::F32(array)) => Some(f32::wrap(array.mapv(|v| (v * factor).canonical()).into_shared())),
        Some(Tensor::F64(array)) => {
            Some(f64::wrap(array.mapv(|v| (v * f64::from(factor)).canonical()).into_shared()))
        }
        _ => None,
    };
    match constant {
        Some(tensor) => Ok(cx.add_const(suffix, tensor)),
        None => {
            let factor = match cx.builder.graph.ty(value).storage() {
                DType::F64 => Tensor::scalar(f64::from(factor)),
                _ => Tensor::scalar(factor),
            };
            let factor = cx.add_const(&format!("{suffix}_factor"), factor);
            cx.step(suffix, "mul", Attrs::new(), &[value, factor])
        }
    }
}

/// A value that is, or is known to broadcast to, one entry per filter of `w` for every row; `None`
/// if it is not.
fn as_bias(cx: &mut LiftCx, value: ValueId, w: ValueId) -> Option<ValueId> {
    let graph = &cx.builder.graph;
    // Two axes: checked of every operand of a Gemm.
    if *graph.ty(value).shape == graph.ty(w).shape[..1] {
        return Some(value);
    }
    // Of constant weights as many filters are in memory, so the bias may be too.
    let filters = *graph.constant(w)?.sizes().first()?;
    // Rows of more than one kind, or more axes than the result, do not stretch to one row.
    let bias = graph.constant(value)?.stretched(&[1, filters])?.reshaped(&[filters])?;
    Some(cx.add_const("b", bias))
}

pub struct MatMul;

/// The sizes of a product of matrices, batches aside.
struct Sizes {
    rows: Dim,
    depth: Dim,
    columns: Dim,
    batch: Shape,
    /// Whether the operand has one axis, so that the result lacks that of rows or columns.
    vectors: [bool; 2],
}

impl MatMul {
    fn sizes(call: &Call) -> Result<Sizes, OpError> {
        let (a, b) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        let one = Dim::Fixed(1);
        let (a_batch, rows, a_depth) = match &**a {
            [] => return Err(call.broken("C2", "a and b have at least one axis")),
            [depth] => (&[][..], &one, depth),
            [batch @ .., rows, depth] => (batch, rows, depth),
        };
        let (b_batch, b_depth, columns) = match &**b {
            [] => return Err(call.broken("C2", "a and b have at least one axis")),
            [depth] => (&[][..], depth, &one),
            [batch @ .., depth, columns] => (batch, depth, columns),
        };
        call.require("C3", a_depth == b_depth, || {
            format!("the last axis of {a} and the one but last of {b} are equal")
        })?;
        let batch = broadcast(&a_batch.to_vec().into(), &b_batch.to_vec().into());
        Ok(Sizes {
            rows: rows.clone(),
            depth: a_depth.clone(),
            columns: columns.clone(),
            batch: batch.ok_or_else(|| call.broken("C4", format!("the batches of {a} and {b} broadcast")))?,
            vectors: [a.rank() == 1, b.rank() == 1],
        })
    }

    fn result_shape(sizes: &Sizes) -> Shape {
        let rows = (!sizes.vectors[0]).then_some(&sizes.rows);
        let columns = (!sizes.vectors[1]).then_some(&sizes.columns);
        Shape::new(sizes.batch.iter().chain(rows).chain(columns).cloned())
    }

    fn result_sizes(call: &Call) -> Result<Vec<usize>, OpError> {
        Ok(Self::result_shape(&Self::sizes(call)?).sizes().unwrap_or_default())
    }

    /// The products `multiply([rows, depth, columns], a, b)` of the matrices of every batch index, one
    /// after the other.
    fn of_batches<A: Element, B: Element, Y: Element>(
        inputs: &Inputs,
        multiply: impl Fn([usize; 3], &[A], &[B]) -> Result<Vec<Y>, kernels::Error>,
    ) -> Result<Vec<Y>, OpError> {
        let call = &inputs.call;
        let sizes = Self::sizes(call)?;
        let (rows, depth, columns) =
            (call.known(&sizes.rows)?, call.known(&sizes.depth)?, call.known(&sizes.columns)?);
        let batch = sizes.batch.sizes().unwrap_or_default();
        let y = call.filled(&Self::result_sizes(call)?, Y::default())?;
        let mut y = y.into_raw_vec_and_offset().0;
        let (a, b) = (inputs.elements::<A>(0)?, inputs.elements::<B>(1)?);
        if !y.is_empty() {
            let a_starts = matrix_starts(&batch, inputs.get(0)?.sizes());
            let b_starts = matrix_starts(&batch, inputs.get(1)?.sizes());
            for (y, (a_start, b_start)) in
                y.chunks_mut(rows * columns).zip(a_starts.into_iter().zip(b_starts))
            {
                let a = a.get(a_start..a_start + rows * depth).unwrap_or_default();
                let b = b.get(b_start..b_start + depth * columns).unwrap_or_default();
                y.copy_from_slice(&call.kernel(multiply([rows, depth, columns], a, b))?);
            }
        }
        Ok(y)
    }

    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let y = Self::of_batches::<T, T, T>(inputs, |[m, k, n], a, b| kernels::matmul(m, k, n, a, b))?;
        inputs.call.result(&Self::result_sizes(&inputs.call)?, y)
    }

    /// A bound of every partial sum of the integer form, whatever the elements are.
    fn bound(call: &Call) -> Result<u128, OpError> {
        let terms = call.known(&Self::sizes(call)?.depth)? as u128;
        Ok(terms * largest_magnitude(call.ty(0)?.storage()) * largest_magnitude(DType::I8))
    }
}

impl Product for MatMul {
    fn sums<A: Byte + Element, S: Accumulator + Element>(
        &self,
        inputs: &Inputs,
        _: Option<&[S]>,
    ) -> Result<Vec<S>, OpError> {
        Self::of_batches::<A, i8, S>(inputs, |[rows, depth, columns], a, b| {
            let filters: Vec<i8> =
                (0..columns).flat_map(|column| b.iter().skip(column).step_by(columns).copied()).collect();
            kernels::dense_integer(rows, depth, columns, a, &filters, None)
        })
    }
}

/// Where in an operand of `sizes` the matrix of each batch index starts, the batch axes of the
/// operand being broadcast to `batch`.
fn matrix_starts(batch: &[usize], sizes: &[usize]) -> Vec<usize> {
    let (own, matrix) = sizes.split_at(sizes.len().saturating_sub(2));
    let mut starts = vec![0];
    let mut stride = matrix.iter().product::<usize>();
    let mut strides = vec![0; batch.len()];
    // From the last axis: the stride of an axis that is stretched, or missing, is 0.
    for (size, at) in own.iter().rev().zip(strides.iter_mut().rev()) {
        *at = if *size == 1 { 0 } else { stride };
        stride *= size;
    }
    for (&size, stride) in batch.iter().zip(strides) {
        starts = starts.iter().flat_map(|start| (0..size).map(move |i| start + i * stride)).collect();
    }
    starts
}

impl Operator for MatMul {
    fn schema(&self) -> Schema {
        Schema::new(
            "matmul",
            "`y[…, i, j] = sum over k of a[…, i, k] * b[…, k, j]`; of floats `fma` in the order of k from 0, of \
             integers exact. Axes before the last two are a batch and broadcast. An operand with one axis is a \
             row (a) or a column (b), and y lacks the axis that it does.\n\n\
             * C1: a and b are plain and stored alike, as f32 or f64; or a is i8 or u8, b i8 and y i32.\n\
             * C2: a and b have at least one axis.\n\
             * C3: a and b have the same k.\n\
             * C4: the batch axes broadcast.\n\
             * C5 (when it runs): the elements of an integer y fit i32.",
        )
        .operand("a")
        .operand("b")
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = product::storage(call, "C1")?;
        Ok(vec![TensorType::new(storage, Self::result_shape(&Self::sizes(call)?))])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        if product::is_integer(&inputs.call)? {
            let sizes = Self::result_sizes(&inputs.call)?;
            return product::eval(self, inputs, "C5", &sizes, Self::bound(&inputs.call)?);
        }
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a matrix product runs on the device only as a dense layer, with constant weights")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        if !product::is_integer(&cx.call)? {
            return Ok(Lowered::Nodes(vec![cx.node("MatMul", cx.operand_names.to_vec())]));
        }
        let mut body = Body::of_node(cx);
        let [a, b] = [0, 1].map(|at| cx.operand_names.get(at).cloned().unwrap_or_default());
        let [a, a_zero] = product::lower_operand(&mut body, &a, cx.call.ty(0)?.storage());
        let [b, b_zero] = product::lower_operand(&mut body, &b, DType::I8);
        body.op("MatMulInteger", &[&a, &b, &a_zero, &b_zero]);
        Ok(body.nodes_of(cx))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            product::expect_floats(cx)?;
            let (a, b) = (cx.operand(0)?, cx.operand(1)?);
            Ok(vec![cx.op("matmul", Attrs::new(), &[a, b])?])
        }
        fn lift_integer(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            if let Ok(a) = product::lift_operand(cx, "a", 0, 2)
                && let Ok(b) = product::lift_operand(cx, "b", 1, 3)
                && cx.builder.graph.ty(b).storage() == DType::I8
            {
                return Ok(vec![cx.op("matmul", Attrs::new(), &[a, b])?]);
            }
            let sum = wide_sum(cx, [0, 2], [1, 3])?;
            Ok(vec![quantized::as_i32(cx, sum)?])
        }
        fn lift_quantized(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let sum = wide_sum(cx, [0, 2], [3, 5])?;
            Ok(vec![quantized::requantized(cx, sum, [(1, 1), (4, 0), (6, 1)], 7)?])
        }
        /// A product of 8-bit integers with any zero points as one of f64: that of a belongs to rows, that of b
        /// to columns.
        fn wide_sum(cx: &mut LiftCx, a: [usize; 2], b: [usize; 2]) -> Result<ValueId, OpError> {
            let a = quantized::wide(cx, "a", a[0], a[1], 1)?;
            let b = quantized::wide(cx, "b", b[0], b[1], 0)?;
            cx.step("products", "matmul", Attrs::new(), &[a, b])
        }
        let mut lifts = vec![
            Lift::standard("MatMul", [Version::new(1, 2, &[])], lift),
            Lift::standard("MatMulInteger", [Version::new(10, 4, &[])], lift_integer),
            Lift::standard("QLinearMatMul", [Version::new(10, 8, &[])], lift_quantized),
        ];
        lifts.extend(einsum::lifts());
        lifts
    }

    fn macs(&self, call: &Call) -> u64 {
        let Ok(sizes) = Self::sizes(call) else { return 0 };
        let all = sizes.batch.iter().chain([&sizes.rows, &sizes.depth, &sizes.columns]);
        // An unknown size is the batch, which counts as one.
        all.fold(1u64, |macs, dim| macs.saturating_mul(dim.fixed().unwrap_or(1) as u64))
    }

    fn examples(&self) -> Vec<Example> {
        let a = Tensor::new(&[2, 1, 2, 3], (0..12).map(|v| v as f32 - 4.0).collect());
        let b = Tensor::new(&[2, 3, 2], (0..12).map(|v| v as f32 * 0.5).collect());
        let v = Tensor::new(&[3], vec![1.0f32, -2.0, 0.5]);
        vec![
            Example { attrs: Attrs::new(), operands: vec![a.clone(), b] },
            Example { attrs: Attrs::new(), operands: vec![a, v.clone()] },
            Example { attrs: Attrs::new(), operands: vec![v.clone(), v] },
            Example {
                attrs: Attrs::new(),
                operands: vec![
                    Tensor::new(&[2, 3], vec![255u8, 128, 5, 0, 64, 3]),
                    Tensor::new(&[3, 2], vec![3i8, -2, 127, -128, 1, 0]),
                ],
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let none = Attrs::new();
        check_labels(
            "dense",
            &[
                ("C1", none.clone(), &["f32[2, 3]", "f64[4, 3]"]),
                ("C1", none.clone(), &["i8[2, 3]", "u8[4, 3]"]),
                ("C1", none.clone(), &["i8[2, 3]", "i8[4, 3]", "i64[4]"]),
                ("C1", none.clone(), &["i32[2, 3]", "i32[4, 3]"]),
                ("C2", none.clone(), &["f32[2, 3, 1]", "f32[4, 3]"]),
                ("C3", none.clone(), &["f32[2, 3]", "f32[3, 4]"]),
                ("C4", none.clone(), &["f32[2, 3]", "f32[4, 3]", "f32[1, 4]"]),
            ],
        );
        check_labels(
            "matmul",
            &[
                ("C1", none.clone(), &["i32[2, 3]", "i32[3, 4]"]),
                ("C2", none.clone(), &["f32[]", "f32[3, 4]"]),
                ("C3", none.clone(), &["f32[2, 3]", "f32[4, 3]"]),
                ("C4", none.clone(), &["f32[2, 2, 3]", "f32[3, 3, 4]"]),
            ],
        );
        assert_eq!(shape("dense", none.clone(), &["f32[N, 3]", "f32[4, 3]", "f32[4]"]), "f32[N, 4]");
        assert_eq!(shape("dense", none.clone(), &["u8[N, 3]", "i8[4, 3]", "i32[4]"]), "i32[N, 4]");
        assert_eq!(broken(infer("dense", none.clone(), &[quantized("i8[2, 3]", 1), ty("i8[4, 3]")])), "C1");
        assert_eq!(shape("matmul", none.clone(), &["f32[N, 5, 3]", "f32[3, 4]"]), "f32[N, 5, 4]");
        assert_eq!(shape("matmul", none.clone(), &["f32[3]", "f32[7, 3, 4]"]), "f32[7, 4]");
        assert_eq!(shape("matmul", none.clone(), &["f32[3]", "f32[3]"]), "f32[]");
        assert_unknown_size(infer("dense", none, &[ty("f32[N, I]"), ty("f32[4, I]")]));
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[2, 3], [1.0f32, 2.0, 3.0, -1.0, 0.0, 0.5]);
        let w = tensor(&[2, 3], [1.0f32, 0.0, -1.0, 2.0, 2.0, 4.0]);
        let b = tensor(&[2], [0.5f32, -8.0]);
        let y = eval("dense", Attrs::new(), &[x.clone(), w.clone(), b]);
        assert_eq!(y, Ok(tensor(&[2, 2], [-1.5f32, 10.0, -1.0, -8.0])));
        let columns = tensor(&[3, 2], [1.0f32, 2.0, 0.0, 2.0, -1.0, 4.0]);
        let y = eval("matmul", Attrs::new(), &[x, columns]);
        assert_eq!(y, Ok(tensor(&[2, 2], [-2.0f32, 18.0, -1.5, 0.0])));
        let empty = eval("dense", Attrs::new(), &[tensor::<f32>(&[0, 3], []), w]);
        assert_eq!(empty, Ok(tensor::<f32>(&[0, 2], [])));
        // A sum of nothing is 0.
        let y = eval("matmul", Attrs::new(), &[tensor::<f32>(&[1, 0], []), tensor::<f32>(&[0, 2], [])]);
        assert_eq!(y, Ok(tensor(&[1, 2], [0.0f32; 2])));
    }

    #[test]
    fn products_are_fused() {
        // (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: the last bit survives only without rounding between.
        let a = 1.0 + 2f32.powi(-12);
        let y = eval("matmul", Attrs::new(), &[tensor(&[2], [-1.0f32, a]), tensor(&[2], [1.0f32, a])]);
        assert_eq!(y, Ok(Tensor::scalar(2f32.powi(-11) + 2f32.powi(-24))));
    }

    #[test]
    fn sums_of_integers_fit_or_are_named() {
        let (x, w) = (tensor(&[1, 2], [255u8, 255]), tensor(&[2, 2], [-128i8, -128, 127, 127]));
        let dense = |b: [i32; 2]| eval("dense", Attrs::new(), &[x.clone(), w.clone(), tensor(&[2], b)]);
        // -255 * 128 * 2 = -65280, 255 * 127 * 2 = 64770.
        assert_eq!(dense([1, -1]), Ok(tensor(&[1, 2], [-65279i32, 64769])));
        assert_eq!(dense([i32::MIN + 65280, i32::MAX - 64770]), Ok(tensor(&[1, 2], [i32::MIN, i32::MAX])));
        let error = dense([0, i32::MAX - 64769]).unwrap_err();
        assert!(error.to_string().ends_with("C5: y[0, 1] is 2147483648, which does not fit i32"), "{error}");
        let given: Vec<_> = [x, w, tensor(&[2], [i32::MIN, 0])].into_iter().map(Some).collect();
        let registry = crate::ops::Registry::built_in();
        let types: Vec<_> = given.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
        let constants: Vec<_> = given.iter().map(Option::as_ref).collect();
        let schema = &registry.get("dense").unwrap().schema;
        let (attrs, names) = (Attrs::new(), ["x", "w", "b"].map(str::to_owned));
        let call = Call { schema, attrs: &attrs, operands: &types };
        let mut cx = LowerCx::new(call, "node", &names, &names[..1], &[], &constants);
        assert!(matches!(Dense.lower(&mut cx), Err(OpError::Unsupported { .. })));
    }

    #[test]
    fn integer_products_are_read_with_their_zero_points() {
        let node = onnx("MatMulInteger", &[]);
        let a = || Operand::Input(tensor(&[1, 2], [130u8, 1]));
        let b = |v: [u8; 2]| Operand::Constant(tensor(&[2, 1], v));
        let zero = |v: u8| Operand::Constant(Tensor::scalar(v));
        let signed = Operand::Constant(tensor(&[2, 1], [-3i8, 4]));
        assert_eq!(lift_and_eval(&node, 13, &[a(), signed]), Ok(tensor(&[1, 1], [-386i32])));
        let y = lift_and_eval(&node, 13, &[a(), b([125, 132]), Operand::Absent, zero(128)]);
        assert_eq!(y, Ok(tensor(&[1, 1], [-386i32])));
        let y = lift_and_eval(&node, 13, &[a(), b([125, 132]), zero(128), zero(128)]);
        assert_eq!(y, Ok(tensor(&[1, 1], [-3 * 2 + 4 * -127])));
        for (sum, operands) in [
            (130 * -100 + 155, vec![a(), b([0, 255]), Operand::Absent, zero(100)]),
            (127 * -3 - 2 * 4, vec![a(), b([125, 132]), zero(3), zero(128)]),
            (130 * 125 + 132, vec![a(), b([125, 132]), Operand::Input(Tensor::scalar(0u8))]),
        ] {
            assert_eq!(lift_and_eval(&node, 13, &operands), Ok(tensor(&[1, 1], [sum])));
        }
        let each = Operand::Constant(tensor(&[1, 2], [1u8, 2]));
        let operands = [a(), b([125, 132]), Operand::Absent, each];
        assert!(matches!(lift_and_eval(&node, 13, &operands), Err(OpError::Invalid { .. })));
        let integers = [Operand::Input(tensor(&[1, 1], [1i8])), Operand::Input(tensor(&[1, 1], [1i8]))];
        for op_type in ["MatMul", "Gemm"] {
            let error = lift_and_eval(&onnx(op_type, &[]), 13, &integers);
            assert!(matches!(error, Err(OpError::Unsupported { .. })));
        }
    }

    fn gemm(attrs: &[(&str, OnnxAttr)], operands: &[Operand]) -> (String, Result<Tensor, OpError>) {
        let node = onnx("Gemm", attrs);
        let (graph, y) = lift(&node, 13, operands).unwrap();
        let ops: Vec<&str> = graph.order().into_iter().filter_map(|id| graph.node(id).op()).collect();
        assert_eq!(graph.ty(y).shape.rank(), 2);
        (ops.join(" "), lift_and_eval(&node, 13, operands))
    }

    #[test]
    fn gemm_is_dense_with_prepared_operands() {
        let a = || Operand::Input(tensor(&[1, 2], [1.0f32, 2.0]));
        let b = [1.0f32, 10.0, 100.0, 1000.0];
        let constant = |sizes: &[usize], v: &[f32]| Operand::Constant(tensor(sizes, v));
        let int = |v| OnnxAttr::Int(v);
        let float = OnnxAttr::Float;
        // y = [1, 2] * [[1, 10], [100, 1000]] = [201, 2010].
        let (ops, y) = gemm(&[], &[a(), constant(&[2, 2], &b)]);
        assert_eq!((ops.as_str(), y), ("dense", Ok(tensor(&[1, 2], [201.0f32, 2010.0]))));
        // With B transposed: [1 + 20, 100 + 2000].
        let (ops, y) = gemm(&[("transB", int(1))], &[a(), constant(&[2, 2], &b)]);
        assert_eq!((ops.as_str(), y), ("dense", Ok(tensor(&[1, 2], [21.0f32, 2100.0]))));
        let attrs = [("alpha", float(2.0)), ("beta", float(-1.0))];
        let (ops, y) = gemm(&attrs, &[a(), constant(&[2, 2], &b), constant(&[1, 2], &[1.0, 2.0])]);
        assert_eq!((ops.as_str(), y), ("dense", Ok(tensor(&[1, 2], [401.0f32, 4018.0]))));
        let (ops, y) = gemm(&[], &[a(), constant(&[2, 2], &b), constant(&[], &[0.5])]);
        assert_eq!((ops.as_str(), y), ("dense", Ok(tensor(&[1, 2], [201.5f32, 2010.5]))));
        // Nothing constant, and a C per row.
        let operands = [
            Operand::Input(tensor(&[2, 1], [1.0f32, 2.0])),
            Operand::Input(tensor(&[2, 2], b)),
            Operand::Input(tensor(&[1, 1], [3.0f32])),
        ];
        let (ops, y) = gemm(&[("transA", int(1)), ("alpha", float(0.5))], &operands);
        assert_eq!(ops, "transpose transpose mul dense add");
        assert_eq!(y, Ok(tensor(&[1, 2], [103.5f32, 1008.0])));
    }

    proptest! {
        /// Integer products are those of the reals, and so is what they are lowered to.
        #[test]
        fn integer_products_are_exact(
            rows in 0usize..4, depth in 0usize..5, columns in 1usize..4, batch in 1usize..3,
            unsigned in any::<bool>(), seed in any::<u32>(),
        ) {
            let fill = |count: usize, salt: u32| -> Vec<i8> {
                (0..count as u32).map(|i| ((i + salt).wrapping_mul(seed | 1) >> 7) as i8).collect()
            };
            let bytes = |sizes: &[usize], salt| {
                let signed = fill(sizes.iter().product(), salt);
                if unsigned { tensor(sizes, signed.iter().map(|&v| v as u8).collect::<Vec<_>>()) } else { tensor(sizes, signed) }
            };
            let real = |tensor: &Tensor| tensor.cast(DType::F64);
            let (x, w) = (bytes(&[rows, depth], 1), tensor(&[columns, depth], fill(columns * depth, 2)));
            let b = tensor(&[columns], fill(columns, 3)).cast(DType::I32);
            let y = eval("dense", Attrs::new(), &[x.clone(), w.clone(), b.clone()]).unwrap();
            prop_assert_eq!(real(&y), eval("dense", Attrs::new(), &[real(&x), real(&w), real(&b)]).unwrap());
            prop_assert_eq!(read_back("dense", Attrs::new(), &[x, w, b]), y);
            let (a, b) = (bytes(&[batch, rows, depth], 4), tensor(&[depth, columns], fill(depth * columns, 5)));
            let y = eval("matmul", Attrs::new(), &[a.clone(), b.clone()]).unwrap();
            prop_assert_eq!(real(&y), eval("matmul", Attrs::new(), &[real(&a), real(&b)]).unwrap());
            prop_assert_eq!(read_back("matmul", Attrs::new(), &[a, b]), y);
        }

        /// A product with a batch is the product of each of its matrices.
        #[test]
        fn batches_are_independent(
            batch in 1usize..4, rows in 0usize..4, depth in 0usize..4, columns in 1usize..4,
            shared in any::<bool>(), seed in 1u32..1000,
        ) {
            let fill = |count: usize, salt: u32| -> Vec<f32> {
                (0..count as u32).map(|i| ((i + salt).wrapping_mul(seed) % 13) as f32 - 6.0).collect()
            };
            let b_batch = if shared { 1 } else { batch };
            let a = fill(batch * rows * depth, 1);
            let b = fill(b_batch * depth * columns, 2);
            let y = eval("matmul", Attrs::new(), &[
                tensor(&[batch, rows, depth], a.clone()),
                tensor(&[b_batch, depth, columns], b.clone()),
            ]).unwrap();
            let mut parts = Vec::new();
            for i in 0..batch {
                let at = if shared { 0 } else { i };
                let a = tensor(&[rows, depth], &a[i * rows * depth..(i + 1) * rows * depth]);
                let b = tensor(&[depth, columns], &b[at * depth * columns..(at + 1) * depth * columns]);
                parts.extend_from_slice(eval("matmul", Attrs::new(), &[a, b]).unwrap().elements::<f32>().unwrap());
            }
            prop_assert_eq!(y, tensor(&[batch, rows, columns], parts));
        }
    }
}
