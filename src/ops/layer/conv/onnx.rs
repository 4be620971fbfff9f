//! Convolution layers in ONNX: nodes, function bodies, and how both are read.

use std::sync::Arc;

use super::super::body;
use super::super::following;
use super::super::lifting::{Parameters, with_scale};
use super::super::op_type::{Base, OpType, Pool};
use super::{B, FOLLOWING, PADDING, QuantizedConv, W, X, device, proof};
use crate::ir::{Attrs, ValueId};
use crate::ops::body::Body;
use crate::ops::layer::{activation, expect_integer_form, pool};
use crate::ops::{
    BRAINCHIP, Bound, Call, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OnnxFunction, OnnxNode, OpError,
    Version,
};
use crate::tensor::{DType, Tensor};

fn op_type(call: &Call, depthwise: bool) -> Result<OpType, OpError> {
    let base = match (depthwise, call.ty(X)?.storage()) {
        (true, _) => Base::Depthwise2D,
        (false, DType::U8) => Base::InputConv2D,
        (false, _) => Base::Conv2D,
    };
    Ok(OpType {
        base,
        flatten: false,
        biased: call.opt_ty(B).is_some(),
        pool: pool(call)?,
        activation: activation(call)?,
        scaled: true,
    })
}

pub fn lower(cx: &mut LowerCx, depthwise: bool) -> Result<Lowered, OpError> {
    let call = cx.call;
    expect_integer_form(&call)?;
    let limits = device::limits(cx, depthwise)?;
    let constant = |position: usize| cx.constants.get(position).copied().flatten();
    let Some(weights) = constant(W).and_then(Tensor::elements::<i8>) else {
        return Err(call.unsupported("a kernel that is not constant"));
    };
    let bias = constant(B).and_then(Tensor::elements::<i32>);
    let x_pad = constant(PADDING).and_then(Tensor::elements::<i32>);
    if bias.is_none() && call.opt_ty(B).is_some() || x_pad.is_none() && call.opt_ty(PADDING).is_some() {
        return Err(call.unsupported("a bias or padding value that is not constant"));
    }
    let bound = proof(&call, depthwise, weights, bias, x_pad)?;
    let op_type = op_type(&call, depthwise)?;
    let name = op_type.to_string();
    function(&name, bound)?;

    let mut attrs = vec!["strides"];
    if op_type.pool == Pool::Max {
        attrs.extend(["pool_size", "pool_strides", "pool_pads"]);
    }
    let [top, left, bottom, right] = call.sizes::<4>("pads", 0)?.map(|pad| pad as i64);
    let pads = cx.initializer("pads", Tensor::vector(vec![0, 0, top, left, 0, 0, bottom, right]));
    let operand = |position: usize| cx.operand_names.get(position).cloned().unwrap_or_default();
    let inputs = [operand(X), operand(PADDING), operand(W), operand(B), pads];
    let inputs = inputs.into_iter().chain(FOLLOWING.file_order(cx.operand_names));
    let mut node = OnnxNode {
        domain: BRAINCHIP.to_owned(),
        inputs: inputs.filter(|name| !name.is_empty()).collect(),
        ..cx.node(&name, Vec::new())
    };
    for attr in attrs {
        node = node.attr(attr, OnnxAttr::Ints(call.ints(attr)?.to_vec()));
    }
    if depthwise {
        let groups = constant(W).and_then(|w| w.sizes().first().copied()).unwrap_or_default();
        node = node.attr("groups", OnnxAttr::Int(groups as i64));
    }
    Ok(Lowered::Layer { node: with_scale(node, cx), bound, limits, function: Arc::new(function) })
}

/// The body: pad, convolve, max-pool, activation, sum over the map, rescale.
fn function(name: &str, bound: Bound) -> Result<OnnxFunction, OpError> {
    let fail =
        |what: &str| OpError::Unsupported { op: name.to_owned(), what: what.to_owned(), way_out: None };
    let op_type: OpType = name.parse().map_err(|()| fail("this name"))?;
    body::check(name, bound)?;
    let mut inputs = vec!["X"];
    if op_type.base == Base::InputConv2D {
        inputs.push("x_pad_value");
    }
    inputs.push("W");
    if op_type.biased {
        inputs.push("bias");
    }
    inputs.push("pads");
    inputs.extend(following::function_inputs(&op_type));

    let mut body = Body::default();
    // Onnxruntime is faster with integers, but for the few channels of an input and for depthwise.
    let float = crate::ops::body::exact_in_f32(bound) && op_type.base != Base::Conv2D;
    if !float && bound.foreign_padding {
        return Err(fail("padding with values outside of 0..255 where an accumulator may pass 2^24"));
    }
    let (mut y, mut storage) = if float {
        (float_conv(&mut body, &op_type), DType::F32)
    } else {
        (integer_conv(&mut body, &op_type), DType::I32)
    };
    if op_type.pool == Pool::Max {
        if storage == DType::I32 {
            // Onnxruntime has no integer max-pool of 32 bits.
            y = body.cast(&y, DType::F64);
            storage = DType::F64;
        }
        let attrs = vec![
            ("kernel_shape", body.ints_of_node("pool_size")),
            ("strides", body.ints_of_node("pool_strides")),
            ("pads", body.ints_of_node("pool_pads")),
        ];
        y = body.op_with("MaxPool", &[&y], attrs);
    }
    following::finish_body(&mut body, &op_type, y, storage);
    Ok(body.function(name, inputs, "Y"))
}

