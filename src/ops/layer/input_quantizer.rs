//! The head of a quantized network: `InputQuantizer`.

use std::sync::Arc;

use super::lifting::{opt_output_scales, set_grid, vector, with_scale};
use super::limits::Limit;
use super::params::{largest, per_index};
use crate::ir::{AttrKind, Attrs, Range, ValueId};
use crate::kernels::image::{self, Buffers};
use crate::ops::body::Body;
use crate::ops::{
    Arithmetic, BRAINCHIP, Bound, Call, Example, Held, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr,
    OnnxFunction, OnnxNode, OpError, Operator, Prepared, Quantize, Schema, Why,
};
use crate::tensor::round::{half_even_f32, nearest_power_of_two, quantize_linear};
use crate::tensor::{AffineGrid, DType, Direction, Element, Shape, Tensor, TensorType};

const X: usize = 0;
const SCALE: usize = 1;
const ZERO: usize = 2;

pub struct InputQuantizer;

/// Constant operands of an `InputQuantizer`, and the grid of its result.
#[derive(Clone, Debug)]
pub struct InputParameters {
    /// Real per integer, f32, one entry or one per channel.
    pub scale: Tensor,
    /// Zero points, stored as the result is.
    pub zero: Tensor,
    /// What the readers of the result go by. For an addition that is the nearest power of two,
    /// although the quantizer itself keeps its scale (as the reference does).
    pub grid: AffineGrid,
    pub why: Vec<Why>,
}

/// hardware-ops §5.1: the grid of the input, from its range.
///
/// # Errors
/// A range that is empty or that uint8 cannot hold, or a storage other than `U8` and `I8`.
pub fn input_parameters(range: &Range, dtype: DType, feeds_add: bool) -> Result<InputParameters, OpError> {
    let (scales, zeros) = match dtype {
        DType::U8 => {
            let ends = range.lowest.iter().zip(range.highest.iter());
            let channels: Vec<(f32, u8)> = ends.map(|(&l, &h)| unsigned(l, h)).collect::<Result<_, _>>()?;
            channels.into_iter().unzip()
        }
        DType::I8 => {
            let scales: Vec<f32> = largest(range).iter().map(|&largest| 127.0 / largest.max(1e-7)).collect();
            let zeros = vec![0u8; scales.len()];
            (scales, zeros)
        }
        other => return Err(invalid(format!("{other} input"))),
    };
    if let Some(at) = scales.iter().position(|scale| !scale.is_finite() || *scale <= 0.0) {
        let (lowest, highest) = (range.lowest.get(at).copied(), range.highest.get(at).copied());
        let (lowest, highest) = (lowest.unwrap_or_default(), highest.unwrap_or_default());
        let why = if lowest.is_finite() && highest.is_finite() {
            "too small or too large for f32"
        } else {
            "not finite"
        };
        return Err(invalid(format!("the range [{lowest}, {highest}], which is {why},")));
    }
    let handed = |&scale: &f32| match nearest_power_of_two(scale.into()) {
        Some(power) if feeds_add => power,
        _ => f64::from(scale),
    };
    let factors: Vec<f64> = scales.iter().map(handed).collect();
    let zero = match dtype {
        DType::U8 => Tensor::vector(zeros),
        _ => Tensor::vector(vec![0i8; factors.len()]),
    };
    let (lowest, highest) = (&*range.lowest, &*range.highest);
    let ends = |what: &'static str, formula: &'static str| {
        Why::new(what, formula).term("lowest", lowest).term("highest", highest)
    };
    let mut why = match zero.elements::<u8>() {
        Some(zeros) => vec![
            ends("scale", "255 / (highest - lowest), with highest alone where lowest is above 0")
                .value(&scales),
            Why::new("zero point", "-round(lowest * scale), at least 0").term("lowest", lowest).value(zeros),
        ],
        None => vec![ends("scale", "127 / max(|lowest|, |highest|)").value(&scales)],
    };
    if feeds_add {
        let formula = "the power of two nearest to it, as an addition reads it";
        why.push(Why::new("scale for the readers", formula).value(&factors));
    }
    Ok(InputParameters {
        why,
        scale: Tensor::vector(scales.iter().map(|&scale| (1.0 / f64::from(scale)) as f32).collect()),
        grid: input_grid(factors, &zero),
        zero,
    })
}

/// The grid of a result whose scales (integers per real) are `factors`.
fn input_grid(factors: Vec<f64>, zero: &Tensor) -> AffineGrid {
    match zero.elements::<u8>() {
        Some(zeros) => AffineGrid {
            storage: DType::U8,
            direction: Direction::IntegerPerReal,
            axis: (factors.len() != 1).then_some(1),
            factors: factors.into(),
            zeros: zeros.iter().map(|&zero| zero.into()).collect(),
        },
        None => AffineGrid::hardware(DType::I8, factors),
    }
}

