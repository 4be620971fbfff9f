//! Additions on the device: `QuantizedAdd`.

use std::sync::Arc;

use super::Form;
use super::body;
use super::chain::{self, Source, Step};
use super::integer::{self, Rescale, Tail};
use super::lifting::{Parameters, with_scale};
use super::limits;
use super::op_type::{Activation, Base, OpType, Pool};
use super::prepared::{Kernel, PreparedLayer};
use super::{expect_integer_form, params};
use crate::ir::{Attrs, ValueId};
use crate::kernels::image::{Channelwise, OFFSET};
use crate::ops::body::Body;
use crate::ops::bound;
use crate::ops::{
    Arithmetic, BRAINCHIP, Bound, Call, DeviceLayer, Example, Inputs, LayerCall, LayerOperand, Lift, LiftCx,
    LowerCx, Lowered, OnnxFunction, OnnxNode, OpError, Operator, Prepared, Quantize, QuantizedLayer, Schema,
    Version, Why,
};
use crate::tensor::round::exponent_of;
use crate::tensor::{AffineGrid, DType, Tensor, TensorType};

/// Operands by position.
const A: usize = 0;
const B: usize = 1;
const A_SHIFT: usize = 2;
const B_SHIFT: usize = 3;
const S_OUT: usize = 4;

pub struct QuantizedAdd;

fn chain(call: &Call) -> Result<Vec<Step>, OpError> {
    let (a, b) = (call.ty(A)?, call.ty(B)?);
    call.require("C2", a.shape == b.shape, || {
        format!("both operands have one shape, found {} and {}", a.shape, b.shape)
    })?;
    Ok(vec![Step::new("add", Attrs::new(), &[Source::Operand(A), Source::Operand(B)])])
}

/// `[1, entries, 1, …]` of the rank of the operands.
fn along_axis_1(call: &Call, entries: usize) -> Result<Vec<usize>, OpError> {
    let mut sizes = vec![1; call.ty(A)?.shape.rank()];
    if let Some(size) = sizes.get_mut(1) {
        *size = entries;
    }
    Ok(sizes)
}

fn infer_integer(call: &Call) -> Result<Vec<TensorType>, OpError> {
    let types = chain::types(&chain(call)?, &integer::as_floats(call, 2))?;
    for position in [A, B] {
        let storage = call.ty(position)?.storage();
        call.require("C1", storage == DType::I8, || format!("an operand is not stored as {storage}"))?;
    }
    let channels = match call.ty(A)?.shape.get(1) {
        Some(channels) => call.known(channels)?,
        None => 1,
    };
    let (one, each) = (along_axis_1(call, 1)?, along_axis_1(call, channels)?);
    let shapes: &[&[usize]] = &[&one, &each];
    integer::expect(call, "C4", A_SHIFT, DType::I32, shapes)?;
    integer::expect(call, "C4", B_SHIFT, DType::I32, shapes)?;
    let scaled = call.opt_ty(S_OUT).is_some();
    if scaled {
        integer::expect(call, "C4", S_OUT, DType::F32, shapes)?;
    }
    let shape = types.last().map(|ty| ty.shape.clone()).unwrap_or_default();
    Ok(vec![TensorType::new(if scaled { DType::I8 } else { DType::I32 }, shape)])
}

fn eval_integer(inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
    let call = &inputs.call;
    let (a, b) = (inputs.elements::<i8>(A)?, inputs.elements::<i8>(B)?);
    let (a_shift, b_shift) = (inputs.elements::<i32>(A_SHIFT)?, inputs.elements::<i32>(B_SHIFT)?);
    let sizes = inputs.get(A)?.sizes();
    let map = sizes.iter().skip(2).product::<usize>().max(1);
    let channels = sizes.get(1).copied().unwrap_or(1).max(1);
    let sums = a.iter().zip(b).enumerate().map(|(i, (&a, &b))| {
        let channel = i / map % channels;
        // Types were checked: one entry, or one for each channel.
        let times = |shifts, v: i8| i64::from(params::per_index(shifts, channel).unwrap_or(1)) * i64::from(v);
        (channel, times(a_shift, a) + times(b_shift, b))
    });
    match inputs.opt_elements::<f32>(S_OUT)? {
        Some(divisors) => {
            let rescale = Rescale::new(&[1], divisors, arithmetic);
            let rescale =
                rescale.ok_or_else(|| call.broken("C9", "every element of s_out is a power of two"))?;
            let int8 = sums.map(|(channel, sum)| rescale.apply(sum, channel)).collect();
            call.result::<i8>(sizes, int8)
        }
        None => {
            let int32: Result<Vec<i32>, _> = sums.map(|(_, sum)| i32::try_from(sum)).collect();
            call.result(sizes, int32.map_err(|_| call.unsupported("a result beyond 32 bits"))?)
        }
    }
}

