//! Operators between storage types: `cast`, `quantize_linear`, `dequantize_linear`.

use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version, dtype_to_onnx, onnx_to_dtype,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::kernels::Float;
use crate::tensor::{DType, Element, Grid, Tensor, TensorType, round};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Cast), Box::new(QuantizeLinear), Box::new(DequantizeLinear)]
}

pub struct Cast;

impl Operator for Cast {
    fn schema(&self) -> Schema {
        Schema::new(
            "cast",
            "`y = x` for each element, stored as `to`: to a float, the nearest value, ties to even; from a float \
             to an integer, truncated toward zero and saturated, NaN becoming 0; from an integer to a \
             narrower one, the low bits; to bool, whether it is not 0.\n\n\
             * C1: x is plain.",
        )
        .operand("x")
        .required_attr("to", AttrKind::DType)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.same_plain("C1", &DType::ALL)?;
        Ok(vec![TensorType::new(call.dtype("to")?, call.ty(0)?.shape.clone())])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![inputs.get(0)?.cast(inputs.call.dtype("to")?)])
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a cast has no counterpart on the device")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let to = OnnxAttr::Int(dtype_to_onnx(cx.call.dtype("to")?));
        Ok(Lowered::Nodes(vec![cx.node("Cast", cx.operand_names.to_vec()).attr("to", to)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let to = element_type(cx, "to")?.ok_or_else(|| cx.invalid("needs `to`"))?;
            Ok(vec![cx.op("cast", Attrs::new().with("to", to), &[x])?])
        }
        fn lift_like(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, to) = (cx.operand(0)?, cx.ty(1)?.storage());
            Ok(vec![cx.op("cast", Attrs::new().with("to", to), &[x])?])
        }
        // Before opset 6 the type was given by name.
        let versions = [
            Version::new(6, 1, &["to"]),
            Version::new(19, 1, &["to", "saturate"]),
            Version::new(24, 1, &["to", "saturate", "round_mode"]),
        ];
        let like = [
            Version::new(15, 2, &[]),
            Version::new(19, 2, &["saturate"]),
            Version::new(24, 2, &["saturate", "round_mode"]),
        ];
        vec![Lift::standard("Cast", versions, lift), Lift::standard("CastLike", like, lift_like)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[4], vec![1.5f32, -1.5, 100.9, 0.0]);
        let bytes = Tensor::new(&[2], vec![200u8, 3]);
        vec![
            Example { attrs: Attrs::new().with("to", DType::I8), operands: vec![x] },
            Example { attrs: Attrs::new().with("to", DType::F32), operands: vec![bytes] },
        ]
    }
}

/// The storage type that an attribute states; `None` if it is absent or 0, ONNX's "undefined".
fn element_type(cx: &LiftCx, name: &str) -> Result<Option<DType>, OpError> {
    match cx.int(name, 0)? {
        0 => Ok(None),
        code => match onnx_to_dtype(code) {
            Some(dtype) => Ok(Some(dtype)),
            None => Err(cx.unsupported(format!("`{name}` of ONNX element type {code}"))),
        },
    }
}

/// Checks scale and zero: one entry, or one per index of `axis`.
fn check_parameters(call: &Call, storage: DType) -> Result<(), OpError> {
    let (x, scale) = (&call.ty(0)?.shape, call.ty(1)?);
    call.require("C2", scale.grid == Grid::F32, || format!("scale is f32, found {}", scale.storage()))?;
    if scale.shape.elements() != Some(1) {
        let axis = call.axis("C3", "axis", x.rank())?;
        call.require("C3", *scale.shape == [x[axis].clone()], || {
            format!("scale has one entry, or [{}] as x on axis {axis}, found {}", x[axis], scale.shape)
        })?;
    }
    if let Some(zero) = call.opt_ty(2) {
        // `[]` and `[1]` are both one entry.
        let alike = zero.shape == scale.shape
            || (zero.shape.elements() == Some(1) && scale.shape.elements() == Some(1));
        call.require("C4", zero.grid == Grid::Plain(storage) && alike, || {
            format!("zero is {storage}{}, found {}{}", scale.shape, zero.storage(), zero.shape)
        })?;
    }
    Ok(())
}

