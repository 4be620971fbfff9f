//! The hardware layers of domain `com.brainchip` (hardware-ops §1 to §5).
//!
//! A layer is one operator with two forms, told apart by the storage of its first operand. The
//! float form means a chain of standard operators ([`Step`]) and is what fusion makes and
//! calibration sees; the integer form is what the device runs. `quantize` turns the one into the
//! other.

pub(super) mod body;
mod chain;
pub(super) mod integer;
mod lifting;
mod limits;
mod op_type;
mod params;
mod prepared;
#[cfg(test)]
mod tests;

mod add;
mod concat;
mod conv;
mod conv_transpose;
mod dense;
mod dequantizer;
mod following;
mod input_quantizer;
mod temporal;

pub use chain::{Source, Step, eval, expand, lower, standard, types};
pub use dequantizer::dequantizer_scale;
pub use following::ACTIVATION_MAX;
pub use input_quantizer::{InputParameters, input_parameters};
pub use lifting::{output_scales, set_grid};
pub use limits::{Limit, same_pads};

use super::function::{Function, of_layers};
use super::{Call, OpError, Operator};
use crate::ir::Attrs;
use op_type::{Activation, Pool};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![
        Box::new(input_quantizer::InputQuantizer),
        Box::new(conv::QuantizedConv { depthwise: false }),
        Box::new(conv::QuantizedConv { depthwise: true }),
        Box::new(conv_transpose::QuantizedConvTranspose { depthwise: false }),
        Box::new(conv_transpose::QuantizedConvTranspose { depthwise: true }),
        Box::new(dense::QuantizedDense1D),
        Box::new(add::QuantizedAdd),
        Box::new(concat::QuantizedConcat),
        Box::new(temporal::QuantizedTempConv { depthwise: false }),
        Box::new(temporal::QuantizedTempConv { depthwise: true }),
        Box::new(dequantizer::Dequantizer),
    ]
}

/// The two forms of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Float,
    Integer,
}

impl Form {
    /// By the storage of the first operand.
    fn of(call: &Call) -> Result<Self, OpError> {
        Ok(if call.ty(0)?.storage().is_float() { Form::Float } else { Form::Integer })
    }
}

/// The attribute `activation`, if it is one that layers have.
fn activation(call: &Call) -> Result<Activation, OpError> {
    let name = call.text("activation")?;
    match Activation::ALL.into_iter().find(|activation| activation.name() == name) {
        None if of_layers(name).is_some() => Ok(Activation::Lut),
        None => Err(call.unsupported(format!("activation `{name}`"))),
        Some(activation) => Ok(activation),
    }
}

/// The function that the attribute `activation` names: in the float form of an activation by a table.
fn function(call: &Call) -> Option<&'static Function> {
    of_layers(call.attrs.get_str("activation")?)
}

/// The operator of the function that the float form of a layer applies as its activation.
pub fn function_name(call: &Call) -> Option<&'static str> {
    function(call).map(Function::name)
}

/// The attribute `pool`, if it is one that layers have.
fn pool(call: &Call) -> Result<Pool, OpError> {
    let name = call.text("pool")?;
    let known = Pool::ALL.into_iter().find(|pool| pool.name() == name);
    known.ok_or_else(|| call.unsupported(format!("pool `{name}`")))
}

/// The ceiling of a float form's clipped relu.
fn ceiling(call: &Call) -> Result<Option<f32>, OpError> {
    let clipped = activation(call)? == Activation::ReluClipped;
    Ok(call.attrs.get_float("max_value").filter(|_| clipped))
}

/// Whether the attribute `max_value` is there exactly where it has a meaning: in the float form,
/// with a clipped relu.
fn ceiling_is_in_place(call: &Call) -> Result<bool, OpError> {
    let meaning = Form::of(call)? == Form::Float && activation(call)? == Activation::ReluClipped;
    Ok(call.attrs.get("max_value").is_some() == meaning)
}

/// The step of the float chain that the activation is.
fn activation_step(call: &Call) -> Result<Option<Step>, OpError> {
    Ok(match activation(call)? {
        Activation::None => None,
        Activation::Lut => Some(following::function_step(call)?),
        Activation::Relu => Some(Step::plain("relu")),
        Activation::ReluClipped => {
            // In the integer form only the shapes of the chain matter, and a clip keeps them.
            let max = ceiling(call)?.unwrap_or(f32::INFINITY);
            let attrs = Attrs::new().with("min", 0.0).with("max", max);
            Some(Step::new("clip", attrs, &[Source::Previous]))
        }
    })
}

/// Refuses a node that is to be written to an ONNX file in its float form.
fn expect_integer_form(call: &Call) -> Result<(), OpError> {
    match Form::of(call)? {
        Form::Integer => Ok(()),
        Form::Float => Err(OpError::Unsupported {
            op: call.op(),
            what: "a layer in float form in an ONNX file".to_owned(),
            way_out: Some("quantize it first, or write the graph as .qir".to_owned()),
        }),
    }
}
