//! Operators on the bits of integers, element by element: `bitwise_and`, `bitwise_or`, `bitwise_xor`, `bitwise_not`,
//! `shift_left`, `shift_right`.

use super::arithmetic::{result_shape, zip};
use super::body::Body;
use super::elementwise::{map, same};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{DType, Element, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    let bits = [Bits::And, Bits::Or, Bits::Xor, Bits::ShiftLeft, Bits::ShiftRight];
    let two = bits.into_iter().map(|op| Box::new(op) as Box<dyn Operator>);
    two.chain([Box::new(BitwiseNot) as Box<dyn Operator>]).collect()
}

const NO_LAYER: Quantize = Quantize::No("the device does not compute with single bits");

const INTEGERS: [DType; 8] =
    [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32, DType::I64, DType::U64];

/// An integer as its bits.
trait Integer: Element {
    const BITS: i128;

    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn not(self) -> Self;
    /// By 0 to `BITS` - 1.
    fn left(self, by: u32) -> Self;
    /// By 0 to `BITS` - 1; what comes in is the sign.
    fn right(self, by: u32) -> Self;
    fn wide(self) -> i128;
    /// All bits the sign.
    fn sign(self) -> Self;
}

macro_rules! integers {
    ($($T:ty)*) => {$(
        impl Integer for $T {
            const BITS: i128 = <$T>::BITS as i128;

            fn and(self, other: Self) -> Self {
                self & other
            }

            fn or(self, other: Self) -> Self {
                self | other
            }

            fn xor(self, other: Self) -> Self {
                self ^ other
            }

            fn not(self) -> Self {
                !self
            }

            fn left(self, by: u32) -> Self {
                self.wrapping_shl(by)
            }

            fn right(self, by: u32) -> Self {
                self.wrapping_shr(by)
            }

            fn wide(self) -> i128 {
                self.into()
            }

            #[allow(unused_comparisons)]
            fn sign(self) -> Self {
                if self < 0 { !0 } else { 0 }
            }
        }
    )*};
}

integers!(i8 u8 i16 u16 i32 u32 i64 u64);

/// Runs `$body` with `$T` bound to the integer type of `$dtype`; any other storage is an error of `$call`.
macro_rules! for_integer {
    ($call:expr, $dtype:expr, $T:ident => $body:expr) => {
        for_integer!(@ $call, $dtype, $T => $body,
            I8 i8, U8 u8, I16 i16, U16 u16, I32 i32, U32 u32, I64 i64, U64 u64)
    };
    (@ $call:expr, $dtype:expr, $T:ident => $body:expr, $($variant:ident $type:ty),*) => {
        match $dtype {
            $(DType::$variant => {
                type $T = $type;
                $body
            })*
            other => Err($call.unsupported(format!("storage {other}"))),
        }
    };
}

/// One operator each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// What all of them have in common.
macro_rules! doc {
    ($formula:literal) => {
        concat!(
            $formula,
            "\n\nShapes broadcast as in ONNX: axes are aligned at the end, and a size of 1 stretches.\n\n\
             * C1: a and b are plain and stored alike, as integers.\n\
             * C2: on every axis, sizes (or names of unknown sizes) are equal or one of them is 1."
        )
    };
}

impl Bits {
    fn row(self) -> (&'static str, &'static str) {
        match self {
            Bits::And => ("bitwise_and", doc!("`y = a & b` for each element: the bits that both have.")),
            Bits::Or => ("bitwise_or", doc!("`y = a | b` for each element: the bits that either has.")),
            Bits::Xor => (
                "bitwise_xor",
                doc!("`y = a ^ b` for each element: the bits that one has and the other not."),
            ),
            Bits::ShiftLeft => (
                "shift_left",
                doc!(
                    "`y = a * 2^b` for each element, without the bits that do not fit; 0 where b is negative, or not \
                     below the number of bits."
                ),
            ),
            Bits::ShiftRight => (
                "shift_right",
                doc!(
                    "`y = floor(a / 2^b)` for each element; where b is negative, or not below the number of bits, -1 for \
                     an a below 0, else 0."
                ),
            ),
        }
    }