/// The scale and zero of each element in order.
fn parameters<'a>(
    inputs: &Inputs<'a>,
    scale: &'a [f32],
    zero: Option<&'a [i64]>,
) -> Result<impl Iterator<Item = (f32, i64)> + 'a, OpError> {
    let sizes = inputs.get(0)?.sizes();
    let axis = usize::try_from(inputs.call.int("axis")?).unwrap_or(sizes.len());
    // Elements side by side that share a parameter; with one parameter, whatever.
    let run = sizes.get(axis.saturating_add(1)..).map_or(1, |after| after.iter().product::<usize>()).max(1);
    let each = scale.iter().enumerate().map(move |(i, &scale)| {
        let zero = zero.and_then(|zero| zero.get(i)).copied().unwrap_or_default();
        (scale, zero)
    });
    Ok(each.cycle().flat_map(move |parameter| std::iter::repeat_n(parameter, run)))
}

/// The integers of an operand, whatever their storage.
fn integers(tensor: &Tensor) -> Vec<i64> {
    tensor.cast(DType::I64).elements().map(<[i64]>::to_vec).unwrap_or_default()
}

/// `axis` as an attribute; it says nothing where there is one scale, and is left out.
fn lifted_axis(cx: &LiftCx, attrs: Attrs) -> Result<Attrs, OpError> {
    if cx.int("block_size", 0)? != 0 {
        return Err(cx.unsupported("quantization by blocks"));
    }
    // Up to opset 12 there was no axis.
    if cx.opset < 13 || cx.ty(1)?.shape.elements() == Some(1) {
        return Ok(attrs);
    }
    let rank = cx.ty(0)?.shape.rank();
    Ok(attrs.with("axis", cx.axis(cx.int("axis", 1)?, rank, rank)?))
}

fn lower(cx: &LowerCx, op_type: &str) -> Result<Lowered, OpError> {
    let mut node = cx.node(op_type, cx.operand_names.to_vec());
    if cx.call.ty(1)?.shape.elements() != Some(1) {
        node = node.attr("axis", OnnxAttr::Int(cx.call.int("axis")?));
    }
    Ok(Lowered::Nodes(vec![node]))
}

pub struct QuantizeLinear;

const QUANTIZED: [DType; 4] = [DType::I8, DType::U8, DType::I16, DType::U16];