/// As a weighted sum of two images. `None` for int32 results, and for shifts that are no 16-bit integers.
fn prepare(constants: &Inputs, arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
    let call = &constants.call;
    let shape = &call.ty(A).ok()?.shape;
    let (rank, channels) = (shape.rank(), shape.get(1)?.fixed()?);
    if !matches!(rank, 2 | 4) {
        return None;
    }
    let (a, b) = (constants.elements::<i32>(A_SHIFT).ok()?, constants.elements::<i32>(B_SHIFT).ok()?);
    let shifts = (0..channels).flat_map(|i| [params::per_index(a, i), params::per_index(b, i)]);
    let shifts: Vec<i16> = shifts.map(|shift| shift?.try_into().ok()).collect::<Option<_>>()?;
    let rescale = Rescale::new(&[1], constants.opt_elements::<f32>(S_OUT).ok()??, arithmetic)?;
    let tail = Tail {
        max_pool: None,
        table: None,
        relu: false,
        ceiling: None,
        global: false,
        rescale: Some(rescale),
    };
    let layer = Channelwise::sum(channels, 2, OFFSET, &shifts, None, tail.of_images(channels)?).ok()?;
    Some(Box::new(PreparedLayer { apart: [1, 1], kernel: Kernel::Channelwise(layer), pool: None, rank }))
}

/// hardware-ops §5.5, *Add*.
fn quantize(layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
    let call = &layer.call;
    let (a, b) = (powers(layer, A)?, powers(layer, B)?);
    let entries = a.len().max(b.len());
    let at = |scales: &[f64], i| {
        params::per_index(scales, i)
            .ok_or_else(|| call.unsupported("operands of different numbers of scales"))
    };
    let finer: Vec<f64> =
        (0..entries).map(|i| Ok(at(&a, i)?.max(at(&b, i)?))).collect::<Result<_, OpError>>()?;
    let sizes = along_axis_1(call, entries)?;
    let shift = |suffix, scales: &[f64]| -> Result<LayerOperand, OpError> {
        let shifts = finer.iter().enumerate().map(|(i, finer)| {
            let ratio = finer / at(scales, i)?;
            let fits = ratio <= f64::from(1 << 30);
            // A power of two that fits.
            if fits { Ok(ratio as i32) } else { Err(call.unsupported(format!("a shift by {ratio}"))) }
        });
        Ok(params::constant(suffix, &sizes, shifts.collect::<Result<Vec<i32>, OpError>>()?))
    };
    let mut operands =
        vec![LayerOperand::Keep(A), LayerOperand::Keep(B), shift("x1_shift", &a)?, shift("x2_shift", &b)?];
    let mut why = vec![
        Why::new("sum", "the finer of scale(x1) and scale(x2)").value(&finer),
        shift_why("x1_shift", "sum / scale(x1)", "scale(x1)", &finer, &a),
        shift_why("x2_shift", "sum / scale(x2)", "scale(x2)", &finer, &b),
    ];
    let grid = if layer.scaled {
        let largest = layer.largest()?;
        let scales: Vec<f64> = largest
            .iter()
            .map(|&largest| params::shift_only_scale(call, largest))
            .collect::<Result<_, _>>()?;
        let entries = entries.max(scales.len());
        let divisors: Vec<f32> = (0..entries)
            .map(|i| params::shift_only_divisor(call, at(&finer, i)?, at(&scales, i)?))
            .collect::<Result<_, OpError>>()?;
        let formula = "the largest power of two below 128 / largest, at most 128";
        why.push(Why::new("scale", formula).term("largest", &largest).value(&scales));
        why.push(
            Why::new("S_out", "sum / scale").term("sum", &finer).term("scale", &scales).value(&divisors),
        );
        operands.push(params::constant("S_out", &along_axis_1(call, entries)?, divisors));
        AffineGrid::hardware(DType::I8, scales)
    } else {
        why.push(Why::new("scale", "sum, as the result stays int32").value(&finer));
        AffineGrid::hardware(DType::I32, finer)
    };
    Ok(QuantizedLayer { operands, attrs: call.attrs.clone(), grid, why })
}