fn conv_attrs(body: &mut Body, op_type: &OpType) -> Vec<(&'static str, OnnxAttr)> {
    let mut attrs = vec![("strides", body.ints_of_node("strides"))];
    if op_type.base == Base::Depthwise2D {
        attrs.push(("group", body.int_of_node("groups")));
    }
    attrs
}

/// `x_pad_value` as `[C, 1, 1]`, stored as `storage`.
fn channel_padding(body: &mut Body, storage: DType) -> String {
    let value = body.cast("x_pad_value", storage);
    let axes = body.vector(vec![1i64, 2]);
    body.op("Unsqueeze", &[&value, &axes])
}

/// Pads `x` with `value`: what is subtracted before zeros come in and added after changes nothing
/// inside.
fn padded_with(body: &mut Body, x: &str, value: &str) -> String {
    let relative = body.op("Sub", &[x, value]);
    let padded = body.op("Pad", &[&relative, "pads"]);
    body.op("Add", &[&padded, value])
}

/// Padding, convolution and bias in float32: for accumulators that it sums exactly.
fn float_conv(body: &mut Body, op_type: &OpType) -> String {
    let x = body.cast("X", DType::F32);
    let x = if op_type.base == Base::InputConv2D {
        let value = channel_padding(body, DType::F32);
        padded_with(body, &x, &value)
    } else {
        body.op("Pad", &[&x, "pads"])
    };
    let w = body.cast("W", DType::F32);
    let bias = op_type.biased.then(|| body.cast("bias", DType::F32));
    let attrs = conv_attrs(body, op_type);
    let inputs: Vec<&str> = [x.as_str(), w.as_str()].into_iter().chain(bias.as_deref()).collect();
    body.op_with("Conv", &inputs, attrs)
}

/// Padding, convolution and bias in int32.
fn integer_conv(body: &mut Body, op_type: &OpType) -> String {
    let (x, zero) = if op_type.base == Base::InputConv2D {
        let x = body.cast("X", DType::I32);
        let value = channel_padding(body, DType::I32);
        let x = padded_with(body, &x, &value);
        (body.cast(&x, DType::U8), body.scalar(0u8))
    } else {
        let x = body.shifted("X");
        let zero = body.scalar(128u8);
        (body.op("Pad", &[&x, "pads", &zero]), zero)
    };
    let w = body.shifted("W");
    let w_zero = body.scalar(128u8);
    let attrs = conv_attrs(body, op_type);
    let sum = body.op_with("ConvInteger", &[&x, &w, &zero, &w_zero], attrs);
    if !op_type.biased {
        return sum;
    }
    let axes = body.vector(vec![1i64, 2]);
    let bias = body.op("Unsqueeze", &["bias", &axes]);
    body.op("Add", &[&sum, &bias])
}

fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let mut node = Parameters::of(cx)?;
    let op_type = node.op_type;
    let mut attrs =
        Attrs::new().with("pool", op_type.pool.name()).with("activation", op_type.activation.name());
    let mut windows = vec!["strides"];
    if op_type.pool == Pool::Max {
        windows.extend(["pool_size", "pool_strides", "pool_pads"]);
    }
    for name in windows {
        if let Some(ints) = node.cx.opt_ints(name)? {
            attrs.set(name, ints);
        }
    }
    let x = node.take()?;
    let x_pad = if op_type.base == Base::InputConv2D { node.take_as(DType::I32)? } else { None };
    let w = node.take()?;
    let b = node.take_if(op_type.biased)?;
    attrs.set("pads", node.take_pads()?);
    let following = following::lift(&mut node)?;
    let depthwise = op_type.base == Base::Depthwise2D;
    if let Some(groups) = node.cx.opt_int("groups")? {
        let filters = w.and_then(|w| node.cx.builder.graph.ty(w).shape.first()?.fixed());
        if filters.is_none_or(|filters| i64::try_from(filters) != Ok(groups)) {
            return Err(node.cx.invalid(format!("groups is {groups}, each channel must be one")));
        }
    }
    let op = QuantizedConv { depthwise }.name();
    let operands = [x, w, b, x_pad].into_iter().chain(following).collect();
    node.layer(op, attrs, operands, DType::I8)
}

pub fn lifts(depthwise: bool) -> Vec<Lift> {
    let bases: &[Base] = if depthwise { &[Base::Depthwise2D] } else { &[Base::Conv2D, Base::InputConv2D] };
    let names = bases.iter().flat_map(|&base| OpType::all(base));
    let attrs = |op_type: &OpType| -> &'static [&'static str] {
        match (depthwise, op_type.pool == Pool::Max) {
            (false, false) => &["scale", "strides"],
            (false, true) => &["scale", "strides", "pool_size", "pool_strides", "pool_pads"],
            (true, false) => &["scale", "strides", "groups"],
            (true, true) => &["scale", "strides", "groups", "pool_size", "pool_strides", "pool_pads"],
        }
    };
    let both = |op_type: OpType| std::iter::once(op_type.to_string()).chain(op_type.older_name());
    names
        .flat_map(|op_type| both(op_type).map(move |name| (name, op_type)))
        .map(|(name, op_type)| Lift::hardware(name, Version::ANY, attrs(&op_type), lift))
        .collect()
}
