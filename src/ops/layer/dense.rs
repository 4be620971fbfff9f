//! Dense layers on the device: `QuantizedDense1D`.

use std::sync::Arc;

use super::body;
use super::chain::{self, Source, Step};
use super::integer::{self, Rescale, Sum, Tail};
use super::lifting::{Parameters, with_scale};
use super::limits;
use super::op_type::{Activation, Base, NONE, OpType, Pool};
use super::params::{self, Kernel, Met};
use super::prepared::{self, PreparedLayer};
use super::{Form, activation, activation_step, ceiling, ceiling_is_in_place, expect_integer_form};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::kernels;
use crate::kernels::image::{Conv, ConvShape, OFFSET};
use crate::ops::body::Body;
use crate::ops::bound;
use crate::ops::{
    Arithmetic, BRAINCHIP, Bound, Call, DeviceLayer, Example, Inputs, LayerCall, LayerOperand, Lift, LiftCx,
    LowerCx, Lowered, OnnxFunction, OnnxNode, OpError, Operator, Prepared, Quantize, QuantizedLayer, Schema,
    Version, Why,
};
use crate::tensor::{AffineGrid, DType, Tensor, TensorType};

/// Operands by position.
const X: usize = 0;
const W: usize = 1;
const B: usize = 2;
const MAX_VALUE: usize = 3;
const M: usize = 4;
const S_OUT: usize = 5;

pub struct QuantizedDense1D;

/// The chain `flatten? → dense → (relu | clip)?`.
fn chain(call: &Call) -> Result<Vec<Step>, OpError> {
    let [x, w, b] = [X, W, B].map(Source::Operand);
    let dense = |x| Step::new("dense", Attrs::new(), &[x, w, b]);
    let mut steps = if call.flag("flatten")? {
        vec![Step::new("flatten", Attrs::new(), &[x]), dense(Source::Previous)]
    } else {
        vec![dense(x)]
    };
    steps.extend(activation_step(call)?);
    Ok(steps)
}

fn infer_integer(call: &Call) -> Result<Vec<TensorType>, OpError> {
    let types = chain::types(&chain(call)?, &integer::as_floats(call, 3))?;
    let storage = call.ty(X)?.storage();
    call.require("C1", storage == DType::I8, || format!("x is not stored as {storage}"))?;
    let w = &call.ty(W)?.shape;
    // The dense operator of the chain checked the rank.
    let (sizes, filters) = (w.sizes().unwrap_or_default(), call.known(&w[0])?);
    integer::expect(call, "C5", W, DType::I8, &[&sizes])?;
    if call.opt_ty(B).is_some() {
        integer::expect(call, "C5", B, DType::I32, &[&[filters]])?;
    }
    let per_filter: &[&[usize]] = &[&[1, filters], &[1, 1]];
    if activation(call)? == Activation::ReluClipped {
        integer::expect(call, "C7", MAX_VALUE, DType::I32, per_filter)?;
    } else {
        integer::expect_absent(call, "C7", MAX_VALUE, "without ReLUClipped")?;
    }
    let scaled = is_scaled(call);
    if scaled {
        integer::expect(call, "C8", M, DType::U8, per_filter)?;
        integer::expect(call, "C8", S_OUT, DType::F32, per_filter)?;
    }
    let shape = types.last().map(|ty| ty.shape.clone()).unwrap_or_default();
    Ok(vec![TensorType::new(if scaled { DType::I8 } else { DType::I32 }, shape)])
}

/// Whether the result of an integer form is int8.
fn is_scaled(call: &Call) -> bool {
    call.opt_ty(M).is_some() || call.opt_ty(S_OUT).is_some()
}

fn proof(weights: &[i8], filters: usize, bias: Option<&[i32]>) -> Bound {
    let largest = bound::largest_magnitude(DType::I8);
    Bound { accumulator: bound::accumulator_bound(weights, filters, bias, |_| largest), ..Bound::default() }
}

fn sum<S: Sum>(inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
    let call = &inputs.call;
    let &[filters, features] = inputs.get(W)?.sizes() else {
        return Err(call.unsupported("weights of another rank than 2"));
    };
    let batch = inputs.get(X)?.sizes().first().copied().unwrap_or_default();
    let bias: Option<Vec<S>> =
        inputs.opt_elements::<i32>(B)?.map(|bias| bias.iter().map(|&b| S::wrap(b.into())).collect());
    let acc = kernels::dense_integer::<i8, S>(
        batch,
        features,
        filters,
        inputs.elements(X)?,
        inputs.elements(W)?,
        bias.as_deref(),
    );
    integer::finish(call, call.kernel(acc)?, vec![batch, filters], &tail(inputs, arithmetic)?)
}