    /// Its operator in ONNX, unless it is a shift.
    fn onnx(self) -> Option<&'static str> {
        match self {
            Bits::And => Some("BitwiseAnd"),
            Bits::Or => Some("BitwiseOr"),
            Bits::Xor => Some("BitwiseXor"),
            Bits::ShiftLeft | Bits::ShiftRight => None,
        }
    }

    fn apply<T: Integer>(self, inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        // Within the bits, so it fits.
        let by = |b: T| Some(b.wide()).filter(|by| (0..T::BITS).contains(by)).map(|by| by as u32);
        match self {
            Bits::And => zip(inputs, T::and),
            Bits::Or => zip(inputs, T::or),
            Bits::Xor => zip(inputs, T::xor),
            Bits::ShiftLeft => zip(inputs, |a: T, b| by(b).map_or(T::default(), |by| a.left(by))),
            Bits::ShiftRight => zip(inputs, |a: T, b| by(b).map_or(a.sign(), |by| a.right(by))),
        }
    }

    /// A shift. ONNX has it for integers without sign only, in the opset that files are written in, and does not say
    /// what comes of shifting by more than there are bits.
    fn lower_shift(self, cx: &LowerCx) -> Result<Lowered, OpError> {
        let storage = cx.call.ty(0)?.storage();
        let bits = 8 * storage.size() as i64;
        let direction = if self == Bits::ShiftLeft { "LEFT" } else { "RIGHT" };
        let direction = || ("direction", OnnxAttr::Str(direction.to_owned()));
        let signed = storage.integer_range().is_some_and(|(lowest, _)| lowest < 0);
        let by = cx.constants.get(1).copied().flatten().map(|by| by.cast(DType::I64));
        let by = by.as_ref().and_then(|by| by.elements::<i64>());
        if !signed && by.is_some_and(|by| by.iter().all(|by| (0..bits).contains(by))) {
            let (name, direction) = direction();
            let node = cx.node("BitShift", cx.operand_names.to_vec());
            return Ok(Lowered::Nodes(vec![node.attr(name, direction)]));
        }
        let mut body = Body::of_node(cx);
        let [a, b] = [0, 1].map(|at| cx.operand_names.get(at).cloned().unwrap_or_default());
        // Of 64 bits without sign, a number beyond those with sign is negative here, and a shift by it out of range.
        let by = body.cast(&b, DType::I64);
        let (zero, end) = (body.scalar(0i64), body.scalar(bits));
        let from = body.op("Less", &[&by, &zero]);
        let from = body.op("Not", &[&from]);
        let to = body.op("Less", &[&by, &end]);
        let within = body.op("And", &[&from, &to]);
        let by = body.op("Where", &[&within, &by, &zero]);
        let by = body.cast(&by, DType::U64);
        // A negative number to be shifted right is turned into what it lacks to -1, and back.
        let turned = (signed && self == Bits::ShiftRight).then(|| {
            let wide = body.cast(&a, DType::I64);
            let negative = body.op("Less", &[&wide, &zero]);
            let lacking = body.op("BitwiseNot", &[&wide]);
            (negative.clone(), body.op("Where", &[&negative, &lacking, &wide]))
        });
        let a = body.cast(turned.as_ref().map_or(&a, |(_, magnitude)| magnitude), DType::U64);
        let shifted = body.op_with("BitShift", &[&a, &by], vec![direction()]);
        let shifted = body.cast(&shifted, DType::I64);
        let mut shifted = body.op("Where", &[&within, &shifted, &zero]);
        if let Some((negative, _)) = turned {
            let back = body.op("BitwiseNot", &[&shifted]);
            shifted = body.op("Where", &[&negative, &back, &shifted]);
        }
        // What does not fit is left out.
        body.cast(&shifted, storage);
        Ok(body.nodes_of(cx))
    }
}

