//! `prelu`: a slope below zero that is an operand.

use super::arithmetic::zip;
use super::number::Real;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OpError, Operator, Quantize,
    Schema, Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{Tensor, TensorType, broadcast};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Prelu)]
}

pub struct Prelu;

impl Prelu {
    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        zip(inputs, |x: T, slope: T| if x < T::default() { (x * slope).canonical() } else { x })
    }
}

impl Operator for Prelu {
    fn schema(&self) -> Schema {
        Schema::new(
            "prelu",
            "`y = x`, or `slope * x` where x is below zero, for each element; slope broadcasts to the shape of x.\n\n\
             * C1: x and slope are plain and stored alike, as f32 or f64.\n\
             * C2: on every axis, counted from the end, the size of slope is that of x or 1.",
        )
        .operand("x")
        .operand("slope")
        .uniform()
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.same_plain("C1", FLOATS)?;
        let (x, slope) = (call.ty(0)?, call.ty(1)?);
        call.require("C2", broadcast(&x.shape, &slope.shape).as_ref() == Some(&x.shape), || {
            format!("slope broadcasts to {}, found {}", x.shape, slope.shape)
        })?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a prelu runs on the device only with one slope for all channels, as part of a layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("PRelu", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, slope) = (cx.operand(0)?, cx.operand(1)?);
            Ok(vec![cx.op("prelu", Attrs::new(), &[x, slope])?])
        }
        // Before opset 7 a slope of one axis was along the channels.
        vec![Lift::standard("PRelu", [Version::new(7, 2, &[])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 1, 2], vec![-4.0f32, 2.0, -1.5, 0.0]);
        let slope = Tensor::new(&[2, 1, 1], vec![0.25f32, -2.0]);
        vec![Example { attrs: Attrs::new(), operands: vec![x, slope] }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        check_labels(
            "prelu",
            &[
                ("C1", Attrs::new(), &["f32[2, 3]", "f64[3]"]),
                ("C1", Attrs::new(), &["i8[2, 3]", "i8[3]"]),
                ("C2", Attrs::new(), &["f32[2, 3]", "f32[2]"]),
                ("C2", Attrs::new(), &["f32[3]", "f32[2, 3]"]),
            ],
        );
        assert_eq!(shape("prelu", Attrs::new(), &["f32[N, 3, 4]", "f32[3, 1]"]), "f32[N, 3, 4]");
    }

    #[test]
    fn by_hand() {
        let operands = [tensor(&[2, 2], [-4.0f32, 2.0, -1.5, 0.0]), tensor(&[2, 1], [0.25f32, -2.0])];
        let y = eval("prelu", Attrs::new(), &operands);
        assert_eq!(y, Ok(tensor(&[2, 2], [-1.0f32, 2.0, 3.0, 0.0])));
        assert_eq!(Ok(read_back("prelu", Attrs::new(), &operands)), y);
    }
}
