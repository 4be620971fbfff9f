//! Normalizations: `batch_norm`, whose statistics are fixed; those that compute them are read as the steps that
//! define them.

use super::number::Real;
use super::softmax::lifted_shape;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(BatchNorm)]
}

pub struct BatchNorm;

impl BatchNorm {
    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.get(0)?;
        let [gamma, beta, mean, var] = [1, 2, 3, 4].map(|position| inputs.elements::<T>(position));
        let (gamma, beta, mean, var) = (gamma?, beta?, mean?, var?);
        let epsilon = T::from(inputs.call.float("epsilon")?);
        let a: Vec<T> =
            gamma.iter().zip(var).map(|(&gamma, &var)| gamma / Real::sqrt(var + epsilon)).collect();
        let channels = a.iter().zip(mean).zip(beta).cycle();
        // Elements of one channel of one image lie side by side; an empty tensor has none.
        let plane = x.sizes().get(2..).map_or(1, |sizes| sizes.iter().product()).max(1);
        let mut y = Vec::with_capacity(x.len());
        for (elements, ((&a, &mean), &beta)) in inputs.elements::<T>(0)?.chunks(plane).zip(channels) {
            y.extend(elements.iter().map(|&v| ((v - mean) * a + beta).canonical()));
        }
        inputs.call.result(x.sizes(), y)
    }
}

impl Operator for BatchNorm {
    fn schema(&self) -> Schema {
        Schema::new(
            "batch_norm",
            "`y = (x - mean) * a + beta` with `a = gamma / sqrt(var + epsilon)`, each step rounded to the \
             storage type, for x `[N, C, …]` and gamma, beta, mean, var `[C]`.\n\n\
             * C1: all operands are plain and stored alike, as f32 or f64.\n\
             * C2: x has at least 2 axes.\n\
             * C3: gamma, beta, mean and var have the one axis that is axis 1 of x.",
        )
        .operand("x")
        .operand("gamma")
        .operand("beta")
        .operand("mean")
        .operand("var")
        .attr("epsilon", 1e-5f32)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.same_plain("C1", FLOATS)?;
        call.float("epsilon")?;
        let x = call.ty(0)?;
        let channels = x.shape.get(1).ok_or_else(|| call.broken("C2", "x has at least 2 axes"))?;
        for position in 1..=4 {
            let found = &call.ty(position)?.shape;
            call.require("C3", **found == [channels.clone()], || {
                format!("{} has shape [{channels}], found {found}", call.schema.operand_name(position))
            })?;
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("batch normalization runs on the device only folded into a layer's weights")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let epsilon = OnnxAttr::Float(cx.call.float("epsilon")?);
        let node = cx.node("BatchNormalization", cx.operand_names.to_vec()).attr("epsilon", epsilon);
        Ok(Lowered::Nodes(vec![node]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let operands: Vec<ValueId> =
                (0..5).map(|position| cx.operand(position)).collect::<Result<_, _>>()?;
            // Opset 14 made training a flag; before, its further outputs showed it.
            let further = cx.node.outputs.iter().skip(1).any(|name| !name.is_empty());
            if cx.int("training_mode", 0)? != 0 || further {
                return Err(cx.unsupported("batch normalization in training mode"));
            }
            if cx.int("spatial", 1)? == 0 {
                return Err(cx.unsupported("batch normalization with statistics for every position"));
            }
            let attrs = Attrs::new().with("epsilon", cx.float("epsilon", 1e-5)?);
            Ok(vec![cx.op("batch_norm", attrs, &operands)?])
        }
        let layer = &["axis", "epsilon", "stash_type"];
        vec![
            Lift::standard(
                "BatchNormalization",
                [
                    Version::new(7, 5, &["epsilon", "momentum", "spatial"]),
                    Version::new(9, 5, &["epsilon", "momentum"]),
                    Version::new(14, 5, &["epsilon", "momentum", "training_mode"]),
                ],
                lift,
            ),
            Lift::standard("LayerNormalization", [Version::new(17, 3, layer)], lift_layer_norm),
            Lift::standard("RMSNormalization", [Version::new(23, 2, layer)], lift_rms_norm),
            Lift::standard("InstanceNormalization", [Version::new(6, 3, &["epsilon"])], lift_instance_norm),
            Lift::standard(
                "GroupNormalization",
                [
                    Version::new(18, 3, &["epsilon", "num_groups"]),
                    Version::new(21, 3, &["epsilon", "num_groups", "stash_type"]),
                ],
                lift_group_norm,
            ),
            Lift::standard("LpNormalization", [Version::new(1, 1, &["axis", "p"])], lift_lp_norm),
            Lift::standard("MeanVarianceNormalization", [Version::new(9, 1, &["axes"])], lift_mean_variance),
            Lift::standard("LRN", [Version::new(1, 1, &["alpha", "beta", "bias", "size"])], lift_lrn),
        ]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 1, 2], vec![1.0f32, 2.0, -3.0, 0.5]);
        let parameter = |a, b| Tensor::new(&[2], vec![a, b]);
        let operands =
            vec![x, parameter(1.0f32, 0.5), parameter(0.0, -1.0), parameter(1.5, 0.0), parameter(0.25, 4.0)];
        vec![Example { attrs: Attrs::new(), operands }]
    }
}

