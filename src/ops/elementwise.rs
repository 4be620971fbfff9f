//! Element-wise operators of one operand: `relu`, `clip`.

use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OpError, Operator, Quantize, Schema,
    for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{DType, Element, Grid, Tensor, TensorType};

/// The result type of an operator that keeps shape and plain float storage.
fn same_float(call: &Call) -> Result<Vec<TensorType>, OpError> {
    let ty = call.ty(0)?;
    call.require("C1", matches!(ty.grid, Grid::Plain(DType::F32 | DType::F64)), || {
        format!("x is plain f32 or f64, found {}", ty.storage())
    })?;
    Ok(vec![ty.clone()])
}

/// Applies `f` to every element; the result has the operand's sizes.
fn map<T: Element>(inputs: &Inputs, f: impl Fn(T) -> T) -> Result<Vec<Tensor>, OpError> {
    let elements = inputs.elements::<T>(0)?.iter().map(|&v| f(v)).collect();
    // One element out for each in, so the sizes fit.
    Ok(Tensor::new(inputs.get(0)?.sizes(), elements).into_iter().collect())
}

pub struct Relu;

impl Operator for Relu {
    fn schema(&self) -> Schema {
        Schema::new(
            "relu",
            "`y = max(x, 0)` for each element; NaN stays NaN.\n\n\
             * C1: x is plain f32 or f64.",
        )
        .operand("x")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        same_float(call)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => map::<T>(inputs, |v| if v < 0.0 { 0.0 } else { v }))
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
        vec![Lift { domain: "", op_type: "Relu".into(), since: 6, lift }]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 1, 2], vec![-1.5f32, 0.0, 2.0, -0.0]);
        vec![Example { attrs: Attrs::new(), operands: vec![x] }]
    }
}

pub struct Clip;

impl Operator for Clip {
    fn schema(&self) -> Schema {
        Schema::new(
            "clip",
            "`y = min(max(x, min), max)` for each element; NaN stays NaN. Without bounds it changes nothing.\n\n\
             * C1: x is plain f32 or f64.\n\
             * C2: min <= max.",
        )
        .operand("x")
        .attr("min", f32::NEG_INFINITY)
        .attr("max", f32::INFINITY)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (min, max) = (call.float("min")?, call.float("max")?);
        call.require("C2", min <= max, || format!("min <= max, found {min} and {max}"))?;
        same_float(call)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
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
        let double = cx.call.ty(0)?.storage() == DType::F64;
        for (attr, absent) in [("min", f32::NEG_INFINITY), ("max", f32::INFINITY)] {
            let bound = cx.call.float(attr)?;
            inputs.push(if bound == absent {
                String::new()
            } else if double {
                cx.initializer(attr, Tensor::scalar(f64::from(bound)))
            } else {
                cx.initializer(attr, Tensor::scalar(bound))
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
            for (position, name) in [(1, "min"), (2, "max")] {
                if cx.opt_operand(position).is_none() {
                    continue;
                }
                let bound = cx.constant(position).and_then(|tensor| match tensor.elements::<f32>()? {
                    [bound] => Some(*bound),
                    _ => None,
                });
                let Some(bound) = bound else {
                    return Err(cx.unsupported(format!("`{name}` that is not a constant f32 scalar")));
                };
                attrs.set(name, bound);
            }
            Ok(vec![cx.op("clip", attrs, &[x])?])
        }
        // Before opset 11 the bounds were attributes.
        vec![Lift { domain: "", op_type: "Clip".into(), since: 11, lift }]
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
        ]
    }
}
