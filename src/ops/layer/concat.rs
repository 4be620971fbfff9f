//! Concatenations on the device: `QuantizedConcat`.

use std::sync::Arc;

use super::Form;
use super::chain::{self, Source, Step};
use super::lifting::{output_scales, set_grid, with_scale};
use super::limits;
use super::{expect_integer_form, params};
use crate::ir::{Attrs, ValueId};
use crate::kernels::image::{self, Buffers};
use crate::ops::body::Body;
use crate::ops::{
    Arithmetic, BRAINCHIP, Bound, Call, DeviceLayer, Example, Held, Inputs, LayerCall, LayerOperand, Lift,
    LiftCx, LowerCx, Lowered, OnnxAttr, OnnxFunction, OnnxNode, OpError, Operator, Prepared, Quantize,
    QuantizedLayer, Schema, Why,
};
use crate::tensor::{AffineGrid, DType, Tensor, TensorType};

pub struct QuantizedConcat;

fn chain(_: &Call) -> Result<Vec<Step>, OpError> {
    let operands = [Source::Operand(0), Source::Operand(1)];
    Ok(vec![Step::new("concat", Attrs::new().with("axis", 1i64), &operands)])
}

/// hardware-ops §5.5, *Concat*: the scales one after the other, per channel.
fn quantize(layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
    let call = &layer.call;
    let mut scales = Vec::new();
    for position in [0, 1] {
        let grid = layer.grid(position)?;
        if grid.storage != DType::I8 {
            return Err(call.unsupported(format!("{} input", grid.storage)));
        }
        let Some(channels) = call.ty(position)?.shape.get(1) else {
            return Err(call.unsupported("an operand without channels"));
        };
        for channel in 0..call.known(channels)? {
            let scale = params::scale_at(grid, channel);
            scales
                .push(scale.ok_or_else(|| call.unsupported("an input grid of another number of channels"))?);
        }
    }
    Ok(QuantizedLayer {
        operands: vec![LayerOperand::Keep(0), LayerOperand::Keep(1)],
        attrs: call.attrs.clone(),
        why: vec![Why::new("scale", "that of the operand which the channel comes from").value(&scales)],
        grid: AffineGrid::hardware(DType::I8, scales),
    })
}

/// The concatenation of two images.
struct PreparedConcat;

impl Prepared for PreparedConcat {
    fn run(&self, operands: &[Option<&Held>], buffers: &mut Buffers) -> Option<Vec<Held>> {
        let &[Some(a), Some(b)] = operands else { return None };
        let (mut made_a, mut made_b) = (None, None);
        let (x1, x2) = (a.image(&mut made_a, buffers)?, b.image(&mut made_b, buffers)?);
        let image = image::concat(x1, x2, buffers).ok()?;
        [made_a, made_b].into_iter().flatten().for_each(|image| buffers.give_back(image));
        Some(vec![Held::Image(image, a.rank())])
    }

    fn size(&self) -> usize {
        0
    }
}

fn function(name: &str, _: Bound) -> Result<OnnxFunction, OpError> {
    let mut body = Body::default();
    body.op_with("Concat", &["X", "Y"], vec![("axis", OnnxAttr::Int(1))]);
    Ok(body.function(name, vec!["X", "Y"], "Zi"))
}

fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let operands = [cx.operand(0)?, cx.operand(1)?];
    let scales = output_scales(cx)?;
    let value = cx.op("QuantizedConcat", Attrs::new(), &operands)?;
    set_grid(cx, value, AffineGrid::hardware(DType::I8, scales));
    Ok(vec![value])
}

impl DeviceLayer for QuantizedConcat {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError> {
        chain(call)
    }

    fn quantize(&self, layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
        quantize(layer)
    }
}

impl Operator for QuantizedConcat {
    fn schema(&self) -> Schema {
        Schema::new(
            "QuantizedConcat",
            "The channels of x1 and then those of x2: `concat` along axis 1. The integer form moves int8 \
             values, each channel keeping its grid.\n\n\
             * C1: x1 and x2 are stored alike, as plain f32 or f64 (float form) or as i8 (integer form).\n\n\
             Shapes are as `concat` wants them.",
        )
        .operand("x1")
        .operand("x2")
        .layer()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let steps = chain(call)?;
        match Form::of(call)? {
            Form::Float => chain::types(&steps, call.operands),
            Form::Integer => {
                for position in [0, 1] {
                    let storage = call.ty(position)?.storage();
                    call.require("C1", storage == DType::I8, || {
                        format!("an operand of the integer form is not stored as {storage}")
                    })?;
                }
                let types = chain::types(&steps, &super::integer::as_floats(call, 2))?;
                Ok(types.into_iter().map(|ty| TensorType::new(DType::I8, ty.shape)).collect())
            }
        }
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        chain::eval(&chain(&inputs.call)?, inputs)
    }

    fn prepare(&self, constants: &Inputs, _: Arithmetic) -> Option<Box<dyn Prepared>> {
        let x = constants.call.ty(0).ok()?;
        (x.storage() == DType::I8 && matches!(x.shape.rank(), 2 | 4)).then(|| Box::new(PreparedConcat) as _)
    }

    fn quantize(&self) -> Quantize {
        Quantize::Layer(Box::new(QuantizedConcat))
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        expect_integer_form(&cx.call)?;
        let node = OnnxNode {
            domain: BRAINCHIP.to_owned(),
            ..cx.node("QuantizedConcat", cx.operand_names.to_vec())
        };
        let limits = limits::same_operand(cx.operand_names).into_iter().collect();
        let node = with_scale(node, cx);
        Ok(Lowered::Layer { node, bound: Bound::default(), limits, function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::hardware("QuantizedConcat", 2, &["scale"], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![
            Example {
                attrs: Attrs::new(),
                operands: vec![
                    Tensor::new(&[1, 1, 1, 2], vec![0.5f32, -1.0]),
                    Tensor::new(&[1, 2, 1, 2], vec![1.0f32, 2.0, 3.0, 4.0]),
                ],
            },
            Example {
                attrs: Attrs::new(),
                operands: vec![
                    Tensor::new(&[1, 2, 1, 1], vec![1i8, -128]),
                    Tensor::new(&[1, 1, 1, 1], vec![127i8]),
                ],
            },
        ]
    }
}