/// Scale and zero point of a uint8 channel, in f32.
fn unsigned(lowest: f32, highest: f32) -> Result<(f32, u8), OpError> {
    if lowest >= highest {
        return Err(invalid(format!("the range [{lowest}, {highest}], which is empty,")));
    }
    let scale = 255.0 / (highest - lowest);
    let zero = -half_even_f32(lowest * scale);
    if zero < 0.0 {
        return Ok((255.0 / highest, 0));
    }
    if zero > 255.0 {
        return Err(invalid(format!("the range [{lowest}, {highest}], all negative, as uint8")));
    }
    // An integer from 0 to 255.
    Ok((scale, zero as u8))
}

fn invalid(what: String) -> OpError {
    let way_out =
        Some("give samples that cover what the network will see, or quantize the input as int8".to_owned());
    OpError::Unsupported { op: "InputQuantizer".to_owned(), what, way_out }
}

/// The axes of `x` in the order of the attribute `perm`.
fn permutation(call: &Call) -> Result<Vec<usize>, OpError> {
    let perm: Vec<usize> = call.ints("perm")?.iter().filter_map(|&axis| usize::try_from(axis).ok()).collect();
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    let rank = call.ty(X)?.shape.rank();
    call.require("C2", sorted.iter().copied().eq(0..rank), || {
        format!(
            "`perm` is a permutation of the {rank} axes of x, found {:?}",
            call.ints("perm").unwrap_or_default()
        )
    })?;
    Ok(perm)
}

/// The quantizer of floats whose axes keep their order.
struct PreparedQuantizer {
    /// Real per integer, one or one for each channel, as zeros are.
    scales: Vec<f32>,
    zeros: Vec<i32>,
    is_i8: bool,
}

impl Prepared for PreparedQuantizer {
    fn run(&self, operands: &[Option<&Held>], buffers: &mut Buffers) -> Option<Vec<Held>> {
        let x = operands.first().copied().flatten()?.tensor()?;
        let (sizes, rank) = match *x.sizes() {
            [batch, channels] => ([batch, channels, 1, 1], 2),
            [batch, channels, height, width] => ([batch, channels, height, width], 4),
            _ => return None,
        };
        let parameters: Vec<(f32, i32)> = (0..sizes[1])
            .map(|channel| Some((per_index(&self.scales, channel)?, per_index(&self.zeros, channel)?)))
            .collect::<Option<_>>()?;
        let image = image::quantize(buffers, sizes, self.is_i8, x.elements::<f32>()?, &parameters);
        Some(vec![Held::Image(image.ok()?, rank)])
    }

    fn size(&self) -> usize {
        size_of_val(&*self.scales) + size_of_val(&*self.zeros)
    }
}

/// `function` for uint8 as for int8: the zero point carries the storage.
fn function(name: &str, _: Bound) -> Result<OnnxFunction, OpError> {
    let mut body = Body::default();
    let x = body.cast("X", DType::F32);
    let perm = body.ints_of_node("perm");
    let x = body.op_with("Transpose", &[&x], vec![("perm", perm)]);
    body.op_with("QuantizeLinear", &[&x, "scale", "zp"], vec![("axis", OnnxAttr::Int(1))]);
    Ok(body.function(name, vec!["X", "scale", "zp"], "Y"))
}

fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, scale, zero) = (cx.operand(X)?, vector(cx, SCALE)?, vector(cx, ZERO)?);
    let rank = cx.ty(X)?.shape.rank() as i64;
    let perm = cx.opt_ints("perm")?.map_or_else(|| (0..rank).collect(), <[i64]>::to_vec);
    let factors = match opt_output_scales(cx)? {
        Some(factors) => factors,
        None => {
            let scale = cx.constant(SCALE);
            let scale = scale.as_deref().and_then(Tensor::elements::<f32>);
            let scale = scale.ok_or_else(|| cx.unsupported("a scale that is not constant"))?;
            scale.iter().map(|&scale| 1.0 / f64::from(scale)).collect()
        }
    };
    let zeros = cx.constant(ZERO).ok_or_else(|| cx.unsupported("a zero point that is not constant"))?;
    let value = cx.op("InputQuantizer", Attrs::new().with("perm", perm), &[x, scale, zero])?;
    set_grid(cx, value, input_grid(factors, &zeros));
    Ok(vec![value])
}

