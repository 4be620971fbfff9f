//! Sizes as numbers, and tensors made of sizes: `shape`; ONNX's Shape, Size, ConstantOfShape, Range and EyeLike
//! become constants where the sizes are known.

use super::stretch::Open;
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version, onnx_to_dtype,
};
use crate::ir::{Attrs, ValueId};
use crate::kernels::Float;
use crate::tensor::{DType, Dim, Element, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(ShapeOp)]
}

pub struct ShapeOp;

impl Operator for ShapeOp {
    fn schema(&self) -> Schema {
        Schema::new("shape", "`y = [d0, d1, …]`, the sizes of x `[d0, d1, …]`, as i64.").operand("x")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![TensorType::new(DType::I64, vec![Dim::Fixed(call.ty(0)?.shape.rank())])])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        // Sizes in memory.
        Ok(vec![Tensor::vector(inputs.get(0)?.sizes().iter().map(|&size| size as i64).collect())])
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not compute with sizes")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("Shape", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![
            Lift::standard(
                "Shape",
                [Version::new(1, 1, &[]), Version::new(15, 1, &["start", "end"])],
                lift_shape,
            ),
            Lift::standard("Size", [Version::new(1, 1, &[])], lift_size),
            Lift::standard("ConstantOfShape", [Version::new(9, 1, &["value"])], lift_constant),
            Lift::standard(
                "Range",
                [Version::new(11, 3, &[]), Version::new(27, 3, &["stash_type"])],
                lift_range,
            ),
            Lift::standard("EyeLike", [Version::new(9, 1, &["dtype", "k"])], lift_eye),
        ]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3], (0..6u8).map(f32::from).collect());
        vec![Example { attrs: Attrs::new(), operands: vec![x] }]
    }
}

/// A constant of a node that has known results only.
fn constant(cx: &mut LiftCx, tensor: Tensor) -> Result<Vec<ValueId>, OpError> {
    Ok(vec![cx.add_const("value", tensor)])
}

fn lift_shape(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let shape = cx.ty(0)?.shape.clone();
    // Ranks are small: they count the entries of a list in memory.
    let rank = shape.rank() as i64;
    let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank);
    let (start, end) = (clamp(cx.int("start", 0)?), clamp(cx.int("end", rank)?));
    let taken: Vec<Dim> = shape.iter().take(end as usize).skip(start as usize).cloned().collect();
    let known: Option<Vec<i64>> =
        taken.iter().map(|dim| dim.fixed().and_then(|size| i64::try_from(size).ok())).collect();
    if let Some(sizes) = known {
        return constant(cx, Tensor::vector(sizes));
    }
    if taken.len() == shape.rank() {
        return Ok(vec![cx.op("shape", Attrs::new(), &[x])?]);
    }
    let all = cx.step("all", "shape", Attrs::new(), &[x])?;
    let attrs = Attrs::new()
        .with("axes", vec![0])
        .with("starts", vec![start])
        .with("sizes", vec![taken.len() as i64])
        .with("steps", vec![1]);
    Ok(vec![cx.op("slice", attrs, &[all])?])
}

fn lift_size(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    if let Some(size) = cx.ty(0)?.shape.elements().and_then(|size| i64::try_from(size).ok()) {
        return constant(cx, Tensor::scalar(size));
    }
    let sizes = cx.step("sizes", "shape", Attrs::new(), &[x])?;
    let attrs = Attrs::new().with("axes", vec![0]).with("keepdims", false);
    Ok(vec![cx.op("reduce_prod", attrs, &[sizes])?])
}

/// A list of sizes for a tensor that is made while the file is read, and how many elements that is.
fn sizes_and_count(cx: &LiftCx, ints: &[i64]) -> Result<(Vec<usize>, usize), OpError> {
    let sizes: Option<Vec<usize>> = ints.iter().map(|&size| usize::try_from(size).ok()).collect();
    let sizes = sizes.ok_or_else(|| cx.invalid(format!("sizes are not negative, found {ints:?}")))?;
    let count = sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    let count = count.filter(|&count| count <= MAX_MADE);
    let too_large = || cx.unsupported(format!("a constant of sizes {sizes:?}"));
    Ok((sizes.clone(), count.ok_or_else(too_large)?))
}

/// Elements of a constant that a file asks for in a few bytes.
const MAX_MADE: usize = 1 << 28;

