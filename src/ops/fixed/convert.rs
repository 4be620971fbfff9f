//! Between floats and fixed-point numbers: the ends of a quantized network (quantizers §1.4 and §1.6).

use super::operator::{example, refused};
use super::typed;
use crate::ir::{AttrKind, Attrs};
use crate::ops::{
    Arithmetic, Call, Example, Inputs, Lift, LowerCx, Lowered, OnnxAttr, OnnxNode, OpError, Operator,
    Quantize, Schema, dtype_to_onnx,
};
use crate::tensor::fixed::{
    FixedError, FixedPoint, InputGrid, InputQuantizer, MOST_VALUE_BITS, PerChannel, QFloat, QTensor,
};
use crate::tensor::round::power_of_two_f32;
use crate::tensor::{DType, FixedGrid, Grid, Tensor, TensorType};

#[derive(Clone)]
pub(super) struct ToFixedPoint;

/// The attributes of the operator `to_fixed_point` that does what a quantizer does, for an input whose channels are `axis`.
///
/// # Errors
/// Those of [`InputQuantizer::grid`].
pub fn input_attrs(quantizer: &InputQuantizer, axis: usize) -> Result<Attrs, FixedError> {
    let InputGrid { value_bits, frac_bits, zero } = quantizer.grid()?;
    let frac: Vec<i64> = frac_bits.entries().iter().map(|&bits| bits.into()).collect();
    let mut attrs = Attrs::new().with("value_bits", i64::from(value_bits));
    if frac.len() > 1 {
        attrs.set("axis", axis as i64);
    }
    attrs.set("frac_bits", frac);
    if let Some(zero) = zero {
        attrs.set("zero", zero.elements().to_vec());
    }
    Ok(attrs)
}

/// The attributes of [`ToFixedPoint`].
struct Target {
    value_bits: u32,
    frac: Vec<i32>,
    axis: Option<usize>,
    /// Integers that are added, one or one for each index of the axis.
    zero: Option<Vec<i64>>,
    /// What x is divided by first, one or one for each index of the axis.
    scales: Option<Vec<f32>>,
}

impl Target {
    fn of(call: &Call) -> Result<Self, OpError> {
        let bits = call.int("value_bits")?;
        let value_bits = u32::try_from(bits).ok().filter(|&bits| (1..=MOST_VALUE_BITS).contains(&bits));
        let value_bits = value_bits.ok_or_else(|| {
            call.broken("C2", format!("`value_bits` is from 1 to {MOST_VALUE_BITS}, found {bits}"))
        })?;
        let given = call.ints("frac_bits")?;
        let frac: Vec<i32> = given.iter().filter_map(|&bits| i32::try_from(bits).ok()).collect();
        let x = call.ty(0)?;
        let axis = match call.attrs.get_int("axis") {
            None => None,
            Some(_) => Some(call.axis("C3", "axis", x.shape.rank())?),
        };
        let zero = call.attrs.get_ints("zero").map(<[i64]>::to_vec);
        let scales = call.attrs.get_floats("scales").map(<[f32]>::to_vec);
        let size = match axis {
            None => 1,
            Some(axis) => call.known(&x.shape[axis])?,
        };
        let fits = |entries: usize| entries == 1 || entries == size;
        let entries = frac.len() == given.len()
            && fits(frac.len())
            && zero.as_ref().is_none_or(|zero| fits(zero.len()))
            && scales.as_ref().is_none_or(|scales| fits(scales.len()))
            && (axis.is_none() || frac.len() == size || scales.as_ref().is_some_and(|s| s.len() == size));
        call.require("C4", entries, || {
            format!("`frac_bits`, `zero` and `scales` have one entry, or one for each index of `axis`, found {given:?}")
        })?;
        let divides = |scales: &Vec<f32>| scales.iter().all(|scale| scale.is_finite() && *scale > 0.0);
        let alone = zero.is_none() && x.storage() == DType::F32;
        call.require("C5", scales.as_ref().is_none_or(|scales| alone && divides(scales)), || {
            "`scales` are finite and above 0, for x in f32, and without `zero`".to_owned()
        })?;
        Ok(Self { value_bits, frac, axis, zero, scales })
    }

    fn grid(&self) -> FixedGrid {
        FixedGrid {
            storage: FixedGrid::storage_of(self.value_bits),
            value_bits: self.value_bits,
            frac_bits: self.frac.as_slice().into(),
            scales: self.scales.as_deref().map(Into::into).or(self.zero.as_ref().map(|_| [1.0].into())),
            axis: self
                .axis
                .filter(|_| self.frac.len() > 1 || self.scales.as_ref().is_some_and(|s| s.len() > 1)),
        }
    }
}