/// The steps of a normalization to mean 0 and variance 1.
struct Normalized {
    y: ValueId,
    mean: ValueId,
    inverse: ValueId,
}

/// `(x - mean) * (1 / sqrt(var + epsilon))`, mean and variance being over `axes`.
fn normalized(cx: &mut LiftCx, x: ValueId, axes: &[i64], epsilon: f32) -> Result<Normalized, OpError> {
    let none = Attrs::new;
    let over = || none().with("axes", axes.to_vec());
    let epsilon = cx.number_like(0, "epsilon", epsilon)?;
    let mean = cx.step("mean", "reduce_mean", over(), &[x])?;
    let centred = cx.step("centred", "sub", none(), &[x, mean])?;
    let inverse = inverse_root(cx, centred, axes, epsilon)?;
    let y = cx.step("normalized", "mul", none(), &[centred, inverse])?;
    Ok(Normalized { y, mean, inverse })
}

/// `1 / sqrt(mean of x * x + epsilon)`.
fn inverse_root(cx: &mut LiftCx, x: ValueId, axes: &[i64], epsilon: ValueId) -> Result<ValueId, OpError> {
    let none = Attrs::new;
    let squares = cx.step("squares", "mul", none(), &[x, x])?;
    let mean = cx.step("variance", "reduce_mean", none().with("axes", axes.to_vec()), &[squares])?;
    let raised = cx.step("raised", "add", none(), &[mean, epsilon])?;
    let root = cx.step("deviation", "sqrt", none(), &[raised])?;
    cx.step("inverse", "reciprocal", none(), &[root])
}

/// The axes from the one that a node states on.
fn axes_from(cx: &LiftCx) -> Result<Vec<i64>, OpError> {
    let rank = cx.ty(0)?.shape.rank();
    // Ranks are small: they count the entries of a list in memory.
    Ok((cx.axis(cx.int("axis", -1)?, rank, rank)?..rank as i64).collect())
}

fn lift_layer_norm(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, scale, axes) = (cx.operand(0)?, cx.operand(1)?, axes_from(cx)?);
    let epsilon = cx.float("epsilon", 1e-5)?;
    let Normalized { y, mean, inverse } = normalized(cx, x, &axes, epsilon)?;
    let y = match cx.opt_operand(2) {
        None => cx.op("mul", Attrs::new(), &[y, scale])?,
        Some(bias) => {
            let scaled = cx.step("scaled", "mul", Attrs::new(), &[y, scale])?;
            cx.op("add", Attrs::new(), &[scaled, bias])?
        }
    };
    Ok(vec![y, mean, inverse])
}

fn lift_rms_norm(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, scale, axes) = (cx.operand(0)?, cx.operand(1)?, axes_from(cx)?);
    let epsilon = cx.float("epsilon", 1e-5)?;
    let epsilon = cx.number_like(0, "epsilon", epsilon)?;
    let inverse = inverse_root(cx, x, &axes, epsilon)?;
    let y = cx.step("normalized", "mul", Attrs::new(), &[x, inverse])?;
    Ok(vec![cx.op("mul", Attrs::new(), &[y, scale])?])
}