fn lift_constant(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (ints, open) = match cx.constant_ints(0, "input") {
        Ok(ints) => (ints.ok_or_else(|| cx.invalid("needs the sizes"))?, None),
        Err(error) => {
            let open = Open::of(cx, 0).ok_or_else(|| error.clone())?;
            (open.sizes.clone(), Some((open, error)))
        }
    };
    let (sizes, count) = sizes_and_count(cx, &ints)?;
    let value = match cx.node.attrs.get("value") {
        None => Tensor::scalar(0.0f32),
        Some(OnnxAttr::Tensor(value)) if value.len() == 1 => value.clone(),
        Some(_) => return Err(cx.invalid("`value` is a tensor of one element")),
    };
    fn filled<T: Element>(value: &[T], sizes: &[usize], count: usize) -> Option<Tensor> {
        Tensor::new(sizes, vec![*value.first()?; count])
    }
    let made = crate::tensor::dispatch!(&value, array => {
        array.as_slice().and_then(|value| filled(value, &sizes, count))
    });
    let made = made.ok_or_else(|| cx.unsupported(format!("a constant of sizes {sizes:?}")))?;
    match open {
        Some((open, error)) => Ok(vec![open.stretched(cx, made)?.ok_or(error)?]),
        None => constant(cx, made),
    }
}

/// `start + i * delta` for as many i as stay before the limit.
fn lift_range(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let storage = cx.ty(0)?.storage();
    let mut numbers = Vec::new();
    for (position, name) in ["start", "limit", "delta"].into_iter().enumerate() {
        cx.operand(position)?;
        let tensor = cx.constant(position).filter(|tensor| tensor.len() == 1 && tensor.dtype() == storage);
        numbers.push(tensor.ok_or_else(|| cx.not_constant(format!("`{name}` that is not a constant")))?);
    }
    let element =
        |tensor: &Tensor| tensor.cast(DType::I64).elements::<i64>().and_then(|v| v.first().copied());
    let real = |tensor: &Tensor| tensor.cast(DType::F64).elements::<f64>().and_then(|v| v.first().copied());
    let too_long = || cx.unsupported("a range of this length");
    let made = match storage {
        DType::F32 | DType::F64 => {
            let all: Option<Vec<f64>> = numbers.iter().map(|tensor| real(tensor)).collect();
            let &[start, limit, delta] = all.as_deref().unwrap_or_default() else { return Err(too_long()) };
            let count = libm::ceil((limit - start) / delta);
            if count.is_nan() || count > MAX_MADE as f64 {
                return Err(too_long());
            }
            // In the storage of the operands, one rounding a step.
            let wide = |i: usize| start + i as f64 * delta;
            let narrow = |i: usize| (start as f32 + i as f32 * delta as f32).canonical();
            // Below zero it saturates to none.
            let count = count as usize;
            if storage == DType::F64 {
                Tensor::vector((0..count).map(|i| wide(i).canonical()).collect::<Vec<f64>>())
            } else {
                Tensor::vector((0..count).map(narrow).collect::<Vec<f32>>())
            }
        }
        DType::I16 | DType::I32 | DType::I64 => {
            let all: Option<Vec<i64>> = numbers.iter().map(|tensor| element(tensor)).collect();
            let &[start, limit, delta] = all.as_deref().unwrap_or_default() else { return Err(too_long()) };
            if delta == 0 {
                return Err(cx.invalid("delta is not 0"));
            }
            let (start, room) = (i128::from(start), i128::from(limit) - i128::from(start));
            let delta = i128::from(delta);
            let count = if (room > 0) == (delta > 0) { room.abs().div_euclid(delta.abs()) } else { 0 };
            let count = count + i128::from((room > 0) == (delta > 0) && room % delta != 0);
            if count > MAX_MADE as i128 {
                return Err(too_long());
            }
            // Every element lies between start and limit, which are of the storage.
            let list = (0..count).map(|i| (start + i * delta) as i64).collect::<Vec<i64>>();
            Tensor::vector(list).cast(storage)
        }
        other => return Err(cx.unsupported(format!("a range stored as {other}"))),
    };
    constant(cx, made)
}