impl Operator for QuantizeLinear {
    fn schema(&self) -> Schema {
        Schema::new(
            "quantize_linear",
            "`y = saturate(round(x / scale) + zero)` for each element, the quotient rounded to f32 and then to \
             the nearest integer, ties to even; scale and zero have one entry, or one per index of `axis` of \
             x. y is stored as zero is. NaN becomes the smallest value.\n\n\
             * C1: x is plain f32.\n\
             * C2: scale is plain f32.\n\
             * C3: scale has one entry, or one axis of the size of x on `axis`, an axis of x.\n\
             * C4: zero is plain i8, u8, i16 or u16, and has the shape of scale (one entry is `[]` or `[1]`).",
        )
        .operand("x")
        .operand("scale")
        .operand("zero")
        .attr("axis", 1i64)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (x, storage) = (call.ty(0)?, call.ty(2)?.storage());
        call.require("C1", x.grid == Grid::F32, || format!("x is plain f32, found {}", x.storage()))?;
        call.require("C4", QUANTIZED.contains(&storage), || {
            format!("zero is i8, u8, i16 or u16, found {storage}")
        })?;
        check_parameters(call, storage)?;
        Ok(vec![TensorType::new(storage, x.shape.clone())])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(inputs: &Inputs, narrow: impl Fn(i64) -> T) -> Result<Vec<Tensor>, OpError> {
            let zero = integers(inputs.get(2)?);
            let (x, scale) = (inputs.elements::<f32>(0)?, inputs.elements::<f32>(1)?);
            // Every storage of `zero` has a range that fits i64.
            let (lowest, highest) = T::DTYPE.integer_range().unwrap_or_default();
            let range = (lowest as i64, highest as i64);
            let parameters = parameters(inputs, scale, Some(&zero))?;
            let y = x
                .iter()
                .zip(parameters)
                .map(|(&x, (scale, zero))| narrow(round::quantize_linear(x, scale, zero, range)));
            inputs.call.result(inputs.get(0)?.sizes(), y.collect())
        }
        // The casts keep what is in range of the type, as rounding has seen to.
        match inputs.get(2)?.dtype() {
            DType::I8 => go(inputs, |v| v as i8),
            DType::U8 => go(inputs, |v| v as u8),
            DType::I16 => go(inputs, |v| v as i16),
            DType::U16 => go(inputs, |v| v as u16),
            other => Err(inputs.call.unsupported(format!("storage {other}"))),
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device quantizes only the network's input")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower(cx, "QuantizeLinear")
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, scale) = (cx.operand(0)?, cx.operand(1)?);
            if element_type(cx, "precision")?.is_some_and(|dtype| dtype != DType::F32) {
                return Err(cx.unsupported("`precision` other than f32"));
            }
            let stated = element_type(cx, "output_dtype")?;
            let zero = match cx.opt_operand(2) {
                Some(zero) => zero,
                None => {
                    let sizes = match (cx.constant(1), cx.ty(1)?.shape.elements()) {
                        (Some(scale), _) => scale.sizes().to_vec(),
                        (None, Some(1)) => cx.ty(1)?.shape.sizes().unwrap_or_default(),
                        (None, _) => {
                            return Err(cx.unsupported("an absent zero point beside scales that vary"));
                        }
                    };
                    let zeros = Tensor::new(&sizes, vec![0u8; sizes.iter().product()]);
                    let zeros = zeros.ok_or_else(|| cx.unsupported("a scale of this size"))?;
                    cx.add_const("zero", zeros.cast(stated.unwrap_or(DType::U8)))
                }
            };
            let attrs = lifted_axis(cx, Attrs::new())?;
            Ok(vec![cx.op("quantize_linear", attrs, &[x, scale, zero])?])
        }
        let versions = [
            Version::new(10, 3, &[]),
            Version::new(13, 3, &["axis"]),
            Version::new(19, 3, &["axis", "saturate"]),
            Version::new(21, 3, &["axis", "saturate", "block_size", "output_dtype"]),
            Version::new(23, 3, &["axis", "saturate", "block_size", "output_dtype", "precision"]),
        ];
        vec![
            Lift::standard("QuantizeLinear", versions, lift),
            Lift::standard("DynamicQuantizeLinear", [Version::new(11, 1, &[])], lift_dynamic),
        ]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 2], vec![0.5f32, 1.5, -100.0, 2.4]);
        let per_axis = vec![x.clone(), Tensor::new(&[2], vec![1.0f32, 0.5]), Tensor::new(&[2], vec![0i8, 3])];
        vec![
            Example {
                attrs: Attrs::new(),
                operands: vec![x, Some(Tensor::scalar(1.0f32)), Some(Tensor::scalar(128u8))],
            },
            Example { attrs: Attrs::new(), operands: per_axis },
        ]
    }
}

/// A scale from the extremes of x and of 0, so that these are 0 and 255.
fn lift_dynamic(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let none = Attrs::new;
    // Ranks are small: they count the entries of a list in memory.
    let axes: Vec<i64> = (0..cx.ty(0)?.shape.rank() as i64).collect();
    let all = || none().with("axes", axes.clone()).with("keepdims", false);
    let (zero, steps) = (cx.number_like(0, "zero", 0.0)?, cx.number_like(0, "steps", 255.0)?);
    let lowest = cx.step("lowest", "reduce_min", all(), &[x])?;
    let lowest = cx.step("low", "min", none(), &[lowest, zero])?;
    let highest = cx.step("highest", "reduce_max", all(), &[x])?;
    let highest = cx.step("high", "max", none(), &[highest, zero])?;
    let width = cx.step("width", "sub", none(), &[highest, lowest])?;
    let scale = cx.step("scale", "div", none(), &[width, steps])?;
    let below = cx.step("below", "sub", none(), &[zero, lowest])?;
    let place = cx.step("place", "div", none(), &[below, scale])?;
    let place = cx.step("clipped", "clip", none().with("min", 0.0).with("max", 255.0), &[place])?;
    let place = cx.step("rounded", "round", none(), &[place])?;
    let zero_point = cx.step("zero_point", "cast", none().with("to", DType::U8), &[place])?;
    let y = cx.op("quantize_linear", none(), &[x, scale, zero_point])?;
    Ok(vec![y, scale, zero_point])
}