/// A parameter for each channel beside a tensor of that rank.
fn per_channel(cx: &mut LiftCx, suffix: &str, parameter: ValueId, rank: usize) -> Result<ValueId, OpError> {
    // Ranks are small: they count the entries of a list in memory.
    let axes: Vec<i64> = (1..rank as i64 - 1).collect();
    cx.step(suffix, "unsqueeze", Attrs::new().with("axes", axes), &[parameter])
}

fn lift_instance_norm(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, scale, bias) = (cx.operand(0)?, cx.operand(1)?, cx.operand(2)?);
    let rank = cx.ty(0)?.shape.rank();
    if rank < 3 {
        return Err(cx.invalid("has an operand of at least 3 axes"));
    }
    let epsilon = cx.float("epsilon", 1e-5)?;
    // Ranks are small: they count the entries of a list in memory.
    let axes: Vec<i64> = (2..rank as i64).collect();
    let normalized = normalized(cx, x, &axes, epsilon)?;
    let (scale, bias) = (per_channel(cx, "scale", scale, rank)?, per_channel(cx, "bias", bias, rank)?);
    let scaled = cx.step("scaled", "mul", Attrs::new(), &[normalized.y, scale])?;
    Ok(vec![cx.op("add", Attrs::new(), &[scaled, bias])?])
}

fn lift_group_norm(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, scale, bias) = (cx.operand(0)?, cx.operand(1)?, cx.operand(2)?);
    let shape = cx.ty(0)?.shape.clone();
    let rank = shape.rank();
    let Some(groups) = cx.opt_int("num_groups")?.filter(|&groups| groups >= 1) else {
        return Err(cx.invalid("needs num_groups from 1"));
    };
    if rank < 2 {
        return Err(cx.invalid("has an operand of at least 2 axes"));
    }
    let epsilon = cx.float("epsilon", 1e-5)?;
    let original = lifted_shape(cx, &shape)?;
    let none = Attrs::new;
    let grouped = cx.step("groups", "reshape", none().with("shape", vec![0, groups, -1]), &[x])?;
    let mut y = normalized(cx, grouped, &[2], epsilon)?.y;
    // Up to opset 20 there was a parameter for each group.
    let by_group = cx.opset < 21;
    if by_group {
        let (scale, bias) = (per_channel(cx, "scale", scale, 3)?, per_channel(cx, "bias", bias, 3)?);
        let scaled = cx.step("scaled", "mul", none(), &[y, scale])?;
        y = cx.step("biased", "add", none(), &[scaled, bias])?;
        return Ok(vec![cx.op("reshape", none().with("shape", original), &[y])?]);
    }
    let y = cx.step("ungrouped", "reshape", none().with("shape", original), &[y])?;
    let (scale, bias) = (per_channel(cx, "scale", scale, rank)?, per_channel(cx, "bias", bias, rank)?);
    let scaled = cx.step("scaled", "mul", none(), &[y, scale])?;
    Ok(vec![cx.op("add", none(), &[scaled, bias])?])
}

/// x divided by its norm along an axis; 0 where that is 0.
fn lift_lp_norm(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let rank = cx.ty(0)?.shape.rank();
    let axis = cx.axis(cx.int("axis", -1)?, rank, rank)?;
    let none = Attrs::new;
    let over = || none().with("axes", vec![axis]);
    let norm = match cx.int("p", 2)? {
        1 => {
            let magnitudes = cx.step("abs", "abs", none(), &[x])?;
            cx.step("norm", "reduce_sum", over(), &[magnitudes])?
        }
        2 => {
            let squares = cx.step("squares", "mul", none(), &[x, x])?;
            let sum = cx.step("sum", "reduce_sum", over(), &[squares])?;
            cx.step("norm", "sqrt", none(), &[sum])?
        }
        other => return Err(cx.invalid(format!("`p` is 1 or 2, found {other}"))),
    };
    let zero = cx.number_like(0, "zero", 0.0)?;
    let nothing = cx.step("nothing", "equal", none(), &[norm, zero])?;
    let quotient = cx.step("quotient", "div", none(), &[x, norm])?;
    Ok(vec![cx.op("select", none(), &[nothing, zero, quotient])?])
}

