//! Element-wise operators of two operands that are no single step of arithmetic: `pow`, `mod`.

use super::arithmetic::{result_shape, zip};
use super::number::{NUMBERS, Number, for_number};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{Attrs, ValueId};
use crate::kernels::Float;
use crate::tensor::{DType, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Pow), Box::new(Mod)]
}

pub struct Pow;

impl Pow {
    const STORAGES: [DType; 4] = [DType::F32, DType::F64, DType::I32, DType::I64];
}

/// `a * a * …`, wrapping; `None` for an exponent below zero of another base than 1 and -1.
fn power(a: i64, b: i64) -> Option<i64> {
    if b >= 0 {
        // By squares: of the low bits only those of the factors count.
        let (mut y, mut square, mut rest) = (1i64, a, b);
        while rest > 0 {
            if rest & 1 == 1 {
                y = y.wrapping_mul(square);
            }
            square = square.wrapping_mul(square);
            rest >>= 1;
        }
        return Some(y);
    }
    match a {
        1 => Some(1),
        -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
        _ => None,
    }
}

impl Operator for Pow {
    fn schema(&self) -> Schema {
        Schema::new(
            "pow",
            "`y = a ^ b`, a to the power of b, for each element. Integers wrap.\n\nShapes broadcast as in ONNX: axes \
             are aligned at the end, and a size of 1 stretches.\n\n\
             * C1: a and b are plain and stored alike, as f32, f64, i32 or i64.\n\
             * C2: on every axis, sizes (or names of unknown sizes) are equal or one of them is 1.\n\
             * C3 (when it runs): an integer b has no element below 0, unless that of a is 1 or -1.",
        )
        .operand("a")
        .operand("b")
        .uniform()
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", &Self::STORAGES)?;
        Ok(vec![TensorType::new(storage, result_shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        match inputs.get(0)?.dtype() {
            DType::F32 => zip(inputs, |a: f32, b: f32| libm::powf(a, b).canonical()),
            DType::F64 => zip(inputs, |a: f64, b: f64| libm::pow(a, b).canonical()),
            storage => {
                let wide = [0, 1].map(|at| Ok(Some(inputs.get(at)?.cast(DType::I64))));
                let wide = wide.into_iter().collect::<Result<Vec<_>, OpError>>()?;
                let wide = Inputs { tensors: &wide, ..*inputs };
                let defined = zip(&wide, |a: i64, b: i64| power(a, b).is_some())?;
                let defined =
                    defined.iter().all(|all| all.elements().is_some_and(|all| all.iter().all(|&v| v)));
                inputs.call.require("C3", defined, || "b has an integer element below 0".to_owned())?;
                let y = zip(&wide, |a: i64, b: i64| power(a, b).unwrap_or_default())?;
                Ok(y.iter().map(|y| y.cast(storage)).collect())
            }
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device has no powers")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("Pow", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        // Before opset 7 the broadcast was an attribute; from 12 on both may be stored differently.
        vec![Lift::standard("Pow", [Version::new(7, 2, &[]), Version::new(12, 2, &[])], lift_pow)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let a = Tensor::new(&[2, 2], vec![1.5f32, 2.0, 9.0, 0.25]);
        let b = Tensor::new(&[2], vec![2.0f32, 0.5]);
        let integers = [Tensor::new(&[3], vec![-3i32, 2, 7]), Tensor::new(&[3], vec![3i32, 10, 0])];
        vec![
            Example { attrs: Attrs::new(), operands: vec![a, b] },
            Example { attrs: Attrs::new(), operands: integers.to_vec() },
        ]
    }
}

/// The result is stored as the base is; what both are stored as on the way loses nothing of either, but
/// for integers beyond 2^53 beside floats.
fn lift_pow(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (a, b) = (cx.operand(0)?, cx.operand(1)?);
    let (base, exponent) = (cx.ty(0)?.storage(), cx.ty(1)?.storage());
    let common = match (base, exponent) {
        (base, exponent) if base == exponent && Pow::STORAGES.contains(&base) => {
            return Ok(vec![cx.op("pow", Attrs::new(), &[a, b])?]);
        }
        (DType::U64, _) | (DType::I8 | DType::I16 | DType::I32 | DType::I64, DType::U64) => {
            return Err(cx.unsupported("a power of integers of 64 bits without sign"));
        }
        (base, exponent) if base.is_integer() && exponent.is_integer() => DType::I64,
        // Every exponent that matters is an f32.
        (DType::F32, _) => DType::F32,
        _ => DType::F64,
    };
    let wide = || Attrs::new().with("to", common);
    let a = if base == common { a } else { cx.step("base", "cast", wide(), &[a])? };
    let b = if exponent == common { b } else { cx.step("exponent", "cast", wide(), &[b])? };
    if base == common {
        return Ok(vec![cx.op("pow", Attrs::new(), &[a, b])?]);
    }
    let y = cx.step("power", "pow", Attrs::new(), &[a, b])?;
    Ok(vec![cx.op("cast", Attrs::new().with("to", base), &[y])?])
}

pub struct Mod;

/// What is left of a division.
trait Remainder: Number {
    /// With the sign of the dividend; `None` where there is none: by the integer 0.
    fn truncated(self, divisor: Self) -> Option<Self>;
    /// With the sign of the divisor.
    fn floored(self, divisor: Self) -> Option<Self>;
}

macro_rules! integers {
    ($($T:ty)*) => {$(
        impl Remainder for $T {
            fn truncated(self, divisor: Self) -> Option<Self> {
                (divisor != 0).then(|| self.wrapping_rem(divisor))
            }

            #[allow(unused_comparisons, reason = "some of the types have no sign")]
            fn floored(self, divisor: Self) -> Option<Self> {
                let rest = self.truncated(divisor)?;
                Some(if rest != 0 && (rest < 0) != (divisor < 0) { rest.wrapping_add(divisor) } else { rest })
            }
        }
    )*};
}

integers!(i8 u8 i16 u16 i32 u32 i64 u64);

macro_rules! floats {
    ($($T:ident $fmod:ident)*) => {$(
        impl Remainder for $T {
            fn truncated(self, divisor: Self) -> Option<Self> {
                Some(libm::$fmod(self, divisor).canonical())
            }

            fn floored(self, divisor: Self) -> Option<Self> {
                let rest = libm::$fmod(self, divisor);
                let other = rest != 0.0 && (rest < 0.0) != (divisor < 0.0);
                Some(if other { rest + divisor } else { rest }.canonical())
            }
        }
    )*};
}

floats!(f32 fmodf f64 fmod);

impl Operator for Mod {
    fn schema(&self) -> Schema {
        Schema::new(
            "mod",
            "`y = a - n * b` for each element, with n the quotient a / b, rounded down, or with `fmod` toward zero: \
             what is left of the division, with the sign of b, or of a.\n\nShapes broadcast as in ONNX: axes are \
             aligned at the end, and a size of 1 stretches.\n\n\
             * C1: a and b are plain and stored alike, as floats or integers.\n\
             * C2: on every axis, sizes (or names of unknown sizes) are equal or one of them is 1.\n\
             * C3 (when it runs): an integer b has no element 0.",
        )
        .operand("a")
        .operand("b")
        .attr("fmod", false)
        .uniform()
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.flag("fmod")?;
        let storage = call.same_plain("C1", &NUMBERS)?;
        Ok(vec![TensorType::new(storage, result_shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Remainder>(inputs: &Inputs, rest: fn(T, T) -> Option<T>) -> Result<Vec<Tensor>, OpError> {
            let (a, b) = (inputs.array::<T>(0)?, inputs.array::<T>(1)?);
            let defined = a.is_empty() || b.iter().all(|&divisor| rest(T::default(), divisor).is_some());
            inputs.call.require("C3", defined, || "b has an integer element 0".to_owned())?;
            zip(inputs, |a: T, b| rest(a, b).unwrap_or_default())
        }
        let truncated = inputs.call.flag("fmod")?;
        for_number!(inputs.call, inputs.get(0)?.dtype(), T => {
            go::<T>(inputs, if truncated { Remainder::truncated } else { Remainder::floored })
        })
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not divide")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let truncated = cx.call.flag("fmod")?;
        if cx.call.ty(0)?.storage().is_float() && !truncated {
            return Err(cx.call.unsupported("a remainder of floats with the sign of the divisor, in ONNX,"));
        }
        let node = cx.node("Mod", cx.operand_names.to_vec());
        Ok(Lowered::Nodes(vec![node.attr("fmod", OnnxAttr::Int(truncated.into()))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard("Mod", [Version::new(10, 2, &["fmod"])], |cx| {
            let (a, b) = (cx.operand(0)?, cx.operand(1)?);
            let truncated = cx.int("fmod", 0)? != 0;
            if cx.opset < 28 && cx.ty(0)?.storage().is_float() && !truncated {
                return Err(cx.invalid("of floats has fmod = 1, up to opset 27"));
            }
            Ok(vec![cx.op("mod", Attrs::new().with("fmod", truncated), &[a, b])?])
        })]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let (a, b) = (Tensor::new(&[2], vec![5.5f32, -5.5]), Tensor::new(&[2], vec![3.0f32, 3.0]));
        let integers = [Tensor::new(&[3], vec![-7i32, 7, i32::MIN]), Tensor::new(&[3], vec![3i32, -3, -1])];
        vec![
            Example { attrs: Attrs::new(), operands: integers.to_vec() },
            Example { attrs: Attrs::new().with("fmod", true), operands: vec![a, b] },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn none() -> Attrs {
        Attrs::new()
    }

    #[test]
    fn constraints() {
        let cases: [(&str, Attrs, &[&str]); 2] =
            [("C1", none(), &["f32[2]", "i32[2]"]), ("C2", none(), &["f32[2]", "f32[3]"])];
        for op in ["pow", "mod"] {
            check_labels(op, &cases);
            assert_eq!(shape(op, none(), &["f32[N, 1]", "f32[3]"]), "f32[N, 3]");
        }
    }

    #[test]
    fn powers() {
        let pair = |a: Tensor, b: Tensor| eval("pow", none(), &[a, b]);
        assert_eq!(
            pair(tensor(&[2], [-2.0f32, 4.0]), tensor(&[2], [3.0f32, 0.5])),
            Ok(tensor(&[2], [-8.0f32, 2.0]))
        );
        let integers = |a: i64, b: i64| pair(Tensor::scalar(a), Tensor::scalar(b));
        assert_eq!(integers(-3, 3), Ok(Tensor::scalar(-27i64)));
        assert_eq!(integers(3, 64), Ok(Tensor::scalar(3i64.wrapping_pow(64))));
        assert_eq!(
            (integers(-1, -3), integers(1, i64::MIN)),
            (Ok(Tensor::scalar(-1i64)), Ok(Tensor::scalar(1i64)))
        );
        assert_eq!(broken(integers(2, -1)), "C3");
        let x = [Operand::Input(tensor(&[2], [2i32, -3])), Operand::Input(tensor(&[2], [3.0f32, 2.0]))];
        assert_eq!(lift_and_eval(&onnx("Pow", &[]), 13, &x), Ok(tensor(&[2], [8i32, 9])));
        let x = [Operand::Input(tensor(&[2], [2.0f32, -3.0])), Operand::Input(tensor(&[2], [3i64, 2]))];
        assert_eq!(lift_and_eval(&onnx("Pow", &[]), 13, &x), Ok(tensor(&[2], [8.0f32, 9.0])));
    }

    #[test]
    fn remainders() {
        let pair = |fmod: bool, a: i32, b: i32| {
            let attrs = none().with("fmod", fmod);
            Ok(eval("mod", attrs, &[Tensor::scalar(a), Tensor::scalar(b)])?.elements::<i32>().unwrap()[0])
        };
        for (a, b, floored, truncated) in [(7, 3, 1, 1), (-7, 3, 2, -1), (7, -3, -2, 1), (-7, -3, -1, -1)] {
            assert_eq!((pair(false, a, b), pair(true, a, b)), (Ok(floored), Ok(truncated)));
        }
        assert_eq!(pair(false, i32::MIN, -1), Ok(0));
        assert_eq!(broken(pair(false, 1, 0)), "C3");
        let bytes = eval("mod", none(), &[Tensor::scalar(200u8), Tensor::scalar(7u8)]);
        assert_eq!(bytes, Ok(Tensor::scalar(4u8)));
        let floats = [Tensor::scalar(-5.5f64), Tensor::scalar(3.0f64)];
        assert_eq!(eval("mod", none(), &floats), Ok(Tensor::scalar(0.5f64)));
        assert_eq!(read_back("mod", none().with("fmod", true), &floats), Tensor::scalar(-2.5f64));
        let operands = floats.map(Operand::Input);
        assert!(matches!(lift(&onnx("Mod", &[]), 13, &operands), Err(OpError::Invalid { .. })));
    }
}