fn tail<'a>(inputs: &Inputs<'a>, arithmetic: Arithmetic) -> Result<Tail<'a>, OpError> {
    let call = &inputs.call;
    let rescale = if is_scaled(call) {
        let rescale = Rescale::new(inputs.elements(M)?, inputs.elements(S_OUT)?, arithmetic);
        Some(rescale.ok_or_else(|| call.broken("C9", "every element of s_out is a power of two"))?)
    } else {
        None
    };
    Ok(Tail {
        max_pool: None,
        table: None,
        relu: activation(call)? != Activation::None,
        ceiling: inputs.opt_elements(MAX_VALUE)?,
        global: false,
        rescale,
    })
}

/// As a convolution whose kernel is all of the map. `None` where sums may leave 32 bits.
fn prepare(constants: &Inputs, arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
    let call = &constants.call;
    let (weights, bias) = (constants.elements::<i8>(W).ok()?, constants.opt_elements::<i32>(B).ok()?);
    let &[filters, features] = constants.get(W).ok()?.sizes() else { return None };
    if !bound::fits_i32(proof(weights, filters, bias).accumulator) {
        return None;
    }
    let sizes: Vec<Option<usize>> = call.ty(X).ok()?.shape.iter().map(|dim| dim.fixed()).collect();
    let (channels, kernel) = match sizes[..] {
        [_, Some(channels)] => (channels, [1, 1]),
        [_, Some(channels), Some(rows), Some(columns)] => (channels, [rows, columns]),
        _ => return None,
    };
    if channels * kernel[0] * kernel[1] != features {
        return None;
    }
    let tail = tail(constants, arithmetic).ok()?.of_images(filters)?;
    let shape = ConvShape { filters, channels, kernel, strides: [1, 1], pads: [0; 4] };
    let scaled = tail.rescale.is_some();
    let conv = Conv::new(shape, OFFSET, weights, bias, None, tail).ok()?;
    let kernel = if scaled { prepared::Kernel::Conv(conv) } else { prepared::Kernel::Integers(conv) };
    Some(Box::new(PreparedLayer { apart: [1, 1], kernel, pool: None, rank: 2 }))
}

/// hardware-ops §5.2, §5.3, §5.5 and §5.6.
fn quantize(layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
    let call = &layer.call;
    let grid = layer.grid(X)?;
    if grid.storage != DType::I8 {
        return Err(OpError::Unsupported {
            op: call.op(),
            what: format!("{} input", grid.storage),
            way_out: Some("quantize the input of the network as int8 (--input-dtype int8)".to_owned()),
        });
    }
    let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
    let (Some(weights), &[filters, features]) = (layer.constant(W)?, &sizes[..]) else {
        return Err(call.unsupported("weights whose sizes are not known"));
    };
    // Axis 1 of x, whose scales meet the weights: features, or channels of a map before flattening.
    let channels = match call.ty(X)?.shape.get(1) {
        Some(channels) => call.known(channels)?,
        None => features,
    };
    let map = features.checked_div(channels).unwrap_or_default().max(1);
    let Kernel { integers, scales, mut why } =
        params::kernel(call, weights, filters, grid, Met::Channels { taps: map })?;
    let bias = match layer.constant(B)? {
        Some(bias) => {
            let reals: Vec<f64> = bias.iter().map(|&b| f64::from(b)).collect();
            let integers = params::coarse(call, "bias", reals.iter().copied(), &scales, true)?;
            why.push(params::bias_why(&reals, &integers, false));
            params::constant("B", &[filters], integers)
        }
        None => LayerOperand::Absent,
    };
    let per_filter = [1, filters];
    let max_value = match ceiling(call)? {
        Some(ceiling) => {
            let reals = std::iter::repeat_n(f64::from(ceiling), filters);
            let integers = params::coarse(call, "ceiling", reals, &scales, false)?;
            params::constant("max_value", &per_filter, integers)
        }
        None => LayerOperand::Absent,
    };
    let mut operands = vec![LayerOperand::Keep(X), params::constant("Wi", &sizes, integers), bias, max_value];
    let grid = if layer.scaled {
        let rescaling = params::rescaling(layer, params::Accumulator::Filters(&scales))?;
        operands.push(params::constant("M", &per_filter, rescaling.multipliers));
        operands.push(params::constant("S_out", &per_filter, rescaling.divisors));
        why.extend(rescaling.why);
        AffineGrid::hardware(DType::I8, rescaling.scales)
    } else {
        why.push(Why::new("scale", "accumulator, as the result stays int32").value(&scales));
        AffineGrid::hardware(DType::I32, scales)
    };
    let mut attrs = call.attrs.clone();
    attrs.remove("max_value");
    Ok(QuantizedLayer { operands, attrs, grid, why })
}

