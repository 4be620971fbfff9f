//! The tail of a quantized network: `Dequantizer`.

use std::sync::Arc;

use super::lifting::vector;
use super::params::per_index;
use crate::ir::{Attrs, ValueId};
use crate::ops::body::Body;
use crate::ops::{
    Arithmetic, BRAINCHIP, Bound, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxFunction,
    OnnxNode, OpError, Operator, Quantize, Schema,
};
use crate::tensor::{AffineGrid, DType, Tensor, TensorType};

/// More results than this are read from a file under no name that this compiler knows.
const MOST_RESULTS: usize = 64;

pub struct Dequantizer;

/// hardware-ops §5.5: the constant operand for a value on `grid`: real per integer, f32, one entry
/// or one per channel.
pub fn dequantizer_scale(grid: &AffineGrid) -> Tensor {
    Tensor::vector(grid.factors.iter().map(|scale| (1.0 / scale) as f32).collect())
}

/// `Dequantizer` for one value, `DequantizerN` for more.
fn op_type(results: usize) -> String {
    if results == 1 { "Dequantizer".to_owned() } else { format!("Dequantizer{results}") }
}

/// The names of the i-th of `results` parameters: `X` for one, `X1`, `X2`, … for more.
fn numbered(stem: &str, separator: &str, results: usize, i: usize) -> String {
    if results == 1 { stem.to_owned() } else { format!("{stem}{separator}{}", i + 1) }
}

fn function(name: &str, _: Bound) -> Result<OnnxFunction, OpError> {
    let results = (1..=MOST_RESULTS).find(|&results| op_type(results) == name);
    let results = results.ok_or_else(|| OpError::Unsupported {
        op: name.to_owned(),
        what: format!("more than {MOST_RESULTS} values that leave the device"),
        way_out: None,
    })?;
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut body = Body::default();
    for i in 0..results {
        let (x, scale) = (numbered("X", "", results, i), numbered("scale", "_", results, i));
        // No DequantizeLinear: onnxruntime 1.23 moves one over a float operator behind it and makes a
        // uint8 of its int8.
        let reals = body.cast(&x, DType::F32);
        let (rows, axis) = (body.vector(vec![0i64, 0, -1]), body.vector(vec![1i64]));
        let reals = body.op("Reshape", &[&reals, &rows]);
        let per_row = body.op("Unsqueeze", &[&scale, &axis]);
        let product = body.op("Mul", &[&reals, &per_row]);
        let shape = body.op("Shape", &[&x]);
        body.op("Reshape", &[&product, &shape]);
        let y = numbered("Y", "", results, i);
        body.name_last(&y);
        inputs.extend([x, scale]);
        outputs.push(y);
    }
    Ok(body.function_of(name, inputs, outputs))
}

fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let mut operands = cx.operands.clone();
    // Of each pair the second is a scale.
    for at in (1..operands.len()).step_by(2) {
        operands[at] = Some(vector(cx, at)?);
    }
    let name = cx.node.outputs.first().unwrap_or(&cx.node.name).clone();
    let node = cx.builder.node("Dequantizer", Attrs::new(), operands, &name)?;
    let results = cx.builder.graph.node(node).results.len() as u32;
    Ok((0..results).map(|result| ValueId { node, result }).collect())
}

impl Operator for Dequantizer {
    fn schema(&self) -> Schema {
        Schema::new(
            "Dequantizer",
            "The operands x_scale are pairs `x, scale`, and each gives a result: `y = f32(x) * scale`, the integer rounded to \
             f32 and then one f32 product. scale has one entry, or one per index of axis 1 of x.\n\n\
             * C1: operands come in pairs, at most 64.\n\
             * C2: x is stored as i8 or i32.\n\
             * C3: scale is f32 of one axis, with one entry or as many as axis 1 of x.",
        )
        .variadic("x_scale")
        .any_results()
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let operands = call.operands.len();
        call.require("C1", operands.is_multiple_of(2) && operands <= 2 * MOST_RESULTS, || {
            format!("operands come in pairs, at most {MOST_RESULTS}, found {operands} operands")
        })?;
        (0..operands / 2)
            .map(|i| {
                let (x, scale) = (call.ty(2 * i)?, call.ty(2 * i + 1)?);
                call.require("C2", matches!(x.storage(), DType::I8 | DType::I32), || {
                    format!("x is stored as i8 or i32, found {}", x.storage())
                })?;
                let entries = scale.shape.sizes();
                let channels = x.shape.get(1).and_then(|dim| dim.fixed());
                let fits = scale.storage() == DType::F32
                    && (entries == Some(vec![1])
                        || (channels.is_some() && entries == channels.map(|size| vec![size])));
                call.require("C3", fits, || {
                    format!(
                        "scale is f32 of one entry or one per index of axis 1 of {}, found {}{}",
                        x.shape,
                        scale.storage(),
                        scale.shape
                    )
                })?;
                Ok(TensorType::new(DType::F32, x.shape.clone()))
            })
            .collect()
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let mut results = Vec::new();
        for i in 0..inputs.tensors.len() / 2 {
            let (x, scales) = (inputs.get(2 * i)?, inputs.elements::<f32>(2 * i + 1)?);
            let integers: Vec<f32> = match x {
                Tensor::I32(x) => x.iter().map(|&v| v as f32).collect(),
                _ => inputs.elements::<i8>(2 * i)?.iter().map(|&v| v.into()).collect(),
            };
            let sizes = x.sizes();
            let map = sizes.iter().skip(2).product::<usize>().max(1);
            let channels = sizes.get(1).copied().unwrap_or(1).max(1);
            // Types were checked: one entry, or one for each channel.
            let scale = |i: usize| per_index(scales, i / map % channels).unwrap_or(1.0);
            let reals = integers.iter().enumerate().map(|(i, v)| v * scale(i)).collect();
            results.extend(inputs.call.result::<f32>(sizes, reals)?);
        }
        Ok(results)
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("it is put in by quantization")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let node = OnnxNode {
            domain: BRAINCHIP.to_owned(),
            ..cx.node(&op_type(cx.result_names.len()), cx.operand_names.to_vec())
        };
        Ok(Lowered::Layer { node, bound: Bound::default(), limits: Vec::new(), function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        (1..=MOST_RESULTS).map(|results| Lift::hardware(op_type(results), 2 * results, &[], lift)).collect()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let map = Tensor::new(&[1, 2, 1, 2], vec![127i8, -128, 3, 0]);
        let logits = Tensor::new(&[1, 2], vec![16_777_217i32, -5]);
        let (each, one) = (Tensor::new(&[2], vec![0.1f32, 0.25]), Tensor::new(&[1], vec![0.5f32]));
        vec![
            Example { attrs: Attrs::new(), operands: vec![map.clone(), each.clone()] },
            Example { attrs: Attrs::new(), operands: vec![map, one, logits, each] },
        ]
    }
}
