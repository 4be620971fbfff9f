//! The same cases by operators of the IR: operations whose operands are on the grids that a case records.

use crate::keras::Recorded;
use qirc::ir::Attrs;
use qirc::ops::{Arithmetic, OpError, Registry};
use qirc::tensor::fixed::{FixedPoint, PerChannel, QFloat, QTensor};
use qirc::tensor::{DType, FixedGrid, Grid, Tensor};
use serde_json::Value;

/// A tensor of the IR, with its grid. Entries that all are one value belong to no axis.
fn typed(x: &QTensor) -> (Tensor, Grid) {
    let fixed = x.fixed();
    let (sizes, value_bits) = (fixed.sizes(), fixed.value_bits());
    let storage = FixedGrid::storage_of(value_bits);
    let scales = match x {
        QTensor::Fixed(_) => None,
        QTensor::Float(float) => Some(float.scales()),
    };
    let along = |many: bool, axis: Option<usize>| axis.filter(|_| many).map(|axis| sizes.len() - axis);
    let frac = fixed.frac_bits();
    let axis = along(frac.entries().len() > 1, frac.axis());
    let axis = axis.or(scales.and_then(|scales| along(scales.entries().len() > 1, scales.axis())));
    let grid = FixedGrid {
        storage,
        value_bits,
        frac_bits: frac.entries().into(),
        scales: scales.map(|scales| scales.entries().into()),
        axis,
    };
    (Tensor::new(sizes, fixed.elements().to_vec()).unwrap().cast(storage), Grid::Fixed(grid))
}

/// The inverse.
fn quantized(x: &Tensor, grid: &FixedGrid) -> QTensor {
    let from_end = grid.axis.map(|axis| x.sizes().len() - axis);
    let entries = |entries: &[i32]| match from_end {
        Some(axis) if entries.len() > 1 => PerChannel::along(axis, entries.to_vec()),
        _ => PerChannel::tensor(entries[0]),
    };
    let wide = x.cast(DType::I64);
    let values = wide.elements::<i64>().unwrap().iter().copied();
    let fixed = FixedPoint::new(x.sizes(), values, grid.value_bits, entries(&grid.frac_bits)).unwrap();
    match &grid.scales {
        None => fixed.into(),
        Some(scales) => QFloat::new(
            fixed,
            match from_end {
                Some(axis) if scales.len() > 1 => PerChannel::along(axis, scales.to_vec()),
                _ => PerChannel::tensor(scales[0]),
            },
        )
        .unwrap()
        .into(),
    }
}

fn ints(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
}

/// Shifts and frac bits are attributes.
fn listed(input: &Recorded) -> Vec<i64> {
    match input {
        Recorded::Int(_, entries) => entries.clone(),
        Recorded::Float(_, entries) => entries.iter().map(|&v| v as i64).collect(),
        Recorded::Quantized(_) => panic!("{input:?} is no list"),
    }
}

