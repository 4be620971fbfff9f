//! Element-wise operators of one operand that bound it: `relu`, `clip`.

use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OpError, Operator, Quantize, Schema,
    Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{DType, Element, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Relu), Box::new(Clip)]
}

/// The result type of an operator that keeps shape and storage.
pub(super) fn same(call: &Call, allowed: &[DType]) -> Result<Vec<TensorType>, OpError> {
    call.same_plain("C1", allowed)?;
    Ok(vec![call.ty(0)?.clone()])
}

/// Applies `f` to every element; the result has the operand's sizes.
pub(super) fn map<T: Element>(inputs: &Inputs, f: impl Fn(T) -> T) -> Result<Vec<Tensor>, OpError> {
    let elements = inputs.elements::<T>(0)?.iter().map(|&v| f(v)).collect();
    inputs.call.result(inputs.get(0)?.sizes(), elements)
}

pub struct Relu;

impl Operator for Relu {
    fn schema(&self) -> Schema {
        Schema::new(
            "relu",
            "`y = max(x, 0)` for each element; NaN stays NaN.\n\n\
             * C1: x is plain f32, f64, i8, i16, i32 or i64.",
        )
        .operand("x")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        same(call, &[DType::F32, DType::F64, DType::I8, DType::I16, DType::I32, DType::I64])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        /// The default of every number type is its zero.
        fn relu<T: Element>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
            map::<T>(inputs, |v| if v < T::default() { T::default() } else { v })
        }
        match inputs.get(0)?.dtype() {
            DType::I8 => relu::<i8>(inputs),
            DType::I16 => relu::<i16>(inputs),
            DType::I32 => relu::<i32>(inputs),
            DType::I64 => relu::<i64>(inputs),
            other => for_float!(inputs.call, other, T => relu::<T>(inputs)),
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a relu runs on the device only as part of a layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("Relu", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            Ok(vec![cx.op("relu", Attrs::new(), &[x])?])
        }
        vec![Lift::standard("Relu", [Version::new(6, 1, &[])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 1, 2], vec![-1.5f32, 0.0, 2.0, -0.0]);
        let integers = Tensor::new(&[3], vec![-128i8, 0, 127]);
        vec![
            Example { attrs: Attrs::new(), operands: vec![x] },
            Example { attrs: Attrs::new(), operands: vec![integers] },
        ]
    }
}

pub struct Clip;

impl Clip {
    /// The bounds for integers; where there is none, the end of the storage.
    fn integer_bounds(call: &Call, storage: DType) -> Result<[i64; 2], OpError> {
        // Every storage that is clipped is within i64.
        let (lowest, highest) = storage.integer_range().unwrap_or_default();
        let bound = |attr: &str, absent: f32, end: i128| {
            let bound = call.float(attr)?;
            let fits = bound == bound.trunc() && (lowest..=highest).contains(&(bound as i128));
            call.require("C3", bound == absent || fits, || {
                format!("`{attr}` is {bound}, which is neither infinite nor an element of {storage}")
            })?;
            Ok(if bound == absent { end } else { bound as i128 } as i64)
        };
        Ok([bound("min", f32::NEG_INFINITY, lowest)?, bound("max", f32::INFINITY, highest)?])
    }
}

impl Operator for Clip {
    fn schema(&self) -> Schema {
        Schema::new(
            "clip",
            "`y = min(max(x, min), max)` for each element; NaN stays NaN. Without bounds it changes nothing.\n\n\
             * C1: x is plain f32, f64, i8, u8, i32 or i64.\n\
             * C2: min <= max.\n\
             * C3: for integers, a bound is infinite or an integer that the storage has.",
        )
        .operand("x")
        .attr("min", f32::NEG_INFINITY)
        .attr("max", f32::INFINITY)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (min, max) = (call.float("min")?, call.float("max")?);
        call.require("C2", min <= max, || format!("min <= max, found {min} and {max}"))?;
        let types = same(call, &[DType::F32, DType::F64, DType::I8, DType::U8, DType::I32, DType::I64])?;
        let storage = call.ty(0)?.storage();
        if storage.is_integer() {
            Self::integer_bounds(call, storage)?;
        }
        Ok(types)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let storage = inputs.get(0)?.dtype();
        if storage.is_integer() {
            let [min, max] = Self::integer_bounds(&inputs.call, storage)?;
            let Tensor::I64(x) = inputs.get(0)?.cast(DType::I64) else {
                return Err(inputs.call.unsupported(format!("storage {storage}")));
            };
            return Ok(vec![i64::wrap(x.mapv(|v| v.max(min).min(max)).into_shared()).cast(storage)]);
        }
        let (min, max) = (inputs.call.float("min")?, inputs.call.float("max")?);
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => {
            let (min, max) = (T::from(min), T::from(max));
            map::<T>(inputs, |v| {
                if v < min {
                    min
                } else if v > max {
                    max
                } else {
                    v
                }
            })
        })
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a clip runs on the device only as part of a layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let mut inputs = cx.operand_names.to_vec();
        let storage = cx.call.ty(0)?.storage();
        for (attr, absent) in [("min", f32::NEG_INFINITY), ("max", f32::INFINITY)] {
            let bound = cx.call.float(attr)?;
            inputs.push(if bound == absent {
                String::new()
            } else {
                cx.initializer(attr, Tensor::scalar(bound).cast(storage))
            });
        }
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        Ok(Lowered::Nodes(vec![cx.node("Clip", inputs)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let mut attrs = Attrs::new();
            let varies = |position| cx.opt_operand(position).is_some() && cx.constant(position).is_none();
            if cx.opset >= 11 && (varies(1) || varies(2) || crossed(cx)) {
                return lift_between(cx);
            }
            for (position, name) in [(1, "min"), (2, "max")] {
                let bound = if cx.opset < 11 { cx.opt_float(name)? } else { clip_bound(cx, position, name)? };
                if let Some(bound) = bound {
                    attrs.set(name, bound);
                }
            }
            Ok(vec![cx.op("clip", attrs, &[x])?])
        }
        vec![Lift::standard("Clip", [Version::new(6, 1, &["max", "min"]), Version::new(11, 3, &[])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3], vec![-1.5f32, 0.0, 2.0, 6.0, 7.5, 3.0]);
        let attrs = Attrs::new().with("min", 0.0).with("max", 6.0);
        vec![
            Example { attrs, operands: vec![x.clone()] },
            Example { attrs: Attrs::new().with("min", 0.5), operands: vec![x] },
            Example {
                attrs: Attrs::new().with("min", -100.0),
                operands: vec![Tensor::new(&[3], vec![-128i8, -100, 127])],
            },
        ]
    }
}

/// Whether both bounds are constants, and the lower is above the upper: then the upper one holds.
fn crossed(cx: &LiftCx) -> bool {
    let bound = |position| {
        let bound = cx.constant(position)?.cast(DType::F64);
        bound.elements::<f64>().and_then(|bound| bound.first().copied())
    };
    bound(1).zip(bound(2)).is_some_and(|(low, high)| low > high)
}

/// Clip with bounds that are known only when it runs, or that cross.
fn lift_between(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let (low, high) = (cx.opt_operand(1), cx.opt_operand(2));
    let raised = match (low, high) {
        (Some(low), Some(_)) => cx.step("raised", "max", Attrs::new(), &[x, low])?,
        (Some(low), None) => return Ok(vec![cx.op("max", Attrs::new(), &[x, low])?]),
        (None, _) => x,
    };
    // One of the bounds is there.
    let high = high.ok_or_else(|| cx.invalid("needs a bound"))?;
    Ok(vec![cx.op("min", Attrs::new(), &[raised, high])?])
}

/// A bound of ONNX's Clip; `None` where it is absent, or the end of an integer type.
fn clip_bound(cx: &LiftCx, position: usize, name: &str) -> Result<Option<f32>, OpError> {
    let storage = cx.ty(0)?.storage();
    let Some((lowest, highest)) = storage.integer_range() else { return cx.constant_float(position, name) };
    if cx.opt_operand(position).is_none() {
        return Ok(None);
    }
    let constant = cx.constant(position).filter(|bound| bound.len() == 1 && bound.dtype() == storage);
    let bound = constant.and_then(|bound| bound.cast(DType::I64).elements::<i64>()?.first().copied());
    let bound =
        bound.ok_or_else(|| cx.unsupported(format!("`{name}` that is not a constant scalar of x's type")))?;
    if i128::from(bound) == if name == "min" { lowest } else { highest } {
        return Ok(None);
    }
    if (bound as f32) as i128 != i128::from(bound) {
        return Err(cx.unsupported(format!("`{name}` = {bound}, which is no f32")));
    }
    Ok(Some(bound as f32))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        check_labels("relu", &[("C1", Attrs::new(), &["u8[2]"])]);
        assert_eq!(shape("relu", Attrs::new(), &["f64[N, 3]"]), "f64[N, 3]");
        let crossed = Attrs::new().with("min", 2.0).with("max", 1.0);
        check_labels(
            "clip",
            &[
                ("C1", Attrs::new(), &["i16[2]"]),
                ("C2", crossed, &["f32[2]"]),
                ("C3", Attrs::new().with("min", 0.5), &["i32[2]"]),
                ("C3", Attrs::new().with("max", 128.0), &["i8[2]"]),
                ("C3", Attrs::new().with("min", f32::INFINITY), &["i64[2]"]),
            ],
        );
        let quantized = quantized("i8[1, 2]", 1);
        assert_eq!(broken(infer("relu", Attrs::new(), &[quantized])), "C1");
    }

    #[test]
    fn relu_is_zero_below_zero() {
        let y = eval("relu", Attrs::new(), &[tensor(&[4], [-1.0f32, 2.0, f32::INFINITY, f32::NAN])]).unwrap();
        assert_eq!(y.elements::<f32>().unwrap()[..3], [0.0, 2.0, f32::INFINITY]);
        assert!(y.elements::<f32>().unwrap()[3].is_nan());
        let y = eval("relu", Attrs::new(), &[tensor(&[2], [i64::MIN, 7])]);
        assert_eq!(y, Ok(tensor(&[2], [0i64, 7])));
    }

    #[test]
    fn clip_keeps_to_its_bounds() {
        let attrs = Attrs::new().with("min", -1.0).with("max", 6.0);
        let y = eval("clip", attrs, &[tensor(&[4], [-2.0f64, -1.0, 5.5, 7.0])]);
        assert_eq!(y, Ok(tensor(&[4], [-1.0f64, -1.0, 5.5, 6.0])));
    }

    #[test]
    fn clip_of_integers() {
        let attrs = Attrs::new().with("min", -1.0).with("max", 6.0);
        let y = eval("clip", attrs.clone(), &[tensor(&[4], [i64::MIN, -1, 5, i64::MAX])]);
        assert_eq!(y, Ok(tensor(&[4], [-1i64, -1, 5, 6])));
        let x = tensor(&[3], [i32::MIN, 3, i32::MAX]);
        assert_eq!(read_back("clip", attrs, std::slice::from_ref(&x)), tensor(&[3], [-1, 3, 6]));
        let high = Attrs::new().with("min", 2.0);
        assert_eq!(read_back("clip", high, std::slice::from_ref(&x)), tensor(&[3], [2, 3, i32::MAX]));
        let clip = |min: i32, max: i32| {
            let bound = |v: i32| Operand::Constant(Tensor::scalar(v));
            lift_and_eval(&onnx("Clip", &[]), 13, &[Operand::Input(x.clone()), bound(min), bound(max)])
        };
        assert_eq!(clip(i32::MIN, 5), Ok(tensor(&[3], [i32::MIN, 3, 5])));
        assert_eq!(clip(0, i32::MAX), Ok(tensor(&[3], [0, 3, i32::MAX])));
        assert!(matches!(clip(0, (1 << 24) + 1), Err(OpError::Unsupported { .. })));
    }

    #[test]
    fn clip_is_lifted_with_either_bound() {
        let x = || Operand::Input(tensor(&[3], [-2.0f32, 0.5, 7.0]));
        let bound = |v: f32| Operand::Constant(Tensor::scalar(v));
        let clip = |operands: &[Operand]| lift_and_eval(&onnx("Clip", &[]), 13, operands);
        assert_eq!(clip(&[x()]), Ok(tensor(&[3], [-2.0f32, 0.5, 7.0])));
        assert_eq!(clip(&[x(), Operand::Absent, bound(6.0)]), Ok(tensor(&[3], [-2.0f32, 0.5, 6.0])));
        assert_eq!(clip(&[x(), bound(0.0)]), Ok(tensor(&[3], [0.0f32, 0.5, 7.0])));
        let varying = || Operand::Input(Tensor::scalar(1.0f32));
        assert_eq!(clip(&[x(), varying(), bound(5.0)]), Ok(tensor(&[3], [1.0f32, 1.0, 5.0])));
        assert_eq!(clip(&[x(), Operand::Absent, varying()]), Ok(tensor(&[3], [-2.0f32, 0.5, 1.0])));
        // 0.1 in f64 is not an f32.
        assert!(matches!(
            clip(&[x(), Operand::Constant(Tensor::scalar(0.1f64))]),
            Err(OpError::Unsupported { .. })
        ));
    }
}