impl Operator for ToFixedPoint {
    fn schema(&self) -> Schema {
        Schema::new(
            "to_fixed_point",
            "`y = saturate(half_even(x * 2^frac_bits))` in `value_bits` value bits, NaN being 0; an integer x is only \
             saturated, and has `frac_bits` as it comes. With `zero`, these integers are added, saturated again, and y has \
             the scale 1. With `scales`, x is divided by them first, rounded to f32, and y has them. `frac_bits`, `zero` and `scales` have one \
             entry, or one for each index of `axis`.\n\n\
             * C1: x is plain f32, or an integer of 8 bits.\n\
             * C2: `value_bits` is from 1 to 61.\n\
             * C3: 0 <= axis < rank of x.\n\
             * C4: `frac_bits`, `zero` and `scales` have as many entries as they need.\n\
             * C5: `scales` are finite and above 0, for x in f32, and without `zero`.",
        )
        .operand("x")
        .required_attr("value_bits", AttrKind::Int)
        .required_attr("frac_bits", AttrKind::Ints)
        .optional_attr("axis", AttrKind::Int)
        .optional_attr("zero", AttrKind::Ints)
        .optional_attr("scales", AttrKind::Floats)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        call.same_plain("C1", &[DType::F32, DType::U8, DType::I8])?;
        let grid = Target::of(call)?.grid();
        Ok(vec![TensorType { shape: call.ty(0)?.shape.clone(), grid: Grid::Fixed(grid) }])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let (call, x) = (&inputs.call, inputs.get(0)?);
        let target = Target::of(call)?;
        let sizes = x.sizes();
        let from_end = target.axis.map(|axis| sizes.len() - axis);
        fn entries<T: Copy>(axis: Option<usize>, entries: &[T]) -> PerChannel<T> {
            match (axis, entries) {
                (_, &[one]) => PerChannel::tensor(one),
                (axis, many) => PerChannel::along(axis.unwrap_or(1), many.to_vec()),
            }
        }
        let frac = entries(from_end, &target.frac);
        if let (Some(scales), Some(x)) = (&target.scales, x.elements::<f32>()) {
            let scales = entries(from_end, scales);
            let y = QFloat::quantize(sizes, x, target.value_bits, scales, frac);
            return Ok(vec![typed::written(&y.map_err(|error| refused(call, error))?.into(), None).0]);
        }
        let fixed = match x.elements::<f32>() {
            Some(x) => FixedPoint::quantize(sizes, x, target.value_bits, Some(frac.clone())),
            None => {
                let x = x.cast(DType::I64);
                let x = x.elements::<i64>().unwrap_or_default().iter().copied();
                FixedPoint::new(sizes, x, target.value_bits, frac.clone())
            }
        };
        let fixed = fixed.map_err(|error| refused(call, error))?;
        let y = match &target.zero {
            None => fixed.into(),
            Some(zero) => {
                let mut around = vec![1; sizes.len()];
                if let (Some(axis), true) = (target.axis, zero.len() > 1) {
                    around[axis] = zero.len();
                }
                let one = || PerChannel::tensor(1.0);
                let added = |fixed: FixedPoint| {
                    let zero = zero.iter().copied();
                    let zero = FixedPoint::new(&around, zero, target.value_bits, frac.clone())?;
                    QFloat::new(fixed, one())?.add(&QFloat::new(zero, one())?)
                };
                QTensor::from(added(fixed).map_err(|error| refused(call, error))?)
            }
        };
        Ok(vec![typed::written(&y, None).0])
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("it makes integers already")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let target = Target::of(&cx.call)?;
        let (x, result) = (cx.operand_names.to_vec(), cx.result_names.first().cloned().unwrap_or_default());
        // Beyond, the bounds are no f32.
        const MOST: u32 = 23;
        if target.value_bits > MOST {
            return Err(cx.call.unsupported(format!("{} value bits in an ONNX file", target.value_bits)));
        }
        let rank = cx.call.ty(0)?.shape.rank();
        let sizes = |entries: usize| -> Vec<usize> {
            let mut sizes = vec![1; rank];
            if let (Some(axis), true) = (target.axis, entries > 1) {
                sizes[axis] = entries;
            }
            sizes
        };
        let mut nodes = Vec::new();
        let mut last = x.first().cloned().unwrap_or_default();
        let step = |nodes: &mut Vec<OnnxNode>, op: &str, inputs: &[&str], attrs: Vec<(&str, OnnxAttr)>| {
            let name = format!("{result}_{}", nodes.len());
            let node = OnnxNode::new(op, inputs, &[&name]);
            nodes.push(attrs.into_iter().fold(node, |node, (name, value)| node.attr(name, value)));
            name
        };
        if cx.call.ty(0)?.storage() == DType::F32 {
            if let Some(scales) = &target.scales {
                let scales = Tensor::new(&sizes(scales.len()), scales.clone());
                let scales = cx.initializer("scales", scales.unwrap_or_else(|| Tensor::scalar(1f32)));
                last = step(&mut nodes, "Div", &[&last, &scales], vec![]);
            }
            let powers: Vec<f32> = target.frac.iter().map(|&bits| power_of_two_f32(bits)).collect();
            let powers = Tensor::new(&sizes(powers.len()), powers);
            let powers = cx.initializer("powers", powers.unwrap_or_else(|| Tensor::scalar(1f32)));
            last = step(&mut nodes, "Mul", &[&last, &powers], vec![]);
            // What is no number becomes 0.
            let numbers = step(&mut nodes, "IsNaN", &[&last], vec![]);
            let none = cx.initializer("none", Tensor::scalar(0f32));
            last = step(&mut nodes, "Where", &[&numbers, &none, &last], vec![]);
            last = step(&mut nodes, "Round", &[&last], vec![]);
        } else {
            last = step(&mut nodes, "Cast", &[&last], vec![("to", OnnxAttr::Int(dtype_to_onnx(DType::F32)))]);
        }
        let (low, high) = target.grid().range();
        let low = cx.initializer("low", Tensor::scalar(low as f32));
        let high = cx.initializer("high", Tensor::scalar(high as f32));
        last = step(&mut nodes, "Clip", &[&last, &low, &high], vec![]);
        if let Some(zero) = &target.zero {
            let zero: Vec<f32> = zero.iter().map(|&zero| zero as f32).collect();
            let zero = Tensor::new(&sizes(zero.len()), zero);
            let zero = cx.initializer("zero", zero.unwrap_or_else(|| Tensor::scalar(0f32)));
            last = step(&mut nodes, "Add", &[&last, &zero], vec![]);
            last = step(&mut nodes, "Clip", &[&last, &low, &high], vec![]);
        }
        let storage = FixedGrid::storage_of(target.value_bits);
        let cast = cx.node("Cast", vec![last]).attr("to", OnnxAttr::Int(dtype_to_onnx(storage)));
        nodes.push(cast);
        Ok(Lowered::Nodes(nodes))
    }