/// What the case is as an operator: its name, attributes, and how many of the inputs are operands. `None` for what is
/// not about tensors of a network, or is a layer.
fn operator(name: &str, args: &Value, inputs: &[Recorded]) -> Option<(String, Attrs, usize)> {
    let int = |arg: &str| args[arg].as_i64();
    let rank = match inputs.first() {
        Some(Recorded::Quantized(x)) => x.fixed().sizes().len() as i64,
        Some(Recorded::Float(sizes, _) | Recorded::Int(sizes, _)) => sizes.len() as i64,
        None => 0,
    };
    let axis_of = |rank: i64| int("axis").map(|axis| if axis < 0 { axis + rank } else { axis });
    let with = |attrs: Attrs, arg: &str, value: Option<i64>| match value {
        Some(value) => attrs.with(arg, value),
        None => attrs,
    };
    let none = Attrs::new;
    let list = |arg: &str, at: usize| {
        let entries = listed(&inputs[at]);
        let several = entries.len() > 1;
        let attrs = none().with(arg, entries);
        if several { attrs.with("axis", rank - 1) } else { attrs }
    };
    let fixed = |op: &str, attrs: Attrs, operands: usize| Some((format!("fixed_{op}"), attrs, operands));
    let standard = |op: &str, attrs: Attrs| Some((op.to_owned(), attrs, 1));
    match name {
        "abs" | "sign" | "zeros_like" => fixed(name, none(), 1),
        "add" | "sub" | "maximum" => fixed(name, none(), 2),
        "multiply" => fixed("mul", none(), 2),
        "divide" => fixed("div", none(), 2),
        "clip_by_value" => fixed("clip", none(), 3),
        "add_int" | "sub_int" | "div_int" => fixed(name, none().with("number", int("n")?), 1),
        "pow" => fixed(name, none().with("exponent", int("n")?), 1),
        "div_scales" => fixed(name, none().with("divisor", args["n"].as_f64()? as f32), 1),
        "to_fixed_point" => fixed("fold_scales", none().with("scale_bits", int("scale_bits")?), 1),
        "align" => fixed(name, with(none(), "value_bits", int("value_bits")), 2),
        "rescale" | "upscale" => fixed(name, with(list("frac_bits", 1), "value_bits", int("value_bits")), 1),
        "downscale" => fixed(name, list("frac_bits", 1), 1),
        "promote" => fixed(name, none().with("value_bits", int("bits")?), 1),
        "expand" => fixed(name, none().with("value_bits", int("value_bits")?), 1),
        "shift" => fixed(name, none(), 2),
        "rshift" => fixed("shift_right", list("shift", 1), 1),
        "lshift" => fixed("shift_left", list("shift", 1), 1),
        "compare" => {
            let op = match args["op"].as_str()? {
                "eq" => "equal",
                "ne" => "not_equal",
                "lt" => "less",
                "le" => "less_or_equal",
                "gt" => "greater",
                _ => "greater_or_equal",
            };
            fixed(op, none(), 2)
        }
        "matmul" => {
            let flag = |arg: &str| args[arg].as_bool().unwrap_or(false);
            let attrs = none().with("transpose_a", flag("transpose_a"));
            fixed(name, attrs.with("transpose_b", flag("transpose_b")), 2)
        }
        "reduce_sum" | "reduce_mean" | "reduce_max" => {
            let keep = args["keepdims"].as_bool().unwrap_or(false);
            fixed(name, with(none().with("keepdims", keep), "axis", axis_of(rank)), 1)
        }
        "concat" => fixed(name, none().with("axis", axis_of(rank)?), 2),
        "stack" => fixed(name, none().with("axis", axis_of(rank + 1)?), 2),
        "gather" => match &args["indices"] {
            Value::Array(_) => None,
            index => fixed(name, none().with("axis", axis_of(rank)?).with("index", index.as_i64()?), 1),
        },
        "pad" => {
            let pads: Vec<Vec<i64>> = args["paddings"].as_array()?.iter().map(ints).collect();
            let side = |at: usize| pads.iter().map(move |pad| pad[at]);
            fixed(name, none().with("pads", side(0).chain(side(1)).collect::<Vec<_>>()), 2)
        }
        "transpose" => standard("transpose", none().with("perm", ints(&args["perm"]))),
        "reshape" => standard("reshape", none().with("shape", ints(&args["shape"]))),
        "broadcast_to" => fixed(name, none().with("shape", ints(&args["shape"])), 1),
        "tile" => standard("tile", none().with("repeats", ints(&args["multiples"]))),
        "expand_dims" => standard("unsqueeze", none().with("axes", vec![axis_of(rank + 1)?])),
        "to_float" | "dequantizer" => standard("to_float", none()),
        "quantize" if inputs.len() > 1 => {
            standard("to_fixed_point", list("frac_bits", 1).with("value_bits", int("value_bits")?))
        }
        "qfloat_quantize" => {
            let Recorded::Float(_, scales) = &inputs[1] else { return None };
            let attrs = list("frac_bits", 2).with("value_bits", int("value_bits")?);
            let attrs = attrs.with("scales", scales.clone());
            standard("to_fixed_point", if scales.len() > 1 { attrs.with("axis", rank - 1) } else { attrs })
        }
        _ => None,
    }
}

/// The result of a case by an operator, if it is one.
pub fn run(name: &str, args: &Value, inputs: &[Recorded]) -> Option<Result<Recorded, OpError>> {
    let (op, attrs, count) = operator(name, args, inputs)?;
    let registry = Registry::built_in();
    let mut operands = Vec::new();
    for input in &inputs[..count] {
        operands.push(match input {
            Recorded::Quantized(x) => typed(x),
            Recorded::Float(sizes, x) => (Tensor::new(sizes, x.clone()).unwrap(), Grid::F32),
            Recorded::Int(sizes, x) => {
                let x = Tensor::new(sizes, x.clone()).unwrap().cast(DType::I32);
                (x, Grid::Plain(DType::I32))
            }
        });
    }
    let run = || {
        let attrs = registry.complete(&op, attrs)?;
        let types: Vec<_> = operands
            .iter()
            .map(|(tensor, grid)| {
                let mut ty = tensor.tensor_type();
                ty.grid = grid.clone();
                Some(ty)
            })
            .collect();
        let ty = registry.infer(&op, &attrs, &types)?.remove(0);
        let grids: Vec<_> = operands.iter().map(|(_, grid)| Some(grid)).collect();
        let tensors: Vec<_> = operands.iter().map(|(tensor, _)| Some(tensor.clone())).collect();
        let y = registry.eval_on(&op, &attrs, &tensors, &grids, Arithmetic::Exact)?.remove(0);
        Ok(match (&ty.grid, &y) {
            (Grid::Fixed(grid), y) => Recorded::Quantized(quantized(y, grid)),
            (_, Tensor::F32(y)) => Recorded::Float(y.shape().to_vec(), y.iter().copied().collect()),
            (_, y) => {
                let wide = y.cast(DType::I64);
                Recorded::Int(y.sizes().to_vec(), wide.elements::<i64>().unwrap().to_vec())
            }
        })
    };
    Some(run())
}