/// `(x - mean) / (sqrt(mean of x * x - mean * mean) + 1e-9)`.
fn lift_mean_variance(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let rank = cx.ty(0)?.shape.rank();
    let axes = cx.opt_ints("axes")?.unwrap_or(&[0, 2, 3]).to_vec();
    let axes = cx.axes(&axes, rank)?;
    let none = Attrs::new;
    let over = || none().with("axes", axes.clone());
    let epsilon = cx.number_like(0, "epsilon", 1e-9)?;
    let mean = cx.step("mean", "reduce_mean", over(), &[x])?;
    let square_of_mean = cx.step("square_of_mean", "mul", none(), &[mean, mean])?;
    let squares = cx.step("squares", "mul", none(), &[x, x])?;
    let mean_of_squares = cx.step("mean_of_squares", "reduce_mean", over(), &[squares])?;
    let variance = cx.step("variance", "sub", none(), &[mean_of_squares, square_of_mean])?;
    let deviation = cx.step("deviation", "sqrt", none(), &[variance])?;
    let raised = cx.step("raised", "add", none(), &[deviation, epsilon])?;
    let centred = cx.step("centred", "sub", none(), &[x, mean])?;
    Ok(vec![cx.op("div", none(), &[centred, raised])?])
}

/// `x / (bias + alpha * m) ^ beta`, m being the mean of x * x over `size` channels around each, where those
/// that x does not have are 0.
fn lift_lrn(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let shape = cx.ty(0)?.shape.clone();
    let Some(size) = cx.opt_int("size")?.filter(|size| (1..=1 << 24).contains(size)) else {
        return Err(cx.invalid("needs a size from 1 to 2^24"));
    };
    let Some(channels) = shape.get(1) else {
        return Err(cx.invalid("has an operand of at least 2 axes"));
    };
    let channels = i64::try_from(cx.known(channels)?).unwrap_or(i64::MAX);
    let original = lifted_shape(cx, &shape)?;
    let (alpha, beta, bias) = (cx.float("alpha", 1e-4)?, cx.float("beta", 0.75)?, cx.float("bias", 1.0)?);
    let none = Attrs::new;
    let squares = cx.step("squares", "mul", none(), &[x, x])?;
    let columns = none().with("shape", vec![0, 1, channels, -1]);
    let columns = cx.step("columns", "reshape", columns, &[squares])?;
    let window = none()
        .with("kernel_shape", vec![size, 1])
        .with("pads", vec![(size - 1) / 2, 0, size / 2, 0])
        .with("count_include_pad", true);
    let means = cx.step("means", "avg_pool2d", window, &[columns])?;
    let means = cx.step("around", "reshape", none().with("shape", original), &[means])?;
    let (alpha, bias) = (cx.number_like(0, "alpha", alpha)?, cx.number_like(0, "bias", bias)?);
    let beta = cx.number_like(0, "beta", beta)?;
    let scaled = cx.step("scaled", "mul", none(), &[means, alpha])?;
    let raised = cx.step("raised", "add", none(), &[scaled, bias])?;
    let divisor = cx.step("divisor", "pow", none(), &[raised, beta])?;
    Ok(vec![cx.op("div", none(), &[x, divisor])?])
}