fn lift_eye(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let ty = cx.ty(0)?;
    let sizes = ty.shape.iter().map(|dim| Ok(i64::try_from(cx.known(dim)?).unwrap_or(i64::MAX)));
    let sizes: Vec<i64> = sizes.collect::<Result<_, OpError>>()?;
    let &[_, columns] = sizes.as_slice() else {
        return Err(cx.invalid("is about a matrix"));
    };
    let dtype = match cx.opt_int("dtype")? {
        None => ty.storage(),
        Some(code) => onnx_to_dtype(code)
            .ok_or_else(|| cx.unsupported(format!("`dtype` of ONNX element type {code}")))?,
    };
    let (sizes, count) = sizes_and_count(cx, &sizes)?;
    let k = i128::from(cx.int("k", 0)?);
    let on = |at: usize| {
        let (row, column) = (at as i128 / i128::from(columns), at as i128 % i128::from(columns));
        u8::from(column - row == k)
    };
    let made = Tensor::new(&sizes, (0..count).map(on).collect());
    let made = made.ok_or_else(|| cx.unsupported(format!("a constant of sizes {sizes:?}")))?;
    constant(cx, made.cast(dtype))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn sizes_are_constants_where_they_are_known() {
        check_labels("shape", &[]);
        let x = |text: &str| [Operand::Typed(ty(text))];
        let sizes = |text: &str, attrs: &[(&str, OnnxAttr)]| {
            let (graph, y) = lift(&onnx("Shape", attrs), 15, &x(text)).unwrap();
            graph.constant(y).map(|tensor| tensor.elements::<i64>().unwrap().to_vec())
        };
        let (start, end) = (("start", OnnxAttr::Int(1)), ("end", OnnxAttr::Int(-1)));
        assert_eq!(sizes("f32[2, 3, 4]", &[]), Some(vec![2, 3, 4]));
        assert_eq!(sizes("f32[N, 3, 4]", std::slice::from_ref(&start)), Some(vec![3, 4]));
        assert_eq!(sizes("f32[N, 3, 4]", &[start, end]), Some(vec![3]));
        assert_eq!(sizes("f32[N, 3, 4]", &[]), None);
        assert_eq!(shape("shape", Attrs::new(), &["u8[N, 3]"]), "i64[2]");
        let x = tensor(&[2, 3], [1u8, 2, 3, 4, 5, 6]);
        assert_eq!(eval("shape", Attrs::new(), std::slice::from_ref(&x)), Ok(tensor(&[2], [2i64, 3])));
        assert_eq!(read_back("shape", Attrs::new(), std::slice::from_ref(&x)), tensor(&[2], [2i64, 3]));
        let (graph, y) = lift(&onnx("Size", &[]), 13, &[Operand::Typed(ty("u8[N, 3]"))]).unwrap();
        assert_eq!(eval_graph(&graph, [x], y), Ok(Tensor::scalar(6i64)));
    }

    #[test]
    fn tensors_of_sizes_are_made_when_read() {
        let made = |op: &str, attrs: &[(&str, OnnxAttr)], operands: &[Operand]| -> Result<Tensor, OpError> {
            let (graph, y) = lift(&onnx(op, attrs), 13, operands)?;
            Ok((**graph.constant(y).unwrap()).clone())
        };
        let list = |list: &[i64]| Operand::Constant(Tensor::vector(list.to_vec()));
        let value = [("value", OnnxAttr::Tensor(tensor(&[1], [7u8])))];
        assert_eq!(made("ConstantOfShape", &value, &[list(&[2, 1])]), Ok(tensor(&[2, 1], [7u8, 7])));
        assert_eq!(made("ConstantOfShape", &[], &[list(&[])]), Ok(Tensor::scalar(0.0f32)));
        for sizes in [&[-1i64][..], &[1 << 40, 1 << 40]] {
            assert!(made("ConstantOfShape", &[], &[list(sizes)]).is_err());
        }
        let range = |start: i64, limit: i64, delta: i64| {
            let number = |v: i64| Operand::Constant(Tensor::scalar(v));
            made("Range", &[], &[number(start), number(limit), number(delta)])
        };
        assert_eq!(range(1, 8, 3), Ok(tensor(&[3], [1i64, 4, 7])));
        assert_eq!(range(5, -1, -2), Ok(tensor(&[3], [5i64, 3, 1])));
        assert_eq!(range(5, 9, -2), Ok(tensor::<i64>(&[0], [])));
        assert_eq!(range(i64::MIN, i64::MAX, i64::MAX), Ok(tensor(&[3], [i64::MIN, -1, i64::MAX - 1])));
        assert!(range(0, 1, 0).is_err() && range(0, i64::MAX, 1).is_err());
        let number = |v: f32| Operand::Constant(Tensor::scalar(v));
        let floats = made("Range", &[], &[number(1.0), number(2.1), number(0.5)]);
        assert_eq!(floats, Ok(tensor(&[3], [1.0f32, 1.5, 2.0])));
        assert!(made("Range", &[], &[number(0.0), number(f32::NAN), number(1.0)]).is_err());
        let eye = made("EyeLike", &[("k", OnnxAttr::Int(1))], &[Operand::Typed(ty("i8[2, 3]"))]);
        assert_eq!(eye, Ok(tensor(&[2, 3], [0i8, 1, 0, 0, 0, 1])));
    }
}