    fn lifts(&self) -> Vec<Lift> {
        Vec::new()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let attrs = Attrs::new().with("value_bits", 7i64).with("frac_bits", vec![5i64]);
        let scaled = attrs.clone().with("scales", vec![0.5f32, 0.25, 3.0]).with("axis", 1i64);
        [attrs, scaled].map(|attrs| Example { attrs, operands: vec![example(&[2, 3])] }).into()
    }
}

#[derive(Clone)]
pub(super) struct ToFloat;

impl Operator for ToFloat {
    fn schema(&self) -> Schema {
        Schema::new(
            "to_float",
            "`y = x * 2^-frac_bits * scale`, each product rounded to f32, for x on a grid of fixed-point numbers; a plain \
             x is itself.\n\n\
             * C1: x is on a grid of fixed-point numbers, or plain f32 or an integer.",
        )
        .operand("x")
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let plain = x.grid.is_plain() && (x.storage().is_integer() || x.storage() == DType::F32);
        call.require("C1", plain || x.grid.fixed().is_some(), || format!("x is stored as {}", x.storage()))?;
        Ok(vec![TensorType::new(DType::F32, x.shape.clone())])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let (call, x) = (&inputs.call, inputs.get(0)?);
        let Grid::Fixed(grid) = &call.ty(0)?.grid else { return Ok(vec![x.cast(DType::F32)]) };
        let numbers = typed::read(x, grid, None).map_err(|error| refused(call, error))?;
        call.result(x.sizes(), numbers.to_float())
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("it is where floats begin")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let (x, result) = (cx.operand_names.to_vec(), cx.result_names.first().cloned().unwrap_or_default());
        let ty = cx.call.ty(0)?.clone();
        let to = || OnnxAttr::Int(dtype_to_onnx(DType::F32));
        let Grid::Fixed(grid) = &ty.grid else {
            return Ok(Lowered::Nodes(vec![cx.node("Cast", x).attr("to", to())]));
        };
        let sizes = |entries: usize| -> Vec<usize> {
            let mut sizes = vec![1; ty.shape.rank()];
            if let (Some(axis), true) = (grid.axis, entries > 1) {
                sizes[axis] = entries;
            }
            sizes
        };
        let name = |i: usize| format!("{result}_{i}");
        let operand = x.first().cloned().unwrap_or_default();
        let mut nodes = vec![OnnxNode::new("Cast", &[&operand], &[&name(0)]).attr("to", to())];
        let powers: Vec<f32> =
            grid.frac_bits.iter().map(|&bits| power_of_two_f32(bits.saturating_neg())).collect();
        let mut factors = vec![("powers", powers)];
        factors.extend(grid.scales.as_ref().map(|scales| ("scales", scales.to_vec())));
        let count = factors.len();
        for (i, (suffix, entries)) in factors.into_iter().enumerate() {
            let factor = Tensor::new(&sizes(entries.len()), entries);
            let factor = cx.initializer(suffix, factor.unwrap_or_else(|| Tensor::scalar(1f32)));
            nodes.push(match i + 1 == count {
                true => cx.node("Mul", vec![name(i), factor]),
                false => OnnxNode::new("Mul", &[&name(i), &factor], &[&name(i + 1)]),
            });
        }
        Ok(Lowered::Nodes(nodes))
    }

    fn lifts(&self) -> Vec<Lift> {
        Vec::new()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![Tensor::new(&[2, 2], vec![1i8, -2, 3, 127])] }]
    }
}
