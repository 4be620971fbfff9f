//! Pooling (layers-core §2).

use super::body::{FixedBody, Integers};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, example, pads};
use super::{Context, LayerError, Layered, Result, Work};
use crate::ir::{AttrKind, Attrs};
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OnnxAttr, OpError, Schema};
use crate::tensor::fixed::{Padding, PerChannel, QFloat, QTensor};

/// The largest of each window; nothing else changes.
///
/// # Errors
/// No map.
pub fn max_pool2d(
    x: &QTensor,
    window: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
    context: &Context,
) -> Result<Layered> {
    let output = match x {
        QTensor::Fixed(fixed) => fixed.max_pool(window, strides, padding)?.into(),
        QTensor::Float(float) => float.map(|fixed| fixed.max_pool(window, strides, padding))?.into(),
    };
    Ok(Layered { output, recorded: Work::new(context).recorded })
}

/// The sum over the map, whose scale is divided by the number of positions.
///
/// # Errors
/// No map, or an empty one.
pub fn global_average_pooling2d(x: &QTensor, keep: bool, context: &Context) -> Result<Layered> {
    let mut work = Work::new(context);
    let x = work.prepared(x, context.config.buffer())?;
    let fixed = x.fixed();
    let &[n, h, w, channels] = fixed.sizes() else {
        let what = format!("an input of shape {:?} is no map", fixed.sizes());
        return Err(LayerError::Config { layer: "QuantizedGlobalAveragePooling2D", what });
    };
    let mut sum = fixed.reshape(&[n, h * w, channels])?.reduce_sum(Some(1), false)?;
    if keep {
        sum = sum.reshape(&[n, 1, 1, channels])?;
    }
    let count = (h * w) as f32;
    let scales = match &x {
        QTensor::Fixed(_) => PerChannel::tensor(1.0 / count),
        QTensor::Float(float) => float.scales().map(|scale| scale / count),
    };
    work.finish(QFloat::new(sum, scales)?)
}

#[derive(Clone)]
pub(super) struct MaxPool2DLayer;

impl Layer for MaxPool2DLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "MaxPool2D",
            doc: "`max_pool2d` with `kernel_shape`, `strides` and `pads`, for x `[N, C, H, W]`.",
            constraints: "* C0: sizes are as `max_pool2d` wants them.",
            operands: const { &[Operand::map("x")] },
            result: Layout::Map,
            buffer: false,
            placement: Placement { aligned: false, output: false, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        let schema = schema.required_attr("kernel_shape", AttrKind::Ints);
        schema.attr("strides", vec![1i64, 1]).attr("pads", vec![0i64, 0, 0, 0])
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        Ok(vec![Step::new("max_pool2d", call.attrs.clone(), &[Source::Operand(0)])])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        let (window, strides) = (at.call.sizes("kernel_shape", 1)?, at.call.sizes("strides", 1)?);
        at.done(max_pool2d(at.value(0)?, window, strides, pads(at.call)?, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let x = at.operand(0)?;
        let names = ["kernel_shape", "strides", "pads"];
        let attrs: std::result::Result<Vec<_>, OpError> =
            names.into_iter().map(|name| Ok((name, OnnxAttr::Ints(at.call.ints(name)?.to_vec())))).collect();
        let name = at.body.op_with("MaxPool", &[&x.name], attrs?);
        Ok(Integers { name, ..x })
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let attrs = Attrs::new().with("kernel_shape", vec![2i64, 2]).with("strides", vec![2i64, 2]);
        vec![Example { attrs, operands: vec![example(&[1, 2, 4, 4])] }]
    }
}

#[derive(Clone)]
pub(super) struct GlobalAveragePooling2DLayer;

impl Layer for GlobalAveragePooling2DLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "GlobalAveragePooling2D",
            doc: "`global_avg_pool2d`, for x `[N, C, H, W]` and y `[N, C, 1, 1]`.",
            constraints: "",
            operands: const { &[Operand::map("x")] },
            result: Layout::Map,
            buffer: true,
            placement: Placement { aligned: false, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema
    }

    fn chain(&self, _: &Call) -> std::result::Result<Vec<Step>, OpError> {
        Ok(vec![Step::new("global_avg_pool2d", Attrs::new(), &[Source::Operand(0)])])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(global_average_pooling2d(at.value(0)?, true, &at.context))
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let bits = at.buffer(u32::MAX)? + 1;
        let x = at.operand(0)?;
        let x = at.prepared(x, bits)?;
        let count = at.size(0, 2)? * at.size(0, 3)?;
        let sum = at.summed(&x, vec![2, 3], count, bits)?;
        at.finished(Integers { scaled: true, ..sum })
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new(), operands: vec![example(&[1, 2, 4, 4])] }]
    }
}
