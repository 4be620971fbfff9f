//! Products of matrices: `dense`, `matmul`.

use ndarray::IxDyn;

use super::number::Real;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::kernels::{self, Float};
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

impl Operator for Dense {
    fn schema(&self) -> Schema {
        Schema::new(
            "dense",
            "`y[n, f] = sum over i of x[n, i] * w[f, i] + b[f]` for x `[N, I]`, w `[F, I]`, b `[F]` and y `[N, F]`. \
             The sum is `fma` in the order of i from 0, then b is added.\n\n\
             * C1: x, w and b are plain and stored alike, as f32 or f64.\n\
             * C2: x and w have 2 axes.\n\
             * C3: x and w have the same I.\n\
             * C4: b has the one axis F.",
        )
        .operand("x")
        .operand("w")
        .optional("b")
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        let (_, filters) = Self::features(call)?;
        if let Some(b) = call.opt_ty(2) {
            call.require("C4", b.shape.sizes() == Some(vec![filters]), || {
                format!("b has shape [{filters}], found {}", b.shape)
            })?;
        }
        Ok(vec![TensorType::new(storage, vec![call.ty(0)?.shape[0].clone(), filters.into()])])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a dense product runs on the device as a layer: it was not fused into one")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("Gemm", cx.operand_names.to_vec()).attr("transB", OnnxAttr::Int(1))]))
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
        ]
    }
}

/// `alpha * A' * B' + beta * C` as `dense`: the factors and the transposition go into operands,
/// computed now where those are constant.
fn lift_gemm(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
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
    fn go<T: Element>(array: &Array<T>, count: usize) -> Option<Tensor> {
        // Rows of more than one kind, or more axes than the result, do not broadcast to one row.
        let row = array.broadcast(IxDyn(&[1, count]))?;
        Some(Tensor::vector(row.iter().copied().collect()))
    }
    let graph = &cx.builder.graph;
    // Two axes: checked of every operand of a Gemm.
    if *graph.ty(value).shape == graph.ty(w).shape[..1] {
        return Some(value);
    }
    // Of constant weights as many filters are in memory, so the bias may be too.
    let filters = *graph.constant(w)?.sizes().first()?;
    let bias = dispatch!(&**graph.constant(value)?, array => go(array, filters))?;
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

    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let call = &inputs.call;
        let sizes = Self::sizes(call)?;
        let (rows, depth, columns) =
            (call.known(&sizes.rows)?, call.known(&sizes.depth)?, call.known(&sizes.columns)?);
        let batch = sizes.batch.sizes().unwrap_or_default();
        let result = Self::result_shape(&sizes).sizes().unwrap_or_default();
        let mut y = call.filled(&result, T::default())?;
        let (a, b) = (inputs.elements::<T>(0)?, inputs.elements::<T>(1)?);
        if let Some(y) = y.as_slice_mut().filter(|y| !y.is_empty()) {
            let a_starts = matrix_starts(&batch, inputs.get(0)?.sizes());
            let b_starts = matrix_starts(&batch, inputs.get(1)?.sizes());
            for (y, (a_start, b_start)) in
                y.chunks_mut(rows * columns).zip(a_starts.into_iter().zip(b_starts))
            {
                let a = a.get(a_start..a_start + rows * depth).unwrap_or_default();
                let b = b.get(b_start..b_start + depth * columns).unwrap_or_default();
                y.copy_from_slice(&call.kernel(kernels::matmul(rows, depth, columns, a, b))?);
            }
        }
        Ok(vec![T::wrap(y.into_shared())])
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
            "`y[…, i, j] = sum over k of a[…, i, k] * b[…, k, j]`, `fma` in the order of k from 0. Axes before \
             the last two are a batch and broadcast. An operand with one axis is a row (a) or a column (b), \
             and y lacks the axis that it does.\n\n\
             * C1: a and b are plain and stored alike, as f32 or f64.\n\
             * C2: a and b have at least one axis.\n\
             * C3: a and b have the same k.\n\
             * C4: the batch axes broadcast.",
        )
        .operand("a")
        .operand("b")
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        Ok(vec![TensorType::new(storage, Self::result_shape(&Self::sizes(call)?))])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a matrix product runs on the device only as a dense layer, with constant weights")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("MatMul", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (a, b) = (cx.operand(0)?, cx.operand(1)?);
            Ok(vec![cx.op("matmul", Attrs::new(), &[a, b])?])
        }
        vec![Lift::standard("MatMul", [Version::new(1, 2, &[])], lift)]
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