fn shift_why(
    what: &'static str,
    formula: &'static str,
    operand: &'static str,
    sum: &[f64],
    scales: &[f64],
) -> Why {
    let shifts: Vec<f64> =
        sum.iter().enumerate().filter_map(|(i, sum)| Some(sum / params::per_index(scales, i)?)).collect();
    Why::new(what, formula).term("sum", sum).term(operand, scales).value(&shifts)
}

/// The scales of an operand, which must be powers of two.
fn powers(layer: &LayerCall, position: usize) -> Result<Vec<f64>, OpError> {
    let grid: &AffineGrid = layer.grid(position)?;
    if grid.storage != DType::I8 {
        return Err(OpError::Unsupported {
            op: layer.call.op(),
            what: format!("{} input", grid.storage),
            way_out: Some("quantize the input of the network as int8 (--input-dtype int8)".to_owned()),
        });
    }
    if grid.factors.iter().any(|&scale| exponent_of(scale).is_none()) {
        return Err(layer.call.unsupported("an operand whose scales are not powers of two"));
    }
    Ok(grid.factors.to_vec())
}

/// The body: each operand times its shift, sum, rescale.
fn function(name: &str, bound: Bound) -> Result<OnnxFunction, OpError> {
    let unknown =
        |()| OpError::Unsupported { op: name.to_owned(), what: "this name".to_owned(), way_out: None };
    let op_type: OpType = name.parse().map_err(unknown)?;
    body::check(name, bound)?;
    let mut body = Body::default();
    let storage = if op_type.scaled { DType::F64 } else { DType::I32 };
    let divisor = op_type.scaled.then(|| body.cast("Shift", storage));
    let terms = [("X", "Xs"), ("Y", "Ys")].map(|(operand, shift)| {
        let mut factor = body.cast(shift, storage);
        if let Some(divisor) = &divisor {
            // A constant: dividing it leaves one pass less over the tensor.
            factor = body.op("Div", &[&factor, divisor]);
        }
        let wide = body.cast(operand, storage);
        body.op("Mul", &[&wide, &factor])
    });
    let sum = body.op("Add", &[&terms[0], &terms[1]]);
    let mut inputs = vec!["X", "Y", "Xs", "Ys"];
    if op_type.scaled {
        inputs.push("Shift");
        body.half_up(&sum, DType::I8);
    }
    Ok(body.function(name, inputs, "Z"))
}

fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let mut node = Parameters::of(cx)?;
    let scaled = node.op_type.scaled;
    let mut operands = vec![node.take()?, node.take()?, node.take()?, node.take()?];
    operands.push(if scaled { node.take_as(DType::F32)? } else { None });
    let storage = if scaled { DType::I8 } else { DType::I32 };
    node.layer("QuantizedAdd", Attrs::new(), operands, storage)
}

impl DeviceLayer for QuantizedAdd {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError> {
        chain(call)
    }

    fn quantize(&self, layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
        quantize(layer)
    }
}

impl Operator for QuantizedAdd {
    fn schema(&self) -> Schema {
        Schema::new("QuantizedAdd", DOC)
            .operand("x1")
            .operand("x2")
            .optional("x1_shift")
            .optional("x2_shift")
            .optional("s_out")
            .rounding()
            .layer()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        match Form::of(call)? {
            Form::Float => {
                for position in [A_SHIFT, B_SHIFT, S_OUT] {
                    integer::expect_absent(call, "C3", position, "in the float form")?;
                }
                chain::types(&chain(call)?, call.operands)
            }
            Form::Integer => infer_integer(call),
        }
    }