pub struct DequantizeLinear;

impl Operator for DequantizeLinear {
    fn schema(&self) -> Schema {
        Schema::new(
            "dequantize_linear",
            "`y = (x - zero) * scale` for each element, the difference exact, then rounded to f32, then \
             multiplied; scale and zero (0 if absent) have one entry, or one per index of `axis` of x.\n\n\
             * C1: x is plain i8, u8, i16, u16 or i32.\n\
             * C2: scale is plain f32.\n\
             * C3: scale has one entry, or one axis of the size of x on `axis`, an axis of x.\n\
             * C4: zero is plain, stored as x is, and has the shape of scale (one entry is `[]` or `[1]`).",
        )
        .operand("x")
        .operand("scale")
        .optional("zero")
        .attr("axis", 1i64)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let storage = x.storage();
        let known = storage == DType::I32 || QUANTIZED.contains(&storage);
        call.require("C1", known && x.grid == Grid::Plain(storage), || {
            format!("x is plain i8, u8, i16, u16 or i32, found {storage}")
        })?;
        check_parameters(call, storage)?;
        Ok(vec![TensorType::new(DType::F32, x.shape.clone())])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let (x, zero) = (integers(inputs.get(0)?), inputs.opt(2).map(integers));
        let parameters = parameters(inputs, inputs.elements::<f32>(1)?, zero.as_deref())?;
        let y = x.iter().zip(parameters).map(|(&x, (scale, zero))| ((x - zero) as f32 * scale).canonical());
        inputs.call.result(inputs.get(0)?.sizes(), y.collect())
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device gives integers; Dequantizer makes reals of them")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower(cx, "DequantizeLinear")
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, scale) = (cx.operand(0)?, cx.operand(1)?);
            if element_type(cx, "output_dtype")?.is_some_and(|dtype| dtype != DType::F32) {
                return Err(cx.unsupported("`output_dtype` other than f32"));
            }
            let attrs = lifted_axis(cx, Attrs::new())?;
            Ok(vec![cx.op_with("dequantize_linear", attrs, vec![Some(x), Some(scale), cx.opt_operand(2)])?])
        }
        vec![Lift::standard(
            "DequantizeLinear",
            [
                Version::new(10, 3, &[]),
                Version::new(13, 3, &["axis"]),
                Version::new(21, 3, &["axis", "block_size"]),
                Version::new(23, 3, &["axis", "block_size", "output_dtype"]),
            ],
            lift,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 2], vec![-128i8, 0, 5, 127]);
        let per_axis = vec![x.clone(), Tensor::new(&[2], vec![1.0f32, 0.5]), Tensor::new(&[2], vec![0i8, 3])];
        vec![
            Example { attrs: Attrs::new(), operands: vec![x, Some(Tensor::scalar(0.25f32))] },
            Example { attrs: Attrs::new(), operands: per_axis },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let none = Attrs::new;
        assert_eq!(broken(infer("cast", none().with("to", DType::F32), &[quantized("i8[1, 2]", 1)])), "C1");
        check_labels(
            "quantize_linear",
            &[
                ("C1", none(), &["f64[2, 3]", "f32[]", "i8[]"]),
                ("C2", none(), &["f32[2, 3]", "f64[]", "i8[]"]),
                ("C3", none(), &["f32[2, 3]", "f32[2]", "i8[2]"]),
                ("C3", none().with("axis", 2), &["f32[2, 3]", "f32[2]", "i8[2]"]),
                ("C4", none(), &["f32[2, 3]", "f32[]", "i32[]"]),
                ("C4", none(), &["f32[2, 3]", "f32[3]", "i8[]"]),
            ],
        );
        check_labels(
            "dequantize_linear",
            &[
                ("C1", none(), &["i64[2, 3]", "f32[]"]),
                ("C2", none(), &["i8[2, 3]", "f64[]"]),
                ("C3", none(), &["i8[2, 3]", "f32[2]"]),
                ("C4", none(), &["i8[2, 3]", "f32[]", "u8[]"]),
            ],
        );
        assert_eq!(shape("cast", none().with("to", DType::I8), &["f32[N, 3]"]), "i8[N, 3]");
        assert_eq!(shape("quantize_linear", none(), &["f32[N, 3]", "f32[3]", "u16[3]"]), "u16[N, 3]");
        assert_eq!(shape("dequantize_linear", none(), &["i32[N, 3]", "f32[]"]), "f32[N, 3]");
    }

    #[test]
    fn ties_go_to_the_even_integer_before_the_zero_is_added() {
        let x = tensor(&[6], [0.5f32, 1.5, 2.5, -0.5, 1000.0, f32::NAN]);
        let (scale, zero) = (Tensor::scalar(1.0f32), Tensor::scalar(1i8));
        let y = eval("quantize_linear", Attrs::new(), &[x, scale, zero]);
        assert_eq!(y, Ok(tensor(&[6], [1i8, 3, 3, 1, 127, -128])));
    }

    #[test]
    fn each_index_of_the_axis_has_its_scale() {
        let x = tensor(&[1, 2, 2], [1.0f32, 2.0, 1.0, 2.0]);
        let (scale, zero) = (tensor(&[2], [1.0f32, 0.25]), tensor(&[2], [0u8, 10]));
        let y = eval("quantize_linear", Attrs::new(), &[x.clone(), scale.clone(), zero.clone()]).unwrap();
        assert_eq!(y, tensor(&[1, 2, 2], [1u8, 2, 14, 18]));
        assert_eq!(eval("dequantize_linear", Attrs::new(), &[y, scale.clone(), zero.clone()]), Ok(x.clone()));
        let last = Attrs::new().with("axis", 2);
        assert_eq!(
            eval("quantize_linear", last, &[x, scale, zero]),
            Ok(tensor(&[1, 2, 2], [1u8, 18, 1, 18]))
        );
    }

    #[test]
    fn dequantized_differences_are_exact() {
        let one = |v: i32| Tensor::scalar(v);
        let y =
            eval("dequantize_linear", Attrs::new(), &[one(i32::MAX), Tensor::scalar(0.5f32), one(i32::MIN)]);
        assert_eq!(y, Ok(Tensor::scalar(2147483648.0f32)));
    }

    #[test]
    fn an_absent_zero_is_an_unsigned_byte() {
        let x = || Operand::Input(tensor(&[2], [3.0f32, -3.0]));
        let scale = || Operand::Constant(Tensor::scalar(1.0f32));
        let y = lift_and_eval(&onnx("QuantizeLinear", &[]), 13, &[x(), scale()]);
        assert_eq!(y, Ok(tensor(&[2], [3u8, 0])));
        let node = onnx("QuantizeLinear", &[("output_dtype", OnnxAttr::Int(5))]);
        assert_eq!(lift_and_eval(&node, 21, &[x(), scale()]), Ok(tensor(&[2], [3i16, -3])));
        for attr in [("block_size", OnnxAttr::Int(2)), ("precision", OnnxAttr::Int(10))] {
            let node = onnx("QuantizeLinear", &[attr]);
            assert!(matches!(lift(&node, 23, &[x(), scale()]), Err(OpError::Unsupported { .. })));
        }
    }

    #[test]
    fn casts_to_types_without_storage_are_refused() {
        let node = |to| onnx("Cast", &[("to", OnnxAttr::Int(to))]);
        let x = || [Operand::Input(tensor(&[2], [1.5f32, -1.5]))];
        assert_eq!(lift_and_eval(&node(6), 13, &x()), Ok(tensor(&[2], [1i32, -1])));
        assert!(matches!(lift(&node(10), 13, &x()), Err(OpError::Unsupported { .. })));
        assert!(matches!(lift(&onnx("Cast", &[]), 13, &x()), Err(OpError::Invalid { .. })));
    }
}