/// The body: flatten, multiply, activation, rescale.
fn function(name: &str, bound: Bound) -> Result<OnnxFunction, OpError> {
    let unknown =
        |()| OpError::Unsupported { op: name.to_owned(), what: "this name".to_owned(), way_out: None };
    let op_type: OpType = name.parse().map_err(unknown)?;
    body::check(name, bound)?;
    let mut inputs = vec!["X", "W"];
    if op_type.biased {
        inputs.push("bias");
    }
    if op_type.activation == Activation::ReluClipped {
        inputs.push("max_value");
    }
    if op_type.scaled {
        inputs.extend(["Scale", "Shift"]);
    }
    let mut body = Body::default();
    let x = if op_type.flatten { body.op("Flatten", &["X"]) } else { "X".to_owned() };
    let x = body.shifted(&x);
    let w = body.shifted("W");
    let w = body.op("Transpose", &[&w]);
    // Two operands: a product with int8 saturates in between on CPUs without VNNI.
    let (x_zero, w_zero) = (body.scalar(128u8), body.scalar(128u8));
    let mut y = body.op("MatMulInteger", &[&x, &w, &x_zero, &w_zero]);
    if op_type.biased {
        y = body.op("Add", &[&y, "bias"]);
    }
    y = body.activated(y, op_type.activation, DType::I32);
    if op_type.scaled {
        let wide = body.cast(&y, DType::F64);
        let ratio = body.ratio("Scale", "Shift");
        body.rescaled(&wide, &ratio);
    }
    Ok(body.function(name, inputs, "Y"))
}

fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let mut node = Parameters::of(cx)?;
    let OpType { flatten, biased, activation, scaled, .. } = node.op_type;
    let attrs = Attrs::new().with("flatten", flatten).with("activation", activation.name());
    let (x, w) = (node.take()?, node.take()?);
    let b = node.take_if(biased)?;
    let max_value = node.take_if(activation == Activation::ReluClipped)?;
    let (m, s_out) = if scaled { node.take_rescale()? } else { (None, None) };
    let storage = if scaled { DType::I8 } else { DType::I32 };
    node.layer("QuantizedDense1D", attrs, vec![x, w, b, max_value, m, s_out], storage)
}

impl DeviceLayer for QuantizedDense1D {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError> {
        chain(call)
    }

    fn quantize(&self, layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
        quantize(layer)
    }
}

impl Operator for QuantizedDense1D {
    fn schema(&self) -> Schema {
        Schema::new("QuantizedDense1D", DOC)
            .operand("x")
            .operand("w")
            .optional("b")
            .optional("max_value")
            .optional("m")
            .optional("s_out")
            .attr("flatten", false)
            .attr("activation", NONE)
            .optional_attr("max_value", AttrKind::Float)
            .rounding()
            .layer()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let direct = activation(call).is_ok_and(|activation| activation != Activation::Lut);
        call.require("C2", direct, || "`activation` is none, ReLU or ReLUClipped".to_owned())?;
        call.require("C3", ceiling_is_in_place(call)?, || {
            "the attribute `max_value` is given in the float form with ReLUClipped".to_owned()
        })?;
        match Form::of(call)? {
            Form::Float => {
                for position in [MAX_VALUE, M, S_OUT] {
                    integer::expect_absent(call, "C4", position, "in the float form")?;
                }
                let types = chain::types(&chain(call)?, call.operands)?;
                Ok(types.into_iter().next_back().into_iter().collect())
            }
            Form::Integer => infer_integer(call),
        }
    }

    fn eval(&self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        if Form::of(&inputs.call)? == Form::Float {
            return chain::eval(&chain(&inputs.call)?, inputs);
        }
        let filters = inputs.get(W)?.sizes().first().copied().unwrap_or_default();
        let bound = proof(inputs.elements(W)?, filters, inputs.opt_elements(B)?);
        if bound::fits_i32(bound.accumulator) {
            sum::<i32>(inputs, arithmetic)
        } else {
            // 2^64 bytes of weights would be needed to pass 64 bits.
            sum::<i64>(inputs, arithmetic)
        }
    }

    fn prepare(&self, constants: &Inputs, arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
        prepare(constants, arithmetic)
    }

