//! Operators: one file per family, each with all its faces.
//!
//! Guarantees: the [`Registry`] knows every operator that any room handles; what an operator is,
//! infers, computes, becomes on the device and is called in ONNX stands in its one file.

mod body;
mod bound;
mod build;
mod call;
mod error;
mod known;
mod number;
mod onnx_form;
mod operator;
mod prepared;
mod registry;
mod schema;
mod window;
mod windows;

mod activation;
mod arithmetic;
mod bitwise;
mod col2im;
mod compare;
mod conv;
mod conv3d;
mod conv_transpose;
mod convert;
mod cumulate;
mod dense;
mod det;
mod einsum;
mod elementwise;
pub mod fixed;
mod function;
mod gather;
mod grid_sample;
mod index_map;
mod integer;
pub mod layer;
mod lift;
mod movement;
mod norm;
mod order;
mod pad;
mod pool;
mod power;
mod prelu;
mod product;
mod quantized;
mod recurrent;
mod reduce;
mod resize;
mod reverse_sequence;
mod roi_align;
mod scatter;
mod shape;
mod sizes;
mod softmax;
mod split;
mod stretch;
mod temporal;
mod unpool;
mod upsample;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use build::Builder;
pub use call::{Call, Inputs};
pub use error::OpError;
pub use function::is_activation;
pub use known::{Entry, Known};
pub use lift::{Lift, Version};
pub use onnx_form::{
    BRAINCHIP, BRAINCHIP_OPSET, Bound, LiftCx, LowerCx, Lowered, MakeFunction, ONNX_OPSET, OnnxAttr,
    OnnxFunction, OnnxNode, RefAttr, dtype_to_onnx, lower_node, onnx_to_dtype,
};
pub use operator::{
    Arithmetic, DeviceLayer, Example, LayerCall, LayerOperand, Operator, Quantize, QuantizedLayer, Why,
};
pub use prepared::{Held, Prepared};
pub use registry::Registry;
pub use schema::{Accuracy, AttrSpec, Default, OperandSpec, Presence, Schema, State};

use crate::tensor::DType;

/// The operators of this crate, one line a family.
fn built_in() -> Vec<Box<dyn Operator>> {
    let families = [
        elementwise::operators,
        fixed::operators,
        function::operators,
        compare::operators,
        gather::operators,
        grid_sample::operators,
        index_map::operators,
        layer::operators,
        activation::operators,
        arithmetic::operators,
        bitwise::operators,
        col2im::operators,
        conv::operators,
        conv3d::operators,
        conv_transpose::operators,
        convert::operators,
        cumulate::operators,
        dense::operators,
        det::operators,
        integer::operators,
        movement::operators,
        norm::operators,
        order::operators,
        pad::operators,
        pool::operators,
        power::operators,
        prelu::operators,
        recurrent::operators,
        reduce::operators,
        reverse_sequence::operators,
        roi_align::operators,
        scatter::operators,
        shape::operators,
        sizes::operators,
        softmax::operators,
        split::operators,
        stretch::operators,
        temporal::operators,
        unpool::operators,
        upsample::operators,
        windows::operators,
    ];
    families.into_iter().flat_map(|family| family()).collect()
}

/// The storages of operators that are defined for floats only.
const FLOATS: &[DType] = &[DType::F32, DType::F64];

/// Runs `$body` with `$T` bound to the float type of `$dtype`; any other storage is an error of
/// `$call`.
macro_rules! for_float {
    ($call:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::tensor::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err($call.unsupported(format!("storage {other} (f32 or f64 is needed)"))),
        }
    };
}
use for_float;