#[cfg(test)]
mod tests {
    use super::super::OnnxNode;
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let none = Attrs::new();
        check_labels(
            "batch_norm",
            &[
                ("C1", none.clone(), &["f32[1, 2]", "f32[2]", "f32[2]", "f32[2]", "f64[2]"]),
                ("C2", none.clone(), &["f32[2]", "f32[2]", "f32[2]", "f32[2]", "f32[2]"]),
                ("C3", none.clone(), &["f32[1, 2]", "f32[2]", "f32[3]", "f32[2]", "f32[2]"]),
            ],
        );
        let operands = ["f32[N, 2, H, W]", "f32[2]", "f32[2]", "f32[2]", "f32[2]"];
        assert_eq!(shape("batch_norm", none, &operands), "f32[N, 2, H, W]");
    }

    #[test]
    fn every_step_rounds() {
        let pair = |a: f32, b: f32| tensor(&[2], [a, b]);
        let (x, gamma, beta) = (tensor(&[2, 2], [3.0f32, 0.1, 5.0, -0.3]), pair(4.0, 0.7), pair(-1.0, 0.2));
        let (mean, var) = (pair(1.0, 0.05), pair(3.75, 1.3));
        let attrs = Attrs::new().with("epsilon", 0.25);
        let y = eval("batch_norm", attrs, &[x, gamma, beta, mean, var]).unwrap();
        // Channel 0: a = 4 / sqrt(3.75 + 0.25) = 2.
        let a = 0.7f32 / (1.3f32 + 0.25).sqrt();
        let expected = [3.0f32, (0.1 - 0.05) * a + 0.2, 7.0, (-0.3f32 - 0.05) * a + 0.2];
        assert_eq!(y, tensor(&[2, 2], expected));
    }

    /// Two channels of two elements each, whose mean and deviation are plain.
    #[test]
    fn statistics_are_computed() {
        let x = || Operand::Input(tensor(&[1, 2, 2], [1.0f32, 3.0, -2.0, 6.0]));
        let p = |a: f32, b: f32| Operand::Input(tensor(&[2], [a, b]));
        let read = |node: &OnnxNode, opset: i64, operands: &[Operand]| {
            let y = lift_and_eval(node, opset, operands).unwrap();
            y.elements::<f32>().unwrap().to_vec()
        };
        let exact = [("epsilon", OnnxAttr::Float(0.0))];
        let layer = onnx("LayerNormalization", &exact);
        assert_eq!(read(&layer, 17, &[x(), p(1.0, 2.0), p(0.5, 0.0)]), [-0.5, 2.0, -0.5, 2.0]);
        let instance = onnx("InstanceNormalization", &exact);
        assert_eq!(read(&instance, 6, &[x(), p(1.0, 2.0), p(0.0, 1.0)]), [-1.0, 1.0, -1.0, 3.0]);
        let group = onnx("GroupNormalization", &[exact[0].clone(), ("num_groups", OnnxAttr::Int(2))]);
        for opset in [20, 21] {
            assert_eq!(read(&group, opset, &[x(), p(1.0, 2.0), p(0.0, 1.0)]), [-1.0, 1.0, -1.0, 3.0]);
        }
        let sum = onnx("LpNormalization", &[("p", OnnxAttr::Int(1))]);
        assert_eq!(read(&sum, 6, &[x()]), [0.25, 0.75, -0.25, 0.75]);
        let zero = Operand::Input(tensor(&[2], [0.0f32, 0.0]));
        assert_eq!(read(&onnx("LpNormalization", &[]), 6, &[zero]), [0.0, 0.0]);
        let attrs =
            [("size", OnnxAttr::Int(2)), ("alpha", OnnxAttr::Float(2.0)), ("beta", OnnxAttr::Float(1.0))];
        // Of size 2, a channel and the one behind it.
        let lrn = read(&onnx("LRN", &attrs), 13, &[x()]);
        assert_eq!(lrn, [1.0 / 6.0, 3.0 / 46.0, -2.0 / 5.0, 6.0 / 37.0]);
    }

    #[test]
    fn training_is_refused() {
        let x = || Operand::Typed(ty("f32[1, 2, 3, 3]"));
        let p = || Operand::Typed(ty("f32[2]"));
        let operands = || [x(), p(), p(), p(), p()];
        let node = |mode| onnx("BatchNormalization", &[("training_mode", OnnxAttr::Int(mode))]);
        assert!(lift(&node(0), 15, &operands()).is_ok());
        assert!(matches!(lift(&node(1), 15, &operands()), Err(OpError::Unsupported { .. })));
        let mut old = onnx("BatchNormalization", &[]);
        old.outputs.extend(["mean".to_owned(), "var".to_owned()]);
        assert!(matches!(lift(&old, 9, &operands()), Err(OpError::Unsupported { .. })));
    }
}