    fn quantize(&self) -> Quantize {
        Quantize::Layer(Box::new(QuantizedDense1D))
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let call = cx.call;
        expect_integer_form(&call)?;
        let constant = |position: usize| cx.constants.get(position).copied().flatten();
        let bias = constant(B).and_then(Tensor::elements::<i32>);
        let Some(weights) = constant(W).and_then(Tensor::elements::<i8>) else {
            return Err(call.unsupported("weights that are not constant"));
        };
        if bias.is_none() && call.opt_ty(B).is_some() {
            return Err(call.unsupported("a bias that is not constant"));
        }
        let filters = constant(W).and_then(|w| w.sizes().first().copied()).unwrap_or_default();
        let bound = proof(weights, filters, bias);
        let op_type = OpType {
            base: Base::Dense1D,
            flatten: call.flag("flatten")?,
            biased: bias.is_some(),
            pool: Pool::None,
            activation: activation(&call)?,
            scaled: is_scaled(&call),
        };
        let name = op_type.to_string();
        function(&name, bound)?;
        let ceilings = limits::ceiling(constant(MAX_VALUE).and_then(Tensor::elements::<i32>));
        let divisors = limits::divisor(constant(S_OUT).and_then(Tensor::elements::<f32>));
        let limits = limits::bias_of_any_shift(bias).into_iter().chain(ceilings).chain(divisors).collect();
        let node = OnnxNode {
            domain: BRAINCHIP.to_owned(),
            inputs: cx.operand_names.iter().filter(|name| !name.is_empty()).cloned().collect(),
            ..cx.node(&name, Vec::new())
        };
        Ok(Lowered::Layer { node: with_scale(node, cx), bound, limits, function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        OpType::all(Base::Dense1D)
            .map(|name| Lift::hardware(name.to_string(), Version::ANY, &["scale"], lift))
            .collect()
    }

    fn macs(&self, call: &Call) -> u64 {
        call.opt_ty(W).and_then(|w| w.shape.elements()).unwrap_or_default() as u64
    }

    fn examples(&self) -> Vec<Example> {
        let flattened =
            Attrs::new().with("flatten", true).with("activation", "ReLUClipped").with("max_value", 6.0);
        let float = Example {
            attrs: flattened,
            operands: vec![
                Tensor::new(&[1, 2, 1, 2], vec![0.5f32, -1.0, 2.0, 3.0]),
                Tensor::new(&[2, 4], vec![1.0f32, 0.5, -0.25, 2.0, -1.0, 0.5, 1.5, 0.75]),
                Tensor::new(&[2], vec![0.5f32, -0.5]),
            ],
        };
        let x = Tensor::new(&[2, 3], vec![127i8, -128, 5, 0, 64, -3]);
        let w = Tensor::new(&[2, 3], vec![3i8, -2, 127, -127, 1, 0]);
        let integer = Example {
            attrs: Attrs::new().with("activation", "ReLU"),
            operands: vec![
                x.clone(),
                w.clone(),
                Tensor::new(&[2], vec![100i32, -50]),
                None,
                Tensor::new(&[1, 2], vec![200u8, 131]),
                Tensor::new(&[1, 2], vec![2048f32, 4096.0]),
            ],
        };
        let unscaled = Example { attrs: Attrs::new(), operands: vec![x, w] };
        vec![float, integer, unscaled]
    }
}

const DOC: &str = "A dense layer. In the float form the chain `flatten? → dense → (relu | clip)?` of x, w `[F, I]` and \
b `[F]`; `flatten` is for x of rank 4. In the integer form `acc = sum over i of x[n, i] * w[f, i] + b[f]` in exact \
integers, then `max(acc, 0)` and `min(acc, max_value[f])` as `activation` says, then \
`floor(acc * m[f] / s_out[f] + 1/2)` saturated to int8; without m and s_out the int32 `acc` is the result.\n\n\
* C1: x is plain f32 or f64 (float form), or stored as i8 (integer form).\n\
* C2: `activation` is none, ReLU or ReLUClipped.\n\
* C3: the attribute `max_value` is there exactly in the float form with ReLUClipped.\n\
* C4: max_value, m and s_out are absent in the float form.\n\
* C5: in the integer form w is i8 and b is i32.\n\
* C7: in the integer form max_value, i32 `[1, F]` or `[1, 1]`, is there exactly with ReLUClipped.\n\
* C8: in the integer form m is u8 and s_out f32, both `[1, F]` or `[1, 1]`, or both are absent.\n\
* C9: the elements of s_out are powers of two (checked when it runs).\n\n\
Shapes are as the operators of the chain want them.";