    fn eval(&self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        match Form::of(&inputs.call)? {
            Form::Float => chain::eval(&chain(&inputs.call)?, inputs),
            Form::Integer => eval_integer(inputs, arithmetic),
        }
    }

    fn prepare(&self, constants: &Inputs, arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
        prepare(constants, arithmetic)
    }

    fn quantize(&self) -> Quantize {
        Quantize::Layer(Box::new(QuantizedAdd))
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let call = cx.call;
        expect_integer_form(&call)?;
        let shifts = [A_SHIFT, B_SHIFT].map(|position| {
            let tensor = cx.constants.get(position).copied().flatten();
            let shifts = tensor.and_then(Tensor::elements::<i32>)?;
            shifts.iter().map(|shift| shift.unsigned_abs()).max()
        });
        let [Some(a), Some(b)] = shifts else {
            return Err(call.unsupported("shifts that are not constant"));
        };
        let largest = bound::largest_magnitude(DType::I8);
        let bound = Bound { accumulator: largest * (u128::from(a) + u128::from(b)), ..Bound::default() };
        let op_type = OpType {
            base: Base::Add,
            flatten: false,
            biased: false,
            pool: Pool::None,
            activation: Activation::None,
            scaled: call.opt_ty(S_OUT).is_some(),
        };
        let name = op_type.to_string();
        function(&name, bound)?;
        let divisors = cx.constants.get(S_OUT).copied().flatten().and_then(Tensor::elements::<f32>);
        let same = limits::same_operand(cx.operand_names);
        let limits = same.into_iter().chain(limits::divisor(divisors)).collect();
        let node = OnnxNode { domain: BRAINCHIP.to_owned(), ..cx.node(&name, cx.operand_names.to_vec()) };
        Ok(Lowered::Layer { node: with_scale(node, cx), bound, limits, function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        OpType::all(Base::Add)
            .map(|name| Lift::hardware(name.to_string(), Version::ANY, &["scale"], lift))
            .collect()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let floats = |elements| Tensor::new::<f32>(&[1, 2, 1, 2], elements);
        let bytes = |elements| Tensor::new::<i8>(&[1, 2, 1, 2], elements);
        let shift = |elements| Tensor::new::<i32>(&[1, 2, 1, 1], elements);
        let operands = vec![
            bytes(vec![127, -128, 3, -3]),
            bytes(vec![1, -1, 0, 2]),
            shift(vec![1, 2]),
            shift(vec![4, 1]),
        ];
        let mut scaled = operands.clone();
        scaled.push(Tensor::new(&[1, 2, 1, 1], vec![2f32, 4.0]));
        vec![
            Example {
                attrs: Attrs::new(),
                operands: vec![floats(vec![0.5, -1.0, 2.0, 3.0]), floats(vec![1.0, 0.25, -2.0, 0.0])],
            },
            Example { attrs: Attrs::new(), operands: scaled },
            Example { attrs: Attrs::new(), operands },
        ]
    }
}

const DOC: &str = "A sum of two tensors of one shape. In the float form `add`. In the integer form \
`z = x1 * x1_shift + x2 * x2_shift` in exact integers, then `floor(z / s_out + 1/2)` saturated to int8; without s_out \
the int32 `z` is the result. Shifts and s_out have one entry, or one per channel.\n\n\
* C1: x1 and x2 are plain f32 or f64 (float form), or stored as i8 (integer form).\n\
* C2: x1 and x2 have one shape.\n\
* C3: x1_shift, x2_shift and s_out are absent in the float form.\n\
* C4: in the integer form x1_shift and x2_shift are i32 and s_out, where it is there, f32, each `[1, C, 1, …]` or \
`[1, 1, 1, …]` of the rank of x1.\n\
* C9: the elements of s_out are powers of two (checked when it runs).";
