//! Any function that layers compute through a table, under one name: `activation`.

use super::function::{
    APPROXIMATE, Function, PARAMETERS, approximation, in_layers, of_layers, parameters_of,
};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OpError, Operator, Quantize, Schema,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Activation)]
}

/// What the rules of layers match.
pub struct Activation;

impl Activation {
    fn function(call: &Call) -> Result<&'static Function, OpError> {
        let name = call.text(ACTIVATION)?;
        let function = of_layers(name).ok_or_else(|| {
            let known: Vec<&str> = in_layers().map(|function| function.layer).collect();
            call.broken("C2", format!("`{ACTIVATION}` is {}, found `{name}`", known.join(", ")))
        })?;
        let has = parameters_of(function);
        for name in PARAMETERS.into_iter().filter(|name| !has.contains(name)) {
            call.require("C3", call.float(name)? == 0.0, || format!("`{}` has no `{name}`", function.layer))?;
        }
        Ok(function)
    }
}

/// The attribute that names the function.
const ACTIVATION: &str = "activation";

impl Operator for Activation {
    fn schema(&self) -> Schema {
        let schema = Schema::new(
            ACTIVATION,
            "`y = f(x)` for each element, f being the function that a layer calls `activation`: Gelu, GeluTanh, \
             Swish, HardSwish, LeakyRelu, Sigmoid, HardSigmoid, Tanh, Elu, Selu, Celu, Mish, Softplus or Softsign, with \
             the parameters `alpha`, `beta` and `gamma` of its operator. It is what the rules of layers match; networks have \
             the operators themselves.\n\n\
             * C1: x is plain f32 or f64.\n\
             * C2: `activation` is one of these names.\n\
             * C3: parameters that the function does not have are 0.",
        )
        .operand("x")
        .required_attr(ACTIVATION, AttrKind::Str)
        .rounding();
        PARAMETERS.into_iter().fold(schema, |schema, name| schema.attr(name, 0.0f32))
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Self::function(call)?.infer(call)
    }

    fn eval(&self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        Self::function(&inputs.call)?.eval(inputs, arithmetic)
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("an activation runs on the device only as part of a convolution layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Self::function(&cx.call)?.lower(cx)
    }

    /// The node that the reference has for the activations of its layers, as the operator that it stands for.
    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let name = cx.opt_text("main_op_type")?.unwrap_or_default();
            let stated = cx.opt_text(APPROXIMATE)?.unwrap_or("none");
            let same = |function: &&Function| {
                function.onnx == name && approximation(function.name).is_none_or(|name| name == stated)
            };
            let Some(function) = in_layers().find(same) else {
                return Err(cx.unsupported(format!("`main_op_type` = `{name}`")));
            };
            function.read(cx)
        }
        vec![Lift::hardware(ACTIVATION, 1, &["main_op_type", "alpha", APPROXIMATE], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = || vec![Tensor::new(&[5], vec![-100.0f32, -1.0, 0.0, 1.5, 100.0])];
        let of = |name: &str| Attrs::new().with(ACTIVATION, name);
        vec![
            Example { attrs: of("LeakyRelu").with("alpha", 0.25f32), operands: x() },
            Example { attrs: of("HardSwish"), operands: x() },
            Example { attrs: of("HardSigmoid").with("alpha", 0.25f32).with("beta", 0.5f32), operands: x() },
        ]
    }
}
