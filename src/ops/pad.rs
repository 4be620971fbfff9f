//! Operators that put elements around a tensor: `pad`, `channel_pad`.

use std::sync::Arc;

use ndarray::{ArrayD, IxDyn, Slice};

use super::number::Real;
use super::{
    Arithmetic, BRAINCHIP, BRAINCHIP_OPSET, Bound, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx,
    Lowered, OnnxAttr, OnnxFunction, OnnxNode, OpError, Operator, Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Array, DType, Dim, Element, Tensor, TensorType, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Pad), Box::new(ChannelPad)]
}

/// `size` with `before` and `after` more.
fn grown(call: &Call, label: &'static str, dim: &Dim, before: usize, after: usize) -> Result<Dim, OpError> {
    if before == 0 && after == 0 {
        return Ok(dim.clone());
    }
    let size = call.known(dim)?.checked_add(before).and_then(|size| size.checked_add(after));
    size.map(Dim::Fixed).ok_or_else(|| call.broken(label, "the sizes of y do not overflow"))
}

/// Copies `x` into `y` so that it starts at `before` on each axis.
fn place<T: Element>(x: &Array<T>, before: &[usize], y: &mut ArrayD<T>) {
    let mut inside = y.slice_each_axis_mut(|axis| {
        // Both have the rank of x.
        let (start, size) = (before[axis.axis.index()], x.shape()[axis.axis.index()]);
        Slice::from(start..start + size)
    });
    inside.assign(x);
}

pub struct Pad;

impl Pad {
    /// The elements before and after, by axis.
    fn pads(call: &Call) -> Result<(Vec<usize>, Vec<usize>), OpError> {
        let rank = call.ty(0)?.shape.rank();
        let ints = call.ints("pads")?;
        let pads: Vec<usize> = ints.iter().filter_map(|&pad| usize::try_from(pad).ok()).collect();
        call.require("C2", ints.len() == 2 * rank && pads.len() == ints.len(), || {
            format!("`pads` is {} integers from 0, found {ints:?}", 2 * rank)
        })?;
        let (before, after) = pads.split_at(rank);
        Ok((before.to_vec(), after.to_vec()))
    }

    /// `value` as an element of the storage type.
    fn value(call: &Call, storage: DType) -> Result<Tensor, OpError> {
        let value = call.float("value")?;
        let element = match storage {
            DType::F32 => Some(Tensor::scalar(value)),
            DType::F64 => Some(Tensor::scalar(f64::from(value))),
            // The cast saturates; what it changes is not a value of the type.
            DType::I8 => Some(value as i8).filter(|&v| f32::from(v) == value).map(Tensor::scalar),
            DType::U8 => Some(value as u8).filter(|&v| f32::from(v) == value).map(Tensor::scalar),
            DType::I32 => {
                Some(value as i32).filter(|&v| f64::from(v) == f64::from(value)).map(Tensor::scalar)
            }
            DType::I64 => Some(value as i64)
                .filter(|&v| i128::from(v) as f32 == value && v != i64::MAX)
                .map(Tensor::scalar),
            _ => None,
        };
        element.ok_or_else(|| call.broken("C3", format!("{value} is a value of {storage}")))
    }
}