impl Operator for Bits {
    fn schema(&self) -> Schema {
        let (name, doc) = self.row();
        Schema::new(name, doc).operand("a").operand("b").uniform()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", &INTEGERS)?;
        Ok(vec![TensorType::new(storage, result_shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_integer!(inputs.call, inputs.get(0)?.dtype(), T => self.apply::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        match self.onnx() {
            Some(onnx) => Ok(Lowered::Nodes(vec![cx.node(onnx, cx.operand_names.to_vec())])),
            None => self.lower_shift(cx),
        }
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift_shift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (a, b) = (cx.operand(0)?, cx.operand(1)?);
            let op = match cx.opt_text("direction")? {
                Some("LEFT") => "shift_left",
                Some("RIGHT") => "shift_right",
                other => return Err(cx.invalid(format!("`direction` is LEFT or RIGHT, found {other:?}"))),
            };
            let storage = cx.ty(0)?.storage();
            if cx.opset < 28 && storage.integer_range().is_some_and(|(lowest, _)| lowest < 0) {
                return Err(cx.invalid(format!("shifts integers without sign, found {storage}")));
            }
            Ok(vec![cx.op(op, Attrs::new(), &[a, b])?])
        }
        let name = self.row().0;
        match (self, self.onnx()) {
            (_, Some(onnx)) => vec![Lift::standard(onnx, [Version::new(18, 2, &[])], move |cx| {
                let (a, b) = (cx.operand(0)?, cx.operand(1)?);
                Ok(vec![cx.op(name, Attrs::new(), &[a, b])?])
            })],
            (Bits::ShiftLeft, None) => {
                let versions = [Version::new(11, 2, &["direction"]), Version::new(28, 2, &["direction"])];
                vec![Lift::standard("BitShift", versions, lift_shift)]
            }
            (_, None) => Vec::new(),
        }
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let a = || Tensor::new(&[2, 3], vec![1i32, -2, 37, 0, 1 << 20, i32::MIN]);
        let bytes = Tensor::new(&[3], vec![1u8, 37, 255]);
        vec![
            Example { attrs: Attrs::new(), operands: vec![a(), Tensor::new(&[3], vec![2i32, 5, -1])] },
            Example { attrs: Attrs::new(), operands: vec![bytes, Some(Tensor::scalar(3u8))] },
        ]
    }
}

pub struct BitwiseNot;

impl Operator for BitwiseNot {
    fn schema(&self) -> Schema {
        Schema::new(
            "bitwise_not",
            "`y = ~x` for each element: the bits that it does not have.\n\n* C1: x is a plain integer.",
        )
        .operand("x")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        same(call, &INTEGERS)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_integer!(inputs.call, inputs.get(0)?.dtype(), T => map::<T>(inputs, T::not))
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("BitwiseNot", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard("BitwiseNot", [Version::new(18, 1, &[])], |cx| {
            let x = cx.operand(0)?;
            Ok(vec![cx.op("bitwise_not", Attrs::new(), &[x])?])
        })]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![Tensor::new(&[3], vec![0i16, -1, 37])] }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        for op in ["bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right"] {
            check_labels(
                op,
                &[
                    ("C1", Attrs::new(), &["f32[2]", "f32[2]"]),
                    ("C1", Attrs::new(), &["bool[2]", "bool[2]"]),
                    ("C1", Attrs::new(), &["i32[2]", "i64[2]"]),
                    ("C2", Attrs::new(), &["i32[2]", "i32[3]"]),
                ],
            );
            assert_eq!(shape(op, Attrs::new(), &["u8[N, 1]", "u8[3]"]), "u8[N, 3]");
        }
        check_labels("bitwise_not", &[("C1", Attrs::new(), &["f32[2]"])]);
    }

    #[test]
    fn by_hand() {
        let two = |op: &str, a: Tensor, b: Tensor| {
            let y = eval(op, Attrs::new(), &[a.clone(), b.clone()]).unwrap();
            assert_eq!(read_back(op, Attrs::new(), &[a, b]), y, "{op}");
            y
        };
        let (a, b) = (|| tensor(&[2], [12i8, -1]), || tensor(&[2], [10i8, 7]));
        assert_eq!(two("bitwise_and", a(), b()), tensor(&[2], [8i8, 7]));
        assert_eq!(two("bitwise_or", a(), b()), tensor(&[2], [14i8, -1]));
        assert_eq!(two("bitwise_xor", a(), b()), tensor(&[2], [6i8, -8]));
        assert_eq!(
            eval("bitwise_not", Attrs::new(), &[tensor(&[2], [12u8, 255])]),
            Ok(tensor(&[2], [243u8, 0]))
        );
    }

    /// Every shift of every byte, and of the ends of all types.
    #[test]
    fn shifts_of_bytes() {
        let shift = |op: &str, a: &Tensor, b: Tensor| {
            let operands = [a.clone(), b];
            let y = eval(op, Attrs::new(), &operands).unwrap();
            assert_eq!(read_back(op, Attrs::new(), &operands), y, "{op} {operands:?}");
            y.cast(DType::I64).elements::<i64>().unwrap().to_vec()
        };
        let bytes = tensor(&[256, 1], (i8::MIN..=i8::MAX).collect::<Vec<_>>());
        let by = || tensor(&[256], (i8::MIN..=i8::MAX).collect::<Vec<_>>());
        let (left, right) = (shift("shift_left", &bytes, by()), shift("shift_right", &bytes, by()));
        for (at, (left, right)) in left.into_iter().zip(right).enumerate() {
            let (a, b) = ((at / 256) as i64 - 128, (at % 256) as i64 - 128);
            let within = (0..8).contains(&b);
            assert_eq!(left, if within { i64::from((a << b) as i8) } else { 0 }, "{a} << {b}");
            assert_eq!(right, a >> if within { b } else { 63 }, "{a} >> {b}");
        }
        let bytes = tensor(&[256, 1], (0..=u8::MAX).collect::<Vec<_>>());
        let by = || tensor(&[256], (0..=u8::MAX).collect::<Vec<_>>());
        let (left, right) = (shift("shift_left", &bytes, by()), shift("shift_right", &bytes, by()));
        for (at, (left, right)) in left.into_iter().zip(right).enumerate() {
            let (a, b) = ((at / 256) as i64, (at % 256) as u32);
            assert_eq!(left, if b < 8 { i64::from((a << b) as u8) } else { 0 }, "{a} << {b}");
            assert_eq!(right, a >> b.min(63), "{a} >> {b}");
        }
        let wide = [i64::MIN, -1, 1, i64::MAX];
        let by = [0, 1, 63, 64, -1, i64::MIN];
        for a in wide {
            for b in by {
                let [a_tensor, b_tensor] = [a, b].map(Tensor::scalar);
                let within = (0..64).contains(&b);
                let found = shift("shift_left", &a_tensor, b_tensor.clone());
                assert_eq!(found, [if within { a << b } else { 0 }]);
                assert_eq!(shift("shift_right", &a_tensor, b_tensor), [a >> if within { b } else { 63 }]);
            }
        }
        let top = Tensor::scalar(u64::MAX);
        assert_eq!(shift("shift_right", &top, Tensor::scalar(63u64)), [1]);
        assert_eq!(shift("shift_right", &top, Tensor::scalar(64u64)), [0]);
        assert_eq!(shift("shift_left", &top, Tensor::scalar(u64::MAX)), [0]);
    }

    #[test]
    fn a_shift_that_is_known_is_one_node() {
        let operands = [tensor(&[2], [1u8, 200]), Tensor::scalar(7u8)].map(Some);
        let (Lowered::Nodes(nodes), _) = lower("shift_left", Attrs::new(), &operands) else {
            panic!("a layer")
        };
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].op_type, "BitShift");
    }

    #[test]
    fn signs_came_late() {
        let node = |direction: &str| onnx("BitShift", &[("direction", OnnxAttr::Str(direction.to_owned()))]);
        let lift = |direction: &str, opset: i64, ty_of: &str| {
            lift(&node(direction), opset, &[Operand::Typed(ty(ty_of)), Operand::Typed(ty(ty_of))]).map(|_| ())
        };
        assert!(lift("LEFT", 11, "u8[2]").is_ok() && lift("RIGHT", 28, "i8[2]").is_ok());
        for (direction, opset, ty_of) in [("RIGHT", 11, "i8[2]"), ("left", 28, "u8[2]")] {
            assert!(matches!(lift(direction, opset, ty_of), Err(OpError::Invalid { .. })));
        }
    }
}
