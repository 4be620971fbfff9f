//! Batch normalization with fixed statistics: `batch_norm`.

use super::number::Real;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(BatchNorm)]
}

pub struct BatchNorm;

impl BatchNorm {
    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.get(0)?;
        let [gamma, beta, mean, var] = [1, 2, 3, 4].map(|position| inputs.elements::<T>(position));
        let (gamma, beta, mean, var) = (gamma?, beta?, mean?, var?);
        let epsilon = T::from(inputs.call.float("epsilon")?);
        let a: Vec<T> =
            gamma.iter().zip(var).map(|(&gamma, &var)| gamma / Real::sqrt(var + epsilon)).collect();
        let channels = a.iter().zip(mean).zip(beta).cycle();
        // Elements of one channel of one image lie side by side; an empty tensor has none.
        let plane = x.sizes().get(2..).map_or(1, |sizes| sizes.iter().product()).max(1);
        let mut y = Vec::with_capacity(x.len());
        for (elements, ((&a, &mean), &beta)) in inputs.elements::<T>(0)?.chunks(plane).zip(channels) {
            y.extend(elements.iter().map(|&v| ((v - mean) * a + beta).canonical()));
        }
        inputs.call.result(x.sizes(), y)
    }
}

impl Operator for BatchNorm {
    fn schema(&self) -> Schema {
        Schema::new(
            "batch_norm",
            "`y = (x - mean) * a + beta` with `a = gamma / sqrt(var + epsilon)`, each step rounded to the \
             storage type, for x `[N, C, …]` and gamma, beta, mean, var `[C]`.\n\n\
             * C1: all operands are plain and stored alike, as f32 or f64.\n\
             * C2: x has at least 2 axes.\n\
             * C3: gamma, beta, mean and var have the one axis that is axis 1 of x.",
        )
        .operand("x")
        .operand("gamma")
        .operand("beta")
        .operand("mean")
        .operand("var")
        .attr("epsilon", 1e-5f32)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.same_plain("C1", FLOATS)?;
        call.float("epsilon")?;
        let x = call.ty(0)?;
        let channels = x.shape.get(1).ok_or_else(|| call.broken("C2", "x has at least 2 axes"))?;
        for position in 1..=4 {
            let found = &call.ty(position)?.shape;
            call.require("C3", **found == [channels.clone()], || {
                format!("{} has shape [{channels}], found {found}", call.schema.operand_name(position))
            })?;
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("batch normalization runs on the device only folded into a layer's weights")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let epsilon = OnnxAttr::Float(cx.call.float("epsilon")?);
        let node = cx.node("BatchNormalization", cx.operand_names.to_vec()).attr("epsilon", epsilon);
        Ok(Lowered::Nodes(vec![node]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let operands: Vec<ValueId> =
                (0..5).map(|position| cx.operand(position)).collect::<Result<_, _>>()?;
            // Opset 14 made training a flag; before, its further outputs showed it.
            let further = cx.node.outputs.iter().skip(1).any(|name| !name.is_empty());
            if cx.int("training_mode", 0)? != 0 || further {
                return Err(cx.unsupported("batch normalization in training mode"));
            }
            if cx.int("spatial", 1)? == 0 {
                return Err(cx.unsupported("batch normalization with statistics for every position"));
            }
            let attrs = Attrs::new().with("epsilon", cx.float("epsilon", 1e-5)?);
            Ok(vec![cx.op("batch_norm", attrs, &operands)?])
        }
        vec![Lift::standard(
            "BatchNormalization",
            [
                Version::new(7, 5, &["epsilon", "momentum", "spatial"]),
                Version::new(9, 5, &["epsilon", "momentum"]),
                Version::new(14, 5, &["epsilon", "momentum", "training_mode"]),
            ],
            lift,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 1, 2], vec![1.0f32, 2.0, -3.0, 0.5]);
        let parameter = |a, b| Tensor::new(&[2], vec![a, b]);
        let operands =
            vec![x, parameter(1.0f32, 0.5), parameter(0.0, -1.0), parameter(1.5, 0.0), parameter(0.25, 4.0)];
        vec![Example { attrs: Attrs::new(), operands }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let none = Attrs::new();
        check_labels(
            "batch_norm",
            &[
                ("C1", none.clone(), &["f32[1, 2]", "f32[2]", "f32[2]", "f32[2]", "f64[2]"]),
                ("C2", none.clone(), &["f32[2]", "f32[2]", "f32[2]", "f32[2]", "f32[2]"]),
                ("C3", none.clone(), &["f32[1, 2]", "f32[2]", "f32[3]", "f32[2]", "f32[2]"]),
            ],
        );
        let operands = ["f32[N, 2, H, W]", "f32[2]", "f32[2]", "f32[2]", "f32[2]"];
        assert_eq!(shape("batch_norm", none, &operands), "f32[N, 2, H, W]");
    }

    #[test]
    fn every_step_rounds() {
        let pair = |a: f32, b: f32| tensor(&[2], [a, b]);
        let (x, gamma, beta) = (tensor(&[2, 2], [3.0f32, 0.1, 5.0, -0.3]), pair(4.0, 0.7), pair(-1.0, 0.2));
        let (mean, var) = (pair(1.0, 0.05), pair(3.75, 1.3));
        let attrs = Attrs::new().with("epsilon", 0.25);
        let y = eval("batch_norm", attrs, &[x, gamma, beta, mean, var]).unwrap();
        // Channel 0: a = 4 / sqrt(3.75 + 0.25) = 2.
        let a = 0.7f32 / (1.3f32 + 0.25).sqrt();
        let expected = [3.0f32, (0.1 - 0.05) * a + 0.2, 7.0, (-0.3f32 - 0.05) * a + 0.2];
        assert_eq!(y, tensor(&[2, 2], expected));
    }

    #[test]
    fn training_is_refused() {
        let x = || Operand::Typed(ty("f32[1, 2, 3, 3]"));
        let p = || Operand::Typed(ty("f32[2]"));
        let operands = || [x(), p(), p(), p(), p()];
        let node = |mode| onnx("BatchNormalization", &[("training_mode", OnnxAttr::Int(mode))]);
        assert!(lift(&node(0), 15, &operands()).is_ok());
        assert!(matches!(lift(&node(1), 15, &operands()), Err(OpError::Unsupported { .. })));
        let mut old = onnx("BatchNormalization", &[]);
        old.outputs.extend(["mean".to_owned(), "var".to_owned()]);
        assert!(matches!(lift(&old, 9, &operands()), Err(OpError::Unsupported { .. })));
    }
}