impl Operator for Pad {
    fn schema(&self) -> Schema {
        Schema::new(
            "pad",
            "`y[i0, i1, …] = x[i0 - pads[0], i1 - pads[1], …]` where that is inside x, and `value` elsewhere. \
             `pads` is the number of elements before x on each axis, then that after it on each axis.\n\n\
             * C1: x is plain f32, f64, i8, u8, i32 or i64.\n\
             * C2: `pads` is two integers from 0 for each axis of x.\n\
             * C3: `value` is a value of the storage type.\n\
             * C4: the sizes of y do not overflow.",
        )
        .operand("x")
        .required_attr("pads", AttrKind::Ints)
        .attr("value", 0.0f32)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storages = [DType::F32, DType::F64, DType::I8, DType::U8, DType::I32, DType::I64];
        let storage = call.same_plain("C1", &storages)?;
        let (before, after) = Self::pads(call)?;
        Self::value(call, storage)?;
        let shape = call.ty(0)?.shape.iter().zip(before.iter().zip(&after));
        let dims = shape.map(|(dim, (&before, &after))| grown(call, "C4", dim, before, after));
        Ok(vec![TensorType::new(storage, dims.collect::<Result<Vec<_>, _>>()?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(inputs: &Inputs, x: &Array<T>, value: &Tensor) -> Result<Vec<Tensor>, OpError> {
            let (before, after) = Pad::pads(&inputs.call)?;
            let value = value.elements::<T>().and_then(|value| value.first()).copied().unwrap_or_default();
            let sizes: Vec<usize> = x
                .shape()
                .iter()
                .zip(before.iter().zip(&after))
                .map(|(size, (before, after))| size + before + after)
                .collect();
            let mut y = inputs.call.filled(&sizes, value)?;
            place(x, &before, &mut y);
            Ok(vec![T::wrap(y.into_shared())])
        }
        let x = inputs.get(0)?;
        let value = Self::value(&inputs.call, x.dtype())?;
        dispatch!(x, array => go(inputs, array, &value))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a pad runs on the device only as part of a convolution layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let pads = cx.initializer("pads", Tensor::vector(cx.call.ints("pads")?.to_vec()));
        let value = Self::value(&cx.call, cx.call.ty(0)?.storage())?;
        let value = cx.initializer("value", value);
        let mut inputs = cx.operand_names.to_vec();
        inputs.extend([pads, value]);
        Ok(Lowered::Nodes(vec![cx.node("Pad", inputs).attr("mode", OnnxAttr::Str("constant".to_owned()))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let rank = cx.ty(0)?.shape.rank();
            let Some(stated) = cx.ints_either("pads", 1, 11)? else {
                return Err(cx.invalid("needs pads"));
            };
            let axes = match cx.constant_ints(3, "axes")?.filter(|_| cx.opset >= 18) {
                Some(axes) => {
                    axes.iter().map(|&axis| cx.axis(axis, rank, rank)).collect::<Result<Vec<_>, _>>()?
                }
                // Ranks are small: they count the entries of a list in memory.
                None => (0..rank as i64).collect(),
            };
            if stated.len() != 2 * axes.len() {
                return Err(cx.invalid(format!("pads of {} axes are {} entries", axes.len(), stated.len())));
            }
            let mut pads = vec![0; 2 * rank];
            let (before, after) = stated.split_at(axes.len());
            for (&axis, (&before, &after)) in axes.iter().zip(before.iter().zip(after)) {
                // Axes are below the rank.
                pads[axis as usize] = before;
                pads[axis as usize + rank] = after;
            }
            let mode = cx.opt_text("mode")?.unwrap_or("constant").to_owned();
            if mode != "constant" {
                return lift_continued(cx, &mode, &pads);
            }
            let x = cropped(cx, x, &mut pads)?;
            let mut attrs = Attrs::new().with("pads", pads);
            let value = if cx.opset < 11 { cx.opt_float("value")? } else { constant_value(cx)? };
            if let Some(value) = value {
                attrs.set("value", value);
            }
            Ok(vec![cx.op("pad", attrs, &[x])?])
        }
        vec![Lift::standard(
            "Pad",
            [
                Version::new(2, 1, &["mode", "pads", "value"]),
                Version::new(11, 3, &["mode"]),
                Version::new(18, 4, &["mode"]),
            ],
            lift,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        let attrs = Attrs::new().with("pads", vec![0, 0, 1, 0, 0, 0, 0, 2]);
        vec![
            Example { attrs: attrs.clone(), operands: vec![x] },
            Example {
                attrs: attrs.with("value", -128.0),
                operands: vec![Tensor::new(&[1, 1, 1, 2], vec![5i8, 6])],
            },
        ]
    }
}

/// x without the elements that pads below zero take away; such pads become 0.
fn cropped(cx: &mut LiftCx, x: ValueId, pads: &mut [i64]) -> Result<ValueId, OpError> {
    let shape = cx.builder.graph.ty(x).shape.clone();
    let rank = shape.rank();
    let mut taken: Vec<[i64; 3]> = Vec::new();
    for (axis, dim) in shape.iter().enumerate() {
        let (before, after) = (pads[axis].min(0), pads[axis + rank].min(0));
        if before < 0 || after < 0 {
            let size = i64::try_from(cx.known(dim)?).unwrap_or(i64::MAX);
            let left = size.checked_add(before).and_then(|left| left.checked_add(after));
            let left = left.filter(|&left| left >= 0);
            let left = left.ok_or_else(|| cx.invalid(format!("pads take away more than axis {axis} has")))?;
            // Ranks are small: they count the entries of a list in memory.
            taken.push([axis as i64, -before, left]);
            (pads[axis], pads[axis + rank]) = (pads[axis].max(0), pads[axis + rank].max(0));
        }
    }
    if taken.is_empty() {
        return Ok(x);
    }
    let list = |at: usize| taken.iter().map(|taken| taken[at]).collect::<Vec<i64>>();
    let attrs = Attrs::new()
        .with("axes", list(0))
        .with("starts", list(1))
        .with("sizes", list(2))
        .with("steps", vec![1; taken.len()]);
    cx.step("cropped", "slice", attrs, &[x])
}

/// A pad with elements of x, chosen axis by axis.
fn lift_continued(cx: &mut LiftCx, mode: &str, pads: &[i64]) -> Result<Vec<ValueId>, OpError> {
    let shape = cx.ty(0)?.shape.clone();
    let mut x = cx.operand(0)?;
    for (axis, dim) in shape.iter().enumerate() {
        let (before, after) = (pads[axis], pads[axis + shape.rank()]);
        if before == 0 && after == 0 {
            continue;
        }
        let size = i64::try_from(cx.known(dim)?).unwrap_or(i64::MAX);
        let from: fn(i64, i64) -> i64 = match mode {
            "edge" => |at, size| at.clamp(0, size - 1),
            "wrap" => |at, size| at.rem_euclid(size),
            // There and back; a single element reflects itself.
            "reflect" => |at, size| {
                let period = (2 * (size - 1)).max(1);
                let at = at.rem_euclid(period);
                at.min(period - at).min(size - 1)
            },
            other => return Err(cx.invalid(format!("`mode` is `{other}`"))),
        };
        let moderate = [before, after].iter().all(|pad| pad.unsigned_abs() <= 1 << 24);
        let end = size.checked_add(after).filter(|&end| moderate && end.saturating_add(before) <= 1 << 24);
        let (Some(end), true) = (end, size > 0) else {
            return Err(cx.unsupported(format!("a pad of axis {axis} of {shape} by {before} and {after}")));
        };
        let indices: Vec<i64> = (-before..end).map(|at| from(at, size)).collect();
        let indices = cx.add_const(&format!("indices_{axis}"), Tensor::vector(indices));
        // Ranks are small: they count the entries of a list in memory.
        let attrs = Attrs::new().with("axis", axis as i64);
        x = cx.step(&format!("axis_{axis}"), "gather", attrs, &[x, indices])?;
    }
    Ok(vec![cx.op("identity", Attrs::new(), &[x])?])
}

/// The `constant_value` of a Pad, of whatever storage; `None` if it is absent.
fn constant_value(cx: &LiftCx) -> Result<Option<f32>, OpError> {
    let Some(tensor) = cx.constant(2) else {
        return cx.constant_float(2, "constant_value");
    };
    // An integer that f32 cannot hold is no value of the attribute.
    let exact = |v: i64| Some(v as f32).filter(|&float| float as i128 == i128::from(v));
    let value = match &*tensor {
        Tensor::I8(array) if array.len() == 1 => array.first().and_then(|&v| exact(v.into())),
        Tensor::U8(array) if array.len() == 1 => array.first().and_then(|&v| exact(v.into())),
        Tensor::I32(array) if array.len() == 1 => array.first().and_then(|&v| exact(v.into())),
        Tensor::I64(array) if array.len() == 1 => array.first().and_then(|&v| exact(v)),
        _ => return cx.constant_float(2, "constant_value"),
    };
    value.map(Some).ok_or_else(|| cx.unsupported("`constant_value` that f32 cannot hold"))
}

pub struct ChannelPad;

impl ChannelPad {
    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (x, value) = (inputs.array::<T>(0)?, inputs.array::<T>(1)?);
        let &[batch, channels, height, width] = x.shape() else {
            return Err(inputs.call.broken("C2", "x has 4 axes"));
        };
        let [top, left, bottom, right] = inputs.call.sizes("pads", 0)?;
        let sizes = [batch, channels, height + top + bottom, width + left + right];
        let value = value.to_shape(IxDyn(&[1, channels, 1, 1]));
        let value = value.map_err(|error| inputs.call.broken("C3", error.to_string()))?;
        let mut y = inputs.call.filled(&sizes, T::default())?;
        // Checked: one value per channel of y.
        y.assign(&value);
        place(x, &[0, 0, top, left], &mut y);
        Ok(vec![T::wrap(y.into_shared())])
    }
}

impl Operator for ChannelPad {
    fn schema(&self) -> Schema {
        Schema::new(
            "channel_pad",
            "`y[n, c, i, j] = x[n, c, i - pads[0], j - pads[1]]` where that is inside x, and `value[c]` elsewhere; \
             for x `[N, C, H, W]`, value `[C]` and y `[N, C, H + pads[0] + pads[2], W + pads[1] + pads[3]]`. \
             `pads` is top, left, bottom, right.\n\n\
             * C0: `pads` is 4 sizes from 0.\n\
             * C1: x and value are plain and stored alike, as f32 or f64.\n\
             * C2: x has 4 axes.\n\
             * C3: value has the one axis C.\n\
             * C4: the sizes of y do not overflow.",
        )
        .operand("x")
        .operand("value")
        .attr("pads", vec![0, 0, 0, 0])
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        let [top, left, bottom, right] = call.sizes("pads", 0)?;
        let x = &call.ty(0)?.shape;
        let [batch, channels, height, width] = &**x else {
            return Err(call.broken("C2", format!("x has 4 axes, found {x}")));
        };
        let value = &call.ty(1)?.shape;
        call.require("C3", **value == [channels.clone()], || {
            format!("value has shape [{channels}], found {value}")
        })?;
        let height = grown(call, "C4", height, top, bottom)?;
        let width = grown(call, "C4", width, left, right)?;
        Ok(vec![TensorType::new(storage, vec![batch.clone(), channels.clone(), height, width])])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a pad runs on the device only as part of a convolution layer of the network's input")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let [top, left, bottom, right] = cx.call.sizes("pads", 0)?.map(|pad: usize| pad as i64);
        let pads = cx.initializer("pads", Tensor::vector(vec![0, 0, top, left, 0, 0, bottom, right]));
        let [x, value] = [0, 1].map(|position| cx.operand_names.get(position).cloned().unwrap_or_default());
        let node = OnnxNode { domain: BRAINCHIP.to_owned(), ..cx.node("BRNPad", vec![x, pads, value]) };
        Ok(Lowered::Layer { node, bound: Bound::default(), limits: Vec::new(), function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, value) = (cx.operand(0)?, cx.operand(2)?);
            let pads = match cx.constant_ints(1, "pads")?.as_deref() {
                Some(&[0, 0, top, left, 0, 0, bottom, right]) => vec![top, left, bottom, right],
                other => {
                    return Err(cx.unsupported(format!("pads {other:?} (rows and columns of 4 axes only)")));
                }
            };
            Ok(vec![cx.op("channel_pad", Attrs::new().with("pads", pads), &[x, value])?])
        }
        vec![Lift::hardware("BRNPad", 3, &[], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 1, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        let value = Tensor::new(&[2], vec![0.5f32, -7.0]);
        vec![Example { attrs: Attrs::new().with("pads", vec![1, 0, 0, 1]), operands: vec![x, value] }]
    }
}

/// Exact, unlike `Pad(x - value) + value`: a mask, false where x is, chooses between the zero-padded
/// x and the value.
fn function(op_type: &str, _: Bound) -> Result<OnnxFunction, OpError> {
    let scalar =
        |name: &str, tensor| OnnxNode::new("Constant", &[], &[name]).attr("value", OnnxAttr::Tensor(tensor));
    Ok(OnnxFunction {
        opset: BRAINCHIP_OPSET,
        domain: BRAINCHIP.to_owned(),
        name: op_type.to_owned(),
        inputs: ["x", "pads", "value"].map(str::to_owned).to_vec(),
        outputs: vec!["y".to_owned()],
        attrs: Vec::new(),
        nodes: vec![
            OnnxNode::new("Pad", &["x", "pads"], &["padded"]),
            OnnxNode::new("Shape", &["x"], &["shape"]),
            OnnxNode::new("ConstantOfShape", &["shape"], &["inside"])
                .attr("value", OnnxAttr::Tensor(Tensor::vector(vec![false]))),
            scalar("true", Tensor::scalar(true)),
            OnnxNode::new("Pad", &["inside", "pads", "true"], &["outside"]),
            scalar("axes", Tensor::vector(vec![1i64, 2])),
            OnnxNode::new("Unsqueeze", &["value", "axes"], &["values"]),
            OnnxNode::new("Where", &["outside", "values", "padded"], &["y"]),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn pads(pads: &[i64]) -> Attrs {
        Attrs::new().with("pads", pads.to_vec())
    }

    #[test]
    fn constraints() {
        check_labels(
            "pad",
            &[
                ("C1", pads(&[0, 0]), &["bool[2]"]),
                ("C2", pads(&[1]), &["f32[2]"]),
                ("C2", pads(&[1, -1]), &["f32[2]"]),
                ("C3", pads(&[0, 1]).with("value", 0.5), &["i32[2]"]),
                ("C3", pads(&[0, 1]).with("value", -1.0), &["u8[2]"]),
                ("C4", pads(&[i64::MAX, i64::MAX]), &["f32[2]"]),
            ],
        );
        check_labels(
            "channel_pad",
            &[
                ("C0", pads(&[1]), &["f32[1, 2, 3, 3]", "f32[2]"]),
                ("C1", pads(&[0; 4]), &["f32[1, 2, 3, 3]", "f64[2]"]),
                ("C2", pads(&[0; 4]), &["f32[1, 2, 3]", "f32[2]"]),
                ("C3", pads(&[0; 4]), &["f32[1, 2, 3, 3]", "f32[3]"]),
                ("C4", pads(&[1, 0, 0, 0]), &["f32[1, 2, 18446744073709551615, 3]", "f32[2]"]),
            ],
        );
        assert_eq!(shape("pad", pads(&[0, 1, 0, 2]), &["f32[N, 3]"]), "f32[N, 6]");
        assert_unknown_size(infer("pad", pads(&[1, 0]), &[ty("f32[N]")]));
        assert_eq!(
            shape("channel_pad", pads(&[1, 2, 3, 4]), &["f32[N, 2, 5, 5]", "f32[2]"]),
            "f32[N, 2, 9, 11]"
        );
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[1, 2], [1.0f32, 2.0]);
        let y = eval("pad", pads(&[1, 0, 0, 2]).with("value", 9.0), &[x]);
        assert_eq!(y, Ok(tensor(&[2, 4], [9.0f32, 9.0, 9.0, 9.0, 1.0, 2.0, 9.0, 9.0])));
        let x = tensor(&[1, 2, 1, 1], [1.0f32, 2.0]);
        let y = eval("channel_pad", pads(&[0, 1, 1, 0]), &[x, tensor(&[2], [8.0f32, 9.0])]);
        assert_eq!(y, Ok(tensor(&[1, 2, 2, 2], [8.0f32, 1.0, 8.0, 8.0, 9.0, 2.0, 9.0, 9.0])));
        let empty = eval("pad", pads(&[0, 1, 0, 0]), &[tensor::<i8>(&[0, 2], [])]);
        assert_eq!(empty, Ok(tensor::<i8>(&[0, 3], [])));
        // More than memory holds is an error, not an abort.
        let large = eval("pad", pads(&[1 << 40, 1 << 40]), &[tensor(&[1], [1.0f32])]);
        assert!(large.is_err() || large.is_ok_and(|y| y.len() == (1 << 41) + 1));
    }

    #[test]
    fn pads_of_some_axes() {
        let x = || Operand::Input(tensor(&[1, 2], [1.0f32, 2.0]));
        let ints = |v: &[i64]| Operand::Constant(Tensor::vector(v.to_vec()));
        let node = onnx("Pad", &[("mode", OnnxAttr::Str("constant".to_owned()))]);
        let one = || Operand::Constant(Tensor::scalar(1.0f32));
        let y = lift_and_eval(&node, 18, &[x(), ints(&[1, 0]), one(), ints(&[-1])]);
        assert_eq!(y, Ok(tensor(&[1, 3], [1.0f32, 1.0, 2.0])));
        let varying = Operand::Input(Tensor::vector(vec![0i64; 4]));
        assert!(matches!(lift_and_eval(&node, 18, &[x(), varying]), Err(OpError::Unsupported { .. })));
        assert!(matches!(lift_and_eval(&node, 18, &[x(), ints(&[0; 3])]), Err(OpError::Invalid { .. })));
    }

    #[test]
    fn pads_take_away_or_go_on_with_elements() {
        let padded = |mode: &str, before: i64, after: i64| {
            let node = onnx("Pad", &[("mode", OnnxAttr::Str(mode.to_owned()))]);
            let x = Operand::Input(tensor(&[3], [1i8, 2, 3]));
            let y = lift_and_eval(&node, 19, &[x, Operand::Constant(Tensor::vector(vec![before, after]))])?;
            Ok(y.elements::<i8>().unwrap().to_vec())
        };
        assert_eq!(padded("constant", -1, 1), Ok(vec![2, 3, 0]));
        assert_eq!(padded("edge", 2, 1), Ok(vec![1, 1, 1, 2, 3, 3]));
        assert_eq!(padded("wrap", 2, 1), Ok(vec![2, 3, 1, 2, 3, 1]));
        assert_eq!(padded("reflect", 2, 2), Ok(vec![3, 2, 1, 2, 3, 2, 1]));
        assert_eq!(padded("reflect", -1, 1), Ok(vec![2, 3, 2]));
        for pads in [[-4, 0], [i64::MIN, 0], [0, i64::MAX]] {
            assert!(padded("constant", pads[0], pads[1]).is_err(), "{pads:?}");
            assert!(pads[0] == -4 || padded("edge", pads[0], pads[1]).is_err(), "{pads:?}");
        }
        assert!(matches!(padded("around", 1, 0), Err(OpError::Invalid { .. })));
    }

    #[test]
    fn integers_are_padded_with_what_they_can_hold() {
        let x = || Operand::Input(tensor(&[1], [1i64]));
        let ints = |v: &[i64]| Operand::Constant(Tensor::vector(v.to_vec()));
        let value = |v: i64| Operand::Constant(Tensor::scalar(v));
        let node = onnx("Pad", &[]);
        assert_eq!(lift_and_eval(&node, 13, &[x(), ints(&[0, 1]), value(-7)]), Ok(tensor(&[2], [1i64, -7])));
        let large = lift_and_eval(&node, 13, &[x(), ints(&[0, 1]), value((1 << 24) + 1)]);
        assert!(matches!(large, Err(OpError::Unsupported { .. })));
    }

    #[test]
    fn the_reference_pads_rows_and_columns() {
        let mut node = onnx("BRNPad", &[]);
        node.domain = BRAINCHIP.to_owned();
        let x = || Operand::Input(tensor(&[1, 1, 1, 1], [1.0f32]));
        let ints = |v: &[i64]| Operand::Constant(Tensor::vector(v.to_vec()));
        let value = || Operand::Constant(Tensor::vector(vec![0.5f32]));
        let y = lift_and_eval(&node, 1, &[x(), ints(&[0, 0, 1, 0, 0, 0, 0, 1]), value()]);
        assert_eq!(y, Ok(tensor(&[1, 1, 2, 2], [0.5f32, 0.5, 1.0, 0.5])));
        let batch = lift_and_eval(&node, 1, &[x(), ints(&[1, 0, 0, 0, 0, 0, 0, 0]), value()]);
        assert!(matches!(batch, Err(OpError::Unsupported { .. })));
    }
}