impl Operator for InputQuantizer {
    fn schema(&self) -> Schema {
        let schema = Schema::new(
            "InputQuantizer",
            "`y = clip(half_even(t / scale) + zero)` for each element of `t`, which is x as f32 with its axes in \
             the order `perm`; saturated to the storage of zero. scale and zero have one entry, or one per index of \
             axis 1 of y. NaN gives the smallest value.\n\n\
             * C1: x is plain and no bool.\n\
             * C2: `perm` is a permutation of the axes of x.\n\
             * C3: scale is f32 and zero u8 or i8, both of one axis with one entry or as many as axis 1 of y.",
        )
        .operand("x")
        .operand("scale")
        .operand("zero")
        .required_attr("perm", AttrKind::Ints)
        .rounding();
        Schema { assigns_grid: true, ..schema }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(X)?;
        let plain = x.grid.is_plain() && x.storage() != DType::Bool;
        call.require("C1", plain, || format!("x is plain and no bool, found {}", x.storage()))?;
        let shape: Shape = permutation(call)?
            .into_iter()
            .filter_map(|axis| x.shape.get(axis).cloned())
            .collect::<Vec<_>>()
            .into();
        let (scale, zero) = (call.ty(SCALE)?, call.ty(ZERO)?);
        let entries = scale.shape.sizes();
        let channels = shape.get(1).and_then(|dim| dim.fixed());
        let fits = scale.storage() == DType::F32
            && matches!(zero.storage(), DType::U8 | DType::I8)
            && scale.shape == zero.shape
            && (entries == Some(vec![1])
                || (channels.is_some() && entries == channels.map(|size| vec![size])));
        call.require("C3", fits, || {
            format!(
                "scale is f32 and zero u8 or i8, of one entry or one per index of axis 1 of {shape}, found {}{} and {}{}",
                scale.storage(),
                scale.shape,
                zero.storage(),
                zero.shape
            )
        })?;
        Ok(vec![TensorType::new(zero.storage(), shape)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let call = &inputs.call;
        let Tensor::F32(x) = inputs.get(X)?.cast(DType::F32) else {
            return Err(call.unsupported("an input that is not float"));
        };
        let x = f32::wrap(x.permuted_axes(permutation(call)?));
        let sizes = x.sizes().to_vec();
        let map = sizes.iter().skip(2).product::<usize>().max(1);
        let channels = sizes.get(1).copied().unwrap_or(1).max(1);
        let scales = inputs.elements::<f32>(SCALE)?;
        let zeros: Vec<i64> = match inputs.get(ZERO)? {
            Tensor::U8(zeros) => zeros.iter().map(|&zero| zero.into()).collect(),
            _ => inputs.elements::<i8>(ZERO)?.iter().map(|&zero| zero.into()).collect(),
        };
        let quantized = |range: (i64, i64)| {
            let x = x.elements::<f32>().unwrap_or_default().iter().enumerate();
            let (scales, zeros) = (scales, &zeros);
            x.map(move |(i, &x)| {
                // Types were checked: one entry, or one for each channel.
                let channel = i / map % channels;
                let (scale, zero) = (per_index(scales, channel), per_index(zeros, channel));
                quantize_linear(x, scale.unwrap_or(1.0), zero.unwrap_or(0), range)
            })
        };
        // Both ranges are those of the storage.
        match inputs.get(ZERO)?.dtype() {
            DType::U8 => call.result::<u8>(&sizes, quantized((0, 255)).map(|q| q as u8).collect()),
            _ => call.result::<i8>(&sizes, quantized((-128, 127)).map(|q| q as i8).collect()),
        }
    }

    fn prepare(&self, constants: &Inputs, _: Arithmetic) -> Option<Box<dyn Prepared>> {
        let call = &constants.call;
        let perm = permutation(call).ok()?;
        if !matches!(perm.len(), 2 | 4) || !perm.is_sorted() || call.ty(X).ok()?.storage() != DType::F32 {
            return None;
        }
        let zeros = constants.get(ZERO).ok()?;
        let is_i8 = zeros.dtype() == DType::I8;
        let zeros: Vec<i32> = match zeros {
            Tensor::U8(zeros) => zeros.iter().map(|&zero| zero.into()).collect(),
            _ => constants.elements::<i8>(ZERO).ok()?.iter().map(|&zero| zero.into()).collect(),
        };
        let scales = constants.elements::<f32>(SCALE).ok()?.to_vec();
        Some(Box::new(PreparedQuantizer { scales, zeros, is_i8 }))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("it is put in by quantization")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let node =
            OnnxNode { domain: BRAINCHIP.to_owned(), ..cx.node("InputQuantizer", cx.operand_names.to_vec()) };
        let perm = cx.call.ints("perm")?;
        let mut limits = Vec::new();
        let rank = perm.len() as i64;
        let channels_last = [0, rank - 1].into_iter().chain(1..rank - 1);
        if !perm.iter().copied().eq(0..rank) && !perm.iter().copied().eq(channels_last) {
            limits.push(Limit::Permutation { found: perm.to_vec() });
        }
        if rank > 4 {
            limits.push(Limit::InputRank { found: perm.len() });
        }
        let node = with_scale(node.attr("perm", OnnxAttr::Ints(perm.to_vec())), cx);
        Ok(Lowered::Layer { node, bound: Bound::default(), limits, function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::hardware("InputQuantizer", 3, &["perm", "scale"], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 1, 2], vec![-0.5f32, 0.25, 1.0, 9.0]);
        let per_channel = Example {
            attrs: Attrs::new().with("perm", vec![0, 1, 2, 3]),
            operands: vec![x.clone(), Tensor::new(&[2], vec![0.1f32, 0.5]), Tensor::new(&[2], vec![10u8, 0])],
        };
        let channels_last = Example {
            attrs: Attrs::new().with("perm", vec![0, 3, 1, 2]),
            operands: vec![x, Tensor::new(&[1], vec![0.25f32]), Tensor::new(&[1], vec![0i8])],
        };
        vec![per_channel, channels_last]
    }
}
